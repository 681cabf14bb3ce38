//! Another rules file while deliveries are pending or being sent: the running relay reloads it.

use activity_relay::sandbox::script::{Fault, status};
use serde_json::Value;

use super::http::rules;
use super::record::{Observed, record};
use super::wire::{Does, Proxy};
use crate::stage::{RULES, Running, Stage};
use crate::world::{PATIENCE, World};

fn rewrite(stage: &Stage, from: &str, to: &str) {
    let path = stage.folder.path().join("rules.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{text}");
    std::fs::write(&path, text.replace(from, to)).unwrap();
}

async fn json(stage: &Stage, command: &str) -> Value {
    let output = stage.output(&format!("{command} --format json")).await;
    serde_json::from_slice(&output.stdout).unwrap()
}

async fn rows(stage: &Stage) -> Vec<Value> {
    let listed = stage.output("deliveries list --format json").await;
    let lines = String::from_utf8(listed.stdout).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What the oracle sees of a stage whose deliveries are all to be delivered.
async fn delivered(stage: &Stage, owed: usize, saw: &str) -> Observed {
    let rows = rows(stage).await;
    assert_eq!(rows.len(), owed);
    assert!(rows.iter().all(|row| row["state"] == "delivered"), "{rows:?}");
    let arrivals = stage.sandbox.http.received();
    let mut observed = Observed { messages: owed, saw: saw.into(), ..Observed::default() };
    for row in &rows {
        let id = row["id"].as_str().unwrap();
        let times = arrivals.iter().filter(|arrival| arrival.identity() == id).count();
        observed.delivered += usize::from(times > 0);
        observed.lost += usize::from(times == 0);
        observed.duplicates += times.saturating_sub(1);
        observed.marked += if row["maybe_duplicate"] == true { times.saturating_sub(1) } else { 0 };
    }
    observed
}

/// The relay runs, so many messages are owed, and the target has trouble of its own at each.
async fn with_pending(messages: usize) -> (Stage, Running) {
    let stage = Stage::with(&RULES.replace("first: 1s", "first: 1s, max: 1s")).await;
    stage.receive(messages);
    stage.sandbox.http.fault(Fault { on: String::new(), times: None, answer: status(503) });
    let running = stage.start("run --listen none");
    stage.sandbox.http.wait_until(PATIENCE, |arrivals| arrivals.len() >= messages).await.unwrap();
    (stage, running)
}

/// Another file is read by the running relay; returns once it says these words about it.
async fn reload(stage: &Stage, running: &Running, from: &str, to: &str, words: &str) {
    rewrite(stage, from, to);
    running.signal("HUP");
    stage.until_logged(running, words).await;
}

async fn stop(mut running: Running) {
    running.signal("TERM");
    assert_eq!(running.ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_target_that_is_taken_out_leaves_what_it_is_owed_in_sight() {
    let (stage, running) = with_pending(3).await;
    let rules = std::fs::read_to_string(stage.folder.path().join("rules.yaml")).unwrap();
    let other = rules.replace("  crm: {", "  other: {").replace("to: crm", "to: other");
    reload(&stage, &running, &rules, &other, "targets: +other, -crm").await;
    stage.until_logged(&running, "not in the rules file").await;
    // What was on its way when the target was taken out is answered in the old way.
    while json(&stage, "status").await["deliveries"]["sending"] != 0 {}
    stage.sandbox.http.heal();
    stage.receive(1);
    stage.sandbox.http.wait_for(1, PATIENCE).await.unwrap();
    let status = stage.output("status").await;
    assert_eq!(status.status.code(), Some(1), "it needs attention");
    assert!(String::from_utf8(status.stdout).unwrap().contains("not in the rules file"));
    let listed = json(&stage, "targets list").await;
    let gone = listed["targets"].as_array().unwrap().iter().find(|target| target["name"] == "crm").unwrap();
    assert_eq!(gone["pending"], 3, "{listed}");
    assert_eq!(json(&stage, "status").await["targets"][0]["pending"], 3);
    reload(&stage, &running, &other, &rules, "targets: +crm, -other").await;
    stage.sandbox.http.wait_for(4, PATIENCE).await.unwrap();
    stop(running).await;
    let saw = "they waited, told of in the log, by `status` (exit 1) and by `targets list`; delivered when the target was \
               back";
    let observed = delivered(&stage, 4, saw).await;
    assert_eq!((observed.delivered, observed.duplicates), (4, 0));
    record("reload-removed", "the running relay reloads a rules file without the target", &observed);
}

#[tokio::test]
async fn a_target_that_is_renamed_starts_anew_and_the_old_name_is_owed_still() {
    let mut world = World::new(&rules("${HTTP}")).await;
    world.receives("Ann", "to the old name");
    world.sandbox.http.answers([status(503)]);
    world.tick().await;
    world.reload_with(&rules("${HTTP}").replace("crm", "desk")).await;
    world.receives("Bob", "to the new one");
    world.pass("1m").await;
    let states: Vec<String> =
        world.rows().await.iter().map(|row| format!("{} {}", row.target, row.state)).collect();
    assert_eq!(states, ["crm pending", "desk delivered"]);
    world.reload_with(&rules("${HTTP}")).await;
    world.pass("1m").await;
    let saw =
        "new messages went to the new name at once, the old one's waited and went when it was named again";
    let observed = Observed::of(&world, 2, &world.sandbox.http.arrivals(), saw).await;
    assert_eq!((observed.delivered, observed.duplicates), (2, 0));
    record(
        "reload-renamed",
        "the running relay reloads a rules file that names the target otherwise",
        &observed,
    );
}

#[tokio::test]
async fn a_target_of_another_type_gets_what_is_owed_in_its_own_form() {
    let mut world = World::new(&rules("${HTTP}")).await;
    world.receives("Ann", "Hello?");
    world.sandbox.http.answers([status(503)]);
    world.tick().await;
    let slack = "
targets:
  crm: { type: slack, webhook_url: \"${SLACK}\", allow_private: true }
rules:
  - { name: all, match: {}, deliver: [{ to: crm }] }
";
    world.reload_with(slack).await;
    world.pass("1m").await;
    let saw = "rendered anew for Slack and delivered";
    let observed = Observed::of(&world, 1, &world.sandbox.slack.arrivals(), saw).await;
    assert_eq!((observed.delivered, observed.duplicates), (1, 0), "{}", world.owed().await);
    record(
        "reload-renamed+type",
        "the rules file that is reloaded says that an HTTP target is a Slack target",
        &observed,
    );
}

#[tokio::test]
async fn a_rotated_secret_is_taken_up_by_the_probe() {
    const OLD: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const NEW: &str = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let signed = |secrets: &str| {
        rules("${HTTP}").replace("body: event", &format!("body: event, signing_secret: {secrets}"))
    };
    let mut world = World::new(&signed(OLD)).await;
    world.sandbox.http.verify_with([NEW]);
    for client in ["Ann", "Bob", "Cleo"] {
        world.receives(client, "Hello?");
    }
    world.tick().await;
    let rows = world.rows().await;
    assert!(rows.iter().all(|row| (row.state.as_str(), row.attempts) == ("pending", 0)), "{rows:?}");
    world.reload_with(&signed(&format!("[{OLD}, {NEW}]"))).await;
    world.pass("2m").await;
    let saw = "the target refused the old secret and was parked, at no attempt; with both secrets the probe went through and \
               all were delivered";
    let observed = Observed::of(&world, 3, &world.sandbox.http.arrivals(), saw).await;
    assert_eq!((observed.delivered, observed.duplicates), (3, 0), "{}", world.owed().await);
    record(
        "reload-secret",
        "the receiver wants signatures of a new secret; the rules file gets it later and is reloaded",
        &observed,
    );
}

#[tokio::test]
async fn a_broken_rules_file_is_refused_and_what_is_owed_is_sent_under_the_old_one() {
    let (stage, running) = with_pending(3).await;
    reload(&stage, &running, "targets:", "tragets:", "not reloaded: the configuration stays as it was").await;
    assert!(stage.logged().contains("rules.yaml:5:1"), "{}", stage.logged());
    let deliveries = json(&stage, "status").await["deliveries"].clone();
    let owed = |state: &str| deliveries[state].as_u64().unwrap();
    assert_eq!(owed("pending") + owed("sending"), 3, "the store is looked at without it: {deliveries}");
    stage.sandbox.http.heal();
    stage.sandbox.http.wait_for(3, PATIENCE).await.unwrap();
    stop(running).await;
    let saw = "refused with the place of the mistake in the log; all delivered under the old file";
    let observed = delivered(&stage, 3, saw).await;
    assert_eq!((observed.delivered, observed.duplicates), (3, 0));
    record("reload-bad-file", "the running relay reloads a rules file that has a misspelt key", &observed);
    assert_eq!(
        stage.output("run --listen none").await.status.code(),
        Some(64),
        "it cannot be started with it"
    );
}

/// Twenty are owed, and eight of them are being sent, until they are let go of; the file then has another header for the
/// target.
async fn while_sending(failpoints: &str) -> (Stage, Running, impl FnOnce()) {
    let (mut stage, proxy) = (Stage::new().await, Proxy::start(Does::Pass));
    proxy.lead(stage.sandbox.http.url());
    let let_go = proxy.holds();
    stage.http_through(proxy.url());
    stage.receive(20);
    let running = stage.start_armed("run --listen none", failpoints);
    stage.until_logged(&running, "running").await;
    stage.sandbox.http.wait_for(8, PATIENCE).await.unwrap();
    rewrite(&stage, "body: event,", "body: event, headers: { x-shop: \"7\" },");
    running.signal("HUP");
    (stage, running, let_go)
}

/// All twenty have arrived, the last under the new rules.
async fn all_sent(stage: &Stage, saw: &str) -> Observed {
    let observed = delivered(stage, 20, saw).await;
    assert_eq!(observed.delivered, 20);
    let fresh = stage.sandbox.http.received().last().unwrap().headers.get("x-shop").cloned();
    assert_eq!(fresh.as_deref(), Some("7"), "the new rules were in force");
    observed
}

#[tokio::test]
async fn other_rules_in_the_middle_of_sending_take_over_what_is_owed() {
    let (stage, running, let_go) = while_sending("").await;
    stage.until_logged(&running, "targets: ~crm (headers)").await;
    let_go();
    stage.sandbox.http.wait_for(20, PATIENCE).await.unwrap();
    stop(running).await;
    let observed =
        all_sent(&stage, "what was under way was finished, the rest sent under the new rules").await;
    assert_eq!(observed.duplicates, 0, "{observed:?}");
    record("reload-sending", "SIGHUP with other rules while eight are being sent", &observed);
}

#[tokio::test]
async fn killed_between_the_old_rules_and_the_new_it_goes_on_under_the_new() {
    let (stage, running, let_go) = while_sending("reload=kill").await;
    running.killed().await;
    let_go();
    run_until_all(&stage, 20).await;
    let saw = "what was under way was taken back at the start and sent again under the new rules, marked";
    let observed = all_sent(&stage, saw).await;
    let how = "the program sends itself SIGKILL at its failpoint `reload`, when new rules are loaded and not yet in force, \
               while eight are being sent";
    record("kill-reloading", how, &observed);
}

/// Runs until each of so many deliveries has arrived, and stops it.
async fn run_until_all(stage: &Stage, owed: usize) {
    let mut running = stage.start("run --listen none");
    let all = |arrivals: &[activity_relay::sandbox::inboxes::Arrival]| {
        let taken = arrivals.iter().filter(|arrival| arrival.accepted);
        taken.map(|arrival| arrival.identity().to_owned()).collect::<std::collections::BTreeSet<_>>().len()
            == owed
    };
    stage.sandbox.http.wait_until(PATIENCE, all).await.unwrap();
    running.signal("TERM");
    assert_eq!(running.ended().await.code(), Some(0));
}
