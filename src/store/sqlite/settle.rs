//! Settling: the end of an attempt, fenced by its lease, with everything that follows from it.

use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::params;
use rusqlite::types::{ToSqlOutput, Value};

use super::admit;
use super::db::{Db, Ms, json};
use super::tally::{self, Tally};
use super::targets;
use crate::model::delivery::{Attempt, Claim, StateName};
use crate::model::settle::TargetChange;
use crate::store::ends::Columns;
use crate::store::{Result, Settlement};

/// Values that one payload's row is made of.
const PAYLOAD_COLUMNS: usize = 3;
/// Values that one attempt's row is made of.
const ATTEMPT_COLUMNS: usize = 8;

/// The payloads as they are kept: JSON.
pub(super) fn payloads(settlements: &[Arc<Settlement>]) -> Result<Vec<Option<String>>> {
    let payload = |settlement: &Arc<Settlement>| settlement.payload.as_ref().map(json).transpose();
    Ok(settlements.iter().map(payload).collect::<rusqlite::Result<_>>()?)
}

/// Writes all of them; `false` for one whose lease was lost, of which nothing is written.
pub(super) fn settle(
    db: &Db,
    settlements: &[Arc<Settlement>],
    payloads: Vec<Option<String>>,
    now: Timestamp,
) -> Result<Vec<bool>> {
    let mut written = Vec::with_capacity(settlements.len());
    let (mut ended, mut sent) = (Vec::with_capacity(settlements.len()), Vec::new());
    let (mut tally, mut troubled, mut recovered) = (Tally::default(), targets::troubled(db)?, Vec::new());
    for (settlement, payload) in settlements.iter().zip(payloads) {
        let settled = settle_one(db, settlement)?;
        written.push(settled.is_some() || is_written(db, settlement)?);
        let Some(seq) = settled else { continue };
        let target = &settlement.target;
        let state = Columns::of(&settlement.verdict, &settlement.attempt).state;
        tally.moved(target, StateName::Sending, state, 1);
        ended.push((seq, &**settlement));
        sent.extend(payload.map(|payload| (seq, settlement.plain, payload)));
        admit::owe(db, &settlement.notices, now)?;
        // Most targets are healthy, and another good answer says nothing new of them.
        if settlement.verdict.target != TargetChange::Healthy || troubled.contains(target) {
            let (token, reason) = (Some(settlement.claim.lease.token.as_str()), &settlement.attempt.reason);
            let change = settlement.verdict.target;
            let turned = targets::change(db, target, |it| it.apply(change, reason, token, Some(now)))?;
            if turned {
                admit::owe(db, &settlement.turn_notices, now)?;
            }
            if turned && change == TargetChange::Healthy {
                recovered.push(target);
            }
            troubled = targets::troubled(db)?;
        }
    }
    tally.write(db)?;
    keep_payloads(db, sent)?;
    crate::failpoint::pass("settle");
    let attempts: Vec<_> = ended.iter().map(|(seq, settlement)| (*seq, &settlement.attempt)).collect();
    record(db, &attempts)?;
    for target in recovered {
        targets::put_in_order(db, target)?;
    }
    Ok(written)
}

/// The row's number; `None` where the lease was lost.
fn settle_one(db: &Db, settlement: &Settlement) -> Result<Option<i64>> {
    let Settlement { claim, verdict, attempt, .. } = settlement;
    let columns = Columns::of(verdict, attempt);
    let seq = db.one(
        "SELECT seq FROM deliveries WHERE id = ?1 AND lease = ?2",
        params![claim.id.as_str(), claim.lease.token],
        |row| row.get::<_, i64>(0),
    )?;
    let Some(seq) = seq else { return Ok(None) };
    db.run(
        "UPDATE deliveries SET state = ?2, due_at = ?3, settled_at = ?4, why = ?5,
           lease = NULL, attempts = attempts + ?6, starts = attempts + ?6,
           plain = ?7, maybe_duplicate = maybe_duplicate OR ?8
         WHERE seq = ?1",
        params![
            seq,
            columns.state.as_str(),
            columns.due_at.map(Ms),
            columns.settled_at.map(Ms),
            columns.why,
            verdict.counts,
            verdict.plain,
            settlement.maybe_duplicate
        ],
    )?;
    Ok(Some(seq))
}

/// Whether it was written before: a commit that was said to have failed is found in the log now and then, when the disk is
/// mended.
fn is_written(db: &Db, settlement: &Settlement) -> Result<bool> {
    let Settlement { claim, attempt, .. } = settlement;
    let found = db.one(
        "SELECT 1 FROM attempts WHERE delivery = (SELECT seq FROM deliveries WHERE id = ?1)
           AND at = ?2 AND outcome = ?3 AND latency_ms = ?4",
        params![
            claim.id.as_str(),
            Ms(attempt.at),
            attempt.outcome,
            i64::try_from(attempt.latency_ms).unwrap_or(i64::MAX)
        ],
        |_| Ok(()),
    )?;
    Ok(found.is_some())
}

/// Keeps what was sent, for the next attempt and for people.
fn keep_payloads(db: &Db, sent: Vec<(i64, bool, String)>) -> Result<()> {
    let mut values: Vec<ToSqlOutput<'_>> = Vec::with_capacity(sent.len() * PAYLOAD_COLUMNS);
    for (seq, plain, payload) in sent {
        values.extend([seq.into(), plain.into(), payload.into()]);
    }
    let insert = (
        "INSERT INTO payloads (delivery, plain, payload)",
        "(?, ?, ?)",
        "ON CONFLICT DO UPDATE SET plain = excluded.plain, payload = excluded.payload",
    );
    db.insert_all(insert, PAYLOAD_COLUMNS, &values)
}

/// Writes attempts, each behind its delivery's earlier ones.
pub(super) fn record(db: &Db, attempts: &[(i64, &Attempt)]) -> Result<()> {
    let mut values: Vec<ToSqlOutput<'_>> = Vec::with_capacity(attempts.len() * ATTEMPT_COLUMNS);
    for (seq, attempt) in attempts {
        values.extend([
            (*seq).into(),
            (*seq).into(),
            attempt.at.as_millisecond().into(),
            attempt.outcome.as_str().into(),
            attempt.status.map_or(ToSqlOutput::Owned(Value::Null), Into::into),
            attempt.reason.as_str().into(),
            i64::try_from(attempt.latency_ms).unwrap_or(i64::MAX).into(),
            attempt.answer.as_deref().map_or(ToSqlOutput::Owned(Value::Null), Into::into),
        ]);
    }
    let insert = (
        "INSERT INTO attempts (delivery, n, at, outcome, status, reason, latency_ms, answer)",
        "(?, (SELECT coalesce(max(n), 0) + 1 FROM attempts WHERE delivery = ?), ?, ?, ?, ?, ?, ?)",
        "",
    );
    db.insert_all(insert, ATTEMPT_COLUMNS, &values)
}

/// Gives claims back unattempted; a lost lease needs no giving back.
pub(super) fn release(db: &Db, claims: &[Claim], now: Timestamp) -> Result<()> {
    for claim in claims {
        let released = db.one(
            "UPDATE deliveries SET state = 'pending', lease = NULL, due_at = min(created_at, ?3),
               starts = starts - 1
             WHERE id = ?1 AND lease = ?2 RETURNING target",
            params![claim.id.as_str(), claim.lease.token, Ms(now)],
            |row| row.get::<_, String>(0),
        )?;
        if let Some(target) = released {
            tally::moved(db, &target, StateName::Sending, StateName::Pending)?;
        }
        targets::end_probe(db, &claim.lease.token, now)?;
    }
    Ok(())
}
