//! A message and the names behind it as CEL values. What is not known is absent, so `has(…)` tells it.

use std::collections::HashMap;
use std::sync::Arc;

use cel::Value;
use cel::objects::Opaque;
use jiff::Timestamp;

use crate::model::catalog;
use crate::model::message::{Meeting, Message};
use crate::model::names::Names;

/// A longer text is cut for `where:`, which bounds what one condition can cost. Above every documented length.
const TEXT_CHARS_MAX: usize = 65_536;

type Fields = HashMap<String, Value>;

/// What is there, as it always is, but of which nothing is known for now: whoever looks into it, or asks what it has, gets an
/// error. Null would be taken for something that is not there.
#[derive(Debug, PartialEq, Eq)]
struct Unknown;

impl Opaque for Unknown {
    fn runtime_type_name(&self) -> &'static str {
        "unknown"
    }
}

/// The variable `message`. `raw` is converted only where the expression looks at it.
pub(super) fn message(message: &Message, with_raw: bool) -> Value {
    let mut fields = Fields::new();
    text(&mut fields, "uid", Some(&message.uid));
    text(&mut fields, "activity_type", Some(&message.triple.activity_type));
    text(&mut fields, "message_type", Some(&message.triple.message_type));
    text(&mut fields, "direction", Some(&message.triple.direction));
    text(&mut fields, "raw_type", message.raw_type.as_deref());
    text(&mut fields, "label", Some(&catalog::label(&message.triple)));
    text(&mut fields, "subject", Some(&message.subject));
    text(&mut fields, "body", Some(&message.body));
    text(&mut fields, "client_uid", message.client_uid.as_deref());
    text(&mut fields, "staff_uid", message.staff_uid.as_deref());
    text(&mut fields, "business_uid", message.business_uid.as_deref());
    fields.insert("channels".to_owned(), message.channels.clone().into());
    moment(&mut fields, "created_at", Some(message.created_at));
    if let Some(known) = &message.meeting {
        fields.insert("meeting".to_owned(), meeting(known));
    }
    if with_raw {
        fields.insert("raw".to_owned(), json(&message.raw));
    }
    fields.into()
}

fn meeting(known: &Meeting) -> Value {
    let mut fields = Fields::new();
    text(&mut fields, "service_uid", known.service_uid.as_deref());
    text(&mut fields, "service_name", known.service_name.as_deref());
    text(&mut fields, "interaction_type", known.interaction_type.as_deref());
    moment(&mut fields, "start_time", known.start_time);
    if let Some(minutes) = known.duration {
        fields.insert("duration".to_owned(), Value::Int(minutes));
    }
    fields.into()
}

/// The variable `client`: at least its uid, where the message has one.
pub(super) fn client(message: &Message, names: &Names) -> Value {
    let mut fields = Fields::new();
    text(&mut fields, "uid", message.client_uid.as_deref());
    if let Some(client) = &names.client {
        text(&mut fields, "uid", Some(&client.uid));
        text(&mut fields, "name", client.name.as_deref());
        text(&mut fields, "email", client.email.as_deref());
        text(&mut fields, "phone", client.phone.as_deref());
    }
    fields.into()
}

/// The variable `staff`: at least its uid, where the message has one.
pub(super) fn staff(message: &Message, names: &Names) -> Value {
    let mut fields = Fields::new();
    text(&mut fields, "uid", message.staff_uid.as_deref());
    if let Some(staff) = &names.staff {
        text(&mut fields, "uid", Some(&staff.uid));
        text(&mut fields, "name", staff.name.as_deref());
        text(&mut fields, "email", staff.email.as_deref());
    }
    fields.into()
}

/// The variable `account`; a business that is left out is there, and cannot be looked into.
pub(super) fn account(message: &Message, names: &Names, business_left_out: bool) -> Value {
    let mut business = Fields::new();
    text(&mut business, "uid", message.business_uid.as_deref());
    if let Some(known) = &names.business {
        text(&mut business, "uid", known.uid.as_deref());
        text(&mut business, "name", known.name.as_deref());
        text(&mut business, "time_zone", known.time_zone.as_deref());
    }
    let mut fields = Fields::new();
    text(&mut fields, "name", Some(&message.account));
    let business = if business_left_out { Value::Opaque(Arc::new(Unknown)) } else { business.into() };
    fields.insert("business".to_owned(), business);
    fields.into()
}

fn text(fields: &mut Fields, name: &str, value: Option<&str>) {
    let Some(value) = value else { return };
    fields.insert(name.to_owned(), cut(value).into());
}

fn cut(value: &str) -> &str {
    value.char_indices().nth(TEXT_CHARS_MAX).map_or(value, |(end, _)| &value[..end])
}

fn moment(fields: &mut Fields, name: &str, at: Option<Timestamp>) {
    // The value's own type parses itself, so that its crate need not be named here.
    let Some(Ok(value)) = at.map(|at| at.to_string().parse()) else { return };
    fields.insert(name.to_owned(), Value::Timestamp(value));
}

fn json(value: &serde_json::Value) -> Value {
    match value {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(yes) => Value::Bool(*yes),
        serde_json::Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(int), _) => Value::Int(int),
            (None, Some(uint)) => Value::UInt(uint),
            (None, None) => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        serde_json::Value::String(text) => cut(text).into(),
        serde_json::Value::Array(items) => items.iter().map(json).collect::<Vec<_>>().into(),
        serde_json::Value::Object(entries) => {
            entries.iter().map(|(name, value)| (name.clone(), json(value))).collect::<Fields>().into()
        }
    }
}
