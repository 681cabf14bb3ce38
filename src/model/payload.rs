//! What is handed to a target: rendered once, kept, and sent again unchanged on every retry.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The [`Payload::type_name`] of a mail.
pub const MAIL: &str = "email";

/// Which kind of payload a target takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// A Slack incoming-webhook message.
    Slack,
    /// A mail.
    Email,
    /// An HTTP body.
    Http(HttpBody),
}

/// What an HTTP target's body is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HttpBody {
    /// The template's `http.yaml` if it has one, else the event.
    #[default]
    Auto,
    /// The default event, whatever the template holds.
    Event,
    /// The default event in a `CloudEvents` 1.0 structured envelope.
    CloudEvents,
}

/// A rendered message, ready to send.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Payload {
    /// The JSON body for a Slack incoming webhook.
    Slack(Value),
    /// A mail, without its recipient.
    Email(Mail),
    /// The body for an HTTP target, as the exact bytes to send.
    Http(Body),
}

impl Payload {
    /// The type of the targets that take it, as the rules file writes it.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Slack(_) => "slack",
            Self::Email(_) => MAIL,
            Self::Http(_) => "http",
        }
    }

    /// Whether a target that takes this format can send it: its type may have changed since this was rendered.
    pub fn fits(&self, format: Format) -> bool {
        matches!(
            (self, format),
            (Self::Slack(_), Format::Slack)
                | (Self::Email(_), Format::Email)
                | (Self::Http(_), Format::Http(_))
        )
    }
}

/// A mail's parts. Headers that identify the delivery are added by the e-mail target.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Mail {
    /// One line, no CR or LF.
    pub subject: String,
    /// The plain-text part.
    pub text: String,
    /// The HTML part, if the template has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub html: Option<String>,
    /// Identifies the thread (the client), from which `References` is derived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread: Option<String>,
    /// The moment the mail's `Date` names, in milliseconds since the epoch: stable over retries.
    pub date_ms: i64,
    /// Files that it carries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<Attachment>,
}

/// A text file that a mail carries.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Attachment {
    /// The file's name: ASCII letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// Such as `text/csv; charset=utf-8`.
    pub content_type: String,
    /// The whole file.
    pub text: String,
}

/// An HTTP body.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Body {
    /// Such as `application/json`.
    pub content_type: String,
    /// The exact bytes, which are always UTF-8.
    pub body: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mail_that_was_kept_before_there_were_files_is_read() {
        let kept = r#"{"email":{"subject":"a","text":"b","date_ms":1}}"#;
        let mail = Mail { subject: "a".into(), text: "b".into(), date_ms: 1, ..Mail::default() };
        let read: Payload = serde_json::from_str(kept).unwrap();
        assert_eq!(read, Payload::Email(mail));
        assert_eq!(serde_json::to_string(&read).unwrap(), kept);
    }
}
