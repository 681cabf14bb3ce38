//! Roles that one instance holds at a time, and which instances there are.

use std::collections::HashSet;
use std::time::Duration;

use jiff::Timestamp;

use super::Postgres;
use super::connect::{query, transact};
use super::tx::{Tx, get, ms, text, time};
use crate::model::rate::CLOCKS_APART_MAX;
use crate::model::settle::after_now;
use crate::store::{Hold, Instance, Result, StoreError};

impl Postgres {
    /// Says that this instance is there; forgets those that said nothing for long.
    pub(in crate::store) async fn beat(
        &self,
        host: &str,
        config: &str,
        gone_before: Timestamp,
        now: Timestamp,
    ) -> Result<()> {
        transact!(self.db, |tx| {
            forget(tx, gone_before).await?;
            tx.run(
                "INSERT INTO instances (id, host, started_at, seen_at) VALUES ($1, $2, $3, $3)
                     ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at",
                &[&self.instance(), &text(host), &ms(now)],
            )
            .await?;
            tx.run(
                "INSERT INTO configs (instance, hash) VALUES ($1, $2)
                     ON CONFLICT (instance) DO UPDATE SET hash = excluded.hash WHERE configs.hash <> excluded.hash",
                &[&self.instance(), &config],
            )
            .await
            .map(|_| ())
        })
    }

    /// Takes what is free, keeps what is held; returns what this instance holds of it.
    pub(in crate::store) async fn hold(
        &self,
        roles: &[String],
        ttl: Duration,
        now: Timestamp,
    ) -> Result<HashSet<String>> {
        let apart = i64::try_from(CLOCKS_APART_MAX.as_millis()).unwrap_or(i64::MAX);
        transact!(self.db, |tx| {
            let held = tx
                    .all(
                        "INSERT INTO holds AS h (role, instance, until)
                         SELECT DISTINCT role, $2, $3::bigint FROM unnest($1::text[]) AS r (role) ORDER BY role
                         ON CONFLICT (role) DO UPDATE SET instance = excluded.instance, until = excluded.until
                         WHERE h.instance = excluded.instance OR h.until + $5 <= $4 RETURNING role",
                        &[&roles, &self.instance(), &ms(after_now(now, ttl)), &ms(now), &apart],
                    )
                    .await?;
            held.iter().map(|row| get(row, "role")).collect()
        })
    }

    /// Gives roles up.
    pub(in crate::store) async fn let_go(&self, roles: &[String]) -> Result<()> {
        transact!(self.db, |tx| {
            tx.run(
                    "DELETE FROM holds WHERE role = ANY (array(
                       SELECT role FROM holds WHERE instance = $2 AND role = ANY ($1) ORDER BY role FOR UPDATE))",
                    &[&roles, &self.instance()],
                )
                .await
                .map(|_| ())
        })
    }

    /// Gives everything up and is forgotten, with those that said nothing for long.
    pub(in crate::store) async fn leave(&self, gone_before: Timestamp) -> Result<()> {
        transact!(self.db, |tx| {
            tx.run(
                "DELETE FROM holds WHERE role = ANY (array(
                       SELECT role FROM holds WHERE instance = $1 ORDER BY role FOR UPDATE))",
                &[&self.instance()],
            )
            .await?;
            forget(tx, gone_before).await?;
            tx.run("DELETE FROM instances WHERE id = $1", &[&self.instance()]).await.map(|_| ())
        })
    }

    /// All that are held.
    pub(in crate::store) async fn holds(&self) -> Result<Vec<Hold>> {
        query!(self.db, |tx| {
            let found = tx.all("SELECT role, instance, until FROM holds ORDER BY role", &[]).await?;
            let hold = |row| {
                Ok(Hold {
                    role: get(row, "role")?,
                    instance: get(row, "instance")?,
                    until: time(row, "until")?,
                })
            };
            found.iter().map(hold).collect()
        })
    }

    /// The instances that are there.
    pub(in crate::store) async fn instances(&self) -> Result<Vec<Instance>> {
        query!(self.db, |tx| {
            let found = tx
                .all(
                    "SELECT i.id, i.host, i.started_at, i.seen_at, c.hash AS config FROM instances i
                         LEFT JOIN configs c ON c.instance = i.id ORDER BY i.started_at, i.id",
                    &[],
                )
                .await?;
            let instance = |row| {
                Ok(Instance {
                    id: get(row, "id")?,
                    host: get(row, "host")?,
                    started_at: time(row, "started_at")?,
                    seen_at: time(row, "seen_at")?,
                    config: get(row, "config")?,
                })
            };
            found.iter().map(instance).collect()
        })
    }

    /// Fails unless this instance holds the role; nobody takes it over before the transaction's end.
    pub(super) async fn require(&self, tx: &Tx<'_>, role: &str) -> Result<()> {
        let sql = "SELECT 1 AS held FROM holds WHERE role = $1 AND instance = $2 FOR SHARE";
        let holder = tx.one(sql, &[&role, &self.instance()]).await?;
        holder.map(|_| ()).ok_or_else(|| StoreError::RoleLost(role.to_owned()))
    }
}

/// Instances that said nothing since then are forgotten, but for one that speaks at this moment.
async fn forget(tx: &Tx<'_>, gone_before: Timestamp) -> Result<()> {
    tx.run(
        "DELETE FROM instances WHERE id = ANY (array(
           SELECT id FROM instances WHERE seen_at < $1 FOR UPDATE SKIP LOCKED))",
        &[&ms(gone_before)],
    )
    .await
    .map(|_| ())
}
