//! How much of a target may be leased at a moment, by its standing, its rate and what is under way.

use jiff::Timestamp;

use super::{TargetState, Want};
use crate::model::settle::FAILURES_MANY;

/// What may be claimed for a target at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// As much as is wanted.
    Ready,
    /// One delivery at a time, to see whether the target has recovered.
    Probing,
    /// Nothing yet, or nothing until a person says so.
    Held,
}

fn standing(state: &TargetState, now: Timestamp) -> Standing {
    let waits = |until: Option<Timestamp>| until.is_some_and(|until| until > now);
    if state.paused || waits(state.wait_until) || waits(state.parked_until) {
        Standing::Held
    } else if state.parked_until.is_some() || state.failures >= FAILURES_MANY {
        Standing::Probing
    } else {
        Standing::Ready
    }
}

/// How many deliveries the want may lease, `sending` of its target being under way.
pub(super) fn opening(want: &Want, state: Option<&TargetState>, sending: usize, now: Timestamp) -> usize {
    let (limit, concurrency) = match state.map_or(Standing::Ready, |state| standing(state, now)) {
        Standing::Ready => (want.limit, want.concurrency),
        Standing::Probing => (want.limit.min(1), want.concurrency.min(1)),
        Standing::Held => (0, 0),
    };
    let next_slot = state.and_then(|state| state.next_slot);
    let paced = want.rate.map_or(usize::MAX, |rate| rate.free(next_slot, now));
    limit.min(concurrency.saturating_sub(sending)).min(paced)
}
