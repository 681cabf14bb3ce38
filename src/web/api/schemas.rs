//! The shapes of what is asked and answered, as JSON Schema: those of the commands' `--format json`.

use serde_json::{Value, json};

use super::deliveries::chosen_schema;
use super::playground::trial_schema;
use super::problem::TYPES;
use crate::model::delivery::StateName;

/// One line: no control characters, and something to see at its beginning.
const LINE: &str = r"^[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$";

pub(super) fn text() -> Value {
    json!({ "type": "string" })
}

/// A text on one line that is not empty.
pub(super) fn line() -> Value {
    json!({ "type": "string", "minLength": 1, "maxLength": 300, "pattern": LINE })
}

/// A whole number.
pub(super) fn integer(least: u64, most: Option<u64>) -> Value {
    let mut schema = json!({ "type": "integer", "minimum": least });
    if let Some(most) = most {
        schema["maximum"] = json!(most);
    }
    schema
}

pub(super) fn state() -> Value {
    json!({ "type": "string", "enum": StateName::ALL })
}

/// Where a page begins: to be given back as it came.
pub(super) fn cursor() -> Value {
    json!({ "type": "string", "pattern": "^[0-9]{1,18}$" })
}

/// A moment, or so long ago.
pub(super) fn since() -> Value {
    json!({ "anyOf": [
        { "type": "string", "format": "date-time" },
        { "type": "string", "pattern": "^[1-9][0-9]{0,3}[smhd]$", "examples": ["24h"] },
    ] })
}

/// A length of time.
pub(super) fn length() -> Value {
    json!({ "type": "string", "pattern": "^[1-9][0-9]{0,4}[smhd]$", "examples": ["2h"] })
}

pub(super) fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

pub(super) fn one_of<const N: usize>(schemas: [Value; N]) -> Value {
    keyed([("oneOf", Value::Array(schemas.into()))])
}

/// An object with one list.
pub(super) fn list(name: &str, of: &str) -> Value {
    object([(name, array(reference(of)))])
}

/// What was changed, and how many a filter passed over, as they were sent again before.
pub(super) fn changed() -> Value {
    object([("deliveries", array(reference("Changed"))), ("passed_over", count())])
}

/// A page of a list; where it is asked for, with how many there are.
pub(super) fn page(name: &str, of: &str) -> Value {
    let mut schema = object([(name, array(reference(of))), ("next_cursor", nullable(cursor()))]);
    schema["properties"]["total"] = count();
    schema
}

fn array(items: Value) -> Value {
    keyed([("type", json!("array")), ("items", items)])
}

pub(super) fn moment() -> Value {
    json!({ "type": "string", "format": "date-time" })
}

pub(super) fn boolean() -> Value {
    json!({ "type": "boolean" })
}

fn count() -> Value {
    integer(0, None)
}

fn any() -> Value {
    json!({})
}

fn nullable(schema: Value) -> Value {
    keyed([("anyOf", Value::Array(vec![schema, json!({ "type": "null" })]))])
}

fn keyed<const N: usize>(pairs: [(&str, Value); N]) -> Value {
    Value::Object(pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// An object with all of these; keys may be added.
fn object<const N: usize>(properties: [(&str, Value); N]) -> Value {
    let names: Vec<&str> = properties.iter().map(|(name, _)| *name).collect();
    let required = json!(names);
    keyed([("type", json!("object")), ("required", required), ("properties", keyed(properties))])
}

/// The same with more properties, all of which are always there.
fn and<const N: usize>(mut base: Value, more: [(&str, Value); N]) -> Value {
    for (name, schema) in more {
        base["properties"][name] = schema;
        if let Some(required) = base["required"].as_array_mut() {
            required.push(json!(name));
        }
    }
    base
}

fn attempt() -> Value {
    object([
        ("at", moment()),
        ("outcome", text()),
        ("status", nullable(count())),
        ("reason", text()),
        ("latency_ms", count()),
    ])
}

/// What is owed to a target, with or without an id.
fn owed(id: Value) -> Value {
    object([
        ("id", id),
        ("rule", text()),
        ("target", text()),
        ("recipient", nullable(text())),
        ("messages", array(text())),
        ("state", state()),
        ("due_at", nullable(moment())),
        ("attempts", count()),
    ])
}

fn delivery() -> Value {
    let more = [
        ("last", nullable(attempt())),
        ("maybe_duplicate", boolean()),
        ("replay_of", nullable(text())),
        ("account", text()),
        ("template", text()),
        ("created_at", moment()),
        ("settled_at", nullable(moment())),
        ("why", nullable(text())),
        ("held_by", nullable(text())),
        ("first_due", moment()),
        ("window", nullable(window())),
        ("throttled", count()),
        ("gathers", nullable(json!({ "enum": ["digest", "event"] }))),
        ("notice", nullable(object([("subject", text()), ("text", text())]))),
        ("resolved_by", nullable(resolved_by())),
        ("replays", count()),
    ];
    and(owed(text()), more)
}

fn window() -> Value {
    object([("from", moment()), ("to", moment())])
}

fn resolved_by() -> Value {
    object([("message", text()), ("at", moment())])
}

fn history() -> Value {
    array(and(attempt(), [("answer", nullable(text()))]))
}

/// A message's type and what people call it.
fn kind() -> Value {
    object([("activity_type", text()), ("message_type", text()), ("direction", text()), ("label", text())])
}

fn message_type() -> Value {
    and(kind(), [("use_cases", array(text())), ("rules", array(text()))])
}

fn message() -> Value {
    let more = [
        ("account", text()),
        ("uid", text()),
        ("subject", any()),
        ("body", any()),
        ("created_at", moment()),
        ("seen_at", nullable(moment())),
        ("trace_id", text()),
    ];
    and(kind(), more)
}

fn place() -> Value {
    object([("file", text()), ("line", count()), ("column", count())])
}

fn verdict() -> Value {
    object([("rule", text()), ("matched", boolean()), ("reason", text()), ("place", place())])
}

fn explanation() -> Value {
    let more = [("resolved_by", nullable(resolved_by())), ("history", history())];
    let owed = and(owed(nullable(text())), more);
    let made_good = object([
        ("id", text()),
        ("rule", text()),
        ("target", text()),
        ("recipient", nullable(text())),
        ("messages", array(text())),
    ]);
    object([
        ("message", reference("Message")),
        ("rules", array(reference("Verdict"))),
        ("deliveries", array(owed)),
        ("made_good", array(made_good)),
    ])
}

/// What happened last.
pub(super) fn feed() -> Value {
    let event = object([
        ("number", count()),
        ("at", moment()),
        ("message", nullable(reference("Message"))),
        ("delivery", nullable(reference("Delivery"))),
    ]);
    object([("events", array(event)), ("last", count())])
}

fn figures() -> Value {
    let latency = nullable(object([("p50_ms", count()), ("p95_ms", count()), ("p99_ms", count())]));
    let ended = object(StateName::ENDS.map(|state| (state.as_str(), count())));
    let step = object([("from", moment()), ("ended", ended), ("latency", latency.clone())]);
    object([("range", text()), ("step_seconds", count()), ("latency", latency), ("steps", array(step))])
}

fn status() -> Value {
    let account = object([
        ("name", text()),
        ("last_success", nullable(moment())),
        ("lag_seconds", nullable(count())),
        ("error", nullable(text())),
        ("polled_by", nullable(text())),
        ("unpolled", boolean()),
    ]);
    let held = and(standing(["paused", "parked"]), [("gone", boolean())]);
    let states = StateName::ALL.map(|state| (state.as_str(), count()));
    object([
        ("accounts", array(account)),
        ("deliveries", object(states)),
        ("oldest_due_seconds", nullable(count())),
        (
            "queues",
            array(object([("target", text()), ("pending", count()), ("oldest_due", nullable(moment()))])),
        ),
        ("targets", array(held)),
        (
            "failing",
            array(object([
                ("name", text()),
                ("since", moment()),
                ("asks_to_wait", boolean()),
                ("pending", count()),
            ])),
        ),
        (
            "instances",
            array(object([
                ("id", text()),
                ("host", text()),
                ("config", nullable(text())),
                ("alive", boolean()),
            ])),
        ),
        ("cleaned_by", nullable(text())),
        ("mutes", array(reference("Mute"))),
        ("mutes_without_rule", array(reference("Mute"))),
        ("shared", boolean()),
        ("reload", nullable(object([("at", moment()), ("refused", text())]))),
        ("oldest_due", nullable(moment())),
        ("now", moment()),
    ])
}

/// `check`'s document with more.
fn checked<const N: usize>(more: [(&str, Value); N]) -> Value {
    and(object([("problems", array(any())), ("errors", count()), ("warnings", count())]), more)
}

fn reload() -> Value {
    checked([("result", json!({ "enum": ["replaced", "unchanged", "refused"] })), ("hash", text())])
}

/// What a trial in the playground gave.
fn tried() -> Value {
    let mail = object([("subject", text()), ("text", text()), ("html", nullable(text()))]);
    checked([
        ("message", reference("Message")),
        ("rules", array(reference("Verdict"))),
        ("template", text()),
        ("payloads", object([("slack", any()), ("email", mail), ("http", any())])),
        ("fallbacks", array(text())),
    ])
}

/// Where a target stands and what waits for it.
fn standing<const N: usize>(states: [&str; N]) -> Value {
    object([
        ("name", text()),
        ("state", json!({ "enum": states.as_slice() })),
        ("until", nullable(moment())),
        ("reason", nullable(text())),
        ("pending", count()),
        ("dead", count()),
    ])
}

fn target() -> Value {
    and(standing(["ready", "paused", "parked"]), [("type", text())])
}

fn digest() -> Value {
    object([
        ("id", text()),
        ("rule", text()),
        ("target", text()),
        ("recipient", nullable(text())),
        ("account", text()),
        ("key", text()),
        ("count", count()),
        ("messages", array(text())),
        ("opened_at", moment()),
        ("closes_at", moment()),
        ("window", nullable(window())),
    ])
}

fn configuration() -> Value {
    let definition = object([
        ("rule", text()),
        ("stop", boolean()),
        ("owner", nullable(text())),
        ("place", place()),
        ("deliver", array(object([("to", text()), ("template", text())]))),
    ]);
    object([
        ("hash", text()),
        ("files", array(text())),
        ("accounts", array(text())),
        ("targets", array(text())),
        ("rules", array(text())),
        ("definitions", array(definition)),
        ("templates", array(text())),
        ("timezone", text()),
        ("alerts", nullable(text())),
        ("last_reload", nullable(and(reload(), [("at", moment()), ("by", text())]))),
    ])
}

/// Everything that has a name.
pub(super) fn all() -> Value {
    let problem = object([
        ("type", json!({ "type": "string", "format": "uri", "pattern": format!("^{TYPES}[a-z-]+$") })),
        ("title", text()),
        ("status", integer(400, Some(599))),
        ("detail", text()),
    ]);
    let ids = json!({
        "type": "object", "additionalProperties": false, "required": ["ids"],
        "properties": { "ids": { "type": "array", "items": { "type": "string", "minLength": 1 }, "minItems": 1 } },
    });
    let mute = object([
        ("id", count()),
        ("rule", text()),
        ("until", moment()),
        ("reason", text()),
        ("created_at", moment()),
    ]);
    let tested = object([
        ("target", text()),
        ("type", text()),
        ("recipient", nullable(text())),
        ("outcome", text()),
        ("status", nullable(count())),
        ("reason", text()),
        ("answer", nullable(text())),
        ("latency_ms", count()),
    ]);
    json!({
        "Problem": problem,
        "Delivery": delivery(),
        "DeliveryDetail": and(delivery(), [("payload", any()), ("history", history()), ("payload_type", nullable(text())), ("replayed_by", array(text()))]),
        "Chosen": chosen_schema(),
        "Changed": object([("id", text()), ("replay_of", nullable(text()))]),
        "Id": object([("id", text())]),
        "Ids": ids,
        "Digest": digest(),
        "Status": status(),
        "Target": target(),
        "Tested": tested,
        "Mute": mute,
        "Explanation": explanation(),
        "Message": message(),
        "Verdict": verdict(),
        "MessageType": message_type(),
        "CountedType": and(message_type(), [("seen", count())]),
        "Figures": figures(),
        "Trial": trial_schema(),
        "Tried": tried(),
        "Configuration": configuration(),
        "Reload": reload(),
    })
}
