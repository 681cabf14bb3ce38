//! Claiming: what is due and may be sent gets a lease; what a dead process held is taken back.

use std::collections::HashMap;

use jiff::Timestamp;
use rusqlite::{Row, params};

use super::db::{Db, Json, Ms, rows, time, time_or_none};
use super::settle;
use super::targets::{self, Standing};
use crate::model::delivery::{Attempt, Claim, Job, Lease, StateName};
use crate::model::id::DeliveryId;
use crate::model::message::Message;
use crate::model::settle::after_now;
use crate::store::{Outlook, Result, StoreError, Want};

/// A delivery whose claims ended this often in a row with the holder gone is not tried again.
const LOST_STARTS_MAX: u32 = 5;
/// At most so many expire, or are taken back, in one transaction; the rest follows with the next claim.
const SWEEP_MAX: usize = 500;

/// The reason of an attempt whose holder was not there to tell the end.
const LOST: &str = "the relay stopped while sending; whether the target took it is not known";

/// Claims for every want as much as its target may have.
pub(in crate::store) fn claim(db: &Db, wants: &[Want], now: Timestamp) -> Result<Vec<Job>> {
    take_back_ended(db, now)?;
    expire(db, now)?;
    let standings = targets::standings(db)?;
    let mut jobs = Vec::new();
    for want in wants {
        let standing = standings.get(&want.target);
        let limit = match standing.map_or(Standing::Ready, |state| targets::standing(state, now)) {
            Standing::Ready => want.limit,
            Standing::Probing => want.limit.min(1),
            Standing::Waiting | Standing::Paused => 0,
        };
        if limit == 0 {
            continue;
        }
        let claimed = lease(db, want, limit, now)?;
        if let (Some(state), Some(probe)) = (standing, claimed.first())
            && state.parked_until.is_some()
        {
            targets::probe(db, &want.target, &probe.claim.lease)?;
        }
        jobs.extend(claimed);
    }
    Ok(jobs)
}

/// Leases the first `limit` due deliveries of a target.
fn lease(db: &Db, want: &Want, limit: usize, now: Timestamp) -> Result<Vec<Job>> {
    let found = db.all(
        "SELECT d.*, p.payload FROM deliveries d LEFT JOIN payloads p ON p.delivery = d.seq AND p.plain = d.plain
         WHERE d.target = ?1 AND d.settled_at IS NULL AND d.due_at <= ?2 AND d.state = 'pending'
         ORDER BY d.due_at, d.created_at, d.seq LIMIT ?3",
        params![want.target, Ms(now), rows(limit)],
        found,
    )?;
    if found.is_empty() {
        return Ok(Vec::new());
    }
    let until = after_now(now, want.lease);
    let seqs: Vec<i64> = found.iter().map(|(seq, ..)| *seq).collect();
    let tokens: HashMap<i64, String> = db
        .all(
            "UPDATE deliveries SET state = 'sending', lease = lower(hex(randomblob(16))), due_at = ?2,
               claimed_at = ?3, starts = starts + 1
             WHERE seq IN (SELECT value FROM json_each(?1)) RETURNING seq, lease",
            params![Json(&seqs), Ms(until), Ms(now)],
            |row| Ok((row.get("seq")?, row.get("lease")?)),
        )?
        .into_iter()
        .collect();
    let mut messages = messages_of(db, &seqs)?;
    let mut jobs = Vec::with_capacity(found.len());
    for (seq, mut job, payload, notice) in found {
        job.claim.lease = Lease { token: tokens.get(&seq).cloned().unwrap_or_default(), until };
        match complete(&mut job, messages.remove(&seq).unwrap_or_default(), payload, notice) {
            Ok(()) => jobs.push(job),
            Err(why) => bury(db, seq, &why, now)?,
        }
    }
    Ok(jobs)
}

/// What a claimable row says, its JSON still unread: one row that cannot be read must not stop the others.
type Found = (i64, Job, Option<String>, Option<String>);

fn found(row: &Row<'_>) -> rusqlite::Result<Found> {
    let lease = Lease { token: String::new(), until: Timestamp::UNIX_EPOCH };
    let claim = Claim {
        id: DeliveryId::from_text(row.get::<_, String>("id")?),
        attempts: row.get("attempts")?,
        starts: row.get::<_, u32>("starts")?.saturating_add(1),
        lease,
    };
    let job = Job {
        claim,
        account: row.get("account")?,
        rule: row.get("rule")?,
        target: row.get("target")?,
        recipient: row.get("recipient")?,
        template: row.get("template")?,
        messages: Vec::new(),
        notice: None,
        payload: None,
        plain: row.get("plain")?,
        created_at: time(row, "created_at")?,
        expires_at: time_or_none(row, "expires_at")?,
        replay_of: row.get::<_, Option<String>>("replay_of")?.map(DeliveryId::from_text),
    };
    Ok((row.get("seq")?, job, row.get("payload")?, row.get("notice")?))
}

fn complete(
    job: &mut Job,
    messages: Vec<String>,
    payload: Option<String>,
    notice: Option<String>,
) -> std::result::Result<(), String> {
    let unreadable = |error: serde_json::Error| format!("what is stored of it cannot be read: {error}");
    for text in messages {
        job.messages.push(serde_json::from_str::<Message>(&text).map_err(unreadable)?);
    }
    job.payload = payload.map(|text| serde_json::from_str(&text)).transpose().map_err(unreadable)?;
    job.notice = notice.map(|text| serde_json::from_str(&text)).transpose().map_err(unreadable)?;
    Ok(())
}

fn messages_of(db: &Db, seqs: &[i64]) -> Result<HashMap<i64, Vec<String>>> {
    let mut messages: HashMap<i64, Vec<String>> = HashMap::new();
    let found = db.all(
        "SELECT dm.delivery, m.message FROM json_each(?1) wanted
         CROSS JOIN delivery_messages dm ON dm.delivery = wanted.value
         CROSS JOIN messages m ON m.id = dm.message
         ORDER BY dm.delivery, dm.position",
        params![Json(seqs)],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    for (seq, message) in found {
        messages.entry(seq).or_default().push(message);
    }
    Ok(messages)
}

/// Settles what is too old to be sent, wherever its target stands. What is being sent is left to its holder.
fn expire(db: &Db, now: Timestamp) -> Result<()> {
    let expired = db.run(
        "UPDATE deliveries SET state = 'expired', settled_at = ?1, due_at = NULL,
           why = 'not delivered before its time was up'
         WHERE seq IN (SELECT seq FROM deliveries WHERE settled_at IS NULL AND expires_at IS NOT NULL
           AND expires_at <= ?1 AND state = 'pending' ORDER BY expires_at LIMIT ?2)",
        params![Ms(now), rows(SWEEP_MAX)],
    )?;
    if expired > 0 {
        tracing::warn!(
            expired,
            "deliveries became too old to be sent; `deliveries list --state expired` shows them"
        );
    }
    Ok(())
}

/// Takes back what is leased by somebody who did not settle in time.
fn take_back_ended(db: &Db, now: Timestamp) -> Result<()> {
    let ended = db.all(
        "SELECT seq, attempts, starts FROM deliveries WHERE state = 'sending' AND due_at <= ?1
         ORDER BY due_at LIMIT ?2",
        params![Ms(now), rows(SWEEP_MAX)],
        held,
    )?;
    ended.into_iter().try_for_each(|held| take_back(db, &held, Some(now)))
}

/// Takes back every lease, whoever holds it: only for the one who has just become the store's only user.
pub(super) fn take_back_all(db: &Db) -> Result<()> {
    db.batch("BEGIN IMMEDIATE")?;
    let all = || {
        let held =
            db.all("SELECT seq, attempts, starts FROM deliveries WHERE state = 'sending'", [], held)?;
        // A probe that was under way is as lost as the rest: the next one may go at once.
        db.run(
            "UPDATE targets SET probe = NULL, parked_until = coalesce((SELECT claimed_at FROM deliveries
               WHERE state = 'sending' AND lease = targets.probe), parked_until)
             WHERE probe IS NOT NULL",
            [],
        )?;
        held.into_iter().try_for_each(|held| take_back(db, &held, None))?;
        db.batch("COMMIT")
    };
    let result = all();
    if result.is_err() && !db.is_idle() {
        // The error that counts is the first one.
        let _ = db.batch("ROLLBACK");
    }
    result
}

/// A row whose holder is gone.
struct Held {
    seq: i64,
    attempts: u32,
    starts: u32,
}

fn held(row: &Row<'_>) -> rusqlite::Result<Held> {
    Ok(Held { seq: row.get("seq")?, attempts: row.get("attempts")?, starts: row.get("starts")? })
}

/// Due at once and before what came later; or dead, if it took its holder down too often. Without `now`
/// the moment of the claim stands for the end of the attempt, which nobody knows.
fn take_back(db: &Db, held: &Held, now: Option<Timestamp>) -> Result<()> {
    let row = db.one(
        "UPDATE deliveries SET state = 'pending', lease = NULL, due_at = created_at, maybe_duplicate = 1
         WHERE seq = ?1 RETURNING claimed_at, created_at",
        params![held.seq],
        |row| Ok((time_or_none(row, "claimed_at")?, time(row, "created_at")?)),
    )?;
    let Some((claimed_at, created_at)) = row else {
        return Err(StoreError::Corrupt(format!("row {} of deliveries is gone", held.seq)));
    };
    let at = now.or(claimed_at).unwrap_or(created_at);
    let attempt = Attempt {
        at,
        outcome: "lost".to_owned(),
        status: None,
        reason: LOST.to_owned(),
        latency_ms: 0,
        answer: None,
    };
    settle::record(db, held.seq, &attempt)?;
    let lost = held.starts.saturating_sub(held.attempts);
    if lost >= LOST_STARTS_MAX {
        bury(db, held.seq, &format!("the relay stopped {lost} times in a row while sending it"), at)?;
    }
    Ok(())
}

fn bury(db: &Db, seq: i64, why: &str, now: Timestamp) -> Result<()> {
    let id = db.one(
        "UPDATE deliveries SET state = ?2, settled_at = ?3, due_at = NULL, lease = NULL, why = ?4 WHERE seq = ?1
         RETURNING id",
        params![seq, StateName::Dead.as_str(), Ms(now), why],
        |row| row.get::<_, String>("id"),
    )?;
    tracing::error!(delivery = id, why, "a delivery was given up unsent");
    Ok(())
}

/// How the targets stand, and when the first pending delivery of each wanted one is due.
pub(in crate::store) fn outlook(db: &Db, wanted: &[String]) -> Result<Outlook> {
    let due = db.all(
        "SELECT wanted.value AS target, (SELECT due_at FROM deliveries d WHERE d.target = wanted.value
           AND d.settled_at IS NULL AND d.state = 'pending' ORDER BY d.due_at LIMIT 1) AS due_at
         FROM json_each(?1) wanted",
        params![Json(wanted)],
        |row| Ok((row.get("target")?, time_or_none(row, "due_at")?)),
    )?;
    let due = due.into_iter().filter_map(|(target, due): (String, _)| Some((target, due?))).collect();
    Ok(Outlook { states: targets::list(db)?, due })
}

/// The earliest moment at which a claim for one of the targets would find something.
pub(in crate::store) fn next_due(db: &Db, wanted: &[String]) -> Result<Option<Timestamp>> {
    let standings = targets::standings(db)?;
    let mut next: Option<Timestamp> = None;
    for target in wanted {
        let standing = standings.get(target);
        if standing.is_some_and(|state| state.paused) {
            continue;
        }
        let due = db.one(
            "SELECT due_at FROM deliveries WHERE target = ?1 AND settled_at IS NULL
             ORDER BY due_at, created_at, seq LIMIT 1",
            params![target],
            |row| time(row, "due_at"),
        )?;
        let held_until = standing.and_then(|state| state.wait_until.max(state.parked_until));
        if let Some(due) = due.map(|due| held_until.map_or(due, |until| due.max(until))) {
            next = Some(next.map_or(due, |next| next.min(due)));
        }
    }
    Ok(next)
}
