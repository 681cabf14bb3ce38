//! Opens the digests that are sent without a message too: whoever waits for one hears that there was nothing.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use jiff::Timestamp;

use crate::config::Config;
use crate::rules::plan::open_digests;
use crate::store::{Store, StoreError};

/// What is open already.
#[derive(Debug, Default)]
pub(super) struct Empties {
    opened: Mutex<Opened>,
}

#[derive(Debug, Default)]
struct Opened {
    /// Under which configuration.
    config: Weak<Config>,
    /// When the next ones are to be opened; `None` if there are none.
    next: Option<Timestamp>,
}

impl Empties {
    /// Opens what is not open yet. One that is there stays as it is.
    ///
    /// # Errors
    /// The store cannot be written; the next tick tries again.
    pub(super) async fn tick(
        &self,
        store: &Store,
        config: &Arc<Config>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        if self.is_done(config, now) {
            return Ok(());
        }
        let (mut owed, mut next) = (Vec::new(), Vec::new());
        for account in &config.accounts {
            let (planned, then) = open_digests(config.rules.list(), &account.name, now);
            owed.extend(planned);
            next.extend(then);
        }
        if !owed.is_empty() {
            store.owe(owed, now).await?;
        }
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        *opened = Opened { config: Arc::downgrade(config), next: next.into_iter().min() };
        Ok(())
    }

    fn is_done(&self, config: &Arc<Config>, now: Timestamp) -> bool {
        let opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        let same = opened.config.upgrade().is_some_and(|known| Arc::ptr_eq(&known, config));
        same && opened.next.is_none_or(|next| now < next)
    }
}
