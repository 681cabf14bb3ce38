//! Instances come, stop and die in any order; afterwards everything is held, fairly, and stays where it is.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

/// How often every instance looks.
const BEAT_SECONDS: i64 = 5;
/// After so many beats without a change everything has settled: the dead are forgotten after five, what nobody else
/// wants is taken back after three, and what is beyond a share is halved at each.
const BEATS_TO_SETTLE: usize = 40;

/// The store and everybody on it.
#[derive(Default)]
struct World {
    now: i64,
    next: u32,
    holds: BTreeMap<String, (String, i64)>,
    seen: BTreeMap<String, i64>,
    running: BTreeMap<String, (Vec<String>, Spread)>,
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn hold_seconds() -> i64 {
    i64::try_from(HOLD.as_secs()).unwrap()
}

fn polls(numbers: impl IntoIterator<Item = u32>) -> Vec<String> {
    numbers.into_iter().map(|number| format!("poll {number:02}")).collect()
}

impl World {
    fn start(&mut self, wanted: Vec<String>) -> String {
        let id = format!("i{:02}", self.next);
        self.next += 1;
        self.running.insert(id.clone(), (wanted, Spread::default()));
        id
    }

    fn stop(&mut self, id: &str) {
        self.running.remove(id);
        self.seen.remove(id);
        self.holds.retain(|_, (holder, _)| holder != id);
    }

    fn beat(&mut self, id: &str) -> Share {
        self.seen.insert(id.to_owned(), self.now);
        let hold = |(role, (instance, until)): (&String, &(String, i64))| Hold {
            role: role.clone(),
            instance: instance.clone(),
            until: at(*until),
        };
        let instance = |(id, seen): (&String, &i64)| Instance {
            id: id.clone(),
            host: "host:1".into(),
            started_at: at(0),
            seen_at: at(*seen),
            config: None,
        };
        let holds: Vec<Hold> = self.holds.iter().map(hold).collect();
        let instances: Vec<Instance> = self.seen.iter().map(instance).collect();
        let (wanted, spread) = self.running.get_mut(id).unwrap();
        let view = View {
            wanted,
            holds: &holds,
            unspread: &["janitor"],
            instances: &instances,
            me: id,
            now: at(self.now),
        };
        let share = spread.share(view);
        self.holds.retain(|role, (holder, _)| holder != id || !share.give_up.contains(role));
        for role in share.keep.iter().chain(&share.take) {
            let entry = self.holds.entry(role.clone()).or_insert((id.to_owned(), i64::MIN));
            if entry.0 == id || ended(at(entry.1.max(0)), at(self.now)) {
                *entry = (id.to_owned(), self.now + hold_seconds());
            }
        }
        share
    }

    /// Everybody beats once, in an order that the number says.
    fn round(&mut self, order: usize) {
        let ids: Vec<String> = self.running.keys().cloned().collect();
        for nth in 0..ids.len() {
            self.beat(&ids[(nth + order) % ids.len()]);
        }
        self.now += BEAT_SECONDS;
    }

    fn settle(&mut self) {
        (0..BEATS_TO_SETTLE).for_each(|order| self.round(order));
    }

    fn held_by(&self, id: &str) -> Vec<&str> {
        self.holds.iter().filter(|(_, (holder, _))| holder == id).map(|(role, _)| role.as_str()).collect()
    }

    /// What is held by somebody who runs.
    fn held(&self) -> BTreeSet<&str> {
        self.running.keys().flat_map(|id| self.held_by(id)).collect()
    }
}

#[derive(Debug, Clone)]
enum Step {
    Start,
    Stop(usize),
    Die(usize),
    Beat(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        2 => Just(Step::Start),
        1 => any::<usize>().prop_map(Step::Stop),
        1 => any::<usize>().prop_map(Step::Die),
        6 => any::<usize>().prop_map(Step::Beat),
    ];
    proptest::collection::vec(step, 0..40)
}

fn play(steps: &[Step], wanted: impl Fn(u32) -> Vec<String>) -> World {
    let mut world = World::default();
    world.start(wanted(0));
    for step in steps {
        let nth = |nth: usize| world.running.keys().nth(nth % world.running.len()).cloned().unwrap();
        match step {
            Step::Start if world.running.len() < 6 => drop(world.start(wanted(world.next))),
            Step::Stop(which) if world.running.len() > 1 => world.stop(&nth(*which)),
            Step::Die(which) if world.running.len() > 1 => drop(world.running.remove(&nth(*which))),
            Step::Beat(order) => world.round(*order),
            _ => {}
        }
    }
    world.settle();
    world
}

proptest! {
    #[test]
    fn everything_is_held_by_somebody_nobody_has_more_than_a_share_and_nothing_moves_any_more(
        steps in steps(), accounts in 0_u32..20
    ) {
        let mut world = play(&steps, |_| polls(0..accounts));
        let all = polls(0..accounts);
        prop_assert_eq!(world.held(), all.iter().map(String::as_str).collect());
        let share = all.len().div_ceil(world.running.len());
        for id in world.running.keys() {
            prop_assert!(world.held_by(id).len() <= share, "{} has {:?}", id, world.held_by(id));
        }
        let before: BTreeMap<String, String> =
            world.holds.iter().map(|(role, (holder, _))| (role.clone(), holder.clone())).collect();
        for order in 0..10 {
            world.round(order);
            let after = world.holds.iter().map(|(role, (holder, _))| (role.clone(), holder.clone())).collect();
            prop_assert_eq!(&before, &after);
        }
    }

    #[test]
    fn instances_that_know_different_accounts_leave_none_of_them_alone(
        steps in steps(), accounts in proptest::collection::vec(proptest::collection::btree_set(0_u32..12, 0..12), 50)
    ) {
        let known = |number: u32| polls(accounts[number as usize % accounts.len()].iter().copied());
        let mut world = play(&steps, known);
        let all: BTreeSet<String> = world.running.values().flat_map(|(wanted, _)| wanted.clone()).collect();
        prop_assert_eq!(world.held(), all.iter().map(String::as_str).collect());
        let before = world.holds.len();
        for order in 0..10 {
            world.round(order);
            prop_assert_eq!(world.holds.len(), before);
        }
    }
}

#[test]
fn one_alone_has_everything_and_a_second_one_gets_its_half_by_and_by() {
    let mut world = World::default();
    let first = world.start(polls(0..8));
    world.round(0);
    assert_eq!(world.held_by(&first).len(), 8);
    let second = world.start(polls(0..8));
    let mut course = Vec::new();
    for _ in 0..5 {
        world.round(0);
        course.push((world.held_by(&first).len(), world.held_by(&second).len()));
    }
    assert_eq!(course, [(8, 0), (6, 2), (5, 3), (4, 4), (4, 4)]);
}

#[test]
fn two_that_start_together_do_not_reach_for_the_same() {
    let mut world = World::default();
    let (first, second) = (world.start(polls(0..4)), world.start(polls(0..4)));
    world.seen = [(first.clone(), 0), (second.clone(), 0)].into();
    assert_eq!(world.beat(&first).take, polls(0..2));
    assert_eq!(world.beat(&second).take, polls(2..4));
}

#[test]
fn what_a_dead_one_held_is_taken_over_within_half_a_minute() {
    let mut world = World::default();
    let (first, second) = (world.start(polls(0..2)), world.start(polls(0..2)));
    world.settle();
    // Straight after its last word.
    let (died, _) = (world.now - BEAT_SECONDS, world.running.remove(&first));
    while world.held_by(&second).len() < 2 {
        world.round(0);
    }
    let taken_over = world.now - BEAT_SECONDS;
    assert!(taken_over - died <= 25, "{} s", taken_over - died);
}

#[test]
fn who_no_longer_wants_an_account_leaves_it_to_others() {
    let mut world = World::default();
    let only = world.start(polls(0..2));
    world.round(0);
    world.running.get_mut(&only).unwrap().0 = polls(1..2);
    assert_eq!(world.beat(&only).give_up, polls(0..1));
}
