//! What the store's tests are written with: messages, what is owed for them, claims and their ends.

use std::time::Duration;

use activity_relay::model::delivery::{Attempt, Job, Notice, Planned, State, StateName};
use activity_relay::model::group::{Join, Kind};
use activity_relay::model::id::DeliveryId;
use activity_relay::model::message::{Message, Triple};
use activity_relay::model::payload::Payload;
use activity_relay::model::settle::{TargetChange, Verdict};
use activity_relay::store::{Admission, Admitted, Settlement, Store, Want};
use jiff::Timestamp;
use serde_json::json;
use tokio_postgres::NoTls;
use tokio_util::task::TaskTracker;

/// Every row that another one is about is there: SQLite does not look while the store writes.
pub(crate) fn no_loose_ends(database: &std::path::Path) {
    let database = rusqlite::Connection::open(database).unwrap();
    let mut check = database.prepare("PRAGMA foreign_key_check").unwrap();
    let loose: Vec<String> = check.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    assert!(loose.is_empty(), "rows of {loose:?} are about rows that are gone");
    let wrong =
        "SELECT count(*) FROM (SELECT target, state, sum(n) AS n FROM (SELECT target, state, n FROM counts
        UNION ALL SELECT target, state, -count(*) FROM deliveries GROUP BY target, state)
      GROUP BY target, state) WHERE n <> 0";
    let wrong = database.query_one(wrong, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(wrong, 0, "how many deliveries stand where is counted wrongly");
}

/// The same in PostgreSQL.
pub(crate) async fn no_loose_ends_at(url: &str) {
    let (database, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    TaskTracker::new().spawn(connection);
    let ends = [
        ("delivery_messages", "delivery", "deliveries", "seq"),
        ("delivery_messages", "message", "messages", "id"),
        ("attempts", "delivery", "deliveries", "seq"),
        ("payloads", "delivery", "deliveries", "seq"),
        ("resolutions", "delivery", "deliveries", "seq"),
    ];
    for (table, column, about, key) in ends {
        let sql = format!(
            "SELECT count(*) FROM {table} t WHERE NOT EXISTS (SELECT 1 FROM {about} WHERE {key} = t.{column})"
        );
        let loose: i64 = database.query_one(&sql, &[]).await.unwrap().get(0);
        assert_eq!(loose, 0, "rows of {table} are about {about} that are gone");
    }
}

/// The moment that tests count seconds from.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_790_000_000 + seconds).unwrap()
}

pub(crate) fn message(uid: &str) -> Message {
    Message {
        account: "main".into(),
        uid: uid.into(),
        uid_derived: false,
        triple: Triple {
            activity_type: "Meeting".into(),
            message_type: "cancelled".into(),
            direction: "client_to_pivot".into(),
        },
        raw_type: None,
        raw_direction: None,
        business_uid: None,
        staff_uid: None,
        client_uid: Some("c1".into()),
        channels: vec!["email".into()],
        subject: "Massage".into(),
        body: "I cannot come".into(),
        meeting: None,
        created_at: at(-10),
        updated_at: None,
        raw: json!({"uid": uid, "unknown_field": [1, 2, 3]}),
    }
}

/// A digest's group.
pub(crate) fn day(end: i64) -> Join {
    let key = "day".to_owned();
    Join { kind: Kind::Digest, key, from: at(0), to: at(end), items_max: None, extend_max: None }
}

pub(crate) fn planned(target: &str, uid: &str, due_at: Timestamp) -> Planned {
    Planned {
        id: DeliveryId::derive(at(-10 + i64::from(uid.as_bytes()[0])), &["main", uid, target]),
        account: "main".into(),
        rule: "cancellations".into(),
        target: target.into(),
        recipient: None,
        template: "default".into(),
        messages: vec![uid.into()],
        notice: None,
        due_at,
        expires_at: None,
        withheld: None,
        replay_of: None,
        joins: None,
        quota: None,
        good_by: Vec::new(),
    }
}

pub(crate) fn admitted(uid: &str, deliveries: Vec<Planned>) -> Admitted {
    Admitted {
        message: message(uid),
        rules: vec!["cancellations".into()],
        deliveries,
        makes_good: Vec::new(),
    }
}

pub(crate) fn page(messages: Vec<Admitted>) -> Admission {
    Admission { account: "main".into(), messages, ..Admission::default() }
}

/// Takes in one message per uid, each owed to the target at once.
pub(crate) async fn owe(store: &Store, target: &str, uids: &[&str]) {
    let messages = uids.iter().map(|uid| admitted(uid, vec![planned(target, uid, at(0))])).collect();
    let taken = store.admit(page(messages), at(0)).await.unwrap();
    assert_eq!(taken.deliveries, uids.len());
}

pub(crate) async fn claim(store: &Store, target: &str, limit: usize, now: Timestamp) -> Vec<Job> {
    store.claim(vec![want(target, limit)], now).await.unwrap().jobs
}

/// A want of a target without a rate.
pub(crate) fn want(target: &str, limit: usize) -> Want {
    let lease = Duration::from_secs(30);
    Want { target: target.into(), limit, lease, rate: None, concurrency: usize::MAX, ahead: 0 }
}

pub(crate) async fn claim_one(store: &Store, target: &str, now: Timestamp) -> Job {
    let mut jobs = claim(store, target, 1, now).await;
    jobs.pop().expect("something to claim")
}

pub(crate) fn uids(jobs: &[Job]) -> Vec<&str> {
    jobs.iter().map(|job| job.messages[0].uid.as_str()).collect()
}

pub(crate) fn attempt(outcome: &str, now: Timestamp) -> Attempt {
    Attempt {
        at: now,
        outcome: outcome.into(),
        status: Some(200),
        reason: format!("it was {outcome}"),
        latency_ms: 12,
        answer: Some("ok".into()),
    }
}

pub(crate) fn settlement(job: Job, state: State, target: TargetChange, now: Timestamp) -> Settlement {
    let outcome = state.name().as_str();
    Settlement {
        plain: job.plain,
        target: job.target,
        claim: job.claim,
        verdict: Verdict { state, counts: true, plain: job.plain, target },
        attempt: attempt(outcome, now),
        payload: Some(Payload::Slack(json!({"text": outcome}))),
        maybe_duplicate: false,
        notices: Vec::new(),
        turn_notices: Vec::new(),
    }
}

pub(crate) async fn settle(store: &Store, settlement: Settlement, now: Timestamp) -> bool {
    store.settle(vec![settlement.into()], now).await.unwrap()[0]
}

pub(crate) async fn end(store: &Store, job: Job, state: State, target: TargetChange, now: Timestamp) -> bool {
    settle(store, settlement(job, state, target, now), now).await
}

/// The target refuses it as if it refused everything.
pub(crate) async fn turn_away(store: &Store, job: Job, due: Timestamp, probe_at: Timestamp, now: Timestamp) {
    let park = TargetChange::Park { probe_at };
    let mut refused = settlement(job, State::Pending { due_at: due }, park, now);
    (refused.verdict.counts, refused.attempt.outcome) = (false, "target_broken".into());
    assert!(settle(store, refused, now).await);
}

/// A notice to those who watch over the targets.
pub(crate) fn notice(uid: &str) -> Planned {
    let notice = Notice { subject: uid.into(), text: "t".into() };
    Planned { notice: Some(notice), messages: vec![], ..planned("ops", uid, at(0)) }
}

pub(crate) async fn state_of(store: &Store, id: &DeliveryId) -> StateName {
    store.delivery(id).await.unwrap().expect("the delivery is there").row.state
}

pub(crate) fn dead(now: Timestamp) -> State {
    State::Dead { at: now, why: "refused".into() }
}

/// The target's first due delivery dies.
pub(crate) async fn kill_first(store: &Store, target: &str) {
    let job = claim_one(store, target, at(0)).await;
    assert!(end(store, job, dead(at(1)), TargetChange::None, at(1)).await);
}
