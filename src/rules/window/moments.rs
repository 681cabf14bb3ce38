//! Moments that come again: times of day on some days of the week, or a cron pattern.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use super::{Cron, Days, Odd, instant, odd};

/// Days that are looked at for the next moment.
const DAYS_AHEAD_MAX: usize = 366;

/// Moments in local time: `{ at: ["08:00", "17:00"], days: mon-fri }`, `{ cron: "0 8 * * 1-5" }`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moments {
    /// Which times.
    pub times: Times,
    /// Whose local time that is.
    pub zone: TimeZone,
    /// Not on these days.
    pub holidays: BTreeSet<Date>,
}

/// Times that come again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Times {
    /// Times of day.
    OfDay {
        /// The times, in any order.
        at: Vec<Time>,
        /// On these days.
        days: Days,
    },
    /// Those that a pattern fits.
    Cron(Cron),
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

    /// What the clocks do at one of these moments.
    pub fn odd(&self, at: Timestamp) -> Option<Odd> {
        odd(&self.zone, at, |local| match &self.times {
            Times::OfDay { at, .. } => at.contains(&local.time()),
            Times::Cron(cron) => cron.on(local.date()).contains(&local),
        })
    }

    /// How far they are apart at the most, in a year without holidays and changes of the clocks.
    pub fn apart_max(&self) -> Duration {
        let year = Self { holidays: BTreeSet::new(), zone: TimeZone::UTC, ..self.clone() };
        let Ok(start) = TimeZone::UTC.to_timestamp(super::SOME_DAY.to_datetime(Time::midnight())) else {
            return Duration::ZERO;
        };
        let (mut longest, mut last) = (Duration::ZERO, None::<Timestamp>);
        for at in year.following(start) {
            let wait = last.and_then(|last| at.duration_since(last).try_into().ok());
            longest = longest.max(wait.unwrap_or_default());
            last = Some(at);
        }
        longest
    }

    /// The first day from which on there is none for a year, if there is one.
    pub fn idle_from(&self) -> Option<Date> {
        super::idle_from(&self.holidays, &self.zone, |at| self.next(at).is_some())
    }

    /// The moments of a day, in order, each once.
    fn on(&self, day: Date) -> BTreeSet<Timestamp> {
        if self.holidays.contains(&day) {
            return BTreeSet::new();
        }
        let local: Vec<DateTime> = match &self.times {
            Times::OfDay { at, days } if days.has(day.weekday()) => {
                at.iter().map(|at| day.to_datetime(*at)).collect()
            }
            Times::OfDay { .. } => Vec::new(),
            Times::Cron(cron) => cron.on(day),
        };
        local.into_iter().filter_map(|local| instant(&self.zone, local)).collect()
    }
}
