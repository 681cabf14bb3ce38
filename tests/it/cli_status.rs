//! `status`, `targets` and `health` at night: what is down is said to be, with what to do, and the exit code says so too.

use std::os::unix::fs::PermissionsExt;
use std::process::Output;

use activity_relay::sandbox::script::{Fault, status};
use regex::Regex;
use serde_json::Value;

use crate::console::get;
use crate::instances_killed::{RUN, Shared};
use crate::postgres::fresh_url;
use crate::somebody::{answer, nobody, somebody};
use crate::stage::{ANY, RULES, Running, Stage};
use crate::world::PATIENCE;

/// Exit code, what was said on stdout and on stderr.
async fn said(stage: &Stage, line: &str) -> (i32, String, String) {
    let Output { status, stdout, stderr } = stage.output(line).await;
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

async fn json(stage: &Stage, line: &str) -> Value {
    let (_, stdout, stderr) = said(stage, line).await;
    serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{line}: {error}: {stdout}{stderr}"))
}

/// A relay that has said that it is there.
async fn at_work(stage: &Stage, line: &str) -> Running {
    let running = stage.start(line);
    stage.until_logged(&running, "running").await;
    let store = stage.store().await;
    while store.holds().await.unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    running
}

#[tokio::test]
async fn a_relay_that_was_killed_needs_attention_until_another_one_runs() {
    let stage = Stage::new().await;
    let first = at_work(&stage, "run --listen none").await;
    let place = format!(":{}", first.id());
    let document = json(&stage, "status --format json").await;
    assert_eq!(document["instances"][0]["alive"], true, "{document}");
    assert!(document["accounts"][0]["polled_by"].as_str().unwrap().ends_with(&place), "{document}");
    first.kill().await;
    let (code, text, _) = said(&stage, "status").await;
    assert_eq!(code, 1, "{text}");
    assert!(
        text.contains("the relay that polled `main` (") && text.contains(&format!("{place}) ended")),
        "{text}"
    );
    assert!(text.contains(" ended without a word; start it again"), "{text}");
    assert!(!text.contains("nothing needs attention"), "{text}");
    assert_eq!(said(&stage, "status --format json").await.0, 1);
    let document = json(&stage, "status --format json").await;
    assert_eq!(document["instances"][0]["alive"], false, "{document}");
    assert_eq!(document["accounts"][0]["polled_by"], Value::Null, "{document}");
    at_work(&stage, "run --listen none").await.ends().await;
    let (code, text, _) = said(&stage, "status").await;
    assert_eq!((code, text.contains("nothing needs attention")), (0, true), "{text}");
}

/// One of several that has said that it is there and what it does.
async fn one_more(shared: &Shared) -> Running {
    let running = shared.stage.start(RUN);
    shared.stage.until_logged(&running, "held by this instance").await;
    running
}

/// What `status` says, where minutes that pass make no difference.
async fn said_by_status(stage: &Stage) -> (i32, String) {
    let (code, text, _) = said(stage, "status").await;
    (code, Regex::new(r"\b\d+m ago").unwrap().replace_all(&text, "1m ago").into_owned())
}

/// What was killed has said nothing for a minute: less than it is remembered for.
async fn killed(shared: &Shared, running: Running) {
    let of = format!("(SELECT id FROM instances WHERE host LIKE '%:{}')", running.id());
    running.kill().await;
    let sql = format!(
        "UPDATE holds SET until = until - 60000 WHERE instance IN {of};
         UPDATE instances SET seen_at = seen_at - 60000 WHERE id IN {of}"
    );
    shared.database.batch_execute(&sql).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn several_that_were_killed_need_attention_until_another_one_runs() {
    let Some(shared) = Shared::new(RULES).await else { return };
    let stage = &shared.stage;
    let (first, second) = (one_more(&shared).await, stage.start(RUN));
    shared.until_there(2).await;
    let well = async || {
        let (code, text) = said_by_status(stage).await;
        assert_eq!((code, text.contains("nothing needs attention")), (0, true), "{text}");
        text
    };
    assert!(!well().await.contains("gone"));
    killed(&shared, first).await;
    assert!(well().await.contains("1m ago (gone)"), "one is enough");
    killed(&shared, second).await;
    let missed = async || {
        let (code, text) = said_by_status(stage).await;
        assert_eq!((code, text.contains("nothing needs attention")), (1, false), "{text}");
        assert!(text.contains("no instance is alive, the last was seen 1m ago: "), "{text}");
        assert!(
            text.contains("ended without a word or hang; nobody polls or sends. Start one again"),
            "{text}"
        );
        assert!(text.contains("1m ago (gone)"), "{text}");
        assert_eq!(said(stage, "status --format json").await.0, 1);
    };
    missed().await;
    // A round polls once and is no relay that goes on.
    assert_eq!(stage.output("run --once --listen none").await.status.code(), Some(0), "{}", stage.logged());
    missed().await;
    let third = one_more(&shared).await;
    well().await;
    third.ends().await;
    assert!(
        !well().await.contains("INSTANCE"),
        "who stopped as it should is not missed, nor whom it replaced"
    );
}

/// Waits until the store knows by which configurations the relays work.
async fn until_known(stage: &Stage, suits: impl Fn(&[String]) -> bool) {
    let store = stage.store().await;
    loop {
        let instances = store.instances().await.unwrap();
        let known: Vec<String> = instances.into_iter().filter_map(|instance| instance.config).collect();
        if suits(&known) {
            return;
        }
        tokio::task::yield_now().await;
    }
}

fn config(document: &Value, nth: usize) -> &str {
    document["instances"][nth]["config"].as_str().unwrap_or_else(|| panic!("{document}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_with_different_rules_files_are_told_of_and_no_trouble() {
    let Some(shared) = Shared::new(RULES).await else { return };
    let stage = &shared.stage;
    let first = stage.start(&format!("run --listen {ANY}"));
    let address = stage.address_of(&first).await;
    stage.until_logged(&first, "held by this instance").await;
    stage.rules(&RULES.replace("name: all", "name: every"));
    let second = stage.start(RUN);
    shared.until_there(2).await;
    let document = json(stage, "status --format json").await;
    let (old, new) = (config(&document, 0), config(&document, 1));
    assert_ne!(old, new);
    let (code, text, _) = said(stage, "status").await;
    assert_eq!((code, text.contains("nothing needs attention")), (0, false), "{text}");
    assert!(text.contains("RULES FILE") && text.contains(old) && text.contains(new), "{text}");
    assert!(
        text.contains("the instances run different rules files: unless a change is being rolled out"),
        "{text}"
    );
    let overview = get(&address, "/", "").await.body;
    assert!(overview.contains("The instances run different rules files"), "{overview}");
    first.signal("HUP");
    until_known(stage, |known| known == [new, new]).await;
    let (code, text, _) = said(stage, "status").await;
    assert_eq!((code, text.contains("nothing needs attention")), (0, true), "{text}");
    assert!(!text.contains("RULES FILE") && !text.contains(new), "{text}");
    first.ends().await;
    second.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_only_one_says_by_which_configuration_it_works() {
    let stage = Stage::new().await;
    let running = at_work(&stage, RUN).await;
    let document = json(&stage, "status --format json").await;
    let old = config(&document, 0);
    stage.rules(&RULES.replace("name: all", "name: every"));
    running.signal("HUP");
    until_known(&stage, |known| known.iter().all(|hash| hash != old)).await;
    running.ends().await;
}

/// An account that the rules file names and the relay that runs does not know yet.
async fn nobody_polls_it(stage: &Stage, running: Running, a_minute_later: impl AsyncFn()) {
    let two = "accounts:\n  - { name: branch, token: \"${TOKEN}\", base_url: \"${API}\", poll_every: 1s }";
    stage.rules(&RULES.replace("accounts:", two));
    let (code, text, _) = said(stage, "status").await;
    assert_eq!((code, text.contains("nothing needs attention")), (0, true), "it may come by itself: {text}");
    a_minute_later().await;
    let (code, text, _) = said(stage, "status").await;
    assert_eq!((code, text.contains("nothing needs attention")), (1, false), "{text}");
    assert!(text.contains("nobody polls `branch` though a relay runs: "), "{text}");
    assert!(text.contains("reload it, if its rules file is an older one, and look into its log"), "{text}");
    let document = json(stage, "status --format json").await;
    let unpolled = |nth: usize| (&document["accounts"][nth]["name"], &document["accounts"][nth]["unpolled"]);
    assert_eq!(unpolled(0), (&Value::from("main"), &Value::from(false)), "{document}");
    assert_eq!(unpolled(1), (&Value::from("branch"), &Value::from(true)), "{document}");
    running.signal("HUP");
    let store = stage.store().await;
    while !store.holds().await.unwrap().iter().any(|hold| hold.role == "poll branch") {
        tokio::task::yield_now().await;
    }
    let (code, text, _) = said(stage, "status").await;
    assert_eq!((code, text.contains("nothing needs attention")), (0, true), "{text}");
    running.ends().await;
}

/// So that what runs has run for long.
const SINCE_LONG: &str = "UPDATE instances SET started_at = started_at - 60000";

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_nobody_polls_needs_attention() {
    let stage = Stage::new().await;
    let running = at_work(&stage, RUN).await;
    nobody_polls_it(&stage, running, async || stage.database().execute_batch(SINCE_LONG).unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_none_of_several_polls_needs_attention() {
    let Some(shared) = Shared::new(RULES).await else { return };
    let running = one_more(&shared).await;
    let later = async || shared.database.batch_execute(SINCE_LONG).await.unwrap();
    nobody_polls_it(&shared.stage, running, later).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_the_store_has_no_relay_to_miss_and_a_link_leads_to_the_one_that_runs() {
    let stage = Stage::new().await;
    let running = at_work(&stage, "run --listen none").await;
    let database = stage.folder.path().join("relay.db");
    let copy = format!("VACUUM INTO '{}'", stage.folder.path().join("copy.db").display());
    rusqlite::Connection::open(&database).unwrap().execute_batch(&copy).unwrap();
    let (code, text, _) = said(&stage, "status --store sqlite://copy.db").await;
    assert_eq!(code, 0, "{text}");
    std::os::unix::fs::symlink(&database, stage.folder.path().join("link.db")).unwrap();
    let (code, text, _) = said(&stage, "status --store sqlite://link.db").await;
    assert_eq!(code, 0, "{text}");
    let (code, _, error) = said(&stage, "run --listen none --store sqlite://link.db").await;
    assert_eq!((code, error.contains("in use")), (69, true), "{error}");
    running.kill().await;
    assert_eq!(said(&stage, "status --store sqlite://link.db").await.0, 1);
}

#[tokio::test]
async fn rounds_that_somebody_else_starts_leave_nothing_to_be_missed() {
    let stage = Stage::new().await;
    stage.receive(1);
    assert_eq!(stage.output("run --once").await.status.code(), Some(0));
    let (code, text, _) = said(&stage, "status").await;
    assert_eq!((code, text.contains("nothing needs attention")), (0, true), "{text}");
}

#[tokio::test]
async fn a_rules_file_that_is_named_has_to_be_there() {
    let stage = Stage::new().await;
    let (code, text, error) = said(&stage, "status --config nope.yaml").await;
    assert_eq!((code, text.as_str()), (64, ""), "{error}");
    assert!(error.contains("there is no nope.yaml here") && error.contains("--config FILE"), "{error}");
    std::fs::remove_file(stage.folder.path().join("rules.yaml")).unwrap();
    let (code, text, note) = said(&stage, "status").await;
    assert_eq!(code, 0, "{text}{note}");
    assert!(note.contains("there is no rules.yaml here, so only the store is looked at"), "{note}");
}

#[tokio::test]
async fn an_account_that_was_taken_out_is_no_trouble_any_more() {
    let stage = Stage::new().await;
    let old = "accounts:\n  - { name: old, token: nobody-knows-it, base_url: \"${API}\" }";
    stage.rules(&RULES.replace("accounts:", old));
    assert_eq!(stage.output("run --once").await.status.code(), Some(1));
    let (code, text, _) = said(&stage, "status").await;
    assert!(code == 1 && text.contains("old"), "{text}");
    stage.rules(RULES);
    let (code, text, _) = said(&stage, "status").await;
    assert_eq!((code, text.contains("nothing needs attention")), (0, true), "{text}");
    let document = json(&stage, "status --format json").await;
    let names: Vec<&Value> =
        document["accounts"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
    assert_eq!(names, ["main"], "{document}");
    let running = at_work(&stage, &format!("run --listen {ANY}")).await;
    let address = stage.address_of(&running).await;
    let overview = get(&address, "/", "").await.body;
    assert!(overview.contains("Nothing needs attention") && !overview.contains("Account old"), "{overview}");
    running.ends().await;
}

#[tokio::test]
async fn a_target_that_is_off_is_shown_with_what_waits_and_not_resumed() {
    let stage = Stage::new().await;
    stage.sandbox.http.fault(Fault { on: String::new(), times: None, answer: status(500) });
    stage.receive(1);
    assert_eq!(stage.output("run --once").await.status.code(), Some(0), "{}", stage.logged());
    stage.rules(&RULES.replace("type: http,", "type: http, enabled: false,"));
    let document = json(&stage, "status --format json").await;
    let held = &document["targets"][0];
    assert_eq!((&held["name"], &held["pending"]), (&Value::from("crm"), &Value::from(1)), "{document}");
    let (_, text, _) = said(&stage, "status").await;
    assert!(text.contains("switched off in the rules file"), "{text}");
    let (code, text, error) = said(&stage, "targets resume crm").await;
    assert_eq!((code, text.as_str()), (1, ""), "{error}");
    assert!(error.contains("switched off in the rules file (`enabled: false`)"), "{error}");
    assert!(error.contains("take that out and reload"), "{error}");
}

#[tokio::test]
async fn pauses_say_what_they_changed_to_people_and_to_programs() {
    let stage = Stage::new().await;
    let says = async |line: &str| {
        let (code, text, error) = said(&stage, line).await;
        assert_eq!((code, error.as_str()), (0, ""), "{line}");
        text
    };
    assert_eq!(says("targets resume crm").await, "crm was not paused; 0 pending\n");
    let listed = async || json(&stage, "targets list --format json").await["targets"][0].clone();
    for (line, state) in [("pause crm", "paused"), ("resume crm", "ready")] {
        let target = json(&stage, &format!("targets {line} --format json")).await;
        assert_eq!((&target["state"], &target), (&Value::from(state), &listed().await));
    }
    says("targets pause crm").await;
    assert_eq!(says("targets resume crm").await, "crm is resumed; 0 pending\n");
}

#[tokio::test]
async fn a_reload_that_was_refused_needs_attention_until_one_is_not() {
    let stage = Stage::new().await;
    let running = at_work(&stage, &format!("run --listen {ANY}")).await;
    let address = stage.address_of(&running).await;
    let there = format!("status --url http://{address}");
    assert_eq!(json(&stage, &format!("{there} --format json")).await["reload"], Value::Null);
    stage.rules(&RULES.replace("match: {}", "match: {}, stopp: true"));
    running.signal("HUP");
    stage.until_logged(&running, "not reloaded: the configuration stays as it was").await;
    let overview = async || get(&address, "/", "").await.body;
    while !overview().await.contains("The last reload was refused") {}
    let (code, text, _) = said(&stage, &there).await;
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("the last reload (") && text.contains("has no key `stopp`"), "{text}");
    let reload = json(&stage, &format!("{there} --format json")).await["reload"].clone();
    assert!(reload["at"].is_string() && reload["refused"].as_str().is_some_and(|why| why.contains("R010")));
    stage.rules(&RULES.replace("name: all", "name: every"));
    running.signal("HUP");
    stage.until_logged(&running, "rules: +every, -all").await;
    while overview().await.contains("The last reload was refused") {}
    assert_eq!(said(&stage, &there).await.0, 0);
    running.ends().await;
}

#[tokio::test]
async fn health_asks_for_health_and_takes_no_page_for_it() {
    let stage = Stage::new().await;
    let running = at_work(&stage, &format!("run --listen {ANY}")).await;
    let address = stage.address_of(&running).await;
    for path in ["", "/", "/livez", "/readyz"] {
        let (code, text) = stage.health(&format!("http://{address}{path}")).await;
        assert_eq!((code, text.as_str()), (0, "ok\n"), "{path}");
    }
    let (code, text) = stage.health(&format!("http://{address}/targets")).await;
    assert_eq!(code, 1);
    assert!(text.contains("/targets (200) is no relay's /readyz or /livez: name one of them"), "{text}");
    running.ends().await;
    let ill = somebody(|head, _| {
        assert!(head.starts_with("GET /readyz "), "{head}");
        answer("503 Service Unavailable", "Content-Type: text/plain; charset=utf-8\r\n", "the disk is full\n")
    });
    let (code, text) = stage.health(&ill).await;
    assert_eq!((code, text.as_str()), (1, "503: the disk is full\n"));
}

#[tokio::test]
async fn a_second_run_is_told_of_the_store_before_the_port() {
    let stage = Stage::new().await;
    stage.receive(1);
    let running = at_work(&stage, &format!("run --listen {ANY}")).await;
    let address = stage.address_of(&running).await;
    stage.sandbox.http.wait_for(1, PATIENCE).await.unwrap();
    let (code, _, error) = said(&stage, &format!("run --listen {address}")).await;
    assert_eq!(code, 69);
    assert!(error.contains("in use by another running relay") && !error.contains("cannot listen"), "{error}");
    running.ends().await;
}

#[tokio::test]
async fn a_store_that_cannot_be_had_at_the_start_has_its_remedy() {
    let stage = Stage::new().await;
    let closed = stage.folder.path().join("closed");
    std::fs::create_dir(&closed).unwrap();
    std::fs::set_permissions(&closed, PermissionsExt::from_mode(0o500)).unwrap();
    let line = format!("run --listen none --once --store sqlite://{}", closed.join("relay.db").display());
    // Root may write everywhere.
    if std::fs::write(closed.join("probe"), "").is_err() {
        let (code, _, error) = said(&stage, &line).await;
        assert_eq!(code, 69);
        assert!(error.contains("relay.db.lock") && error.contains("let the relay's user write"), "{error}");
    }
    let (_nobody, address) = nobody();
    let nobody = format!("status --store postgres://relay@{address}/relay?sslmode=disable");
    let (code, _, error) = said(&stage, &nobody).await;
    assert_eq!(code, 69, "{error}");
    assert!(error.contains("is the address in --store right and the server up?"), "{error}");
    assert!(!error.contains("goes on"), "{error}");
}

#[tokio::test]
async fn a_demo_out_of_time_calls_nothing_lost() {
    let stage = Stage::new().await;
    // What is no terminal gets the figures in either way.
    for line in ["demo --headless --for 1s --listen none", "demo --for 1s --listen none"] {
        let (_, text, _) = said(&stage, line).await;
        let figures = text.lines().find(|line| line.contains(" expected: ")).unwrap();
        let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        let missing = last["lost"].as_u64().unwrap();
        let word = if missing == 0 { "lost" } else { "not yet" };
        assert!(figures.contains(&format!(" arrived, {missing} {word}, ")), "{figures}");
    }
}

#[tokio::test]
async fn the_log_names_store_and_instance_as_status_does() {
    let stage = Stage::new().await;
    let file = stage.folder.path().join("relay.db").display().to_string();
    names_itself(&stage, &file).await;
    let Some(url) = fresh_url().await else { return };
    let (_, database) = url.split_once("@/").unwrap();
    let database = format!("database {}", database.split('?').next().unwrap());
    let stage = Stage::new().await.on(url.replace("postgres@", "postgres:hunter2@"));
    names_itself(&stage, &database).await;
}

async fn names_itself(stage: &Stage, place: &str) {
    let running = at_work(stage, "run --listen none --log-format json").await;
    let document = json(stage, "status --format json").await;
    let logged = stage.logged();
    let line = logged.lines().find(|line| line.contains(r#""message":"running""#)).unwrap();
    let line: Value = serde_json::from_str(line).unwrap();
    assert_eq!(line["instance"], document["instances"][0]["host"], "{line}");
    assert!(line["store"].as_str().is_some_and(|store| store.ends_with(place)), "{line}");
    assert!(!logged.contains("hunter2"), "{logged}");
    running.ends().await;
}

const TWO_QUEUES: &str = r#"
version: 1
accounts:
  - { name: main, token: "${TOKEN}", base_url: "${API}", start_from: beginning, poll_every: 1s, lookup: false }
targets:
  books: { type: http, url: "${HTTP}", allow_private: true, body: event }
  crm: { type: http, url: "${HTTP}", allow_private: true, body: event }
rules:
  - { name: all, match: {}, deliver: [{ to: crm }] }
  - { name: daily, match: {}, deliver: [{ to: books, digest: { every: 6h } }] }
"#;

#[tokio::test]
async fn what_waits_is_shown_for_each_target_held_or_not() {
    let stage = Stage::with(TWO_QUEUES).await;
    stage.receive(3);
    assert_eq!(said(&stage, "targets pause crm --reason inventory").await.0, 0);
    let (code, _, logged) = said(&stage, "run --once --listen none").await;
    assert_eq!(code, 0, "{logged}");
    let (code, text, _) = said(&stage, "status").await;
    let line = |target: &str| -> Vec<&str> {
        let line = text.lines().find(|line| line.starts_with(target));
        line.unwrap_or_else(|| panic!("no line of {target}: {text}")).split_whitespace().collect()
    };
    assert_eq!(code, 0, "{text}");
    assert_eq!((line("books")[1], line("books")[2], line("books")[3]), ("ready", "1", "in"), "{text}");
    assert_eq!((line("crm")[1], line("crm")[2]), ("paused", "3"), "{text}");
    assert!(line("crm").ends_with(&["inventory"]), "{text}");
    let document = json(&stage, "status --format json").await;
    let queues: Vec<(&str, u64)> = document["queues"]
        .as_array()
        .unwrap()
        .iter()
        .map(|queue| (queue["target"].as_str().unwrap(), queue["pending"].as_u64().unwrap()))
        .collect();
    assert_eq!(queues, [("books", 1), ("crm", 3)]);
    assert!(document["queues"][0]["oldest_due"].is_string(), "{document}");
}
