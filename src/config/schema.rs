//! The JSON Schema (draft-07) of a rules file, made from the keys that the reader goes by, for editors and validators.

use serde_json::{Map, Value, json};

use crate::model::catalog::{self, Entry};
use crate::rules::key::Key as RuleKey;

use super::keys::{Field, Key, Keys, Named, Shape};
use super::raw;
use super::rule_tests::FILE;

/// Of which file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// The one that `--config` names.
    Main,
    /// One that another file includes.
    Included,
    /// One with tests of the rules.
    Tests,
}

/// What names in the files may lead to. An editor offers these; any other name is valid as well.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// The accounts, in file order.
    pub accounts: Vec<String>,
    /// The targets, in file order.
    pub targets: Vec<String>,
    /// The templates, sorted.
    pub templates: Vec<String>,
    /// The rules, in file order.
    pub rules: Vec<String>,
    /// The schedules, in file order.
    pub schedules: Vec<String>,
}

/// Text that holds a `${…}`.
const REFERENCE: &str = r"\$\{";
/// Zones that an editor offers; all of them would be a long list.
const ZONES: [&str; 12] = [
    "UTC",
    "America/New_York",
    "America/Chicago",
    "America/Los_Angeles",
    "America/Sao_Paulo",
    "Europe/London",
    "Europe/Berlin",
    "Europe/Rome",
    "Asia/Jerusalem",
    "Asia/Dubai",
    "Asia/Tokyo",
    "Australia/Sydney",
];
/// Labels that a message type's description lists.
const LABELS_SHOWN: usize = 4;

/// The schema. What it refuses, the reader refuses too; the reader looks further.
pub fn schema(of: Of, names: &Names) -> Value {
    let mut root = match of {
        Of::Main => mapping(&raw::TOP, names, |_| true),
        Of::Included => mapping(&raw::TOP, names, |key| raw::INCLUDED.contains(&key.name)),
        Of::Tests => mapping(&FILE, names, |_| true),
    };
    let title = match of {
        Of::Main => "Rules of activity-relay",
        Of::Included => "Rules of activity-relay, a file that another one includes",
        Of::Tests => "Tests of the rules of activity-relay",
    };
    if of == Of::Included {
        root.remove("required");
        root["type"] = json!(["object", "null"]);
    }
    root.insert(
        "patternProperties".to_owned(),
        json!({ "^x-": { "description": "Ignored: a place for anchors" } }),
    );
    let mut document = Map::new();
    document.insert("$schema".to_owned(), json!("http://json-schema.org/draft-07/schema#"));
    document.insert("title".to_owned(), json!(title));
    document.append(&mut root);
    document.insert("definitions".to_owned(), definitions());
    Value::Object(document)
}

/// A mapping with its keys, or with those that pass.
fn mapping(keys: &Keys, names: &Names, passes: impl Fn(&Key) -> bool) -> Map<String, Value> {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for key in keys.known.iter().filter(|key| passes(key)) {
        properties.insert(key.name.to_owned(), property(key, names));
        if key.required {
            required.push(key.name);
        }
    }
    let mut found = Map::new();
    found.insert("type".to_owned(), json!("object"));
    found.insert("additionalProperties".to_owned(), json!(false));
    found.insert("properties".to_owned(), Value::Object(properties));
    if !required.is_empty() {
        found.insert("required".to_owned(), json!(required));
    }
    if !keys.one_of.is_empty() {
        let one: Vec<Value> = keys.one_of.iter().map(|name| json!({ "required": [name] })).collect();
        found.insert("oneOf".to_owned(), json!(one));
    }
    if !keys.not_both.is_empty() {
        found.insert("not".to_owned(), json!({ "required": keys.not_both }));
    }
    found
}

fn property(key: &Key, names: &Names) -> Value {
    let mut says = key.says.to_owned();
    if let Some(default) = key.default {
        says = format!("{says}. Left out: {default}");
    }
    let mut found = Map::new();
    found.insert("description".to_owned(), json!(says));
    found.append(&mut shape(key.shape, names));
    if let Some(default) = key.default {
        let value = match key.shape {
            Shape::Number(..) => default.parse::<u32>().map_or(Value::Null, Value::from),
            Shape::Truth | Shape::Either(_) => default.parse::<bool>().map_or(Value::Null, Value::from),
            _ => json!(default),
        };
        found.insert("default".to_owned(), value);
    }
    if !key.examples.is_empty() {
        let number =
            |text: &&str| text.parse::<u32>().ok().filter(|_| matches!(key.shape, Shape::Number(..)));
        let example = |text: &&str| number(text).map_or_else(|| json!(text), |number| json!(number));
        found.insert("examples".to_owned(), key.examples.iter().map(example).collect());
    }
    Value::Object(found)
}

fn shape(shape: Shape, names: &Names) -> Map<String, Value> {
    let inner = |of: &Shape| Value::Object(self::shape(*of, names));
    let found = match shape {
        Shape::Version(number) => json!({ "enum": [number, number.to_string()] }),
        Shape::Text => text(),
        Shape::Any => json!({}),
        Shape::Duration => matching(r"(\d+\s*(ms|s|m|h|d|w)\s*)+"),
        Shape::Rate => matching(r"\d+\s*/\s*(s|sec|second|m|min|minute|h|hour|d|day)|unlimited"),
        Shape::Zone => {
            let mut zone = matching(r"[A-Za-z][A-Za-z0-9_+/-]*");
            zone["examples"] = json!(ZONES);
            zone
        }
        Shape::Time => matching(r"(\d{1,2}:[0-5]\d)"),
        Shape::Day => {
            let day = "[A-Za-z]{3,9}";
            let mut day = matching(&format!(r"{day}(\s*-\s*{day})?"));
            day["examples"] = json!(["mon-fri", "sat", "sun"]);
            day
        }
        Shape::Date => matching(r"(\d{4}-)?\d\d-\d\d"),
        Shape::Field => {
            let fields: Vec<&str> = RuleKey::fields().collect();
            suggesting(&fields)
        }
        Shape::Status => json!({ "anyOf": [
            { "type": "integer", "minimum": 100, "maximum": 599 },
            matching(r"[1-5]\d\d(\s*-\s*[1-5]\d\d)?"),
        ] }),
        Shape::Number(least, most) => {
            json!({ "anyOf": [{ "type": "integer", "minimum": least, "maximum": most }, reference()] })
        }
        Shape::Truth => json!({ "anyOf": [{ "type": "boolean" }, reference()] }),
        Shape::Choice(words) => json!({ "anyOf": [{ "enum": words }, reference()] }),
        Shape::Usually(words) => suggesting(words),
        Shape::Catalog(field) => json!({ "$ref": format!("#/definitions/{}", definition(field)) }),
        Shape::Named(what) => suggesting(match what {
            Named::Account => &names.accounts,
            Named::Target => &names.targets,
            Named::Template => &names.templates,
            Named::Rule => &names.rules,
            Named::Schedule => &names.schedules,
        }),
        Shape::OneOrMore(of) => {
            json!({ "anyOf": [inner(of), { "type": "array", "minItems": 1, "items": inner(of) }] })
        }
        Shape::List(of, true) => json!({ "type": "array", "items": inner(of) }),
        Shape::List(of, false) => json!({ "type": "array", "minItems": 1, "items": inner(of) }),
        Shape::Map(of) => json!({ "type": "object", "additionalProperties": inner(of) }),
        Shape::Keys(keys) => Value::Object(mapping(keys, names, |_| true)),
        Shape::Typed(types) => typed(types, names),
        Shape::Either(shapes) => json!({ "anyOf": shapes.iter().map(inner).collect::<Vec<_>>() }),
    };
    match found {
        Value::Object(found) => found,
        _ => Map::new(),
    }
}

/// Each type with its own keys, told apart by `type`.
fn typed(types: &[(&str, &Keys)], names: &Names) -> Value {
    let known: Vec<&str> = types.iter().map(|(name, _)| *name).collect();
    let kinds: Vec<String> = types.iter().map(|(_, keys)| keys.of.to_owned()).collect();
    let mut base = json!({
        "type": "object",
        "required": ["type"],
        "properties": { "type": {
            "description": "What kind of target it is",
            "anyOf": [{ "enum": known, "enumDescriptions": kinds }, reference()],
        } },
    });
    let branches: Vec<Value> = types
        .iter()
        .map(|(name, keys)| {
            json!({
                "if": { "required": ["type"], "properties": { "type": { "const": name } } },
                "then": mapping(keys, names, |_| true),
            })
        })
        .collect();
    base["allOf"] = json!(branches);
    base
}

fn text() -> Value {
    json!({ "type": "string", "pattern": r"\S" })
}

/// A `${…}`, which stands for a value of any kind.
fn reference() -> Value {
    json!({ "type": "string", "pattern": REFERENCE })
}

/// Text of this form, or with a `${…}` in it.
fn matching(form: &str) -> Value {
    json!({ "type": "string", "pattern": format!(r"^\s*({form})\s*$|{REFERENCE}") })
}

/// Text, for which these are offered.
fn suggesting<S: AsRef<str>>(words: &[S]) -> Value {
    if words.is_empty() {
        return text();
    }
    let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
    json!({ "anyOf": [{ "enum": words }, text()] })
}

fn definition(field: Field) -> &'static str {
    match field {
        Field::ActivityType => "activity_type",
        Field::MessageType => "message_type",
        Field::Direction => "direction",
    }
}

/// The catalogue's names, each with what it means.
fn definitions() -> Value {
    let mut found = Map::new();
    for (field, known) in [
        (Field::ActivityType, catalog::activity_types()),
        (Field::MessageType, catalog::message_types()),
        (Field::Direction, catalog::directions()),
    ] {
        let means: Vec<String> = known.iter().map(|name| meaning(field, name)).collect();
        let offered = json!({ "enum": known, "enumDescriptions": means });
        found.insert(definition(field).to_owned(), json!({ "anyOf": [offered, text()] }));
    }
    Value::Object(found)
}

/// What a name of the catalogue stands for.
fn meaning(field: Field, name: &str) -> String {
    let rows = |of: fn(&Entry) -> &str| catalog::all().iter().filter(move |row| of(row) == name);
    match field {
        Field::Direction => format!("{} message types", rows(|row| row.direction).count()),
        Field::ActivityType => {
            let messages: Vec<&str> = rows(|row| row.activity_type).map(|row| row.message_type).collect();
            listed(&messages)
        }
        Field::MessageType => {
            let labels: Vec<String> = rows(|row| row.message_type)
                .map(|row| format!("{} ({} {})", row.label, row.activity_type, row.direction))
                .collect();
            listed(&labels.iter().map(String::as_str).collect::<Vec<_>>())
        }
    }
}

/// The first of them, and how many more there are.
fn listed(words: &[&str]) -> String {
    let mut shown: Vec<&str> = Vec::new();
    for word in words {
        if !shown.contains(word) {
            shown.push(word);
        }
    }
    let more = shown.len().saturating_sub(LABELS_SHOWN);
    shown.truncate(LABELS_SHOWN);
    let tail = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{tail}", shown.join("; "))
}
