//! The one judge: what follows from an attempt's outcome, for the delivery and for its target.

use std::time::Duration;

use jiff::Timestamp;

use super::delivery::{Outcome, RetryPolicy, State};

/// A 429 without a usable `Retry-After` pauses the target this long.
const BUSY_PAUSE: Duration = Duration::from_secs(5);
/// What a target may ask for at the least and at the most.
const ASKED_MIN: Duration = Duration::from_secs(1);
const ASKED_MAX: Duration = Duration::from_hours(24);
/// A message that the target refuses is tried this often before it is dead.
const DOUBTFUL_ATTEMPTS_MAX: u32 = 5;
/// The first wait between such tries.
const DOUBTFUL_WAIT: Duration = Duration::from_mins(10);
/// A parked target is probed after this long, doubling up to an hour.
const PROBE_FIRST: Duration = Duration::from_mins(1);
const PROBE_MAX: Duration = Duration::from_hours(1);

/// What `settle` is to know of the delivery beside the outcome.
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    /// Attempts before this one that reached the target.
    pub attempts: u32,
    /// When the delivery was planned.
    pub created_at: Timestamp,
    /// When it stops being worth sending.
    pub expires_at: Option<Timestamp>,
    /// This attempt already was the plain rendering.
    pub plain: bool,
    /// How often in a row the target's probe failed before.
    pub probes: u32,
}

/// What follows for the target as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetChange {
    /// Nothing.
    None,
    /// Nobody sends to it before then; it is healthy otherwise.
    Pause {
        /// The end of the pause.
        until: Timestamp,
    },
    /// It refuses everything: messages queue, one is tried again at `probe_at`.
    Park {
        /// When the next one is tried.
        probe_at: Timestamp,
    },
    /// It took a message: if it was parked, it no longer is.
    Healthy,
}

/// What follows from one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Where the delivery stands from here on.
    pub state: State,
    /// Whether the attempt counts: only what reached the target does.
    pub counts: bool,
    /// The next attempt sends the plain rendering.
    pub plain: bool,
    /// What follows for the target.
    pub target: TargetChange,
}

/// Decides what an outcome means. `jitter` is one number in `0.0..1.0`, drawn by the caller.
pub fn settle(
    facts: Facts,
    outcome: Outcome,
    reason: &str,
    policy: &RetryPolicy,
    now: Timestamp,
    jitter: f64,
) -> Verdict {
    let attempts = facts.attempts.saturating_add(1);
    let verdict = |state, target| Verdict { state, counts: true, plain: facts.plain, target };
    let dead = || State::Dead { at: now, why: reason.to_owned() };
    match outcome {
        Outcome::Delivered => verdict(State::Delivered { at: now }, TargetChange::Healthy),
        Outcome::Retry { after } => {
            let wait = after.map_or_else(|| policy.backoff.wait(attempts, jitter), asked);
            verdict(later(facts, policy, now, wait, reason), TargetChange::None)
        }
        Outcome::Busy { after } => {
            let wait = after.map_or(BUSY_PAUSE, asked);
            let target = TargetChange::Pause { until: after_now(now, wait) };
            Verdict { counts: false, ..verdict(later(facts, policy, now, wait, reason), target) }
        }
        Outcome::TargetBroken => {
            let doubled = PROBE_FIRST.saturating_mul(1 << facts.probes.min(10)).min(PROBE_MAX);
            let wait = doubled.mul_f64(0.8 + 0.4 * jitter.clamp(0.0, 1.0));
            let target = TargetChange::Park { probe_at: after_now(now, wait) };
            let due_at = after_now(now, wait);
            let expired = facts.expires_at.is_some_and(|end| due_at >= end);
            let state = if expired { State::Expired { at: now } } else { State::Pending { due_at } };
            Verdict { counts: false, ..verdict(state, target) }
        }
        Outcome::ShapeRefused if !facts.plain => Verdict {
            plain: true,
            ..verdict(later(facts, policy, now, Duration::ZERO, reason), TargetChange::None)
        },
        Outcome::Doubtful if attempts < DOUBTFUL_ATTEMPTS_MAX => {
            let wait = DOUBTFUL_WAIT.saturating_mul(attempts).mul_f64(0.8 + 0.4 * jitter.clamp(0.0, 1.0));
            verdict(later(facts, policy, now, wait, reason), TargetChange::None)
        }
        Outcome::ShapeRefused | Outcome::Doubtful | Outcome::Refused => verdict(dead(), TargetChange::None),
    }
}

/// Pending until `now + wait`, unless that is past the delivery's life. (A broken target is not the delivery's
/// fault: what queues for a parked target never gives up, it only expires.)
fn later(facts: Facts, policy: &RetryPolicy, now: Timestamp, wait: Duration, reason: &str) -> State {
    let due_at = after_now(now, wait);
    if facts.expires_at.is_some_and(|end| due_at >= end) {
        return State::Expired { at: now };
    }
    if due_at >= after_now(facts.created_at, policy.give_up_after) {
        let days = policy.give_up_after.as_secs_f64() / 86_400.0;
        return State::Dead { at: now, why: format!("gave up after {days:.1} days: {reason}") };
    }
    State::Pending { due_at }
}

fn asked(wait: Duration) -> Duration {
    wait.clamp(ASKED_MIN, ASKED_MAX)
}

/// `at + wait`, at the end of time at the latest.
pub fn after_now(at: Timestamp, wait: Duration) -> Timestamp {
    at.saturating_add(jiff::SignedDuration::try_from(wait).unwrap_or(jiff::SignedDuration::MAX))
        .unwrap_or(Timestamp::MAX)
}
