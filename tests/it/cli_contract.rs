//! The program as its users meet it: its commands, exit codes and JSON, against the sandbox.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Output};

use activity_relay::daemon::clock::Clock;
use activity_relay::sandbox::inboxes::Inbox;
use activity_relay::sandbox::incoming::Incoming;
use activity_relay::sandbox::script::{Answer, Cut, Fault};
use activity_relay::sandbox::{Sandbox, Settings};
use serde_json::Value;
use tempfile::TempDir;

use crate::stage::Running;
use crate::world::PATIENCE;

fn program(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_activity-relay"));
    command.current_dir(folder).env_clear().env("NO_COLOR", "1");
    command
}

/// Runs a command line; exit code, stdout, stderr.
fn said(folder: &Path, line: &str) -> (i32, String, String) {
    let Output { status, stdout, stderr } = program(folder).args(line.split(' ')).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

fn exit(folder: &Path, line: &str) -> i32 {
    said(folder, line).0
}

fn json(folder: &Path, line: &str) -> Value {
    let (_, stdout, stderr) = said(folder, line);
    serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{line}: {error}: {stdout}{stderr}"))
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

/// A sandbox, and a folder with a rules file that sends everything to all its inboxes.
struct World {
    sandbox: Sandbox,
    folder: TempDir,
}

impl World {
    async fn new() -> Self {
        let sandbox = Sandbox::start(Settings::default(), Clock::System).await.unwrap();
        let world = Self { sandbox, folder: tempfile::tempdir().unwrap() };
        world.write_rules("desk, books, crm");
        world
    }

    /// The file with deliveries to the named targets; only those are in it.
    fn write_rules(&self, names: &str) {
        let (sandbox, names): (_, Vec<&str>) = (&self.sandbox, names.split(", ").collect());
        let targets = [
            (
                "desk",
                format!(
                    "{{ type: slack, webhook_url: \"{}\", allow_private: true, rate: 50/s }}",
                    sandbox.slack.url()
                ),
            ),
            (
                "books",
                format!(
                    "{{ type: email, smtp: \"{}\", from: \"Relay <relay@example.com>\", to: [books@example.com] }}",
                    sandbox.mail.url()
                ),
            ),
            ("crm", format!("{{ type: http, url: \"{}\", allow_private: true }}", sandbox.http.url())),
        ];
        let mut text = format!(
            "version: 1\naccounts:\n  - {{ name: main, token: {}, base_url: \"{}\", start_from: 24h, poll_every: 1s }}\ntargets:\n",
            sandbox.token(),
            sandbox.url()
        );
        for (name, target) in targets.iter().filter(|(name, _)| names.contains(name)) {
            writeln!(text, "  {name}: {target}").unwrap();
        }
        let deliver: Vec<String> = names.iter().map(|name| format!("{{ to: {name} }}")).collect();
        let deliver = deliver.join(", ");
        writeln!(text, "rules:\n  - {{ name: everything, match: {{}}, deliver: [{deliver}] }}").unwrap();
        std::fs::write(self.at().join("rules.yaml"), text).unwrap();
    }

    fn at(&self) -> &Path {
        self.folder.path()
    }

    fn receive(&self, count: usize) {
        for number in 0..count {
            self.sandbox.business.receive(Incoming::text("Ann Bloom", &format!("Message {number}")));
        }
    }

    fn deliveries(&self, options: &str) -> Vec<Value> {
        let (code, stdout, stderr) = said(self.at(), &format!("deliveries list --format json{options}"));
        assert_eq!(code, 0, "{stderr}");
        stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// A running `run`.
fn start(world: &World, options: &str) -> Running {
    let mut command = program(world.at());
    command.args(["run", "--listen", "none"]).args(options.split_whitespace());
    Running::quietly(&mut command)
}

/// Waits until the inbox has taken so many.
async fn taken(inbox: &Inbox, count: usize) {
    inbox.wait_for(count, PATIENCE).await.unwrap();
}

#[test]
fn wrong_usage_bad_files_and_missing_stores_have_their_exit_codes() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    for line in
        ["chekc", "run --grace soon", "deliveries list --state lost", "deliveries discard", "catalog --nope"]
    {
        assert_eq!(exit(at, line), 2, "{line}");
    }
    let (code, _, stderr) = said(at, "run");
    assert_eq!(code, 64);
    insta::assert_snapshot!(stderr, @"error: there is no rules.yaml here: `activity-relay init` writes one, --config FILE or RELAY_CONFIG names another");
    let (code, stdout, _) = said(at, "check");
    assert_eq!(code, 1);
    insta::assert_snapshot!(stdout, @r"
    error[R001]: rules.yaml cannot be read: no such file or directory
    --> rules.yaml
     = help: name another file with --config, or run `activity-relay init` to write one

    1 error, 0 warnings
    activity-relay check --explain R001 says more
    ");
    for store in ["sqlite:///no/such/folder/relay.db", "postgres://example.com/relay"] {
        assert_eq!(exit(at, &format!("--store {store} status")), 69, "{store}");
    }
    for (store, remedy) in [
        ("/tmp/x.db", "sqlite:///tmp/x.db is that file"),
        ("relay.db", "sqlite://relay.db is that file"),
        ("foo://x", "use sqlite://FILE, sqlite::memory: or postgres://"),
        ("postgres://db/relay?sslmode=sometimes", "postgres://USER:PASSWORD@HOST:PORT/DATABASE"),
    ] {
        let (code, _, stderr) = said(at, &format!("--store {store} status"));
        assert_eq!((code, stderr.contains(remedy)), (2, true), "{store}: {stderr}");
    }
    for line in ["deliveries show nope", "deliveries replay nope", "deliveries discard nope"] {
        let (code, _, stderr) = said(at, line);
        assert_eq!((code, stderr.as_str()), (1, "error: no delivery has the id `nope`\n"), "{line}");
    }
}

#[test]
fn what_every_command_takes_stands_before_and_behind_the_action() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    assert_eq!(exit(at, "init"), 0);
    for group in ["mute", "deliveries", "targets", "digests"] {
        for line in [
            format!("{group} --store sqlite://{group}.db list --format json"),
            format!("{group} list --store sqlite://{group}.db --format json"),
            format!("--store sqlite://{group}.db {group} list"),
            format!("{group} -c rules.yaml --store sqlite://{group}.db list"),
            format!("{group} --console-token a-token-of-sixteen-characters --store sqlite://{group}.db list"),
        ] {
            let (code, _, stderr) = said(at, &line);
            assert_eq!((code, stderr.as_str()), (0, ""), "{line}");
        }
        assert!(at.join(format!("{group}.db")).exists(), "{group}");
    }
    assert!(!at.join("relay.db").exists());
    for line in ["mute --format json list", "mute list --format json"] {
        assert_eq!(json(at, line), serde_json::json!({ "mutes": [] }), "{line}");
    }
    assert_eq!(exit(at, "mute -c rules.yaml lift 1"), 1, "there is no such mute");
    for (line, option) in [
        ("mute --rule x list", "--rule"),
        ("mute --for 2h list", "--for"),
        ("mute --until 2100-01-01T00:00:00Z lift 1", "--until"),
        ("mute --rule x --for 2h --reason y lift 1", "--rule"),
        ("mute --reason y lift 1", "--reason"),
    ] {
        let (code, _, stderr) = said(at, line);
        assert_eq!(
            (code, stderr.contains(&format!("{option} belongs to `mute` alone"))),
            (2, true),
            "{line}: {stderr}"
        );
    }
    for line in ["mute", "mute --rule x --for 2h", "mute --rule x --reason y"] {
        assert_eq!(exit(at, line), 2, "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_variable_is_none() {
    let world = World::new().await;
    world.receive(1);
    let mut command = program(world.at());
    for name in
        ["RELAY_CONFIG", "RELAY_STORE", "RELAY_URL", "RELAY_CONSOLE_TOKEN", "RUST_LOG", "NOTIFY_SOCKET"]
    {
        command.env(name, "");
    }
    let output = command.args(["run", "--once"]).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(stderr.contains("new messages") && !stderr.contains("systemd"), "{stderr}");
    assert!(world.at().join("relay.db").exists());
}

#[test]
fn a_filter_for_the_log_that_cannot_be_read_is_wrong_usage_where_it_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (code, _, stderr) = said(folder.path(), "status --log info,activity_relay=loud");
    assert_eq!(code, 2, "{stderr}");
    assert!(stderr.contains("`activity_relay=loud` is no filter"), "{stderr}");
    let mut command = program(folder.path());
    let output = command.args(["status"]).env("RUST_LOG", "activity_relay=loud").output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        (output.status.code(), stderr.contains("RUST_LOG cannot be read")),
        (Some(0), true),
        "{stderr}"
    );
}

#[test]
fn a_name_of_which_nobody_knows_is_a_problem_and_no_wrong_usage() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    assert_eq!(exit(at, "init"), 0);
    for line in [
        "render nope --target front-desk --sample Meeting/cancelled/client_to_pivot",
        "render default --target nobody --sample Meeting/cancelled/client_to_pivot",
        "render default --target front-desk nobody",
        "explain nobody",
        "explain --account nobody Meeting/cancelled/client_to_pivot",
        "backfill --rule nope --since 1h",
        "backfill --rule client-cancellations --since 1h --account nobody",
        "catalog --use-case nope",
        "deliveries list --rule nope",
        "mute --rule nope --for 1h --reason x",
    ] {
        let (code, stdout, stderr) = said(at, line);
        assert_eq!((code, stdout.as_str()), (1, ""), "{line}: {stderr}");
    }
    assert_eq!(exit(at, "explain --activity-type Nope --message-type nope --direction nope"), 0);
}

#[test]
fn a_store_in_trouble_is_not_available_and_one_that_makes_no_sense_is_a_fault() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    assert_eq!(exit(at, "init"), 0);
    assert_eq!(exit(at, "mute --rule client-cancellations --for 2h --reason x"), 0);
    let database = rusqlite::Connection::open(at.join("relay.db")).unwrap();
    database.execute("UPDATE mutes SET until = 9223372036854775807", []).unwrap();
    let (code, _, stderr) = said(at, "mute list");
    assert_eq!(code, 70, "{stderr}");
    database.execute("DROP TABLE mutes", []).unwrap();
    for line in ["mute list", "mute lift 1", "mute --rule client-cancellations --for 2h --reason x", "status"]
    {
        let (code, _, stderr) = said(at, line);
        assert_eq!((code, stderr.contains("no such table")), (69, true), "{line}: {stderr}");
    }
}

#[test]
fn tools_work_before_the_first_run() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    assert_eq!(exit(at, "init"), 0);
    assert_eq!(exit(at, "init"), 1);
    let list = json(at, "targets list --format json");
    assert_eq!(keys(&list["targets"][0]), ["name", "type", "state", "until", "reason", "pending", "dead"]);
    assert_eq!(exit(at, "targets pause front-desk"), 0);
    assert_eq!(json(at, "targets list --format json")["targets"][0]["state"], "paused");
    for action in ["pause", "resume", "test"] {
        assert_eq!(exit(at, &format!("targets {action} nobody")), 1);
    }
    let (code, stdout, _) = said(at, "deliveries list");
    assert_eq!(code, 0);
    insta::assert_snapshot!(stdout, @"no deliveries yet: a message that a rule takes makes the first one; `activity-relay status` shows whether polling goes on");
    let status = json(at, "status --format json");
    assert_eq!(status["accounts"][0]["name"], "main");
    let counted: Vec<&str> = keys(&status["deliveries"]);
    assert_eq!(counted, ["pending", "sending", "delivered", "dead", "expired", "withheld", "discarded"]);
    assert_eq!(exit(at, "status"), 0);
}

#[test]
fn every_command_explains_itself() {
    let folder = tempfile::tempdir().unwrap();
    let (_, help, _) = said(folder.path(), "--help");
    insta::assert_snapshot!(help);
    let commands =
        help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names: Vec<&str> = commands.filter_map(|line| line.strip_prefix("  ")?.split(' ').next()).collect();
    for name in names.into_iter().filter(|name| !name.is_empty() && *name != "help") {
        let (code, help, _) = said(folder.path(), &format!("{name} --help"));
        assert_eq!(code, 0);
        assert!(help.starts_with(|first: char| first.is_uppercase()), "{name}: {help}");
        assert!(help.contains("Global options:"), "{name}: {help}");
    }
    for shell in ["bash", "zsh", "fish"] {
        let (code, script, _) = said(folder.path(), &format!("completions {shell}"));
        assert!(code == 0 && script.contains("activity-relay") && script.contains("deliveries"), "{shell}");
    }
    assert_eq!(said(folder.path(), "--version").1, format!("activity-relay {}\n", env!("CARGO_PKG_VERSION")));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_round_delivers_all_that_is_due_even_to_a_paced_target() {
    let world = World::new().await;
    world.receive(20);
    let far =
        Fault { on: "/".into(), times: Some(1), answer: Answer { status: Some(400), ..Answer::default() } };
    world.sandbox.http.fault(far);
    let (code, _, stderr) = said(world.at(), "run --once");
    assert_eq!(code, 0, "{stderr}");
    let open = world.deliveries(" --state pending");
    assert_eq!(open.len(), 1, "only what was refused waits: {open:?}");
    assert_eq!(world.sandbox.slack.received().len(), 20);
    assert_eq!(world.sandbox.mail.received().len(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_have_the_keys_of_the_contract() {
    let world = World::new().await;
    world.receive(1);
    assert_eq!(exit(world.at(), "run --once"), 0);
    let listed = world.deliveries(" --target books");
    let contract = [
        "id",
        "rule",
        "target",
        "recipient",
        "messages",
        "state",
        "due_at",
        "attempts",
        "last",
        "maybe_duplicate",
        "replay_of",
    ];
    assert_eq!(keys(&listed[0])[..contract.len()], contract);
    assert_eq!(keys(&listed[0]["last"]), ["at", "outcome", "status", "reason", "latency_ms"]);
    let id = listed[0]["id"].as_str().unwrap();
    let shown = json(world.at(), &format!("deliveries show {id} --format json"));
    assert_eq!(keys(&shown["history"][0]), ["at", "outcome", "status", "reason", "latency_ms", "answer"]);
    assert_eq!(keys(&shown["payload"])[..4], ["subject", "text", "html", "headers"]);
    assert_eq!(shown["payload"]["headers"]["Message-ID"], format!("<{id}@example.com>"));
    assert_eq!(shown["payload"]["headers"]["From"], "Relay <relay@example.com>");
    let uid = listed[0]["messages"][0].as_str().unwrap();
    let rendered = json(world.at(), &format!("render default --target crm {uid} --format json"));
    assert_eq!(keys(&rendered), ["target", "type", "payload"]);
    assert_eq!(rendered["payload"]["data"]["client"]["name"], "Ann Bloom");
    assert_eq!(keys(&rendered["payload"]), ["type", "timestamp", "data"]);
    let sent = json(world.at(), &format!("render default --target books {uid} --format json"));
    assert_eq!(keys(&sent["payload"]), ["subject", "text", "html", "headers"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn replays_and_discards_say_what_they_did() {
    let world = World::new().await;
    world.receive(1);
    assert_eq!(exit(world.at(), "run --once"), 0);
    let id = world.deliveries(" --target crm")[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(exit(world.at(), &format!("deliveries discard {id}")), 1, "it was delivered");
    assert_eq!(exit(world.at(), &format!("deliveries replay {id}")), 0);
    let replay = &world.deliveries(" --state pending")[0];
    assert_eq!(replay["replay_of"], id);
    let replay = replay["id"].as_str().unwrap();
    assert_eq!(exit(world.at(), &format!("deliveries replay {replay}")), 1, "it is sent anyway");
    assert_eq!(exit(world.at(), &format!("deliveries discard {replay}")), 0);
    assert_eq!(world.deliveries(" --state discarded").len(), 1);
    assert_eq!(exit(world.at(), "run --once"), 0);
    assert_eq!(world.sandbox.http.received().len(), 1, "what was discarded is not sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_reach_into_a_running_relay() {
    let world = World::new().await;
    world.receive(1);
    let mut running = start(&world, "");
    taken(&world.sandbox.http, 1).await;
    let (code, _, stderr) = said(world.at(), "run --listen none");
    assert_eq!((code, stderr.contains("in use")), (69, true), "{stderr}");
    assert_eq!(exit(world.at(), "targets pause crm"), 0);
    world.receive(1);
    taken(&world.sandbox.slack, 2).await;
    assert_eq!(world.deliveries(" --target crm --state pending").len(), 1);
    assert_eq!(exit(world.at(), "targets resume crm"), 0);
    taken(&world.sandbox.http, 2).await;
    assert_eq!(exit(world.at(), "targets test crm"), 0);
    taken(&world.sandbox.http, 3).await;
    assert_eq!(exit(world.at(), "status"), 0);
    running.signal("TERM");
    assert_eq!(running.ended().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_under_way_at_the_end_of_the_grace_is_due_again() {
    let world = World::new().await;
    world.write_rules("crm");
    let slow = Answer { wait_ms: 60_000, ..Answer::default() };
    world.sandbox.http.fault(Fault { on: "/".into(), times: Some(1), answer: slow });
    world.receive(1);
    let mut running = start(&world, "--grace 200ms");
    world.sandbox.http.wait_until(PATIENCE, |arrivals| !arrivals.is_empty()).await.unwrap();
    assert_eq!(world.deliveries("")[0]["state"], "sending");
    running.signal("TERM");
    assert_eq!(running.ended().await.code(), Some(0));
    assert_eq!(exit(world.at(), "run --once"), 0);
    assert_eq!(world.deliveries("")[0]["state"], "delivered");
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_that_are_gone_are_listed_while_something_is_owed_to_them() {
    let world = World::new().await;
    let down = Answer { cut: Some(Cut::Before), ..Answer::default() };
    world.sandbox.http.fault(Fault { on: "/".into(), times: None, answer: down });
    world.receive(1);
    assert_eq!(exit(world.at(), "run --once"), 0);
    world.write_rules("desk, books");
    let list = json(world.at(), "targets list --format json");
    let gone = list["targets"].as_array().unwrap().iter().find(|target| target["name"] == "crm").unwrap();
    assert_eq!((&gone["state"], &gone["pending"]), (&Value::from("paused"), &Value::from(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_account_is_a_problem_of_its_round_and_of_the_status() {
    let world = World::new().await;
    let file = world.at().join("rules.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(world.at().join("token"), "wrong").unwrap();
    let with_file = text.replace(&format!("token: {}", world.sandbox.token()), "token_file: token");
    assert_ne!(text, with_file);
    std::fs::write(&file, with_file).unwrap();
    assert_eq!(exit(world.at(), "run --once"), 1);
    assert_eq!(exit(world.at(), "status"), 1);
    assert!(json(world.at(), "status --format json")["accounts"][0]["error"].is_string());
    world.receive(1);
    let _running = start(&world, "");
    std::fs::write(world.at().join("token"), world.sandbox.token()).unwrap();
    taken(&world.sandbox.http, 1).await;
    // The poll is over a moment later; the next one wakes who looks again.
    let mut changes = world.sandbox.business.watch();
    let looking = async {
        while exit(world.at(), "status") != 0 {
            changes.changed().await.unwrap();
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.expect("the account recovers");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_writes_and_sends_nothing() {
    let world = World::new().await;
    world.receive(1);
    let (code, stdout, _) = said(world.at(), "run --once --dry-run --format json");
    let found: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, found["deliveries"].as_array().unwrap().len()), (0, 3));
    assert!(
        found["deliveries"].as_array().unwrap().iter().all(|owed| owed["payload"].is_object()),
        "{found}"
    );
    let (_, text, _) = said(world.at(), "run --once --dry-run");
    assert!(text.contains("  template default") && text.contains("Subject:"), "{text}");
    assert!(!world.at().join("relay.db").exists());
    assert!(world.sandbox.http.received().is_empty());
}
