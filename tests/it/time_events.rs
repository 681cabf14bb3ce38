//! Events that come in several messages, where they meet digests, limits and hours: told once, and nothing of them lost.

use activity_relay::model::delivery::StateName;
use activity_relay::model::payload::Payload;
use serde_json::Value;

use crate::time::{FAILED, PAID, Play};

const PENDING: &str = "Payment/payment_pending/to_pivot";
const RECEIPT: &str = "Payment/receipt_sent/to_client";

fn uids(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|one| one["uid"].as_str().unwrap()).collect()
}

/// The uids that a digest's body tells, each with what is listed with it.
fn events(body: &Value) -> Vec<(&str, Vec<&str>)> {
    let items = body["data"]["items"].as_array().unwrap();
    let also = |item| Value::get(item, "also").map(uids).unwrap_or_default();
    items.iter().map(|item| (item["message"]["uid"].as_str().unwrap(), also(item))).collect()
}

#[tokio::test]
async fn a_digest_tells_each_event_once() {
    let rules = "
rules:
  - name: money
    match: { activity_type: Payment }
    collapse: { by: [client.uid], within: 60s }
    deliver: [{ to: crm, digest: { every: 1h } }]
";
    let mut play = Play::new(rules, "10 09:00").await;
    for (moment, kind, client) in [
        ("10 09:00:00", PENDING, "ann"),
        ("10 09:00:10", FAILED, "bob"),
        ("10 09:00:40", PAID, "ann"),
        ("10 09:01:00", RECEIPT, "ann"),
        ("10 09:01:01", RECEIPT, "ann"),
    ] {
        play.until(moment).await;
        play.comes(kind, client).await;
    }
    play.until("10 11:00").await;
    assert_eq!(play.told(), ["10 10:00 crm m1 m2 m3 m4 m5"], "each message is in it");
    let body = play.body();
    let told = [("m2", vec![]), ("m3", vec!["m1", "m4"]), ("m5", vec![])];
    assert_eq!(events(&body), told, "{body}");
    assert_eq!(body["data"]["count"], 3, "events are counted");
}

#[tokio::test]
async fn max_items_counts_messages_as_they_come() {
    let rules = "
rules:
  - name: money
    match: { activity_type: Payment }
    deliver: [{ to: crm, digest: { every: 1h, max_items: 3 }, collapse: { by: client.uid, within: 1h } }]
";
    let mut play = Play::new(rules, "10 09:00").await;
    for kind in [PENDING, PAID, RECEIPT] {
        play.comes(kind, "ann").await;
    }
    play.until("10 09:00").await;
    assert_eq!(play.told(), ["10 09:00 crm m1 m2 m3"]);
    assert_eq!(events(&play.body()), [("m2", vec!["m1", "m3"])]);
}

#[tokio::test]
async fn every_message_of_every_event_is_in_the_file_of_a_mail() {
    let rules = "
rules:
  - name: money
    match: { activity_type: Payment }
    deliver: [{ to: books, digest: { every: 1h }, collapse: { by: client.uid, within: 60s } }]
";
    let mut play = Play::new(rules, "10 09:00").await;
    for number in 0..11 {
        for kind in [FAILED, RECEIPT] {
            play.comes(kind, &format!("client-{number}")).await;
        }
    }
    play.until("10 11:00").await;
    let sent = play.rehearsal.sent();
    let Payload::Email(mail) = &sent[0].payload else { panic!("{sent:?}") };
    assert!(mail.subject.starts_with("11 failed payments"), "{}", mail.subject);
    assert_eq!(mail.attachments[0].text.matches("\r\n").count(), 23, "22 messages and a head");
}

#[tokio::test]
async fn what_is_made_good_is_a_whole_event() {
    let rules = "
rules:
  - name: failed
    match: { message_type: [payment_failed, payment_pending] }
    collapse: { by: client.uid, within: 60s }
    deliver: [{ to: crm, digest: { at: \"20:00\" } }]
  - { name: paid, match: { message_type: payment_received }, resolves: failed, deliver: [] }
";
    let mut play = Play::new(rules, "10 09:00").await;
    for (kind, client) in [(PENDING, "ann"), (FAILED, "ann"), (FAILED, "bob")] {
        play.comes(kind, client).await;
    }
    play.until("10 12:00").await;
    play.comes(PAID, "ann").await;
    play.until("10 21:00").await;
    let body = play.body();
    assert_eq!(events(&body), [("m3", vec![])]);
    assert_eq!(body["data"]["resolved"].as_array().unwrap().len(), 1, "one event: {body}");
    assert_eq!(uids(&body["data"]["resolved"][0]["also"]), ["m1"]);
}

#[tokio::test]
async fn the_first_event_of_a_time_goes_whole_and_the_others_together() {
    let rules = "
rules:
  - name: money
    match: { activity_type: Payment }
    deliver: [{ to: crm, digest: { every: 1h, leading: true }, collapse: { by: client.uid, within: 60s } }]
";
    let mut play = Play::new(rules, "10 09:00").await;
    for (kind, client) in [(PENDING, "ann"), (PAID, "ann"), (PENDING, "bob"), (PAID, "bob"), (FAILED, "cy")] {
        play.comes(kind, client).await;
    }
    play.until("10 11:00").await;
    assert_eq!(play.told(), ["10 09:01 crm m1 m2", "10 10:00 crm m3 m4 m5"]);
    assert_eq!(events(&play.body()), [("m4", vec!["m3"]), ("m5", vec![])]);
}

#[tokio::test]
async fn what_is_over_the_limit_comes_together_by_event() {
    let rules = "
rules:
  - name: money
    match: { activity_type: Payment }
    collapse: { by: client.uid, within: 60s }
    deliver: [{ to: crm, throttle: { limit: 1, per: 1h, over: digest } }]
";
    let mut play = Play::new(rules, "10 09:00").await;
    for (kind, client) in [(PENDING, "ann"), (PENDING, "bob"), (PAID, "ann"), (PAID, "bob"), (FAILED, "cy")] {
        play.comes(kind, client).await;
    }
    play.until("10 11:00").await;
    let told = ["10 09:01 crm m1 m3", "10 10:00 crm m2 m4 m5"];
    assert_eq!(play.told(), told, "an event counts once against the limit, with all its messages");
    assert_eq!(events(&play.body()), [("m4", vec!["m2"]), ("m5", vec![])]);
}

#[tokio::test]
async fn what_comes_outside_of_the_hours_comes_together_by_event() {
    let rules = "
rules:
  - name: money
    match: { activity_type: Payment }
    collapse: { by: client.uid, within: 60s }
    deliver:
      - { to: crm, during: office-hours, outside: digest }
      - { to: desk, during: office-hours }
";
    let mut play = Play::new(rules, "10 18:00").await;
    play.comes(PENDING, "ann").await;
    play.comes(PAID, "ann").await;
    play.until("10 20:00").await;
    for (kind, client) in [(PENDING, "bob"), (PAID, "bob"), (FAILED, "cy")] {
        play.comes(kind, client).await;
    }
    play.until("11 07:59").await;
    assert_eq!(play.told(), ["10 18:01 crm m1 m2", "10 18:01 desk m1 m2"]);
    play.until("11 08:00").await;
    let mut told = play.told().split_off(2);
    told.sort();
    let held = ["11 08:00 crm m3 m4 m5", "11 08:00 desk m3 m4", "11 08:00 desk m5"];
    assert_eq!(told, held, "held one by one, each event once; or together");
    let sent = play.rehearsal.sent();
    let Payload::Http(body) = &sent.iter().find(|sent| sent.messages.len() == 3).unwrap().payload else {
        panic!("{sent:?}")
    };
    let body = serde_json::from_str(&body.body).unwrap();
    assert_eq!(events(&body), [("m4", vec!["m3"]), ("m5", vec![])]);
    assert_eq!(play.rows(StateName::Withheld).await, []);
}
