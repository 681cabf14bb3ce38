//! What becomes of a delivery when its target answers in this way or that, told by the outbox itself.

use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use activity_relay::daemon::clock::Clock;
use activity_relay::model::delivery::StateName;
use activity_relay::sandbox::incoming::Incoming;
use activity_relay::sandbox::script::{self, Fault, busy, ok, says, status};
use insta::assert_snapshot;

use crate::somebody::{answer, somebody};
use crate::world::{PATIENCE, World};

const SLACK: &str = r#"
targets:
  desk: { type: slack, webhook_url: "${SLACK}", allow_private: true, rate: 100/s, burst: 100, fallback: crm }
  crm: { type: http, url: "${HTTP}", allow_private: true }
rules:
  - { name: all, match: {}, deliver: [{ to: desk }] }
"#;
const HTTP: &str = r#"
targets:
  crm: { type: http, url: "${HTTP}", allow_private: true, body: event, concurrency: 1 }
rules:
  - { name: all, match: {}, deliver: [{ to: crm, expires_after: 1h }] }
"#;

#[tokio::test]
async fn what_is_taken_for_want_of_a_name_holds_back_nothing_that_is_meant() {
    let world = World::new(
        r#"
targets:
  crm: { type: http, url: "${HTTP}", allow_private: true }
rules:
  - name: vip
    match: {}
    where: 'client.name.startsWith("Ann")'
    deliver: [{ to: crm, throttle: { limit: 1, per: 1h } }]
"#,
    )
    .await;
    let on = "/platform/v1/clients".to_owned();
    world.sandbox.business.fault(Fault { on, times: None, answer: status(503) });
    world.receives("Bob", "Who is it?");
    world.pass("0s").await;
    world.sandbox.business.heal();
    world.pass("2m").await;
    world.receives("Ann", "It is me");
    world.receives("Ann", "once more");
    world.pass("0s").await;
    assert_snapshot!(world.owed().await, @"
    vip → crm  delivered  attempts 1  delivered 200
    vip → crm  delivered  attempts 1  delivered 200
    vip → crm  withheld  attempts 0
    ");
}

#[tokio::test]
async fn slack_says_wait_thirty_seconds() {
    let world = World::new(SLACK).await;
    world.receives("Ann", "Are you open today?");
    world.receives("Bob", "And tomorrow?");
    world.sandbox.slack.answers([busy(30)]);
    world.tick().await;
    assert_snapshot!(world.owed().await, @r#"
    all → desk  pending  due +30s  attempts 0  busy 429
    all → desk  pending  due +30s  attempts 0
    "#);
    assert_eq!(world.sandbox.slack.arrivals().len(), 1, "the second one was not even tried");
    world.pass("29s").await;
    assert_eq!(world.sandbox.slack.arrivals().len(), 1);
    world.pass("1s").await;
    assert_snapshot!(world.owed().await, @r#"
    all → desk  delivered  attempts 1  delivered 200
    all → desk  delivered  attempts 1  delivered 200
    "#);
}

#[tokio::test]
async fn a_revoked_webhook_parks_the_target_until_a_probe_passes() {
    let world = World::new(SLACK).await;
    world.sandbox.slack.fault(Fault { on: String::new(), times: None, answer: says(404, "no_service") });
    for client in ["Ann", "Bob", "Cleo"] {
        world.receives(client, "Hello?");
    }
    world.tick().await;
    assert_eq!(world.sandbox.slack.arrivals().len(), 1, "one refusal stands for all");
    world.receives("Dora", "Anybody there?");
    world.pass("2m").await;
    assert_eq!(world.sandbox.slack.arrivals().len(), 2, "and one probe");
    assert_snapshot!(world.owed().await, @r#"
    all → desk  pending  due +115s  attempts 0  target_broken 404
    all → desk  pending  due +115s  attempts 0
    all → desk  pending  due +115s  attempts 0
    relay → crm  delivered  attempts 1  delivered 200  “Relay: target desk is parked”
    all → desk  pending  due +115s  attempts 0
    "#);
    world.sandbox.slack.heal();
    world.pass("5m").await;
    assert_snapshot!(world.owed().await, @r#"
    all → desk  delivered  attempts 1  delivered 200
    all → desk  delivered  attempts 1  delivered 200
    all → desk  delivered  attempts 1  delivered 200
    relay → crm  delivered  attempts 1  delivered 200  “Relay: target desk is parked”
    all → desk  delivered  attempts 1  delivered 200
    relay → crm  delivered  attempts 1  delivered 200  “Relay: target desk works again”
    "#);
    assert_eq!((world.sandbox.slack.received().len(), world.sandbox.slack.duplicates()), (4, 0));
}

#[tokio::test]
async fn one_message_that_is_refused_alone_holds_up_no_other_and_dies_in_the_end() {
    let world = World::new(SLACK).await;
    let no = || says(403, "action_prohibited");
    for line in ["the bad one", "first", "second"] {
        world.receives("Ann", line);
    }
    // The bad one parks the target, and is its first probe; the next one passes, and the bad one is refused again.
    world.sandbox.slack.answers([no(), no(), ok(), no()]);
    for time in ["0s", "2m", "5m"] {
        world.pass(time).await;
    }
    assert_snapshot!(world.owed().await, @r#"
    all → desk  pending  due +669s  attempts 1  doubtful 403
    all → desk  delivered  attempts 1  delivered 200
    all → desk  delivered  attempts 1  delivered 200
    relay → crm  delivered  attempts 1  delivered 200  “Relay: target desk is parked”
    relay → crm  delivered  attempts 1  delivered 200  “Relay: target desk works again”
    "#);
    for (minutes, line) in [(13, "third"), (25, "fourth"), (37, "fifth"), (49, "sixth")] {
        world.receives("Ann", line);
        world.sandbox.slack.answers([no()]);
        world.pass(&format!("{minutes}m")).await;
        assert!(world.sandbox.slack.received().last().unwrap().body.contains(line));
    }
    let row = &world.rows().await[0];
    let why = row.why.as_deref().unwrap();
    assert!(why.starts_with("refused while the target takes others: ") && why.contains("403"), "{why}");
    assert_eq!((row.state.as_str(), row.attempts), ("dead", 5));
    let told: Vec<String> =
        world.rows().await.into_iter().filter_map(|row| Some(row.notice?.subject)).collect();
    assert_eq!(told.len(), 3, "parked, works again, failed for good: {told:?}");
}

#[tokio::test]
async fn several_that_are_refused_alone_hold_up_nothing_and_on_a_quiet_channel_park_nothing() {
    let world = World::new(SLACK).await;
    let no = || says(403, "action_prohibited");
    for line in ["the bad one", "the other bad one", "a good one"] {
        world.receives("Ann", line);
    }
    world.sandbox.slack.answers([no(), no(), no(), ok(), no(), no()]);
    for time in ["0s", "2m", "3m", "6m"] {
        world.pass(time).await;
    }
    assert_snapshot!(world.owed().await, @r#"
    all → desk  pending  due +664s  attempts 1  doubtful 403
    all → desk  pending  due +696s  attempts 1  doubtful 403
    all → desk  delivered  attempts 1  delivered 200
    relay → crm  delivered  attempts 1  delivered 200  “Relay: target desk is parked”
    relay → crm  delivered  attempts 1  delivered 200  “Relay: target desk works again”
    "#);
    // Nothing else is sent: that they are refused again says nothing new, and parks nothing.
    for time in ["15m", "30m"] {
        world.sandbox.slack.answers([no(), no()]);
        world.pass(time).await;
    }
    assert_snapshot!(world.owed().await, @r#"
    all → desk  pending  due +1930s  attempts 2  target_broken 403
    all → desk  pending  due +1470s  attempts 2  target_broken 403
    all → desk  delivered  attempts 1  delivered 200
    relay → crm  delivered  attempts 1  delivered 200  “Relay: target desk is parked”
    relay → crm  delivered  attempts 1  delivered 200  “Relay: target desk works again”
    "#);
    world.receives("Bob", "a later one");
    world.pass("0s").await;
    assert!(world.sandbox.slack.received().last().unwrap().body.contains("a later one"));
}

#[tokio::test]
async fn one_that_is_refused_faster_than_others_are_taken_does_not_park_its_target_again_and_again() {
    let (clock, held) = (Arc::new(OnceLock::<Clock>::new()), Arc::new(Mutex::new(Vec::<Sender<()>>::new())));
    let (time, wait) = (clock.clone(), held.clone());
    let server = somebody(move |_, body| {
        if String::from_utf8_lossy(body).contains("the bad one") {
            time.get().unwrap().advance(Duration::from_millis(20));
            return answer("404 Not Found", "", "no such record");
        }
        let (free, freed) = std::sync::mpsc::channel();
        wait.lock().unwrap().push(free);
        freed.recv().unwrap();
        answer("200 OK", "", "")
    });
    let rules = HTTP.replace(", concurrency: 1", ", fallback: log").replace("${HTTP}", &server);
    let log = "rules:\n  - { name: none, match: { activity_type: Payment }, deliver: [{ to: log }] }";
    let rules =
        rules.replace("targets:", "targets:\n  log: { type: http, url: \"${HTTP}\", allow_private: true }");
    let world = World::new(&rules.replace("rules:", log)).await;
    assert!(clock.set(world.clock.clone()).is_ok());
    let bad = world.receives("Ann", "the bad one");
    for number in 0..40 {
        world.receives("Ann", &format!("good one no. {number}"));
    }
    // The others are taken as soon as what came of the bad one is written down.
    let takes = async {
        loop {
            let waiting = std::mem::take(&mut *held.lock().unwrap());
            let rows = world.rows().await;
            if rows.iter().any(|row| row.state == StateName::Sending && row.messages.contains(&bad)) {
                held.lock().unwrap().extend(waiting);
            } else {
                for free in waiting {
                    free.send(()).unwrap();
                }
            }
            tokio::task::yield_now().await;
        }
    };
    let sends = tokio::time::timeout(PATIENCE, world.tick());
    tokio::select! { sent = sends => sent.unwrap(), () = takes => {} }
    let rows = world.rows().await;
    let delivered = rows.iter().filter(|row| row.target == "crm" && row.state == StateName::Delivered);
    assert_eq!(delivered.count(), 40, "{}", world.owed().await);
    // In the second round it may not be known yet whether the others of it are taken; in the third one it is.
    let doubted = rows.iter().find(|row| row.messages.contains(&bad)).unwrap();
    let history = world.store().delivery(&doubted.id).await.unwrap().unwrap().history;
    let outcomes: Vec<&str> = history.iter().map(|attempt| attempt.outcome.as_str()).collect();
    assert!(outcomes.len() <= 3 && outcomes.last() == Some(&"doubtful"), "{outcomes:?}");
}

#[tokio::test]
async fn while_a_target_is_broken_nothing_dies_and_its_order_is_kept() {
    let world = World::new(SLACK).await;
    world.sandbox.slack.fault(Fault { on: String::new(), times: None, answer: says(404, "no_service") });
    let said: Vec<String> = (1..=5).map(|number| format!("line {number} of 5")).collect();
    for line in &said {
        world.receives("Ann", line);
    }
    // Each of them is the probe, several times; persons resume it too early.
    for round in 0..48 {
        if round % 8 == 0 {
            world.store().pause_target("desk", false, "").await.unwrap();
        }
        world.pass("75m").await;
    }
    let rows = world.rows().await;
    let open = rows.iter().filter(|row| row.rule == "all" && row.state.as_str() == "pending");
    assert_eq!(open.filter(|row| row.attempts == 0).count(), 5, "{}", world.owed().await);
    world.sandbox.slack.heal();
    world.pass("75m").await;
    let posts: Vec<String> = world.sandbox.slack.received().into_iter().map(|post| post.body).collect();
    let mut order: Vec<usize> =
        posts.iter().filter_map(|post| said.iter().position(|line| post.contains(line.as_str()))).collect();
    let probe = order.remove(0);
    let others: Vec<usize> = (0..5).filter(|number| *number != probe).collect();
    assert_eq!(order, others, "all but the probe, as they came");
}

#[tokio::test]
async fn what_the_network_lost_is_no_refusal_of_the_message() {
    let world = World::new(HTTP).await;
    world.receives("Ann", "Hello?");
    world.sandbox.http.answers([status(503), status(503), status(503), status(503), status(400)]);
    world.tick().await;
    for time in ["5s", "30s", "2m", "10m"] {
        world.pass(time).await;
    }
    assert_snapshot!(world.owed().await, @"all → crm  pending  due +655s  attempts 5  doubtful 400");
    world.pass("15m").await;
    assert_snapshot!(world.owed().await, @"all → crm  delivered  attempts 6  delivered 200");
}

#[tokio::test]
async fn a_person_who_resumes_a_target_does_not_wait_for_its_next_probe() {
    for answer in [says(404, "no_service"), busy(3_600)] {
        let parks = answer.status == Some(404);
        let world = World::new(SLACK).await;
        world.receives("Ann", "Hello?");
        world.sandbox.slack.answers([answer]);
        world.tick().await;
        assert!(world.sandbox.slack.received().is_empty());
        world.store().pause_target("desk", false, "").await.unwrap();
        world.send().await;
        assert_eq!(world.sandbox.slack.received().len(), 1);
        let told: Vec<String> = world.sandbox.http.received().into_iter().map(|told| told.body).collect();
        let words: &[&str] = if parks { &["is parked", "works again"] } else { &[] };
        assert_eq!(told.len(), words.len(), "{told:?}");
        assert!(told.iter().zip(words).all(|(told, word)| told.contains(word)), "{told:?}");
    }
}

#[tokio::test]
async fn blocks_that_slack_refuses_are_sent_once_more_as_plain_text() {
    let world = World::new(SLACK).await;
    world.receives("Ann", "Are you open today?");
    world.sandbox.slack.answers([says(400, "invalid_blocks")]);
    world.tick().await;
    let bodies: Vec<serde_json::Value> = world
        .sandbox
        .slack
        .arrivals()
        .iter()
        .map(|arrival| serde_json::from_str(&arrival.body).unwrap())
        .collect();
    assert_eq!(bodies.len(), 2);
    assert!(bodies[0]["blocks"].is_array() && bodies[1]["blocks"].is_null());
    assert!(bodies[1]["text"].as_str().unwrap().contains("Are you open today?"));
    assert_snapshot!(world.owed().await, @"all → desk  delivered  attempts 2  delivered 200");

    world.receives("Bob", "And tomorrow?");
    world.sandbox.slack.answers([says(400, "invalid_blocks"), says(400, "invalid_payload")]);
    world.pass("30s").await;
    assert_eq!(world.sandbox.slack.arrivals().len(), 4, "plain text is the last try");
    assert_snapshot!(world.owed().await, @r#"
    all → desk  delivered  attempts 2  delivered 200
    all → desk  dead  attempts 2  shape_refused 400
    relay → crm  delivered  attempts 1  delivered 200  “Relay: a delivery to desk failed for good”
    "#);
}

#[tokio::test]
async fn what_is_unavailable_is_tried_later_with_the_same_bytes() {
    let world = World::new(HTTP).await;
    world.receives("Ann", "Hello?");
    world.sandbox.http.answers([status(503), status(500)]);
    world.tick().await;
    assert_snapshot!(world.owed().await, @"all → crm  pending  due +1s  attempts 1  retry 503");
    world.pass("5s").await;
    world.pass("30s").await;
    assert_snapshot!(world.owed().await, @"all → crm  delivered  attempts 3  delivered 200");
    let arrivals = world.sandbox.http.arrivals();
    assert_eq!(arrivals.len(), 3);
    assert!(arrivals.iter().all(|arrival| arrival.body == arrivals[0].body));
    assert!(arrivals.iter().all(|arrival| arrival.identity() == arrivals[0].identity()));
}

#[tokio::test]
async fn what_was_not_delivered_in_time_expires_and_says_so() {
    let world = World::new(HTTP).await;
    world.receives("Ann", "Now or never");
    world.sandbox.http.fault(Fault { on: String::new(), times: None, answer: status(503) });
    world.tick().await;
    let began = world.clock.now();
    while let Some(due) = world.rows().await[0].due_at {
        world.clock.advance(due.duration_since(world.clock.now()).unsigned_abs());
        world.send().await;
    }
    let row = &world.rows().await[0];
    assert_eq!(row.state.as_str(), "expired");
    let lived = row.settled_at.unwrap().duration_since(began).as_secs();
    assert!((3_570..3_600).contains(&lived), "its last try is shortly before the end, after {lived} s");
    assert!(row.why.as_deref().unwrap().contains("time"), "{:?}", row.why);
    assert!(row.attempts > 1);
    let tried = world.sandbox.http.arrivals().len();
    world.sandbox.http.heal();
    world.pass("1h").await;
    assert_eq!(world.sandbox.http.arrivals().len(), tried, "an expired one is left alone");
}

#[tokio::test]
async fn a_digest_that_is_sent_empty_too_expires_like_any_other() {
    for messages in [0, 1] {
        let rules =
            HTTP.replace("expires_after: 1h", "expires_after: 2h, digest: { at: \"10:00\", if_empty: send }");
        let world = World::new(&rules).await;
        world.sandbox.http.fault(Fault { on: String::new(), times: None, answer: status(503) });
        world.tick().await;
        for _ in 0..messages {
            world.receives("Ann", "Hello?");
        }
        // It closes after one hour: the message's two are over after another, those of an empty one an hour later.
        for _ in 0..130 {
            world.pass("1m").await;
        }
        let states: Vec<_> = world.rows().await.iter().map(|row| row.state.as_str()).collect();
        assert_eq!(states[0], if messages == 0 { "pending" } else { "expired" }, "{}", world.owed().await);
        for _ in 0..60 {
            world.pass("1m").await;
        }
        assert_eq!(world.rows().await[0].state.as_str(), "expired", "{}", world.owed().await);
    }
}

#[tokio::test]
async fn stop_ends_the_list_and_every_other_match_applies() {
    let world = World::new(
        r#"
targets:
  crm: { type: http, url: "${HTTP}", allow_private: true }
rules:
  - { name: first, match: { message_type: text }, deliver: [{ to: crm }] }
  - { name: vip, match: {}, where: 'client.name == "Ann"', stop: true, deliver: [{ to: crm }] }
  - { name: last, match: { activity_type: general }, deliver: [{ to: crm }] }
"#,
    )
    .await;
    world.receives("Ann", "Hello?");
    world.tick().await;
    assert_snapshot!(world.owed().await, @r#"
    first → crm  delivered  attempts 1  delivered 200
    vip → crm  delivered  attempts 1  delivered 200
    "#);
    world.receives("Bob", "Hello?");
    world.tick().await;
    assert_eq!(world.rows().await.iter().filter(|row| row.rule == "last").count(), 1);
}

#[tokio::test]
async fn one_bad_recipient_is_nobody_elses_trouble() {
    let world = World::new(
        r#"
targets:
  books: { type: email, smtp: "${MAIL}", from: relay@example.com, to: [ann@example.com, gone@example.com, bob@example.com] }
rules:
  - { name: all, match: {}, deliver: [{ to: books }] }
"#,
    )
    .await;
    world.receives("Cleo", "Hello?");
    let unknown = says(550, "5.1.1 no such user");
    world.sandbox.mail.fault(Fault { on: "rcpt:gone@example.com".into(), times: None, answer: unknown });
    world.tick().await;
    assert_snapshot!(world.owed().await, @r#"
    all → books (ann@example.com)  delivered  attempts 1  delivered 250
    all → books (gone@example.com)  dead  attempts 1  refused 550
    all → books (bob@example.com)  delivered  attempts 1  delivered 250
    "#);
    assert_eq!(world.sandbox.mail.received().len(), 2);
}

#[tokio::test]
async fn what_is_given_up_says_after_how_long() {
    let world = World::new(&HTTP.replace("concurrency: 1", "retry: { first: 1s, give_up_after: 10s }")).await;
    world.receives("Ann", "Hello?");
    world.sandbox.http.fault(Fault { on: String::new(), times: None, answer: status(503) });
    world.tick().await;
    for _ in 0..30 {
        world.pass("2s").await;
    }
    let why = world.rows().await[0].why.clone().unwrap();
    assert!(why.starts_with("gave up after 10s: "), "{why}");
}

#[tokio::test]
async fn what_a_person_held_up_for_long_is_not_given_up_at_its_first_try() {
    for answer in [busy(30), status(503), status(400)] {
        let world = World::new(&HTTP.replace(", expires_after: 1h", "")).await;
        world.store().pause_target("crm", true, "the books are closed").await.unwrap();
        world.receives("Ann", "Hello?");
        world.tick().await;
        world.pass("96h").await;
        world.sandbox.http.answers([answer]);
        world.store().pause_target("crm", false, "").await.unwrap();
        world.send().await;
        assert!(world.sandbox.http.received().is_empty());
        world.pass("20m").await;
        assert_eq!(world.sandbox.http.received().len(), 1, "{}", world.owed().await);
    }
}

#[tokio::test]
async fn what_was_not_tried_for_long_is_not_given_up_at_its_next_try() {
    let no_limits = HTTP.replace(", concurrency: 1", "").replace(", expires_after: 1h", "");
    let half_a_day = no_limits.replace("body: event", "body: event, retry: { give_up_after: 12h }");
    for (rules, parked, hours) in
        [(&no_limits, true, 100), (&no_limits, false, 100), (&half_a_day, false, 13)]
    {
        let mut world = World::new(rules).await;
        for number in 0..3 {
            world.receives("Ann", &format!("Hello {number}?"));
        }
        world.sandbox.http.answers([status(503), status(503), status(503)]);
        world.tick().await;
        if parked {
            world.sandbox.http.fault(Fault { on: String::new(), times: None, answer: status(403) });
            world.receives("Ann", "Hello?");
            for _ in 0..hours {
                world.pass("1h").await;
            }
            world.sandbox.http.heal();
            world.sandbox.http.answers([ok(), status(503), status(503), status(503)]);
        } else {
            world.clock.advance(Duration::from_hours(hours));
            world.reopen().await;
            world.sandbox.http.answers([status(503), status(503), status(503)]);
        }
        for _ in 0..4 {
            world.pass("75m").await;
        }
        let rows = world.rows().await;
        assert!(rows.iter().all(|row| row.state == StateName::Delivered), "{parked}: {}", world.owed().await);
    }
}

#[tokio::test]
async fn what_waits_behind_much_for_a_target_that_is_gone_is_given_up_in_the_end() {
    let rules = HTTP.replace("concurrency: 1", "retry: { first: 1s, give_up_after: 1h }");
    let world = World::new(&rules.replace(", expires_after: 1h", "")).await;
    world.sandbox.http.fault(Fault { on: String::new(), times: None, answer: status(503) });
    for number in 0..60 {
        world.receives("Ann", &format!("Hello {number}?"));
    }
    world.tick().await;
    // One try a minute: the turn of each comes once an hour.
    for _ in 0..6 * 60 {
        world.pass("1m").await;
    }
    let rows = world.rows().await;
    assert!(rows.iter().all(|row| row.state == StateName::Dead), "{}", world.owed().await);
    let why = rows[0].why.as_deref().unwrap_or_default();
    assert!(why.starts_with("gave up after 1h: "), "{why}");
}

#[tokio::test]
async fn a_replay_is_a_new_delivery_rendered_anew() {
    let world = World::new(HTTP).await;
    world.receives("Ann", "Hello?");
    world.sandbox.http.answers([script::redirect("https://elsewhere.example/")]);
    world.tick().await;
    let dead = world.rows().await.remove(0);
    assert_eq!(dead.state.as_str(), "dead");
    let new = world.store().replay(&[dead.id.clone().into()], world.clock.now()).await.unwrap();
    world.send().await;
    assert_snapshot!(world.owed().await, @r#"
    all → crm  dead  attempts 1  refused 302
    all → crm  delivered  attempts 1  delivered 200
    "#);
    let received = world.sandbox.http.received();
    assert_eq!(received[0].identity(), new[0].as_str());
    assert_eq!(world.rows().await[1].replay_of.as_ref(), Some(&dead.id));
}

#[tokio::test]
async fn a_template_that_fails_still_tells_what_happened() {
    let rules = r#"
targets:
  desk: { type: slack, webhook_url: "${SLACK}", allow_private: true }
rules:
  - { name: all, match: {}, template: f, deliver: [{ to: desk }] }
"#;
    let template = ("f/text.hbs", "{{date message.created_at \"%H\" message.uid}}");
    let world = World::with_template(rules, template).await;
    world.receives("Ann", "Are you open today?");
    world.tick().await;
    let body = &world.sandbox.slack.received()[0].body;
    assert!(body.contains("Are you open today?") && body.contains("f/text.hbs"), "{body}");
    let reason = world.rows().await[0].last.clone().unwrap().reason;
    assert!(reason.contains("sent as plain text because") && reason.contains("f/text.hbs"), "{reason}");
}

#[tokio::test]
async fn a_type_that_nobody_knows_matches_a_wildcard_and_arrives() {
    let world = World::new(HTTP).await;
    world.sandbox.business.receive(Incoming::new("Meeting", "teleported", "client_to_pivot").from("Ann"));
    world.sandbox.business.receive(Incoming::new("Séance", "held", "sideways").from("Ann"));
    world.tick().await;
    assert_eq!(world.sandbox.http.received().len(), 2);
    assert_eq!(world.relay().posts.all()[0].poller().await.unknown().len(), 2);
}

#[tokio::test]
async fn what_cannot_be_read_is_kept_aside_and_blocks_nothing() {
    let world = World::new(HTTP).await;
    let broken = Incoming::text("Ann", "x").with("created_at", serde_json::json!({ "when": "ever" }));
    world.sandbox.business.receive(broken);
    world.receives("Bob", "Hello?");
    let taken = world.poll().await;
    world.send().await;
    assert_eq!((taken.messages, taken.quarantined), (1, 1));
    assert_eq!(world.sandbox.http.received().len(), 1);
    world.pass("30s").await;
    assert_eq!(world.store().quarantine().await.unwrap().len(), 1, "once");
}

#[tokio::test]
async fn names_that_do_not_come_hold_nothing_up() {
    for answer in [script::slow(Duration::from_secs(8)), status(500), script::cut(script::Cut::Before)] {
        let world = World::new(HTTP).await;
        world.sandbox.business.fault(Fault { on: "/platform/".into(), times: None, answer: answer.clone() });
        let uid = world.receives("Ann", "Hello?");
        let started = std::time::Instant::now();
        world.tick().await;
        // Those who waited for the end of the lookup would wait for as long as it may take.
        assert!(started.elapsed() < Duration::from_secs(5), "{answer:?}: {:?}", started.elapsed());
        let received = world.sandbox.http.received();
        assert_eq!(received.len(), 1);
        assert!(received[0].body.contains(&uid));
    }
}

#[tokio::test]
async fn a_dead_target_is_nobody_elses_trouble() {
    let world = World::new(
        r#"
targets:
  slow: { type: http, url: "${HTTP}/slow", allow_private: true, timeout: 10m }
  crm: { type: http, url: "${HTTP}", allow_private: true }
rules:
  - { name: all, match: {}, deliver: [{ to: slow }, { to: crm }] }
"#,
    )
    .await;
    let never = script::slow(Duration::from_mins(10));
    world.sandbox.http.fault(Fault { on: "/hooks/relay/slow".into(), times: None, answer: never });
    for _ in 0..20 {
        world.receives("Ann", "Hello?");
    }
    world.poll().await;
    let arriving = world.sandbox.http.wait_until(PATIENCE, |arrivals| {
        arrivals.iter().filter(|arrival| arrival.path == "/hooks/relay" && arrival.accepted).count() == 20
    });
    tokio::select! {
        arrived = arriving => assert!(arrived.is_ok(), "they wait for the slow one: {}", world.owed().await),
        () = world.send() => panic!("the slow one did not answer"),
    }
}

#[tokio::test]
async fn a_channel_keeps_its_order_over_a_short_trouble_and_one_bad_message_does_not_block_it() {
    let said: Vec<String> = (1..=4).map(|number| format!("line {number} of 4")).collect();
    let order = |world: &World| -> Vec<usize> {
        let posts = world.sandbox.slack.received();
        let which = |body: &str| said.iter().position(|line| body.contains(line.as_str())).unwrap();
        posts.iter().map(|post| which(&post.body)).collect()
    };
    for answers in [vec![status(503), status(502)], vec![says(400, "invalid_blocks")]] {
        let world = World::new(SLACK).await;
        for line in &said {
            world.receives("Ann", line);
        }
        world.sandbox.slack.answers(answers);
        world.tick().await;
        for _ in 0..6 {
            world.pass("10s").await;
        }
        assert_eq!(order(&world), [0, 1, 2, 3]);
    }
    let world = World::new(SLACK).await;
    for line in &said {
        world.receives("Ann", line);
    }
    world.sandbox.slack.answers([status(503).header("Retry-After", "120")]);
    world.tick().await;
    world.pass("2m").await;
    assert_eq!(order(&world), [1, 2, 3, 0], "two minutes are too long for all to wait");
}

#[tokio::test]
async fn a_channel_reads_in_the_order_of_the_messages_even_within_one_second() {
    let world = World::new(SLACK).await;
    let said: Vec<String> = (1..=8).map(|number| format!("line {number} of 8")).collect();
    for line in &said {
        world.receives("Ann", line);
    }
    world.sandbox.slack.answers([ok(), busy(2)]);
    world.tick().await;
    world.pass("10s").await;
    world.pass("10s").await;
    let posts: Vec<String> = world.sandbox.slack.received().into_iter().map(|post| post.body).collect();
    let order: Vec<usize> =
        posts.iter().filter_map(|post| said.iter().position(|line| post.contains(line.as_str()))).collect();
    assert_eq!(order, [0, 1, 2, 3, 4, 5, 6, 7]);
}
