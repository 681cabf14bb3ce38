//! Settling: the ends of attempts, each fenced by its lease, written together with everything that follows from them.

use std::borrow::Cow;
use std::sync::Arc;

use jiff::Timestamp;
use tokio_postgres::Row;

use super::Postgres;
use super::claim::{Room, take};
use super::connect::{daily, transact};
use super::owed::owe;
use super::targets::{self, Standings};
use super::tx::{Tx, get, json, ms, text, text_or_none};
use crate::model::delivery::{Claim, Planned};
use crate::model::settle::TargetChange;
use crate::store::ends::Columns;
use crate::store::standing::Standing;
use crate::store::{Claimed, Result, Settlement, Want};

impl Postgres {
    /// Writes all of them, `false` for one whose lease was lost, of which nothing is written; then claims.
    pub(in crate::store) async fn settle_claiming(
        &self,
        settlements: Vec<Arc<Settlement>>,
        wants: Vec<Want>,
        now: Timestamp,
    ) -> Result<(Vec<bool>, Claimed)> {
        let (batch, tokens) = (Batch::of(&settlements)?, self.next_tokens());
        let settled = daily!(self.db, |tx| {
            let names: Vec<&str> = wants.iter().map(|want| want.target.as_str()).collect();
            let telling = telling(tx, &settlements).await?;
            targets::lock(tx, &[&names[..], &telling[..]].concat()).await?;
            // Read again: somebody may have changed them while their locks were waited for.
            let standings = Standings::read(tx, &telling).await?;
            let written = write_down(tx, &settlements, &batch, standings, now).await?;
            let mut claimed = Claimed::default();
            if !wants.is_empty() {
                let room = Room::read(tx, &names, self.instance(), now).await?;
                take(tx, &wants, room, &tokens, self.instance(), now, &mut claimed).await?;
            }
            Ok((written, claimed))
        });
        self.untold.note(&tokens, &settled);
        settled
    }

    /// Gives claims back unattempted; a lost lease needs no giving back.
    pub(in crate::store) async fn release(&self, claims: Vec<Claim>, now: Timestamp) -> Result<()> {
        let ids: Vec<_> = claims.iter().map(|claim| text(claim.id.as_str())).collect();
        let tokens: Vec<&str> = claims.iter().map(|claim| claim.lease.token.as_str()).collect();
        transact!(self.db, |tx| {
            let probed = tx.all("SELECT name FROM targets WHERE probe = ANY ($1)", &[&tokens]).await?;
            let probed: Vec<String> = probed.iter().map(|row| get(row, "name")).collect::<Result<_>>()?;
            let probed: Vec<&str> = probed.iter().map(String::as_str).collect();
            targets::lock(tx, &probed).await?;
            tx.run(
                "WITH held AS MATERIALIZED (
                       SELECT d.seq FROM unnest($1::text[], $2::text[]) AS c (id, lease)
                       JOIN deliveries d ON d.id = c.id AND d.lease = c.lease ORDER BY d.id FOR UPDATE OF d)
                     UPDATE deliveries d SET state = 'pending', lease = NULL, due_at = least(created_at, $3),
                       starts = starts - 1
                     FROM held WHERE d.seq = held.seq",
                &[&ids, &tokens, &ms(now)],
            )
            .await?;
            if probed.is_empty() {
                return Ok(());
            }
            let mut standings = Standings::read(tx, &probed).await?;
            for name in probed {
                let standing = standings.of_mut(name);
                for token in &tokens {
                    standing.end_probe(Some(token), Some(now));
                }
            }
            standings.write(tx).await
        })
    }
}

async fn write_down(
    tx: &Tx<'_>,
    settlements: &[Arc<Settlement>],
    batch: &Batch<'_>,
    mut standings: Standings,
    now: Timestamp,
) -> Result<Vec<bool>> {
    let written = batch.write(tx).await?;
    crate::failpoint::pass("settle");
    let (mut notices, mut recovered): (Vec<Planned>, Vec<&str>) = (Vec::new(), Vec::new());
    for (settlement, written) in settlements.iter().zip(&written) {
        if !written {
            continue;
        }
        notices.extend_from_slice(&settlement.notices);
        if says_something(settlement, &standings) {
            let standing = standings.of_mut(&settlement.target);
            let token = Some(settlement.claim.lease.token.as_str());
            let reason = &settlement.attempt.reason;
            if standing.apply(settlement.verdict.target, reason, token, Some(now)) {
                notices.extend_from_slice(&settlement.turn_notices);
                let healthy = settlement.verdict.target == TargetChange::Healthy;
                recovered.extend(healthy.then_some(&*settlement.target));
            }
        }
    }
    standings.write(tx).await?;
    for target in recovered {
        targets::put_in_order(tx, target).await?;
    }
    owe(tx, &notices, now).await?;
    if written.contains(&false) { batch.or_written_before(tx, written).await } else { Ok(written) }
}

/// Those targets that the settlements say something new of. Most are healthy, and another good answer says nothing.
async fn telling<'a>(tx: &Tx<'_>, settlements: &'a [Arc<Settlement>]) -> Result<Vec<&'a str>> {
    let mut names: Vec<&str> = settlements.iter().map(|settlement| settlement.target.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let seen = Standings::read(tx, &names).await?;
    names.retain(|name| {
        let mut of_target = settlements.iter().filter(|settlement| settlement.target == *name);
        of_target.any(|settlement| says_something(settlement, &seen))
    });
    Ok(names)
}

fn says_something(settlement: &Settlement, standings: &Standings) -> bool {
    settlement.verdict.target != TargetChange::Healthy
        || standings.now(&settlement.target).is_some_and(Standing::is_troubled)
}

/// Settlements by column, as `unnest` wants them.
#[derive(Default)]
struct Batch<'a> {
    /// Which settlement stands in which row: their rows are locked in the order of their ids, by everybody.
    places: Vec<usize>,
    ids: Vec<Cow<'a, str>>,
    leases: Vec<&'a str>,
    states: Vec<&'static str>,
    due: Vec<Option<i64>>,
    settled: Vec<Option<i64>>,
    why: Vec<Option<String>>,
    counts: Vec<i32>,
    plain: Vec<bool>,
    /// The rendering that was sent is the plain one.
    sent_plain: Vec<bool>,
    duplicates: Vec<bool>,
    payloads: Vec<Option<String>>,
    at: Vec<i64>,
    outcomes: Vec<Cow<'a, str>>,
    statuses: Vec<Option<i32>>,
    reasons: Vec<Cow<'a, str>>,
    latencies: Vec<i64>,
    answers: Vec<Option<Cow<'a, str>>>,
}

impl<'a> Batch<'a> {
    fn of(settlements: &'a [Arc<Settlement>]) -> Result<Self> {
        let mut batch = Self { places: (0..settlements.len()).collect(), ..Self::default() };
        batch.places.sort_by_key(|place| &settlements[*place].claim.id);
        for place in &batch.places {
            let settlement = &settlements[*place];
            let Settlement { claim, verdict, attempt, payload, .. } = &**settlement;
            let columns = Columns::of(verdict, attempt);
            batch.ids.push(text(claim.id.as_str()));
            batch.leases.push(&claim.lease.token);
            batch.states.push(columns.state.as_str());
            batch.due.push(columns.due_at.map(ms));
            batch.settled.push(columns.settled_at.map(ms));
            batch.why.push(columns.why.map(|why| text(&why).into_owned()));
            batch.counts.push(i32::from(verdict.counts));
            batch.plain.push(verdict.plain);
            batch.sent_plain.push(settlement.plain);
            batch.duplicates.push(settlement.maybe_duplicate);
            batch.payloads.push(payload.as_ref().map(json).transpose()?);
            batch.at.push(ms(attempt.at));
            batch.outcomes.push(text(&attempt.outcome));
            batch.statuses.push(attempt.status.map(i32::from));
            batch.reasons.push(text(&attempt.reason));
            batch.latencies.push(i64::try_from(attempt.latency_ms).unwrap_or(i64::MAX));
            batch.answers.push(text_or_none(attempt.answer.as_deref()));
        }
        Ok(batch)
    }

    /// One statement: states, payloads and attempts. Says of each whether its lease still held.
    async fn write(&self, tx: &Tx<'_>) -> Result<Vec<bool>> {
        let mut written = vec![false; self.ids.len()];
        let ended = tx
            .all(
                "WITH held AS MATERIALIZED (
                   SELECT i.*, d.seq
                   FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::text[], $7::integer[],
                     $8::boolean[], $9::boolean[], $10::text[], $11::bigint[], $12::text[], $13::integer[],
                     $14::text[], $15::bigint[], $16::text[], $17::boolean[]) WITH ORDINALITY
                     AS i (id, lease, state, due_at, settled_at, why, counts, plain, duplicate, payload, at,
                       outcome, status, reason, latency_ms, answer, sent_plain, position)
                   CROSS JOIN LATERAL (
                     SELECT seq FROM deliveries WHERE id = i.id AND lease = i.lease FOR UPDATE) AS d),
                 ended AS (
                   UPDATE deliveries d SET state = i.state, due_at = i.due_at, settled_at = i.settled_at,
                     why = i.why, lease = NULL, attempts = d.attempts + i.counts, starts = d.attempts + i.counts,
                     plain = i.plain, maybe_duplicate = d.maybe_duplicate OR i.duplicate
                   FROM held i WHERE d.seq = ANY (ARRAY[i.seq])
                   RETURNING d.seq, i.position, i.payload, i.sent_plain, i.at, i.outcome, i.status, i.reason,
                     i.latency_ms, i.answer),
                 kept AS (
                   INSERT INTO payloads (delivery, plain, payload)
                   SELECT seq, sent_plain, payload FROM ended WHERE payload IS NOT NULL
                   ON CONFLICT (delivery) DO UPDATE SET plain = excluded.plain, payload = excluded.payload),
                 noted AS (
                   INSERT INTO attempts (delivery, n, at, outcome, status, reason, latency_ms, answer)
                   SELECT seq, (SELECT coalesce(max(n), 0) + 1 FROM attempts WHERE delivery = seq),
                     at, outcome, status, reason, latency_ms, answer
                   FROM ended)
                 SELECT position FROM ended",
                &[
                    &self.ids,
                    &self.leases,
                    &self.states,
                    &self.due,
                    &self.settled,
                    &self.why,
                    &self.counts,
                    &self.plain,
                    &self.duplicates,
                    &self.payloads,
                    &self.at,
                    &self.outcomes,
                    &self.statuses,
                    &self.reasons,
                    &self.latencies,
                    &self.answers,
                    &self.sent_plain,
                ],
            )
            .await?;
        self.mark(&ended, &mut written)?;
        Ok(written)
    }

    /// The same, and `true` for what was written before: a commit whose answer was lost is found there when it is tried again.
    async fn or_written_before(&self, tx: &Tx<'_>, mut written: Vec<bool>) -> Result<Vec<bool>> {
        let found = tx
            .all(
                "SELECT i.position FROM unnest($1::text[], $2::bigint[], $3::text[], $4::bigint[]) WITH ORDINALITY
                   AS i (id, at, outcome, latency_ms, position)
                 JOIN deliveries d ON d.id = i.id
                 JOIN attempts a ON a.delivery = d.seq AND a.at = i.at AND a.outcome = i.outcome
                   AND a.latency_ms = i.latency_ms",
                &[&self.ids, &self.at, &self.outcomes, &self.latencies],
            )
            .await?;
        self.mark(&found, &mut written)?;
        Ok(written)
    }

    /// Says of the settlements in these rows that they are written.
    fn mark(&self, rows: &[Row], written: &mut [bool]) -> Result<()> {
        for row in rows {
            let position = usize::try_from(get::<i64>(row, "position")?).unwrap_or(usize::MAX);
            if let Some(place) = self.places.get(position.saturating_sub(1)) {
                written[*place] = true;
            }
        }
        Ok(())
    }
}
