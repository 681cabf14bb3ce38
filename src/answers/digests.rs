//! The digests that still take messages in.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::asked::Refusal;
use super::deliveries::{Window, one};
use crate::model::group::{Kind, SEPARATOR, read_name};
use crate::model::id::DeliveryId;
use crate::store::{Filter, Result, Row, Store};

/// A digest that is open, as the JSON contract has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest {
    /// The delivery that it will be.
    pub id: DeliveryId,
    /// The rule that collects.
    pub rule: String,
    /// To which target.
    pub target: String,
    /// To which recipient.
    pub recipient: Option<String>,
    /// Account of its messages.
    pub account: String,
    /// What its messages have in common beside rule and target.
    pub key: String,
    /// How many messages it holds.
    pub count: usize,
    /// Their uids.
    pub messages: Vec<String>,
    /// When its first message came.
    pub opened_at: Timestamp,
    /// When it closes.
    pub closes_at: Timestamp,
    /// The time that it covers.
    pub window: Option<Window>,
}

/// Those that are open, the one that closes first before the others.
///
/// # Errors
/// The store cannot be read.
pub async fn open(store: &Store) -> Result<Vec<Digest>> {
    Ok(open_rows(store).await?.into_iter().map(Digest::of).collect())
}

/// The same as deliveries.
///
/// # Errors
/// The store cannot be read.
pub async fn open_rows(store: &Store) -> Result<Vec<Row>> {
    let open = store.deliveries(Filter { open: true, ..Filter::default() }).await?.0;
    let mut digests: Vec<Row> = open.into_iter().filter(is_digest).collect();
    digests.sort_by_key(|row| row.first_due);
    Ok(digests)
}

/// The open digests that are meant.
///
/// # Errors
/// One is unknown, not unique or not open, or the store cannot be read.
pub async fn open_ones(store: &Store, ids: &[String]) -> std::result::Result<Vec<DeliveryId>, Refusal> {
    let mut found = Vec::with_capacity(ids.len());
    for text in ids {
        let row = one(store, text).await?;
        if !is_open(&row) {
            let (id, state) = (&row.id, row.state);
            let remedy = "`activity-relay digests list` shows those that are open";
            return Err(Refusal::Conflict(format!("{id} is no open digest: it is {state}; {remedy}")));
        }
        found.push(row.id);
    }
    Ok(found)
}

/// Whether the delivery is a digest, open or closed.
fn is_digest(row: &Row) -> bool {
    row.gathered.is_some_and(|gathered| gathered.kind == Kind::Digest)
}

/// Whether the delivery is a digest that still takes messages in.
pub fn is_open(row: &Row) -> bool {
    row.open && is_digest(row)
}

/// What a person may say of an open digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Say {
    /// Close it: it is sent at once.
    Flush,
    /// Discard it with all its messages.
    Cancel,
}

impl Say {
    /// `flush` or `cancel`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Flush => "flush",
            Self::Cancel => "cancel",
        }
    }

    /// The one of that name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Flush, Self::Cancel].into_iter().find(|say| say.as_str() == name)
    }

    /// Does it; returns those that were open until now.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn run(self, store: &Store, ids: &[DeliveryId], now: Timestamp) -> Result<Vec<DeliveryId>> {
        match self {
            Self::Flush => store.flush(ids, now).await,
            Self::Cancel => store.discard(ids, now).await,
        }
    }
}

/// What its messages have in common beside rule and target.
pub fn key(row: &Row) -> String {
    let (_, key) = read_name(row.group.as_deref().unwrap_or_default());
    // The first part tells the time that it covers.
    let parts: Vec<&str> = key.split(SEPARATOR).skip(1).filter(|part| !part.is_empty()).collect();
    parts.join(", ")
}

impl Digest {
    fn of(row: Row) -> Self {
        Self {
            key: key(&row),
            count: row.messages.len(),
            window: Window::of(&row),
            id: row.id,
            rule: row.rule,
            target: row.target,
            recipient: row.recipient,
            account: row.account,
            messages: row.messages,
            opened_at: row.created_at,
            closes_at: row.first_due,
        }
    }
}
