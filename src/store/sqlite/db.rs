//! One connection with the few ways in which statements are run on it, and the types that cross into SQL.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use jiff::Timestamp;
use rusqlite::config::DbConfig;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode, Params, Row};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::model::delivery::StateName;
use crate::store::{Result, StoreError};

/// Statements kept prepared on each connection.
const STATEMENTS_CACHED_MAX: usize = 128;
/// Rows that one statement inserts, the most first: few sizes, so that all of them stay prepared.
const INSERT_ROWS: [usize; 4] = [64, 16, 4, 1];

/// What mends a file that cannot be written.
pub(super) const LET_WRITE: &str = "let the relay's user write the file and its folder";

/// What all connections of a store note together.
#[derive(Debug, Clone, Default)]
pub(super) struct Notes {
    /// Statements run so far.
    pub(super) statements: Arc<AtomicU64>,
    /// The disk failed, or what was read made no sense: what the connections know of the file may be wrong.
    pub(super) doubt: Arc<AtomicBool>,
    /// Claims made so far: no two leases have the same token.
    claims: Arc<AtomicU64>,
}

/// A connection that counts what is run on it.
#[derive(Debug)]
pub(in crate::store) struct Db {
    connection: Connection,
    notes: Notes,
    /// Who this store is in leases and roles.
    instance: Arc<str>,
    /// The texts of statements that insert so many rows, by their heads.
    insertions: RefCell<HashMap<(&'static str, usize), Arc<str>>>,
    #[cfg(test)]
    pub(super) seen: RefCell<std::collections::BTreeSet<String>>,
}

impl Db {
    pub(super) fn new(connection: Connection, notes: Notes, instance: Arc<str>) -> Self {
        connection.set_prepared_statement_cache_capacity(STATEMENTS_CACHED_MAX);
        Self {
            connection,
            notes,
            instance,
            insertions: RefCell::default(),
            #[cfg(test)]
            seen: RefCell::default(),
        }
    }

    /// Runs a statement; says how many rows it changed.
    pub(super) fn run(&self, sql: &str, params: impl Params) -> Result<usize> {
        self.count(sql);
        let run = || self.connection.prepare_cached(sql)?.execute(params);
        run().map_err(|error| self.noted(error))
    }

    /// Inserts one row into a table that numbers its rows: which one it is; `None` if it was there. (A `RETURNING` would
    /// make a table of its own for its one row, each time.)
    pub(super) fn insert(&self, sql: &str, params: impl Params) -> Result<Option<i64>> {
        Ok((self.run(sql, params)? > 0).then(|| self.connection.last_insert_rowid()))
    }

    /// All rows of a query or of a `RETURNING`.
    pub(super) fn all<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>> {
        self.count(sql);
        let all =
            || self.connection.prepare_cached(sql)?.query_map(params, read)?.collect::<rusqlite::Result<_>>();
        all().map_err(|error| self.noted(error))
    }

    /// All rows of a query that is no part of the work and is not counted as such.
    pub(super) fn uncounted<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Vec<T>> {
        self.connection.prepare_cached(sql)?.query_map(params, read)?.collect()
    }

    /// The first row, if there is one; the statement is run to its end all the same.
    pub(super) fn one<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>> {
        Ok(self.all(sql, params, read)?.into_iter().next())
    }

    /// Inserts many rows of `width` columns, several with each statement. `row` is the text of one, such as
    /// `(?, ?, (SELECT …))`; `tail` is what follows the rows.
    pub(super) fn insert_all(
        &self,
        (head, row, tail): (&'static str, &str, &str),
        width: usize,
        values: &[ToSqlOutput<'_>],
    ) -> Result<()> {
        let mut rest = values;
        for rows in INSERT_ROWS {
            while rest.len() >= rows * width && rows > 0 {
                let (chunk, after) = rest.split_at(rows * width);
                let text = || format!("{head} VALUES {} {tail}", vec![row; rows].join(", ")).into();
                let sql = self.insertions.borrow_mut().entry((head, rows)).or_insert_with(text).clone();
                self.run(&sql, rusqlite::params_from_iter(chunk))?;
                rest = after;
            }
        }
        Ok(())
    }

    /// Who this store is in leases and roles.
    pub(super) fn instance(&self) -> &str {
        &self.instance
    }

    /// The beginning of all tokens of one claim; what follows is the row's number in it.
    pub(super) fn next_tokens(&self) -> String {
        let claim = self.notes.claims.fetch_add(1, Ordering::Relaxed) + 1;
        format!("{}.{claim}.", self.instance)
    }

    /// Claims made so far.
    pub(super) fn claims(&self) -> u64 {
        self.notes.claims.load(Ordering::Relaxed)
    }

    /// The number of the claim of this store that a token is of.
    pub(super) fn claim_of(&self, token: &str) -> Option<u64> {
        token.strip_prefix(&*self.instance)?.split('.').nth(1)?.parse().ok()
    }

    /// Begins or ends a transaction, or a part of one. It is no part of the work and is not counted as such.
    pub(super) fn bound(&self, sql: &'static str) -> Result<()> {
        let run = || self.connection.prepare_cached(sql)?.execute([]);
        run().map(|_| ()).map_err(|error| self.noted(error))
    }

    /// Runs several statements without parameters.
    pub(super) fn batch(&self, sql: &str) -> Result<()> {
        self.connection.execute_batch(sql).map_err(|error| self.noted(error))
    }

    /// No transaction is open, be it that SQLite rolled it back by itself.
    pub(super) fn is_idle(&self) -> bool {
        self.connection.is_autocommit()
    }

    /// Whether closing it may move what the log holds into the file.
    pub(super) fn may_tidy_up(&self, may: bool) -> Result<()> {
        Ok(self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, !may).map(|_| ())?)
    }

    fn noted(&self, error: rusqlite::Error) -> StoreError {
        let doubtful = [ErrorCode::SystemIoFailure, ErrorCode::DatabaseCorrupt, ErrorCode::NotADatabase];
        if error.sqlite_error_code().is_some_and(|code| doubtful.contains(&code)) {
            self.notes.doubt.store(true, Ordering::Relaxed);
        }
        error.into()
    }

    fn count(&self, sql: &str) {
        self.notes.statements.fetch_add(1, Ordering::Relaxed);
        #[cfg(test)]
        self.seen.borrow_mut().insert(sql.to_owned());
        #[cfg(not(test))]
        let _ = sql;
    }
}

/// A moment as milliseconds since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ms(pub(super) Timestamp);

impl ToSql for Ms {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.0.as_millisecond().into())
    }
}

impl FromSql for Ms {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let millis = value.as_i64()?;
        Timestamp::from_millisecond(millis).map(Self).map_err(|_| FromSqlError::OutOfRange(millis))
    }
}

/// A moment out of a column.
pub(super) fn time(row: &Row<'_>, column: &str) -> rusqlite::Result<Timestamp> {
    Ok(row.get::<_, Ms>(column)?.0)
}

/// A moment out of a column that may be NULL.
pub(super) fn time_or_none(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<Timestamp>> {
    Ok(row.get::<_, Option<Ms>>(column)?.map(|ms| ms.0))
}

/// A row's columns one after the other, in the order in which the statement names them: where rows are many, looking each
/// up by its name costs more than reading it.
pub(super) struct InOrder<'a, 'b> {
    row: &'a Row<'b>,
    next: usize,
}

impl<'a, 'b> InOrder<'a, 'b> {
    /// From the first column on.
    pub(super) fn of(row: &'a Row<'b>) -> Self {
        Self { row, next: 0 }
    }

    /// The next column.
    pub(super) fn next<T: FromSql>(&mut self) -> rusqlite::Result<T> {
        self.next += 1;
        self.row.get(self.next - 1)
    }

    /// The next column, a moment.
    pub(super) fn time(&mut self) -> rusqlite::Result<Timestamp> {
        Ok(self.next::<Ms>()?.0)
    }

    /// The next column, a moment that may be NULL.
    pub(super) fn time_or_none(&mut self) -> rusqlite::Result<Option<Timestamp>> {
        Ok(self.next::<Option<Ms>>()?.map(|ms| ms.0))
    }
}

/// A number of rows as SQLite counts them.
pub(super) fn rows(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A value kept as JSON text.
#[derive(Debug)]
pub(super) struct Json<T>(pub(super) T);

/// A value as JSON text.
pub(super) fn json(value: &impl Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}

impl<T: Serialize> ToSql for Json<T> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        json(&self.0).map(Into::into)
    }
}

impl<T: DeserializeOwned> FromSql for Json<T> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        serde_json::from_str(value.as_str()?).map(Self).map_err(|error| FromSqlError::Other(error.into()))
    }
}

/// A state's name out of a column.
pub(super) fn state(row: &Row<'_>) -> rusqlite::Result<StateName> {
    let name: String = row.get("state")?;
    StateName::parse(&name).ok_or_else(|| {
        let error = format!("`{name}` is no state");
        rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, error.into())
    })
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        let text = error.to_string();
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => {
                Self::Trouble("the disk is full; free some space and the relay goes on by itself".into())
            }
            Some(ErrorCode::ReadOnly) => Self::Trouble(format!("{text}; {LET_WRITE}")),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                Self::Trouble(format!("{text}; another program holds the database"))
            }
            None | Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Corrupt(text),
            Some(_) => Self::Trouble(text),
        }
    }
}
