//! The schema's history: numbered SQL files, each applied once, in a transaction, and recognised by its checksum.

use rusqlite::params;

use super::db::{Db, rows};
use super::place::Place;
use crate::store::steps::{self, Step, checksum};
use crate::store::{Result, StoreError};

/// The files, oldest first; the number of one is its place in the list, from 1.
pub(super) const MIGRATIONS: [Step; 9] = [
    ("start", include_str!("migrations/0001_start.sql")),
    ("instances", include_str!("migrations/0002_instances.sql")),
    ("told", include_str!("migrations/0003_told.sql")),
    ("mutes", include_str!("migrations/0004_mutes.sql")),
    ("time", include_str!("migrations/0005_time.sql")),
    ("lean", include_str!("migrations/0006_lean.sql")),
    ("seen", include_str!("migrations/0007_seen.sql")),
    ("good", include_str!("migrations/0008_good.sql")),
    ("config", include_str!("migrations/0009_config.sql")),
];

const TABLE: &str = "CREATE TABLE IF NOT EXISTS migrations (
  version  INTEGER PRIMARY KEY,
  name     TEXT NOT NULL,
  checksum TEXT NOT NULL
) STRICT";

/// How many of the files are missing from the database: (missing, all of them).
///
/// # Errors
/// The database is newer than this program, belongs to another one, or was made by other files.
pub(super) fn missing(db: &Db, place: &Place) -> Result<(usize, usize)> {
    let tables = db
        .all("SELECT name FROM sqlite_schema WHERE type = 'table'", [], |row| row.get::<_, String>("name"))?;
    if tables.is_empty() {
        return Ok((MIGRATIONS.len(), MIGRATIONS.len()));
    }
    if !tables.iter().any(|name| name == "migrations") {
        return Err(StoreError::Unavailable(
            "it is the SQLite database of another program; choose another file with --store".into(),
        ));
    }
    let applied = db.all("SELECT version, checksum FROM migrations ORDER BY version", [], |row| {
        Ok((row.get::<_, u32>("version")?, row.get::<_, String>("checksum")?))
    })?;
    Ok((steps::missing(&MIGRATIONS, &applied, place)?, MIGRATIONS.len()))
}

/// Applies what is missing, all of it or nothing.
pub(super) fn migrate(db: &Db, place: &Place) -> Result<()> {
    db.batch("BEGIN IMMEDIATE")?;
    let result = apply(db, place).and_then(|()| db.batch("COMMIT"));
    if result.is_err() && !db.is_idle() {
        // The error that counts is the first one.
        let _ = db.batch("ROLLBACK");
    }
    result
}

fn apply(db: &Db, place: &Place) -> Result<()> {
    // Looked at again inside the transaction: another process may have been quicker.
    let (missing, all) = missing(db, place)?;
    db.batch(TABLE)?;
    for (index, (name, sql)) in MIGRATIONS.iter().enumerate().skip(all - missing) {
        db.batch(sql)?;
        crate::failpoint::pass("migrate");
        db.run(
            "INSERT INTO migrations (version, name, checksum) VALUES (?1, ?2, ?3)",
            params![rows(index + 1), name, checksum(sql)],
        )?;
    }
    Ok(())
}
