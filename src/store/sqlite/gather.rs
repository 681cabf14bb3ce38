//! Many deliveries become one: what queued up for a target is taken together.

use jiff::Timestamp;
use rusqlite::{Row, params};

use super::admit;
use super::db::{Db, Json, Ms, rows, time, time_or_none};
use super::tally::Tally;
use crate::model::delivery::{Planned, StateName, Waiting};
use crate::model::id::DeliveryId;
use crate::store::Result;

/// What [`waiting_row`] reads of a delivery `d`.
const WAITING: &str = "d.id, d.account, d.rule, d.recipient, d.template, d.created_at, d.expires_at, d.starts - d.attempts AS lost,
  EXISTS (SELECT 1 FROM attempts WHERE delivery = d.seq AND outcome IN ('doubtful', 'shape_refused')) AS doubted,
  EXISTS (SELECT 1 FROM attempts WHERE delivery = d.seq AND outcome = 'target_broken') AS turned_away";

/// What waits for the target since before the moment, in the order in which it was planned: not what its rule holds.
pub(super) fn waiting(db: &Db, target: &str, before: Timestamp, limit: usize) -> Result<Vec<Waiting>> {
    db.all(
        &format!(
            "SELECT {WAITING} FROM deliveries d
             WHERE d.target = ?1 AND d.state = 'pending' AND d.created_at < ?2
               AND (d.first_due IS NULL OR d.first_due < ?2)
               AND d.notice IS NULL AND d.replay_of IS NULL AND d.group_key IS NULL
             ORDER BY d.created_at, d.seq LIMIT ?3"
        ),
        params![target, Ms(before), rows(limit)],
        waiting_row,
    )
}

/// What its rule held for the target until then, and nobody attempted, in the order in which it was planned.
pub(super) fn held(db: &Db, target: &str, until: Timestamp, limit: usize) -> Result<Vec<Waiting>> {
    db.all(
        &format!(
            "SELECT {WAITING} FROM deliveries d
             WHERE d.target = ?1 AND d.first_due <= ?2 AND d.state = 'pending' AND d.starts = 0
               AND d.first_due IS NOT NULL AND d.group_key IS NULL AND d.notice IS NULL AND d.replay_of IS NULL
             ORDER BY d.created_at, d.seq LIMIT ?3"
        ),
        params![target, Ms(until), rows(limit)],
        waiting_row,
    )
}

fn waiting_row(row: &Row<'_>) -> rusqlite::Result<Waiting> {
    Ok(Waiting {
        id: DeliveryId::from_text(row.get::<_, String>("id")?),
        account: row.get("account")?,
        rule: row.get("rule")?,
        recipient: row.get("recipient")?,
        template: row.get("template")?,
        created_at: time(row, "created_at")?,
        expires_at: time_or_none(row, "expires_at")?,
        lost: row.get("lost")?,
        doubted: row.get("doubted")?,
        turned_away: row.get("turned_away")?,
    })
}

/// Ends the parts that are pending, and takes in one delivery about all their messages, oldest first.
pub(super) fn gather(db: &Db, mut whole: Planned, parts: &[DeliveryId], now: Timestamp) -> Result<usize> {
    let known = db.one("SELECT 1 FROM deliveries WHERE id = ?1", params![whole.id.as_str()], |_| Ok(()))?;
    if known.is_some() {
        // What ended now would be owed by nothing: another instance was quicker with the same parts.
        return Ok(0);
    }
    let ids: Vec<&str> = parts.iter().map(DeliveryId::as_str).collect();
    let ended = db.all(
        "UPDATE deliveries SET state = 'withheld', settled_at = ?2, due_at = NULL, why = ?3
         WHERE id IN (SELECT value FROM json_each(?1)) AND state = 'pending'
         RETURNING seq, target, maybe_duplicate, throttled",
        params![Json(&ids), Ms(now), format!("sent together with others in {}", whole.id)],
        |row| {
            let (seq, target): (i64, String) = (row.get("seq")?, row.get("target")?);
            Ok((seq, target, row.get::<_, bool>("maybe_duplicate")?, row.get::<_, u32>("throttled")?))
        },
    )?;
    if ended.is_empty() {
        return Ok(0);
    }
    let mut tally = Tally::default();
    for (_, target, ..) in &ended {
        tally.moved(target, StateName::Pending, StateName::Withheld, 1);
    }
    tally.write(db)?;
    let maybe_duplicate = ended.iter().any(|(_, _, maybe_duplicate, _)| *maybe_duplicate);
    let throttled = ended.iter().fold(0_u32, |sum, (.., throttled)| sum.saturating_add(*throttled));
    let ended: Vec<i64> = ended.into_iter().map(|(seq, ..)| seq).collect();
    whole.messages = db.all(
        "SELECT DISTINCT m.uid, m.created_at FROM json_each(?1) part
         CROSS JOIN delivery_messages dm ON dm.delivery = part.value
         CROSS JOIN messages m ON m.id = dm.message ORDER BY m.created_at, m.uid",
        params![Json(&ended)],
        |row| row.get("uid"),
    )?;
    let id = whole.id.clone();
    admit::owe(db, &[whole], now)?;
    if maybe_duplicate || throttled > 0 {
        let of_parts = params![id.as_str(), maybe_duplicate, throttled];
        db.run("UPDATE deliveries SET maybe_duplicate = ?2, throttled = ?3 WHERE id = ?1", of_parts)?;
    }
    Ok(ended.len())
}
