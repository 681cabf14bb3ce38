//! What a change came to, kept for the page that the browser is led to afterwards.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;

/// So many are kept; the oldest goes first.
const KEPT_MAX: usize = 64;

/// The newest of some things, by number.
#[derive(Debug)]
pub(super) struct Kept<T>(Mutex<VecDeque<(i64, T)>>);

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Clone> Kept<T> {
    /// Keeps one. Its number is none that an address of an earlier process leads to.
    pub(super) fn keep(&self, thing: T, now: Timestamp) -> i64 {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let after = kept.back().map_or(i64::MIN, |(last, _)| last + 1);
        let number = now.as_millisecond().max(after);
        kept.push_back((number, thing));
        if kept.len() > KEPT_MAX {
            kept.pop_front();
        }
        number
    }

    /// The one of that number, if it is still kept.
    pub(super) fn find(&self, number: i64) -> Option<T> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().find(|(known, _)| *known == number).map(|(_, thing)| thing.clone())
    }

    /// The same, which is then kept no longer.
    pub(super) fn take(&self, number: i64) -> Option<T> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = kept.iter().position(|(known, _)| *known == number)?;
        kept.remove(place).map(|(_, thing)| thing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_number_of_its_own_and_the_newest_are_kept() {
        let (kept, now) = (Kept::default(), Timestamp::UNIX_EPOCH);
        let numbers: Vec<i64> = (0..=KEPT_MAX).map(|thing| kept.keep(thing, now)).collect();
        let found: Vec<Option<usize>> = numbers.iter().map(|number| kept.find(*number)).collect();
        assert_eq!(found[0], None);
        assert_eq!((kept.take(numbers[1]), kept.take(numbers[1])), (Some(1), None), "once");
        assert!(found.iter().skip(1).copied().eq((1..=KEPT_MAX).map(Some)), "{found:?}");
    }
}
