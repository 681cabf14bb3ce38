//! What a person may do to deliveries, in steps that each hold the store's writer for a moment only.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::asked::Refusal;
use super::deliveries::one;
use crate::model::delivery::StateName;
use crate::model::id::DeliveryId;
use crate::store::{Filter, Picked, Result, Row, Store};

/// So many are replayed or discarded in one transaction.
const BATCH: usize = 200;

/// A change of deliveries that a person asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Send again: a new delivery for each one that has ended.
    Replay,
    /// Decide that they are not sent.
    Discard,
}

impl Change {
    /// `replay` or `discard`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Replay => "replay",
            Self::Discard => "discard",
        }
    }

    /// Whether a delivery in that state can be changed so.
    pub fn fits(self, state: StateName) -> bool {
        match self {
            Self::Replay => !matches!(state, StateName::Pending | StateName::Sending),
            Self::Discard => matches!(state, StateName::Pending | StateName::Sending | StateName::Dead),
        }
    }

    /// What to say of one that cannot.
    pub fn unfit(self) -> &'static str {
        match self {
            Self::Replay => "it will be sent anyway; only what has ended is replayed",
            Self::Discard => "only what is pending, sending or dead is discarded",
        }
    }

    /// Refuses states of which none can be changed so.
    ///
    /// # Errors
    /// They are such; the text says which can.
    pub fn of_states(self, states: &[StateName]) -> std::result::Result<(), Refusal> {
        if states.iter().any(|state| self.fits(*state)) {
            return Ok(());
        }
        let names: Vec<&str> = states.iter().map(|state| state.as_str()).collect();
        let (names, does) = (names.join(" or "), self.as_str());
        Err(Refusal::Wrong(format!("what is {names} is not {does}ed: {}", self.unfit())))
    }

    /// What a filter finds to be changed, as many at once as it says, and how many it passes over that were sent again before: their
    /// newest replay stands for them.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn found(self, store: &Store, filter: Filter) -> Result<(Vec<Row>, usize)> {
        if self == Self::Discard {
            return Ok((store.page(filter).await?, 0));
        }
        let sent_again = Filter { replayed: Some(true), limit: Some(1), ..filter.clone() };
        let (_, passed_over) = store.deliveries(sent_again).await?;
        let rows = store.page(Filter { replayed: Some(false), ..filter }).await?;
        Ok((rows, usize::try_from(passed_over).unwrap_or(usize::MAX)))
    }

    /// Leaves of what a filter found what is to be changed; how many it passes over that were sent again before: their newest
    /// replay stands for them.
    pub fn choose<T>(self, found: &mut Vec<T>, of: impl Fn(&T) -> (StateName, u32)) -> usize {
        found.retain(|one| self.fits(of(one).0));
        let fit = found.len();
        found.retain(|one| self == Self::Discard || of(one).1 == 0);
        fit - found.len()
    }

    /// The same of this one.
    pub fn refuse(self, id: &DeliveryId, state: StateName) -> Refusal {
        Refusal::Conflict(format!("{id} is {state}: {}", self.unfit()))
    }

    /// The deliveries that a person named, each once.
    ///
    /// # Errors
    /// One is unknown, not unique or in no state for it, or the store cannot be read.
    pub async fn named(self, store: &Store, ids: &[String]) -> std::result::Result<Vec<Row>, Refusal> {
        let mut rows: Vec<Row> = Vec::with_capacity(ids.len());
        for id in ids {
            let row = one(store, id).await?;
            if !self.fits(row.state) {
                return Err(self.refuse(&row.id, row.state));
            }
            if !rows.iter().any(|known| known.id == row.id) {
                rows.push(row);
            }
        }
        Ok(rows)
    }

    /// Changes them; those that cannot be changed are passed over.
    ///
    /// # Errors
    /// The store cannot be written; the steps before are done.
    pub async fn run(self, store: &Store, picked: &[Picked], now: Timestamp) -> Result<Vec<Changed>> {
        let mut told = Vec::with_capacity(picked.len());
        for id in self.write(store, picked, now).await? {
            let replay_of = match self {
                Self::Replay => store.delivery(&id).await?.and_then(|detail| detail.row.replay_of),
                Self::Discard => None,
            };
            told.push(Changed { id, replay_of });
        }
        Ok(told)
    }

    async fn write(self, store: &Store, picked: &[Picked], now: Timestamp) -> Result<Vec<DeliveryId>> {
        let mut changed = Vec::with_capacity(picked.len());
        for batch in picked.chunks(BATCH) {
            changed.extend(match self {
                Self::Replay => store.replay(batch, now).await?,
                Self::Discard => {
                    let ids: Vec<DeliveryId> = batch.iter().map(|one| one.id.clone()).collect();
                    store.discard(&ids, now).await?
                }
            });
        }
        Ok(changed)
    }
}

/// What to say of those that were passed over; nothing where there are none.
pub fn passed_over(count: usize) -> String {
    let they = match count {
        0 => return String::new(),
        1 => "it was",
        _ => "they were",
    };
    format!(
        ". {count} passed over: {they} sent again before; `activity-relay deliveries show ID` says as what"
    )
}

/// What a change made: the new delivery of a replay, else the one that changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// Its id.
    pub id: DeliveryId,
    /// The delivery that it replays.
    pub replay_of: Option<DeliveryId>,
}
