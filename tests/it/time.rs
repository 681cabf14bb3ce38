//! Digests, throttles, hours, expiry and collapsing, on a clock that is played: what is sent when, and what is not.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use activity_relay::config::secret::Environment;
use activity_relay::config::{Config, load};
use activity_relay::daemon::door::Sent;
use activity_relay::daemon::rehearsal::Rehearsal;
use activity_relay::model::delivery::StateName;
use activity_relay::model::message::{Message, Triple};
use activity_relay::model::payload::Payload;
use activity_relay::model::sample;
use activity_relay::source::wire;
use activity_relay::store::Row;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::source_api::install_crypto;
use crate::world::{say, setting};

const HEAD: &str = "
version: 1
timezone: Europe/Rome
accounts:
  - { name: main, token: t, lookup: false }
targets:
  desk: { type: slack, webhook_url: \"https://hooks.slack.com/services/T/B/x\" }
  crm: { type: http, url: \"https://crm.example.com/\", body: event }
  books: { type: email, smtp: \"smtp://mail.invalid:587\", from: a@b.test, to: [c@d.test] }
schedules:
  office-hours: { days: mon-fri, from: \"08:00\", to: \"18:30\" }
";
pub(crate) const FAILED: &str = "Payment/payment_failed/to_pivot";
pub(crate) const PAID: &str = "Payment/payment_received/to_pivot";

/// A play: messages come, time passes, and what was sent is looked at.
pub(crate) struct Play {
    pub(crate) rehearsal: Rehearsal,
    count: usize,
}

impl Play {
    /// Begins at this local time in Rome, in March 2026.
    pub(crate) async fn new(rules: &str, start: &str) -> Self {
        Self { rehearsal: Rehearsal::new(config(rules), rome(start)).await.unwrap(), count: 0 }
    }

    /// A message of this type comes from the client, made at this moment.
    pub(crate) async fn comes(&mut self, kind: &str, client: &str) -> String {
        let now = self.rehearsal.now();
        self.made(kind, client, now).await
    }

    pub(crate) async fn made(&mut self, kind: &str, client: &str, at: Timestamp) -> String {
        self.count += 1;
        let message = message(kind, client, &format!("m{}", self.count), at);
        let uid = message.uid.clone();
        self.rehearsal.receive(message, &sample::names()).await.unwrap();
        uid
    }

    /// Time passes until this local time in Rome.
    pub(crate) async fn until(&self, moment: &str) {
        self.rehearsal.advance_to(rome(moment)).await.unwrap();
    }

    /// What was sent: when, in Rome, to whom, about which messages.
    pub(crate) fn told(&self) -> Vec<String> {
        self.rehearsal.sent().iter().map(line).collect()
    }

    pub(crate) async fn rows(&self, state: StateName) -> Vec<Row> {
        self.rehearsal.rows().await.unwrap().into_iter().filter(|row| row.state == state).collect()
    }

    /// The body of the last thing that was sent to an HTTP target.
    pub(crate) fn body(&self) -> Value {
        let sent = self.rehearsal.sent();
        let Payload::Http(body) = &sent.last().unwrap().payload else { panic!("{sent:?}") };
        serde_json::from_str(&body.body).unwrap()
    }
}

fn config(rules: &str) -> Arc<Config> {
    install_crypto();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rules.yaml");
    std::fs::write(&path, format!("{HEAD}{rules}")).unwrap();
    let loaded = load(&path, &Environment::default());
    Arc::new(loaded.config.unwrap_or_else(|| panic!("{:#?}", loaded.problems)))
}

/// `10 09:00` is that time on the 10th of March 2026, a Tuesday, in Rome.
pub(crate) fn rome(text: &str) -> Timestamp {
    let (day, time) = text.split_once(' ').unwrap();
    let zone = TimeZone::get("Europe/Rome").unwrap();
    let local: jiff::civil::DateTime = format!("2026-03-{day}T{time}").parse().unwrap();
    local.to_zoned(zone).unwrap().timestamp()
}

fn message(kind: &str, client: &str, uid: &str, made: Timestamp) -> Message {
    let [activity_type, message_type, direction] =
        kind.split('/').collect::<Vec<_>>().try_into().unwrap_or_else(|_| panic!("{kind}"));
    let triple = Triple {
        activity_type: activity_type.to_owned(),
        message_type: message_type.to_owned(),
        direction: direction.to_owned(),
    };
    let mut message = wire::read_item("main", &sample::item(&triple, made)).unwrap();
    uid.clone_into(&mut message.uid);
    message.client_uid = Some(client.to_owned());
    message
}

fn line(sent: &Sent) -> String {
    let zone = TimeZone::get("Europe/Rome").unwrap();
    let at = sent.at.to_zoned(zone).strftime("%d %H:%M").to_string();
    format!("{at} {} {}", sent.target, sent.messages.join(" "))
}

#[tokio::test]
async fn one_mail_in_the_morning_has_what_failed_since_the_last_one() {
    let rules = "rules: [{ name: failed, match: { message_type: payment_failed }, deliver: [{ to: books, \
                 digest: { at: \"08:00\", days: mon-fri } }] }]";
    let mut play = Play::new(rules, "12 09:00").await;
    play.comes(FAILED, "ann").await;
    play.until("12 23:00").await;
    play.comes(FAILED, "bob").await;
    play.comes(PAID, "bob").await;
    play.until("13 07:59").await;
    assert_eq!(play.told(), [""; 0]);
    play.until("13 08:30").await;
    play.comes(FAILED, "cleo").await;
    play.until("14 09:00").await;
    play.comes(FAILED, "dora").await;
    play.until("17 09:00").await;
    assert_eq!(play.told(), ["13 08:00 books m1 m2", "16 08:00 books m4 m5"], "not on Saturday");
}

#[tokio::test]
async fn a_digest_opens_with_its_first_message_and_closes_after() {
    let rules =
        "rules: [{ name: all, match: {}, deliver: [{ to: crm, digest: { every: 1h, max_items: 3 } }] }]";
    let mut play = Play::new(rules, "10 09:00").await;
    play.comes(FAILED, "ann").await;
    play.until("10 09:50").await;
    play.comes(FAILED, "ann").await;
    play.until("10 12:00").await;
    assert_eq!(play.body()["type"], "vcita.digest");
    assert_eq!(play.body()["data"]["count"], 2);
    for _ in 0..4 {
        play.comes(FAILED, "ann").await;
    }
    play.until("10 14:00").await;
    let told = ["10 10:00 crm m1 m2", "10 12:00 crm m3 m4 m5", "10 13:00 crm m6"];
    assert_eq!(play.told(), told, "three are enough to close it");
}

#[tokio::test]
async fn each_key_has_a_digest_of_its_own() {
    let rules = "rules: [{ name: all, match: {}, deliver: [{ to: crm, digest: { every: 1h, group_by: [client.uid] } }] }]";
    let mut play = Play::new(rules, "10 09:00").await;
    for client in ["ann", "bob", "ann"] {
        play.comes(FAILED, client).await;
    }
    play.until("10 12:00").await;
    assert_eq!(play.told(), ["10 10:00 crm m1 m3", "10 10:00 crm m2"]);
}

#[tokio::test]
async fn messages_put_the_end_of_a_digest_off_up_to_its_limit() {
    let rules = "rules: [{ name: all, match: {}, deliver: [{ to: crm, digest: { every: 10m, extend: true, max: 25m } }] }]";
    let mut play = Play::new(rules, "10 09:00").await;
    for minute in ["00", "08", "16", "24", "26"] {
        play.until(&format!("10 09:{minute}")).await;
        play.comes(FAILED, "ann").await;
    }
    play.until("10 12:00").await;
    assert_eq!(play.told(), ["10 09:25 crm m1 m2 m3 m4", "10 09:36 crm m5"]);
}

#[tokio::test]
async fn the_first_goes_at_once_and_the_rest_together() {
    let rules =
        "rules: [{ name: all, match: {}, deliver: [{ to: crm, digest: { every: 1h, leading: true } }] }]";
    let mut play = Play::new(rules, "10 09:00").await;
    for minute in ["00", "10", "20"] {
        play.until(&format!("10 09:{minute}")).await;
        play.comes(FAILED, "ann").await;
    }
    play.until("10 12:00").await;
    play.comes(FAILED, "ann").await;
    play.until("10 13:30").await;
    assert_eq!(play.told(), ["10 09:00 crm m1", "10 10:00 crm m2 m3", "10 12:00 crm m4"]);
}

#[tokio::test]
async fn who_waits_for_a_digest_hears_that_there_was_nothing() {
    let rules = "rules: [{ name: all, match: {}, deliver: [{ to: crm, digest: { at: [\"08:00\", \"20:00\"], if_empty: send } }] }]";
    let mut play = Play::new(rules, "10 09:00").await;
    play.until("11 09:00").await;
    play.comes(FAILED, "ann").await;
    play.until("12 09:00").await;
    let told = ["10 20:00 crm ", "11 08:00 crm ", "11 20:00 crm m1", "12 08:00 crm "];
    assert_eq!(play.told(), told);
    assert_eq!(play.body()["data"]["count"], 0);
}

#[tokio::test]
async fn what_is_over_the_limit_is_held_back_and_told_with_the_next() {
    let rules = "rules: [{ name: all, match: {}, deliver: [{ to: crm, throttle: { limit: 1, per: 1h, key: \"{{client.uid}}\" } }] }]";
    let mut play = Play::new(rules, "10 09:00").await;
    for client in ["ann", "ann", "bob", "ann"] {
        play.comes(FAILED, client).await;
    }
    play.until("10 10:00").await;
    play.comes(FAILED, "ann").await;
    play.until("10 12:00").await;
    assert_eq!(play.told(), ["10 09:00 crm m1", "10 09:00 crm m3", "10 10:00 crm m5"]);
    let withheld = play.rows(StateName::Withheld).await;
    assert_eq!(withheld.len(), 2);
    assert_eq!(withheld[0].why.as_deref(), Some("throttled: no more than 1 in 1h"));
    let last = play.rows(StateName::Delivered).await.pop().unwrap();
    assert_eq!((last.messages[0].as_str(), last.throttled), ("m5", 2));
}

#[tokio::test]
async fn what_is_over_the_limit_may_come_together() {
    let rules = "rules: [{ name: all, match: {}, deliver: [{ to: crm, throttle: { limit: 2, per: 1h, over: digest } }] }]";
    let mut play = Play::new(rules, "10 09:00").await;
    for _ in 0..5 {
        play.comes(FAILED, "ann").await;
    }
    play.until("10 12:00").await;
    assert_eq!(play.told(), ["10 09:00 crm m1", "10 09:00 crm m2", "10 10:00 crm m3 m4 m5"]);
}

#[tokio::test]
async fn what_is_over_the_limit_comes_when_it_opens_if_the_next_may_go_when_it_is_closed() {
    for entry in ["throttle: { limit: 1, per: 1h, over: digest }", "digest: { every: 1h, leading: true }"] {
        let rules = format!(
            "rules: [{{ name: all, match: {{}}, deliver: [{{ to: crm, during: office-hours, {entry} }}] }}]"
        );
        let mut play = Play::new(&rules, "13 16:00").await;
        for moment in ["13 17:15", "13 18:00", "17 09:00"] {
            play.comes(FAILED, "ann").await;
            play.comes(FAILED, "ann").await;
            play.until(moment).await;
        }
        let told = ["13 16:00 crm m1", "13 17:00 crm m2", "13 18:00 crm m3 m4", "16 08:00 crm m5 m6"];
        assert_eq!(play.told(), told, "{entry}");
    }
}

#[tokio::test]
async fn what_is_excepted_from_the_hours_does_not_wait_with_what_is_over_the_limit() {
    let rules = "rules: [{ name: all, match: {}, deliver: [{ to: crm, during: office-hours, \
                 except: { message_type: payment_received }, throttle: { limit: 1, per: 1h, over: digest } }] }]";
    let mut play = Play::new(rules, "13 17:50").await;
    play.comes(FAILED, "ann").await;
    play.until("13 17:55").await;
    play.comes(FAILED, "bob").await;
    play.until("13 18:40").await;
    play.comes(PAID, "bob").await;
    play.until("17 09:00").await;
    assert_eq!(play.told(), ["13 17:50 crm m1", "13 18:50 crm m3", "16 08:00 crm m2"]);
}

#[tokio::test]
async fn outside_of_the_hours_it_waits_in_order_and_what_is_excepted_does_not() {
    let rules = "rules: [{ name: all, match: {}, deliver: [{ to: crm, during: office-hours, \
                 except: { message_type: payment_received } }] }]";
    let mut play = Play::new(rules, "13 18:29").await;
    play.comes(FAILED, "ann").await;
    play.until("13 18:30").await;
    play.comes(FAILED, "bob").await;
    play.until("14 12:00").await;
    play.comes(PAID, "bob").await;
    play.comes(FAILED, "cleo").await;
    play.until("17 09:00").await;
    let told = ["13 18:29 crm m1", "14 12:00 crm m3", "16 08:00 crm m2", "16 08:00 crm m4"];
    assert_eq!(play.told(), told);
}

#[tokio::test]
async fn a_flood_that_was_held_is_one_post() {
    let rules = "rules: [{ name: all, match: {}, deliver: [{ to: desk, during: office-hours }] }]";
    let mut play = Play::new(rules, "14 12:00").await;
    for _ in 0..21 {
        play.comes(FAILED, "ann").await;
    }
    play.until("17 09:00").await;
    let sent = play.rehearsal.sent();
    assert_eq!((sent.len(), sent[0].messages.len()), (1, 21), "{:?}", play.told());
}

#[tokio::test]
async fn outside_of_the_hours_it_may_be_dropped_or_gathered() {
    let rules = "rules: [{ name: all, match: {}, deliver: [{ to: crm, during: office-hours, outside: drop }, \
                 { to: desk, during: office-hours, outside: digest }] }]";
    let mut play = Play::new(rules, "14 12:00").await;
    play.comes(FAILED, "ann").await;
    play.comes(FAILED, "bob").await;
    play.until("17 09:00").await;
    assert_eq!(play.told(), ["16 08:00 desk m1 m2"]);
    let withheld = play.rows(StateName::Withheld).await;
    assert_eq!(withheld[0].why.as_deref(), Some("it came outside of `office-hours`"));
}

#[tokio::test]
async fn what_was_too_old_to_be_sent_is_counted_in_the_next_digest() {
    let rules =
        "rules: [{ name: all, match: {}, deliver: [{ to: crm, expires_after: 6h, digest: { every: 1h } }] }]";
    let mut play = Play::new(rules, "10 09:00").await;
    play.made(FAILED, "ann", rome("10 02:00")).await;
    play.comes(FAILED, "bob").await;
    play.until("10 12:00").await;
    assert_eq!(play.told(), ["10 10:00 crm m2"]);
    assert_eq!(play.body()["data"]["expired"], 1);
    assert_eq!(play.rows(StateName::Expired).await.len(), 1);
}

#[tokio::test]
async fn one_event_in_several_messages_is_one_delivery() {
    let rules = "rules: [{ name: all, match: {}, collapse: { by: [client.uid, activity_type], within: 60s }, deliver: [{ to: crm }] }]";
    let mut play = Play::new(rules, "10 09:00").await;
    for client in ["ann", "ann", "bob", "ann"] {
        play.comes(PAID, client).await;
    }
    play.until("10 09:30").await;
    assert_eq!(play.told(), ["10 09:01 crm m1 m2 m4", "10 09:01 crm m3"]);
    assert_eq!(play.body()["type"], "vcita.payment.payment_received", "one message speaks for all");
}

#[tokio::test]
async fn what_was_paid_since_is_no_failure_any_more() {
    let rules = "
rules:
  - { name: failed, match: { message_type: payment_failed }, deliver: [{ to: crm, digest: { at: \"08:00\" } }] }
  - { name: paid, match: { message_type: payment_received }, resolves: failed, deliver: [], stop: true }
";
    let mut play = Play::new(rules, "10 09:00").await;
    for (kind, client) in [(PAID, "cleo"), (FAILED, "ann"), (FAILED, "bob"), (FAILED, "cleo"), (PAID, "bob")]
    {
        play.comes(kind, client).await;
        play.until(&format!("10 09:0{}", play.count)).await;
    }
    play.until("11 08:30").await;
    assert_eq!(play.body()["data"]["count"], 2, "{}", play.body());
    assert_eq!(play.body()["data"]["resolved"].as_array().unwrap().len(), 1);
    play.comes(FAILED, "ann").await;
    play.until("11 09:00").await;
    play.comes(PAID, "ann").await;
    play.until("12 09:00").await;
    assert_eq!(play.told().len(), 1, "nothing is left of the second: {:?}", play.told());
    let withheld = play.rows(StateName::Withheld).await;
    assert!(withheld[0].why.as_deref().unwrap().starts_with("all of it was made good"), "{withheld:?}");
}

#[tokio::test]
async fn a_time_that_comes_twice_or_never_is_one_digest() {
    let rules = "rules: [{ name: all, match: {}, deliver: [{ to: crm, digest: { at: \"02:30\", if_empty: send } }] }]";
    let play = Play::new(rules, "28 12:00").await;
    // The clocks go from 02:00 to 03:00 on the 29th.
    play.until("31 12:00").await;
    assert_eq!(play.told(), ["29 03:00 crm ", "30 02:30 crm ", "31 02:30 crm "]);
    let autumn = |text: &str| -> Timestamp { text.parse().unwrap() };
    let rehearsal = Rehearsal::new(config(rules), autumn("2026-10-24T12:00:00Z")).await.unwrap();
    rehearsal.advance_to(autumn("2026-10-26T12:00:00Z")).await.unwrap();
    let at: Vec<String> = rehearsal.sent().iter().map(|sent| sent.at.to_string()).collect();
    assert_eq!(at, ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]);
}

/// A week of a busy business with everything on: each message ends where it must, by a count of its own.
#[tokio::test]
async fn a_busy_week_comes_out_to_the_message() {
    const KINDS: [&str; 4] =
        [FAILED, PAID, "Meeting/cancelled/client_to_pivot", "Meeting/rescheduled/client_to_pivot"];
    let rules = "
rules:
  - name: failed
    match: { message_type: payment_failed }
    deliver:
      - { to: books, digest: { at: \"08:00\", days: mon-fri, max_items: 200 } }
      - { to: desk, throttle: { limit: 1, per: 1h, key: \"{{client.uid}}\" }, during: office-hours }
  - { name: paid, match: { message_type: payment_received }, collapse: { by: client.uid, within: 60s }, deliver: [{ to: crm }] }
  - { name: cancelled, match: { message_type: cancelled }, deliver: [{ to: crm, digest: { every: 1h, group_by: client.uid } }] }
  - { name: moved, match: { message_type: rescheduled }, deliver: [{ to: crm, during: office-hours, outside: drop }] }
";
    let messages = setting("WEEK_MESSAGES", 5_000);
    let (started, mut play) = (Instant::now(), Play::new(rules, "09 00:00").await);
    let mut rng = fastrand::Rng::with_seed(7);
    let week = SignedDuration::from_hours(7 * 24).as_millis();
    let mut moments: Vec<i64> = (0..messages).map(|_| rng.i64(0..i64::try_from(week).unwrap())).collect();
    moments.sort_unstable();
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for moment in moments {
        let at = rome("09 00:00") + SignedDuration::from_millis(moment);
        play.rehearsal.advance_to(at).await.unwrap();
        let kind = KINDS[rng.usize(..KINDS.len())];
        *kinds.entry(kind).or_default() += 1;
        let client = format!("client-{}", rng.usize(..40));
        play.comes(kind, &client).await;
    }
    play.until("17 12:00").await;
    let mut found: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let rows = play.rehearsal.rows().await.unwrap();
    for row in &rows {
        assert!(matches!(row.state, StateName::Delivered | StateName::Withheld), "{row:?}");
        let together = row.why.as_deref().is_some_and(|why| why.starts_with("sent together"));
        if !together {
            *found.entry((&row.rule, &row.target)).or_default() += row.messages.len();
        }
    }
    let of = |kind: &str| kinds[kind];
    let expected = BTreeMap::from([
        (("failed", "books"), of(FAILED)),
        (("failed", "desk"), of(FAILED)),
        (("paid", "crm"), of(PAID)),
        (("cancelled", "crm"), of(KINDS[2])),
        (("moved", "crm"), of(KINDS[3])),
    ]);
    assert_eq!(found, expected, "each message once for each entry that takes it");
    // What went into a delivery of several is told by that one.
    let sent = rows.iter().filter(|row| row.state == StateName::Delivered);
    let held: u32 = sent.map(|row| row.throttled).sum();
    let throttled = |row: &&Row| row.why.as_deref().is_some_and(|why| why.starts_with("throttled"));
    let withheld = rows.iter().filter(throttled).count();
    say(&format!(
        "a week: messages={messages} deliveries={} throttled={withheld} told={held} ({:.1?})",
        rows.len(),
        started.elapsed()
    ));
    assert!(usize::try_from(held).unwrap() <= withheld);
}
