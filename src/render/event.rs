//! The default HTTP bodies: the event, the digest, the notice, each bare or in a `CloudEvents` envelope.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};

use crate::model::catalog;
use crate::model::message::{Meeting, Message};
use crate::model::payload::{Body, HttpBody, Payload};

use super::view::{Links, Resolved, Seen, View, path_segment};

/// What the body of an event says of the message's kind: `vcita.event_attendance.rsvp_confirmation`.
pub(crate) fn event_type(seen: &Seen) -> String {
    let triple = &seen.message.triple;
    format!("vcita.{}.{}", snake_case(&triple.activity_type), snake_case(&triple.message_type))
}

/// The default body for a view, in the form asked for; with the reason where it stands in for a template that failed.
pub(crate) fn body(view: &View, form: HttpBody, failed: Option<&str>) -> Payload {
    let Told { kind, at, subject, data } = tell(view, failed);
    let (content_type, body) = match form {
        HttpBody::Auto | HttpBody::Event => {
            ("application/json", serde_json::to_string(&Event { r#type: &kind, timestamp: at, data: &data }))
        }
        HttpBody::CloudEvents => (
            "application/cloudevents+json",
            serde_json::to_string(&CloudEvent {
                specversion: "1.0",
                id: &view.delivery_id,
                source: format!("/activity-relay/{}", path_segment(&view.account)),
                r#type: &kind,
                subject: &subject,
                time: at,
                datacontenttype: "application/json",
                data: &data,
            }),
        ),
    };
    // Neither keys nor values of these shapes can be refused by JSON.
    Payload::Http(Body { content_type: content_type.to_owned(), body: body.unwrap_or_default() })
}

#[derive(Serialize)]
struct Event<'a> {
    r#type: &'a str,
    timestamp: Timestamp,
    data: &'a RawValue,
}

/// <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md>
#[derive(Serialize)]
struct CloudEvent<'a> {
    specversion: &'a str,
    id: &'a str,
    source: String,
    r#type: &'a str,
    subject: &'a str,
    time: Timestamp,
    datacontenttype: &'a str,
    data: &'a RawValue,
}

/// `data` of one message's event.
#[derive(Serialize)]
struct EventData<'a> {
    id: &'a str,
    rule: &'a str,
    account: &'a str,
    message: MessageData<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    also: Vec<MessageData<'a>>,
    client: Option<Value>,
    staff: Option<StaffData>,
    links: Links,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    resolved: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resolved_by: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    template_error: Option<&'a str>,
}

#[derive(Serialize)]
struct MessageData<'a> {
    uid: &'a str,
    activity_type: &'a str,
    message_type: &'a str,
    direction: &'a str,
    label: String,
    subject: &'a str,
    body: &'a str,
    channels: &'a [String],
    created_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    updated_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    business_uid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    staff_uid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_uid: Option<&'a str>,
    meeting: Option<&'a Meeting>,
}

#[derive(Serialize)]
struct StaffData {
    uid: String,
    name: Option<String>,
}

/// Type, moment, subject and data of what is sent.
struct Told {
    kind: String,
    at: Timestamp,
    subject: String,
    data: Box<RawValue>,
}

fn tell(view: &View, failed: Option<&str>) -> Told {
    if let Some(notice) = &view.notice {
        let data = json!({
            "id": view.delivery_id,
            "account": view.account,
            "target": view.target,
            "subject": notice.subject,
            "text": notice.text,
        });
        return Told {
            kind: "relay.notice".into(),
            at: view.now,
            subject: "notice".into(),
            data: raw(&data),
        };
    }
    match view.told().as_slice() {
        [seen] if !view.is_digest() => Told {
            kind: event_type(seen),
            at: seen.message.created_at,
            subject: seen.message.uid.clone(),
            data: raw(&EventData {
                resolved: view.around.resolved.iter().map(|one| resolved_data(view, one)).collect(),
                resolved_by: view.around.resolved_by.as_ref().map(|by| json!(event_data(view, by))),
                template_error: failed,
                ..event_data(view, seen)
            }),
        },
        all => {
            let items: Vec<_> = all.iter().map(|seen| event_data(view, seen)).collect();
            let window = view.window().map(|(from, to)| json!({ "from": from, "to": to }));
            let resolved: Vec<_> = view.around.resolved.iter().map(|one| resolved_data(view, one)).collect();
            let mut data = json!({
                "id": view.delivery_id,
                "rule": view.rule,
                "account": view.account,
                "count": all.len(),
                "items": items,
                "by_type": view.by_type(),
                "omitted": 0,
                "window": window,
                "throttled": view.around.throttled,
                "expired": view.around.expired,
                "resolved": resolved,
            });
            if let Some(late) = view.late() {
                data["late"] = late;
            }
            if let Some(failed) = failed {
                data["template_error"] = json!(failed);
            }
            Told { kind: "vcita.digest".into(), at: view.now, subject: "digest".into(), data: raw(&data) }
        }
    }
}

fn raw(data: &impl Serialize) -> Box<RawValue> {
    to_raw_value(data).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

/// A message that was made good, with the id under which it was sent; in a digest with what did it under `by`.
fn resolved_data(view: &View, one: &Resolved) -> Value {
    let sent = EventData { id: &one.delivery, rule: &one.rule, ..event_data(view, &one.message) };
    let mut data = json!(sent);
    data["target"] = json!(one.target);
    if view.is_digest() {
        data["by"] = json!(event_data(view, &one.by));
    }
    data
}

fn event_data<'a>(view: &'a View, seen: &'a Seen) -> EventData<'a> {
    let client = seen.client().map(|client| {
        // One of whom nothing but the uid is known has no other key.
        if client.name.is_some() || client.email.is_some() || client.phone.is_some() {
            json!({ "uid": client.uid, "name": client.name, "email": client.email, "phone": client.phone })
        } else {
            json!({ "uid": client.uid })
        }
    });
    EventData {
        id: &view.delivery_id,
        rule: &view.rule,
        account: &view.account,
        message: message_data(&seen.message),
        also: seen.also.iter().map(|also| message_data(&also.message)).collect(),
        client,
        staff: seen.staff().map(|staff| StaffData { uid: staff.uid, name: staff.name }),
        links: view.links(Some(seen)),
        resolved: Vec::new(),
        resolved_by: None,
        template_error: None,
    }
}

fn message_data(message: &Message) -> MessageData<'_> {
    MessageData {
        uid: &message.uid,
        activity_type: &message.triple.activity_type,
        message_type: &message.triple.message_type,
        direction: &message.triple.direction,
        label: catalog::label(&message.triple),
        subject: &message.subject,
        body: &message.body,
        channels: &message.channels,
        created_at: message.created_at,
        updated_at: message.updated_at,
        business_uid: message.business_uid.as_deref(),
        staff_uid: message.staff_uid.as_deref(),
        client_uid: message.client_uid.as_deref(),
        meeting: message.meeting.as_ref(),
    }
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
