//! Slack incoming webhooks.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;
use url::Url;

use crate::egress::{ANSWER_BYTES_MAX, Answer, Egress, Request};
use crate::model::delivery::{Outcome, Report};
use crate::model::payload::Payload;

use super::Parcel;
use super::verdict::{Verdict, answered, by_status, failed, unsent};

/// Error words by which Slack says that this message has a shape it does not take.
const SHAPE_WORDS: [&str; 4] = ["invalid_payload", "no_text", "missing_text", "too_many_attachments"];

/// A Slack incoming webhook.
#[derive(Debug)]
pub struct Slack {
    webhook_url: SecretString,
    egress: Egress,
}

impl Slack {
    /// `webhook_url` has been checked by `config` for host and form.
    pub fn new(webhook_url: SecretString, egress: Egress) -> Self {
        Self { webhook_url, egress }
    }

    /// Posts once.
    pub async fn deliver(&self, parcel: &Parcel<'_>, deadline: Duration) -> Report {
        let start = Instant::now();
        let Payload::Slack(message) = parcel.payload else {
            let words = "the stored payload is not a Slack message; the target's type has changed".to_owned();
            return unsent(start, (Outcome::Refused, words));
        };
        let url = match self.url() {
            Ok(url) => url,
            Err(words) => return unsent(start, (Outcome::TargetBroken, words)),
        };
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        let request = Request {
            method: Method::POST,
            url: url.clone(),
            headers,
            body: message.to_string().into_bytes(),
            answer_bytes_max: ANSWER_BYTES_MAX,
        };
        match self.egress.send(request, deadline).await {
            Ok(answer) => answered(start, &answer, judge(&answer, &url, parcel.now)),
            Err(failure) => failed(start, &failure),
        }
    }

    /// Checks the URL's form and that its host can be reached, without posting anything. The webhook itself may still be
    /// revoked: Slack says so only to a message.
    pub async fn probe(&self, deadline: Duration) -> Result<String, String> {
        let url = self.url()?;
        if is_slack(&url) && !url.path().starts_with("/services/") && !url.path().starts_with("/workflows/") {
            return Err(
                "the webhook URL's path does not begin with /services/; copy it again from Slack's app page"
                    .to_owned(),
            );
        }
        self.egress.reach(&url, deadline).await.map_err(|failure| failure.text)
    }

    fn url(&self) -> Result<Url, String> {
        Url::parse(self.webhook_url.expose_secret())
            .map_err(|error| format!("the webhook URL is not a URL: {error}"))
    }
}

fn is_slack(url: &Url) -> bool {
    matches!(url.host_str(), Some("hooks.slack.com" | "hooks.slack-gov.com"))
}

/// What Slack's status and its short text mean.
fn judge(answer: &Answer, url: &Url, now: Timestamp) -> Verdict {
    let text = answer.text();
    let word: String = text.trim().chars().take(100).collect();
    match answer.status.as_u16() {
        200 if word == "ok" => (Outcome::Delivered, "delivered".to_owned()),
        200..=299 => {
            let answer = if word.is_empty() { "nothing".to_owned() } else { format!("`{word}`") };
            (
                Outcome::Delivered,
                format!(
                    "warning: taken, but the answer is {answer} where Slack says `ok`; check that the URL is a Slack webhook"
                ),
            )
        }
        400 if is_shape(&word) => {
            (Outcome::ShapeRefused, format!("Slack does not take this message (400 {word})"))
        }
        413 => (Outcome::ShapeRefused, "Slack finds this message too long (413)".to_owned()),
        status @ (403 | 404 | 410) => {
            (Outcome::TargetBroken, format!("Slack refuses the webhook ({status} {word}): {}", remedy(&word)))
        }
        401 => (Outcome::TargetBroken, format!("Slack refuses the webhook (401 {word}): {}", remedy(&word))),
        429 | 300..=399 | 408 | 425 | 500..=599 => by_status(answer, url, now),
        status => (
            Outcome::Doubtful,
            format!("Slack does not take this message ({status} {word}): {}", remedy(&word)),
        ),
    }
}

/// Whether a 400's word is about the message's shape: `invalid_blocks_format`, `msg_blocks_too_long`, `no_text` …
fn is_shape(word: &str) -> bool {
    SHAPE_WORDS.iter().any(|known| word.starts_with(known))
        || word.contains("invalid_blocks")
        || word.contains("too_long")
}

/// What the person who set the webhook up can do.
fn remedy(word: &str) -> &'static str {
    match word {
        "no_service" | "no_service_id" | "no_active_hooks" | "No service" => {
            "the webhook was revoked, or its app removed; make a new one and set `webhook_url`"
        }
        "invalid_token" => {
            "the URL is not one of Slack's, perhaps cut short; copy it again into `webhook_url`"
        }
        "channel_not_found" => "the channel was deleted, or made private; make a webhook for another one",
        "channel_is_archived" => "unarchive the channel, or make a webhook for another one",
        "action_prohibited" => "an administrator restricts posting; ask for this app to be allowed",
        "posting_to_general_channel_denied" => {
            "posting to #general is restricted; choose another channel or ask an administrator"
        }
        "team_disabled" | "no_team" => "the workspace is disabled or gone; make a webhook in another one",
        "user_not_found" => "the message names a user who does not exist; check the template's mentions",
        _ => "look the word up in Slack's documentation of incoming webhooks",
    }
}

#[cfg(test)]
mod tests {
    use reqwest::StatusCode;

    use super::*;

    fn judged(status: u16, text: &str) -> Verdict {
        let status = StatusCode::from_u16(status).unwrap();
        let answer = Answer { status, headers: HeaderMap::new(), body: text.into(), cut: None };
        let url = Url::parse("https://hooks.slack.com/services/T/B/secret").unwrap();
        judge(&answer, &url, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn every_answer_of_slack_has_its_class() {
        for (status, text, outcome) in [
            (200, "ok", Outcome::Delivered),
            (200, "ok\n", Outcome::Delivered),
            (200, "<html>", Outcome::Delivered),
            (400, "invalid_payload", Outcome::ShapeRefused),
            (400, "invalid_blocks", Outcome::ShapeRefused),
            (400, "invalid_blocks_format", Outcome::ShapeRefused),
            (400, "msg_blocks_too_long", Outcome::ShapeRefused),
            (400, "no_text", Outcome::ShapeRefused),
            (400, "missing_text_or_fallback_or_attachments", Outcome::ShapeRefused),
            (400, "too_many_attachments", Outcome::ShapeRefused),
            (400, "user_not_found", Outcome::Doubtful),
            (403, "action_prohibited", Outcome::TargetBroken),
            (403, "invalid_token", Outcome::TargetBroken),
            (404, "no_service", Outcome::TargetBroken),
            (404, "channel_not_found", Outcome::TargetBroken),
            (410, "channel_is_archived", Outcome::TargetBroken),
            (429, "rate_limited", Outcome::Busy { after: None }),
            (500, "rollup_error", Outcome::Retry { after: None }),
            (503, "", Outcome::Retry { after: None }),
            (302, "", Outcome::Refused),
            (418, "", Outcome::Doubtful),
        ] {
            let (judged, reason) = judged(status, text);
            assert_eq!(judged, outcome, "{status} {text}");
            assert!(!reason.contains("secret"), "{reason}");
        }
    }

    #[test]
    fn a_success_that_is_not_slacks_own_is_delivered_with_a_warning() {
        assert!(judged(200, "thanks").1.starts_with("warning:"));
        assert_eq!(judged(200, "ok").1, "delivered");
    }

    #[test]
    fn the_words_hold_the_remedy() {
        assert!(judged(404, "no_service").1.contains("make a new one and set `webhook_url`"));
        assert!(judged(410, "channel_is_archived").1.contains("unarchive the channel"));
    }
}
