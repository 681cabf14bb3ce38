//! Roles that one instance holds at a time, and which instances there are.

use std::collections::HashSet;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::params;

use super::db::{Db, Json, Ms, time};
use crate::model::rate::CLOCKS_APART_MAX;
use crate::model::settle::after_now;
use crate::store::{Hold, Instance, Result, StoreError};

/// Says that this instance is there; forgets those that said nothing for long.
pub(super) fn beat(db: &Db, host: &str, config: &str, gone_before: Timestamp, now: Timestamp) -> Result<()> {
    db.run("DELETE FROM instances WHERE seen_at < ?1", params![Ms(gone_before)])?;
    db.run(
        "INSERT INTO instances (id, host, started_at, seen_at, config) VALUES (?1, ?2, ?3, ?3, ?4)
         ON CONFLICT DO UPDATE SET seen_at = excluded.seen_at, config = excluded.config",
        params![db.instance(), host, Ms(now), config],
    )?;
    Ok(())
}

/// Takes what is free, keeps what is held; returns what this instance holds of it.
pub(super) fn hold(db: &Db, roles: &[String], ttl: Duration, now: Timestamp) -> Result<HashSet<String>> {
    let apart = i64::try_from(CLOCKS_APART_MAX.as_millis()).unwrap_or(i64::MAX);
    let held = db.all(
        "INSERT INTO holds (role, instance, until) SELECT value, ?2, ?3 FROM json_each(?1) WHERE true
         ON CONFLICT DO UPDATE SET instance = excluded.instance, until = excluded.until
         WHERE instance = excluded.instance OR until + ?5 <= ?4 RETURNING role",
        params![Json(roles), db.instance(), Ms(after_now(now, ttl)), Ms(now), apart],
        |row| row.get("role"),
    )?;
    Ok(held.into_iter().collect())
}

/// Gives roles up.
pub(super) fn let_go(db: &Db, roles: &[String]) -> Result<()> {
    db.run(
        "DELETE FROM holds WHERE instance = ?2 AND role IN (SELECT value FROM json_each(?1))",
        params![Json(roles), db.instance()],
    )?;
    Ok(())
}

/// Gives everything up and is forgotten, with those that said nothing for long.
pub(super) fn leave(db: &Db, gone_before: Timestamp) -> Result<()> {
    db.run("DELETE FROM holds WHERE instance = ?1", params![db.instance()])?;
    db.run("DELETE FROM instances WHERE id = ?1 OR seen_at < ?2", params![db.instance(), Ms(gone_before)])?;
    Ok(())
}

/// Fails unless this instance holds the role: whoever has taken it over is not written over.
pub(super) fn require(db: &Db, role: &str) -> Result<()> {
    let holder = db.one(
        "SELECT 1 AS held FROM holds WHERE role = ?1 AND instance = ?2",
        params![role, db.instance()],
        |row| row.get::<_, i64>("held"),
    )?;
    holder.map(|_| ()).ok_or_else(|| StoreError::RoleLost(role.to_owned()))
}

/// All that are held.
pub(super) fn holds(db: &Db) -> Result<Vec<Hold>> {
    db.all("SELECT role, instance, until FROM holds ORDER BY role", [], |row| {
        Ok(Hold { role: row.get("role")?, instance: row.get("instance")?, until: time(row, "until")? })
    })
}

/// The instances that are there.
pub(super) fn instances(db: &Db) -> Result<Vec<Instance>> {
    db.all("SELECT id, host, started_at, seen_at, config FROM instances ORDER BY started_at, id", [], |row| {
        Ok(Instance {
            id: row.get("id")?,
            host: row.get("host")?,
            started_at: time(row, "started_at")?,
            seen_at: time(row, "seen_at")?,
            config: row.get("config")?,
        })
    })
}
