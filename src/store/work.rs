//! What couriers take from the store and bring back: claims, ends of attempts, the standing of targets.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::model::delivery::{Attempt, Claim, Job, Planned, StateName};
use crate::model::id::DeliveryId;
use crate::model::payload::Payload;
use crate::model::rate::{CLOCKS_APART_MAX, Rate};
use crate::model::settle::Verdict;
use crate::store::rows::Row;

/// What to claim for one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Want {
    /// The target.
    pub target: String,
    /// At most so many.
    pub limit: usize,
    /// The lease: the attempt's deadline and a margin.
    pub lease: Duration,
    /// How often the target may be sent to, by all instances together; `None` for as often as one likes.
    pub rate: Option<Rate>,
    /// How many requests it takes at once, from all instances together.
    pub concurrency: usize,
    /// How many more may be leased than are under way at once, to go on with: while the target is not in trouble and no other
    /// instance has any of it.
    pub ahead: usize,
}

/// What a claim brought.
#[derive(Debug, Default)]
pub struct Claimed {
    /// What is to be attempted.
    pub jobs: Vec<Job>,
    /// What ended without an attempt: nobody else counts it or tells of it.
    pub ended: Vec<Ended>,
}

/// A delivery that the store ended by itself: too old, unreadable, or one that took its holder down too often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Which one.
    pub id: DeliveryId,
    /// The rule that owed it.
    pub rule: String,
    /// To which target.
    pub target: String,
    /// Expired or dead.
    pub state: StateName,
    /// Why, in words for a person.
    pub why: String,
}

/// A delivery that a person picked to be sent again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picked {
    /// Which one.
    pub id: DeliveryId,
    /// How often it was replayed when the person looked at it: if that is no longer so, somebody else was faster, and it is passed
    /// over. `None` to send it again however often it was.
    pub replays: Option<u32>,
}

impl Picked {
    /// One that was not sent again before.
    pub fn unsent(id: DeliveryId) -> Self {
        Self { id, replays: Some(0) }
    }
}

impl From<&Row> for Picked {
    fn from(row: &Row) -> Self {
        Self { id: row.id.clone(), replays: Some(row.replays) }
    }
}

impl From<DeliveryId> for Picked {
    fn from(id: DeliveryId) -> Self {
        Self { id, replays: None }
    }
}

/// One attempt's end, to be written.
#[derive(Debug)]
pub struct Settlement {
    /// The right to write it, consumed.
    pub claim: Claim,
    /// To which target.
    pub target: String,
    /// What follows.
    pub verdict: Verdict,
    /// The attempt to record.
    pub attempt: Attempt,
    /// The payload sent, kept for the next attempt and for people.
    pub payload: Option<Payload>,
    /// It was the plain rendering.
    pub plain: bool,
    /// The target may have taken it already.
    pub maybe_duplicate: bool,
    /// Notices owed because of it (delivery dead).
    pub notices: Vec<Planned>,
    /// Notices owed if it is this settlement that parks its target, or is the first that it takes after that: of several
    /// attempts that end alike only one is.
    pub turn_notices: Vec<Planned>,
}

/// A target's standing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TargetState {
    /// The target's name.
    pub name: String,
    /// Paused by a person.
    pub paused: bool,
    /// Told to wait (429) until then.
    pub wait_until: Option<Timestamp>,
    /// Parked: the next probe's moment.
    pub parked_until: Option<Timestamp>,
    /// Why it is paused, waiting or parked.
    pub reason: Option<String>,
    /// Failed probes in a row; after a person resumed a parked target one, until it takes something.
    pub probes: u32,
    /// The state of its rate: see [`Rate`].
    pub next_slot: Option<Timestamp>,
    /// The instance by whose clock that is; `None` where there has only been one.
    pub paced_by: Option<String>,
    /// It has taken nothing since: the first attempt that failed for a reason that may be the target's.
    pub failing_since: Option<Timestamp>,
    /// Attempts in a row that failed so.
    pub failures: u32,
    /// It took a message again then, and what queued up during the trouble has not been looked at yet.
    pub recovered_at: Option<Timestamp>,
}

/// What a courier looks at before it claims.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outlook {
    /// The standing of all targets that are not simply ready.
    pub states: Vec<TargetState>,
    /// When the first pending delivery of a target is due; targets without one are not in it.
    pub due: HashMap<String, Timestamp>,
    /// How many deliveries of a target are under way, at all instances together; those without any are not in it.
    pub sending: HashMap<String, usize>,
}

impl TargetState {
    /// When `me` reckons with the target's rate at `now`: what another instance left of it was written by a clock that
    /// may be behind, and a burst that is not there yet must not be taken for one that is.
    pub fn paced_at(&self, me: &str, now: Timestamp) -> Timestamp {
        let own = self.paced_by.as_deref().is_none_or(|by| by == me);
        let apart = jiff::SignedDuration::try_from(CLOCKS_APART_MAX).unwrap_or(jiff::SignedDuration::ZERO);
        if own { now } else { now.saturating_sub(apart).unwrap_or(now) }
    }
}

impl Outlook {
    /// How a target stands; one without a row is ready.
    pub fn state(&self, target: &str) -> TargetState {
        let found = self.states.iter().find(|state| state.name == target).cloned();
        found.unwrap_or_else(|| TargetState { name: target.to_owned(), ..TargetState::default() })
    }
}
