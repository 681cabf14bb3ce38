//! What polling needs to know: how far each account got, which messages are known, names that were looked up.

use std::collections::HashSet;

use jiff::Timestamp;
use rusqlite::params;

use super::db::{Db, Json, Ms, time, time_or_none};
use crate::store::{AccountStatus, Cursor, NameKind, Quarantined, Result};

/// Where the account's polling stands.
pub(super) fn cursor(db: &Db, account: &str) -> Result<Cursor> {
    let cursor =
        db.one("SELECT floor, watermark FROM accounts WHERE name = ?1", params![account], |row| {
            Ok(Cursor { floor: time_or_none(row, "floor")?, watermark: time_or_none(row, "watermark")? })
        })?;
    Ok(cursor.unwrap_or_default())
}

/// Which of the uids are known.
pub(super) fn seen(db: &Db, account: &str, uids: &[String]) -> Result<HashSet<String>> {
    let known = db.all(
        "SELECT value AS uid FROM json_each(?2)
         WHERE EXISTS (SELECT 1 FROM messages m WHERE m.account = ?1 AND m.uid = value)
            OR EXISTS (SELECT 1 FROM quarantine q WHERE q.account = ?1 AND q.uid = value)",
        params![account, Json(uids)],
        |row| row.get("uid"),
    )?;
    Ok(known.into_iter().collect())
}

/// How many known uids were made within the period, both ends included.
pub(super) fn seen_between(db: &Db, account: &str, from: Timestamp, to: Timestamp) -> Result<u64> {
    let known = db.one(
        "SELECT (SELECT count(*) FROM messages WHERE account = ?1 AND created_at BETWEEN ?2 AND ?3)
              + (SELECT count(*) FROM quarantine q WHERE account = ?1 AND made_at BETWEEN ?2 AND ?3
                   AND NOT EXISTS (SELECT 1 FROM messages m WHERE m.account = ?1 AND m.uid = q.uid)) AS n",
        params![account, Ms(from), Ms(to)],
        |row| row.get::<_, i64>("n"),
    )?;
    Ok(known.and_then(|n| u64::try_from(n).ok()).unwrap_or(0))
}

/// Notes how a poll went.
pub(super) fn polled(
    db: &Db,
    account: &str,
    result: &std::result::Result<(), String>,
    now: Timestamp,
) -> Result<()> {
    let success = result.is_ok().then_some(Ms(now));
    db.run(
        "INSERT INTO accounts (name, last_success, error, polled) VALUES (?1, ?2, ?3, 1)
         ON CONFLICT DO UPDATE SET last_success = coalesce(excluded.last_success, last_success),
           error = excluded.error, polled = 1",
        params![account, success, result.as_ref().err()],
    )?;
    Ok(())
}

/// All accounts that were polled.
pub(super) fn accounts(db: &Db) -> Result<Vec<AccountStatus>> {
    db.all("SELECT * FROM accounts ORDER BY name", [], |row| {
        Ok(AccountStatus {
            name: row.get("name")?,
            cursor: Cursor { floor: time_or_none(row, "floor")?, watermark: time_or_none(row, "watermark")? },
            last_success: time_or_none(row, "last_success")?,
            error: row.get("error")?,
        })
    })
}

/// What is in quarantine, newest first.
pub(super) fn quarantine(db: &Db) -> Result<Vec<(String, Quarantined, Timestamp)>> {
    db.all("SELECT * FROM quarantine ORDER BY seen_at DESC, account, uid", [], |row| {
        let item = Quarantined {
            uid: row.get("uid")?,
            raw: row.get::<_, Json<serde_json::Value>>("raw")?.0,
            why: row.get("why")?,
        };
        Ok((row.get("account")?, item, time(row, "seen_at")?))
    })
}

/// A cached name and when it was fetched.
pub(super) fn name(
    db: &Db,
    account: &str,
    kind: NameKind,
    uid: &str,
) -> Result<Option<(serde_json::Value, Timestamp)>> {
    db.one(
        "SELECT value, fetched_at FROM names WHERE account = ?1 AND kind = ?2 AND uid = ?3",
        params![account, kind.as_str(), uid],
        |row| Ok((row.get::<_, Json<serde_json::Value>>("value")?.0, time(row, "fetched_at")?)),
    )
}

/// Caches names.
pub(super) fn keep_names(
    db: &Db,
    account: &str,
    names: &[(NameKind, String, serde_json::Value)],
    now: Timestamp,
) -> Result<()> {
    for (kind, uid, value) in names {
        db.run(
            "INSERT INTO names (account, kind, uid, value, fetched_at) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT DO UPDATE SET value = excluded.value, fetched_at = excluded.fetched_at",
            params![account, kind.as_str(), uid, Json(value), Ms(now)],
        )?;
    }
    Ok(())
}
