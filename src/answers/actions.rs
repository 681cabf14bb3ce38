//! What a person may do to deliveries, in steps that each hold the store's writer for a moment only.

use jiff::Timestamp;

use crate::model::delivery::StateName;
use crate::model::id::DeliveryId;
use crate::store::{Result, Store};

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

    /// Changes them. Returns the new deliveries of a replay, else those that changed.
    ///
    /// # Errors
    /// The store cannot be written; the steps before are done.
    pub async fn run(self, store: &Store, ids: &[DeliveryId], now: Timestamp) -> Result<Vec<DeliveryId>> {
        let mut changed = Vec::with_capacity(ids.len());
        for batch in ids.chunks(BATCH) {
            changed.extend(match self {
                Self::Replay => store.replay(batch, now).await?,
                Self::Discard => store.discard(batch, now).await?,
            });
        }
        Ok(changed)
    }
}
