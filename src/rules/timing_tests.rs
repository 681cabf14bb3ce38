//! What deliveries wait for.

use std::collections::BTreeSet;

use jiff::civil::time;
use jiff::tz::TimeZone;

use super::*;
use crate::model::group::Kind;
use crate::model::message::Triple;
use crate::model::throttle::Pass;
use crate::rules::condition::Pattern;
use crate::rules::window::{Days, Times};

fn at(text: &str) -> Timestamp {
    format!("2026-03-{text}:00+01:00").parse().unwrap()
}

fn message(made: &str, client: &str) -> Message {
    Message { client_uid: Some(client.to_owned()), ..message_at(at(made)) }
}

/// A message of some client, made at that moment.
pub(super) fn message_at(made: Timestamp) -> Message {
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
        client_uid: Some("c1".to_owned()),
        channels: Vec::new(),
        subject: String::new(),
        body: String::new(),
        meeting: None,
        created_at: made,
        updated_at: None,
        raw: serde_json::Value::Null,
    }
}

fn rome() -> TimeZone {
    TimeZone::get("Europe/Rome").unwrap()
}

fn at_eight(days: &str) -> Digest {
    let moments = Moments {
        times: Times::OfDay { at: vec![time(8, 0, 0, 0)], days: Days::parse(days).unwrap() },
        zone: rome(),
        holidays: BTreeSet::new(),
    };
    Digest {
        closes: Closes::At(moments),
        group_by: Key::of_fields([]).unwrap(),
        items_max: None,
        leading: false,
        if_empty: IfEmpty::Skip,
    }
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

fn name(when: &When) -> Option<String> {
    when.joins.as_ref().map(Join::name)
}

fn at_once(now: &str) -> When {
    When { due_at: at(now), joins: None, quota: None, withheld: None }
}

fn when(timing: &Timing, made: &str, now: &str) -> When {
    timing.when(&message(made, "c1"), &Names::default(), at(now))
}

#[test]
fn without_timing_it_is_due_at_once() {
    let when = when(&Timing::default(), "10T09:00", "10T09:01");
    assert_eq!(when, at_once("10T09:01"));
}

#[test]
fn a_digest_takes_in_what_is_seen_until_it_closes() {
    let timing = Timing { digest: Some(at_eight("mon-fri")), ..Timing::default() };
    let first = when(&timing, "10T09:00", "10T09:01");
    assert_eq!(first.due_at, at("11T08:00"));
    assert_eq!(name(&first), name(&when(&timing, "11T07:59", "11T07:59")));
    let join = first.joins.as_ref().unwrap();
    assert_eq!((join.from, join.to), (at("10T08:00"), at("11T08:00")));
    let next = when(&timing, "11T07:59", "11T08:00");
    assert_eq!(next.due_at, at("12T08:00"));
    assert_ne!(name(&next), name(&first));
    assert_eq!(when(&timing, "13T20:00", "13T20:00").due_at, at("16T08:00"));
}

#[test]
fn what_a_relay_that_was_down_should_have_sent_is_sent_at_once_and_together() {
    let timing = Timing { digest: Some(at_eight("mon-fri")), ..Timing::default() };
    let before = when(&timing, "10T20:00", "10T20:00");
    let late = when(&timing, "11T07:00", "11T10:00");
    assert_eq!(
        (late.due_at, name(&late)),
        (at("11T08:00"), name(&before)),
        "it is due since it should have gone"
    );
    assert_eq!(when(&timing, "11T08:30", "11T10:00").due_at, at("12T08:00"));
}

#[test]
fn keys_make_digests_of_their_own() {
    let mut digest = at_eight("mon-sun");
    digest.group_by = Key::of_fields(["client.uid"]).unwrap();
    let timing = Timing { digest: Some(digest), ..Timing::default() };
    let of = |client| name(&timing.when(&message("10T09:00", client), &Names::default(), at("10T09:00")));
    assert_ne!(of("c1"), of("c2"));
    assert_eq!(of("c1"), of("c1"));
}

#[test]
fn outside_of_the_hours_it_is_held_gathered_or_withheld() {
    let timing = |outside| Timing { during: Some(office(outside)), ..Timing::default() };
    let held = when(&timing(Outside::Hold), "13T19:00", "13T19:00");
    assert_eq!((held.due_at, held.joins), (at("16T08:00"), None));
    let gathered = when(&timing(Outside::Digest), "13T19:00", "13T19:00");
    assert_eq!(name(&gathered), name(&when(&timing(Outside::Digest), "15T12:00", "15T12:00")));
    assert!(gathered.joins.is_some() && gathered.due_at == at("16T08:00"));
    let dropped = when(&timing(Outside::Drop), "13T19:00", "13T19:00");
    assert_eq!(dropped.withheld.as_deref(), Some("it came outside of `office-hours`"));
    let inside = when(&timing(Outside::Drop), "13T18:29", "13T18:29");
    assert_eq!(inside, at_once("13T18:29"));
}

#[test]
fn what_is_excepted_passes_at_any_time() {
    let mut during = office(Outside::Hold);
    during.except = vec![Block { message_type: Some(vec![Pattern::new("payment_*")]), ..Block::default() }];
    let timing = Timing { during: Some(during), ..Timing::default() };
    assert_eq!(when(&timing, "13T19:00", "13T19:00").due_at, at("13T19:00"));
}

#[test]
fn a_digest_that_closes_outside_of_the_hours_waits_for_them() {
    let timing =
        Timing { during: Some(office(Outside::Hold)), digest: Some(at_eight("sat")), ..Timing::default() };
    let when = when(&timing, "13T09:00", "13T09:00");
    assert_eq!(when.due_at, at("16T08:00"));
    assert!(when.joins.is_some());
}

#[test]
fn the_first_of_a_time_goes_and_the_others_are_gathered_until_its_end() {
    let mut digest = at_eight("mon-sun");
    digest.leading = true;
    let when = when(&Timing { digest: Some(digest), ..Timing::default() }, "10T09:00", "10T09:00");
    assert_eq!((when.due_at, &when.joins), (at("10T09:00"), &None));
    let Some(Quota { throttle, over: Over::Join { join, due_at, .. }, .. }) = when.quota else { panic!() };
    assert_eq!((throttle.limit.get(), join.to, due_at), (1, at("11T08:00"), Some(at("11T08:00"))));
    let (window, _) = throttle.take(None, true, at("10T09:00"));
    assert!(matches!(throttle.take(Some(window), true, at("11T07:59")).1, Pass::Over { .. }));
}

#[test]
fn one_event_told_in_several_messages_waits_for_all_of_them() {
    let by = Key::of_fields(["client.uid"]).unwrap();
    let collapse = Some(Collapse { by, within: Duration::from_mins(1) });
    let timing = Timing { collapse, ..Timing::default() };
    let first = when(&timing, "10T09:00", "10T09:00");
    assert_eq!(first.due_at, at("10T09:01"));
    assert_eq!(first.joins.as_ref().unwrap().kind, Kind::Event);
    assert_eq!(name(&first), name(&when(&timing, "10T09:00", "10T09:00")));
}

#[test]
fn in_a_digest_an_event_is_what_came_soon_after_its_first_message() {
    let by = Key::of_fields(["client.uid"]).unwrap();
    let collapse = Collapse { by, within: Duration::from_mins(2) };
    let made = [("09:00", "ann"), ("09:01", "bob"), ("09:02", "ann"), ("09:03", "ann"), ("09:04", "bob")];
    let messages = made.map(|(made, client)| message(&format!("10T{made}"), client));
    let names = Names::default();
    let events = collapse.events(messages.iter().map(|message| (message, &names)));
    assert_eq!(events, [vec![0, 2], vec![1], vec![3], vec![4]], "counted from the first, not from the last");
    let timing = Timing { digest: Some(at_eight("mon-sun")), collapse: Some(collapse), ..Timing::default() };
    let joins = when(&timing, "10T09:00", "10T09:00").joins.unwrap();
    assert_eq!((joins.kind, joins.to), (Kind::Digest, at("11T08:00")));
}

#[test]
fn outside_of_the_hours_an_event_is_part_of_the_digest() {
    let by = Key::of_fields(["client.uid"]).unwrap();
    let collapse = Some(Collapse { by, within: Duration::from_mins(2) });
    let of =
        |outside| Timing { collapse: collapse.clone(), during: Some(office(outside)), ..Timing::default() };
    let kind = |outside, now| when(&of(outside), now, now).joins.unwrap().kind;
    assert_eq!(kind(Outside::Digest, "10T20:00"), Kind::Digest);
    assert_eq!(kind(Outside::Digest, "10T10:00"), Kind::Event);
    assert_eq!(kind(Outside::Hold, "10T20:00"), Kind::Event);
}

#[test]
fn a_key_s_missing_field_is_told() {
    let key = Key::of_fields(["staff.uid"]).unwrap();
    let throttle = Throttle { limit: NonZeroU32::MIN, per: Duration::from_hours(1) };
    let timing = Timing { throttle: Some(Limit { throttle, key, digest: false }), ..Timing::default() };
    assert_eq!(timing.missing(&message("10T09:00", "c1"), &Names::default()), ["staff.uid"]);
    let when = when(&timing, "10T09:00", "10T09:00");
    let Some(Quota { over: Over::Drop(why), .. }) = when.quota else { panic!() };
    assert_eq!(why, "throttled: no more than 1 in 1h");
}
