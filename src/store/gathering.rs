//! How a delivery that is taken in meets those that are there: it joins an open one, or is held back. The same for every
//! database; only decides.

use jiff::Timestamp;

use super::opening::stored;
use crate::model::delivery::Planned;
use crate::model::group::{Gathered, Join, Over, Quota, read_name};
use crate::model::settle::after_now;
use crate::model::throttle::{Pass, Window};

/// A delivery `d` takes messages in, as SQL: nobody has begun to send it, and no payload was made of it.
pub(super) const OPEN: &str = "d.group_key IS NOT NULL AND d.state = 'pending' AND d.starts = 0
  AND d.claimed_at IS NULL AND d.replay_of IS NULL";

/// An open delivery that takes messages in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Open {
    /// Messages in it.
    pub(super) items: u64,
    /// When it was opened.
    pub(super) created_at: Timestamp,
    /// When it is due.
    pub(super) due_at: Timestamp,
    /// When the time ends that it covers.
    pub(super) to: Timestamp,
    /// When it stops being worth sending.
    pub(super) expires_at: Option<Timestamp>,
}

impl Open {
    /// As it is opened by its first messages.
    pub(super) fn new(planned: &Planned, join: &Join, now: Timestamp) -> Self {
        let mut open = Self {
            items: 0,
            created_at: stored(now),
            due_at: planned.due_at,
            to: join.to,
            expires_at: planned.expires_at,
        };
        open.take(planned, join, now);
        open
    }

    /// It takes further messages in.
    pub(super) fn is_free(&self, join: &Join) -> bool {
        !join.is_full(self.items)
    }

    /// Takes the messages in: it lives as long as the last of them, and may close later, or now.
    pub(super) fn take(&mut self, planned: &Planned, join: &Join, now: Timestamp) {
        self.expires_at = match self.items {
            0 => planned.expires_at,
            _ => self.expires_at.and_then(|end| planned.expires_at.map(|other| end.max(other))),
        };
        self.items += u64::try_from(planned.messages.len()).unwrap_or(u64::MAX);
        if let Some(max) = join.extend_max {
            let end = join.to.min(after_now(self.created_at, max)).max(self.to);
            self.due_at = self.due_at.max(end);
            self.to = end;
        }
        if join.is_full(self.items) {
            self.due_at = self.due_at.min(now);
            self.to = self.to.min(now);
        }
    }
}

/// What becomes of a delivery whose kind is limited.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Passed {
    /// It goes, and says how many were held back before it.
    Goes {
        /// How many.
        held: u32,
    },
    /// It is withheld for this reason.
    Withheld(String),
    /// It joins this group, due then.
    Joins(Join, Timestamp),
}

/// Counts one more, and says what becomes of it.
pub(super) fn pass(quota: &Quota, window: Option<Window>, now: Timestamp) -> (Window, Passed) {
    let gathered = matches!(quota.over, Over::Join { due_at: None, .. });
    let (window, pass) = quota.throttle.take(window, gathered, now);
    let passed = match (pass, &quota.over) {
        (Pass::Through { held }, _) => Passed::Goes { held },
        (Pass::Over { .. }, Over::Drop(why)) => Passed::Withheld(why.clone()),
        (Pass::Over { until }, Over::Join { join, due_at, closed }) => {
            let opens =
                closed.iter().find(|closed| closed.contains(&until)).map_or(until, |closed| closed.end);
            let (due_at, to) = due_at.map_or((opens, opens), |due_at| (due_at, join.to));
            let to = if join.extend_max.is_some() { join.to.max(to) } else { to };
            Passed::Joins(Join { to, ..join.clone() }, due_at)
        }
    };
    (window, passed)
}

/// It may join others: nothing keeps it from being sent.
pub(super) fn may_join(planned: &Planned, now: Timestamp) -> bool {
    planned.withheld.is_none() && planned.expires_at.is_none_or(|end| end > now)
}

/// What a row says of the messages that it gathered: the group's name and the time that it covers.
pub(super) fn gathered(
    group: Option<&str>,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    first_due: Timestamp,
) -> Option<Gathered> {
    let (kind, _) = read_name(group?);
    Some(Gathered { kind, from: from?, to: to.unwrap_or(first_due) })
}
