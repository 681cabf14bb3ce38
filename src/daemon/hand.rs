//! What hands over from polling to sending, without a search in the store.

use std::sync::Arc;

use tokio::sync::watch;

use crate::config::Config;
use crate::model::delivery::Job;
use crate::store::Want;

use super::courier::Courier;

/// Who takes over at once what is due at once: the courier, under whichever configuration is in force by then.
#[derive(Debug, Clone)]
pub struct Hand {
    /// Starts the attempts.
    pub courier: Courier,
    /// What they are made under.
    pub config: watch::Receiver<Arc<Config>>,
}

impl Hand {
    /// See [`Courier::offer`].
    pub fn offer<'a>(&self, targets: impl Iterator<Item = &'a str>) -> Vec<Want> {
        self.courier.offer(&self.config.borrow(), targets)
    }

    /// See [`Courier::start`].
    pub fn start(&self, jobs: Vec<Job>) {
        let config = self.config.borrow().clone();
        self.courier.start(jobs, &config);
    }
}
