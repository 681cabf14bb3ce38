//! What is owed because rules matched: the only place where deliveries come from.

use std::collections::HashMap;
use std::num::NonZeroU32;

use jiff::Timestamp;

use crate::model::delivery::{Planned, Waiting};
use crate::model::id::DeliveryId;
use crate::model::message::Message;
use crate::model::mute::Mute;
use crate::model::names::Names;
use crate::model::settle::after_now;

use super::{Deliver, Rule, good};

/// The built-in template of what is sent together after an outage. It shows every message, which a rule's own
/// template need not.
pub const BACKLOG: &str = "backlog";

/// Deliveries that one takes the place of at the most; a longer backlog becomes several.
const TOGETHER_MAX: usize = 500;
/// What was lost with its holder so often in a row may be what takes it down, and is sent alone.
const LOST_MANY: u32 = 2;

/// What the matching rules owe for one message, due from `now` on: one delivery for each entry of a rule's
/// `deliver:` and each of its recipients. The same message and rules always give the same ids. What a muted rule
/// owes is withheld.
///
/// What has expired before it could be sent is planned all the same: the store shows it as expired, so that a
/// person sees what was not sent.
pub fn plan(
    found: &[&Rule],
    message: &Message,
    names: &Names,
    mutes: &[Mute],
    now: Timestamp,
) -> Vec<Planned> {
    found.iter().flat_map(|rule| plan_rule(rule, message, names, mutes, now)).collect()
}

fn plan_rule(rule: &Rule, message: &Message, names: &Names, mutes: &[Mute], now: Timestamp) -> Vec<Planned> {
    let withheld = Mute::of(mutes, &rule.name, now).map(Mute::why);
    let good_by = good::good_by(rule, message, names);
    let mut planned = Vec::new();
    let mut occurrences: HashMap<(&str, Option<&str>), usize> = HashMap::new();
    for deliver in &rule.deliver {
        let when = deliver.timing.when(message, names, now);
        for recipient in recipients(deliver) {
            let occurrence = occurrences.entry((&deliver.target, recipient)).or_default();
            let id = delivery_id(rule, deliver, recipient, *occurrence, message);
            *occurrence += 1;
            planned.push(Planned {
                id,
                account: message.account.clone(),
                rule: rule.name.clone(),
                target: deliver.target.clone(),
                recipient: recipient.map(str::to_owned),
                template: deliver.template.clone(),
                messages: vec![message.uid.clone()],
                notice: None,
                due_at: when.due_at,
                expires_at: deliver.expires_after.map(|life| after_now(message.created_at, life)),
                withheld: withheld.clone().or_else(|| when.withheld.clone()),
                replay_of: None,
                joins: when.joins.clone(),
                quota: when.quota.clone(),
                good_by: good_by.clone(),
            });
        }
    }
    planned
}

/// The digests of an account that are sent without a message too, each before its first one; and when the next of them
/// are to be opened.
pub fn open_digests(rules: &[Rule], account: &str, now: Timestamp) -> (Vec<Planned>, Option<Timestamp>) {
    let (mut planned, mut next): (Vec<Planned>, Option<Timestamp>) = (Vec::new(), None);
    let takes =
        |rule: &&Rule| rule.accounts.as_ref().is_none_or(|names| names.iter().any(|name| name == account));
    for rule in rules.iter().filter(takes) {
        for deliver in &rule.deliver {
            let Some(when) = deliver.timing.opens(now) else { continue };
            let Some(join) = when.joins else { continue };
            next = Some(next.map_or(join.to, |next| next.min(join.to)));
            planned.extend(recipients(deliver).into_iter().map(|recipient| {
                let name = join.name();
                let to = recipient.unwrap_or_default();
                Planned {
                    id: DeliveryId::derive(
                        join.to,
                        &[account, &name, &rule.name, &deliver.target, to, "empty"],
                    ),
                    account: account.to_owned(),
                    rule: rule.name.clone(),
                    target: deliver.target.clone(),
                    recipient: recipient.map(str::to_owned),
                    template: deliver.template.clone(),
                    messages: Vec::new(),
                    notice: None,
                    due_at: when.due_at,
                    // No message says when it was made: it lives from when it is due, unless one joins it.
                    expires_at: deliver.expires_after.map(|life| after_now(when.due_at, life)),
                    withheld: None,
                    replay_of: None,
                    joins: Some(join.clone()),
                    quota: None,
                    good_by: Vec::new(),
                }
            }));
        }
    }
    (planned, next)
}

/// Each recipient once; `None` alone where the target is one address.
fn recipients(deliver: &Deliver) -> Vec<Option<&str>> {
    if deliver.recipients.is_empty() {
        return vec![None];
    }
    let mut distinct = Vec::new();
    for recipient in &deliver.recipients {
        if !distinct.contains(&Some(recipient.as_str())) {
            distinct.push(Some(recipient.as_str()));
        }
    }
    distinct
}

/// The first entry to a target keeps its id when further entries to the same target are added.
fn delivery_id(
    rule: &Rule,
    deliver: &Deliver,
    recipient: Option<&str>,
    occurrence: usize,
    message: &Message,
) -> DeliveryId {
    let occurrence = occurrence.to_string();
    let mut parts =
        vec![&*message.account, &message.uid, &rule.name, &deliver.target, recipient.unwrap_or_default()];
    if occurrence != "0" {
        parts.push(&occurrence);
    }
    DeliveryId::derive(message.created_at, &parts)
}

/// What takes the place of a backlog that queued up for a target during an outage: a delivery, and those whose messages
/// it is about, oldest first. Where no more than `over` wait for a recipient, nothing does. What has expired is left
/// to expire, and what was sent together once stays as it is. What may be refused for what it says, or may take the relay
/// down, stays alone: it would do so to all the others with it. Of those that the target turned away while it took nothing that is
/// the one, where it is only one: nothing says that the others would have been.
///
/// One delivery stands for one rule, account and recipient, so that it can be told who owes it. It lives as long as the
/// last of its parts would, and is due since the first of them was planned.
pub fn together(
    target: &str,
    over: NonZeroU32,
    waiting: &[Waiting],
    now: Timestamp,
) -> Vec<(Planned, Vec<DeliveryId>)> {
    let alive = |one: &&Waiting| one.template != BACKLOG && one.expires_at.is_none_or(|end| end > now);
    let only_one = waiting.iter().filter(|one| one.turned_away).count() == 1;
    let harmless = |one: &&Waiting| one.lost < LOST_MANY && !one.doubted && !(one.turned_away && only_one);
    let mut groups: Vec<Vec<&Waiting>> = Vec::new();
    let mut lengths: HashMap<Option<&str>, usize> = HashMap::new();
    for one in waiting.iter().filter(alive).filter(harmless) {
        *lengths.entry(one.recipient.as_deref()).or_default() += 1;
        let like = |group: &&mut Vec<&Waiting>| group.first().is_some_and(|first| owed_alike(first, one));
        match groups.iter_mut().find(like) {
            Some(group) => group.push(one),
            None => groups.push(vec![one]),
        }
    }
    let over = usize::try_from(over.get()).unwrap_or(usize::MAX);
    let long = |group: &&Vec<&Waiting>| {
        let recipient = group.first().and_then(|first| first.recipient.as_deref());
        lengths.get(&recipient).is_some_and(|length| *length > over)
    };
    let parts = groups.iter().filter(long).flat_map(|group| group.chunks(TOGETHER_MAX));
    parts.filter(|parts| parts.len() > 1).filter_map(|parts| whole(target, parts)).collect()
}

fn owed_alike(one: &Waiting, other: &Waiting) -> bool {
    (&one.account, &one.rule, &one.recipient) == (&other.account, &other.rule, &other.recipient)
}

/// The delivery for all of the parts. Its id is made of theirs: the same parts are never taken together twice.
fn whole(target: &str, parts: &[&Waiting]) -> Option<(Planned, Vec<DeliveryId>)> {
    let first = *parts.first()?;
    let ids: Vec<DeliveryId> = parts.iter().map(|part| part.id.clone()).collect();
    let mut of: Vec<&str> = vec![BACKLOG];
    of.extend(ids.iter().map(DeliveryId::as_str));
    let ends: Option<Vec<Timestamp>> = parts.iter().map(|part| part.expires_at).collect();
    let planned = Planned {
        id: DeliveryId::derive(first.created_at, &of),
        account: first.account.clone(),
        rule: first.rule.clone(),
        target: target.to_owned(),
        recipient: first.recipient.clone(),
        template: BACKLOG.to_owned(),
        // The store fills in those of the parts that still wait.
        messages: Vec::new(),
        notice: None,
        due_at: first.created_at,
        expires_at: ends.and_then(|ends| ends.into_iter().max()),
        withheld: None,
        replay_of: None,
        joins: None,
        quota: None,
        good_by: Vec::new(),
    };
    Some((planned, ids))
}
