//! The playground: rules and a template tried on a message. Nothing is kept or sent.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::{Method, StatusCode};
use axum::routing::post;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::asked::{Body, Query, present};
use super::problem::Problem;
use super::schemas::{one_of, reference, text};
use super::{Answer, Operation, json};
use crate::answers::playground::{self, PARTS, Subject, tried};
use crate::web::Console;

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new(
            (Method::POST, "/api/v1/playground"),
            (
                "tryRules",
                "Rules and a template tried on a message: problems, verdicts, and what Slack, a mail and a webhook would get",
            ),
            reference("Tried"),
            post(attempt),
        )
        .body(reference("Trial")),
    ]
}

/// What is to be tried, and on what.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Trial {
    message: Chosen,
    #[serde(default, deserialize_with = "present")]
    rules: Option<String>,
    #[serde(default)]
    template: BTreeMap<String, String>,
}

/// A message: a sample of a type, or one that is stored.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Chosen {
    #[serde(default, deserialize_with = "present")]
    sample: Option<String>,
    #[serde(default, deserialize_with = "present")]
    uid: Option<String>,
    #[serde(default, deserialize_with = "present")]
    account: Option<String>,
}

/// What a [`Trial`] looks like.
pub(super) fn trial_schema() -> Value {
    let parts: Map<String, Value> = PARTS.iter().map(|name| ((*name).to_owned(), text())).collect();
    let kind = json!({
        "type": "string", "pattern": "^[A-Za-z0-9 _-]+/[A-Za-z0-9 _-]+/[A-Za-z0-9 _-]+$",
        "examples": ["Meeting/cancelled/client_to_pivot"],
    });
    let chosen = |required: &str, properties: Value| {
        json!({
            "type": "object", "additionalProperties": false, "required": [required], "properties": properties,
        })
    };
    let message = one_of([
        chosen("sample", json!({ "sample": kind })),
        chosen("uid", json!({ "uid": text(), "account": text() })),
    ]);
    let rules = json!({
        "type": "string", "description": "As they stand under `rules:`; without them those in force judge",
    });
    json!({
        "type": "object", "additionalProperties": false, "required": ["message"],
        "properties": {
            "message": message, "rules": rules,
            "template": { "type": "object", "additionalProperties": false, "properties": parts },
        },
    })
}

/// `POST /api/v1/playground`
async fn attempt(State(console): State<Console>, _: Query, Body(trial): Body<Trial>) -> Answer {
    if let Some(name) = trial.template.keys().find(|name| !PARTS.contains(&name.as_str())) {
        let known = PARTS.join(", ");
        return Err(Problem::wrong(format!("a template has no part `{name}`; there are: {known}")));
    }
    let (config, now) = (console.relay.config(), console.relay.clock.now());
    let subject = match trial.message {
        Chosen { sample: Some(kind), uid: None, account: None } => {
            Subject::sample(&kind, &config, now).map_err(Problem::wrong)?
        }
        Chosen { sample: None, uid: Some(uid), account } => {
            let found = Subject::stored(&console.relay.store, account.as_deref(), &uid).await?;
            found.ok_or_else(|| Problem::missing(format!("no message with the uid `{uid}` is stored")))?
        }
        _ => return Err(Problem::wrong("`message` names either a `sample` or a `uid` (with its `account`)")),
    };
    let parts: Vec<(String, String)> = trial.template.into_iter().collect();
    let rules = trial.rules;
    let work = tokio::task::spawn_blocking(move || tried(rules.as_deref(), &parts, subject, &config, now));
    let internal =
        |_| Problem::of(StatusCode::INTERNAL_SERVER_ERROR, "these rules or this template cannot be tried");
    json(&playground::as_json(&work.await.map_err(internal)?))
}
