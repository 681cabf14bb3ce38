//! How much of a target may be leased at a moment, by its standing, its rate and what is under way.

use std::collections::HashMap;

use jiff::Timestamp;

use super::{TargetState, Want};
use crate::model::delivery::{Claim, Job, Lease, Planned};
use crate::model::message::Message;
use crate::model::settle::{FAILURES_MANY, after_now};

/// What may be claimed for a target at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// As much as is wanted.
    Ready,
    /// One delivery at a time, to see whether the target has recovered.
    Probing,
    /// Nothing yet, or nothing until a person says so.
    Held,
}

fn standing(state: &TargetState, now: Timestamp) -> Standing {
    let waits = |until: Option<Timestamp>| until.is_some_and(|until| until > now);
    if state.paused || waits(state.wait_until) || waits(state.parked_until) {
        Standing::Held
    } else if state.parked_until.is_some() || state.failures >= FAILURES_MANY {
        Standing::Probing
    } else {
        Standing::Ready
    }
}

/// How many deliveries of a target are under way.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct UnderWay {
    /// By all instances.
    pub(super) all: usize,
    /// By other ones.
    pub(super) elsewhere: usize,
}

/// How many deliveries the want may lease beside those that are under way.
pub(super) fn opening(
    want: &Want,
    state: Option<&TargetState>,
    under_way: UnderWay,
    me: &str,
    now: Timestamp,
) -> usize {
    let (limit, concurrency) = match state.map_or(Standing::Ready, |state| standing(state, now)) {
        Standing::Ready => {
            let calm = under_way.elsewhere == 0 && state.is_none_or(|state| state.failing_since.is_none());
            (want.limit, want.concurrency.saturating_add(if calm { want.ahead } else { 0 }))
        }
        Standing::Probing => (want.limit.min(1), want.concurrency.min(1)),
        Standing::Held => (0, 0),
    };
    let (next_slot, paced_at) = state.map_or((None, now), |one| (one.next_slot, one.paced_at(me, now)));
    let paced = want.rate.map_or(usize::MAX, |rate| rate.free(next_slot, paced_at));
    limit.min(concurrency.saturating_sub(under_way.all)).min(paced)
}

/// The moment as a store keeps it: to the millisecond.
pub(super) fn stored(at: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(at.as_millisecond()).unwrap_or(at)
}

/// What may be leased of a page while it is taken in. Targets for which something older is due have no opening, nor has
/// one that is parked: what queues goes first.
#[derive(Debug, Default)]
pub(super) struct Openings {
    of: HashMap<String, Opening>,
    tokens: String,
    leased: usize,
}

#[derive(Debug)]
struct Opening {
    want: Want,
    next_slot: Option<Timestamp>,
    free: usize,
    leased: usize,
}

impl Openings {
    /// None yet; `tokens` is what the tokens of all leases begin with.
    pub(super) fn new(tokens: String) -> Self {
        Self { tokens, ..Self::default() }
    }

    /// One for a target for which nothing older is due.
    pub(super) fn add(
        &mut self,
        want: &Want,
        state: Option<&TargetState>,
        under_way: UnderWay,
        me: &str,
        now: Timestamp,
    ) {
        let parked = state.is_some_and(|state| state.parked_until.is_some());
        let free = if parked { 0 } else { opening(want, state, under_way, me, now) };
        let next_slot = state.and_then(|state| state.next_slot);
        self.of.insert(want.target.clone(), Opening { want: want.clone(), next_slot, free, leased: 0 });
    }

    /// A lease for what is due at once, if its target has one left.
    pub(super) fn lease(&mut self, planned: &Planned, now: Timestamp) -> Option<Lease> {
        let opening = self.of.get_mut(&planned.target).filter(|opening| opening.leased < opening.free)?;
        let expired = planned.expires_at.is_some_and(|end| end <= now);
        if planned.due_at > now
            || planned.withheld.is_some()
            || planned.joins.is_some()
            || planned.quota.is_some()
            || expired
        {
            return None;
        }
        opening.leased += 1;
        self.leased += 1;
        let token = format!("{}n{}", self.tokens, self.leased);
        Some(Lease { token, until: stored(after_now(now, opening.want.lease)) })
    }

    /// What the leases leave of the targets' rates: the state of each that has one and was leased of.
    pub(super) fn paced(&self, now: Timestamp) -> impl Iterator<Item = (&str, Timestamp)> {
        self.of.values().filter(|one| one.leased > 0).filter_map(move |one| {
            let rate = one.want.rate?;
            Some((one.want.target.as_str(), rate.taken(one.next_slot, one.leased, now)))
        })
    }
}

/// What a courier is given that needs no search for it.
pub(super) fn job(planned: &Planned, message: &Message, lease: Lease, now: Timestamp) -> Job {
    Job {
        claim: Claim { id: planned.id.clone(), attempts: 0, starts: 1, lease },
        account: planned.account.clone(),
        rule: planned.rule.clone(),
        target: planned.target.clone(),
        recipient: planned.recipient.clone(),
        template: planned.template.clone(),
        messages: vec![message.clone()],
        notice: None,
        payload: None,
        plain: false,
        created_at: stored(now),
        expires_at: planned.expires_at.map(stored),
        replay_of: None,
        first_due: stored(now),
        gathered: None,
        throttled: 0,
    }
}
