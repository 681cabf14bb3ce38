//! Writes down what became of attempts: those that end together in one batch, and again until the store takes them.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio_util::task::TaskTracker;

use crate::model::delivery::{Job, StateName};
use crate::model::id::DeliveryId;
use crate::store::{Claimed, Ended, Settlement, Store, StoreError, Want};

use super::clock::Clock;
use super::metrics::Metrics;

/// Settlements written in one transaction.
const BATCH_MAX: usize = 64;
/// How long to wait before settlements that the store could not take are tried again.
const AGAIN: Duration = Duration::from_millis(500);
/// It doubles up to this.
const AGAIN_MAX: Duration = Duration::from_secs(4);
/// How long those who claim wait for what could not be written.
const CATCH_UP_MAX: Duration = Duration::from_secs(2);

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
    /// Tells batches that the store could not take to try again at once.
    again: Notify,
    /// Poked when something is written.
    written: Notify,
}

/// What waits to be written.
#[derive(Debug, Default)]
struct Desk {
    waiting: Vec<Entry>,
    /// A task is at it: what is brought meanwhile is its next batch.
    busy: bool,
    /// How many were brought so far; the number of each is how many there were with it.
    brought: u64,
    /// Those that are not written yet, be it that they wait or that a task is at them.
    unwritten: BTreeSet<u64>,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    settlement: Arc<Settlement>,
    /// What the attempt's lane would take next.
    want: Option<Want>,
    written: Option<oneshot::Sender<Next>>,
}

/// What a lane goes on with.
#[derive(Debug, Default)]
pub(super) struct Next {
    /// Another delivery to the same target.
    pub(super) job: Option<Job>,
    /// What ended when that was looked for.
    pub(super) ended: Vec<Ended>,
}

impl Scribe {
    pub(super) fn new(store: Store, clock: Clock, metrics: Arc<Metrics>, tracker: TaskTracker) -> Self {
        let (desk, again, written) = (Mutex::default(), Notify::new(), Notify::new());
        Self { shared: Arc::new(Shared { store, clock, metrics, tracker, desk, again, written }) }
    }

    /// The store can be written again: what it could not take is tried at once, and waited for, for a moment, together
    /// with all that queued up behind it. Who claims before that takes back what was sent before the trouble, if its lease
    /// has run out meanwhile, and sends it twice.
    pub(super) async fn catch_up(&self) {
        self.shared.again.notify_waiters();
        let brought = self.desk(|desk| desk.brought);
        let written = async {
            loop {
                let more = self.shared.written.notified();
                if self.desk(|desk| desk.unwritten.first().is_none_or(|first| *first > brought)) {
                    return;
                }
                more.await;
            }
        };
        // What cannot be written even now has a trouble of its own, which holds up nobody else.
        let _ = tokio::time::timeout(CATCH_UP_MAX, written).await;
    }

    /// Writes a settlement; returns once it is written or its lease is found lost, however long that takes: what was
    /// sent must be noted. With a `want` (of one) something of the same target may come back, its lease held.
    pub(super) async fn write(&self, settlement: Settlement, want: Option<Want>) -> Next {
        let (written, done) = oneshot::channel();
        let settlement = Arc::new(settlement);
        let idle = self.desk(|desk| {
            desk.brought += 1;
            desk.unwritten.insert(desk.brought);
            desk.waiting.push(Entry { number: desk.brought, settlement, want, written: Some(written) });
            !std::mem::replace(&mut desk.busy, true)
        });
        if idle {
            let scribe = self.clone();
            self.shared.tracker.spawn(async move { scribe.work().await });
        }
        // Who writes it alone, after a trouble, has nothing to go on with.
        done.await.unwrap_or_default()
    }

    async fn work(&self) {
        loop {
            let mut batch: Vec<Entry> = self.desk(|desk| {
                let count = desk.waiting.len().min(BATCH_MAX);
                desk.busy = count > 0;
                desk.waiting.drain(..count).collect()
            });
            if batch.is_empty() {
                return;
            }
            match self.persist(&batch).await {
                Ok(claimed) => hand_out(&mut batch, claimed),
                // Something is wrong with one of them: it must not keep the others from being written.
                Err(_) => {
                    for entry in batch {
                        let (scribe, alone) = (self.clone(), [Entry { want: None, ..entry }]);
                        self.shared.tracker.spawn(async move { scribe.persist(&alone).await.map(|_| ()) });
                    }
                }
            }
        }
    }

    /// Writes them, again and again while the store cannot be written.
    ///
    /// # Errors
    /// The store makes no sense of one of several.
    async fn persist(&self, batch: &[Entry]) -> Result<Claimed, StoreError> {
        let (mut wait, mut said) = (AGAIN, false);
        loop {
            // Made before the store is asked: who calls while it answers is heard as well.
            let again = self.shared.again.notified();
            match self.settle(batch).await {
                Ok(claimed) => return Ok(claimed),
                Err(error @ StoreError::Corrupt(_)) if batch.len() > 1 => return Err(error),
                Err(error) => {
                    if !std::mem::replace(&mut said, true) {
                        let first =
                            batch.first().map(|entry| tracing::field::display(&entry.settlement.claim.id));
                        tracing::error!(
                            delivery = first, count = batch.len(), %error,
                            "what became of attempts cannot be written down; it is tried again until it can"
                        );
                    }
                    tracing::debug!(?wait, "waiting to write down what became of attempts");
                    tokio::select! {
                        () = tokio::time::sleep(wait) => {}
                        () = again => {}
                    }
                    wait = wait.saturating_mul(2).min(AGAIN_MAX);
                }
            }
        }
    }

    async fn settle(&self, batch: &[Entry]) -> Result<Claimed, StoreError> {
        let shared = &self.shared;
        let settlements = batch.iter().map(|entry| entry.settlement.clone()).collect();
        crate::failpoint::pass("settle-before");
        let (written, claimed) =
            shared.store.settle_claiming(settlements, wants(batch), shared.clock.now()).await?;
        crate::failpoint::pass("settled");
        self.desk(|desk| batch.iter().for_each(|entry| _ = desk.unwritten.remove(&entry.number)));
        shared.written.notify_waiters();
        for (entry, written) in batch.iter().zip(written) {
            if !written {
                self.say_why_not(&entry.settlement.claim.id).await;
            }
        }
        Ok(claimed)
    }

    /// Its lease was not there any more: a person discarded it, or it ran out.
    async fn say_why_not(&self, delivery: &DeliveryId) {
        let found = self.shared.store.delivery(delivery).await;
        if matches!(found, Ok(Some(detail)) if detail.row.state == StateName::Discarded) {
            tracing::warn!(%delivery, "a person discarded it while it was being sent: the target may have it");
            return;
        }
        self.shared.metrics.leases_lost.inc();
        tracing::warn!(%delivery, "the lease was lost while sending: somebody else sends it again");
    }

    fn desk<T>(&self, look: impl FnOnce(&mut Desk) -> T) -> T {
        look(&mut self.shared.desk.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What the lanes of a batch would take next, one want for each target.
fn wants(batch: &[Entry]) -> Vec<Want> {
    let mut wants: Vec<Want> = Vec::new();
    for want in batch.iter().filter_map(|entry| entry.want.as_ref()) {
        match wants.iter_mut().find(|known| known.target == want.target) {
            Some(known) => known.limit += want.limit,
            None => wants.push(want.clone()),
        }
    }
    wants
}

/// Tells each lane that its attempt is written, and what it goes on with.
fn hand_out(batch: &mut [Entry], mut claimed: Claimed) {
    for entry in batch {
        let job = entry.want.as_ref().and_then(|want| {
            let at = claimed.jobs.iter().position(|job| job.target == want.target)?;
            Some(claimed.jobs.swap_remove(at))
        });
        let next = Next { job, ended: std::mem::take(&mut claimed.ended) };
        if let Some(written) = entry.written.take() {
            // A lane that is gone waits for nothing; the lease of its job ends by itself.
            let _ = written.send(next);
        }
    }
}

#[cfg(test)]
#[path = "scribe_tests.rs"]
mod tests;
