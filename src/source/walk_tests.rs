//! The walk against a model of the API: reads between pages, shuffled ties, late commits, small pages.

use std::collections::HashMap;

use super::*;

const BASE_SECOND: i64 = 1_773_100_000;

fn second(offset: i64) -> Timestamp {
    Timestamp::from_second(BASE_SECOND + offset).unwrap()
}

fn millis(at: i64) -> Timestamp {
    Timestamp::from_millisecond(BASE_SECOND * 1000 + at).unwrap()
}

/// One message of the model; times in milliseconds from the base.
struct Made {
    uid: String,
    created: i64,
    visible: i64,
    read: i64,
}

/// How the model's API behaves.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is one way in which the documents may be wrong")]
struct Habits {
    exclusive: bool,
    whole_seconds: bool,
    cap: usize,
    says_cap: bool,
    says_total: bool,
    shuffled: bool,
    descending: bool,
    request_ms: i64,
}

const PLAIN: Habits = Habits {
    exclusive: false,
    whole_seconds: true,
    cap: 100,
    says_cap: true,
    says_total: true,
    shuffled: true,
    descending: false,
    request_ms: 400,
};

struct World {
    habits: Habits,
    chance: fastrand::Rng,
    all: Vec<Made>,
    now: i64,
    requests: u32,
    seen: HashMap<String, i64>,
}

impl World {
    /// Three hours of a busy business with bursts of 260 messages in one second and commits up to 30 s late.
    fn busy(habits: Habits, seed: u64) -> Self {
        let mut chance = fastrand::Rng::with_seed(seed);
        let mut all = Vec::new();
        let make = |created: i64, chance: &mut fastrand::Rng, all: &mut Vec<Made>| {
            let created = if habits.whole_seconds { created / 1000 * 1000 } else { created };
            let late = if chance.u32(0..10) == 0 { chance.i64(0..30_000) } else { chance.i64(0..300) };
            let visible = created.max(0) + late;
            let unread_for =
                if chance.bool() { chance.i64(1_000..240_000) } else { chance.i64(300_000..20_000_000) };
            all.push(Made { uid: format!("m{}", all.len()), created, visible, read: visible + unread_for });
        };
        for _ in 0..700 {
            let created = chance.i64(0..10_800_000);
            make(created, &mut chance, &mut all);
        }
        for _ in 0..5 {
            let burst = chance.i64(0..10_800) * 1000;
            for _ in 0..260 {
                let created = burst + chance.i64(0..1000);
                make(created, &mut chance, &mut all);
            }
        }
        Self { habits, chance, all, now: 0, requests: 0, seen: HashMap::new() }
    }

    fn still(habits: Habits, created: &[i64]) -> Self {
        let made = |(index, created): (usize, &i64)| Made {
            uid: format!("m{index}"),
            created: *created,
            visible: 0,
            read: i64::MAX,
        };
        let all = created.iter().enumerate().map(made).collect();
        Self {
            habits,
            chance: fastrand::Rng::with_seed(1),
            all,
            now: 3_600_000,
            requests: 0,
            seen: HashMap::new(),
        }
    }

    fn answer(&mut self, query: &Query) -> PageFacts {
        self.requests += 1;
        self.now += self.habits.request_ms;
        let edge = |at: Timestamp| at.as_millisecond() - BASE_SECOND * 1000;
        let fits = |made: &Made| {
            let (after, before) = (edge(query.created_after), query.created_before.map_or(i64::MAX, edge));
            let inside = if self.habits.exclusive {
                made.created > after && made.created < before
            } else {
                made.created >= after && made.created <= before
            };
            inside && made.visible <= self.now && self.now < made.read
        };
        let mut rows: Vec<(i64, u32, &Made)> = Vec::new();
        for made in self.all.iter().filter(|made| fits(made)) {
            let tie = if self.habits.shuffled { self.chance.u32(..) } else { 0 };
            rows.push((made.created, tie, made));
        }
        rows.sort_by_key(|(created, tie, _)| {
            (if self.habits.descending { -created } else { *created }, *tie)
        });
        let total = rows.len() as u64;
        let size = query.per_page.min(self.habits.cap);
        let page: Vec<Row> = rows
            .into_iter()
            .skip((query.page as usize - 1) * size)
            .take(size)
            .map(|(created, _, made)| Row { uid: made.uid.clone(), created_at: Some(millis(created)) })
            .collect();
        let fresh = page.iter().filter(|row| !self.seen.contains_key(&row.uid)).count();
        for row in &page {
            self.seen.entry(row.uid.clone()).or_insert(self.now);
        }
        PageFacts {
            rows: page,
            fresh,
            per_page: Some(if self.habits.says_cap { size } else { query.per_page }),
            total_count: self.habits.says_total.then_some(total),
            server_now: floor(millis(self.now)),
        }
    }

    fn walk(&mut self, mut walk: Walk) -> Walk {
        while let Some(query) = walk.next() {
            let facts = self.answer(&query);
            walk.page(&facts);
        }
        walk
    }

    /// Polls every 30 seconds to the end of the day, with one outage; returns the uids that were lost.
    fn run(&mut self) -> Vec<&str> {
        let (mut watermark, mut queue) = (None, Vec::new());
        while self.now < 11_400_000 {
            let walk = self.walk(Walk::poll(second(0), watermark, Duration::from_mins(2)));
            assert!(walk.watermark >= watermark, "the watermark never goes back");
            watermark = walk.watermark;
            queue.extend_from_slice(walk.leftover());
            for window in std::mem::take(&mut queue) {
                queue.extend_from_slice(self.walk(Walk::sweep(window)).leftover());
            }
            let outage = (4_000_000..4_030_000).contains(&self.now);
            self.now += if outage { 1_800_000 } else { 30_000 };
        }
        let long_unread = |made: &&Made| {
            let down = (3_900_000..5_900_000).contains(&made.visible);
            made.read - made.visible >= if down { 2_400_000 } else { 300_000 } && made.visible < 11_000_000
        };
        let lost = self.all.iter().filter(long_unread).filter(|made| !self.seen.contains_key(&made.uid));
        lost.map(|made| made.uid.as_str()).collect()
    }
}

#[test]
fn nothing_that_stays_unread_is_lost_whatever_the_bounds_stamps_and_page_sizes() {
    for seed in 1..=2 {
        for bits in 0..32_u32 {
            let is = |bit: u32| bits & (1 << bit) != 0;
            let habits = Habits {
                exclusive: is(0),
                whole_seconds: is(1),
                cap: if is(2) { 25 } else { 100 },
                says_cap: is(3),
                says_total: !is(4),
                ..PLAIN
            };
            if !habits.says_cap && !habits.says_total {
                continue; // A size that is wrong and a total that is missing leave nothing to notice it by.
            }
            let mut world = World::busy(habits, seed);
            let lost = world.run();
            assert!(lost.is_empty(), "seed {seed}, {habits:?}: {} lost: {lost:?}", lost.len());
        }
    }
}

#[test]
fn a_list_in_the_wrong_order_is_read_whole() {
    for cap in [100, 25] {
        let mut world = World::busy(Habits { descending: true, cap, request_ms: 50, ..PLAIN }, 3);
        let lost = world.run();
        assert!(lost.is_empty(), "{} lost", lost.len());
    }
}

#[test]
fn a_quiet_poll_is_one_request_on_page_one() {
    let mut world = World::still(PLAIN, &[1000, 2000, 3000]);
    let walk = world.walk(Walk::poll(second(0), Some(second(2)), Duration::from_mins(2)));
    assert_eq!((world.requests, world.seen.len()), (1, 3));
    assert_eq!(walk.watermark, Some(second(3)));
    assert_eq!(walk.missing(), None);
}

#[test]
fn a_backlog_is_walked_by_time_and_never_by_page() {
    let stamps: Vec<i64> = (0..1000).map(|index| index * 2000).collect();
    let mut world = World::still(PLAIN, &stamps);
    let mut walk = Walk::poll(second(0), None, Duration::from_mins(2));
    while let Some(query) = walk.next() {
        assert_eq!(query.page, 1);
        let facts = world.answer(&query);
        walk.page(&facts);
    }
    assert_eq!(world.seen.len(), 1000);
    assert!(world.requests <= 13, "{} requests", world.requests);
}

#[test]
fn pages_are_turned_only_within_a_crowded_second() {
    let mut stamps = vec![500_000; 260];
    stamps.extend([10_000, 900_000]);
    let mut world = World::still(PLAIN, &stamps);
    let mut walk = Walk::poll(second(0), None, Duration::from_mins(2));
    while let Some(query) = walk.next() {
        if query.page > 1 {
            let width = query.created_before.unwrap().duration_since(query.created_after).as_secs();
            assert!(width <= 4, "{query:?}");
        }
        let facts = world.answer(&query);
        walk.page(&facts);
    }
    assert_eq!(world.seen.len(), 262);
    assert!(walk.leftover().is_empty());
}

#[test]
fn a_crowded_second_that_does_not_end_in_time_is_left_for_later() {
    let mut world = World::still(Habits { request_ms: 45_000, ..PLAIN }, &[500_000; 260]);
    let walk = world.walk(Walk::poll(second(0), None, Duration::from_mins(2)));
    assert!(
        walk.leftover().contains(&Window { from: second(500), to: second(501) }),
        "{:?}",
        walk.leftover()
    );
}

#[test]
fn what_is_left_for_later_is_read_to_its_end_however_slow_the_api_is() {
    let slow = Habits { shuffled: false, request_ms: 20_000, ..PLAIN };
    let mut world = World::still(slow, &[500_000; 500]);
    let walk = world.walk(Walk::poll(second(0), None, Duration::from_mins(2)));
    assert!(world.seen.len() < 500, "the poll has no time for all");
    for window in walk.leftover() {
        world.walk(Walk::sweep(*window));
    }
    assert_eq!(world.seen.len(), 500);
}

#[test]
fn the_watermark_passes_neither_the_newest_row_nor_the_servers_clock() {
    let page = |rows: &[i64]| PageFacts {
        rows: rows.iter().map(|at| Row { uid: at.to_string(), created_at: Some(second(*at)) }).collect(),
        fresh: rows.len(),
        per_page: Some(100),
        total_count: Some(rows.len() as u64),
        server_now: second(100),
    };
    let mut walk = Walk::poll(second(0), Some(second(10)), Duration::ZERO);
    assert_eq!(walk.page(&page(&[])), Some(second(10)), "an empty page moves nothing");
    let mut walk = Walk::poll(second(0), Some(second(10)), Duration::ZERO);
    assert_eq!(
        walk.page(&page(&[50, 5000])),
        Some(second(100)),
        "a row of the future moves it to now at most"
    );
    let mut sweep = Walk::sweep(Window { from: second(0), to: second(60) });
    assert_eq!(sweep.page(&page(&[50])), None, "a sweep moves nothing");
}

#[test]
fn a_poll_begins_before_the_watermark_but_never_before_the_floor() {
    let after = |walk: &Walk| walk.next().unwrap().created_after;
    let overlap = Duration::from_mins(2);
    assert_eq!(after(&Walk::poll(second(0), Some(millis(500_900)), overlap)), second(379));
    assert_eq!(after(&Walk::poll(second(450), Some(second(500)), overlap)), second(449));
    assert_eq!(after(&Walk::poll(second(450), None, overlap)), second(449));
}

#[test]
fn a_total_that_counts_more_than_is_shown_costs_one_request_and_no_loop() {
    let mut walk = Walk::poll(second(0), None, Duration::ZERO);
    let facts = |rows: usize| PageFacts {
        rows: (0..rows).map(|at| Row { uid: at.to_string(), created_at: Some(second(1)) }).collect(),
        fresh: 0,
        per_page: Some(100),
        total_count: Some(7),
        server_now: second(100),
    };
    walk.page(&facts(3));
    assert_eq!(walk.next().unwrap().page, 2);
    walk.page(&facts(0));
    assert_eq!(walk.next(), None);
}

#[test]
fn something_missed_is_looked_for_again_and_then_reported() {
    let mut walk = Walk::poll(second(0), None, Duration::ZERO);
    let mut requests = 0;
    while let Some(query) = walk.next() {
        requests += 1;
        // Pages never hold what the closed window's total counts.
        let rows = if query.created_before.is_none() && query.created_after < second(50) { 100 } else { 0 };
        walk.page(&PageFacts {
            rows: (0..rows).map(|at| Row { uid: format!("{at}"), created_at: Some(second(at)) }).collect(),
            fresh: 0,
            per_page: Some(100),
            total_count: Some(if query.created_before.is_some() { 105 } else { 100 }),
            server_now: second(200),
        });
    }
    assert_eq!(walk.missing(), Some(5));
    assert_eq!(requests, 9, "three drains of two pages and a count");
}
