//! The rehearsal: the relay's own path on a clock of its own, where nothing goes out.

use std::sync::Arc;

use activity_relay::config::secret::Environment;
use activity_relay::config::{Config, load};
use activity_relay::daemon::door::Sent;
use activity_relay::daemon::rehearsal::Rehearsal;
use activity_relay::model::delivery::StateName;
use activity_relay::model::message::{Message, Triple};
use activity_relay::model::names::{Client, Names};
use activity_relay::model::sample;
use activity_relay::source::wire;
use jiff::{SignedDuration, Timestamp};

use crate::source_api::install_crypto;

const START: &str = "2026-03-02T09:00:00Z";

/// Targets that nobody could reach, one of them with a rate that would take an hour for a handful of messages.
const RULES: &str = "
version: 1
accounts:
  - { name: main, token: t }
  - { name: mute, token: t, lookup: false }
targets:
  desk: { type: slack, webhook_url: \"https://hooks.slack.com/services/T/B/x\", rate: 1/h }
  books: { type: email, smtp: \"smtp://mail.invalid:587\", from: a@b.test, to: [c@d.test, e@f.test] }
rules:
  - { name: cancelled, match: { message_type: cancelled }, deliver: [{ to: desk }] }
  - { name: ann, match: {}, where: 'client.name == \"Ann\"', deliver: [{ to: books, expires_after: 1h }] }
";

fn config() -> Arc<Config> {
    install_crypto();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rules.yaml");
    std::fs::write(&path, RULES).unwrap();
    let loaded = load(&path, &Environment::default());
    Arc::new(loaded.config.unwrap_or_else(|| panic!("{:?}", loaded.problems)))
}

fn start() -> Timestamp {
    START.parse().unwrap()
}

/// A cancelled meeting of a client of this name.
fn cancelled(account: &str, uid: &str, name: &str, made: Timestamp) -> (Message, Names) {
    let triple = Triple {
        activity_type: "Meeting".to_owned(),
        message_type: "cancelled".to_owned(),
        direction: "client_to_pivot".to_owned(),
    };
    let mut message = wire::read_item(account, &sample::item(&triple, made)).unwrap();
    uid.clone_into(&mut message.uid);
    message.client_uid = Some(format!("client-{name}"));
    let client = Client { uid: format!("client-{name}"), name: Some(name.to_owned()), ..Client::default() };
    (message, Names { client: Some(client), ..sample::names() })
}

fn shown(sent: &[Sent]) -> Vec<(&str, &str, Option<&str>)> {
    sent.iter().map(|one| (one.rule.as_str(), one.target.as_str(), one.recipient.as_deref())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_becomes_what_would_be_sent_with_its_names() {
    let rehearsal = Rehearsal::new(config(), start()).await.unwrap();
    let (message, names) = cancelled("main", "m1", "Ann", start());
    let received = rehearsal.receive(message, &names).await.unwrap();
    assert!(received.fresh);
    assert_eq!(received.rules, ["cancelled", "ann"]);
    assert_eq!(rehearsal.sent(), [], "nothing is sent before time is told to go on");
    rehearsal.advance_to(start()).await.unwrap();
    let sent = rehearsal.sent();
    let wanted =
        [("cancelled", "desk", None), ("ann", "books", Some("c@d.test")), ("ann", "books", Some("e@f.test"))];
    assert_eq!(shown(&sent), wanted);
    assert!(sent.iter().all(|one| one.at == start() && one.messages == ["m1"] && one.problem.is_none()));
    assert!(format!("{:?}", sent[0].payload).contains("Ann"), "{:?}", sent[0].payload);
    let rows = rehearsal.rows().await.unwrap();
    assert_eq!(rows.len(), 3);
    assert!(rows.iter().all(|row| row.state == StateName::Delivered));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verdicts_say_why_a_rule_did_not_take_a_message() {
    let rehearsal = Rehearsal::new(config(), start()).await.unwrap();
    let (message, names) = cancelled("main", "m1", "Bob", start());
    let verdicts = rehearsal.verdicts(&message, &names).await;
    assert!(verdicts[0].matched && !verdicts[1].matched);
    assert!(verdicts[1].reason.contains("`where` is false"), "{}", verdicts[1].reason);
    // An account that looks nobody up does not know who that is.
    let (message, names) = cancelled("mute", "m1", "Ann", start());
    let verdicts = rehearsal.verdicts(&message, &names).await;
    assert!(!verdicts[1].matched, "{verdicts:?}");
    assert_eq!(rehearsal.receive(message, &names).await.unwrap().rules, ["cancelled"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_had_before_brings_nothing_and_what_is_too_old_is_not_sent() {
    let rehearsal = Rehearsal::new(config(), start()).await.unwrap();
    let (message, names) = cancelled("main", "m1", "Ann", start() - SignedDuration::from_hours(2));
    assert!(rehearsal.receive(message.clone(), &names).await.unwrap().fresh);
    assert!(!rehearsal.receive(message, &names).await.unwrap().fresh);
    rehearsal.advance_to(start() + SignedDuration::from_mins(1)).await.unwrap();
    assert_eq!(shown(&rehearsal.sent()), [("cancelled", "desk", None)]);
    let rows = rehearsal.rows().await.unwrap();
    assert_eq!(rows.iter().filter(|row| row.state == StateName::Expired).count(), 2);
    assert_eq!(rehearsal.now(), start() + SignedDuration::from_mins(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_messages_are_sent_at_their_moments_whatever_the_rate() {
    const COUNT: usize = 1_000;
    let config = config();
    let (one, other) = (
        Rehearsal::new(config.clone(), start()).await.unwrap(),
        Rehearsal::new(config, start()).await.unwrap(),
    );
    for number in 0..COUNT {
        let made = start() + SignedDuration::from_secs(i64::try_from(number).unwrap());
        let (message, names) = cancelled("main", &format!("m{number}"), "Bob", made);
        one.receive(message, &names).await.unwrap();
        if number % 200 == 199 {
            one.advance_to(made).await.unwrap();
        }
    }
    let sent = one.sent();
    assert_eq!(sent.len(), COUNT);
    assert_eq!(sent[COUNT - 1].messages, [format!("m{}", COUNT - 1)]);
    assert_eq!(other.rows().await.unwrap(), [], "two rehearsals share nothing");
}
