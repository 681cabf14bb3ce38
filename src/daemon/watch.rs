//! When an account's trouble is worth telling a person, and when it is over. Pure.

use std::time::Duration;

use jiff::Timestamp;

use crate::model::settle::after_now;

/// Polling must fail for so many intervals before anybody is told.
const INTERVALS: u32 = 5;

/// How an account's polling has gone lately.
#[derive(Debug, Clone, Default)]
pub struct Watch {
    failing_since: Option<Timestamp>,
    told: bool,
}

/// What is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// Nothing.
    None,
    /// Polling fails and does not mend itself.
    Failing,
    /// It goes on after people were told that it failed.
    Recovered,
}

impl Watch {
    /// Notes a poll's result. `refused`: the token is refused, which time does not cure, so it is told at once.
    pub fn note(&mut self, failed: bool, refused: bool, poll_every: Duration, now: Timestamp) -> News {
        if !failed {
            let news = if self.told { News::Recovered } else { News::None };
            *self = Self::default();
            return news;
        }
        let since = *self.failing_since.get_or_insert(now);
        let patience = poll_every.saturating_mul(INTERVALS);
        if !self.told && (refused || now >= after_now(since, patience)) {
            self.told = true;
            return News::Failing;
        }
        News::None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_secs(30);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    #[test]
    fn a_short_trouble_is_nobody_s_business() {
        let mut watch = Watch::default();
        assert_eq!(watch.note(true, false, EVERY, at(0)), News::None);
        assert_eq!(watch.note(true, false, EVERY, at(60)), News::None);
        assert_eq!(watch.note(false, false, EVERY, at(90)), News::None);
    }

    #[test]
    fn a_long_one_is_told_once_and_so_is_its_end() {
        let mut watch = Watch::default();
        assert_eq!(watch.note(true, false, EVERY, at(0)), News::None);
        assert_eq!(watch.note(true, false, EVERY, at(150)), News::Failing);
        assert_eq!(watch.note(true, false, EVERY, at(300)), News::None);
        assert_eq!(watch.note(false, false, EVERY, at(330)), News::Recovered);
        assert_eq!(watch.note(false, false, EVERY, at(360)), News::None);
    }

    #[test]
    fn a_refused_token_is_told_at_once() {
        assert_eq!(Watch::default().note(true, true, EVERY, at(0)), News::Failing);
    }
}
