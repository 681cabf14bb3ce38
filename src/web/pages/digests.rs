//! Digests: what is being collected, for whom and until when, and a person's say in it.

use std::sync::Arc;

use askama::Template;
use axum::extract::Query;
use axum::response::{IntoResponse, Redirect};
use serde::Deserialize;

use super::deliveries::About;
use super::{Answer, Failure, Frame, address, coded, grouped, messages_in_words, page, segment, short};
use crate::answers::digests::{self, Say};
use crate::answers::explain::{Next, Outlook, Remedy};
use crate::answers::when;
use crate::config::Config;
use crate::model::catalog;
use crate::model::id::DeliveryId;
use crate::store::{Row, TargetState};
use crate::web::Console;
use crate::web::form::Fields;
use crate::web::guard::Call;

/// Digests of one page, and so many messages of each are named.
const ROWS: usize = 50;
const NAMED_MAX: usize = 3;
/// So many messages are named before something is done to a digest.
const REVIEWED_MAX: usize = 20;

/// An open digest with the first of its messages.
struct Open {
    row: Row,
    key: String,
    about: About,
}

impl Open {
    async fn of(row: Row, named_max: usize, console: &Console) -> Result<Self, Failure> {
        let about = About::of(&row, named_max, console).await?;
        Ok(Self { key: digests::key(&row), about, row })
    }

    /// It should have been sent.
    fn is_due(&self, frame: &Frame) -> bool {
        self.row.first_due <= frame.now
    }
}

#[derive(Template)]
#[template(path = "digests.html")]
struct List {
    frame: Frame,
    config: Arc<Config>,
    /// The standing of the targets that are not simply ready.
    targets: Vec<TargetState>,
    open: Vec<Open>,
    /// How many there are, and how many of them stand before this page.
    all: usize,
    skipped: usize,
    /// How many messages they hold in all.
    messages: usize,
    /// The rules that have digests.
    rules: Vec<String>,
}

impl List {
    fn page(skipped: usize) -> String {
        let skipped = if skipped == 0 { String::new() } else { skipped.to_string() };
        address("/digests", [("skip", skipped.as_str())])
    }

    /// Why one that is due is not sent.
    fn delay(&self, open: &Open) -> Next {
        let moment = |at| when::moment(at, &self.frame.zone);
        let (config, targets, now) = (&self.config, &self.targets, self.frame.now);
        Outlook { config, targets, now, moment: &moment }.pending(&open.row.target, open.row.due_at)
    }

    fn newer(&self) -> Option<String> {
        (self.skipped > 0 && !self.open.is_empty()).then(|| Self::page(self.skipped.saturating_sub(ROWS)))
    }

    fn later(&self) -> Option<String> {
        let shown = self.skipped + self.open.len();
        (shown < self.all && !self.open.is_empty()).then(|| Self::page(shown))
    }
}

#[derive(Deserialize)]
pub(in crate::web) struct Asked {
    #[serde(default)]
    skip: String,
    #[serde(default)]
    told: String,
}

/// `GET /digests`
pub(in crate::web) async fn list(Call { console, visitor }: Call, Query(asked): Query<Asked>) -> Answer {
    let frame = Frame::new(&console, visitor, "/digests");
    let wrong = |_| Failure::Wrong("`skip` is a number.".to_owned());
    let skipped = if asked.skip.is_empty() { 0 } else { asked.skip.parse().map_err(wrong)? };
    let rows = digests::open_rows(&console.relay.store).await?;
    let (all, messages) = (rows.len(), rows.iter().map(|row| row.messages.len()).sum());
    let mut open = Vec::new();
    for row in rows.into_iter().skip(skipped).take(ROWS) {
        open.push(Open::of(row, NAMED_MAX, &console).await?);
    }
    let config = console.relay.config();
    let gathers =
        |rule: &&crate::rules::Rule| rule.deliver.iter().any(|deliver| deliver.timing.digest.is_some());
    let rules = config.rules.list().iter().filter(gathers).map(|rule| rule.name.clone()).collect();
    let targets = console.relay.store.target_states().await?;
    let frame = frame.told(console.told.take(&asked.told));
    page(&List { frame, config, targets, open, all, skipped, messages, rules })
}

#[derive(Template)]
#[template(path = "digest.html")]
struct Review {
    frame: Frame,
    say: Say,
    open: Open,
}

/// What to say of a digest that is closed.
const CLOSED: &str = "This digest is no longer open: it was closed meanwhile, or somebody else decided about it. The deliveries \
                      show what became of it.";

/// The open digest that a form is about, and what is to be done to it.
async fn chosen(console: &Console, fields: &Fields) -> Result<(Say, Row), Failure> {
    let wrong = || Failure::Wrong("A digest is flushed or cancelled.".to_owned());
    let say = Say::parse(fields.one("change")).ok_or_else(wrong)?;
    let found = console.relay.store.delivery(&DeliveryId::from_text(fields.one("id"))).await?;
    let row = found.map(|detail| detail.row).filter(digests::is_open);
    Ok((say, row.ok_or_else(|| Failure::Missing(CLOSED.to_owned()))?))
}

/// Refuses to cancel what came after the digest was looked at: it goes on collecting.
fn as_seen(row: &Row, fields: &Fields) -> Result<(), Failure> {
    let (seen, held) = (fields.one("messages").parse().unwrap_or(0), row.messages.len());
    if seen == held {
        return Ok(());
    }
    let more = messages_in_words(held.saturating_sub(seen));
    let words = format!(
        "Nothing was done: {more} more came since you looked at this digest. Look again before you cancel it."
    );
    Err(Failure::Conflict(words))
}

/// `POST /digests/review`: what would be sent, or would not.
pub(in crate::web) async fn review(Call { console, visitor }: Call, body: String) -> Answer {
    let (say, row) = chosen(&console, &Fields::of(&body)).await?;
    let frame = Frame::new(&console, visitor, "/digests").titled("Review");
    page(&Review { frame, say, open: Open::of(row, REVIEWED_MAX, &console).await? })
}

/// `POST /digests/change`
pub(in crate::web) async fn change(Call { console, visitor }: Call, body: String) -> Answer {
    let fields = Fields::of(&body);
    let (say, row) = chosen(&console, &fields).await?;
    if say == Say::Cancel {
        as_seen(&row, &fields)?;
    }
    let now = console.relay.clock.now();
    let done = say.run(&console.relay.store, std::slice::from_ref(&row.id), now).await?;
    if done.is_empty() {
        return Err(Failure::Conflict(CLOSED.to_owned()));
    }
    console.relay.owed.notify_one();
    let (peer, did, digests) = (visitor.peer, say.as_str(), done.len());
    tracing::info!(%peer, did, digests, digest = %row.id, "changed in the console");
    let held = messages_in_words(row.messages.len());
    let words = match say {
        Say::Flush => format!("The digest is closed; its {held} are sent at once."),
        Say::Cancel => {
            format!("The digest is discarded with its {held}. It can be replayed among the deliveries.")
        }
    };
    Ok(Redirect::to(&console.told.keep("/digests", words, now)).into_response())
}
