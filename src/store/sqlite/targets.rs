//! Targets that are not simply ready: paused by a person, told to wait, or parked.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;
use rusqlite::{Row, params};

use super::db::{Db, Ms, time_or_none};
use crate::store::standing::Standing;
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
    db.all("SELECT * FROM targets ORDER BY name", [], |row| Ok(standing(row)?.state))
}

fn standing(row: &Row<'_>) -> rusqlite::Result<Standing> {
    let state = TargetState {
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
    };
    Ok(Standing { state, probe: row.get("probe")? })
}

/// Changes how one target stands, and passes on what is said of the change.
pub(super) fn change<T>(db: &Db, target: &str, apply: impl FnOnce(&mut Standing) -> T) -> Result<T> {
    let before = db.one("SELECT * FROM targets WHERE name = ?1", params![target], standing)?;
    let mut after = before.clone().unwrap_or_else(|| Standing::ready(target));
    let said = apply(&mut after);
    if !after.is_ready() {
        if before.as_ref() != Some(&after) {
            write(db, &after)?;
        }
    } else if before.is_some() {
        db.run("DELETE FROM targets WHERE name = ?1", params![target])?;
    }
    Ok(said)
}

fn write(db: &Db, Standing { state, probe }: &Standing) -> Result<()> {
    db.run(
        "INSERT OR REPLACE INTO targets (name, paused, wait_until, parked_until, probes, probe, reason, next_slot,
           paced_by, failing_since, recovered_at, failures)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        params![
            state.name,
            state.paused,
            state.wait_until.map(Ms),
            state.parked_until.map(Ms),
            state.probes,
            probe,
            state.reason,
            state.next_slot.map(Ms),
            state.paced_by,
            state.failing_since.map(Ms),
            state.recovered_at.map(Ms),
            state.failures
        ],
    )?;
    Ok(())
}

/// The claim with this lease ended without a word on the health of the target that it tried, if it did.
pub(super) fn end_probe(db: &Db, token: &str, now: Timestamp) -> Result<()> {
    let tried = db.one("SELECT name FROM targets WHERE probe = ?1", params![token], |row| {
        row.get::<_, String>("name")
    })?;
    tried.map_or(Ok(()), |name| change(db, &name, |standing| standing.end_probe(Some(token), Some(now))))
}

/// What the sends that start leave of the target's rate: written at each of them, and of nothing else.
pub(super) fn pace(db: &Db, target: &str, next: Timestamp) -> Result<()> {
    db.run(
        "INSERT INTO targets (name, next_slot, paced_by) VALUES (?1, ?2, ?3)
         ON CONFLICT DO UPDATE SET next_slot = excluded.next_slot, paced_by = excluded.paced_by",
        params![target, Ms(next), db.instance()],
    )?;
    Ok(())
}

/// A person pauses the target, or resumes it whatever held it: what the target itself had turned away is due at once,
/// and before what came later.
pub(super) fn pause(db: &Db, target: &str, paused: bool, reason: &str) -> Result<()> {
    if paused {
        return change(db, target, |standing| standing.pause(reason));
    }
    change(db, target, Standing::resume)?;
    put_in_order(db, target)
}

/// What the target itself had turned away is due at once, and before what came later.
pub(super) fn put_in_order(db: &Db, target: &str) -> Result<()> {
    db.run(
        "UPDATE deliveries SET due_at = created_at WHERE seq IN (
           SELECT d.seq FROM deliveries d
           WHERE d.target = ?1 AND d.state = 'pending' AND d.due_at > d.created_at
             AND (SELECT outcome FROM attempts WHERE delivery = d.seq ORDER BY n DESC LIMIT 1)
               IN ('busy', 'target_broken'))",
        params![target],
    )?;
    Ok(())
}
