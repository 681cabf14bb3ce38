//! Which parts of the past are to be looked through again: messages may turn up late, behind the watermark. Pure.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};

use crate::daemon::memory::Memory;
use crate::source::settled::Settled;
use crate::source::stamp::shift;
use crate::source::walk::{Walk, Window};

/// How often the recent past is looked through again.
const EVERY: SignedDuration = SignedDuration::from_hours(1);
/// How far back then.
const BACK_SECONDS: i64 = 6 * 3600;
/// How far back at most at a start.
const BACK_SECONDS_MAX: i64 = 7 * 86_400;
/// Windows that wait; beyond that none is added, as the hourly sweep comes by anyway.
const WAITING_MAX: usize = 64;
/// After a longer time without one, the polls failed meanwhile: then as after a start.
const BREAK_MIN: SignedDuration = SignedDuration::from_hours(2);
/// How often one crowded second is looked through again.
const TRIES_MAX: u32 = 5;
/// How often the API may refuse to let a window be looked through before it is left alone.
const REFUSALS_MAX: u32 = 5;

/// How far back polling may still come upon a message: nothing older is taken in by it, however late it turns up.
pub fn reach(floor: Timestamp, watermark: Option<Timestamp>, now: Timestamp) -> Timestamp {
    watermark.map_or(floor, |mark| shift(mark.min(now), -BACK_SECONDS).max(floor))
}

/// The windows that wait to be looked through again, in order.
#[derive(Debug, Default)]
pub struct Sweeps {
    waiting: VecDeque<Sweep>,
    last: Option<Timestamp>,
    settled: Settled,
}

/// One window with the walk through it, as far as it got.
#[derive(Debug)]
pub struct Sweep {
    /// What is looked through.
    pub window: Window,
    /// How far.
    pub walk: Walk,
    pub(super) memory: Memory,
    tries: u32,
    refusals: u32,
}

impl Sweeps {
    /// None waits yet. `settled` is shared with the polls.
    pub fn new(settled: Settled) -> Self {
        Self { settled, ..Self::default() }
    }

    /// A crowded second is read to the end by one sweep that comes an hour after it, not by every one.
    fn walk(&self, window: Window) -> Walk {
        Walk::sweep(window).remembering(&self.settled, EVERY)
    }

    /// Adds what is due: after a start, or after polls that failed for long, the downtime and six hours before it (a week at most), then
    /// every hour the last six. `watermark` is where the account stood before this poll; a first run has nothing behind it.
    pub fn schedule(
        &mut self,
        floor: Timestamp,
        watermark: Option<Timestamp>,
        now: Timestamp,
        server_now: Timestamp,
    ) {
        let from = match (self.last, watermark) {
            // A clock set back would otherwise stop the sweeps for as long.
            (Some(last), _) if (SignedDuration::ZERO..EVERY).contains(&now.duration_since(last)) => return,
            (Some(last), _) if now.duration_since(last) < BREAK_MIN => shift(server_now, -BACK_SECONDS),
            (_, Some(mark)) => {
                shift(mark.min(server_now), -BACK_SECONDS).max(shift(server_now, -BACK_SECONDS_MAX))
            }
            (Some(_), None) => shift(server_now, -BACK_SECONDS),
            (None, None) => server_now,
        };
        self.last = Some(now);
        let from = from.max(floor);
        if from < server_now {
            self.push(Window { from, to: server_now }, Memory::of(watermark, now), TRIES_MAX);
        }
    }

    /// Adds crowded seconds that a poll could not read to the end.
    pub(super) fn recheck(&mut self, windows: &[Window], memory: Memory) {
        for window in windows {
            self.push(*window, memory, 1);
        }
    }

    /// The next one to work on; whoever takes it gives it back or finishes it.
    pub fn take(&mut self) -> Option<Sweep> {
        self.waiting.pop_front()
    }

    /// To go on with it later.
    pub fn give_back(&mut self, sweep: Sweep) {
        self.waiting.push_front(sweep);
    }

    /// The API failed it: it goes on later, behind the others, so that one window does not hold up all.
    pub fn postpone(&mut self, sweep: Sweep) {
        self.waiting.push_back(sweep);
    }

    /// As after a start, but for what waits: that is begun anew.
    pub fn begin_again(&mut self, settled: Settled) {
        (self.last, self.settled) = (None, settled);
        let waiting = std::mem::take(&mut self.waiting);
        self.waiting =
            waiting.into_iter().map(|sweep| Sweep { walk: self.walk(sweep.window), ..sweep }).collect();
    }

    /// To begin it anew later: what it has met was not committed.
    pub fn restart(&mut self, mut sweep: Sweep) {
        sweep.walk = self.walk(sweep.window);
        self.give_back(sweep);
    }

    /// The API refused it: it is begun anew with a later poll, a few times. `false` once it is left alone.
    pub(super) fn refused(&mut self, mut sweep: Sweep) -> bool {
        sweep.refusals += 1;
        let again = sweep.refusals < REFUSALS_MAX;
        if again {
            sweep.walk = self.walk(sweep.window);
            self.waiting.push_back(sweep);
        }
        again
    }

    /// It went through, or as far as one walk goes: the rest is next. What it left over is tried again a few times; `false` once
    /// that is left alone.
    pub fn finish(&mut self, sweep: &Sweep) -> bool {
        if let Some(window) = sweep.walk.rest() {
            let walk = self.walk(window);
            let (memory, tries) = (sweep.memory, sweep.tries);
            self.waiting.push_front(Sweep { window, walk, memory, tries, refusals: 0 });
        }
        if sweep.tries < TRIES_MAX {
            for window in sweep.walk.leftover() {
                self.push(*window, sweep.memory, sweep.tries + 1);
            }
        }
        sweep.tries < TRIES_MAX || sweep.walk.leftover().is_empty()
    }

    fn push(&mut self, window: Window, memory: Memory, tries: u32) {
        if self.waiting.len() < WAITING_MAX {
            let walk = self.walk(window);
            self.waiting.push_back(Sweep { window, walk, memory, tries, refusals: 0 });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::walk::{PAGE_ROWS, PageFacts, Row};

    fn at(text: &str) -> Timestamp {
        format!("2026-03-{text}:00Z").parse().unwrap()
    }

    fn next(sweeps: &mut Sweeps) -> Option<(Timestamp, Timestamp)> {
        sweeps.take().map(|sweep| (sweep.window.from, sweep.window.to))
    }

    #[test]
    fn a_start_looks_through_the_downtime_and_later_every_hour_through_the_last_six() {
        let (mut sweeps, floor) = (Sweeps::default(), at("01T00:00"));
        let mut poll = |now: Timestamp, mark| {
            sweeps.schedule(floor, mark, now, now);
            next(&mut sweeps)
        };
        assert_eq!(poll(at("10T12:00"), Some(at("10T09:00"))), Some((at("10T03:00"), at("10T12:00"))));
        assert_eq!(poll(at("10T12:59"), Some(at("10T12:59"))), None);
        assert_eq!(poll(at("10T13:00"), Some(at("10T12:59"))), Some((at("10T07:00"), at("10T13:00"))));
        assert_eq!(poll(at("09T13:00"), Some(at("10T12:59"))), Some((at("09T07:00"), at("09T13:00"))));
    }

    #[test]
    fn no_sweep_comes_upon_what_is_beyond_the_reach() {
        let (floor, now) = (at("01T00:00"), at("10T12:00"));
        assert_eq!(reach(floor, None, now), floor);
        assert_eq!(reach(floor, Some(at("01T02:00")), now), floor);
        for mark in [at("02T00:00"), at("10T09:00"), now, at("10T13:00")] {
            let mut sweeps = Sweeps::default();
            sweeps.schedule(floor, Some(mark), now, now);
            let (from, _) = next(&mut sweeps).unwrap();
            assert!(reach(floor, Some(mark), now) <= from, "{mark}");
        }
    }

    #[test]
    fn a_sweep_goes_neither_before_the_floor_nor_further_back_than_a_week() {
        let mut sweeps = Sweeps::default();
        sweeps.schedule(at("01T00:00"), Some(at("02T00:00")), at("20T00:00"), at("20T00:00"));
        assert_eq!(next(&mut sweeps), Some((at("13T00:00"), at("20T00:00"))));
        let mut sweeps = Sweeps::default();
        sweeps.schedule(at("19T00:00"), Some(at("19T01:00")), at("20T00:00"), at("20T00:00"));
        assert_eq!(next(&mut sweeps), Some((at("19T00:00"), at("20T00:00"))));
        let mut first_run = Sweeps::default();
        first_run.schedule(at("20T00:00"), None, at("20T00:00"), at("20T00:00"));
        assert_eq!(next(&mut first_run), None);
    }

    #[test]
    fn a_window_that_the_api_fails_holds_up_no_other() {
        let mut sweeps = Sweeps::default();
        let window =
            |hour: &str| Window { from: at(&format!("10T{hour}:00")), to: at(&format!("10T{hour}:30")) };
        for hour in ["01", "02"] {
            sweeps.push(window(hour), Memory::of(None, window(hour).to), TRIES_MAX);
        }
        let first = sweeps.take().unwrap();
        sweeps.postpone(first);
        assert_eq!(sweeps.take().unwrap().window, window("02"));
        assert_eq!(sweeps.take().unwrap().window, window("01"));
    }

    #[test]
    fn after_polls_that_failed_for_long_it_is_as_after_a_start() {
        let (mut sweeps, floor) = (Sweeps::default(), at("01T00:00"));
        sweeps.schedule(floor, Some(at("10T12:00")), at("10T12:00"), at("10T12:00"));
        sweeps.take().unwrap();
        sweeps.schedule(floor, Some(at("10T12:01")), at("10T19:00"), at("10T19:00"));
        assert_eq!(next(&mut sweeps), Some((at("10T06:01"), at("10T19:00"))));
    }

    #[test]
    fn what_the_api_refuses_is_tried_a_few_times_with_later_polls() {
        let mut sweeps = Sweeps::default();
        let window = Window { from: at("10T00:00"), to: at("10T06:00") };
        sweeps.push(window, Memory::of(None, window.to), TRIES_MAX);
        for _ in 1..REFUSALS_MAX {
            let sweep = sweeps.take().unwrap();
            assert!(sweeps.refused(sweep));
        }
        let sweep = sweeps.take().unwrap();
        assert!(!sweeps.refused(sweep));
        assert_eq!(next(&mut sweeps), None);
    }

    #[test]
    fn a_sweep_that_ran_out_of_requests_goes_on_where_it_ended() {
        let (mut sweeps, from) = (Sweeps::default(), at("10T00:00"));
        let to = at("10T06:00");
        sweeps.push(Window { from, to }, Memory::of(None, to), TRIES_MAX);
        let mut sweep = sweeps.take().unwrap();
        while let Some(query) = sweep.walk.next() {
            // A full page for each second.
            let row = |nth: usize| Row {
                uid: format!("{query:?} {nth}"),
                created_at: Some(shift(query.created_after, 2)),
            };
            let rows: Vec<Row> = (0..PAGE_ROWS).map(row).collect();
            sweep.walk.page(&PageFacts {
                rows,
                fresh: 0,
                per_page: Some(PAGE_ROWS),
                total_count: None,
                server_now: to,
            });
        }
        assert!(sweep.walk.cut_short());
        sweeps.finish(&sweep);
        let (rest_from, rest_to) = next(&mut sweeps).unwrap();
        assert!(rest_from > shift(from, 400) && rest_from < to, "{rest_from}");
        assert_eq!(rest_to, to);
        assert_eq!(next(&mut sweeps), None);
    }
}
