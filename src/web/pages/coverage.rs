//! The coverage: the message types known, which rules take each, which none does, and how often each came.

use askama::Template;
use axum::Extension;
use axum::extract::{Query, State};
use jiff::SignedDuration;
use serde::Deserialize;

use super::{Answer, Frame, grouped, page};
use crate::answers::coverage::{Row, known, taken_by};
use crate::model::catalog;
use crate::web::Console;
use crate::web::guard::Visitor;

/// The period that messages are counted in.
const PERIOD: SignedDuration = SignedDuration::from_hours(30 * 24);

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
pub(in crate::web) async fn show(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    Query(asked): Query<Asked>,
) -> Answer {
    let config = console.relay.config();
    let frame = Frame::new(&console, visitor, "/coverage", "Coverage");
    let since = frame.now.saturating_sub(PERIOD).unwrap_or(frame.now);
    let counted = console.relay.store.triples_since(since).await?;
    let mut rows = known(Some(&config.rules));
    for (triple, count) in counted {
        if let Some(row) = rows.iter_mut().find(|row| row.triple == triple) {
            row.seen = Some(count);
        } else {
            let rules = taken_by(&config.rules, &triple, None);
            rows.push(Row {
                label: catalog::label(&triple),
                use_cases: &[],
                seen: Some(count),
                rules,
                triple,
            });
        }
    }
    let (all, uncovered) = (rows.len(), rows.iter().filter(|row| row.rules.is_empty()).count());
    let missed = rows.iter().filter(|row| row.rules.is_empty()).filter_map(|row| row.seen).sum();
    match asked.show.as_str() {
        "none" => rows.retain(|row| row.rules.is_empty()),
        "seen" => rows.retain(|row| row.seen.is_some()),
        "missed" => rows.retain(|row| row.rules.is_empty() && row.seen.is_some()),
        _ => {}
    }
    rows.sort_by(|a, b| a.triple.activity_type.cmp(&b.triple.activity_type).then(b.seen.cmp(&a.seen)));
    page(&Coverage { frame, rows, all, uncovered, missed, show: asked.show })
}
