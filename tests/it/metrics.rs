//! What is counted and measured, and that the page about it, the dashboard and the alerts name the same.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use activity_relay::daemon::gauges::Gauges;
use activity_relay::sandbox::incoming::Incoming;
use activity_relay::sandbox::script::{ok, says, status};

use crate::stage::{ANY, Stage};
use crate::world::{PATIENCE, World};

const PREFIX: &str = "activity_relay_";
/// What Prometheus makes of one histogram.
const OF_HISTOGRAM: [&str; 3] = ["_bucket", "_count", "_sum"];
const RULES: &str = r#"
targets:
  crm: { type: http, url: "${HTTP}", allow_private: true, concurrency: 1 }
  desk: { type: slack, webhook_url: "${SLACK}", allow_private: true }
alerts: { to: desk }
rules:
  - { name: all, match: {}, deliver: [{ to: crm }] }
"#;

/// Metrics by name, each with the names of its labels.
type Names = BTreeMap<String, BTreeSet<String>>;

/// One request; the body of the answer.
async fn get(address: &str, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let mut stream = TcpStream::connect(address).unwrap();
    let answer = tokio::task::spawn_blocking(move || {
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    });
    let answer = answer.await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    body.to_owned()
}

/// The table of the page.
fn documented() -> Names {
    let page = std::fs::read_to_string("docs/metrics.md").unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `activity_relay_"));
    let row = |line: &str| {
        let (name, rest) = line.split_once("` |").unwrap();
        let labels = rest.split('|').next().unwrap();
        let labels = labels.split(',').map(|label| label.trim().to_owned()).filter(|label| !label.is_empty());
        (format!("{PREFIX}{name}"), labels.collect())
    };
    rows.map(row).collect()
}

/// What `OpenMetrics` text shows.
fn shown(text: &str) -> Names {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let histograms: BTreeSet<&str> =
        types.filter(|(_, kind)| *kind == "histogram").map(|(name, _)| name).collect();
    let mut names = Names::new();
    for line in text.lines().filter(|line| line.starts_with(PREFIX)) {
        let name = line.split(['{', ' ']).next().unwrap();
        let whole = OF_HISTOGRAM.iter().find_map(|part| name.strip_suffix(part));
        let name = whole.filter(|whole| histograms.contains(whole)).unwrap_or(name);
        let labels = names.entry(name.to_owned()).or_default();
        labels.extend(labels_in(line).into_iter().filter(|label| label != "le"));
    }
    names
}

/// The labels between the braces that open the text.
fn labels_in(text: &str) -> Vec<String> {
    let Some((_, rest)) = text.split_once('{').filter(|(before, _)| !before.contains([' ', ')'])) else {
        return Vec::new();
    };
    let braced = rest.split('}').next().unwrap();
    let pairs = braced.split(',').filter_map(|pair| pair.split_once(['=', '!']));
    pairs.map(|(label, _)| label.trim().to_owned()).collect()
}

/// What an expression, or a file full of them, asks for.
fn asked(text: &str) -> Vec<(String, Vec<String>)> {
    let text = text.replace("\\\"", "\"");
    let mentions = text.match_indices(PREFIX).map(|(at, _)| &text[at..]);
    let name =
        |rest: &str| rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect::<String>();
    mentions.map(|rest| (name(rest), labels_in(rest))).collect()
}

/// How things stand in this world, as `/metrics` says it.
async fn scraped(world: &World) -> String {
    let gauges = Gauges::of(world.relay()).await.unwrap();
    world.relay().metrics.render_with(&gauges)
}

fn says_line(text: &str, line: &str) {
    assert!(text.lines().any(|one| one == format!("{PREFIX}{line}")), "no `{line}` in\n{text}");
}

#[tokio::test]
async fn the_page_describes_what_a_running_relay_shows_and_nothing_else() {
    let stage = Stage::new().await;
    stage.receive(1);
    let mut running = stage.start(&format!("run --listen {ANY}"));
    let address = stage.address_of(&running).await;
    stage.until_logged(&running, " delivered").await;
    let (begun, documented) = (Instant::now(), documented());
    let mut is_shown = shown(&get(&address, "/metrics").await);
    // What a poll or an attempt comes to is counted at its very end.
    while is_shown != documented && begun.elapsed() < PATIENCE {
        is_shown = shown(&get(&address, "/metrics").await);
    }
    running.signal("TERM");
    assert_eq!(running.ended().await.code(), Some(0));
    assert_eq!(is_shown, documented, "what is shown, and what docs/metrics.md describes");
}

#[test]
fn the_dashboard_and_the_alerts_ask_for_what_is_described() {
    let documented = documented();
    for path in [
        "contrib/grafana/dashboard.json",
        "contrib/prometheus/alerts.yml",
        "contrib/prometheus/alerts_test.yml",
    ] {
        let text = std::fs::read_to_string(path).unwrap();
        let asked = asked(&text);
        assert!(asked.len() > 10, "{path}");
        for (name, labels) in asked {
            let whole = OF_HISTOGRAM.iter().find_map(|part| name.strip_suffix(part)).unwrap_or(&name);
            let known = documented.get(&name).or_else(|| documented.get(whole));
            let known = known.unwrap_or_else(|| panic!("{path}: {name} is not in docs/metrics.md"));
            for label in labels {
                let own = ["instance", "le"].contains(&label.as_str()) || known.contains(&label);
                assert!(own, "{path}: {name} has no label {label}");
            }
        }
    }
    let dashboard = std::fs::read("contrib/grafana/dashboard.json").unwrap();
    let dashboard: serde_json::Value = serde_json::from_slice(&dashboard).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "each panel has an id of its own");
}

#[tokio::test]
async fn deliveries_are_counted_by_how_and_why_they_ended() {
    let world = World::new(RULES).await;
    let before = scraped(&world).await;
    says_line(&before, r#"deliveries_total{rule="all",target="crm",state="dead",reason="refused"} 0"#);
    says_line(&before, r#"deliveries_total{rule="relay",target="desk",state="dead",reason="gave_up"} 0"#);
    says_line(&before, r#"queued_deliveries{target="crm"} 0"#);
    world.receives("Ann", "Hi");
    world.receives("Bob", "Hi");
    world.poll().await;
    says_line(&scraped(&world).await, r#"queued_deliveries{target="crm"} 2"#);
    world.sandbox.http.answers([status(302), ok()]);
    world.send().await;
    let now = world.clock.now();
    world.store().mute("all", now + jiff::SignedDuration::from_hours(1), "moving", now).await.unwrap();
    world.receives("Cleo", "Hi");
    world.tick().await;
    let text = scraped(&world).await;
    says_line(&text, r#"deliveries_total{rule="all",target="crm",state="dead",reason="refused"} 1"#);
    says_line(&text, r#"deliveries_total{rule="all",target="crm",state="delivered",reason="accepted"} 1"#);
    says_line(&text, r#"deliveries_total{rule="all",target="crm",state="withheld",reason="muted"} 1"#);
    says_line(&text, r#"attempts_total{rule="all",target="crm",outcome="delivered",answer="2xx"} 1"#);
    says_line(&text, r#"delivery_latency_seconds_count{target="crm"} 1"#);
    says_line(&text, r#"dead_deliveries{target="crm"} 1"#);
    says_line(&text, "muted_rules 1");
    says_line(&text, r#"messages_total{account="main",activity_type="General"} 3"#);
    says_line(&text, "message_age_seconds_count 3");
}

#[tokio::test]
async fn a_target_that_is_well_again_is_measured_as_such() {
    let world = World::new(RULES).await;
    world.receives("Ann", "Hi");
    world.sandbox.slack.answers([ok()]);
    world.sandbox.http.answers([status(410)]);
    world.tick().await;
    says_line(&scraped(&world).await, r#"target_parked{target="crm"} 1"#);
    world.store().pause_target("crm", false, "").await.unwrap();
    world.tick().await;
    says_line(&scraped(&world).await, r#"target_parked{target="crm"} 0"#);
    world.store().pause_target("crm", true, "moving").await.unwrap();
    says_line(&scraped(&world).await, r#"target_paused{target="crm"} 1"#);
}

#[tokio::test]
async fn a_poll_that_fails_half_way_counts_what_it_took_in() {
    let world = World::new(RULES).await;
    for number in 0..150 {
        world.receives("Ann", &format!("no. {number}"));
        world.clock.advance(std::time::Duration::from_secs(1));
    }
    world.sandbox.business.answers([ok(), says(500, "broken")]);
    assert!(world.try_poll().await.result.is_err());
    let text = scraped(&world).await;
    let kept = world.rows().await.len();
    assert!(kept > 0 && kept < 150, "{kept}");
    says_line(&text, &format!(r#"messages_total{{account="main",activity_type="General"}} {kept}"#));
    says_line(&text, r#"poll_failures_total{account="main"} 1"#);
}

#[tokio::test]
async fn lag_grows_until_a_poll_goes_through_and_is_known_before_the_first() {
    let world = World::new(RULES).await;
    world.clock.advance(std::time::Duration::from_secs(90));
    says_line(&scraped(&world).await, r#"poll_lag_seconds{account="main"} 90"#);
    world.poll().await;
    world.clock.advance(std::time::Duration::from_secs(40));
    says_line(&scraped(&world).await, r#"poll_lag_seconds{account="main"} 40"#);
}

#[tokio::test]
async fn names_that_others_make_up_do_not_become_labels() {
    let world = World::new(RULES).await;
    for number in 0..20 {
        world
            .sandbox
            .business
            .receive(Incoming::new(&format!("Séance {number}"), "held", "sideways").from("Ann"));
    }
    world.sandbox.http.answers([says(299, "odd"), says(298, "odd")]);
    world.tick().await;
    let text = scraped(&world).await;
    says_line(&text, r#"messages_total{account="main",activity_type="other"} 20"#);
    says_line(&text, r#"unknown_messages_total{account="main"} 20"#);
    says_line(&text, r#"attempts_total{rule="all",target="crm",outcome="delivered",answer="2xx"} 20"#);
    assert!(!text.contains("Séance"), "{text}");
}
