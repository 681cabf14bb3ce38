//! What is drawn and watched of the store: figures over a period, and what is new.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Result, Row, Store, StoredMessage};
use crate::model::delivery::StateName;
use crate::model::message::Triple;

/// A part of a period.
pub type Window = (Timestamp, Timestamp);

/// A moment that deliveries of a rule wait for, as the rule said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// The rule.
    pub rule: String,
    /// To which target.
    pub target: String,
    /// When they are due.
    pub at: Timestamp,
    /// They gather messages until then; else they are held.
    pub gathers: bool,
    /// How many deliveries.
    pub deliveries: u64,
}

/// So many of those that were delivered last are looked through for one of a target.
pub(super) const TAKEN_LOOKED_AT: usize = 10_000;

/// The numbers of the deliveries that ended so last since a moment, as SQL: a walk back through each state's part of the index.
pub(super) fn ended_last(states: &[StateName], since: &str, limit: &str) -> String {
    let last = states.iter().map(|state| {
        format!(
            "SELECT * FROM (SELECT seq, settled_at FROM deliveries WHERE state = '{state}' AND settled_at IS NOT NULL
               AND settled_at >= {since} ORDER BY settled_at DESC LIMIT {limit}) AS {state}"
        )
    });
    let last = last.collect::<Vec<_>>().join(" UNION ALL ");
    format!("SELECT seq FROM ({last} ORDER BY settled_at DESC LIMIT {limit}) AS ended")
}

impl Store {
    /// The moments ahead that deliveries wait for because their rules say so, the next ones first.
    pub async fn moments(&self, now: Timestamp, limit: usize) -> Result<Vec<Moment>> {
        match self {
            Self::Sqlite(store) => store.moments(now, limit).await,
            Self::Postgres(store) => store.moments(now, limit).await,
        }
    }

    /// How many deliveries ended in each state since, in steps of so long: (the step's beginning, state, how many). Steps
    /// begin at multiples of their length since the epoch; one in which nothing ended is not in it.
    pub async fn ended_per(
        &self,
        since: Timestamp,
        step: Duration,
    ) -> Result<Vec<(Timestamp, StateName, u64)>> {
        match self {
            Self::Sqlite(store) => store.ended_per(since, step).await,
            Self::Postgres(store) => store.ended_per(since, step).await,
        }
    }

    /// How long the last attempts of deliveries took that were delivered within each of the windows, in milliseconds: of
    /// the `sample` last ones in each.
    pub async fn latencies(&self, windows: &[Window], sample: usize) -> Result<Vec<Vec<u64>>> {
        match self {
            Self::Sqlite(store) => store.latencies(windows, sample).await,
            Self::Postgres(store) => store.latencies(windows, sample).await,
        }
    }

    /// The messages taken in last, the newest first, with their numbers: those behind the number `after`.
    pub async fn arrivals(&self, after: Option<i64>, limit: usize) -> Result<Vec<(i64, StoredMessage)>> {
        match self {
            Self::Sqlite(store) => store.arrivals(after, limit).await,
            Self::Postgres(store) => store.arrivals(after, limit).await,
        }
    }

    /// The deliveries that ended last, of those that ended in one of the states since, the newest first.
    pub async fn ended_since(
        &self,
        states: &'static [StateName],
        since: Timestamp,
        limit: usize,
    ) -> Result<Vec<Row>> {
        match self {
            Self::Sqlite(store) => store.ended_since(states, since, limit).await,
            Self::Postgres(store) => store.ended_since(states, since, limit).await,
        }
    }

    /// Whether the target took a delivery that was begun at that moment or since; what lies behind so many that all targets took since is not seen.
    pub async fn took_since(&self, target: &str, since: Timestamp) -> Result<bool> {
        match self {
            Self::Sqlite(store) => store.took_since(target, since).await,
            Self::Postgres(store) => store.took_since(target, since).await,
        }
    }

    /// How many messages of each triple were taken in since.
    pub async fn triples_since(&self, since: Timestamp) -> Result<Vec<(Triple, u64)>> {
        match self {
            Self::Sqlite(store) => store.triples_since(since).await,
            Self::Postgres(store) => store.triples_since(since).await,
        }
    }
}
