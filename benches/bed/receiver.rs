//! The local receiver, in a process of its own: takes POSTs over kept-alive connections and notes when each message came.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use activity_relay::daemon::clock::Clock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
/// To what is posted to a path that ends in `/503`.
const TROUBLED: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";

/// When each message first came, in microseconds since the epoch, and how many POSTs came in all.
#[derive(Default)]
struct Seen {
    first: HashMap<String, i64>,
    posts: u64,
}

/// Serves until its standard input ends. `GET /seen` answers `posts` and then `uid micros` lines, and forgets them.
pub(crate) async fn serve() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut out = std::io::stdout();
    writeln!(out, "{}", listener.local_addr().unwrap()).unwrap();
    out.flush().unwrap();
    let seen = Arc::new(Mutex::new(Seen::default()));
    let connections = tokio_util::task::TaskTracker::new();
    let accepting = async {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            connections.spawn(talk(stream, seen.clone()));
        }
    };
    let ended = tokio::task::spawn_blocking(|| std::io::stdin().read(&mut [0; 1]));
    tokio::select! {
        () = accepting => {}
        _ = ended => {}
    }
}

/// Starts one: the process, and its address. It ends with its standard input.
pub(crate) fn start() -> (Child, String) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let mut child = command.arg("receiver").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut address = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut address).unwrap();
    (child, address.trim().to_owned())
}

async fn talk(mut stream: TcpStream, seen: Arc<Mutex<Seen>>) {
    let (mut bytes, mut chunk) = (Vec::new(), [0; 16 * 1024]);
    loop {
        let head = loop {
            if let Some(end) = find(&bytes, b"\r\n\r\n") {
                break end + 4;
            }
            match stream.read(&mut chunk).await {
                Ok(0) | Err(_) => return,
                Ok(count) => bytes.extend_from_slice(&chunk[..count]),
            }
        };
        let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
        let length = text.split("content-length:").nth(1).and_then(|rest| rest.lines().next());
        let length: usize = length.map_or(0, |length| length.trim().parse().unwrap());
        while bytes.len() < head + length {
            match stream.read(&mut chunk).await {
                Ok(0) | Err(_) => return,
                Ok(count) => bytes.extend_from_slice(&chunk[..count]),
            }
        }
        let answer = match text.split(' ').take(2).collect::<Vec<_>>()[..] {
            ["get", _] => told(&seen),
            [_, path] if path.ends_with("/503") => TROUBLED.to_vec(),
            _ => note(&bytes[head..head + length], &seen),
        };
        if stream.write_all(&answer).await.is_err() {
            return;
        }
        bytes.drain(..head + length);
    }
}

fn note(body: &[u8], seen: &Mutex<Seen>) -> Vec<u8> {
    let now = Clock::System.now().as_microsecond();
    let uid = find(body, b"\"uid\":\"")
        .map(|at| &body[at + 7..])
        .and_then(|rest| rest.split(|byte| *byte == b'"').next());
    let uid = uid.map(|uid| String::from_utf8_lossy(uid).into_owned()).unwrap_or_default();
    let mut seen = seen.lock().unwrap();
    seen.posts += 1;
    seen.first.entry(uid).or_insert(now);
    ANSWER.to_vec()
}

fn told(seen: &Mutex<Seen>) -> Vec<u8> {
    let seen = std::mem::take(&mut *seen.lock().unwrap());
    let lines: Vec<String> = seen.first.iter().map(|(uid, at)| format!("{uid} {at}")).collect();
    let body = format!("{}\n{}\n", seen.posts, lines.join("\n"));
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
