//! A request's body that tells when it is handed to a connection: before that, nobody can have taken the request.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

/// Whether a request was handed to a connection: name lookup, connecting and TLS were over.
#[derive(Debug, Clone)]
pub(super) struct Handed {
    asked_for: Arc<AtomicBool>,
    empty: bool,
}

impl Handed {
    /// A body of these bytes, and what tells of it.
    pub(super) fn of(bytes: Vec<u8>) -> (reqwest::Body, Self) {
        let handed = Self { asked_for: Arc::default(), empty: bytes.is_empty() };
        (reqwest::Body::wrap(Telling { bytes: Some(bytes.into()), handed: handed.clone() }), handed)
    }

    /// `None` where the body is empty: nobody ever asks for that.
    pub(super) fn is(&self) -> Option<bool> {
        (!self.empty).then(|| self.asked_for.load(Ordering::Relaxed))
    }
}

/// The body in one piece.
struct Telling {
    bytes: Option<Bytes>,
    handed: Handed,
}

impl http_body::Body for Telling {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.handed.asked_for.store(true, Ordering::Relaxed);
        Poll::Ready(self.bytes.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.as_ref().is_none_or(Bytes::is_empty)
    }

    fn size_hint(&self) -> SizeHint {
        let length = self.bytes.as_ref().map_or(0, Bytes::len);
        SizeHint::with_exact(u64::try_from(length).unwrap_or(u64::MAX))
    }
}
