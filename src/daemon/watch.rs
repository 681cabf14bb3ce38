//! When an account's trouble is worth telling a person, and when it is over. Pure.

use std::time::Duration;

use jiff::Timestamp;

use crate::model::settle::after_now;

/// Polling must fail for so many intervals before anybody is told.
const INTERVALS: u32 = 5;

/// How long an account's polling may go without success before that is worth a word.
pub fn patience(poll_every: Duration) -> Duration {
    poll_every.saturating_mul(INTERVALS)
}

/// How an account's polling has gone lately.
#[derive(Debug, Clone, Default)]
pub struct Watch {
    failing_since: Option<Timestamp>,
    /// What people were told last, once that is known: that it fails, or that it does not.
    told: Option<bool>,
}

/// What is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// Nothing.
    None,
    /// Polling fails and does not mend itself.
    Failing,
    /// It goes on, after people were told that it failed or may have been.
    Recovered,
}

impl Watch {
    /// A watch over polling that has failed since then, or that is not known to fail.
    pub fn since(failing_since: Option<Timestamp>) -> Self {
        Self { failing_since, told: None }
    }

    /// Notes a poll's result. `refused`: the token is refused, which time does not cure, so it is told at once. The
    /// same news is given at each poll until it is told.
    pub fn note(&mut self, failed: bool, refused: bool, poll_every: Duration, now: Timestamp) -> News {
        if !failed {
            self.failing_since = None;
            return if self.told == Some(false) { News::None } else { News::Recovered };
        }
        let since = *self.failing_since.get_or_insert(now);
        if self.told != Some(true) && (refused || now >= after_now(since, patience(poll_every))) {
            return News::Failing;
        }
        News::None
    }

    /// People know now that it fails, or that it does not.
    pub fn told(&mut self, failing: bool) {
        self.told = Some(failing);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_secs(30);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    /// A poll's result, of which people are told if there is news.
    fn poll(watch: &mut Watch, failed: bool, second: i64) -> News {
        let news = watch.note(failed, false, EVERY, at(second));
        if news != News::None {
            watch.told(news == News::Failing);
        }
        news
    }

    #[test]
    fn a_short_trouble_is_nobody_s_business() {
        let mut watch = Watch::default();
        watch.told(false);
        for (failed, second) in [(true, 0), (true, 60), (false, 90)] {
            assert_eq!(poll(&mut watch, failed, second), News::None);
        }
    }

    #[test]
    fn a_long_one_is_told_once_and_so_is_its_end() {
        let mut watch = Watch::default();
        let polls = [(true, 0), (true, 150), (true, 300), (false, 330), (false, 360)];
        let news = polls.map(|(failed, second)| poll(&mut watch, failed, second));
        assert_eq!(news, [News::None, News::Failing, News::None, News::Recovered, News::None]);
    }

    #[test]
    fn what_could_not_be_told_is_news_again() {
        let mut watch = Watch::default();
        for second in [150, 180] {
            watch.note(true, false, EVERY, at(0));
            assert_eq!(watch.note(true, false, EVERY, at(second)), News::Failing);
        }
    }

    #[test]
    fn a_trouble_from_before_the_start_counts_from_its_beginning_and_may_have_been_told() {
        let mut watch = Watch::since(Some(at(-200)));
        assert_eq!(watch.note(true, false, EVERY, at(0)), News::Failing);
        assert_eq!(Watch::default().note(false, false, EVERY, at(0)), News::Recovered);
    }

    #[test]
    fn a_refused_token_is_told_at_once() {
        assert_eq!(Watch::default().note(true, true, EVERY, at(0)), News::Failing);
    }
}
