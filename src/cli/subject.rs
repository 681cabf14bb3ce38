//! The message that a command is about: out of a file, or a sample of its type.

use std::path::Path;

use jiff::Timestamp;
use serde_json::Value;

use crate::config::Config;
use crate::model::catalog;
use crate::model::id::DeliveryId;
use crate::model::message::{Message, Triple, key};
use crate::model::names::Names;
use crate::model::sample as model_sample;
use crate::render::view::{Around, Seen, View};
use crate::source::wire;

use super::{Exit, Stop};

/// So many types are named to somebody who looks for one.
const TYPES_NAMED: usize = 3;
/// Where links lead while no account is configured.
const APP_HOST: &str = "https://app.vcita.com";

/// One item as the API gives it, out of a file.
///
/// # Errors
/// The file cannot be read, is no JSON, or holds something else.
pub fn from_file(path: &Path, account: &str) -> anyhow::Result<Message> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Stop::new(Exit::Usage, format!("{} cannot be read: {error}", path.display())))?;
    let item: Value = serde_json::from_str(&text)
        .map_err(|error| Stop::new(Exit::Usage, format!("{} is no JSON: {error}", path.display())))?;
    read_item(account, &item)
}

/// A sample by its type, written `Type/message/direction`; spelling is forgiven as in rules.
///
/// # Errors
/// The text does not have that form.
pub fn sample(kind: &str, account: &str, now: Timestamp) -> anyhow::Result<(Message, Names)> {
    let names: Vec<&str> = kind.split('/').collect();
    let [activity_type, message_type, direction] = names[..] else {
        let types = types_like(kind);
        let such_as = if types.is_empty() { "Meeting/cancelled/client_to_pivot" } else { &types };
        let message = format!(
            "{kind} is no message type; write Type/message/direction, such as {such_as} (`activity-relay catalog` lists all)"
        );
        return Err(Stop::new(Exit::Usage, message));
    };
    sample_of(&canonical([activity_type, message_type, direction]), account, now)
}

/// A message of a type, be it in the catalogue or not.
///
/// # Errors
/// It cannot be read back, which would be a fault of ours.
pub fn sample_of(triple: &Triple, account: &str, now: Timestamp) -> anyhow::Result<(Message, Names)> {
    let item = model_sample::item(triple, now);
    Ok((read_item(account, &item)?, model_sample::names()))
}

/// A type of the catalogue by its whole name, written `Type/message/direction`.
pub fn known_type(text: &str) -> Option<Triple> {
    let names: Vec<&str> = text.split('/').collect();
    let &[activity_type, message_type, direction] = names.as_slice() else { return None };
    Some(canonical([activity_type, message_type, direction])).filter(|triple| catalog::find(triple).is_some())
}

/// The first types of the catalogue whose names hold every word of a text; empty if none does.
pub fn types_like(text: &str) -> String {
    let words: Vec<String> = text.split(['/', ' ']).map(str::to_lowercase).collect();
    let names = catalog::all().iter().map(|entry| entry.triple().to_string());
    let like = names.filter(|name| words.iter().all(|word| name.to_lowercase().contains(word)));
    like.take(TYPES_NAMED).collect::<Vec<_>>().join(", ")
}

/// A type as the catalogue spells it, where it has it; spelling is forgiven as in rules.
pub fn canonical([activity_type, message_type, direction]: [&str; 3]) -> Triple {
    let same = |known: &str, given: &str| key(known) == key(given);
    let known = catalog::all().iter().find(|entry| {
        same(entry.activity_type, activity_type)
            && same(entry.message_type, message_type)
            && same(entry.direction, direction)
    });
    let as_given = || Triple {
        activity_type: activity_type.to_owned(),
        message_type: message_type.to_owned(),
        direction: direction.to_owned(),
    };
    known.map_or_else(as_given, catalog::Entry::triple)
}

/// What a template sees, as the courier would show it; of the delivery: id, rule and target.
pub fn view(
    config: &Config,
    message: Message,
    names: Names,
    (id, rule, target): (DeliveryId, &str, &str),
    now: Timestamp,
) -> View {
    let account = config.accounts.iter().find(|account| account.name == message.account);
    let account = account.or(config.accounts.first());
    View {
        delivery_id: id.to_string(),
        attempt: 1,
        rule: rule.to_owned(),
        target: target.to_owned(),
        account: account.map_or_else(|| message.account.clone(), |account| account.name.clone()),
        app_host: account.map_or_else(
            || APP_HOST.to_owned(),
            |account| account.app_host.as_str().trim_end_matches('/').to_owned(),
        ),
        timezone: config.timezone.clone(),
        now,
        messages: vec![Seen { message, names }],
        notice: None,
        around: Around::default(),
    }
}

fn read_item(account: &str, item: &Value) -> anyhow::Result<Message> {
    wire::read_item(account, item).map_err(|unreadable| {
        Stop::new(Exit::Problem, format!("the item cannot be read: {}", unreadable.why))
    })
}
