//! Mutes: list, add, lift.

use axum::extract::{Path, State};
use axum::http::{Method, StatusCode};
use axum::response::IntoResponse;
use axum::routing::{delete, get, post};
use serde::Deserialize;
use serde_json::json;

use super::asked::{Body, Query, line};
use super::problem::Problem;
use super::schemas::{self, reference, text};
use super::{Answer, Operation, json};
use crate::answers::when;
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
        .body(json!({
            "type": "object", "additionalProperties": false, "required": ["rule", "for", "reason"],
            "properties": { "rule": text(), "for": schemas::length(), "reason": schemas::line() },
        })),
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

/// Which rule, for how long, and why.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::web) struct Asked {
    rule: String,
    r#for: String,
    reason: String,
}

/// `POST /api/v1/mutes`
async fn add(Call { console, visitor }: Call, _: Query, Body(asked): Body<Asked>) -> Answer {
    let now = console.relay.clock.now();
    let (until, reason) =
        (when::after(&asked.r#for, now).map_err(Problem::wrong)?, line("reason", &asked.reason)?);
    if console.relay.config().rules.get(&asked.rule).is_none() {
        return Err(Problem::missing(format!("the rules file has no rule `{}`", asked.rule)));
    }
    let mute = console.relay.store.mute(&asked.rule, until, &reason, now).await?;
    tracing::info!(peer = %visitor.peer, rule = mute.rule, until = %mute.until, reason, "muted by the API");
    Ok((StatusCode::CREATED, json(&mute)?).into_response())
}

/// `DELETE /api/v1/mutes/{id}`
async fn lift(Call { console, visitor }: Call, Path(id): Path<String>, _: Query) -> Answer {
    if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Problem::wrong("a mute's id is a number"));
    }
    let lifted = match id.parse() {
        Ok(id) => console.relay.store.lift_mute(id, console.relay.clock.now()).await?,
        Err(_) => None,
    };
    let Some(mute) = lifted else {
        return Err(Problem::missing(format!("there is no mute {id}, or it is over")));
    };
    tracing::info!(peer = %visitor.peer, rule = mute.rule, "a mute was lifted by the API");
    json(&mute)
}
