//! A mail server between the relay and the inbox: it offers what it is told to, and breaks STARTTLS in each way.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::wire::host_of;
use crate::target_server::{Server, Wire, stall};

/// What it does when it is asked for STARTTLS.
#[derive(Clone)]
pub(crate) enum StartTls {
    /// Does not offer it.
    Stripped,
    /// Protects the connection.
    Works(Arc<ServerConfig>),
    /// Says this instead.
    Says(&'static str),
    /// Hangs up.
    HangsUp,
    /// Goes silent.
    Stalls,
}

/// See the module.
pub(crate) struct Post {
    pub(crate) server: Server,
    state: Arc<Mutex<State>>,
}

#[derive(Clone)]
struct State {
    start_tls: StartTls,
    offers: Vec<String>,
    upstream: String,
}

enum End {
    Over,
    Upgrade,
}

impl Post {
    /// A server that does this about STARTTLS; `lead` says where mails go on to.
    pub(crate) fn start(start_tls: StartTls) -> Self {
        let state = State { start_tls, offers: Vec::new(), upstream: String::new() };
        let state = Arc::new(Mutex::new(state));
        let shared = Arc::clone(&state);
        let server = Server::raw("127.0.0.1:0", move |stream, _| {
            let state = shared.lock().unwrap().clone();
            // Either side may hang up at any time.
            let _ = serve(stream, &state);
        });
        Self { server, state }
    }

    /// Mails go on to where this URL's host is.
    pub(crate) fn lead(&self, url: &str) {
        self.state.lock().unwrap().upstream = host_of(url);
    }

    /// From here on it does this about STARTTLS.
    pub(crate) fn start_tls(&self, start_tls: StartTls) {
        self.state.lock().unwrap().start_tls = start_tls;
    }

    /// Says this line too when it is greeted.
    pub(crate) fn offers(&self, line: &str) {
        self.state.lock().unwrap().offers.push(line.to_owned());
    }

    /// Its address, with what follows it.
    pub(crate) fn url(&self, query: &str) -> String {
        format!("smtp://localhost:{}{query}", self.server.address.port())
    }
}

fn serve(mut stream: TcpStream, state: &State) -> std::io::Result<()> {
    let mut upstream = TcpStream::connect(&state.upstream)?;
    let banner = reply(&mut upstream)?;
    stream.write_all(&banner)?;
    let offers = !matches!(state.start_tls, StartTls::Stripped);
    if let End::Over = talk(&mut stream, &mut upstream, state, offers)? {
        return Ok(());
    }
    match &state.start_tls {
        StartTls::Works(config) => {
            stream.write_all(b"220 go\r\n")?;
            let connection = ServerConnection::new(Arc::clone(config)).unwrap();
            talk(&mut StreamOwned::new(connection, stream), &mut upstream, state, false)?;
        }
        StartTls::Says(words) => stream.write_all(format!("{words}\r\n").as_bytes())?,
        StartTls::Stalls => stall(&mut stream),
        StartTls::HangsUp | StartTls::Stripped => {}
    }
    Ok(())
}

/// Carries lines and replies to and fro, until the end or until protection is asked for.
fn talk(
    client: &mut dyn Wire,
    upstream: &mut TcpStream,
    state: &State,
    offers: bool,
) -> std::io::Result<End> {
    let mut in_mail = false;
    while let Some(line) = line(client)? {
        let verb = String::from_utf8_lossy(&line).trim_end().to_ascii_uppercase();
        if verb == "STARTTLS" && !in_mail {
            return Ok(End::Upgrade);
        }
        upstream.write_all(&line)?;
        if in_mail && verb != "." {
            continue;
        }
        let mut answer = reply(upstream)?;
        if verb.starts_with("EHLO") {
            answer = b"250-post\r\n".to_vec();
            let tls = offers.then(|| "STARTTLS".to_owned());
            for offer in state.offers.iter().cloned().chain(tls) {
                answer.extend(format!("250-{offer}\r\n").into_bytes());
            }
            answer.extend(b"250 AUTH PLAIN LOGIN\r\n");
        }
        in_mail = verb == "DATA" && answer.starts_with(b"3");
        client.write_all(&answer)?;
        client.flush()?;
    }
    Ok(End::Over)
}

/// One line with its end; `None` where there is no more.
fn line(from: &mut (impl Read + ?Sized)) -> std::io::Result<Option<Vec<u8>>> {
    let (mut line, mut byte) = (Vec::new(), [0]);
    while from.read(&mut byte)? == 1 {
        line.push(byte[0]);
        if byte[0] == b'\n' {
            return Ok(Some(line));
        }
    }
    Ok(None)
}

/// One reply with all its lines.
fn reply(from: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut reply = Vec::new();
    while let Some(line) = line(from)? {
        reply.extend_from_slice(&line);
        if line.get(3) != Some(&b'-') {
            break;
        }
    }
    Ok(reply)
}
