//! What people and pages are shown: lists of deliveries, one with all that is kept of it, counts.

use std::collections::BTreeMap;
use std::fmt::Write;

use jiff::Timestamp;
use tokio_postgres::Row as SqlRow;
use tokio_postgres::types::ToSql;

use super::Postgres;
use super::connect::{query, transact};
use super::tx::{
    Tx, get, ms, number, rows, state, text, text_or_none, time, time_or_none, value, value_or_none,
};
use crate::model::delivery::{Attempt, Job, StateName};
use crate::model::id::DeliveryId;
use crate::store::gathering::{OPEN, gathered};
use crate::store::rows::{holder, made_good};
use crate::store::{Counts, Detail, Filter, MessagePage, Result, Row, StoredMessage};

/// More rows than this in `counts` are added up by the one who reads them.
const COUNTS_ROWS_MAX: i64 = 1_000;

/// A delivery with its last attempt and its messages' uids. While its target waits or is parked it is due only when
/// that ends; in the queue it keeps its place.
pub(super) const COLUMNS: &str = "d.*, CASE WHEN d.state = 'pending'
    THEN greatest(d.due_at, h.wait_until, h.parked_until) ELSE d.due_at END AS shown_due_at,
  a.at, a.outcome, a.status, a.reason, a.latency_ms, a.answer,
  array(SELECT m.uid FROM delivery_messages dm JOIN messages m ON m.id = dm.message
        WHERE dm.delivery = d.seq ORDER BY dm.position) AS uids, r.resolved_by, r.resolved_at
  FROM deliveries d
  LEFT JOIN LATERAL (SELECT * FROM attempts WHERE delivery = d.seq ORDER BY n DESC LIMIT 1) a ON true
  LEFT JOIN LATERAL (SELECT resolved_by, resolved_at FROM resolutions WHERE delivery = d.seq
    AND resolved_by IS NOT NULL ORDER BY resolved_at, key LIMIT 1) r ON true
  LEFT JOIN targets h ON h.name = d.target";

/// One state as SQL, with what follows from it, so that the partial index that fits is used.
fn of_state(state: StateName) -> String {
    let settled = match state {
        StateName::Pending | StateName::Sending => "",
        _ => " AND d.settled_at IS NOT NULL",
    };
    format!("(d.state = '{state}'{settled})")
}

/// A condition's value.
type Value = Box<dyn ToSql + Sync + Send>;

/// The filter as SQL: conditions and their values.
fn conditions(filter: &Filter) -> (String, Vec<Value>) {
    let states: Vec<String> = filter.states.iter().copied().map(of_state).collect();
    let mut sql = if states.is_empty() { "true".to_owned() } else { format!("({})", states.join(" OR ")) };
    let mut values: Vec<Value> = Vec::new();
    let mut add = |condition: &str, value: Value| {
        values.push(value);
        // Writing to a String cannot fail.
        let _ = write!(sql, " AND {}", condition.replace('?', &format!("${}", values.len())));
    };
    if let Some(rule) = &filter.rule {
        add("d.rule = ?", Box::new(text(rule).into_owned()));
    }
    if let Some(target) = &filter.target {
        add("d.target = ?", Box::new(text(target).into_owned()));
    }
    if let Some(since) = filter.since {
        add("d.created_at >= ?", Box::new(ms(since)));
    }
    if let Some(uid) = &filter.message {
        let of_message = "d.seq IN (SELECT dm.delivery FROM messages m JOIN delivery_messages dm
             ON dm.message = m.id WHERE m.uid = ?)";
        add(of_message, Box::new(text(uid).into_owned()));
    }
    if let Some(uid) = &filter.made_good_by {
        add(
            "d.seq IN (SELECT delivery FROM resolutions WHERE resolved_by = ?)",
            Box::new(text(uid).into_owned()),
        );
    }
    if let Some(number) = filter.before {
        add("d.seq < ?", Box::new(number));
    }
    if let Some(replayed) = filter.replayed {
        let _ = write!(sql, " AND d.replays {} 0", if replayed { ">" } else { "=" });
    }
    if filter.open {
        let _ = write!(sql, " AND {OPEN}");
    }
    (sql, values)
}

/// The statement that lists what fits, and its values.
fn listing(filter: &Filter) -> (String, Vec<Value>) {
    let (conditions, mut values) = conditions(filter);
    values.push(Box::new(filter.limit.map(rows)));
    let order = if filter.limit.is_some() { "DESC" } else { "ASC" };
    // Sorting few is cheaper than walking past the many that were delivered.
    let few = filter.open || !filter.states.is_empty() && !filter.states.contains(&StateName::Delivered);
    let key = if few { "d.seq + 0" } else { "d.seq" };
    let place = values.len();
    let sql =
        format!("SELECT {OPEN} AS open, {COLUMNS} WHERE {conditions} ORDER BY {key} {order} LIMIT ${place}");
    (sql, values)
}

fn borrowed(values: &[Value]) -> Vec<&(dyn ToSql + Sync)> {
    values.iter().map(|value| &**value as &(dyn ToSql + Sync)).collect()
}

impl Postgres {
    /// The deliveries that fit, and how many fit in all.
    pub(in crate::store) async fn deliveries(&self, filter: Filter) -> Result<(Vec<Row>, u64)> {
        let ((conditions, counted), (sql, values)) = (conditions(&filter), listing(&filter));
        query!(self.db, |tx| {
            let all = count(tx, &filter, &conditions, &borrowed(&counted)).await?;
            let found = tx.all(&sql, &borrowed(&values)).await?;
            Ok((found.iter().map(row).collect::<Result<_>>()?, all))
        })
    }

    /// The deliveries that fit.
    pub(in crate::store) async fn page(&self, filter: Filter) -> Result<Vec<Row>> {
        let (sql, values) = listing(&filter);
        query!(self.db, |tx| tx.all(&sql, &borrowed(&values)).await?.iter().map(row).collect())
    }

    /// One delivery with payload and history.
    pub(in crate::store) async fn delivery(&self, id: &DeliveryId) -> Result<Option<Detail>> {
        let id = text(id.as_str());
        let sql = format!("SELECT {OPEN} AS open, {COLUMNS} WHERE d.id = $1");
        query!(self.db, |tx| {
            let Some(found) = tx.one(&sql, &[&id]).await? else { return Ok(None) };
            let seq: i64 = get(&found, "seq")?;
            let payload = tx.one("SELECT payload FROM payloads WHERE delivery = $1", &[&seq]).await?;
            let history = tx.all("SELECT * FROM attempts WHERE delivery = $1 ORDER BY n", &[&seq]).await?;
            Ok(Some(Detail {
                row: row(&found)?,
                payload: payload.map(|row| value(&row, "payload")).transpose()?,
                history: history.iter().map(attempt).collect::<Result<_>>()?,
            }))
        })
    }

    /// How many deliveries of an account's rule to a target and recipient expired since then.
    pub(in crate::store) async fn expired(&self, of: &Job, since: Timestamp) -> Result<u64> {
        let (account, rule, target) = (text(&of.account), text(&of.rule), text(&of.target));
        let recipient = text_or_none(of.recipient.as_deref());
        query!(self.db, |tx| {
            let sql = "SELECT count(*) AS n FROM deliveries d WHERE d.state = 'expired' AND d.settled_at IS NOT NULL
                 AND d.settled_at >= $1 AND d.account = $2 AND d.rule = $3 AND d.target = $4
                 AND d.recipient IS NOT DISTINCT FROM $5";
            let row = tx.one(sql, &[&ms(since), &account, &rule, &target, &recipient]).await?;
            row.map_or(Ok(0), |row| Ok(get::<i64>(&row, "n")?.unsigned_abs()))
        })
    }

    /// Ids that begin with the text, at most `limit`.
    pub(in crate::store) async fn ids_like(&self, prefix: &str, limit: usize) -> Result<Vec<DeliveryId>> {
        let prefix = text(prefix);
        // It sorts behind every character an id can hold.
        let end = format!("{prefix}\u{10ffff}");
        query!(self.db, |tx| {
            let sql = "SELECT id FROM deliveries WHERE id >= $1 AND id < $2 ORDER BY id LIMIT $3";
            let found = tx.all(sql, &[&prefix, &end, &rows(limit)]).await?;
            found.iter().map(|row| Ok(DeliveryId::from_text(get::<String>(row, "id")?))).collect()
        })
    }

    /// A stored message, by uid; the one seen last, where several accounts have it.
    pub(in crate::store) async fn message(
        &self,
        account: Option<&str>,
        uid: &str,
    ) -> Result<Option<StoredMessage>> {
        query!(self.db, |tx| {
            let row = tx
                .one(
                    "SELECT message, seen_at, rules FROM messages
                         WHERE uid = $1 AND ($2::text IS NULL OR account = $2) ORDER BY id DESC LIMIT 1",
                    &[&text(uid), &account.map(text)],
                )
                .await?;
            row.as_ref().map(stored).transpose()
        })
    }

    /// An account's messages made in a period, in order of their making.
    pub(in crate::store) async fn messages(&self, page: MessagePage) -> Result<Vec<StoredMessage>> {
        let (after, uid) = page.after.clone().unwrap_or((page.from, String::new()));
        query!(self.db, |tx| {
            let sql = "SELECT message, seen_at, rules FROM messages WHERE account = $1 AND created_at >= $2
                         AND created_at < $3 AND (created_at, uid) > ($4, $5) ORDER BY created_at, uid LIMIT $6";
            let (from, to) = (ms(after.max(page.from)), ms(page.to));
            let found = tx
                .all(sql, &[&text(&page.account), &from, &to, &ms(after), &text(&uid), &rows(page.limit)])
                .await?;
            found.iter().map(stored).collect()
        })
    }

    /// How many deliveries stand where.
    pub(in crate::store) async fn counts(&self, target: Option<&str>) -> Result<Counts> {
        let (counts, rows) = query!(self.db, |tx| counts(tx, target).await)?;
        if rows > COUNTS_ROWS_MAX {
            transact!(self.db, |tx| add_up(tx).await)?;
        }
        Ok(counts)
    }

    /// How many deliveries stand where, target by target.
    pub(in crate::store) async fn counts_by_target(&self) -> Result<BTreeMap<String, Counts>> {
        query!(self.db, |tx| {
            let sql = "SELECT target, state, sum(n)::bigint AS n FROM counts GROUP BY target, state";
            let mut counts: BTreeMap<String, Counts> = BTreeMap::new();
            for row in tx.all(sql, &[]).await? {
                let of_target = counts.entry(get(&row, "target")?).or_default();
                *of_target.of_mut(state(&row)?) = get::<i64>(&row, "n")?.unsigned_abs();
            }
            Ok(counts)
        })
    }

    /// Targets to which something is owed or died.
    pub(in crate::store) async fn owed_targets(&self) -> Result<Vec<String>> {
        query!(self.db, |tx| {
            let found = tx
                .all(
                    "SELECT DISTINCT target FROM (
                           SELECT target FROM counts WHERE state IN ('pending', 'sending', 'dead')
                           GROUP BY target, state HAVING sum(n) > 0) AS owed
                         ORDER BY target",
                    &[],
                )
                .await?;
            found.iter().map(|row| get(row, "target")).collect()
        })
    }

    /// The due moment of the oldest pending delivery of each target.
    pub(in crate::store) async fn oldest_due_by_target(&self) -> Result<Vec<(String, Timestamp)>> {
        query!(self.db, |tx| {
            let found = tx
                .all(
                    "SELECT c.target, (SELECT due_at FROM deliveries d WHERE d.target = c.target
                                         AND d.settled_at IS NULL AND d.state = 'pending'
                                       ORDER BY due_at LIMIT 1) AS due_at
                         FROM (SELECT target FROM counts WHERE state = 'pending'
                               GROUP BY target HAVING sum(n) > 0) AS c",
                    &[],
                )
                .await?;
            let mut oldest = Vec::with_capacity(found.len());
            for row in &found {
                if let Some(due) = time_or_none(row, "due_at")? {
                    oldest.push((get(row, "target")?, due));
                }
            }
            Ok(oldest)
        })
    }
}

/// How many stand where, and how many rows say so.
async fn counts(tx: &Tx<'_>, target: Option<&str>) -> Result<(Counts, i64)> {
    let of_target = if target.is_some() { "WHERE target = $1" } else { "WHERE $1::text IS NULL" };
    let sql =
        format!("SELECT state, sum(n)::bigint AS n, count(*) AS rows FROM counts {of_target} GROUP BY state");
    let found = tx.all(&sql, &[&target.map(text)]).await?;
    let mut counts = Counts::default();
    let mut rows = 0;
    for row in found {
        *counts.of_mut(state(&row)?) = get::<i64>(&row, "n")?.unsigned_abs();
        rows += get::<i64>(&row, "rows")?;
    }
    Ok((counts, rows))
}

/// Replaces what every statement counted by its sum. Rows that another session is adding up are left to it.
pub(super) async fn add_up(tx: &Tx<'_>) -> Result<()> {
    tx.run(
        "WITH gone AS (
           DELETE FROM counts WHERE ctid = ANY (array(SELECT ctid FROM counts FOR UPDATE SKIP LOCKED))
           RETURNING target, state, n)
         INSERT INTO counts SELECT target, state, sum(n) FROM gone GROUP BY 1, 2 HAVING sum(n) <> 0",
        &[],
    )
    .await?;
    tx.run(
        "WITH gone AS (
           DELETE FROM triples WHERE ctid = ANY (array(SELECT ctid FROM triples FOR UPDATE SKIP LOCKED))
           RETURNING activity_type, message_type, direction, n)
         INSERT INTO triples SELECT activity_type, message_type, direction, sum(n) FROM gone GROUP BY 1, 2, 3",
        &[],
    )
    .await?;
    Ok(())
}

async fn count(
    tx: &Tx<'_>,
    filter: &Filter,
    conditions: &str,
    params: &[&(dyn ToSql + Sync)],
) -> Result<u64> {
    let narrow = filter.rule.is_some() || filter.since.is_some() || filter.message.is_some();
    let narrow = narrow || filter.made_good_by.is_some() || filter.replayed.is_some();
    if !narrow && filter.before.is_none() && !filter.open {
        let (counts, _) = counts(tx, filter.target.as_deref()).await?;
        let states = if filter.states.is_empty() { &StateName::ALL[..] } else { &filter.states };
        return Ok(states.iter().map(|state| counts.of(*state)).sum());
    }
    let row = tx.one(&format!("SELECT count(*) AS n FROM deliveries d WHERE {conditions}"), params).await?;
    Ok(row.map_or(Ok(0), |row| get::<i64>(&row, "n"))?.unsigned_abs())
}

pub(super) fn row(row: &SqlRow) -> Result<Row> {
    let last = match get::<Option<i64>>(row, "at")? {
        Some(_) => Some(attempt(row)?),
        None => None,
    };
    let created_at = time(row, "created_at")?;
    let first_due = time_or_none(row, "first_due")?.unwrap_or(created_at);
    let group: Option<String> = get(row, "group_key")?;
    Ok(Row {
        id: DeliveryId::from_text(get::<String>(row, "id")?),
        number: get(row, "seq")?,
        account: get(row, "account")?,
        rule: get(row, "rule")?,
        target: get(row, "target")?,
        recipient: get(row, "recipient")?,
        template: get(row, "template")?,
        messages: get(row, "uids")?,
        state: state(row)?,
        held_by: get::<Option<String>>(row, "lease")?.as_deref().map(holder),
        due_at: time_or_none(row, "shown_due_at")?,
        created_at,
        settled_at: time_or_none(row, "settled_at")?,
        why: get(row, "why")?,
        attempts: number(row, "attempts")?,
        last,
        maybe_duplicate: get(row, "maybe_duplicate")?,
        replay_of: get::<Option<String>>(row, "replay_of")?.map(DeliveryId::from_text),
        replays: number(row, "replays")?,
        notice: value_or_none(row, "notice")?,
        first_due,
        gathered: gathered(
            group.as_deref(),
            time_or_none(row, "window_from")?,
            time_or_none(row, "window_to")?,
            first_due,
        ),
        open: get(row, "open")?,
        group,
        throttled: number(row, "throttled")?,
        made_good: made_good(get(row, "resolved_by")?, time_or_none(row, "resolved_at")?),
    })
}

pub(super) fn stored(row: &SqlRow) -> Result<StoredMessage> {
    Ok(StoredMessage {
        message: value(row, "message")?,
        seen_at: time(row, "seen_at")?,
        rules: value(row, "rules")?,
    })
}

fn attempt(row: &SqlRow) -> Result<Attempt> {
    Ok(Attempt {
        at: time(row, "at")?,
        outcome: get(row, "outcome")?,
        status: get::<Option<i32>>(row, "status")?.and_then(|status| u16::try_from(status).ok()),
        reason: get(row, "reason")?,
        latency_ms: get::<i64>(row, "latency_ms")?.unsigned_abs(),
        answer: get(row, "answer")?,
    })
}
