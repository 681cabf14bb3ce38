//! What a walk may come upon that the store once knew and has forgotten since. Pure.

use jiff::Timestamp;

use crate::source::stamp::shift;
use crate::store::LOOK_BACK_SECONDS;

/// What can be said of the messages that a walk comes upon and the store does not know: new ones for the most part, and
/// where a walk reaches far back, or takes long, perhaps some that were taken and pruned.
#[derive(Debug, Clone, Copy)]
pub(super) struct Memory {
    /// Where the account stood before: nothing later had been asked for. `None` before the very first walk.
    asked_until: Option<Timestamp>,
    /// When the walk began.
    since: Timestamp,
}

impl Memory {
    /// Of a walk that begins now, the watermark standing there.
    pub(super) fn of(asked_until: Option<Timestamp>, since: Timestamp) -> Self {
        Self { asked_until, since }
    }

    /// A message made at that moment may have been taken before and be forgotten: by its age, as pruning leaves what
    /// is younger than `kept_since` or not so far behind the `watermark`, and because it was asked for before this walk, or this
    /// walk itself began before all that is remembered.
    pub(super) fn may_lack(
        self,
        made: Timestamp,
        watermark: Option<Timestamp>,
        kept_since: Timestamp,
    ) -> bool {
        let prunable = watermark.is_some_and(|mark| made < shift(mark, -LOOK_BACK_SECONDS));
        let asked_before = self.asked_until.is_some_and(|until| made < until);
        prunable && made < kept_since && (asked_before || self.since < kept_since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        format!("2026-{text}T00:00:00Z").parse().unwrap()
    }

    #[test]
    fn only_what_was_asked_for_before_and_is_old_enough_to_be_pruned_may_be_forgotten() {
        let (today, kept_since) = (at("03-31"), at("03-01"));
        let first = Memory::of(None, today);
        assert!(!first.may_lack(at("01-01"), Some(at("01-01")), kept_since), "a second full of messages");
        assert!(!first.may_lack(at("01-01"), Some(today), kept_since), "its crowded seconds, read again");
        let later = Memory::of(Some(at("02-10")), today);
        assert!(later.may_lack(at("02-09"), Some(today), kept_since));
        assert!(!later.may_lack(at("02-10"), Some(today), kept_since), "nobody has asked for it");
        assert!(!later.may_lack(at("02-09"), Some(at("02-11")), kept_since), "too near to the watermark");
        assert!(!later.may_lack(at("03-02"), Some(today), kept_since), "not old enough");
    }

    #[test]
    fn a_walk_that_goes_on_for_longer_than_is_remembered_may_come_upon_its_own() {
        let walk = Memory::of(Some(at("02-01")), at("03-01"));
        assert!(!walk.may_lack(at("02-10"), Some(at("03-31")), at("02-20")));
        assert!(walk.may_lack(at("02-10"), Some(at("03-31")), at("03-02")));
    }
}
