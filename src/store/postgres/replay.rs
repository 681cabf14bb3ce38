//! What a person decides about deliveries: send again, do not send.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;

use super::Postgres;
use super::connect::transact;
use super::tx::{get, ms, number, text};
use crate::model::id::DeliveryId;
use crate::store::ends::DISCARDED;
use crate::store::gathering::OPEN;
use crate::store::{Picked, Result};

impl Postgres {
    /// Plans a new delivery for each settled one of these; unknown, open and meanwhile replayed ones are passed over.
    pub(in crate::store) async fn replay(
        &self,
        picked: &[Picked],
        now: Timestamp,
    ) -> Result<Vec<DeliveryId>> {
        let wanted: Vec<&str> = picked.iter().map(|one| one.id.as_str()).collect();
        let seen: Vec<Option<i64>> = picked.iter().map(|one| one.replays.map(i64::from)).collect();
        transact!(self.db, |tx| {
            // The ordinal makes every replay of the same delivery a delivery of its own. A join, and no `NOT EXISTS`: that is
            // not looked at again by the server where it waited for somebody else's replay of the same row.
            let counted = tx
                .all(
                    "WITH held AS MATERIALIZED (SELECT d.seq, w.times
                           FROM (SELECT id, max(seen) AS seen, count(*) AS times
                                 FROM unnest($1::text[], $2::bigint[]) AS asked (id, seen) GROUP BY id) AS w
                           JOIN deliveries d ON d.id = w.id
                           WHERE d.settled_at IS NOT NULL AND d.replays = coalesce(w.seen, d.replays)
                           ORDER BY d.id FOR UPDATE OF d)
                         UPDATE deliveries d SET replays = replays + held.times
                         FROM held WHERE d.seq = held.seq RETURNING d.id, d.replays",
                    &[&wanted, &seen],
                )
                .await?;
            let mut left = HashMap::new();
            for row in counted {
                left.insert(get::<String>(&row, "id")?, number(&row, "replays")?);
            }
            let mut originals = Vec::new();
            let mut planned = Vec::new();
            for id in wanted.iter().rev() {
                let Some(ordinal) = left.get_mut(*id) else { continue };
                planned.push(DeliveryId::derive(now, &["replay", id, &ordinal.to_string()]));
                originals.push(id);
                *ordinal -= 1;
            }
            planned.reverse();
            originals.reverse();
            crate::failpoint::pass("replay");
            // Whoever replays wants it sent: the end of the original's life is not taken over.
            tx.run(
                    "WITH fresh AS (
                       INSERT INTO deliveries (id, account, rule, target, recipient, template, state, due_at,
                         created_at, replay_of, notice, group_key, window_from, window_to)
                       SELECT w.id, account, rule, target, recipient, template, 'pending', $3, $3, d.id, notice,
                         group_key, window_from, coalesce(window_to, first_due)
                       FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS w (id, original, position)
                       JOIN deliveries d ON d.id = w.original ORDER BY w.position
                       RETURNING seq, replay_of),
                     good AS (
                       INSERT INTO resolutions (delivery, key, account, rule, resolved_by, resolved_at)
                       SELECT fresh.seq, r.key, r.account, r.rule, r.resolved_by, r.resolved_at FROM fresh
                       JOIN deliveries d ON d.id = fresh.replay_of JOIN resolutions r ON r.delivery = d.seq)
                     INSERT INTO delivery_messages (delivery, position, message)
                     SELECT fresh.seq, dm.position, dm.message FROM fresh
                     JOIN deliveries d ON d.id = fresh.replay_of JOIN delivery_messages dm ON dm.delivery = d.seq",
                    &[&texts(&planned), &originals, &ms(now)],
                )
                .await?;
            Ok(planned)
        })
    }

    /// Closes those that still take messages in; returns them.
    pub(in crate::store) async fn flush(
        &self,
        ids: &[DeliveryId],
        now: Timestamp,
    ) -> Result<Vec<DeliveryId>> {
        let sql = format!(
            "WITH held AS MATERIALIZED (SELECT seq FROM deliveries d WHERE id = ANY ($1) AND {OPEN}
               ORDER BY id FOR UPDATE)
             UPDATE deliveries d SET due_at = least(due_at, $2), first_due = least(due_at, $2),
               window_to = least(coalesce(window_to, due_at), $2)
             FROM held WHERE d.seq = held.seq AND {OPEN} RETURNING d.id"
        );
        transact!(self.db, |tx| {
            let flushed = tx.all(&sql, &[&texts(ids), &ms(now)]).await?;
            flushed.iter().map(|row| Ok(DeliveryId::from_text(get::<String>(row, "id")?))).collect()
        })
    }

    /// Ends those that are pending, being sent or dead; returns them.
    pub(in crate::store) async fn discard(
        &self,
        ids: &[DeliveryId],
        now: Timestamp,
    ) -> Result<Vec<DeliveryId>> {
        let changed: HashSet<String> = transact!(self.db, |tx| {
            let changed = tx
                    .all(
                        "WITH held AS MATERIALIZED (SELECT seq FROM deliveries
                           WHERE id = ANY ($1) AND state IN ('pending', 'sending', 'dead') ORDER BY id FOR UPDATE)
                         UPDATE deliveries d
                         SET state = 'discarded', settled_at = $2, due_at = NULL, lease = NULL, why = $3
                         FROM held WHERE d.seq = held.seq RETURNING d.id",
                        &[&texts(ids), &ms(now), &DISCARDED],
                    )
                    .await?;
            changed.iter().map(|row| get(row, "id")).collect()
        })?;
        let mut told = HashSet::new();
        Ok(ids.iter().filter(|id| changed.contains(id.as_str()) && told.insert(*id)).cloned().collect())
    }
}

/// Ids as they are kept.
fn texts(ids: &[DeliveryId]) -> Vec<String> {
    ids.iter().map(|id| text(id.as_str()).into_owned()).collect()
}
