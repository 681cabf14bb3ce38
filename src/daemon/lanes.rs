//! What is under way, and how much more may be: by target, over all targets, and in turn.
//!
//! A target takes `concurrency` requests at once. Where an endpoint took the last one and there is room, as many deliveries again are
//! leased ahead: they are sent while what came of those before them is still being written down. All that is leased is under way, be it
//! that its request is made or that it waits for its turn.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::config::Config;
use crate::model::rate::{CLOCKS_APART_MAX, Rate};
use crate::model::settle::{FAILURES_MANY, after_now};
use crate::store::{Outlook, TargetState, Want};
use crate::target::{Kind, Target};

use super::names::WAIT_MAX;

/// Attempts under way at once, over all targets.
const IN_FLIGHT_MAX: usize = 256;
/// Claimed for one target at once.
const CLAIM_MAX: usize = 64;
/// So many of a target may be under way however full the house is, as long as there is a place.
const FEW: usize = 4;
/// What a lease is longer than the attempt's deadline: time to write down its end, and what the clocks of two hosts
/// may be apart.
pub(super) const LEASE_MARGIN: Duration = Duration::from_secs(5).saturating_add(CLOCKS_APART_MAX);
/// How long what is leased ahead may wait for its turn; then it is given back.
pub(super) const TURN_WAIT_MAX: Duration = Duration::from_secs(2);
/// How often the store is asked to sweep although nothing is to be claimed.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// What is under way, by target.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    in_flight: HashMap<String, usize>,
    /// Who is asked first, so that a full house is shared by all.
    turn: usize,
    swept: Option<Timestamp>,
    /// Targets whose last claim brought all that was wanted: more may wait.
    backlog: HashSet<String>,
    /// Targets that took what was last sent to them.
    taking: HashSet<String>,
    /// Neither rates nor concurrency hold anything up.
    unlimited: bool,
    /// What is in force, where it is known.
    config: Option<Arc<Config>>,
}

/// What a tick found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticked {
    /// Attempts started.
    pub started: usize,
    /// When a further tick has something to do, unless an attempt ends or something new is owed before.
    pub next: Option<Timestamp>,
    /// When the first target may be sent to for which something is due that its pace or its standing holds up.
    pub held: Option<Timestamp>,
}

impl Lanes {
    /// Lanes for what no target is asked to take: nothing waits for a target's pace, and many are under way at once.
    pub(super) fn unlimited() -> Self {
        Self { unlimited: true, ..Self::default() }
    }

    /// Attempts under way.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.values().sum()
    }

    /// One more attempt for the target.
    pub(super) fn enter(&mut self, target: &str) {
        *self.in_flight.entry(target.to_owned()).or_default() += 1;
    }

    /// One less.
    pub(super) fn leave(&mut self, target: &str) {
        let left = self.in_flight.get(target).copied().unwrap_or_default().saturating_sub(1);
        if left == 0 {
            self.in_flight.remove(target);
        } else {
            self.in_flight.insert(target.to_owned(), left);
        }
    }

    /// Notes what a claim brought for a target.
    pub(super) fn claimed(&mut self, target: &str, all: bool) {
        if all {
            self.backlog.insert(target.to_owned());
        } else {
            self.backlog.remove(target);
        }
    }

    /// Notes whether the target took what was sent to it.
    pub(super) fn took(&mut self, target: &str, it: bool) {
        if it && !self.taking.contains(target) {
            self.taking.insert(target.to_owned());
        } else if !it {
            self.taking.remove(target);
        }
    }

    /// From here on this configuration is in force.
    pub(super) fn follow(&mut self, config: Arc<Config>) {
        self.backlog.retain(|target| config.targets.contains_key(target));
        self.taking.retain(|target| config.targets.contains_key(target));
        self.config = Some(config);
    }

    /// No other configuration is known to have replaced it.
    pub(super) fn is_in_force(&self, config: &Arc<Config>) -> bool {
        self.config.as_ref().is_none_or(|latest| Arc::ptr_eq(latest, config))
    }

    /// What a lane that has just ended may go on with: one more of the same target, where more may wait and there is so
    /// much room that no other target has to wait for its turn. Nothing under a configuration that is replaced.
    pub(super) fn go_on(&self, target: &Target, config: &Arc<Config>) -> Option<Want> {
        let room = self.in_flight() <= IN_FLIGHT_MAX / 2;
        (room && self.is_in_force(config) && self.backlog.contains(&target.name))
            .then(|| self.want(target, 1))
    }

    /// Whether it is time for a claim without wants: what is too old expires by it, and what a lost holder had is
    /// taken back.
    pub(super) fn sweeps(&mut self, now: Timestamp) -> bool {
        let due = self.swept.is_none_or(|last| now < last || now >= after_now(last, SWEEP_EVERY));
        if due {
            self.swept = Some(now);
        }
        due
    }

    /// What this instance could start at once, were it owed, for each of the targets named.
    pub(super) fn offer<'a>(&self, config: &Config, targets: impl Iterator<Item = &'a str>) -> Vec<Want> {
        let mut room = IN_FLIGHT_MAX.saturating_sub(self.in_flight());
        let mut wants = Vec::new();
        for target in targets.filter_map(|name| config.targets.get(name)).filter(|target| target.enabled) {
            let busy = self.in_flight.get(&target.name).copied().unwrap_or_default();
            let limit = self.concurrency(target).saturating_sub(busy).min(CLAIM_MAX).min(share(room, busy));
            room -= limit;
            wants.push((self.want(target, limit), self.free_ahead(target, busy)));
        }
        with_ahead(wants, room)
    }

    /// What to claim at `now`, and when there will be more to do. Only targets that something is due for take of the
    /// room there is, and they take turns. `me` is this instance.
    pub(super) fn plan(
        &mut self,
        config: &Config,
        outlook: &Outlook,
        me: &str,
        now: Timestamp,
    ) -> (Vec<Want>, Ticked) {
        let mut wants = Vec::new();
        let mut ticked = Ticked { started: 0, next: None, held: None };
        let earlier =
            |so_far: Option<Timestamp>, at| Some(so_far.map_or(at, |so_far: Timestamp| so_far.min(at)));
        let mut room = IN_FLIGHT_MAX.saturating_sub(self.in_flight());
        let count = config.targets.len();
        self.turn = self.turn.wrapping_add(1);
        let first = self.turn.checked_rem(count).unwrap_or_default();
        for target in config.targets.values().cycle().skip(first).take(count) {
            let Some(due) = outlook.due.get(&target.name).copied() else { continue };
            let state = outlook.state(&target.name);
            if state.paused {
                continue;
            }
            let rate = self.rate(target);
            let paced = rate.map_or(now, |rate| paced_until(rate, &state, me, now));
            let at = due.max(blocked_until(&state, now).unwrap_or(now)).max(paced);
            if at > now {
                ticked.next = earlier(ticked.next, at);
                // Whether waiting for a target in trouble brings anything, nobody knows.
                let troubled = state.failing_since.is_some() && state.recovered_at.is_none();
                if due <= now && !troubled {
                    ticked.held = earlier(ticked.held, at);
                }
                continue;
            }
            let here = self.in_flight.get(&target.name).copied().unwrap_or_default();
            // Those of other instances are under way as well.
            let busy = here.max(outlook.sending.get(&target.name).copied().unwrap_or_default());
            let limit =
                self.open(target, &state, busy).min(free(rate, &state, me, now)).min(share(room, here));
            room -= limit;
            let calm = busy == here && state.failing_since.is_none();
            let ahead = if calm { self.free_ahead(target, busy).min(CLAIM_MAX - limit) } else { 0 };
            wants.push((self.want(target, limit), ahead));
        }
        (with_ahead(wants, room), ticked)
    }

    /// How many attempts the target may start, its rate and its waiting aside.
    fn open(&self, target: &Target, state: &TargetState, busy: usize) -> usize {
        let lanes = if state.parked_until.is_some() || state.failures >= FAILURES_MANY {
            1
        } else {
            self.concurrency(target)
        };
        lanes.saturating_sub(busy).min(CLAIM_MAX)
    }

    /// How many more of the target may be leased ahead, `busy` of it being under way.
    fn free_ahead(&self, target: &Target, busy: usize) -> usize {
        let concurrency = self.concurrency(target);
        (concurrency + self.ahead(target)).saturating_sub(busy.max(concurrency))
    }

    /// How many deliveries of the target may be leased beside those that may be sent at once. None where they go out one after the
    /// other, or at a pace: there is nothing to gain. Nor any that people read: all that was sent and is not written down comes twice
    /// after a kill, which an endpoint can see by the delivery's id.
    fn ahead(&self, target: &Target) -> usize {
        let paced = self.unlimited || target.rate.is_some();
        let machine = matches!(target.kind, Kind::Http(_));
        let taking = self.taking.contains(&target.name);
        match self.concurrency(target) {
            concurrency @ 2.. if machine && taking && !paced => concurrency.min(CLAIM_MAX),
            _ => 0,
        }
    }

    /// How many requests may be under way to the target at once.
    pub(super) fn concurrency(&self, target: &Target) -> usize {
        if self.unlimited {
            return CLAIM_MAX;
        }
        usize::try_from(target.concurrency.get()).unwrap_or(usize::MAX)
    }

    fn rate(&self, target: &Target) -> Option<Rate> {
        target.rate.filter(|_| !self.unlimited)
    }

    fn want(&self, target: &Target, limit: usize) -> Want {
        let ahead = self.ahead(target);
        let turn = if ahead > 0 { TURN_WAIT_MAX } else { Duration::ZERO };
        let (rate, concurrency) = (self.rate(target), self.concurrency(target));
        Want {
            target: target.name.clone(),
            limit,
            lease: attempt_max(target) + LEASE_MARGIN + turn,
            rate,
            concurrency,
            ahead,
        }
    }
}

/// The wants, each with as many more as may be leased ahead while half of all `room` stays free: no other target has to wait for these.
fn with_ahead(wants: Vec<(Want, usize)>, room: usize) -> Vec<Want> {
    let mut room = room.saturating_sub(IN_FLIGHT_MAX / 2);
    let all = wants.into_iter().map(|(want, more)| {
        let more = more.min(room);
        room -= more;
        Want { limit: want.limit + more, ..want }
    });
    all.filter(|want| want.limit > 0).collect()
}

/// What an attempt takes at the most, the waiting for names included.
pub(super) fn attempt_max(target: &Target) -> Duration {
    target.attempt_time_max() + WAIT_MAX
}

/// How much of the room a target may take that has so many under way: the last quarter is for targets with few.
fn share(room: usize, busy: usize) -> usize {
    room.saturating_sub(IN_FLIGHT_MAX / 4).max(FEW.saturating_sub(busy).min(room))
}

fn free(rate: Option<Rate>, state: &TargetState, me: &str, now: Timestamp) -> usize {
    rate.map_or(usize::MAX, |rate| rate.free(state.next_slot, state.paced_at(me, now)))
}

/// When the rate lets `me` send.
fn paced_until(rate: Rate, state: &TargetState, me: &str, now: Timestamp) -> Timestamp {
    let at = state.paced_at(me, now);
    let wait = rate.free_at(state.next_slot, at).duration_since(at);
    after_now(now, Duration::try_from(wait).unwrap_or_default())
}

/// Until when a target that nobody paused is not to be sent to.
fn blocked_until(state: &TargetState, now: Timestamp) -> Option<Timestamp> {
    [state.wait_until, state.parked_until].into_iter().flatten().filter(|until| *until > now).max()
}
