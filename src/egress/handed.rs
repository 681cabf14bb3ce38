//! A request's body that tells when it is handed to a connection: before that, nobody can have taken the request.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

/// Whether a request was handed to a connection: name lookup, connecting and TLS were over.
#[derive(Debug, Clone, Default)]
pub(super) struct Handed(Arc<AtomicBool>);

impl Handed {
    /// Nothing has been handed over so far.
    pub(super) fn is(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// A body of these bytes that tells. An empty one is never asked for, so it counts as handed over from the start.
    pub(super) fn body(&self, bytes: Vec<u8>) -> reqwest::Body {
        self.0.store(bytes.is_empty(), Ordering::Relaxed);
        reqwest::Body::wrap(Telling { bytes: Some(bytes.into()), handed: self.clone() })
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
        self.handed.0.store(true, Ordering::Relaxed);
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
