//! Writes down what became of attempts: those that end together in one batch, and again until the store takes them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

use crate::store::{Settlement, Store, StoreError};

use super::clock::Clock;
use super::metrics::Metrics;

/// Settlements written in one transaction.
const BATCH_MAX: usize = 64;
/// How long to wait before settlements that the store could not take are tried again.
const AGAIN: Duration = Duration::from_millis(500);
/// It doubles up to this.
const AGAIN_MAX: Duration = Duration::from_secs(4);

/// The one who writes. Cheap to clone; clones share everything.
#[derive(Debug, Clone)]
pub(super) struct Scribe {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    store: Store,
    clock: Clock,
    metrics: Arc<Metrics>,
    tracker: TaskTracker,
    desk: Mutex<Desk>,
}

/// What waits to be written.
#[derive(Debug, Default)]
struct Desk {
    waiting: Vec<Entry>,
    /// A task is at it: what is brought meanwhile is its next batch.
    busy: bool,
}

#[derive(Debug)]
struct Entry {
    settlement: Arc<Settlement>,
    /// Dropped once it is written.
    _written: oneshot::Sender<()>,
}

impl Scribe {
    pub(super) fn new(store: Store, clock: Clock, metrics: Arc<Metrics>, tracker: TaskTracker) -> Self {
        Self { shared: Arc::new(Shared { store, clock, metrics, tracker, desk: Mutex::default() }) }
    }

    /// Writes a settlement; returns once it is written or its lease is found lost, however long that takes: what was
    /// sent must be noted.
    pub(super) async fn write(&self, settlement: Settlement) {
        let (written, done) = oneshot::channel();
        let entry = Entry { settlement: Arc::new(settlement), _written: written };
        let idle = self.desk(|desk| {
            desk.waiting.push(entry);
            !std::mem::replace(&mut desk.busy, true)
        });
        if idle {
            let scribe = self.clone();
            self.shared.tracker.spawn(async move { scribe.work().await });
        }
        // The sender never says anything: that it is gone is the message.
        let _ = done.await;
    }

    async fn work(&self) {
        loop {
            let batch: Vec<Entry> = self.desk(|desk| {
                let count = desk.waiting.len().min(BATCH_MAX);
                desk.busy = count > 0;
                desk.waiting.drain(..count).collect()
            });
            if batch.is_empty() {
                return;
            }
            if self.persist(&batch).await.is_err() {
                // Something is wrong with one of them: it must not keep the others from being written.
                for entry in batch {
                    let scribe = self.clone();
                    self.shared.tracker.spawn(async move { scribe.persist(&[entry]).await });
                }
            }
        }
    }

    /// Writes them, again and again while the store cannot be written.
    ///
    /// # Errors
    /// The store makes no sense of one of several.
    async fn persist(&self, batch: &[Entry]) -> Result<(), StoreError> {
        let mut wait = AGAIN;
        loop {
            match self.settle(batch).await {
                Ok(()) => return Ok(()),
                Err(error @ StoreError::Corrupt(_)) if batch.len() > 1 => return Err(error),
                Err(error) => {
                    if wait == AGAIN {
                        let first =
                            batch.first().map(|entry| tracing::field::display(&entry.settlement.claim.id));
                        tracing::error!(
                            delivery = first, count = batch.len(), %error,
                            "what became of attempts cannot be written down; it is tried again until it can"
                        );
                    }
                    tokio::time::sleep(wait).await;
                    wait = wait.saturating_mul(2).min(AGAIN_MAX);
                }
            }
        }
    }

    async fn settle(&self, batch: &[Entry]) -> Result<(), StoreError> {
        let shared = &self.shared;
        let settlements = batch.iter().map(|entry| entry.settlement.clone()).collect();
        crate::failpoint::pass("settle-before");
        let written = shared.store.settle(settlements, shared.clock.now()).await?;
        crate::failpoint::pass("settled");
        for (entry, written) in batch.iter().zip(written) {
            if !written {
                shared.metrics.leases_lost.inc();
                let delivery = &entry.settlement.claim.id;
                tracing::warn!(%delivery, "the lease was lost while sending: somebody else sends it again");
            }
        }
        Ok(())
    }

    fn desk<T>(&self, look: impl FnOnce(&mut Desk) -> T) -> T {
        look(&mut self.shared.desk.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
