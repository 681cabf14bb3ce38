//! Time as rules speak of it (days of the week, times of day, opening hours), answered in instants. Pure.
//!
//! All times are local to a zone. A local time that a change of the clocks skips stands for the first instant after the
//! gap; one that happens twice stands for its first occurrence. So what is to happen at it happens once.

mod days;
mod hours;
mod moments;

pub use days::Days;
pub use hours::{Hours, Span};
pub use moments::Moments;

use jiff::Timestamp;
use jiff::civil::DateTime;
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

#[cfg(test)]
mod tests;
