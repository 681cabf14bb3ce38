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
        let message = format!(
            "{kind} is no message type; write Type/message/direction, such as Meeting/cancelled/client_to_pivot"
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
