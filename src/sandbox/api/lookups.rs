//! What the fake business tells about its people, calls and payments, in the odd shapes of each call.

use std::time::Duration;

use jiff::{Timestamp, ToSpan};
use serde_json::{Value, json};

use crate::model::message::key;
use crate::model::settle::after_now;
use crate::sandbox::http::Reply;
use crate::sandbox::world::{Record, TokenKind, World};

use super::{Call, errors};

/// Answers everything but the list of messages.
pub(super) fn answer(
    world: &mut World,
    call: &Call<'_>,
    kind: TokenKind,
    now: Timestamp,
    query: &str,
) -> Reply {
    match *call {
        Call::Messages => Reply::json(500, &errors("internal", "not a lookup")),
        Call::UserInfo => {
            let kind = if kind == TokenKind::Staff { "staff" } else { "app" };
            Reply::json(200, &world.people.userinfo(kind))
        }
        Call::Client(_) if !world.may_look_up(now) => {
            Reply::json(429, &json!({ "error": "Too many requests" }))
        }
        Call::Client(uid) => match world.people.client_card(uid) {
            Some(card) => Reply::json(200, &card),
            None => Reply::json(422, &json!({ "status": "Error", "error": "Client not found" })),
        },
        Call::Business(uid) | Call::StaffList(uid) if uid != world.people.business_uid() => {
            Reply::json(401, &json!({ "status": "failure", "message": "401 Unauthorized" }))
        }
        Call::Business(_) => Reply::json(200, &world.people.business_card()),
        Call::StaffList(_) => Reply::json(200, &world.people.staff_list()),
        Call::Conversations(_) if world.behaviour.conversations_refused => {
            Reply::json(422, &json!({ "status": "Error", "error": "Unauthorized" }))
        }
        Call::Conversations(uid) => Reply::json(200, &conversations(world, uid, now)),
        Call::ConversationMessages(uid) => Reply::json(200, &conversation(world, uid, now)),
        Call::ClientPayments(uid) => Reply::json(200, &payments(world, uid, now, query)),
        Call::VoiceCalls => Reply::json(200, &voice_calls(world, now)),
    }
}

fn visible(world: &World, now: Timestamp) -> impl Iterator<Item = &Record> {
    world.records.iter().filter(move |record| record.visible_at <= now)
}

fn text<'a>(record: &'a Record, name: &str) -> &'a str {
    record.item.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn of_type(record: &Record, name: &str) -> bool {
    key(text(record, "activity_type")) == key(name)
}

fn conversations(world: &World, client: &str, now: Timestamp) -> Value {
    let mut found: Vec<Value> = Vec::new();
    for record in visible(world, now).filter(|record| text(record, "client_uid") == client) {
        let Some(id) = &record.conversation else { continue };
        if found.iter().any(|known| known["id"] == *id) {
            continue;
        }
        found.push(json!({
            "id": id, "title": record.item["message_text"]["subject"], "staff_id": record.item["staff_uid"],
            "client_id": client, "business_unread": !record.read, "deep_link": format!("/app/conversations/{id}"),
            "created_at": record.made.to_string(),
        }));
    }
    json!({ "status": "OK", "data": { "conversations": found } })
}

/// A bare array, with times at the business's own offset.
fn conversation(world: &World, uid: &str, now: Timestamp) -> Value {
    visible(world, now)
        .filter(|record| record.conversation.as_deref() == Some(uid))
        .map(|record| {
            json!({
                "uid": record.uid(), "text": record.item["message_text"]["body"],
                "message_type": "system", "sub_type": record.item["activity_action"],
                "direction": record.item["direction"].as_str().map(|name| name.replace("pivot", "business")),
                "was_read": record.read, "mail_read": false, "channels": record.item["channels"], "messageable": null,
                "staff": { "display_name": "Leo Marsh" },
                "created_at": record.made.strftime("%Y-%m-%dT%H:%M:%S.000+00:00").to_string(),
            })
        })
        .collect()
}

/// Failed payments come in twos near each other, so that an amount can not be guessed from one alone;
/// a client's first failure stands alone.
fn payments(world: &World, client: &str, now: Timestamp, query: &str) -> Value {
    let wanted = super::query::pairs(query)
        .into_iter()
        .find(|(name, _)| name.starts_with("filter[state]"))
        .map(|(_, value)| value);
    let failed = visible(world, now).filter(|record| {
        of_type(record, "payment")
            && text(record, "activity_action").ends_with("_failed")
            && text(record, "client_uid") == client
    });
    let mut found = Vec::new();
    for (nth, record) in failed.enumerate() {
        let mut add = |amount: f64, at: Timestamp| {
            found.push(json!({
                "id": format!("pay{:013}", found.len()), "amount": amount, "currency": "GBP", "state": "failed",
                "title": record.item["message_text"]["subject"], "payment_method": "credit_card", "client_id": client,
                "charged_at": at.strftime("%-d/%-m/%Y %H:%M:%S").to_string(), "created_at": at.to_string(),
                "payment_requests": [],
            }));
        };
        add(65.0, record.made);
        if nth > 0 {
            add(120.0, after_now(record.made, Duration::from_mins(4)));
        }
    }
    if wanted.is_some_and(|wanted| !wanted.split(',').any(|state| state == "failed")) {
        found.clear();
    }
    json!({ "status": "OK", "data": { "payments": found } })
}

fn voice_calls(world: &World, now: Timestamp) -> Value {
    let calls: Vec<Value> = visible(world, now)
        .filter(|record| of_type(record, "voice_call"))
        .map(|record| {
            let from =
                world.people.client(text(record, "client_uid")).and_then(|client| client.phone.clone());
            let ended = record.made.checked_add(160.seconds()).unwrap_or(record.made);
            json!({
                "uid": format!("00000000-0000-4000-8000-{:0>12}", record.uid().trim_start_matches("sb00")),
                "status": "MISSED", "direction": "INCOMING", "duration": 160, "from_number": from,
                "client_uid": record.item["client_uid"], "call_summary": null,
                "created_at": record.made.to_string(), "updated_at": ended.to_string(),
            })
        })
        .collect();
    json!({ "success": true, "data": { "voice_calls": calls } })
}
