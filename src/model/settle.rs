//! The one judge: what follows from an attempt's outcome, for the delivery and for its target.

use std::time::Duration;

use jiff::Timestamp;

use super::backoff::scaled;
use super::delivery::{Outcome, RetryPolicy, State};
use super::duration::shown;

/// A 429 without a usable `Retry-After` pauses the target this long.
const BUSY_PAUSE: Duration = Duration::from_secs(5);
/// What a target may ask for at the least.
const ASKED_MIN: Duration = Duration::from_secs(1);
/// What a target may ask for at the most, which is the longest wait of all.
pub const ASKED_MAX: Duration = Duration::from_hours(24);
/// A message that the target refuses so often is dead.
const DOUBTS_MAX: u32 = 5;
/// The first wait between such tries.
const DOUBTFUL_WAIT: Duration = Duration::from_mins(10);
/// So often what was refused alone before is put off before its target is parked for it.
const PUT_OFF_MAX: u32 = 3;
/// A parked target is probed after this long, doubling up to an hour.
const PROBE_FIRST: Duration = Duration::from_mins(1);
const PROBE_MAX: Duration = Duration::from_hours(1);
/// Where the next wait would outlast a delivery's life, its last try is so long before the end.
const LAST_TRY: Duration = Duration::from_secs(30);

/// A target that takes one at a time waits so long at the most for one that is soon tried again.
const HOLD_MAX: Duration = Duration::from_mins(1);
/// A target that failed so often in a row, whatever it was sent, is tried with one delivery at a time: one that is dead
/// occupies nothing, however much queues for it.
pub const FAILURES_MANY: u32 = 10;
/// Between such tries it rests a quarter of the time that it has failed, within these bounds.
const REST_MIN: Duration = Duration::from_secs(1);
const REST_MAX: Duration = Duration::from_mins(1);

/// What `settle` is to know of the delivery beside the outcome.
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    /// Attempts before this one that reached the target.
    pub attempts: u32,
    /// How often the target refused it before for what it says.
    pub doubts: u32,
    /// The target refused it before as if it refused everything, and took something else since.
    pub refused_alone: bool,
    /// How often it was put off since such a refusal was held against it, as nothing else was sent meanwhile; `None` where none was.
    pub put_off: Option<u32>,
    /// When the delivery was planned.
    pub created_at: Timestamp,
    /// When it was first to be attempted: what waited for its moment has all its life before it then.
    pub first_due: Timestamp,
    /// For how long it has been tried: the time between its attempts that the target did not turn away with everything, each wait
    /// counted for at most [`RetryPolicy::wait_max`].
    pub tried_for: Duration,
    /// When it stops being worth sending.
    pub expires_at: Option<Timestamp>,
    /// This attempt already was the plain rendering.
    pub plain: bool,
    /// The target takes one at a time, so that what is sent there is read in order.
    pub serial: bool,
    /// How often in a row the target's probe failed before; 0 where it is not parked.
    pub probes: u32,
    /// Attempts at the target in a row that failed before, whatever they were about.
    pub failures: u32,
    /// When the first of them was.
    pub failing_since: Option<Timestamp>,
}

impl Facts {
    /// When it is given up, if it is then still refused. What queues for a parked target is not given up at all, it only expires:
    /// that is not the delivery's fault.
    fn tried_until(&self, policy: &RetryPolicy, now: Timestamp) -> Option<Timestamp> {
        let left = policy.give_up_after.saturating_sub(self.tried_for);
        (self.probes == 0).then(|| after_now(now, left))
    }

    /// What an outcome is taken for, which is what is recorded: a refusal of everything is one of this message where the target
    /// takes others.
    pub fn meant(&self, outcome: Outcome) -> Outcome {
        if outcome == Outcome::TargetBroken && self.refused_alone { Outcome::Doubtful } else { outcome }
    }
}

/// What follows for the target as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetChange {
    /// Nothing.
    None,
    /// It did not take this one, for a reason that may be the target's.
    Failing {
        /// Nobody sends to it before then: it has taken nothing for long, or takes one at a time and waits
        /// for this one.
        rest_until: Option<Timestamp>,
    },
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

impl TargetChange {
    /// Whoever has more for the target looks first how it stands.
    pub fn is_trouble(&self) -> bool {
        match self {
            Self::Failing { .. } | Self::Pause { .. } | Self::Park { .. } => true,
            Self::None | Self::Healthy => false,
        }
    }
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
    let dead = |why: &str| State::Dead { at: now, why: why.to_owned() };
    match facts.meant(outcome) {
        Outcome::Delivered => verdict(State::Delivered { at: now }, TargetChange::Healthy),
        Outcome::Retry { after } => {
            let own = || within_life(facts, now, policy.backoff.wait(attempts, jitter));
            let wait = after.map_or_else(own, asked);
            let (state, rest_until) = (later(facts, policy, now, wait, reason), rest_until(facts, now));
            if facts.serial && wait <= HOLD_MAX && matches!(state, State::Pending { .. }) {
                let rest_until = rest_until.max(Some(after_now(now, wait)));
                return verdict(in_turn(facts, state, now), TargetChange::Failing { rest_until });
            }
            verdict(state, TargetChange::Failing { rest_until })
        }
        Outcome::Busy { after } => {
            let wait = after.map_or(BUSY_PAUSE, asked);
            let target = TargetChange::Pause { until: after_now(now, wait) };
            let state = in_turn(facts, later(facts, policy, now, wait, reason), now);
            Verdict { counts: false, ..verdict(state, target) }
        }
        // It was refused alone before, and nothing else was sent since: the next one tells, and waits for no probe. If none comes
        // for long, it may be the target after all, and people are told.
        Outcome::TargetBroken
            if facts.probes == 0 && facts.put_off.is_some_and(|times| times < PUT_OFF_MAX) =>
        {
            let due_at = after_now(now, within_life(facts, now, doubtful_wait(facts, jitter)));
            let expired = facts.expires_at.is_some_and(|end| now >= end);
            let state = if expired { State::Expired { at: now } } else { State::Pending { due_at } };
            Verdict { counts: false, ..verdict(state, TargetChange::None) }
        }
        Outcome::TargetBroken => {
            let doubled = PROBE_FIRST.saturating_mul(1 << facts.probes.min(10)).min(PROBE_MAX);
            let probe_at = after_now(now, scaled(doubled, 0.8 + 0.4 * jitter.clamp(0.0, 1.0)));
            let state = if facts.expires_at.is_some_and(|end| now >= end) {
                State::Expired { at: now }
            } else if facts.probes > 0 {
                // It goes behind, and the next probe is another one: were it this message and not the target, nothing
                // else would ever be tried. What is behind gets its place back when the target takes something.
                State::Pending { due_at: probe_at }
            } else {
                // A person may mend and resume the target long before its probe: nothing is given up early.
                in_turn(facts, State::Pending { due_at: now }, now)
            };
            Verdict { counts: false, ..verdict(state, TargetChange::Park { probe_at }) }
        }
        Outcome::ShapeRefused if !facts.plain => Verdict {
            plain: true,
            ..verdict(
                in_turn(facts, later(facts, policy, now, Duration::ZERO, reason), now),
                TargetChange::None,
            )
        },
        Outcome::Doubtful => {
            let (why, target) = if outcome == Outcome::TargetBroken {
                let why = format!("refused while the target takes others: {reason}");
                (why, TargetChange::Failing { rest_until: None })
            } else {
                (reason.to_owned(), TargetChange::None)
            };
            let doubts = facts.doubts.saturating_add(1);
            if doubts >= DOUBTS_MAX {
                return verdict(dead(&why), target);
            }
            let wait = within_life(facts, now, doubtful_wait(facts, jitter));
            verdict(later(facts, policy, now, wait, &why), target)
        }
        Outcome::ShapeRefused | Outcome::Refused => verdict(dead(reason), TargetChange::None),
    }
}

/// How long what was refused for itself rests: longer each time.
fn doubtful_wait(facts: Facts, jitter: f64) -> Duration {
    let doubts = facts.doubts.saturating_add(1);
    scaled(DOUBTFUL_WAIT.saturating_mul(doubts), 0.8 + 0.4 * jitter.clamp(0.0, 1.0))
}

/// Pending until `now + wait`, unless that is past the delivery's life, or it was tried in vain for long enough.
fn later(facts: Facts, policy: &RetryPolicy, now: Timestamp, wait: Duration, reason: &str) -> State {
    let due_at = after_now(now, wait);
    if facts.expires_at.is_some_and(|end| due_at >= end) {
        return State::Expired { at: now };
    }
    if facts.tried_until(policy, now).is_some_and(|end| due_at >= end) {
        let after = shown(policy.give_up_after);
        return State::Dead { at: now, why: format!("gave up after {after}: {reason}") };
    }
    State::Pending { due_at }
}

/// A wait of the relay's own choice, shorter where it would outlast the delivery's life: there is one last try shortly before
/// the end. (What a target asks for is not cut short.)
fn within_life(facts: Facts, now: Timestamp, wait: Duration) -> Duration {
    let Some(end) = facts.expires_at.filter(|end| after_now(now, wait) >= *end) else { return wait };
    let left = Duration::try_from(end.duration_since(now)).unwrap_or_default().saturating_sub(LAST_TRY);
    if left.is_zero() { wait } else { left }
}

/// Until when a target that fails again and again is left alone.
fn rest_until(facts: Facts, now: Timestamp) -> Option<Timestamp> {
    let since = facts.failing_since.filter(|_| facts.failures >= FAILURES_MANY)?;
    let failing = Duration::try_from(now.duration_since(since)).unwrap_or(Duration::ZERO);
    Some(after_now(now, (failing / 4).clamp(REST_MIN, REST_MAX)))
}

/// What waits because its whole target does keeps its place: it is due since it first was, and the target's own
/// moment holds it, so that nothing planned later overtakes it.
fn in_turn(facts: Facts, state: State, now: Timestamp) -> State {
    match state {
        State::Pending { .. } => State::Pending { due_at: facts.first_due.max(facts.created_at).min(now) },
        ended => ended,
    }
}

fn asked(wait: Duration) -> Duration {
    wait.clamp(ASKED_MIN, ASKED_MAX)
}

/// `at + wait`, at the end of time at the latest.
pub fn after_now(at: Timestamp, wait: Duration) -> Timestamp {
    at.saturating_add(jiff::SignedDuration::try_from(wait).unwrap_or(jiff::SignedDuration::MAX))
        .unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
#[path = "settle_tests.rs"]
mod tests;
