//! What deliveries wait for.

use std::collections::BTreeSet;

use jiff::civil::time;
use jiff::tz::TimeZone;

use super::*;
use crate::model::message::Triple;
use crate::rules::condition::Pattern;
use crate::rules::window::Days;

fn at(text: &str) -> Timestamp {
    format!("2026-03-{text}:00+01:00").parse().unwrap()
}

fn message(made: &str, client: &str) -> Message {
    Message {
        account: "main".to_owned(),
        uid: "m1".to_owned(),
        uid_derived: false,
        triple: Triple {
            activity_type: "Payment".to_owned(),
            message_type: "payment_failed".to_owned(),
            direction: "to_pivot".to_owned(),
        },
        raw_type: None,
        raw_direction: None,
        business_uid: None,
        staff_uid: None,
        client_uid: Some(client.to_owned()),
        channels: Vec::new(),
        subject: String::new(),
        body: String::new(),
        meeting: None,
        created_at: at(made),
        updated_at: None,
        raw: serde_json::Value::Null,
    }
}

fn rome() -> TimeZone {
    TimeZone::get("Europe/Rome").unwrap()
}

fn at_eight(days: &str) -> Digest {
    let moments = Moments {
        at: vec![time(8, 0, 0, 0)],
        days: Days::parse(days).unwrap(),
        zone: rome(),
        holidays: BTreeSet::new(),
    };
    Digest { closes: Closes::At(moments), group_by: Key::of_fields([]).unwrap() }
}

fn office(outside: Outside) -> During {
    let hours = Hours {
        days: Days::parse("mon-fri").unwrap(),
        from: time(8, 0, 0, 0),
        to: Some(time(18, 30, 0, 0)),
        zone: rome(),
        holidays: BTreeSet::new(),
    };
    During { schedule: "office-hours".to_owned(), hours, outside, except: Vec::new() }
}

fn when(timing: &Timing, made: &str, now: &str) -> When {
    timing.when(&message(made, "c1"), &Names::default(), at(now))
}

#[test]
fn without_timing_it_is_due_at_once() {
    let when = when(&Timing::default(), "10T09:00", "10T09:01");
    assert_eq!(when, When { due_at: at("10T09:01"), joins: None, withheld: None });
}

#[test]
fn a_digest_takes_in_what_is_seen_until_it_closes() {
    let timing = Timing { digest: Some(at_eight("mon-fri")), during: None };
    let first = when(&timing, "10T09:00", "10T09:01");
    assert_eq!(first.due_at, at("11T08:00"));
    assert_eq!(first, when(&timing, "11T07:59", "11T07:59"));
    let next = when(&timing, "11T07:59", "11T08:00");
    assert_eq!(next.due_at, at("12T08:00"));
    assert_ne!(next.joins, first.joins);
    assert_eq!(when(&timing, "13T20:00", "13T20:00").due_at, at("16T08:00"));
}

#[test]
fn what_a_relay_that_was_down_should_have_sent_is_sent_at_once_and_together() {
    let timing = Timing { digest: Some(at_eight("mon-fri")), during: None };
    let before = when(&timing, "10T20:00", "10T20:00");
    let late = when(&timing, "11T07:00", "11T10:00");
    assert_eq!((late.due_at, &late.joins), (at("11T10:00"), &before.joins));
    assert_eq!(when(&timing, "11T08:30", "11T10:00").due_at, at("12T08:00"));
}

#[test]
fn keys_make_digests_of_their_own() {
    let mut digest = at_eight("mon-sun");
    digest.group_by = Key::of_fields(["client.uid"]).unwrap();
    let timing = Timing { digest: Some(digest), during: None };
    let of = |client| timing.when(&message("10T09:00", client), &Names::default(), at("10T09:00")).joins;
    assert_ne!(of("c1"), of("c2"));
    assert_eq!(of("c1"), of("c1"));
}

#[test]
fn outside_of_the_hours_it_is_held_gathered_or_withheld() {
    let timing = |outside| Timing { during: Some(office(outside)), digest: None };
    let held = when(&timing(Outside::Hold), "13T19:00", "13T19:00");
    assert_eq!((held.due_at, held.joins), (at("16T08:00"), None));
    let gathered = when(&timing(Outside::Digest), "13T19:00", "13T19:00");
    assert_eq!(gathered.joins, when(&timing(Outside::Digest), "15T12:00", "15T12:00").joins);
    assert!(gathered.joins.is_some() && gathered.due_at == at("16T08:00"));
    let dropped = when(&timing(Outside::Drop), "13T19:00", "13T19:00");
    assert_eq!(dropped.withheld.as_deref(), Some("it came outside of `office-hours`"));
    let inside = when(&timing(Outside::Drop), "13T18:29", "13T18:29");
    assert_eq!(inside, When { due_at: at("13T18:29"), joins: None, withheld: None });
}

#[test]
fn what_is_excepted_passes_at_any_time() {
    let mut during = office(Outside::Hold);
    during.except = vec![Block { message_type: Some(vec![Pattern::new("payment_*")]), ..Block::default() }];
    let timing = Timing { during: Some(during), digest: None };
    assert_eq!(when(&timing, "13T19:00", "13T19:00").due_at, at("13T19:00"));
}

#[test]
fn a_digest_that_closes_outside_of_the_hours_waits_for_them() {
    let timing = Timing { during: Some(office(Outside::Hold)), digest: Some(at_eight("sat")) };
    let when = when(&timing, "13T09:00", "13T09:00");
    assert_eq!(when.due_at, at("16T08:00"));
    assert!(when.joins.is_some());
}
