//! What deliveries meet that are taken in: groups that are open, and limits that are used up. Read before, written after.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;

use super::tx::{Tx, get, ms, number, text, time, time_or_none};
use crate::model::delivery::Planned;
use crate::model::group::{Join, Over, Quota};
use crate::model::settle::after_now;
use crate::model::throttle::Window;
use crate::store::Result;
use crate::store::gathering::{OPEN, Open, Passed, pass};

use super::owed::Owed;

/// It may join others, or be held back.
pub(super) fn meets_others(planned: &Planned) -> bool {
    planned.joins.is_some() || planned.quota.is_some()
}

/// Account, rule, target, recipient, and the name of a group or the key of a limit; as the database keeps text.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Name([String; 5]);

impl Name {
    fn new(planned: &Planned, last: &str) -> Self {
        let recipient = planned.recipient.as_deref().unwrap_or_default();
        let parts = [&planned.account, &planned.rule, &planned.target, recipient, last];
        Self(parts.map(|part| text(part).into_owned()))
    }

    fn group(planned: &Planned, join: &Join) -> Self {
        Self::new(planned, &join.name())
    }
}

/// Names by column, as `unnest` wants them.
fn columns<'n>(names: impl Iterator<Item = &'n Name>) -> [Vec<&'n str>; 5] {
    let mut columns: [Vec<&str>; 5] = Default::default();
    for Name(parts) in names {
        columns.iter_mut().zip(parts).for_each(|(column, part)| column.push(part));
    }
    columns
}

/// Where a message goes that joins others.
#[derive(Debug)]
pub(super) struct Place {
    /// The delivery.
    pub(super) delivery: String,
    /// Its messages so far.
    pub(super) position: u64,
    /// It is taken in just now.
    pub(super) is_new: bool,
}

/// An open delivery.
#[derive(Debug)]
struct Group {
    delivery: String,
    open: Open,
    is_new: bool,
    changed: bool,
}

/// A limit, used up to there.
#[derive(Debug)]
struct Used {
    window: Window,
    until: Timestamp,
    changed: bool,
}

/// What the database has of all groups and limits that are asked for.
#[derive(Debug, Default)]
pub(super) struct Meeting {
    groups: HashMap<Name, Group>,
    /// Those that others took the place of.
    full: Vec<Group>,
    limits: HashMap<Name, Used>,
    /// Ids that are there already: they neither open nor join a group, and use up nothing.
    known: HashSet<String>,
}

impl Meeting {
    /// Reads it. Whoever does holds the accounts' locks.
    pub(super) async fn read(tx: &Tx<'_>, owed: &[Owed<'_>]) -> Result<Self> {
        let mut meeting = Self::default();
        let meeting_ones = || owed.iter().map(|owed| owed.planned).filter(|planned| meets_others(planned));
        let ids: Vec<_> = meeting_ones().map(|planned| text(planned.id.as_str())).collect();
        for row in tx.all("SELECT id FROM deliveries WHERE id = ANY ($1)", &[&ids]).await? {
            meeting.known.insert(get(&row, "id")?);
        }
        let groups: HashSet<Name> = meeting_ones()
            .flat_map(|planned| {
                let over = planned.quota.as_ref().and_then(|quota| match &quota.over {
                    Over::Join { join, .. } => Some(join),
                    Over::Drop(_) => None,
                });
                planned.joins.as_ref().into_iter().chain(over).map(|join| Name::group(planned, join))
            })
            .collect();
        let limits: HashSet<Name> = meeting_ones()
            .filter_map(|planned| Some(Name::new(planned, &planned.quota.as_ref()?.key)))
            .collect();
        meeting.read_groups(tx, &groups).await?;
        meeting.read_limits(tx, &limits).await?;
        Ok(meeting)
    }

    async fn read_groups(&mut self, tx: &Tx<'_>, names: &HashSet<Name>) -> Result<()> {
        if names.is_empty() {
            return Ok(());
        }
        let [accounts, rules, targets, recipients, keys] = columns(names.iter());
        let found = tx
            .all(
                &format!(
                    "SELECT g.account, g.rule, g.target, g.recipient, g.key, d.id, d.created_at, d.due_at, d.window_to,
                   d.expires_at, (SELECT coalesce(max(position), -1) + 1 FROM delivery_messages
                                  WHERE delivery = d.seq) AS items
                 FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[])
                   AS g (account, rule, target, recipient, key)
                 CROSS JOIN LATERAL (SELECT * FROM deliveries d WHERE account = g.account AND rule = g.rule
                   AND target = g.target AND group_key = g.key AND coalesce(recipient, '') = g.recipient
                   AND {OPEN} ORDER BY seq DESC LIMIT 1 FOR UPDATE) AS d"
                ),
                &[&accounts, &rules, &targets, &recipients, &keys],
            )
            .await?;
        for row in &found {
            let due_at = time(row, "due_at")?;
            let open = Open {
                items: number(row, "items")?.into(),
                created_at: time(row, "created_at")?,
                due_at,
                to: time_or_none(row, "window_to")?.unwrap_or(due_at),
                expires_at: time_or_none(row, "expires_at")?,
            };
            let group = Group { delivery: get(row, "id")?, open, is_new: false, changed: false };
            let name = ["account", "rule", "target", "recipient", "key"];
            self.groups.insert(Name(read(row, name)?), group);
        }
        Ok(())
    }

    async fn read_limits(&mut self, tx: &Tx<'_>, names: &HashSet<Name>) -> Result<()> {
        if names.is_empty() {
            return Ok(());
        }
        let [accounts, rules, targets, recipients, keys] = columns(names.iter());
        let found = tx
            .all(
                "SELECT t.* FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[])
                   AS l (account, rule, target, recipient, key)
                 CROSS JOIN LATERAL (SELECT * FROM throttles WHERE account = l.account AND rule = l.rule
                   AND target = l.target AND recipient = l.recipient AND key = l.key FOR UPDATE) AS t",
                &[&accounts, &rules, &targets, &recipients, &keys],
            )
            .await?;
        for row in &found {
            let window = Window {
                start: time(row, "start")?,
                passed: number(row, "passed")?,
                held: number(row, "held")?,
            };
            let used = Used { window, until: time(row, "until")?, changed: false };
            self.limits.insert(Name(read(row, ["account", "rule", "target", "recipient", "key"])?), used);
        }
        Ok(())
    }

    /// It is there already.
    pub(super) fn knows(&self, planned: &Planned) -> bool {
        self.known.contains(&*text(planned.id.as_str()))
    }

    /// Joins the group's open delivery, if there is one that is not full.
    pub(super) fn join(&mut self, planned: &Planned, join: &Join, now: Timestamp) -> Option<Place> {
        let group = self.groups.get_mut(&Name::group(planned, join)).filter(|one| one.open.is_free(join))?;
        let position = group.open.items;
        group.open.take(planned, join, now);
        group.changed = true;
        Some(Place { delivery: group.delivery.clone(), position, is_new: group.is_new })
    }

    /// The delivery opens the group.
    pub(super) fn open(&mut self, planned: &Planned, join: &Join, due_at: Timestamp, now: Timestamp) {
        let open = Open::new(&Planned { due_at, ..planned.clone() }, join, now);
        let delivery = planned.id.as_str().to_owned();
        let group = Group { delivery, open, is_new: true, changed: false };
        self.full.extend(self.groups.insert(Name::group(planned, join), group));
    }

    /// Counts one more of a kind that is limited.
    pub(super) fn pass(&mut self, planned: &Planned, quota: &Quota, now: Timestamp) -> Passed {
        let name = Name::new(planned, &quota.key);
        let (window, passed) = pass(quota, self.limits.get(&name).map(|used| used.window), now);
        let until = after_now(window.start, quota.throttle.per);
        self.limits.insert(name, Used { window, until, changed: true });
        passed
    }

    /// Writes what has changed.
    pub(super) async fn write(&self, tx: &Tx<'_>) -> Result<()> {
        let changed: Vec<&Group> =
            self.groups.values().chain(&self.full).filter(|group| group.changed).collect();
        if !changed.is_empty() {
            tx.run(
                "UPDATE deliveries d SET due_at = o.due_at, first_due = o.due_at, window_to = o.until, expires_at = o.ends
                 FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[]) AS o (id, due_at, until, ends)
                 WHERE d.id = o.id",
                &[
                    &changed.iter().map(|one| text(&one.delivery)).collect::<Vec<_>>(),
                    &changed.iter().map(|one| ms(one.open.due_at)).collect::<Vec<_>>(),
                    &changed.iter().map(|one| ms(one.open.to)).collect::<Vec<_>>(),
                    &changed.iter().map(|one| one.open.expires_at.map(ms)).collect::<Vec<_>>(),
                ],
            )
            .await?;
        }
        let used: Vec<(&Name, &Used)> = self.limits.iter().filter(|(_, used)| used.changed).collect();
        if used.is_empty() {
            return Ok(());
        }
        let [accounts, rules, targets, recipients, keys] = columns(used.iter().map(|(name, _)| *name));
        let small = |of: fn(&Window) -> u32| -> Vec<i32> {
            used.iter().map(|(_, used)| i32::try_from(of(&used.window)).unwrap_or(i32::MAX)).collect()
        };
        tx.run(
            "INSERT INTO throttles (account, rule, target, recipient, key, start, until, passed, held)
             SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[],
               $7::bigint[], $8::integer[], $9::integer[])
             ON CONFLICT (account, rule, target, recipient, key) DO UPDATE SET start = excluded.start,
               until = excluded.until, passed = excluded.passed, held = excluded.held",
            &[
                &accounts,
                &rules,
                &targets,
                &recipients,
                &keys,
                &used.iter().map(|(_, used)| ms(used.window.start)).collect::<Vec<_>>(),
                &used.iter().map(|(_, used)| ms(used.until)).collect::<Vec<_>>(),
                &small(|window| window.passed),
                &small(|window| window.held),
            ],
        )
        .await
        .map(|_| ())
    }
}

/// Removes limits whose time ended before the moment: what they held back is no news.
pub(super) async fn forget(tx: &Tx<'_>, before: Timestamp) -> Result<()> {
    tx.run("DELETE FROM throttles WHERE until < $1", &[&ms(before)]).await.map(|_| ())
}

fn read(row: &tokio_postgres::Row, names: [&str; 5]) -> Result<[String; 5]> {
    let mut parts: [String; 5] = Default::default();
    for (part, name) in parts.iter_mut().zip(names) {
        *part = get(row, name)?;
    }
    Ok(parts)
}
