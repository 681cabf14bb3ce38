//! After an outage: much of what queued up comes as one digest, little of it one by one, and nothing goes missing.

use std::num::NonZeroU32;

use activity_relay::model::delivery::{StateName, Waiting};
use activity_relay::model::id::DeliveryId;
use activity_relay::rules::plan::together;
use activity_relay::sandbox::inboxes::Arrival;
use activity_relay::sandbox::script::{Answer, Cut, Fault, cut, says, status};
use activity_relay::store::Row;

use crate::store_kit::at;
use crate::world::World;

const SLACK: &str = r#"
targets:
  desk: { type: slack, webhook_url: "${SLACK}", allow_private: true, rate: 100/s, burst: 100 }
rules:
  - { name: all, match: {}, deliver: [{ to: desk }] }
"#;
const HEADING: &str = "could not be reached";

fn always(answer: Answer) -> Fault {
    Fault { on: String::new(), times: None, answer }
}

/// So many messages come in while the channel answers like that, over ten minutes; then it works again.
async fn outage(world: &World, answer: Answer, messages: usize) {
    world.sandbox.slack.fault(always(answer));
    for minute in 0..10 {
        for number in (minute * messages / 10)..((minute + 1) * messages / 10) {
            world.receives("Ann", &said(number));
        }
        world.pass("1m").await;
    }
    assert!(world.sandbox.slack.received().is_empty());
    world.sandbox.slack.heal();
}

fn said(number: usize) -> String {
    format!("line {number:04} of many")
}

/// Time passes until nothing waits any more.
async fn settle(world: &World) {
    for _ in 0..300 {
        if world.rows().await.iter().all(|row| row.settled_at.is_some()) {
            return;
        }
        world.pass("1m").await;
    }
    panic!("something waits for ever:\n{}", world.owed().await);
}

fn count(rows: &[Row], state: StateName) -> usize {
    rows.iter().filter(|row| row.state == state).count()
}

fn is_digest(post: &Arrival) -> bool {
    post.body.contains(HEADING)
}

/// Every message is in a delivery that was delivered.
async fn assert_nothing_is_lost(world: &World, messages: usize) {
    let rows = world.rows().await;
    let delivered = rows.iter().filter(|row| row.state == StateName::Delivered);
    let mut uids: Vec<&String> = delivered.flat_map(|row| &row.messages).collect();
    assert_eq!(uids.len(), messages, "each once:\n{}", world.owed().await);
    uids.sort();
    uids.dedup();
    assert_eq!(uids.len(), messages);
}

#[tokio::test]
async fn a_long_backlog_comes_as_the_first_post_and_one_digest() {
    for answer in [status(503), cut(Cut::Before), says(404, "no_service")] {
        let world = World::new(SLACK).await;
        outage(&world, answer.clone(), 30).await;
        settle(&world).await;
        let posts = world.sandbox.slack.received();
        assert_eq!(posts.len(), 2, "{answer:?}");
        assert!(!is_digest(&posts[0]) && is_digest(&posts[1]));
        assert!(posts[1].body.contains("29 messages while desk could not be reached"), "{}", posts[1].body);
        let rows = world.rows().await;
        assert_eq!((count(&rows, StateName::Withheld), count(&rows, StateName::Delivered)), (29, 2));
        let part = rows.iter().find(|row| row.state == StateName::Withheld).unwrap();
        let whole = rows.last().unwrap();
        assert_eq!(part.why.as_deref(), Some(&*format!("sent together with others in {}", whole.id)));
        assert_nothing_is_lost(&world, 30).await;
        assert!(
            world.store().target_states().await.unwrap().iter().all(|state| state.recovered_at.is_none())
        );
    }
}

#[tokio::test]
async fn a_short_backlog_comes_one_by_one() {
    let world = World::new(SLACK).await;
    outage(&world, status(503), 15).await;
    settle(&world).await;
    let posts = world.sandbox.slack.received();
    assert_eq!(posts.len(), 15);
    assert!(!posts.iter().any(is_digest));
}

#[tokio::test]
async fn where_it_is_switched_off_everything_comes_one_by_one() {
    let world = World::new(&SLACK.replace("rate: 100/s", "coalesce_over: 0, rate: 100/s")).await;
    outage(&world, says(404, "no_service"), 30).await;
    settle(&world).await;
    assert_eq!(world.sandbox.slack.received().len(), 30);
}

#[tokio::test]
async fn a_busy_minute_with_a_short_trouble_is_no_outage() {
    let world = World::new(SLACK).await;
    for number in 0..60 {
        world.receives("Ann", &said(number));
    }
    world.sandbox.slack.answers([status(503), status(503)]);
    world.tick().await;
    for _ in 0..12 {
        world.pass("5s").await;
    }
    assert_eq!(world.sandbox.slack.received().len(), 60);
}

#[tokio::test]
async fn a_channel_that_is_only_slow_reads_every_post() {
    let world = World::new(&SLACK.replace("rate: 100/s, burst: 100", "rate: 1/s, burst: 3")).await;
    for number in 0..300 {
        world.receives("Ann", &said(number));
    }
    world.poll().await;
    while world.store().counts(None).await.unwrap().pending > 0 {
        world.send().await;
        world.clock.advance(std::time::Duration::from_secs(1));
    }
    let posts = world.sandbox.slack.received();
    let order = posts.iter().enumerate().filter(|(number, post)| post.body.contains(&said(*number)));
    assert_eq!((posts.len(), order.count()), (300, 300));
}

#[tokio::test]
async fn each_rule_has_a_digest_of_its_own() {
    let rules = r#"
targets:
  desk: { type: slack, webhook_url: "${SLACK}", allow_private: true, rate: 100/s, burst: 100 }
rules:
  - { name: ann, match: {}, where: 'client.name == "Ann"', deliver: [{ to: desk }] }
  - { name: bob, match: {}, where: 'client.name == "Bob"', deliver: [{ to: desk }] }
  - { name: cleo, match: {}, where: 'client.name == "Cleo"', deliver: [{ to: desk }] }
"#;
    let world = World::new(rules).await;
    for _ in 0..13 {
        world.receives("Ann", "Hello?");
        world.receives("Bob", "Anybody?");
    }
    world.receives("Cleo", "Only me");
    outage(&world, says(404, "no_service"), 0).await;
    settle(&world).await;
    let posts = world.sandbox.slack.received();
    let digests: Vec<&Arrival> = posts.iter().filter(|post| is_digest(post)).collect();
    assert_eq!((posts.len(), digests.len()), (4, 2), "the probe, two digests, and the one that is alone");
    for rule in ["ann", "bob"] {
        let of_rule = |post: &&&Arrival| post.body.contains(&format!("rule {rule}"));
        assert_eq!(digests.iter().filter(of_rule).count(), 1, "{rule}");
    }
    assert_nothing_is_lost(&world, 27).await;
}

#[tokio::test]
async fn mail_is_gathered_for_each_recipient_where_it_is_asked_for() {
    let rules = r#"
targets:
  books:
    type: email
    smtp: "${MAIL}"
    from: relay@example.com
    to: [ann@example.com, bob@example.com]
    coalesce_over: 5
    concurrency: 1
rules:
  - { name: all, match: {}, deliver: [{ to: books }] }
"#;
    let world = World::new(rules).await;
    world.sandbox.mail.fault(Fault { on: "mail".into(), times: None, answer: says(451, "4.3.0 later") });
    for minute in 0..5 {
        for number in 0..2 {
            world.receives("Cleo", &said(minute * 2 + number));
        }
        world.pass("1m").await;
    }
    assert!(world.sandbox.mail.received().is_empty());
    world.sandbox.mail.heal();
    settle(&world).await;
    let mails = world.sandbox.mail.received();
    let digests = mails.iter().filter(|mail| is_digest(mail)).count();
    assert_eq!((mails.len(), digests), (3, 2), "{}", world.owed().await);
}

#[tokio::test]
async fn what_has_expired_is_not_in_the_digest() {
    let world = World::new(&SLACK.replace("{ to: desk }", "{ to: desk, expires_after: 5m }")).await;
    world.sandbox.slack.fault(always(says(404, "no_service")));
    for number in 0..10 {
        world.receives("Ann", &said(number));
    }
    world.tick().await;
    world.clock.advance(std::time::Duration::from_mins(4));
    for number in 10..40 {
        world.receives("Ann", &said(number));
    }
    world.tick().await;
    world.sandbox.slack.heal();
    world.pass("90s").await;
    settle(&world).await;
    let rows = world.rows().await;
    assert_eq!(count(&rows, StateName::Expired), 10, "{}", world.owed().await);
    let digest = rows.iter().find(|row| row.template == "backlog").unwrap();
    assert_eq!((digest.messages.len(), digest.state), (29, StateName::Delivered));
}

#[tokio::test]
async fn what_is_held_for_its_hours_is_not_sent_with_what_an_outage_held_up() {
    let world = World::new(
        r#"
targets:
  desk: { type: slack, webhook_url: "${SLACK}", allow_private: true, rate: 100/s, burst: 100 }
schedules:
  afternoon: { from: "14:00", to: "18:00" }
rules:
  - { name: ann, match: {}, where: 'client.name == "Ann"', deliver: [{ to: desk }] }
  - { name: bob, match: {}, where: 'client.name == "Bob"', deliver: [{ to: desk, during: afternoon }] }
"#,
    )
    .await;
    for _ in 0..25 {
        world.receives("Bob", "No hurry");
    }
    outage(&world, status(503), 25).await;
    world.pass("1h").await;
    let of = |rows: &[Row], rule: &str, state| {
        rows.iter().filter(|row| row.rule == rule && row.state == state).count()
    };
    let rows = world.rows().await;
    assert_eq!(of(&rows, "ann", StateName::Delivered), 2, "{}", world.owed().await);
    assert_eq!(of(&rows, "bob", StateName::Pending), 25, "{}", world.owed().await);
    world.pass("4h").await;
    assert_eq!(of(&world.rows().await, "bob", StateName::Delivered), 1, "all of them when the hours open");
    assert_nothing_is_lost(&world, 50).await;
}

#[tokio::test]
async fn one_that_is_refused_alone_is_not_in_the_digest() {
    let world = World::new(SLACK).await;
    for number in 0..30 {
        world.receives("Ann", &said(number));
    }
    let no = || says(403, "action_prohibited");
    world.sandbox.slack.answers([no(), no(), activity_relay::sandbox::script::ok(), no()]);
    for time in ["0s", "2m", "5m"] {
        world.pass(time).await;
    }
    let posts = world.sandbox.slack.received();
    assert_eq!(posts.len(), 2, "{}", world.owed().await);
    assert!(posts[1].body.contains("28 messages while desk could not be reached"), "{}", posts[1].body);
    assert!(!posts.iter().any(|post| post.body.contains(&said(0))));
    settle(&world).await;
    assert_nothing_is_lost(&world, 30).await;
}

#[test]
fn what_would_take_the_others_with_it_stays_alone() {
    let now = at(100);
    let one = |number: i64| Waiting {
        id: DeliveryId::derive(at(number), &[&number.to_string()]),
        account: "main".into(),
        rule: "all".into(),
        recipient: None,
        template: "default".into(),
        created_at: at(number),
        expires_at: None,
        lost: 1,
        doubted: false,
        turned_away: false,
    };
    let gathered = |waiting: &[Waiting]| {
        let wholes = together("desk", NonZeroU32::MIN, waiting, now);
        wholes.into_iter().flat_map(|(_, parts)| parts).collect::<Vec<_>>()
    };
    let clean = [one(0), one(1), one(2)];
    let ids: Vec<DeliveryId> = clean.iter().map(|one| one.id.clone()).collect();
    assert_eq!(gathered(&clean), ids);
    let bad = [
        Waiting { lost: 2, ..one(3) },
        Waiting { doubted: true, ..one(4) },
        Waiting { turned_away: true, ..one(5) },
    ];
    for one in &bad {
        assert_eq!(gathered(&[&clean[..], std::slice::from_ref(one)].concat()), ids, "{one:?}");
    }
    let broken: Vec<Waiting> = clean.iter().map(|one| Waiting { turned_away: true, ..one.clone() }).collect();
    assert_eq!(gathered(&broken), ids, "where several were refused it was the target");
}

#[tokio::test]
async fn a_digest_is_found_again_after_a_crash_and_can_be_replayed() {
    let mut world = World::new(SLACK).await;
    outage(&world, says(404, "no_service"), 30).await;
    // The channel takes the probe; before anything is gathered the relay is gone.
    world.clock.advance(std::time::Duration::from_hours(1));
    let courier = &world.relay().courier;
    assert_eq!(courier.tick(&world.relay().config(), world.clock.now()).await.unwrap().started, 1);
    courier.idle().await;
    assert_eq!(world.store().counts(None).await.unwrap().pending, 29);
    world.reopen().await;
    settle(&world).await;
    assert_eq!(world.sandbox.slack.received().len(), 2);
    let digest = world.rows().await.pop().unwrap();
    world.store().replay(&[digest.id.clone().into()], world.clock.now()).await.unwrap();
    world.send().await;
    let posts = world.sandbox.slack.received();
    assert_eq!((posts.len(), posts.iter().filter(|post| is_digest(post)).count()), (3, 2));
}

#[tokio::test]
async fn a_digest_that_meets_the_next_outage_stays_one() {
    let world = World::new(SLACK).await;
    outage(&world, says(404, "no_service"), 30).await;
    let revoked = Fault { on: String::new(), times: None, answer: says(404, "no_service") };
    // The probe passes, and what follows does not.
    world.sandbox.slack.fault(Fault {
        times: Some(1),
        answer: activity_relay::sandbox::script::ok(),
        ..revoked.clone()
    });
    world.sandbox.slack.fault(revoked);
    world.pass("1h").await;
    for number in 30..60 {
        world.receives("Ann", &said(number));
    }
    world.pass("2m").await;
    world.sandbox.slack.heal();
    settle(&world).await;
    assert_nothing_is_lost(&world, 60).await;
    let digests = world.sandbox.slack.received().iter().filter(|post| is_digest(post)).count();
    assert_eq!(digests, 2);
}

#[tokio::test]
async fn a_digest_of_hundreds_keeps_within_what_slack_takes() {
    let world = World::new(SLACK).await;
    let long = "A subject that goes on & on <and on> ".repeat(20);
    for number in 0..600 {
        let message = activity_relay::sandbox::incoming::Incoming::text("Ann", &said(number));
        world.sandbox.business.receive(message.with("subject", serde_json::json!(long)));
    }
    outage(&world, says(404, "no_service"), 0).await;
    settle(&world).await;
    let posts = world.sandbox.slack.received();
    assert_eq!(posts.len(), 3, "the probe, 500 and 99");
    let body: serde_json::Value = serde_json::from_str(&posts[1].body).unwrap();
    let blocks = body["blocks"].as_array().unwrap();
    let texts: Vec<&str> = blocks.iter().filter_map(|block| block["text"]["text"].as_str()).collect();
    assert!(blocks.len() <= 50 && texts.iter().all(|text| text.encode_utf16().count() <= 3_000));
    assert!(texts.contains(&"+460 more"), "{texts:#?}");
    assert!(body["text"].as_str().unwrap().starts_with("500 messages while desk"));
}

#[tokio::test]
async fn a_resume_after_which_the_first_try_fails_does_not_end_the_outage() {
    let world = World::new(SLACK).await;
    outage(&world, says(404, "no_service"), 30).await;
    world.sandbox.slack.answers([status(503)]);
    world.store().pause_target("desk", false, "").await.unwrap();
    for _ in 0..4 {
        world.pass("6s").await;
    }
    settle(&world).await;
    let posts = world.sandbox.slack.received();
    assert_eq!(
        (posts.len(), posts.iter().filter(|post| is_digest(post)).count()),
        (2, 1),
        "{}",
        world.owed().await
    );
    assert_nothing_is_lost(&world, 30).await;
}
