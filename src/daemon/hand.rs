//! What hands over from polling to sending, without a search in the store.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::watch;

use crate::config::Config;
use crate::store::{Admission, StoreError, Taken};

use super::courier::Courier;

/// Who takes over at once what is due at once: the courier, under whichever configuration is in force by then.
#[derive(Debug, Clone)]
pub struct Hand {
    /// Takes in, and starts the attempts.
    pub courier: Courier,
    /// What they are made under.
    pub config: watch::Receiver<Arc<Config>>,
}

impl Hand {
    /// The moment by the clock of the one who sends.
    pub(super) fn now(&self) -> Timestamp {
        self.courier.now()
    }

    /// See [`Courier::take_in`].
    pub(super) async fn take_in(&self, page: Admission, now: Timestamp) -> Result<Taken, StoreError> {
        let config = self.config.borrow().clone();
        self.courier.take_in(page, &config, now).await
    }
}
