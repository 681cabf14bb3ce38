//! The one door to time and chance.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use crate::model::id::digest;
use crate::model::settle::after_now;

/// Where "now" comes from.
#[derive(Debug, Clone)]
pub enum Clock {
    /// The machine's clock.
    System,
    /// A clock that moves when told to.
    Manual(Arc<Mutex<Timestamp>>),
}

impl Clock {
    /// A clock that stands at `at` until it is advanced.
    pub fn manual(at: Timestamp) -> Self {
        Self::Manual(Arc::new(Mutex::new(at)))
    }

    /// The present moment.
    #[expect(clippy::disallowed_methods, reason = "this is the door")]
    pub fn now(&self) -> Timestamp {
        match self {
            Self::System => Timestamp::now(),
            Self::Manual(at) => *at.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// Moves a manual clock; the system's clock does not move.
    pub fn advance(&self, by: Duration) {
        if let Self::Manual(at) = self {
            let mut at = at.lock().unwrap_or_else(PoisonError::into_inner);
            *at = after_now(*at, by);
        }
    }
}

/// Where random numbers come from: each follows from the seed, from whom it is drawn for and when, and not from what others draw
/// meanwhile, so that the same seed gives the same run whichever of two answers comes first.
#[derive(Debug, Clone, Copy)]
pub struct Chance(u64);

impl Chance {
    /// Seeded by the system.
    pub fn system() -> Self {
        Self(fastrand::Rng::new().u64(..))
    }

    /// The same numbers for the same seed.
    pub fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    /// A number in `0.0..1.0`.
    pub fn unit(self, whose: &str, at: Timestamp) -> f64 {
        let drawn = digest(&[&self.0.to_string(), whose, &at.as_nanosecond().to_string()]);
        let seed = drawn.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        fastrand::Rng::with_seed(seed).f64()
    }
}
