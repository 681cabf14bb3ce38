//! Messages: why one did or did not arrive, what would become of one of a type, and which rules take which types.

use axum::extract::{Path, State};
use axum::http::Method;
use axum::routing::get;

use super::asked::Query;
use super::problem::Problem;
use super::schemas::{self, reference, text};
use super::{Answer, Operation, Parameter, json};
use crate::answers::explain::{About, Story, document};
use crate::answers::{coverage, subject};
use crate::web::Console;

pub(super) fn operations() -> Vec<Operation> {
    let of = |name, about| Parameter::new(name, about, text());
    vec![
        Operation::new(
            (Method::GET, "/api/v1/messages/{uid}"),
            ("explainMessage", "A stored message: each rule's verdict, its deliveries and every attempt"),
            reference("Explanation"),
            get(explain),
        )
        .query(vec![of("account", "Of this account, where several have the uid")]),
        Operation::new(
            (Method::GET, "/api/v1/explain"),
            ("explainType", "What would become of a message of this type if it came now"),
            reference("Explanation"),
            get(explain_type),
        )
        .query(vec![
            of("activity_type", "Such as Meeting"),
            of("message_type", "Such as cancelled"),
            of("direction", "Such as client_to_pivot"),
            of("account", "Of which account; else of the first"),
        ]),
        Operation::new(
            (Method::GET, "/api/v1/catalog"),
            ("listMessageTypes", "The message types known, and which rules take each"),
            schemas::list("message_types", "MessageType"),
            get(catalog),
        )
        .query(vec![Parameter::new(
            "unknown",
            "Instead those that were seen and that the catalogue does not know",
            serde_json::json!({ "type": "boolean" }),
        )]),
    ]
}

/// `GET /api/v1/messages/{uid}`
async fn explain(State(console): State<Console>, Path(uid): Path<String>, query: Query) -> Answer {
    let (store, config, now) = (&console.relay.store, console.relay.config(), console.relay.clock.now());
    let known = Story::of_stored(&config, store, query.one("account"), &uid, now).await?;
    let unknown = || Problem::missing(format!("no message with the uid `{uid}` is stored"));
    json(&document(&known.ok_or_else(unknown)?, now)?)
}

/// `GET /api/v1/explain`
async fn explain_type(State(console): State<Console>, query: Query) -> Answer {
    let (store, config, now) = (&console.relay.store, console.relay.config(), console.relay.clock.now());
    let names = ["activity_type", "message_type", "direction"];
    let given = names.map(|name| query.one(name).unwrap_or_default());
    let first = config.accounts.first().map_or("main", |account| account.name.as_str());
    let account = query.one("account").unwrap_or(first);
    if query.one("account").is_some() && !config.accounts.iter().any(|known| known.name == account) {
        return Err(Problem::missing(format!("the rules file has no account `{account}`")));
    }
    let sample = subject::sample_of(&subject::canonical(given), account, now);
    let (message, names) = sample.map_err(Problem::wrong)?;
    let would = Story::of_other(&config, store, (About::Type, message, names), now).await?;
    json(&document(&would, now)?)
}

/// `GET /api/v1/catalog`
async fn catalog(State(console): State<Console>, query: Query) -> Answer {
    let config = console.relay.config();
    let rows = if query.flag("unknown")? {
        coverage::unknown(Some(&config.rules), &console.relay.store).await?
    } else {
        coverage::known(Some(&config.rules))
    };
    json(&coverage::as_json(&rows))
}
