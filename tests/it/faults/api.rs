//! The API between two pages of a run: refusals, limits, nonsense, late items, bursts, and people who read meanwhile.

use std::collections::BTreeSet;
use std::time::Duration;

use activity_relay::sandbox::behaviour::{Behaviour, OverCap, Profile};
use activity_relay::sandbox::incoming::Incoming;
use activity_relay::sandbox::script::{Answer, broken_json, ok, says};
use activity_relay::sandbox::world::{Action, Which};

use super::record::{Observed, record};
use crate::world::World;

const RULES: &str = r#"
version: 1
accounts:
  - { name: main, token: "${TOKEN}", base_url: "${API}", start_from: beginning, poll_every: 30s, lookup: false }
alerts: { to: ops }
targets:
  crm: { type: http, url: "${HTTP}", allow_private: true, body: event, concurrency: 32 }
  ops: { type: slack, webhook_url: "${SLACK}", allow_private: true }
rules:
  - { name: all, match: {}, deliver: [{ to: crm }] }
"#;
/// More than one page, and more than two.
const SOME: u32 = 120;
const MESSAGES: u32 = 260;
const SEED: u64 = 7;

async fn world(profile: Profile) -> World {
    let behaviour = Behaviour { over_cap: OverCap::Clamp, ..Behaviour::of(profile) };
    World::with(behaviour, SEED, RULES).await
}

/// So many messages, a second apart.
fn receive(world: &World, count: u32) {
    for nth in 0..count {
        world.clock.advance(Duration::from_secs(1));
        world.receives("Ann", &format!("message {nth}"));
    }
}

async fn all_delivered(world: &World, messages: usize, saw: &str) -> Observed {
    let observed = Observed::of(world, messages, &world.sandbox.http.arrivals(), saw).await;
    assert_eq!((observed.delivered, observed.duplicates), (messages, 0));
    observed
}

/// The second page is answered like this. The poll fails in words that hold these, what the first page held is not
/// asked for twice by the receiver, and the next poll brings the rest.
async fn broken_in_mid_run(key: &str, how: &str, answer: Answer, words: &str) {
    let world = world(Profile::Documented).await;
    receive(&world, SOME);
    world.sandbox.business.answers([ok(), answer]);
    let refused = world.try_poll().await.result.unwrap_err().to_string();
    assert!(refused.contains(words), "{key}: {refused}");
    world.send().await;
    let first = world.sandbox.http.received().len();
    assert_eq!(first, 100, "the first page is taken in");
    world.pass("1m").await;
    let saw = "the first page was delivered at once, the rest by the next poll; the cursor stood where the last page \
               was committed";
    record(key, how, &all_delivered(&world, 120, saw).await);
}

#[tokio::test]
async fn a_token_refused_in_mid_run_loses_nothing() {
    let body = r#"{"success":false,"errors":[{"code":"unauthorized","message":"401 Unauthorized"}]}"#;
    broken_in_mid_run(
        "api-401",
        "the second page is answered with 401",
        says(401, body),
        "refuses the token",
    )
    .await;
}

#[tokio::test]
async fn too_many_requests_in_each_form_lose_nothing() {
    for (variant, form, body) in [
        ("", "{error}", r#"{"error":"Too many requests"}"#),
        (
            "+list",
            "{errors: […]}",
            r#"{"success":false,"errors":[{"code":"rate_limit_exceeded","message":"Rate limit exceeded"}]}"#,
        ),
        ("+html", "a page of HTML", "<html><h1>429 Too Many Requests</h1></html>"),
        ("+empty", "nothing", ""),
    ] {
        let how = format!("the second page is answered with 429 and {form}");
        let key = format!("api-429{variant}");
        broken_in_mid_run(&key, &how, says(429, body).header("retry-after", "20"), "asks for fewer requests")
            .await;
    }
}

#[tokio::test]
async fn nonsense_with_a_success_is_no_empty_page() {
    let html = "<html><body>We will be right back</body></html>";
    broken_in_mid_run("api-html", "the second page is HTML with status 200", says(200, html), "web page")
        .await;
    broken_in_mid_run(
        "api-truncated",
        "the second page is JSON that ends too early",
        broken_json(),
        "cut off",
    )
    .await;
}

#[tokio::test]
async fn what_comes_late_and_out_of_order_comes_once() {
    let world = world(Profile::Quirky).await;
    let mut rng = fastrand::Rng::with_seed(SEED);
    let mut uids = BTreeSet::new();
    for nth in 0..120 {
        let late = Duration::from_millis(rng.u64(0..90_000));
        uids.insert(
            world.sandbox.business.receive(Incoming::text("Ann", &format!("message {nth}")).late(late)),
        );
        if nth % 20 == 19 {
            world.pass("20s").await;
        }
    }
    for _ in 0..8 {
        world.pass("30s").await;
    }
    assert_eq!(uids.len(), 120);
    let saw = "each delivered once: two minutes behind the newest are looked at again at every poll";
    let how =
        "items that become visible up to 90 s after their time, in shuffled order, times in five shapes";
    record("api-late", how, &all_delivered(&world, 120, saw).await);
}

#[tokio::test]
async fn a_burst_within_one_second_is_read_to_its_end() {
    let world = world(Profile::Quirky).await;
    world.poll().await;
    world.clock.advance(Duration::from_secs(30));
    let burst = Action::Receive(Box::new(Incoming::text("Ann", "all at once").times(MESSAGES)));
    assert_eq!(world.sandbox.business.act(burst).len(), 260);
    for _ in 0..4 {
        world.pass("30s").await;
    }
    let saw = "each delivered once, although ties are shuffled at each request";
    record(
        "api-burst",
        "260 items of one second, shuffled anew at each request",
        &all_delivered(&world, 260, saw).await,
    );
}

#[tokio::test]
async fn what_is_read_between_two_pages_hides_nothing_else() {
    let world = world(Profile::Documented).await;
    receive(&world, MESSAGES);
    // What the first page held is read before the second is asked for: all others move up by a page.
    world.sandbox.business.act_before_request(2, Action::Read(Which::Oldest(100)));
    for _ in 0..4 {
        world.pass("30s").await;
    }
    let saw = "each delivered once: the walk goes by time, not by page number";
    let how = "the hundred oldest are read between the first and the second page";
    record("api-read", how, &all_delivered(&world, 260, saw).await);
}
