//! Targets that are not simply ready: their rows, changed by one transaction at a time.

use std::collections::BTreeMap;

use jiff::Timestamp;
use tokio_postgres::Row;

use super::Postgres;
use super::connect::{query, transact};
use super::tx::{Tx, get, ms, number, text, text_or_none, time_or_none};
use crate::model::settle::TargetChange;
use crate::store::standing::Standing;
use crate::store::{Result, TargetState};

/// Tells the locks of targets from those that other programs take in the same database.
const LOCKS: i64 = 0x74_61_72_67_65_74;

impl Postgres {
    /// The standing of all targets that are not simply ready.
    pub(in crate::store) async fn target_states(&self) -> Result<Vec<TargetState>> {
        query!(self.db, |tx| all(tx).await)
    }

    /// Applies a change of a target outside of settling.
    pub(in crate::store) async fn change_target(
        &self,
        target: &str,
        change: TargetChange,
        reason: &str,
    ) -> Result<()> {
        transact!(self.db, |tx| {
            let apply = |standing: &mut Standing| {
                standing.apply(change, reason, None, None);
            };
            self::change(tx, target, apply).await
        })
    }

    /// A person pauses the target, or resumes it whatever held it: what the target itself had turned away is due at
    /// once, and before what came later.
    pub(in crate::store) async fn pause_target(
        &self,
        target: &str,
        paused: bool,
        reason: &str,
    ) -> Result<()> {
        transact!(self.db, |tx| {
            if paused {
                return change(tx, target, |standing| standing.pause(reason)).await;
            }
            change(tx, target, Standing::resume).await?;
            put_in_order(tx, target).await
        })
    }

    /// What queued up during a target's trouble has been looked at.
    pub(in crate::store) async fn recovery_seen(&self, target: &str) -> Result<()> {
        transact!(self.db, |tx| change(tx, target, Standing::recovery_seen).await)
    }
}

/// What the target itself had turned away is due at once, and before what came later. The target's lock is held; what another
/// session is at is left to that one.
pub(super) async fn put_in_order(tx: &Tx<'_>, target: &str) -> Result<()> {
    tx.run(
        "WITH held AS MATERIALIZED (
           SELECT d.seq FROM deliveries d WHERE d.target = $1 AND d.state = 'pending' AND d.due_at > d.created_at
             AND (SELECT outcome FROM attempts WHERE delivery = d.seq ORDER BY n DESC LIMIT 1)
               IN ('busy', 'target_broken')
           FOR UPDATE SKIP LOCKED)
         UPDATE deliveries d SET due_at = created_at FROM held WHERE d.seq = held.seq",
        &[&text(target)],
    )
    .await
    .map(|_| ())
}

/// Changes one target.
async fn change(tx: &Tx<'_>, target: &str, apply: impl FnOnce(&mut Standing)) -> Result<()> {
    lock(tx, &[target]).await?;
    let mut standings = Standings::read(tx, &[target]).await?;
    apply(standings.of_mut(target));
    standings.write(tx).await
}

/// Keeps everybody else from claiming for these targets, and from changing them, to the transaction's end. Taken before
/// any row is, and in the same order by everybody.
pub(super) async fn lock(tx: &Tx<'_>, targets: &[&str]) -> Result<()> {
    if targets.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = targets.iter().copied().map(text).collect();
    tx.run(
        "SELECT pg_advisory_xact_lock(key) FROM (
           SELECT DISTINCT hashtextextended(name, $2) AS key FROM unnest($1::text[]) AS t (name) ORDER BY 1) AS keys",
        &[&names, &LOCKS],
    )
    .await
    .map(|_| ())
}

/// All targets that have a row, in the order of their names.
pub(super) async fn all(tx: &Tx<'_>) -> Result<Vec<TargetState>> {
    let rows = tx.all("SELECT * FROM targets ORDER BY name", &[]).await?;
    rows.iter().map(|row| Ok(standing(row)?.state)).collect()
}

fn standing(row: &Row) -> Result<Standing> {
    let state = TargetState {
        name: get(row, "name")?,
        paused: get(row, "paused")?,
        wait_until: time_or_none(row, "wait_until")?,
        parked_until: time_or_none(row, "parked_until")?,
        reason: get(row, "reason")?,
        probes: number(row, "probes")?,
        next_slot: time_or_none(row, "next_slot")?,
        paced_by: get(row, "paced_by")?,
        failing_since: time_or_none(row, "failing_since")?,
        recovered_at: time_or_none(row, "recovered_at")?,
        failures: number(row, "failures")?,
    };
    Ok(Standing { state, probe: get(row, "probe")? })
}

/// The standings of some targets: as they are, and as they are to be.
#[derive(Debug, Default)]
pub(super) struct Standings {
    /// As they were read.
    before: BTreeMap<String, Standing>,
    /// As they are to be, where somebody asked to change them.
    after: BTreeMap<String, Standing>,
}

impl Standings {
    /// Reads them; to change them, their locks have to be held.
    pub(super) async fn read(tx: &Tx<'_>, targets: &[&str]) -> Result<Self> {
        let names: Vec<_> = targets.iter().copied().map(text).collect();
        let rows = tx.all("SELECT * FROM targets WHERE name = ANY ($1)", &[&names]).await?;
        let mut before = BTreeMap::new();
        for row in &rows {
            let standing = standing(row)?;
            before.insert(standing.state.name.clone(), standing);
        }
        Ok(Self { before, after: BTreeMap::new() })
    }

    /// One of them as it is to be; `None` where it has no row.
    pub(super) fn now(&self, target: &str) -> Option<&Standing> {
        self.after.get(&*text(target)).or_else(|| self.of(target))
    }

    /// One of them as it was read; `None` where it has no row.
    pub(super) fn of(&self, target: &str) -> Option<&Standing> {
        self.before.get(&*text(target))
    }

    /// One of them, to be changed.
    pub(super) fn of_mut(&mut self, target: &str) -> &mut Standing {
        let name = text(target);
        let before = self.before.get(&*name);
        let ready = || before.cloned().unwrap_or_else(|| Standing::ready(&name));
        self.after.entry(name.clone().into_owned()).or_insert_with(ready)
    }

    /// Writes what was changed.
    pub(super) async fn write(&self, tx: &Tx<'_>) -> Result<()> {
        let ready = self.after.values().filter(|standing| standing.is_ready());
        let gone: Vec<&str> = ready
            .map(|standing| standing.state.name.as_str())
            .filter(|name| self.before.contains_key(*name))
            .collect();
        if !gone.is_empty() {
            tx.run("DELETE FROM targets WHERE name = ANY ($1)", &[&gone]).await?;
        }
        let changed = |standing: &&Standing| self.before.get(&standing.state.name) != Some(*standing);
        let kept = self.after.values().filter(|standing| !standing.is_ready()).filter(changed);
        let kept: Vec<&Standing> = kept.collect();
        if kept.is_empty() {
            return Ok(());
        }
        let times = |of: fn(&TargetState) -> Option<Timestamp>| -> Vec<Option<i64>> {
            kept.iter().map(|standing| of(&standing.state).map(ms)).collect()
        };
        let names: Vec<&str> = kept.iter().map(|standing| standing.state.name.as_str()).collect();
        let paused: Vec<bool> = kept.iter().map(|standing| standing.state.paused).collect();
        let probes = kept.iter().map(|standing| i32::try_from(standing.state.probes).unwrap_or(i32::MAX));
        let failures = kept.iter().map(|one| i32::try_from(one.state.failures).unwrap_or(i32::MAX));
        let probe: Vec<Option<&str>> = kept.iter().map(|standing| standing.probe.as_deref()).collect();
        let paced_by: Vec<Option<&str>> = kept.iter().map(|one| one.state.paced_by.as_deref()).collect();
        let reasons = kept.iter().map(|standing| text_or_none(standing.state.reason.as_deref()));
        tx.run(
            "INSERT INTO targets (name, paused, wait_until, parked_until, probes, probe, reason, next_slot,
               failing_since, recovered_at, failures, paced_by)
             SELECT * FROM unnest($1::text[], $2::boolean[], $3::bigint[], $4::bigint[], $5::integer[],
               $6::text[], $7::text[], $8::bigint[], $9::bigint[], $10::bigint[], $11::integer[],
               $12::text[])
             ON CONFLICT (name) DO UPDATE SET paused = excluded.paused, wait_until = excluded.wait_until,
               parked_until = excluded.parked_until, probes = excluded.probes, probe = excluded.probe,
               reason = excluded.reason, next_slot = excluded.next_slot,
               failing_since = excluded.failing_since, recovered_at = excluded.recovered_at,
               failures = excluded.failures, paced_by = excluded.paced_by",
            &[
                &names,
                &paused,
                &times(|state| state.wait_until),
                &times(|state| state.parked_until),
                &probes.collect::<Vec<_>>(),
                &probe,
                &reasons.collect::<Vec<_>>(),
                &times(|state| state.next_slot),
                &times(|state| state.failing_since),
                &times(|state| state.recovered_at),
                &failures.collect::<Vec<_>>(),
                &paced_by,
            ],
        )
        .await
        .map(|_| ())
    }
}
