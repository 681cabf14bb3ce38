//! The digests that are open: list, close, cancel.

use axum::extract::State;
use axum::http::Method;
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Value, json};

use super::asked::{Body, Query};
use super::problem::Problem;
use super::schemas::{self, reference};
use super::{Answer, Operation, json};
use crate::answers::digests::{self, Say};
use crate::model::id::DeliveryId;
use crate::web::Console;
use crate::web::guard::Call;

pub(super) fn operations() -> Vec<Operation> {
    let change = |path, name, handler| {
        Operation::new((Method::POST, path), name, schemas::list("digests", "Id"), handler)
            .body(reference("Ids"))
    };
    vec![
        Operation::new(
            (Method::GET, "/api/v1/digests"),
            ("listDigests", "The digests that still take messages in"),
            schemas::list("digests", "Digest"),
            get(list),
        ),
        change(
            "/api/v1/digests/flush",
            ("flushDigests", "Close digests: they are sent at once"),
            post(flush),
        ),
        change(
            "/api/v1/digests/cancel",
            ("cancelDigests", "Discard digests with all their messages"),
            post(cancel),
        ),
    ]
}

/// `GET /api/v1/digests`
async fn list(State(console): State<Console>, _: Query) -> Answer {
    let open = digests::open(&console.relay.store).await?;
    json(&json!({ "digests": open }))
}

/// Which ones are meant.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::web) struct Ids {
    ids: Vec<String>,
}

async fn open_ones(console: &Console, asked: &Ids) -> Result<Vec<DeliveryId>, Problem> {
    if asked.ids.is_empty() || asked.ids.iter().any(String::is_empty) {
        return Err(Problem::wrong("`ids` names one digest at least"));
    }
    Ok(digests::open_ones(&console.relay.store, &asked.ids).await?)
}

async fn change(say: Say, call: &Call, asked: &Ids) -> Answer {
    let Call { console, visitor } = call;
    let ids = open_ones(console, asked).await?;
    let changed = say.run(&console.relay.store, &ids, console.relay.clock.now()).await?;
    console.relay.owed.notify_one();
    let (peer, did, count) = (visitor.peer, say.as_str(), changed.len());
    tracing::info!(%peer, did, count, "digests were changed by the API");
    let ids: Vec<Value> = changed.iter().map(|id| json!({ "id": id })).collect();
    json(&json!({ "digests": ids }))
}

/// `POST /api/v1/digests/flush`
async fn flush(call: Call, _: Query, Body(asked): Body<Ids>) -> Answer {
    change(Say::Flush, &call, &asked).await
}

/// `POST /api/v1/digests/cancel`
async fn cancel(call: Call, _: Query, Body(asked): Body<Ids>) -> Answer {
    change(Say::Cancel, &call, &asked).await
}
