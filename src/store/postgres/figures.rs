//! Figures over a period, and what is new.

use std::time::Duration;

use jiff::Timestamp;

use super::Postgres;
use super::connect::query;
use super::listing::{COLUMNS, row, stored};
use super::tx::{get, ms, rows, state, text, time};
use crate::model::delivery::StateName;
use crate::model::message::Triple;
use crate::store::figures::{TAKEN_LOOKED_AT, Window, ended_last};
use crate::store::gathering::OPEN;
use crate::store::{Moment, Result, Row, StoredMessage};

impl Postgres {
    /// How many ended in each state, step by step.
    pub(in crate::store) async fn ended_per(
        &self,
        since: Timestamp,
        step: Duration,
    ) -> Result<Vec<(Timestamp, StateName, u64)>> {
        let step = i64::try_from(step.as_millis()).unwrap_or(i64::MAX).max(1);
        query!(self.db, |tx| {
            let sql = "SELECT d.settled_at / $2 * $2 AS at, d.state, count(*) AS n FROM deliveries d
                       WHERE d.state = ANY($3) AND d.settled_at IS NOT NULL AND d.settled_at >= $1
                       GROUP BY 1, 2 ORDER BY 1, 2";
            let ends = StateName::ENDS.map(StateName::as_str);
            let found = tx.all(sql, &[&ms(since), &step, &ends.as_slice()]).await?;
            let counted = |row| Ok((time(row, "at")?, state(row)?, get::<i64>(row, "n")?.unsigned_abs()));
            found.iter().map(counted).collect()
        })
    }

    /// How long the last attempts took.
    pub(in crate::store) async fn latencies(
        &self,
        windows: &[Window],
        sample: usize,
    ) -> Result<Vec<Vec<u64>>> {
        let (from, to): (Vec<i64>, Vec<i64>) = windows.iter().map(|(from, to)| (ms(*from), ms(*to))).unzip();
        query!(self.db, |tx| {
            let found = tx
                .all(
                    "SELECT w.n, a.latency_ms FROM unnest($1::bigint[], $2::bigint[]) WITH ORDINALITY AS w (since, until, n)
                     CROSS JOIN LATERAL (SELECT d.seq FROM deliveries d WHERE d.state = 'delivered'
                       AND d.settled_at IS NOT NULL AND d.settled_at >= w.since AND d.settled_at < w.until
                       ORDER BY d.settled_at DESC LIMIT $3) AS d
                     CROSS JOIN LATERAL (SELECT latency_ms FROM attempts WHERE delivery = d.seq
                       ORDER BY n DESC LIMIT 1) AS a",
                    &[&from, &to, &rows(sample)],
                )
                .await?;
            let mut latencies = vec![Vec::new(); windows.len()];
            for row in &found {
                let window = usize::try_from(get::<i64>(row, "n")? - 1).unwrap_or(usize::MAX);
                if let Some(of) = latencies.get_mut(window) {
                    of.push(get::<i64>(row, "latency_ms")?.unsigned_abs());
                }
            }
            Ok(latencies)
        })
    }

    /// The messages taken in last.
    pub(in crate::store) async fn arrivals(
        &self,
        after: Option<i64>,
        limit: usize,
    ) -> Result<Vec<(i64, StoredMessage)>> {
        query!(self.db, |tx| {
            let sql =
                "SELECT id, message, seen_at, rules FROM messages WHERE id > $1 ORDER BY id DESC LIMIT $2";
            let found = tx.all(sql, &[&after.unwrap_or(i64::MIN), &rows(limit)]).await?;
            found.iter().map(|row| Ok((get(row, "id")?, stored(row)?))).collect()
        })
    }

    /// The deliveries that ended last.
    pub(in crate::store) async fn ended_since(
        &self,
        states: &[StateName],
        since: Timestamp,
        limit: usize,
    ) -> Result<Vec<Row>> {
        query!(self.db, |tx| {
            let sql = format!(
                "SELECT {OPEN} AS open, {COLUMNS} WHERE d.seq IN ({}) ORDER BY d.settled_at DESC, d.seq DESC",
                ended_last(states, "$1", "$2")
            );
            let found = tx.all(&sql, &[&ms(since), &rows(limit)]).await?;
            found.iter().map(row).collect()
        })
    }

    /// Whether the target took a delivery that was begun since.
    pub(in crate::store) async fn took_since(&self, target: &str, since: Timestamp) -> Result<bool> {
        query!(self.db, |tx| {
            let taken = tx
                .one(
                    "SELECT 1 FROM (SELECT target, claimed_at FROM deliveries WHERE state = 'delivered' AND settled_at IS NOT NULL
                       AND settled_at >= $2 ORDER BY settled_at DESC LIMIT $3) AS last
                     WHERE target = $1 AND claimed_at >= $2 LIMIT 1",
                    &[&text(target), &ms(since), &rows(TAKEN_LOOKED_AT)],
                )
                .await?;
            Ok(taken.is_some())
        })
    }

    /// What waits for a moment that its rule said: what is held, and what gathers messages.
    pub(in crate::store) async fn moments(&self, now: Timestamp, limit: usize) -> Result<Vec<Moment>> {
        let sql = format!(
            "SELECT rule, target, first_due, gathers, count(*) AS n FROM (
               SELECT d.rule, d.target, d.first_due, false AS gathers FROM deliveries d WHERE d.state = 'pending'
                 AND d.starts = 0 AND d.first_due IS NOT NULL AND d.group_key IS NULL AND d.first_due > $1
               UNION ALL SELECT d.rule, d.target, d.first_due, true FROM deliveries d
                 WHERE {OPEN} AND d.first_due > $1) AS waiting
             GROUP BY 1, 2, 3, 4 ORDER BY 3, 1, 2 LIMIT $2"
        );
        query!(self.db, |tx| {
            let found = tx.all(&sql, &[&ms(now), &rows(limit)]).await?;
            let moment = |row| {
                Ok(Moment {
                    rule: get(row, "rule")?,
                    target: get(row, "target")?,
                    at: time(row, "first_due")?,
                    gathers: get(row, "gathers")?,
                    deliveries: get::<i64>(row, "n")?.unsigned_abs(),
                })
            };
            found.iter().map(moment).collect()
        })
    }

    /// How many messages of each triple came.
    pub(in crate::store) async fn triples_since(&self, since: Timestamp) -> Result<Vec<(Triple, u64)>> {
        query!(self.db, |tx| {
            let sql = "SELECT activity_type, message_type, direction, count(*) AS n FROM messages
                       WHERE seen_at >= $1 GROUP BY 1, 2, 3 ORDER BY 1, 2, 3";
            let found = tx.all(sql, &[&ms(since)]).await?;
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
}
