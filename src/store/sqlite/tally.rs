//! Counting: how many deliveries of a target stand where, and how many messages of each kind came. Kept up by whoever changes
//! a state, in the transaction that does and once for a whole batch: a trigger makes SQLite keep a copy of each page that
//! the statement changes. `writer.rs` holds the figures against the rows in all builds that check assertions.

use std::collections::BTreeMap;

use rusqlite::params;

use super::db::{Db, rows};
use crate::model::delivery::StateName;
use crate::model::message::Triple;
use crate::store::Result;

/// Changes of counts that are not written yet.
#[derive(Debug, Default)]
pub(super) struct Tally {
    states: BTreeMap<(String, StateName), i64>,
}

impl Tally {
    /// So many deliveries of a target are new and in this state.
    pub(super) fn came(&mut self, target: &str, state: StateName, count: usize) {
        self.add(target, state, rows(count));
    }

    /// So many are gone.
    pub(super) fn left(&mut self, target: &str, state: StateName, count: usize) {
        self.add(target, state, -rows(count));
    }

    /// So many came from one state into another.
    pub(super) fn moved(&mut self, target: &str, from: StateName, to: StateName, count: usize) {
        self.left(target, from, count);
        self.came(target, to, count);
    }

    fn add(&mut self, target: &str, state: StateName, change: i64) {
        *self.states.entry((target.to_owned(), state)).or_default() += change;
    }

    /// Writes those that are not written yet; to be done in the transaction that makes the changes.
    pub(super) fn write(&mut self, db: &Db) -> Result<()> {
        for ((target, state), change) in std::mem::take(&mut self.states) {
            if change == 0 {
                continue;
            }
            db.run(
                "INSERT INTO counts (target, state, n) VALUES (?1, ?2, ?3)
                 ON CONFLICT DO UPDATE SET n = n + excluded.n",
                params![target, state.as_str(), change],
            )?;
        }
        Ok(())
    }
}

/// One delivery came from one state into another.
pub(super) fn moved(db: &Db, target: &str, from: StateName, to: StateName) -> Result<()> {
    let mut tally = Tally::default();
    tally.moved(target, from, to, 1);
    tally.write(db)
}

/// Counts new messages by what they are.
pub(super) fn count_triples<'a>(db: &Db, new: impl Iterator<Item = &'a Triple>) -> Result<()> {
    let mut counts: BTreeMap<(&str, &str, &str), i64> = BTreeMap::new();
    for triple in new {
        *counts.entry((&triple.activity_type, &triple.message_type, &triple.direction)).or_default() += 1;
    }
    for ((activity_type, message_type, direction), count) in counts {
        db.run(
            "INSERT INTO triples (activity_type, message_type, direction, n) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT DO UPDATE SET n = n + excluded.n",
            params![activity_type, message_type, direction, count],
        )?;
    }
    Ok(())
}

/// In builds that check assertions: the counts are those of the rows, as long as these are few enough to be counted.
pub(super) fn check(db: &Db) {
    const ROWS_MAX: i64 = 2_000;
    if !cfg!(debug_assertions) {
        return;
    }
    let last = db.uncounted("SELECT coalesce(max(seq), 0) FROM deliveries", [], |row| row.get::<_, i64>(0));
    if !last.is_ok_and(|last| last.iter().all(|last| *last < ROWS_MAX)) {
        return;
    }
    let wrong = "SELECT target, state, sum(n) FROM (
        SELECT target, state, n FROM counts
        UNION ALL SELECT target, state, -count(*) FROM deliveries GROUP BY target, state)
        GROUP BY target, state HAVING sum(n) <> 0";
    let row = |row: &rusqlite::Row<'_>| {
        Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, i64>(2)?))
    };
    // A database that cannot be read at the moment is the business of those who read it.
    if let Ok(wrong) = db.uncounted(wrong, [], row) {
        assert!(wrong.is_empty(), "counted and not there: {wrong:?}");
    }
}
