//! The digests that still take messages in.

use serde_json::{Value, json};

use crate::model::group::{Kind, SEPARATOR, read_name};
use crate::store::{Filter, Result, Row, Store};

/// Those that are open, the one that closes first before the others.
///
/// # Errors
/// The store cannot be read.
pub async fn open(store: &Store) -> Result<Vec<Row>> {
    let open = store.deliveries(Filter { open: true, ..Filter::default() }).await?.0;
    let mut digests: Vec<Row> = open.into_iter().filter(is_digest).collect();
    digests.sort_by_key(|row| row.first_due);
    Ok(digests)
}

/// Whether the delivery is a digest, open or closed.
pub fn is_digest(row: &Row) -> bool {
    row.gathered.is_some_and(|gathered| gathered.kind == Kind::Digest)
}

/// What its messages have in common beside rule and target.
pub fn key(row: &Row) -> String {
    let (_, key) = read_name(row.group.as_deref().unwrap_or_default());
    // The first part tells the time that it covers.
    let parts: Vec<&str> = key.split(SEPARATOR).skip(1).filter(|part| !part.is_empty()).collect();
    parts.join(", ")
}

/// As programs are shown it.
pub fn as_json(row: &Row) -> Value {
    json!({
        "id": row.id, "rule": row.rule, "target": row.target, "recipient": row.recipient, "account": row.account,
        "key": key(row), "count": row.messages.len(), "messages": row.messages, "opened_at": row.created_at,
        "closes_at": row.first_due,
        "window": row.gathered.map(|gathered| json!({ "from": gathered.from, "to": gathered.to })),
    })
}
