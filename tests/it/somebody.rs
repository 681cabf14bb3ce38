//! Somebody at the other end of a connection, who answers as a test likes, or nobody.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread;

use tokio::net::TcpSocket;

/// Answers each request, given its head and body, with a whole answer; returns the address as a URL.
pub(crate) fn somebody(answers: impl Fn(&str, &[u8]) -> String + Send + Sync + 'static) -> String {
    somebody_on(TcpListener::bind("127.0.0.1:0").unwrap(), answers)
}

/// An address where connections are refused, and which nobody else gets while the socket is held: it is bound and does not
/// listen.
pub(crate) fn nobody() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// Answers whoever comes to this listener.
pub(crate) fn somebody_on(
    listener: TcpListener,
    answers: impl Fn(&str, &[u8]) -> String + Send + Sync + 'static,
) -> String {
    let address = listener.local_addr().unwrap();
    let answers = Arc::new(answers);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, answers) = (stream.unwrap(), answers.clone());
            thread::spawn(move || {
                let (mut head, mut byte) = (Vec::new(), [0]);
                while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
                    head.push(byte[0]);
                }
                let head = String::from_utf8(head).unwrap();
                let mut lines = head.lines().map(str::to_ascii_lowercase);
                let length = lines.find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
                let mut body = vec![0; length.unwrap_or(0)];
                // Who asked may be gone.
                if stream.read_exact(&mut body).is_ok() {
                    let _ = stream.write_all(answers(&head, &body).as_bytes());
                }
            });
        }
    });
    format!("http://{address}")
}

/// An answer with that status, such as `200 OK`, these header lines and this body.
pub(crate) fn answer(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}")
}
