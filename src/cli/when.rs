//! Moments and spans of time, as commands write and read them.

use jiff::tz::TimeZone;

use super::Context;

pub use crate::answers::when::{NOW, ago, moment, since, span};

/// The rules file's time zone if it loads, UTC otherwise.
pub fn zone(context: &Context) -> TimeZone {
    context.load().config.map_or(TimeZone::UTC, |config| config.timezone)
}
