//! Another configuration while the relay runs: what is pending, what is polled, and what is said about it.

use std::path::PathBuf;
use std::time::Duration;

use activity_relay::daemon::driver;
use activity_relay::daemon::reload::Outcome;
use activity_relay::sandbox::business::Business;
use activity_relay::sandbox::script::{slow, status};
use activity_relay::sandbox::world::TokenKind;

use crate::world::World;

const RULES: &str = r#"
targets:
  crm: { type: http, url: "${HTTP}", allow_private: true, body: auto, concurrency: 1 }
  desk: { type: slack, webhook_url: "${SLACK}", allow_private: true }
alerts: { to: desk }
rules:
  - { name: all, match: {}, deliver: [{ to: crm, template: greeting }] }
"#;
const GREETING: (&str, &str) = ("greeting/http.yaml", "greeting: \"Hello {{client.name}}\"\n");

impl World {
    fn write(&self, path: &str, text: &str) {
        std::fs::write(self.path(path), text).unwrap();
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// The bodies that the HTTP inbox was sent, taken or not.
    fn bodies(&self) -> Vec<String> {
        self.sandbox.http.arrivals().into_iter().map(|arrival| arrival.body).collect()
    }
}

/// What became of each delivery so far.
async fn states(world: &World) -> Vec<String> {
    let rows = world.rows().await;
    rows.iter().map(|row| format!("{} → {} {}", row.rule, row.target, row.state)).collect()
}

/// What is different, as the log has it.
fn difference(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Replaced(difference) => difference.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_retry_sends_what_was_rendered_before_and_what_comes_later_is_rendered_anew() {
    let mut world = World::with_template(RULES, GREETING).await;
    world.receives("Ann", "Hi");
    world.sandbox.http.answers([status(503)]);
    world.tick().await;
    world.write("templates/greeting/http.yaml", "greeting: \"Goodbye {{client.name}}\"\n");
    let reload = world.reload_with(RULES).await;
    assert_eq!(difference(&reload.outcome), "templates: ~greeting (http.yaml)");
    world.receives("Bob", "Hi");
    world.pass("1m").await;
    let bodies = world.bodies();
    assert_eq!(bodies[0], bodies[1], "the same bytes");
    assert_eq!(bodies[1..], ["{\"greeting\":\"Hello Ann\"}", "{\"greeting\":\"Goodbye Bob\"}"]);
}

#[tokio::test]
async fn a_target_that_is_gone_is_owed_still_and_goes_on_when_it_returns() {
    let mut world = World::with_template(RULES, GREETING).await;
    world.receives("Ann", "Hi");
    world.sandbox.http.answers([status(503)]);
    world.tick().await;
    let gone = RULES.replace("  crm: {", "  other: {").replace("to: crm", "to: other");
    let reload = world.reload_with(&gone).await;
    assert_eq!(difference(&reload.outcome), "rules: ~all (deliver); targets: +other, -crm");
    world.receives("Bob", "Hi");
    world.pass("1m").await;
    assert_eq!(states(&world).await, ["all → crm pending", "all → other delivered"]);
    world.reload_with(RULES).await;
    world.send().await;
    assert_eq!(states(&world).await, ["all → crm delivered", "all → other delivered"]);
}

#[tokio::test]
async fn what_a_rule_owes_that_is_gone_is_delivered() {
    let mut world = World::with_template(RULES, GREETING).await;
    world.receives("Ann", "Hi");
    world.poll().await;
    let reload = world.reload_with(&RULES.replace("name: all", "name: every")).await;
    assert_eq!(difference(&reload.outcome), "rules: +every, -all");
    world.send().await;
    assert_eq!(states(&world).await, ["all → crm delivered"]);
    world.receives("Bob", "Hi");
    world.tick().await;
    assert_eq!(world.rows().await[1].rule, "every");
}

#[tokio::test]
async fn a_template_that_is_gone_before_it_was_rendered_gives_the_plain_fallback() {
    let mut world = World::with_template(RULES, GREETING).await;
    world.receives("Ann", "Is it you?");
    world.poll().await;
    std::fs::remove_dir_all(world.path("templates/greeting")).unwrap();
    world.reload_with(&RULES.replace(", template: greeting", "")).await;
    world.send().await;
    assert!(world.bodies()[0].contains("Is it you?"), "{:?}", world.bodies());
    let row = &world.rows().await[0];
    assert_eq!(row.state.as_str(), "delivered");
    let reason = row.last.as_ref().unwrap().reason.clone();
    assert!(reason.contains("sent as plain text because") && reason.contains("greeting"), "{reason}");
    let counted = world.relay().metrics.render();
    assert!(counted.contains("activity_relay_template_fallbacks_total{target=\"crm\"} 1"), "{counted}");
}

#[tokio::test]
async fn a_target_of_another_type_gets_what_is_owed_in_its_own_form() {
    let mut world = World::with_template(RULES, GREETING).await;
    world.receives("Ann", "Is it you?");
    world.sandbox.http.answers([status(503)]);
    world.tick().await;
    let slack = "crm: { type: slack, webhook_url: \"${SLACK}\", allow_private: true }";
    let http = RULES.lines().find(|line| line.contains("crm: {")).unwrap();
    let reload = world.reload_with(&RULES.replace(http, &format!("  {slack}"))).await;
    let keys = "allow_private, body, concurrency, type, url, webhook_url";
    let keys = keys.replace("allow_private, ", "");
    assert_eq!(difference(&reload.outcome), format!("targets: ~crm ({keys})"));
    world.pass("1m").await;
    assert_eq!(world.rows().await[0].state.as_str(), "delivered");
    assert_eq!(world.sandbox.slack.received().len(), 1);
}

#[tokio::test]
async fn a_mail_that_is_owed_goes_to_whom_it_was_owed_and_a_new_one_to_the_new_list() {
    let rules = r#"
targets:
  books: { type: email, smtp: "${MAIL}", from: relay@example.com, to: [ann@example.com, bob@example.com] }
rules:
  - { name: all, match: {}, deliver: [{ to: books }] }
"#;
    let mut world = World::new(rules).await;
    world.receives("Ann", "Hi");
    world.poll().await;
    world.reload_with(&rules.replace("ann@", "cleo@")).await;
    world.send().await;
    world.receives("Ann", "Hi again");
    world.tick().await;
    let rows = world.rows().await;
    let recipients: Vec<&str> = rows.iter().filter_map(|row| row.recipient.as_deref()).collect();
    assert_eq!(recipients, ["ann@example.com", "bob@example.com", "cleo@example.com", "bob@example.com"]);
    assert!(rows.iter().all(|row| row.state.as_str() == "delivered"), "{}", world.owed().await);
}

#[tokio::test]
async fn a_bad_file_changes_nothing_and_says_where_it_is_bad() {
    let mut world = World::with_template(RULES, GREETING).await;
    let before = world.relay().config();
    let reload = world.reload_with(&RULES.replace("match: {}", "match: {}, stopp: true")).await;
    assert_eq!(reload.outcome, Outcome::Refused);
    let problem = &reload.problems[0];
    assert_eq!((problem.code, problem.line, problem.column), ("R010", 11, 29), "{problem:?}");
    assert_eq!(reload.hash, before.outline.hash(), "of what is in force");
    assert!(std::sync::Arc::ptr_eq(&before, &world.relay().config()));
    let counted = world.relay().metrics.render();
    assert!(counted.contains("activity_relay_config_last_reload_successful 0\n"), "{counted}");
    world.receives("Ann", "Hi");
    world.tick().await;
    assert_eq!(world.rows().await[0].state.as_str(), "delivered");
    assert_eq!(world.reload_with(RULES).await.outcome, Outcome::Unchanged);
    let counted = world.relay().metrics.render();
    for line in [
        "config_last_reload_successful 1\n",
        "config_reloads_total{result=\"refused\"} 1\n",
        "config_reloads_total{result=\"unchanged\"} 1\n",
        &format!("config_hash{{hash=\"{}\"}} 1\n", before.outline.hash()),
    ] {
        assert!(counted.contains(line), "{line} {counted}");
    }
}

#[tokio::test]
async fn a_file_without_an_account_or_without_anything_is_refused() {
    let mut world = World::with_template(RULES, GREETING).await;
    for text in [format!("version: 1\naccounts: []{RULES}"), "# accounts:\n".to_owned()] {
        let reload = world.reload_with(&text).await;
        assert_eq!(reload.outcome, Outcome::Refused, "{text}");
        assert!(!reload.problems.is_empty());
    }
    std::fs::remove_file(world.path("rules.yaml")).unwrap();
    assert_eq!(world.reload().await.outcome, Outcome::Refused);
}

#[tokio::test]
async fn the_difference_names_parts_and_keys_and_no_value() {
    let mut world = World::with_template(RULES, GREETING).await;
    let with = |rules: &str| format!("{RULES}{rules}timezone: Europe/Rome\n");
    let two = "  - { name: late, match: { message_type: \"*\" }, deliver: [{ to: desk }] }\n";
    let reload = world.reload_with(&with(two)).await;
    assert_eq!(difference(&reload.outcome), "rules: +late; settings: +timezone");
    let turned = with("").replace("rules:\n", &format!("rules:\n{two}"));
    let reload = world.reload_with(&turned).await;
    assert_eq!(difference(&reload.outcome), "rules: in another order");
    let other = turned.replace("Rome", "Paris").replace("match: {}", "match: {}, stop: true");
    let reload = world.reload_with(&other.replace("concurrency: 1", "concurrency: 2")).await;
    assert_eq!(
        difference(&reload.outcome),
        "rules: ~all (stop); targets: ~crm (concurrency); settings: ~timezone"
    );
    let reload = world.reload_with(&format!("# a comment\n{RULES}")).await;
    assert_eq!(
        difference(&reload.outcome),
        "rules: -late, ~all (stop); targets: ~crm (concurrency); settings: -timezone"
    );
    let reload = world.reload_with(&RULES.replace("{ to: crm", "{ \"to\": 'crm'")).await;
    assert_eq!(difference(&reload.outcome), "nothing but comments or layout");
}

#[tokio::test]
async fn a_secret_file_that_says_something_else_is_taken_up_and_not_shown() {
    let secret = |bytes: &str| format!("whsec_{bytes}");
    let (old, new) = (secret("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), secret("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"));
    let rules = RULES.replace("body: auto", "signing_secret: \"${file:secret}\"");
    let mut world = World::with_template(RULES, GREETING).await;
    world.write("secret", &old);
    let first = world.reload_with(&rules).await;
    assert_eq!(difference(&first.outcome), "targets: ~crm (body, signing_secret)");
    world.write("secret", &new);
    let second = world.reload().await;
    assert_eq!(difference(&second.outcome), "targets: ~crm (signing_secret)");
    assert_eq!(first.hash, second.hash, "no secret is in the hash that is shown");
    assert!(!format!("{second:?}{:?}", world.relay().config()).contains("AAAAAAAA"));
    world.sandbox.http.verify_with([new]);
    world.receives("Ann", "Hi");
    world.tick().await;
    assert_eq!(world.rows().await[0].state.as_str(), "delivered", "{}", world.owed().await);
    std::fs::remove_file(world.path("secret")).unwrap();
    assert_eq!(world.reload().await.outcome, Outcome::Refused);
}

#[tokio::test]
async fn limits_follow_at_once_and_nothing_goes_on_under_the_old_ones() {
    let rules = RULES.replace("body: auto", "body: event");
    let mut world = World::with_template(&rules, GREETING).await;
    (0..8).for_each(|_| drop(world.receives("Ann", "Hi")));
    world.poll().await;
    // Longer than a reload takes on the busiest machine.
    world.sandbox.http.answers([slow(Duration::from_secs(3))]);
    let started = world.relay().courier.tick(&world.relay().config(), world.clock.now()).await.unwrap();
    assert_eq!(started.started, 1, "one at a time");
    let marked = rules.replace("body: event", "body: event, headers: { x-shop: \"7\" }");
    let reload = world.reload_with(&marked).await;
    assert_eq!(difference(&reload.outcome), "targets: ~crm (headers)");
    world.send().await;
    let shops: Vec<Option<String>> =
        world.sandbox.http.received().iter().map(|arrival| arrival.headers.get("x-shop").cloned()).collect();
    assert_eq!(shops.len(), 8);
    assert_eq!(shops.iter().filter(|shop| shop.is_none()).count(), 1, "what was under way");
    world.reload_with(&rules.replace("body: event", "body: event, enabled: false")).await;
    world.receives("Ann", "Hi");
    world.tick().await;
    assert_eq!(world.sandbox.http.received().len(), 8);
    let slowly = rules.replace("body: event", "body: event, rate: 1/m");
    world.reload_with(&slowly).await;
    world.receives("Ann", "Hi");
    world.tick().await;
    assert_eq!(world.sandbox.http.received().len(), 9, "one in a minute");
}

/// Polls every account that there is.
async fn poll_all(world: &World) -> usize {
    let mut messages = 0;
    for post in world.relay().posts.all() {
        messages += driver::poll(world.relay(), &post).await.result.unwrap().messages;
    }
    messages
}

const TWO: &str = r#"
version: 1
accounts:
  - { name: main, token: "${TOKEN}", base_url: "${API}", start_from: beginning, poll_every: 30s }
  - { name: second, token: "${TOKEN}", base_url: "${API}", start_from: beginning, poll_every: 30s }
"#;

#[tokio::test]
async fn accounts_come_and_go_and_where_polling_stood_is_remembered() {
    let mut world = World::with_template(RULES, GREETING).await;
    world.receives("Ann", "Hi");
    assert_eq!(poll_all(&world).await, 1);
    let reload = world.reload_with(&format!("{TWO}{RULES}")).await;
    assert_eq!(difference(&reload.outcome), "accounts: +second");
    let main = world.relay().posts.all()[0].clone();
    assert_eq!(poll_all(&world).await, 1, "the second has its own");
    let only_second: String = TWO
        .lines()
        .filter(|line| !line.contains("name: main"))
        .fold(String::new(), |text, line| text + line + "\n");
    let reload = world.reload_with(&format!("{only_second}{RULES}")).await;
    assert_eq!(difference(&reload.outcome), "accounts: -main");
    assert!(main.over().is_cancelled());
    assert_eq!(world.relay().posts.all().len(), 1);
    let counted = world.relay().metrics.render();
    assert!(!counted.contains("poll_last_success_timestamp_seconds{account=\"main\"}"), "{counted}");
    world.send().await;
    let states = world.rows().await;
    assert!(states.iter().all(|row| row.state.as_str() == "delivered"), "{}", world.owed().await);
    assert!(world.bodies()[0].contains("Ann"), "names are known of one that is gone: {:?}", world.bodies());
    world.receives("Bob", "Hi");
    world.reload_with(&format!("{TWO}{RULES}")).await;
    assert_eq!(poll_all(&world).await, 2, "what is new, once for each");
}

#[tokio::test]
async fn an_account_that_is_as_it_was_keeps_its_poller_and_a_new_token_is_used_at_once() {
    let mut world = World::with_template(RULES, GREETING).await;
    let head = "version: 1\naccounts:\n  - { name: main, token: \"${TOKEN}\", base_url: \"${API}\", start_from: \
                beginning, poll_every: 30s }\n";
    let before = world.relay().posts.all()[0].clone();
    world.reload_with(&format!("{head}{}", RULES.replace("concurrency: 1", "concurrency: 2"))).await;
    let after = world.relay().posts.all()[0].clone();
    assert!(std::sync::Arc::ptr_eq(&before, &after));
    let business: &Business = &world.sandbox.business;
    business.token("another-token", TokenKind::Staff);
    business.token(world.sandbox.token(), TokenKind::Revoked);
    let reload = world.reload_with(&format!("{}{RULES}", head.replace("${TOKEN}", "another-token"))).await;
    assert!(difference(&reload.outcome).contains("accounts: ~main (token)"), "{reload:?}");
    world.receives("Ann", "Hi");
    assert_eq!(poll_all(&world).await, 1);
}

/// What one poll asks for.
async fn cost(world: &World) -> usize {
    let before = world.sandbox.business.list_requests().len();
    poll_all(world).await;
    world.sandbox.business.list_requests().len() - before
}

#[tokio::test]
async fn an_account_that_is_polled_more_often_is_not_looked_through_from_the_start() {
    let head = |every: &str, token: &str| {
        format!(
            "version: 1\naccounts:\n  - {{ name: main, token: \"{token}\", base_url: \"${{API}}\", start_from: beginning, \
             poll_every: {every} }}\n{RULES}"
        )
    };
    let mut world = World::with_template(&head("30s", "${TOKEN}"), GREETING).await;
    world.sandbox.business.token("another-token", TokenKind::Staff);
    world.receives("Ann", "Hi");
    cost(&world).await;
    let usual = cost(&world).await;
    world.reload_with(&head("20s", "${TOKEN}")).await;
    assert_eq!(cost(&world).await, usual);
    world.reload_with(&head("20s", "another-token")).await;
    assert!(cost(&world).await > usual, "another token may be shown another list");
}

#[tokio::test]
async fn targets_that_are_as_they_were_keep_their_connections() {
    let mut world = World::with_template(RULES, GREETING).await;
    let of = |world: &World, name: &str| world.relay().config().targets[name].clone();
    let (crm, desk) = (of(&world, "crm"), of(&world, "desk"));
    world.reload_with(&RULES.replace("concurrency: 1", "concurrency: 2")).await;
    assert!(std::sync::Arc::ptr_eq(&desk, &of(&world, "desk")));
    assert!(!std::sync::Arc::ptr_eq(&crm, &of(&world, "crm")));
    let desk = of(&world, "desk");
    world.reload_with(&format!("{RULES}defaults: {{ retry: {{ first: 1s }} }}\n")).await;
    assert!(!std::sync::Arc::ptr_eq(&desk, &of(&world, "desk")), "other defaults are another target");
}
