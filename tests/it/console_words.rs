//! What the console says where there is nothing, and of one as of many.

use std::time::Duration;

use activity_relay::sandbox::incoming::Incoming;
use activity_relay::sandbox::script::{Answer, Fault, busy, status};
use activity_relay::store::Filter;
use jiff::SignedDuration;
use serde_json::Value;

use crate::console::{get, started};
use crate::stage::{RULES, Stage};
use crate::world::{PATIENCE, World};

#[tokio::test]
async fn an_address_without_a_page_has_the_navigation_and_programs_are_led_to_the_document() {
    let stage = Stage::new().await;
    let (running, address) = started(&stage, "").await;
    let page = get(&address, "/nowhere", "Accept: text/html\r\n").await;
    assert_eq!(page.status, 404);
    assert!(page.body.contains("No page has this address.") && page.body.contains("href=\"/deliveries\""));
    assert!(page.body.contains("<title>There is nothing here"), "{}", page.body);
    let problem = get(&address, "/api/v1/nosuch", "").await;
    assert_eq!((problem.status, problem.header("content-type")), (404, Some("application/problem+json")));
    let problem: Value = serde_json::from_str(&problem.body).unwrap();
    assert_eq!(problem["detail"], "/api/openapi.json describes what can be asked", "{problem}");
    running.ends().await;
}

#[tokio::test]
async fn one_message_is_told_of_as_one() {
    let stage = Stage::with(&RULES.replace("match: {}", "match: { activity_type: Payment }")).await;
    let (running, address) = started(&stage, "").await;
    stage.sandbox.business.receive(Incoming::text("Ann", "hello"));
    let coverage = async || get(&address, "/coverage", "").await.body;
    let told = async {
        loop {
            let page = coverage().await;
            if page.contains("by no rule</b>") {
                return page;
            }
        }
    };
    let page = tokio::time::timeout(PATIENCE, told).await.unwrap();
    assert!(
        page.contains("1 message of the last 30 days was taken by no rule</b>Nobody is told of it."),
        "{page}"
    );
    running.ends().await;
}

#[tokio::test]
async fn a_digest_of_two_is_one_message_together_with_another() {
    let digest = "deliver: [{ to: crm, digest: { every: 6h } }]";
    let stage = Stage::with(&RULES.replace("deliver: [{ to: crm }]", digest)).await;
    let (running, address) = started(&stage, "").await;
    stage.receive(2);
    let store = stage.store().await;
    let id = loop {
        let (rows, _) = store.deliveries(Filter::default()).await.unwrap();
        if let Some(row) = rows.iter().find(|row| row.messages.len() == 2) {
            break row.id.clone();
        }
        tokio::task::yield_now().await;
    };
    let page = get(&address, &format!("/deliveries/{}", id.as_str()), "").await.body;
    assert!(page.contains("together with 1 other message</span>"), "{page}");
    running.ends().await;
}

#[tokio::test]
async fn a_target_that_is_off_has_no_button_that_would_do_nothing() {
    let stage = Stage::with(&RULES.replace("type: http,", "type: http, enabled: false,")).await;
    let (running, address) = started(&stage, "").await;
    stage.receive(1);
    let store = stage.store().await;
    while store.counts(None).await.unwrap().pending == 0 {
        tokio::task::yield_now().await;
    }
    let overview = get(&address, "/", "").await.body;
    assert!(overview.contains("1 delivery for a target that is off: crm"), "{overview}");
    for page in [overview, get(&address, "/targets", "").await.body] {
        assert!(page.contains("switched off in the rules file"), "{page}");
        assert!(!page.contains("/targets/resume"), "{page}");
    }
    let refused = stage.output(&format!("targets resume crm --url http://{address}")).await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(stage.logged().contains("take that out and reload"), "{}", stage.logged());
    running.ends().await;
}

const TWO: &str = r#"
targets:
  crm: { type: http, url: "${HTTP}", allow_private: true, body: event }
  desk: { type: slack, webhook_url: "${SLACK}", allow_private: true }
rules:
  - { name: all, match: {}, deliver: [{ to: crm }, { to: desk }] }
"#;
const ALL_CLEAR: &str =
    "Every account is polled, every target takes what it is owed, and nothing was given up.";

/// So many messages came, and the HTTP target answers like that; and where the console is.
async fn refused(rules: &str, answer: Answer, messages: usize) -> (World, String) {
    let world = World::new(rules).await;
    let address = world.console().await;
    world.sandbox.http.fault(Fault { on: String::new(), times: None, answer });
    for n in 0..messages {
        world.receives("Ann", &format!("Hello {n}?"));
    }
    world.tick().await;
    (world, address)
}

#[tokio::test]
async fn a_target_that_takes_nothing_for_long_is_told_of_though_nothing_holds_it() {
    let (world, address) = refused(TWO, status(503), 1).await;
    let title = "Target crm has taken nothing for";
    for (time, told) in [("10s", false), ("1m", false), ("4m", true)] {
        world.pass(time).await;
        let page = get(&address, "/", "").await.body;
        assert_eq!((page.contains(title), page.contains(ALL_CLEAR)), (told, !told), "{time}: {page}");
    }
    let all: Value = serde_json::from_str(&get(&address, "/api/v1/status", "").await.body).unwrap();
    assert_eq!(
        (&all["failing"][0]["name"], &all["failing"][0]["pending"]),
        (&"crm".into(), &1.into()),
        "{all}"
    );
    world.sandbox.http.heal();
    world.pass("1h").await;
    assert!(get(&address, "/", "").await.body.contains(ALL_CLEAR));
}

/// Whether the overview speaks of all as well, and the names of the targets that fail by the API; both say the same.
async fn failing(address: &str) -> Vec<String> {
    let page = get(address, "/", "").await.body;
    let all: Value = serde_json::from_str(&get(address, "/api/v1/status", "").await.body).unwrap();
    let failing = all["failing"].as_array().unwrap();
    let names: Vec<String> =
        failing.iter().map(|failing| failing["name"].as_str().unwrap().to_owned()).collect();
    assert_eq!(
        page.contains(ALL_CLEAR),
        names.is_empty() && all["targets"] == Value::Array(Vec::new()),
        "{page}"
    );
    names
}

#[tokio::test]
async fn a_target_that_rests_between_its_failures_fails_all_the_same() {
    let (world, address) =
        refused(&TWO.replace("body: event", "body: event, concurrency: 1"), status(503), 15).await;
    world.pass("6m").await;
    let mut rested = 0;
    for _ in 0..40 {
        world.pass("11s").await;
        assert_eq!(failing(&address).await, ["crm"]);
        let all: Value = serde_json::from_str(&get(&address, "/api/v1/status", "").await.body).unwrap();
        rested += usize::from(all["targets"][0]["state"] == "paused");
    }
    assert!(rested > 20, "it rests most of the time: {rested}");
    let page = get(&address, "/", "").await.body;
    assert!(!page.contains("Target crm is paused"), "it is told of once: {page}");
}

#[tokio::test]
async fn a_target_that_asks_to_wait_for_ever_is_told_of() {
    let (world, address) = refused(TWO, status(429), 1).await;
    world.pass("50m").await;
    assert!(failing(&address).await.is_empty());
    world.pass("11m").await;
    assert_eq!(failing(&address).await, ["crm"]);
    world.clock.advance(Duration::from_secs(10));
    assert_eq!(failing(&address).await, ["crm"], "the wait is over, and nothing was taken yet");
    let page = get(&address, "/", "").await.body;
    assert!(page.contains("Target crm asks to wait, and the oldest delivery has been due for 1h"), "{page}");
    world.sandbox.http.heal();
    world.pass("1h").await;
    assert!(failing(&address).await.is_empty());
}

#[tokio::test]
async fn a_digest_that_gathers_does_not_wait_for_a_target_that_failed_before() {
    let digest = TWO.replace(
        "rules:",
        "rules:\n  - { name: daily, match: { activity_type: Payment }, stop: true, deliver: [{ to: crm, digest: { every: 6h } }] }",
    );
    let rules = digest.replace("{ to: crm }", "{ to: crm, expires_after: 10m }");
    let (world, address) = refused(&rules, status(503), 1).await;
    world.pass("9m").await;
    assert_eq!(failing(&address).await, ["crm"]);
    world.pass("2m").await;
    let all: Value = serde_json::from_str(&get(&address, "/api/v1/status", "").await.body).unwrap();
    assert_eq!(all["deliveries"]["expired"], 1, "{all}");
    world.sandbox.business.receive(Incoming::new("Payment", "payment_failed", "to_pivot"));
    world.pass("1m").await;
    let all: Value = serde_json::from_str(&get(&address, "/api/v1/status", "").await.body).unwrap();
    assert_eq!(all["queues"][0]["pending"], 1, "{all}");
    assert!(failing(&address).await.is_empty(), "{all}");
}

#[tokio::test]
async fn a_digest_that_is_asked_to_wait_has_been_due_since_its_moment() {
    let digest = TWO.replace("{ to: crm }, { to: desk }", "{ to: crm, digest: { every: 6h } }");
    let world = World::new(&digest).await;
    let address = world.console().await;
    world.receives("Ann", "Hello?");
    world.tick().await;
    world.sandbox.http.fault(Fault { on: String::new(), times: None, answer: busy(600) });
    world.pass("6h").await;
    let all: Value = serde_json::from_str(&get(&address, "/api/v1/status", "").await.body).unwrap();
    assert_eq!(all["targets"][0]["state"], "paused", "{all}");
    assert!(failing(&address).await.is_empty());
    for _ in 0..7 {
        world.pass("10m").await;
    }
    assert_eq!(failing(&address).await, ["crm"]);
}

#[tokio::test]
async fn nothing_needs_attention_only_while_every_account_is_polled() {
    let world = World::new(TWO).await;
    let address = world.console().await;
    let overview = async || get(&address, "/", "").await.body;
    let later = |time: &str| world.clock.advance(time.parse::<SignedDuration>().unwrap().try_into().unwrap());
    later("2m 30s");
    let page = overview().await;
    assert!(page.contains(ALL_CLEAR) && page.contains(">not yet<"), "just started: {page}");
    later("1s");
    let page = overview().await;
    assert!(page.contains("Account main was never polled") && page.contains(">late<"), "{page}");
    assert!(!page.contains("Nothing needs attention") && !page.contains(ALL_CLEAR), "{page}");
    world.tick().await;
    later("2m 30s");
    let page = overview().await;
    assert!(page.contains(ALL_CLEAR) && page.contains(">goes on<"), "{page}");
    later("10m");
    let page = overview().await;
    assert!(page.contains("Account main was last polled 12m ago") && page.contains(">late<"), "{page}");
    assert!(!page.contains(ALL_CLEAR), "{page}");
}

#[tokio::test]
async fn a_target_that_is_paused_hides_no_other_that_is_late() {
    let world = World::new(TWO).await;
    let address = world.console().await;
    world.receives("Ann", "hello");
    world.poll().await;
    let now = world.clock.now();
    world.store().pause_target("desk", true, "on purpose").await.unwrap();
    world.clock.advance("2h".parse::<SignedDuration>().unwrap().try_into().unwrap());
    let page = get(&address, "/", "").await.body;
    assert!(page.contains("Target desk is paused"), "{page}");
    assert!(page.contains("The oldest pending delivery to crm has been due for 2h"), "{page}");
    assert!(!page.contains("delivery to desk has been due"), "what is held waits on purpose: {page}");
    world
        .store()
        .mute("all", world.clock.now() + SignedDuration::from_hours(1), "moving", now)
        .await
        .unwrap();
    let page = get(&address, "/", "").await.body;
    assert!(page.contains("1 rule is muted: all."), "{page}");
}

#[tokio::test]
async fn behind_the_last_digest_the_page_says_so_and_leads_back() {
    let digest = "deliver: [{ to: crm, digest: { every: 1h } }]";
    let world = World::new(&TWO.replace("deliver: [{ to: crm }, { to: desk }]", digest)).await;
    let address = world.console().await;
    let behind = async || get(&address, "/digests?skip=50", "").await.body;
    assert!(behind().await.contains("<b>No digest is open</b>"));
    world.receives("Ann", "hello");
    world.poll().await;
    let page = behind().await;
    assert!(page.contains("1 is open: <a href=\"/digests\">show the first</a>"), "{page}");
    assert!(!page.contains("No digest is open") && !page.contains("Those that close"), "{page}");
}

#[tokio::test]
async fn without_a_script_the_footer_names_the_zone_of_all_times() {
    let world = World::new(&format!("timezone: Europe/Rome{TWO}")).await;
    let address = world.console().await;
    let page = get(&address, "/coverage", "").await.body;
    assert!(page.contains("times are in <span data-zone>Europe/Rome</span>"), "{page}");
}
