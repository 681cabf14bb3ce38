//! An account's messages of a period: as the store remembers them, or as the API lists them.

use std::collections::HashSet;

use jiff::Timestamp;

use crate::daemon::names::{self, NameBook, WAIT_MAX};
use crate::daemon::poller::PollError;
use crate::daemon::sweeps;
use crate::egress::Egress;
use crate::model::message::Message;
use crate::model::names::Names;
use crate::source::Account;
use crate::source::api::{Api, REQUESTS_PER_SECOND};
use crate::source::fault::ApiError;
use crate::source::pace::Pace;
use crate::source::stamp::shift;
use crate::source::walk::{PageFacts, Row, Walk, Window};
use crate::source::wire::Item;
use crate::store::{MessagePage, Store, StoreError};

/// Messages that are read at once.
const PAGE: usize = 500;

/// A period: from its beginning on, up to but without its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    /// The beginning.
    pub from: Timestamp,
    /// The end.
    pub to: Timestamp,
}

/// The messages that the store still has, in order of their making.
///
/// # Errors
/// The store cannot be read.
pub async fn stored(store: &Store, account: &str, period: Period) -> Result<Vec<Message>, StoreError> {
    let mut page = MessagePage {
        account: account.to_owned(),
        from: period.from,
        to: period.to,
        after: None,
        limit: PAGE,
    };
    let mut messages = Vec::new();
    loop {
        let found = store.messages(page.clone()).await?;
        let last = found.len() < PAGE;
        messages.extend(found.into_iter().map(|stored| stored.message));
        match messages.last() {
            Some(message) if !last => page.after = Some((message.created_at, message.uid.clone())),
            _ => return Ok(messages),
        }
    }
}

/// What the API lists of a period.
#[derive(Debug, Default)]
pub struct Fetched {
    /// The messages, read ones as well, in order of their making.
    pub messages: Vec<Message>,
    /// How many could not be read.
    pub unreadable: usize,
    /// The API counts more of them than it shows.
    pub incomplete: bool,
    /// The uids of those that polling has yet to take in: by all rules, which nobody else may do before it.
    pub still_to_poll: HashSet<String>,
}

/// Asks the API for an account's messages of a period, at its pace. `listed` is told after each page how many there are so far.
///
/// # Errors
/// See [`ApiError`], or the store cannot be read; nothing is given then.
pub async fn fetched(
    account: &Account,
    egress: &Egress,
    store: &Store,
    period: Period,
    now: Timestamp,
    mut listed: impl FnMut(usize),
) -> Result<Fetched, PollError> {
    let pace = Pace::per_second(REQUESTS_PER_SECOND);
    let cursor = store.cursor(&account.name).await?;
    let floor = cursor.floor.unwrap_or_else(|| account.start_from.floor(now));
    let reach = sweeps::reach(floor, cursor.watermark, now).max(period.from);
    // What is unread is asked for first: what is read between the two requests counts as unread.
    let unread: Option<HashSet<String>> = if account.unread_only && reach < period.to {
        let api = Api::new(account, egress, pace.clone());
        let (items, _) = list(&api, Period { from: reach, to: period.to }, now, &mut listed).await?;
        Some(items.iter().map(|item| item.uid().to_owned()).collect())
    } else {
        None
    };
    let api = Api::new(account, egress, pace).with_read_ones();
    let (items, incomplete) = list(&api, period, now, &mut listed).await?;
    let mut fetched = Fetched { incomplete, ..Fetched::default() };
    for item in items {
        match item {
            Item::Message(message) => fetched.messages.push(*message),
            Item::Unreadable(_) => fetched.unreadable += 1,
        }
    }
    fetched.messages.retain(|message| period.from <= message.created_at && message.created_at < period.to);
    fetched.messages.sort_by(|a, b| (a.created_at, &a.uid).cmp(&(b.created_at, &b.uid)));
    // What was made a moment ago may have come after the first request.
    let settled = shift(now, -i64::try_from(account.overlap.as_secs()).unwrap_or(i64::MAX));
    let polled_for = |message: &&Message| {
        let unread = unread.as_ref().is_none_or(|unread| unread.contains(&message.uid));
        message.created_at >= reach && (unread || message.created_at > settled)
    };
    let mut waiting: HashSet<String> =
        fetched.messages.iter().filter(polled_for).map(|message| message.uid.clone()).collect();
    let uids: Vec<String> = waiting.iter().cloned().collect();
    let seen = store.seen(&account.name, &uids).await?;
    waiting.retain(|uid| !seen.contains(uid));
    fetched.still_to_poll = waiting;
    Ok(fetched)
}

/// The list's items of a period, each once; and whether the API may have more of them than it shows.
async fn list(
    api: &Api,
    period: Period,
    now: Timestamp,
    listed: &mut impl FnMut(usize),
) -> Result<(Vec<Item>, bool), ApiError> {
    let mut rest = Some(Window { from: period.from, to: period.to });
    let (mut seen, mut items, mut incomplete) = (HashSet::new(), Vec::new(), false);
    while let Some(window) = rest {
        let mut walk = Walk::sweep(window);
        while let Some(query) = walk.next() {
            let answer = api.list(&query).await?;
            let rows = Row::of(&answer.page.items);
            let fresh = rows.iter().filter(|row| !seen.contains(&row.uid)).count();
            items.extend(answer.page.items.into_iter().filter(|item| seen.insert(item.uid().to_owned())));
            listed(items.len());
            walk.page(&PageFacts {
                rows,
                fresh,
                per_page: answer.page.per_page,
                total_count: answer.page.total_count,
                server_now: answer.server_now.unwrap_or(now),
            });
        }
        incomplete |= walk.missing().is_some() || !walk.leftover().is_empty();
        rest = walk.rest();
    }
    Ok((items, incomplete))
}

/// The names of a message's people: those that the store keeps, or else those that the book looks up.
pub async fn names(store: &Store, book: Option<&NameBook>, message: &Message) -> Names {
    let kept = names::stored(store, message).await;
    let client = kept.client.as_ref().is_none_or(|client| client.name.is_some());
    let staff = kept.staff.as_ref().is_none_or(|staff| staff.name.is_some());
    match book {
        Some(book) if !(client && staff) => book.names(message, WAIT_MAX).await,
        _ => kept,
    }
}
