//! An account's messages of a period: as the store remembers them, or as the API lists them.

use std::collections::HashSet;

use jiff::Timestamp;

use crate::egress::Egress;
use crate::model::message::Message;
use crate::source::Account;
use crate::source::api::{Api, REQUESTS_PER_SECOND};
use crate::source::fault::ApiError;
use crate::source::pace::Pace;
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

/// The messages that the API lists, read ones as well, in order of their making; and how many could not be read. Keeps to
/// the API's pace.
///
/// # Errors
/// See [`ApiError`]; nothing is given then.
pub async fn fetched(
    account: &Account,
    egress: &Egress,
    period: Period,
    now: Timestamp,
) -> Result<(Vec<Message>, usize), ApiError> {
    let api = Api::new(account, egress, Pace::per_second(REQUESTS_PER_SECOND)).with_read_ones();
    let mut walk = Walk::sweep(Window { from: period.from, to: period.to });
    let (mut seen, mut messages, mut unreadable) = (HashSet::new(), Vec::new(), 0);
    while let Some(query) = walk.next() {
        let answer = api.list(&query).await?;
        let rows = Row::of(&answer.page.items);
        let fresh = rows.iter().filter(|row| !seen.contains(&row.uid)).count();
        for item in answer.page.items {
            if !seen.insert(item.uid().to_owned()) {
                continue;
            }
            match item {
                Item::Message(message)
                    if period.from <= message.created_at && message.created_at < period.to =>
                {
                    messages.push(*message);
                }
                Item::Message(_) => {}
                Item::Unreadable(_) => unreadable += 1,
            }
        }
        walk.page(&PageFacts {
            rows,
            fresh,
            per_page: answer.page.per_page,
            total_count: answer.page.total_count,
            server_now: answer.server_now.unwrap_or(now),
        });
    }
    messages.sort_by(|a: &Message, b| (a.created_at, &a.uid).cmp(&(b.created_at, &b.uid)));
    Ok((messages, unreadable))
}
