//! How many transactions were committed, and how long each took to be on the disk.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::metrics::histogram::Histogram;

/// Upper bounds of the buckets, in seconds: from a disk with a battery to one in trouble.
const SECONDS: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// What is known of commits.
#[derive(Debug)]
pub(super) struct Commits {
    count: AtomicU64,
    seconds: Histogram,
}

impl Default for Commits {
    fn default() -> Self {
        Self { count: AtomicU64::new(0), seconds: Histogram::new(SECONDS) }
    }
}

impl Commits {
    /// One more went through, and took so long.
    pub(super) fn add(&self, took: Duration) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.seconds.observe(took.as_secs_f64());
    }

    /// How many there were.
    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// How long they took, in seconds. Clones share what they count.
    pub(super) fn seconds(&self) -> Histogram {
        self.seconds.clone()
    }
}
