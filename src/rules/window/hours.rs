//! Opening hours: from one time of day to another on some days of the week, but for holidays.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use super::{Days, Odd, instant, odd};
use crate::model::settle::after_now;

/// Days that are looked at for the next opening: a year of holidays in a row is closed for good.
const DAYS_AHEAD_MAX: usize = 366;
/// Openings that are looked at to know the longest time in between: two weeks and more.
const DAYS_COMPARED: usize = 15;

/// From the start on, up to but without the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// The first instant of it.
    pub start: Timestamp,
    /// The first instant behind it.
    pub end: Timestamp,
}

impl Span {
    /// It holds the instant.
    pub fn has(self, at: Timestamp) -> bool {
        self.start <= at && at < self.end
    }
}

/// It opens or closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// When.
    pub at: Timestamp,
    /// Which of the two.
    pub opens: bool,
}

/// When it is open: `{ days: mon-fri, from: "08:00", to: "18:30" }`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hours {
    /// The days on which it opens.
    pub days: Days,
    /// When it opens.
    pub from: Time,
    /// When it closes: on the next day where it is not later than `from`; `None` at the end of the day.
    pub to: Option<Time>,
    /// Whose local time that is.
    pub zone: TimeZone,
    /// Days on which it does not open.
    pub holidays: BTreeSet<Date>,
}

impl Hours {
    /// It is open at that instant.
    pub fn open_at(&self, at: Timestamp) -> bool {
        self.around(at).any(|span| span.has(at))
    }

    /// The first instant from `at` on at which it is open: `at` itself if it is. `None` if that is more than a year away.
    pub fn opens(&self, at: Timestamp) -> Option<Timestamp> {
        if self.open_at(at) { Some(at) } else { self.spans(at).next().map(|span| span.start) }
    }

    /// When it is open, from the first time that begins after `at`, for a year at the most.
    pub fn spans(&self, at: Timestamp) -> impl Iterator<Item = Span> {
        let first = at.to_zoned(self.zone.clone()).date();
        let days = first.yesterday().unwrap_or(first).series(1.day());
        days.take(DAYS_AHEAD_MAX).filter_map(|day| self.span(day)).filter(move |span| span.start > at)
    }

    /// When it opens and closes next, so many times at the most; nothing where it never does within a year. Openings that
    /// follow one another without a break are one.
    pub fn changes(&self, after: Timestamp, count: usize) -> Vec<Change> {
        let open = self.around(after).filter(|span| span.has(after));
        let mut whole: Vec<Span> = Vec::new();
        for span in open.chain(self.spans(after)) {
            let known = whole.len();
            match whole.last_mut().filter(|last| span.start <= last.end) {
                Some(last) => last.end = last.end.max(span.end),
                None if known > count => break,
                None => whole.push(span),
            }
        }
        // Where the days end that are looked at is no closing.
        let end = after_now(after, Duration::from_hours(24 * (DAYS_AHEAD_MAX as u64 - 2)));
        let changes = whole
            .iter()
            .flat_map(|span| [Change { at: span.start, opens: true }, Change { at: span.end, opens: false }]);
        changes.filter(|change| change.at > after && change.at < end).take(count).collect()
    }

    /// The times that begin from `from` on, within so long of it, in which it is closed; one that has begun before begins there.
    pub fn closed(&self, from: Timestamp, within: Duration) -> Vec<Range<Timestamp>> {
        let end = after_now(from, within);
        let days = usize::try_from(within.as_secs() / 86_400).unwrap_or(DAYS_AHEAD_MAX).min(DAYS_AHEAD_MAX);
        let mut closes = (!self.open_at(from)).then_some(from);
        let mut found = Vec::new();
        for change in self.changes(from, 2 * (days + 2)) {
            if !change.opens {
                closes = Some(change.at);
            } else if let Some(start) = closes.take() {
                found.push(start..change.at);
            }
        }
        found.retain(|closed| closed.start <= end);
        found
    }

    /// What the clocks do at an instant at which it opens or closes.
    pub fn odd(&self, at: Timestamp) -> Option<Odd> {
        let to = self.to.unwrap_or(Time::midnight());
        odd(&self.zone, at, |local| local.time() == self.from || local.time() == to)
    }

    /// How long it is closed at the longest, holidays and changes of the clocks aside.
    pub fn closed_max(&self) -> Duration {
        let week = Self { holidays: BTreeSet::new(), zone: TimeZone::UTC, ..self.clone() };
        let Ok(start) = TimeZone::UTC.to_timestamp(super::SOME_DAY.to_datetime(Time::midnight())) else {
            return Duration::ZERO;
        };
        let (mut longest, mut closes) = (Duration::ZERO, None);
        for span in week.spans(start).take(DAYS_COMPARED) {
            let wait = closes.map(|closes| span.start.duration_since(closes));
            longest = longest.max(wait.and_then(|wait| wait.try_into().ok()).unwrap_or_default());
            closes = closes.max(Some(span.end));
        }
        longest
    }

    /// The first day from which on it does not open for a year, if there is one.
    pub fn idle_from(&self) -> Option<Date> {
        super::idle_from(&self.holidays, &self.zone, |at| self.opens(at).is_some())
    }

    /// What may hold an instant: what opened on its local day or the day before. The clocks never change by more than a
    /// day, and where they did (a day left out at the date line), the day before is the one before that.
    fn around(&self, at: Timestamp) -> impl Iterator<Item = Span> {
        let today = at.to_zoned(self.zone.clone()).date();
        let before = today.checked_sub(2.days()).unwrap_or(today);
        before.series(1.day()).take(4).filter_map(|day| self.span(day))
    }

    /// When it is open that opens on this day. Empty ones, which a gap in local time swallows, are none.
    fn span(&self, day: Date) -> Option<Span> {
        if !self.days.has(day.weekday()) || self.holidays.contains(&day) {
            return None;
        }
        let start = instant(&self.zone, day.to_datetime(self.from))?;
        let end = match self.to {
            Some(to) if to > self.from => day.to_datetime(to),
            Some(to) => day.tomorrow().ok()?.to_datetime(to),
            None => day.tomorrow().ok()?.to_datetime(Time::midnight()),
        };
        let end = instant(&self.zone, end)?;
        (start < end).then_some(Span { start, end })
    }
}
