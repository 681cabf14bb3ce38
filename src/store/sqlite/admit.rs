//! Taking in: messages, what is owed for them, and how far polling got, in one transaction.

use std::borrow::Cow;
use std::collections::HashMap;

use jiff::Timestamp;
use rusqlite::params;
use rusqlite::types::ToSqlOutput;

use super::claim::openings;
use super::db::{Db, Json, Ms, json, time, time_or_none};
use super::good::Keys;
use super::tally::{Tally, count_triples};
use super::{good, roles, targets, throttles};
use crate::model::delivery::{Job, Lease, Planned, StateName};
use crate::model::group::{Join, Kind};
use crate::model::id::DeliveryId;
use crate::model::message::Message;
use crate::store::admission::makers_good;
use crate::store::gathering::{OPEN, Open, Passed, may_join};
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
    let (mut links, mut triples, mut fresh) = (Links::default(), Vec::new(), Vec::new());
    for (admitted, text) in admission.messages.iter().zip(&texts.0) {
        let Some(id) = keep_message(db, &admission.account, (&admitted.message, text), now)? else {
            continue;
        };
        taken.messages += 1;
        triples.push(&admitted.message.triple);
        fresh.push(admitted);
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
    makers_good(fresh.into_iter()).into_iter().try_for_each(|admitted| good::make_good(db, admitted, now))?;
    count_triples(db, triples.into_iter())?;
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

/// Takes in notices of a trouble that is over, if nobody told of it since it began.
pub(super) fn tell_afterwards(
    db: &Db,
    trouble: &str,
    from: Timestamp,
    notices: &[Planned],
    now: Timestamp,
) -> Result<bool> {
    let changed = db.run(
        "INSERT INTO told (trouble, since) VALUES (?1, ?2)
         ON CONFLICT (trouble) DO UPDATE SET since = excluded.since WHERE since < ?3",
        params![trouble, Ms(now), Ms(from)],
    )?;
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
    if lease.is_none() && (planned.joins.is_some() || planned.quota.is_some()) {
        return gather(db, planned, links, now);
    }
    put(db, planned, &Entry { lease, ..Entry::of(planned) }, links, now)
}

/// Takes in what may join others, or be held back.
fn gather(db: &Db, planned: &Planned, links: &mut Links, now: Timestamp) -> Result<bool> {
    let known = db.one("SELECT 1 FROM deliveries WHERE id = ?1", params![planned.id.as_str()], |_| Ok(()))?;
    if known.is_some() {
        return Ok(false);
    }
    if !may_join(planned, now) {
        return put(db, planned, &Entry { joins: None, ..Entry::of(planned) }, links, now);
    }
    if let Some(join) = &planned.joins
        && join_open(db, planned, join, links, now)?
    {
        return Ok(false);
    }
    let mut entry = Entry::of(planned);
    if let Some(quota) = &planned.quota {
        match throttles::take(db, planned, quota, now)? {
            Passed::Goes { held } => entry.throttled = held,
            Passed::Withheld(why) => entry.withheld = Some(Cow::Owned(why)),
            Passed::Joins(join, due_at) => {
                if join_open(db, planned, &join, links, now)? {
                    return Ok(false);
                }
                (entry.due_at, entry.joins) = (due_at, Some(Cow::Owned(join)));
            }
        }
    }
    put(db, planned, &entry, links, now)
}

/// Joins the delivery that still takes in messages of this group; `false` if there is none.
fn join_open(db: &Db, planned: &Planned, join: &Join, links: &mut Links, now: Timestamp) -> Result<bool> {
    let Some((seq, mut open)) = open_group(db, planned, join)?.filter(|(_, open)| open.is_free(join)) else {
        return Ok(false);
    };
    let position = i64::try_from(open.items).unwrap_or(i64::MAX);
    open.take(planned, join, now);
    links.add(db, seq, position, planned)?;
    if join.kind == Kind::Event {
        links.keys.add(seq, planned);
    }
    // What follows is asked about the group before the end of the transaction.
    links.write(db)?;
    db.run(
        "UPDATE deliveries SET due_at = ?2, first_due = ?2, window_to = ?3, expires_at = ?4 WHERE seq = ?1",
        params![seq, Ms(open.due_at), Ms(open.to), open.expires_at.map(Ms)],
    )?;
    Ok(true)
}

/// The newest delivery of this group that nobody has begun to send.
fn open_group(db: &Db, planned: &Planned, join: &Join) -> Result<Option<(i64, Open)>> {
    db.one(
        &format!(
            "SELECT seq, due_at, created_at, window_to, expires_at,
               (SELECT coalesce(max(position), -1) + 1 FROM delivery_messages WHERE delivery = seq) AS items
             FROM deliveries d WHERE account = ?1 AND rule = ?2 AND target = ?3 AND coalesce(recipient, '') = ?4
               AND group_key = ?5 AND {OPEN}
             ORDER BY seq DESC LIMIT 1"
        ),
        params![
            planned.account,
            planned.rule,
            planned.target,
            planned.recipient.as_deref().unwrap_or_default(),
            join.name()
        ],
        |row| {
            let due_at = time(row, "due_at")?;
            let open = Open {
                items: u64::try_from(row.get::<_, i64>("items")?).unwrap_or_default(),
                created_at: time(row, "created_at")?,
                due_at,
                to: time_or_none(row, "window_to")?.unwrap_or(due_at),
                expires_at: time_or_none(row, "expires_at")?,
            };
            Ok((row.get("seq")?, open))
        },
    )
}

/// What a new row says beside what was planned.
struct Entry<'a> {
    due_at: Timestamp,
    joins: Option<Cow<'a, Join>>,
    withheld: Option<Cow<'a, str>>,
    throttled: u32,
    lease: Option<&'a Lease>,
}

impl<'a> Entry<'a> {
    fn of(planned: &'a Planned) -> Self {
        Self {
            due_at: planned.due_at,
            joins: planned.joins.as_ref().map(Cow::Borrowed),
            withheld: planned.withheld.as_deref().map(Cow::Borrowed),
            throttled: 0,
            lease: None,
        }
    }

    fn state(&self) -> StateName {
        match (&self.withheld, self.lease) {
            (Some(_), _) => StateName::Withheld,
            (None, Some(_)) => StateName::Sending,
            (None, None) => StateName::Pending,
        }
    }
}

/// A row of its own; `false` if it was there.
fn put(db: &Db, planned: &Planned, entry: &Entry<'_>, links: &mut Links, now: Timestamp) -> Result<bool> {
    let seq = insert(db, planned, entry, now)?;
    if let Some(seq) = seq {
        links.tally.came(&planned.target, entry.state(), 1);
        links.add(db, seq, 0, planned)?;
        let single = entry.joins.as_deref().is_none_or(|join| join.kind == Kind::Event);
        if single && entry.withheld.is_none() {
            links.keys.add(seq, planned);
        }
        if entry.joins.is_some() {
            links.write(db)?;
        }
    }
    Ok(seq.is_some())
}

fn insert(db: &Db, planned: &Planned, entry: &Entry<'_>, now: Timestamp) -> Result<Option<i64>> {
    let (lease, withheld, state) = (entry.lease, entry.withheld.is_some(), entry.state());
    let join = entry.joins.as_deref();
    let open = join.map(|join| Open::new(&Planned { due_at: entry.due_at, ..planned.clone() }, join, now));
    let first_due = open.as_ref().map_or(entry.due_at, |open| open.due_at);
    let due_at = lease.map_or(first_due, |lease| lease.until);
    db.insert(
        "INSERT INTO deliveries (id, account, rule, target, recipient, template, state, due_at, lease,
           claimed_at, starts, created_at, expires_at, settled_at, why, replay_of, notice, group_key,
           first_due, window_from, window_to, throttled)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22)
         ON CONFLICT (id) DO NOTHING",
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
            entry.withheld,
            planned.replay_of.as_ref().map(DeliveryId::as_str),
            planned.notice.as_ref().map(Json),
            join.map(Join::name),
            (first_due != now).then_some(Ms(first_due)),
            join.map(|join| Ms(join.from)),
            open.map(|open| Ms(open.to)),
            entry.throttled
        ],
    )
}

/// Which delivery is about which message, and how many there are: written together at the end.
#[derive(Default)]
struct Links {
    /// Row numbers of messages, by uid, as far as they are known.
    known: HashMap<String, i64>,
    /// Delivery, position, message.
    values: Vec<i64>,
    keys: Keys,
    tally: Tally,
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

    fn write(&mut self, db: &Db) -> Result<()> {
        let values: Vec<ToSqlOutput<'_>> = self.values.drain(..).map(Into::into).collect();
        let insert = ("INSERT INTO delivery_messages (delivery, position, message)", "(?, ?, ?)", "");
        db.insert_all(insert, 3, &values)?;
        self.keys.write(db)?;
        self.tally.write(db)
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
    db.insert(
        "INSERT INTO messages (account, uid, activity_type, message_type, direction, created_at, seen_at,
           rules, message)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT (account, uid) DO NOTHING",
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
