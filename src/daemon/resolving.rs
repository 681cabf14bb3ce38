//! What a delivery of one message says of others: those that its message makes good, and what made itself good.

use crate::config::Config;
use crate::model::delivery::Job;
use crate::model::group::Kind;
use crate::render::view::{Around, Resolved, Seen};
use crate::rules::Rule;
use crate::store::{Filter, Row, Store, StoreError};

use super::events::one_event;
use super::names::Soon;

/// Deliveries that one message makes good, as far as they are told.
const RESOLVED_MAX: usize = 200;

/// Puts it around the message. Without a rule that resolves another nothing is asked of the store.
pub(super) async fn around(
    job: &Job,
    told: &[Seen],
    config: &Config,
    store: &Store,
    soon: Soon<'_>,
    around: &mut Around,
) -> Result<(), StoreError> {
    let digest = job.gathered.is_some_and(|gathered| gathered.kind == Kind::Digest);
    let (false, [told], true) = (digest, told, config.rules.are_resolving()) else { return Ok(()) };
    let Some(rule) = config.rules.get(&job.rule) else { return Ok(()) };
    if rule.resolves.is_some() {
        around.resolved = resolved(job, told, rule, store, soon).await?;
    }
    if !rule.good_by.is_empty()
        && let Some(good) = store.delivery(&job.claim.id).await?.and_then(|detail| detail.row.made_good)
        && let Some(by) = store.message(Some(&job.account), &good.by).await?
    {
        around.resolved_by = Some(soon.seen(by.message).await);
    }
    Ok(())
}

/// What the message makes good: each alert once, as the target itself was sent it, if it was.
async fn resolved(
    job: &Job,
    told: &Seen,
    rule: &Rule,
    store: &Store,
    soon: Soon<'_>,
) -> Result<Vec<Resolved>, StoreError> {
    let mut rows: Vec<(Row, Seen)> = Vec::new();
    for by in told.whole() {
        let uid = by.message.uid.clone();
        let filter = Filter { made_good_by: Some(uid), limit: Some(RESOLVED_MAX), ..Filter::default() };
        let found = store.page(filter).await?.into_iter().filter(|row| row.account == job.account);
        rows.extend(found.map(|row| (row, Seen::new(by.message.clone(), by.names.clone()))));
    }
    let names = |row: &Row| rule.resolves.as_ref().is_some_and(|resolves| resolves.rules.contains(&row.rule));
    rows.retain(|(row, _)| names(row));
    let elsewhere = |row: &Row| (row.target != job.target, row.recipient != job.recipient, row.number);
    rows.sort_by_key(|(row, _)| elsewhere(row));
    let mut resolved: Vec<Resolved> = Vec::new();
    for (row, by) in rows {
        let alike = |one: &Resolved| one.rule == row.rule && one.message.tells_of(&row.messages);
        if resolved.iter().any(alike) {
            continue;
        }
        let mut messages = Vec::with_capacity(row.messages.len());
        for uid in &row.messages {
            if let Some(stored) = store.message(Some(&row.account), uid).await? {
                messages.push(soon.seen(stored.message).await);
            }
        }
        messages.sort_by_key(|one| one.message.created_at);
        if let Some(message) = one_event(messages) {
            let delivery = row.id.as_str().to_owned();
            resolved.push(Resolved { message, by, delivery, rule: row.rule, target: row.target });
        }
    }
    resolved.sort_by_key(|one| (one.message.message.created_at, one.message.message.uid.clone()));
    Ok(resolved)
}
