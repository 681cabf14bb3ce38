//! What every store does for digests, throttles and hours.

use std::num::NonZeroU32;
use std::time::Duration;

use activity_relay::model::delivery::{Planned, State, StateName};
use activity_relay::model::group::{Join, Kind, Over, Quota};
use activity_relay::model::settle::TargetChange;
use activity_relay::model::throttle::Throttle;
use activity_relay::store::{Filter, Row, Store};

use super::store_kit::{admitted, at, claim, claim_one, day, end, page, planned, settlement, state_of};

/// Takes in one message that is owed to the desk like this; whether it is a new delivery.
async fn take(store: &Store, uid: &str, second: i64, owed: Planned) -> bool {
    store.admit(page(vec![admitted(uid, vec![owed])]), at(second)).await.unwrap().deliveries == 1
}

fn joining(uid: &str, join: Join) -> Planned {
    let due_at = join.to;
    Planned { joins: Some(join), ..planned("desk", uid, due_at) }
}

fn limited(uid: &str, second: i64, over: Over) -> Planned {
    let throttle = Throttle { limit: NonZeroU32::MIN, per: Duration::from_secs(100) };
    let quota = Quota { key: "ann".into(), throttle, over };
    Planned { quota: Some(quota), ..planned("desk", uid, at(second)) }
}

async fn only(store: &Store) -> Row {
    let (mut rows, _) = store.deliveries(Filter::default()).await.unwrap();
    assert_eq!(rows.len(), 1, "{rows:?}");
    rows.remove(0)
}

pub(crate) async fn a_digest_covers_its_time_and_is_due_at_its_end(store: Store) {
    assert!(take(&store, "a", 1, joining("a", day(100))).await);
    assert!(!take(&store, "b", 50, joining("b", day(100))).await);
    let row = only(&store).await;
    let gathered = row.gathered.unwrap();
    assert_eq!((gathered.kind, gathered.from, gathered.to), (Kind::Digest, at(0), at(100)));
    assert_eq!((row.first_due, row.due_at, row.open), (at(100), Some(at(100)), true));
    assert!(claim(&store, "desk", 9, at(99)).await.is_empty());
    let job = claim_one(&store, "desk", at(100)).await;
    assert_eq!((job.messages.len(), job.gathered, job.first_due), (2, Some(gathered), at(100)));
    assert!(!only(&store).await.open);
}

pub(crate) async fn a_digest_that_is_full_closes_and_the_next_message_opens_another(store: Store) {
    let full = |uid| joining(uid, Join { items_max: NonZeroU32::new(2), ..day(100) });
    let all = ["a", "b", "c"].map(|uid| admitted(uid, vec![full(uid)])).into_iter().collect();
    assert_eq!(store.admit(page(all), at(1)).await.unwrap().deliveries, 2);
    let job = claim_one(&store, "desk", at(1)).await;
    assert_eq!(job.messages.len(), 2);
    assert_eq!(job.gathered.unwrap().to, at(1), "it closed early");
    assert!(!take(&store, "d", 2, full("d")).await);
    assert_eq!(claim_one(&store, "desk", at(2)).await.messages.len(), 2);
}

pub(crate) async fn each_message_puts_the_end_off_and_not_for_ever(store: Store) {
    let every = |uid, second: i64| {
        joining(uid, Join { from: at(second), extend_max: Some(Duration::from_secs(25)), ..day(second + 10) })
    };
    for (uid, second, due) in [("a", 0, 10), ("b", 6, 16), ("c", 15, 25), ("d", 20, 25)] {
        take(&store, uid, second, every(uid, second)).await;
        let row = only(&store).await;
        assert_eq!((row.due_at, row.first_due, row.gathered.unwrap().to), (Some(at(due)), at(due), at(due)));
    }
}

pub(crate) async fn what_joins_lives_as_long_as_the_last_of_it(store: Store) {
    let ending = |uid, end| Planned { expires_at: Some(at(end)), ..joining(uid, day(100)) };
    take(&store, "a", 0, ending("a", 90)).await;
    take(&store, "b", 1, ending("b", 150)).await;
    assert_eq!(claim_one(&store, "desk", at(100)).await.expires_at, Some(at(150)));
}

pub(crate) async fn what_was_opened_without_a_message_lives_as_long_as_those_that_join_it(store: Store) {
    let empty = Planned { messages: vec![], expires_at: Some(at(900)), ..joining("empty", day(100)) };
    assert_eq!(store.owe(vec![empty.clone()], at(0)).await.unwrap(), 1);
    for (uid, end) in [("a", 150), ("b", 120)] {
        take(&store, uid, 1, Planned { expires_at: Some(at(end)), ..joining(uid, day(100)) }).await;
    }
    let job = claim_one(&store, "desk", at(100)).await;
    assert_eq!((job.messages.len(), job.expires_at), (2, Some(at(150))));
    assert!(end(&store, job, State::Delivered { at: at(101) }, TargetChange::Healthy, at(101)).await);
    let alone = Planned { joins: Some(day(200)), due_at: at(200), ..empty };
    let alone = Planned { id: planned("desk", "z", at(0)).id, ..alone };
    assert_eq!(store.owe(vec![alone], at(101)).await.unwrap(), 1);
    assert_eq!(claim_one(&store, "desk", at(200)).await.expires_at, Some(at(900)));
}

pub(crate) async fn what_is_withheld_or_too_old_joins_nothing(store: Store) {
    take(&store, "a", 0, joining("a", day(100))).await;
    let withheld = Planned { withheld: Some("muted".into()), ..joining("b", day(100)) };
    assert!(take(&store, "b", 1, withheld).await);
    let expired = |uid, day| Planned { expires_at: Some(at(0)), ..joining(uid, day) };
    assert!(take(&store, "c", 1, expired("c", day(100))).await);
    assert!(take(&store, "d", 1, expired("d", Join { key: "night".into(), ..day(100) })).await);
    assert!(
        take(&store, "e", 1, joining("e", Join { key: "night".into(), ..day(200) })).await,
        "nor does it open"
    );
    assert_eq!(claim_one(&store, "desk", at(100)).await.messages.len(), 1);
}

pub(crate) async fn what_was_rendered_once_takes_nothing_in_any_more(store: Store) {
    take(&store, "a", 0, joining("a", day(10))).await;
    let begun = claim_one(&store, "desk", at(10)).await;
    let mut busy = settlement(begun, State::Pending { due_at: at(15) }, TargetChange::None, at(11));
    busy.verdict.counts = false;
    assert_eq!(store.settle(vec![busy.into()], at(11)).await.unwrap(), [true]);
    assert!(take(&store, "b", 12, joining("b", day(10))).await, "its payload was made without it");
    assert_eq!(claim(&store, "desk", 9, at(15)).await.len(), 2);
}

pub(crate) async fn what_is_over_the_limit_is_withheld_and_counted(store: Store) {
    let over = || Over::Drop("throttled".into());
    for (uid, second) in [("a", 0), ("b", 1), ("c", 2), ("d", 100)] {
        assert!(take(&store, uid, second, limited(uid, second, over())).await);
    }
    let jobs = claim(&store, "desk", 9, at(100)).await;
    let told: Vec<(&str, u32)> =
        jobs.iter().map(|job| (job.messages[0].uid.as_str(), job.throttled)).collect();
    assert_eq!(told, [("a", 0), ("d", 2)]);
    let withheld = Filter { states: vec![StateName::Withheld], ..Filter::default() };
    let (rows, _) = store.deliveries(withheld).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.why.as_deref()).collect::<Vec<_>>(), [Some("throttled"); 2]);
}

pub(crate) async fn what_is_over_the_limit_comes_together_when_the_next_may_go(store: Store) {
    let over = || Over::join(day(0), None);
    for (uid, second, new) in [("a", 0, true), ("b", 10, true), ("c", 20, false)] {
        assert_eq!(take(&store, uid, second, limited(uid, second, over())).await, new, "{uid}");
    }
    let first = claim_one(&store, "desk", at(20)).await;
    assert_eq!(first.messages[0].uid, "a");
    assert!(end(&store, first, State::Delivered { at: at(21) }, TargetChange::Healthy, at(21)).await);
    assert!(claim(&store, "desk", 9, at(99)).await.is_empty());
    let together = claim_one(&store, "desk", at(100)).await;
    assert_eq!((together.messages.len(), together.throttled), (2, 0));
    assert!(end(&store, together, State::Delivered { at: at(101) }, TargetChange::Healthy, at(101)).await);
    assert!(take(&store, "d", 101, limited("d", 101, over())).await);
    assert!(claim(&store, "desk", 9, at(199)).await.is_empty(), "what was gathered used the period up");
    assert_eq!(claim_one(&store, "desk", at(200)).await.messages[0].uid, "d");
}

pub(crate) async fn a_limit_is_used_up_once_for_each_message(store: Store) {
    let owed = limited("a", 0, Over::Drop("throttled".into()));
    take(&store, "a", 0, owed.clone()).await;
    assert_eq!(store.owe(vec![owed], at(1)).await.unwrap(), 0, "it is there");
    assert!(take(&store, "b", 100, limited("b", 100, Over::Drop("throttled".into()))).await);
    let jobs = claim(&store, "desk", 9, at(100)).await;
    assert_eq!(jobs.iter().map(|job| job.throttled).collect::<Vec<_>>(), [0, 0]);
}

pub(crate) async fn a_person_closes_a_digest_or_takes_it_out(store: Store) {
    take(&store, "a", 0, joining("a", day(100))).await;
    let row = only(&store).await;
    let open = Filter { open: true, ..Filter::default() };
    assert_eq!(store.deliveries(open.clone()).await.unwrap(), (vec![row.clone()], 1));
    assert_eq!(
        store.flush(std::slice::from_ref(&row.id), at(5)).await.unwrap(),
        std::slice::from_ref(&row.id)
    );
    let job = claim_one(&store, "desk", at(5)).await;
    assert_eq!(job.gathered.unwrap().to, at(5));
    assert!(store.flush(std::slice::from_ref(&row.id), at(6)).await.unwrap().is_empty(), "it is being sent");
    assert_eq!(store.deliveries(open).await.unwrap(), (Vec::new(), 0));
    assert!(end(&store, job, State::Delivered { at: at(6) }, TargetChange::Healthy, at(6)).await);
    let replays = store.replay(&[row.id.clone().into()], at(7)).await.unwrap();
    take(&store, "b", 8, joining("b", day(100))).await;
    let replay = claim_one(&store, "desk", at(8)).await;
    assert_eq!((&replay.claim.id, replay.messages.len()), (&replays[0], 1), "nothing joins a replay");
    assert_eq!(replay.gathered.unwrap().to, at(5));
    assert_eq!(state_of(&store, &row.id).await, StateName::Delivered);
}

pub(crate) async fn what_is_made_of_several_says_what_was_held_back_before_all_of_them(store: Store) {
    for (uid, second) in [("a", 0), ("b", 1), ("c", 2), ("d", 120), ("e", 121), ("f", 240)] {
        let owed = limited(uid, second, Over::Drop("too many".into()));
        assert!(take(&store, uid, second, owed).await);
    }
    let parts = [("a", 0), ("d", 120), ("f", 240)].map(|(uid, second)| planned("desk", uid, at(second)).id);
    let whole = Planned { messages: Vec::new(), ..planned("desk", "whole", at(300)) };
    assert_eq!(store.gather(whole, &parts, at(300)).await.unwrap(), 3);
    let job = claim_one(&store, "desk", at(300)).await;
    assert_eq!((job.messages.len(), job.throttled), (3, 3));
}

pub(crate) async fn what_expired_is_counted_for_who_is_told(store: Store) {
    let short = Planned { expires_at: Some(at(5)), ..planned("desk", "a", at(3)) };
    take(&store, "a", 0, short).await;
    claim(&store, "desk", 9, at(6)).await;
    take(&store, "b", 7, joining("b", day(10))).await;
    let job = claim_one(&store, "desk", at(10)).await;
    assert_eq!(store.expired(&job, at(6)).await.unwrap(), 1);
    assert_eq!(store.expired(&job, at(7)).await.unwrap(), 0);
}

pub(crate) async fn what_was_held_for_its_moment_is_listed_until_it_is_begun(store: Store) {
    for (uid, due) in [("a", 10), ("b", 10), ("c", 90), ("d", 0)] {
        take(&store, uid, 0, planned("desk", uid, at(due))).await;
    }
    take(&store, "e", 0, joining("e", day(10))).await;
    let listed = async |limit| {
        let held = store.held("desk", at(20), limit).await.unwrap();
        held.into_iter().map(|one| one.id).collect::<Vec<_>>()
    };
    let ids = ["a", "b"].map(|uid| planned("desk", uid, at(0)).id);
    assert_eq!(listed(9).await, ids);
    assert_eq!(listed(1).await, ids[..1]);
    assert_eq!(claim(&store, "desk", 2, at(20)).await.len(), 2);
    assert_eq!(listed(9).await, ids[1..], "`d` was due before them");
}

pub(crate) async fn moments_ahead_are_told_with_what_waits_for_them(store: Store) {
    for (uid, due) in [("a", 10), ("b", 10), ("c", 0)] {
        take(&store, uid, 0, planned("desk", uid, at(due))).await;
    }
    take(&store, "e", 0, joining("e", day(20))).await;
    let told = store.moments(at(0), 9).await.unwrap();
    let told: Vec<_> = told.iter().map(|one| (one.at, one.gathers, one.deliveries)).collect();
    assert_eq!(told, [(at(10), false, 2), (at(20), true, 1)]);
    assert_eq!(store.moments(at(10), 9).await.unwrap().len(), 1);
    assert_eq!(store.moments(at(0), 1).await.unwrap()[0].rule, "cancellations");
}
