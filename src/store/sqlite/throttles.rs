//! How far limits are used up.

use jiff::Timestamp;
use rusqlite::params;

use super::db::{Db, Ms, time};
use crate::model::delivery::Planned;
use crate::model::group::Quota;
use crate::model::settle::after_now;
use crate::model::throttle::Window;
use crate::store::Result;
use crate::store::gathering::{Passed, pass};

/// Counts what is planned, and says what becomes of it.
pub(super) fn take(db: &Db, planned: &Planned, quota: &Quota, now: Timestamp) -> Result<Passed> {
    let recipient = planned.recipient.as_deref().unwrap_or_default();
    let window = db.one(
        "SELECT start, passed, held FROM throttles
         WHERE account = ?1 AND rule = ?2 AND target = ?3 AND recipient = ?4 AND key = ?5",
        params![planned.account, planned.rule, planned.target, recipient, quota.key],
        |row| Ok(Window { start: time(row, "start")?, passed: row.get("passed")?, held: row.get("held")? }),
    )?;
    let (Window { start, passed, held }, what) = pass(quota, window, now);
    db.run(
        "INSERT OR REPLACE INTO throttles (account, rule, target, recipient, key, start, until, passed, held)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        params![
            planned.account,
            planned.rule,
            planned.target,
            recipient,
            quota.key,
            Ms(start),
            Ms(after_now(start, quota.throttle.per)),
            passed,
            held
        ],
    )?;
    Ok(what)
}

/// Removes those whose time ended before the moment: what they held back is no news.
pub(super) fn forget(db: &Db, before: Timestamp) -> Result<()> {
    db.run("DELETE FROM throttles WHERE until < ?1", params![Ms(before)]).map(|_| ())
}
