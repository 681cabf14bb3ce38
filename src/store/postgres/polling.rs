//! What polling needs to know: how far each account got, which messages are known, names that were looked up.

use std::collections::HashSet;

use jiff::Timestamp;

use super::Postgres;
use super::connect::{query, transact};
use super::tx::{get, json, ms, text, text_or_none, time, time_or_none, value};
use crate::store::{AccountStatus, Cursor, NameKind, Quarantined, Result};

impl Postgres {
    /// Where the account's polling stands.
    pub(in crate::store) async fn cursor(&self, account: &str) -> Result<Cursor> {
        query!(self.db, |tx| {
            let sql = "SELECT floor, watermark FROM accounts WHERE name = $1";
            let Some(row) = tx.one(sql, &[&text(account)]).await? else { return Ok(Cursor::default()) };
            Ok(Cursor { floor: time_or_none(&row, "floor")?, watermark: time_or_none(&row, "watermark")? })
        })
    }

    /// Which of the uids are known.
    pub(in crate::store) async fn seen(&self, account: &str, uids: &[String]) -> Result<HashSet<String>> {
        // What is kept may differ from what is asked for, where a uid holds a NUL.
        let kept: Vec<_> = uids.iter().map(|uid| text(uid)).collect();
        let known: HashSet<String> = query!(self.db, |tx| {
            let found = tx
                .all(
                    "SELECT uid FROM messages WHERE account = $1 AND uid = ANY ($2)
                         UNION SELECT uid FROM quarantine WHERE account = $1 AND uid = ANY ($2)",
                    &[&text(account), &kept],
                )
                .await?;
            found.iter().map(|row| get(row, "uid")).collect()
        })?;
        let pairs = uids.iter().zip(&kept);
        Ok(pairs.filter(|(_, kept)| known.contains(kept.as_ref())).map(|(uid, _)| uid.clone()).collect())
    }

    /// How many known uids were made within the period, both ends included.
    pub(in crate::store) async fn seen_between(
        &self,
        account: &str,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<u64> {
        query!(self.db, |tx| {
            let row = tx
                    .one(
                        "SELECT (SELECT count(*) FROM messages WHERE account = $1 AND created_at BETWEEN $2 AND $3)
                              + (SELECT count(*) FROM quarantine q WHERE account = $1 AND made_at BETWEEN $2 AND $3
                                   AND NOT EXISTS (SELECT 1 FROM messages m
                                                   WHERE m.account = $1 AND m.uid = q.uid)) AS n",
                        &[&text(account), &ms(from), &ms(to)],
                    )
                    .await?;
            Ok(row.map_or(Ok(0), |row| get::<i64>(&row, "n"))?.unsigned_abs())
        })
    }

    /// Notes how a poll went.
    pub(in crate::store) async fn polled(
        &self,
        account: &str,
        result: std::result::Result<(), String>,
        now: Timestamp,
    ) -> Result<()> {
        let success = result.is_ok().then_some(ms(now));
        let error = result.err();
        transact!(self.db, |tx| {
            tx.run(
                "INSERT INTO accounts AS a (name, last_success, error, polled) VALUES ($1, $2, $3, true)
                     ON CONFLICT (name) DO UPDATE SET
                       last_success = coalesce(excluded.last_success, a.last_success),
                       error = excluded.error, polled = true",
                &[&text(account), &success, &text_or_none(error.as_deref())],
            )
            .await
            .map(|_| ())
        })
    }

    /// All accounts that were polled.
    pub(in crate::store) async fn accounts(&self) -> Result<Vec<AccountStatus>> {
        query!(self.db, |tx| {
            let found = tx.all("SELECT * FROM accounts ORDER BY name", &[]).await?;
            let status = |row| {
                Ok(AccountStatus {
                    name: get(row, "name")?,
                    cursor: Cursor {
                        floor: time_or_none(row, "floor")?,
                        watermark: time_or_none(row, "watermark")?,
                    },
                    last_success: time_or_none(row, "last_success")?,
                    error: get(row, "error")?,
                })
            };
            found.iter().map(status).collect()
        })
    }

    /// What is in quarantine, newest first.
    pub(in crate::store) async fn quarantine(&self) -> Result<Vec<(String, Quarantined, Timestamp)>> {
        query!(self.db, |tx| {
            let sql = "SELECT * FROM quarantine ORDER BY seen_at DESC, account, uid";
            let found = tx.all(sql, &[]).await?;
            let item = |row| {
                let item =
                    Quarantined { uid: get(row, "uid")?, raw: value(row, "raw")?, why: get(row, "why")? };
                Ok((get(row, "account")?, item, time(row, "seen_at")?))
            };
            found.iter().map(item).collect()
        })
    }

    /// A cached name and when it was fetched.
    pub(in crate::store) async fn name(
        &self,
        account: &str,
        kind: NameKind,
        uid: &str,
    ) -> Result<Option<(serde_json::Value, Timestamp)>> {
        query!(self.db, |tx| {
            let row = tx
                .one(
                    "SELECT value, fetched_at FROM names WHERE account = $1 AND kind = $2 AND uid = $3",
                    &[&text(account), &kind.as_str(), &text(uid)],
                )
                .await?;
            row.map(|row| Ok((value(&row, "value")?, time(&row, "fetched_at")?))).transpose()
        })
    }

    /// Caches names.
    pub(in crate::store) async fn keep_names(
        &self,
        account: &str,
        names: Vec<(NameKind, String, serde_json::Value)>,
        now: Timestamp,
    ) -> Result<()> {
        let mut names: Vec<_> = names
            .iter()
            .map(|(kind, uid, value)| Ok((kind.as_str(), text(uid), json(value)?)))
            .collect::<Result<_>>()?;
        // In one order everywhere, so that two instances do not wait for each other; and each of them once.
        names.sort();
        names.dedup_by(|later, earlier| (later.0, &later.1) == (earlier.0, &earlier.1));
        let kinds: Vec<_> = names.iter().map(|name| name.0).collect();
        let uids: Vec<_> = names.iter().map(|name| &*name.1).collect();
        let values: Vec<_> = names.iter().map(|name| &*name.2).collect();
        transact!(self.db, |tx| {
            tx.run(
                "INSERT INTO names (account, kind, uid, value, fetched_at)
                     SELECT $1, kind, uid, value, $5
                     FROM unnest($2::text[], $3::text[], $4::text[]) AS n (kind, uid, value)
                     ON CONFLICT (account, kind, uid)
                       DO UPDATE SET value = excluded.value, fetched_at = excluded.fetched_at",
                &[&text(account), &kinds, &uids, &values, &ms(now)],
            )
            .await
            .map(|_| ())
        })
    }
}
