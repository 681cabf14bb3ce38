//! What the judge is to know of a delivery and its target.

use std::time::Duration;

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
    let attempts = history.as_ref().map_or(&[][..], |detail| &detail.history);
    let refused_alone = match refused_since(attempts) {
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
        doubts: u32::try_from(attempts.iter().filter(|attempt| is(attempt, Outcome::Doubtful)).count())
            .unwrap_or(u32::MAX),
        refused_alone,
        put_off: put_off(attempts),
        created_at: job.created_at,
        first_due: job.first_due,
        tried_for: tried_for(attempts, job, target, now),
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

fn is(attempt: &Attempt, outcome: Outcome) -> bool {
    attempt.outcome == outcome.as_str()
}

/// When the target turned it away as if it refused everything, for the first time since that was last held against it. What the
/// target is sent from then on and takes shows that it does not.
fn refused_since(history: &[Attempt]) -> Option<Timestamp> {
    let turned_away = |attempt: &&Attempt| is(attempt, Outcome::TargetBroken);
    history.iter().find(turned_away)?;
    let doubted = history.iter().rposition(|attempt| is(attempt, Outcome::Doubtful));
    let since = &history[doubted.map_or(0, |last| last + 1)..];
    since.iter().find(turned_away).or_else(|| history.get(doubted?)).map(|attempt| attempt.at)
}

/// For how long it has been tried since its moment came.
fn tried_for(history: &[Attempt], job: &Job, target: &Target, now: Timestamp) -> Duration {
    let tried =
        history.iter().filter(|attempt| !is(attempt, Outcome::TargetBroken)).map(|attempt| attempt.at);
    let moments: Vec<Timestamp> = tried.filter(|at| *at >= job.first_due).chain([now]).collect();
    let waits = moments
        .windows(2)
        .map(|pair| Duration::try_from(pair[1].duration_since(pair[0])).unwrap_or_default());
    waits.map(|wait| wait.min(target.retry.wait_max())).fold(Duration::ZERO, Duration::saturating_add)
}

/// How often the target turned it away since such a refusal was held against it: the attempts, oldest first.
fn put_off(history: &[Attempt]) -> Option<u32> {
    let first = history.iter().position(|attempt| is(attempt, Outcome::TargetBroken))?;
    let last =
        history.iter().rposition(|attempt| is(attempt, Outcome::Doubtful)).filter(|last| *last > first)?;
    let since = history[last..].iter().filter(|attempt| is(attempt, Outcome::TargetBroken)).count();
    Some(u32::try_from(since).unwrap_or(u32::MAX))
}
