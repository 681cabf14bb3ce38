//! The past: pruning it in small steps, and what is counted of it.

use jiff::Timestamp;
use rusqlite::params;

use super::db::{Db, Json, Ms, rows, state};
use super::tally::Tally;
use crate::model::message::Triple;
use crate::store::{LOOK_BACK_SECONDS, Result};

/// Removes what ended before the given moments; returns how many deliveries and messages went.
pub(super) fn prune(
    db: &Db,
    delivered_before: Timestamp,
    dead_before: Timestamp,
    batch: usize,
) -> Result<usize> {
    let mut gone = 0;
    for (states, before) in [
        (&["delivered", "expired", "withheld", "discarded"][..], delivered_before),
        (&["dead"][..], dead_before),
    ] {
        let ended: Vec<i64> = db.all(
            "SELECT d.seq FROM json_each(?1) s CROSS JOIN deliveries d
             ON d.state = s.value AND d.settled_at IS NOT NULL AND d.settled_at < ?2 LIMIT ?3",
            params![Json(states), Ms(before), rows(batch - gone.min(batch))],
            |row| row.get("seq"),
        )?;
        gone += forget(db, &ended)?;
    }
    super::mutes::forget(db, delivered_before)?;
    super::throttles::forget(db, delivered_before)?;
    crate::failpoint::pass("prune");
    gone += db.run(
        "DELETE FROM messages WHERE id IN (
           SELECT m.id FROM messages m LEFT JOIN accounts a ON a.name = m.account
           WHERE m.seen_at < ?1 AND m.created_at < coalesce(a.watermark - ?2, 9223372036854775807)
             AND NOT EXISTS (SELECT 1 FROM delivery_messages dm WHERE dm.message = m.id)
           ORDER BY m.seen_at LIMIT ?3)",
        params![Ms(delivered_before), LOOK_BACK_SECONDS * 1_000, rows(batch - gone.min(batch))],
    )?;
    Ok(gone)
}

/// Removes deliveries with all that is kept of them.
fn forget(db: &Db, ended: &[i64]) -> Result<usize> {
    if ended.is_empty() {
        return Ok(0);
    }
    for sql in [
        "DELETE FROM attempts WHERE delivery IN (SELECT value FROM json_each(?1))",
        "DELETE FROM payloads WHERE delivery IN (SELECT value FROM json_each(?1))",
        "DELETE FROM delivery_messages WHERE delivery IN (SELECT value FROM json_each(?1))",
        "DELETE FROM resolutions WHERE delivery IN (SELECT value FROM json_each(?1))",
    ] {
        db.run(sql, params![Json(ended)])?;
    }
    let gone = db.all(
        "DELETE FROM deliveries WHERE seq IN (SELECT value FROM json_each(?1)) RETURNING target, state",
        params![Json(ended)],
        |row| Ok((row.get::<_, String>("target")?, state(row)?)),
    )?;
    let mut tally = Tally::default();
    for (target, state) in &gone {
        tally.left(target, *state, 1);
    }
    tally.write(db)?;
    Ok(gone.len())
}

/// How many messages of each triple were ever seen.
pub(super) fn triples(db: &Db) -> Result<Vec<(Triple, u64)>> {
    db.all("SELECT * FROM triples ORDER BY activity_type, message_type, direction", [], |row| {
        let triple = Triple {
            activity_type: row.get("activity_type")?,
            message_type: row.get("message_type")?,
            direction: row.get("direction")?,
        };
        Ok((triple, row.get::<_, i64>("n")?.unsigned_abs()))
    })
}

/// Writes a little, to see that writing works.
pub(super) fn ping(db: &Db) -> Result<()> {
    db.run("UPDATE heartbeat SET n = n + 1", [])?;
    Ok(())
}
