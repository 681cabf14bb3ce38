//! Claims whose answer was lost: they may be committed, and nobody was told of what they leased.

use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use super::Postgres;
use super::connect::query;
use super::tx::{get, number, time};
use crate::model::delivery::{Claim, Lease};
use crate::model::id::DeliveryId;
use crate::store::Result;

/// The beginnings of their tokens.
#[derive(Debug, Default)]
pub(super) struct Untold(Mutex<Vec<String>>);

impl Untold {
    /// Remembers a claim that failed.
    pub(super) fn note<T>(&self, tokens: &str, answer: &Result<T>) {
        if answer.is_err() {
            self.list().push(tokens.to_owned());
        }
    }

    fn list(&self) -> MutexGuard<'_, Vec<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Postgres {
    /// Gives back, unattempted, what was leased by claims of this instance of which nobody was told. Else it would wait for
    /// the end of its lease, which for a mail is many minutes away.
    pub(super) async fn take_back_untold(&self, now: Timestamp) -> Result<()> {
        let untold = self.untold.list().clone();
        if untold.is_empty() {
            return Ok(());
        }
        let claims: Vec<Claim> = query!(self.db, |tx| {
            let found = tx
                .all(
                    "SELECT id, lease, due_at, attempts, starts FROM deliveries d WHERE state = 'sending'
                       AND EXISTS (SELECT 1 FROM unnest($1::text[]) AS u (tokens) WHERE starts_with(d.lease, u.tokens))",
                    &[&untold],
                )
                .await?;
            let claim = |row| {
                let lease = Lease { token: get(row, "lease")?, until: time(row, "due_at")? };
                let id = DeliveryId::from_text(get::<String>(row, "id")?);
                Ok(Claim { id, attempts: number(row, "attempts")?, starts: number(row, "starts")?, lease })
            };
            found.iter().map(claim).collect::<Result<_>>()
        })?;
        if !claims.is_empty() {
            tracing::debug!(count = claims.len(), "leases of which nobody was told are given back");
            self.release(claims, now).await?;
        }
        self.untold.list().retain(|tokens| !untold.contains(tokens));
        Ok(())
    }
}
