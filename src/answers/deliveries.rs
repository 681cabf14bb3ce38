//! Deliveries as programs are shown them: the list's object, and one with its payload and every attempt.

use std::fmt::Write;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;
use serde_json::{Map, Value};

use super::{payload, when};
use crate::model::delivery::{Attempt, StateName};
use crate::model::group::Kind;
use crate::model::id::DeliveryId;
use crate::store::{Detail, Row, Store, StoreError};
use crate::target::Target;

/// What a text that a person typed is the beginning of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Of one delivery's id, or all of it.
    One(DeliveryId),
    /// Of none.
    None,
    /// Of several.
    Several,
}

/// The delivery whose id is, or begins with, the text.
///
/// # Errors
/// The store cannot be read.
pub async fn find(store: &Store, text: &str) -> Result<Found, StoreError> {
    let found = if text.is_empty() { Vec::new() } else { store.ids_like(text, 2).await? };
    Ok(match found.as_slice() {
        [] => Found::None,
        [id] => Found::One(id.clone()),
        [id, ..] if id.as_str() == text => Found::One(id.clone()),
        _ => Found::Several,
    })
}

/// A delivery as the JSON contract has it; the keys behind `replay_of` are beyond it.
#[derive(Debug, Serialize)]
pub struct Listed<'a> {
    id: &'a DeliveryId,
    rule: &'a str,
    target: &'a str,
    recipient: Option<&'a str>,
    messages: &'a [String],
    state: StateName,
    due_at: Option<Timestamp>,
    attempts: u32,
    last: Option<Last<'a>>,
    maybe_duplicate: bool,
    replay_of: Option<&'a DeliveryId>,
    account: &'a str,
    template: &'a str,
    created_at: Timestamp,
    settled_at: Option<Timestamp>,
    why: Option<&'a str>,
    held_by: Option<&'a str>,
    first_due: Timestamp,
    window: Option<Window>,
    throttled: u32,
    resolved_by: Option<ResolvedBy<'a>>,
}

/// What made a delivery good.
#[derive(Debug, Serialize)]
struct ResolvedBy<'a> {
    message: &'a str,
    at: Timestamp,
}

/// The time that a digest covers.
#[derive(Debug, Serialize)]
pub struct Window {
    from: Timestamp,
    to: Timestamp,
}

impl Window {
    /// That of a delivery, if it is a digest.
    pub fn of(row: &Row) -> Option<Self> {
        let gathered = row.gathered.filter(|gathered| gathered.kind == Kind::Digest)?;
        Some(Self { from: gathered.from, to: gathered.to })
    }
}

#[derive(Debug, Serialize)]
struct Last<'a> {
    at: Timestamp,
    outcome: &'a str,
    status: Option<u16>,
    reason: &'a str,
    latency_ms: u64,
}

impl<'a> Last<'a> {
    fn of(attempt: &'a Attempt) -> Self {
        Self {
            at: attempt.at,
            outcome: &attempt.outcome,
            status: attempt.status,
            reason: &attempt.reason,
            latency_ms: attempt.latency_ms,
        }
    }
}

impl<'a> Listed<'a> {
    /// Of a row of the store.
    pub fn of(row: &'a Row) -> Self {
        Self {
            id: &row.id,
            rule: &row.rule,
            target: &row.target,
            recipient: row.recipient.as_deref(),
            messages: &row.messages,
            state: row.state,
            due_at: row.due_at,
            attempts: row.attempts,
            last: row.last.as_ref().map(Last::of),
            maybe_duplicate: row.maybe_duplicate,
            replay_of: row.replay_of.as_ref(),
            account: &row.account,
            template: &row.template,
            created_at: row.created_at,
            settled_at: row.settled_at,
            why: row.why.as_deref(),
            held_by: row.held_by.as_deref(),
            first_due: row.first_due,
            window: Window::of(row),
            throttled: row.throttled,
            resolved_by: row.made_good.as_ref().map(|good| ResolvedBy { message: &good.by, at: good.at }),
        }
    }
}

/// The list's object with `payload` and `history` behind it.
pub fn json(detail: &Detail, target: Option<&Target>) -> serde_json::Result<Map<String, Value>> {
    let mut object = match serde_json::to_value(Listed::of(&detail.row))? {
        Value::Object(object) => object,
        other => Map::from_iter([("delivery".to_owned(), other)]),
    };
    object.insert("payload".to_owned(), payload_json(detail, target));
    object.insert("history".to_owned(), serde_json::to_value(&detail.history)?);
    Ok(object)
}

fn payload_json(detail: &Detail, target: Option<&Target>) -> Value {
    let id = detail.row.id.as_str();
    detail.payload.as_ref().map_or(Value::Null, |sent| payload::as_json(sent, target, id))
}

/// What there is to say beside the state: when it goes on, or why it ended.
pub fn story(row: &Row, now: Timestamp, zone: &TimeZone) -> String {
    let mut story = String::new();
    // Writing to a String cannot fail.
    if let Some(waits) = waits_for(row, now, zone) {
        story = waits;
    } else if let (StateName::Pending, Some(due)) = (row.state, row.due_at) {
        let _ = write!(story, "due {}", when::ago(due, now));
    }
    let reason = row.why.as_deref().or_else(|| {
        let last = row.last.as_ref()?;
        (row.state != StateName::Delivered).then_some(last.reason.as_str())
    });
    if let Some(reason) = reason {
        let gap = if story.is_empty() { "" } else { ": " };
        let _ = write!(story, "{gap}{reason}");
    }
    let mut note = |words: String| {
        let gap = if story.is_empty() { "" } else { "; " };
        let _ = write!(story, "{gap}{words}");
    };
    if row.maybe_duplicate {
        note("maybe sent twice".to_owned());
    }
    if let Some(good) = &row.made_good {
        note(format!("made good {} by {}", when::ago(good.at, now), good.by));
    }
    story
}

/// What it waits for, where its rule says that it waits.
pub fn waits_for(row: &Row, now: Timestamp, zone: &TimeZone) -> Option<String> {
    if !row.waits_for_its_moment(now) {
        return None;
    }
    let end = format!("{} ({})", when::moment(row.first_due, zone), when::ago(row.first_due, now));
    let count = row.messages.len();
    let messages = format!("{count} message{}", if count == 1 { "" } else { "s" });
    Some(match row.gathered.map(|gathered| gathered.kind) {
        Some(Kind::Digest) => format!("in a digest of {messages} that closes {end}"),
        Some(Kind::Event) => format!("for further messages about the same until {end}"),
        None => format!("held until {end}"),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::delivery::StateName;
    use crate::model::id::DeliveryId;
    use crate::model::payload::Payload;

    #[test]
    fn the_keys_are_those_of_the_contract() {
        let at = Timestamp::UNIX_EPOCH;
        let row = Row {
            id: DeliveryId::from_text("d1"),
            number: 1,
            account: "main".into(),
            rule: "r".into(),
            target: "desk".into(),
            recipient: None,
            template: "default".into(),
            messages: vec!["m1".into()],
            state: StateName::Dead,
            held_by: None,
            due_at: None,
            created_at: at,
            settled_at: Some(at),
            why: Some("refused".into()),
            attempts: 1,
            last: None,
            maybe_duplicate: false,
            replay_of: None,
            notice: None,
            first_due: at,
            group: None,
            gathered: None,
            open: false,
            throttled: 0,
            made_good: None,
        };
        let slack = Payload::Slack(json!({"text": "hello"}));
        let shown = json(&Detail { row, payload: Some(slack), history: Vec::new() }, None).unwrap();
        let contract = [
            "id",
            "rule",
            "target",
            "recipient",
            "messages",
            "state",
            "due_at",
            "attempts",
            "last",
            "maybe_duplicate",
            "replay_of",
        ];
        let keys: Vec<&str> = shown.keys().map(String::as_str).collect();
        assert_eq!(keys[..contract.len()], contract);
        assert_eq!(shown["payload"], json!({"text": "hello"}));
        assert_eq!((&shown["history"], &shown["last"]), (&json!([]), &Value::Null));
    }
}
