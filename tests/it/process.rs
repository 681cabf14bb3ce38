//! The program itself, as a process: how it starts, stops and ends.

use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use activity_relay::daemon::clock::Clock;
use activity_relay::sandbox::incoming::Incoming;
use activity_relay::sandbox::script::{Fault, slow, status};
use activity_relay::sandbox::{Sandbox, Settings};
use tempfile::TempDir;

use crate::world::PATIENCE;

const RULES: &str = r#"
version: 1
accounts:
  - { name: main, token: "${TOKEN}", base_url: "${API}", start_from: beginning, poll_every: 1s }
targets:
  crm: { type: http, url: "${HTTP}", allow_private: true, body: event, concurrency: 8, retry: { first: 1s } }
rules:
  - { name: all, match: {}, deliver: [{ to: crm }] }
"#;
/// How often it is looked whether a process has ended.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A folder for the program to run in, and what it talks to.
pub(crate) struct Stage {
    pub(crate) sandbox: Sandbox,
    pub(crate) folder: TempDir,
}

/// A process that does not outlive its test.
pub(crate) struct Running(Child);

impl Stage {
    pub(crate) async fn new() -> Self {
        let sandbox = Sandbox::start(Settings::default(), Clock::System).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("rules.yaml"), RULES).unwrap();
        Self { sandbox, folder }
    }

    /// The program with these arguments; the log goes into `log.txt`.
    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_activity-relay"));
        let log = std::fs::File::options().create(true).append(true).open(self.log()).unwrap();
        command
            .args(line.split_whitespace())
            .current_dir(self.folder.path())
            .env_clear()
            .envs([
                ("TOKEN", self.sandbox.token()),
                ("API", self.sandbox.url()),
                ("HTTP", self.sandbox.http.url()),
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log);
        command
    }

    pub(crate) fn start(&self, line: &str) -> Running {
        Running(self.command(line).stdout(Stdio::null()).spawn().unwrap())
    }

    /// Runs to the end, beside the sandbox's tasks.
    pub(crate) async fn output(&self, line: &str) -> Output {
        let mut command = self.command(line);
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }

    pub(crate) fn receive(&self, count: usize) {
        for nth in 0..count {
            self.sandbox.business.receive(Incoming::text("Ann", &format!("message {nth}")));
        }
    }

    fn log(&self) -> std::path::PathBuf {
        self.folder.path().join("log.txt")
    }

    pub(crate) fn logged(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap()
    }

    /// Waits until the log says this.
    async fn until_logged(&self, words: &str) {
        let started = Instant::now();
        while !self.logged().contains(words) {
            assert!(started.elapsed() < PATIENCE, "{words:?} is not in {}", self.logged());
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// A free address; somebody else may take it, but hardly does.
    fn address() -> String {
        std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
    }
}

impl Running {
    /// SIGKILL, and gone.
    pub(crate) fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.0.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status;
            }
            assert!(started.elapsed() < PATIENCE, "it does not end");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn exists(folder: &Path, name: &str) -> bool {
    folder.join(name).exists()
}

#[tokio::test]
async fn a_stop_finishes_what_is_under_way_and_exits_0() {
    let stage = Stage::new().await;
    let answer = slow(Duration::from_millis(1_500));
    stage.sandbox.http.fault(Fault { on: String::new(), times: None, answer });
    stage.receive(3);
    let mut running = stage.start("run --listen none");
    stage.sandbox.http.wait_for(3, PATIENCE).await.unwrap();
    running.signal("TERM");
    assert_eq!(running.ended().await.code(), Some(0), "{}", stage.logged());
    let list = stage.output("deliveries list --format json").await;
    let rows = String::from_utf8(list.stdout).unwrap();
    assert_eq!(rows.matches(r#""state":"delivered""#).count(), 3, "{rows}");
    assert!(!rows.contains(r#""maybe_duplicate":true"#), "{rows}");
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once_and_nothing_is_lost() {
    let stage = Stage::new().await;
    stage.sandbox.http.fault(Fault {
        on: String::new(),
        times: Some(1),
        answer: slow(Duration::from_secs(9)),
    });
    stage.receive(1);
    let mut running = stage.start("run --listen none --grace 60s");
    stage.sandbox.http.wait_for(1, PATIENCE).await.unwrap();
    running.signal("TERM");
    stage.until_logged("stopping").await;
    let started = Instant::now();
    running.signal("INT");
    assert!(!running.ended().await.success());
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    let again = stage.output("run --once").await;
    assert_eq!(again.status.code(), Some(0), "{}", stage.logged());
    assert_eq!((stage.sandbox.http.received().len(), stage.sandbox.http.duplicates()), (2, 1));
}

#[tokio::test]
async fn a_second_run_on_the_same_store_is_refused_with_69() {
    let stage = Stage::new().await;
    stage.receive(1);
    let mut running = stage.start("run --listen none");
    stage.sandbox.http.wait_for(1, PATIENCE).await.unwrap();
    let second = stage.output("run --listen none").await;
    assert_eq!(second.status.code(), Some(69));
    assert!(stage.logged().contains("in use by another running relay"), "{}", stage.logged());
    assert_eq!(stage.output("status").await.status.code(), Some(0), "tools work beside it");
    running.signal("INT");
    assert_eq!(running.ended().await.code(), Some(0));
}

#[tokio::test]
async fn one_round_says_how_it_went() {
    let stage = Stage::new().await;
    stage.receive(30);
    assert_eq!(stage.output("run --once").await.status.code(), Some(0), "{}", stage.logged());
    assert_eq!(stage.sandbox.http.received().len(), 30);
    stage.receive(1);
    stage.sandbox.http.answers([status(302)]);
    assert_eq!(stage.output("run --once").await.status.code(), Some(1), "a delivery died");
    stage.sandbox.business.answers([status(500)]);
    assert_eq!(stage.output("run --once").await.status.code(), Some(1), "the poll failed");
    assert_eq!(stage.output("run --once").await.status.code(), Some(0));
}

#[tokio::test]
async fn a_dry_run_writes_and_sends_nothing() {
    let stage = Stage::new().await;
    stage.receive(2);
    let told = stage.output("run --dry-run --format json").await;
    assert_eq!(told.status.code(), Some(0), "{}", stage.logged());
    assert_eq!(String::from_utf8(told.stdout).unwrap().lines().count(), 2);
    assert!(stage.sandbox.http.arrivals().is_empty());
    assert!(!exists(stage.folder.path(), "relay.db"), "no store is left behind");
}

#[tokio::test]
async fn bad_rules_end_it_with_64() {
    let stage = Stage::new().await;
    std::fs::write(stage.folder.path().join("rules.yaml"), RULES.replace("targets:", "tragets:")).unwrap();
    assert_eq!(stage.output("run").await.status.code(), Some(64));
    assert!(stage.logged().contains("targets"), "{}", stage.logged());
    assert!(!exists(stage.folder.path(), "relay.db"));
}

#[tokio::test]
async fn health_is_served_while_it_runs() {
    let stage = Stage::new().await;
    stage.receive(1);
    let address = Stage::address();
    let mut running = stage.start(&format!("run --listen {address}"));
    stage.sandbox.http.wait_for(1, PATIENCE).await.unwrap();
    for (path, words) in [("livez", "ok"), ("readyz", "ok"), ("metrics", "# EOF")] {
        let asked = stage.output(&format!("health --url http://{address}/{path}")).await;
        let said = String::from_utf8(asked.stdout).unwrap();
        assert_eq!(asked.status.code(), Some(0), "{path}: {said}");
        // `health` reads the beginning of an answer only.
        assert!(path == "metrics" || said.contains(words), "{path}: {said}");
    }
    running.signal("TERM");
    assert_eq!(running.ended().await.code(), Some(0));
    let asked = stage.output(&format!("health --url http://{address}/readyz")).await;
    assert_eq!(asked.status.code(), Some(1));
}
