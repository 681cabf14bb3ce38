//! Digests, throttles and hours as a person writes them: what they come to, before anything is deployed.

use std::fs;
use std::path::Path;
use std::process::Command;

use activity_relay::config;
use activity_relay::config::secret::Environment;
use serde_json::Value;
use tempfile::TempDir;

const HEAD: &str = r#"version: 1
accounts: [{ name: main, token: x }]
timezone: Europe/Rome
targets:
  desk: { type: slack, webhook_url: "${SLACK:-https://hooks.slack.com/services/T000/B000/not-real}" }
"#;

fn folder(rest: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("rules.yaml"), format!("{HEAD}{rest}")).unwrap();
    folder
}

fn run(folder: &Path, line: &str) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_activity-relay"));
    command.args(line.split(' ')).current_dir(folder).env_clear().env("NO_COLOR", "1");
    let output = command.output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

/// Runs the rules' tests, which are to pass.
fn passes(rules: &str, tests: &str) {
    let folder = folder(rules);
    fs::write(folder.path().join("rules.test.yaml"), tests).unwrap();
    let (code, text) = run(folder.path(), "test");
    assert_eq!(code, 0, "{text}");
}

#[test]
fn check_shows_the_next_moments_of_schedules_and_digests() {
    let rules = r#"schedules:
  office: { days: mon-fri, from: "08:00", to: "18:30", timezone: Asia/Tokyo }
rules:
  - name: one
    match: { activity_type: Payment }
    deliver: [{ to: desk, during: office }]
  - name: two
    match: { activity_type: Meeting }
    deliver: [{ to: desk, digest: { at: ["08:00", "12:00"] } }]
  - name: three
    match: { activity_type: Review }
    deliver: [{ to: desk, digest: { every: 90m } }]
"#;
    let folder = folder(rules);
    let (code, text) = run(folder.path(), "check");
    assert_eq!(code, 0, "{text}");
    for part in [
        "next moments",
        "schedule office (Asia/Tokyo)",
        "08:00 JST",
        "18:30 JST",
        "digest of two to desk (Europe/Rome)",
        "digest of three to desk\n    1h 30m after its first message",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    let (_, text) = run(folder.path(), "check --format json");
    let document: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(document["errors"], 0);
    let upcoming = &document["upcoming"];
    assert_eq!(upcoming["schedules"][0]["next"].as_array().unwrap().len(), 3);
    assert!(["opens", "closes"].contains(&upcoming["schedules"][0]["next"][0]["what"].as_str().unwrap()));
    assert_eq!(upcoming["digests"][0]["next"].as_array().unwrap().len(), 3);
    assert_eq!(upcoming["digests"][1]["after"], "1h 30m after its first message");
}

#[test]
fn a_file_of_holidays_counts_and_a_change_of_it_is_one_of_its_schedule() {
    let rules = r#"schedules:
  office: { days: mon-fri, from: "08:00", holidays: { file: days.txt } }
rules:
  - name: one
    match: { activity_type: Payment }
    deliver: [{ to: desk, during: office }]
"#;
    let folder = folder(rules);
    let (rules, days) = (folder.path().join("rules.yaml"), folder.path().join("days.txt"));
    let load = |text: &str| {
        fs::write(&days, text).unwrap();
        config::load(&rules, &Environment::default())
    };
    let (before, after) = (load("2026-12-25\n"), load("2026-12-25\n2026-12-28\n"));
    let opens = |loaded: &config::Loaded| {
        let hours = &loaded.config.as_ref().unwrap().schedules["office"];
        hours.opens("2026-12-27T00:00:00Z".parse().unwrap()).unwrap().to_string()
    };
    assert_eq!(opens(&before), "2026-12-28T07:00:00Z");
    assert_eq!(opens(&after), "2026-12-29T07:00:00Z");
    assert!(after.outline.paths().contains(&days), "a change of it is seen");
    assert_ne!(before.outline.hash(), after.outline.hash());
    let difference = before.outline.difference(&after.outline).to_string();
    assert_eq!(difference, "schedules: ~office (days.txt)");
    let broken = load("2026-12-25\nChristmas\n");
    assert!(broken.config.is_none());
    let problem = &broken.problems[0];
    assert_eq!((problem.code, problem.line), ("R049", 2), "{}", problem.file);
    assert!(problem.file.ends_with("days.txt"));
}

#[test]
fn a_key_made_of_a_name_has_it_looked_up_first() {
    let needs = |key: &str| {
        let rules = format!(
            "rules:\n  - name: one\n    match: {{ activity_type: Payment }}\n    deliver: [{{ to: desk, throttle: {{ limit: 1, per: 1h, key: \"{key}\" }} }}]\n"
        );
        let folder = folder(&rules);
        let loaded = config::load(&folder.path().join("rules.yaml"), &Environment::default());
        loaded.config.unwrap().rules.need_names()
    };
    assert!(needs("{{client.name}}"));
    assert!(!needs("{{client.uid}}"));
}

#[test]
fn the_schema_offers_the_schedules_and_the_rules() {
    let rules = "schedules: { office: { days: mon } }\nrules: [{ name: one, match: {}, deliver: [] }]\n";
    let folder = folder(rules);
    let (_, text) = run(folder.path(), "schema");
    let schema: Value = serde_json::from_str(&text).unwrap();
    let entry = &schema["properties"]["rules"]["items"]["properties"];
    assert_eq!(
        entry["deliver"]["items"]["properties"]["during"]["anyOf"][0]["enum"],
        serde_json::json!(["office"])
    );
    assert_eq!(entry["resolves"]["anyOf"][0]["anyOf"][0]["anyOf"][0]["enum"], serde_json::json!(["one"]));
}

#[test]
fn what_is_over_a_limit_comes_together_when_the_next_may_go() {
    passes(
        r#"rules:
  - name: one
    match: { activity_type: Payment }
    deliver: [{ to: desk, throttle: { limit: 2, per: 1h, key: "{{client.uid}}", over: digest } }]
"#,
        r#"now: "2026-03-02T09:00:00+01:00"
tests:
  - name: four of one client and one of another
    messages:
      - { sample: Payment/payment_failed/to_pivot, with: { client.uid: a }, at: +0s }
      - { sample: Payment/payment_failed/to_pivot, with: { client.uid: a }, at: +1m }
      - { sample: Payment/payment_failed/to_pivot, with: { client.uid: a }, at: +2m }
      - { sample: Payment/payment_failed/to_pivot, with: { client.uid: a }, at: +3m }
      - { sample: Payment/payment_failed/to_pivot, with: { client.uid: b }, at: +4m }
    advance: 2h
    expect:
      deliveries:
        - { to: desk, at: +0s, messages: 1 }
        - { to: desk, at: +1m, messages: 1 }
        - { to: desk, at: +4m, messages: 1 }
        - { to: desk, at: +1h, messages: 2 }
"#,
    );
}

#[test]
fn outside_of_the_hours_messages_are_held_gathered_dropped_or_pass() {
    passes(
        r#"schedules: { office: { days: mon-fri, from: "08:00", to: "18:00", holidays: ["2026-03-03"] } }
rules:
  - name: held
    match: { activity_type: Payment }
    deliver: [{ to: desk, during: office, except: { message_type: scheduled_payment_failed } }]
  - name: gathered
    match: { activity_type: Review }
    deliver: [{ to: desk, during: office, outside: digest }]
  - name: dropped
    match: { activity_type: Document }
    deliver: [{ to: desk, during: office, outside: drop }]
"#,
        r#"now: "2026-03-02T20:00:00+01:00"
tests:
  - name: a night before a holiday
    messages:
      - { sample: Payment/payment_failed/to_pivot, at: +0s }
      - { sample: Payment/scheduled_payment_failed/to_pivot, at: +1m }
      - { sample: Review/submit_review/client_to_pivot, at: +2m }
      - { sample: Review/submit_review/client_to_pivot, at: +3m }
      - { sample: Document/document/client_to_pivot, at: +4m }
    advance_to: "2026-03-04T08:00:00+01:00"
    expect:
      deliveries:
        - { to: desk, rule: held, at: +1m }
        - { to: desk, rule: held, at: "2026-03-04T08:00:00+01:00" }
        - { to: desk, rule: gathered, at: "2026-03-04T08:00:00+01:00", messages: 2 }
        - { to: desk, rule: dropped, state: withheld }
"#,
    );
}

#[test]
fn digests_close_when_they_are_full_extended_or_over_and_one_event_is_one_delivery() {
    passes(
        r#"rules:
  - name: full
    match: { activity_type: Payment }
    deliver: [{ to: desk, digest: { every: 1h, max_items: 2 } }]
  - name: extended
    match: { activity_type: Review }
    deliver: [{ to: desk, digest: { every: 10m, extend: true, max: 15m } }]
  - name: one-event
    match: { activity_type: Document }
    collapse: { by: [client.uid, activity_type], within: 60s }
    deliver: [{ to: desk }]
  - name: leading
    match: { activity_type: Waitlist }
    deliver: [{ to: desk, digest: { at: "12:00", leading: true } }]
"#,
        r#"now: "2026-03-02T09:00:00+01:00"
tests:
  - name: digests
    messages:
      - { sample: Payment/payment_failed/to_pivot, at: +0s }
      - { sample: Review/submit_review/client_to_pivot, at: +0s }
      - { sample: Document/document/client_to_pivot, at: +0s }
      - { sample: Waitlist/register_to_event_waitlist/client_to_pivot, at: +0s }
      - { sample: Document/document/client_to_pivot, at: +30s }
      - { sample: Payment/payment_failed/to_pivot, at: +5m }
      - { sample: Review/submit_review/client_to_pivot, at: +8m }
      - { sample: Payment/payment_failed/to_pivot, at: +9m }
      - { sample: Waitlist/register_to_event_waitlist/client_to_pivot, at: +20m }
      - { sample: Waitlist/register_to_event_waitlist/client_to_pivot, at: +30m }
    advance_to: "2026-03-02T12:00:00+01:00"
    expect:
      deliveries:
        - { to: desk, rule: full, at: +5m, messages: 2 }
        - { to: desk, rule: full, at: +69m, messages: 1 }
        - { to: desk, rule: extended, at: +15m, messages: 2 }
        - { to: desk, rule: one-event, at: +60s, messages: 2 }
        - { to: desk, rule: leading, at: +0s, messages: 1 }
        - { to: desk, rule: leading, at: "2026-03-02T12:00:00+01:00", messages: 2 }
"#,
    );
}
