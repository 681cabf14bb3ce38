//! Targets: list, pause, resume, test; and the whole on one screen.

use axum::extract::{Path, State};
use axum::http::Method;
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::json;

use super::asked::{Body, Query};
use super::schemas::{self, reference};
use super::{Answer, Operation, json};
use crate::answers::status::{Reload, Status};
use crate::answers::targets;
use crate::web::Console;
use crate::web::guard::{Call, Visitor};

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new(
            (Method::GET, "/api/v1/status"),
            (
                "showStatus",
                "Accounts, queue, targets that are held up, instances, mutes, a reload that was refused",
            ),
            reference("Status"),
            get(status),
        ),
        Operation::new(
            (Method::GET, "/api/v1/targets"),
            ("listTargets", "Every target, whether it is held up, and what waits for it"),
            schemas::list("targets", "Target"),
            get(list),
        ),
        Operation::new(
            (Method::POST, "/api/v1/targets/{name}/pause"),
            ("pauseTarget", "Send nothing to a target until it is resumed; what is owed to it waits"),
            reference("Target"),
            post(pause),
        )
        .body(json!({
            "type": "object", "additionalProperties": false, "required": ["reason"],
            "properties": { "reason": schemas::line() },
        })),
        Operation::new(
            (Method::POST, "/api/v1/targets/{name}/resume"),
            ("resumeTarget", "End a pause, a wait or a parking: send again at once"),
            reference("Target"),
            post(resume),
        ),
        Operation::new(
            (Method::POST, "/api/v1/targets/{name}/test"),
            ("testTarget", "Send a marked test message; what the target answered to each recipient"),
            schemas::list("tests", "Tested"),
            post(test),
        ),
    ]
}

/// `GET /api/v1/status`
async fn status(State(console): State<Console>, _: Query) -> Answer {
    let (config, now) = (console.relay.config(), console.relay.clock.now());
    let status = Status::of(&console.relay.store, Some(&config), now).await?;
    json(&Status { reload: Reload::refused(&console.reloader), ..status })
}

/// `GET /api/v1/targets`
async fn list(State(console): State<Console>, _: Query) -> Answer {
    let (config, now) = (console.relay.config(), console.relay.clock.now());
    json(&json!({ "targets": targets::list(&console.relay.store, &config, now).await? }))
}

/// Why, for those who look later.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::web) struct Why {
    reason: String,
}

/// `POST /api/v1/targets/{name}/pause`
async fn pause(
    Call { console, visitor }: Call,
    Path(name): Path<String>,
    _: Query,
    Body(why): Body<Why>,
) -> Answer {
    held(&console, &visitor, &name, Some(&why.reason)).await
}

/// `POST /api/v1/targets/{name}/resume`
async fn resume(Call { console, visitor }: Call, Path(name): Path<String>, _: Query) -> Answer {
    held(&console, &visitor, &name, None).await
}

async fn held(console: &Console, visitor: &Visitor, name: &str, reason: Option<&str>) -> Answer {
    let (store, config, now) = (&console.relay.store, console.relay.config(), console.relay.clock.now());
    let target = targets::hold(store, &config, (name, reason), now).await?;
    console.relay.owed.notify_one();
    let did = if reason.is_some() { "pause" } else { "resume" };
    tracing::info!(peer = %visitor.peer, did, target = name, "changed by the API");
    json(&target)
}

/// `POST /api/v1/targets/{name}/test`
async fn test(Call { console, visitor }: Call, Path(name): Path<String>, _: Query) -> Answer {
    let config = console.relay.config();
    let target = targets::named(&config, &name)?;
    tracing::info!(peer = %visitor.peer, target = name, "tested by the API");
    let by = format!("Somebody tested {name} by the API");
    json(&json!({ "tests": targets::test(target, &by, &config, console.relay.clock.now()).await }))
}
