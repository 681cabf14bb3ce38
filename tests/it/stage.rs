//! The program as a process of its own, in a folder of its own, with a sandbox to talk to.

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use activity_relay::daemon::clock::Clock;
use activity_relay::sandbox::incoming::Incoming;
use activity_relay::sandbox::{Sandbox, Settings};
use activity_relay::store::{Mode, Store};
use rusqlite::Connection;
use rustix::process::{Pid, WaitOptions, waitpid};
use tempfile::TempDir;
use tokio::sync::{oneshot, watch};

use crate::world::PATIENCE;

/// Any free port: the process that listens there chooses it.
pub(crate) const ANY: &str = "127.0.0.1:0";
/// One HTTP target.
pub(crate) const RULES: &str = r#"
version: 1
accounts:
  - { name: main, token: "${TOKEN}", base_url: "${API}", start_from: beginning, poll_every: 1s }
targets:
  crm: { type: http, url: "${HTTP}", allow_private: true, body: event, concurrency: 8, retry: { first: 1s } }
rules:
  - { name: all, match: {}, deliver: [{ to: crm }] }
"#;
/// One target of each kind.
pub(crate) const THREE: &str = r#"
version: 1
accounts:
  - { name: main, token: "${TOKEN}", base_url: "${API}", start_from: beginning, poll_every: 1s, lookup: false }
defaults: { retry: { first: 1s, max: 2s } }
targets:
  desk: { type: slack, webhook_url: "${SLACK}", allow_private: true, rate: 500/s, concurrency: 4 }
  books: { type: email, smtp: "${MAIL}", from: relay@example.com, to: [books@example.com], rate: 500/s, concurrency: 4 }
  crm: { type: http, url: "${HTTP}", allow_private: true, body: event, concurrency: 8 }
rules:
  - { name: all, match: {}, deliver: [{ to: desk }, { to: books }, { to: crm }] }
"#;
/// So many deliveries may be under way at once by [`THREE`]: what the targets take, and for the endpoint as much again ahead.
pub(crate) const THREE_IN_FLIGHT: usize = 4 + 4 + 2 * 8;
/// What a message says before its number.
pub(crate) const SAYS: &str = "message no. ";
/// SIGKILL's number.
const KILLED: i32 = 9;

/// A folder for the program to run in, and what it talks to.
pub(crate) struct Stage {
    pub(crate) sandbox: Sandbox,
    pub(crate) folder: TempDir,
    store: String,
    http: String,
    /// What every run has logged so far.
    log: watch::Sender<String>,
    uids: Mutex<Vec<String>>,
}

/// A process that does not outlive its test.
pub(crate) struct Running {
    child: Child,
    /// Told when its log ends, which it does with the process.
    ended: Option<oneshot::Receiver<()>>,
    /// Where its own log begins in that of the stage.
    log_from: usize,
}

impl Stage {
    /// With one HTTP target.
    pub(crate) async fn new() -> Self {
        Self::with(RULES).await
    }

    /// With these rules, and a store in the folder.
    pub(crate) async fn with(rules: &str) -> Self {
        let sandbox = Sandbox::start(Settings::default(), Clock::System).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let store = format!("sqlite://{}", folder.path().join("relay.db").display());
        let (http, log) = (sandbox.http.url().to_owned(), watch::Sender::default());
        let stage = Self { sandbox, folder, store, http, log, uids: Mutex::default() };
        stage.rules(rules);
        stage
    }

    /// The same with its store at this URL.
    pub(crate) fn on(mut self, store: String) -> Self {
        self.store = store;
        self
    }

    /// The same with the HTTP target behind this URL.
    pub(crate) fn http_through(&mut self, url: String) {
        self.http = url;
    }

    /// Other rules from here on.
    pub(crate) fn rules(&self, rules: &str) {
        std::fs::write(self.folder.path().join("rules.yaml"), rules).unwrap();
    }

    /// The program with these arguments.
    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_activity-relay"));
        command.args(line.split_whitespace());
        self.prepare(&mut command);
        command
    }

    /// Whatever runs the program is given its folder, its environment and no terminal.
    pub(crate) fn prepare(&self, command: &mut Command) {
        command
            .current_dir(self.folder.path())
            .env_clear()
            .envs([
                ("TOKEN", self.sandbox.token()),
                ("API", self.sandbox.url()),
                ("SLACK", self.sandbox.slack.url()),
                ("MAIL", self.sandbox.mail.url()),
                ("HTTP", &self.http),
                ("RELAY_STORE", &self.store),
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
    }

    pub(crate) fn start(&self, line: &str) -> Running {
        self.launch(self.command(line))
    }

    /// With failpoints, such as `claimed=kill@2`.
    pub(crate) fn start_armed(&self, line: &str, failpoints: &str) -> Running {
        let mut command = self.command(line);
        command.env("RELAY_FAILPOINTS", failpoints);
        self.launch(command)
    }

    /// Starts a prepared command.
    pub(crate) fn launch(&self, mut command: Command) -> Running {
        let (log, log_from) = (self.log.clone(), self.log.borrow().len());
        Running::start(&mut command, log_from, move |line| {
            log.send_modify(|log| log.extend([line, "\n"]));
        })
    }

    /// Runs to the end, beside the sandbox's tasks.
    pub(crate) async fn output(&self, line: &str) -> Output {
        let mut command = self.command(line);
        command.stdout(Stdio::piped());
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        self.log.send_modify(|log| log.push_str(&String::from_utf8_lossy(&output.stderr)));
        output
    }

    /// The business receives so many messages, each of which says its number.
    pub(crate) fn receive(&self, count: usize) {
        let mut uids = self.uids.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..count {
            let says = format!("{SAYS}{}", uids.len());
            uids.push(self.sandbox.business.receive(Incoming::text("Ann", &says)));
        }
    }

    /// The uids of what was received, by number.
    pub(crate) fn uids(&self) -> Vec<String> {
        self.uids.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The store, as a tool opens it.
    pub(crate) async fn store(&self) -> Store {
        Store::open(&self.store, Mode::Tool).await.unwrap()
    }

    /// Where the store lies.
    pub(crate) fn store_url(&self) -> &str {
        &self.store
    }

    /// Where the store is a file: which.
    pub(crate) fn file(&self) -> Option<PathBuf> {
        self.store.strip_prefix("sqlite://").map(PathBuf::from)
    }

    /// The database, where it is a file.
    pub(crate) fn database(&self) -> Connection {
        Connection::open(self.file().expect("a file")).unwrap()
    }

    /// Stops the process, at a moment when it is not writing: its locks would stop others as well.
    pub(crate) async fn stand_still(&self, running: &Running) {
        let database = self.database();
        database.busy_timeout(Duration::ZERO).unwrap();
        loop {
            running.signal("STOP");
            running.stopped().await;
            if database.execute_batch("BEGIN IMMEDIATE; ROLLBACK").is_ok() {
                return;
            }
            running.signal("CONT");
        }
    }

    /// Time passes for what is being sent: its leases have run out.
    pub(crate) fn outlast_leases(&self) {
        let outlast = "UPDATE deliveries SET due_at = due_at - 3600000 WHERE state = 'sending'";
        let changed = self.database().execute(outlast, []).unwrap();
        assert!(changed > 0, "something is under way");
    }

    pub(crate) fn logged(&self) -> String {
        self.log.borrow().clone()
    }

    /// Waits until this process logs these words.
    pub(crate) async fn until_logged(&self, by: &Running, words: &str) {
        self.until_logged_in(PATIENCE, by, words).await;
    }

    /// The same, where it takes its time.
    pub(crate) async fn until_logged_in(&self, patience: Duration, by: &Running, words: &str) {
        let mut log = self.log.subscribe();
        let said = log.wait_for(|log| log[by.log_from..].contains(words));
        let said = tokio::time::timeout(patience, said).await.is_ok();
        assert!(said, "{words:?} is not in {}", self.logged());
    }

    /// Where a process started with `--listen` [`ANY`] serves its console, from the moment that it does.
    pub(crate) async fn address_of(&self, running: &Running) -> String {
        self.until_logged(running, "console, health and metrics are served").await;
        let log = self.logged();
        let (_, told) = log[running.log_from..].split_once("listening=").expect("the line says where");
        told.split_whitespace().next().unwrap().to_owned()
    }

    /// Exit code and words of `health`, asked again where an answer takes longer than it waits for one.
    pub(crate) async fn health(&self, url: &str) -> (i32, String) {
        let answered = async {
            loop {
                let asked = self.output(&format!("health --url {url}")).await;
                let said = String::from_utf8(asked.stdout).unwrap();
                if !said.contains("gave no answer within") {
                    return (asked.status.code().unwrap(), said);
                }
            }
        };
        tokio::time::timeout(PATIENCE, answered).await.expect("it is never answered in time")
    }
}

impl Running {
    /// A command whose log is of no interest.
    pub(crate) fn quietly(command: &mut Command) -> Self {
        Self::start(command, 0, |_| {})
    }

    fn start(command: &mut Command, log_from: usize, mut logs: impl FnMut(&str) + Send + 'static) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (end, ended) = oneshot::channel();
        thread::spawn(move || {
            lines.map_while(Result::ok).for_each(|line| logs(&line));
            // Its test may be over.
            let _ = end.send(());
        });
        Self { child, ended: Some(ended), log_from }
    }

    /// SIGKILL, and gone.
    pub(crate) async fn kill(mut self) {
        self.child.kill().unwrap();
        self.killed().await;
    }

    pub(crate) fn id(&self) -> String {
        self.child.id().to_string()
    }

    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.id()]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits until it stands still, as SIGSTOP makes it.
    pub(crate) async fn stopped(&self) {
        let pid = Pid::from_child(&self.child);
        let waiting = tokio::task::spawn_blocking(move || waitpid(Some(pid), WaitOptions::UNTRACED).unwrap());
        let (_, status) =
            tokio::time::timeout(PATIENCE, waiting).await.expect("it goes on").unwrap().unwrap();
        assert!(status.stopped(), "it ended");
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        if let Some(ended) = self.ended.take() {
            tokio::time::timeout(PATIENCE, ended).await.expect("it does not end").unwrap();
        }
        self.child.wait().unwrap()
    }

    /// Tells it to stop, which it does as it should.
    pub(crate) async fn ends(mut self) {
        self.signal("TERM");
        assert_eq!(self.ended().await.code(), Some(0));
    }

    /// Waits until it has been killed, by itself or by somebody else.
    pub(crate) async fn killed(mut self) {
        assert_eq!(self.ended().await.signal(), Some(KILLED), "it ended in another way");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
