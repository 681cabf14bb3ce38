//! How PostgreSQL goes about each statement of the daily work, seen through its own log of plans; and what a claim costs
//! when a million deliveries wait.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use activity_relay::model::delivery::{State, StateName};
use activity_relay::model::good::MakesGood;
use activity_relay::model::group::{Over, Quota};
use activity_relay::model::settle::TargetChange;
use activity_relay::model::throttle::Throttle;
use activity_relay::store::{Filter, Mode, NameKind, Store};
use serde_json::Value;

use super::postgres::Cluster;
use super::store_kit::{admitted, at, claim, day, end, page, planned, settlement, want};

/// Tables that grow with history; no statement of the daily work may read one from end to end.
const GROWING: [&str; 5] = ["deliveries", "messages", "attempts", "payloads", "delivery_messages"];
/// Every statement is logged with the plan it was run by, those of triggers and foreign keys as well.
const LOG_PLANS: [&str; 5] = [
    "session_preload_libraries = 'auto_explain'",
    "auto_explain.log_min_duration = 0",
    "auto_explain.log_nested_statements = on",
    "auto_explain.log_format = json",
    "auto_explain.log_level = log",
];
/// Deliveries in the store, settled ones among them: enough for reading them all to be dear.
const ROWS: i64 = 40_000;

/// Many deliveries to a target: each so-manieth pending, the others delivered; each with message, attempt and payload.
/// Written without triggers and foreign keys, as nobody has the time.
async fn fill(cluster: &Cluster, database: &str, target: &str, rows: i64, pending_every: i64) {
    let client = cluster.connect(database).await;
    let message = serde_json::to_string(&super::store_kit::message("m")).unwrap();
    let sql = format!(
        "SET session_replication_role = replica;
         INSERT INTO counts VALUES ('{target}', 'pending', {rows} / {pending_every});
         INSERT INTO messages (account, uid, activity_type, message_type, direction, created_at, seen_at, rules, message)
           SELECT 'main', '{target}' || n, 'Meeting', 'cancelled', 'client_to_pivot', {at} + n, {at} + n, '[]', '{message}'
           FROM generate_series(1, {rows}) AS n;
         INSERT INTO deliveries (id, account, rule, target, template, state, due_at, created_at, settled_at)
           SELECT 'd{target}' || n, 'main', 'r', '{target}', 'default',
             CASE WHEN n % {pending_every} = 0 THEN 'pending' ELSE 'delivered' END,
             CASE WHEN n % {pending_every} = 0 THEN {at} END, {at} + n,
             CASE WHEN n % {pending_every} = 0 THEN NULL ELSE {at} + n END
           FROM generate_series(1, {rows}) AS n;
         INSERT INTO delivery_messages SELECT d.seq, 0, m.id FROM deliveries d
           JOIN messages m ON m.uid = substr(d.id, 2) WHERE d.target = '{target}';
         INSERT INTO attempts (delivery, n, at, outcome, reason, latency_ms)
           SELECT seq, 1, {at}, 'delivered', 'ok', 1 FROM deliveries
           WHERE target = '{target}' AND state = 'delivered';
         INSERT INTO payloads SELECT seq, false, '{{\"slack\":{{}}}}' FROM deliveries
           WHERE target = '{target}' AND state = 'delivered';",
        at = at(0).as_millisecond()
    );
    client.batch_execute(&sql).await.unwrap();
    client.batch_execute("VACUUM ANALYZE").await.unwrap();
}

/// Everything that the daily work does, once.
async fn do_everything(store: &Store) {
    let now = at(1_000);
    let joining = |uid: &str| {
        let mut joining = planned("desk", uid, now);
        joining.joins = Some(day(1_000));
        let throttle = Throttle { limit: NonZeroU32::MIN, per: Duration::from_hours(1) };
        let over = Over::join(day(1_000), None);
        joining.quota = Some(Quota { key: "k".into(), throttle, over });
        joining
    };
    for uid in ["x", "y"] {
        let owed = vec![planned("desk", uid, now), planned("crm", uid, now), joining(&format!("j{uid}"))];
        let mut one = admitted(uid, owed);
        one.deliveries[0].good_by = vec!["ann".into()];
        one.makes_good = vec![MakesGood { rules: vec!["cancellations".into()], key: "ann".into() }];
        one.deliveries[2].messages = vec![uid.into()];
        store.admit_leasing(page(vec![one]), vec![want("crm", 9)], now).await.unwrap();
    }
    let mut jobs = claim(store, "desk", 20, now).await;
    assert_eq!(jobs.len(), 20);
    let id = jobs[0].claim.id.clone();
    let uid = jobs[0].messages[0].uid.clone();
    store.release(vec![jobs.pop().unwrap().claim], now).await.unwrap();
    let change = TargetChange::Failing { rest_until: None };
    assert!(end(store, jobs.pop().unwrap(), State::Pending { due_at: at(2_000) }, change, now).await);
    let ends = jobs
        .drain(..16)
        .map(|job| Arc::new(settlement(job, State::Delivered { at: now }, TargetChange::Healthy, now)));
    assert!(store.settle(ends.collect(), now).await.unwrap().into_iter().all(|written| written));
    if let Some(job) = store.claim(vec![want("desk", 1)], at(9_000)).await.unwrap().jobs.first() {
        store.expired(job, at(0)).await.unwrap();
    }
    store.outlook(&["desk".into()]).await.unwrap();
    store.next_due(&["desk".into()]).await.unwrap();
    store.counts(Some("desk")).await.unwrap();
    store.owed_targets().await.unwrap();
    store.counts_by_target().await.unwrap();
    store.oldest_due().await.unwrap();
    store.target_states().await.unwrap();
    store.replay(&[id.clone().into()], now).await.unwrap();
    store.gather(planned("desk", "whole", now), std::slice::from_ref(&id), now).await.unwrap();
    store.discard(std::slice::from_ref(&id), now).await.unwrap();
    store.held("desk", now, 9).await.unwrap();
    store.waiting("desk", now, 9).await.unwrap();
    store.flush(std::slice::from_ref(&id), now).await.unwrap();
    store.deliveries(Filter { open: true, ..Filter::default() }).await.unwrap();
    store.seen("main", &[uid.clone(), "new".into()]).await.unwrap();
    store.seen_between("main", at(0), at(1)).await.unwrap();
    store.message(Some("main"), &uid).await.unwrap();
    store.delivery(&id).await.unwrap().unwrap();
    store.ids_like("ddesk1", 2).await.unwrap();
    store.name("main", NameKind::Client, "c1").await.unwrap();
    for states in
        [vec![StateName::Dead], vec![StateName::Pending], vec![StateName::Expired, StateName::Sending]]
    {
        store.deliveries(Filter { states, ..Filter::default() }).await.unwrap();
    }
    store.deliveries(Filter { message: Some(uid), ..Filter::default() }).await.unwrap();
    store.deliveries(Filter { limit: Some(9), ..Filter::default() }).await.unwrap();
    store.deliveries(Filter { made_good_by: Some("y".into()), ..Filter::default() }).await.unwrap();
    store.page(Filter { limit: Some(9), before: Some(50), ..Filter::default() }).await.unwrap();
    watch_everything(store).await;
    store.prune(at(1), at(1), 50).await.unwrap();
    store.pause_target("desk", true, "by hand").await.unwrap();
    store.pause_target("desk", false, "").await.unwrap();
}

/// What the console asks, once.
async fn watch_everything(store: &Store) {
    store.ended_per(at(39_990), Duration::from_hours(1)).await.unwrap();
    store.latencies(&[(at(39_990), at(39_999))], 9).await.unwrap();
    store.arrivals(Some(5), 9).await.unwrap();
    store.ended_since(&StateName::ENDS, at(39_990), 9).await.unwrap();
    store.took_since("desk", at(39_990)).await.unwrap();
    store.triples_since(at(39_990)).await.unwrap();
}

/// All plans in a log: each a text of several lines behind the word `plan:`.
fn plans(log: &str) -> Vec<Value> {
    log.split("plan:\n")
        .skip(1)
        .map(|rest| {
            let mut values = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
            values.next().unwrap().unwrap()
        })
        .collect()
}

/// Indexes that hold open deliveries only.
const OF_OPEN_ONES: [&str; 5] =
    ["deliveries_due", "deliveries_leased", "deliveries_expiring", "deliveries_open", "deliveries_suspect"];

/// The tables that a plan reads from end to end, by themselves or by an index that is not told where to look; one that
/// stops after a few is not meant.
fn scanned(plan: &Value, limited: bool, found: &mut BTreeSet<String>) {
    match plan {
        Value::Object(fields) => {
            let text = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default();
            let aimed = fields.contains_key("Index Cond") || OF_OPEN_ONES.contains(&text("Index Name"));
            let whole = match text("Node Type") {
                "Seq Scan" => true,
                "Index Scan" | "Index Only Scan" => !aimed && !limited,
                "Bitmap Index Scan" => !aimed,
                _ => false,
            };
            if whole {
                found.insert(format!("{} {}", text("Relation Name"), text("Index Name")));
            }
            let limited = text("Node Type") == "Limit" || limited && text("Node Type") != "Sort";
            fields.values().for_each(|value| scanned(value, limited, found));
        }
        Value::Array(values) => values.iter().for_each(|value| scanned(value, limited, found)),
        _ => {}
    }
}

#[tokio::test]
async fn no_statement_reads_the_history_from_end_to_end() {
    let Some(cluster) = Cluster::prepared(|_| LOG_PLANS.join("\n") + "\n") else { return };
    let name = cluster.database().await;
    let store = Store::open(&cluster.url(&name), Mode::Daemon).await.unwrap();
    fill(&cluster, &name, "desk", ROWS, 10).await;
    let before = std::fs::metadata(cluster.log()).unwrap().len();
    do_everything(&store).await;
    drop(store);
    let log = std::fs::read(cluster.log()).unwrap();
    let log = String::from_utf8_lossy(&log[usize::try_from(before).unwrap()..]).into_owned();
    let plans = plans(&log);
    assert!(plans.len() > 60, "only {} plans were logged", plans.len());
    let mut wrong = Vec::new();
    for plan in &plans {
        let mut tables = BTreeSet::new();
        scanned(plan, false, &mut tables);
        let grows = |table: &String| {
            table.starts_with("messages_")
                || table.starts_with("deliveries_")
                || GROWING.iter().any(|name| table.trim_start().starts_with(name))
        };
        if tables.iter().any(grows) {
            wrong.push(format!("{tables:?} in {}", plan["Query Text"].as_str().unwrap_or_default()));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n\n"));
}
