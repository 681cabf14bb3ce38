//! Slack in its moods, and a channel that takes one post a second with a thousand queued.

use std::time::Duration;

use activity_relay::sandbox::script::{Answer, Fault, busy, says};

use super::record::{Observed, record};
use crate::world::World;

fn rules(pace: &str) -> String {
    format!(
        r#"
targets:
  desk: {{ type: slack, webhook_url: "${{SLACK}}", allow_private: true, {pace} fallback: crm }}
  crm: {{ type: http, url: "${{HTTP}}", allow_private: true }}
rules:
  - {{ name: all, match: {{}}, deliver: [{{ to: desk }}] }}
"#
    )
}

/// Three messages, an answer to the first post (or to each, until it is over), and what is seen in the end.
async fn through(answer: Answer, lasts: bool, saw: &str) -> (World, Observed) {
    let world = World::new(&rules("rate: 100/s, burst: 100,")).await;
    for client in ["Ann", "Bob", "Cleo"] {
        world.receives(client, &format!("Hello from {client}"));
    }
    world.sandbox.slack.fault(Fault { on: String::new(), times: (!lasts).then_some(1), answer });
    world.tick().await;
    let tried = world.sandbox.slack.arrivals().len();
    world.pass("2m").await;
    if lasts {
        assert_eq!(
            (tried, world.sandbox.slack.arrivals().len()),
            (1, 2),
            "one refusal stands for all, and one probe"
        );
    }
    world.sandbox.slack.heal();
    world.pass("1h").await;
    let observed = Observed::of(&world, 3, &world.sandbox.slack.arrivals(), saw).await;
    assert_eq!((observed.delivered, observed.duplicates), (3, 0), "{}", world.owed().await);
    (world, observed)
}

fn told(world: &World) -> usize {
    world.sandbox.http.received().len()
}

#[tokio::test]
async fn a_429_pauses_the_channel_and_costs_no_attempt() {
    let (world, observed) =
        through(busy(30), false, "the target paused for 30 s at no attempt, then all three went").await;
    assert!(world.rows().await.iter().all(|row| row.attempts == 1));
    record("slack-429", "the inbox answers 429 with Retry-After: 30", &observed);
}

#[tokio::test]
async fn a_revoked_webhook_and_an_archived_channel_park_the_target() {
    let saw = "the target parked after one post, `fallback` told; a probe after a minute; all three went when it worked again, and \
               `fallback` was told of that";
    for (key, status, word) in
        [("slack-no-service", 404, "no_service"), ("slack-archived", 410, "channel_is_archived")]
    {
        let (world, observed) = through(says(status, word), true, saw).await;
        assert_eq!(told(&world), 2, "parked, and works again");
        record(key, &format!("the inbox answers {status} {word} until it is healed"), &observed);
    }
}

#[tokio::test]
async fn blocks_that_are_refused_go_as_plain_text() {
    let saw = "the refused one went once more as plain text, with the reason; the others as they were";
    let (world, observed) = through(says(400, "invalid_blocks"), false, saw).await;
    let posts = world.sandbox.slack.received();
    assert_eq!(posts.iter().filter(|post| !post.body.contains("\"blocks\"")).count(), 1);
    record("slack-invalid-blocks", "the inbox answers 400 invalid_blocks to the first post", &observed);
}

#[tokio::test]
async fn a_thousand_queued_go_one_a_second_in_order() {
    const QUEUED: usize = 1_000;
    let world = World::new(&rules("")).await;
    world.sandbox.slack.limit(Duration::from_millis(900));
    for number in 0..QUEUED {
        world.receives("Ann", &format!("line {number:04}"));
    }
    world.poll().await;
    let mut seconds = 0;
    while world.sandbox.slack.received().len() < QUEUED {
        assert!(seconds < 2 * QUEUED, "{} after {seconds} s", world.sandbox.slack.received().len());
        world.send().await;
        world.clock.advance(Duration::from_secs(1));
        seconds += 1;
    }
    let arrivals = world.sandbox.slack.arrivals();
    let lines: Vec<String> = world
        .sandbox
        .slack
        .received()
        .iter()
        .filter_map(|post| post.body.split("line ").nth(1).map(|rest| rest[..4].to_owned()))
        .collect();
    assert!(lines.is_sorted(), "a channel reads in order");
    let refused = arrivals.len() - QUEUED;
    assert!(refused <= 3, "{refused} were sent sooner than Slack takes them");
    let saw = format!("all posted in order within {seconds} s of simulated time; {refused} met by 429");
    let observed = Observed::of(&world, QUEUED, &arrivals, saw).await;
    assert_eq!((observed.delivered, observed.duplicates), (QUEUED, 0));
    record(
        "slack-1000",
        "an inbox that answers 429 to what comes within 900 ms of the post before",
        &observed,
    );
}
