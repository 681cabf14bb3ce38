//! Settling: the end of an attempt, fenced by its lease, with everything that follows from it.

use jiff::Timestamp;
use rusqlite::{named_params, params};

use super::admit;
use super::db::{Db, Json, Ms};
use super::targets;
use crate::model::delivery::{Attempt, Claim, State, StateName};
use crate::model::settle::{TargetChange, Verdict};
use crate::store::{Result, Settlement};

/// Why a delivery that a person discarded was not sent.
pub(super) const DISCARDED: &str = "discarded by a person";

/// Writes all of them; `false` for one whose lease was lost, of which nothing is written.
pub(in crate::store) fn settle(db: &Db, settlements: &[Settlement], now: Timestamp) -> Result<Vec<bool>> {
    let mut written = Vec::with_capacity(settlements.len());
    // One good answer says as much about a target as many in a row do.
    let mut known_healthy: Option<&str> = None;
    for settlement in settlements {
        let settled = settle_one(db, settlement, now)?;
        written.push(settled.is_some());
        let Some(Settled { target_has_row }) = settled else { continue };
        let target = settlement.target.as_str();
        let healthy = settlement.verdict.target == TargetChange::Healthy;
        // Most targets are healthy and have no row.
        if !(healthy && (known_healthy == Some(target) || !target_has_row)) {
            let token = Some(settlement.claim.lease.token.as_str());
            let reason = &settlement.attempt.reason;
            if targets::change(db, target, settlement.verdict.target, reason, token, Some(now))? {
                admit::owe(db, &settlement.turn_notices, now)?;
            }
        }
        known_healthy = healthy.then_some(target);
    }
    Ok(written)
}

/// What is known once an attempt's end is written.
struct Settled {
    target_has_row: bool,
}

/// `None` where the lease was lost.
fn settle_one(db: &Db, settlement: &Settlement, now: Timestamp) -> Result<Option<Settled>> {
    let Settlement { claim, verdict, attempt, payload, .. } = settlement;
    if let Some(payload) = payload {
        // Before the row changes: what was sent is the rendering that the row asked for until here.
        db.run(
            "INSERT INTO payloads (delivery, plain, payload)
             SELECT seq, plain, ?3 FROM deliveries WHERE id = ?1 AND lease = ?2
             ON CONFLICT DO UPDATE SET plain = excluded.plain, payload = excluded.payload",
            params![claim.id.as_str(), claim.lease.token, Json(payload)],
        )?;
    }
    let columns = Columns::of(verdict, attempt);
    let row = db.one(
        "UPDATE deliveries SET state = :state, due_at = :due_at, settled_at = :settled_at, why = :why,
           lease = NULL, attempts = attempts + :counts, starts = attempts + :counts,
           plain = :plain, maybe_duplicate = maybe_duplicate OR :maybe_duplicate
         WHERE id = :id AND lease = :lease
         RETURNING seq, EXISTS (SELECT 1 FROM targets WHERE name = :target) AS target_has_row",
        named_params! {
            ":id": claim.id.as_str(), ":lease": claim.lease.token,
            ":state": columns.state.as_str(), ":due_at": columns.due_at.map(Ms),
            ":settled_at": columns.settled_at.map(Ms), ":why": columns.why,
            ":counts": verdict.counts, ":plain": verdict.plain,
            ":maybe_duplicate": settlement.maybe_duplicate, ":target": settlement.target,
        },
        |row| Ok((row.get::<_, i64>("seq")?, row.get("target_has_row")?)),
    )?;
    let Some((seq, target_has_row)) = row else { return Ok(None) };
    record(db, seq, attempt)?;
    crate::failpoint::pass("settle");
    admit::owe(db, &settlement.notices, now)?;
    Ok(Some(Settled { target_has_row }))
}

/// A verdict's state as the columns of its row.
struct Columns {
    state: StateName,
    due_at: Option<Timestamp>,
    settled_at: Option<Timestamp>,
    why: Option<String>,
}

impl Columns {
    fn of(verdict: &Verdict, attempt: &Attempt) -> Self {
        let state = verdict.state.name();
        let open = |due_at: &Timestamp| Self {
            state: StateName::Pending,
            due_at: Some(*due_at),
            settled_at: None,
            why: None,
        };
        let settled = |at: &Timestamp, why| Self { state, due_at: None, settled_at: Some(*at), why };
        match &verdict.state {
            State::Pending { due_at } => open(due_at),
            // Settling ends a lease, so nobody is sending it from here on.
            State::Sending { lease } => open(&lease.until),
            State::Delivered { at } => settled(at, None),
            State::Dead { at, why } | State::Withheld { at, why } => settled(at, Some(why.clone())),
            State::Expired { at } => {
                let why = format!("its time is up before the next try; the last one: {}", attempt.reason);
                settled(at, Some(why))
            }
            State::Discarded { at } => settled(at, Some(DISCARDED.to_owned())),
        }
    }
}

/// Writes an attempt behind the earlier ones.
pub(super) fn record(db: &Db, seq: i64, attempt: &Attempt) -> Result<()> {
    db.run(
        "INSERT INTO attempts (delivery, n, at, outcome, status, reason, latency_ms, answer)
         VALUES (?1, (SELECT coalesce(max(n), 0) + 1 FROM attempts WHERE delivery = ?1), ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            seq,
            Ms(attempt.at),
            attempt.outcome,
            attempt.status,
            attempt.reason,
            i64::try_from(attempt.latency_ms).unwrap_or(i64::MAX),
            attempt.answer
        ],
    )?;
    Ok(())
}

/// Gives claims back unattempted; a lost lease needs no giving back.
pub(in crate::store) fn release(db: &Db, claims: &[Claim], now: Timestamp) -> Result<()> {
    for claim in claims {
        db.run(
            "UPDATE deliveries SET state = 'pending', lease = NULL, due_at = min(created_at, ?3),
               starts = starts - 1
             WHERE id = ?1 AND lease = ?2",
            params![claim.id.as_str(), claim.lease.token, Ms(now)],
        )?;
        targets::end_probe(db, &claim.lease.token, now)?;
    }
    Ok(())
}
