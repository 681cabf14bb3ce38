//! What a change did, said on the page that follows it and not again: neither when that page is loaded anew nor by a bookmark.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;

/// So many are kept that nobody has been told yet.
const KEPT_MAX: usize = 64;

/// What was done and not said yet. Where several instances are behind one address, the page may be asked of another one,
/// which says nothing.
#[derive(Debug, Default)]
pub(super) struct Told(Mutex<VecDeque<(i64, String)>>);

impl Told {
    /// The address of the page at that path which says it.
    pub(super) fn keep(&self, path: &str, words: String, now: Timestamp) -> String {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // By the clock: a number of before the relay was started is that of nothing else.
        let next = kept.back().map_or(0, |(last, _)| last + 1);
        let number = now.as_microsecond().max(next);
        kept.push_back((number, words));
        if kept.len() > KEPT_MAX {
            kept.pop_front();
        }
        format!("{path}?told={number}")
    }

    /// What is kept under a number of an address, once.
    pub(super) fn take(&self, number: &str) -> Option<String> {
        let number = number.parse::<i64>().ok()?;
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = kept.iter().position(|(known, _)| *known == number)?;
        kept.remove(place).map(|(_, words)| words)
    }
}
