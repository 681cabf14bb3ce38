//! Deliveries as programs are shown them: the list's object, and one with its payload and every attempt.

use std::collections::BTreeSet;
use std::fmt::Write;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::asked::{Refusal, unknown};
use super::{payload, when};
use crate::config::Config;
use crate::model::delivery::{Attempt, Notice, StateName};
use crate::model::group::Kind;
use crate::model::id::DeliveryId;
use crate::rules::notice::RELAY;
use crate::store::{Detail, Filter, Row, Store};
use crate::target::Target;

/// The one delivery whose id is, or begins with, the text.
///
/// # Errors
/// There is none, there are several, or the store cannot be read.
pub async fn one(store: &Store, text: &str) -> Result<Row, Refusal> {
    Ok(detail(store, text).await?.row)
}

/// The same with all that is kept of it.
///
/// # Errors
/// There is none, there are several, or the store cannot be read.
pub async fn detail(store: &Store, text: &str) -> Result<Detail, Refusal> {
    let unknown = || Refusal::Missing(format!("no delivery has the id `{text}`"));
    let found = if text.is_empty() { Vec::new() } else { store.ids_like(text, 2).await? };
    let id = match found.as_slice() {
        [] => return Err(unknown()),
        [id] => id,
        [id, ..] if id.as_str() == text => id,
        _ => {
            let several = format!("several deliveries' ids begin with `{text}`; give more of it");
            return Err(Refusal::Conflict(several));
        }
    };
    store.delivery(id).await?.ok_or_else(unknown)
}

/// The deliveries that replay it, the oldest first, as far as they are kept: they are about the same messages, or are
/// notices as it is.
///
/// # Errors
/// The store cannot be read.
pub async fn again(store: &Store, row: &Row) -> crate::store::Result<Vec<Row>> {
    if row.replays == 0 {
        return Ok(Vec::new());
    }
    let message = row.messages.first().cloned();
    let since = message.is_none().then_some(row.created_at);
    let (rule, target) = (Some(row.rule.clone()), Some(row.target.clone()));
    let filter = Filter { rule, target, since, message, ..Filter::default() };
    let mut rows = store.deliveries(filter).await?.0;
    rows.retain(|other| other.replay_of.as_ref() == Some(&row.id));
    Ok(rows)
}

/// Refuses a filter by which nothing was found and whose rule or target nobody knows: neither the rules file nor any delivery. Where
/// that file cannot be read, nobody knows what it does not name.
///
/// # Errors
/// It is such, or the store cannot be read.
pub async fn known(store: &Store, config: Option<&Config>, filter: &Filter) -> Result<(), Refusal> {
    let Some(config) = config else { return Ok(()) };
    if let Some(name) = &filter.target {
        let mut names: BTreeSet<String> = store.counts_by_target().await?.into_keys().collect();
        names.extend(config.targets.keys().cloned());
        if !names.contains(name) {
            return Err(unknown("target", name, names.iter().map(String::as_str)));
        }
    }
    if let Some(name) = filter.rule.as_ref().filter(|name| *name != RELAY && config.rules.get(name).is_none())
    {
        let one = Filter { rule: Some(name.clone()), limit: Some(1), ..Filter::default() };
        if store.page(one).await?.is_empty() {
            return Err(unknown("rule", name, config.rules.list().iter().map(|rule| rule.name.as_str())));
        }
    }
    Ok(())
}

/// A delivery as the JSON contract has it; the keys behind `replay_of` are beyond it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Its id.
    pub id: DeliveryId,
    /// The rule that owes it.
    pub rule: String,
    /// To which target.
    pub target: String,
    /// To which recipient.
    pub recipient: Option<String>,
    /// Uids of its messages.
    pub messages: Vec<String>,
    /// Where it stands.
    pub state: StateName,
    /// When it is due, while it is pending or being sent.
    pub due_at: Option<Timestamp>,
    /// Attempts that reached the target.
    pub attempts: u32,
    /// The last attempt.
    pub last: Option<Last>,
    /// The target may have had it twice.
    pub maybe_duplicate: bool,
    /// The delivery it replays.
    pub replay_of: Option<DeliveryId>,
    /// Its account.
    pub account: String,
    /// The template it is rendered by.
    pub template: String,
    /// When it was planned.
    pub created_at: Timestamp,
    /// When it reached its last state.
    pub settled_at: Option<Timestamp>,
    /// Why it is dead, expired, withheld or discarded.
    pub why: Option<String>,
    /// The instance that is sending it.
    pub held_by: Option<String>,
    /// When it was first to be attempted.
    pub first_due: Timestamp,
    /// The time that it covers, if it is a digest.
    pub window: Option<Window>,
    /// How many of its kind were held back for good since the last one that went.
    pub throttled: u32,
    /// What its messages are to each other, where it gathers them.
    pub gathers: Option<Kind>,
    /// The relay's own words, if it is a notice.
    pub notice: Option<Notice>,
    /// What made it good.
    pub resolved_by: Option<ResolvedBy>,
    /// How often it was replayed itself.
    #[serde(default)]
    pub replays: u32,
}

/// What made a delivery good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolvedBy {
    /// The uid of the message that did.
    pub message: String,
    /// When it came.
    pub at: Timestamp,
}

/// The time that a digest covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// When it begins.
    pub from: Timestamp,
    /// When it ends.
    pub to: Timestamp,
}

impl Window {
    /// That of a delivery, if it is a digest.
    pub fn of(row: &Row) -> Option<Self> {
        let gathered = row.gathered.filter(|gathered| gathered.kind == Kind::Digest)?;
        Some(Self { from: gathered.from, to: gathered.to })
    }
}

/// The last attempt, as the list shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Last {
    /// When it ended.
    pub at: Timestamp,
    /// The outcome's name.
    pub outcome: String,
    /// HTTP status or SMTP reply code.
    pub status: Option<u16>,
    /// In words.
    pub reason: String,
    /// In milliseconds.
    pub latency_ms: u64,
}

impl Last {
    fn of(attempt: &Attempt) -> Self {
        Self {
            at: attempt.at,
            outcome: attempt.outcome.clone(),
            status: attempt.status,
            reason: attempt.reason.clone(),
            latency_ms: attempt.latency_ms,
        }
    }
}

impl Listed {
    /// Of a row of the store.
    pub fn of(row: &Row) -> Self {
        Self {
            id: row.id.clone(),
            rule: row.rule.clone(),
            target: row.target.clone(),
            recipient: row.recipient.clone(),
            messages: row.messages.clone(),
            state: row.state,
            due_at: row.due_at,
            attempts: row.attempts,
            last: row.last.as_ref().map(Last::of),
            maybe_duplicate: row.maybe_duplicate,
            replay_of: row.replay_of.clone(),
            account: row.account.clone(),
            template: row.template.clone(),
            created_at: row.created_at,
            settled_at: row.settled_at,
            why: row.why.clone(),
            held_by: row.held_by.clone(),
            first_due: row.first_due,
            window: Window::of(row),
            throttled: row.throttled,
            gathers: row.gathered.map(|gathered| gathered.kind),
            notice: row.notice.clone(),
            resolved_by: row
                .made_good
                .as_ref()
                .map(|good| ResolvedBy { message: good.by.clone(), at: good.at }),
            replays: row.replays,
        }
    }

    /// It waits for the moment that its rule said, not for its target or another try.
    fn waits_for_its_moment(&self, now: Timestamp) -> bool {
        self.state == StateName::Pending && self.last.is_none() && self.first_due > now
    }
}

/// A delivery with its payload and every attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct Shown {
    /// As in the list.
    pub listed: Listed,
    /// What was sent last, as the JSON contract has it; `null` for nothing.
    pub payload: Value,
    /// For which type of target that is.
    pub payload_type: Option<String>,
    /// All attempts, oldest first.
    pub history: Vec<Attempt>,
    /// The deliveries that replay it, the oldest first, as far as they are kept.
    pub replayed_by: Vec<DeliveryId>,
}

/// The keys of [`Shown`] beside those of the list.
const PAYLOAD: &str = "payload";
const PAYLOAD_TYPE: &str = "payload_type";
const HISTORY: &str = "history";
const REPLAYED_BY: &str = "replayed_by";

impl Shown {
    /// Of what the store keeps, with what replays it; a mail's headers follow from its target.
    pub fn of(detail: &Detail, again: &[Row], target: Option<&Target>) -> Self {
        let id = detail.row.id.as_str();
        let sent = detail.payload.as_ref();
        Self {
            listed: Listed::of(&detail.row),
            payload: sent.map_or(Value::Null, |sent| payload::as_json(sent, target, id)),
            payload_type: sent.map(|sent| sent.type_name().to_owned()),
            history: detail.history.clone(),
            replayed_by: again.iter().map(|row| row.id.clone()).collect(),
        }
    }

    /// The list's object with `payload` and `history` behind it.
    ///
    /// # Errors
    /// It cannot be written as JSON.
    pub fn document(&self) -> serde_json::Result<Map<String, Value>> {
        let mut object = match serde_json::to_value(&self.listed)? {
            Value::Object(object) => object,
            other => Map::from_iter([("delivery".to_owned(), other)]),
        };
        object.insert(PAYLOAD.to_owned(), self.payload.clone());
        object.insert(HISTORY.to_owned(), serde_json::to_value(&self.history)?);
        object.insert(PAYLOAD_TYPE.to_owned(), serde_json::to_value(&self.payload_type)?);
        object.insert(REPLAYED_BY.to_owned(), serde_json::to_value(&self.replayed_by)?);
        Ok(object)
    }

    /// Reads such a document back.
    ///
    /// # Errors
    /// It is none.
    pub fn read(mut document: Map<String, Value>) -> serde_json::Result<Self> {
        let mut take = |key| document.remove(key).unwrap_or_default();
        let (payload, kind, history) = (take(PAYLOAD), take(PAYLOAD_TYPE), take(HISTORY));
        let again: Option<_> = serde_json::from_value(take(REPLAYED_BY))?;
        Ok(Self {
            payload,
            payload_type: serde_json::from_value(kind)?,
            history: serde_json::from_value(history)?,
            replayed_by: again.unwrap_or_default(),
            listed: serde_json::from_value(Value::Object(document))?,
        })
    }
}

/// What there is to say beside the state: when it goes on, or why it ended.
pub fn story(row: &Listed, now: Timestamp, zone: &TimeZone) -> String {
    let mut story = String::new();
    // Writing to a String cannot fail.
    if let Some(waits) = waits_for(row, now, zone) {
        story = waits;
    } else if let (StateName::Pending, Some(due)) = (row.state, row.due_at) {
        let _ = write!(story, "due {}", when::ago(due, now));
    } else if row.replays > 0 {
        story.push_str("sent again");
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
    if let Some(good) = &row.resolved_by {
        note(format!("made good {} by {}", when::ago(good.at, now), good.message));
    }
    story
}

/// What it waits for, where its rule says that it waits.
pub fn waits_for(row: &Listed, now: Timestamp, zone: &TimeZone) -> Option<String> {
    if !row.waits_for_its_moment(now) {
        return None;
    }
    let end = format!("{} ({})", when::moment(row.first_due, zone), when::ago(row.first_due, now));
    let count = row.messages.len();
    let messages = format!("{count} message{}", if count == 1 { "" } else { "s" });
    Some(match row.gathers {
        Some(Kind::Digest) => format!("in a digest of {messages} that closes {end}"),
        Some(Kind::Event) => format!("for further messages about the same until {end}"),
        None => format!("held until {end}"),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
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
            replays: 0,
            notice: None,
            first_due: at,
            group: None,
            gathered: None,
            open: false,
            throttled: 0,
            made_good: None,
        };
        let slack = Payload::Slack(json!({"text": "hello"}));
        let shown = Shown::of(&Detail { row, payload: Some(slack), history: Vec::new() }, &[], None);
        let read = Shown::read(shown.document().unwrap()).unwrap();
        assert_eq!(read, shown, "what is written can be read back");
        let shown = shown.document().unwrap();
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
