//! Hands spans to a collector by OTLP over HTTP, as JSON; what it cannot take at the moment is kept for the next time.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use serde::Deserialize;
use serde_json::{Value as Json, json};

use crate::egress::policy::Policy;
use crate::egress::{Answer, Egress, Request};
use crate::model::settle::after_now;
use crate::target::retry_after;

use super::settings::Settings;
use super::span::{Span, attributes};

/// The first rest after a failure; it doubles up to the longest.
const REST_FIRST: Duration = Duration::from_secs(5);
const REST_MAX: Duration = Duration::from_mins(1);
/// What the collector asks for is waited this long at the most.
const ASKED_MAX: Duration = Duration::from_mins(5);
/// More is not read of an answer.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// The one who sends.
#[derive(Debug)]
pub(super) struct Exporter {
    settings: Settings,
    egress: Egress,
    /// What could not be sent and is tried again.
    again: Vec<Span>,
    failures: u32,
    /// Nothing is sent before.
    rests_until: Option<Timestamp>,
}

/// What became of spans.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Sent {
    /// The collector has them.
    pub(super) taken: usize,
    /// It will not have them.
    pub(super) rejected: usize,
}

/// What a collector answers; what it took whole, it says nothing of.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answered {
    #[serde(default)]
    partial_success: PartialSuccess,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PartialSuccess {
    /// A number of 64 bits, which is a string in protobuf's JSON; some write a number.
    #[serde(default)]
    rejected_spans: Json,
    #[serde(default)]
    error_message: String,
}

impl Exporter {
    pub(super) fn new(settings: Settings) -> Self {
        // It is the operator's own address: wherever it is, it is meant.
        let egress = Egress::new(Policy::Any);
        Self { settings, egress, again: Vec::new(), failures: 0, rests_until: None }
    }

    /// The collector failed a short while ago and is left alone.
    pub(super) fn rests(&self, now: Timestamp) -> bool {
        self.rests_until.is_some_and(|until| now < until)
    }

    /// There is no later: the rest ends.
    pub(super) fn hurry(&mut self) {
        self.rests_until = None;
    }

    /// Spans that are tried again.
    pub(super) fn kept(&self) -> usize {
        self.again.len()
    }

    /// What is sent next: what is to be tried again, or of what is new as many as one request takes.
    pub(super) fn batch(&mut self, new: impl FnOnce(usize) -> Vec<Span>) -> Vec<Span> {
        let again = std::mem::take(&mut self.again);
        if again.is_empty() { new(self.settings.batch_max) } else { again }
    }

    /// Sends spans; those that the collector may take later are kept. A trouble is logged once, and its end.
    pub(super) async fn send(&mut self, spans: Vec<Span>, now: Timestamp) -> Sent {
        let request = Request {
            method: Method::POST,
            url: self.settings.url.clone(),
            headers: self.settings.headers.clone(),
            body: self.document(&spans).to_string().into_bytes(),
            answer_bytes_max: ANSWER_BYTES_MAX,
        };
        // Whoever is stopped while it waits for the answer has them still.
        self.again = spans;
        let answer = self.egress.send(request, self.settings.timeout).await;
        let (why, asked) = match &answer {
            Ok(answer) if answer.status.is_success() => return self.took(answer),
            // Those that may be sent again (OTLP, "Retryable Response Codes").
            Ok(answer) if matches!(answer.status.as_u16(), 429 | 502 | 503 | 504) => {
                let asked = retry_after::asked(&answer.headers, &answer.body, now);
                (answer.status.to_string(), asked)
            }
            Ok(answer) => return self.refused(answer),
            Err(failure) => (failure.to_string(), None),
        };
        self.failures = self.failures.saturating_add(1);
        if self.failures == 1 {
            tracing::warn!(
                error = why,
                "traces cannot be sent; deliveries go on, and spans are kept as far as there is room"
            );
        }
        let rest = REST_FIRST.saturating_mul(1 << (self.failures - 1).min(8)).min(REST_MAX);
        self.rests_until = Some(after_now(now, asked.map_or(rest, |asked| asked.min(ASKED_MAX))));
        Sent::default()
    }

    fn took(&mut self, answer: &Answer) -> Sent {
        let sent = std::mem::take(&mut self.again).len();
        self.rests_until = None;
        if std::mem::take(&mut self.failures) > 0 {
            tracing::info!("traces are sent again");
        }
        // A collector that answers nothing, or something else, took them.
        let Ok(Answered { partial_success }) = serde_json::from_slice(&answer.body) else {
            return Sent { taken: sent, rejected: 0 };
        };
        let rejected = match &partial_success.rejected_spans {
            Json::String(text) => text.parse().unwrap_or(0),
            other => other.as_u64().and_then(|number| usize::try_from(number).ok()).unwrap_or(0),
        };
        let rejected = rejected.min(sent);
        if rejected > 0 {
            tracing::warn!(rejected, why = partial_success.error_message, "the collector rejects spans");
        }
        Sent { taken: sent - rejected, rejected }
    }

    /// It will not take them at any other time either.
    fn refused(&mut self, answer: &Answer) -> Sent {
        let rejected = std::mem::take(&mut self.again).len();
        self.failures = self.failures.saturating_add(1);
        if self.failures == 1 {
            let (status, words) = (answer.status.as_u16(), answer.text());
            tracing::warn!(
                status,
                answer = words,
                "the collector refuses spans: look at OTEL_EXPORTER_OTLP_ENDPOINT and OTEL_EXPORTER_OTLP_HEADERS"
            );
        }
        Sent { taken: 0, rejected }
    }

    /// `ExportTraceServiceRequest`
    fn document(&self, spans: &[Span]) -> Json {
        json!({ "resourceSpans": [{
            "resource": { "attributes": attributes(&self.settings.resource) },
            "scopeSpans": [{
                "scope": { "name": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION") },
                "spans": spans.iter().map(Span::json).collect::<Json>(),
            }],
        }] })
    }
}

/// The media type of what is sent.
pub(super) fn media() -> (reqwest::header::HeaderName, HeaderValue) {
    (CONTENT_TYPE, HeaderValue::from_static("application/json"))
}
