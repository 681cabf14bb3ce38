//! Time as rules speak of it (days of the week, times of day, opening hours), answered in instants. Pure.
//!
//! All times are local to a zone. A local time that a change of the clocks skips stands for the first instant after the
//! gap; one that happens twice stands for its first occurrence. So what is to happen at it happens once.

mod cron;
mod days;
mod hours;
mod moments;

pub use cron::Cron;
pub use days::Days;
pub use hours::{Change, Hours, Span};
pub use moments::{Moments, Times};

use std::collections::BTreeSet;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{AmbiguousOffset, TimeZone};

/// The instant that a local time stands for; `None` outside of the years that can be told.
pub fn instant(zone: &TimeZone, local: DateTime) -> Option<Timestamp> {
    match zone.to_ambiguous_timestamp(local).offset() {
        AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(local).ok(),
        AmbiguousOffset::Fold { before, .. } => before.to_timestamp(local).ok(),
        AmbiguousOffset::Gap { after, .. } => {
            // Read with the offset that holds after the gap it lies before it, so the gap is the next change.
            let before_gap = after.to_timestamp(local).ok()?;
            zone.following(before_gap).next().map(|change| change.timestamp())
        }
    }
}

/// What the clocks do at a local time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Odd {
    /// They skip it.
    Skipped,
    /// They show it twice.
    Twice,
}

/// What the clocks do at an instant that stands for a local time; `wanted` says whether a local time was asked for.
fn odd(zone: &TimeZone, at: Timestamp, wanted: impl Fn(DateTime) -> bool) -> Option<Odd> {
    let local = at.to_zoned(zone.clone()).datetime();
    if !wanted(local) {
        return Some(Odd::Skipped);
    }
    let fold = matches!(zone.to_ambiguous_timestamp(local).offset(), AmbiguousOffset::Fold { .. });
    fold.then_some(Odd::Twice)
}

/// A zone's name, for people.
pub fn zone_name(zone: &TimeZone) -> String {
    zone.iana_name().unwrap_or("UTC").to_owned()
}

/// The first day from which on nothing comes for a year, of what comes again but for holidays: a calendar that leaves no
/// day, or a date that there is not. `next` says whether anything comes after an instant.
fn idle_from(holidays: &BTreeSet<Date>, zone: &TimeZone, next: impl Fn(Timestamp) -> bool) -> Option<Date> {
    let before = |day: &Date| day.yesterday().is_ok_and(|before| holidays.contains(&before));
    let starts = holidays.iter().copied().filter(|day| !before(day));
    let idle = |day: &Date| {
        let start = instant(zone, day.to_datetime(Time::midnight()));
        start.is_some_and(|start| !next(start))
    };
    std::iter::once(SOME_DAY).chain(starts).find(idle)
}

/// A day as good as any.
const SOME_DAY: Date = jiff::civil::date(2026, 1, 1);

#[cfg(test)]
pub(super) mod tests;
