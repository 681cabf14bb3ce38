//! A payload as people see it: a mail as a reader would, everything else as indented JSON.

use serde_json::Value;

use crate::model::payload::{MAIL, Payload};
use crate::target::Target;

use super::output::{BOLD, DIM, paint};

pub use crate::answers::payload::as_json;

/// The payload for people: a mail as a reader would show it, everything else as indented JSON.
///
/// # Errors
/// The payload cannot be written as JSON.
pub fn as_text(payload: &Payload, target: Option<&Target>, id: &str) -> anyhow::Result<String> {
    in_words(&as_json(payload, target, id), payload.type_name())
}

/// The same out of its JSON, for a type of targets.
///
/// # Errors
/// The payload cannot be written as JSON.
pub fn in_words(payload: &Value, of: &str) -> anyhow::Result<String> {
    if of != MAIL {
        return Ok(serde_json::to_string_pretty(payload)?);
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let headers = payload["headers"].as_object().filter(|headers| !headers.is_empty());
    let headers = headers.map_or_else(
        || vec![("Subject".to_owned(), text(&payload["subject"]))],
        |headers| headers.iter().map(|(name, value)| (name.clone(), text(value))).collect(),
    );
    let mut lines: Vec<String> = headers
        .into_iter()
        .map(|(name, value)| format!("{} {value}", paint(BOLD, format!("{name}:"))))
        .collect();
    lines.push(String::new());
    lines.push(text(&payload["text"]).trim_end().to_owned());
    if let Some(html) = payload["html"].as_str() {
        let size = format!("(and an HTML part of {} characters)", html.chars().count());
        lines.push(format!("\n{}", paint(DIM, size)));
    }
    for file in payload["attachments"].as_array().into_iter().flatten() {
        let size = text(&file["text"]).chars().count();
        let size = format!("(and the file {} of {size} characters)", text(&file["name"]));
        lines.push(paint(DIM, size));
    }
    Ok(lines.join("\n"))
}

/// The first line of what a reader sees: a mail's subject, a post's notification, a body's beginning.
pub fn first_line(payload: &Payload) -> String {
    let text = match payload {
        Payload::Slack(value) => value["text"].as_str().map_or_else(|| value.to_string(), str::to_owned),
        Payload::Http(body) => body.body.clone(),
        Payload::Email(mail) => mail.subject.clone(),
    };
    text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default().to_owned()
}
