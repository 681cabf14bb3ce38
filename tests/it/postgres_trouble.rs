//! The program under load while its PostgreSQL restarts, runs out of disk or cannot be heard: nothing is lost.

use std::time::{Duration, Instant};

use activity_relay::store::{Mode, Store};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::disks::Small;
use crate::faults::record::record;
use crate::oracle::{Tally, Verdict};
use crate::postgres::Cluster;
use crate::stage::{Running, Stage, THREE, THREE_IN_FLIGHT};
use crate::store_kit::{at, claim_one, owe, want};
use crate::world::say;

const MESSAGES: usize = 60;
const OWED: usize = 3 * MESSAGES;
const RUN: &str = "run --listen none";
/// After so many arrivals each there is trouble.
const MOMENTS: [usize; 4] = [1, 40, 80, 130];

/// By then what nobody answers has been given up.
const GIVEN_UP: Duration = Duration::from_mins(1);
/// A server with its log takes so much, and little more fits beside it.
const DISK_MIB: u64 = 128;

/// A relay on a database of its own, with everything before it.
async fn under_load(cluster: &Cluster) -> (Stage, Running, String) {
    let database = cluster.database().await;
    let (stage, running) = under_load_on(cluster.url(&database)).await;
    (stage, running, database)
}

async fn under_load_on(url: String) -> (Stage, Running) {
    let stage = Stage::with(THREE).await.on(url);
    stage.receive(MESSAGES);
    let running = stage.start(RUN);
    (stage, running)
}

async fn finished(mut tally: Tally, stage: &Stage, running: Running) -> Verdict {
    // What comes in last: it polls as well.
    stage.receive(1);
    tally.finish(stage, running, OWED + 3).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_restarts_under_load_costs_nothing() {
    let Some(cluster) = Cluster::start(&[]) else { return };
    let (stage, running, _) = under_load(&cluster).await;
    let mut tally = Tally::default();
    for (place, moment) in MOMENTS.into_iter().enumerate() {
        tally.until(&stage.sandbox, |tally| tally.arrivals() >= moment).await;
        if place % 2 == 0 {
            cluster.stop_at_once();
        } else {
            cluster.stop();
        }
        cluster.start_again();
    }
    let verdict = finished(tally, &stage, running).await;
    let saw = "it waited for the server, wrote down what had been sent meanwhile, and went on by itself";
    let how = "`pg_ctl stop -m immediate` and `-m fast` by turns, then start, four times while it sends to three targets";
    record("pg-restarted", how, &verdict.observed(0, MOMENTS.len() * THREE_IN_FLIGHT, saw));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_are_cut_under_load_cost_nothing() {
    let Some(cluster) = Cluster::start(&[]) else { return };
    let (stage, running, database) = under_load(&cluster).await;
    let (mut tally, mut cut) = (Tally::default(), 0);
    for moment in MOMENTS {
        tally.until(&stage.sandbox, |tally| tally.arrivals() >= moment).await;
        cut += cluster.cut(&database).await;
    }
    assert!(cut > 0, "there were connections to cut");
    let verdict = finished(tally, &stage, running).await;
    let saw = "other connections took over, and everything was done once";
    let how = "pg_terminate_backend on all of its connections, four times while it sends to three targets";
    record("pg-cut", how, &verdict.observed(0, MOMENTS.len() * THREE_IN_FLIGHT, saw));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_connections_are_told_in_the_relays_own_words_alone() {
    let Some(cluster) = Cluster::start(&[]) else { return };
    let (stage, running, _) = under_load(&cluster).await;
    let mut tally = Tally::default();
    tally.until(&stage.sandbox, |tally| tally.arrivals() >= MOMENTS[1]).await;
    cluster.stop_at_once();
    stage.until_logged(&running, "nothing can be claimed at the moment").await;
    cluster.start_again();
    stage.until_logged(&running, "deliveries can be claimed again").await;
    tally.finish(&stage, running, OWED).await;
    let logged = stage.logged();
    for words in ["Connection error", "could not be recycled", "WARNING: terminating connection"] {
        assert!(!logged.contains(words), "{logged}");
    }
}

/// A way to the server, its port: while told so, whatever is sent is swallowed, and of the connections that were there
/// nobody hears again.
async fn way(to: u16, swallows: watch::Receiver<bool>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, tasks) = (listener.local_addr().unwrap().port(), TaskTracker::new());
    tasks.clone().spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tasks.spawn(carry(client, to, swallows.clone()));
        }
    });
    port
}

async fn carry(mut client: TcpStream, to: u16, mut swallows: watch::Receiver<bool>) {
    let mut server = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
    let swallowed = async { swallows.wait_for(|swallows| *swallows).await.is_ok() };
    let swallowed = tokio::select! {
        // Ends as its two sides do.
        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => false,
        swallowed = swallowed => swallowed,
    };
    if swallowed {
        std::future::pending::<()>().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_swallows_everything_holds_up_nothing_for_good() {
    let Some(cluster) = Cluster::start(&[]) else { return };
    let (hole, swallows) = watch::channel(false);
    let (database, port) = (cluster.database().await, way(cluster.port(), swallows).await);
    let url = format!("postgres://postgres@127.0.0.1:{port}/{database}?sslmode=disable");
    let (stage, running) = under_load_on(url).await;
    let mut tally = Tally::default();
    tally.until(&stage.sandbox, |tally| tally.arrivals() >= MOMENTS[1]).await;
    hole.send_replace(true);
    stage.receive(1);
    stage.until_logged_in(GIVEN_UP, &running, "did not answer for 30 s; is the network up?").await;
    hole.send_replace(false);
    let open = Instant::now();
    stage.until_logged(&running, "deliveries can be claimed again").await;
    say(&format!("claimed again {:.1?} after the network was there again", open.elapsed()));
    stage.receive(1);
    let verdict = tally.finish(&stage, running, OWED + 6).await;
    let saw = "it gave up what was not answered and its idle connections, and went on with new ones";
    let how = "a TCP proxy between relay and server stops passing on and never closes, for half a minute under load";
    record("pg-blackholed", how, &verdict.observed(0, THREE_IN_FLIGHT, saw));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_whose_disk_is_full_is_waited_for() {
    let Some(disk) = Small::new(DISK_MIB) else { return };
    let Some(cluster) = Cluster::within(disk.path()) else { return };
    let (stage, running, _) = under_load(&cluster).await;
    let mut tally = Tally::default();
    tally.until(&stage.sandbox, |tally| tally.arrivals() >= MOMENTS[1]).await;
    disk.fill();
    // Until what the server has room for inside its files is used up.
    let mut pages = 0;
    {
        let mut full = std::pin::pin!(stage.until_logged(&running, "free some space on the server's disk"));
        loop {
            stage.receive(MESSAGES);
            pages += 1;
            let enough = OWED + 3 * MESSAGES * pages;
            tokio::select! {
                () = &mut full => break,
                () = tally.until(&stage.sandbox, |tally| tally.arrivals() >= enough) => {}
            }
        }
    }
    disk.free();
    let verdict = tally.finish(&stage, running, OWED + 3 * MESSAGES * pages).await;
    let saw = "it said whose disk is full, waited, and went on by itself once there was room";
    let how = "a file fills the small filesystem (tmpfs) that the server's data lies on, while it sends to three targets";
    record("pg-disk-full", how, &verdict.observed(0, THREE_IN_FLIGHT, saw));
}

/// A way to the server that lets one commit through, once armed, and cuts the connection in place of its answer.
async fn cutting_way(to: u16, armed: watch::Sender<bool>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, tasks) = (listener.local_addr().unwrap().port(), TaskTracker::new());
    tasks.clone().spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tasks.spawn(carry_until_commit(client, to, armed.clone()));
        }
    });
    port
}

async fn carry_until_commit(mut client: TcpStream, to: u16, armed: watch::Sender<bool>) {
    let mut server = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
    let (mut asked, mut answered) = ([0; 16 << 10], [0; 16 << 10]);
    let mut cuts = false;
    loop {
        tokio::select! {
            Ok(count @ 1..) = client.read(&mut asked) => {
                // By itself: a transaction that begins names an isolation that is spelled alike.
                let commit = asked[..count].windows(8).any(|word| word == b"\x0bCOMMIT\0");
                cuts = commit && armed.send_replace(false);
                server.write_all(&asked[..count]).await.unwrap();
            }
            Ok(count @ 1..) = server.read(&mut answered) => {
                if cuts || client.write_all(&answered[..count]).await.is_err() {
                    return;
                }
            }
            else => return,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_claim_leased_whose_answer_was_lost_goes_with_the_next_one() {
    let Some(cluster) = Cluster::start(&[]) else { return };
    let database = cluster.database().await;
    let armed = watch::Sender::new(false);
    let port = cutting_way(cluster.port(), armed.clone()).await;
    let url = format!("postgres://postgres@127.0.0.1:{port}/{database}?sslmode=disable");
    let store = Store::open(&url, Mode::Daemon).await.unwrap();
    owe(&store, "desk", &["m1"]).await;
    armed.send_replace(true);
    store.claim(vec![want("desk", 1)], at(0)).await.unwrap_err();
    let counts = store.counts(Some("desk")).await.unwrap();
    assert_eq!((counts.pending, counts.sending), (0, 1), "it was committed");
    let job = claim_one(&store, "desk", at(0)).await;
    assert_eq!(job.claim.starts, 1, "it was not tried");
}
