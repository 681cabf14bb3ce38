//! The store for several instances: PostgreSQL, a bounded pool, every change one transaction.

mod admit;
mod claim;
mod connect;
mod figures;
mod gather;
mod good;
mod history;
mod listing;
mod meeting;
mod mutes;
mod owed;
mod place;
mod polling;
mod replay;
mod roles;
mod schema;
mod settle;
mod sweep;
mod targets;
mod tls;
mod tx;
mod untold;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;

use super::commits::Commits;
use super::{Result, StoreError};
use crate::model::settle::after_now;
use connect::{Database, at_start, query};
use place::Place;
use tx::{get, ms};
use untold::Untold;

pub(super) use place::is_postgres;

/// How long the instances have after a trouble to write down what they sent: they look for its end every few seconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// A handle to the database. Cheap to clone; connections are made when they are needed.
#[derive(Debug, Clone)]
pub struct Postgres {
    db: Arc<Database>,
    /// Who this store is in leases and roles.
    instance: Arc<str>,
    /// Claims made so far: no two leases have the same token.
    claims: Arc<AtomicU64>,
    /// The beginnings of the tokens of claims whose answer was lost.
    untold: Arc<Untold>,
    /// Until then, in milliseconds, no lease is taken back whose end was reached.
    patient_until: Arc<AtomicI64>,
}

impl Postgres {
    /// Connects, and brings the schema up to date.
    pub(super) async fn open(url: &str) -> Result<Self> {
        let db = Database::new(Place::parse(url)?)?;
        schema::bring_up_to_date(&db).await.map_err(|error| match error {
            StoreError::Trouble(text) => StoreError::Unavailable(at_start(&text)),
            StoreError::Unavailable(text) | StoreError::Corrupt(text) => {
                StoreError::Unavailable(format!("{}: {text}", db.place()))
            }
            other => other,
        })?;
        let instance: String = query!(db, |tx| {
            let row = tx.one("SELECT left(md5(gen_random_uuid()::text), 16) AS id", &[]).await?;
            row.map_or(Ok(String::new()), |row| get(&row, "id"))
        })?;
        Ok(Self {
            db: Arc::new(db),
            instance: instance.into(),
            claims: Arc::default(),
            untold: Arc::default(),
            patient_until: Arc::new(AtomicI64::new(i64::MIN)),
        })
    }

    /// Who this store is in leases and roles.
    pub(super) fn instance(&self) -> &str {
        &self.instance
    }

    /// Other instances are given a moment to write down what they sent.
    pub(super) fn came_back(&self, now: Timestamp) {
        self.patient_until.store(ms(after_now(now, PATIENCE)), Ordering::Relaxed);
    }

    /// Where it lies, for a person.
    pub(super) fn place(&self) -> String {
        self.db.place().to_string()
    }

    /// The beginning of all tokens of one claim; what follows is the row's number in it.
    fn next_tokens(&self) -> String {
        format!("{}.{}.", self.instance, self.claims.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Statements run so far.
    pub(super) fn statements(&self) -> u64 {
        self.db.statements()
    }

    /// Transactions committed so far.
    pub(super) fn commits(&self) -> &Commits {
        self.db.commits()
    }
}
