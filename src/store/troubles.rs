//! Troubles: what people are told of them, once for all instances, and what the store's own leaves behind.

use jiff::Timestamp;

use super::{Result, Store};
use crate::model::delivery::Planned;

impl Store {
    /// Takes in the notices if they are news: that a trouble `lasts` and nobody was told of it, or that it is over and
    /// somebody was. Returns whether they were. It is remembered over restarts, and one memory for all instances.
    pub async fn tell(
        &self,
        trouble: &str,
        lasts: bool,
        notices: Vec<Planned>,
        now: Timestamp,
    ) -> Result<bool> {
        match self {
            Self::Sqlite(store) => store.tell(trouble, lasts, notices, now).await,
            Self::Postgres(store) => store.tell(trouble, lasts, notices, now).await,
        }
    }

    /// Takes in the notices of a trouble that began at `from` and is over, unless somebody told of it since: what all instances met
    /// is told by the first of them. Returns whether they were.
    pub async fn tell_afterwards(
        &self,
        trouble: &str,
        from: Timestamp,
        notices: Vec<Planned>,
        now: Timestamp,
    ) -> Result<bool> {
        match self {
            Self::Sqlite(store) => store.tell_afterwards(trouble, from, notices, now).await,
            Self::Postgres(store) => store.tell_afterwards(trouble, from, notices, now).await,
        }
    }

    /// The store can be written again after a trouble. For a moment no lease is taken back whose end was reached: other instances,
    /// too, have to write down first what they sent meanwhile, which would be sent twice else.
    pub fn came_back(&self, now: Timestamp) {
        match self {
            // Its one instance writes down what it sent before it claims anything.
            Self::Sqlite(_) => {}
            Self::Postgres(store) => store.came_back(now),
        }
    }
}
