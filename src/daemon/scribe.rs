//! Writes down what became of attempts: those that end together in one batch, and again until the store takes them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot, watch};
use tokio_util::task::TaskTracker;

use crate::model::delivery::Job;
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
    /// Batches that the store could not take so far.
    stuck: watch::Sender<usize>,
    /// Tells them to try again at once.
    again: Notify,
}

/// A batch that the store could not take, counted as long as this lives.
struct Stuck<'a>(&'a Shared);

impl<'a> Stuck<'a> {
    fn new(shared: &'a Shared) -> Self {
        shared.stuck.send_modify(|stuck| *stuck += 1);
        Self(shared)
    }
}

impl Drop for Stuck<'_> {
    fn drop(&mut self) {
        self.0.stuck.send_modify(|stuck| *stuck -= 1);
    }
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
        let (desk, stuck, again) = (Mutex::default(), watch::Sender::new(0), Notify::new());
        Self { shared: Arc::new(Shared { store, clock, metrics, tracker, desk, stuck, again }) }
    }

    /// The store can be written again: what it could not take is tried at once, and waited for, for a moment. Who claims
    /// before that takes back what was sent before the trouble, if its lease has run out meanwhile, and sends it twice.
    pub(super) async fn catch_up(&self) {
        let mut stuck = self.shared.stuck.subscribe();
        self.shared.again.notify_waiters();
        // What cannot be written even now has a trouble of its own, which holds up nobody else.
        let _ = tokio::time::timeout(CATCH_UP_MAX, stuck.wait_for(|stuck| *stuck == 0)).await;
    }

    /// Writes a settlement; returns once it is written or its lease is found lost, however long that takes: what was
    /// sent must be noted. With a `want` (of one) something of the same target may come back, its lease held.
    pub(super) async fn write(&self, settlement: Settlement, want: Option<Want>) -> Next {
        let (written, done) = oneshot::channel();
        let entry = Entry { settlement: Arc::new(settlement), want, written: Some(written) };
        let idle = self.desk(|desk| {
            desk.waiting.push(entry);
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
        let (mut wait, mut stuck) = (AGAIN, None);
        loop {
            match self.settle(batch).await {
                Ok(claimed) => return Ok(claimed),
                Err(error @ StoreError::Corrupt(_)) if batch.len() > 1 => return Err(error),
                Err(error) => {
                    if stuck.is_none() {
                        stuck = Some(Stuck::new(&self.shared));
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
                        () = self.shared.again.notified() => {}
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
        for (entry, written) in batch.iter().zip(written) {
            if !written {
                shared.metrics.leases_lost.inc();
                let delivery = &entry.settlement.claim.id;
                tracing::warn!(%delivery, "the lease was lost while sending: somebody else sends it again");
            }
        }
        Ok(claimed)
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
