//! What the judge is to know of a delivery and its target.

use jiff::Timestamp;

use crate::model::delivery::{Attempt, Job, Outcome};
use crate::model::settle::{ASKED_MAX, Facts, after_now};
use crate::store::{Store, TargetState};
use crate::target::Target;

/// The facts, for an attempt that ended so. How the target answered earlier attempts is looked up where it matters; where that
/// cannot be read, nothing is held against the delivery.
pub(super) async fn facts(
    store: &Store,
    job: &Job,
    target: &Target,
    state: &TargetState,
    outcome: Outcome,
    now: Timestamp,
) -> Facts {
    let history = match outcome {
        Outcome::TargetBroken | Outcome::Doubtful => store.delivery(&job.claim.id).await,
        Outcome::Retry { .. } | Outcome::Busy { .. } | Outcome::ShapeRefused if is_old(job, target, now) => {
            store.delivery(&job.claim.id).await
        }
        _ => Ok(None),
    };
    let history = history.unwrap_or_else(|error| {
        tracing::warn!(delivery = %job.claim.id, %error, "its earlier attempts cannot be read: it is judged without them");
        None
    });
    let earlier = |outcome: Outcome| {
        let attempts = history.iter().flat_map(|detail| &detail.history);
        attempts.filter(|attempt| attempt.outcome == outcome.as_str()).count()
    };
    let refused = |attempt: &&Attempt| {
        [Outcome::Doubtful, Outcome::TargetBroken].iter().any(|outcome| attempt.outcome == outcome.as_str())
    };
    let refused_at =
        history.iter().flat_map(|detail| &detail.history).filter(refused).map(|attempt| attempt.at).max();
    let refused_alone = match refused_at.filter(|_| earlier(Outcome::TargetBroken) > 0) {
        Some(at) if outcome == Outcome::TargetBroken => {
            let took = store.took_since(&target.name, at).await;
            took.unwrap_or_else(|error| {
                tracing::warn!(delivery = %job.claim.id, %error, "what its target took cannot be read: it is judged without");
                false
            })
        }
        _ => false,
    };
    let tried = |attempt: &&Attempt| attempt.outcome != Outcome::TargetBroken.as_str();
    let tried_since =
        history.iter().flat_map(|detail| &detail.history).filter(tried).map(|attempt| attempt.at).min();
    Facts {
        attempts: job.claim.attempts,
        doubts: u32::try_from(earlier(Outcome::Doubtful)).unwrap_or(u32::MAX),
        refused_alone,
        put_off: history.as_ref().and_then(|detail| put_off(&detail.history)),
        created_at: job.created_at,
        first_due: job.first_due,
        tried_since,
        expires_at: job.expires_at,
        plain: job.plain,
        serial: target.concurrency.get() == 1,
        // One that a person resumed begins anew.
        probes: state.parked_until.map_or(0, |_| state.probes),
        failures: state.failures,
        failing_since: state.failing_since,
    }
}

/// It may be given up after the next wait, unless it was tried for a shorter time than it is there.
fn is_old(job: &Job, target: &Target, now: Timestamp) -> bool {
    let life = target.retry.give_up_after.saturating_sub(ASKED_MAX);
    now >= after_now(job.first_due.max(job.created_at), life)
}

/// How often the target turned it away since such a refusal was held against it: the attempts, oldest first.
fn put_off(history: &[Attempt]) -> Option<u32> {
    let is = |attempt: &Attempt, outcome: Outcome| attempt.outcome == outcome.as_str();
    let first = history.iter().position(|attempt| is(attempt, Outcome::TargetBroken))?;
    let last =
        history.iter().rposition(|attempt| is(attempt, Outcome::Doubtful)).filter(|last| *last > first)?;
    let since = history[last..].iter().filter(|attempt| is(attempt, Outcome::TargetBroken)).count();
    Some(u32::try_from(since).unwrap_or(u32::MAX))
}
