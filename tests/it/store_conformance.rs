//! What every store does, whatever database is behind it: one function per behaviour, each given an empty store.

use activity_relay::model::delivery::{Notice, Planned, State, StateName};
use activity_relay::model::id::DeliveryId;
use activity_relay::model::payload::Payload;
use activity_relay::model::settle::TargetChange;
use activity_relay::store::{Admission, Cursor, Filter, Mode, NameKind, Picked, Quarantined, Store};
use jiff::SignedDuration;
use serde_json::json;

use super::store_figures::*;
use super::store_good::*;
use super::store_kit::{
    admitted, at, attempt, claim, claim_one, dead, end, message, no_loose_ends, no_loose_ends_at, owe, page,
    planned, settle, settlement, state_of, uids,
};
use super::store_sharing::*;
use super::store_time::*;

// Admission

async fn a_page_is_taken_in_once(store: Store) {
    let cursor = Cursor { floor: Some(at(-100)), watermark: Some(at(-10)) };
    let again = || Admission {
        cursor: Some(cursor.clone()),
        quarantined: vec![Quarantined { uid: "bad".into(), raw: json!("?"), why: "no object".into() }],
        ..page(vec![admitted("m1", vec![planned("desk", "m1", at(0)), planned("crm", "m1", at(0))])])
    };
    let taken = store.admit(again(), at(0)).await.unwrap();
    assert_eq!((taken.messages, taken.deliveries, taken.quarantined), (1, 2, 1));
    let taken = store.admit(again(), at(5)).await.unwrap();
    assert_eq!((taken.messages, taken.deliveries, taken.quarantined), (0, 0, 0));
    assert_eq!(store.cursor("main").await.unwrap(), cursor);
    assert_eq!(store.cursor("other").await.unwrap(), Cursor::default());
    assert_eq!(store.counts(None).await.unwrap().pending, 2);
    let stored = store.message(None, "m1").await.unwrap().unwrap();
    assert_eq!(stored.message, message("m1"));
    assert_eq!((stored.seen_at, stored.rules), (at(0), vec!["cancellations".to_owned()]));
    assert!(store.message(Some("other"), "m1").await.unwrap().is_none());
}

async fn a_page_that_fails_leaves_nothing(store: Store) {
    let cursor = Some(Cursor { floor: None, watermark: Some(at(0)) });
    let broken = planned("desk", "nobody-knows-it", at(0));
    let admission = Admission { cursor, ..page(vec![admitted("m1", vec![broken])]) };
    assert!(store.admit(admission, at(0)).await.is_err());
    assert!(store.message(None, "m1").await.unwrap().is_none());
    assert_eq!(store.cursor("main").await.unwrap(), Cursor::default());
    assert_eq!(store.counts(None).await.unwrap().pending, 0);
}

async fn known_uids_are_messages_and_quarantine(store: Store) {
    let raw = json!({"created_at": at(-10).to_string()});
    let bad = Quarantined { uid: "bad".into(), raw, why: "no direction".into() };
    let admission = Admission { quarantined: vec![bad.clone()], ..page(vec![admitted("m1", vec![])]) };
    store.admit(admission, at(0)).await.unwrap();
    let seen = store.seen("main", &["m1".into(), "bad".into(), "new".into()]).await.unwrap();
    assert_eq!(seen, ["m1".to_owned(), "bad".to_owned()].into());
    assert!(store.seen("other", &["m1".into()]).await.unwrap().is_empty());
    assert_eq!(store.seen_between("main", at(-10), at(-10)).await.unwrap(), 2);
    assert_eq!(store.seen_between("main", at(-9), at(0)).await.unwrap(), 0);
    assert_eq!(store.quarantine().await.unwrap(), [("main".to_owned(), bad, at(0))]);
    assert_eq!(store.triples().await.unwrap(), [(message("m1").triple, 1)]);
}

async fn polls_leave_their_traces(store: Store) {
    store.polled("main", Ok(()), at(0)).await.unwrap();
    store.polled("main", Err("401".into()), at(30)).await.unwrap();
    let account = store.accounts().await.unwrap().remove(0);
    assert_eq!((account.last_success, account.error.as_deref()), (Some(at(0)), Some("401")));
    store.polled("main", Ok(()), at(60)).await.unwrap();
    let account = store.accounts().await.unwrap().remove(0);
    assert_eq!((account.last_success, account.error), (Some(at(60)), None));
}

async fn withheld_ones_are_recorded_and_never_sent(store: Store) {
    let withheld = Planned { withheld: Some("muted".into()), ..planned("desk", "m1", at(0)) };
    let id = withheld.id.clone();
    store.admit(page(vec![admitted("m1", vec![withheld])]), at(0)).await.unwrap();
    assert!(claim(&store, "desk", 9, at(99)).await.is_empty());
    let row = store.delivery(&id).await.unwrap().unwrap().row;
    assert_eq!((row.state, row.why.as_deref()), (StateName::Withheld, Some("muted")));
}

async fn notices_are_owed_without_messages(store: Store) {
    let notice = Notice { subject: "parked".into(), text: "look".into() };
    let planned = Planned { messages: vec![], notice: Some(notice.clone()), ..planned("desk", "n", at(0)) };
    assert_eq!(store.owe(vec![planned.clone(), planned], at(0)).await.unwrap(), 1);
    let job = claim_one(&store, "desk", at(0)).await;
    assert_eq!((job.notice, job.messages), (Some(notice), vec![]));
}

// Claims

async fn a_claim_is_exclusive_and_in_order(store: Store) {
    let due = [("late", at(20)), ("second", at(2)), ("first", at(1))];
    let messages = due.map(|(uid, due)| admitted(uid, vec![planned("desk", uid, due)])).into();
    store.admit(page(messages), at(0)).await.unwrap();
    assert_eq!(store.next_due(&["desk".into()]).await.unwrap(), Some(at(1)));
    assert_eq!(store.oldest_due().await.unwrap(), Some(at(1)));
    owe(&store, "books", &["other"]).await;
    let mut oldest = store.oldest_due_by_target().await.unwrap();
    oldest.sort();
    assert_eq!(oldest, [("books".to_owned(), at(0)), ("desk".to_owned(), at(1))]);
    let jobs = claim(&store, "desk", 9, at(10)).await;
    assert_eq!(uids(&jobs), ["first", "second"]);
    assert_ne!(jobs[0].claim.lease.token, jobs[1].claim.lease.token);
    assert_eq!((jobs[0].claim.starts, jobs[0].claim.attempts), (1, 0));
    assert_eq!(jobs[0].messages[0], message("first"));
    assert!(claim(&store, "desk", 9, at(10)).await.is_empty());
    assert!(claim(&store, "crm", 9, at(10)).await.is_empty());
    assert_eq!(store.next_due(&["desk".into()]).await.unwrap(), Some(at(20)));
}

async fn a_claim_keeps_to_its_limit(store: Store) {
    owe(&store, "desk", &["a", "b", "c"]).await;
    assert_eq!(claim(&store, "desk", 2, at(0)).await.len(), 2);
    assert_eq!(claim(&store, "desk", 2, at(0)).await.len(), 1);
}

async fn nobody_claims_twice_at_once(store: Store) {
    let names: Vec<String> = (0..200).map(|n| format!("m{n}")).collect();
    owe(&store, "desk", &names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let (a, b, c, d) = tokio::join!(
        claim(&store, "desk", 60, at(0)),
        claim(&store, "desk", 60, at(0)),
        claim(&store, "desk", 60, at(0)),
        claim(&store, "desk", 60, at(0)),
    );
    let mut all: Vec<&str> = [&a, &b, &c, &d].into_iter().flat_map(|jobs| uids(jobs)).collect();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 200);
}

async fn what_is_too_old_expires(store: Store) {
    let old = Planned { expires_at: Some(at(5)), ..planned("desk", "m1", at(0)) };
    let id = old.id.clone();
    store.admit(page(vec![admitted("m1", vec![old])]), at(0)).await.unwrap();
    store.pause_target("desk", true, "holiday").await.unwrap();
    assert!(claim(&store, "desk", 9, at(5)).await.is_empty());
    let row = store.delivery(&id).await.unwrap().unwrap().row;
    assert_eq!((row.state, row.settled_at, row.due_at), (StateName::Expired, Some(at(5)), None));
    assert!(row.why.is_some());
    assert_eq!(store.counts(Some("desk")).await.unwrap().expired, 1);
}

async fn an_ended_lease_is_due_again_and_fences_out_its_holder(store: Store) {
    owe(&store, "desk", &["m1"]).await;
    let slow = claim_one(&store, "desk", at(0)).await;
    assert!(claim(&store, "desk", 1, at(29)).await.is_empty());
    let quick = claim_one(&store, "desk", at(30)).await;
    assert_eq!((quick.claim.starts, quick.claim.attempts), (2, 0));
    let park = TargetChange::Park { probe_at: at(900) };
    assert!(!end(&store, slow, dead(at(31)), park, at(31)).await);
    assert!(store.target_states().await.unwrap().is_empty(), "a lost settlement changes no target");
    let id = quick.claim.id.clone();
    assert!(end(&store, quick, State::Delivered { at: at(32) }, TargetChange::Healthy, at(32)).await);
    let detail = store.delivery(&id).await.unwrap().unwrap();
    assert_eq!(detail.row.state, StateName::Delivered);
    assert!(detail.row.maybe_duplicate);
    let outcomes: Vec<&str> = detail.history.iter().map(|attempt| attempt.outcome.as_str()).collect();
    assert_eq!(outcomes, ["lost", "delivered"]);
}

async fn what_kills_its_holder_five_times_is_buried_alone(store: Store) {
    owe(&store, "desk", &["killer"]).await;
    let mut now = 0;
    for start in 1..=5 {
        let job = claim_one(&store, "desk", at(now)).await;
        assert_eq!(job.claim.starts, start);
        now += 30;
    }
    owe(&store, "desk", &["innocent"]).await;
    let jobs = claim(&store, "desk", 9, at(now)).await;
    assert_eq!(uids(&jobs), ["innocent"]);
    let (rows, _) =
        store.deliveries(Filter { states: vec![StateName::Dead], ..Filter::default() }).await.unwrap();
    assert_eq!(rows[0].messages, ["killer"]);
    assert!(rows[0].why.as_deref().unwrap().contains("5 times"));
}

async fn refusals_that_cost_nothing_do_not_look_like_deaths(store: Store) {
    owe(&store, "desk", &["m1"]).await;
    for round in 0..8 {
        let now = at(round * 10);
        let job = claim_one(&store, "desk", now).await;
        assert_eq!((job.claim.starts, job.claim.attempts), (1, 0));
        let mut busy =
            settlement(job, State::Pending { due_at: at(round * 10 + 5) }, TargetChange::None, now);
        busy.verdict.counts = false;
        assert!(settle(&store, busy, now).await);
    }
    assert_eq!(store.counts(None).await.unwrap().pending, 1);
}

async fn released_claims_go_first_and_uncounted(store: Store) {
    owe(&store, "desk", &["a"]).await;
    let job = claim_one(&store, "desk", at(1)).await;
    store.release(vec![job.claim], at(2)).await.unwrap();
    let messages = vec![admitted("b", vec![planned("desk", "b", at(1))])];
    store.admit(page(messages), at(1)).await.unwrap();
    let jobs = claim(&store, "desk", 9, at(2)).await;
    assert_eq!(uids(&jobs), ["a", "b"]);
    assert_eq!((jobs[0].claim.starts, jobs[0].claim.attempts), (1, 0));
}

// Settling

async fn settling_writes_attempt_state_payload_and_notices(store: Store) {
    owe(&store, "desk", &["m1"]).await;
    let job = claim_one(&store, "desk", at(0)).await;
    let id = job.claim.id.clone();
    let mut retry = settlement(job, State::Pending { due_at: at(40) }, TargetChange::None, at(3));
    let notice = Notice { subject: "it died".into(), text: "look".into() };
    retry.notices = vec![Planned { messages: vec![], notice: Some(notice), ..planned("ops", "n", at(3)) }];
    retry.maybe_duplicate = true;
    assert!(settle(&store, retry, at(3)).await);
    let detail = store.delivery(&id).await.unwrap().unwrap();
    assert_eq!(
        (detail.row.state, detail.row.due_at, detail.row.attempts),
        (StateName::Pending, Some(at(40)), 1)
    );
    assert_eq!(detail.row.last, Some(attempt("pending", at(3))));
    assert!(detail.row.maybe_duplicate);
    assert_eq!(store.counts(Some("ops")).await.unwrap().pending, 1);
    let job = claim_one(&store, "desk", at(40)).await;
    assert_eq!(job.payload, Some(Payload::Slack(json!({"text": "pending"}))), "the same bytes go out again");
    assert_eq!((job.claim.attempts, job.claim.starts), (1, 2));
}

async fn a_refused_shape_is_not_sent_again(store: Store) {
    owe(&store, "desk", &["m1"]).await;
    let job = claim_one(&store, "desk", at(0)).await;
    let mut refused = settlement(job, State::Pending { due_at: at(1) }, TargetChange::None, at(0));
    refused.verdict.plain = true;
    assert!(settle(&store, refused, at(0)).await);
    let job = claim_one(&store, "desk", at(1)).await;
    assert_eq!((job.plain, &job.payload), (true, &None));
    let retry = settlement(job, State::Pending { due_at: at(2) }, TargetChange::None, at(1));
    assert!(settle(&store, retry, at(1)).await);
    let job = claim_one(&store, "desk", at(2)).await;
    assert!(job.plain && job.payload.is_some(), "the plain one is kept as the full one is");
}

// Targets

async fn pauses_and_waits_hold_everything(store: Store) {
    owe(&store, "desk", &["a", "b"]).await;
    let job = claim_one(&store, "desk", at(0)).await;
    let pause = TargetChange::Pause { until: at(60) };
    assert!(end(&store, job, State::Pending { due_at: at(60) }, pause, at(0)).await);
    assert!(claim(&store, "desk", 9, at(59)).await.is_empty());
    assert_eq!(store.next_due(&["desk".into()]).await.unwrap(), Some(at(60)));
    store.pause_target("desk", true, "holiday").await.unwrap();
    assert!(claim(&store, "desk", 9, at(99)).await.is_empty());
    assert_eq!(store.next_due(&["desk".into()]).await.unwrap(), None);
    let state = store.target_states().await.unwrap().remove(0);
    assert_eq!((state.paused, state.reason.as_deref()), (true, Some("holiday")));
    store.pause_target("desk", false, "").await.unwrap();
    assert!(store.target_states().await.unwrap().is_empty());
    assert_eq!(claim(&store, "desk", 9, at(99)).await.len(), 2);
}

async fn a_late_success_does_not_cut_a_wait_short(store: Store) {
    owe(&store, "crm", &["a", "b"]).await;
    let mut jobs = claim(&store, "crm", 2, at(0)).await;
    let (a, b) = (jobs.remove(0), jobs.remove(0));
    let pause = TargetChange::Pause { until: at(60) };
    assert!(end(&store, a, State::Pending { due_at: at(60) }, pause, at(1)).await);
    assert!(end(&store, b, State::Delivered { at: at(2) }, TargetChange::Healthy, at(2)).await);
    assert_eq!(store.target_states().await.unwrap()[0].wait_until, Some(at(60)));
    let a = claim_one(&store, "crm", at(60)).await;
    assert!(end(&store, a, State::Delivered { at: at(61) }, TargetChange::Healthy, at(61)).await);
    assert!(store.target_states().await.unwrap().is_empty());
}

async fn a_parked_target_is_probed_by_one(store: Store) {
    owe(&store, "desk", &["a", "b", "c", "d"]).await;
    let park = |seconds| TargetChange::Park { probe_at: at(seconds) };
    let pending = |seconds| State::Pending { due_at: at(seconds) };
    for (n, job) in claim(&store, "desk", 3, at(0)).await.into_iter().enumerate() {
        let until = 60 + i64::try_from(n).unwrap();
        assert!(end(&store, job, pending(60), park(until), at(1)).await);
    }
    let state = store.target_states().await.unwrap().remove(0);
    assert_eq!((state.parked_until, state.probes), (Some(at(60)), 1), "those under way are no probes");
    assert!(claim(&store, "desk", 9, at(59)).await.is_empty());
    let probe = claim(&store, "desk", 9, at(60)).await;
    assert_eq!(uids(&probe), ["d"]);
    assert!(claim(&store, "desk", 9, at(60)).await.is_empty(), "one probe at a time");
    let probe = probe.into_iter().next().unwrap();
    assert!(end(&store, probe, pending(180), park(180), at(61)).await);
    let state = store.target_states().await.unwrap().remove(0);
    assert_eq!((state.parked_until, state.probes), (Some(at(180)), 2));
    let probe = claim_one(&store, "desk", at(180)).await;
    assert!(end(&store, probe, State::Delivered { at: at(181) }, TargetChange::Healthy, at(181)).await);
    let state = store.target_states().await.unwrap().remove(0);
    assert_eq!(
        (state.parked_until, state.failing_since, state.recovered_at),
        (None, Some(at(1)), Some(at(181)))
    );
    store.recovery_seen("desk").await.unwrap();
    assert!(store.target_states().await.unwrap().is_empty());
    assert_eq!(claim(&store, "desk", 9, at(181)).await.len(), 3);
}

async fn a_probe_without_a_verdict_is_followed_by_the_next(store: Store) {
    owe(&store, "desk", &["a", "b"]).await;
    store.change_target("desk", TargetChange::Park { probe_at: at(10) }, "revoked").await.unwrap();
    let probe = claim_one(&store, "desk", at(10)).await;
    assert!(end(&store, probe, State::Pending { due_at: at(15) }, TargetChange::None, at(12)).await);
    assert_eq!(claim(&store, "desk", 9, at(12)).await.len(), 1);
}

// People

async fn a_replay_is_a_new_delivery(store: Store) {
    let plan = Planned { expires_at: Some(at(50)), ..planned("desk", "m1", at(0)) };
    store.admit(page(vec![admitted("m1", vec![plan])]), at(0)).await.unwrap();
    let job = claim_one(&store, "desk", at(0)).await;
    let id = job.claim.id.clone();
    assert!(store.replay(&[id.clone().into()], at(1)).await.unwrap().is_empty(), "it is still open");
    assert!(end(&store, job, dead(at(2)), TargetChange::None, at(2)).await);
    let unknown = DeliveryId::from_text("dnone");
    let mut new =
        store.replay(&[id.clone().into(), unknown.into(), id.clone().into()], at(100)).await.unwrap();
    assert_eq!(new.len(), 2);
    assert_ne!(new[0], new[1]);
    let jobs = claim(&store, "desk", 9, at(100)).await;
    assert_eq!(jobs.len(), 2);
    for job in &jobs {
        assert_eq!((&job.replay_of, &job.payload, job.claim.attempts), (&Some(id.clone()), &None, 0));
        assert_eq!(uids(std::slice::from_ref(job)), ["m1"]);
    }
    let mut claimed: Vec<DeliveryId> = jobs.into_iter().map(|job| job.claim.id).collect();
    claimed.sort();
    new.sort();
    assert_eq!(claimed, new);
    assert_eq!(state_of(&store, &id).await, StateName::Dead, "the original keeps its story");
}

async fn two_people_who_saw_the_same_replay_it_once(store: Store) {
    owe(&store, "desk", &["a", "b"]).await;
    for job in claim(&store, "desk", 2, at(0)).await {
        assert!(end(&store, job, dead(at(1)), TargetChange::None, at(1)).await);
    }
    let seen: Vec<Picked> =
        store.deliveries(Filter::default()).await.unwrap().0.iter().map(Picked::from).collect();
    let (one, other) = tokio::join!(store.replay(&seen, at(2)), store.replay(&seen, at(2)));
    let (one, other) = (one.unwrap().len(), other.unwrap().len());
    assert_eq!((one.max(other), one.min(other)), (2, 0));
    // What one sees anew, one may send anew.
    let row = store.delivery(&seen[0].id).await.unwrap().unwrap().row;
    assert_eq!(row.replays, 1);
    assert_eq!(store.replay(&[Picked::from(&row), seen[1].clone()], at(3)).await.unwrap().len(), 1);
}

async fn discarded_ones_are_never_sent(store: Store) {
    owe(&store, "desk", &["a", "b", "c", "d"]).await;
    let mut jobs = claim(&store, "desk", 3, at(0)).await;
    let (sending, died, done) = (jobs.remove(0), jobs.remove(0), jobs.remove(0));
    let ids = [&sending, &died, &done].map(|job| job.claim.id.clone());
    let pending = planned("desk", "d", at(0)).id;
    let all: Vec<DeliveryId> = ids.iter().cloned().chain([pending.clone()]).collect();
    assert!(end(&store, died, dead(at(1)), TargetChange::None, at(1)).await);
    assert!(end(&store, done, State::Delivered { at: at(1) }, TargetChange::Healthy, at(1)).await);
    let changed = store.discard(&all, at(2)).await.unwrap();
    assert_eq!(changed, [ids[0].clone(), ids[1].clone(), pending]);
    assert!(!end(&store, sending, State::Delivered { at: at(3) }, TargetChange::Healthy, at(3)).await);
    assert_eq!(state_of(&store, &ids[0]).await, StateName::Discarded);
    assert_eq!(state_of(&store, &ids[2]).await, StateName::Delivered);
    assert!(claim(&store, "desk", 9, at(999)).await.is_empty());
}

async fn lists_are_filtered_and_counted(store: Store) {
    owe(&store, "desk", &["a", "b", "c"]).await;
    owe(&store, "crm", &["d"]).await;
    let job = claim_one(&store, "desk", at(0)).await;
    assert!(end(&store, job, dead(at(1)), TargetChange::None, at(1)).await);
    let list = async |filter| {
        let (rows, all) = store.deliveries(filter).await.unwrap();
        (rows.iter().map(|row| row.messages.join("+")).collect::<Vec<_>>().join(" "), all)
    };
    let any = Filter::default;
    assert_eq!(list(any()).await, ("a b c d".into(), 4));
    assert_eq!(list(Filter { limit: Some(2), ..any() }).await, ("d c".into(), 4));
    assert_eq!(list(Filter { states: vec![StateName::Dead], ..any() }).await, ("a".into(), 1));
    let open = vec![StateName::Pending, StateName::Sending];
    assert_eq!(list(Filter { states: open, target: Some("desk".into()), ..any() }).await, ("b c".into(), 2));
    let mixed = vec![StateName::Dead, StateName::Pending];
    assert_eq!(list(Filter { states: mixed, ..any() }).await, ("a b c d".into(), 4));
    assert_eq!(list(Filter { rule: Some("other".into()), ..any() }).await, (String::new(), 0));
    assert_eq!(list(Filter { since: Some(at(1)), ..any() }).await, (String::new(), 0));
    assert_eq!(
        list(Filter { since: Some(at(0)), message: Some("b".into()), ..any() }).await,
        ("b".into(), 1)
    );
    let id = planned("desk", "a", at(0)).id;
    let prefix = &id.as_str()[..id.as_str().len() - 2];
    assert_eq!(store.ids_like(prefix, 9).await.unwrap(), [id]);
    assert!(store.ids_like("x", 9).await.unwrap().is_empty());
}

async fn counts_follow_every_change(store: Store) {
    owe(&store, "desk", &["a", "b", "c"]).await;
    let job = claim_one(&store, "desk", at(0)).await;
    let _held = claim_one(&store, "desk", at(0)).await;
    assert!(end(&store, job, State::Delivered { at: at(1) }, TargetChange::Healthy, at(1)).await);
    let counts = store.counts(Some("desk")).await.unwrap();
    assert_eq!((counts.pending, counts.sending, counts.delivered), (1, 1, 1));
    assert_eq!(store.counts(None).await.unwrap(), counts);
    assert_eq!(store.counts(Some("crm")).await.unwrap().pending, 0);
}

async fn pruning_keeps_what_is_open_or_may_be_met_again(store: Store) {
    let day = |days: i64| at(0) + SignedDuration::from_hours(24 * days);
    owe(&store, "desk", &["1-done", "2-died", "3-open"]).await;
    let mut jobs = claim(&store, "desk", 2, at(0)).await;
    let (done, died) = (jobs.remove(0), jobs.remove(0));
    let died_id = died.claim.id.clone();
    assert!(end(&store, done, State::Delivered { at: at(1) }, TargetChange::Healthy, at(1)).await);
    assert!(end(&store, died, dead(at(1)), TargetChange::None, at(1)).await);
    let cursor = |watermark| Admission { cursor: Some(Cursor { floor: None, watermark }), ..page(vec![]) };

    // A quiet account: its newest message is old, and every poll meets it again.
    store.admit(cursor(Some(at(-10))), at(2)).await.unwrap();
    assert_eq!(store.prune(day(30), at(0), 100).await.unwrap(), 1, "the delivered delivery, no message");
    assert!(store.seen("main", &["1-done".into()]).await.unwrap().contains("1-done"));

    store.admit(cursor(Some(day(60))), day(60)).await.unwrap();
    assert_eq!(store.prune(day(30), at(0), 100).await.unwrap(), 1, "its message");
    assert!(store.seen("main", &["1-done".into()]).await.unwrap().is_empty());
    assert_eq!(state_of(&store, &died_id).await, StateName::Dead);
    assert_eq!(store.prune(day(30), day(30), 1).await.unwrap(), 1, "small steps");
    assert_eq!(store.prune(day(30), day(30), 1).await.unwrap(), 1);
    assert_eq!(store.prune(day(30), day(30), 1).await.unwrap(), 0);
    assert_eq!(store.counts(None).await.unwrap().pending, 1);
    assert_eq!(claim(&store, "desk", 9, day(60)).await[0].messages[0].uid, "3-open");
}

async fn names_are_cached(store: Store) {
    let ann = json!({"uid": "c1", "name": "Ann"});
    let names = vec![(NameKind::Client, "c1".to_owned(), ann.clone())];
    store.keep_names("main", names.clone(), at(0)).await.unwrap();
    store.keep_names("main", names, at(9)).await.unwrap();
    assert_eq!(store.name("main", NameKind::Client, "c1").await.unwrap(), Some((ann, at(9))));
    assert_eq!(store.name("main", NameKind::Staff, "c1").await.unwrap(), None);
    assert_eq!(store.name("other", NameKind::Client, "c1").await.unwrap(), None);
}

async fn it_answers(store: Store) {
    store.ping().await.unwrap();
    let (statements, commits) = (store.statements(), store.commits());
    store.ping().await.unwrap();
    assert_eq!((store.statements() - statements, store.commits() - commits), (1, 1));
}

/// One test per behaviour and database: an empty store of its own for each.
macro_rules! behaviours {
    ($($behaviour:ident)*) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $behaviour() {
                let folder = tempfile::tempdir().unwrap();
                let file = folder.path().join("relay.db");
                let url = format!("sqlite://{}", file.display());
                super::$behaviour(super::Store::open(&url, super::Mode::Daemon).await.unwrap()).await;
                super::no_loose_ends(&file);
            })*
        }
        mod sqlite_in_memory {
            $(#[tokio::test]
            async fn $behaviour() {
                super::$behaviour(super::Store::open("sqlite::memory:", super::Mode::Daemon).await.unwrap()).await;
            })*
        }
        mod postgres {
            $(#[tokio::test]
            async fn $behaviour() {
                let Some(url) = crate::postgres::fresh_url().await else { return };
                super::$behaviour(super::Store::open(&url, super::Mode::Daemon).await.unwrap()).await;
                super::no_loose_ends_at(&url).await;
            })*
        }
    };
}

behaviours! {
    a_page_is_taken_in_once a_page_that_fails_leaves_nothing known_uids_are_messages_and_quarantine
    polls_leave_their_traces withheld_ones_are_recorded_and_never_sent notices_are_owed_without_messages
    a_claim_is_exclusive_and_in_order a_claim_keeps_to_its_limit nobody_claims_twice_at_once
    what_is_too_old_expires an_ended_lease_is_due_again_and_fences_out_its_holder
    what_kills_its_holder_five_times_is_buried_alone refusals_that_cost_nothing_do_not_look_like_deaths
    released_claims_go_first_and_uncounted settling_writes_attempt_state_payload_and_notices
    a_refused_shape_is_not_sent_again pauses_and_waits_hold_everything a_late_success_does_not_cut_a_wait_short
    a_parked_target_is_probed_by_one a_probe_without_a_verdict_is_followed_by_the_next
    a_replay_is_a_new_delivery two_people_who_saw_the_same_replay_it_once discarded_ones_are_never_sent lists_are_filtered_and_counted
    counts_follow_every_change pruning_keeps_what_is_open_or_may_be_met_again names_are_cached it_answers
    mutes_last_until_they_end_or_are_lifted messages_of_a_period_come_in_pages
    a_rate_is_held_by_the_claims no_more_is_under_way_than_the_target_takes
    as_many_are_leased_ahead_as_is_said_unless_the_target_fails
    what_is_due_at_once_is_handed_over_leased
    nothing_is_handed_over_past_the_queue_the_pace_or_the_parking
    a_lease_of_a_page_is_lost_like_any_other messages_join_what_is_open_and_not_what_was_begun
    a_group_may_have_two_open_when_one_is_given_back
    what_was_gathered_once_is_not_gathered_into_the_same_again what_waits_is_listed_as_it_was_planned
    what_waits_tells_what_it_has_behind_it what_is_made_of_several_may_be_known_if_one_of_them_may
    what_is_made_of_several_says_what_was_held_back_before_all_of_them
    what_is_begun_before_a_refusal_says_nothing_of_the_time_after_it
    what_is_to_be_tried_later_is_not_tried_at_once_as_its_target_recovers
    what_a_parked_target_turned_away_gets_its_place_back
    who_was_told_of_a_parking_is_told_when_it_takes_again_whoever_ended_it
    within_a_batch_what_comes_later_sees_what_came_before
    a_trouble_and_its_end_are_told_once_each a_trouble_that_all_met_is_told_by_the_first_of_them
    a_target_that_is_held_for_one_is_failing_and_sent_nothing
    a_backlog_is_gathered_into_one what_the_store_ends_by_itself_is_told a_cursor_never_goes_back
    trouble_is_remembered_until_its_backlog_was_seen
    a_target_that_takes_nothing_is_tried_with_one_at_a_time a_role_has_one_holder_until_it_ends
    instances_come_and_are_forgotten a_batch_is_written_with_what_was_lost_left_out
    of_what_was_lost_twice_one_at_a_time_is_sent a_killer_is_buried_and_none_of_those_beside_it
    a_digest_covers_its_time_and_is_due_at_its_end
    a_digest_that_is_full_closes_and_the_next_message_opens_another
    each_message_puts_the_end_off_and_not_for_ever
    what_joins_lives_as_long_as_the_last_of_it
    what_was_opened_without_a_message_lives_as_long_as_those_that_join_it
    what_is_withheld_or_too_old_joins_nothing
    what_was_rendered_once_takes_nothing_in_any_more
    what_is_over_the_limit_is_withheld_and_counted
    what_is_over_the_limit_comes_together_when_the_next_may_go
    a_limit_is_used_up_once_for_each_message
    a_person_closes_a_digest_or_takes_it_out
    figures_are_counted_step_by_step news_is_what_is_behind_what_is_known pages_do_not_slip
    what_expired_is_counted_for_who_is_told what_was_held_for_its_moment_is_listed_until_it_is_begun
    moments_ahead_are_told_with_what_waits_for_them
    what_a_later_message_makes_good_says_so only_what_is_older_and_goes_or_went_is_made_good
    an_event_is_made_good_by_the_key_of_any_of_its_messages
    of_a_page_the_first_that_was_made_makes_good_whatever_comes_first
    a_replay_is_as_good_as_what_it_replays
}
