//! A message that makes earlier alerts good: what the targets are told of it, and what people see.

use activity_relay::model::delivery::StateName;
use activity_relay::model::payload::Payload;
use serde_json::Value;

use crate::time::{FAILED, PAID, Play};

const RULES: &str = "
rules:
  - { name: failed, match: { message_type: payment_failed }, deliver: [{ to: desk }, { to: crm }] }
  - { name: paid, match: { message_type: payment_received }, resolves: failed, deliver: [{ to: crm }, { to: books }] }
";

/// What the targets were sent: HTTP bodies' `data`, and texts.
fn bodies(play: &Play) -> Vec<Value> {
    let body = |payload: &Payload| match payload {
        Payload::Http(body) => Some(serde_json::from_str::<Value>(&body.body).unwrap()["data"].take()),
        Payload::Slack(_) | Payload::Email(_) => None,
    };
    play.rehearsal.sent().iter().filter_map(|sent| body(&sent.payload)).collect()
}

fn texts(play: &Play) -> String {
    let text = |payload: &Payload| match payload {
        Payload::Email(mail) => Some(mail.text.clone()),
        Payload::Slack(blocks) => Some(blocks.to_string()),
        Payload::Http(_) => None,
    };
    play.rehearsal.sent().iter().filter_map(|sent| text(&sent.payload)).collect::<Vec<_>>().join("\n---\n")
}

#[tokio::test]
async fn an_alert_that_was_sent_is_resolved_by_its_id() {
    let mut play = Play::new(RULES, "10 09:00").await;
    for (kind, client) in [(FAILED, "ann"), (FAILED, "bob")] {
        play.comes(kind, client).await;
    }
    play.until("10 10:00").await;
    play.comes(PAID, "ann").await;
    play.until("10 11:00").await;
    let bodies = bodies(&play);
    let (alert, paid) = (&bodies[0], bodies.last().unwrap());
    let resolved = paid["resolved"].as_array().unwrap();
    assert_eq!(resolved.len(), 1, "the alert once, though two targets were sent it: {paid}");
    assert_eq!(resolved[0]["id"], alert["id"], "the id under which this target has it");
    let about = (&resolved[0]["rule"], &resolved[0]["target"], &resolved[0]["message"]["uid"]);
    assert_eq!(about, (&"failed".into(), &"crm".into(), &"m1".into()));
    assert!(alert.get("resolved").is_none() && alert.get("resolved_by").is_none(), "{alert}");
    let mail = texts(&play);
    assert!(mail.contains("Settles: client ann (Payment failed, Tue 10 Mar, 09:00)"), "{mail}");
    let good = |row: &activity_relay::store::Row| row.made_good.as_ref().map(|good| good.by.clone());
    let rows = play.rehearsal.rows().await.unwrap();
    let good: Vec<_> = rows.iter().filter_map(|row| Some((row.messages[0].clone(), good(row)?))).collect();
    assert_eq!(good, [("m1".into(), "m3".into()), ("m1".into(), "m3".into())], "bob's are as they were");
    assert!(rows.iter().all(|row| row.state == StateName::Delivered));
}

#[tokio::test]
async fn what_waits_is_sent_all_the_same_and_says_that_it_is_settled() {
    let rules = "
rules:
  - { name: failed, match: { message_type: payment_failed }, deliver: [{ to: crm, during: office-hours }, { to: books, during: office-hours }] }
  - { name: paid, match: { message_type: payment_received }, resolves: failed, deliver: [] }
";
    let mut play = Play::new(rules, "10 20:00").await;
    play.comes(FAILED, "ann").await;
    play.until("10 21:00").await;
    play.comes(PAID, "ann").await;
    play.until("11 09:00").await;
    let bodies = bodies(&play);
    assert_eq!(bodies.len(), 1);
    assert_eq!(bodies[0]["resolved_by"]["message"]["uid"], "m2", "{}", bodies[0]);
    let mail = texts(&play);
    assert!(mail.contains("Settled before this was sent: Payment came in"), "{mail}");
}

#[tokio::test]
async fn an_event_resolves_as_a_whole() {
    let rules = "
rules:
  - name: failed
    match: { message_type: payment_failed }
    collapse: { by: client.uid, within: 60s }
    deliver: [{ to: crm }]
  - name: paid
    match: { message_type: [payment_received, payment_pending] }
    resolves: { rules: failed, by: [client.uid] }
    collapse: { by: client.uid, within: 60s }
    deliver: [{ to: crm }]
";
    let mut play = Play::new(rules, "10 09:00").await;
    for _ in 0..2 {
        play.comes(FAILED, "ann").await;
    }
    play.until("10 10:00").await;
    for kind in ["Payment/payment_pending/to_pivot", PAID] {
        play.comes(kind, "ann").await;
    }
    play.until("10 11:00").await;
    let bodies = bodies(&play);
    assert_eq!(bodies.len(), 2, "{:?}", play.told());
    let resolved = &bodies[1]["resolved"];
    assert_eq!(resolved.as_array().unwrap().len(), 1, "{resolved}");
    assert_eq!(
        (&resolved[0]["message"]["uid"], &resolved[0]["also"][0]["uid"]),
        (&"m2".into(), &"m1".into())
    );
}

#[tokio::test]
async fn a_rule_that_resolves_by_what_a_message_does_not_have_resolves_nothing() {
    let rules = "
rules:
  - { name: failed, match: { message_type: payment_failed }, deliver: [{ to: crm }] }
  - name: paid
    match: { message_type: payment_received }
    resolves: { rules: failed, by: [client.uid, message.meeting.service_uid] }
    deliver: []
";
    let mut play = Play::new(rules, "10 09:00").await;
    play.comes(FAILED, "ann").await;
    play.until("10 10:00").await;
    play.comes(PAID, "ann").await;
    play.until("10 11:00").await;
    assert!(play.rehearsal.rows().await.unwrap().iter().all(|row| row.made_good.is_none()));
}

#[tokio::test]
async fn a_digest_leaves_out_what_any_of_the_rules_that_took_a_message_makes_good() {
    let rules = "
rules:
  - { name: failed, match: { message_type: payment_failed }, deliver: [{ to: crm, digest: { at: \"12:00\", if_empty: send } }] }
  - name: paid-by-client
    match: { message_type: payment_received }
    resolves: { rules: failed, by: [client.uid] }
    deliver: []
  - name: paid-for
    match: { message_type: payment_received }
    resolves: { rules: failed, by: [message.subject] }
    deliver: []
";
    let mut play = Play::new(rules, "10 09:00").await;
    play.comes(FAILED, "ann").await;
    play.until("10 10:00").await;
    play.comes(PAID, "bob").await;
    play.until("10 13:00").await;
    let resolved = &play.body()["data"]["resolved"];
    assert_eq!(resolved.as_array().unwrap().len(), 1, "of another client, for the same invoice: {resolved}");
    assert_eq!(
        (&resolved[0]["message"]["uid"], &resolved[0]["by"]["message"]["uid"]),
        (&"m1".into(), &"m2".into())
    );
}
