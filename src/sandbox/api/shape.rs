//! An item as the API gives it: as documented, or with everything about it that may be otherwise.

use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone};
use serde_json::{Map, Value, json};

use crate::sandbox::behaviour::{Behaviour, General, Times};
use crate::sandbox::world::Record;

/// The item of the `nth` record. The same record always looks the same.
pub(super) fn item(behaviour: &Behaviour, record: &Record, nth: usize) -> Value {
    let mut item = record.item.clone();
    if let Value::Object(fields) = &mut item {
        rename_general(behaviour.general, fields, nth);
        if behaviour.client_directions {
            client_direction(fields);
        }
        if behaviour.odd_values {
            odd(fields, nth);
        }
        for name in ["created_at", "updated_at"] {
            write_time(behaviour.times, fields, name, nth);
        }
        if let Some(Value::Object(meeting)) = fields.get_mut("meeting_data") {
            write_time(behaviour.times, meeting, "start_time", nth);
        }
    }
    item
}

fn rename_general(general: General, fields: &mut Map<String, Value>, nth: usize) {
    if fields.get("activity_type").is_some_and(Value::is_string) {
        return;
    }
    let value = match general {
        General::Missing | General::Hidden => None,
        General::Null => Some(Value::Null),
        General::Empty => Some(json!("")),
        General::Mixed => match nth % 4 {
            0 => None,
            1 => Some(Value::Null),
            2 => Some(json!("")),
            _ => Some(json!("general")),
        },
    };
    match value {
        Some(value) => fields.insert("activity_type".to_owned(), value),
        None => fields.remove("activity_type"),
    };
}

fn client_direction(fields: &mut Map<String, Value>) {
    let other = match fields.get("direction").and_then(Value::as_str) {
        Some("pivot_to_client") => "business_to_client",
        Some("client_to_pivot") => "client_to_business",
        _ => return,
    };
    fields.insert("direction".to_owned(), json!(other));
}

/// Each record is odd in a way of its own.
fn odd(fields: &mut Map<String, Value>, nth: usize) {
    match nth % 7 {
        0 => {
            fields.insert("staff_uid".to_owned(), Value::Null);
            fields.insert("sentiment".to_owned(), json!({ "score": 0.4 }));
        }
        1 => {
            fields.insert("channels".to_owned(), json!(["whatsapp", "in_app"]));
        }
        2 => {
            fields.insert("channels".to_owned(), Value::Null);
            fields.insert(
                "link_url_params".to_owned(),
                json!({ "title": "Pay", "amount": "65.0", "v_currency": "GBP" }),
            );
        }
        3 => escape_body(fields),
        4 => {
            if let Some(Value::Object(meeting)) = fields.get_mut("meeting_data") {
                meeting.insert("duration".to_owned(), json!(60.0));
                meeting.insert("service_uid".to_owned(), Value::Null);
            }
            fields.remove("updated_at");
        }
        5 => {
            if let Some(Value::String(name)) = fields.get_mut("activity_type") {
                *name = table_name(name);
            }
            fields.insert("cta_button_text".to_owned(), Value::Null);
        }
        _ => {
            fields.entry("meeting_data").or_insert(Value::Null);
            fields.remove("business_uid");
        }
    }
}

/// The body as HTML that was escaped once more.
fn escape_body(fields: &mut Map<String, Value>) {
    if let Some(Value::Object(text)) = fields.get_mut("message_text")
        && let Some(Value::String(body)) = text.get_mut("body")
    {
        let inner = body.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        *body = format!("&lt;div&gt;{inner}&lt;br&gt;&lt;/div&gt;");
    }
}

/// `appointment_series` as `AppointmentSeries`.
fn table_name(name: &str) -> String {
    name.split('_')
        .flat_map(|word| {
            let mut chars = word.chars();
            chars.next().into_iter().flat_map(char::to_uppercase).chain(chars)
        })
        .collect()
}

fn write_time(times: Times, fields: &mut Map<String, Value>, name: &str, nth: usize) {
    let Some(Value::String(text)) = fields.get_mut(name) else { return };
    let Ok(at) = text.parse::<Timestamp>() else { return };
    let times = match times {
        Times::Mixed => [Times::Zulu, Times::Millis, Times::Offset, Times::Naked][nth % 4],
        other => other,
    };
    *text = match times {
        Times::Zulu | Times::Mixed => return,
        Times::Millis => at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string(),
        Times::Naked => at.strftime("%Y-%m-%dT%H:%M:%S.%3f").to_string(),
        Times::Offset => {
            let zone = TimeZone::fixed(Offset::constant(2));
            at.to_zoned(zone).strftime("%Y-%m-%dT%H:%M:%S.%3f%:z").to_string()
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_every_shape() {
        let written = |times| {
            let mut fields = Map::from_iter([("at".to_owned(), json!("2026-11-02T08:00:00Z"))]);
            write_time(times, &mut fields, "at", 0);
            fields["at"].as_str().unwrap().to_owned()
        };
        assert_eq!(written(Times::Zulu), "2026-11-02T08:00:00Z");
        assert_eq!(written(Times::Millis), "2026-11-02T08:00:00.000Z");
        assert_eq!(written(Times::Offset), "2026-11-02T10:00:00.000+02:00");
        assert_eq!(written(Times::Naked), "2026-11-02T08:00:00.000");
    }

    #[test]
    fn names_are_spelled_as_in_the_table() {
        assert_eq!(table_name("appointment_series"), "AppointmentSeries");
    }
}
