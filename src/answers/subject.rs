//! The message that a question is about: an item as the API gives it, or a sample of its type; and what templates see of it.

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

/// Where links lead while no account is configured.
const APP_HOST: &str = "https://app.vcita.com";

/// A message of a type, be it in the catalogue or not.
///
/// # Errors
/// It cannot be read back, which would be a fault of ours.
pub fn sample_of(triple: &Triple, account: &str, now: Timestamp) -> Result<(Message, Names), String> {
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
        messages: vec![Seen::new(message, names)],
        notice: None,
        around: Around::default(),
    }
}

/// One item as the API gives it.
///
/// # Errors
/// It cannot be read; the text says why.
pub fn read_item(account: &str, item: &Value) -> Result<Message, String> {
    wire::read_item(account, item)
        .map_err(|unreadable| format!("the item cannot be read: {}", unreadable.why))
}
