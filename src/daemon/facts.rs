//! What the judge is to know of a delivery and its target.

use crate::model::delivery::{Attempt, Job, Outcome};
use crate::model::settle::Facts;
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
) -> Facts {
    let history = match outcome {
        Outcome::TargetBroken | Outcome::Doubtful => store.delivery(&job.claim.id).await,
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
    Facts {
        attempts: job.claim.attempts,
        doubts: u32::try_from(earlier(Outcome::Doubtful)).unwrap_or(u32::MAX),
        refused_alone,
        put_off: history.as_ref().and_then(|detail| put_off(&detail.history)),
        created_at: job.created_at,
        first_due: job.first_due,
        expires_at: job.expires_at,
        plain: job.plain,
        serial: target.concurrency.get() == 1,
        // One that a person resumed begins anew.
        probes: state.parked_until.map_or(0, |_| state.probes),
        failures: state.failures,
        failing_since: state.failing_since,
    }
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
