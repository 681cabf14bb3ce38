//! What is owed because rules matched: the only place where deliveries come from.

use std::collections::HashMap;

use jiff::Timestamp;

use crate::model::delivery::Planned;
use crate::model::id::DeliveryId;
use crate::model::message::Message;
use crate::model::settle::after_now;

use super::{Deliver, Rule};

/// What the matching rules owe for one message, due from `now` on: one delivery for each entry of a rule's
/// `deliver:` and each of its recipients. The same message and rules always give the same ids.
///
/// What has expired before it could be sent is planned all the same: the store shows it as expired, so that a
/// person sees what was not sent.
pub fn plan(found: &[&Rule], message: &Message, now: Timestamp) -> Vec<Planned> {
    found.iter().flat_map(|rule| plan_rule(rule, message, now)).collect()
}

fn plan_rule(rule: &Rule, message: &Message, now: Timestamp) -> Vec<Planned> {
    let mut planned = Vec::new();
    let mut occurrences: HashMap<(&str, Option<&str>), usize> = HashMap::new();
    for deliver in &rule.deliver {
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
                due_at: now,
                expires_at: deliver.expires_after.map(|life| after_now(message.created_at, life)),
                withheld: None,
                replay_of: None,
                joins: None,
            });
        }
    }
    planned
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
