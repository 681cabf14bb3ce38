//! How fast deliveries go from the store to an HTTP inbox in the same process, beside what the parts alone can do.
#![expect(clippy::unwrap_used, clippy::disallowed_macros, reason = "a measurement that cannot be made ends")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use activity_relay::config::load;
use activity_relay::config::secret::Environment;
use activity_relay::daemon::clock::{Chance, Clock};
use activity_relay::daemon::{Relay, Setup, driver};
use activity_relay::egress::policy::Policy;
use activity_relay::egress::{Egress, Request};
use activity_relay::model::delivery::Planned;
use activity_relay::model::id::DeliveryId;
use activity_relay::model::message::Message;
use activity_relay::sandbox::{Sandbox, Settings};
use activity_relay::store::{Admission, Admitted, Mode, Store};
use futures_util::future::join_all;
use jiff::Timestamp;
use serde_json::json;

const MESSAGES: usize = 4096;
const PAGE: usize = 100;
const CONCURRENCY: usize = 64;

fn main() {
    rustls::crypto::aws_lc_rs::default_provider().install_default().unwrap();
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(all());
}

async fn all() {
    let clock = Clock::System;
    let sandbox = Sandbox::start(Settings::default(), clock.clone()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let store = |name: &str| format!("sqlite://{}", folder.path().join(name).display());
    raw_http(sandbox.http.url(), None).await;
    raw_http(sandbox.http.url(), Some(Store::open(&store("raw.db"), Mode::Daemon).await.unwrap())).await;

    let rules = folder.path().join("rules.yaml");
    let text = format!(
        "version: 1\naccounts: [{{ name: main, token: '${{TOKEN}}', base_url: '${{API}}', lookup: false }}]\n\
         targets: {{ crm: {{ type: http, url: '${{HTTP}}', allow_private: true, concurrency: {CONCURRENCY} }} }}\nrules: []\n"
    );
    std::fs::write(&rules, text).unwrap();
    let environment =
        Environment::of([("TOKEN", sandbox.token()), ("API", sandbox.url()), ("HTTP", sandbox.http.url())]);
    let config = load(&rules, &environment).config.unwrap();
    let store = Store::open(&store("relay.db"), Mode::Daemon).await.unwrap();
    let now = clock.now();
    let setup = Setup {
        config,
        store: store.clone(),
        clock,
        chance: Chance::seeded(1),
        paced: false,
        dry_run: false,
    };
    let relay = Arc::new(Relay::new(setup));
    let start = Instant::now();
    for first in (0..MESSAGES).step_by(PAGE) {
        let messages = (first..MESSAGES.min(first + PAGE)).map(|number| admitted(number, now)).collect();
        let page = Admission { account: "main".into(), messages, ..Admission::default() };
        store.admit(page, now).await.unwrap();
    }
    println!("admit                      {}", rate(MESSAGES, start.elapsed()));
    driver::drain(&relay).await.unwrap();
    println!("admit → courier → inbox    {}", rate(MESSAGES, start.elapsed()));
    let delivered = store.counts(None).await.unwrap().delivered;
    let each =
        |figure: u64| f64::from(u32::try_from(figure).unwrap()) / f64::from(u32::try_from(MESSAGES).unwrap());
    let (statements, commits) = (each(store.statements()), each(store.commits()));
    println!("{delivered} delivered; {statements:.2} statements and {commits:.3} commits for each");
}

/// Posts alone; with a store, one durable transaction after every batch.
async fn raw_http(url: &str, store: Option<Store>) {
    let egress = Egress::new(Policy::Any);
    let start = Instant::now();
    for _ in 0..MESSAGES / CONCURRENCY {
        let send = || async {
            let request = Request {
                method: reqwest::Method::POST,
                url: url.parse().unwrap(),
                headers: reqwest::header::HeaderMap::new(),
                body: b"{}".to_vec(),
                answer_bytes_max: 65_536,
            };
            egress.send(request, Duration::from_secs(20)).await.unwrap()
        };
        join_all((0..CONCURRENCY).map(|_| send())).await;
        if let Some(store) = &store {
            store.ping().await.unwrap();
        }
    }
    let what = if store.is_some() { "posts, one commit for 64  " } else { "posts alone               " };
    println!("{what} {}", rate(MESSAGES, start.elapsed()));
}

fn rate(count: usize, time: Duration) -> String {
    let count = f64::from(u32::try_from(count).unwrap());
    format!("{:>8.0}/s", count / time.as_secs_f64())
}

fn admitted(number: usize, now: Timestamp) -> Admitted {
    let uid = format!("m{number}");
    let message: Message = serde_json::from_value(json!({
        "account": "main", "uid": uid, "created_at": now, "subject": "Massage", "body": "I cannot come", "raw": {"uid": uid},
        "triple": {"activity_type": "Meeting", "message_type": "cancelled", "direction": "client_to_pivot"},
    }))
    .unwrap();
    let planned = Planned {
        id: DeliveryId::derive(now, &[&uid]),
        account: "main".into(),
        rule: "all".into(),
        target: "crm".into(),
        recipient: None,
        template: "default".into(),
        messages: vec![uid],
        notice: None,
        due_at: now,
        expires_at: None,
        withheld: None,
        replay_of: None,
        joins: None,
    };
    Admitted { message, rules: vec!["all".into()], deliveries: vec![planned] }
}
