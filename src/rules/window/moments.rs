//! Moments that come again: times of day on some days of the week, or a cron pattern.

use std::collections::BTreeSet;

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use super::{Days, instant};

/// Days that are looked at for the next moment.
const DAYS_AHEAD_MAX: usize = 366;

/// Times of day: `{ at: ["08:00", "17:00"], days: mon-fri }`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moments {
    /// The times, in any order.
    pub at: Vec<Time>,
    /// On these days.
    pub days: Days,
    /// Whose local time that is.
    pub zone: TimeZone,
    /// Not on these days.
    pub holidays: BTreeSet<Date>,
}

impl Moments {
    /// The moments after `after`, in order, each once, for a year at the most.
    pub fn following(&self, after: Timestamp) -> impl Iterator<Item = Timestamp> {
        let first = after.to_zoned(self.zone.clone()).date();
        let days = first.yesterday().unwrap_or(first).series(1.day()).take(DAYS_AHEAD_MAX + 1);
        let mut last = after;
        days.flat_map(|day| self.on(day)).filter(move |at| {
            let later = *at > last;
            last = last.max(*at);
            later
        })
    }

    /// The first moment after `after`; `None` if there is none within a year.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        self.following(after).next()
    }

    /// The last moment up to and with `until`; `None` if there was none within a year.
    pub fn last(&self, until: Timestamp) -> Option<Timestamp> {
        let today = until.to_zoned(self.zone.clone()).date();
        let first = today.tomorrow().unwrap_or(today);
        let mut days = first.series(-1.day()).take(DAYS_AHEAD_MAX + 1);
        days.find_map(|day| self.on(day).into_iter().rfind(|at| *at <= until))
    }

    /// The last moment before `at`.
    pub fn before(&self, at: Timestamp) -> Option<Timestamp> {
        self.last(at.checked_sub(1.nanosecond()).ok()?)
    }

    /// The moments of a day, in order, each once.
    fn on(&self, day: Date) -> BTreeSet<Timestamp> {
        if !self.days.has(day.weekday()) || self.holidays.contains(&day) {
            return BTreeSet::new();
        }
        self.at.iter().filter_map(|at| instant(&self.zone, day.to_datetime(*at))).collect()
    }
}
