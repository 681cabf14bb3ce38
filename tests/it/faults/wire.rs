//! A server between the relay and its receiver: it passes everything on, or misbehaves as it is told to.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::target_server::{Server, Wire, read_request};

/// Writes what it likes instead of an answer.
pub(crate) type Instead = Arc<dyn Fn(&mut dyn Wire) + Send + Sync>;

/// What it does with a connection.
#[derive(Clone)]
pub(crate) enum Does {
    /// Passes the request on, and the answer back.
    Pass,
    /// Says nothing and reads nothing, until the other side hangs up.
    Stall,
    /// Reads so many bytes of the request and resets the connection.
    ResetAt(usize),
    /// Passes the request on; the answer comes back byte by byte, from the byte of this number on.
    Drip(usize, Duration),
    /// Passes the request on; the answer comes back once this is set.
    Hold(Arc<OnceLock<()>>),
    /// Reads the request, passes nothing on, and answers itself.
    Answer(Instead),
}

/// See the module.
pub(crate) struct Proxy {
    pub(crate) server: Server,
    state: Arc<Mutex<State>>,
}

struct State {
    does: Does,
    upstream: String,
    tls: Option<Arc<ServerConfig>>,
}

impl Proxy {
    /// One that misbehaves from the start; `lead` says where to when it no longer does.
    pub(crate) fn start(does: Does) -> Self {
        let state = Arc::new(Mutex::new(State { does, upstream: String::new(), tls: None }));
        let shared = Arc::clone(&state);
        let server = Server::raw("127.0.0.1:0", move |stream, _| {
            let (does, upstream, tls) = {
                let state = shared.lock().unwrap();
                (state.does.clone(), state.upstream.clone(), state.tls.clone())
            };
            serve(stream, &does, &upstream, tls);
        });
        Self { server, state }
    }

    /// One that speaks TLS with this certificate and passes everything on.
    pub(crate) fn tls(config: Arc<ServerConfig>) -> Self {
        let proxy = Self::start(Does::Pass);
        proxy.certify(config);
        proxy
    }

    /// From here on with another certificate.
    pub(crate) fn certify(&self, config: Arc<ServerConfig>) {
        self.state.lock().unwrap().tls = Some(config);
    }

    /// Passes on to where this URL's host is.
    pub(crate) fn lead(&self, url: &str) {
        self.state.lock().unwrap().upstream = host_of(url);
    }

    /// From here on it passes requests on and keeps the answers, until it is told to let go of them and passes everything on.
    pub(crate) fn holds(&self) -> impl FnOnce() + use<> {
        let released = Arc::new(OnceLock::new());
        self.does(Does::Hold(Arc::clone(&released)));
        let state = Arc::clone(&self.state);
        move || {
            state.lock().unwrap().does = Does::Pass;
            released.set(()).unwrap();
        }
    }

    /// From here on it does this.
    pub(crate) fn does(&self, does: Does) {
        self.state.lock().unwrap().does = does;
    }

    pub(crate) fn port(&self) -> u16 {
        self.server.address.port()
    }

    /// The inbox's address by way of this server.
    pub(crate) fn url(&self) -> String {
        self.server.url("/hooks/relay").to_string()
    }
}

/// From here on this listener passes everything on to where the URL's host is.
pub(crate) fn pass_on_from(listener: tokio::net::TcpListener, url: &str) {
    let (listener, upstream) = (listener.into_std().unwrap(), host_of(url));
    listener.set_nonblocking(false).unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let upstream = upstream.clone();
            std::thread::spawn(move || exchange(&mut stream, &Does::Pass, &upstream));
        }
    });
}

/// Host and port of a URL.
pub(crate) fn host_of(url: &str) -> String {
    let url = url::Url::parse(url).unwrap();
    format!("{}:{}", url.host_str().unwrap(), url.port().unwrap())
}

fn serve(mut stream: TcpStream, does: &Does, upstream: &str, tls: Option<Arc<ServerConfig>>) {
    match (does, tls) {
        (Does::Stall, _) => crate::target_server::stall(&mut stream),
        // What is left unread makes of a closed connection a reset one.
        (Does::ResetAt(bytes), _) => drop(stream.read_exact(&mut vec![0; *bytes])),
        (does, None) => exchange(&mut stream, does, upstream),
        (does, Some(config)) => {
            let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), stream);
            exchange(&mut stream, does, upstream);
            stream.conn.send_close_notify();
            let _ = stream.flush();
        }
    }
}

/// One request and its answer.
fn exchange(stream: &mut dyn Wire, does: &Does, upstream: &str) {
    let request = read_request(stream);
    if request.is_empty() {
        return;
    }
    if let Does::Answer(instead) = does {
        return instead(stream);
    }
    let answer = pass_on(&request, upstream);
    if let Does::Hold(released) = does {
        released.wait();
    }
    let written = match does {
        Does::Drip(from, pause) => drip(stream, &answer, *from, *pause),
        _ => stream.write_all(&answer),
    };
    // Whoever hung up meanwhile had enough.
    let _ = written.and_then(|()| stream.flush());
}

fn pass_on(request: &str, upstream: &str) -> Vec<u8> {
    let (line, rest) = request.split_once("\r\n").unwrap();
    let mut upstream = TcpStream::connect(upstream).unwrap();
    write!(upstream, "{line}\r\nconnection: close\r\n{rest}").unwrap();
    let mut answer = Vec::new();
    upstream.read_to_end(&mut answer).unwrap();
    answer
}

fn drip(stream: &mut dyn Wire, answer: &[u8], from: usize, pause: Duration) -> std::io::Result<()> {
    let (at_once, slowly) = answer.split_at(from.min(answer.len()));
    stream.write_all(at_once)?;
    for byte in slowly {
        std::thread::sleep(pause);
        stream.write_all(&[*byte])?;
    }
    Ok(())
}
