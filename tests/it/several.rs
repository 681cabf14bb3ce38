//! Several relays on one PostgreSQL database, each with a clock of its own that moves when told to.

use std::sync::Arc;
use std::time::Duration;

use activity_relay::config;
use activity_relay::config::secret::Environment;
use activity_relay::daemon::clock::{Chance, Clock};
use activity_relay::daemon::poller::{Tick, polling_role};
use activity_relay::daemon::{Relay, Setup, driver};
use activity_relay::sandbox::incoming::Incoming;
use activity_relay::sandbox::{Sandbox, Settings};
use activity_relay::store::{Filter, Mode, Row, Store};
use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;

use crate::postgres::fresh_url;
use crate::source_api::install_crypto;
use crate::world::PATIENCE;

/// One account; a test adds `targets:` and `rules:`.
pub(crate) const ONE_ACCOUNT: &str = "
version: 1
accounts:
  - { name: main, token: \"${TOKEN}\", base_url: \"${API}\", start_from: beginning, poll_every: 5s, lookup: false }
";
/// What a message says before its number.
const SAYS: &str = "message no. ";

/// A world with several relays in it.
pub(crate) struct Several {
    pub(crate) sandbox: Sandbox,
    /// The sandbox's clock, which is right.
    pub(crate) clock: Clock,
    pub(crate) members: Vec<Member>,
    folder: TempDir,
    url: String,
    received: std::cell::Cell<usize>,
}

/// One relay with its clock.
pub(crate) struct Member {
    pub(crate) relay: Arc<Relay>,
    pub(crate) clock: Clock,
}

impl Several {
    /// As many relays as there are offsets, each with a clock that is so many seconds ahead; `None` where PostgreSQL
    /// is not installed.
    pub(crate) async fn new(rules: &str, offsets: &[i64]) -> Option<Self> {
        let url = fresh_url().await?;
        install_crypto();
        let clock = Clock::manual("2026-03-10T09:00:00Z".parse().unwrap());
        let sandbox = Sandbox::start(Settings::default(), clock.clone()).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("rules.yaml"), rules).unwrap();
        let mut several = Self { sandbox, clock, members: Vec::new(), folder, url, received: 0.into() };
        for offset in offsets {
            several.join(*offset).await;
        }
        Some(several)
    }

    /// One more relay.
    pub(crate) async fn join(&mut self, seconds_ahead: i64) {
        let environment = Environment::of([
            ("TOKEN", self.sandbox.token()),
            ("API", self.sandbox.url()),
            ("SLACK", self.sandbox.slack.url()),
            ("HTTP", self.sandbox.http.url()),
        ]);
        let loaded = config::load(&self.folder.path().join("rules.yaml"), &environment);
        let config = loaded.config.unwrap_or_else(|| panic!("{:#?}", loaded.problems));
        let clock = Clock::manual(self.now() + SignedDuration::from_secs(seconds_ahead));
        let store = Store::open(&self.url, Mode::Daemon).await.unwrap();
        let chance = Chance::seeded(1);
        let setup =
            Setup { config, store, clock: clock.clone(), chance, traces: None, paced: false, dry_run: false };
        self.members.push(Member { relay: Arc::new(Relay::new(setup)), clock });
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn store(&self) -> &Store {
        &self.members[0].relay.store
    }

    /// Time passes for everybody.
    pub(crate) fn pass(&self, time: Duration) {
        self.clock.advance(time);
        self.members.iter().for_each(|member| member.clock.advance(time));
    }

    /// A client writes; the message says its number.
    pub(crate) fn receive(&self) {
        let number = self.received.replace(self.received.get() + 1);
        self.sandbox.business.receive(Incoming::text("Ann", &format!("{SAYS}{number}")));
    }

    /// Everybody says that it is there, one after the other.
    pub(crate) async fn beat(&self) {
        for member in &self.members {
            member.beat().await;
        }
    }

    /// Everybody sends what may be sent, at the same time.
    pub(crate) async fn send(&self) -> usize {
        let sent = futures_util::future::join_all(self.members.iter().map(Member::send)).await;
        sent.into_iter().sum()
    }

    /// The roles that a member holds as the store knows it.
    pub(crate) async fn held_by(&self, member: &Member) -> Vec<String> {
        let holds = self.store().holds().await.unwrap();
        let of = holds.into_iter().filter(|hold| hold.instance == member.relay.store.instance());
        of.map(|hold| hold.role).collect()
    }

    /// All deliveries, oldest first.
    pub(crate) async fn rows(&self) -> Vec<Row> {
        self.store().deliveries(Filter::default()).await.unwrap().0
    }

    /// The numbers of the messages that Slack took, in the order in which they came, and when.
    pub(crate) fn posts(&self) -> Vec<(usize, Timestamp)> {
        let number = |body: &str| -> usize {
            let said = body.split_once(SAYS).unwrap_or_else(|| panic!("no number in {body}")).1;
            let digits: String = said.chars().take_while(char::is_ascii_digit).collect();
            digits.parse().unwrap()
        };
        self.sandbox.slack.received().iter().map(|arrival| (number(&arrival.body), arrival.at)).collect()
    }
}

impl Member {
    pub(crate) async fn beat(&self) {
        self.relay.roles.tick(&self.relay.config(), self.clock.now()).await.unwrap();
    }

    pub(crate) fn holds(&self, account: &str) -> bool {
        self.relay.roles.holds(&polling_role(account), self.clock.now())
    }

    /// Polls the first account if it is this one's to poll.
    pub(crate) async fn poll(&self) -> Option<Tick> {
        if !self.holds("main") {
            return None;
        }
        Some(driver::poll_handing(&self.relay, &self.relay.posts.all()[0]).await)
    }

    /// Starts what may be started, and waits until nothing is under way here; how much was started.
    pub(crate) async fn send(&self) -> usize {
        let ticked = self.relay.courier.tick(&self.relay.config(), self.clock.now()).await.unwrap();
        tokio::time::timeout(PATIENCE, self.relay.courier.idle()).await.unwrap();
        ticked.started
    }

    /// How many attempts it has made.
    pub(crate) fn attempts(&self) -> u64 {
        let text = self.relay.metrics.render();
        let counts = text.lines().filter(|line| line.starts_with("activity_relay_attempts_total{"));
        counts.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    }
}
