//! What a digest tells when it closes: its messages or its events, and beside them what was made good meanwhile, what expired,
//! how late it is.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::config::Config;
use crate::model::delivery::Job;
use crate::model::group::{Gathered, Kind};
use crate::model::names::Names;
use crate::model::settle::after_now;
use crate::render::view::{Around, Resolved, Seen};
use crate::rules::evaluate::surely_takes;
use crate::rules::expression::Expression;
use crate::rules::timing::{IfEmpty, LATE_MIN, Timing};
use crate::rules::{Resolves, Rule};
use crate::store::{MessagePage, Store, StoreError};

use super::events::{by_event, one_event};
use super::names::Soon;

/// Messages looked through at once.
const PAGE: usize = 500;
/// Messages looked through in all: those that make others good are few among them.
const LOOKED_AT_MAX: usize = 20_000;
/// So long after the reading began none are looked for any more: longer than anybody waits for names, and well before the courier
/// finds that the lease is too short to send.
const LOOKING_MAX: Duration = Duration::from_secs(5);

/// What the delivery is to tell, once its messages are seen. Of an event that came in several messages one is left, with the
/// others under it; what was made good is taken out.
pub(super) async fn around(
    job: &Job,
    seen: &mut Vec<Seen>,
    config: &Config,
    store: &Store,
    soon: Soon<'_>,
    now: Timestamp,
) -> Result<Around, StoreError> {
    let mut around = Around { gathered: job.gathered, throttled: job.throttled, ..Around::default() };
    let Some(Gathered { kind, from, .. }) = job.gathered else { return Ok(around) };
    seen.sort_by(|one, other| {
        (one.message.created_at, &one.message.uid).cmp(&(other.message.created_at, &other.message.uid))
    });
    if kind == Kind::Event {
        *seen = one_event(std::mem::take(seen)).into_iter().collect();
        return Ok(around);
    }
    if let Some(collapse) = timing(job, config).and_then(|timing| timing.collapse.as_ref()) {
        *seen = by_event(std::mem::take(seen), collapse);
    }
    if job.replay_of.is_none() {
        around.late = late(job.first_due, now);
        around.due = Some(job.first_due);
        around.expired = store.expired(job, from).await?;
    }
    around.resolved = resolved(job, seen, config, store, soon, now).await?;
    Ok(around)
}

fn late(first_due: Timestamp, now: Timestamp) -> Option<Duration> {
    let late = Duration::try_from(now.duration_since(first_due)).ok()?;
    (after_now(first_due, LATE_MIN) <= now).then_some(late)
}

/// Takes out of a digest what others made good since.
async fn resolved(
    job: &Job,
    seen: &mut Vec<Seen>,
    config: &Config,
    store: &Store,
    soon: Soon<'_>,
    now: Timestamp,
) -> Result<Vec<Resolved>, StoreError> {
    let resolvers: Vec<(&Rule, &Resolves)> = config
        .rules
        .list()
        .iter()
        .filter_map(|rule| Some((rule, rule.resolves.as_ref()?)))
        .filter(|(_, resolves)| resolves.rules.contains(&job.rule))
        .collect();
    let first = seen.iter().map(|one| one.message.created_at).min();
    let Some(first) = first.filter(|_| !resolvers.is_empty()) else { return Ok(Vec::new()) };
    let until = soon.begun() + LOOKING_MAX;
    let good = makers_good(&job.account, &resolvers, first, store, soon, now, until).await?;
    let mut resolved = Vec::new();
    for one in std::mem::take(seen) {
        let by = good.iter().find(|(resolves, by)| {
            let key = resolves.by.of(&one.message, &one.names);
            by.message.created_at >= one.message.created_at
                && one.whole().all(|own| own.message.uid != by.message.uid)
                && key.missing.is_empty()
                && key.key == resolves.by.of(&by.message, &by.names).key
        });
        match by {
            Some((_, by)) => resolved.push(Resolved {
                message: one,
                by: by.clone(),
                delivery: job.claim.id.as_str().to_owned(),
                rule: job.rule.clone(),
                target: job.target.clone(),
            }),
            None => seen.push(one),
        }
    }
    Ok(resolved)
}

/// Messages since then that rules took which make others good, with each of these rules; as far as they are found `until` then.
/// A digest that tells of too much is better than none.
async fn makers_good<'c>(
    account: &str,
    resolvers: &[(&Rule, &'c Resolves)],
    from: Timestamp,
    store: &Store,
    soon: Soon<'_>,
    now: Timestamp,
    until: Instant,
) -> Result<Vec<(&'c Resolves, Seen)>, StoreError> {
    let (mut found, mut after, mut looked_at) = (Vec::new(), None, 0);
    loop {
        if Instant::now() >= until {
            tracing::warn!(account, looked_at, "the store is slow: a digest may tell of what was made good");
            return Ok(found);
        }
        // A moment further than now: what was made in this very moment is seen as well.
        let to = after_now(now, Duration::from_secs(1));
        let page = MessagePage { account: account.to_owned(), from, to, after, limit: PAGE };
        let messages = store.messages(page).await?;
        looked_at += messages.len();
        after = messages.last().map(|last| (last.message.created_at, last.message.uid.clone()));
        let more = messages.len() == PAGE && looked_at < LOOKED_AT_MAX;
        for stored in messages {
            let took_it = |(rule, _): &&(&Rule, &Resolves)| stored.rules.contains(&rule.name);
            let by: Vec<&(&Rule, &Resolves)> = resolvers.iter().filter(took_it).collect();
            if by.is_empty() {
                continue;
            }
            let looks = |rule: &Rule| rule.filter.as_ref().is_some_and(Expression::needs_names);
            let seen = if by.iter().any(|(rule, resolves)| resolves.by.needs_names() || looks(rule)) {
                soon.seen(stored.message).await
            } else {
                Seen::new(stored.message, Names::default())
            };
            // One may have taken it only because names were late.
            let surely = |rule: &Rule| !looks(rule) || surely_takes(rule, &seen.message, &seen.names);
            let sure = by.into_iter().filter(|(rule, _)| surely(rule));
            found.extend(sure.map(|(_, makes_good)| (*makes_good, seen.clone())));
        }
        if !more {
            return Ok(found);
        }
    }
}

/// Why a digest is not sent after all: nothing is left of it.
pub(super) fn nothing_left(job: &Job, seen: &[Seen], around: &Around, config: &Config) -> Option<String> {
    let digest = around.gathered.is_some_and(|gathered| gathered.kind == Kind::Digest);
    if !digest || !seen.is_empty() || around.resolved.is_empty() {
        return None;
    }
    let timing = timing(job, config);
    if timing.and_then(|timing| timing.digest.as_ref()).is_some_and(|one| one.if_empty == IfEmpty::Send) {
        return None;
    }
    let by: Vec<String> = around
        .resolved
        .iter()
        .map(|one| format!("{} by {}", one.message.message.uid, one.by.message.uid))
        .collect();
    Some(format!("all of it was made good before it closed: {}", by.join(", ")))
}

/// What the digest's entry of `deliver:` says of time: of several to the same target the one that makes digests.
fn timing<'c>(job: &Job, config: &'c Config) -> Option<&'c Timing> {
    let deliver = &config.rules.get(&job.rule)?.deliver;
    let of_target = deliver.iter().filter(|deliver| deliver.target == job.target);
    let mut timings = of_target.map(|deliver| &deliver.timing);
    timings.clone().find(|timing| timing.makes_digests()).or_else(|| timings.next())
}

#[cfg(test)]
#[path = "closing_tests.rs"]
mod tests;
