//! What the relay tells its own people: each trouble once, and that it is over, also where a restart lies between.

use std::time::Duration;

use activity_relay::daemon::alarm::Alarm;
use activity_relay::model::delivery::StateName;
use activity_relay::sandbox::script::{Fault, cut, ok, says, status};
use activity_relay::store::{Filter, Want};

use crate::world::{PATIENCE, World};

const RULES: &str = r#"
alerts: { to: ops }
targets:
  desk: { type: slack, webhook_url: "${SLACK}", allow_private: true, rate: 100/s, burst: 100 }
  ops: { type: http, url: "${HTTP}", allow_private: true }
rules:
  - { name: all, match: {}, deliver: [{ to: desk, expires_after: 12h }] }
"#;

fn always(answer: activity_relay::sandbox::script::Answer) -> Fault {
    Fault { on: String::new(), times: None, answer }
}

/// The subjects of the relay's notices, oldest first.
async fn told(world: &World) -> Vec<String> {
    world.rows().await.into_iter().filter_map(|row| Some(row.notice?.subject)).collect()
}

/// Polls every half minute, that often.
async fn poll(world: &World, alarm: &mut Alarm, times: usize) {
    for _ in 0..times {
        let tick = world.try_poll().await;
        alarm.note(world.relay(), &world.relay().config().accounts[0], &tick).await;
        world.clock.advance(Duration::from_secs(30));
    }
}

#[tokio::test]
async fn an_account_that_cannot_be_polled_is_told_of_once_and_so_is_its_end() {
    let mut world = World::new(RULES).await;
    let mut alarm = Alarm::new(world.relay(), "main").await;
    poll(&world, &mut alarm, 2).await;
    world.sandbox.business.fault(Fault { on: "/".into(), times: None, answer: status(500) });
    poll(&world, &mut alarm, 5).await;
    assert!(told(&world).await.is_empty(), "five intervals are not over");
    poll(&world, &mut alarm, 5).await;
    assert_eq!(told(&world).await, ["Relay: account main cannot be polled"]);
    world.reopen().await;
    let mut alarm = Alarm::new(world.relay(), "main").await;
    poll(&world, &mut alarm, 10).await;
    assert_eq!(told(&world).await.len(), 1, "it was told before the restart");
    world.reopen().await;
    world.sandbox.business.heal();
    let mut alarm = Alarm::new(world.relay(), "main").await;
    poll(&world, &mut alarm, 3).await;
    let all = ["Relay: account main cannot be polled", "Relay: account main is polled again"];
    assert_eq!(told(&world).await, all);
}

#[tokio::test]
async fn a_relay_that_is_restarted_again_and_again_still_tells() {
    let mut world = World::new(RULES).await;
    world.poll().await;
    world.sandbox.business.fault(Fault { on: "/".into(), times: None, answer: status(500) });
    for _ in 0..4 {
        let mut alarm = Alarm::new(world.relay(), "main").await;
        poll(&world, &mut alarm, 2).await;
        world.reopen().await;
    }
    assert_eq!(told(&world).await, ["Relay: account main cannot be polled"]);
}

#[tokio::test]
async fn a_refused_token_is_told_at_once_with_its_reason() {
    for (said, reason) in [("401 Unauthorized", "mistyped, revoked"), ("Unauthorized", "of the wrong kind")] {
        let body =
            serde_json::json!({ "success": false, "errors": [{ "code": "unauthorized", "message": said }] });
        let answer = says(401, body.to_string());
        let world = World::new(RULES).await;
        let mut alarm = Alarm::new(world.relay(), "main").await;
        poll(&world, &mut alarm, 1).await;
        world.sandbox.business.fault(Fault { on: "/".into(), times: None, answer });
        poll(&world, &mut alarm, 3).await;
        let notice = world.rows().await[0].notice.clone().unwrap();
        assert_eq!(told(&world).await.len(), 1);
        assert!(notice.text.contains(reason), "{}", notice.text);
        world.sandbox.business.heal();
        poll(&world, &mut alarm, 2).await;
        assert_eq!(told(&world).await.len(), 2);
    }
}

#[tokio::test]
async fn what_expired_is_told_once_an_hour_whether_it_was_tried_or_not() {
    let world = World::new(RULES).await;
    world.sandbox.slack.fault(always(status(503)));
    for _ in 0..3 {
        world.receives("Ann", "Now or never");
    }
    world.tick().await;
    for _ in 0..13 {
        world.pass("1h").await;
    }
    let expired = world.rows().await.iter().filter(|row| row.state == StateName::Expired).count();
    assert_eq!(expired, 3);
    let told = told(&world).await;
    assert!(!told.is_empty() && told.len() <= 2, "{told:?}");
    assert!(told.iter().all(|subject| subject == "Relay: a delivery to desk expired"));
}

#[tokio::test]
async fn what_took_the_relay_down_too_often_is_buried_alone_and_told_at_the_next_start() {
    let mut world = World::new(RULES).await;
    world.receives("Ann", "The one that kills");
    world.poll().await;
    let want = || Want {
        target: "desk".into(),
        limit: 1,
        lease: Duration::from_mins(1),
        rate: None,
        concurrency: 1,
        ahead: 0,
    };
    for _ in 0..5 {
        // It is claimed, and its holder is gone.
        assert_eq!(world.store().claim(vec![want()], world.clock.now()).await.unwrap().jobs.len(), 1);
        world.reopen().await;
    }
    world.receives("Bob", "A harmless one");
    world.tick().await;
    world.send().await;
    let rows = world.rows().await;
    assert_eq!((rows[0].state, rows[0].attempts), (StateName::Dead, 0), "{}", world.owed().await);
    assert!(rows[0].why.as_deref().unwrap().contains("5 times in a row"));
    assert_eq!(told(&world).await, ["Relay: a delivery to desk failed for good"]);
    assert_eq!(world.sandbox.slack.received().len(), 1, "the harmless one");
}

#[tokio::test]
async fn an_alert_target_that_is_dead_itself_hears_nothing_of_it_and_nothing_goes_round() {
    let rules = RULES.replace("to: desk,", "to: ops,");
    for answer in
        [status(404), says(422, "no"), status(503), cut(activity_relay::sandbox::script::Cut::Before)]
    {
        let world = World::new(&rules).await;
        world.sandbox.http.fault(always(answer.clone()));
        world.receives("Ann", "Hello?");
        world.tick().await;
        for _ in 0..100 {
            world.pass("1h").await;
        }
        let notices = told(&world).await;
        assert!(notices.len() <= 2, "{answer:?}: {notices:#?}");
    }
}

#[tokio::test]
async fn a_target_that_parks_and_comes_back_is_told_of_twice_and_again_the_next_time() {
    let mut world = World::new(RULES).await;
    for round in 1..=2 {
        world.receives("Ann", "Hello?");
        world.sandbox.slack.fault(Fault {
            on: String::new(),
            times: Some(2),
            answer: says(404, "no_service"),
        });
        world.pass("1m").await;
        world.pass("3m").await;
        world.reopen().await;
        world.sandbox.slack.answers([ok()]);
        world.pass("1h").await;
        let one = ["Relay: target desk is parked", "Relay: target desk works again"];
        assert_eq!(told(&world).await, one.repeat(round));
    }
}

#[tokio::test]
async fn one_row_that_cannot_be_read_is_buried_alone_and_told() {
    let world = World::new(RULES).await;
    for client in ["Ann", "Bob", "Cleo"] {
        world.receives(client, "Hello?");
    }
    world.poll().await;
    let bad = world.rows().await[1].id.clone();
    let damage = rusqlite::Connection::open(world.folder.path().join("relay.db")).unwrap();
    damage
        .execute(
            "UPDATE messages SET message = '{\"uid\":' WHERE id = (SELECT dm.message FROM delivery_messages dm
               JOIN deliveries d ON d.seq = dm.delivery WHERE d.id = ?1)",
            [bad.as_str()],
        )
        .unwrap();
    // A tick that only buries starts nothing; the next one goes on.
    world.send().await;
    world.send().await;
    let dead = Filter { states: vec![StateName::Dead], ..Filter::default() };
    let (dead, _) = world.store().deliveries(dead).await.unwrap();
    assert_eq!(dead.iter().map(|row| &row.id).collect::<Vec<_>>(), [&bad]);
    assert_eq!(world.sandbox.slack.received().len(), 2);
    assert_eq!(told(&world).await, ["Relay: a delivery to desk failed for good"]);
}

#[tokio::test]
async fn a_digest_beside_which_a_row_cannot_be_read_is_tried_a_few_times_and_holds_up_nobody() {
    let world = World::new(
        "
targets:
  desk: { type: slack, webhook_url: '${SLACK}', allow_private: true }
rules:
  - { name: asked, match: {}, where: 'message.body == \"Hello?\"', deliver: [{ to: desk, digest: { every: 1h } }] }
  - { name: settled, match: {}, where: 'message.body == \"Thanks\"', resolves: { rules: asked, by: [client.uid] }, deliver: [] }
  - { name: urgent, match: {}, where: 'message.body == \"Fire\"', deliver: [{ to: desk }] }
",
    )
    .await;
    for (client, says) in [("Ann", "Hello?"), ("Bob", "Thanks")] {
        world.receives(client, says);
        world.poll().await;
    }
    let damage = rusqlite::Connection::open(world.folder.path().join("relay.db")).unwrap();
    let damaged =
        damage.execute("UPDATE messages SET message = '{' WHERE rules LIKE '%settled%'", []).unwrap();
    assert_eq!(damaged, 1);
    world.clock.advance(Duration::from_hours(2));
    world.receives("Cleo", "Fire");
    world.poll().await;
    tokio::time::timeout(PATIENCE, world.send()).await.unwrap();
    let rows = world.rows().await;
    let of = |rule: &str| rows.iter().find(|row| row.rule == rule).unwrap();
    let (digest, urgent) = (of("asked"), of("urgent"));
    assert_eq!((digest.state, digest.attempts), (StateName::Pending, 1));
    let why = &digest.last.as_ref().unwrap().reason;
    assert!(why.contains("other messages cannot be read"), "{why}");
    assert_eq!(urgent.state, StateName::Delivered);
}

#[tokio::test]
async fn what_expired_is_told_even_if_that_could_not_be_written_at_once() {
    let world = World::new(RULES).await;
    world.receives("Ann", "Hello?");
    world.poll().await;
    let database = rusqlite::Connection::open(world.folder.path().join("relay.db")).unwrap();
    let no_notices = "CREATE TRIGGER no_notices BEFORE INSERT ON deliveries WHEN new.notice IS NOT NULL
                      BEGIN SELECT RAISE(ABORT, 'not now'); END";
    database.execute_batch(no_notices).unwrap();
    world.clock.advance(Duration::from_hours(13));
    let (courier, config) = (&world.relay().courier, world.relay().config());
    courier.tick(&config, world.clock.now()).await.unwrap();
    assert_eq!(world.rows().await[0].state, StateName::Expired);
    courier.tick(&config, world.clock.now()).await.unwrap();
    assert_eq!(told(&world).await, Vec::<String>::new());
    database.execute_batch("DROP TRIGGER no_notices").unwrap();
    world.send().await;
    assert_eq!(told(&world).await, ["Relay: a delivery to desk expired"]);
}

#[tokio::test]
async fn what_was_given_up_by_a_relay_that_died_of_it_is_told_at_the_next_start_and_once() {
    let mut world = World::new(RULES).await;
    world.receives("Ann", "Hello?");
    world.poll().await;
    world.clock.advance(Duration::from_hours(13));
    // A claim ends it, and who claimed is gone before anybody is told.
    let claimed = world.store().claim(Vec::new(), world.clock.now()).await.unwrap();
    assert_eq!(claimed.ended.len(), 1);
    for _ in 0..2 {
        world.reopen().await;
        world.clock.advance(Duration::from_mins(20));
        world.send().await;
        assert_eq!(told(&world).await, ["Relay: a delivery to desk expired"]);
    }
}

#[tokio::test]
async fn a_store_that_could_not_be_written_is_told_of_once_it_can() {
    let world = World::new(RULES).await;
    world.poll().await;
    // Somebody else holds the database longer than anything waits for it.
    let holder = rusqlite::Connection::open(world.folder.path().join("relay.db")).unwrap();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert!(world.try_poll().await.result.is_err());
    world.clock.advance(Duration::from_mins(7));
    holder.execute_batch("ROLLBACK").unwrap();
    for _ in 0..2 {
        world.relay().look_after_store().await;
    }
    assert_eq!(told(&world).await, ["Relay: the store can be written again"]);
    let text = world.rows().await[0].notice.clone().unwrap().text;
    assert!(text.contains("from 2026-03-10T09:00:00Z to 2026-03-10T09:07:00Z"), "{text}");
}
