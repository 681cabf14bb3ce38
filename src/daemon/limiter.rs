//! How often each target may be sent to: a token bucket per target, on the injected clock.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::model::settle::after_now;
use crate::target::Rate;

/// The buckets of all targets, as the generic cell rate algorithm keeps them: one moment each.
#[derive(Debug, Default)]
pub struct Limiter {
    /// The theoretical arrival time of each target's next send.
    next: HashMap<String, Timestamp>,
}

impl Limiter {
    /// How many sends the target may start at `now`.
    pub fn free(&mut self, target: &str, rate: Option<Rate>, now: Timestamp) -> usize {
        let Some(rate) = rate else { return usize::MAX };
        let burst = usize::try_from(rate.burst.get()).unwrap_or(usize::MAX);
        let Some(next) = self.next.get_mut(target) else { return burst };
        // Further ahead than a spent burst is only what was written before the clock was set back.
        *next = (*next).min(after_now(now, rate.every.saturating_mul(rate.burst.get())));
        let ahead = Duration::try_from(next.duration_since(now)).unwrap_or(Duration::ZERO);
        let used = ahead.as_nanos().div_ceil(rate.every.as_nanos().max(1));
        burst.saturating_sub(usize::try_from(used).unwrap_or(usize::MAX))
    }

    /// `count` sends start at `now`.
    pub fn take(&mut self, target: &str, rate: Option<Rate>, count: usize, now: Timestamp) {
        let Some(rate) = rate else { return };
        let from = self.next.get(target).copied().unwrap_or(now).max(now);
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        self.next.insert(target.to_owned(), after_now(from, rate.every.saturating_mul(count)));
    }

    /// When the target may next start a send.
    pub fn free_at(&self, target: &str, rate: Option<Rate>, now: Timestamp) -> Timestamp {
        let (Some(rate), Some(next)) = (rate, self.next.get(target)) else { return now };
        let allowance = rate.every.saturating_mul(rate.burst.get().saturating_sub(1));
        let allowance = jiff::SignedDuration::try_from(allowance).unwrap_or(jiff::SignedDuration::ZERO);
        next.saturating_sub(allowance).unwrap_or(now).max(now)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    fn rate(every_ms: u64, burst: u32) -> Rate {
        Rate { every: Duration::from_millis(every_ms), burst: NonZeroU32::new(burst).unwrap() }
    }

    #[test]
    fn a_burst_goes_at_once_and_then_one_a_second() {
        let mut limiter = Limiter::default();
        let rate = Some(rate(1000, 3));
        let start: Timestamp = "2026-03-02T08:00:00Z".parse().unwrap();
        assert_eq!(limiter.free("slack", rate, start), 3);
        limiter.take("slack", rate, 3, start);
        assert_eq!(limiter.free("slack", rate, start), 0);
        let second = limiter.free_at("slack", rate, start);
        assert_eq!(second, after_now(start, Duration::from_secs(1)));
        assert_eq!(limiter.free("slack", rate, second), 1);
        limiter.take("slack", rate, 1, second);
        assert_eq!(limiter.free("slack", rate, second), 0);
        assert_eq!(limiter.free("slack", rate, after_now(second, Duration::from_mins(1))), 3);
    }

    #[test]
    fn a_clock_that_is_set_back_costs_a_burst_s_time_and_not_the_hour() {
        let mut limiter = Limiter::default();
        let rate = rate(1000, 3);
        let start: Timestamp = "2026-03-02T08:00:00Z".parse().unwrap();
        limiter.take("slack", Some(rate), 3, start);
        let back = start.saturating_sub(jiff::SignedDuration::from_hours(1)).unwrap();
        assert_eq!(limiter.free("slack", Some(rate), back), 0);
        assert_eq!(limiter.free_at("slack", Some(rate), back), after_now(back, Duration::from_secs(1)));
        assert_eq!(limiter.free("slack", Some(rate), after_now(back, Duration::from_secs(1))), 1);
    }

    #[test]
    fn no_rate_is_no_limit() {
        let mut limiter = Limiter::default();
        let now: Timestamp = "2026-03-02T08:00:00Z".parse().unwrap();
        limiter.take("http", None, 1000, now);
        assert_eq!(limiter.free("http", None, now), usize::MAX);
        assert_eq!(limiter.free_at("http", None, now), now);
    }
}
