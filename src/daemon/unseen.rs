//! Which items of a page were never seen before.

use jiff::Timestamp;

use super::memory::Memory;
use crate::model::message::Message;
use crate::source::wire::{Item, Unreadable};
use crate::store::{Cursor, Quarantined, Store, StoreError};

/// What a page of an account is held against.
#[derive(Debug)]
pub(super) struct Unseen<'a> {
    /// The account's name.
    pub(super) account: &'a str,
    /// Where its polling stands.
    pub(super) cursor: &'a Cursor,
    /// What the walk may come upon that was forgotten.
    pub(super) memory: Memory,
    /// What ended after this moment has not been pruned.
    pub(super) kept_since: Timestamp,
}

impl Unseen<'_> {
    /// The items that were never seen, in the order sent, each once: messages, and what cannot be read. What is `known`
    /// beside the store counts as seen.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(super) async fn of(
        &self,
        store: &Store,
        items: Vec<Item>,
        known: impl Fn(&str) -> bool,
    ) -> Result<(Vec<Message>, Vec<Quarantined>), StoreError> {
        let uids: Vec<String> = items.iter().map(|item| item.uid().to_owned()).collect();
        if uids.is_empty() {
            return Ok((Vec::new(), Vec::new()));
        }
        let mut seen = store.seen(self.account, &uids).await?;
        seen.extend(uids.into_iter().filter(|uid| known(uid)));
        let (mut messages, mut quarantined, mut forgotten) = (Vec::new(), Vec::new(), 0);
        for item in items {
            if !seen.insert(item.uid().to_owned()) {
                continue;
            }
            match item {
                Item::Unreadable(Unreadable { uid, raw, why }) => {
                    quarantined.push(Quarantined { uid, raw, why });
                }
                Item::Message(message) => {
                    let made = message.created_at;
                    if self.memory.may_lack(made, self.cursor.watermark, self.kept_since) {
                        forgotten += 1;
                    } else if self.cursor.floor.is_none_or(|floor| made >= floor) {
                        messages.push(*message);
                    }
                }
            }
        }
        if forgotten > 0 {
            tracing::info!(
                account = self.account,
                forgotten,
                "messages older than `retention: delivered` that were asked for before are taken for seen"
            );
        }
        Ok((messages, quarantined))
    }
}
