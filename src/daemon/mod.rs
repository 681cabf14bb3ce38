//! The running relay: polls, plans, claims, delivers, settles, until it is told to stop.

pub mod alarm;
mod arrivals;
mod backlog;
pub mod clock;
mod closing;
pub mod courier;
pub mod door;
pub mod driver;
mod empties;
pub mod events;
mod facts;
mod gates;
pub mod gauges;
pub mod hand;
mod intake;
pub mod janitor;
mod lanes;
pub mod lifecycle;
mod memory;
pub mod metrics;
pub mod names;
pub mod past;
pub mod poller;
pub mod posts;
pub mod rehearsal;
pub mod reload;
mod resolving;
pub mod roles;
mod scribe;
pub mod share;
pub mod sweeps;
pub mod systemd;
mod telling;
pub mod traces;
mod unseen;
pub mod view;
mod waits;
pub mod watch;
pub mod watching;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::sync::watch::{Receiver, Sender};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::daemon::roles::FORGOTTEN_AFTER;
use crate::daemon::share::is_there;
use crate::model::delivery::Planned;
use crate::model::settle::after_now;
use crate::rules::notice::{Addressee, Trouble, notices};
use crate::store::{Instance, Store, StoreError};

use clock::{Chance, Clock};
use courier::{Courier, Parts};
use door::Door;
use metrics::{Metrics, OfAccount};
use names::NameBooks;
use posts::{Around, Posts};
use roles::Roles;
use traces::Traces;

/// A relay, put together: everything that `run`, `demo` and the tests drive.
#[derive(Debug)]
pub struct Relay {
    /// The durable memory.
    pub store: Store,
    /// Time.
    pub clock: Clock,
    /// Chance.
    pub chance: Chance,
    /// When this instance was put together.
    pub started: Timestamp,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// What happened to each message, for those who ask for it.
    pub traces: Traces,
    /// The names of people, by account.
    pub names: Arc<NameBooks>,
    /// The sending half.
    pub courier: Courier,
    /// The receiving half, one post for each account.
    pub posts: Posts,
    /// What this instance does of that which only one may do.
    pub roles: Roles,
    /// Cancelled when nothing new is to be started.
    pub stop: CancellationToken,
    /// Poked when something new is owed.
    pub owed: Arc<Notify>,
    config: Sender<Arc<Config>>,
    /// Since when the store cannot be written, and what it said.
    store_trouble: Mutex<Option<(Timestamp, String)>>,
}

/// What a relay is put together from.
#[derive(Debug)]
pub struct Setup {
    /// The checked configuration.
    pub config: Config,
    /// The open store.
    pub store: Store,
    /// Time.
    pub clock: Clock,
    /// Chance.
    pub chance: Chance,
    /// Where traces are sent, if anybody asks for them.
    pub traces: Option<traces::settings::Settings>,
    /// Ask the API at its own pace; tests in simulated time do not.
    pub paced: bool,
    /// Write and send nothing: polls only say what they would admit.
    pub dry_run: bool,
}

/// A store that could not be written for a shorter time is nobody's business.
const STORE_TROUBLE_MIN: Duration = Duration::from_secs(10);

impl Relay {
    /// Puts a relay together; nothing runs yet.
    pub fn new(setup: Setup) -> Self {
        let Setup { config, store, clock, chance, traces, paced, dry_run } = setup;
        let (metrics, stop) = (Arc::new(Metrics::new(store.commit_seconds())), CancellationToken::new());
        let (names, traces) = (Arc::new(NameBooks::default()), Traces::new(traces, &clock, &metrics));
        let around = Around {
            store: store.clone(),
            clock: clock.clone(),
            names: names.clone(),
            traces: traces.clone(),
        };
        let posts = Posts::new(around, stop.clone(), (paced, dry_run));
        posts.follow(&config);
        let parts = Parts {
            store: store.clone(),
            clock: clock.clone(),
            chance,
            metrics: metrics.clone(),
            names: names.clone(),
            traces: traces.clone(),
            door: Door::Targets,
            stop: stop.clone(),
        };
        let (courier, owed) = (Courier::new(parts), Arc::new(Notify::new()));
        let (config, roles) = (Sender::new(Arc::new(config)), Roles::new(store.clone(), metrics.clone()));
        metrics.reload_successful.set(1);
        let started = clock.now();
        metrics.reload_success.set(started.as_second());
        let relay = Self {
            store,
            clock,
            chance,
            started,
            metrics,
            traces,
            names,
            courier,
            posts,
            roles,
            stop,
            owed,
            config,
            store_trouble: Mutex::default(),
        };
        relay.measure_config();
        relay
    }

    /// The configuration in force.
    pub fn config(&self) -> Arc<Config> {
        self.config.borrow().clone()
    }

    /// The configuration in force, from now on.
    pub fn configs(&self) -> Receiver<Arc<Config>> {
        self.config.subscribe()
    }

    /// Puts another configuration in force. What is under way ends as it began; whatever begins afterwards follows the
    /// new one. Returns the accounts that are polled no longer.
    pub fn replace(&self, config: Config) -> Vec<String> {
        let config = Arc::new(config);
        let gone = self.posts.follow(&config);
        for account in gone.iter().cloned() {
            self.metrics.poll_success.remove(&OfAccount { account });
        }
        self.courier.follow(config.clone());
        self.config.send_replace(config);
        self.measure_config();
        self.owed.notify_one();
        gone
    }

    /// Tells the people named under `alerts:` of something about the relay itself.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn alert(&self, trouble: &Trouble<'_>) -> Result<(), StoreError> {
        let now = self.clock.now();
        if self.store.owe(self.notices(trouble, now), now).await? > 0 {
            self.owed.notify_one();
        }
        Ok(())
    }

    /// The same for a trouble that has an end: that it `lasts` and that it is over are told once each, the end only to
    /// those who heard of the beginning, whatever restarts lie between. `key` names the trouble.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn alert_once(&self, key: &str, lasts: bool, trouble: &Trouble<'_>) -> Result<(), StoreError> {
        let now = self.clock.now();
        if self.store.tell(key, lasts, self.notices(trouble, now), now).await? {
            self.owed.notify_one();
        }
        Ok(())
    }

    fn notices(&self, trouble: &Trouble<'_>, now: Timestamp) -> Vec<Planned> {
        let config = self.config();
        let target = config.alerts.as_ref().and_then(|name| config.targets.get(name));
        let to = target.map(|target| Addressee { target: &target.name, recipients: target.recipients() });
        notices(trouble, to.as_slice(), now)
    }

    /// The store could not be written; people hear of it once it can be.
    pub(crate) fn store_failed(&self, error: &StoreError) {
        if matches!(error, StoreError::Trouble(_) | StoreError::Unavailable(_)) {
            let mut since = self.store_trouble.lock().unwrap_or_else(PoisonError::into_inner);
            since.get_or_insert_with(|| (self.clock.now(), error.to_string()));
        }
    }

    /// Whoever starts may have found a store that others cannot reach yet: they are given the moment that they have after any other
    /// trouble of it.
    fn make_way(&self) {
        self.store.came_back(self.clock.now());
    }

    /// The same by a round, which may be over before that moment is: it gives it to those only that were there a short while ago, so
    /// that what a killed one left is sent though nobody comes but rounds.
    async fn make_way_for_missed(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        let is_missed =
            |other: &Instance| !is_there(other, now) && now.duration_since(other.seen_at) < FORGOTTEN_AFTER;
        if self.store.instances().await?.iter().any(is_missed) {
            self.make_way();
        }
        Ok(())
    }

    /// Looks whether a store that failed can be written again, and tells of it.
    pub async fn look_after_store(&self) {
        let trouble = || self.store_trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((from, reason)) = trouble().clone() else { return };
        if self.store.ping().await.is_err() {
            return;
        }
        let to = self.clock.now();
        self.store.came_back(to);
        let told = if to >= after_now(from, STORE_TROUBLE_MIN) {
            let trouble = Trouble::StoreRecovered { from, to, reason: &reason };
            self.store.tell_afterwards("store", from, self.notices(&trouble, to), to).await
        } else {
            Ok(false)
        };
        if matches!(told, Ok(true)) {
            self.owed.notify_one();
        }
        if told.is_ok() {
            tracing::info!(%from, %to, "the store can be written again");
            *trouble() = None;
        }
    }
}
