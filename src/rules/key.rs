//! Keys that sort messages into groups: text with fields of the message, such as `{{client.uid}}`.

use std::fmt;

use crate::model::catalog;
use crate::model::group::SEPARATOR;
use crate::model::id::bounded;
use crate::model::message::Message;
use crate::model::names::Names;

/// A longer value stands in a key with its beginning and its digest.
const VALUE_BYTES_MAX: usize = 160;

type Field = fn(&Message, &Names) -> Option<String>;

/// The fields by their names as templates see them. What follows `true` is known only once names were looked up.
const FIELDS: [(&str, bool, Field); 19] = [
    ("message.uid", false, |message, _| Some(message.uid.clone())),
    ("message.activity_type", false, |message, _| Some(message.triple.activity_type.clone())),
    ("message.message_type", false, |message, _| Some(message.triple.message_type.clone())),
    ("message.direction", false, |message, _| Some(message.triple.direction.clone())),
    ("message.label", false, |message, _| Some(catalog::label(&message.triple))),
    ("message.subject", false, |message, _| Some(message.subject.clone())),
    ("message.meeting.service_name", false, |message, _| message.meeting.as_ref()?.service_name.clone()),
    ("message.meeting.service_uid", false, |message, _| message.meeting.as_ref()?.service_uid.clone()),
    ("message.meeting.interaction_type", false, |message, _| {
        message.meeting.as_ref()?.interaction_type.clone()
    }),
    ("message.meeting.start_time", false, |message, _| {
        Some(message.meeting.as_ref()?.start_time?.to_string())
    }),
    ("client.uid", false, |message, _| message.client_uid.clone()),
    ("client.name", true, |_, names| names.client.as_ref()?.name.clone()),
    ("client.email", true, |_, names| names.client.as_ref()?.email.clone()),
    ("client.phone", true, |_, names| names.client.as_ref()?.phone.clone()),
    ("staff.uid", false, |message, _| message.staff_uid.clone()),
    ("staff.name", true, |_, names| names.staff.as_ref()?.name.clone()),
    ("staff.email", true, |_, names| names.staff.as_ref()?.email.clone()),
    ("account.name", false, |message, _| Some(message.account.clone())),
    ("account.business_uid", false, |message, _| message.business_uid.clone()),
];

/// A key as a rule gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    /// Its place among the fields.
    Field(usize),
}

/// A message's key, and the fields that it was to hold and the message does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keyed {
    /// The key. What is missing counts as empty: such messages are a group of their own.
    pub key: String,
    /// Names of the fields without a value.
    pub missing: Vec<&'static str>,
}

/// Why a text is no key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyError {
    /// A `{{` without its `}}`.
    Open,
    /// A name that is no field.
    Unknown(String),
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open => f.write_str("a `{{` has no `}}`"),
            Self::Unknown(name) => write!(f, "`{name}` is no field that a key can be made of"),
        }
    }
}

impl Key {
    /// A key from its text, in which `{{field}}` stands for a field.
    ///
    /// # Errors
    /// An unknown field, or a tag that does not end.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let (mut parts, mut rest) = (Vec::new(), text);
        while let Some((before, tag)) = rest.split_once("{{") {
            let (name, after) = tag.split_once("}}").ok_or(KeyError::Open)?;
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            parts.push(field(name)?);
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self { parts })
    }

    /// A key of several fields.
    ///
    /// # Errors
    /// An unknown field.
    pub fn of_fields<'n>(names: impl IntoIterator<Item = &'n str>) -> Result<Self, KeyError> {
        let mut parts = Vec::new();
        for name in names {
            if !parts.is_empty() {
                parts.push(Part::Text(SEPARATOR.to_string()));
            }
            parts.push(field(name)?);
        }
        Ok(Self { parts })
    }

    /// The names of all fields there are.
    pub fn fields() -> impl Iterator<Item = &'static str> {
        FIELDS.into_iter().map(|(name, ..)| name)
    }

    /// The names of the fields that it holds.
    pub fn fields_of(&self) -> impl Iterator<Item = &'static str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Text(_) => None,
            Part::Field(place) => Some(FIELDS[*place].0),
        })
    }

    /// It holds a field that is only known once names were looked up.
    pub fn needs_names(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Field(place) if FIELDS[*place].1))
    }

    /// The message's key.
    pub fn of(&self, message: &Message, names: &Names) -> Keyed {
        let mut keyed = Keyed { key: String::new(), missing: Vec::new() };
        for part in &self.parts {
            match part {
                Part::Text(text) => keyed.key.push_str(text),
                Part::Field(place) => {
                    let (name, _, read) = FIELDS[*place];
                    match read(message, names).filter(|value| !value.is_empty()) {
                        Some(value) => keyed.key.push_str(&bounded(value, VALUE_BYTES_MAX)),
                        None => keyed.missing.push(name),
                    }
                }
            }
        }
        keyed
    }
}

fn field(name: &str) -> Result<Part, KeyError> {
    let name = name.trim();
    let found = FIELDS.iter().position(|(known, ..)| *known == name);
    found.map(Part::Field).ok_or_else(|| KeyError::Unknown(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::message::Triple;
    use crate::model::names::Client;

    fn message(client: Option<&str>) -> Message {
        Message {
            account: "main".to_owned(),
            uid: "m1".to_owned(),
            uid_derived: false,
            triple: Triple {
                activity_type: "Payment".to_owned(),
                message_type: "payment_failed".to_owned(),
                direction: "to_pivot".to_owned(),
            },
            raw_type: None,
            raw_direction: None,
            business_uid: None,
            staff_uid: None,
            client_uid: client.map(str::to_owned),
            channels: Vec::new(),
            subject: String::new(),
            body: String::new(),
            meeting: None,
            created_at: "2026-03-10T09:00:00Z".parse().unwrap(),
            updated_at: None,
            raw: serde_json::Value::Null,
        }
    }

    #[test]
    fn a_key_is_its_text_with_the_message_s_fields() {
        let key = Key::parse("{{client.uid}} {{ message.activity_type }}!").unwrap();
        let keyed = key.of(&message(Some("c1")), &Names::default());
        assert_eq!((keyed.key.as_str(), keyed.missing.len()), ("c1 Payment!", 0));
    }

    #[test]
    fn a_long_value_is_told_apart_by_more_than_its_beginning() {
        let key = Key::parse("{{client.uid}}").unwrap();
        let of = |client: &str| key.of(&message(Some(client)), &Names::default()).key;
        let (long, other) = ("ü".repeat(5_000), "ü".repeat(5_001));
        assert!(of(&long).len() <= VALUE_BYTES_MAX && of(&long).starts_with("üüü"), "{}", of(&long));
        assert_ne!(of(&long), of(&other));
    }

    #[test]
    fn what_is_missing_is_a_group_of_its_own_and_is_told() {
        let keyed = Key::parse("{{client.uid}}").unwrap().of(&message(None), &Names::default());
        assert_eq!(keyed, Keyed { key: String::new(), missing: vec!["client.uid"] });
    }

    #[test]
    fn several_fields_never_run_into_each_other() {
        let key = Key::of_fields(["client.uid", "message.message_type"]).unwrap();
        let of = |client| key.of(&message(client), &Names::default()).key;
        assert_ne!(of(Some("c1")), of(Some("c")));
        assert_eq!(of(Some("c1")), "c1\u{1f}payment_failed");
    }

    #[test]
    fn only_people_s_names_have_to_be_looked_up() {
        assert!(!Key::parse("{{client.uid}}").unwrap().needs_names());
        let key = Key::parse("{{client.name}}").unwrap();
        assert!(key.needs_names());
        let names = Names {
            client: Some(Client { name: Some("Ann".into()), ..Client::default() }),
            ..Names::default()
        };
        assert_eq!(key.of(&message(None), &names).key, "Ann");
    }

    #[test]
    fn what_is_no_key_says_why() {
        assert_eq!(Key::parse("{{client.uid"), Err(KeyError::Open));
        assert_eq!(Key::parse("{{client.colour}}"), Err(KeyError::Unknown("client.colour".into())));
        assert_eq!(Key::of_fields(["uid"]), Err(KeyError::Unknown("uid".into())));
    }
}
