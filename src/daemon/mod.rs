//! The running relay: polls, plans, claims, delivers, settles, until it is told to stop.

mod backlog;
pub mod clock;
pub mod courier;
pub mod driver;
pub mod janitor;
mod lanes;
pub mod lifecycle;
pub mod metrics;
pub mod names;
pub mod poller;
mod scribe;
pub mod sweeps;
mod telling;
pub mod view;
mod waits;
pub mod watch;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::egress::Egress;
use crate::egress::policy::Policy;
use crate::rules::notice::{Addressee, Trouble, notices};
use crate::source::api::Api;
use crate::source::lookup::Lookup;
use crate::source::pace::Pace;
use crate::store::{Store, StoreError};

use clock::{Chance, Clock};
use courier::{Courier, Parts};
use metrics::Metrics;
use names::NameBook;
use poller::Poller;

/// A relay, put together: everything that `run`, `demo` and the tests drive.
#[derive(Debug)]
pub struct Relay {
    /// The durable memory.
    pub store: Store,
    /// Time.
    pub clock: Clock,
    /// Chance.
    pub chance: Chance,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// The sending half.
    pub courier: Courier,
    /// The receiving half, one for each account, in file order.
    pub pollers: Vec<tokio::sync::Mutex<Poller>>,
    /// Cancelled when nothing new is to be started.
    pub stop: CancellationToken,
    /// Poked when something new is owed.
    pub owed: Arc<Notify>,
    config: RwLock<Arc<Config>>,
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
    /// Ask the API at its own pace; tests in simulated time do not.
    pub paced: bool,
    /// Write and send nothing: polls only say what they would admit.
    pub dry_run: bool,
}

/// Requests a second for one token.
const REQUESTS_PER_SECOND: f64 = 2.0;

impl Relay {
    /// Puts a relay together; nothing runs yet.
    pub fn new(setup: Setup) -> Self {
        let Setup { config, store, clock, chance, paced, dry_run } = setup;
        let (metrics, stop) = (Arc::new(Metrics::new()), CancellationToken::new());
        // Where the API is, the rules file says, not a message.
        let egress = Egress::new(Policy::Any);
        let (mut books, mut pollers) = (HashMap::new(), Vec::new());
        for account in &config.accounts {
            let pace = |pace| if paced { pace } else { Pace::unlimited() };
            let lookup = Lookup::new(account, &egress, pace(Lookup::pace()));
            let book = NameBook::new(account, Some(lookup), store.clone(), clock.clone(), TaskTracker::new());
            let api = Api::new(account, &egress, pace(Pace::per_second(REQUESTS_PER_SECOND)));
            let poller = Poller::new(account.clone(), api, book.clone(), store.clone(), dry_run);
            pollers.push(tokio::sync::Mutex::new(poller));
            books.insert(account.name.clone(), book);
        }
        let parts = Parts {
            store: store.clone(),
            clock: clock.clone(),
            chance: chance.clone(),
            metrics: metrics.clone(),
            names: Arc::new(books),
            stop: stop.clone(),
        };
        let (courier, owed) = (Courier::new(parts), Arc::new(Notify::new()));
        let config = RwLock::new(Arc::new(config));
        Self { store, clock, chance, metrics, courier, pollers, stop, owed, config }
    }

    /// The configuration in force.
    pub fn config(&self) -> Arc<Config> {
        self.config.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Tells the people named under `alerts:` of a trouble with the relay itself.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn alert(&self, trouble: &Trouble<'_>) -> Result<(), StoreError> {
        let config = self.config();
        let Some(target) = config.alerts.as_ref().and_then(|name| config.targets.get(name)) else {
            return Ok(());
        };
        let to = [Addressee { target: &target.name, recipients: target.recipients() }];
        let now = self.clock.now();
        self.store.owe(notices(trouble, &to, now), now).await?;
        self.owed.notify_one();
        Ok(())
    }
}
