//! How SQLite goes about each statement, and what it does when the disk is full: seen from inside.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::Connection;
use serde_json::json;

use super::admit::Texts;
use super::db::{Db, Notes};
use super::place::Place;
use super::{
    admit, claim, figures, gather, history, listing, polling, replay, roles, schema, settle, tally, targets,
};
use crate::model::delivery::{Attempt, Planned, State, StateName};
use crate::model::good::MakesGood;
use crate::model::group::{Join, Kind, Over, Quota};
use crate::model::id::DeliveryId;
use crate::model::message::{Message, Triple};
use crate::model::payload::Payload;
use crate::model::rate::Rate;
use crate::model::settle::{TargetChange, Verdict};
use crate::model::throttle::Throttle;
use crate::store::{
    Admission, Admitted, Cursor, Filter, Mode, Quarantined, Settlement, Store, StoreError, Want,
};

/// Tables that grow with history; no statement of the daily work may read one from end to end.
const GROWING: [&str; 12] = [
    "deliveries",
    "d",
    "messages",
    "m",
    "attempts",
    "a",
    "payloads",
    "p",
    "delivery_messages",
    "dm",
    "resolutions",
    "r",
];

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_790_000_000 + seconds).unwrap()
}

fn day() -> Join {
    let key = "day".into();
    Join { kind: Kind::Digest, key, from: at(0), to: at(9), items_max: None, extend_max: None }
}

fn admission(uid: &str) -> Admission {
    let triple = Triple {
        activity_type: "Meeting".into(),
        message_type: "cancelled".into(),
        direction: "client_to_pivot".into(),
    };
    let message: Message = serde_json::from_value(json!({
        "account": "main", "uid": uid, "triple": triple, "created_at": at(0), "raw": {},
    }))
    .unwrap();
    let planned = Planned {
        id: DeliveryId::derive(at(0), &[uid]),
        account: "main".into(),
        rule: "r".into(),
        target: "desk".into(),
        recipient: None,
        template: "default".into(),
        messages: vec![uid.into()],
        notice: None,
        due_at: at(0),
        expires_at: None,
        withheld: None,
        replay_of: None,
        joins: None,
        quota: None,
        good_by: Vec::new(),
    };
    Admission {
        account: "main".into(),
        messages: vec![Admitted {
            message,
            rules: vec![],
            deliveries: vec![planned],
            makes_good: Vec::new(),
        }],
        quarantined: vec![Quarantined { uid: format!("q{uid}"), raw: json!(1), why: "?".into() }],
        cursor: Some(Cursor::default()),
        role: None,
    }
}

/// Everything that the store can do, once.
fn do_everything(db: &Db) {
    let wants = [Want {
        target: "desk".into(),
        limit: 5,
        lease: Duration::from_secs(9),
        rate: Some(Rate { every: Duration::from_millis(1), burst: NonZeroU32::MAX }),
        concurrency: 5,
        ahead: 0,
    }];
    admit::admit(db, &admission("m1"), &Texts::of(&admission("m1")).unwrap(), &[], at(0)).unwrap();
    let mut good = admission("m2");
    good.messages[0].deliveries[0].good_by = vec!["ann".into()];
    good.messages[0].makes_good = vec![MakesGood { rules: vec!["r".into()], key: "ann".into() }];
    admit::admit(db, &good, &Texts::of(&good).unwrap(), &[], at(0)).unwrap();
    claim::claim(db, &wants, at(0)).unwrap();
    claim::take_over(db).unwrap();
    let mut jobs = claim::claim(db, &wants, at(1)).unwrap().jobs;
    let (job, other) = (jobs.remove(0), jobs.remove(0));
    let id = job.claim.id.clone();
    let settlement = Settlement {
        plain: false,
        claim: job.claim,
        target: job.target,
        verdict: Verdict {
            state: State::Delivered { at: at(1) },
            counts: true,
            plain: false,
            target: TargetChange::Healthy,
        },
        attempt: Attempt {
            at: at(1),
            outcome: "delivered".into(),
            status: None,
            reason: String::new(),
            latency_ms: 1,
            answer: None,
        },
        payload: Some(Payload::Slack(json!({}))),
        maybe_duplicate: false,
        notices: Vec::new(),
        turn_notices: Vec::new(),
    };
    let settlements = [settlement.into()];
    assert_eq!(
        settle::settle(db, &settlements, settle::payloads(&settlements).unwrap(), at(1)).unwrap(),
        [true]
    );
    settle::release(db, &[other.claim], at(1)).unwrap();
    claim::next_due(db, &["desk".into()]).unwrap();
    claim::outlook(db, &["desk".into()]).unwrap();
    replay::replay(db, &[id.clone().into()], at(2)).unwrap();
    replay::discard(db, std::slice::from_ref(&id), at(2)).unwrap();
    let park = TargetChange::Park { probe_at: at(9) };
    targets::change(db, "desk", |it| it.apply(park, "why", None, None)).unwrap();
    share_everything(db, &wants, &id);
    polling::seen(db, "main", &["m1".into()]).unwrap();
    polling::seen_between(db, "main", at(0), at(1)).unwrap();
    show_everything(db, &id);
    history::prune(db, at(9), at(9), 9).unwrap();
    tally::check(db);
}

/// What people and pages are shown, once.
fn show_everything(db: &Db, id: &DeliveryId) {
    listing::delivery(db, id).unwrap();
    listing::message(db, None, "m1").unwrap();
    listing::ids_like(db, "d", 2).unwrap();
    listing::counts(db, None).unwrap();
    listing::counts_by_target(db).unwrap();
    listing::oldest_due_by_target(db).unwrap();
    let any = Filter { rule: Some("r".into()), ..Filter::default() };
    let open = vec![StateName::Pending, StateName::Sending];
    for states in [vec![StateName::Dead], vec![StateName::Pending], open] {
        listing::deliveries(db, &Filter { states, ..any.clone() }).unwrap();
    }
    listing::deliveries(db, &Filter { message: Some("m1".into()), ..any.clone() }).unwrap();
    listing::deliveries(db, &Filter { limit: Some(9), ..Filter::default() }).unwrap();
    listing::deliveries(db, &Filter { made_good_by: Some("m2".into()), ..Filter::default() }).unwrap();
    history::triples(db).unwrap();
    listing::page(db, &Filter { limit: Some(9), before: Some(5), ..Filter::default() }).unwrap();
    figures::ended_per(db, at(0), Duration::from_hours(1)).unwrap();
    figures::latencies(db, &[(at(0), at(9))], 9).unwrap();
    figures::arrivals(db, None, 9).unwrap();
    figures::ended_since(db, &StateName::ENDS, at(0), 9).unwrap();
    figures::took_since(db, "desk", at(0)).unwrap();
    figures::triples_since(db, at(0)).unwrap();
    figures::moments(db, at(0), 9).unwrap();
}

/// What several couriers and instances need of it, once.
fn share_everything(db: &Db, wants: &[Want], id: &DeliveryId) {
    targets::pause(db, "desk", false, "").unwrap();
    admit::tell(db, "polling main", true, &[], at(1)).unwrap();
    admit::tell(db, "polling main", false, &[], at(1)).unwrap();
    admit::tell_afterwards(db, "store", at(0), &[], at(1)).unwrap();
    roles::beat(db, "host", "c0ffee", at(0), at(1)).unwrap();
    roles::hold(db, &["janitor".into()], Duration::from_secs(1), at(1)).unwrap();
    roles::let_go(db, &["janitor".into()]).unwrap();
    roles::leave(db, at(0)).unwrap();
    let joining = |uid: &str| {
        let mut admission = admission(uid);
        let planned = &mut admission.messages[0].deliveries[0];
        planned.joins = Some(day());
        let throttle = Throttle { limit: NonZeroU32::MIN, per: Duration::from_hours(1) };
        let over = Over::join(day(), None);
        planned.quota = Some(Quota { key: "k".into(), throttle, over });
        admission
    };
    admit::admit(db, &joining("m3"), &Texts::of(&joining("m3")).unwrap(), wants, at(0)).unwrap();
    admit::admit(db, &joining("m4"), &Texts::of(&joining("m4")).unwrap(), wants, at(0)).unwrap();
    gather::waiting(db, "desk", at(2), 9).unwrap();
    gather::held(db, "desk", at(2), 9).unwrap();
    replay::flush(db, std::slice::from_ref(id), at(2)).unwrap();
    listing::deliveries(db, &Filter { open: true, ..Filter::default() }).unwrap();
    let of = ("main".to_owned(), "r".to_owned(), "desk".to_owned(), None);
    listing::expired(db, &of, at(0)).unwrap();
    let whole =
        Planned { id: DeliveryId::from_text("d-whole"), ..admission("m3").messages[0].deliveries[0].clone() };
    gather::gather(db, whole, std::slice::from_ref(id), at(2)).unwrap();
}

fn plan(connection: &Connection, sql: &str) -> Vec<String> {
    let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let mut rows = statement.raw_query();
    let mut steps = Vec::new();
    while let Some(row) = rows.next().unwrap() {
        steps.push(row.get(3).unwrap());
    }
    steps
}

/// The statements with their plans; the schema is that of an empty database of its own.
fn plans() -> Vec<(String, Vec<String>)> {
    let db = Db::new(Connection::open_in_memory().unwrap(), Notes::default(), "i".into());
    schema::migrate(&db, &Place::Memory).unwrap();
    db.seen.borrow_mut().clear();
    do_everything(&db);
    let seen: BTreeSet<String> = db.seen.borrow().clone();
    assert!(seen.len() > 40, "only {} statements were seen", seen.len());
    let plain = Connection::open_in_memory().unwrap();
    for (_, sql) in schema::MIGRATIONS {
        plain.execute_batch(sql).unwrap();
    }
    seen.into_iter()
        .map(|sql| {
            let steps = plan(&plain, &sql);
            (sql, steps)
        })
        .collect()
}

#[test]
fn no_statement_reads_the_history_from_end_to_end() {
    for (sql, steps) in plans() {
        for step in steps {
            let scanned = step.strip_prefix("SCAN ").and_then(|rest| rest.split(' ').next());
            let growing = scanned.is_some_and(|table| GROWING.contains(&table));
            // These indexes hold what is open, not what is past; a list without conditions stops at its limit.
            let small = ["deliveries_leased", "deliveries_due", "deliveries_open", "deliveries_held"];
            let small = small.iter().any(|index| step.contains(index));
            let list_from_its_end = sql.contains("WHERE 1 ORDER BY d.seq");
            assert!(!growing || small || list_from_its_end, "{step}\n  in {sql}");
        }
    }
}

#[test]
fn a_claim_reads_its_index_in_order() {
    let plans = plans();
    let (_, steps) = plans.iter().find(|(sql, _)| sql.starts_with("SELECT d.seq, d.id, d.attempts")).unwrap();
    assert!(steps[0].contains("deliveries_due (target=? AND due_at<?)"), "{steps:?}");
    assert!(!steps.iter().any(|step| step.contains("TEMP B-TREE")), "{steps:?}");
}

#[tokio::test]
async fn a_full_disk_is_trouble_that_passes() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("relay.db").display());
    let store = Store::open(&url, Mode::Daemon).await.unwrap();
    let Store::Sqlite(sqlite) = &store else { panic!("a SQLite store") };
    // SQLite answers a file that may not grow exactly as it answers a disk that has no room.
    let room = |pages: u32| sqlite.write(move |db| db.batch(&format!("PRAGMA max_page_count = {pages}")));
    room(1).await.unwrap();
    let mut big = admission("m1");
    big.messages[0].message.body = "x".repeat(1 << 20);
    let error = store.admit(big, at(0)).await.unwrap_err();
    assert!(matches!(&error, StoreError::Trouble(text) if text.contains("disk is full")), "{error}");
    assert_eq!(store.counts(None).await.unwrap().pending, 0);
    room(1_000_000).await.unwrap();
    assert_eq!(store.admit(admission("m1"), at(0)).await.unwrap().deliveries, 1);
}

#[tokio::test]
async fn work_that_fails_takes_no_other_down() {
    let store = Store::open("sqlite::memory:", Mode::Daemon).await.unwrap();
    let Store::Sqlite(sqlite) = &store else { panic!("a SQLite store") };
    let broken = sqlite.write(|db| {
        db.run("UPDATE heartbeat SET n = 99", [])?;
        db.run("INSERT INTO heartbeat VALUES (2, 0)", [])
    });
    let (first, broken, last) = tokio::join!(store.ping(), broken, store.ping());
    assert!(first.is_ok() && broken.is_err() && last.is_ok());
    let n = sqlite.read(|db| db.one("SELECT n FROM heartbeat", [], |row| row.get::<_, i64>(0))).await;
    assert_eq!(n.unwrap(), Some(2));
}

#[test]
fn a_migration_that_fails_leaves_the_old_schema() {
    let db = Db::new(Connection::open_in_memory().unwrap(), Notes::default(), "i".into());
    db.batch("CREATE TABLE migrations (version INTEGER PRIMARY KEY, name TEXT, checksum TEXT)").unwrap();
    // Something in the way of the last statements of the first step.
    db.batch("CREATE TABLE heartbeat (n INTEGER)").unwrap();
    assert!(schema::migrate(&db, &Place::Memory).is_err());
    let tables = db
        .all("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name", [], |row| row.get(0))
        .unwrap();
    let tables: Vec<String> = tables;
    assert_eq!(tables, ["heartbeat", "migrations"]);
}
