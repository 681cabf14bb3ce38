//! The schema in PostgreSQL: brought up to date by whichever instance comes first, in one transaction.

use std::ops::ControlFlow;

use super::connect::{Database, query};
use super::tx::{Isolation, Tx, get, rows};
use crate::store::steps::{self, Step, checksum};
use crate::store::{Result, StoreError};

/// The files, oldest first.
const STEPS: [Step; 9] = [
    ("start", include_str!("migrations/0001_start.sql")),
    ("instances", include_str!("migrations/0002_instances.sql")),
    ("told", include_str!("migrations/0003_told.sql")),
    ("mutes", include_str!("migrations/0004_mutes.sql")),
    ("references", include_str!("migrations/0005_references.sql")),
    ("time", include_str!("migrations/0006_time.sql")),
    ("seen", include_str!("migrations/0007_seen.sql")),
    ("good", include_str!("migrations/0008_good.sql")),
    ("config", include_str!("migrations/0009_config.sql")),
];

/// Whoever changes the schema holds this lock, so that instances that start together do it once ("relay" in ASCII).
const LOCK: i64 = 0x72_65_6c_61_79;
/// The oldest server that is known to do.
const SERVER_VERSION_MIN: i32 = 130_000;
/// A step may take longer than the daily work may.
const STEP_TIME_MAX: &str = "SET LOCAL statement_timeout = '1h'; SET LOCAL lock_timeout = '1h';
  SET LOCAL idle_in_transaction_session_timeout = '5min'";

/// What marks the tables as those of the relay: other programs, too, call a table `migrations`.
const TABLE: &str = "CREATE TABLE migrations (
  version  INTEGER PRIMARY KEY,
  name     TEXT NOT NULL,
  checksum TEXT NOT NULL
)";
const TABLE_COLUMNS: [&str; 3] = ["version", "name", "checksum"];

/// Fails where the server cannot hold a store; applies what is missing of the schema, all of it or nothing.
///
/// # Errors
/// The server is too old or does not speak UTF-8, the schema is newer than this program, or its tables belong to
/// another program.
pub(super) async fn bring_up_to_date(database: &Database) -> Result<()> {
    let missing = query!(database, |tx| {
        suits(tx).await?;
        missing(tx).await
    })?;
    if missing == 0 {
        return Ok(());
    }
    let tx = database.begin(Isolation::ReadCommitted).await?;
    let applied = async {
        tx.batch(STEP_TIME_MAX).await?;
        tx.run("SELECT pg_advisory_xact_lock($1)", &[&LOCK]).await?;
        apply(&tx).await
    };
    let applied = applied.await;
    tx.last_try();
    match database.end(tx, applied).await {
        ControlFlow::Break(result) => result,
        ControlFlow::Continue(()) => Ok(()),
    }
}

/// The server can hold a store.
async fn suits(tx: &Tx<'_>) -> Result<()> {
    let row = tx
        .one(
            "SELECT current_setting('server_version') AS version, current_setting('server_encoding') AS encoding,
               current_setting('server_version_num')::integer AS number, current_schema()::text AS schema",
            &[],
        )
        .await?;
    let Some(row) = row else { return Ok(()) };
    let unsuited = |text: String| Err(StoreError::Unavailable(text));
    if get::<i32>(&row, "number")? < SERVER_VERSION_MIN {
        let version: String = get(&row, "version")?;
        return unsuited(format!("the server is PostgreSQL {version}; the relay needs 13 or newer"));
    }
    let encoding: String = get(&row, "encoding")?;
    if encoding != "UTF8" {
        return unsuited(format!(
            "the database's encoding is {encoding}; create one with ENCODING 'UTF8' TEMPLATE template0"
        ));
    }
    if get::<Option<String>>(&row, "schema")?.is_none() {
        return unsuited(
            "no schema of the search_path exists; create one, or correct search_path".to_owned(),
        );
    }
    Ok(())
}

/// How many steps are missing from the first schema of the search path.
async fn missing(tx: &Tx<'_>) -> Result<usize> {
    let found = tx
        .all(
            "SELECT c.relname::text AS name, array(SELECT a.attname::text FROM pg_attribute a
               WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum) AS columns
             FROM pg_class c WHERE c.relnamespace = to_regnamespace(quote_ident(current_schema()))
               AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relname = ANY ($1)",
            &[&tables()],
        )
        .await?;
    let mut ours = false;
    for row in &found {
        let columns: Vec<String> = get(row, "columns")?;
        ours |= get::<String>(row, "name")? == "migrations" && columns == TABLE_COLUMNS;
    }
    if found.is_empty() {
        return Ok(STEPS.len());
    }
    if !ours {
        let names = found.iter().map(|row| get(row, "name")).collect::<Result<Vec<String>>>()?;
        return Err(StoreError::Unavailable(format!(
            "another program keeps its {} there; create a database of its own for the relay, or a schema \
             (?options=-c%20search_path%3Drelay)",
            names.join(", ")
        )));
    }
    let applied = tx.all("SELECT version, checksum FROM migrations ORDER BY version", &[]).await?;
    let mut known = Vec::with_capacity(applied.len());
    for row in applied {
        known.push((super::tx::number(&row, "version")?, get(&row, "checksum")?));
    }
    steps::missing(&STEPS, &known, tx.place())
}

/// The names that the steps give to tables.
fn tables() -> Vec<&'static str> {
    let made =
        STEPS.iter().flat_map(|(_, sql)| sql.lines()).filter_map(|line| line.strip_prefix("CREATE TABLE "));
    made.filter_map(|line| line.split([' ', '(']).next()).chain(["migrations"]).collect()
}

async fn apply(tx: &Tx<'_>) -> Result<()> {
    // Looked at again behind the lock: another instance may have been quicker.
    let missing = missing(tx).await?;
    if missing == STEPS.len() {
        tx.batch(TABLE).await?;
    }
    for (index, (name, sql)) in STEPS.iter().enumerate().skip(STEPS.len() - missing) {
        tx.batch(sql).await?;
        crate::failpoint::pass("migrate");
        let version = i32::try_from(rows(index + 1)).unwrap_or(i32::MAX);
        tx.run(
            "INSERT INTO migrations (version, name, checksum) VALUES ($1, $2, $3)",
            &[&version, name, &checksum(sql)],
        )
        .await?;
    }
    Ok(())
}
