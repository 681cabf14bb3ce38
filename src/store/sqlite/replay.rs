//! What a person decides about deliveries: send again, do not send.

use jiff::Timestamp;
use rusqlite::params;

use super::db::{Db, Ms, state};
use super::good;
use super::tally::{self, Tally};
use crate::model::delivery::StateName;
use crate::model::id::DeliveryId;
use crate::store::ends::DISCARDED;
use crate::store::gathering::OPEN;
use crate::store::{Picked, Result};

/// Plans a new delivery for each settled one of these; unknown, open and meanwhile replayed ones are passed over.
pub(super) fn replay(db: &Db, picked: &[Picked], now: Timestamp) -> Result<Vec<DeliveryId>> {
    let (mut planned, mut tally) = (Vec::with_capacity(picked.len()), Tally::default());
    for Picked { id, replays } in picked {
        // The ordinal makes every replay of the same delivery a delivery of its own.
        let original = db.one(
            "UPDATE deliveries SET replays = replays + 1
             WHERE id = ?1 AND settled_at IS NOT NULL AND replays = coalesce(?2, replays)
             RETURNING seq, replays, target",
            params![id.as_str(), replays],
            |row| {
                let target: String = row.get("target")?;
                Ok((row.get::<_, i64>("seq")?, row.get::<_, u32>("replays")?, target))
            },
        )?;
        let Some((seq, ordinal, target)) = original else { continue };
        let new = DeliveryId::derive(now, &["replay", id.as_str(), &ordinal.to_string()]);
        // Whoever replays wants it sent: the end of the original's life is not taken over.
        db.run(
            "INSERT INTO deliveries (id, account, rule, target, recipient, template, state, due_at,
               created_at, replay_of, notice, group_key, window_from, window_to)
             SELECT ?2, account, rule, target, recipient, template, 'pending', ?3, ?3, id, notice, group_key,
               window_from, coalesce(window_to, first_due)
             FROM deliveries WHERE seq = ?1",
            params![seq, new.as_str(), Ms(now)],
        )?;
        db.run(
            "INSERT INTO delivery_messages (delivery, position, message)
             SELECT (SELECT seq FROM deliveries WHERE id = ?2), position, message
             FROM delivery_messages WHERE delivery = ?1",
            params![seq, new.as_str()],
        )?;
        good::replay(db, seq, new.as_str())?;
        tally.came(&target, StateName::Pending, 1);
        crate::failpoint::pass("replay");
        planned.push(new);
    }
    tally.write(db)?;
    Ok(planned)
}

/// Closes those that still take messages in; returns them.
pub(super) fn flush(db: &Db, ids: &[DeliveryId], now: Timestamp) -> Result<Vec<DeliveryId>> {
    let sql = format!(
        "UPDATE deliveries AS d SET due_at = min(due_at, ?2), first_due = min(due_at, ?2),
           window_to = min(coalesce(window_to, due_at), ?2)
         WHERE id = ?1 AND {OPEN}"
    );
    let mut flushed = Vec::new();
    for id in ids {
        if db.run(&sql, params![id.as_str(), Ms(now)])? > 0 {
            flushed.push(id.clone());
        }
    }
    Ok(flushed)
}

/// Ends those that are pending, being sent or dead; returns them.
pub(super) fn discard(db: &Db, ids: &[DeliveryId], now: Timestamp) -> Result<Vec<DeliveryId>> {
    let mut discarded = Vec::new();
    for id in ids {
        let found = db.one(
            "SELECT target, state FROM deliveries WHERE id = ?1 AND state IN ('pending', 'sending', 'dead')",
            params![id.as_str()],
            |row| Ok((row.get::<_, String>("target")?, state(row)?)),
        )?;
        let Some((target, from)) = found else { continue };
        db.run(
            "UPDATE deliveries SET state = 'discarded', settled_at = ?2, due_at = NULL, lease = NULL, why = ?3
             WHERE id = ?1",
            params![id.as_str(), Ms(now), DISCARDED],
        )?;
        tally::moved(db, &target, from, StateName::Discarded)?;
        discarded.push(id.clone());
    }
    Ok(discarded)
}
