//! What the console draws and watches: figures over a period, what happened last, how often each type came and who takes it.

use axum::extract::State;
use axum::http::Method;
use axum::routing::get;
use serde_json::{Value, json};

use super::asked::Query;
use super::problem::Problem;
use super::schemas::{self, integer, reference};
use super::{Answer, Operation, Parameter, json};
use crate::answers::coverage::{self, PERIOD};
use crate::answers::deliveries::Listed;
use crate::answers::explain::message_json;
use crate::answers::figures::{Figures, Range};
use crate::answers::when;
use crate::model::names::Names;
use crate::web::Console;
use crate::web::events::{Event, News};

/// More does not happen while one process runs.
const AFTER_MAX: u64 = 1 << 53;

pub(super) fn operations() -> Vec<Operation> {
    let ranges = Range::ALL.map(Range::as_str);
    vec![
        Operation::new(
            (Method::GET, "/api/v1/figures"),
            ("showFigures", "Deliveries that ended and how long attempts took, step by step"),
            reference("Figures"),
            get(figures),
        )
        .query(vec![Parameter::new(
            "range",
            "How far back; else the shortest of them that holds all that ended within a day",
            json!({ "type": "string", "enum": ranges }),
        )]),
        Operation::new(
            (Method::GET, "/api/v1/coverage"),
            ("showCoverage", "Every message type known or seen, the rules that take it, how often it came"),
            schemas::list("message_types", "CountedType"),
            get(coverage),
        )
        .query(vec![Parameter::new(
            "since",
            "Since when they are counted: a moment, or so long ago; else 30 days",
            schemas::since(),
        )]),
        Operation::new(
            (Method::GET, "/api/v1/feed"),
            ("showFeed", "Messages and ends of deliveries that came last, the oldest first; of many within a second the newest"),
            schemas::feed(),
            get(feed),
        )
        .query(vec![Parameter::new("after", "`last` of the answer before", integer(0, Some(AFTER_MAX)))]),
    ]
}

/// `GET /api/v1/figures`
async fn figures(State(console): State<Console>, query: Query) -> Answer {
    let (store, now) = (&console.relay.store, console.relay.clock.now());
    let figures = match query.one("range") {
        Some(name) => {
            let unknown = || Problem::wrong(format!("there is no range `{name}`: ask for 1h, 24h or 7d"));
            Figures::of(store, Range::parse(name).ok_or_else(unknown)?, now).await?
        }
        None => Figures::fitting(store, now).await?,
    };
    json(&figures.as_json())
}

/// `GET /api/v1/coverage`
async fn coverage(State(console): State<Console>, query: Query) -> Answer {
    let (config, now) = (console.relay.config(), console.relay.clock.now());
    let since = match query.one("since") {
        Some(text) => when::since(text, now).map_err(Problem::wrong)?,
        None => now.saturating_sub(PERIOD).unwrap_or(now),
    };
    let rows = coverage::counted(&config.rules, &console.relay.store, since).await?;
    json(&coverage::as_json(&rows))
}

/// `GET /api/v1/feed`
async fn feed(State(console): State<Console>, query: Query) -> Answer {
    let after = query.number("after")?.unwrap_or(0);
    if after > AFTER_MAX {
        return Err(Problem::wrong(format!("`after` is 0 to {AFTER_MAX}")));
    }
    let (last, news) = console.events.recent(after).await?;
    json(&json!({ "events": news.iter().map(|news| told(news)).collect::<Vec<_>>(), "last": last }))
}

fn told(news: &News) -> Value {
    let (message, delivery) = match &news.event {
        Event::Message(stored) => {
            (message_json(&stored.message, &Names::default(), Some(stored)), Value::Null)
        }
        Event::Delivery(row) => (Value::Null, json!(Listed::of(row))),
    };
    json!({ "number": news.number, "at": news.event.at(), "message": message, "delivery": delivery })
}
