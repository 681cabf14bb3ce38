//! Small servers on real sockets that behave as badly as they are told to.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot set itself up has failed")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What is read from and written to.
pub(crate) trait Wire: Read + Write {}
impl<T: Read + Write> Wire for T {}

/// A listening server; its threads end with the test program.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicU64>,
}

impl Server {
    /// Calls `serve` with each connection and its number, counted from 0.
    pub(crate) fn raw(address: &str, serve: impl Fn(TcpStream, u64) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(address).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let connections = Arc::new(AtomicU64::new(0));
        let (count, serve) = (Arc::clone(&connections), Arc::new(serve));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (number, serve) = (count.fetch_add(1, Ordering::SeqCst), Arc::clone(&serve));
                thread::spawn(move || serve(stream, number));
            }
        });
        Self { address, seen: Arc::default(), connections }
    }

    /// Reads one request per connection and hands it to `serve` to answer.
    pub(crate) fn http(serve: impl Fn(&mut TcpStream, &str, u64) + Send + Sync + 'static) -> Self {
        Self::http_on("127.0.0.1:0", serve)
    }

    /// The same on a given address.
    pub(crate) fn http_on(
        address: &str,
        serve: impl Fn(&mut TcpStream, &str, u64) + Send + Sync + 'static,
    ) -> Self {
        let seen: Arc<Mutex<Vec<String>>> = Arc::default();
        let log = Arc::clone(&seen);
        let server = Self::raw(address, move |mut stream, number| {
            let request = read_request(&mut stream);
            log.lock().unwrap().push(request.clone());
            serve(&mut stream, &request, number);
        });
        Self { seen, ..server }
    }

    /// Always gives the same answer.
    pub(crate) fn answers(answer: &str) -> Self {
        let answer = answer.to_owned();
        Self::http(move |stream, _, _| stream.write_all(answer.as_bytes()).unwrap_or_default())
    }

    /// The requests so far, as text.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    /// How many connections were accepted.
    pub(crate) fn connections(&self) -> u64 {
        self.connections.load(Ordering::SeqCst)
    }

    /// `http://127.0.0.1:PORT/PATH`.
    pub(crate) fn url(&self, path: &str) -> url::Url {
        url::Url::parse(&format!("http://{}{path}", self.address)).unwrap()
    }
}

/// An answer that says it is the last one on its connection.
pub(crate) fn answer(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}")
}

/// Head and body of one request.
pub(crate) fn read_request(stream: &mut dyn Wire) -> String {
    let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let text = String::from_utf8_lossy(&request).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                line.to_ascii_lowercase()
                    .strip_prefix("content-length:")
                    .map(|n| n.trim().parse::<usize>().unwrap())
            });
            if body.len() >= length.unwrap_or(0) {
                return text;
            }
        }
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return text,
            Ok(n) => request.extend_from_slice(&buffer[..n]),
        }
    }
}

/// Sends nothing until the other side hangs up.
pub(crate) fn stall(stream: &mut impl Read) {
    while matches!(stream.read(&mut [0; 256]), Ok(n) if n > 0) {}
}

/// Sends one byte each `pause` until the other side hangs up.
pub(crate) fn drip(stream: &mut TcpStream, bytes: &[u8], pause: Duration) {
    stream.set_read_timeout(Some(pause)).unwrap();
    for byte in bytes {
        if stream.write_all(&[*byte]).is_err() || matches!(stream.read(&mut [0; 16]), Ok(0)) {
            return;
        }
    }
}
