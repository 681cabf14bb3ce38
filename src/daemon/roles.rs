//! What this instance does of that which only one may do at a time: polling an account, and cleaning.
//!
//! Where several instances share a store, each says every few seconds that it is there and keeps what it holds. Where
//! none can, everything is held once and for good: a relay at rest writes nothing.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::Notify;

use crate::config::Config;
use crate::model::rate::CLOCKS_APART_MAX;
use crate::model::settle::after_now;
use crate::store::{Instance, Store, StoreError};

use super::metrics::{Metrics, OfRole};
use super::poller::polling_role;
use super::share::{HOLD, Spread, TAKEN_OVER_WITHIN, View};

/// The role of the one that removes old history.
pub const JANITOR: &str = "janitor";
/// How often an instance says that it is there.
pub const BEAT_EVERY: Duration = Duration::from_secs(5);
/// How long one that says nothing is still listed.
pub(super) const FORGOTTEN_AFTER: SignedDuration = SignedDuration::from_mins(10);
/// As good as for ever: a hundred years.
const FOR_GOOD: Duration = Duration::from_hours(100 * 365 * 24);

/// What this instance holds. Cheap to clone; clones share everything.
#[derive(Debug, Clone)]
pub struct Roles {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    store: Store,
    metrics: Arc<Metrics>,
    host: String,
    state: Mutex<State>,
    /// Something is held that was not.
    gained: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Until when what is held may be relied on without a further word with the store.
    held: HashMap<String, Timestamp>,
    spread: Spread,
    /// Instances of whose clocks people have been told.
    ahead: HashSet<String>,
}

impl Roles {
    /// Nothing is held yet.
    pub fn new(store: Store, metrics: Arc<Metrics>) -> Self {
        let (host, state, gained) = (host(), Mutex::default(), Notify::new());
        Self { shared: Arc::new(Shared { store, metrics, host, state, gained }) }
    }

    /// This instance, as `status` names it.
    pub fn name(&self) -> &str {
        &self.shared.host
    }

    /// Whether this instance may do it at `now`: one that was held up for longer than a role lasts may not.
    pub fn holds(&self, role: &str, now: Timestamp) -> bool {
        if !self.shared.store.is_shared() {
            return true;
        }
        let until = self.state(|state| state.held.get(role).copied());
        // An end further away than a whole role is from before the clock was set back.
        until.is_some_and(|until| now < until && until <= after_now(now, HOLD))
    }

    /// Waits until something is held that was not, or may be held already.
    pub async fn gained(&self, role: &str, now: impl Fn() -> Timestamp) {
        loop {
            let gained = self.shared.gained.notified();
            if self.holds(role, now()) {
                return;
            }
            gained.await;
        }
    }

    /// Says that this instance is there, keeps its share of what there is to do, takes up what nobody does and leaves
    /// to others what is beyond the share.
    ///
    /// # Errors
    /// The store fails; what was held stays so until its end.
    pub async fn tick(&self, config: &Config, now: Timestamp) -> Result<(), StoreError> {
        let store = &self.shared.store;
        let gone = now.saturating_sub(FORGOTTEN_AFTER).unwrap_or(Timestamp::MIN);
        store.beat(&self.shared.host, config.outline.hash(), gone, now).await?;
        if !store.is_shared() {
            let roles = every_role(config);
            let strange = self.state(|state| {
                state.held.keys().filter(|role| !roles.contains(role)).cloned().collect::<Vec<_>>()
            });
            if !strange.is_empty() {
                self.drop_held(&strange);
                store.let_go(&strange).await?;
            }
            return self.hold(roles, FOR_GOOD, now).await;
        }
        let (holds, instances) = (store.holds().await?, store.instances().await?);
        self.look_at_clocks(&instances, now);
        let wanted = polling_roles(config);
        let me = store.instance();
        let (holds, instances) = (&*holds, &*instances);
        let view = View { wanted: &wanted, holds, unspread: &[JANITOR], instances, me, now };
        let share = self.state(|state| state.spread.share(view));
        if !share.give_up.is_empty() {
            // First here, so that nothing is begun under a role that somebody else may have.
            self.drop_held(&share.give_up);
            tracing::info!(roles = share.give_up.join(", "), "left to other instances");
            store.let_go(&share.give_up).await?;
        }
        let mut roles = [share.keep, share.take].concat();
        roles.push(JANITOR.to_owned());
        self.hold(roles, HOLD, now).await
    }

    /// Takes what nobody holds and keeps it, without counting as an instance that others leave something to: for one
    /// round.
    ///
    /// # Errors
    /// The store fails; what was held stays so until its end.
    pub async fn take_free(&self, config: &Config, now: Timestamp) -> Result<(), StoreError> {
        let long = if self.shared.store.is_shared() { HOLD } else { FOR_GOOD };
        self.hold(polling_roles(config), long, now).await
    }

    /// Another instance has taken it over, as the store said.
    pub fn lost(&self, role: &str) {
        if self.drop_held(&[role.to_owned()]) {
            self.shared.metrics.roles_lost.inc();
            tracing::warn!(role, "another instance has taken over");
        }
    }

    /// Gives everything up; this instance is no longer there, and neither are those whose place it took.
    ///
    /// # Errors
    /// The store fails; others take over when what is held ends.
    pub async fn leave(&self, now: Timestamp) -> Result<(), StoreError> {
        let long = SignedDuration::try_from(TAKEN_OVER_WITHIN).unwrap_or(SignedDuration::MAX);
        self.give_up(now.saturating_sub(long).unwrap_or(Timestamp::MIN)).await
    }

    /// Gives up what was taken for one round, which takes nobody's place.
    ///
    /// # Errors
    /// The store fails; others take over when what is held ends.
    pub async fn end_round(&self) -> Result<(), StoreError> {
        self.give_up(Timestamp::MIN).await
    }

    async fn give_up(&self, gone_before: Timestamp) -> Result<(), StoreError> {
        let held: Vec<String> = self.state(|state| state.held.keys().cloned().collect());
        self.drop_held(&held);
        self.shared.store.leave(gone_before).await
    }

    async fn hold(&self, mut roles: Vec<String>, long: Duration, now: Timestamp) -> Result<(), StoreError> {
        // Two instances that ask for the same do so in the same order.
        roles.sort();
        let held = self.shared.store.hold(&roles, long, now).await?;
        let had = self.state(|state| state.held.keys().cloned().collect::<Vec<_>>());
        had.iter().filter(|role| !held.contains(*role)).for_each(|role| self.lost(role));
        let until = after_now(now, long);
        let new: Vec<String> = held.iter().filter(|role| !had.contains(*role)).cloned().collect();
        self.state(|state| state.held = held.into_iter().map(|role| (role, until)).collect());
        for role in &new {
            self.shared.metrics.roles_held.get_or_create(&OfRole { role: role.clone() }).set(1);
        }
        if !new.is_empty() && self.shared.store.is_shared() {
            tracing::info!(roles = new.join(", "), "held by this instance");
        }
        self.shared.gained.notify_waiters();
        Ok(())
    }

    /// Whether any of it was held.
    fn drop_held(&self, roles: &[String]) -> bool {
        let mut any = false;
        for role in roles {
            any |= self.state(|state| state.held.remove(role)).is_some();
            self.shared.metrics.roles_held.get_or_create(&OfRole { role: role.clone() }).set(0);
        }
        any
    }

    /// Tells, once for each, of instances whose clocks are further ahead than what does no harm.
    fn look_at_clocks(&self, instances: &[Instance], now: Timestamp) {
        for Instance { id, host, seen_at, .. } in instances {
            let ahead = *seen_at > after_now(now, CLOCKS_APART_MAX);
            let news = self
                .state(|state| if ahead { state.ahead.insert(id.clone()) } else { state.ahead.remove(id) });
            if ahead && news {
                let seconds = seen_at.duration_since(now).as_secs();
                tracing::warn!(
                    instance = host,
                    seconds,
                    "its clock is ahead of this one's by more than 5 s: set both by NTP, or messages may arrive twice"
                );
            }
        }
    }

    fn state<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.shared.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn polling_roles(config: &Config) -> Vec<String> {
    config.accounts.iter().map(|account| polling_role(&account.name)).collect()
}

fn every_role(config: &Config) -> Vec<String> {
    let mut roles = polling_roles(config);
    roles.push(JANITOR.to_owned());
    roles
}

/// The host and the process there, as people know them.
fn host() -> String {
    let name =
        hostname::get().map_or_else(|_| "unknown".to_owned(), |name| name.to_string_lossy().into_owned());
    format!("{name}:{}", std::process::id())
}
