//! Looking for what makes a digest's messages good.

use super::*;
use crate::daemon::names::NameBooks;
use crate::model::message::Triple;
use crate::model::sample;
use crate::rules::key::Key;
use crate::rules::{Place, Points};
use crate::source::wire;
use crate::store::{Admission, Admitted, Mode};

/// A rule that took a message, and makes good what `failed` told of the same client.
fn paid() -> Rule {
    Rule {
        name: "paid".into(),
        place: Place::default(),
        points: Points::default(),
        owner: None,
        accounts: None,
        any_of: Vec::new(),
        except: Vec::new(),
        filter: None,
        stop: false,
        deliver: Vec::new(),
        resolves: Some(Resolves {
            rules: vec!["failed".into()],
            by: Key::of_fields(["client.uid"]).unwrap(),
        }),
        good_by: Vec::new(),
    }
}

/// A store that is slow must not cost the digest: it tells then of what may have been made good.
#[tokio::test]
async fn nobody_is_looked_for_when_the_time_for_it_is_over() {
    let now: Timestamp = "2026-03-10T09:00:00Z".parse().unwrap();
    let triple = Triple {
        activity_type: "Payment".into(),
        message_type: "payment_received".into(),
        direction: "to_pivot".into(),
    };
    let message = wire::read_item("main", &sample::item(&triple, now)).unwrap();
    let (deliveries, makes_good) = (Vec::new(), Vec::new());
    let admitted = Admitted { message, rules: vec!["paid".into()], deliveries, makes_good };
    let page = Admission { account: "main".into(), messages: vec![admitted], ..Admission::default() };
    let store = Store::open("sqlite::memory:", Mode::Daemon).await.unwrap();
    store.admit(page, now).await.unwrap();
    let (rule, books) = (paid(), NameBooks::default());
    let resolvers = [(&rule, rule.resolves.as_ref().unwrap())];
    let found = async |until: Instant| {
        let soon = Soon::within(&books, Duration::ZERO);
        makers_good("main", &resolvers, now, &store, soon, now, until).await.unwrap().len()
    };
    assert_eq!(found(Instant::now() + Duration::from_mins(1)).await, 1);
    assert_eq!(found(Instant::now()).await, 0);
}
