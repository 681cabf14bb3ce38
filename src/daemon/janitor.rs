//! Keeps the store small: removes history that is old enough, in small steps.

use jiff::Timestamp;

use crate::config::Retention;
use crate::store::{Store, StoreError};

/// Rows removed in one transaction.
const STEP_ROWS: usize = 500;
/// Steps in one tick; what is left waits for the next tick.
const STEPS_MAX: usize = 20;

/// Removes what `retention` no longer keeps; returns how many rows went.
///
/// # Errors
/// The store cannot be written.
pub async fn tick(store: &Store, retention: Retention, now: Timestamp) -> Result<usize, StoreError> {
    let before =
        |kept| now.saturating_sub(jiff::SignedDuration::try_from(kept).unwrap_or(jiff::SignedDuration::MAX));
    let delivered_before = before(retention.delivered).unwrap_or(Timestamp::MIN);
    let dead_before = before(retention.dead).unwrap_or(Timestamp::MIN);
    let mut gone = 0;
    for _ in 0..STEPS_MAX {
        let step = store.prune(delivered_before, dead_before, STEP_ROWS).await?;
        gone += step;
        if step < STEP_ROWS {
            break;
        }
    }
    Ok(gone)
}
