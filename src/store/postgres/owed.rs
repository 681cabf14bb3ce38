//! Deliveries that are taken in: many with one statement, each linked to its messages, or joined to one that is open.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use jiff::Timestamp;

use super::Postgres;
use super::connect::transact;
use super::good::Keys;
use super::meeting::{Meeting, Place, meets_others};
use super::tx::{Tx, get, json, ms, text, text_or_none};
use crate::model::delivery::{Lease, Planned, StateName};
use crate::model::group::{Join, Kind};
use crate::model::id::DeliveryId;
use crate::store::gathering::{Open, Passed, may_join};
use crate::store::{Result, StoreError};

/// What is to be taken in; with the lease under which somebody sends it at once.
#[derive(Debug)]
pub(super) struct Owed<'a> {
    /// What is owed.
    pub(super) planned: &'a Planned,
    /// The lease, where somebody has it already.
    pub(super) lease: Option<&'a Lease>,
}

impl Postgres {
    /// Takes in deliveries outside of polling. Returns how many were new.
    pub(in crate::store) async fn owe(&self, planned: Vec<Planned>, now: Timestamp) -> Result<usize> {
        transact!(self.db, |tx| Ok(owe(tx, &planned, now).await?.len()))
    }
}

/// Takes in deliveries; one that is already there stays as it is. Returns the new ones.
pub(super) async fn owe(tx: &Tx<'_>, planned: &[Planned], now: Timestamp) -> Result<HashSet<String>> {
    let mut owed: Vec<_> = planned.iter().map(|planned| Owed { planned, lease: None }).collect();
    // Other instances may owe the same at the same moment: everybody in one order.
    owed.sort_by_key(|owed| &owed.planned.id);
    for account in owed.iter().filter(|owed| meets_others(owed.planned)).map(|owed| &owed.planned.account) {
        lock_account(tx, account).await?;
    }
    take_in(tx, &owed, Messages::There, now).await
}

/// Where the messages are that deliveries are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Messages {
    /// This transaction took them in: nobody else sees them yet.
    New,
    /// They have been there: they are kept from being pruned meanwhile.
    There,
}

/// Keeps everybody else from taking in pages of this account to the transaction's end. The first lock of all.
pub(super) async fn lock_account(tx: &Tx<'_>, account: &str) -> Result<()> {
    let sql = "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))";
    tx.run(sql, &[&text(account)]).await.map(|_| ())
}

/// Takes them in, in this order. Returns the ids of those that are new.
pub(super) async fn take_in(
    tx: &Tx<'_>,
    owed: &[Owed<'_>],
    messages: Messages,
    now: Timestamp,
) -> Result<HashSet<String>> {
    if owed.is_empty() {
        return Ok(HashSet::new());
    }
    let mut meeting = if owed.iter().any(|owed| meets_others(owed.planned)) {
        Meeting::read(tx, owed).await?
    } else {
        Meeting::default()
    };
    let Sorted { fresh, links, joined, mut keys } = sort(owed, &mut meeting, now);
    let new = insert(tx, &fresh, &links, messages, now).await?;
    join(tx, &joined, messages).await?;
    for entry in fresh.iter().filter(|entry| entry.is_single()) {
        let planned = entry.owed.planned;
        if !planned.good_by.is_empty() && new.contains(planned.id.as_str()) {
            keys.add(planned.id.as_str(), planned);
        }
    }
    keys.write(tx).await?;
    meeting.write(tx).await?;
    Ok(new)
}

/// A delivery's message.
#[derive(Debug)]
pub(super) struct Link<'a> {
    /// The delivery's id.
    delivery: String,
    position: i32,
    account: &'a str,
    uid: &'a str,
}

fn links_of<'a>(planned: &'a Planned, delivery: &str, first: u64) -> impl Iterator<Item = Link<'a>> {
    let first = i32::try_from(first).unwrap_or(i32::MAX);
    let numbered = (first..).zip(&planned.messages);
    numbered.map(move |(position, uid)| Link {
        delivery: delivery.to_owned(),
        position,
        account: &planned.account,
        uid,
    })
}

/// What is to become of those that are owed.
struct Sorted<'a> {
    /// These get rows of their own.
    fresh: Vec<Entry<'a>>,
    /// The messages of those.
    links: Vec<Link<'a>>,
    /// Messages that join deliveries which are there.
    joined: Vec<Link<'a>>,
    /// By what those can be made good.
    keys: Keys,
}

/// What a new row says beside what was planned.
#[derive(Debug)]
struct Entry<'a> {
    owed: &'a Owed<'a>,
    due_at: Timestamp,
    joins: Option<Cow<'a, Join>>,
    withheld: Option<Cow<'a, str>>,
    throttled: u32,
}

impl<'a> Entry<'a> {
    fn of(owed: &'a Owed<'a>) -> Self {
        let planned = owed.planned;
        Self {
            owed,
            due_at: planned.due_at,
            joins: planned.joins.as_ref().map(Cow::Borrowed),
            withheld: planned.withheld.as_deref().map(Cow::Borrowed),
            throttled: 0,
        }
    }

    /// It is sent, and no digest.
    fn is_single(&self) -> bool {
        let single = self.joins.as_deref().is_none_or(|join| join.kind == Kind::Event);
        single && self.withheld.is_none()
    }
}

/// Who gets a row and who joins whom. The first of a group that nobody has open opens it.
fn sort<'a>(owed: &'a [Owed<'a>], meeting: &mut Meeting, now: Timestamp) -> Sorted<'a> {
    let mut sorted =
        Sorted { fresh: Vec::new(), links: Vec::new(), joined: Vec::new(), keys: Keys::default() };
    for one in owed {
        let planned = one.planned;
        let mut entry = Entry::of(one);
        if !may_join(planned, now) {
            entry.joins = None;
        } else if meets_others(planned) && !meeting.knows(planned) {
            let mut joins = planned.joins.as_ref();
            let mut place = joins.and_then(|join| meeting.join(planned, join, now));
            if let Some(quota) = planned.quota.as_ref().filter(|_| place.is_none()) {
                match meeting.pass(planned, quota, now) {
                    Passed::Goes { held } => entry.throttled = held,
                    Passed::Withheld(why) => entry.withheld = Some(Cow::Owned(why)),
                    Passed::Joins(join, due_at) => {
                        place = meeting.join(planned, &join, now);
                        (entry.due_at, entry.joins, joins) = (due_at, Some(Cow::Owned(join)), None);
                    }
                }
            }
            if let Some(Place { delivery, position, is_new }) = place {
                if entry.is_single() {
                    sorted.keys.add(&delivery, planned);
                }
                let to = if is_new { &mut sorted.links } else { &mut sorted.joined };
                to.extend(links_of(planned, &delivery, position));
                continue;
            }
            if entry.withheld.is_none()
                && let Some(join) = entry.joins.as_deref().or(joins)
            {
                meeting.open(planned, join, entry.due_at, now);
            }
        }
        sorted.links.extend(links_of(planned, planned.id.as_str(), 0));
        sorted.fresh.push(entry);
    }
    sorted
}

async fn insert(
    tx: &Tx<'_>,
    entries: &[Entry<'_>],
    links: &[Link<'_>],
    messages: Messages,
    now: Timestamp,
) -> Result<HashSet<String>> {
    let mut columns = Columns::default();
    for entry in entries {
        columns.add(entry, now)?;
    }
    let mut expected: HashMap<&str, i64> = HashMap::new();
    for link in links {
        *expected.entry(link.delivery.as_str()).or_default() += 1;
    }
    let sql = insertion(messages);
    let found = tx
        .all(
            &sql,
            &[
                &columns.ids,
                &columns.accounts,
                &columns.rules,
                &columns.targets,
                &columns.recipients,
                &columns.templates,
                &columns.states,
                &columns.due,
                &columns.leases,
                &columns.ends,
                &columns.why,
                &columns.replays,
                &columns.notices,
                &columns.groups,
                &ms(now),
                &links.iter().map(|link| text(&link.delivery)).collect::<Vec<_>>(),
                &links.iter().map(|link| link.position).collect::<Vec<_>>(),
                &links.iter().map(|link| text(link.account)).collect::<Vec<_>>(),
                &links.iter().map(|link| text(link.uid)).collect::<Vec<_>>(),
                &columns.first_due,
                &columns.from,
                &columns.to,
                &columns.throttled,
            ],
        )
        .await?;
    let mut new = HashSet::new();
    for row in &found {
        let id: String = get(row, "id")?;
        if get::<i64>(row, "links")? != expected.get(id.as_str()).copied().unwrap_or_default() {
            return Err(StoreError::Corrupt(format!("delivery {id} is about a message that is not there")));
        }
        new.insert(id);
    }
    Ok(new)
}

/// The statement that makes rows of deliveries and links them to their messages.
fn insertion(messages: Messages) -> String {
    let link = linked(messages);
    format!(
        "WITH fresh AS (
               INSERT INTO deliveries (id, account, rule, target, recipient, template, state, due_at, lease,
                 claimed_at, starts, created_at, expires_at, settled_at, why, replay_of, notice, group_key,
                 first_due, window_from, window_to, throttled)
               SELECT id, account, rule, target, recipient, template, state, due_at, lease,
                 CASE WHEN lease IS NOT NULL THEN $15::bigint END, CASE WHEN lease IS NOT NULL THEN 1 ELSE 0 END,
                 $15, expires_at, CASE WHEN state = 'withheld' THEN $15 END, why, replay_of, notice, group_key,
                 first_due, window_from, window_to, throttled
               FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
                 $8::bigint[], $9::text[], $10::bigint[], $11::text[], $12::text[], $13::text[], $14::text[], $20::bigint[], $21::bigint[], $22::bigint[], $23::integer[])
                 WITH ORDINALITY AS o (id, account, rule, target, recipient, template, state, due_at, lease,
                   expires_at, why, replay_of, notice, group_key, first_due, window_from, window_to, throttled, position)
               ORDER BY position
               ON CONFLICT (id) DO NOTHING RETURNING seq, id),
             linked AS (
               INSERT INTO delivery_messages (delivery, position, message)
               SELECT fresh.seq, l.position, m.id
               FROM unnest($16::text[], $17::integer[], $18::text[], $19::text[])
                 AS l (delivery, position, account, uid)
               JOIN fresh ON fresh.id = l.delivery
               {link}
               RETURNING delivery)
             SELECT fresh.id, coalesce(l.n, 0) AS links FROM fresh
             LEFT JOIN (SELECT delivery, count(*) AS n FROM linked GROUP BY delivery) AS l ON l.delivery = fresh.seq"
    )
}

/// The message `m` of a link `l`, as SQL.
fn linked(messages: Messages) -> String {
    let lock = if messages == Messages::There { "FOR KEY SHARE" } else { "LIMIT 1" };
    format!(
        "CROSS JOIN LATERAL (SELECT id FROM messages WHERE account = l.account AND uid = l.uid {lock}) AS m"
    )
}

/// Links messages to deliveries that are there.
async fn join(tx: &Tx<'_>, links: &[Link<'_>], messages: Messages) -> Result<()> {
    if links.is_empty() {
        return Ok(());
    }
    let link = linked(messages);
    let sql = format!(
        "INSERT INTO delivery_messages (delivery, position, message)
         SELECT d.seq, l.position, m.id
         FROM unnest($1::text[], $2::integer[], $3::text[], $4::text[]) AS l (delivery, position, account, uid)
         CROSS JOIN LATERAL (SELECT seq FROM deliveries WHERE id = l.delivery LIMIT 1) AS d {link}"
    );
    let linked = tx
        .run(
            &sql,
            &[
                &links.iter().map(|link| text(&link.delivery)).collect::<Vec<_>>(),
                &links.iter().map(|link| link.position).collect::<Vec<_>>(),
                &links.iter().map(|link| text(link.account)).collect::<Vec<_>>(),
                &links.iter().map(|link| text(link.uid)).collect::<Vec<_>>(),
            ],
        )
        .await?;
    if linked != links.len() as u64 {
        return Err(StoreError::Corrupt("a delivery is joined by a message that is not there".to_owned()));
    }
    Ok(())
}

/// Deliveries by column, as `unnest` wants them.
#[derive(Default)]
struct Columns<'a> {
    ids: Vec<Cow<'a, str>>,
    accounts: Vec<Cow<'a, str>>,
    rules: Vec<Cow<'a, str>>,
    targets: Vec<Cow<'a, str>>,
    recipients: Vec<Option<Cow<'a, str>>>,
    templates: Vec<Cow<'a, str>>,
    states: Vec<&'static str>,
    due: Vec<Option<i64>>,
    leases: Vec<Option<&'a str>>,
    ends: Vec<Option<i64>>,
    why: Vec<Option<String>>,
    replays: Vec<Option<&'a str>>,
    notices: Vec<Option<String>>,
    groups: Vec<Option<String>>,
    first_due: Vec<Option<i64>>,
    from: Vec<Option<i64>>,
    to: Vec<Option<i64>>,
    throttled: Vec<i32>,
}

impl<'a> Columns<'a> {
    fn add(&mut self, entry: &Entry<'a>, now: Timestamp) -> Result<()> {
        let Owed { planned, lease } = entry.owed;
        let withheld = entry.withheld.is_some();
        let join = entry.joins.as_deref();
        let open =
            join.map(|join| Open::new(&Planned { due_at: entry.due_at, ..(*planned).clone() }, join, now));
        let first_due = open.as_ref().map_or(entry.due_at, |open| open.due_at);
        let state = match (withheld, lease) {
            (true, _) => StateName::Withheld,
            (false, Some(_)) => StateName::Sending,
            (false, None) => StateName::Pending,
        };
        let due_at = lease.map_or(first_due, |lease| lease.until);
        self.ids.push(text(planned.id.as_str()));
        self.accounts.push(text(&planned.account));
        self.rules.push(text(&planned.rule));
        self.targets.push(text(&planned.target));
        self.recipients.push(text_or_none(planned.recipient.as_deref()));
        self.templates.push(text(&planned.template));
        self.states.push(state.as_str());
        self.due.push((!withheld).then_some(ms(due_at)));
        self.leases.push(lease.filter(|_| !withheld).map(|lease| lease.token.as_str()));
        self.ends.push(planned.expires_at.map(ms));
        self.why.push(entry.withheld.as_deref().map(|why| text(why).into_owned()));
        self.replays.push(planned.replay_of.as_ref().map(DeliveryId::as_str));
        self.notices.push(planned.notice.as_ref().map(json).transpose()?);
        self.groups.push(join.map(|join| text(&join.name()).into_owned()));
        self.first_due.push((first_due != now).then_some(ms(first_due)));
        self.from.push(join.map(|join| ms(join.from)));
        self.to.push(open.map(|open| ms(open.to)));
        self.throttled.push(i32::try_from(entry.throttled).unwrap_or(i32::MAX));
        Ok(())
    }
}
