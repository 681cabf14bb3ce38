//! A span, its ids, and how it is written as JSON: protobuf's JSON mapping of OTLP, with ids in hexadecimal.

use jiff::Timestamp;
use serde_json::{Value as Json, json};

use crate::model::id::hex_of;

/// Whose span it is. Derived from what it is about, so that another process, after a restart, goes on with the trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ids {
    /// 16 bytes in hexadecimal.
    pub(super) trace: String,
    /// 8 bytes in hexadecimal.
    pub(super) span: String,
    /// The span that it is part of.
    pub(super) parent: Option<String>,
}

const TRACE_BYTES: usize = 16;
const SPAN_BYTES: usize = 8;

impl Ids {
    /// Of the first span of a message's trace.
    pub(super) fn of_message(account: &str, uid: &str) -> Self {
        let trace = hex_of(&["trace", account, uid], TRACE_BYTES);
        Self { span: hex_of(&["poll", &trace], SPAN_BYTES), trace, parent: None }
    }

    /// Of what a notice is part of: its trace begins with the notice itself.
    pub(super) fn of_notice(delivery: &str) -> Self {
        let trace = hex_of(&["trace of a notice", delivery], TRACE_BYTES);
        Self { trace, span: String::new(), parent: None }
    }

    /// Of a part of this span.
    pub(super) fn child(&self, name: &str, of: &[&str]) -> Self {
        let parts: Vec<&str> = [name, self.trace.as_str()].into_iter().chain(of.iter().copied()).collect();
        let parent = Some(self.span.clone()).filter(|span| !span.is_empty());
        Self { trace: self.trace.clone(), span: hex_of(&parts, SPAN_BYTES), parent }
    }
}

/// What a span is to those at its other end, as OTLP numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nobody else takes part.
    Internal = 1,
    /// Somebody is asked.
    Client = 3,
    /// Something is taken in.
    Consumer = 5,
}

/// The number of a status that says that something failed.
const ERROR: u8 = 2;

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    Number(usize),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        Self::Number(number)
    }
}

/// Something that happened during a span.
#[derive(Debug, Clone)]
pub(super) struct Event {
    pub(super) name: &'static str,
    pub(super) at: Timestamp,
    pub(super) facts: Vec<(&'static str, Value)>,
}

/// A part of what happened to a message.
#[derive(Debug, Clone)]
pub(super) struct Span {
    pub(super) ids: Ids,
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) began: Timestamp,
    pub(super) ended: Timestamp,
    pub(super) facts: Vec<(&'static str, Value)>,
    pub(super) events: Vec<Event>,
    /// Events that are not told.
    pub(super) dropped_events: usize,
    /// Why it failed, if it did.
    pub(super) failure: Option<String>,
}

impl Span {
    /// With nothing to say yet.
    pub(super) fn new(name: &'static str, kind: Kind, (began, ended): (Timestamp, Timestamp)) -> Self {
        let ids = Ids { trace: String::new(), span: String::new(), parent: None };
        let (facts, events) = (Vec::new(), Vec::new());
        // A clock that was set back in between must not make a span end before it begins.
        let ended = ended.max(began);
        Self { ids, name, kind, began, ended, facts, events, dropped_events: 0, failure: None }
    }

    /// As OTLP has it.
    pub(super) fn json(&self) -> Json {
        let mut span = json!({
            "traceId": self.ids.trace,
            "spanId": self.ids.span,
            "name": self.name,
            "kind": self.kind as u8,
            "startTimeUnixNano": nanos(self.began),
            "endTimeUnixNano": nanos(self.ended),
            "attributes": attributes(&self.facts),
        });
        if let Some(parent) = &self.ids.parent {
            span["parentSpanId"] = json!(parent);
        }
        if !self.events.is_empty() {
            let event = |event: &Event| json!({ "timeUnixNano": nanos(event.at), "name": event.name, "attributes": attributes(&event.facts) });
            span["events"] = self.events.iter().map(event).collect();
            span["droppedEventsCount"] = json!(self.dropped_events);
        }
        if let Some(failure) = &self.failure {
            span["status"] = json!({ "code": ERROR, "message": failure });
        }
        span
    }
}

/// Whole numbers of 64 bits are strings there.
fn nanos(at: Timestamp) -> String {
    at.as_nanosecond().max(0).to_string()
}

/// Attributes as OTLP has them.
pub(super) fn attributes<K: AsRef<str>>(facts: &[(K, Value)]) -> Json {
    let attribute = |(key, value): &(K, Value)| {
        let value = match value {
            Value::Text(text) => json!({ "stringValue": text }),
            Value::Number(number) => json!({ "intValue": number.to_string() }),
        };
        json!({ "key": key.as_ref(), "value": value })
    };
    facts.iter().map(attribute).collect()
}
