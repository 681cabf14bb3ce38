//! Durations as the rules file writes them.

use std::time::Duration;

/// The units of a duration, in milliseconds.
pub const UNITS_MS: [(&str, u64); 6] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000), ("w", 604_800_000)];

/// A duration as people write it, for messages: in the longest unit, up to days, that leaves no rest.
pub fn shown(duration: Duration) -> String {
    let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let (name, unit) =
        UNITS_MS.iter().take(5).rev().find(|(_, unit)| ms >= *unit && ms % unit == 0).unwrap_or(&UNITS_MS[1]);
    format!("{}{name}", ms / unit)
}
