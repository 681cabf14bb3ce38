//! A message: its facts, each rule's verdict, its deliveries with every attempt and what comes next; and the way to it by an id.

use askama::Template;
use axum::extract::{Path, Query};
use axum::response::{IntoResponse, Redirect};
use serde::Deserialize;

use super::deliveries::{ANSWER_CHARS_MAX, Told};
use super::{Answer, Failure, Frame, coded, grouped, page, segment, short, tone};
use crate::answers::actions::Change;
use crate::answers::explain::{Outlook, Owed, Remedy, Story, changed};
use crate::answers::when;
use crate::model::catalog;
use crate::model::delivery::StateName;
use crate::model::mute::Mute;
use crate::store::{Detail, Row};
use crate::web::guard::Call;

/// So many deliveries are offered whose ids begin as what is sought.
const FOUND_MAX: usize = 20;
/// How much of a message's text is shown, in characters.
const BODY_CHARS_MAX: usize = 4_000;

#[derive(Template)]
#[template(path = "message.html")]
struct Show<'a> {
    frame: Frame,
    story: &'a Story<'a>,
    deliveries: Vec<Told>,
    raw: String,
    /// Rules that would take it today and did not then; that did then and would not today.
    gained: Vec<String>,
    lost: Vec<String>,
}

impl Show<'_> {
    fn body(&self) -> String {
        let body = self.story.message.body.trim();
        if body.chars().count() <= BODY_CHARS_MAX {
            return body.to_owned();
        }
        body.chars().take(BODY_CHARS_MAX).chain(['…']).collect()
    }

    fn mute(&self, rule: &str) -> Option<&Mute> {
        Mute::of(&self.story.mutes, rule, self.frame.now)
    }
}

/// `GET /messages/{account}/{uid}`
pub(in crate::web) async fn show(
    Call { console, visitor }: Call,
    Path((account, uid)): Path<(String, String)>,
) -> Answer {
    let config = console.relay.config();
    let frame = Frame::new(&console, visitor, "/feed").titled("Message");
    let Some(mut story) =
        Story::of_stored(&config, &console.relay.store, Some(&account), &uid, frame.now).await?
    else {
        return Err(Failure::Missing(
            "No message with this uid is stored. Messages are kept for the `retention` of the rules file."
                .to_owned(),
        ));
    };
    let details: Vec<Detail> = match std::mem::replace(&mut story.owed, Owed::Is(Vec::new())) {
        Owed::Is(details) => details,
        Owed::Would(_) => Vec::new(),
    };
    let rows: Vec<Row> = details.iter().map(|detail| detail.row.clone()).collect();
    let zone = frame.zone.clone();
    let moment = |at| when::moment(at, &zone);
    let outlook = Outlook { config: &config, targets: &story.targets, now: frame.now, moment: &moment };
    let deliveries = details.into_iter().map(|detail| Told::of(detail, &outlook, &rows)).collect();
    let (gained, lost) = changed(&story);
    let owned = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect();
    let (gained, lost) = (owned(gained), owned(lost));
    let raw = serde_json::to_string_pretty(&story.message.raw).unwrap_or_default();
    page(&Show { frame, story: &story, deliveries, raw, gained, lost })
}

#[derive(Deserialize)]
pub(in crate::web) struct Sought {
    #[serde(default)]
    q: String,
}

#[derive(Template)]
#[template(path = "found.html")]
struct Found<'a> {
    frame: Frame,
    sought: &'a str,
    rows: Vec<Row>,
    more: bool,
}

/// `GET /find`: a message by its uid, or a delivery by the beginning of its id; where several begin so, all of them.
pub(in crate::web) async fn find(Call { console, visitor }: Call, Query(sought): Query<Sought>) -> Answer {
    let (store, sought) = (&console.relay.store, sought.q.trim());
    if let Some(stored) = store.message(None, sought).await? {
        let (account, uid) = (segment(&stored.message.account), segment(&stored.message.uid));
        return Ok(Redirect::to(&format!("/messages/{account}/{uid}")).into_response());
    }
    let mut ids = if sought.is_empty() { Vec::new() } else { store.ids_like(sought, FOUND_MAX + 1).await? };
    if let Some(id) = ids.first().filter(|id| ids.len() == 1 || id.as_str() == sought) {
        return Ok(Redirect::to(&format!("/deliveries/{}", segment(id.as_str()))).into_response());
    }
    if !ids.is_empty() {
        let frame = Frame::new(&console, visitor, "/deliveries").titled("Find");
        let more = ids.len() > FOUND_MAX;
        ids.truncate(FOUND_MAX);
        let mut rows = Vec::with_capacity(ids.len());
        for id in ids {
            rows.extend(store.delivery(&id).await?.map(|detail| detail.row));
        }
        return page(&Found { frame, sought, rows, more });
    }
    if let Some((account, item, _)) =
        store.quarantine().await?.into_iter().find(|(_, item, _)| item.uid == sought)
    {
        let words = format!(
            "The message {sought} of the account {account} came, but cannot be read: {}. It is kept aside; `activity-relay explain \
             {sought}` shows it as it came.",
            item.why
        );
        return Err(Failure::Missing(words));
    }
    Err(Failure::Missing(format!(
        "Neither a message nor a delivery has the id “{}”. A message is found by its whole uid, a delivery by the beginning of \
         its id.",
        short(sought, 80)
    )))
}
