//! The default HTTP bodies: the event, the digest, the notice, each bare or in a `CloudEvents` envelope.

use serde_json::{Value, json};

use crate::model::payload::{Body, HttpBody, Payload};

use super::view::{Seen, View, message_fields, path_segment};

/// What the body of an event says of the message's kind: `vcita.event_attendance.rsvp_confirmation`.
pub(crate) fn event_type(seen: &Seen) -> String {
    let triple = &seen.message.triple;
    format!("vcita.{}.{}", snake_case(&triple.activity_type), snake_case(&triple.message_type))
}

/// The default body for a view, in the form asked for.
pub(crate) fn body(view: &View, form: HttpBody) -> Payload {
    let (kind, at, subject, data) = parts(view);
    let (content_type, value) = match form {
        HttpBody::Auto | HttpBody::Event => {
            ("application/json", json!({ "type": kind, "timestamp": at, "data": data }))
        }
        HttpBody::CloudEvents => (
            "application/cloudevents+json",
            json!({
                "specversion": "1.0",
                "id": view.delivery_id,
                "source": format!("/activity-relay/{}", path_segment(&view.account)),
                "type": kind,
                "subject": subject,
                "time": at,
                "datacontenttype": "application/json",
                "data": data,
            }),
        ),
    };
    Payload::Http(Body { content_type: content_type.to_owned(), body: value.to_string() })
}

/// Type, moment, subject and data of what is sent.
fn parts(view: &View) -> (String, jiff::Timestamp, String, Value) {
    if let Some(notice) = &view.notice {
        let data = json!({
            "id": view.delivery_id,
            "account": view.account,
            "target": view.target,
            "subject": notice.subject,
            "text": notice.text,
        });
        return ("relay.notice".to_owned(), view.now, "notice".to_owned(), data);
    }
    match view.messages.as_slice() {
        [seen] => {
            (event_type(seen), seen.message.created_at, seen.message.uid.clone(), event_data(view, seen))
        }
        all => {
            let items: Vec<Value> = all.iter().map(|seen| event_data(view, seen)).collect();
            let ends = (all.first(), all.last());
            let window = match ends {
                (Some(from), Some(to)) => {
                    json!({ "from": from.message.created_at, "to": to.message.created_at })
                }
                _ => Value::Null,
            };
            let data = json!({
                "id": view.delivery_id,
                "rule": view.rule,
                "account": view.account,
                "count": all.len(),
                "items": items,
                "by_type": view.by_type(),
                "omitted": 0,
                "window": window,
            });
            ("vcita.digest".to_owned(), view.now, "digest".to_owned(), data)
        }
    }
}

/// `data` of one message's event.
fn event_data(view: &View, seen: &Seen) -> Value {
    let client = seen.client().map(|client| {
        let known = client.name.is_some() || client.email.is_some() || client.phone.is_some();
        if known {
            json!({ "uid": client.uid, "name": client.name, "email": client.email, "phone": client.phone })
        } else {
            json!({ "uid": client.uid })
        }
    });
    let staff = seen.staff().map(|staff| json!({ "uid": staff.uid, "name": staff.name }));
    let mut message = message_fields(&seen.message);
    message.entry("meeting").or_insert(Value::Null);
    message.shift_remove("raw");
    json!({
        "id": view.delivery_id,
        "rule": view.rule,
        "account": view.account,
        "message": message,
        "client": client,
        "staff": staff,
        "links": view.links(Some(seen)),
    })
}

/// `EventAttendance` becomes `event_attendance`; whatever is neither letter nor digit becomes one `_`.
fn snake_case(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    let mut after_small = false;
    for c in name.chars() {
        if !c.is_alphanumeric() {
            if !out.is_empty() && !out.ends_with('_') {
                out.push('_');
            }
            after_small = false;
            continue;
        }
        if c.is_uppercase() && after_small {
            out.push('_');
        }
        after_small = c.is_lowercase() || c.is_numeric();
        out.extend(c.to_lowercase());
    }
    out.truncate(out.trim_end_matches('_').len());
    if out.is_empty() { "unknown".to_owned() } else { out }
}

#[cfg(test)]
mod tests {
    use super::snake_case;

    #[test]
    fn names_of_types_are_snake_case() {
        assert_eq!(snake_case("EventAttendance"), "event_attendance");
        assert_eq!(snake_case("rsvp_confirmation"), "rsvp_confirmation");
        assert_eq!(snake_case("Some new-Thing!"), "some_new_thing");
        assert_eq!(snake_case("***"), "unknown");
    }
}
