//! The HTTP server under the fake business and the inboxes: it can be slow, stop half way and cut connections.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::Response;
use axum::serve::{IncomingStream, Listener};
use futures_util::stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::script::{Answer, Cut};

/// A request's body is read up to this size.
const REQUEST_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Into so many pieces a trickling body is split.
const TRICKLE_PIECES: usize = 20;

/// A request, read to its end.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Asked {
    /// A header field's value, if it is there and readable.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// What is answered before a script has its say.
#[derive(Debug, Clone)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Reply {
    /// A JSON body.
    pub(super) fn json(status: u16, body: &serde_json::Value) -> Self {
        let headers = vec![("content-type".to_owned(), "application/json; charset=utf-8".to_owned())];
        Self { status, headers, body: body.to_string().into_bytes() }
    }

    /// A plain text body.
    pub(super) fn text(status: u16, body: &str) -> Self {
        let headers = vec![("content-type".to_owned(), "text/plain; charset=utf-8".to_owned())];
        Self { status, headers, body: body.as_bytes().to_vec() }
    }

    /// The same with one more header field; one of the same name is replaced.
    pub(super) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// What the script says instead.
    pub(super) fn scripted(mut self, answer: &Answer) -> Self {
        self.status = answer.status.unwrap_or(self.status);
        if let Some(body) = &answer.body {
            self.body = body.clone().into_bytes();
        }
        answer.headers.iter().fold(self, |reply, (name, value)| reply.header(name, value))
    }
}

/// Serves until `stop`: each request goes to `handle`, which says what to answer and how.
pub(super) async fn serve<H>(listener: TcpListener, stop: CancellationToken, handle: H)
where
    H: Fn(Asked) -> (Reply, Answer) + Clone + Send + Sync + 'static,
{
    let app = Router::new().fallback(move |ConnectInfo(wire): ConnectInfo<Wire>, request: Request| {
        let handle = handle.clone();
        async move { answer(&handle, wire, request).await }
    });
    let service = app.into_make_service_with_connect_info::<Wire>();
    let served =
        axum::serve(Cuttable(listener), service).with_graceful_shutdown(stop.cancelled_owned()).await;
    if let Err(error) = served {
        tracing::warn!(%error, "a sandbox server stopped");
    }
}

async fn answer<H>(handle: &H, wire: Wire, request: Request) -> Response
where
    H: Fn(Asked) -> (Reply, Answer),
{
    let (head, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, REQUEST_BYTES_MAX).await else {
        return response(Reply::text(413, "request too large"), &Answer::default());
    };
    let (reply, answer) = handle(Asked {
        method: head.method,
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        headers: head.headers,
        body,
    });
    if answer.wait_ms > 0 {
        tokio::time::sleep(Duration::from_millis(answer.wait_ms)).await;
    }
    if matches!(answer.cut, Some(Cut::Before | Cut::After)) {
        wire.cut();
    }
    response(reply, &answer)
}

fn response(reply: Reply, answer: &Answer) -> Response {
    let length = reply.body.len();
    let body = if answer.cut == Some(Cut::Middle) {
        halved(reply.body)
    } else if answer.trickle_ms > 0 {
        trickled(reply.body, Duration::from_millis(answer.trickle_ms))
    } else {
        Body::from(reply.body)
    };
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in &reply.headers {
        if let (Ok(name), Ok(value)) =
            (HeaderName::try_from(name.as_str()), HeaderValue::try_from(value.as_str()))
        {
            response.headers_mut().insert(name, value);
        }
    }
    if answer.cut == Some(Cut::Middle) || answer.trickle_ms > 0 {
        // The length is promised, so that half a body can be told from a whole one.
        response.headers_mut().insert("content-length", HeaderValue::from(length));
    }
    response
}

/// Half of the body, then an error, which closes the connection before the promised length is reached.
fn halved(body: Vec<u8>) -> Body {
    let half = Bytes::from(body);
    let half = half.slice(..half.len() / 2);
    Body::from_stream(stream::iter([Ok(half), Err(io::Error::from(io::ErrorKind::ConnectionReset))]))
}

fn trickled(body: Vec<u8>, pause: Duration) -> Body {
    let body = Bytes::from(body);
    let step = body.len().div_ceil(TRICKLE_PIECES).max(1);
    Body::from_stream(stream::unfold(body, move |mut rest| async move {
        if rest.is_empty() {
            return None;
        }
        tokio::time::sleep(pause).await;
        let piece = rest.split_to(step.min(rest.len()));
        Some((Ok::<_, io::Error>(piece), rest))
    }))
}

/// A handle on one connection.
#[derive(Debug, Clone, Default)]
struct Wire(Arc<AtomicBool>);

impl Wire {
    /// Nothing more is sent; the peer sees a reset.
    fn cut(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn check(&self, stream: &TcpStream) -> io::Result<()> {
        if self.0.load(Ordering::Acquire) {
            // Without lingering the peer gets a reset instead of an orderly end.
            let _ = stream.set_zero_linger();
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Ok(())
    }
}

impl Connected<IncomingStream<'_, Cuttable>> for Wire {
    fn connect_info(stream: IncomingStream<'_, Cuttable>) -> Self {
        stream.io().wire.clone()
    }
}

/// A listener whose connections can be cut.
struct Cuttable(TcpListener);

impl Listener for Cuttable {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let (stream, address) = Listener::accept(&mut self.0).await;
        let _ = stream.set_nodelay(true);
        (Connection { stream, wire: Wire::default() }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// A connection that stops sending once its wire is cut.
struct Connection {
    stream: TcpStream,
    wire: Wire,
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.wire.check(&self.stream)?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.wire.check(&self.stream)?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.wire.check(&self.stream)?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
