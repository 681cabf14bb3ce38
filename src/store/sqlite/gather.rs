//! Many deliveries become one: what queued up for a target is taken together.

use jiff::Timestamp;
use rusqlite::params;

use super::admit;
use super::db::{Db, Json, Ms};
use crate::model::delivery::Planned;
use crate::model::id::DeliveryId;
use crate::store::Result;

/// Ends the parts that are pending, and takes in one delivery about all their messages, oldest first.
pub(super) fn gather(db: &Db, mut whole: Planned, parts: &[DeliveryId], now: Timestamp) -> Result<usize> {
    let ids: Vec<&str> = parts.iter().map(DeliveryId::as_str).collect();
    let ended = db.all(
        "UPDATE deliveries SET state = 'withheld', settled_at = ?2, due_at = NULL, why = ?3
         WHERE id IN (SELECT value FROM json_each(?1)) AND state = 'pending' RETURNING seq",
        params![Json(&ids), Ms(now), format!("sent together with others in {}", whole.id)],
        |row| row.get::<_, i64>("seq"),
    )?;
    if ended.is_empty() {
        return Ok(0);
    }
    whole.messages = db.all(
        "SELECT DISTINCT m.uid, m.created_at FROM json_each(?1) part
         CROSS JOIN delivery_messages dm ON dm.delivery = part.value
         CROSS JOIN messages m ON m.id = dm.message ORDER BY m.created_at, m.uid",
        params![Json(&ended)],
        |row| row.get("uid"),
    )?;
    admit::owe(db, &[whole], now)?;
    Ok(ended.len())
}
