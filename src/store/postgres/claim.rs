//! Claiming: what is due and may be sent gets a lease, with no two instances in each other's way.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use futures_util::try_join;
use jiff::Timestamp;
use tokio_postgres::Row;

use super::Postgres;
use super::connect::{daily, query};
use super::sweep::{bury, expire, late, take_back};
use super::targets::{self, Standings};
use super::tx::{Params, Tx, get, ms, number, rows, text, time, time_or_none};
use crate::model::delivery::{Claim, Job, Lease};
use crate::model::id::DeliveryId;
use crate::model::settle::after_now;
use crate::store::ends::complete;
use crate::store::gathering::gathered;
use crate::store::opening::{UnderWay, opening};
use crate::store::{Claimed, Outlook, Result, Want};

/// Whoever leases a suspect holds this lock to the transaction's end ("suspect" in ASCII).
const SUSPECTS: i64 = 0x73_75_73_70_65_63_74;

impl Postgres {
    /// Claims for every want as much as its target may have.
    pub(in crate::store) async fn claim(&self, wants: Vec<Want>, now: Timestamp) -> Result<Claimed> {
        self.take_back_untold(now).await?;
        let tokens = self.next_tokens();
        let claimed = daily!(self.db, |tx| {
            let names: Vec<&str> = wants.iter().map(|want| want.target.as_str()).collect();
            // Behind the locks nobody changes any more how the targets stand; then one journey for all.
            targets::lock(tx, &names).await?;
            let late = late(tx, now, self.patient_until.load(Ordering::Relaxed));
            let (late, expired, room) =
                try_join!(late, expire(tx, now), Room::read(tx, &names, self.instance(), now))?;
            let mut claimed = Claimed { jobs: Vec::new(), ended: expired };
            claimed.ended.extend(take_back(tx, &late, now).await?);
            take(tx, &wants, room, &tokens, self.instance(), now, &mut claimed).await?;
            Ok(claimed)
        });
        self.untold.note(&tokens, &claimed);
        claimed
    }

    /// How the targets stand, and when the first pending delivery of each wanted one is due; suspects that wait for
    /// another one's end are not.
    pub(in crate::store) async fn outlook(&self, wanted: &[String]) -> Result<Outlook> {
        let names: Vec<_> = wanted.iter().map(|name| text(name)).collect();
        query!(self.db, |tx| {
            let params: Params<'_> = &[&names];
            let due = tx.all(
                "SELECT w.name AS target, d.due_at FROM unnest($1::text[]) AS w (name)
                     CROSS JOIN LATERAL (SELECT due_at FROM deliveries
                       WHERE target = w.name AND state = 'pending'
                         AND (starts - attempts < 2 OR NOT EXISTS (
                           SELECT 1 FROM deliveries WHERE state = 'sending' AND starts - attempts > 2))
                       ORDER BY due_at LIMIT 1) AS d",
                params,
            );
            let (found, states, sending) =
                try_join!(due, targets::all(tx), under_way(tx, None, self.instance()))?;
            let mut due = HashMap::new();
            for row in &found {
                due.insert(get(row, "target")?, time(row, "due_at")?);
            }
            let sending = sending.into_iter().map(|(target, under_way)| (target, under_way.all)).collect();
            Ok(Outlook { states, due, sending })
        })
    }

    /// The earliest moment at which a claim for one of the targets would find something.
    pub(in crate::store) async fn next_due(&self, wanted: &[String]) -> Result<Option<Timestamp>> {
        let names: Vec<_> = wanted.iter().map(|name| text(name)).collect();
        query!(self.db, |tx| {
            let row = tx
                .one(
                    "SELECT min(greatest(d.due_at, h.wait_until, h.parked_until)) AS due_at
                         FROM unnest($1::text[]) AS w (name) LEFT JOIN targets h ON h.name = w.name
                         CROSS JOIN LATERAL (SELECT least(
                           (SELECT min(due_at) FROM deliveries WHERE target = w.name AND state = 'pending'),
                           (SELECT min(due_at) FROM deliveries WHERE target = w.name AND state = 'sending'))
                           AS due_at) AS d
                         WHERE h.paused IS NOT TRUE AND d.due_at IS NOT NULL",
                    &[&names],
                )
                .await?;
            row.map_or(Ok(None), |row| time_or_none(&row, "due_at"))
        })
    }
}

/// What tells how much may be leased.
pub(super) struct Room {
    standings: Standings,
    under_way: HashMap<String, UnderWay>,
    /// One of the suspects may be leased, if none is being sent.
    suspects: bool,
}

impl Room {
    /// That of these targets, in one journey. Their locks are held.
    pub(super) async fn read(tx: &Tx<'_>, targets: &[&str], me: &str, now: Timestamp) -> Result<Self> {
        let (suspects, standings, under_way) = try_join!(
            turn_of_suspects(tx, now),
            Standings::read(tx, targets),
            under_way(tx, Some(targets), me)
        )?;
        Ok(Self { standings, under_way, suspects })
    }
}

/// Leases for every want as much as its target may have. The targets' locks are held.
pub(super) async fn take(
    tx: &Tx<'_>,
    wants: &[Want],
    Room { standings, under_way, suspects }: Room,
    tokens: &str,
    instance: &str,
    now: Timestamp,
    claimed: &mut Claimed,
) -> Result<()> {
    let limits = wants.iter().map(|want| {
        let under_way = under_way.get(&want.target).copied().unwrap_or_default();
        (want, opening(want, standings.of(&want.target).map(|one| &one.state), under_way, instance, now))
    });
    let limits: Vec<(&Want, usize)> = limits.filter(|(_, limit)| *limit > 0).collect();
    if limits.is_empty() {
        return Ok(());
    }
    let leased = lease(tx, &limits, suspects, tokens, now).await?;
    let mut unreadable = Vec::new();
    for found in leased {
        match found.finish() {
            Ok(job) => claimed.jobs.push(job),
            Err(bad) => unreadable.push(bad),
        }
    }
    claimed.ended.extend(bury(tx, &unreadable, now).await?);
    note(tx, standings, wants, &claimed.jobs, instance, now).await?;
    Ok(())
}

/// How many deliveries of each of the targets, or of all, are under way.
pub(super) async fn under_way(
    tx: &Tx<'_>,
    targets: Option<&[&str]>,
    me: &str,
) -> Result<HashMap<String, UnderWay>> {
    let names: Option<Vec<_>> = targets.map(|names| names.iter().copied().map(text).collect());
    let found = tx
        .all(
            "SELECT target, count(*) AS n, count(*) FILTER (WHERE NOT starts_with(lease, $2)) AS elsewhere
             FROM deliveries
             WHERE state = 'sending' AND ($1::text[] IS NULL OR target = ANY ($1)) GROUP BY target",
            &[&names, &format!("{me}.")],
        )
        .await?;
    let count = |row: &Row, column| -> Result<usize> {
        Ok(usize::try_from(get::<i64>(row, column)?).unwrap_or_default())
    };
    let mut under_way = HashMap::new();
    for row in &found {
        let of = UnderWay { all: count(row, "n")?, elsewhere: count(row, "elsewhere")? };
        under_way.insert(get(row, "target")?, of);
    }
    Ok(under_way)
}

/// Whether this transaction may lease one of those that may have taken their holders down: what it then finds being sent
/// is all that is. Without such ones, waiting or held past their leases, nothing is locked.
async fn turn_of_suspects(tx: &Tx<'_>, now: Timestamp) -> Result<bool> {
    let sql = "SELECT pg_try_advisory_xact_lock($1) AS mine WHERE EXISTS (
           SELECT 1 FROM deliveries
             WHERE state IN ('pending', 'sending') AND starts - attempts >= 2 AND due_at <= $2)";
    tx.one(sql, &[&SUSPECTS, &ms(now)]).await?.map_or(Ok(false), |row| get(&row, "mine"))
}

/// Leases the first due deliveries of each target, with their messages and payloads; of the suspects, one at a time.
async fn lease(
    tx: &Tx<'_>,
    limits: &[(&Want, usize)],
    suspects: bool,
    tokens: &str,
    now: Timestamp,
) -> Result<Vec<Leased>> {
    let names: Vec<_> = limits.iter().map(|(want, _)| text(&want.target)).collect();
    let numbers: Vec<i64> = limits.iter().map(|(_, limit)| rows(*limit)).collect();
    let ends: Vec<i64> = limits.iter().map(|(want, _)| ms(after_now(now, want.lease))).collect();
    // A limit that stands in the statement lets the server walk the index and stop; one out of a column makes it sort all
    // that waits. A power of two: few statements.
    let most = limits.iter().map(|(_, limit)| *limit).max().unwrap_or(1).next_power_of_two();
    let sql = format!(
        "WITH suspect AS MATERIALIZED (
           SELECT seq FROM deliveries
           WHERE $6 AND state = 'pending' AND starts - attempts >= 2 AND due_at <= $4 AND target = ANY ($1)
             AND NOT EXISTS (SELECT 1 FROM deliveries WHERE state = 'sending' AND starts - attempts > 2)
           ORDER BY due_at, created_at, seq LIMIT 1),
             due AS MATERIALIZED (
           SELECT d.seq, d.due_at, c.until, c.position
           FROM (SELECT w.until, w.position, first.seq, row_number() OVER (PARTITION BY w.position
                   ORDER BY first.due_at, first.created_at, first.seq) AS place, w.n
                 FROM unnest($1::text[], $2::bigint[], $3::bigint[]) WITH ORDINALITY AS w (name, n, until, position)
                 CROSS JOIN LATERAL (
                   SELECT seq, due_at, created_at FROM deliveries
                   WHERE target = w.name AND state = 'pending' AND due_at <= $4
                     AND (starts - attempts < 2 OR seq = (SELECT seq FROM suspect))
                   ORDER BY due_at, created_at, seq LIMIT {most}) AS first) AS c
           CROSS JOIN LATERAL (SELECT seq, due_at FROM deliveries
             WHERE seq = c.seq AND state = 'pending' AND due_at <= $4 FOR UPDATE SKIP LOCKED) AS d
           WHERE c.place <= c.n),
             leased AS (
               UPDATE deliveries d SET state = 'sending', lease = $5 || d.seq, due_at = due.until, claimed_at = $4,
                 starts = starts + 1
               FROM due WHERE d.seq = ANY (ARRAY[due.seq]) RETURNING d.*, due.position, due.due_at AS was_due)
             SELECT l.*,
               (SELECT payload FROM payloads WHERE delivery = l.seq AND plain = l.plain) AS payload,
               array(SELECT m.message FROM delivery_messages dm
                     CROSS JOIN LATERAL (SELECT message FROM messages WHERE id = dm.message LIMIT 1) AS m
                     WHERE dm.delivery = l.seq ORDER BY dm.position) AS messages
             FROM leased l
             ORDER BY l.position, l.was_due, l.created_at, l.seq"
    );
    let found = tx.all(&sql, &[&names, &numbers, &ends, &ms(now), &tokens, &suspects]).await?;
    found.iter().map(Leased::read).collect()
}

/// A leased row, its JSON still unread: one row that cannot be read must not stop the others.
struct Leased {
    seq: i64,
    job: Job,
    messages: Vec<String>,
    payload: Option<String>,
    notice: Option<String>,
}

impl Leased {
    fn read(row: &Row) -> Result<Self> {
        let lease = Lease { token: get(row, "lease")?, until: time(row, "due_at")? };
        let claim = Claim {
            id: DeliveryId::from_text(get::<String>(row, "id")?),
            attempts: number(row, "attempts")?,
            starts: number(row, "starts")?,
            lease,
        };
        let created_at = time(row, "created_at")?;
        let first_due = time_or_none(row, "first_due")?.unwrap_or(created_at);
        let job = Job {
            claim,
            account: get(row, "account")?,
            rule: get(row, "rule")?,
            target: get(row, "target")?,
            recipient: get(row, "recipient")?,
            template: get(row, "template")?,
            messages: Vec::new(),
            notice: None,
            payload: None,
            plain: get(row, "plain")?,
            created_at,
            first_due,
            expires_at: time_or_none(row, "expires_at")?,
            replay_of: get::<Option<String>>(row, "replay_of")?.map(DeliveryId::from_text),
            gathered: gathered(
                get::<Option<String>>(row, "group_key")?.as_deref(),
                time_or_none(row, "window_from")?,
                time_or_none(row, "window_to")?,
                first_due,
            ),
            throttled: number(row, "throttled")?,
        };
        Ok(Self {
            seq: get(row, "seq")?,
            job,
            messages: get(row, "messages")?,
            payload: get(row, "payload")?,
            notice: get(row, "notice")?,
        })
    }

    /// The job; or the row's number and why it cannot be one.
    fn finish(mut self) -> std::result::Result<Job, (i64, String)> {
        complete(&mut self.job, self.messages, self.payload, self.notice)
            .map(|()| self.job)
            .map_err(|why| (self.seq, why))
    }
}

/// Writes down what the leases took of the targets' rates, and which of them tries a parked target.
async fn note(
    tx: &Tx<'_>,
    mut standings: Standings,
    wants: &[Want],
    jobs: &[Job],
    me: &str,
    now: Timestamp,
) -> Result<()> {
    for want in wants {
        let of_target = jobs.iter().filter(|job| job.target == want.target);
        let Some(first) = of_target.clone().next() else { continue };
        if standings.of(&want.target).is_some_and(|standing| standing.state.parked_until.is_some()) {
            standings.of_mut(&want.target).begin_probe(&first.claim.lease);
        }
        if let Some(rate) = want.rate {
            let state = &mut standings.of_mut(&want.target).state;
            state.next_slot = Some(rate.taken(state.next_slot, of_target.count(), now));
            state.paced_by = Some(me.to_owned());
        }
    }
    standings.write(tx).await
}
