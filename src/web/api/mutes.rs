//! Mutes: list, add, lift.

use axum::extract::{Path, State};
use axum::http::{Method, StatusCode};
use axum::response::IntoResponse;
use axum::routing::{delete, get, post};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::asked::{Body, Query, present};
use super::problem::Problem;
use super::schemas::{self, one_of, reference, text};
use super::{Answer, Operation, json};
use crate::answers::{mutes, when};
use crate::web::Console;
use crate::web::guard::Call;

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new(
            (Method::GET, "/api/v1/mutes"),
            ("listMutes", "The mutes that have not ended"),
            schemas::list("mutes", "Mute"),
            get(list),
        ),
        Operation::new(
            (Method::POST, "/api/v1/mutes"),
            ("muteRule", "Silence a rule for a while: what it owes is withheld, with the reason"),
            reference("Mute"),
            post(add),
        )
        .created()
        .body(one_of([ending("for", &schemas::length()), ending("until", &schemas::moment())])),
        Operation::new(
            (Method::DELETE, "/api/v1/mutes/{id}"),
            ("liftMute", "End a mute before its time"),
            reference("Mute"),
            delete(lift),
        ),
    ]
}

/// `GET /api/v1/mutes`
async fn list(State(console): State<Console>, _: Query) -> Answer {
    json(&json!({ "mutes": console.relay.store.mutes(console.relay.clock.now()).await? }))
}

/// What a mute is made of, by the field that says when it ends.
fn ending(field: &str, schema: &Value) -> Value {
    json!({
        "type": "object", "additionalProperties": false, "required": ["rule", field, "reason"],
        "properties": { "rule": text(), field: schema, "reason": schemas::line() },
    })
}

/// Which rule, for how long or until when, and why.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::web) struct Asked {
    rule: String,
    #[serde(default, deserialize_with = "present")]
    r#for: Option<String>,
    #[serde(default, deserialize_with = "present")]
    until: Option<Timestamp>,
    reason: String,
}

/// `POST /api/v1/mutes`
async fn add(Call { console, visitor }: Call, _: Query, Body(asked): Body<Asked>) -> Answer {
    let now = console.relay.clock.now();
    let until = match (&asked.r#for, asked.until) {
        (Some(length), None) => when::after(length, now).map_err(Problem::wrong)?,
        (None, Some(until)) => until,
        _ => return Err(Problem::wrong("give either `for` or `until`")),
    };
    let (store, config) = (&console.relay.store, console.relay.config());
    let mute = mutes::add(store, &config, (&asked.rule, until, &asked.reason), now).await?;
    let (rule, until, reason) = (&mute.rule, mute.until, &mute.reason);
    tracing::info!(peer = %visitor.peer, rule, %until, reason, "muted by the API");
    Ok((StatusCode::CREATED, json(&mute)?).into_response())
}

/// `DELETE /api/v1/mutes/{id}`
async fn lift(Call { console, visitor }: Call, Path(id): Path<String>, _: Query) -> Answer {
    if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Problem::wrong("a mute's id is a number"));
    }
    // A number that is too large is that of no mute.
    let id = id.parse().map_err(|_| mutes::unknown(&id))?;
    let mute = mutes::lift(&console.relay.store, id, console.relay.clock.now()).await?;
    tracing::info!(peer = %visitor.peer, rule = mute.rule, "a mute was lifted by the API");
    json(&mute)
}
