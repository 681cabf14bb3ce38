//! The message that a command is about: out of a file, or a sample of its type.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use crate::answers::subject::read_item;
use crate::model::catalog;
use crate::model::group::{Gathered, Kind};
use crate::model::message::{Message, Triple};
use crate::model::names::Names;
use crate::model::sample as model_sample;
use crate::render::view::{Resolved, Seen, View};

use super::{Exit, Stop};

pub use crate::answers::subject::{canonical, view};

/// So many types are named to somebody who looks for one.
const TYPES_NAMED: usize = 3;
/// What a sample of a digest covers.
const DAY: Duration = Duration::from_hours(24);

/// One item as the API gives it, out of a file.
///
/// # Errors
/// The file cannot be read, is no JSON, or holds something else.
pub fn from_file(path: &Path, account: &str) -> anyhow::Result<Message> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Stop::new(Exit::Usage, format!("{} cannot be read: {error}", path.display())))?;
    let item: Value = serde_json::from_str(&text)
        .map_err(|error| Stop::new(Exit::Usage, format!("{} is no JSON: {error}", path.display())))?;
    read_item(account, &item).map_err(|why| Stop::new(Exit::Problem, why))
}

/// A sample by its type, written `Type/message/direction`; spelling is forgiven as in rules.
///
/// # Errors
/// The text does not have that form.
pub fn sample(kind: &str, account: &str, now: Timestamp) -> anyhow::Result<(Message, Names)> {
    sample_of(&triple(kind)?, account, now)
}

/// A type written `Type/message/direction`; spelling is forgiven as in rules.
///
/// # Errors
/// The text does not have that form.
pub fn triple(kind: &str) -> anyhow::Result<Triple> {
    let names: Vec<&str> = kind.split('/').collect();
    let [activity_type, message_type, direction] = names[..] else {
        let types = types_like(kind);
        let such_as = if types.is_empty() { "Meeting/cancelled/client_to_pivot" } else { &types };
        let message = format!(
            "{kind} is no message type; write Type/message/direction, such as {such_as} (`activity-relay catalog` lists all)"
        );
        return Err(Stop::new(Exit::Usage, message));
    };
    Ok(canonical([activity_type, message_type, direction]))
}

/// A message of a type, be it in the catalogue or not.
///
/// # Errors
/// It cannot be read back, which would be a fault of ours.
pub fn sample_of(triple: &Triple, account: &str, now: Timestamp) -> anyhow::Result<(Message, Names)> {
    crate::answers::subject::sample_of(triple, account, now).map_err(|why| Stop::new(Exit::Problem, why))
}

/// A type of the catalogue by its whole name, written `Type/message/direction`.
pub fn known_type(text: &str) -> Option<Triple> {
    whole_type(text).filter(|triple| catalog::find(triple).is_some())
}

/// A text of the form `Type/message/direction`, whether the catalogue has it or not.
pub fn whole_type(text: &str) -> Option<Triple> {
    let names: Vec<&str> = text.split('/').collect();
    let &[activity_type, message_type, direction] = names.as_slice() else { return None };
    Some(canonical([activity_type, message_type, direction]))
}

/// The first types of the catalogue whose names hold every word of a text; empty if none does.
pub fn types_like(text: &str) -> String {
    let words: Vec<String> = text.split(['/', ' ']).map(str::to_lowercase).collect();
    let names = catalog::all().iter().map(|entry| entry.triple().to_string());
    let like = names.filter(|name| words.iter().all(|word| name.to_lowercase().contains(word)));
    like.take(TYPES_NAMED).collect::<Vec<_>>().join(", ")
}

/// Makes a digest of it: so many samples of these types, spread over the day before `now`.
///
/// # Errors
/// A sample cannot be read back, which would be a fault of ours.
pub fn gather(view: &mut View, types: &[Triple], items: usize, now: Timestamp) -> anyhow::Result<()> {
    let from = before(now, DAY);
    view.messages.clear();
    for (index, kind) in types.iter().cycle().take(items).enumerate() {
        let at = before(now, DAY * u32::try_from(items - index)? / u32::try_from(items + 1)?);
        let (mut message, _) = sample_of(kind, &view.account, at)?;
        message.uid = format!("{}-{}", message.uid, index + 1);
        view.messages.push(Seen::new(message, model_sample::names_of(index)));
    }
    view.around.gathered = Some(Gathered { kind: Kind::Digest, from, to: now });
    Ok(())
}

/// Adds everything that may be said beside messages: one settled, others held back, and of a digest that others expired and
/// that it is late.
///
/// # Errors
/// A sample cannot be read back, which would be a fault of ours.
pub fn note(view: &mut View, now: Timestamp) -> anyhow::Result<()> {
    view.around.throttled = 3;
    let failed = canonical(["Payment", "payment_failed", "to_pivot"]);
    let paid = canonical(["Payment", "payment_received", "to_pivot"]);
    let hour = Duration::from_hours(1);
    let (message, names) = sample_of(&failed, &view.account, before(now, hour * 3))?;
    let (by, by_names) = sample_of(&paid, &view.account, before(now, hour))?;
    view.around.resolved = vec![Resolved {
        message: Seen::new(message, names),
        by: Seen::new(by, by_names),
        delivery: view.delivery_id.clone(),
        rule: view.rule.clone(),
        target: view.target.clone(),
    }];
    if view.around.gathered.is_none() {
        return Ok(());
    }
    view.around.expired = 2;
    view.around.late = Some(hour * 2);
    view.around.due = Some(before(now, hour * 2));
    Ok(())
}

fn before(now: Timestamp, length: Duration) -> Timestamp {
    now.checked_sub(length).unwrap_or(now)
}
