//! Deliveries that are taken in: many with one statement, each linked to its messages, or joined to one that is open.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use jiff::Timestamp;

use super::Postgres;
use super::connect::transact;
use super::tx::{Tx, get, json, ms, number, text, text_or_none};
use crate::model::delivery::{Lease, Planned, StateName};
use crate::model::id::DeliveryId;
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
    for account in owed.iter().filter(|owed| owed.planned.joins.is_some()).map(|owed| &owed.planned.account) {
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
    let grouped = owed.iter().any(|owed| owed.planned.joins.is_some());
    let groups = if grouped { Groups::find(tx, owed).await? } else { Groups::default() };
    let Sorted { fresh, links, joined } = sort(owed, &groups);
    let new = insert(tx, &fresh, &links, messages, now).await?;
    join(tx, &joined, messages).await?;
    Ok(new)
}

/// A delivery's message.
struct Link<'a> {
    /// The delivery's id.
    delivery: &'a str,
    position: i32,
    account: &'a str,
    uid: &'a str,
}

fn links_of<'a>(planned: &'a Planned, delivery: &'a str, first: i32) -> impl Iterator<Item = Link<'a>> {
    let numbered = (first..).zip(&planned.messages);
    numbered.map(move |(position, uid)| Link { delivery, position, account: &planned.account, uid })
}

/// What is to become of those that are owed.
struct Sorted<'a> {
    /// These get rows of their own.
    fresh: Vec<&'a Owed<'a>>,
    /// The messages of those.
    links: Vec<Link<'a>>,
    /// Messages that join deliveries which are there.
    joined: Vec<Link<'a>>,
}

/// Account, rule, target, recipient and key of a group.
type GroupName<'a> = (&'a str, &'a str, &'a str, &'a str, &'a str);

fn group_of(planned: &Planned) -> Option<GroupName<'_>> {
    let recipient = planned.recipient.as_deref().unwrap_or_default();
    let key = planned.joins.as_deref()?;
    Some((&planned.account, &planned.rule, &planned.target, recipient, key))
}

/// What the store has of the groups that are asked for.
#[derive(Default)]
struct Groups {
    /// The open delivery and its next position, by the place of the first one owed that names the group.
    open: HashMap<usize, (String, i32)>,
    /// Ids that are there already: they open no group.
    known: HashSet<String>,
}

impl Groups {
    async fn find(tx: &Tx<'_>, owed: &[Owed<'_>]) -> Result<Self> {
        let named: Vec<(usize, GroupName<'_>, &str)> = owed
            .iter()
            .enumerate()
            .filter_map(|(place, owed)| Some((place, group_of(owed.planned)?, owed.planned.id.as_str())))
            .collect();
        let column = |of: fn(&GroupName<'_>) -> String| -> Vec<String> {
            named.iter().map(|(_, name, _)| of(name)).collect()
        };
        let places: Vec<i64> =
            named.iter().map(|(place, ..)| i64::try_from(*place).unwrap_or(i64::MAX)).collect();
        let found = tx
            .all(
                "SELECT g.place, d.id, (SELECT coalesce(max(position), -1) + 1 FROM delivery_messages
                                        WHERE delivery = d.seq) AS position
                 FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[])
                   AS g (place, account, rule, target, recipient, key)
                 CROSS JOIN LATERAL (SELECT id, seq FROM deliveries WHERE account = g.account AND rule = g.rule
                   AND target = g.target AND group_key = g.key AND coalesce(recipient, '') = g.recipient
                   AND state = 'pending' AND starts = 0 ORDER BY seq LIMIT 1 FOR UPDATE) AS d",
                &[
                    &places,
                    &column(|name| text(name.0).into_owned()),
                    &column(|name| text(name.1).into_owned()),
                    &column(|name| text(name.2).into_owned()),
                    &column(|name| text(name.3).into_owned()),
                    &column(|name| text(name.4).into_owned()),
                ],
            )
            .await?;
        let mut groups = Self::default();
        for row in &found {
            let place = usize::try_from(get::<i64>(row, "place")?).unwrap_or(usize::MAX);
            let position = i32::try_from(number(row, "position")?).unwrap_or(i32::MAX);
            groups.open.insert(place, (get(row, "id")?, position));
        }
        let ids: Vec<&str> = named.iter().map(|(.., id)| *id).collect();
        for row in tx.all("SELECT id FROM deliveries WHERE id = ANY ($1)", &[&ids]).await? {
            groups.known.insert(get(&row, "id")?);
        }
        Ok(groups)
    }
}

/// Who gets a row and who joins whom. The first of a group that nobody has open opens it, unless it is withheld or known.
fn sort<'a>(owed: &'a [Owed<'a>], groups: &'a Groups) -> Sorted<'a> {
    let mut sorted = Sorted { fresh: Vec::new(), links: Vec::new(), joined: Vec::new() };
    // The open delivery of a group, its next position, and whether it is opened just now.
    let mut open: HashMap<GroupName<'a>, (&'a str, i32, bool)> = HashMap::new();
    for (place, one) in owed.iter().enumerate() {
        let planned = one.planned;
        let messages = i32::try_from(planned.messages.len()).unwrap_or(i32::MAX);
        if let Some(name) = group_of(planned) {
            if let Some((id, position)) = groups.open.get(&place) {
                open.entry(name).or_insert((id, *position, false));
            }
            if let Some((id, position, opened)) = open.get_mut(&name) {
                let links = links_of(planned, id, *position);
                if *opened {
                    sorted.links.extend(links);
                } else {
                    sorted.joined.extend(links);
                }
                *position = position.saturating_add(messages);
                continue;
            }
            if planned.withheld.is_none() && !groups.known.contains(planned.id.as_str()) {
                open.insert(name, (planned.id.as_str(), messages, true));
            }
        }
        sorted.links.extend(links_of(planned, planned.id.as_str(), 0));
        sorted.fresh.push(one);
    }
    sorted
}

async fn insert(
    tx: &Tx<'_>,
    owed: &[&Owed<'_>],
    links: &[Link<'_>],
    messages: Messages,
    now: Timestamp,
) -> Result<HashSet<String>> {
    let mut columns = Columns::default();
    for owed in owed {
        columns.add(owed)?;
    }
    let mut expected: HashMap<&str, i64> = HashMap::new();
    for link in links {
        *expected.entry(link.delivery).or_default() += 1;
    }
    let link = linked(messages);
    let sql = format!(
        "WITH fresh AS (
               INSERT INTO deliveries (id, account, rule, target, recipient, template, state, due_at, lease,
                 claimed_at, starts, created_at, expires_at, settled_at, why, replay_of, notice, group_key)
               SELECT id, account, rule, target, recipient, template, state, due_at, lease,
                 CASE WHEN lease IS NOT NULL THEN $15::bigint END, CASE WHEN lease IS NOT NULL THEN 1 ELSE 0 END,
                 $15, expires_at, CASE WHEN state = 'withheld' THEN $15 END, why, replay_of, notice, group_key
               FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
                 $8::bigint[], $9::text[], $10::bigint[], $11::text[], $12::text[], $13::text[], $14::text[])
                 WITH ORDINALITY AS o (id, account, rule, target, recipient, template, state, due_at, lease,
                   expires_at, why, replay_of, notice, group_key, position)
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
    );
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
                &links.iter().map(|link| text(link.delivery)).collect::<Vec<_>>(),
                &links.iter().map(|link| link.position).collect::<Vec<_>>(),
                &links.iter().map(|link| text(link.account)).collect::<Vec<_>>(),
                &links.iter().map(|link| text(link.uid)).collect::<Vec<_>>(),
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
                &links.iter().map(|link| text(link.delivery)).collect::<Vec<_>>(),
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
    why: Vec<Option<Cow<'a, str>>>,
    replays: Vec<Option<&'a str>>,
    notices: Vec<Option<String>>,
    groups: Vec<Option<Cow<'a, str>>>,
}

impl<'a> Columns<'a> {
    fn add(&mut self, owed: &Owed<'a>) -> Result<()> {
        let Owed { planned, lease } = owed;
        let withheld = planned.withheld.is_some();
        let state = match (withheld, lease) {
            (true, _) => StateName::Withheld,
            (false, Some(_)) => StateName::Sending,
            (false, None) => StateName::Pending,
        };
        let due_at = lease.map_or(planned.due_at, |lease| lease.until);
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
        self.why.push(text_or_none(planned.withheld.as_deref()));
        self.replays.push(planned.replay_of.as_ref().map(DeliveryId::as_str));
        self.notices.push(planned.notice.as_ref().map(json).transpose()?);
        self.groups.push(text_or_none(planned.joins.as_deref()));
        Ok(())
    }
}
