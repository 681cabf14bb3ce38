//! How long the console's pages and the API take over a store with much in it, and what the live feed costs deliveries while
//! many watch it.
//!
//! `CONSOLE_MESSAGES` says how many messages the store holds (100,000, with three deliveries each), `CONSOLE_LISTENERS` how
//! many watch (50), `CONSOLE_SECONDS` how long each of the feed's rounds is (10). `CONSOLE_STORE` names a PostgreSQL database
//! for it alone; else it is a SQLite file.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    reason = "a measurement that cannot be made ends; its figures are printed"
)]

#[path = "../bed/mod.rs"]
mod bed;
mod feed;
mod filling;
mod pages;

use std::sync::Arc;
use std::time::{Duration, Instant};

use activity_relay::config::secret::Environment;
use activity_relay::daemon::Relay;
use activity_relay::daemon::reload::{Origin, Reloader};
use activity_relay::daemon::systemd::Systemd;
use activity_relay::web;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use bed::receiver;

/// As in the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    rustls::crypto::aws_lc_rs::default_provider().install_default().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    match arguments.next().as_deref() {
        Some("receiver") => runtime.block_on(receiver::serve()),
        _ => runtime.block_on(measure()),
    }
}

fn number(name: &str, usual: u32) -> u32 {
    std::env::var(name).map_or(usual, |text| text.parse().unwrap())
}

async fn measure() {
    let (mut receiver, address) = receiver::start();
    let (hook, seen) = (format!("http://{address}/hook"), format!("http://{address}/seen"));
    let folder = tempfile::tempdir().unwrap();
    let file = format!("sqlite://{}", folder.path().join("relay.db").display());
    let store = std::env::var("CONSOLE_STORE").unwrap_or(file);
    let environment = [("API", "http://127.0.0.1:9"), ("HTTP", hook.as_str())];
    let relay = bed::relay_of(&store, filling::RULES, &environment).await;
    let start = Instant::now();
    let messages = number("CONSOLE_MESSAGES", 100_000);
    let known = filling::fill(&relay, messages).await;
    println!("{messages} messages with {} deliveries, written in {:.0?}\n", 3 * messages, start.elapsed());
    let (serving, closing, address) = served(&relay).await;
    pages::time_all(&format!("http://{address}"), &known).await;
    let listeners = number("CONSOLE_LISTENERS", 50);
    let seconds = Duration::from_secs(u64::from(number("CONSOLE_SECONDS", 10)));
    feed::compare(&relay, &address, &seen, listeners, seconds).await;
    println!("peak memory of the relay, its store's filling and the listeners: {:.0} MiB", bed::peak_mib());
    relay.stop.cancel();
    closing.cancel();
    serving.close();
    serving.wait().await;
    drop(receiver.stdin.take());
    receiver.wait().unwrap();
}

/// The console of a relay on a port of its own.
async fn served(relay: &Arc<Relay>) -> (TaskTracker, CancellationToken, String) {
    let listener = web::listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let origin = Origin { path: "rules.yaml".into(), environment: Environment::default() };
    let reloader = Reloader::new(relay.clone(), origin, Systemd::default());
    let settings = web::Settings { token: None, read_only: false, hosts: Vec::new() };
    let (serving, closing) = (TaskTracker::new(), CancellationToken::new());
    let (relay, until) = (relay.clone(), closing.clone());
    serving.spawn(async move { web::serve(listener, relay, reloader, settings, until).await.unwrap() });
    (serving, closing, address)
}
