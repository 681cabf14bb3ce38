//! Rules that people have silenced.

use jiff::Timestamp;
use rusqlite::{Row, params};

use super::db::{Db, Ms, time};
use crate::model::mute::Mute;
use crate::store::{Result, StoreError};

/// Silences a rule.
pub(super) fn mute(db: &Db, rule: &str, until: Timestamp, reason: &str, now: Timestamp) -> Result<Mute> {
    let made = db.one(
        "INSERT INTO mutes (rule, until, reason, created_at) VALUES (?1, ?2, ?3, ?4) RETURNING *",
        params![rule, Ms(until), reason, Ms(now)],
        read,
    )?;
    made.ok_or_else(|| StoreError::Corrupt("a mute was written and is not there".to_owned()))
}

/// Those that have not ended, the oldest first.
pub(super) fn mutes(db: &Db, now: Timestamp) -> Result<Vec<Mute>> {
    db.all("SELECT * FROM mutes WHERE until > ?1 ORDER BY id", params![Ms(now)], read)
}

/// Ends one; it is returned if it was there and had not ended.
pub(super) fn lift(db: &Db, id: i64, now: Timestamp) -> Result<Option<Mute>> {
    db.one("DELETE FROM mutes WHERE id = ?1 AND until > ?2 RETURNING *", params![id, Ms(now)], read)
}

/// Forgets those that ended before.
pub(super) fn forget(db: &Db, before: Timestamp) -> Result<()> {
    db.run("DELETE FROM mutes WHERE until < ?1", params![Ms(before)])?;
    Ok(())
}

fn read(row: &Row<'_>) -> rusqlite::Result<Mute> {
    Ok(Mute {
        id: row.get("id")?,
        rule: row.get("rule")?,
        until: time(row, "until")?,
        reason: row.get("reason")?,
        created_at: time(row, "created_at")?,
    })
}
