//! The relay goes away between any two steps and another takes its store over: nothing is lost, and what may have been
//! sent twice says so.

use std::collections::BTreeSet;
use std::time::Duration;

use activity_relay::sandbox::script::{Cut, cut};

use crate::store_kit::want;
use crate::world::{PATIENCE, World};

const RULES: &str = r#"
targets:
  crm: { type: http, url: "${HTTP}", allow_private: true, body: event }
rules:
  - { name: all, match: {}, deliver: [{ to: crm }] }
"#;

fn arrived(world: &World) -> Vec<String> {
    let received = world.sandbox.http.received();
    let body = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    received
        .iter()
        .map(|arrival| body(&arrival.body)["data"]["message"]["uid"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn a_crash_between_any_two_steps_loses_and_repeats_nothing() {
    // Each bit of the number is a crash after one of the steps.
    for crashes in 0..16u8 {
        let mut world = World::new(RULES).await;
        let mut expected = BTreeSet::new();
        for round in 0..2u8 {
            expected.insert(world.receives("Ann", "Hello?"));
            world.poll().await;
            if crashes >> (2 * round) & 1 == 1 {
                world.reopen().await;
            }
            world.send().await;
            if crashes >> (2 * round + 1) & 1 == 1 {
                world.reopen().await;
            }
            world.clock.advance(Duration::from_secs(30));
        }
        world.tick().await;
        let arrived = arrived(&world);
        assert_eq!(arrived.len(), 2, "crashes {crashes:04b}");
        assert_eq!(arrived.into_iter().collect::<BTreeSet<_>>(), expected);
        assert!(world.rows().await.iter().all(|row| !row.maybe_duplicate));
    }
}

#[tokio::test]
async fn a_crash_while_sending_is_taken_up_at_once_and_marked() {
    let mut world = World::new(RULES).await;
    for _ in 0..5 {
        world.receives("Ann", "Hello?");
    }
    world.poll().await;
    assert_eq!(world.store().claim(vec![want("crm", 3)], world.clock.now()).await.unwrap().jobs.len(), 3);
    world.reopen().await;
    world.send().await;
    let rows = world.rows().await;
    assert!(rows.iter().all(|row| row.state.as_str() == "delivered"), "no lease has to run out first");
    assert_eq!(rows.iter().filter(|row| row.maybe_duplicate).count(), 3);
    assert_eq!((arrived(&world).len(), world.sandbox.http.duplicates()), (5, 0));
}

#[tokio::test]
async fn what_kills_the_relay_again_and_again_is_buried_alone() {
    let mut world = World::new(RULES).await;
    world.receives("Ann", "a killer");
    world.poll().await;
    for _ in 0..5 {
        assert_eq!(world.store().claim(vec![want("crm", 1)], world.clock.now()).await.unwrap().jobs.len(), 1);
        world.reopen().await;
    }
    world.receives("Bob", "an innocent");
    world.tick().await;
    insta::assert_snapshot!(world.owed().await, @r#"
    all → crm  dead  attempts 0  lost  maybe twice
    all → crm  delivered  attempts 1  delivered 200
    "#);
    let why = world.rows().await.remove(0).why.unwrap();
    assert!(why.contains("stopped 5 times"), "{why}");
}

#[tokio::test]
async fn an_answer_that_never_came_is_a_duplicate_that_can_be_told() {
    let world = World::new(RULES).await;
    world.receives("Ann", "Hello?");
    world.sandbox.http.answers([cut(Cut::After)]);
    world.tick().await;
    world.pass("10s").await;
    assert_eq!((world.sandbox.http.received().len(), world.sandbox.http.duplicates()), (2, 1));
    let rows = world.rows().await;
    assert!(rows[0].maybe_duplicate, "the receiver drops it by its id, and we count it");
}

#[tokio::test]
async fn a_poll_that_is_dropped_anywhere_is_made_good_by_the_next() {
    let world = World::new(RULES).await;
    let mut expected = BTreeSet::new();
    for _ in 0..4 {
        for _ in 0..30 {
            expected.insert(world.receives("Ann", "Hello?"));
        }
        // Dropped as soon as a request for the list is answered.
        let before = world.sandbox.business.list_requests().len();
        let asked = world.sandbox.business.wait_for_requests(PATIENCE, |requests| {
            requests.iter().filter(|request| request.rows.is_some()).count() > before
        });
        tokio::select! {
            _ = world.try_poll() => {}
            asked = asked => drop(asked.unwrap()),
        }
        world.clock.advance(Duration::from_secs(20));
    }
    world.tick().await;
    let arrived = arrived(&world);
    assert_eq!(arrived.len(), expected.len());
    assert_eq!(arrived.into_iter().collect::<BTreeSet<_>>(), expected);
}
