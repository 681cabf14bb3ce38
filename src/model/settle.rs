//! The one judge: what follows from an attempt's outcome, for the delivery and for its target.

use std::time::Duration;

use jiff::Timestamp;

use super::backoff::scaled;
use super::delivery::{Outcome, RetryPolicy, State};
use super::duration::shown;

/// A 429 without a usable `Retry-After` pauses the target this long.
const BUSY_PAUSE: Duration = Duration::from_secs(5);
/// What a target may ask for at the least and at the most.
const ASKED_MIN: Duration = Duration::from_secs(1);
const ASKED_MAX: Duration = Duration::from_hours(24);
/// A message that the target refuses so often is dead.
const DOUBTS_MAX: u32 = 5;
/// The first wait between such tries.
const DOUBTFUL_WAIT: Duration = Duration::from_mins(10);
/// A parked target is probed after this long, doubling up to an hour.
const PROBE_FIRST: Duration = Duration::from_mins(1);
const PROBE_MAX: Duration = Duration::from_hours(1);
/// Where the next wait would outlast a delivery's life, its last try is so long before the end.
const LAST_TRY: Duration = Duration::from_secs(30);

/// A target that takes one at a time waits so long at the most for one that is soon tried again.
const HOLD_MAX: Duration = Duration::from_mins(1);
/// A target that failed so often in a row, whatever it was sent, is tried with one delivery at a time: one that is dead
/// occupies nothing, however much queues for it.
pub const FAILURES_MANY: u32 = 10;
/// Between such tries it rests a quarter of the time that it has failed, within these bounds.
const REST_MIN: Duration = Duration::from_secs(1);
const REST_MAX: Duration = Duration::from_mins(1);

/// What `settle` is to know of the delivery beside the outcome.
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    /// Attempts before this one that reached the target.
    pub attempts: u32,
    /// How often the target refused it before for what it says.
    pub doubts: u32,
    /// The target refused it before as if it refused everything.
    pub turned_away: bool,
    /// When the delivery was planned.
    pub created_at: Timestamp,
    /// When it was first to be attempted: what waited for its moment has all its life before it then.
    pub first_due: Timestamp,
    /// When it stops being worth sending.
    pub expires_at: Option<Timestamp>,
    /// This attempt already was the plain rendering.
    pub plain: bool,
    /// The target takes one at a time, so that what is sent there is read in order.
    pub serial: bool,
    /// How often in a row the target's probe failed before; 0 where it is not parked.
    pub probes: u32,
    /// Attempts at the target in a row that failed before, whatever they were about.
    pub failures: u32,
    /// When the first of them was.
    pub failing_since: Option<Timestamp>,
    /// When it took something again after that, if it did.
    pub recovered_at: Option<Timestamp>,
}

impl Facts {
    /// What an outcome is taken for, which is what is recorded: a refusal of everything is one of this message where the target
    /// takes others.
    pub fn meant(&self, outcome: Outcome) -> Outcome {
        let alone = outcome == Outcome::TargetBroken && self.is_refused_alone();
        if alone { Outcome::Doubtful } else { outcome }
    }

    /// The target took something else since it refused this one as if it refused everything: it is not the target. (Each such
    /// refusal is a failure of the target's, which only something that it takes ends.)
    fn is_refused_alone(&self) -> bool {
        self.turned_away && (self.failing_since.is_none() || self.recovered_at.is_some())
    }
}

/// What follows for the target as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetChange {
    /// Nothing.
    None,
    /// It did not take this one, for a reason that may be the target's.
    Failing {
        /// Nobody sends to it before then: it has taken nothing for long, or takes one at a time and waits
        /// for this one.
        rest_until: Option<Timestamp>,
    },
    /// Nobody sends to it before then; it is healthy otherwise.
    Pause {
        /// The end of the pause.
        until: Timestamp,
    },
    /// It refuses everything: messages queue, one is tried again at `probe_at`.
    Park {
        /// When the next one is tried.
        probe_at: Timestamp,
    },
    /// It took a message: if it was parked, it no longer is.
    Healthy,
}

impl TargetChange {
    /// Whoever has more for the target looks first how it stands.
    pub fn is_trouble(&self) -> bool {
        match self {
            Self::Failing { .. } | Self::Pause { .. } | Self::Park { .. } => true,
            Self::None | Self::Healthy => false,
        }
    }
}

/// What follows from one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Where the delivery stands from here on.
    pub state: State,
    /// Whether the attempt counts: only what reached the target does.
    pub counts: bool,
    /// The next attempt sends the plain rendering.
    pub plain: bool,
    /// What follows for the target.
    pub target: TargetChange,
}

/// Decides what an outcome means. `jitter` is one number in `0.0..1.0`, drawn by the caller.
pub fn settle(
    facts: Facts,
    outcome: Outcome,
    reason: &str,
    policy: &RetryPolicy,
    now: Timestamp,
    jitter: f64,
) -> Verdict {
    let attempts = facts.attempts.saturating_add(1);
    let verdict = |state, target| Verdict { state, counts: true, plain: facts.plain, target };
    let dead = |why: &str| State::Dead { at: now, why: why.to_owned() };
    match facts.meant(outcome) {
        Outcome::Delivered => verdict(State::Delivered { at: now }, TargetChange::Healthy),
        Outcome::Retry { after } => {
            let own = || within_life(facts, now, policy.backoff.wait(attempts, jitter));
            let wait = after.map_or_else(own, asked);
            let (state, rest_until) = (later(facts, policy, now, wait, reason), rest_until(facts, now));
            if facts.serial && wait <= HOLD_MAX && matches!(state, State::Pending { .. }) {
                let rest_until = rest_until.max(Some(after_now(now, wait)));
                return verdict(in_turn(facts, state, now), TargetChange::Failing { rest_until });
            }
            verdict(state, TargetChange::Failing { rest_until })
        }
        Outcome::Busy { after } => {
            let wait = after.map_or(BUSY_PAUSE, asked);
            let target = TargetChange::Pause { until: after_now(now, wait) };
            let state = in_turn(facts, later(facts, policy, now, wait, reason), now);
            Verdict { counts: false, ..verdict(state, target) }
        }
        Outcome::TargetBroken => {
            let doubled = PROBE_FIRST.saturating_mul(1 << facts.probes.min(10)).min(PROBE_MAX);
            let probe_at = after_now(now, scaled(doubled, 0.8 + 0.4 * jitter.clamp(0.0, 1.0)));
            let state = if facts.expires_at.is_some_and(|end| now >= end) {
                State::Expired { at: now }
            } else if facts.probes > 0 {
                // It goes behind, and the next probe is another one: were it this message and not the target, nothing
                // else would ever be tried. What is behind gets its place back when the target takes something.
                State::Pending { due_at: probe_at }
            } else {
                // A person may mend and resume the target long before its probe: nothing is given up early.
                in_turn(facts, State::Pending { due_at: now }, now)
            };
            Verdict { counts: false, ..verdict(state, TargetChange::Park { probe_at }) }
        }
        Outcome::ShapeRefused if !facts.plain => Verdict {
            plain: true,
            ..verdict(
                in_turn(facts, later(facts, policy, now, Duration::ZERO, reason), now),
                TargetChange::None,
            )
        },
        Outcome::Doubtful => {
            let (why, target) = if facts.is_refused_alone() {
                let why = format!("refused while the target takes others: {reason}");
                (why, TargetChange::Failing { rest_until: None })
            } else {
                (reason.to_owned(), TargetChange::None)
            };
            let doubts = facts.doubts.saturating_add(1);
            if doubts >= DOUBTS_MAX {
                return verdict(dead(&why), target);
            }
            let wait = scaled(DOUBTFUL_WAIT.saturating_mul(doubts), 0.8 + 0.4 * jitter.clamp(0.0, 1.0));
            verdict(later(facts, policy, now, within_life(facts, now, wait), &why), target)
        }
        Outcome::ShapeRefused | Outcome::Refused => verdict(dead(reason), TargetChange::None),
    }
}

/// Pending until `now + wait`, unless that is past the delivery's life. (A broken target is not the delivery's
/// fault: what queues for a parked target never gives up, it only expires.)
fn later(facts: Facts, policy: &RetryPolicy, now: Timestamp, wait: Duration, reason: &str) -> State {
    let due_at = after_now(now, wait);
    if facts.expires_at.is_some_and(|end| due_at >= end) {
        return State::Expired { at: now };
    }
    if due_at >= after_now(facts.first_due.max(facts.created_at), policy.give_up_after) {
        let after = shown(policy.give_up_after);
        return State::Dead { at: now, why: format!("gave up after {after}: {reason}") };
    }
    State::Pending { due_at }
}

/// A wait of the relay's own choice, shorter where it would outlast the delivery's life: there is one last try shortly before
/// the end. (What a target asks for is not cut short.)
fn within_life(facts: Facts, now: Timestamp, wait: Duration) -> Duration {
    let Some(end) = facts.expires_at.filter(|end| after_now(now, wait) >= *end) else { return wait };
    let left = Duration::try_from(end.duration_since(now)).unwrap_or_default().saturating_sub(LAST_TRY);
    if left.is_zero() { wait } else { left }
}

/// Until when a target that fails again and again is left alone.
fn rest_until(facts: Facts, now: Timestamp) -> Option<Timestamp> {
    let since = facts.failing_since.filter(|_| facts.failures >= FAILURES_MANY)?;
    let failing = Duration::try_from(now.duration_since(since)).unwrap_or(Duration::ZERO);
    Some(after_now(now, (failing / 4).clamp(REST_MIN, REST_MAX)))
}

/// What waits because its whole target does keeps its place: it is due since it was planned, and the target's own
/// moment holds it, so that nothing planned later overtakes it.
fn in_turn(facts: Facts, state: State, now: Timestamp) -> State {
    match state {
        State::Pending { .. } => State::Pending { due_at: facts.created_at.min(now) },
        ended => ended,
    }
}

fn asked(wait: Duration) -> Duration {
    wait.clamp(ASKED_MIN, ASKED_MAX)
}

/// `at + wait`, at the end of time at the latest.
pub fn after_now(at: Timestamp, wait: Duration) -> Timestamp {
    at.saturating_add(jiff::SignedDuration::try_from(wait).unwrap_or(jiff::SignedDuration::MAX))
        .unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::backoff::Backoff;

    const DAY_SECONDS: i64 = 86_400;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_790_000_000 + seconds).unwrap()
    }

    fn facts(attempts: u32) -> Facts {
        Facts {
            attempts,
            doubts: 0,
            turned_away: false,
            created_at: at(0),
            first_due: at(0),
            expires_at: None,
            plain: false,
            serial: false,
            probes: 0,
            failures: 0,
            failing_since: None,
            recovered_at: None,
        }
    }

    fn judge(facts: Facts, outcome: Outcome, now: Timestamp) -> Verdict {
        settle(facts, outcome, "because", &RetryPolicy::default(), now, 0.5)
    }

    #[test]
    fn too_many_requests_pause_the_target_and_cost_nothing() {
        for (after, seconds) in
            [(None, 5), (Some(0), 1), (Some(30), 30), (Some(10 * DAY_SECONDS), DAY_SECONDS)]
        {
            let after = after.map(|seconds| Duration::from_secs(seconds.unsigned_abs()));
            let verdict = judge(facts(2), Outcome::Busy { after }, at(10));
            assert_eq!(verdict.target, TargetChange::Pause { until: at(10 + seconds) });
            assert!(!verdict.counts);
        }
    }

    #[test]
    fn what_its_target_holds_up_keeps_its_place_in_the_queue() {
        for outcome in [Outcome::Busy { after: None }, Outcome::TargetBroken] {
            assert_eq!(judge(facts(0), outcome, at(10)).state, State::Pending { due_at: at(0) });
        }
    }

    #[test]
    fn a_channel_waits_for_one_that_is_soon_tried_again_and_not_for_one_that_is_not() {
        let serial = Facts { serial: true, ..facts(0) };
        let retry = |seconds| Outcome::Retry { after: Some(Duration::from_secs(seconds)) };
        let verdict = judge(serial, retry(60), at(10));
        assert_eq!(verdict.state, State::Pending { due_at: at(0) });
        assert_eq!(
            (verdict.target, verdict.counts),
            (TargetChange::Failing { rest_until: Some(at(70)) }, true)
        );
        for verdict in [judge(serial, retry(61), at(10)), judge(facts(0), retry(61), at(10))] {
            assert_eq!(verdict.state, State::Pending { due_at: at(71) });
            assert_eq!(verdict.target, TargetChange::Failing { rest_until: None });
        }
    }

    #[test]
    fn a_parked_target_is_tried_after_a_minute_then_twice_as_long_up_to_an_hour() {
        let waits = [0, 1, 2, 5, 6, 40].map(|probes| {
            let verdict = judge(Facts { probes, ..facts(0) }, Outcome::TargetBroken, at(0));
            let TargetChange::Park { probe_at } = verdict.target else { panic!("{verdict:?}") };
            probe_at.duration_since(at(0)).as_secs()
        });
        assert_eq!(waits, [60, 120, 240, 1920, 3600, 3600]);
    }

    #[test]
    fn a_target_that_takes_nothing_rests_a_quarter_of_the_time_it_failed_up_to_a_minute() {
        let rest = |failures, failed_for: i64| {
            let facts = Facts { failures, failing_since: Some(at(0)), ..facts(0) };
            let verdict = judge(facts, Outcome::Retry { after: None }, at(failed_for));
            let TargetChange::Failing { rest_until } = verdict.target else { panic!("{verdict:?}") };
            rest_until.map(|until| until.duration_since(at(failed_for)).as_secs())
        };
        assert_eq!(rest(9, 100), None);
        assert_eq!([0, 40, 100, 240, 9000].map(|failed| rest(10, failed)), [1, 10, 25, 60, 60].map(Some));
    }

    #[test]
    fn what_a_parked_target_holds_up_lives_to_its_last_second() {
        let facts = Facts { expires_at: Some(at(20)), ..facts(0) };
        assert_eq!(judge(facts, Outcome::TargetBroken, at(19)).state, State::Pending { due_at: at(0) });
        assert_eq!(judge(facts, Outcome::TargetBroken, at(20)).state, State::Expired { at: at(20) });
    }

    #[test]
    fn a_refused_shape_is_tried_once_more_in_plain_words() {
        let verdict = judge(facts(0), Outcome::ShapeRefused, at(1));
        assert_eq!((verdict.state, verdict.plain), (State::Pending { due_at: at(0) }, true));
        let verdict = judge(Facts { plain: true, ..facts(1) }, Outcome::ShapeRefused, at(1));
        assert!(matches!(verdict.state, State::Dead { .. }), "{verdict:?}");
    }

    #[test]
    fn a_doubtful_message_dies_at_the_fifth_no_however_often_the_network_failed() {
        let after =
            |attempts, doubts| judge(Facts { doubts, ..facts(attempts) }, Outcome::Doubtful, at(1)).state;
        assert_eq!(after(40, 0), State::Pending { due_at: at(601) });
        assert_eq!(after(40, 3), State::Pending { due_at: at(2401) });
        assert!(matches!(after(4, 4), State::Dead { .. }));
    }

    #[test]
    fn a_refused_probe_goes_behind_so_that_the_next_is_another_one() {
        let verdict = judge(Facts { probes: 1, ..facts(0) }, Outcome::TargetBroken, at(60));
        assert_eq!((verdict.state, verdict.counts), (State::Pending { due_at: at(180) }, false));
        assert_eq!(verdict.target, TargetChange::Park { probe_at: at(180) });
    }

    #[test]
    fn what_is_refused_while_the_target_takes_others_is_the_messages_own_and_dies() {
        let again = Facts { turned_away: true, ..facts(0) };
        let taken = |doubts| Facts { doubts, failing_since: Some(at(0)), recovered_at: Some(at(9)), ..again };
        for facts in [again, taken(0)] {
            let verdict = judge(facts, Outcome::TargetBroken, at(10));
            assert_eq!(verdict.state, State::Pending { due_at: at(610) });
            assert_eq!(verdict.target, TargetChange::Failing { rest_until: None });
            assert_eq!((facts.meant(Outcome::TargetBroken), verdict.counts), (Outcome::Doubtful, true));
        }
        let why = "refused while the target takes others: because".to_owned();
        let verdict = judge(taken(4), Outcome::TargetBroken, at(10));
        assert_eq!(verdict.state, State::Dead { at: at(10), why });
        let nothing = Facts { failing_since: Some(at(0)), doubts: 4, ..again };
        for facts in [nothing, Facts { turned_away: false, ..taken(4) }] {
            let verdict = judge(facts, Outcome::TargetBroken, at(10));
            assert!(matches!(verdict.target, TargetChange::Park { .. }), "{verdict:?}");
            assert_eq!(verdict.state, State::Pending { due_at: at(0) });
            assert_eq!(facts.meant(Outcome::TargetBroken), Outcome::TargetBroken);
        }
    }

    #[test]
    fn a_wait_that_outlasts_the_life_ends_with_a_last_try_before_the_end() {
        let facts = Facts { expires_at: Some(at(100)), ..facts(9) };
        for outcome in [Outcome::Retry { after: None }, Outcome::Doubtful] {
            assert_eq!(judge(facts, outcome, at(10)).state, State::Pending { due_at: at(70) });
            assert_eq!(judge(facts, outcome, at(70)).state, State::Expired { at: at(70) });
        }
        let asked = Outcome::Retry { after: Some(Duration::from_secs(95)) };
        assert_eq!(
            judge(facts, asked, at(10)).state,
            State::Expired { at: at(10) },
            "the target said not before"
        );
    }

    fn outcomes() -> impl Strategy<Value = Outcome> {
        let after = prop_oneof![
            Just(None),
            any::<u64>().prop_map(|seconds| Some(Duration::from_secs(seconds))),
            (0_u64..100_000).prop_map(|seconds| Some(Duration::from_secs(seconds))),
            Just(Some(Duration::MAX)),
        ];
        let busy = after.clone();
        prop_oneof![
            Just(Outcome::Delivered),
            after.prop_map(|after| Outcome::Retry { after }),
            busy.prop_map(|after| Outcome::Busy { after }),
            Just(Outcome::TargetBroken),
            Just(Outcome::ShapeRefused),
            Just(Outcome::Doubtful),
            Just(Outcome::Refused),
        ]
    }

    proptest! {
        /// Whatever a target answers, and however often: no panic, bounded attempts, and an end within the policy's
        /// time and one wait, but for the time that the target is parked.
        #[test]
        fn every_delivery_ends(
            outcomes in prop::collection::vec((outcomes(), 0.0..1.0_f64), 1..400),
            give_up_seconds in 0_i64..4 * DAY_SECONDS,
            first_ms in 0_u64..1_000_000,
            life_seconds in prop::option::of(0_i64..2 * DAY_SECONDS),
            serial in any::<bool>(),
        ) {
            let policy = RetryPolicy {
                backoff: Backoff { first: Duration::from_millis(first_ms), max: Duration::from_hours(1) },
                give_up_after: Duration::from_secs(give_up_seconds.unsigned_abs()),
            };
            let expires_at = life_seconds.map(at);
            let mut facts = Facts { expires_at, serial, ..facts(0) };
            let (mut now, mut parked) = (at(0), 0_i64);
            for (outcome, jitter) in outcomes {
                let verdict = settle(facts, outcome, "because", &policy, now, jitter);
                let free = matches!(outcome, Outcome::Busy { .. } | Outcome::TargetBroken);
                prop_assert_eq!(verdict.counts, !free);
                facts.attempts += u32::from(verdict.counts);
                facts.doubts += u32::from(outcome == Outcome::Doubtful);
                prop_assert!(!facts.plain || verdict.plain, "a plain delivery never goes back to the full layout");
                facts.plain = verdict.plain;
                let State::Pending { due_at } = verdict.state else { break };
                let held = match verdict.target {
                    TargetChange::Pause { until } => until,
                    TargetChange::Park { probe_at } => {
                        facts.probes += 1;
                        parked += probe_at.duration_since(now).as_secs() + 1;
                        probe_at
                    }
                    TargetChange::Failing { rest_until } => rest_until.unwrap_or(now),
                    TargetChange::None | TargetChange::Healthy => now,
                };
                let next = due_at.max(held);
                prop_assert!(due_at >= at(0));
                // Zero waits are bounded by the one change to the plain layout.
                prop_assert!(next > now || outcome == Outcome::ShapeRefused);
                let end = after_now(at(0), policy.give_up_after);
                prop_assert!(
                    matches!(outcome, Outcome::TargetBroken) || next < end || next <= now,
                    "{next} is past {end}"
                );
                now = next;
                let spent = now.duration_since(at(0)).as_secs();
                prop_assert!(spent <= give_up_seconds + parked + 1, "{spent} seconds, {parked} of them parked");
                let tries_max = u32::try_from(spent).unwrap_or(u32::MAX).saturating_add(2);
                prop_assert!(facts.attempts <= tries_max);
            }
        }

        #[test]
        fn no_figure_makes_it_panic(
            (outcome, jitter) in (outcomes(), any::<f64>()),
            (attempts, probes, plain) in (any::<u32>(), any::<u32>(), any::<bool>()),
            (created, now) in (-377_705_000_000_i64..253_402_000_000, -377_705_000_000_i64..253_402_000_000),
            (first, max, give_up) in (any::<u64>(), any::<u64>(), any::<u64>()),
        ) {
            let moment = |second| Timestamp::from_second(second).unwrap();
            let since = Some(moment(created));
            let facts = Facts {
                attempts, doubts: probes, turned_away: plain, created_at: moment(created), first_due: moment(now), expires_at: None, plain,
                serial: plain, probes, failures: probes, failing_since: since, recovered_at: since,
            };
            let backoff =
                Backoff { first: Duration::from_secs(first), max: Duration::from_secs(max) };
            let policy = RetryPolicy { backoff, give_up_after: Duration::from_secs(give_up) };
            settle(facts, outcome, "because", &policy, moment(now), jitter);
        }
    }
}
