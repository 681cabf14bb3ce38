//! How often a target may be sent to: the generic cell rate algorithm, whose whole state is one moment. Pure.

use std::num::NonZeroU32;
use std::time::Duration;

use jiff::Timestamp;

use super::settle::after_now;

/// How far the clocks of the hosts that share a store may be apart without doing harm.
pub const CLOCKS_APART_MAX: Duration = Duration::from_secs(5);

/// So many sends in so much time, with a burst on top.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// The time one send is worth.
    pub every: Duration,
    /// How many may go at once after a quiet time.
    pub burst: NonZeroU32,
}

impl Rate {
    /// How many sends may start at `now`, `next` being the algorithm's state (the theoretical arrival time of the
    /// next send); `None` before the first.
    pub fn free(self, next: Option<Timestamp>, now: Timestamp) -> usize {
        let burst = usize::try_from(self.burst.get()).unwrap_or(usize::MAX);
        let Some(next) = next else { return burst };
        let ahead = self.sane(next, now).duration_since(now);
        let ahead = Duration::try_from(ahead).unwrap_or(Duration::ZERO);
        let used = ahead.as_nanos().div_ceil(self.every.as_nanos().max(1));
        burst.saturating_sub(usize::try_from(used).unwrap_or(usize::MAX))
    }

    /// The state after `count` sends that start at `now`.
    pub fn taken(self, next: Option<Timestamp>, count: usize, now: Timestamp) -> Timestamp {
        let from = next.map_or(now, |next| self.sane(next, now)).max(now);
        after_now(from, self.every.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX)))
    }

    /// When the next send may start.
    pub fn free_at(self, next: Option<Timestamp>, now: Timestamp) -> Timestamp {
        let Some(next) = next else { return now };
        let allowance = self.every.saturating_mul(self.burst.get().saturating_sub(1));
        let allowance = jiff::SignedDuration::try_from(allowance).unwrap_or(jiff::SignedDuration::ZERO);
        self.sane(next, now).saturating_sub(allowance).unwrap_or(now).max(now)
    }

    /// Further ahead than a spent burst, what another host's clock may be ahead and what `now` is put back for that, is
    /// only what was written before the clock was set back.
    fn sane(self, next: Timestamp, now: Timestamp) -> Timestamp {
        let spent = self.every.saturating_mul(self.burst.get());
        let far = after_now(now, spent.saturating_add(2 * CLOCKS_APART_MAX));
        if next > far { after_now(now, spent) } else { next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(every_ms: u64, burst: u32) -> Rate {
        Rate { every: Duration::from_millis(every_ms), burst: NonZeroU32::new(burst).unwrap() }
    }

    fn start() -> Timestamp {
        "2026-03-02T08:00:00Z".parse().unwrap()
    }

    #[test]
    fn a_burst_goes_at_once_and_then_one_a_second() {
        let rate = rate(1000, 3);
        assert_eq!(rate.free(None, start()), 3);
        let next = Some(rate.taken(None, 3, start()));
        assert_eq!(rate.free(next, start()), 0);
        let second = rate.free_at(next, start());
        assert_eq!(second, after_now(start(), Duration::from_secs(1)));
        assert_eq!(rate.free(next, second), 1);
        let next = Some(rate.taken(next, 1, second));
        assert_eq!(rate.free(next, second), 0);
        assert_eq!(rate.free(next, after_now(second, Duration::from_mins(1))), 3);
    }

    #[test]
    fn a_clock_that_is_set_back_costs_a_burst_s_time_and_not_the_hour() {
        let rate = rate(1000, 3);
        let next = Some(rate.taken(None, 3, start()));
        let back = start().saturating_sub(jiff::SignedDuration::from_hours(1)).unwrap();
        assert_eq!(rate.free(next, back), 0);
        let soon = after_now(back, Duration::from_secs(1));
        assert_eq!(rate.free_at(next, back), soon);
        assert_eq!(rate.free(Some(rate.taken(next, 0, back)), soon), 1);
    }

    #[test]
    fn a_host_whose_clock_is_behind_holds_the_rate_too() {
        let rate = rate(1000, 3);
        let next = Some(rate.taken(None, 3, start()));
        let behind = start().saturating_sub(jiff::SignedDuration::from_secs(5)).unwrap();
        assert_eq!(rate.free(next, behind), 0);
        assert_eq!(rate.free_at(next, behind), after_now(start(), Duration::from_secs(1)));
    }
}
