//! How a target's standing changes: by attempts that end, by people, by claims. Pure.

use jiff::Timestamp;

use super::TargetState;
use crate::model::delivery::Lease;
use crate::model::settle::TargetChange;

/// A target's row.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Standing {
    /// What everybody sees of it.
    pub(super) state: TargetState,
    /// The lease of the one delivery that tries a parked target.
    pub(super) probe: Option<String>,
}

impl Standing {
    /// That of a target without a row.
    pub(super) fn ready(name: &str) -> Self {
        Self { state: TargetState { name: name.to_owned(), ..TargetState::default() }, probe: None }
    }

    /// It is simply ready, and needs no row.
    pub(super) fn is_ready(&self) -> bool {
        let state = &self.state;
        let held = state.paused || state.wait_until.is_some() || state.parked_until.is_some();
        !held && state.next_slot.is_none() && state.failing_since.is_none()
    }

    /// A good answer says something new of it: it is parked, waits, or took nothing for a while.
    pub(super) fn is_troubled(&self) -> bool {
        let state = &self.state;
        state.wait_until.is_some() || state.parked_until.is_some() || state.failing_since.is_some()
    }

    /// Applies what follows from an attempt, or from anything else that knows (`token` and `now` are the attempt's).
    /// `true` if the target is parked by it and was not before, or takes something for the first time since it was.
    pub(super) fn apply(
        &mut self,
        change: TargetChange,
        reason: &str,
        token: Option<&str>,
        now: Option<Timestamp>,
    ) -> bool {
        match change {
            TargetChange::None => self.end_probe(token, now),
            TargetChange::Failing { rest_until } => {
                self.end_probe(token, now);
                self.fails(now);
                if let Some(until) = rest_until {
                    self.wait(until, reason);
                }
            }
            TargetChange::Pause { until } => {
                self.end_probe(token, now);
                self.wait(until, reason);
            }
            TargetChange::Park { probe_at } => {
                self.fails(now);
                return self.park(probe_at, reason, token);
            }
            TargetChange::Healthy => return self.recover(now),
        }
        false
    }

    /// The probe ended without a word on the target's health: the next may go at once.
    pub(super) fn end_probe(&mut self, token: Option<&str>, now: Option<Timestamp>) {
        if let (Some(token), Some(now)) = (token, now)
            && self.probe.as_deref() == Some(token)
        {
            self.probe = None;
            self.state.parked_until = Some(now);
        }
    }

    /// The claim that tries a parked target: until its lease ends there is no second one.
    pub(super) fn begin_probe(&mut self, lease: &Lease) {
        self.probe = Some(lease.token.clone());
        self.state.parked_until = Some(lease.until);
    }

    /// A person pauses it.
    pub(super) fn pause(&mut self, reason: &str) {
        self.state.paused = true;
        self.state.reason = Some(reason.to_owned());
    }

    /// A person resumes it, whatever held it. Those who were told that it is parked are told, too, when it takes something
    /// again: one probe stays noted until then.
    pub(super) fn resume(&mut self) {
        let state = &mut self.state;
        state.paused = false;
        (state.wait_until, state.parked_until, state.reason) = (None, None, None);
        (state.probes, state.failures) = (state.probes.min(1), 0);
        self.probe = None;
    }

    /// What queued up during the trouble has been looked at.
    pub(super) fn recovery_seen(&mut self) {
        if self.state.recovered_at.take().is_some() {
            self.state.failing_since = None;
        }
    }

    /// Notes since when the target takes nothing. A person who resumes it mends nothing yet, and what it takes before what queued up
    /// has been looked at is part of the trouble.
    fn fails(&mut self, now: Option<Timestamp>) {
        let Some(now) = now else { return };
        self.state.failing_since.get_or_insert(now);
        self.state.recovered_at = None;
        self.state.failures = self.state.failures.saturating_add(1);
    }

    fn wait(&mut self, until: Timestamp, reason: &str) {
        let state = &mut self.state;
        state.wait_until = state.wait_until.max(Some(until));
        if !state.paused && state.parked_until.is_none() {
            state.reason = Some(reason.to_owned());
        }
    }

    /// Parks, or moves the next probe after one that failed. An attempt that was already under way when the target was
    /// parked says nothing new: it neither counts as a probe nor moves one.
    fn park(&mut self, probe_at: Timestamp, reason: &str, token: Option<&str>) -> bool {
        let state = &mut self.state;
        let first = state.parked_until.is_none();
        if !first && token.is_some() && self.probe.as_deref() != token {
            return false;
        }
        state.parked_until = Some(probe_at);
        state.probes = if first { 1 } else { state.probes.saturating_add(1) };
        if !state.paused {
            state.reason = Some(reason.to_owned());
        }
        self.probe = None;
        first
    }

    /// It took a message: no longer parked, and those who were told so hear of it. A wait it asked for is kept to its end,
    /// because an attempt that was under way before the 429 may well succeed after it.
    fn recover(&mut self, now: Option<Timestamp>) -> bool {
        let state = &mut self.state;
        let told = state.parked_until.take().is_some() || state.probes > 0;
        self.probe = None;
        (state.probes, state.failures) = (0, 0);
        state.wait_until = state.wait_until.filter(|until| now.is_some_and(|now| *until > now));
        state.recovered_at = state.failing_since.and(state.recovered_at.or(now));
        if !state.paused && state.wait_until.is_none() {
            state.reason = None;
        }
        told
    }
}
