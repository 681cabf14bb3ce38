//! What is drawn and watched of the store; part of the conformance suite.

use std::time::Duration;

use activity_relay::model::delivery::{State, StateName};
use activity_relay::model::settle::TargetChange;
use activity_relay::store::{Filter, Store};

use super::store_kit::{admitted, at, claim, end, message, page, planned};

/// A message in the middle of each of three hours; of the first two the deliveries end at once.
async fn three_hours(store: &Store) {
    for (hour, uid) in ["m0", "m1", "m2"].into_iter().enumerate() {
        let now = at(3_600 * i64::try_from(hour).unwrap());
        store.admit(page(vec![admitted(uid, vec![planned("desk", uid, now)])]), now).await.unwrap();
        if hour < 2 {
            let job = claim(store, "desk", 1, now).await.remove(0);
            let ended = match hour {
                0 => State::Delivered { at: now },
                _ => State::Dead { at: now, why: "refused".into() },
            };
            assert!(end(store, job, ended, TargetChange::Healthy, now).await);
        }
    }
}

pub(crate) async fn figures_are_counted_step_by_step(store: Store) {
    three_hours(&store).await;
    let hour = |moment: jiff::Timestamp| moment.as_second() / 3_600 * 3_600;
    let found = store.ended_per(at(-7_200), Duration::from_hours(1)).await.unwrap();
    let found: Vec<_> = found.into_iter().map(|(from, state, n)| (from.as_second(), state, n)).collect();
    let expected = [(hour(at(0)), StateName::Delivered, 1), (hour(at(3_600)), StateName::Dead, 1)];
    assert_eq!(found, expected);
    assert!(store.ended_per(at(9_000), Duration::from_hours(1)).await.unwrap().is_empty());
    let windows = [(at(-60), at(60)), (at(60), at(9_000)), (at(0), at(0))];
    let latencies = store.latencies(&windows, 10).await.unwrap();
    assert_eq!(
        latencies.iter().map(Vec::len).collect::<Vec<_>>(),
        [1, 0, 0],
        "only what was delivered counts"
    );
    assert_eq!(store.triples_since(at(1)).await.unwrap(), [(message("m").triple, 2)]);
}

pub(crate) async fn news_is_what_is_behind_what_is_known(store: Store) {
    assert!(store.arrivals(None, 9).await.unwrap().is_empty());
    three_hours(&store).await;
    let all = store.arrivals(None, 9).await.unwrap();
    let uids: Vec<&str> = all.iter().map(|(_, stored)| stored.message.uid.as_str()).collect();
    assert_eq!(uids, ["m2", "m1", "m0"]);
    let newer = store.arrivals(Some(all[1].0), 9).await.unwrap();
    assert_eq!((newer.len(), newer[0].1.message.uid.as_str()), (1, "m2"));
    let ended = store.ended_since(&StateName::ENDS, at(0), 9).await.unwrap();
    let states: Vec<StateName> = ended.iter().map(|row| row.state).collect();
    assert_eq!(states, [StateName::Dead, StateName::Delivered]);
    assert_eq!(store.ended_since(&StateName::ENDS, at(1), 9).await.unwrap().len(), 1);
    let last = store.ended_since(&StateName::ENDS, at(0), 1).await.unwrap();
    assert_eq!((last.len(), last[0].state), (1, StateName::Dead), "where there are more, the newest");
}

pub(crate) async fn pages_do_not_slip(store: Store) {
    let owe = async |range: std::ops::Range<usize>| {
        for n in range {
            let uid = format!("m{n}");
            let one = admitted(&uid, vec![planned("desk", &uid, at(0))]);
            store.admit(page(vec![one]), at(0)).await.unwrap();
        }
    };
    owe(0..5).await;
    let filter = Filter { limit: Some(2), ..Filter::default() };
    let first = store.page(filter.clone()).await.unwrap();
    owe(5..8).await;
    let next = Filter { before: Some(first[1].number), ..filter };
    let second = store.page(next.clone()).await.unwrap();
    let uids = |rows: &[activity_relay::store::Row]| -> Vec<String> {
        rows.iter().map(|row| row.messages[0].clone()).collect()
    };
    assert_eq!(
        (uids(&first), uids(&second)),
        (vec!["m4".into(), "m3".into()], vec!["m2".into(), "m1".into()])
    );
    let (rows, all) = store.deliveries(next).await.unwrap();
    assert_eq!((rows.len(), all), (2, 3), "those before the last one shown are counted");
}
