//! Taking in a page: messages, what is owed for them, and how far polling got, in one transaction.

use std::borrow::Cow;
use std::collections::HashSet;

use futures_util::try_join;
use jiff::Timestamp;

use super::Postgres;
use super::claim::under_way;
use super::connect::daily;
use super::good::make_good;
use super::owed::{Messages, Owed, lock_account, take_in};
use super::targets::{self, Standings};
use super::tx::{Tx, get, json, ms, text};
use crate::model::delivery::{Job, Lease, Planned};
use crate::model::message::Message;
use crate::store::admission::makers_good;
use crate::store::opening::{Openings, job};
use crate::store::{Admission, Cursor, Quarantined, Result, Taken, Want};

impl Postgres {
    /// Takes in one page, and leases of it what the wants may have at once.
    pub(in crate::store) async fn admit_leasing(
        &self,
        admission: Admission,
        wants: Vec<Want>,
        now: Timestamp,
    ) -> Result<(Taken, Vec<Job>)> {
        let tokens = self.next_tokens();
        let admitted = daily!(self.db, |tx| {
            lock_account(tx, &admission.account).await?;
            if let Some(role) = &admission.role {
                self.require(tx, role).await?;
            }
            let (mut fresh, quarantined, (), quiet) = try_join!(
                keep_messages(tx, &admission, now),
                keep_aside(tx, &admission.account, &admission.quarantined, now),
                move_cursor(tx, &admission.account, admission.cursor.as_ref()),
                quiet(tx, &wants, now),
            )?;
            let mut taken = Taken { messages: fresh.len(), deliveries: 0, quarantined };
            let (mut openings, mut standings) =
                openings(tx, &quiet, tokens.clone(), self.instance(), now).await?;
            let mut leases: Vec<(&Planned, &Message, Option<Lease>)> = Vec::new();
            let mut new_ones = Vec::new();
            for admitted in &admission.messages {
                if fresh.remove(&*text(&admitted.message.uid)) {
                    new_ones.push(admitted);
                    for planned in &admitted.deliveries {
                        leases.push((planned, &admitted.message, openings.lease(planned, now)));
                    }
                }
            }
            let owed: Vec<_> =
                leases.iter().map(|(planned, _, lease)| Owed { planned, lease: lease.as_ref() }).collect();
            let new = take_in(tx, &owed, Messages::New, now).await?;
            for admitted in makers_good(new_ones.into_iter()) {
                make_good(tx, admitted, now).await?;
            }
            crate::failpoint::pass("admit");
            taken.deliveries = new.len();
            crate::failpoint::pass("admit");
            for (target, next) in openings.paced(now) {
                let state = &mut standings.of_mut(target).state;
                (state.next_slot, state.paced_by) = (Some(next), Some(self.instance().to_owned()));
            }
            standings.write(tx).await?;
            let mut jobs = Vec::new();
            for (planned, message, lease) in leases {
                let lease = lease.filter(|_| new.contains(planned.id.as_str()));
                jobs.extend(lease.map(|lease| job(planned, message, lease, now)));
            }
            Ok((taken, jobs))
        });
        self.untold.note(&tokens, &admitted);
        admitted
    }
}

/// Keeps the messages that are new; returns their uids, as they are kept.
async fn keep_messages(tx: &Tx<'_>, admission: &Admission, now: Timestamp) -> Result<HashSet<String>> {
    let admitted = &admission.messages;
    if admitted.is_empty() {
        return Ok(HashSet::new());
    }
    let of = |part: fn(&Message) -> &str| -> Vec<Cow<'_, str>> {
        admitted.iter().map(|admitted| text(part(&admitted.message))).collect()
    };
    let made: Vec<i64> = admitted.iter().map(|admitted| ms(admitted.message.created_at)).collect();
    let rules: Vec<String> = admitted.iter().map(|admitted| json(&admitted.rules)).collect::<Result<_>>()?;
    let messages: Vec<String> =
        admitted.iter().map(|admitted| json(&admitted.message)).collect::<Result<_>>()?;
    let fresh = tx
        .all(
            "INSERT INTO messages (account, uid, activity_type, message_type, direction, created_at, seen_at,
               rules, message)
             SELECT $1, uid, activity_type, message_type, direction, created_at, $2, rules, message
             FROM unnest($3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[], $8::text[], $9::text[])
               WITH ORDINALITY AS m (uid, activity_type, message_type, direction, created_at, rules, message, position)
             ORDER BY position ON CONFLICT (account, uid) DO NOTHING RETURNING uid",
            &[
                &text(&admission.account),
                &ms(now),
                &of(|message| &message.uid),
                &of(|message| &message.triple.activity_type),
                &of(|message| &message.triple.message_type),
                &of(|message| &message.triple.direction),
                &made,
                &rules,
                &messages,
            ],
        )
        .await?;
    fresh.iter().map(|row| get(row, "uid")).collect()
}

/// Keeps what could not be read; returns how many were new.
async fn keep_aside(tx: &Tx<'_>, account: &str, items: &[Quarantined], now: Timestamp) -> Result<usize> {
    if items.is_empty() {
        return Ok(0);
    }
    let uids: Vec<_> = items.iter().map(|item| text(&item.uid)).collect();
    let raw: Vec<String> = items.iter().map(|item| json(&item.raw)).collect::<Result<_>>()?;
    let why: Vec<_> = items.iter().map(|item| text(&item.why)).collect();
    // As far as it can be read: it lets `seen_between` count the item among those the API has.
    let made_at = |item: &Quarantined| -> Option<i64> {
        let at: Timestamp = item.raw.get("created_at")?.as_str()?.parse().ok()?;
        Some(ms(at))
    };
    let made: Vec<Option<i64>> = items.iter().map(made_at).collect();
    let kept = tx
        .run(
            "INSERT INTO quarantine (account, uid, raw, why, made_at, seen_at)
             SELECT $1, uid, raw, why, made_at, $2
             FROM unnest($3::text[], $4::text[], $5::text[], $6::bigint[]) AS q (uid, raw, why, made_at)
             ON CONFLICT (account, uid) DO NOTHING",
            &[&text(account), &ms(now), &uids, &raw, &why, &made],
        )
        .await?;
    Ok(usize::try_from(kept).unwrap_or(usize::MAX))
}

/// Moves the cursor, never back.
async fn move_cursor(tx: &Tx<'_>, account: &str, cursor: Option<&Cursor>) -> Result<()> {
    let Some(cursor) = cursor else { return Ok(()) };
    tx.run(
        "INSERT INTO accounts AS a (name, floor, watermark) VALUES ($1, $2, $3)
         ON CONFLICT (name) DO UPDATE SET floor = coalesce(a.floor, excluded.floor),
           watermark = greatest(a.watermark, excluded.watermark)",
        &[&text(account), &cursor.floor.map(ms), &cursor.watermark.map(ms)],
    )
    .await
    .map(|_| ())
}

/// Those wants for whose targets nothing older is due.
async fn quiet(tx: &Tx<'_>, wants: &[Want], now: Timestamp) -> Result<Vec<Want>> {
    if wants.is_empty() {
        return Ok(Vec::new());
    }
    let names: Vec<_> = wants.iter().map(|want| text(&want.target)).collect();
    let quiet = tx
        .all(
            "SELECT name FROM unnest($1::text[]) AS w (name) WHERE (SELECT seq FROM deliveries
               WHERE target = w.name AND state = 'pending' AND due_at <= $2 LIMIT 1) IS NULL",
            &[&names, &ms(now)],
        )
        .await?;
    let quiet: HashSet<String> = quiet.iter().map(|row| get(row, "name")).collect::<Result<_>>()?;
    Ok(wants.iter().filter(|want| quiet.contains(&*text(&want.target))).cloned().collect())
}

/// What may be leased of the page, and how the targets stand, whose locks are held from here on: those of targets with a
/// backlog are left to the couriers, who are at it. It is looked again behind the locks.
async fn openings(
    tx: &Tx<'_>,
    wants: &[Want],
    tokens: String,
    me: &str,
    now: Timestamp,
) -> Result<(Openings, Standings)> {
    let mut openings = Openings::new(tokens);
    if wants.is_empty() {
        return Ok((openings, Standings::default()));
    }
    let names: Vec<&str> = wants.iter().map(|want| want.target.as_str()).collect();
    targets::lock(tx, &names).await?;
    let (quiet, standings, under_way) =
        try_join!(quiet(tx, wants, now), Standings::read(tx, &names), under_way(tx, Some(&names), me))?;
    for want in &quiet {
        let under_way = under_way.get(&want.target).copied().unwrap_or_default();
        openings.add(want, standings.of(&want.target).map(|one| &one.state), under_way, me, now);
    }
    Ok((openings, standings))
}
