//! The store for several instances: PostgreSQL, a bounded pool, every change one transaction.

mod connect;
mod place;
mod schema;
mod tls;
mod tx;

use std::sync::Arc;

use super::{Result, StoreError};
use connect::Database;
use place::Place;
pub(super) use place::is_postgres;

/// A handle to the database. Cheap to clone; connections are made when they are needed.
#[derive(Debug, Clone)]
pub struct Postgres {
    db: Arc<Database>,
}

impl Postgres {
    /// Connects, and brings the schema up to date.
    pub(super) async fn open(url: &str) -> Result<Self> {
        let db = Database::new(Place::parse(url)?)?;
        schema::bring_up_to_date(&db).await.map_err(|error| match error {
            StoreError::Trouble(text) => StoreError::Unavailable(text),
            StoreError::Unavailable(text) | StoreError::Corrupt(text) => {
                StoreError::Unavailable(format!("{}: {text}", db.place()))
            }
            other => other,
        })?;
        Ok(Self { db: Arc::new(db) })
    }

    /// Statements run so far.
    pub(super) fn statements(&self) -> u64 {
        self.db.statements()
    }

    /// Transactions committed so far.
    pub(super) fn commits(&self) -> u64 {
        self.db.commits()
    }
}
