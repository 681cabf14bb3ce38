//! The configuration in force, and its reload.

use axum::extract::State;
use axum::http::{Method, StatusCode};
use axum::routing::{get, post};
use serde_json::json;

use super::asked::Query;
use super::problem::Problem;
use super::schemas::reference;
use super::{Answer, Operation, json};
use crate::daemon::reload::{Cause, Outcome};
use crate::rules::window::zone_name;
use crate::rules::{Deliver, Rule};
use crate::web::Console;
use crate::web::guard::Call;
use crate::web::reload::as_json;

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new(
            (Method::GET, "/api/v1/configuration"),
            ("showConfiguration", "What is in force, out of which files, and how the last reload went"),
            reference("Configuration"),
            get(show),
        ),
        Operation::new(
            (Method::POST, "/api/v1/configuration/reload"),
            ("reloadConfiguration", "Read the files again; 422 with the problems if they cannot be used"),
            reference("Reload"),
            post(reload),
        ),
    ]
}

/// `GET /api/v1/configuration`
async fn show(State(console): State<Console>, _: Query) -> Answer {
    let config = console.relay.config();
    let files = console.reloader.seen();
    let last = console.reloader.last().map(|last| {
        let mut document = as_json(&last.reload);
        document["at"] = json!(last.at);
        document["by"] = json!(last.cause.as_str());
        document
    });
    let definition = |rule: &Rule| {
        let deliver = |deliver: &Deliver| json!({ "to": deliver.target, "template": deliver.template });
        json!({
            "rule": rule.name, "stop": rule.stop, "owner": rule.owner,
            "place": { "file": rule.place.file, "line": rule.place.line, "column": rule.place.column },
            "deliver": rule.deliver.iter().map(deliver).collect::<Vec<_>>(),
        })
    };
    json(&json!({
        "hash": config.outline.hash(),
        "timezone": zone_name(&config.timezone),
        "files": files.paths().iter().map(|path| path.display().to_string()).collect::<Vec<_>>(),
        "accounts": config.accounts.iter().map(|account| &account.name).collect::<Vec<_>>(),
        "targets": config.targets.keys().collect::<Vec<_>>(),
        "rules": config.rules.list().iter().map(|rule| &rule.name).collect::<Vec<_>>(),
        "definitions": config.rules.list().iter().map(definition).collect::<Vec<_>>(),
        "templates": config.templates.names(),
        "alerts": config.alerts,
        "last_reload": last,
    }))
}

/// `POST /api/v1/configuration/reload`
async fn reload(Call { console, visitor }: Call, _: Query) -> Answer {
    tracing::info!(peer = %visitor.peer, "a reload is asked for by the API");
    let reload = console.reloader.reload(Cause::Api).await;
    let document = as_json(&reload);
    if reload.outcome == Outcome::Refused {
        let words = reload.first_error().unwrap_or_else(|| "the files have errors".to_owned());
        let problem = Problem::of(StatusCode::UNPROCESSABLE_ENTITY, words);
        return Err(problem.with("problems", document["problems"].clone()));
    }
    json(&document)
}
