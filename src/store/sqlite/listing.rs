//! What people and pages are shown: lists of deliveries, one with all that is kept of it, counts.

use std::collections::BTreeMap;
use std::fmt::Write;

use jiff::Timestamp;
use rusqlite::types::ToSql;
use rusqlite::{Row as SqlRow, params};

use super::db::{Db, Json, Ms, rows, state, time, time_or_none};
use crate::model::delivery::{Attempt, Notice, StateName};
use crate::model::id::DeliveryId;
use crate::model::message::Message;
use crate::model::payload::Payload;
use crate::store::gathering::{OPEN, gathered};
use crate::store::rows::{holder, made_good};
use crate::store::{Counts, Detail, Filter, MessagePage, Result, Row, StoredMessage};

/// A delivery with its last attempt and its messages' uids. While its target waits or is parked it is due only when
/// that ends; in the queue it keeps its place.
pub(super) const COLUMNS: &str = "d.*, CASE WHEN d.state = 'pending'
    THEN max(d.due_at, coalesce(h.wait_until, 0), coalesce(h.parked_until, 0)) ELSE d.due_at END AS shown_due_at, a.at, a.outcome, a.status, a.reason, a.latency_ms, a.answer,
  (SELECT json_group_array(uid) FROM (SELECT m.uid FROM delivery_messages dm JOIN messages m ON m.id = dm.message
     WHERE dm.delivery = d.seq ORDER BY dm.position)) AS uids, r.resolved_by, r.resolved_at
  FROM deliveries d LEFT JOIN attempts a ON a.delivery = d.seq
    AND a.n = (SELECT max(n) FROM attempts WHERE delivery = d.seq)
  LEFT JOIN resolutions r ON r.delivery = d.seq AND r.key = (SELECT key FROM resolutions
    WHERE delivery = d.seq AND resolved_by IS NOT NULL ORDER BY resolved_at, key LIMIT 1)
  LEFT JOIN targets h ON h.name = d.target";

/// Whatever waits or is being sent.
const UNSETTLED: &str = " AND d.seq IN (SELECT seq FROM deliveries WHERE state = 'pending'
  UNION ALL SELECT seq FROM deliveries WHERE state = 'sending')";

/// The accounts that messages are of, from one to the next by the index that begins with them: what is known by its uid alone
/// is looked for in each.
const OF_ACCOUNTS: &str = "WITH RECURSIVE of (name) AS (SELECT min(account) FROM messages
  UNION ALL SELECT (SELECT min(account) FROM messages WHERE account > of.name) FROM of WHERE of.name IS NOT NULL)";

fn is_open(state: StateName) -> bool {
    matches!(state, StateName::Pending | StateName::Sending)
}

/// The filter as SQL: conditions and their values. It says also what follows from the states, so that the
/// partial index that fits is used.
fn conditions(filter: &Filter) -> (String, Vec<Box<dyn ToSql>>) {
    let mut sql = String::from("1");
    let mut values: Vec<Box<dyn ToSql>> = Vec::new();
    let mut add = |condition: &str, value: Box<dyn ToSql>| {
        values.push(value);
        // Writing to a String cannot fail.
        let _ = write!(sql, " AND {}", condition.replace('?', &format!("?{}", values.len())));
    };
    if !filter.states.is_empty() {
        let names: Vec<&str> = filter.states.iter().map(|state| state.as_str()).collect();
        let open = filter.states.iter().filter(|state| is_open(**state)).count();
        // In the words of the indexes: what waits and what is being sent has one each, what ended has another.
        let implied = match (open, &filter.states[..]) {
            (0, _) => " AND d.settled_at IS NOT NULL".to_owned(),
            (1, [state]) => format!(" AND d.state = '{state}'"),
            (_, states) if open == states.len() => UNSETTLED.to_owned(),
            _ => String::new(),
        };
        // Walking back from the newest soon finds what was delivered; the plus keeps SQLite from sorting them all.
        let state = if filter.states.contains(&StateName::Delivered) { "+d.state" } else { "d.state" };
        add(&format!("{state} IN (SELECT value FROM json_each(?)){implied}"), Box::new(Json(names)));
    }
    if let Some(rule) = &filter.rule {
        add("d.rule = ?", Box::new(rule.clone()));
    }
    if let Some(target) = &filter.target {
        add("d.target = ?", Box::new(target.clone()));
    }
    if let Some(since) = filter.since {
        add("d.created_at >= ?", Box::new(Ms(since)));
    }
    if let Some(uid) = &filter.message {
        let of_message = format!(
            "d.seq IN ({OF_ACCOUNTS} SELECT dm.delivery FROM of CROSS JOIN messages m ON m.account = of.name AND m.uid = ?
             JOIN delivery_messages dm ON dm.message = m.id)"
        );
        add(&of_message, Box::new(uid.clone()));
    }
    if let Some(uid) = &filter.made_good_by {
        add("d.seq IN (SELECT delivery FROM resolutions WHERE resolved_by = ?)", Box::new(uid.clone()));
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

/// The deliveries that fit, and how many fit in all.
pub(super) fn deliveries(db: &Db, filter: &Filter) -> Result<(Vec<Row>, u64)> {
    let (conditions, values) = conditions(filter);
    let all = count(db, filter, &conditions, &values)?;
    Ok((page(db, filter)?, all))
}

/// The deliveries that fit.
pub(super) fn page(db: &Db, filter: &Filter) -> Result<Vec<Row>> {
    let (conditions, mut values) = conditions(filter);
    let (order, limit) = match filter.limit {
        Some(limit) => ("DESC", rows(limit)),
        None => ("ASC", -1),
    };
    // Sorting few is cheaper than walking past the many that were delivered; the plus keeps SQLite from the walk.
    let few = filter.open || !filter.states.is_empty() && !filter.states.contains(&StateName::Delivered);
    let key = if few { "+d.seq" } else { "d.seq" };
    let limit_place = values.len() + 1;
    values.push(Box::new(limit));
    let sql = format!(
        "SELECT {OPEN} AS open, {COLUMNS} WHERE {conditions} ORDER BY {key} {order} LIMIT ?{limit_place}"
    );
    db.all(&sql, rusqlite::params_from_iter(values), row)
}

fn count(db: &Db, filter: &Filter, conditions: &str, values: &[Box<dyn ToSql>]) -> Result<u64> {
    let narrow = filter.rule.is_some() || filter.since.is_some() || filter.message.is_some();
    let narrow = narrow || filter.made_good_by.is_some() || filter.replayed.is_some();
    if !narrow && filter.before.is_none() && !filter.open {
        let counts = counts(db, filter.target.as_deref())?;
        let states = if filter.states.is_empty() { &StateName::ALL[..] } else { &filter.states };
        return Ok(states.iter().map(|state| counts.of(*state)).sum());
    }
    let sql = format!("SELECT count(*) AS n FROM deliveries d WHERE {conditions}");
    let n = db.one(&sql, rusqlite::params_from_iter(values), |row| row.get::<_, i64>("n"))?;
    Ok(n.unwrap_or(0).unsigned_abs())
}

pub(super) fn row(row: &SqlRow<'_>) -> rusqlite::Result<Row> {
    let state = state(row)?;
    let last = match row.get::<_, Option<Ms>>("at")? {
        Some(_) => Some(attempt(row)?),
        None => None,
    };
    let created_at = time(row, "created_at")?;
    let first_due = time_or_none(row, "first_due")?.unwrap_or(created_at);
    let group: Option<String> = row.get("group_key")?;
    Ok(Row {
        id: DeliveryId::from_text(row.get::<_, String>("id")?),
        number: row.get("seq")?,
        account: row.get("account")?,
        rule: row.get("rule")?,
        target: row.get("target")?,
        recipient: row.get("recipient")?,
        template: row.get("template")?,
        messages: row.get::<_, Json<Vec<String>>>("uids")?.0,
        state,
        held_by: row.get::<_, Option<String>>("lease")?.as_deref().map(holder),
        due_at: time_or_none(row, "shown_due_at")?,
        created_at,
        settled_at: time_or_none(row, "settled_at")?,
        why: row.get("why")?,
        attempts: row.get("attempts")?,
        last,
        maybe_duplicate: row.get("maybe_duplicate")?,
        replay_of: row.get::<_, Option<String>>("replay_of")?.map(DeliveryId::from_text),
        replays: row.get("replays")?,
        notice: row.get::<_, Option<Json<Notice>>>("notice")?.map(|json| json.0),
        first_due,
        gathered: gathered(
            group.as_deref(),
            time_or_none(row, "window_from")?,
            time_or_none(row, "window_to")?,
            first_due,
        ),
        open: row.get("open")?,
        group,
        throttled: row.get("throttled")?,
        made_good: made_good(row.get("resolved_by")?, time_or_none(row, "resolved_at")?),
    })
}

fn attempt(row: &SqlRow<'_>) -> rusqlite::Result<Attempt> {
    Ok(Attempt {
        at: time(row, "at")?,
        outcome: row.get("outcome")?,
        status: row.get("status")?,
        reason: row.get("reason")?,
        latency_ms: row.get::<_, i64>("latency_ms")?.unsigned_abs(),
        answer: row.get("answer")?,
    })
}

/// One delivery with payload and history.
pub(super) fn delivery(db: &Db, id: &DeliveryId) -> Result<Option<Detail>> {
    let sql = format!("SELECT {OPEN} AS open, {COLUMNS} WHERE d.id = ?1");
    let Some(row) = db.one(&sql, params![id.as_str()], row)? else { return Ok(None) };
    let payload = db.one(
        "SELECT p.payload FROM deliveries d JOIN payloads p ON p.delivery = d.seq WHERE d.id = ?1",
        params![id.as_str()],
        |row| Ok(row.get::<_, Json<Payload>>("payload")?.0),
    )?;
    let history = db.all(
        "SELECT a.* FROM deliveries d JOIN attempts a ON a.delivery = d.seq WHERE d.id = ?1 ORDER BY a.n",
        params![id.as_str()],
        attempt,
    )?;
    Ok(Some(Detail { row, payload, history }))
}

/// How many deliveries of an account's rule to a target and recipient expired since then.
pub(super) fn expired(
    db: &Db,
    (account, rule, target, recipient): &(String, String, String, Option<String>),
    since: Timestamp,
) -> Result<u64> {
    let n = db.one(
        "SELECT count(*) AS n FROM deliveries d WHERE d.state = 'expired' AND d.settled_at IS NOT NULL
           AND d.settled_at >= ?1 AND d.account = ?2 AND d.rule = ?3 AND d.target = ?4 AND d.recipient IS ?5",
        params![Ms(since), account, rule, target, recipient],
        |row| row.get::<_, i64>("n"),
    )?;
    Ok(n.unwrap_or(0).unsigned_abs())
}

/// Ids that begin with the text, at most `limit`.
pub(super) fn ids_like(db: &Db, prefix: &str, limit: usize) -> Result<Vec<DeliveryId>> {
    // U+10FFFF sorts behind every character an id can hold.
    db.all(
        "SELECT id FROM deliveries WHERE id >= ?1 AND id < ?1 || char(1114111) ORDER BY id LIMIT ?2",
        params![prefix, rows(limit)],
        |row| Ok(DeliveryId::from_text(row.get::<_, String>("id")?)),
    )
}

/// A stored message, by uid; the one seen last, where several accounts have it.
pub(super) fn message(db: &Db, account: Option<&str>, uid: &str) -> Result<Option<StoredMessage>> {
    let sql = format!(
        "{OF_ACCOUNTS} SELECT message, seen_at, rules FROM of CROSS JOIN messages m ON m.account = of.name AND m.uid = ?1
         WHERE ?2 IS NULL OR of.name = ?2 ORDER BY m.id DESC LIMIT 1"
    );
    db.one(&sql, params![uid, account], stored)
}

/// An account's messages made in a period, in order of their making.
pub(super) fn messages(db: &Db, page: &MessagePage) -> Result<Vec<StoredMessage>> {
    let (after, uid) = page.after.clone().unwrap_or((page.from, String::new()));
    db.all(
        "SELECT message, seen_at, rules FROM messages WHERE account = ?1 AND created_at >= ?2 AND created_at < ?3
           AND (created_at, uid) > (?4, ?5) ORDER BY created_at, uid LIMIT ?6",
        params![page.account, Ms(after.max(page.from)), Ms(page.to), Ms(after), uid, rows(page.limit)],
        stored,
    )
}

pub(super) fn stored(row: &SqlRow<'_>) -> rusqlite::Result<StoredMessage> {
    Ok(StoredMessage {
        message: row.get::<_, Json<Message>>("message")?.0,
        seen_at: time(row, "seen_at")?,
        rules: row.get::<_, Json<Vec<String>>>("rules")?.0,
    })
}

/// How many deliveries stand where.
pub(super) fn counts(db: &Db, target: Option<&str>) -> Result<Counts> {
    let read = |row: &SqlRow<'_>| Ok((state(row)?, row.get::<_, i64>("n")?.unsigned_abs()));
    let found = match target {
        Some(target) => db.all("SELECT state, n FROM counts WHERE target = ?1", params![target], read)?,
        None => db.all("SELECT state, sum(n) AS n FROM counts GROUP BY state", [], read)?,
    };
    let mut counts = Counts::default();
    for (state, n) in found {
        *counts.of_mut(state) = n;
    }
    Ok(counts)
}

/// How many deliveries stand where, target by target.
pub(super) fn counts_by_target(db: &Db) -> Result<BTreeMap<String, Counts>> {
    let mut counts: BTreeMap<String, Counts> = BTreeMap::new();
    let read =
        |row: &SqlRow<'_>| Ok((row.get("target")?, state(row)?, row.get::<_, i64>("n")?.unsigned_abs()));
    for (target, state, n) in db.all("SELECT target, state, n FROM counts", [], read)? {
        *counts.entry(target).or_default().of_mut(state) = n;
    }
    Ok(counts)
}

/// Targets to which something is owed or died.
pub(super) fn owed_targets(db: &Db) -> Result<Vec<String>> {
    db.all(
        "SELECT DISTINCT target FROM counts WHERE n > 0 AND state IN ('pending', 'sending', 'dead') ORDER BY target",
        [],
        |row| row.get("target"),
    )
}

/// The due moment of the oldest pending delivery of each target.
pub(super) fn oldest_due_by_target(db: &Db) -> Result<Vec<(String, Timestamp)>> {
    let oldest = db.all(
        "SELECT c.target, (SELECT due_at FROM deliveries d WHERE d.target = c.target AND d.settled_at IS NULL
                   AND d.state = 'pending' ORDER BY due_at LIMIT 1) AS due_at
         FROM counts c WHERE c.state = 'pending' AND c.n > 0",
        [],
        |row| Ok((row.get("target")?, time_or_none(row, "due_at")?)),
    )?;
    Ok(oldest.into_iter().filter_map(|(target, due)| Some((target, due?))).collect())
}
