//! Many deliveries become one: what queued up for a target is taken together.

use jiff::Timestamp;

use super::Postgres;
use super::connect::transact;
use super::owed::owe;
use super::tx::{get, ms, text};
use crate::model::delivery::Planned;
use crate::model::id::DeliveryId;
use crate::store::Result;

impl Postgres {
    /// Ends the parts that are pending, and takes in one delivery about all their messages, oldest first.
    pub(in crate::store) async fn gather(
        &self,
        whole: Planned,
        parts: &[DeliveryId],
        now: Timestamp,
    ) -> Result<usize> {
        let ids: Vec<_> = parts.iter().map(|id| text(id.as_str())).collect();
        let why = format!("sent together with others in {}", whole.id);
        transact!(self.db, |tx| {
            let ended = tx
                .all(
                    "WITH held AS MATERIALIZED (SELECT seq FROM deliveries
                           WHERE id = ANY ($1) AND state = 'pending' ORDER BY id FOR UPDATE)
                         UPDATE deliveries d SET state = 'withheld', settled_at = $2, due_at = NULL, why = $3
                         FROM held WHERE d.seq = held.seq RETURNING d.seq",
                    &[&ids, &ms(now), &why],
                )
                .await?;
            if ended.is_empty() {
                return Ok(0);
            }
            let seqs: Vec<i64> = ended.iter().map(|row| get(row, "seq")).collect::<Result<_>>()?;
            let messages = tx
                .all(
                    "SELECT DISTINCT m.uid, m.created_at FROM unnest($1::bigint[]) AS part (seq)
                         JOIN delivery_messages dm ON dm.delivery = part.seq
                         JOIN messages m ON m.id = dm.message ORDER BY m.created_at, m.uid",
                    &[&seqs],
                )
                .await?;
            let messages = messages.iter().map(|row| get(row, "uid")).collect::<Result<_>>()?;
            owe(tx, &[Planned { messages, ..whole.clone() }], now).await?;
            Ok(ended.len())
        })
    }
}
