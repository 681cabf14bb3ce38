//! Two instances fill the same digests while they are killed again and again: each message is in one digest, and each digest
//! comes once, or is marked.
//!
//! `KILL_MESSAGES` and `KILLS` make it as long as wanted, `KILL_SEED` another one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use activity_relay::sandbox::inboxes::Arrival;
use activity_relay::store::Filter;
use serde_json::Value;

use crate::instances_killed::{RUN, Shared};
use crate::world::{say, setting};

const DIGESTS: &str = r#"
version: 1
accounts:
  - { name: main, token: "${TOKEN}", base_url: "${API}", start_from: beginning, poll_every: 1s, lookup: false }
defaults: { retry: { first: 1s, max: 2s } }
targets:
  crm: { type: http, url: "${HTTP}", allow_private: true, body: event, timeout: 1s, concurrency: 8 }
rules:
  - { name: all, match: {}, deliver: [{ to: crm, digest: { every: 1h } }] }
"#;

impl Shared {
    /// An hour passes for all digests.
    async fn close_digests(&self) {
        let sql = "UPDATE deliveries SET due_at = due_at - 3600000 WHERE state = 'pending' AND starts = 0";
        self.database.batch_execute(sql).await.unwrap();
    }
}

/// The messages that a digest brought.
fn uids(arrival: &Arrival) -> BTreeSet<String> {
    let body: Value = serde_json::from_str(&arrival.body).unwrap();
    let items = body["data"]["items"].as_array().unwrap_or_else(|| panic!("no digest: {body}"));
    items.iter().map(|item| item["message"]["uid"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_message_is_in_one_digest_whoever_is_killed() {
    let Some(shared) = Shared::new(DIGESTS).await else { return };
    let (messages, kills) = (setting("KILL_MESSAGES", 100), setting("KILLS", 6));
    let mut rng = fastrand::Rng::with_seed(u64::try_from(setting("KILL_SEED", 1)).unwrap());
    let (stage, started) = (&shared.stage, Instant::now());
    // Its tables are there from here on.
    drop(stage.store().await);
    let mut running = vec![stage.start(RUN), stage.start(RUN)];
    for round in 0..kills {
        stage.receive(messages / kills);
        let there = stage.uids().len() - rng.usize(..=messages / kills);
        // In the course of the joining: the kill hits whatever goes on then.
        let there = i64::try_from(there).unwrap();
        shared.until_number("SELECT count(*) FROM messages", |taken_in| taken_in >= there).await;
        if round % 2 == 0 {
            shared.close_digests().await;
        }
        let killed = running.remove(rng.usize(..2));
        let process = killed.id();
        killed.kill().await;
        shared.outlast(&process).await;
        running.push(stage.start(RUN));
    }
    let all = i64::try_from(stage.uids().len()).unwrap();
    shared.until_number("SELECT count(*) FROM messages", |taken_in| taken_in == all).await;
    shared.close_digests().await;
    shared.until_number("SELECT count(*) FROM deliveries WHERE settled_at IS NULL", |open| open == 0).await;
    let rows = stage.store().await.deliveries(Filter::default()).await.unwrap().0;
    let mut arrived: BTreeMap<String, Vec<BTreeSet<String>>> = BTreeMap::new();
    for arrival in stage.sandbox.http.received() {
        arrived.entry(arrival.identity().to_owned()).or_default().push(uids(&arrival));
    }
    let mut seen = BTreeSet::new();
    let (mut duplicates, mut marked) = (0, 0);
    for row in &rows {
        let times = arrived.remove(row.id.as_str()).unwrap_or_else(|| panic!("{row:?} never came"));
        let told: BTreeSet<String> = row.messages.iter().cloned().collect();
        assert!(times.iter().all(|uids| *uids == told), "{times:?} of {row:?}");
        assert!(told.iter().all(|uid| seen.insert(uid.clone())), "twice in digests: {row:?}");
        assert!(times.len() == 1 || row.maybe_duplicate, "{} times, unmarked: {row:?}", times.len());
        duplicates += times.len() - 1;
        marked += usize::from(row.maybe_duplicate);
    }
    assert!(arrived.is_empty(), "{arrived:?}");
    assert_eq!(seen, stage.uids().into_iter().collect());
    say(&format!(
        "messages={} kills={kills} digests={} lost=0 duplicates={duplicates} marked={marked} ({:.1?})",
        seen.len(),
        rows.len(),
        started.elapsed()
    ));
}
