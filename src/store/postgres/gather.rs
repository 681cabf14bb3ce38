//! Many deliveries become one: what queued up for a target is taken together.

use jiff::Timestamp;
use tokio_postgres::Row;

use super::Postgres;
use super::connect::{query, transact};
use super::owed::owe;
use super::targets;
use super::tx::{get, ms, number, rows, text, time, time_or_none};
use crate::model::delivery::{Planned, Waiting};
use crate::model::id::DeliveryId;
use crate::store::Result;

/// What [`waiting`] reads of a delivery `d`.
const WAITING: &str = "d.id, d.account, d.rule, d.recipient, d.template, d.created_at, d.expires_at, d.starts - d.attempts AS lost,
  EXISTS (SELECT 1 FROM attempts WHERE delivery = d.seq AND outcome IN ('doubtful', 'shape_refused')) AS doubted,
  EXISTS (SELECT 1 FROM attempts WHERE delivery = d.seq AND outcome = 'target_broken') AS turned_away";

impl Postgres {
    /// What waits for the target since before the moment, in the order in which it was planned: not what its rule holds.
    pub(in crate::store) async fn waiting(
        &self,
        target: &str,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<Waiting>> {
        query!(self.db, |tx| {
            let found = tx
                .all(
                    &format!(
                        "SELECT {WAITING} FROM deliveries d
                         WHERE d.target = $1 AND d.state = 'pending' AND d.created_at < $2
                           AND (d.first_due IS NULL OR d.first_due < $2)
                           AND d.notice IS NULL AND d.replay_of IS NULL AND d.group_key IS NULL
                         ORDER BY d.created_at, d.seq LIMIT $3"
                    ),
                    &[&text(target), &ms(before), &rows(limit)],
                )
                .await?;
            found.iter().map(waiting).collect()
        })
    }

    /// What its rule held for the target until then, and nobody attempted, in the order in which it was planned.
    pub(in crate::store) async fn held(
        &self,
        target: &str,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<Waiting>> {
        query!(self.db, |tx| {
            let found = tx
                .all(
                    &format!(
                        "SELECT {WAITING} FROM deliveries d
                         WHERE d.target = $1 AND d.first_due <= $2 AND d.state = 'pending' AND d.starts = 0
                           AND d.first_due IS NOT NULL AND d.group_key IS NULL AND d.notice IS NULL
                           AND d.replay_of IS NULL
                         ORDER BY d.created_at, d.seq LIMIT $3"
                    ),
                    &[&text(target), &ms(until), &rows(limit)],
                )
                .await?;
            found.iter().map(waiting).collect()
        })
    }

    /// Takes in notices if the beginning or the end of the trouble is news.
    pub(in crate::store) async fn tell(
        &self,
        trouble: &str,
        lasts: bool,
        notices: Vec<Planned>,
        now: Timestamp,
    ) -> Result<bool> {
        transact!(self.db, |tx| {
            let changed = if lasts {
                let insert = "INSERT INTO told (trouble, since) VALUES ($1, $2) ON CONFLICT DO NOTHING";
                tx.run(insert, &[&text(trouble), &ms(now)]).await?
            } else {
                tx.run("DELETE FROM told WHERE trouble = $1", &[&text(trouble)]).await?
            };
            if changed > 0 {
                owe(tx, &notices, now).await?;
            }
            Ok(changed > 0)
        })
    }

    /// Takes in notices of a trouble that is over, if nobody told of it since it began.
    pub(in crate::store) async fn tell_afterwards(
        &self,
        trouble: &str,
        from: Timestamp,
        notices: Vec<Planned>,
        now: Timestamp,
    ) -> Result<bool> {
        transact!(self.db, |tx| {
            let sql = "INSERT INTO told AS t (trouble, since) VALUES ($1, $2)
                       ON CONFLICT (trouble) DO UPDATE SET since = excluded.since WHERE t.since < $3";
            let changed = tx.run(sql, &[&text(trouble), &ms(now), &ms(from)]).await?;
            if changed > 0 {
                owe(tx, &notices, now).await?;
            }
            Ok(changed > 0)
        })
    }

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
            // What ended would be owed by nothing if another instance was quicker with the same parts, or is at it.
            targets::lock(tx, &[&whole.target]).await?;
            let whole_id = text(whole.id.as_str());
            if !tx.all("SELECT 1 FROM deliveries WHERE id = $1", &[&whole_id]).await?.is_empty() {
                return Ok(0);
            }
            let ended = tx
                .all(
                    "WITH held AS MATERIALIZED (SELECT seq FROM deliveries
                           WHERE id = ANY ($1) AND state = 'pending' ORDER BY id FOR UPDATE)
                         UPDATE deliveries d SET state = 'withheld', settled_at = $2, due_at = NULL, why = $3
                         FROM held WHERE d.seq = held.seq RETURNING d.seq, d.maybe_duplicate, d.throttled",
                    &[&ids, &ms(now), &why],
                )
                .await?;
            if ended.is_empty() {
                return Ok(0);
            }
            let seqs: Vec<i64> = ended.iter().map(|row| get(row, "seq")).collect::<Result<_>>()?;
            let doubles =
                ended.iter().map(|row| get(row, "maybe_duplicate")).collect::<Result<Vec<bool>>>()?;
            let held = ended.iter().map(|row| get(row, "throttled")).collect::<Result<Vec<i32>>>()?;
            let throttled = held.into_iter().fold(0, i32::saturating_add);
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
            let maybe_duplicate = doubles.contains(&true);
            if maybe_duplicate || throttled > 0 {
                let sql = "UPDATE deliveries SET maybe_duplicate = $2, throttled = $3 WHERE id = $1";
                tx.run(sql, &[&whole_id, &maybe_duplicate, &throttled]).await?;
            }
            Ok(ended.len())
        })
    }
}

fn waiting(row: &Row) -> Result<Waiting> {
    Ok(Waiting {
        id: DeliveryId::from_text(get::<String>(row, "id")?),
        account: get(row, "account")?,
        rule: get(row, "rule")?,
        recipient: get(row, "recipient")?,
        template: get(row, "template")?,
        created_at: time(row, "created_at")?,
        expires_at: time_or_none(row, "expires_at")?,
        lost: number(row, "lost")?,
        doubted: get(row, "doubted")?,
        turned_away: get(row, "turned_away")?,
    })
}
