//! Why polls fail, and how long polling rests then. Pure.

use std::time::Duration;

use crate::source::fault::ApiError;
use crate::store::StoreError;

/// The longest wait after failed polls, unless the interval itself is longer.
const FAILED_WAIT_MAX: Duration = Duration::from_mins(1);
/// The first wait after "too many requests" that names no time, and the longest.
const LIMITED_WAIT_FIRST: Duration = Duration::from_mins(1);
const LIMITED_WAIT_MAX: Duration = Duration::from_mins(15);
/// What the API asks for is waited at the least this long.
const ASKED_WAIT_MIN: Duration = Duration::from_secs(1);

/// Why a poll did not go through.
#[derive(Debug, thiserror::Error)]
pub enum PollError {
    /// The API.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// Our own store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl PollError {
    /// Another instance polls the account.
    pub fn role_lost(&self) -> bool {
        matches!(self, Self::Store(StoreError::RoleLost(_)))
    }
}

/// How long to wait after the given number of failed polls in a row; what the API asks for wins.
pub(super) fn wait_after(error: &PollError, failures: u32, poll_every: Duration) -> Duration {
    let doubled = |first: Duration| first.saturating_mul(1 << failures.saturating_sub(1).min(16));
    if let PollError::Api(error) = error {
        if let Some(asked) = error.asked_to_wait() {
            return asked.max(ASKED_WAIT_MIN);
        }
        if matches!(error, ApiError::RateLimited { .. }) {
            return doubled(LIMITED_WAIT_FIRST).min(LIMITED_WAIT_MAX);
        }
    }
    doubled(poll_every).min(FAILED_WAIT_MAX.max(poll_every))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_polls_wait_longer_each_time_and_the_api_has_the_last_word() {
        let every = Duration::from_secs(20);
        let broken = PollError::Store(StoreError::Trouble("disk full".into()));
        let waits: Vec<u64> = (1..=4).map(|n| wait_after(&broken, n, every).as_secs()).collect();
        assert_eq!(waits, [20, 40, 60, 60]);
        let limited = |after| PollError::Api(ApiError::RateLimited { after, words: String::new() });
        let waits: Vec<u64> = (1..=6).map(|n| wait_after(&limited(None), n, every).as_secs()).collect();
        assert_eq!(waits, [60, 120, 240, 480, 900, 900]);
        assert_eq!(wait_after(&limited(Some(Duration::from_secs(7))), 9, every).as_secs(), 7);
        assert_eq!(wait_after(&broken, 40, Duration::from_mins(5)).as_secs(), 300);
    }
}
