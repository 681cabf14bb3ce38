//! A payload as programs see it: the JSON body for Slack and HTTP, the parts of a mail with its headers.

use serde_json::{Map, Value, json};

use crate::model::payload::{Mail, Payload};
use crate::target::{Kind, Target, email};

/// The payload as the JSON contract has it. The mail's headers follow from the target; without it there are none.
pub fn as_json(payload: &Payload, target: Option<&Target>, id: &str) -> Value {
    match payload {
        Payload::Slack(value) => value.clone(),
        Payload::Http(body) => {
            serde_json::from_str(&body.body).unwrap_or_else(|_| Value::String(body.body.clone()))
        }
        Payload::Email(mail) => {
            let headers = headers(mail, target, id).into_iter().map(|(name, value)| (name, json!(value)));
            let mut parts = json!({
                "subject": mail.subject,
                "text": mail.text,
                "html": mail.html,
                "headers": headers.collect::<Map<_, _>>(),
            });
            if !mail.attachments.is_empty() {
                parts["attachments"] = json!(mail.attachments);
            }
            parts
        }
    }
}

/// The headers that a mail is sent with; none where the target is not known or no mail.
pub fn headers(mail: &Mail, target: Option<&Target>, id: &str) -> Vec<(String, String)> {
    match target.map(|target| &target.kind) {
        Some(Kind::Email(target)) => email::headers(target.settings(), mail, id),
        _ => Vec::new(),
    }
}
