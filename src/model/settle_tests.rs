//! What follows from each outcome.

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
        refused_alone: false,
        put_off: None,
        created_at: at(0),
        first_due: at(0),
        tried_for: Duration::ZERO,
        expires_at: None,
        plain: false,
        serial: false,
        probes: 0,
        failures: 0,
        failing_since: None,
    }
}

fn judge(facts: Facts, outcome: Outcome, now: Timestamp) -> Verdict {
    settle(facts, outcome, "because", &RetryPolicy::default(), now, 0.5)
}

#[test]
fn too_many_requests_pause_the_target_and_cost_nothing() {
    for (after, seconds) in [(None, 5), (Some(0), 1), (Some(30), 30), (Some(10 * DAY_SECONDS), DAY_SECONDS)] {
        let after = after.map(|seconds| Duration::from_secs(seconds.unsigned_abs()));
        let verdict = judge(facts(2), Outcome::Busy { after }, at(10));
        assert_eq!(verdict.target, TargetChange::Pause { until: at(10 + seconds) });
        assert!(!verdict.counts);
    }
}

#[test]
fn what_is_given_up_was_tried_in_vain_for_long() {
    let late = at(9 * DAY_SECONDS);
    let waited = facts(0);
    let tried = Facts { tried_for: Duration::from_hours(72), ..waited };
    for (facts, dies) in [
        (waited, false),
        (tried, true),
        (Facts { probes: 1, ..tried }, false),
        (Facts { failing_since: Some(at(0)), failures: 1, ..waited }, false),
    ] {
        for outcome in [Outcome::Retry { after: None }, Outcome::Busy { after: None }, Outcome::Doubtful] {
            let state = judge(facts, outcome, late).state;
            assert_eq!(matches!(state, State::Dead { .. }), dies, "{facts:?}: {state:?}");
        }
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
    assert_eq!((verdict.target, verdict.counts), (TargetChange::Failing { rest_until: Some(at(70)) }, true));
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
    let after = |attempts, doubts| judge(Facts { doubts, ..facts(attempts) }, Outcome::Doubtful, at(1)).state;
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
    let alone = |doubts| Facts { doubts, refused_alone: true, failing_since: Some(at(0)), ..facts(0) };
    let verdict = judge(alone(0), Outcome::TargetBroken, at(10));
    assert_eq!(verdict.state, State::Pending { due_at: at(610) });
    assert_eq!(verdict.target, TargetChange::Failing { rest_until: None });
    assert_eq!((alone(0).meant(Outcome::TargetBroken), verdict.counts), (Outcome::Doubtful, true));
    let why = "refused while the target takes others: because".to_owned();
    let verdict = judge(alone(4), Outcome::TargetBroken, at(10));
    assert_eq!(verdict.state, State::Dead { at: at(10), why });
    let bad = judge(alone(4), Outcome::Doubtful, at(10));
    assert_eq!(bad.target, TargetChange::None, "a refusal of this message says nothing of the target");
}

#[test]
fn what_was_refused_alone_parks_nothing_while_nothing_else_was_sent() {
    let put_off = |times| Facts { doubts: 4, put_off: Some(times), ..facts(0) };
    let late = at(9 * DAY_SECONDS);
    let verdict = judge(put_off(0), Outcome::TargetBroken, late);
    assert_eq!((verdict.target, verdict.counts), (TargetChange::None, false));
    assert_eq!(
        verdict.state,
        State::Pending { due_at: after_now(late, Duration::from_mins(50)) },
        "nothing is given up"
    );
    let probe = Facts { probes: 1, ..put_off(0) };
    for facts in [facts(0), Facts { doubts: 1, ..facts(0) }, put_off(3), probe] {
        let verdict = judge(facts, Outcome::TargetBroken, late);
        assert!(matches!(verdict.target, TargetChange::Park { .. }), "{verdict:?}");
        assert!(matches!(verdict.state, State::Pending { .. }), "{verdict:?}");
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
        outcomes in prop::collection::vec((outcomes(), 0.0..1.0_f64, any::<bool>(), any::<bool>()), 1..400),
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
        let (mut now, mut parked, mut turned_away, mut tried_since) = (at(0), 0_i64, false, None);
        for (outcome, jitter, took_others, resumed) in outcomes {
            if resumed {
                facts.probes = 0;
            }
            let is_parked = facts.probes > 0;
            facts.tried_for = tried_since.map_or(Duration::ZERO, |since| now.duration_since(since).unsigned_abs());
            facts.refused_alone = turned_away && took_others;
            let verdict = settle(facts, outcome, "because", &policy, now, jitter);
            let outcome = facts.meant(outcome);
            let free = matches!(outcome, Outcome::Busy { .. } | Outcome::TargetBroken);
            prop_assert_eq!(verdict.counts, !free);
            facts.attempts += u32::from(verdict.counts);
            facts.doubts += u32::from(outcome == Outcome::Doubtful);
            match outcome {
                Outcome::TargetBroken => (turned_away, facts.put_off) = (true, facts.put_off.map(|times| times + 1)),
                Outcome::Doubtful => facts.put_off = turned_away.then_some(0),
                _ => {}
            }
            prop_assert!(!facts.plain || verdict.plain, "a plain delivery never goes back to the full layout");
            facts.plain = verdict.plain;
            let State::Pending { due_at } = verdict.state else { break };
            let held = match verdict.target {
                TargetChange::Pause { until } => until,
                TargetChange::Park { probe_at } => {
                    facts.probes += 1;
                    probe_at
                }
                TargetChange::Failing { rest_until } => rest_until.unwrap_or(now),
                TargetChange::None | TargetChange::Healthy => now,
            };
            let next = due_at.max(held);
            if is_parked || outcome == Outcome::TargetBroken {
                parked += next.duration_since(now).as_secs() + 1;
            }
            if outcome != Outcome::TargetBroken {
                tried_since.get_or_insert(now);
            }
            prop_assert!(due_at >= at(0));
            // Zero waits are bounded by the one change to the plain layout.
            prop_assert!(next > now || outcome == Outcome::ShapeRefused);
            let end = after_now(tried_since.unwrap_or(now), policy.give_up_after);
            prop_assert!(
                is_parked || outcome == Outcome::TargetBroken || next < end || next <= now,
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
            attempts, doubts: probes, refused_alone: plain, put_off: Some(probes), created_at: moment(created), first_due: moment(now), tried_for: Duration::from_secs(max), expires_at: None, plain,
            serial: plain, probes, failures: probes, failing_since: since,
        };
        let backoff =
            Backoff { first: Duration::from_secs(first), max: Duration::from_secs(max) };
        let policy = RetryPolicy { backoff, give_up_after: Duration::from_secs(give_up) };
        settle(facts, outcome, "because", &policy, moment(now), jitter);
    }
}
