//! The API of the fake business: who may ask, what is asked, what a script says instead.

mod lookups;
mod query;
mod rows;
mod shape;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::business::{Business, LIST_PATH};
use super::http::{Asked, Reply};
use super::script::{Answer, Cut};
use super::world::{At, Request, TokenKind, World};

/// Answers one request to the API.
pub(super) fn handle(business: &Business, asked: &Asked) -> (Reply, Answer) {
    let mut world = business.caught_up();
    let now = business.now_in(&world);
    let answer = world.scripts.entry(At::Api).or_default().take(&asked.path, true).unwrap_or_default();
    let mut rows = None;
    let reply = if answer.refuses() {
        Reply::json(answer.status.unwrap_or(500), &refusal(answer.status.unwrap_or(500)))
    } else {
        route(&mut world, asked, now, &mut rows)
    };
    // A poller takes its "now" from here, so it has to be the business's clock and not the machine's.
    let date = now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    let reply = reply.header("date", &date).scripted(&answer);
    let silent = matches!(answer.cut, Some(Cut::Before | Cut::After));
    world.log(Request {
        number: 0,
        at: now,
        method: asked.method.to_string(),
        path: asked.path.clone(),
        query: query::pairs(&asked.query).into_iter().collect::<BTreeMap<_, _>>(),
        status: if silent { 0 } else { reply.status },
        rows,
    });
    drop(world);
    business.notify();
    (reply, answer)
}

/// The body of a scripted refusal whose script names none.
fn refusal(status: u16) -> Value {
    match status {
        401 => errors("unauthorized", "401 Unauthorized"),
        429 => errors("too_many_requests", "Rate limit exceeded"),
        _ => errors("internal", "Something went wrong"),
    }
}

fn errors(code: &str, message: &str) -> Value {
    json!({ "success": false, "errors": [{ "code": code, "message": message }] })
}

fn route(world: &mut World, asked: &Asked, now: Timestamp, rows: &mut Option<usize>) -> Reply {
    let parts: Vec<&str> = asked.path.split('/').filter(|part| !part.is_empty()).collect();
    let Some(call) = Call::of(&parts) else {
        return Reply::json(404, &json!({ "success": false, "error": "Not found" }));
    };
    if asked.method != "GET" {
        return Reply::json(405, &errors("method_not_allowed", "Method not allowed")).header("allow", "GET");
    }
    let kind =
        asked.header("authorization").and_then(bearer).and_then(|token| world.tokens.get(token).copied());
    let kind = match kind {
        None | Some(TokenKind::Revoked) => {
            return Reply::json(401, &errors("unauthorized", "401 Unauthorized"))
                .header("www-authenticate", "Bearer");
        }
        Some(kind) => kind,
    };
    if kind != TokenKind::Staff && call.needs_staff() {
        return Reply::json(401, &errors("unauthorized", "Unauthorized"));
    }
    match call {
        Call::Messages => {
            world.count_list(now);
            list(world, &asked.query, now, rows)
        }
        call => lookups::answer(world, &call, kind, now, &asked.query),
    }
}

/// The token of an `Authorization` header; old pages write `Token` for `Bearer`.
fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer") || scheme.eq_ignore_ascii_case("token")).then(|| token.trim())
}

fn list(world: &mut World, text: &str, now: Timestamp, rows: &mut Option<usize>) -> Reply {
    let query = match query::parse(text, world.behaviour.over_cap) {
        Ok(query) => query,
        Err(message) => return Reply::json(400, &errors("invalid", &message)),
    };
    if let Some(uid) = &query.conversation_uid
        && !world.records.iter().any(|record| record.conversation.as_ref() == Some(uid))
    {
        return Reply::json(404, &json!({ "success": false, "error": "Conversation not found" }));
    }
    let page = rows::page(world, &query, now);
    *rows = Some(page.items.len());
    Reply::json(
        200,
        &json!({
            "success": true,
            "data": {
                "activity_messages": page.items,
                "page": query.page,
                "per_page": query.per_page,
                "total_count": page.total,
            },
        }),
    )
}

/// What the API can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call<'a> {
    Messages,
    UserInfo,
    Client(&'a str),
    Conversations(&'a str),
    ConversationMessages(&'a str),
    ClientPayments(&'a str),
    Business(&'a str),
    StaffList(&'a str),
    VoiceCalls,
}

impl<'a> Call<'a> {
    fn of(parts: &[&'a str]) -> Option<Self> {
        if parts.iter().copied().eq(LIST_PATH.split('/').skip(1)) {
            return Some(Self::Messages);
        }
        match *parts {
            ["oauth", "userinfo"] => Some(Self::UserInfo),
            ["platform", "v1", "clients", uid] => Some(Self::Client(uid)),
            ["platform", "v1", "clients", uid, "conversations"] => Some(Self::Conversations(uid)),
            ["platform", "v1", "clients", uid, "payments"] => Some(Self::ClientPayments(uid)),
            ["platform", "v1", "businesses", uid] => Some(Self::Business(uid)),
            ["platform", "v1", "businesses", uid, "staffs"] => Some(Self::StaffList(uid)),
            ["v2", "conversations", uid, "messages"] => Some(Self::ConversationMessages(uid)),
            ["v3", "communication", "voice_calls"] => Some(Self::VoiceCalls),
            _ => None,
        }
    }

    fn needs_staff(self) -> bool {
        matches!(self, Self::Messages | Self::Conversations(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_words_for_a_token_are_understood() {
        assert_eq!(bearer("Bearer abc"), Some("abc"));
        assert_eq!(bearer("Token abc"), Some("abc"));
        assert_eq!(bearer("Basic abc"), None);
    }

    #[test]
    fn a_path_with_a_slash_too_many_is_still_the_list() {
        let parts: Vec<&str> =
            "//v3/communication/activity_messages".split('/').filter(|p| !p.is_empty()).collect();
        assert_eq!(Call::of(&parts), Some(Call::Messages));
        assert_eq!(Call::of(&["v3"]), None);
    }
}
