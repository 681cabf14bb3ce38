//! Figures over a period, and what is new.

use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Row as SqlRow, params};

use super::db::{Db, Json, Ms, rows, state, time};
use super::listing::{COLUMNS, row, stored};
use crate::model::delivery::StateName;
use crate::model::message::Triple;
use crate::store::figures::{TAKEN_LOOKED_AT, Window, ended_last};
use crate::store::gathering::OPEN;
use crate::store::{Moment, Result, Row, StoredMessage};

/// How many ended in each state, step by step.
pub(super) fn ended_per(
    db: &Db,
    since: Timestamp,
    step: Duration,
) -> Result<Vec<(Timestamp, StateName, u64)>> {
    let step = i64::try_from(step.as_millis()).unwrap_or(i64::MAX).max(1);
    db.all(
        "SELECT d.settled_at / ?3 * ?3 AS at, d.state, count(*) AS n FROM deliveries d
         WHERE d.state IN (SELECT value FROM json_each(?1)) AND d.settled_at IS NOT NULL AND d.settled_at >= ?2
         GROUP BY 1, 2 ORDER BY 1, 2",
        params![Json(StateName::ENDS), Ms(since), step],
        |row| Ok((time(row, "at")?, state(row)?, row.get::<_, i64>("n")?.unsigned_abs())),
    )
}

/// How long the last attempts took.
pub(super) fn latencies(db: &Db, windows: &[Window], sample: usize) -> Result<Vec<Vec<u64>>> {
    let of = |(from, to): &Window| {
        db.all(
            "SELECT (SELECT a.latency_ms FROM attempts a WHERE a.delivery = d.seq ORDER BY a.n DESC LIMIT 1) AS ms
             FROM deliveries d WHERE d.state = 'delivered' AND d.settled_at IS NOT NULL
               AND d.settled_at >= ?1 AND d.settled_at < ?2 ORDER BY d.settled_at DESC LIMIT ?3",
            params![Ms(*from), Ms(*to), rows(sample)],
            |row| row.get::<_, Option<i64>>("ms"),
        )
    };
    let known =
        |found: Vec<Option<i64>>| found.into_iter().flatten().map(i64::unsigned_abs).collect::<Vec<u64>>();
    windows.iter().map(|window| of(window).map(known)).collect()
}

/// The messages taken in last.
pub(super) fn arrivals(db: &Db, after: Option<i64>, limit: usize) -> Result<Vec<(i64, StoredMessage)>> {
    db.all(
        "SELECT id, message, seen_at, rules FROM messages WHERE id > ?1 ORDER BY id DESC LIMIT ?2",
        params![after.unwrap_or(i64::MIN), rows(limit)],
        |row: &SqlRow<'_>| Ok((row.get("id")?, stored(row)?)),
    )
}

/// The deliveries that ended last.
pub(super) fn ended_since(db: &Db, states: &[StateName], since: Timestamp, limit: usize) -> Result<Vec<Row>> {
    let sql = format!(
        "SELECT {OPEN} AS open, {COLUMNS} WHERE d.seq IN ({}) ORDER BY d.settled_at DESC, d.seq DESC",
        ended_last(states, "?1", "?2")
    );
    db.all(&sql, params![Ms(since), rows(limit)], row)
}

/// Whether the target took a delivery that was begun since.
pub(super) fn took_since(db: &Db, target: &str, since: Timestamp) -> Result<bool> {
    let taken = db.one(
        "SELECT 1 FROM (SELECT target, claimed_at FROM deliveries
             WHERE state = 'delivered' AND settled_at IS NOT NULL AND settled_at >= ?2 ORDER BY settled_at DESC LIMIT ?3)
         WHERE target = ?1 AND claimed_at >= ?2 LIMIT 1",
        params![target, Ms(since), rows(TAKEN_LOOKED_AT)],
        |_| Ok(()),
    )?;
    Ok(taken.is_some())
}

/// What waits for a moment that its rule said: what is held, and what gathers messages.
pub(super) fn moments(db: &Db, now: Timestamp, limit: usize) -> Result<Vec<Moment>> {
    let sql = format!(
        "SELECT rule, target, first_due, gathers, count(*) AS n FROM (
           SELECT d.rule, d.target, d.first_due, 0 AS gathers FROM deliveries d WHERE d.state = 'pending'
             AND d.starts = 0 AND d.first_due IS NOT NULL AND d.group_key IS NULL AND d.first_due > ?1
           UNION ALL SELECT d.rule, d.target, d.first_due, 1 FROM deliveries d WHERE {OPEN} AND d.first_due > ?1)
         GROUP BY 1, 2, 3, 4 ORDER BY 3, 1, 2 LIMIT ?2"
    );
    db.all(&sql, params![Ms(now), rows(limit)], |row| {
        Ok(Moment {
            rule: row.get("rule")?,
            target: row.get("target")?,
            at: time(row, "first_due")?,
            gathers: row.get("gathers")?,
            deliveries: row.get::<_, i64>("n")?.unsigned_abs(),
        })
    })
}

/// How many messages of each triple came.
pub(super) fn triples_since(db: &Db, since: Timestamp) -> Result<Vec<(Triple, u64)>> {
    db.all(
        "SELECT m.activity_type, m.message_type, m.direction, count(*) AS n FROM messages m WHERE m.seen_at >= ?1
         GROUP BY 1, 2, 3 ORDER BY 1, 2, 3",
        params![Ms(since)],
        |row| {
            let triple = Triple {
                activity_type: row.get("activity_type")?,
                message_type: row.get("message_type")?,
                direction: row.get("direction")?,
            };
            Ok((triple, row.get::<_, i64>("n")?.unsigned_abs()))
        },
    )
}
