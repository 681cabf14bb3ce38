//! One dead target among many takes nothing from the others: seen by what is claimed, not by the clock.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use activity_relay::model::delivery::StateName;
use activity_relay::sandbox::script::{Answer, Fault, says, slow, status};

use crate::faults::record::{Observed, record};
use crate::world::World;

const OTHERS: usize = 49;
const QUEUED: usize = 300;
const FRESH: usize = 5;
/// Time for all that is fresh, on the busiest machine; less than the targets' time-out, so that no lane comes back by it.
const ENOUGH: Duration = Duration::from_mins(5);

/// Fifty targets: everything goes to all of them, and what Dora writes to the dead one only.
fn rules() -> String {
    let mut targets = String::from("\ntargets:\n");
    let mut deliver = String::new();
    for number in 0..=OTHERS {
        let name = format!("t{number:02}");
        writeln!(
            targets,
            "  {name}: {{ type: http, url: \"${{HTTP}}/{name}\", allow_private: true, timeout: 10m }}"
        )
        .unwrap();
        write!(deliver, "{{ to: {name} }}, ").unwrap();
    }
    format!(
        "{targets}rules:\n  - {{ name: flood, match: {{}}, where: 'client.name == \"Dora\"', stop: true, deliver: [{{ to: t00 }}] }}\n  \
         - {{ name: all, match: {{}}, deliver: [{deliver}] }}\n"
    )
}

/// How many deliveries of each target have been begun.
async fn begun(world: &World) -> BTreeMap<String, usize> {
    let mut begun = BTreeMap::new();
    for row in world.rows().await {
        *begun.entry(row.target).or_default() +=
            usize::from(row.state != StateName::Pending || row.attempts > 0);
    }
    begun
}

async fn claims_beside(answer: Answer) -> (World, BTreeMap<String, usize>) {
    let world = World::new(&rules()).await;
    world.sandbox.http.fault(Fault { on: "/hooks/relay/t00".into(), times: None, answer });
    for _ in 0..QUEUED {
        world.receives("Dora", "Hello?");
    }
    world.poll().await;
    let (courier, config) = (&world.relay().courier, world.relay().config());
    courier.tick(&config, world.clock.now()).await.unwrap();
    for _ in 0..FRESH {
        world.receives("Ann", "Hello?");
    }
    world.poll().await;
    let all_others = async {
        loop {
            let mut ended = courier.ended();
            let ticked = courier.tick(&config, world.clock.now()).await.unwrap();
            let begun = begun(&world).await;
            if begun.iter().all(|(target, count)| target == "t00" || *count == FRESH) {
                return begun;
            }
            if ticked.started == 0 {
                let _ = ended.changed().await;
            }
        }
    };
    let begun = tokio::time::timeout(ENOUGH, all_others).await.expect("the others wait for the dead one");
    (world, begun)
}

#[tokio::test]
async fn what_queues_for_a_dead_target_takes_its_own_lanes_and_nobody_elses() {
    for answer in [slow(Duration::from_mins(10)), says(404, "gone")] {
        let (_world, begun) = claims_beside(answer.clone()).await;
        assert!(begun["t00"] <= 8, "as many as it has lanes, {answer:?}: {}", begun["t00"]);
        assert_eq!(begun.len(), OTHERS + 1);
    }
}

#[tokio::test]
async fn a_dead_target_s_queue_stays_and_everything_else_arrives() {
    let (world, _) = claims_beside(status(503)).await;
    world.send().await;
    let arrivals = world.sandbox.http.arrivals();
    let tried = arrivals.iter().filter(|arrival| arrival.path.ends_with("/t00")).count();
    // Its lanes twice, until it has failed ten times in a row; then one, and it rests.
    assert!(tried <= 17, "a dead target is tried with one at a time, not {tried} times");
    let owed = QUEUED + FRESH * (OTHERS + 1);
    let saw =
        format!("{tried} tries at the dead one, its queue waits; everything for the other 49 was delivered");
    let observed = Observed::of(&world, owed, &arrivals, saw).await;
    assert_eq!(observed.delivered, FRESH * OTHERS);
    let how = format!(
        "one target answers 503 to everything, {QUEUED} deliveries are queued for it; with 100,000 of them and figures: docs/benchmarks.md"
    );
    record("dead-target", &how, &observed);
}
