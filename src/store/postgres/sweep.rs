//! What every claim does first: ends what is too old, takes back what a lost holder had.

use jiff::Timestamp;
use tokio_postgres::Row;

use super::tx::{Tx, get, ms, number, rows, state};
use crate::model::delivery::StateName;
use crate::model::id::DeliveryId;
use crate::store::ends::{EXPIRED, SWEEP_MAX, fatal, lost_attempt};
use crate::store::{Ended, Result};

/// Ends what is too old to be sent, wherever its target stands. What is being sent is left to its holder, and what
/// another session is at, to that one.
pub(super) async fn expire(tx: &Tx<'_>, now: Timestamp) -> Result<Vec<Ended>> {
    let ended = tx
        .all(
            "UPDATE deliveries SET state = 'expired', settled_at = $1, due_at = NULL, why = $3
             WHERE seq = ANY (array(SELECT seq FROM deliveries WHERE settled_at IS NULL AND expires_at IS NOT NULL
               AND expires_at <= $1 AND state = 'pending' ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED))
             RETURNING id, rule, target, state, why",
            &[&ms(now), &rows(SWEEP_MAX), &EXPIRED],
        )
        .await?;
    ended.iter().map(ended_row).collect()
}

/// Leases that nobody settled in time, locked; none as long as their holders are given a moment for it.
pub(super) async fn late(tx: &Tx<'_>, now: Timestamp, patient_until: i64) -> Result<Vec<Row>> {
    if ms(now) < patient_until {
        return Ok(Vec::new());
    }
    tx.all(
        "SELECT seq, attempts, starts FROM deliveries WHERE state = 'sending' AND due_at <= $1
         ORDER BY due_at LIMIT $2 FOR UPDATE SKIP LOCKED",
        &[&ms(now), &rows(SWEEP_MAX)],
    )
    .await
}

/// Takes them back: due at once and before what came later; or dead, if they took their holders down too often.
pub(super) async fn take_back(tx: &Tx<'_>, late: &[Row], now: Timestamp) -> Result<Vec<Ended>> {
    if late.is_empty() {
        return Ok(Vec::new());
    }
    let mut seqs: Vec<i64> = Vec::with_capacity(late.len());
    let mut why: Vec<Option<String>> = Vec::with_capacity(late.len());
    for row in late {
        seqs.push(get(row, "seq")?);
        why.push(fatal(number(row, "starts")?, number(row, "attempts")?));
    }
    let lost = lost_attempt(now);
    let back = tx
        .all(
            "WITH late AS (SELECT * FROM unnest($1::bigint[], $2::text[]) AS l (seq, why)),
             back AS (
               UPDATE deliveries d SET lease = NULL, maybe_duplicate = true, why = l.why,
                 state = CASE WHEN l.why IS NULL THEN 'pending' ELSE 'dead' END,
                 due_at = CASE WHEN l.why IS NULL THEN d.created_at END,
                 settled_at = CASE WHEN l.why IS NOT NULL THEN $3::bigint END
               FROM late l WHERE d.seq = ANY (ARRAY[l.seq]) RETURNING d.seq, d.id, d.rule, d.target, d.state, d.why),
             noted AS (
               INSERT INTO attempts (delivery, n, at, outcome, reason, latency_ms)
               SELECT seq, (SELECT coalesce(max(n), 0) + 1 FROM attempts WHERE delivery = seq), $3, $4, $5, 0
               FROM back)
             SELECT id, rule, target, state, why FROM back WHERE state = 'dead' ORDER BY seq",
            &[&seqs, &why, &ms(now), &lost.outcome, &lost.reason],
        )
        .await?;
    back.iter().map(ended_row).collect()
}

/// Ends leased ones that cannot be read.
pub(super) async fn bury(tx: &Tx<'_>, unreadable: &[(i64, String)], now: Timestamp) -> Result<Vec<Ended>> {
    if unreadable.is_empty() {
        return Ok(Vec::new());
    }
    let seqs: Vec<i64> = unreadable.iter().map(|(seq, _)| *seq).collect();
    let why: Vec<&str> = unreadable.iter().map(|(_, why)| why.as_str()).collect();
    let buried = tx
        .all(
            "UPDATE deliveries d SET state = $4, settled_at = $3, due_at = NULL, lease = NULL, why = u.why
             FROM unnest($1::bigint[], $2::text[]) AS u (seq, why) WHERE d.seq = ANY (ARRAY[u.seq])
             RETURNING d.id, d.rule, d.target, d.state, d.why",
            &[&seqs, &why, &ms(now), &StateName::Dead.as_str()],
        )
        .await?;
    buried.iter().map(ended_row).collect()
}

fn ended_row(row: &Row) -> Result<Ended> {
    Ok(Ended {
        id: DeliveryId::from_text(get::<String>(row, "id")?),
        rule: get(row, "rule")?,
        target: get(row, "target")?,
        state: state(row)?,
        why: get(row, "why")?,
    })
}
