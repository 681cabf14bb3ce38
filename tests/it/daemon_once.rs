//! One round of the relay, as `run --once` makes it: nothing that is due may be left behind.

use activity_relay::config;
use activity_relay::config::secret::Environment;
use activity_relay::daemon::clock::{Chance, Clock};
use activity_relay::daemon::{Relay, Setup, driver};
use activity_relay::sandbox::incoming::Incoming;
use activity_relay::sandbox::{Sandbox, Settings};
use activity_relay::store::{Mode, Store};

use crate::source_api::install_crypto;
use crate::world::PATIENCE;

const MESSAGES: usize = 150;
const RULES: &str = r#"
version: 1
accounts:
  - { name: main, token: "${TOKEN}", base_url: "${API}", start_from: beginning, lookup: false }
targets:
  in-turn: { type: http, url: "${HTTP}", allow_private: true, concurrency: 1 }
  paced: { type: slack, webhook_url: "${SLACK}", allow_private: true, rate: 1000/s, burst: 1 }
rules:
  - { name: everything, match: {}, deliver: [{ to: in-turn }, { to: paced }] }
"#;

/// Attempts end while the round looks for more to do, so this needs threads of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_round_ends_only_when_nothing_due_is_left() {
    install_crypto();
    let sandbox = Sandbox::start(Settings::default(), Clock::System).await.unwrap();
    for _ in 0..MESSAGES {
        sandbox.business.receive(Incoming::text("Ann", "Are you open today?"));
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rules.yaml");
    std::fs::write(&path, RULES).unwrap();
    let environment = Environment::of([
        ("TOKEN", sandbox.token()),
        ("API", sandbox.url()),
        ("SLACK", sandbox.slack.url()),
        ("HTTP", sandbox.http.url()),
    ]);
    let loaded = config::load(&path, &environment);
    assert!(loaded.config.is_some(), "{:?}", loaded.problems);
    let store = Store::open("sqlite::memory:", Mode::Daemon).await.unwrap();
    let relay = Relay::new(Setup {
        config: loaded.config.unwrap(),
        store,
        clock: Clock::System,
        chance: Chance::system(),
        traces: None,
        paced: false,
        dry_run: false,
    });
    let round = driver::once(&relay, PATIENCE).await.unwrap();
    assert!(round.failed.is_empty() && round.messages == MESSAGES, "{round:?}");
    let counts = relay.store.counts(None).await.unwrap();
    assert_eq!((counts.pending, counts.sending, counts.delivered), (0, 0, 2 * MESSAGES as u64));
    assert_eq!((sandbox.http.received().len(), sandbox.slack.received().len()), (MESSAGES, MESSAGES));
    sandbox.stop().await;
}
