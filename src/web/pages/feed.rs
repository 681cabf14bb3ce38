//! The live feed: what came and what became of it, as it happens.

use std::convert::Infallible;
use std::time::Duration;

use askama::Template;
use axum::extract::{Query, State};
use axum::response::sse::{Event as Sent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Deserialize;

use super::{Answer, Frame, clocked, page, segment, short, tone};
use crate::model::catalog;
use crate::web::Console;
use crate::web::events::{Event, KEPT_MAX, Live};
use crate::web::guard::Call;

/// How long those who watch hear nothing at most. The script takes a connection for dead after more than twice as long.
const SILENCE_MAX: Duration = Duration::from_secs(15);
/// How much of the reason is shown why the store does not answer, in characters.
const REASON_CHARS_MAX: usize = 200;

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
    event: &'a Event,
    zone: &'a TimeZone,
    now: Timestamp,
}

impl Entry<'_> {
    fn at(&self) -> String {
        clocked(self.event.at(), self.zone, self.now)
    }
}

/// What happened as a line of the feed, which holds no line feed.
pub(in crate::web) fn entry(event: &Event, zone: &TimeZone, now: Timestamp) -> String {
    let entry = Entry { event, zone, now }.render();
    let entry = entry.inspect_err(|error| tracing::error!(%error, "a line of the feed cannot be rendered"));
    entry.unwrap_or_default().replace(['\r', '\n'], " ")
}

/// `GET /feed`
pub(in crate::web) async fn show(Call { console, visitor }: Call) -> Answer {
    let frame = Frame::new(&console, visitor, "/feed");
    let (after, news) = console.events.recent(0).await?;
    let entries = news.iter().rev().take(KEPT_MAX).map(|news| news.entry.clone()).collect();
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
    Query(behind): Query<Behind>,
    headers: axum::http::HeaderMap,
) -> Response {
    // After a broken connection a browser says how far it got.
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()).and_then(|id| id.parse().ok());
    let after = last.unwrap_or(behind.after);
    let stream = console.events.clone().follow(after, console.closing.clone()).map(move |told| {
        Ok::<_, Infallible>(match told {
            Live::News(news) => {
                let number = news.last().map_or(after, |news| news.number);
                let entries: String = news.iter().map(|news| news.entry.as_str()).collect();
                Sent::default().event("entries").id(number.to_string()).data(entries)
            }
            Live::Trouble(reason) => Sent::default().event("trouble").data(short(&reason, REASON_CHARS_MAX)),
            Live::Again => Sent::default().event("again").data("the store answers again"),
        })
    });
    Sse::new(stream).keep_alive(alive(SILENCE_MAX)).into_response()
}

/// Says that the relay is there, in an event with data: no script hears of a comment, nor of an event without.
fn alive(every: Duration) -> KeepAlive {
    KeepAlive::new().interval(every).event(Sent::default().event("alive").data("the relay is there"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_script_hears_that_the_relay_is_there() {
        let silent = futures_util::stream::pending::<Result<Sent, Infallible>>();
        let body = Sse::new(silent).keep_alive(alive(Duration::ZERO)).into_response().into_body();
        let told = body.into_data_stream().next().await.unwrap().unwrap();
        assert_eq!(told, "event: alive\ndata: the relay is there\n\n");
    }
}
