//! What makes deliveries good: the keys by which later messages can, and which message did.

use jiff::Timestamp;
use rusqlite::params;
use rusqlite::types::ToSqlOutput;

use super::db::{Db, Json, Ms};
use crate::model::delivery::Planned;
use crate::store::{Admitted, Result};

/// Columns of a key's row.
const COLUMNS: usize = 4;

/// Keys of deliveries that are not written yet.
#[derive(Debug, Default)]
pub(super) struct Keys {
    values: Vec<ToSqlOutput<'static>>,
}

impl Keys {
    /// Those of what a row was made for, or has taken in.
    pub(super) fn add(&mut self, seq: i64, planned: &Planned) {
        for key in &planned.good_by {
            let texts = [key, &planned.account, &planned.rule].map(|text| ToSqlOutput::from(text.clone()));
            self.values.push(seq.into());
            self.values.extend(texts);
        }
    }

    /// Writes them.
    pub(super) fn write(&mut self, db: &Db) -> Result<()> {
        let insert = ("INSERT OR IGNORE INTO resolutions (delivery, key, account, rule)", "(?, ?, ?, ?)", "");
        db.insert_all(insert, COLUMNS, &self.values)?;
        self.values.clear();
        Ok(())
    }
}

/// Notes what a message makes good: what was sent or waits, is all older than it, and is not about it.
pub(super) fn make_good(db: &Db, admitted: &Admitted, now: Timestamp) -> Result<()> {
    let message = &admitted.message;
    for makes in &admitted.makes_good {
        db.run(
            "UPDATE resolutions SET resolved_by = ?4, resolved_at = ?5
             WHERE account = ?1 AND rule IN (SELECT value FROM json_each(?2)) AND key = ?3 AND resolved_by IS NULL
               AND (SELECT state FROM deliveries WHERE seq = delivery) IN ('pending', 'sending', 'delivered')
               AND NOT EXISTS (SELECT 1 FROM delivery_messages dm JOIN messages m ON m.id = dm.message
                 WHERE dm.delivery = resolutions.delivery AND (m.created_at > ?6 OR m.uid = ?4))",
            params![
                message.account,
                Json(&makes.rules),
                makes.key,
                message.uid,
                Ms(now),
                Ms(message.created_at)
            ],
        )?;
    }
    Ok(())
}

/// What can be made good, or was, is so for its replay too.
pub(super) fn replay(db: &Db, seq: i64, replay: &str) -> Result<()> {
    db.run(
        "INSERT INTO resolutions (delivery, key, account, rule, resolved_by, resolved_at)
         SELECT (SELECT seq FROM deliveries WHERE id = ?2), key, account, rule, resolved_by, resolved_at
         FROM resolutions WHERE delivery = ?1",
        params![seq, replay],
    )
    .map(|_| ())
}
