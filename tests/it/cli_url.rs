//! Commands that ask a running relay with `--url`: that they say what they say of the store, and why they cannot.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Output;

use activity_relay::daemon::clock::Clock;
use activity_relay::model::delivery::{Notice, Planned, StateName};
use activity_relay::model::id::DeliveryId;
use activity_relay::sandbox::script::status;
use activity_relay::store::{Filter, Row};
use jiff::Timestamp;
use regex::Regex;
use serde_json::Value;
use tempfile::TempDir;

use crate::somebody::{answer, nobody, somebody};
use crate::stage::{ANY, Running, Stage};

const TOKEN: &str = "a-token-of-sixteen-characters";
const RULES: &str = r#"
version: 1
timezone: Europe/Rome
accounts:
  - { name: main, token: "${TOKEN}", base_url: "${API}", start_from: beginning, poll_every: 1s, lookup: false }
targets:
  crm: { type: http, url: "${HTTP}", allow_private: true, body: event }
  books: { type: email, smtp: "${MAIL}", from: relay@example.com, to: [books@example.com] }
rules:
  - name: all
    match: {}
    deliver: [{ to: crm }, { to: books }]
  - name: daily
    match: {}
    deliver: [{ to: crm, digest: { every: 6h } }]
"#;

/// A relay that runs, and a folder elsewhere, without rules file and store, from which it is asked.
struct Far {
    stage: Stage,
    address: String,
    running: Running,
    elsewhere: TempDir,
}

/// What a command did.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    exit: Option<i32>,
    out: String,
    err: String,
}

impl Far {
    async fn new(options: &str) -> Self {
        let stage = Stage::with(RULES).await;
        let running = stage.start(&format!("run --listen {ANY} {options}"));
        let address = stage.address_of(&running).await;
        stage.until_logged(&running, "running").await;
        Self { stage, address, running, elsewhere: tempfile::tempdir().unwrap() }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The command beside the relay, on its store.
    async fn here(&self, line: &str) -> Said {
        Said::of(&self.stage.output(line).await)
    }

    /// The command from elsewhere, with these variables and no others.
    async fn from(&self, line: &str, variables: &[(&str, &str)]) -> Said {
        let mut command = self.stage.command(line);
        command.current_dir(self.elsewhere.path()).env_clear().envs(variables.iter().copied());
        command.stdout(std::process::Stdio::piped());
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        Said::of(&output)
    }

    async fn there(&self, line: &str) -> Said {
        self.from(&format!("{line} --url {}", self.url()), &[]).await
    }

    /// As many messages as that, and all that is due of them settled.
    async fn receives(&self, count: usize, settled: u64) {
        self.stage.receive(count);
        let store = self.stage.store().await;
        loop {
            let counts = store.counts(None).await.unwrap();
            if counts.delivered + counts.dead == settled {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    async fn ends(mut self) {
        self.running.signal("TERM");
        assert_eq!(self.running.ended().await.code(), Some(0), "{}", self.stage.logged());
        let left = std::fs::read_dir(self.elsewhere.path()).unwrap().count();
        assert_eq!(left, 0, "who asks a relay leaves no store behind");
    }
}

impl Said {
    /// Without what passes while one command follows the other.
    fn of(output: &Output) -> Self {
        let passing = Regex::new(
            r#"just now|now it is [^ \n]+|(in )?\d+[smh]( \d+m)?( ago)?|"(now|last_success|last_seen)":"[^"]*"|"(lag_seconds|oldest_due_seconds)":\d+|\d+ ms|"latency_ms":\d+"#,
        );
        let passing = passing.unwrap();
        let aligned = Regex::new(" {2,}").unwrap();
        let text = |bytes: &[u8]| {
            let text = String::from_utf8(bytes.to_owned()).unwrap();
            aligned.replace_all(&passing.replace_all(&text, "⧖"), "  ").into_owned()
        };
        Self { exit: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    }

    fn documents(&self) -> Vec<Value> {
        self.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

#[tokio::test]
async fn text_and_json_are_those_of_the_store() {
    let far = Far::new("").await;
    far.stage.sandbox.http.answers([status(302)]);
    far.receives(2, 4).await;
    let muted = far.here("mute --rule daily --for 2h --reason moving").await;
    assert_eq!(muted.exit, Some(0), "{muted:?}");
    assert_eq!(far.here("targets pause books --reason inventory").await.exit, Some(0));
    let rows = far.stage.store().await.deliveries(Filter::default()).await.unwrap().0;
    let id = |target: &str, state: StateName| {
        let of = |row: &&Row| row.target == target && row.state == state;
        rows.iter().find(of).unwrap_or_else(|| panic!("{target} {state}: {rows:#?}")).id.as_str()
    };
    let (delivered, dead) = (id("crm", StateName::Delivered), id("crm", StateName::Dead));
    let (mail, digest) = (id("books", StateName::Delivered), id("crm", StateName::Pending));
    let mut lines: Vec<String> = [
        "deliveries list",
        "deliveries list --state dead",
        "deliveries list --state delivered,dead --rule all --target crm --since 1h",
        "deliveries list --state expired",
        "deliveries list --limit 2",
        "deliveries replay --state dead --dry-run",
        "targets list",
        "status",
        "mute list",
        "digests list",
    ]
    .map(str::to_owned)
    .into();
    let json: Vec<String> = lines.iter().map(|line| format!("{line} --format json")).collect();
    lines.extend(json);
    for id in [delivered, dead, mail, digest, &dead[..dead.len() - 2]] {
        lines.extend([format!("deliveries show {id}"), format!("deliveries show {id} --format json")]);
    }
    lines.extend([
        "deliveries show d0000".to_owned(),
        "deliveries show d".to_owned(),
        format!("deliveries replay {digest}"),
        format!("deliveries replay {digest} --dry-run"),
        format!("deliveries discard {delivered}"),
        "deliveries list --since yesterday".to_owned(),
        "targets pause nobody".to_owned(),
        "targets test nobody".to_owned(),
        "mute lift 99".to_owned(),
        "mute --rule dialy --for 2h --reason moving".to_owned(),
        "mute --rule all --until 2020-01-01T00:00:00Z --reason moving".to_owned(),
        format!("digests flush {delivered}"),
        "digests cancel d0000".to_owned(),
    ]);
    for line in &lines {
        let (here, there) = (far.here(line).await, far.there(line).await);
        assert_eq!(here, there, "{line}");
        // Of what is in no delivery's state, programs are told nothing.
        let silent = here.out.is_empty() && here.err.is_empty();
        assert_eq!(silent, line == "deliveries list --state expired --format json", "{line}: {here:?}");
    }
    let mute = far.there("mute list").await.out;
    assert!(mute.contains(" CET") || mute.contains(" CEST"), "moments are those of the relay's zone: {mute}");
    far.ends().await;
}

#[tokio::test]
async fn what_is_changed_from_elsewhere_is_changed() {
    let far = Far::new(&format!("--console-token {TOKEN}")).await;
    far.receives(1, 2).await;
    let url = far.url();
    let set = [("RELAY_URL", url.as_str()), ("RELAY_CONSOLE_TOKEN", TOKEN)];
    let does = async |line: &str| {
        let said = far.from(line, &set).await;
        assert_eq!((said.exit, said.err.as_str()), (Some(0), ""), "{line}: {said:?}");
        said
    };
    let store = far.stage.store().await;
    assert!(does("targets pause crm --reason inventory").await.out.contains("crm is paused"));
    let paused = store.target_states().await.unwrap();
    assert_eq!((paused[0].paused, paused[0].reason.as_deref()), (true, Some("inventory")));
    assert_eq!(does("targets resume crm").await.out, "crm is resumed; 1 pending\n");
    assert!(store.target_states().await.unwrap().iter().all(|state| !state.paused));
    assert!(does("targets test crm").await.out.contains("delivered"));
    assert_eq!(does("targets test books --format json").await.out.matches("\"type\":\"email\"").count(), 1);
    let muted = does("mute --rule daily --for 2h --reason moving").await.out;
    assert!(muted.contains("daily is muted until"), "{muted}");
    let mute = store.mutes(Timestamp::UNIX_EPOCH).await.unwrap()[0].clone();
    assert_eq!((mute.rule.as_str(), mute.reason.as_str()), ("daily", "moving"));
    assert!(does(&format!("mute lift {}", mute.id)).await.out.contains("no longer muted"));
    let again = does("deliveries replay --state delivered --target books").await.out;
    assert!(
        again.contains(" replays d") && again.ends_with("1 planned; a running relay sends them at once\n"),
        "{again}"
    );
    let rows = store.deliveries(Filter::default()).await.unwrap().0;
    let replay = rows.iter().find(|row| row.replay_of.is_some()).unwrap();
    let json = does(&format!("deliveries replay {} --format json", rows[0].id)).await;
    assert_eq!(json.documents()[0]["replay_of"], rows[0].id.as_str());
    assert_eq!(replay.target, "books");
    let digest = does("digests list --format json").await.documents()[0]["digests"][0]["id"].clone();
    let digest = digest.as_str().unwrap().to_owned();
    let flushed = does(&format!("digests flush {digest}")).await.out;
    assert_eq!(flushed, "1 closed; a running relay sends them at once\n");
    far.receives(1, 7).await;
    let open = does("digests list --format json").await.documents()[0]["digests"][0]["id"].clone();
    assert_eq!(does(&format!("digests cancel {}", open.as_str().unwrap())).await.out, "1 discarded\n");
    assert_eq!(does("digests list").await.out, "no digest is open\n");
    far.ends().await;
}

#[tokio::test]
async fn lists_longer_than_a_page_are_whole() {
    let far = Far::new("").await;
    let store = far.stage.store().await;
    store.pause_target("crm", true, "inventory").await.unwrap();
    let now = Clock::System.now();
    let planned = |number: usize| Planned {
        id: DeliveryId::derive(now, &[&number.to_string()]),
        account: "main".into(),
        rule: "all".into(),
        target: "crm".into(),
        recipient: None,
        template: "default".into(),
        messages: Vec::new(),
        notice: Some(Notice { subject: format!("no. {number}"), text: String::new() }),
        due_at: now,
        expires_at: None,
        withheld: Some("muted".into()),
        replay_of: None,
        joins: None,
        quota: None,
        good_by: Vec::new(),
    };
    assert_eq!(store.owe((0..2_105).map(planned).collect(), now).await.unwrap(), 2_105);
    for line in
        ["deliveries list --format json", "deliveries list --limit 1500 --format json", "deliveries list"]
    {
        let (here, there) = (far.here(line).await, far.there(line).await);
        assert_eq!(here, there, "{line}");
    }
    assert_eq!(far.there("deliveries list --format json").await.out.lines().count(), 2_105);
    assert!(far.there("deliveries list").await.out.contains("2055 more"));
    let replayed = far.there("deliveries replay --state withheld").await;
    assert!(replayed.out.ends_with("2105 planned; a running relay sends them at once\n"), "{replayed:?}");
    assert_eq!(store.counts(None).await.unwrap().pending, 2_105);
    let discarded = far.there("deliveries discard --state pending").await;
    assert_eq!(discarded.out, "2105 discarded\n");
    far.ends().await;
}

#[tokio::test]
async fn a_relay_behind_a_proxy_is_reached_below_its_path() {
    let far = Far::new("").await;
    far.receives(1, 2).await;
    let upstream = far.address.clone();
    let proxy = somebody(move |head, _| {
        let Some(path) = head.split(' ').nth(1).and_then(|path| path.strip_prefix("/ops/relay/")) else {
            return answer("404 Not Found", "Content-Type: text/html\r\n", "<h1>nothing here</h1>");
        };
        let mut stream = TcpStream::connect(&upstream).unwrap();
        let request = format!("GET /{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    });
    for prefix in ["/ops/relay", "/ops/relay/"] {
        let said = far.from(&format!("deliveries list --url {proxy}{prefix}"), &[]).await;
        assert_eq!(said, far.here("deliveries list").await);
    }
    let astray = far.from(&format!("deliveries list --url {proxy}"), &[]).await;
    assert_eq!(astray.exit, Some(69));
    assert!(astray.err.contains("is not the API of a relay (404 Not Found)"), "{astray:?}");
    far.ends().await;
}

#[tokio::test]
async fn each_trouble_has_its_sentence_its_remedy_and_its_exit_code() {
    let far = Far::new(&format!("--console-token {TOKEN} --console-read-only")).await;
    let url = far.url();
    let fails = async |line: &str, variables: &[(&str, &str)], exit: i32, words: &[&str]| {
        let said = far.from(line, variables).await;
        assert_eq!((said.exit, said.out.as_str()), (Some(exit), ""), "{line}: {said:?}");
        for words in words {
            assert!(said.err.contains(words), "{line}: no {words:?} in {}", said.err);
        }
        assert!(!said.err.contains("sixteen") && said.err.lines().count() == 1, "{}", said.err);
    };
    let asks = |command: &str| format!("{command} --url {url}");
    let token = [("RELAY_CONSOLE_TOKEN", TOKEN)];
    fails(&asks("status"), &[], 69, &["demands a token", "RELAY_CONSOLE_TOKEN"]).await;
    let wrong = [("RELAY_CONSOLE_TOKEN", "another-token-of-sixteen")];
    fails(&asks("status"), &wrong, 69, &["does not take this token", "RELAY_CONSOLE_TOKEN"]).await;
    fails(&asks("targets pause crm"), &token, 69, &["Nothing can be changed", "--console-read-only"]).await;
    fails(&asks("deliveries show d0000"), &token, 1, &["no delivery has the id `d0000`"]).await;
    assert_eq!(far.from(&asks("status"), &token).await.exit, Some(0), "what is read-only can be read");
    let (_nobody, address) = nobody();
    let nobody = format!("status --url http://{address}");
    fails(&nobody, &token, 69, &["no relay answers at", "nothing listens there", "--listen"]).await;
    let moved = |_: &str, _: &[u8]| {
        answer("302 Found", "Location: https://elsewhere.test/sign-in?back=secret\r\n", "")
    };
    let moved = format!("status --url {}", somebody(moved));
    fails(&moved, &token, 69, &["leads on to https://elsewhere.test/sign-in, which is not followed"]).await;
    let page = somebody(|_, _| answer("200 OK", "Content-Type: text/html\r\n", "<h1>Welcome</h1>"));
    fails(&format!("targets list --url {page}"), &[], 69, &["cannot be read", "another version"]).await;
    let old = somebody(|head, _| {
        if head.contains("/api/openapi.json") {
            let known = r#"{"info":{"version":"0.0.9"},"paths":{"/api/v1/status":{"get":{}}}}"#;
            return answer("200 OK", "Content-Type: application/json\r\n", known);
        }
        let problem =
            r#"{"type":"urn:activity-relay:problem:not-found","detail":"/api/openapi.json describes it"}"#;
        answer("404 Not Found", "Content-Type: application/problem+json\r\n", problem)
    });
    fails(
        &format!("digests list --url {old}"),
        &[],
        69,
        &["version 0.0.9", "older than this program", "update it"],
    )
    .await;
    fails(
        "status --url relay.example.com",
        &[],
        2,
        &["--url is no address of a relay", "http://127.0.0.1:8787"],
    )
    .await;
    fails("status --url http://me:secret@127.0.0.1:1", &[], 2, &["user name or password"]).await;
    fails(&asks("status --store sqlite://relay.db"), &[], 2, &["--url and --store exclude each other"]).await;
    far.ends().await;
}

#[tokio::test]
async fn what_stands_on_the_command_line_wins_over_the_environment() {
    let far = Far::new("").await;
    far.receives(1, 2).await;
    let url = far.url();
    let (_nobody, address) = nobody();
    let nowhere = format!("http://{address}");
    let by_url = far
        .from(
            &format!("deliveries list --url {url}"),
            &[("RELAY_URL", &nowhere), ("RELAY_STORE", "sqlite://no.db")],
        )
        .await;
    assert_eq!((by_url.exit, by_url.err.as_str()), (Some(0), ""));
    let by_store = far
        .from(&format!("deliveries list --store {}", far.stage.store_url()), &[("RELAY_URL", &nowhere)])
        .await;
    assert_eq!((by_store.exit, by_store.err.as_str()), (Some(0), ""));
    let none =
        far.from(&format!("deliveries list --store {}", far.stage.store_url()), &[("RELAY_URL", "")]).await;
    assert_eq!(none.exit, Some(0), "an empty variable is none");
    far.ends().await;
}
