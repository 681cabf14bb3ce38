//! The past: pruning it in small steps, and what is counted of it.

use jiff::Timestamp;

use super::Postgres;
use super::connect::{query, transact};
use super::listing::add_up;
use super::tx::{Tx, get, ms, rows};
use crate::model::message::Triple;
use crate::store::{LOOK_BACK_SECONDS, Result};

impl Postgres {
    /// Removes what ended before the given moments; returns how many deliveries and messages went.
    pub(in crate::store) async fn prune(
        &self,
        delivered_before: Timestamp,
        dead_before: Timestamp,
        batch: usize,
    ) -> Result<usize> {
        let batch = rows(batch);
        transact!(self.db, |tx| {
            let mut gone = 0;
            for (states, before) in [
                (&["delivered", "expired", "withheld", "discarded"][..], delivered_before),
                (&["dead"][..], dead_before),
            ] {
                let room = batch - gone.min(batch);
                gone += forget(tx, states, before, room).await?;
            }
            super::mutes::forget(tx, delivered_before).await?;
            super::meeting::forget(tx, delivered_before).await?;
            crate::failpoint::pass("prune");
            let deleted = forget_messages(tx, delivered_before, batch - gone.min(batch)).await?;
            add_up(tx).await?;
            Ok(usize::try_from(gone + deleted).unwrap_or(0))
        })
    }

    /// How many messages of each triple were ever seen.
    pub(in crate::store) async fn triples(&self) -> Result<Vec<(Triple, u64)>> {
        query!(self.db, |tx| {
            let found = tx
                .all(
                    "SELECT activity_type, message_type, direction, sum(n)::bigint AS n FROM triples
                         GROUP BY 1, 2, 3 ORDER BY 1, 2, 3",
                    &[],
                )
                .await?;
            let counted = |row| {
                let triple = Triple {
                    activity_type: get(row, "activity_type")?,
                    message_type: get(row, "message_type")?,
                    direction: get(row, "direction")?,
                };
                Ok((triple, get::<i64>(row, "n")?.unsigned_abs()))
            };
            found.iter().map(counted).collect()
        })
    }

    /// Writes a little, to see that writing works.
    pub(in crate::store) async fn ping(&self) -> Result<()> {
        let beat = "UPDATE heartbeat SET n = n + 1";
        transact!(self.db, |tx| tx.run(beat, &[]).await.map(|_| ()))
    }
}

/// Removes deliveries in these states that ended before the moment; a trigger removes what is kept of them.
async fn forget(tx: &Tx<'_>, states: &[&str], before: Timestamp, limit: i64) -> Result<i64> {
    let gone = tx
        .run(
            "DELETE FROM deliveries WHERE seq = ANY (array(
               SELECT d.seq FROM unnest($1::text[]) AS s (state) CROSS JOIN LATERAL (
                 SELECT seq FROM deliveries WHERE state = s.state AND settled_at IS NOT NULL
                   AND settled_at < $2 ORDER BY settled_at LIMIT $3 FOR UPDATE SKIP LOCKED) AS d
               LIMIT $3))",
            &[&states, &ms(before), &limit],
        )
        .await?;
    Ok(i64::try_from(gone).unwrap_or(i64::MAX))
}

/// Removes messages that were seen before the moment, that polling does not meet again and nothing is about. They are
/// locked first and then looked at once more: whoever links a delivery to one locks it as well.
async fn forget_messages(tx: &Tx<'_>, before: Timestamp, limit: i64) -> Result<i64> {
    let old = tx
        .all(
            "SELECT m.id FROM messages m LEFT JOIN accounts a ON a.name = m.account
             WHERE m.seen_at < $1 AND m.created_at < coalesce(a.watermark - $2, 9223372036854775807)
               AND NOT EXISTS (SELECT 1 FROM delivery_messages dm WHERE dm.message = m.id)
             ORDER BY m.seen_at LIMIT $3 FOR UPDATE OF m SKIP LOCKED",
            &[&ms(before), &(LOOK_BACK_SECONDS * 1_000), &limit],
        )
        .await?;
    if old.is_empty() {
        return Ok(0);
    }
    let old: Vec<i64> = old.iter().map(|row| get(row, "id")).collect::<Result<_>>()?;
    let deleted = tx
        .run(
            "DELETE FROM messages m WHERE id = ANY ($1)
               AND NOT EXISTS (SELECT 1 FROM delivery_messages dm WHERE dm.message = m.id)",
            &[&old],
        )
        .await?;
    Ok(i64::try_from(deleted).unwrap_or(i64::MAX))
}
