//! The message that a command is about: out of a file, or a sample of its type.

use std::path::Path;

use jiff::Timestamp;
use serde_json::Value;

use crate::answers::subject::read_item;
use crate::model::message::{Message, Triple};
use crate::model::names::Names;

use super::{Exit, Stop};

pub use crate::answers::subject::{canonical, view};

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
    crate::answers::subject::sample_of(triple, account, now).map_err(|why| Stop::new(Exit::Problem, why))
}
