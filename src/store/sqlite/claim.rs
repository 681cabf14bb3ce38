//! Claiming: what is due and may be sent gets a lease; what a dead process held is taken back.

use std::collections::HashMap;

use jiff::Timestamp;
use rusqlite::{Row, params};

use super::db::{Db, InOrder, Json, Ms, rows, state, time, time_or_none};
use super::settle;
use super::tally::{self, Tally};
use super::targets;
use crate::model::delivery::{Claim, Job, Lease, StateName};
use crate::model::id::DeliveryId;
use crate::model::settle::after_now;
use crate::store::ends::{EXPIRED, SWEEP_MAX, complete, fatal, lost_attempt};
use crate::store::gathering::gathered;
use crate::store::opening::{Openings, UnderWay, opening, stored};
use crate::store::{Claimed, Ended, Outlook, Result, StoreError, Want};

/// Claims for every want as much as its target may have.
pub(super) fn claim(db: &Db, wants: &[Want], now: Timestamp) -> Result<Claimed> {
    let mut claimed = Claimed::default();
    take_back_ended(db, now, &mut claimed.ended)?;
    expire(db, now, &mut claimed.ended)?;
    take(db, wants, now, &mut claimed)?;
    Ok(claimed)
}

/// Leases for every want as much as its target may have.
pub(super) fn take(db: &Db, wants: &[Want], now: Timestamp, claimed: &mut Claimed) -> Result<()> {
    if wants.is_empty() {
        return Ok(());
    }
    let (standings, sending) = (targets::standings(db)?, sending(db)?);
    let limits = wants.iter().map(|want| {
        let under_way = under_way(&sending, want);
        (want, opening(want, standings.get(&want.target), under_way, db.instance(), now))
    });
    let limits: Vec<(&Want, usize)> = limits.filter(|(_, limit)| *limit > 0).collect();
    if limits.is_empty() {
        return Ok(());
    }
    let suspect = suspect(db, &limits, now)?;
    for (want, limit) in limits {
        let state = standings.get(&want.target);
        let jobs = lease(db, (want, limit), suspect, now, &mut claimed.ended)?;
        if let (Some(state), Some(probe)) = (state, jobs.first())
            && state.parked_until.is_some()
        {
            targets::change(db, &want.target, |it| it.begin_probe(&probe.claim.lease))?;
        }
        if let Some(rate) = want.rate.filter(|_| !jobs.is_empty()) {
            let next = rate.taken(state.and_then(|state| state.next_slot), jobs.len(), now);
            targets::pace(db, &want.target, next)?;
        }
        claimed.jobs.extend(jobs);
    }
    Ok(())
}

/// How many of a want's target are under way: all of them here, as nobody else uses the file.
fn under_way(sending: &HashMap<String, usize>, want: &Want) -> UnderWay {
    UnderWay { all: sending.get(&want.target).copied().unwrap_or_default(), elsewhere: 0 }
}

/// How many deliveries of each target are under way.
fn sending(db: &Db) -> Result<HashMap<String, usize>> {
    let sending = db.all(
        "SELECT target, count(*) AS n FROM deliveries WHERE state = 'sending' GROUP BY target",
        [],
        |row| Ok((row.get("target")?, usize::try_from(row.get::<_, i64>("n")?).unwrap_or_default())),
    )?;
    Ok(sending.into_iter().collect())
}

/// Which of those that may have taken their holders down has its turn; none while another one is being sent.
fn suspect(db: &Db, limits: &[(&Want, usize)], now: Timestamp) -> Result<Option<i64>> {
    let targets: Vec<&str> = limits.iter().map(|(want, _)| want.target.as_str()).collect();
    db.one(
        "SELECT seq FROM deliveries WHERE starts - attempts >= 2 AND state = 'pending' AND due_at <= ?2
           AND target IN (SELECT value FROM json_each(?1))
           AND NOT EXISTS (SELECT 1 FROM deliveries WHERE starts - attempts >= 2 AND state = 'sending'
             AND starts - attempts > 2)
         ORDER BY due_at, created_at, seq LIMIT 1",
        params![Json(targets), Ms(now)],
        |row| row.get("seq"),
    )
}

/// What may be leased of a page while it is taken in.
pub(super) fn openings(db: &Db, wants: &[Want], now: Timestamp) -> Result<Openings> {
    if wants.is_empty() {
        return Ok(Openings::default());
    }
    let targets: Vec<&str> = wants.iter().map(|want| want.target.as_str()).collect();
    let quiet = db.all(
        "SELECT value FROM json_each(?1) WHERE NOT EXISTS (SELECT 1 FROM deliveries d
           WHERE d.target = value AND d.settled_at IS NULL AND d.state = 'pending' AND d.due_at <= ?2)",
        params![Json(targets), Ms(now)],
        |row| row.get::<_, String>(0),
    )?;
    let (standings, sending) = (targets::standings(db)?, sending(db)?);
    let mut openings = Openings::new(db.next_tokens());
    for want in wants.iter().filter(|want| quiet.contains(&want.target)) {
        openings.add(want, standings.get(&want.target), under_way(&sending, want), db.instance(), now);
    }
    Ok(openings)
}

/// Leases the first `limit` due deliveries of a target, and of the suspects only the one that has its turn.
fn lease(
    db: &Db,
    (want, limit): (&Want, usize),
    suspect: Option<i64>,
    now: Timestamp,
    ended: &mut Vec<Ended>,
) -> Result<Vec<Job>> {
    let found = db.all(
        &format!("SELECT {FOUND} FROM deliveries d LEFT JOIN payloads p ON p.delivery = d.seq AND p.plain = d.plain
         WHERE d.target = ?1 AND d.settled_at IS NULL AND d.due_at <= ?2 AND d.state = 'pending'
           AND (d.starts - d.attempts < 2 OR d.seq = ?4)
         ORDER BY d.due_at, d.created_at, d.seq LIMIT ?3"),
        params![want.target, Ms(now), rows(limit), suspect],
        found,
    )?;
    if found.is_empty() {
        return Ok(Vec::new());
    }
    let until = stored(after_now(now, want.lease));
    let seqs: Vec<i64> = found.iter().map(|(seq, ..)| *seq).collect();
    let tokens = db.next_tokens();
    db.run(
        "UPDATE deliveries SET state = 'sending', lease = ?4 || seq, due_at = ?2, claimed_at = ?3,
           starts = starts + 1
         WHERE seq IN (SELECT value FROM json_each(?1))",
        params![Json(&seqs), Ms(until), Ms(now), tokens],
    )?;
    let mut tally = Tally::default();
    tally.moved(&want.target, StateName::Pending, StateName::Sending, found.len());
    tally.write(db)?;
    let mut messages = messages_of(db, &seqs)?;
    let mut jobs = Vec::with_capacity(found.len());
    for (seq, mut job, payload, notice) in found {
        job.claim.lease = Lease { token: format!("{tokens}{seq}"), until };
        // What took a predecessor down too often was only taken back at the start: there was nobody to be told.
        let fatal = fatal(job.claim.starts.saturating_sub(1), job.claim.attempts);
        let messages = messages.remove(&seq).unwrap_or_default();
        let read = || complete(&mut job, messages, payload, notice);
        match fatal.map_or_else(read, Err) {
            Ok(()) => jobs.push(job),
            Err(why) => ended.push(bury(db, seq, &why, now)?),
        }
    }
    Ok(jobs)
}

/// What a claimable row says, its JSON still unread: one row that cannot be read must not stop the others.
type Found = (i64, Job, Option<String>, Option<String>);

/// What [`found`] reads, in its order.
const FOUND: &str = "d.seq, d.id, d.attempts, d.starts, d.created_at, d.first_due, d.account, d.rule, d.target, d.recipient,
  d.template, d.plain, d.expires_at, d.replay_of, d.group_key, d.window_from, d.window_to, d.throttled, p.payload, d.notice";

fn found(row: &Row<'_>) -> rusqlite::Result<Found> {
    let mut columns = InOrder::of(row);
    let seq = columns.next()?;
    let claim = Claim {
        id: DeliveryId::from_text(columns.next::<String>()?),
        attempts: columns.next()?,
        starts: columns.next::<u32>()?.saturating_add(1),
        lease: Lease { token: String::new(), until: Timestamp::UNIX_EPOCH },
    };
    let created_at = columns.time()?;
    let first_due = columns.time_or_none()?.unwrap_or(created_at);
    let job = Job {
        claim,
        created_at,
        first_due,
        account: columns.next()?,
        rule: columns.next()?,
        target: columns.next()?,
        recipient: columns.next()?,
        template: columns.next()?,
        messages: Vec::new(),
        notice: None,
        payload: None,
        plain: columns.next()?,
        expires_at: columns.time_or_none()?,
        replay_of: columns.next::<Option<String>>()?.map(DeliveryId::from_text),
        gathered: gathered(
            columns.next::<Option<String>>()?.as_deref(),
            columns.time_or_none()?,
            columns.time_or_none()?,
            first_due,
        ),
        throttled: columns.next()?,
    };
    Ok((seq, job, columns.next()?, columns.next()?))
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
fn expire(db: &Db, now: Timestamp, ended: &mut Vec<Ended>) -> Result<()> {
    let expired = db.all(
        "UPDATE deliveries SET state = 'expired', settled_at = ?1, due_at = NULL, why = ?3
         WHERE seq IN (SELECT seq FROM deliveries WHERE settled_at IS NULL AND expires_at IS NOT NULL
           AND expires_at <= ?1 AND state = 'pending' ORDER BY expires_at LIMIT ?2)
         RETURNING id, rule, target, state, why",
        params![Ms(now), rows(SWEEP_MAX), EXPIRED],
        ended_row,
    )?;
    let mut tally = Tally::default();
    for one in &expired {
        tally.moved(&one.target, StateName::Pending, StateName::Expired, 1);
    }
    ended.extend(expired);
    tally.write(db)
}

fn ended_row(row: &Row<'_>) -> rusqlite::Result<Ended> {
    Ok(Ended {
        id: DeliveryId::from_text(row.get::<_, String>("id")?),
        rule: row.get("rule")?,
        target: row.get("target")?,
        state: state(row)?,
        why: row.get("why")?,
    })
}

/// Takes back what is leased by somebody who did not settle in time.
fn take_back_ended(db: &Db, now: Timestamp, ended: &mut Vec<Ended>) -> Result<()> {
    let late = db.all(
        "SELECT seq, attempts, starts FROM deliveries WHERE state = 'sending' AND due_at <= ?1
         ORDER BY due_at LIMIT ?2",
        params![Ms(now), rows(SWEEP_MAX)],
        held,
    )?;
    for held in late {
        give_back(db, &held, Some(now))?;
        // Dead, if it took its holders down too often.
        let buried = fatal(held.starts, held.attempts).map(|why| bury(db, held.seq, &why, now));
        ended.extend(buried.transpose()?);
    }
    Ok(())
}

/// Takes back every lease and role, whoever holds it: only for the one who has just become the store's only user.
pub(super) fn take_over(db: &Db) -> Result<()> {
    db.batch("BEGIN IMMEDIATE")?;
    let all = || {
        db.batch("DELETE FROM holds; DELETE FROM instances; UPDATE targets SET paced_by = NULL")?;
        let held =
            db.all("SELECT seq, attempts, starts FROM deliveries WHERE state = 'sending'", [], held)?;
        // A probe that was under way is as lost as the rest: the next one may go at once.
        db.run(
            "UPDATE targets SET probe = NULL, parked_until = coalesce((SELECT claimed_at FROM deliveries
               WHERE state = 'sending' AND lease = targets.probe), parked_until)
             WHERE probe IS NOT NULL",
            [],
        )?;
        for held in held {
            give_back(db, &held, None)?;
        }
        db.batch("COMMIT")
    };
    let result = all();
    if result.is_err() && !db.is_idle() {
        // The error that counts is the first one.
        let _ = db.batch("ROLLBACK");
    }
    result
}

/// Takes back, unattempted, what was leased by claims after the first `answered` of this store: nobody was told of them, as
/// their commit was said to have failed.
pub(super) fn take_back_untold(db: &Db, answered: u64) -> Result<()> {
    let held =
        db.all("SELECT seq, lease, claimed_at, target FROM deliveries WHERE state = 'sending'", [], |row| {
            let (seq, lease): (i64, String) = (row.get("seq")?, row.get("lease")?);
            Ok((seq, lease, time(row, "claimed_at")?, row.get::<_, String>("target")?))
        })?;
    for (seq, token, claimed_at, target) in held {
        if db.claim_of(&token).is_some_and(|claim| claim > answered) {
            db.run(
                "UPDATE deliveries SET state = 'pending', lease = NULL, due_at = created_at, starts = starts - 1
                 WHERE seq = ?1",
                params![seq],
            )?;
            tally::moved(db, &target, StateName::Sending, StateName::Pending)?;
            targets::end_probe(db, &token, claimed_at)?;
        }
    }
    Ok(())
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

/// Due at once and before what came later. Without `now` the moment of the claim stands for the end of the attempt,
/// which nobody knows.
fn give_back(db: &Db, held: &Held, now: Option<Timestamp>) -> Result<()> {
    let row = db.one(
        "UPDATE deliveries SET state = 'pending', lease = NULL, due_at = created_at, maybe_duplicate = 1
         WHERE seq = ?1 RETURNING claimed_at, created_at, target",
        params![held.seq],
        |row| {
            let target: String = row.get("target")?;
            Ok((time_or_none(row, "claimed_at")?, time(row, "created_at")?, target))
        },
    )?;
    let Some((claimed_at, created_at, target)) = row else {
        return Err(StoreError::Corrupt(format!("row {} of deliveries is gone", held.seq)));
    };
    tally::moved(db, &target, StateName::Sending, StateName::Pending)?;
    let at = now.or(claimed_at).unwrap_or(created_at);
    settle::record(db, &[(held.seq, &lost_attempt(at))])
}

fn bury(db: &Db, seq: i64, why: &str, now: Timestamp) -> Result<Ended> {
    let from = db.one("SELECT state FROM deliveries WHERE seq = ?1", params![seq], state)?;
    let ended = db.one(
        "UPDATE deliveries SET state = ?2, settled_at = ?3, due_at = NULL, lease = NULL, why = ?4 WHERE seq = ?1
         RETURNING id, rule, target, state, why",
        params![seq, StateName::Dead.as_str(), Ms(now), why],
        ended_row,
    )?;
    let gone = || StoreError::Corrupt(format!("row {seq} of deliveries is gone"));
    let (from, ended) = from.zip(ended).ok_or_else(gone)?;
    tally::moved(db, &ended.target, from, StateName::Dead)?;
    Ok(ended)
}

/// How the targets stand, and when the first pending delivery of each wanted one is due; suspects that wait for
/// another one's end are not.
pub(super) fn outlook(db: &Db, wanted: &[String]) -> Result<Outlook> {
    let due = db.all(
        "SELECT wanted.value AS target, (SELECT due_at FROM deliveries d WHERE d.target = wanted.value
           AND d.settled_at IS NULL AND d.state = 'pending'
           AND (d.starts - d.attempts < 2 OR NOT EXISTS (SELECT 1 FROM deliveries
             WHERE starts - attempts >= 2 AND state = 'sending' AND starts - attempts > 2))
           ORDER BY d.due_at LIMIT 1) AS due_at
         FROM json_each(?1) wanted",
        params![Json(wanted)],
        |row| Ok((row.get("target")?, time_or_none(row, "due_at")?)),
    )?;
    let due = due.into_iter().filter_map(|(target, due): (String, _)| Some((target, due?))).collect();
    Ok(Outlook { states: targets::list(db)?, due, sending: sending(db)? })
}

/// The earliest moment at which a claim for one of the targets would find something.
pub(super) fn next_due(db: &Db, wanted: &[String]) -> Result<Option<Timestamp>> {
    let standings = targets::standings(db)?;
    let mut next: Option<Timestamp> = None;
    for target in wanted {
        let standing = standings.get(target);
        if standing.is_some_and(|state| state.paused) {
            continue;
        }
        let due = db.one(
            "SELECT min(due_at) AS due_at FROM (
               SELECT min(due_at) AS due_at FROM deliveries WHERE target = ?1 AND state = 'pending'
               UNION ALL SELECT min(due_at) FROM deliveries WHERE target = ?1 AND state = 'sending')",
            params![target],
            |row| time_or_none(row, "due_at"),
        )?;
        let due = due.flatten();
        let held_until = standing.and_then(|state| state.wait_until.max(state.parked_until));
        if let Some(due) = due.map(|due| held_until.map_or(due, |until| due.max(until))) {
            next = Some(next.map_or(due, |next| next.min(due)));
        }
    }
    Ok(next)
}
