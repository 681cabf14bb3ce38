//! How roles are spread over several instances: everything is held by somebody, nobody holds more than a share. Pure.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use jiff::Timestamp;

use crate::model::rate::CLOCKS_APART_MAX;
use crate::model::settle::after_now;
use crate::store::{Hold, Instance};

/// How long a role is held without a further word. With what the clocks may be apart on either side and the wait for
/// the next beat, somebody else has it 30 s after its holder died.
pub const HOLD: Duration = Duration::from_secs(15);
/// What nobody has held for so long is done by nobody: whoever is there should have taken it over.
pub const TAKEN_OVER_WITHIN: Duration = Duration::from_secs(30);
/// Looked at so often in a row, a role that nobody takes is taken beyond the share: the others do not know of it.
const LOOKS_AT_ORPHANS: u32 = 3;

/// What one instance sees of the others.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// The roles that are to be spread, as far as this instance knows of them; each once.
    pub wanted: &'a [String],
    /// What is held.
    pub holds: &'a [Hold],
    /// Roles that are not spread: whoever comes first has them.
    pub unspread: &'a [&'a str],
    /// Who is there, or was.
    pub instances: &'a [Instance],
    /// Who is looking.
    pub me: &'a str,
    /// When.
    pub now: Timestamp,
}

/// What is to be done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Share {
    /// Held, and to be kept.
    pub keep: Vec<String>,
    /// Free, and to be taken.
    pub take: Vec<String>,
    /// Held, and to be left to others.
    pub give_up: Vec<String>,
}

/// What is remembered from one look to the next.
#[derive(Debug, Default)]
pub struct Spread {
    /// How often in a row a role was found free.
    free: HashMap<String, u32>,
    /// Taken beyond the share because nobody else did: not given up before the company changes.
    orphans: HashSet<String>,
    company: BTreeSet<String>,
}

/// Whether an instance is counted on: it said within a role's length that it is there.
pub fn is_there(instance: &Instance, now: Timestamp) -> bool {
    !ended(after_now(instance.seen_at, HOLD), now)
}

/// Whether a role that ends at `until` may be taken by somebody else.
pub fn ended(until: Timestamp, now: Timestamp) -> bool {
    after_now(until, CLOCKS_APART_MAX) <= now
}

impl Spread {
    /// What to take and what to give up.
    pub fn share(&mut self, view: View<'_>) -> Share {
        let View { wanted, me, now, .. } = view;
        let spread = view.holds.iter().filter(|hold| !view.unspread.contains(&hold.role.as_str()));
        let (mine, theirs): (Vec<&Hold>, Vec<&Hold>) = spread.partition(|hold| hold.instance == me);
        let theirs: BTreeSet<&str> =
            theirs.iter().filter(|hold| !ended(hold.until, now)).map(|hold| hold.role.as_str()).collect();
        let (mut mine, strange): (Vec<String>, Vec<String>) =
            mine.iter().map(|hold| hold.role.clone()).partition(|role| wanted.contains(role));
        let held = |role: &String| theirs.contains(role.as_str()) || mine.contains(role);
        let free: Vec<String> = wanted.iter().filter(|role| !held(role)).cloned().collect();
        self.note(&view, &free);

        let all = theirs.union(&wanted.iter().map(String::as_str).collect()).count();
        let (count, place) =
            (self.company.len().max(1), self.company.iter().take_while(|id| *id != me).count());
        let share = all.div_ceil(count);
        let mut give_up = self.surplus(&mine, share);
        mine.retain(|role| !give_up.contains(role));
        give_up.extend(strange);
        let take = self.pick(free, share.saturating_sub(mine.len()), place * share);
        Share { keep: mine, take, give_up }
    }

    /// Takes note of who is there and of what is free.
    fn note(&mut self, view: &View<'_>, free: &[String]) {
        let there = view.instances.iter().filter(|instance| is_there(instance, view.now));
        let mut company: BTreeSet<String> = there.map(|instance| instance.id.clone()).collect();
        company.insert(view.me.to_owned());
        if company != self.company {
            self.company = company;
            self.orphans.clear();
        }
        self.free = free.iter().map(|role| (role.clone(), self.looks(role) + 1)).collect();
    }

    fn looks(&self, role: &str) -> u32 {
        self.free.get(role).copied().unwrap_or_default()
    }

    /// Half of what is beyond the share, so that others can take it up before more is let go.
    fn surplus(&self, mine: &[String], share: usize) -> Vec<String> {
        let count = mine.len().saturating_sub(share).div_ceil(2);
        mine.iter().rev().filter(|role| !self.orphans.contains(*role)).take(count).cloned().collect()
    }

    /// Of what is free as much as there is room for, each instance beginning elsewhere so that two that start together
    /// do not reach for the same; and whatever nobody takes.
    fn pick(&mut self, free: Vec<String>, room: usize, from: usize) -> Vec<String> {
        let start = from.checked_rem(free.len()).unwrap_or_default();
        let count = free.len();
        let mut picked = Vec::new();
        for (nth, role) in free.into_iter().cycle().skip(start).take(count).enumerate() {
            let orphan = nth >= room && self.looks(&role) >= LOOKS_AT_ORPHANS;
            if orphan {
                self.orphans.insert(role.clone());
            }
            if nth < room || orphan {
                picked.push(role);
            }
        }
        picked
    }
}

#[cfg(test)]
#[path = "share_tests.rs"]
mod tests;
