//! After an outage, and when hours open: what queued up for a target meanwhile is sent together, where there is much of it.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::config::Config;
use crate::model::delivery::{StateName, Waiting};
use crate::model::settle::after_now;
use crate::rules::plan::together;
use crate::store::{Outlook, Store, StoreError, TargetState};
use crate::target::Target;

use super::metrics::{Metrics, OfEnd};

/// A shorter trouble is no outage: what waits for the target's pace in a busy minute is sent one by one.
const OUTAGE_MIN: Duration = Duration::from_mins(1);
/// Deliveries looked at in one tick; the rest of a longer backlog follows with the next.
const STEP: usize = 5_000;

/// Looks at what queued up for targets that have come back. `true` if deliveries were taken together, so that what is
/// due is no longer what it was.
///
/// It may end anywhere: each gathering is one transaction, and the recovery counts as seen only after the last.
pub(super) async fn take_together(
    store: &Store,
    metrics: &Metrics,
    config: &Config,
    outlook: &Outlook,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let mut changed = false;
    for state in outlook.states.iter().filter(|state| state.recovered_at.is_some()) {
        let (gathered, more) = match config.targets.get(&state.name) {
            Some(target) => take(store, metrics, target, state, now).await?,
            None => (0, false),
        };
        changed |= gathered > 0;
        if !more {
            store.recovery_seen(&state.name).await?;
        }
    }
    // The hours opened: what was held until then comes together, where it is much.
    let due = |target: &&Arc<Target>| outlook.due.get(&target.name).is_some_and(|due| *due <= now);
    for target in config.targets.values().filter(due) {
        let Some(over) = target.coalesce_over else { continue };
        let held = store.held(&target.name, now, STEP).await?;
        changed |= gather(store, metrics, target, over, &held, now).await? > 0;
    }
    Ok(changed)
}

/// How many deliveries of the target were taken together, and whether more are to be looked at.
async fn take(
    store: &Store,
    metrics: &Metrics,
    target: &Target,
    state: &TargetState,
    now: Timestamp,
) -> Result<(usize, bool), StoreError> {
    let (Some(since), Some(until), Some(over)) =
        (state.failing_since, state.recovered_at, target.coalesce_over)
    else {
        return Ok((0, false));
    };
    if until < after_now(since, OUTAGE_MIN) {
        return Ok((0, false));
    }
    let waiting = store.waiting(&target.name, until, STEP).await?;
    let full = waiting.len() == STEP;
    let gathered = gather(store, metrics, target, over, &waiting, now).await?;
    // A step that brought nothing would bring nothing the next time either.
    Ok((gathered, full && gathered > 0))
}

/// Takes together what waits, where it is more than `over`; how many deliveries that were.
async fn gather(
    store: &Store,
    metrics: &Metrics,
    target: &Target,
    over: NonZeroU32,
    waiting: &[Waiting],
    now: Timestamp,
) -> Result<usize, StoreError> {
    let mut gathered = 0;
    for (whole, parts) in together(&target.name, over, waiting, now) {
        let (id, rule) = (whole.id.clone(), whole.rule.clone());
        let count = store.gather(whole, &parts, now).await?;
        if count > 0 {
            tracing::info!(target = target.name, rule, count, delivery = %id, "what queued up is sent together");
            let of = OfEnd::new(&rule, &target.name, StateName::Withheld, "sent_together");
            metrics.ended.get_or_create(&of).inc_by(u64::try_from(count).unwrap_or(u64::MAX));
        }
        gathered += count;
    }
    Ok(gathered)
}
