//! What every store does where a message makes earlier deliveries good.

use activity_relay::model::delivery::{Planned, State, StateName};
use activity_relay::model::good::{MadeGood, MakesGood};
use activity_relay::model::group::{Join, Kind};
use activity_relay::model::settle::TargetChange;
use activity_relay::store::{Admitted, Filter, Row, Store};
use jiff::Timestamp;

use super::store_kit::{admitted, at, claim_one, day, dead, end, message, page, planned};

/// Owed to the target, and made good by what has the key.
fn alert(target: &str, uid: &str, key: &str) -> Planned {
    Planned { good_by: vec![key.into()], ..planned(target, uid, at(0)) }
}

/// A message that makes good what has the key.
fn maker(uid: &str, key: &str, deliveries: Vec<Planned>) -> Admitted {
    let makes = MakesGood { rules: vec!["other".into(), "cancellations".into()], key: key.into() };
    Admitted { makes_good: vec![makes], ..admitted(uid, deliveries) }
}

async fn take(store: &Store, messages: Vec<Admitted>, now: Timestamp) {
    store.admit(page(messages), now).await.unwrap();
}

async fn rows(store: &Store) -> Vec<Row> {
    store.deliveries(Filter::default()).await.unwrap().0
}

/// The uids of what was made good, with what did it.
async fn good(store: &Store) -> Vec<(String, String)> {
    let of = |row: Row| Some((format!("{} {}", row.target, row.messages[0]), row.made_good?.by));
    rows(store).await.into_iter().filter_map(of).collect()
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(of, by)| ((*of).to_owned(), (*by).to_owned())).collect()
}

pub(crate) async fn what_a_later_message_makes_good_says_so(store: Store) {
    take(&store, vec![admitted("a", vec![alert("desk", "a", "ann"), alert("crm", "a", "ann")])], at(0)).await;
    take(&store, vec![admitted("b", vec![alert("desk", "b", "bob")])], at(1)).await;
    take(&store, vec![admitted("c", vec![planned("desk", "c", at(0))])], at(1)).await;
    let job = claim_one(&store, "desk", at(2)).await;
    assert!(end(&store, job, State::Delivered { at: at(2) }, TargetChange::Healthy, at(2)).await);
    take(&store, vec![maker("p", "ann", vec![planned("desk", "p", at(3))])], at(3)).await;
    assert_eq!(good(&store).await, pairs(&[("desk a", "p"), ("crm a", "p")]), "sent, or waiting to be");
    let all = rows(&store).await;
    assert_eq!(all[0].made_good, Some(MadeGood { by: "p".into(), at: at(3) }));
    assert_eq!(all[1].state, StateName::Pending, "it is sent all the same");
    let by = |uid: &str| Filter { made_good_by: Some(uid.into()), ..Filter::default() };
    let (found, count) = store.deliveries(by("p")).await.unwrap();
    assert_eq!((found, count), (all[..2].to_vec(), 2));
    assert_eq!(store.deliveries(by("b")).await.unwrap().1, 0);
    take(&store, vec![maker("q", "ann", vec![])], at(4)).await;
    assert_eq!(good(&store).await, pairs(&[("desk a", "p"), ("crm a", "p")]), "the first one counts");
    assert_eq!(store.delivery(&all[0].id).await.unwrap().unwrap().row.made_good, all[0].made_good);
}

pub(crate) async fn only_what_is_older_and_goes_or_went_is_made_good(store: Store) {
    let withheld = Planned { withheld: Some("muted".into()), ..alert("desk", "w", "ann") };
    let digest = Planned { joins: Some(day(100)), ..alert("desk", "d", "ann") };
    let mut later = admitted("l", vec![alert("desk", "l", "ann")]);
    later.message.created_at = at(0);
    let messages =
        vec![admitted("w", vec![withheld]), admitted("d", vec![digest]), later, admitted("x", vec![])];
    take(&store, messages, at(0)).await;
    take(&store, vec![admitted("k", vec![alert("crm", "k", "ann")])], at(0)).await;
    let job = claim_one(&store, "crm", at(1)).await;
    assert!(end(&store, job, dead(at(1)), TargetChange::None, at(1)).await);
    let own = alert("desk", "p", "ann");
    take(&store, vec![maker("p", "ann", vec![own])], at(2)).await;
    assert_eq!(good(&store).await, []);
    take(&store, vec![maker("q", "ann", vec![])], at(3)).await;
    assert_eq!(good(&store).await, pairs(&[("desk p", "q")]), "`l` was made later than `q`");
}

pub(crate) async fn an_event_is_made_good_by_the_key_of_any_of_its_messages(store: Store) {
    let event = Join {
        kind: Kind::Event,
        key: "e".into(),
        from: at(0),
        to: at(60),
        items_max: None,
        extend_max: None,
    };
    let of = |uid: &str, key: &str| Planned {
        joins: Some(event.clone()),
        due_at: at(60),
        ..alert("desk", uid, key)
    };
    take(&store, vec![admitted("a", vec![of("a", "ann")])], at(0)).await;
    take(&store, vec![admitted("b", vec![of("b", "bob")]), admitted("c", vec![of("c", "cy")])], at(1)).await;
    take(&store, vec![maker("p", "cy", vec![])], at(2)).await;
    assert_eq!(good(&store).await, pairs(&[("desk a", "p")]));
}

pub(crate) async fn of_a_page_the_first_that_was_made_makes_good_whatever_comes_first(store: Store) {
    let made = |mut one: Admitted, second: i64| {
        one.message.created_at = at(second);
        one
    };
    let messages = vec![
        made(maker("q", "ann", vec![]), 9),
        made(maker("p", "ann", vec![]), 5),
        made(admitted("a", vec![alert("desk", "a", "ann")]), 1),
    ];
    take(&store, messages, at(10)).await;
    assert_eq!(good(&store).await, pairs(&[("desk a", "p")]));
}

pub(crate) async fn a_replay_is_as_good_as_what_it_replays(store: Store) {
    take(&store, vec![admitted("a", vec![alert("desk", "a", "ann")])], at(0)).await;
    let job = claim_one(&store, "desk", at(1)).await;
    assert!(end(&store, job, dead(at(1)), TargetChange::None, at(1)).await);
    let original = rows(&store).await[0].id.clone();
    store.replay(&[original.clone().into()], at(2)).await.unwrap();
    take(&store, vec![maker("p", "ann", vec![])], at(3)).await;
    let all = rows(&store).await;
    assert_eq!((all[0].replays, all[1].replays), (1, 0));
    for (replayed, one) in [(true, &all[0]), (false, &all[1])] {
        let filter = Filter { replayed: Some(replayed), limit: Some(9), ..Filter::default() };
        let (rows, count) = store.deliveries(filter).await.unwrap();
        assert_eq!((rows.as_slice(), count), (std::slice::from_ref(one), 1));
    }
    let good: Vec<bool> = all.iter().map(|row| row.made_good.is_some()).collect();
    assert_eq!(good, [false, true], "what died was not sent; its replay will be");
    let job = claim_one(&store, "desk", at(4)).await;
    assert!(end(&store, job, State::Delivered { at: at(4) }, TargetChange::Healthy, at(4)).await);
    store.replay(&[all[1].id.clone().into()], at(5)).await.unwrap();
    assert_eq!(rows(&store).await[2].made_good, all[1].made_good);
    let last = message("a");
    assert_eq!(store.message(None, "a").await.unwrap().unwrap().message, last);
    assert_eq!(store.prune(at(5), at(5), 99).await.unwrap(), 3, "with what made them good");
    assert_eq!(rows(&store).await.len(), 1);
}

/// In a database that an older version left behind, with the delivery of `m1` in it.
pub(crate) async fn what_comes_after_an_upgrade_is_made_good(store: Store) {
    take(&store, vec![admitted("a", vec![alert("crm", "a", "ann")]), maker("p", "ann", vec![])], at(1)).await;
    assert_eq!(good(&store).await, pairs(&[("crm a", "p")]), "of what came before no key is known");
}
