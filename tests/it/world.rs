//! A whole relay in a test's hands: fake business, inboxes, a store in a folder of its own, and time that moves when told to.

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use activity_relay::config::secret::Environment;
use activity_relay::config::{self, Config};
use activity_relay::daemon::clock::{Chance, Clock};
use activity_relay::daemon::poller::Tick;
use activity_relay::daemon::reload::{Cause, Origin, Reload, Reloader};
use activity_relay::daemon::systemd::Systemd;
use activity_relay::daemon::{Relay, Setup, driver, traces};
use activity_relay::sandbox::behaviour::Behaviour;
use activity_relay::sandbox::incoming::Incoming;
use activity_relay::sandbox::{Sandbox, Settings};
use activity_relay::store::{Filter, Mode, Row, Store, Taken};
use activity_relay::web;
use jiff::SignedDuration;
use tempfile::TempDir;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::source_api::install_crypto;

/// What every rules file of these tests begins with; a test adds `targets:` and `rules:`.
const HEAD: &str = "
version: 1
accounts:
  - { name: main, token: \"${TOKEN}\", base_url: \"${API}\", start_from: beginning, poll_every: 30s }
";
/// The bound of every wait for something that must happen.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// What a test changes in a configuration that the rules file cannot say: authorities and name servers of its own.
type Adjust = Arc<dyn Fn(&mut Config) + Send + Sync>;

/// See the module.
pub(crate) struct World {
    pub(crate) sandbox: Sandbox,
    pub(crate) clock: Clock,
    pub(crate) folder: TempDir,
    relay: Option<Arc<Relay>>,
    rules: String,
    adjust: Option<Adjust>,
    seed: u64,
    /// OpenTelemetry's variables.
    telemetry: Environment,
}

impl World {
    /// A world where the business behaves as documented. `rules` holds `targets:` and `rules:`, and whatever else it
    /// likes; `${SLACK}`, `${HTTP}` and `${MAIL}` are the inboxes.
    pub(crate) async fn new(rules: &str) -> Self {
        Self::with(Behaviour::default(), 1, rules).await
    }

    /// A world with one template beside the rules: its part's name, such as `greeting/text.hbs`, and text.
    pub(crate) async fn with_template(rules: &str, template: (&str, &str)) -> Self {
        Self::build(Behaviour::default(), 1, rules, Some(template), None).await
    }

    /// A world where the business behaves in this way, with one template beside the rules.
    pub(crate) async fn shaped(behaviour: Behaviour, rules: &str, template: (&str, &str)) -> Self {
        Self::build(behaviour, 1, rules, Some(template), None).await
    }

    /// A world whose configuration is changed in this way whenever it is loaded.
    pub(crate) async fn adjusted(rules: &str, adjust: impl Fn(&mut Config) + Send + Sync + 'static) -> Self {
        Self::build(Behaviour::default(), 1, rules, None, Some(Arc::new(adjust))).await
    }

    /// A world where the business behaves in this way, and chance is drawn from this seed.
    pub(crate) async fn with(behaviour: Behaviour, seed: u64, rules: &str) -> Self {
        Self::build(behaviour, seed, rules, None, None).await
    }

    async fn build(
        behaviour: Behaviour,
        seed: u64,
        rules: &str,
        template: Option<(&str, &str)>,
        adjust: Option<Adjust>,
    ) -> Self {
        install_crypto();
        let clock = Clock::manual("2026-03-10T09:00:00Z".parse().unwrap());
        let settings = Settings { behaviour, seed, ..Settings::default() };
        let sandbox = Sandbox::start(settings, clock.clone()).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        if let Some((name, text)) = template {
            let path = folder.path().join("templates").join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let rules = whole(rules);
        let mut world = Self {
            sandbox,
            clock,
            folder,
            relay: None,
            rules,
            adjust,
            seed,
            telemetry: Environment::default(),
        };
        world.open().await;
        world
    }

    /// The relay as it stands.
    pub(crate) fn relay(&self) -> &Relay {
        self.relay.as_ref().unwrap()
    }

    pub(crate) fn store(&self) -> &Store {
        &self.relay().store
    }

    /// A client writes; the message's uid.
    pub(crate) fn receives(&self, client: &str, says: &str) -> String {
        self.sandbox.business.receive(Incoming::text(client, says))
    }

    /// One poll of the account, which must go through.
    pub(crate) async fn poll(&self) -> Taken {
        self.try_poll().await.result.unwrap()
    }

    /// One poll of the account.
    pub(crate) async fn try_poll(&self) -> Tick {
        driver::poll(self.relay(), &self.relay().posts.all()[0]).await
    }

    /// Sends whatever may be sent at this moment, until nothing is under way.
    pub(crate) async fn send(&self) {
        let courier = &self.relay().courier;
        let mut ended = courier.ended();
        loop {
            // Looked at before the tick: what ends meanwhile may have been all that stood in its way.
            let busy = courier.in_flight() > 0;
            let started = courier.tick(&self.relay().config(), self.clock.now()).await.unwrap().started;
            match (started, busy) {
                (0, false) => return,
                (0, true) => _ = ended.changed().await,
                _ => {}
            }
        }
    }

    /// One poll, and what follows from it.
    pub(crate) async fn tick(&self) {
        self.poll().await;
        self.send().await;
    }

    /// Time passes, then the relay ticks.
    pub(crate) async fn pass(&self, time: &str) {
        self.clock.advance(time.parse::<SignedDuration>().unwrap().try_into().unwrap());
        self.tick().await;
    }

    /// This machine's clock is set, forwards or back; the business's goes on as before.
    pub(crate) fn jump(&self, by: SignedDuration) {
        let truth = self.sandbox.business.now();
        let Clock::Manual(at) = &self.clock else { panic!("a clock that can be set") };
        let mut now = at.lock().unwrap();
        *now = now.checked_add(by).unwrap();
        drop(now);
        self.sandbox.business.set_clock(truth);
    }

    /// The same relay, with these variables of OpenTelemetry from here on.
    pub(crate) async fn telemetry<const N: usize>(&mut self, variables: [(&str, &str); N]) {
        self.telemetry = Environment::of(variables);
        self.reopen().await;
    }

    /// The relay is gone between two steps, as after a crash, and another one takes its store over.
    pub(crate) async fn reopen(&mut self) {
        self.relay = None;
        self.open().await;
    }

    /// The running relay is given another rules file, as by SIGHUP.
    pub(crate) async fn reload_with(&mut self, rules: &str) -> Reload {
        self.rules = whole(rules);
        std::fs::write(self.origin().path, &self.rules).unwrap();
        self.reload().await
    }

    /// The running relay reads its files again.
    pub(crate) async fn reload(&self) -> Reload {
        let relay = self.relay.clone().unwrap();
        Reloader::new(relay, self.origin(), Systemd::default()).reload(Cause::Signal).await
    }

    /// The console of the relay as it stands, on this address until the test ends.
    pub(crate) async fn console(&self) -> String {
        let listener = web::listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let relay = self.relay.clone().unwrap();
        let reloader = Reloader::new(relay.clone(), self.origin(), Systemd::default());
        let (settings, closing) = (web::Settings::default(), CancellationToken::new());
        Handle::current()
            .spawn(async move { web::serve(listener, relay, reloader, settings, closing).await });
        address
    }

    fn origin(&self) -> Origin {
        let environment = Environment::of([
            ("TOKEN", self.sandbox.token()),
            ("API", self.sandbox.url()),
            ("SLACK", self.sandbox.slack.url()),
            ("HTTP", self.sandbox.http.url()),
            ("MAIL", self.sandbox.mail.url()),
        ]);
        Origin { path: self.folder.path().join("rules.yaml"), environment }
    }

    async fn open(&mut self) {
        let Origin { path, environment } = self.origin();
        std::fs::write(&path, &self.rules).unwrap();
        let loaded = config::load(&path, &environment);
        let mut config = loaded.config.unwrap_or_else(|| panic!("{:#?}", loaded.problems));
        if let Some(adjust) = &self.adjust {
            adjust(&mut config);
        }
        let (store, clock) = (self.take_store().await, self.clock.clone());
        let chance = Chance::seeded(self.seed);
        let traces = traces::settings::Settings::of(&self.telemetry, None, store.instance()).unwrap();
        let setup = Setup { config, store, clock, chance, traces, paced: false, dry_run: false };
        self.relay = Some(Arc::new(Relay::new(setup)));
    }

    /// Lookups in the background may hold the old relay's store, and with it its lock, a moment longer.
    async fn take_store(&self) -> Store {
        let path = self.folder.path().join("relay.db");
        let lock = File::options().create(true).append(true).open(path.with_extension("db.lock")).unwrap();
        let (free, freed) = oneshot::channel();
        std::thread::spawn(move || {
            lock.lock().unwrap();
            drop(lock);
            // Its test may be over.
            let _ = free.send(());
        });
        tokio::time::timeout(PATIENCE, freed).await.expect("the store is given back").unwrap();
        Store::open(&format!("sqlite://{}", path.display()), Mode::Daemon).await.unwrap()
    }

    /// What chance is drawn from.
    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    /// All deliveries, oldest first.
    pub(crate) async fn rows(&self) -> Vec<Row> {
        self.store().deliveries(Filter::default()).await.unwrap().0
    }

    /// The outbox as text, a line for each delivery.
    pub(crate) async fn owed(&self) -> String {
        let now = self.clock.now();
        let lines: Vec<String> = self.rows().await.iter().map(|row| line(row, now)).collect();
        lines.join("\n")
    }
}

/// A rules file's text with the usual beginning, unless it has its own.
fn whole(rules: &str) -> String {
    let head = if rules.contains("accounts:") { "" } else { HEAD };
    format!("{head}{rules}")
}

fn line(row: &Row, now: jiff::Timestamp) -> String {
    let recipient = row.recipient.as_ref().map(|who| format!(" ({who})")).unwrap_or_default();
    let mut parts = vec![format!("{} → {}{recipient}", row.rule, row.target), row.state.to_string()];
    parts.extend(row.due_at.map(|due_at| format!("due {:+}s", due_at.duration_since(now).as_secs())));
    parts.push(format!("attempts {}", row.attempts));
    parts.extend(row.last.as_ref().map(|last| match last.status {
        Some(status) => format!("{} {status}", last.outcome),
        None => last.outcome.clone(),
    }));
    parts.extend(row.maybe_duplicate.then(|| "maybe twice".to_owned()));
    parts.extend(row.notice.as_ref().map(|notice| format!("“{}”", notice.subject)));
    parts.join("  ")
}

/// A number out of the environment, by which a test is made longer than it is by default.
pub(crate) fn setting(name: &str, otherwise: usize) -> usize {
    Environment::of_process().get(name).map_or(otherwise, |text| text.parse().unwrap())
}

/// Prints a long test's figures.
#[expect(clippy::disallowed_macros, reason = "a test has no other output than the harness's")]
pub(crate) fn say(figures: &str) {
    println!("{figures}");
}
