//! The coverage: the message types known, which rules take each, which none does, and how often each came.

use askama::Template;
use axum::extract::Query;
use serde::Deserialize;

use super::{Answer, Frame, grouped, messages_in_words, page};
use crate::answers::coverage::{PERIOD, Row, counted};
use crate::web::guard::Call;

#[derive(Template)]
#[template(path = "coverage.html")]
struct Coverage<'a> {
    frame: Frame,
    rows: Vec<Row<'a>>,
    all: usize,
    uncovered: usize,
    /// Messages of the period that came although no rule takes their type.
    missed: u64,
    show: String,
}

#[derive(Deserialize)]
pub(in crate::web) struct Asked {
    #[serde(default)]
    show: String,
}

/// `GET /coverage`
pub(in crate::web) async fn show(Call { console, visitor }: Call, Query(asked): Query<Asked>) -> Answer {
    let config = console.relay.config();
    let frame = Frame::new(&console, visitor, "/coverage");
    let since = frame.now.saturating_sub(PERIOD).unwrap_or(frame.now);
    let mut rows = counted(&config.rules, &console.relay.store, since).await?;
    let (all, uncovered) = (rows.len(), rows.iter().filter(|row| row.is_uncovered()).count());
    let missed = rows.iter().filter(|row| row.is_uncovered()).filter_map(|row| row.seen).sum();
    match asked.show.as_str() {
        "none" => rows.retain(Row::is_uncovered),
        "seen" => rows.retain(Row::came),
        "missed" => rows.retain(|row| row.is_uncovered() && row.came()),
        _ => {}
    }
    rows.sort_by(|a, b| a.triple.activity_type.cmp(&b.triple.activity_type).then(b.seen.cmp(&a.seen)));
    page(&Coverage { frame, rows, all, uncovered, missed, show: asked.show })
}
