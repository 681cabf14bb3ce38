//! How things stand at the moment at which somebody asks: what is measured of the store when metrics are read.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::Relay;
use crate::store::{AccountStatus, Counts, StoreError, TargetState};

/// The standing of accounts, targets and the queue.
#[derive(Debug, Default)]
pub struct Gauges {
    /// Deliveries by target: those of the configuration, and those to which anything was ever owed.
    pub counts: BTreeMap<String, Counts>,
    /// Parked by the relay, paused by a person: by target of the configuration.
    pub held: BTreeMap<String, (bool, bool)>,
    /// For how long the oldest due delivery has been due.
    pub oldest_due: Duration,
    /// How long ago each account of the configuration was polled with success, by whichever instance; where it never was,
    /// how long ago this one started.
    pub lags: BTreeMap<String, Duration>,
    /// Rules that are muted.
    pub muted: usize,
}

impl Gauges {
    /// Measures.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn of(relay: &Relay) -> Result<Self, StoreError> {
        let (store, config, now) = (&relay.store, relay.config(), relay.clock.now());
        let targets = config.targets.keys();
        let mut counts: BTreeMap<String, Counts> =
            targets.map(|name| (name.clone(), Counts::default())).collect();
        counts.extend(store.counts_by_target().await?);
        let states = store.target_states().await?;
        let held = config.targets.keys().map(|name| {
            let state = states.iter().find(|state| state.name == *name);
            let parked = |state: &TargetState| state.parked_until.is_some();
            (name.clone(), (state.is_some_and(parked), state.is_some_and(|state| state.paused)))
        });
        let held = held.collect();
        let since =
            |moment: Timestamp| Duration::try_from(now.duration_since(moment)).unwrap_or(Duration::ZERO);
        let polled = store.accounts().await?;
        let last = |name: &str| {
            let known = polled.iter().find(|one: &&AccountStatus| one.name == name);
            known.and_then(|status| status.last_success).unwrap_or(relay.started)
        };
        let accounts = config.accounts.iter();
        let lags = accounts.map(|account| (account.name.clone(), since(last(&account.name)))).collect();
        let oldest_due = store.oldest_due().await?.map_or(Duration::ZERO, since);
        let mutes = store.mutes(now).await?;
        let silenced =
            config.rules.list().iter().filter(|rule| mutes.iter().any(|mute| mute.rule == rule.name));
        Ok(Self { counts, held, oldest_due, lags, muted: silenced.count() })
    }
}
