//! The program is killed while it talks to a target: after connecting, after the request, in the answer.

use std::net::SocketAddr;

use activity_relay::sandbox::Sandbox;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

use crate::faults::record::record;
use crate::oracle::Tally;
use crate::stage::{Stage, THREE, THREE_IN_FLIGHT};

const MESSAGES: usize = 12;
/// Taken off a connection at once; an answer is shorter.
const PIECE_BYTES: usize = 16 * 1024;

/// Where the first connection comes to a standstill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hold {
    /// Nothing is read from it.
    Connected,
    /// The receiver has the request and has answered; nothing of that is passed on.
    Requested,
    /// Half of the answer is passed on.
    Answering,
}

/// A way to the HTTP inbox: its first connection is held, the others pass. Its port, and the news that one is held.
async fn way(sandbox: &Sandbox, hold: Hold) -> (u16, oneshot::Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, to) = (listener.local_addr().unwrap().port(), inbox(sandbox));
    let (tell, news) = oneshot::channel();
    let tasks = TaskTracker::new();
    tasks.clone().spawn(async move {
        let mut tell = Some(tell);
        while let Ok((client, _)) = listener.accept().await {
            tasks.spawn(carry(client, to, hold, tell.take()));
        }
    });
    (port, news)
}

fn inbox(sandbox: &Sandbox) -> SocketAddr {
    let url: url::Url = sandbox.http.url().parse().unwrap();
    url.socket_addrs(|| None).unwrap()[0]
}

/// One connection, held if somebody is to be told so; it ends with the client.
async fn carry(mut client: TcpStream, to: SocketAddr, hold: Hold, tell: Option<oneshot::Sender<()>>) {
    let Some(tell) = tell else {
        let mut inbox = TcpStream::connect(to).await.unwrap();
        // Ends as its two sides do, be it by a kill.
        let _ = tokio::io::copy_bidirectional(&mut client, &mut inbox).await;
        return;
    };
    if hold != Hold::Connected {
        let (mut inbox, mut piece) = (TcpStream::connect(to).await.unwrap(), vec![0; PIECE_BYTES]);
        let answered = loop {
            let mut request = vec![0; PIECE_BYTES];
            tokio::select! {
                read = client.read(&mut request) => {
                    let read = read.unwrap();
                    inbox.write_all(&request[..read]).await.unwrap();
                }
                read = inbox.read(&mut piece) => break read.unwrap(),
            }
        };
        if hold == Hold::Answering {
            client.write_all(&piece[..answered / 2]).await.unwrap();
        }
    }
    tell.send(()).unwrap();
    // Until the client is gone.
    let _ = client.read_to_end(&mut Vec::new()).await;
}

async fn killed_while(hold: Hold, key: &str, saw: &str, how: &str) {
    let mut stage = Stage::with(THREE).await;
    let (port, news) = way(&stage.sandbox, hold).await;
    let mut url: url::Url = stage.sandbox.http.url().parse().unwrap();
    url.set_port(Some(port)).unwrap();
    stage.http_through(url.to_string());
    stage.receive(MESSAGES);
    let running = stage.start("run --listen none");
    news.await.unwrap();
    running.kill().await;
    let verdict = Tally::default().finish(&stage, stage.start("run --listen none"), 3 * MESSAGES).await;
    assert!(verdict.duplicates > 0 || hold == Hold::Connected, "{verdict:?}");
    record(key, how, &verdict.observed(0, THREE_IN_FLIGHT, saw));
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_when_it_has_connected() {
    let how = "a proxy takes the connection and reads nothing; SIGKILL from outside";
    killed_while(Hold::Connected, "kill-connected", "sent by the next run, marked as in doubt", how).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_when_the_request_is_written() {
    let how = "a proxy passes the request on and keeps the answer; SIGKILL from outside";
    killed_while(
        Hold::Requested,
        "kill-requested",
        "sent again by the next run with the same id, marked",
        how,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_the_answer() {
    let how = "a proxy passes half of the answer on; SIGKILL from outside";
    killed_while(
        Hold::Answering,
        "kill-answering",
        "sent again by the next run with the same id, marked",
        how,
    )
    .await;
}
