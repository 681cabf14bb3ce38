//! Taking in: messages, what is owed for them, and how far polling got, in one transaction.

use std::collections::HashMap;

use jiff::Timestamp;
use rusqlite::params;
use rusqlite::types::ToSqlOutput;

use super::claim::openings;
use super::db::{Db, Json, Ms, json};
use super::{roles, targets};
use crate::model::delivery::{Job, Lease, Planned, StateName};
use crate::model::id::DeliveryId;
use crate::model::message::Message;
use crate::store::opening::job;
use crate::store::{Admission, Admitted, Cursor, Quarantined, Result, StoreError, Taken, Want};

/// The messages of a page as the store keeps them, each with the names of its rules: JSON.
pub(super) struct Texts(Vec<(String, String)>);

impl Texts {
    /// Writes them out.
    pub(super) fn of(admission: &Admission) -> Result<Self> {
        let text = |admitted: &Admitted| Ok((json(&admitted.message)?, json(&admitted.rules)?));
        Ok(Self(admission.messages.iter().map(text).collect::<Result<_>>()?))
    }
}

/// Takes in one page, and leases of it what the wants may have at once.
pub(super) fn admit(
    db: &Db,
    admission: &Admission,
    texts: &Texts,
    wants: &[Want],
    now: Timestamp,
) -> Result<(Taken, Vec<Job>)> {
    if let Some(role) = &admission.role {
        roles::require(db, role)?;
    }
    let (mut taken, mut jobs) = (Taken::default(), Vec::new());
    let mut openings = openings(db, wants, now)?;
    let mut links = Links::default();
    for (admitted, text) in admission.messages.iter().zip(&texts.0) {
        let Some(id) = keep_message(db, &admission.account, (&admitted.message, text), now)? else {
            continue;
        };
        taken.messages += 1;
        links.known.insert(admitted.message.uid.clone(), id);
        for planned in &admitted.deliveries {
            let lease = openings.lease(planned, now);
            let new = owe_one(db, planned, lease.as_ref(), &mut links, now)?;
            taken.deliveries += usize::from(new);
            jobs.extend(lease.filter(|_| new).map(|lease| job(planned, &admitted.message, lease, now)));
        }
        crate::failpoint::pass("admit");
    }
    links.write(db)?;
    openings.paced(now).try_for_each(|(target, next)| targets::pace(db, target, next))?;
    for quarantined in &admission.quarantined {
        taken.quarantined += keep_aside(db, &admission.account, quarantined, now)?;
    }
    if let Some(cursor) = &admission.cursor {
        move_cursor(db, &admission.account, cursor)?;
    }
    Ok((taken, jobs))
}

/// Takes in deliveries; one that is already there stays as it is. Returns how many were new.
pub(super) fn owe(db: &Db, planned: &[Planned], now: Timestamp) -> Result<usize> {
    let (mut new, mut links) = (0, Links::default());
    for planned in planned {
        new += usize::from(owe_one(db, planned, None, &mut links, now)?);
    }
    links.write(db)?;
    Ok(new)
}

/// Takes in notices if the beginning or the end of the trouble is news.
pub(super) fn tell(db: &Db, trouble: &str, lasts: bool, notices: &[Planned], now: Timestamp) -> Result<bool> {
    let changed = if lasts {
        db.run(
            "INSERT INTO told (trouble, since) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
            params![trouble, Ms(now)],
        )?
    } else {
        db.run("DELETE FROM told WHERE trouble = ?1", params![trouble])?
    };
    if changed > 0 {
        owe(db, notices, now)?;
    }
    Ok(changed > 0)
}

/// `true` if it is a new delivery; `false` if it was there, or joined one that is open.
fn owe_one(
    db: &Db,
    planned: &Planned,
    lease: Option<&Lease>,
    links: &mut Links,
    now: Timestamp,
) -> Result<bool> {
    if let Some(key) = &planned.joins
        && let Some((seq, position)) = open_group(db, planned, key)?
    {
        links.add(db, seq, position, planned)?;
        return Ok(false);
    }
    let seq = insert(db, planned, lease, now)?;
    if let Some(seq) = seq {
        links.add(db, seq, 0, planned)?;
    }
    Ok(seq.is_some())
}

/// The delivery that still takes in messages of this group, and its next position.
fn open_group(db: &Db, planned: &Planned, key: &str) -> Result<Option<(i64, i64)>> {
    db.one(
        "SELECT seq, (SELECT coalesce(max(position), -1) + 1 FROM delivery_messages WHERE delivery = seq) AS position
         FROM deliveries WHERE account = ?1 AND rule = ?2 AND target = ?3 AND coalesce(recipient, '') = ?4
           AND group_key = ?5 AND state = 'pending' AND starts = 0",
        params![
            planned.account,
            planned.rule,
            planned.target,
            planned.recipient.as_deref().unwrap_or_default(),
            key
        ],
        |row| Ok((row.get("seq")?, row.get("position")?)),
    )
}

fn insert(db: &Db, planned: &Planned, lease: Option<&Lease>, now: Timestamp) -> Result<Option<i64>> {
    let withheld = planned.withheld.is_some();
    let state = match (withheld, lease) {
        (true, _) => StateName::Withheld,
        (false, Some(_)) => StateName::Sending,
        (false, None) => StateName::Pending,
    };
    let due_at = lease.map_or(planned.due_at, |lease| lease.until);
    db.one(
        "INSERT INTO deliveries (id, account, rule, target, recipient, template, state, due_at, lease,
           claimed_at, starts, created_at, expires_at, settled_at, why, replay_of, notice, group_key)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)
         ON CONFLICT (id) DO NOTHING RETURNING seq",
        params![
            planned.id.as_str(),
            planned.account,
            planned.rule,
            planned.target,
            planned.recipient,
            planned.template,
            state.as_str(),
            (!withheld).then_some(Ms(due_at)),
            lease.map(|lease| &lease.token),
            lease.map(|_| Ms(now)),
            u32::from(lease.is_some()),
            Ms(now),
            planned.expires_at.map(Ms),
            withheld.then_some(Ms(now)),
            planned.withheld,
            planned.replay_of.as_ref().map(DeliveryId::as_str),
            planned.notice.as_ref().map(Json),
            planned.joins
        ],
        |row| row.get::<_, i64>("seq"),
    )
}

/// Which delivery is about which message: written together at the end.
#[derive(Default)]
struct Links {
    /// Row numbers of messages, by uid, as far as they are known.
    known: HashMap<String, i64>,
    /// Delivery, position, message.
    values: Vec<i64>,
}

impl Links {
    fn add(&mut self, db: &Db, seq: i64, first: i64, planned: &Planned) -> Result<()> {
        for (position, uid) in (first..).zip(&planned.messages) {
            let message = match self.known.get(uid) {
                Some(message) => *message,
                None => find_message(db, planned, uid)?,
            };
            self.values.extend([seq, position, message]);
        }
        Ok(())
    }

    fn write(&self, db: &Db) -> Result<()> {
        let values: Vec<ToSqlOutput<'_>> = self.values.iter().copied().map(Into::into).collect();
        let insert = ("INSERT INTO delivery_messages (delivery, position, message)", "(?, ?, ?)", "");
        db.insert_all(insert, 3, &values)
    }
}

fn find_message(db: &Db, planned: &Planned, uid: &str) -> Result<i64> {
    let found = db.one(
        "SELECT id FROM messages WHERE account = ?1 AND uid = ?2",
        params![planned.account, uid],
        |row| row.get("id"),
    )?;
    let id = &planned.id;
    found.ok_or_else(|| {
        StoreError::Corrupt(format!("delivery {id} is about message {uid}, which is not there"))
    })
}

/// The row's number; `None` if the message was there already.
fn keep_message(
    db: &Db,
    account: &str,
    (message, (text, rules)): (&Message, &(String, String)),
    now: Timestamp,
) -> Result<Option<i64>> {
    db.one(
        "INSERT INTO messages (account, uid, activity_type, message_type, direction, created_at, seen_at,
           rules, message)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT (account, uid) DO NOTHING RETURNING id",
        params![
            account,
            message.uid,
            message.triple.activity_type,
            message.triple.message_type,
            message.triple.direction,
            Ms(message.created_at),
            Ms(now),
            rules,
            text
        ],
        |row| row.get("id"),
    )
}

fn keep_aside(db: &Db, account: &str, item: &Quarantined, now: Timestamp) -> Result<usize> {
    // As far as it can be read: it lets `seen_between` count the item among those the API has.
    let made_at = item.raw.get("created_at").and_then(|at| at.as_str()?.parse().ok());
    db.run(
        "INSERT INTO quarantine (account, uid, raw, why, made_at, seen_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT DO NOTHING",
        params![account, item.uid, Json(&item.raw), item.why, made_at.map(Ms), Ms(now)],
    )
}

fn move_cursor(db: &Db, account: &str, cursor: &Cursor) -> Result<()> {
    db.run(
        "INSERT INTO accounts (name, floor, watermark) VALUES (?1, ?2, ?3)
         ON CONFLICT DO UPDATE SET floor = coalesce(floor, excluded.floor),
           watermark = max(coalesce(watermark, excluded.watermark), coalesce(excluded.watermark, watermark))",
        params![account, cursor.floor.map(Ms), cursor.watermark.map(Ms)],
    )?;
    Ok(())
}
