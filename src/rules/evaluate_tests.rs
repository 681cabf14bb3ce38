//! Verdicts, the index against the linear judge, and what is owed.

use std::collections::HashSet;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::model::message::Triple;
use crate::rules::condition::Pattern;
use crate::rules::expression::Expression;
use crate::rules::plan::plan;
use crate::rules::timing::Timing;
use crate::rules::{Deliver, Place, Points};

fn message(account: &str, [kind, message, direction]: [&str; 3], raw_type: Option<&str>) -> Message {
    Message {
        account: account.to_owned(),
        uid: "m1".to_owned(),
        uid_derived: false,
        triple: Triple {
            activity_type: kind.to_owned(),
            message_type: message.to_owned(),
            direction: direction.to_owned(),
        },
        raw_type: raw_type.map(str::to_owned),
        raw_direction: None,
        business_uid: None,
        staff_uid: None,
        client_uid: None,
        channels: Vec::new(),
        subject: String::new(),
        body: String::new(),
        meeting: None,
        created_at: "2026-03-10T09:00:00Z".parse().unwrap(),
        updated_at: None,
        raw: serde_json::Value::Null,
    }
}

fn rule(name: &str, any_of: Vec<Block>) -> Rule {
    Rule {
        name: name.to_owned(),
        place: Place::default(),
        points: Points::default(),
        owner: None,
        accounts: None,
        any_of,
        except: Vec::new(),
        filter: None,
        stop: false,
        deliver: Vec::new(),
        resolves: None,
        good_by: Vec::new(),
    }
}

fn block(message_type: &str) -> Block {
    Block { message_type: Some(vec![Pattern::new(message_type)]), ..Block::default() }
}

const CANCELLED: [&str; 3] = ["Meeting", "cancelled", "client_to_pivot"];

#[test]
fn each_verdict_says_why() {
    let rules = Rules::new(vec![
        Rule { accounts: Some(vec!["other".to_owned()]), ..rule("elsewhere", vec![Block::default()]) },
        rule("failures", vec![block("*_failed"), block("expired")]),
        Rule { except: vec![block("cancelled")], ..rule("but-not", vec![Block::default()]) },
        Rule {
            filter: Expression::compile("message.client_uid == 'c1'").ok(),
            ..rule("vip", vec![Block::default()])
        },
        Rule { stop: true, ..rule("stopper", vec![block("cancelled")]) },
        rule("late", vec![Block::default()]),
    ]);
    let message = message("main", CANCELLED, None);
    let verdicts = evaluate(&rules, &message, &Names::default());
    let reason = |name: &str| verdicts.iter().find(|verdict| verdict.rule == name).unwrap().reason.clone();
    assert_eq!(reason("elsewhere"), "account is `main`, the rule is for `other`");
    assert!(reason("failures").contains("(1) message_type is `cancelled`, the rule wants `*_failed`; (2)"));
    assert_eq!(reason("but-not"), "`except` takes Meeting/cancelled/client_to_pivot out again");
    assert!(reason("vip").contains("`client_uid` is not known"), "{}", reason("vip"));
    assert_eq!(reason("stopper"), "`match` takes Meeting/cancelled/client_to_pivot");
    assert!(reason("late").contains("rule `stopper`"));
    let matched: Vec<&str> = matching(&rules, &message, &Names::default()).iter().map(|r| &*r.name).collect();
    assert_eq!(matched, ["stopper"]);
}

#[test]
fn one_delivery_is_owed_for_each_entry_and_recipient_always_with_the_same_id() {
    let to = |target: &str, recipients: &[&str]| Deliver {
        target: target.to_owned(),
        recipients: recipients.iter().map(|text| (*text).to_owned()).collect(),
        template: "default".to_owned(),
        expires_after: Some(Duration::from_mins(1)),
        timing: Timing::default(),
    };
    let entries = vec![to("desk", &[]), to("mail", &["a@x", "b@x", "a@x"]), to("desk", &[])];
    let rule = Rule { deliver: entries, ..rule("r", vec![Block::default()]) };
    let message = message("main", CANCELLED, None);
    let now = "2026-03-11T00:00:00Z".parse().unwrap();
    let planned = plan(&[&rule], &message, &Names::default(), &[], now);
    let ids: HashSet<&str> = planned.iter().map(|delivery| delivery.id.as_str()).collect();
    assert_eq!((planned.len(), ids.len()), (4, 4));
    assert_eq!(planned, plan(&[&rule], &message, &Names::default(), &[], now));
    assert!(planned.iter().all(|delivery| delivery.due_at == now));
    assert_eq!(planned[0].expires_at, Some("2026-03-10T09:01:00Z".parse().unwrap()));
    let alone = Rule { deliver: vec![to("desk", &[])], ..self::rule("r", Vec::new()) };
    assert_eq!(plan(&[&alone], &message, &Names::default(), &[], now)[0].id, planned[0].id);
}

fn patterns(values: &'static [&'static str]) -> impl Strategy<Value = Option<Vec<Pattern>>> {
    let one = prop::sample::select(values).prop_map(Pattern::new);
    prop::option::of(prop::collection::vec(one, 0..6))
}

const TYPES: &[&str] = &["Meeting", "event", "EventAttendance", "m*", "*", "new type"];
const MESSAGES: &[&str] = &["cancelled", "text", "*ed", "c?ncelled", "*", "rsvp"];
const DIRECTIONS: &[&str] = &["client_to_pivot", "business_to_client", "to_*", "*", "sideways"];

fn blocks(count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Block>> {
    let one = (patterns(TYPES), patterns(MESSAGES), patterns(DIRECTIONS)).prop_map(
        |(activity_type, message_type, direction)| Block { activity_type, message_type, direction },
    );
    prop::collection::vec(one, count)
}

proptest! {
    #[test]
    fn the_index_finds_exactly_what_the_linear_judge_takes(
        made in prop::collection::vec(
            (blocks(0..3), blocks(0..2), prop::option::of(Just(vec!["a".to_owned()])), prop::bool::weighted(0.1)),
            0..20,
        ),
        account in prop::sample::select(vec!["a", "b"]),
        kind in prop::sample::select(vec!["Meeting", "EventAttendance", "General", "", "new_type"]),
        raw in prop::option::of(prop::sample::select(vec!["event", "meeting", "x"])),
        text in prop::sample::select(vec!["cancelled", "text", "rsvp", "", "updated"]),
        direction in prop::sample::select(vec!["client_to_pivot", "pivot_to_client", "to_pivot", "sideways", ""]),
    ) {
        let make = |(number, (any_of, except, accounts, stop)): (usize, _)| {
            Rule { accounts, except, stop, ..rule(&number.to_string(), any_of) }
        };
        let rules = Rules::new(made.into_iter().enumerate().map(make).collect());
        let message = message(account, [kind, text, direction], raw);
        let verdicts = evaluate(&rules, &message, &Names::default());
        let linear: Vec<&str> = verdicts.iter().filter(|v| v.matched).map(|v| v.rule).collect();
        let indexed: Vec<&str> =
            matching(&rules, &message, &Names::default()).iter().map(|rule| rule.name.as_str()).collect();
        prop_assert_eq!(indexed, linear);
    }
}
