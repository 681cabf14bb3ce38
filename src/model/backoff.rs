//! How long to wait before the next try: a pure function of the attempt number and one drawn number.

use std::time::Duration;

/// The steps as multiples of the first one: 5 s, 30 s, 2 m, 10 m, 30 m, 1 h, 2 h, and 2 h from there on.
const STEPS: [u32; 7] = [1, 6, 24, 120, 360, 720, 1440];

/// The shortest wait: jitter never turns a retry into a busy loop.
const WAIT_MIN: Duration = Duration::from_secs(1);

/// A growing wait with full jitter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The ceiling of the first wait.
    pub first: Duration,
    /// The ceiling that no wait passes.
    pub max: Duration,
}

impl Backoff {
    /// The wait's upper end after `attempts` failed tries (1 is the first).
    pub fn ceiling(&self, attempts: u32) -> Duration {
        let index = usize::try_from(attempts.saturating_sub(1)).unwrap_or(usize::MAX).min(STEPS.len() - 1);
        self.first.saturating_mul(STEPS[index]).min(self.max)
    }

    /// The wait itself: full jitter over the ceiling, at least a second. `jitter` is in `0.0..1.0`.
    pub fn wait(&self, attempts: u32, jitter: f64) -> Duration {
        scaled(self.ceiling(attempts), jitter.clamp(0.0, 1.0)).max(WAIT_MIN.min(self.max))
    }
}

/// `wait * factor`, or `wait` itself where that is no duration: the arithmetic of the standard library panics there.
pub fn scaled(wait: Duration, factor: f64) -> Duration {
    Duration::try_from_secs_f64(wait.as_secs_f64() * factor).unwrap_or(wait)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ceiling_grows_to_the_maximum_and_stays() {
        let backoff = Backoff { first: Duration::from_secs(5), max: Duration::from_hours(1) };
        let seconds: Vec<u64> = (1..=9).map(|n| backoff.ceiling(n).as_secs()).collect();
        assert_eq!(seconds, [5, 30, 120, 600, 1800, 3600, 3600, 3600, 3600]);
        assert_eq!(backoff.ceiling(u32::MAX).as_secs(), 3600);
    }

    #[test]
    fn jitter_covers_the_whole_range_but_never_less_than_a_second() {
        let backoff = Backoff { first: Duration::from_secs(5), max: Duration::from_hours(1) };
        assert_eq!(backoff.wait(1, 0.0), Duration::from_secs(1));
        assert_eq!(backoff.wait(1, 1.0), Duration::from_secs(5));
        assert_eq!(backoff.wait(3, 0.5), Duration::from_mins(1));
    }
}
