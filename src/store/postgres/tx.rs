//! One transaction: the few ways in which statements are run in it, and how values cross into SQL and back.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use deadpool_postgres::Object;
use futures_util::future::join;
use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_postgres::Row;
use tokio_postgres::types::{FromSqlOwned, ToSql};

use super::connect::{explain, is_passing};
use super::place::Place;
use crate::model::delivery::StateName;
use crate::store::{Result, StoreError};

/// A statement's parameters.
pub(super) type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

/// What a transaction sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Isolation {
    /// Each statement what was committed before it.
    ReadCommitted,
    /// The same, for the daily work: its statements keep their plans, for [`PLANS_SERVE`] transactions of a connection.
    /// Planning them anew each time costs the server as much as running them; keeping them for good would keep the plan
    /// that was made when there was next to nothing in the tables.
    Daily,
    /// All statements the same, and nothing is changed.
    OneState,
}

/// So many transactions of a connection use the plans that were made at the first of them.
const PLANS_SERVE: usize = 64;

/// Bitmaps are left out: a scan by one passes over all that has left the index since it was last vacuumed, and never
/// notes that it is gone, as a plain one does. What is under way comes and goes with each delivery.
macro_rules! daily {
    ($before:literal) => {
        concat!(
            $before,
            "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL plan_cache_mode = force_generic_plan;
             SET LOCAL enable_bitmapscan = off"
        )
    };
}
const DAILY: &str = daily!("");
const DAILY_ANEW: &str = daily!("DISCARD PLANS; ");

/// A transaction. Dropped half-way it takes its connection along, and the server undoes it.
pub(super) struct Tx<'a> {
    /// `None` once it is over.
    connection: Option<Object>,
    isolation: Isolation,
    begun: AtomicBool,
    passing: AtomicBool,
    place: &'a Place,
    statements: &'a AtomicU64,
}

impl Drop for Tx<'_> {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take()
            && self.begun.load(Ordering::Relaxed)
        {
            drop(Object::take(connection));
        }
    }
}

impl<'a> Tx<'a> {
    pub(super) fn new(
        connection: Object,
        isolation: Isolation,
        place: &'a Place,
        statements: &'a AtomicU64,
    ) -> Self {
        let (begun, passing) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { connection: Some(connection), isolation, begun, passing, place, statements }
    }

    /// Runs a statement; says how many rows it changed.
    pub(super) async fn run(&self, sql: &str, params: Params<'_>) -> Result<u64> {
        self.count();
        let connection = self.connection()?;
        let statement = async {
            let statement = connection.prepare_cached(sql).await?;
            connection.execute(&statement, params).await
        };
        self.begin_with(statement).await
    }

    /// All rows of a query or of a `RETURNING`.
    pub(super) async fn all(&self, sql: &str, params: Params<'_>) -> Result<Vec<Row>> {
        self.count();
        let connection = self.connection()?;
        let statement = async {
            let statement = connection.prepare_cached(sql).await?;
            connection.query(&statement, params).await
        };
        self.begin_with(statement).await
    }

    /// The first row, if there is one.
    pub(super) async fn one(&self, sql: &str, params: Params<'_>) -> Result<Option<Row>> {
        Ok(self.all(sql, params).await?.into_iter().next())
    }

    /// Runs several statements without parameters.
    pub(super) async fn batch(&self, sql: &str) -> Result<()> {
        let connection = self.connection()?;
        self.begin_with(connection.batch_execute(sql)).await
    }

    /// Makes it last.
    pub(super) async fn commit(mut self) -> Result<()> {
        if !self.begun.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.connection()?.batch_execute("COMMIT").await.map_err(|error| self.explain(&error))?;
        self.connection = None;
        Ok(())
    }

    /// Leaves nothing of it. Where that fails the connection goes, and the server does it.
    pub(super) async fn rollback(mut self) {
        let Ok(connection) = self.connection() else { return };
        if self.begun.load(Ordering::Relaxed) && connection.batch_execute("ROLLBACK").await.is_ok() {
            self.connection = None;
        }
    }

    /// Where the database lies.
    pub(super) fn place(&self) -> &Place {
        self.place
    }

    /// Its connection is no more.
    pub(super) fn is_cut(&self) -> bool {
        self.connection.as_ref().is_some_and(|connection| connection.is_closed())
    }

    /// It is there to change something.
    pub(super) fn changes(&self) -> bool {
        self.isolation != Isolation::OneState
    }

    /// Whatever fails from here on, it is not tried again.
    pub(super) fn last_try(&self) {
        self.passing.store(false, Ordering::Relaxed);
    }

    /// Its failure may be gone with a new try.
    pub(super) fn worth_another_try(&self) -> bool {
        self.passing.load(Ordering::Relaxed)
    }

    /// The first statement goes out together with the `BEGIN` before it: one journey for both.
    async fn begin_with<T>(
        &self,
        statement: impl Future<Output = std::result::Result<T, tokio_postgres::Error>>,
    ) -> Result<T> {
        let result = if self.begun.swap(true, Ordering::Relaxed) {
            statement.await
        } else {
            let connection = self.connection()?;
            // More often in the beginning, when what was next to nothing grows fastest.
            let uses = Object::metrics(connection).recycle_count;
            let anew = uses.is_power_of_two() || uses.is_multiple_of(PLANS_SERVE);
            let begin = connection.batch_execute(match (self.isolation, anew) {
                (Isolation::ReadCommitted, _) => "BEGIN ISOLATION LEVEL READ COMMITTED",
                (Isolation::Daily, false) => DAILY,
                (Isolation::Daily, true) => DAILY_ANEW,
                (Isolation::OneState, _) => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
            });
            let (first, second) = join(begin, statement).await;
            first.and(second)
        };
        result.map_err(|error| self.explain(&error))
    }

    fn connection(&self) -> Result<&Object> {
        self.connection.as_ref().ok_or_else(|| StoreError::Trouble("the transaction is over".to_owned()))
    }

    fn explain(&self, error: &tokio_postgres::Error) -> StoreError {
        self.passing.fetch_or(is_passing(error), Ordering::Relaxed);
        explain(error, self.place)
    }

    fn count(&self) {
        self.statements.fetch_add(1, Ordering::Relaxed);
    }
}

/// A moment as milliseconds since the epoch.
pub(super) fn ms(at: Timestamp) -> i64 {
    at.as_millisecond()
}

/// A number of rows as PostgreSQL counts them.
pub(super) fn rows(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A value as JSON text.
pub(super) fn json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value)
        .map_err(|error| StoreError::Corrupt(format!("it cannot be written as JSON: {error}")))
}

/// Text as PostgreSQL can keep it: without NUL, which JSON escapes and plain text may hold.
pub(super) fn text(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{fffd}")) } else { Cow::Borrowed(text) }
}

/// The same, where there may be none.
pub(super) fn text_or_none(value: Option<&str>) -> Option<Cow<'_, str>> {
    value.map(text)
}

/// A column's value.
pub(super) fn get<T: FromSqlOwned>(row: &Row, column: &str) -> Result<T> {
    row.try_get(column).map_err(|error| {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        StoreError::Corrupt(format!("column {column}: {error}{cause}"))
    })
}

/// A moment out of a column.
pub(super) fn time(row: &Row, column: &str) -> Result<Timestamp> {
    moment(get(row, column)?)
}

/// A moment out of a column that may be NULL.
pub(super) fn time_or_none(row: &Row, column: &str) -> Result<Option<Timestamp>> {
    get::<Option<i64>>(row, column)?.map(moment).transpose()
}

fn moment(ms: i64) -> Result<Timestamp> {
    Timestamp::from_millisecond(ms).map_err(|_| StoreError::Corrupt(format!("{ms} ms is no moment")))
}

/// A number that is never negative.
pub(super) fn number(row: &Row, column: &str) -> Result<u32> {
    Ok(u32::try_from(get::<i32>(row, column)?).unwrap_or(0))
}

/// A value out of a column of JSON text.
pub(super) fn value<T: DeserializeOwned>(row: &Row, column: &str) -> Result<T> {
    serde_json::from_str(&get::<String>(row, column)?)
        .map_err(|error| StoreError::Corrupt(format!("column {column}: {error}")))
}

/// The same, where there may be none.
pub(super) fn value_or_none<T: DeserializeOwned>(row: &Row, column: &str) -> Result<Option<T>> {
    let text: Option<String> = get(row, column)?;
    text.map(|text| serde_json::from_str(&text))
        .transpose()
        .map_err(|error| StoreError::Corrupt(format!("column {column}: {error}")))
}

/// A state's name out of a column.
pub(super) fn state(row: &Row) -> Result<StateName> {
    let name: String = get(row, "state")?;
    StateName::parse(&name).ok_or_else(|| StoreError::Corrupt(format!("`{name}` is no state")))
}
