//! Remembers which crowded seconds were read to the end, so that they are not turned through again at every poll.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};

/// Seconds remembered; beyond that all are forgotten and read once more.
const SECONDS_MAX: usize = 10_000;

/// The crowded seconds of one account that were read to the end, and when. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Settled(Arc<Mutex<HashMap<Timestamp, Timestamp>>>);

impl Settled {
    /// The window that begins with this second was read to the end by a walk that began at `at`, by the server's clock.
    pub fn note(&self, second: Timestamp, at: Timestamp) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= SECONDS_MAX && !known.contains_key(&second) {
            known.clear();
        }
        known.insert(second, at);
    }

    /// It was read to the end when it was at least this old, so that whatever turns up late was there.
    pub fn holds(&self, second: Timestamp, age: SignedDuration) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&second).is_some_and(|at| at.duration_since(second) >= age)
    }
}
