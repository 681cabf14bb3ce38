//! The live feed: what came and what became of it, as it happens.

use std::convert::Infallible;

use askama::Template;
use axum::Extension;
use axum::extract::{Query, State};
use axum::response::sse::{Event as Sent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use serde::Deserialize;

use super::{Answer, Frame, page, segment, short, tone};
use crate::model::catalog;
use crate::web::Console;
use crate::web::events::{Event, KEPT_MAX};
use crate::web::guard::Visitor;

#[derive(Template)]
#[template(path = "feed.html")]
struct Feed {
    frame: Frame,
    entries: Vec<String>,
    after: u64,
}

/// One line of the feed.
#[derive(Template)]
#[template(path = "entry.html")]
struct Entry<'a> {
    frame: &'a Frame,
    event: &'a Event,
}

/// `GET /feed`
pub(in crate::web) async fn show(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
) -> Answer {
    let frame = Frame::new(&console, visitor, "/feed", "Live feed");
    let (after, events) = console.events.recent().await?;
    let newest = events.iter().rev().take(KEPT_MAX);
    let entries = newest.map(|event| Entry { frame: &frame, event }.render()).collect::<Result<_, _>>()?;
    page(&Feed { frame, entries, after })
}

#[derive(Deserialize)]
pub(in crate::web) struct Behind {
    #[serde(default)]
    after: u64,
}

/// `GET /feed/events`
pub(in crate::web) async fn events(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    Query(behind): Query<Behind>,
    headers: axum::http::HeaderMap,
) -> Response {
    // After a broken connection a browser says how far it got.
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()).and_then(|id| id.parse().ok());
    let after = last.unwrap_or(behind.after);
    let stream = console.events.clone().follow(after, console.closing.clone()).map(move |(number, event)| {
        let frame = Frame::new(&console, visitor.clone(), "/feed", "");
        let entry = Entry { frame: &frame, event: &event }.render().unwrap_or_default();
        // A line feed would end the field.
        let entry = entry.replace(['\r', '\n'], " ");
        Ok::<_, Infallible>(Sent::default().event("entry").id(number.to_string()).data(entry))
    });
    Sse::new(stream).keep_alive(KeepAlive::default()).into_response()
}
