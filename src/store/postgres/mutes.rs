//! Rules that people have silenced.

use jiff::Timestamp;
use tokio_postgres::Row;

use super::Postgres;
use super::connect::{query, transact};
use super::tx::{Tx, get, ms, text, time};
use crate::model::mute::Mute;
use crate::store::{Result, StoreError};

impl Postgres {
    /// Silences a rule.
    pub(in crate::store) async fn mute(
        &self,
        rule: &str,
        until: Timestamp,
        reason: &str,
        now: Timestamp,
    ) -> Result<Mute> {
        let (rule, reason) = (text(rule), text(reason));
        transact!(self.db, |tx| {
            let sql =
                "INSERT INTO mutes (rule, until, reason, created_at) VALUES ($1, $2, $3, $4) RETURNING *";
            let made = tx.one(sql, &[&rule, &ms(until), &reason, &ms(now)]).await?;
            let gone = || StoreError::Corrupt("a mute was written and is not there".to_owned());
            read(&made.ok_or_else(gone)?)
        })
    }

    /// Those that have not ended, the oldest first.
    pub(in crate::store) async fn mutes(&self, now: Timestamp) -> Result<Vec<Mute>> {
        query!(self.db, |tx| {
            let found = tx.all("SELECT * FROM mutes WHERE until > $1 ORDER BY id", &[&ms(now)]).await?;
            found.iter().map(read).collect()
        })
    }

    /// Ends one; it is returned if it was there and had not ended.
    pub(in crate::store) async fn lift_mute(&self, id: i64, now: Timestamp) -> Result<Option<Mute>> {
        transact!(self.db, |tx| {
            let sql = "DELETE FROM mutes WHERE id = $1 AND until > $2 RETURNING *";
            tx.one(sql, &[&id, &ms(now)]).await?.as_ref().map(read).transpose()
        })
    }
}

/// Forgets those that ended before.
pub(super) async fn forget(tx: &Tx<'_>, before: Timestamp) -> Result<()> {
    tx.run("DELETE FROM mutes WHERE until < $1", &[&ms(before)]).await.map(|_| ())
}

fn read(row: &Row) -> Result<Mute> {
    Ok(Mute {
        id: get(row, "id")?,
        rule: get(row, "rule")?,
        until: time(row, "until")?,
        reason: get(row, "reason")?,
        created_at: time(row, "created_at")?,
    })
}
