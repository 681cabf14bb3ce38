//! What an SMTP server says, made fit for the library, which takes UTF-8 only and wants a space after each code.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use lettre::transport::smtp::client::AsyncTokioStream;
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};

/// So much is read at once.
const PIECE_BYTES: usize = 2048;
/// A line may be so long, though RFC 5321 allows 512: the library looks only once it has the whole line.
const LINE_BYTES_MAX: usize = 2000;
/// Of a longer line the end is left out: the library refuses one of a thousand bytes, though all that counts is in front.
const LINE_BYTES_KEPT: usize = 900;
/// So much may be said in answer to one line of ours.
const ANSWER_BYTES_MAX: usize = 100_000;

/// A connection, protected or not, of which the other side's lines are mended. What is written goes through as it is.
#[derive(Debug)]
pub(super) struct Replies<S> {
    stream: S,
    peer: SocketAddr,
    /// The beginning of a line whose end has not come yet.
    line: Vec<u8>,
    /// Whole lines that nobody has fetched yet.
    lines: Vec<u8>,
    /// How much came since something was written.
    heard: usize,
}

impl<S> Replies<S> {
    /// Of a connection to this address on which nothing was said yet.
    pub(super) fn new(stream: S, peer: SocketAddr) -> Self {
        Self { stream, peer, line: Vec::new(), lines: Vec::new(), heard: 0 }
    }

    /// Of one whose greeting was read already; the library, which waits for one, gets another.
    pub(super) fn greeted(stream: S, peer: SocketAddr) -> Self {
        Self { lines: b"220 \r\n".to_vec(), ..Self::new(stream, peer) }
    }

    /// The connection itself; `None` where the server said more than was fetched.
    pub(super) fn into_stream(self) -> Option<S> {
        (self.line.is_empty() && self.lines.is_empty()).then_some(self.stream)
    }

    /// Who talks without end is left before that fills the memory.
    fn check(&self) -> io::Result<()> {
        if self.line.len() > LINE_BYTES_MAX {
            return Err(io::Error::other(format!(
                "the server sent a line of more than {LINE_BYTES_MAX} bytes"
            )));
        }
        if self.heard > ANSWER_BYTES_MAX {
            return Err(io::Error::other(format!(
                "the server answered with more than {ANSWER_BYTES_MAX} bytes"
            )));
        }
        Ok(())
    }

    fn hear(&mut self, piece: &[u8]) {
        self.heard += piece.len();
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(part);
            if part.ends_with(b"\n") {
                mend(&mut self.line);
                self.lines.append(&mut self.line);
            }
        }
    }
}

/// A code alone is a reply (RFC 5321, 4.2), and so is one with a text in an old encoding, whose letters are lost, one that is too long,
/// and one without a carriage return.
fn mend(line: &mut Vec<u8>) {
    line.truncate(line.trim_ascii_end().len().min(LINE_BYTES_KEPT - 2));
    line.extend_from_slice(b"\r\n");
    if line.len() == 5 && line.ends_with(b"\r\n") {
        line.insert(3, b' ');
    }
    if str::from_utf8(line).is_err() {
        line.iter_mut().filter(|byte| !byte.is_ascii()).for_each(|byte| *byte = b'?');
    }
}

impl<S: AsyncRead + Unpin> AsyncBufRead for Replies<S> {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        while this.lines.is_empty() {
            this.check()?;
            let mut piece = [0; PIECE_BYTES];
            let mut piece = ReadBuf::new(&mut piece);
            ready!(Pin::new(&mut this.stream).poll_read(cx, &mut piece))?;
            if piece.filled().is_empty() {
                break;
            }
            this.hear(piece.filled());
        }
        Poll::Ready(Ok(&this.lines))
    }

    fn consume(self: Pin<&mut Self>, count: usize) {
        self.get_mut().lines.drain(..count);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Replies<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let lines = ready!(self.as_mut().poll_fill_buf(cx))?;
        let count = lines.len().min(buf.remaining());
        buf.put_slice(&lines[..count]);
        self.consume(count);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Replies<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.stream).poll_write(cx, bytes))?;
        this.heard = 0;
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

impl<S: AsyncRead + AsyncWrite + Send + Sync + Unpin + std::fmt::Debug> AsyncTokioStream for Replies<S> {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.peer)
    }
}
