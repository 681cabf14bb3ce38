//! What every store does for several couriers and instances: paces, counts what is under way, hands pages over leased,
//! lets messages join, gathers a backlog, keeps roles apart.

use std::num::NonZeroU32;
use std::time::Duration;

use activity_relay::model::delivery::{Notice, Planned, State, StateName};
use activity_relay::model::rate::Rate;
use activity_relay::model::settle::TargetChange;
use activity_relay::store::{Admission, Cursor, Filter, MessagePage, Store, StoreError, StoredMessage, Want};

use super::store_kit::{
    admitted, at, claim, claim_one, day, end, notice, owe, page, planned, settle, settlement, state_of,
    turn_away, uids, want,
};

const FAILING: TargetChange = TargetChange::Failing { rest_until: None };
const DELIVERED: fn(i64) -> State = |second| State::Delivered { at: at(second) };

fn paced(target: &str, every_seconds: u64, burst: u32) -> Want {
    let rate = Rate { every: Duration::from_secs(every_seconds), burst: NonZeroU32::new(burst).unwrap() };
    Want { rate: Some(rate), ..want(target, 9) }
}

pub(crate) async fn mutes_last_until_they_end_or_are_lifted(store: Store) {
    let short = store.mute("vip", at(60), "moving", at(0)).await.unwrap();
    let long = store.mute("all", at(90), "holidays", at(1)).await.unwrap();
    assert_eq!((short.rule.as_str(), short.until, short.created_at), ("vip", at(60), at(0)));
    assert_eq!(store.mutes(at(59)).await.unwrap(), [short.clone(), long.clone()]);
    assert_eq!(store.mutes(at(60)).await.unwrap(), std::slice::from_ref(&long));
    assert_eq!(store.lift_mute(short.id, at(60)).await.unwrap(), None, "it is over");
    assert_eq!(store.lift_mute(long.id, at(60)).await.unwrap(), Some(long.clone()));
    assert_eq!(store.lift_mute(long.id, at(60)).await.unwrap(), None);
    assert!(store.mutes(at(0)).await.unwrap().iter().all(|mute| mute.id == short.id));
    store.prune(at(100), at(100), 10).await.unwrap();
    assert!(store.mutes(at(0)).await.unwrap().is_empty(), "what has ended is forgotten with the history");
}

pub(crate) async fn messages_of_a_period_come_in_pages(store: Store) {
    let made = |uid: &str, second| {
        let mut one = admitted(uid, vec![]);
        one.message.created_at = at(second);
        one
    };
    let messages = vec![made("b", 5), made("a", 5), made("late", 9), made("early", 1), made("c", 5)];
    store.admit(page(messages), at(0)).await.unwrap();
    let part = MessagePage { account: "main".into(), from: at(2), to: at(9), after: None, limit: 2 };
    let of = |found: Vec<StoredMessage>| found.into_iter().map(|one| one.message.uid).collect::<Vec<_>>();
    assert_eq!(of(store.messages(part.clone()).await.unwrap()), ["a", "b"]);
    let next = MessagePage { after: Some((at(5), "b".into())), ..part.clone() };
    assert_eq!(of(store.messages(next).await.unwrap()), ["c"]);
    let other = MessagePage { account: "other".into(), ..part };
    assert!(store.messages(other).await.unwrap().is_empty());
}

pub(crate) async fn a_rate_is_held_by_the_claims(store: Store) {
    owe(&store, "desk", &["a", "b", "c", "d", "e"]).await;
    let claimed = |second| store.claim(vec![paced("desk", 5, 2)], at(second));
    assert_eq!(uids(&claimed(0).await.unwrap().jobs), ["a", "b"]);
    assert!(claimed(4).await.unwrap().jobs.is_empty());
    assert_eq!(uids(&claimed(5).await.unwrap().jobs), ["c"]);
    assert_eq!(uids(&claimed(20).await.unwrap().jobs), ["d", "e"], "a quiet time earns the burst again");
    let outlook = store.outlook(&["desk".into()]).await.unwrap();
    assert_eq!(outlook.state("desk").next_slot, Some(at(30)));
}

pub(crate) async fn no_more_is_under_way_than_the_target_takes(store: Store) {
    owe(&store, "desk", &["a", "b", "c"]).await;
    let serial = || vec![Want { concurrency: 2, ..want("desk", 9) }];
    let mut first = store.claim(serial(), at(0)).await.unwrap().jobs;
    assert_eq!(uids(&first), ["a", "b"]);
    assert!(store.claim(serial(), at(0)).await.unwrap().jobs.is_empty());
    let outlook = store.outlook(&["desk".into()]).await.unwrap();
    assert_eq!(outlook.sending.get("desk"), Some(&2));
    assert!(end(&store, first.remove(0), DELIVERED(1), TargetChange::Healthy, at(1)).await);
    assert_eq!(uids(&store.claim(serial(), at(1)).await.unwrap().jobs), ["c"]);
}

pub(crate) async fn as_many_are_leased_ahead_as_is_said_unless_the_target_fails(store: Store) {
    let wants = || vec![Want { concurrency: 2, ahead: 2, ..want("desk", 9) }];
    owe(&store, "desk", &["a", "b", "c", "d", "e", "f"]).await;
    let mut jobs = store.claim(wants(), at(0)).await.unwrap().jobs;
    assert_eq!(uids(&jobs), ["a", "b", "c", "d"]);
    assert!(store.claim(wants(), at(0)).await.unwrap().jobs.is_empty());
    let again = State::Pending { due_at: at(600) };
    for left in [3, 2] {
        assert!(end(&store, jobs.remove(0), again.clone(), FAILING, at(1)).await);
        assert!(store.claim(wants(), at(1)).await.unwrap().jobs.is_empty(), "{left} are under way");
    }
    assert!(end(&store, jobs.remove(0), again, FAILING, at(1)).await);
    assert_eq!(uids(&store.claim(wants(), at(1)).await.unwrap().jobs), ["e"]);
}

pub(crate) async fn what_is_due_at_once_is_handed_over_leased(store: Store) {
    let later = planned("desk", "m3", at(60));
    let admission = page(vec![
        admitted("m1", vec![planned("desk", "m1", at(0)), planned("crm", "m1", at(0))]),
        admitted("m2", vec![planned("desk", "m2", at(0))]),
        admitted("m3", vec![later]),
    ]);
    let (taken, jobs) =
        store.admit_leasing(admission, vec![Want { limit: 1, ..want("desk", 1) }], at(0)).await.unwrap();
    assert_eq!((taken.messages, taken.deliveries), (3, 4));
    assert_eq!(uids(&jobs), ["m1"]);
    assert_eq!((jobs[0].target.as_str(), jobs[0].claim.starts, jobs[0].claim.attempts), ("desk", 1, 0));
    assert_eq!(store.counts(None).await.unwrap().sending, 1);
    let job = jobs.into_iter().next().unwrap();
    let id = job.claim.id.clone();
    assert!(end(&store, job, DELIVERED(1), TargetChange::Healthy, at(1)).await);
    assert_eq!(state_of(&store, &id).await, StateName::Delivered);
    assert_eq!(uids(&claim(&store, "desk", 9, at(1)).await), ["m2"]);
}

pub(crate) async fn nothing_is_handed_over_past_the_queue_the_pace_or_the_parking(store: Store) {
    let leased = async |uid: &str, want: Want, second: i64| {
        let admission = page(vec![admitted(uid, vec![planned(&want.target, uid, at(second))])]);
        store.admit_leasing(admission, vec![want], at(second)).await.unwrap().1.len()
    };
    owe(&store, "desk", &["a"]).await;
    assert_eq!(leased("b", want("desk", 9), 1).await, 0, "an older one is due");
    assert_eq!(leased("c", paced("crm", 10, 1), 2).await, 1);
    assert_eq!(leased("d", paced("crm", 10, 1), 3).await, 0);
    store.pause_target("books", true, "by hand").await.unwrap();
    assert_eq!(leased("e", want("books", 9), 4).await, 0);
    assert_eq!(leased("f", Want { concurrency: 0, ..want("free", 9) }, 5).await, 0);
    assert_eq!(leased("g", want("free2", 9), 6).await, 1);
    assert_eq!(leased("g", want("free2", 9), 7).await, 0, "what is known is not handed over twice");
}

pub(crate) async fn a_lease_of_a_page_is_lost_like_any_other(store: Store) {
    let admission = page(vec![admitted("m1", vec![planned("desk", "m1", at(0))])]);
    let (_, jobs) = store.admit_leasing(admission, vec![want("desk", 1)], at(0)).await.unwrap();
    let first = jobs.into_iter().next().unwrap();
    let second = claim_one(&store, "desk", at(31)).await;
    assert_eq!(second.claim.starts, 2);
    assert!(!end(&store, first, DELIVERED(32), TargetChange::Healthy, at(32)).await, "the fence holds");
    assert!(end(&store, second, DELIVERED(33), TargetChange::Healthy, at(33)).await);
}

fn joining(uid: &str, second: i64) -> Planned {
    Planned { joins: Some(day(second)), ..planned("books", uid, at(second)) }
}

pub(crate) async fn messages_join_what_is_open_and_not_what_was_begun(store: Store) {
    for (uid, second) in [("a", 100), ("b", 100)] {
        store.admit(page(vec![admitted(uid, vec![joining(uid, second)])]), at(0)).await.unwrap();
    }
    let other = Planned { recipient: Some("ann@example.com".into()), ..joining("c", 100) };
    let taken = store.admit(page(vec![admitted("c", vec![other])]), at(0)).await.unwrap();
    assert_eq!(taken.deliveries, 1, "another recipient has a group of its own");
    let both = claim(&store, "books", 1, at(100)).await.remove(0);
    let together: Vec<&str> = both.messages.iter().map(|message| message.uid.as_str()).collect();
    assert_eq!(together, ["a", "b"]);
    let taken = store.admit(page(vec![admitted("d", vec![joining("d", 200)])]), at(101)).await.unwrap();
    assert_eq!(taken.deliveries, 1, "what is being sent is closed");
    let later = State::Pending { due_at: at(300) };
    assert!(end(&store, both, later, TargetChange::None, at(102)).await);
    let taken = store.admit(page(vec![admitted("e", vec![joining("e", 200)])]), at(103)).await.unwrap();
    assert_eq!(taken.deliveries, 0, "it joins the new one");
}

pub(crate) async fn a_group_may_have_two_open_when_one_is_given_back(store: Store) {
    let taken = async |uid: &str, second| {
        store.admit(page(vec![admitted(uid, vec![joining(uid, 0)])]), at(second)).await.unwrap().deliveries
    };
    assert_eq!(taken("a", 0).await, 1);
    let first = claim_one(&store, "books", at(0)).await;
    assert_eq!(taken("b", 1).await, 1);
    let mut busy = settlement(first, State::Pending { due_at: at(5) }, TargetChange::None, at(2));
    busy.verdict.counts = false;
    assert_eq!(store.settle(vec![busy.into()], at(2)).await.unwrap(), [true]);
    assert_eq!(taken("c", 3).await, 0, "it joins one of them");
    let jobs = claim(&store, "books", 9, at(5)).await;
    assert_eq!(jobs.iter().map(|job| job.messages.len()).sum::<usize>(), 3);
    store.release(jobs.into_iter().map(|job| job.claim).collect(), at(6)).await.unwrap();
    assert_eq!(claim(&store, "books", 9, at(6)).await.len(), 2);
}

pub(crate) async fn a_backlog_is_gathered_into_one(store: Store) {
    owe(&store, "desk", &["a", "b", "c"]).await;
    let begun = claim_one(&store, "desk", at(0)).await;
    let parts: Vec<_> =
        store.deliveries(Filter::default()).await.unwrap().0.into_iter().map(|row| row.id).collect();
    let whole = Planned { messages: Vec::new(), ..planned("desk", "whole", at(5)) };
    let id = whole.id.clone();
    assert_eq!(store.gather(whole.clone(), &parts, at(5)).await.unwrap(), 2, "what is being sent stays out");
    assert_eq!(store.gather(whole, &parts, at(6)).await.unwrap(), 0);
    let counts = store.counts(Some("desk")).await.unwrap();
    assert_eq!((counts.withheld, counts.pending, counts.sending), (2, 1, 1));
    let withheld = Filter { states: vec![StateName::Withheld], ..Filter::default() };
    let (rows, _) = store.deliveries(withheld).await.unwrap();
    assert!(rows.iter().all(|row| row.why.as_deref().unwrap().contains(id.as_str())), "{rows:?}");
    let gathered = claim_one(&store, "desk", at(5)).await;
    assert_eq!(gathered.claim.id, id);
    let messages: Vec<&str> = gathered.messages.iter().map(|message| message.uid.as_str()).collect();
    assert_eq!(messages, ["b", "c"]);
    drop(begun);
}

pub(crate) async fn what_was_gathered_once_is_not_gathered_into_the_same_again(store: Store) {
    owe(&store, "desk", &["a", "b", "c"]).await;
    let begun = claim_one(&store, "desk", at(0)).await;
    let parts: Vec<_> =
        store.deliveries(Filter::default()).await.unwrap().0.into_iter().map(|row| row.id).collect();
    let whole = Planned { messages: Vec::new(), ..planned("desk", "whole", at(5)) };
    assert_eq!(store.gather(whole.clone(), &parts, at(5)).await.unwrap(), 2);
    let id = begun.claim.id.clone();
    store.release(vec![begun.claim], at(6)).await.unwrap();
    assert_eq!(store.gather(whole, &parts, at(7)).await.unwrap(), 0, "it would be owed by nothing");
    assert_eq!(state_of(&store, &id).await, StateName::Pending);
}

pub(crate) async fn what_waits_is_listed_as_it_was_planned(store: Store) {
    owe(&store, "desk", &["a", "b", "c"]).await;
    let job = claim_one(&store, "desk", at(0)).await;
    let backed_off = job.claim.id.clone();
    assert!(end(&store, job, State::Pending { due_at: at(900) }, FAILING, at(1)).await);
    let notice = Notice { subject: "s".into(), text: "t".into() };
    let notice = Planned { notice: Some(notice), messages: vec![], ..planned("desk", "n", at(0)) };
    store.owe(vec![notice], at(2)).await.unwrap();
    let joining = Planned { joins: Some(day(0)), ..planned("desk", "j", at(0)) };
    store.admit(page(vec![admitted("j", vec![joining])]), at(3)).await.unwrap();
    let late = admitted("z", vec![planned("desk", "z", at(0))]);
    store.admit(page(vec![late]), at(9)).await.unwrap();
    let held = admitted("h", vec![planned("desk", "h", at(500))]);
    store.admit(page(vec![held]), at(3)).await.unwrap();
    let waiting = store.waiting("desk", at(9), 10).await.unwrap();
    assert_eq!((waiting.len(), &waiting[0].id), (3, &backed_off), "{waiting:?}");
    assert_eq!((waiting[0].created_at, waiting[0].template.as_str()), (at(0), "default"));
    assert_eq!(store.waiting("desk", at(10), 10).await.unwrap().len(), 4);
    assert_eq!(store.waiting("desk", at(10), 2).await.unwrap(), waiting[..2]);
    assert!(store.waiting("crm", at(10), 10).await.unwrap().is_empty());
    assert_eq!(store.waiting("desk", at(501), 10).await.unwrap().len(), 5, "its hours had begun");
}

pub(crate) async fn what_waits_tells_what_it_has_behind_it(store: Store) {
    owe(&store, "desk", &["a", "b", "c", "d", "e"]).await;
    let told = async || {
        let waiting = store.waiting("desk", at(9_999), 9).await.unwrap();
        waiting.into_iter().map(|one| (one.lost, one.doubted, one.turned_away)).collect::<Vec<_>>()
    };
    assert_eq!(told().await, [(0, false, false); 5]);
    drop(claim_one(&store, "desk", at(0)).await);
    drop(claim_one(&store, "desk", at(31)).await);
    store.claim(vec![], at(62)).await.unwrap();
    let mut jobs = claim(&store, "desk", 5, at(62)).await;
    store.release(vec![jobs.remove(0).claim], at(62)).await.unwrap();
    for outcome in ["doubtful", "shape_refused", "retry"] {
        let later = State::Pending { due_at: at(9_000) };
        let mut ended = settlement(jobs.remove(0), later, TargetChange::None, at(63));
        ended.attempt.outcome = outcome.into();
        assert!(settle(&store, ended, at(63)).await);
    }
    turn_away(&store, jobs.remove(0), at(0), at(900), at(63)).await;
    let own = [(2, false, false), (0, true, false), (0, true, false), (0, false, false), (0, false, true)];
    assert_eq!(told().await, own);
}

pub(crate) async fn what_is_made_of_several_may_be_known_if_one_of_them_may(store: Store) {
    owe(&store, "desk", &["a", "b"]).await;
    drop(claim_one(&store, "desk", at(0)).await);
    store.claim(vec![], at(31)).await.unwrap();
    let parts = ["a", "b"].map(|uid| planned("desk", uid, at(0)).id);
    let whole = Planned { messages: Vec::new(), ..planned("desk", "whole", at(32)) };
    let clean = Planned { messages: Vec::new(), ..planned("desk", "clean", at(32)) };
    let ids = [whole.id.clone(), clean.id.clone()];
    assert_eq!(store.gather(clean, &parts[1..], at(32)).await.unwrap(), 1);
    assert_eq!(store.gather(whole, &parts, at(32)).await.unwrap(), 1);
    let mut known = Vec::new();
    for id in &ids {
        known.push(store.delivery(id).await.unwrap().unwrap().row.maybe_duplicate);
    }
    assert_eq!(known, [true, false]);
}

pub(crate) async fn what_is_begun_before_a_refusal_says_nothing_of_the_time_after_it(store: Store) {
    owe(&store, "desk", &["a", "b", "c"]).await;
    let mut jobs = claim(&store, "desk", 2, at(0)).await;
    let (slow, refused) = (jobs.remove(0), jobs.remove(0));
    turn_away(&store, refused, at(0), at(60), at(1)).await;
    assert!(end(&store, slow, DELIVERED(2), TargetChange::Healthy, at(2)).await);
    assert!(!store.took_since("desk", at(1)).await.unwrap());
    let later = claim_one(&store, "desk", at(3)).await;
    assert!(end(&store, later, DELIVERED(4), TargetChange::Healthy, at(4)).await);
    assert!(store.took_since("desk", at(1)).await.unwrap());
}

pub(crate) async fn what_is_to_be_tried_later_is_not_tried_at_once_as_its_target_recovers(store: Store) {
    owe(&store, "desk", &["a", "b"]).await;
    let first = claim_one(&store, "desk", at(0)).await;
    turn_away(&store, first, at(0), at(60), at(1)).await;
    store.pause_target("desk", false, "").await.unwrap();
    let mut jobs = claim(&store, "desk", 2, at(2)).await;
    let mut waits = settlement(jobs.remove(0), State::Pending { due_at: at(300) }, FAILING, at(3));
    waits.attempt.outcome = "retry".into();
    let id = waits.claim.id.clone();
    let taken = settlement(jobs.remove(0), DELIVERED(3), TargetChange::Healthy, at(3));
    assert_eq!(store.settle(vec![waits.into(), taken.into()], at(3)).await.unwrap(), [true, true]);
    assert_eq!(store.delivery(&id).await.unwrap().unwrap().row.due_at, Some(at(300)));
}

pub(crate) async fn what_a_parked_target_turned_away_gets_its_place_back(store: Store) {
    owe(&store, "desk", &["a", "b", "c", "d"]).await;
    let first = claim_one(&store, "desk", at(0)).await;
    turn_away(&store, first, at(0), at(60), at(1)).await;
    for (second, uid) in [(60, "a"), (180, "b")] {
        let probe = claim_one(&store, "desk", at(second)).await;
        assert_eq!(uids(std::slice::from_ref(&probe)), [uid], "what was refused goes behind");
        let next = at(if second == 60 { 180 } else { 420 });
        turn_away(&store, probe, next, next, at(second)).await;
    }
    let probe = claim_one(&store, "desk", at(420)).await;
    assert_eq!(uids(std::slice::from_ref(&probe)), ["c"]);
    assert!(end(&store, probe, DELIVERED(421), TargetChange::Healthy, at(421)).await);
    assert_eq!(uids(&claim(&store, "desk", 9, at(421)).await), ["a", "b", "d"]);
}

pub(crate) async fn who_was_told_of_a_parking_is_told_when_it_takes_again_whoever_ended_it(store: Store) {
    owe(&store, "desk", &["a", "b", "c"]).await;
    let ends = async |second: i64, refused: bool| {
        let now = at(second);
        let (state, change) = if refused {
            (State::Pending { due_at: at(0) }, TargetChange::Park { probe_at: at(second + 600) })
        } else {
            (State::Delivered { at: now }, TargetChange::Healthy)
        };
        let mut ended = settlement(claim_one(&store, "desk", now).await, state, change, now);
        ended.turn_notices = vec![notice(&format!("{second}"))];
        let before = store.counts(Some("ops")).await.unwrap().pending;
        assert!(settle(&store, ended, now).await);
        store.counts(Some("ops")).await.unwrap().pending > before
    };
    assert!(ends(0, true).await, "parked");
    store.pause_target("desk", false, "").await.unwrap();
    assert!(ends(10, true).await, "a person resumed it too early");
    assert_eq!(store.target_states().await.unwrap()[0].probes, 1);
    store.pause_target("desk", false, "").await.unwrap();
    store.pause_target("desk", false, "").await.unwrap();
    assert_eq!(store.target_states().await.unwrap()[0].parked_until, None);
    assert!(ends(20, false).await, "it takes again");
    assert!(!ends(30, false).await);
    store.recovery_seen("desk").await.unwrap();
    assert!(store.target_states().await.unwrap().is_empty());
}

pub(crate) async fn within_a_batch_what_comes_later_sees_what_came_before(store: Store) {
    owe(&store, "desk", &["a", "b"]).await;
    let mut jobs = claim(&store, "desk", 2, at(0)).await;
    let fails = settlement(jobs.remove(0), State::Pending { due_at: at(9) }, FAILING, at(1));
    let succeeds = settlement(jobs.remove(0), DELIVERED(1), TargetChange::Healthy, at(1));
    assert_eq!(store.settle(vec![fails.into(), succeeds.into()], at(1)).await.unwrap(), [true, true]);
    let state = store.target_states().await.unwrap().remove(0);
    assert_eq!((state.failing_since, state.recovered_at, state.failures), (Some(at(1)), Some(at(1)), 0));
}

pub(crate) async fn a_trouble_and_its_end_are_told_once_each(store: Store) {
    let notice = |uid: &str| vec![notice(uid)];
    let steps =
        [("a", false, false), ("b", true, true), ("c", true, false), ("d", false, true), ("e", false, false)];
    for (uid, lasts, told) in steps {
        assert_eq!(store.tell("polling main", lasts, notice(uid), at(1)).await.unwrap(), told, "{uid}");
    }
    assert!(store.tell("polling branch", true, notice("f"), at(2)).await.unwrap());
    let (rows, _) = store.deliveries(Filter::default()).await.unwrap();
    let subjects: Vec<String> = rows.into_iter().map(|row| row.notice.unwrap().subject).collect();
    assert_eq!(subjects, ["b", "d", "f"]);
}

pub(crate) async fn a_trouble_that_all_met_is_told_by_the_first_of_them(store: Store) {
    let steps = [("a", 10, 70, true), ("b", 12, 71, false), ("c", 69, 72, false), ("d", 100, 130, true)];
    for (uid, from, now, told) in steps {
        let notices = vec![notice(uid)];
        assert_eq!(store.tell_afterwards("store", at(from), notices, at(now)).await.unwrap(), told, "{uid}");
    }
    let (rows, _) = store.deliveries(Filter::default()).await.unwrap();
    let subjects: Vec<String> = rows.into_iter().map(|row| row.notice.unwrap().subject).collect();
    assert_eq!(subjects, ["a", "d"]);
}

pub(crate) async fn what_the_store_ends_by_itself_is_told(store: Store) {
    let short = Planned { expires_at: Some(at(10)), ..planned("desk", "m1", at(0)) };
    store.admit(page(vec![admitted("m1", vec![short.clone()])]), at(0)).await.unwrap();
    let ended = store.claim(vec![], at(10)).await.unwrap().ended;
    assert_eq!(
        (ended[0].id.clone(), ended[0].state, ended[0].rule.as_str()),
        (short.id, StateName::Expired, "cancellations")
    );
    owe(&store, "crm", &["k"]).await;
    let mut ended = Vec::new();
    for start in 0..6 {
        let claimed = store.claim(vec![want("crm", 1)], at(100 + 40 * start)).await.unwrap();
        ended.extend(claimed.ended);
    }
    assert_eq!((ended.len(), ended[0].state, ended[0].target.as_str()), (1, StateName::Dead, "crm"));
    assert!(ended[0].why.contains("5 times"), "{}", ended[0].why);
}

pub(crate) async fn a_cursor_never_goes_back(store: Store) {
    let to = |floor, mark| Admission { cursor: Some(Cursor { floor, watermark: mark }), ..page(Vec::new()) };
    store.admit(to(Some(at(0)), None), at(0)).await.unwrap();
    store.admit(to(Some(at(0)), Some(at(50))), at(0)).await.unwrap();
    store.admit(to(Some(at(9)), Some(at(40))), at(0)).await.unwrap();
    let cursor = store.cursor("main").await.unwrap();
    assert_eq!(cursor, Cursor { floor: Some(at(0)), watermark: Some(at(50)) });
}

pub(crate) async fn trouble_is_remembered_until_its_backlog_was_seen(store: Store) {
    owe(&store, "desk", &["a", "b"]).await;
    let job = claim_one(&store, "desk", at(0)).await;
    assert!(end(&store, job, State::Pending { due_at: at(9) }, FAILING, at(1)).await);
    let job = claim_one(&store, "desk", at(5)).await;
    assert!(end(&store, job, State::Pending { due_at: at(9) }, FAILING, at(6)).await);
    let state = || async { store.target_states().await.unwrap().remove(0) };
    assert_eq!((state().await.failing_since, state().await.recovered_at), (Some(at(1)), None));
    store.recovery_seen("desk").await.unwrap();
    assert_eq!(state().await.failing_since, Some(at(1)), "it is not over");
    let job = claim_one(&store, "desk", at(9)).await;
    assert!(end(&store, job, DELIVERED(10), TargetChange::Healthy, at(10)).await);
    assert_eq!(state().await.recovered_at, Some(at(10)));
    store.recovery_seen("desk").await.unwrap();
    assert!(store.target_states().await.unwrap().is_empty());
}

pub(crate) async fn a_target_that_is_held_for_one_is_failing_and_sent_nothing(store: Store) {
    owe(&store, "desk", &["a", "b"]).await;
    let job = claim_one(&store, "desk", at(0)).await;
    let first = job.claim.id.clone();
    let held = TargetChange::Failing { rest_until: Some(at(30)) };
    assert!(end(&store, job, State::Pending { due_at: at(0) }, held, at(1)).await);
    let state = store.target_states().await.unwrap().remove(0);
    assert_eq!((state.failing_since, state.wait_until), (Some(at(1)), Some(at(30))));
    assert!(claim(&store, "desk", 2, at(29)).await.is_empty());
    assert_eq!(claim_one(&store, "desk", at(30)).await.claim.id, first);
}

pub(crate) async fn a_target_that_takes_nothing_is_tried_with_one_at_a_time(store: Store) {
    let names: Vec<String> = (b'a'..=b'y').map(|letter| char::from(letter).to_string()).collect();
    owe(&store, "desk", &names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    for job in claim(&store, "desk", 10, at(0)).await {
        assert!(end(&store, job, State::Pending { due_at: at(900) }, FAILING, at(1)).await);
    }
    assert_eq!(store.target_states().await.unwrap()[0].failures, 10);
    let mut one = claim(&store, "desk", 9, at(2)).await;
    assert_eq!(one.len(), 1);
    assert!(claim(&store, "desk", 9, at(2)).await.is_empty(), "the others wait for its end");
    let resting = TargetChange::Failing { rest_until: Some(at(20)) };
    assert!(end(&store, one.remove(0), State::Pending { due_at: at(900) }, resting, at(3)).await);
    assert!(claim(&store, "desk", 9, at(19)).await.is_empty());
    let one = claim_one(&store, "desk", at(20)).await;
    assert!(end(&store, one, DELIVERED(21), TargetChange::Healthy, at(21)).await);
    assert_eq!(claim(&store, "desk", 9, at(21)).await.len(), 9);
}

pub(crate) async fn a_role_has_one_holder_until_it_ends(store: Store) {
    let poll = ["poll main".to_owned()];
    let ttl = Duration::from_secs(20);
    assert!(store.hold(&poll, ttl, at(0)).await.unwrap().contains("poll main"));
    assert!(store.hold(&poll, ttl, at(5)).await.unwrap().contains("poll main"), "its holder keeps it");
    let holds = store.holds().await.unwrap();
    assert_eq!((holds.len(), holds[0].instance.as_str(), holds[0].until), (1, store.instance(), at(25)));
    let held = Admission { role: Some("poll main".into()), ..page(vec![admitted("m1", vec![])]) };
    assert_eq!(store.admit(held, at(6)).await.unwrap().messages, 1);
    let lost = Admission { role: Some("poll other".into()), ..page(vec![admitted("m2", vec![])]) };
    let error = store.admit(lost, at(6)).await.unwrap_err();
    assert!(matches!(&error, StoreError::RoleLost(role) if role == "poll other"), "{error}");
    assert!(store.message(None, "m2").await.unwrap().is_none());
    store.let_go(&poll).await.unwrap();
    assert!(store.holds().await.unwrap().is_empty());
}

pub(crate) async fn instances_come_and_are_forgotten(store: Store) {
    store.beat("host-a:1", "c0ffee", at(-60), at(0)).await.unwrap();
    store.beat("host-a:1", "decaf", at(-55), at(5)).await.unwrap();
    let instances = store.instances().await.unwrap();
    assert_eq!(instances.len(), 1);
    assert_eq!((instances[0].id.as_str(), instances[0].host.as_str()), (store.instance(), "host-a:1"));
    assert_eq!((instances[0].started_at, instances[0].seen_at), (at(0), at(5)));
    assert_eq!(instances[0].config.as_deref(), Some("decaf"), "that of the last word");
    store.beat("host-a:1", "decaf", at(50), at(100)).await.unwrap();
    assert_eq!(
        store.instances().await.unwrap()[0].started_at,
        at(100),
        "who was silent for long starts anew"
    );
    store.hold(&["janitor".to_owned()], Duration::from_secs(20), at(100)).await.unwrap();
    store.leave(at(40)).await.unwrap();
    assert!(store.instances().await.unwrap().is_empty() && store.holds().await.unwrap().is_empty());
}

pub(crate) async fn a_batch_is_written_with_what_was_lost_left_out(store: Store) {
    owe(&store, "desk", &["a", "b", "c"]).await;
    let mut jobs = claim(&store, "desk", 3, at(0)).await;
    let lost = jobs.remove(1);
    let ids: Vec<_> = jobs.iter().map(|job| job.claim.id.clone()).collect();
    store.discard(std::slice::from_ref(&lost.claim.id), at(1)).await.unwrap();
    let mut batch: Vec<_> =
        jobs.into_iter().map(|job| settlement(job, DELIVERED(2), TargetChange::Healthy, at(2))).collect();
    batch.insert(1, settlement(lost, DELIVERED(2), TargetChange::Healthy, at(2)));
    let written = store.settle(batch.into_iter().map(Into::into).collect(), at(2)).await.unwrap();
    assert_eq!(written, [true, false, true]);
    for id in &ids {
        let detail = store.delivery(id).await.unwrap().unwrap();
        assert_eq!((detail.row.state, detail.history.len()), (StateName::Delivered, 1));
        assert!(detail.payload.is_some());
    }
    let counts = store.counts(Some("desk")).await.unwrap();
    assert_eq!((counts.delivered, counts.discarded, counts.pending), (2, 1, 0));
}

/// The holders of everything that is claimed die, so many times.
async fn holders_die(store: &Store, wants: &[Want], times: i64, now: &mut i64) {
    for _ in 0..times {
        store.claim(wants.to_vec(), at(*now)).await.unwrap();
        *now += 31;
    }
}

pub(crate) async fn of_what_was_lost_twice_one_at_a_time_is_sent(store: Store) {
    owe(&store, "desk", &["a", "b"]).await;
    owe(&store, "crm", &["c"]).await;
    let (both, mut now) = ([want("desk", 9), want("crm", 9)], 0);
    holders_die(&store, &both, 2, &mut now).await;
    owe(&store, "crm", &["new"]).await;
    let claimed = async |now| store.claim(both.to_vec(), at(now)).await.unwrap().jobs;
    let mut jobs = claimed(now).await;
    assert_eq!(uids(&jobs), ["a", "new"], "a suspect holds up nobody behind it");
    assert!(claimed(now).await.is_empty());
    let names = ["desk".to_owned(), "crm".to_owned()];
    assert!(store.outlook(&names).await.unwrap().due.is_empty(), "nothing can be claimed");
    assert!(end(&store, jobs.remove(0), DELIVERED(now), TargetChange::Healthy, at(now)).await);
    assert_eq!(store.outlook(&names).await.unwrap().due.len(), 2);
    store.pause_target("desk", true, "by hand").await.unwrap();
    let mut jobs = claimed(now).await;
    assert_eq!(uids(&jobs), ["c"], "one whose target is held has no turn");
    store.pause_target("desk", false, "").await.unwrap();
    assert!(claimed(now).await.is_empty());
    store.release(vec![jobs.remove(0).claim], at(now)).await.unwrap();
    assert_eq!(uids(&claimed(now).await), ["b"], "who came first in the outbox is first");
}

pub(crate) async fn a_killer_is_buried_and_none_of_those_beside_it(store: Store) {
    let names = ["a", "b", "killer", "d", "e", "f", "g", "h"];
    owe(&store, "desk", &names).await;
    let (mut now, mut ended, mut deaths) = (0, Vec::new(), 0);
    for _ in 0..40 {
        let claimed = store.claim(vec![want("desk", 8)], at(now)).await.unwrap();
        ended.extend(claimed.ended);
        // The killer takes down everything that is under way beside it, before any of it is settled.
        if uids(&claimed.jobs).contains(&"killer") {
            deaths += 1;
            now += 31;
            continue;
        }
        for job in claimed.jobs {
            assert!(end(&store, job, DELIVERED(now), TargetChange::Healthy, at(now)).await);
        }
    }
    assert_eq!((deaths, ended.len()), (5, 1), "{ended:?}");
    assert_eq!(ended[0].id, planned("desk", "killer", at(0)).id);
    let counts = store.counts(None).await.unwrap();
    assert_eq!((counts.delivered, counts.dead, counts.pending), (7, 1, 0));
}
