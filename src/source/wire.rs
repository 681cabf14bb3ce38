//! JSON as the API sends it, in all its shapes, turned into messages. One bad item never blocks a page.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::{plain, stamp};
use crate::model::catalog;
use crate::model::id::{bounded, hex_of};
use crate::model::message::{Meeting, Message, Triple};

/// The longest uid taken as it is, in bytes; a longer one is replaced by its digest.
const UID_BYTES_MAX: usize = 128;
/// The longest name of a type or a direction taken as it is, in bytes; a longer one is cut and told apart by its digest.
const NAME_BYTES_MAX: usize = 200;
/// Bytes of a digest used in place of a uid.
const DIGEST_BYTES: usize = 16;
/// How much is kept of an item that is no JSON, in characters.
const BROKEN_CHARS_MAX: usize = 20_000;
/// How deep a field may be nested. A deeper one is kept as its text: whatever is made of the item has to be readable
/// again, and the reader stops at 128.
const DEPTH_MAX: usize = 64;
/// How much of the API's own words is repeated, in characters.
const WORDS_CHARS_MAX: usize = 300;

/// One page of the list.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Page {
    /// What is on it, in the order sent.
    pub items: Vec<Item>,
    /// The page size in effect, if the answer says so.
    pub per_page: Option<usize>,
    /// How many items fit the query in all, if the answer says so.
    pub total_count: Option<u64>,
    /// Some time on the page named no zone and was taken for UTC.
    pub zoneless: bool,
}

/// One item of a page.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    /// Read.
    Message(Box<Message>),
    /// Not to be read, to be kept aside.
    Unreadable(Unreadable),
}

impl Item {
    /// Its uid; what has none is given one that does not change.
    pub fn uid(&self) -> &str {
        match self {
            Self::Message(message) => &message.uid,
            Self::Unreadable(item) => &item.uid,
        }
    }
}

/// An item that cannot be made a message of.
#[derive(Debug, Clone, PartialEq)]
pub struct Unreadable {
    /// Its uid, or one derived from its text.
    pub uid: String,
    /// As it was sent; as text where it is no JSON.
    pub raw: Value,
    /// What is wrong with it.
    pub why: String,
}

/// A body that is no page of the list at all: nothing may be concluded from it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoPage(pub String);

#[derive(Deserialize)]
struct Envelope<'a> {
    success: Option<Value>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Data<'a> {
    #[serde(borrow)]
    activity_messages: Option<&'a RawValue>,
    per_page: Option<Value>,
    total_count: Option<Value>,
}

/// Reads one page. Items are taken apart before they are read, so that one that is broken stays alone.
///
/// # Errors
/// The body is not JSON, says that it is no success, or holds no list.
pub fn read_page(account: &str, body: &[u8]) -> Result<Page, NoPage> {
    let body = String::from_utf8_lossy(body);
    let body = body.trim_start_matches('\u{feff}').trim();
    if body.is_empty() {
        return Err(NoPage("the answer is empty".to_owned()));
    }
    let envelope: Envelope = serde_json::from_str(body).map_err(|error| NoPage(no_json(body, &error)))?;
    if matches!(envelope.success, Some(Value::Bool(false))) || envelope.success == Some("false".into()) {
        let words = words_of(body).unwrap_or_else(|| "no reason given".to_owned());
        return Err(NoPage(format!("the answer says that it is no success: {words}")));
    }
    let no_list = || NoPage("the answer holds no list of messages (data.activity_messages)".to_owned());
    let data = envelope.data.ok_or_else(no_list)?;
    let data: Data = serde_json::from_str(data.get()).map_err(|_| no_list())?;
    let list = data.activity_messages.ok_or_else(no_list)?;
    let list: Vec<&RawValue> = if list.get().starts_with('{') {
        vec![list]
    } else {
        serde_json::from_str(list.get()).map_err(|_| no_list())?
    };
    let mut page = Page {
        items: Vec::with_capacity(list.len()),
        per_page: data.per_page.as_ref().and_then(count).and_then(|size| usize::try_from(size).ok()),
        total_count: data.total_count.as_ref().and_then(count),
        zoneless: false,
    };
    for raw in list {
        let (item, zoned) = match parse_item(raw.get()) {
            Ok(value) => match message_of(account, &value) {
                Ok((message, zoned)) => (Item::Message(Box::new(message)), zoned),
                Err(unreadable) => (Item::Unreadable(unreadable), true),
            },
            Err(unreadable) => (Item::Unreadable(unreadable), true),
        };
        page.zoneless |= !zoned;
        page.items.push(item);
    }
    Ok(page)
}

/// Reads one item as the API gives it.
///
/// # Errors
/// It is no object or has no time that can be read.
pub fn read_item(account: &str, item: &Value) -> Result<Message, Unreadable> {
    message_of(account, item).map(|(message, _)| message)
}

/// The first words an answer has for people, of all the places where the API puts them, cut to 300 characters.
pub fn words_of(body: &str) -> Option<String> {
    let value: Value = serde_json::from_str(body).ok()?;
    let errors = value.get("errors").map(|errors| match errors {
        Value::Array(list) => list.first().unwrap_or(&Value::Null),
        other => other,
    });
    let of_errors = errors.and_then(|first| first.get("message").or(Some(first)));
    let of_error = value.get("error").and_then(|error| error.get("message").or(Some(error)));
    let others = ["message", "error_description", "response"].map(|key| value.get(key));
    let found = [of_errors, of_error].into_iter().chain(others).flatten().find_map(|words| {
        let words = words.as_str()?.trim();
        (!words.is_empty()).then(|| words.to_owned())
    })?;
    Some(cut(&found))
}

/// One line of at most 300 characters without control characters.
pub fn cut(text: &str) -> String {
    let mut clean: String =
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(WORDS_CHARS_MAX + 1).collect();
    if let Some((at, _)) = clean.char_indices().nth(WORDS_CHARS_MAX) {
        clean.truncate(at);
        clean.push('…');
    }
    clean.trim().to_owned()
}

fn no_json(body: &str, error: &serde_json::Error) -> String {
    if body.starts_with('<') {
        return format!(
            "the answer is a web page, not JSON (a proxy or gateway in between?): {}",
            cut(&plain::line_of(&body.chars().take(4000).collect::<String>()))
        );
    }
    if error.is_eof() {
        return format!("the answer is cut off after {} bytes", body.len());
    }
    format!("the answer is not JSON: {error}")
}

/// An item's JSON. A `\ud83d` without its other half, as in a text cut inside an emoji, is read as a mark; a field that
/// cannot be read, or is nested beyond sense, stays as its text.
fn parse_item(raw: &str) -> Result<Value, Unreadable> {
    let read = |raw: &str| {
        serde_json::from_str(raw)
            .map(|item| if deep(&item, DEPTH_MAX) { fields_of(raw).unwrap_or(item) } else { item })
    };
    read(raw).or_else(|error| {
        let mended = if raw.contains("\\u") { mend_surrogates(raw) } else { Cow::Borrowed(raw) };
        read(&mended).ok().or_else(|| fields_of(&mended)).ok_or_else(|| Unreadable {
            uid: derived(&["broken", raw]),
            raw: Value::String(raw.chars().take(BROKEN_CHARS_MAX).collect()),
            why: format!("the item is not valid JSON: {error}"),
        })
    })
}

/// An object whose fields are read one by one; `None` for what is no object.
fn fields_of(raw: &str) -> Option<Value> {
    let fields: BTreeMap<String, &RawValue> = serde_json::from_str(raw).ok()?;
    let field = |raw: &RawValue| {
        let read: Option<Value> = serde_json::from_str(raw.get()).ok();
        let text = || Value::String(raw.get().chars().take(BROKEN_CHARS_MAX).collect());
        read.filter(|field| !deep(field, DEPTH_MAX)).unwrap_or_else(text)
    };
    Some(Value::Object(fields.into_iter().map(|(name, raw)| (name, field(raw))).collect()))
}

/// Whether a value is nested deeper than that.
fn deep(value: &Value, depth_max: usize) -> bool {
    let deeper = |inner: &Value| depth_max == 0 || deep(inner, depth_max - 1);
    match value {
        Value::Array(items) => items.iter().any(deeper),
        Value::Object(fields) => fields.values().any(deeper),
        _ => false,
    }
}

fn mend_surrogates(raw: &str) -> Cow<'_, str> {
    let unit = |at: usize| {
        let digits = raw.get(at..at + 6)?.strip_prefix("\\u")?;
        u32::from_str_radix(digits, 16).ok()
    };
    let mut out = String::with_capacity(raw.len());
    let mut at = 0;
    while let Some(found) = raw[at..].find('\\').map(|found| at + found) {
        out.push_str(&raw[at..found]);
        let (taken, whole) = match (unit(found), unit(found + 6)) {
            (Some(0xD800..=0xDBFF), Some(0xDC00..=0xDFFF)) => (12, true),
            (Some(0xD800..=0xDFFF), _) => (6, false),
            _ => (2, true),
        };
        let end = (found + taken..=raw.len()).find(|end| raw.is_char_boundary(*end)).unwrap_or(raw.len());
        out.push_str(if whole { &raw[found..end] } else { "\u{fffd}" });
        at = end;
    }
    out.push_str(&raw[at..]);
    Cow::Owned(out)
}

fn message_of(account: &str, item: &Value) -> Result<(Message, bool), Unreadable> {
    let unreadable = |why: &str| Unreadable {
        uid: uid_of(item).unwrap_or_else(|| derived(&["unreadable", &item.to_string()])),
        raw: item.clone(),
        why: why.to_owned(),
    };
    if !item.is_object() {
        return Err(unreadable("the item is no object"));
    }
    let created = match item.get("created_at") {
        None | Some(Value::Null) => return Err(unreadable("created_at is missing")),
        Some(value) => stamp::read(value)
            .ok_or_else(|| unreadable(&format!("created_at is no time: {}", cut(&value.to_string()))))?,
    };
    let name = |field| text(item, field).map(|name| bounded(name, NAME_BYTES_MAX));
    let raw_type = name("activity_type");
    let raw_direction = name("direction");
    let message_type = name("activity_action").map(|action| snake(&action)).unwrap_or_default();
    let triple = Triple {
        activity_type: catalog::canonical_type(raw_type.as_deref(), &message_type),
        direction: catalog::canonical_direction(raw_direction.as_deref()),
        message_type,
    };
    let (subject, body) = match item.get("message_text") {
        Some(Value::String(body)) => (String::new(), plain::text_of(body)),
        Some(parts) => (
            text(parts, "subject").map(|text| plain::line_of(&text)).unwrap_or_default(),
            text(parts, "body").map(|text| plain::text_of(&text)).unwrap_or_default(),
        ),
        None => (String::new(), String::new()),
    };
    let client_uid = text(item, "client_uid");
    let given = uid_of(item);
    let uid = given.clone().unwrap_or_else(|| {
        derived(&[
            &created.at.to_string(),
            raw_type.as_deref().unwrap_or_default(),
            &triple.message_type,
            raw_direction.as_deref().unwrap_or_default(),
            client_uid.as_deref().unwrap_or_default(),
            &subject,
        ])
    });
    let message = Message {
        account: account.to_owned(),
        uid_derived: given.is_none(),
        uid,
        triple,
        raw_type,
        raw_direction,
        business_uid: text(item, "business_uid"),
        staff_uid: text(item, "staff_uid"),
        client_uid,
        channels: channels(item.get("channels")),
        subject,
        body,
        meeting: item.get("meeting_data").and_then(meeting),
        created_at: created.at,
        updated_at: item.get("updated_at").and_then(stamp::read).map(|stamp| stamp.at),
        raw: item.clone(),
    };
    Ok((message, created.zoned))
}

/// The uid as the API gave it; one that could not be kept or shown is replaced by its digest.
fn uid_of(item: &Value) -> Option<String> {
    let uid = text(item, "uid")?;
    let odd = uid.len() > UID_BYTES_MAX || uid.chars().any(|c| c.is_control() || c.is_whitespace());
    Some(if odd { derived(&["uid", &uid]) } else { uid })
}

fn derived(parts: &[&str]) -> String {
    hex_of(parts, DIGEST_BYTES)
}

/// A field's text, trimmed; numbers count as text, blanks as nothing.
fn text(object: &Value, name: &str) -> Option<String> {
    let found = match object.get(name)? {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    (!found.is_empty()).then_some(found)
}

/// A message type in the catalogue's spelling: `Schedule invitation` is `schedule_invitation`.
fn snake(name: &str) -> String {
    name.to_lowercase().replace([' ', '-'], "_")
}

fn count(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

fn channels(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        Some(Value::String(one)) if !one.is_empty() => vec![one.clone()],
        _ => Vec::new(),
    }
}

/// The meeting behind a message, from an object or an array of one; `None` if it says nothing.
fn meeting(value: &Value) -> Option<Meeting> {
    let value = match value {
        Value::Array(list) => list.first()?,
        other => other,
    };
    let whole = |number: &Value| match number {
        Value::String(text) => text.trim().parse().ok(),
        #[expect(clippy::cast_possible_truncation, reason = "minutes; a float is cut to whole ones")]
        other => other.as_i64().or_else(|| other.as_f64().map(|minutes| minutes as i64)),
    };
    let meeting = Meeting {
        service_uid: text(value, "service_uid"),
        service_name: text(value, "service_name").map(|name| plain::line_of(&name)),
        start_time: value.get("start_time").and_then(stamp::read).map(|stamp| stamp.at),
        duration: value.get("duration").and_then(whole),
        interaction_type: text(value, "interaction_type"),
    };
    (meeting != Meeting::default()).then_some(meeting)
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
