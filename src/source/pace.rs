//! How fast the API is asked: so many requests a second, and no queue of one's own making.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// A limit on requests per second. Clones share it.
#[derive(Debug, Clone)]
pub struct Pace {
    gap: Duration,
    burst: u32,
    /// When the request after the last one is due; with a burst, it may come earlier by so many gaps.
    due: Arc<Mutex<Option<Instant>>>,
}

impl Pace {
    /// At most so many requests a second, evenly spaced.
    pub fn per_second(rate: f64) -> Self {
        let gap = Duration::try_from_secs_f64(1.0 / rate).unwrap_or_default();
        Self { gap, burst: 1, due: Arc::default() }
    }

    /// No limit.
    pub fn unlimited() -> Self {
        Self { gap: Duration::ZERO, burst: 1, due: Arc::default() }
    }

    /// After a rest, so many at once.
    pub fn burst(mut self, requests: u32) -> Self {
        self.burst = requests.max(1);
        self
    }

    /// Waits for one's turn. Turns are given in the order asked for; giving up while waiting costs the turn.
    pub async fn turn(&self) {
        let now = Instant::now();
        let start = self.reserve(now);
        if start > now {
            sleep_until(start).await;
        }
    }

    /// Takes the next turn and says when it is.
    fn reserve(&self, now: Instant) -> Instant {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let mine = due.unwrap_or(now).max(now);
        *due = Some(mine + self.gap);
        mine.checked_sub(self.gap * (self.burst - 1)).unwrap_or(now).max(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(pace: &Pace, turns: usize) -> Vec<u128> {
        let now = Instant::now();
        (0..turns).map(|_| pace.reserve(now).duration_since(now).as_millis()).collect()
    }

    #[test]
    fn turns_are_spaced_and_a_rest_earns_a_burst() {
        assert_eq!(waits(&Pace::per_second(2.0), 3), [0, 500, 1000]);
        assert_eq!(waits(&Pace::per_second(2.0).burst(3), 5), [0, 0, 0, 500, 1000]);
        assert_eq!(waits(&Pace::unlimited(), 3), [0, 0, 0]);
    }
}
