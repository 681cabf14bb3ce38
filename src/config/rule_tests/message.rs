//! A test's message: a sample of a message type or an item from a file, with changes under the names that templates see.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::expect::{json, slug};
use super::file::Reading;
use super::{Arrival, text_of};
use crate::config::codes;
use crate::config::keys::{Keys, Named, Shape, key as described};
use crate::config::problem::{Finding, Span, nearest};
use crate::config::read::{Fields, Spot};
use crate::config::yaml::{Kind, Node};
use crate::model::catalog;
use crate::model::message::{Message, Triple, key};
use crate::model::names::{Business, Client, Late, Names, Staff};
use crate::model::sample;
use crate::source::wire;

pub(super) const MESSAGE: Keys = Keys {
    of: "a message",
    known: &[
        described("sample", Shape::Text, "A sample of a message type")
            .such_as(&["Meeting/cancelled/client_to_pivot"]),
        described("file", Shape::Text, "A file with one item as the API gives it"),
        described("with", Shape::Map(&Shape::Any), "Changes, under the names that templates see"),
        described("at", Shape::Text, "When it comes: a moment, or a time after the test's beginning")
            .or("+0s"),
        described("account", Shape::Named(Named::Account), "The account that receives it"),
    ],
    one_of: &["sample", "file"],
    ..Keys::NONE
};

/// What `with` may change of the item, and where that stands in it.
const IN_ITEM: [(&str, &[&str]); 20] = [
    ("client.uid", &["client_uid"]),
    ("staff.uid", &["staff_uid"]),
    ("account.business_uid", &["business_uid"]),
    ("message.uid", &["uid"]),
    ("message.activity_type", &["activity_type"]),
    ("message.message_type", &["activity_action"]),
    ("message.direction", &["direction"]),
    ("message.subject", &["message_text", "subject"]),
    ("message.body", &["message_text", "body"]),
    ("message.channels", &["channels"]),
    ("message.created_at", &["created_at"]),
    ("message.updated_at", &["updated_at"]),
    ("message.client_uid", &["client_uid"]),
    ("message.staff_uid", &["staff_uid"]),
    ("message.business_uid", &["business_uid"]),
    ("message.meeting.service_uid", &["meeting_data", "service_uid"]),
    ("message.meeting.service_name", &["meeting_data", "service_name"]),
    ("message.meeting.start_time", &["meeting_data", "start_time"]),
    ("message.meeting.duration", &["meeting_data", "duration"]),
    ("message.meeting.interaction_type", &["meeting_data", "interaction_type"]),
];
/// What it may change of the people.
const IN_NAMES: [&str; 7] = [
    "client.name",
    "client.email",
    "client.phone",
    "staff.name",
    "staff.email",
    "account.business_name",
    "account.time_zone",
];
/// Any field of the item as the API names it.
const RAW: &str = "message.raw.";

/// One change.
struct Change {
    /// A dotted name.
    name: String,
    value: Value,
    span: Span,
}

/// Reads one entry of `messages`, the `number`th.
pub(super) fn read(
    reading: &mut Reading<'_, '_>,
    node: &Node,
    now: Timestamp,
    number: usize,
) -> Option<Arrival> {
    let fields = reading.reader.fields(node, MESSAGE)?;
    let at = fields.get("at").and_then(|node| reading.at(node, now)).unwrap_or(now);
    let account = account(reading, fields)?;
    let (mut item, span) = item(reading, fields, at, number)?;
    let mut changes = Vec::new();
    if let Some(with) = fields.get("with") {
        flatten(reading, with, "", &mut changes);
    }
    let known: Vec<&str> = IN_ITEM.iter().map(|(name, _)| *name).chain(IN_NAMES).collect();
    changes.retain(|change| is_known(reading, change, &known));
    if fields.get("sample").is_some() {
        namesakes(&mut item, &changes);
    }
    for change in &changes {
        change_item(&mut item, change);
    }
    let message = match wire::read_item(&account, &item) {
        Ok(message) => message,
        Err(unreadable) => {
            let message = format!("the relay could not read this message: {}", unreadable.why);
            let help = "it would be kept aside in quarantine; mend the item, or the change under `with`";
            reading.reader.error(codes::TEST_MESSAGE, span, message, help);
            return None;
        }
    };
    check_times(reading, &message, &changes);
    let names = names(&message, &changes);
    Some(Arrival { at, message, names })
}

/// The first account unless another one is named.
fn account(reading: &mut Reading<'_, '_>, fields: Fields<'_>) -> Option<String> {
    let names = || reading.config.accounts.iter().map(|account| account.name.as_str());
    let Some(node) = fields.get("account") else {
        return Some(names().next().unwrap_or("main").to_owned());
    };
    let known: Vec<&str> = names().collect();
    let spot = reading.reader.text(node, "the name of an account")?;
    if known.contains(&spot.value.as_str()) {
        return Some(spot.value);
    }
    let finding =
        Finding::error(codes::TEST_NAME, spot.span, format!("there is no account `{}`", spot.written));
    reading.reader.report(finding.help(format!("there are: {}", known.join(", "))));
    None
}

/// The item as the API would give it, made at `at`, and where it is named.
fn item(
    reading: &mut Reading<'_, '_>,
    fields: Fields<'_>,
    at: Timestamp,
    number: usize,
) -> Option<(Value, Span)> {
    let mut item = match (fields.get("sample"), fields.get("file")) {
        (Some(node), None) => {
            let spot =
                reading.reader.text(node, "a message type such as Meeting/cancelled/client_to_pivot")?;
            let mut item = sample::item(&triple(reading, &spot)?, at);
            item["uid"] = json!(format!("sample-{number}"));
            (item, spot.span)
        }
        (None, Some(node)) => {
            let spot = reading.reader.text(node, "the path of a file with one item as the API gives it")?;
            (from_file(reading, &spot)?, spot.span)
        }
        (sample, _) => {
            let help = "write sample: Meeting/cancelled/client_to_pivot, or file: item.json";
            let message =
                if sample.is_some() { "both `sample` and `file`" } else { "neither `sample` nor `file`" };
            let message = format!("this message has {message}");
            reading.reader.error(codes::TEST_MESSAGE, fields.span(), message, help);
            return None;
        }
    };
    if let Value::Object(fields) = &mut item.0 {
        fields.insert("created_at".to_owned(), json!(at.to_string()));
        fields.insert("updated_at".to_owned(), json!(at.to_string()));
    }
    Some(item)
}

/// A message type of the catalogue, written `Type/message/direction`; spelling is forgiven as in rules.
fn triple(reading: &mut Reading<'_, '_>, spot: &Spot<String>) -> Option<Triple> {
    let wanted: Vec<String> = spot.value.split('/').map(key).collect();
    let same = |entry: &&catalog::Entry| {
        [entry.activity_type, entry.message_type, entry.direction].map(key).as_slice() == wanted
    };
    if let Some(entry) = catalog::all().iter().find(same) {
        return Some(entry.triple());
    }
    let names: Vec<String> = catalog::all().iter().map(|entry| entry.triple().to_string()).collect();
    let finding = Finding::error(
        codes::TEST_MESSAGE,
        spot.span,
        format!("`{}` is no message type of the catalogue", spot.written),
    );
    let near = nearest(&spot.value, names.iter().map(String::as_str));
    reading.reader.report(match near {
        Some(near) => finding.help(format!("did you mean {near}? `activity-relay catalog` lists all")).replacement(near),
        None => finding.help(
            "write Type/message/direction, such as Meeting/cancelled/client_to_pivot; `activity-relay catalog` lists all, and \
             with: { message.message_type: … } makes one that is not there",
        ),
    });
    None
}

fn from_file(reading: &mut Reading<'_, '_>, spot: &Spot<String>) -> Option<Value> {
    let folder =
        reading.reader.sources.get(spot.span.file).map(|source| source.folder.clone()).unwrap_or_default();
    let read = text_of(&folder, &spot.value)
        .map_err(|why| format!("{} cannot be read: {why}", spot.written))
        .and_then(|text| {
            serde_json::from_str(&text).map_err(|error| format!("{} is no JSON: {error}", spot.written))
        });
    match read {
        Ok(item) => Some(item),
        Err(message) => {
            let help =
                "a path starts at the folder of the test file; the file holds one item as the API gives it";
            reading.reader.error(codes::TEST_MESSAGE, spot.span, message, help);
            None
        }
    }
}

/// `client.name: Ann` and `client: { name: Ann }` are the same.
fn flatten(reading: &mut Reading<'_, '_>, node: &Node, prefix: &str, changes: &mut Vec<Change>) {
    let Kind::Map(entries) = &node.kind else {
        let help = "write { client.name: \"Ann\", message.subject: \"Massage\" }";
        return reading.reader.wrong(node, "a mapping of fields", help);
    };
    for entry in entries {
        let name = format!("{prefix}{}", entry.key);
        let whole = format!("{name}.");
        let opens = |known: &str| known.starts_with(&whole);
        let is_group =
            IN_ITEM.iter().any(|(known, _)| opens(known)) || IN_NAMES.iter().any(|known| opens(known));
        if is_group || whole == RAW {
            if !matches!(entry.value.kind, Kind::Map(_)) {
                let help = format!("write {name}: {{ … }}, or `{name}.…: …` with the field's name");
                reading.reader.wrong(&entry.value, "a mapping of fields", &help);
                continue;
            }
            flatten(reading, &entry.value, &whole, changes);
        } else if let Some(value) = value(reading, &entry.value) {
            changes.push(Change { name, value, span: entry.span });
        }
    }
}

/// A value with its `${…}` replaced, where it is text.
fn value(reading: &mut Reading<'_, '_>, node: &Node) -> Option<Value> {
    match (&node.kind, json(node)) {
        (Kind::Scalar(scalar), Value::String(_)) if scalar.text.contains('$') => {
            Some(Value::String(reading.reader.text(node, "a value")?.value))
        }
        (_, value) => Some(value),
    }
}

fn is_known(reading: &mut Reading<'_, '_>, change: &Change, known: &[&str]) -> bool {
    let name = change.name.as_str();
    if known.contains(&name) || name.starts_with(RAW) {
        let scalar = !matches!(change.value, Value::Array(_) | Value::Object(_));
        if scalar || name.starts_with(RAW) || name == "message.channels" {
            return true;
        }
        let message = format!("`{name}` is a single value");
        reading.reader.error(
            codes::TEST_FIELD,
            change.span,
            message,
            "write it as text, a number, or null for none",
        );
        return false;
    }
    let finding =
        Finding::error(codes::TEST_FIELD, change.span, format!("a message has no field `{name}` to change"));
    let derived =
        ["message.label", "message.emoji", "message.use_cases", "account.name", "links", "rule", "items"];
    reading.reader.report(if derived.iter().any(|derived| name.starts_with(derived)) {
        finding.help("it follows from the message's type, the account and the rules; change those")
    } else {
        match nearest(name, known.iter().copied()) {
            Some(near) => finding.help(format!("did you mean `{near}`?")).replacement(near),
            None => finding.help(format!("there are: {}, and {RAW}…", known.join(", "))),
        }
    });
    false
}

/// A sample's client of another name is another client, and has another uid; so it is with staff.
fn namesakes(item: &mut Value, changes: &[Change]) {
    for (name, field, prefix) in
        [("client.name", "client_uid", "client"), ("staff.name", "staff_uid", "staff")]
    {
        let given = changes.iter().rfind(|change| change.name == name);
        if let Some(Value::String(given)) = given.map(|change| &change.value) {
            item[field] = json!(format!("{prefix}-{}", slug(given)));
        }
    }
}

fn change_item(item: &mut Value, change: &Change) {
    let raw: Vec<&str>;
    let path = if let Some((_, path)) = IN_ITEM.iter().find(|(name, _)| *name == change.name) {
        *path
    } else if let Some(rest) = change.name.strip_prefix(RAW) {
        raw = rest.split('.').collect();
        &raw
    } else {
        return;
    };
    set(item, path, change.value.clone());
}

/// Puts a value at a path; `null` takes the field away. What is no object on the way becomes one.
fn set(item: &mut Value, path: &[&str], value: Value) {
    let [first, rest @ ..] = path else {
        *item = value;
        return;
    };
    // The API gives a meeting also as a list of one, and a message without a subject as its body alone.
    if let Value::Array(list) = item
        && !list.is_empty()
    {
        return set(&mut list[0], path, value);
    }
    if let Value::String(body) = item {
        *item = json!({ "body": body });
    }
    if !item.is_object() {
        *item = Value::Object(Map::new());
    }
    let Value::Object(fields) = item else { return };
    if rest.is_empty() && value.is_null() {
        fields.remove(*first);
        return;
    }
    set(fields.entry(*first).or_insert(Value::Null), rest, value);
}

/// A time that cannot be read would silently be no time.
fn check_times(reading: &mut Reading<'_, '_>, message: &Message, changes: &[Change]) {
    let meeting = message.meeting.as_ref();
    for change in changes.iter().filter(|change| !change.value.is_null()) {
        let read = match change.name.as_str() {
            "message.updated_at" => message.updated_at.is_some(),
            "message.meeting.start_time" => meeting.is_some_and(|meeting| meeting.start_time.is_some()),
            "message.meeting.duration" => meeting.is_some_and(|meeting| meeting.duration.is_some()),
            _ => true,
        };
        if !read {
            let message = format!("`{}` cannot have this value", change.name);
            let help = "times are written 2026-03-03T10:00:00Z, durations in minutes such as 60";
            reading.reader.error(codes::TEST_FIELD, change.span, message, help);
        }
    }
}

/// The people of the samples under the message's uids, with the changes. A client of another name is another client.
fn names(message: &Message, changes: &[Change]) -> Names {
    let Names { client, staff, business, .. } = sample::names();
    let mut client = client.unwrap_or_default();
    let mut staff = staff.unwrap_or_default();
    let mut business = business.unwrap_or_default();
    if let Some(uid) = message.client_uid.clone().filter(|uid| *uid != client.uid) {
        client = Client { uid, link_uid: None, ..client };
    }
    if let Some(uid) = message.staff_uid.clone() {
        staff = Staff { uid, ..staff };
    }
    if let Some(uid) = message.business_uid.clone() {
        business = Business { uid: Some(uid), ..business };
    }
    for change in changes {
        let text = match &change.value {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        };
        match change.name.as_str() {
            "client.name" => client.name = text,
            "client.email" => client.email = text,
            "client.phone" => client.phone = text,
            "staff.name" => staff.name = text,
            "staff.email" => staff.email = text,
            "account.business_name" => business.name = text,
            "account.time_zone" => business.time_zone = text,
            _ => {}
        }
    }
    Names {
        client: message.client_uid.is_some().then_some(client),
        staff: message.staff_uid.is_some().then_some(staff),
        business: Some(business),
        late: Late::default(),
    }
}
