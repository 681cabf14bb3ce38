//! What is measured: posts alone, posts with durable commits, the relay from admission, the relay from the API, latency.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use activity_relay::daemon::clock::Clock;
use activity_relay::daemon::metrics::OfEnd;
use activity_relay::daemon::{Relay, driver};
use activity_relay::egress::policy::Policy;
use activity_relay::egress::{Egress, Request};
use activity_relay::model::delivery::StateName;
use activity_relay::sandbox::incoming::Incoming;
use activity_relay::sandbox::{Sandbox, Settings};
use activity_relay::store::{Admission, Store};
use futures_util::future::join_all;

use crate::bed::{admitted, message, peak_mib, relay_of, seen};

const PAGE: usize = 100;
const CONCURRENCY: usize = 64;
/// The steady pace at which latency is measured, and for how long.
const PACE_PER_SECOND: u32 = 200;
const PACED_FOR: Duration = Duration::from_secs(10);
/// How often the API is asked while latency is measured.
const POLL_EVERY: Duration = Duration::from_millis(500);

/// What an arm came to.
pub(crate) struct Figures {
    pub(crate) per_second: f64,
    /// For 1,000 deliveries, of the arm's own process.
    pub(crate) cpu_seconds: f64,
    /// The same of the PostgreSQL server, where it runs on this machine.
    pub(crate) server_cpu_seconds: f64,
    pub(crate) statements: f64,
    pub(crate) commits: f64,
    pub(crate) peak_mib: f64,
}

impl Figures {
    pub(crate) fn parse(text: &str) -> Self {
        let mut numbers = text.split_whitespace().map(|number| number.parse::<f64>().unwrap());
        let mut next = || numbers.next().unwrap();
        Self {
            per_second: next(),
            cpu_seconds: next(),
            server_cpu_seconds: next(),
            statements: next(),
            commits: next(),
            peak_mib: next(),
        }
    }

    fn of(deliveries: usize, took: Duration, cpu_before: f64, store: Option<&Store>) -> Self {
        let count = f64::from(u32::try_from(deliveries).unwrap());
        let each = |figure: u64| f64::from(u32::try_from(figure).unwrap()) / count;
        Self {
            per_second: count / took.as_secs_f64(),
            cpu_seconds: (cpu_seconds() - cpu_before) / count * 1000.0,
            server_cpu_seconds: 0.0,
            statements: store.map_or(0.0, |store| each(store.statements())),
            commits: store.map_or(0.0, |store| each(store.commits())),
            peak_mib: peak_mib(),
        }
    }
}

/// `arm NAME STORE RECEIVER`.
pub(crate) async fn run(arguments: &[String]) {
    let [arm, store, receiver] = arguments else { panic!("arm NAME STORE RECEIVER") };
    let url = format!("http://{receiver}/hook");
    if store.starts_with("postgres") {
        empty(store).await;
    }
    let deliveries = std::env::var("PIPELINE_DELIVERIES").map_or(20_000, |text| text.parse().unwrap());
    let server = Server::of(store).await;
    let server_cpu = server.cpu_seconds();
    let mut figures = match arm.as_str() {
        "posts" => posts(&url, deliveries, None).await,
        "durable" => posts(&url, deliveries, Some(store)).await,
        "deliver" => deliver(store, &url, deliveries).await,
        "poll" => poll(store, &url, deliveries).await,
        "latency" => return latency(store, &url).await,
        beside => return crate::neighbours::run(beside, store, &url).await,
    };
    let count = f64::from(u32::try_from(deliveries).unwrap());
    figures.server_cpu_seconds = (server.cpu_seconds() - server_cpu) / count * 1000.0;
    let Figures { per_second, cpu_seconds, server_cpu_seconds, statements, commits, peak_mib } = figures;
    println!("{per_second} {cpu_seconds} {server_cpu_seconds} {statements} {commits} {peak_mib}");
}

/// A database as the first run finds it.
async fn empty(url: &str) {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    let talking = tokio_util::task::TaskTracker::new();
    talking.spawn(connection);
    client.batch_execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public").await.unwrap();
}

/// The HTTP client alone; with a store, what is durable at the least beside it: one transaction for every 64, in which
/// 64 bodies are written down and 64 sent ones marked.
async fn posts(url: &str, count: usize, store: Option<&str>) -> Figures {
    let egress = Egress::new(Policy::Any);
    let url: url::Url = url.parse().unwrap();
    let body = serde_json::to_vec(&message("m0", Clock::System.now())).unwrap();
    let outbox = store.map(Outbox::start);
    let (cpu, start, sent) = (cpu_seconds(), Instant::now(), AtomicUsize::new(0));
    let lane = || async {
        while let n = sent.fetch_add(1, Ordering::Relaxed)
            && n < count
        {
            let request = Request {
                method: reqwest::Method::POST,
                url: url.clone(),
                headers: reqwest::header::HeaderMap::new(),
                body: body.clone(),
                answer_bytes_max: 65_536,
            };
            egress.send(request, Duration::from_secs(20)).await.unwrap();
            if let Some(outbox) = &outbox
                && n % CONCURRENCY == 0
            {
                outbox.commit(body.clone()).await;
            }
        }
    };
    join_all((0..CONCURRENCY).map(|_| lane())).await;
    Figures::of(count, start.elapsed(), cpu, None)
}

/// The least that a durable sender writes, on a thread of its own.
struct Outbox(std::sync::mpsc::Sender<(Vec<u8>, tokio::sync::oneshot::Sender<()>)>);

impl Outbox {
    fn start(url: &str) -> Self {
        let db = rusqlite::Connection::open(url.strip_prefix("sqlite://").unwrap()).unwrap();
        db.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
             CREATE TABLE outbox (id INTEGER PRIMARY KEY, body BLOB NOT NULL, sent INTEGER NOT NULL DEFAULT 0)",
        )
        .unwrap();
        let (sender, batches) = std::sync::mpsc::channel::<(Vec<u8>, tokio::sync::oneshot::Sender<()>)>();
        std::thread::spawn(move || {
            for (body, done) in batches {
                db.execute_batch("BEGIN IMMEDIATE").unwrap();
                for _ in 0..CONCURRENCY {
                    db.prepare_cached("INSERT INTO outbox (body) VALUES (?1)")
                        .unwrap()
                        .execute([&body])
                        .unwrap();
                    let mut mark = db.prepare_cached("UPDATE outbox SET sent = 1 WHERE id = ?1").unwrap();
                    mark.execute([db.last_insert_rowid()]).unwrap();
                }
                db.execute_batch("COMMIT").unwrap();
                done.send(()).unwrap();
            }
        });
        Self(sender)
    }

    async fn commit(&self, body: Vec<u8>) {
        let (done, committed) = tokio::sync::oneshot::channel();
        self.0.send((body, done)).unwrap();
        committed.await.unwrap();
    }
}

/// From admission, page by page as a poller brings them, to the last delivery's end in the store.
async fn deliver(store_url: &str, url: &str, count: usize) -> Figures {
    let relay = relay(store_url, url, "http://127.0.0.1:9").await;
    let (cpu, start) = (cpu_seconds(), Instant::now());
    let (store, config) = (&relay.store, relay.config());
    let clock = Clock::System;
    let admitting = async {
        for first in (0..count).step_by(PAGE) {
            let now = clock.now();
            let messages =
                (first..count.min(first + PAGE)).map(|number| admitted(&format!("m{number}"), "crm", now));
            let page =
                Admission { account: "main".into(), messages: messages.collect(), ..Admission::default() };
            relay.courier.take_in(page, &config, now).await.unwrap();
            relay.owed.notify_one();
        }
    };
    tokio::join!(admitting, until_delivered(&relay, count));
    let figures = Figures::of(count, start.elapsed(), cpu, Some(store));
    assert_eq!(store.counts(None).await.unwrap().delivered, u64::try_from(count).unwrap());
    relay.stop.cancel();
    figures
}

/// From the API: the fake business has them all, the relay polls. (The fake business's own work is in the figure.)
async fn poll(store_url: &str, url: &str, count: usize) -> Figures {
    let sandbox = Sandbox::start(Settings::default(), Clock::System).await.unwrap();
    for number in 0..count {
        sandbox.business.receive(Incoming::text("Ann", &format!("message {number}")));
    }
    let relay = relay(store_url, url, sandbox.url()).await;
    let (cpu, start) = (cpu_seconds(), Instant::now());
    let polling = async {
        let mut taken = 0;
        while taken < count {
            taken += driver::poll_handing(&relay, &relay.posts.all()[0]).await.result.unwrap().messages;
            relay.owed.notify_one();
        }
    };
    tokio::join!(polling, until_delivered(&relay, count));
    let figures = Figures::of(count, start.elapsed(), cpu, Some(&relay.store));
    relay.stop.cancel();
    figures
}

/// Drives the courier as `run` does until so many have ended.
async fn until_delivered(relay: &Arc<Relay>, count: usize) {
    let sending = tokio_util::task::TaskTracker::new();
    let sender = relay.clone();
    sending.spawn(async move { driver::send_for_ever(&sender).await });
    let mut ended = relay.courier.ended();
    let count = u64::try_from(count).unwrap();
    let of = OfEnd::new("all", "crm", StateName::Delivered, "accepted");
    let delivered = relay.metrics.ended.get_or_create_owned(&of);
    while delivered.get() < count {
        let _ = ended.changed().await;
    }
    relay.courier.idle().await;
}

/// Messages come at a steady pace; each one's way from the first poll that could see it to the receiver.
async fn latency(store_url: &str, url: &str) {
    let sandbox = Sandbox::start(Settings::default(), Clock::System).await.unwrap();
    let relay = relay(store_url, url, sandbox.url()).await;
    let clock = Clock::System;
    let total = PACE_PER_SECOND * u32::try_from(PACED_FOR.as_secs()).unwrap();
    let mut visible = HashMap::new();
    let start = Instant::now();
    let producing = async {
        for number in 0..total {
            tokio::time::sleep_until((start + PACED_FOR * number / total).into()).await;
            let uid = sandbox.business.receive(Incoming::text("Ann", &format!("message {number}")));
            visible.insert(uid, clock.now().as_microsecond());
        }
    };
    let mut polls = Vec::new();
    let polling = async {
        let mut taken = 0;
        for round in 1.. {
            polls.push(clock.now().as_microsecond());
            taken += driver::poll_handing(&relay, &relay.posts.all()[0]).await.result.unwrap().messages;
            relay.owed.notify_one();
            if taken >= usize::try_from(total).unwrap() {
                return;
            }
            tokio::time::sleep_until((start + POLL_EVERY * round).into()).await;
        }
    };
    tokio::join!(producing, polling, until_delivered(&relay, usize::try_from(total).unwrap()));
    relay.stop.cancel();
    let received = seen(url).await;
    let mut ways: Vec<i64> = visible
        .iter()
        .map(|(uid, visible)| {
            let received = received[uid];
            // A poll under way may have met it; else the next one did.
            let poll = polls.iter().copied().find(|poll| poll >= visible).unwrap_or(received);
            received - if poll <= received { poll } else { *visible }
        })
        .collect();
    ways.sort_unstable();
    let at = |percent: usize| {
        let micros = ways[(ways.len() - 1) * percent / 100];
        f64::from(i32::try_from(micros).unwrap()) / 1000.0
    };
    println!(
        "at {PACE_PER_SECOND} messages/s, from the poll that could first see a message to its receipt: \
         p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms ({} messages, polled every {POLL_EVERY:?}; peak {:.1} MiB with the fake business in it)",
        at(50),
        at(99),
        at(100),
        ways.len(),
        peak_mib()
    );
}

async fn relay(store: &str, receiver: &str, api: &str) -> Arc<Relay> {
    let rules = format!(
        "targets: {{ crm: {{ type: http, url: '${{HTTP}}', allow_private: true, concurrency: {CONCURRENCY} }} }}\n\
         rules: [{{ name: all, match: {{}}, deliver: [{{ to: crm }}] }}]\n"
    );
    relay_of(store, &rules, &[("API", api), ("HTTP", receiver)]).await
}

/// User and system time of this process so far (proc(5): fields 14 and 15 of `stat`, in ticks of 1/100 s).
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields = fields(&stat);
    let ticks = |at: usize| fields[at].parse::<f64>().unwrap();
    (ticks(11) + ticks(12)) / 100.0
}

/// The PostgreSQL server's first process, where it runs on this machine.
struct Server(Option<String>);

impl Server {
    async fn of(url: &str) -> Self {
        if !url.starts_with("postgres") {
            return Self(None);
        }
        let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
        let talking = tokio_util::task::TaskTracker::new();
        talking.spawn(connection);
        let backend: i32 = client.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
        let stat = std::fs::read_to_string(format!("/proc/{backend}/stat")).ok();
        Self(stat.filter(|stat| stat.contains("(postgres)")).map(|stat| fields(&stat)[1].clone()))
    }

    /// Of all its processes so far, those that have ended among them.
    fn cpu_seconds(&self) -> f64 {
        let Some(first) = &self.0 else { return 0.0 };
        let mut ticks = 0.0;
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
            let fields = fields(&stat);
            let tick = |at: usize| fields[at].parse::<f64>().unwrap();
            if entry.file_name().to_str() == Some(first.as_str()) {
                ticks += tick(11) + tick(12) + tick(13) + tick(14);
            } else if fields[1] == *first {
                ticks += tick(11) + tick(12);
            }
        }
        ticks / 100.0
    }
}

/// A process's figures behind its name (proc(5)): state, parent, …
fn fields(stat: &str) -> Vec<String> {
    stat.rsplit(')').next().unwrap().split_whitespace().map(str::to_owned).collect()
}
