//! Targets that are not simply ready: paused by a person, told to wait, or parked.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;
use rusqlite::{Row, params};

use super::db::{Db, Ms, time_or_none};
use crate::model::delivery::Lease;
use crate::model::settle::TargetChange;
use crate::store::{Result, TargetState};

/// All targets that have a row, by name.
pub(super) fn standings(db: &Db) -> Result<HashMap<String, TargetState>> {
    Ok(list(db)?.into_iter().map(|state| (state.name.clone(), state)).collect())
}

/// The targets that are parked, wait or took nothing for a while.
pub(super) fn troubled(db: &Db) -> Result<HashSet<String>> {
    let troubled = db.all(
        "SELECT name FROM targets
         WHERE wait_until IS NOT NULL OR parked_until IS NOT NULL OR failing_since IS NOT NULL",
        [],
        |row| row.get(0),
    )?;
    Ok(troubled.into_iter().collect())
}

/// All targets that have a row, in the order of their names.
pub(super) fn list(db: &Db) -> Result<Vec<TargetState>> {
    db.all("SELECT * FROM targets ORDER BY name", [], |row: &Row<'_>| {
        Ok(TargetState {
            name: row.get("name")?,
            paused: row.get("paused")?,
            wait_until: time_or_none(row, "wait_until")?,
            parked_until: time_or_none(row, "parked_until")?,
            reason: row.get("reason")?,
            probes: row.get("probes")?,
            next_slot: time_or_none(row, "next_slot")?,
            paced_by: row.get("paced_by")?,
            failing_since: time_or_none(row, "failing_since")?,
            recovered_at: time_or_none(row, "recovered_at")?,
            failures: row.get("failures")?,
        })
    })
}

/// Applies what follows from an attempt, or from anything else that knows (`token` and `now` are the attempt's).
/// `true` if the target is parked by it and was not before, or was and no longer is.
pub(super) fn change(
    db: &Db,
    target: &str,
    change: TargetChange,
    reason: &str,
    token: Option<&str>,
    now: Option<Timestamp>,
) -> Result<bool> {
    match change {
        TargetChange::None => {
            if let (Some(token), Some(now)) = (token, now) {
                end_probe(db, token, now)?;
            }
            Ok(false)
        }
        TargetChange::Failing { rest_until } => {
            if let (Some(token), Some(now)) = (token, now) {
                end_probe(db, token, now)?;
                failing(db, target, now)?;
            }
            if let Some(until) = rest_until {
                pause_until(db, target, until, reason)?;
            }
            Ok(false)
        }
        TargetChange::Pause { until } => {
            if let (Some(token), Some(now)) = (token, now) {
                end_probe(db, token, now)?;
            }
            pause_until(db, target, until, reason)?;
            Ok(false)
        }
        TargetChange::Park { probe_at } => {
            if let Some(now) = now {
                failing(db, target, now)?;
            }
            park(db, target, probe_at, reason, token)
        }
        TargetChange::Healthy => healthy(db, target, now),
    }
}

fn pause_until(db: &Db, target: &str, until: Timestamp, reason: &str) -> Result<()> {
    db.run(
        "INSERT INTO targets (name, wait_until, reason) VALUES (?1, ?2, ?3)
         ON CONFLICT DO UPDATE SET wait_until = max(coalesce(wait_until, 0), excluded.wait_until),
           reason = iif(paused OR parked_until IS NOT NULL, reason, excluded.reason)",
        params![target, Ms(until), reason],
    )?;
    Ok(())
}

/// Notes since when the target takes nothing.
fn failing(db: &Db, target: &str, now: Timestamp) -> Result<()> {
    db.run(
        "INSERT INTO targets (name, failing_since, failures) VALUES (?1, ?2, 1)
         ON CONFLICT DO UPDATE SET failing_since = coalesce(failing_since, excluded.failing_since),
           recovered_at = NULL, failures = failures + 1",
        params![target, Ms(now)],
    )?;
    Ok(())
}

/// What queued up during the trouble has been looked at.
pub(super) fn recovery_seen(db: &Db, target: &str) -> Result<()> {
    db.run(
        "UPDATE targets SET failing_since = NULL, recovered_at = NULL WHERE name = ?1 AND recovered_at IS NOT NULL",
        params![target],
    )?;
    forget_ready(db, target)
}

/// What the sends that start leave of the target's rate.
pub(super) fn pace(db: &Db, target: &str, next: Timestamp) -> Result<()> {
    db.run(
        "INSERT INTO targets (name, next_slot, paced_by) VALUES (?1, ?2, ?3)
         ON CONFLICT DO UPDATE SET next_slot = excluded.next_slot, paced_by = excluded.paced_by",
        params![target, Ms(next), db.instance()],
    )?;
    Ok(())
}

/// Parks, or moves the next probe after one that failed. An attempt that was already under way when the
/// target was parked says nothing new: it neither counts as a probe nor moves one.
fn park(db: &Db, target: &str, probe_at: Timestamp, reason: &str, token: Option<&str>) -> Result<bool> {
    let probes = db.one(
        "INSERT INTO targets (name, parked_until, probes, reason) VALUES (?1, ?2, 1, ?3)
         ON CONFLICT DO UPDATE SET parked_until = excluded.parked_until, probes = probes + 1, probe = NULL,
           reason = iif(paused, reason, excluded.reason)
         WHERE parked_until IS NULL OR ?4 IS NULL OR probe = ?4 RETURNING probes",
        params![target, Ms(probe_at), reason, token],
        |row| row.get::<_, u32>("probes"),
    )?;
    Ok(probes == Some(1))
}

/// It took a message: no longer parked. A wait it asked for is kept to its end, because an attempt that was
/// under way before the 429 may well succeed after it.
fn healthy(db: &Db, target: &str, now: Option<Timestamp>) -> Result<bool> {
    // Most targets are healthy and have no row.
    let parked = db.one(
        "SELECT parked_until IS NOT NULL AS parked FROM targets WHERE name = ?1",
        params![target],
        |row| row.get::<_, bool>("parked"),
    )?;
    let Some(parked) = parked else { return Ok(false) };
    db.run(
        "UPDATE targets SET parked_until = NULL, probe = NULL, probes = 0,
           wait_until = iif(?2 IS NULL OR wait_until <= ?2, NULL, wait_until),
           failures = 0, recovered_at = iif(failing_since IS NULL, NULL, coalesce(recovered_at, ?2)),
           reason = iif(paused OR wait_until > ?2, reason, NULL)
         WHERE name = ?1",
        params![target, now.map(Ms)],
    )?;
    forget_ready(db, target)?;
    Ok(parked)
}

/// A person pauses the target, or resumes it whatever held it: what the target itself had turned away is due at once,
/// and before what came later.
pub(super) fn pause(db: &Db, target: &str, paused: bool, reason: &str) -> Result<()> {
    if paused {
        db.run(
            "INSERT INTO targets (name, paused, reason) VALUES (?1, 1, ?2)
             ON CONFLICT DO UPDATE SET paused = 1, reason = excluded.reason",
            params![target, reason],
        )?;
    } else {
        db.run(
            "UPDATE deliveries SET due_at = created_at WHERE seq IN (
               SELECT d.seq FROM deliveries d
               WHERE d.target = ?1 AND d.settled_at IS NULL AND d.state = 'pending'
                 AND (SELECT outcome FROM attempts WHERE delivery = d.seq ORDER BY n DESC LIMIT 1)
                   IN ('busy', 'target_broken'))",
            params![target],
        )?;
        db.run(
            "UPDATE targets SET paused = 0, wait_until = NULL, parked_until = NULL, probe = NULL, probes = 0,
               failures = 0, reason = NULL
             WHERE name = ?1",
            params![target],
        )?;
        forget_ready(db, target)?;
    }
    Ok(())
}

fn forget_ready(db: &Db, target: &str) -> Result<()> {
    db.run(
        "DELETE FROM targets WHERE name = ?1 AND NOT paused AND wait_until IS NULL AND parked_until IS NULL
           AND next_slot IS NULL AND failing_since IS NULL",
        params![target],
    )?;
    Ok(())
}

/// The claim that tries a parked target: until its lease ends there is no second one.
pub(super) fn probe(db: &Db, target: &str, lease: &Lease) -> Result<()> {
    db.run(
        "UPDATE targets SET probe = ?2, parked_until = ?3 WHERE name = ?1",
        params![target, lease.token, Ms(lease.until)],
    )?;
    Ok(())
}

/// The probe ended without a word on the target's health: the next may go at once.
pub(super) fn end_probe(db: &Db, token: &str, now: Timestamp) -> Result<()> {
    db.run("UPDATE targets SET probe = NULL, parked_until = ?2 WHERE probe = ?1", params![token, Ms(now)])?;
    Ok(())
}
