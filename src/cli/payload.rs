//! A payload as people see it: a mail as a reader would, everything else as indented JSON.

use crate::answers::payload::headers;
use crate::model::payload::Payload;
use crate::target::Target;

use super::output::{BOLD, DIM, paint};

pub use crate::answers::payload::as_json;

/// The payload for people: a mail as a reader would show it, everything else as indented JSON.
///
/// # Errors
/// The payload cannot be written as JSON.
pub fn as_text(payload: &Payload, target: Option<&Target>, id: &str) -> anyhow::Result<String> {
    let Payload::Email(mail) = payload else {
        return Ok(serde_json::to_string_pretty(&as_json(payload, target, id))?);
    };
    let mut headers = headers(mail, target, id);
    if headers.is_empty() {
        headers.push(("Subject".to_owned(), mail.subject.clone()));
    }
    let mut lines: Vec<String> = headers
        .into_iter()
        .map(|(name, value)| format!("{} {value}", paint(BOLD, format!("{name}:"))))
        .collect();
    lines.push(String::new());
    lines.push(mail.text.trim_end().to_owned());
    if let Some(html) = &mail.html {
        let size = format!("(and an HTML part of {} characters)", html.chars().count());
        lines.push(format!("\n{}", paint(DIM, size)));
    }
    for file in &mail.attachments {
        let size = format!("(and the file {} of {} characters)", file.name, file.text.chars().count());
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
