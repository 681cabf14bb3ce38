//! How moments and spans of time are written for people, and read from them.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, Timestamp};

/// What [`ago`] says of the same second.
pub const NOW: &str = "just now";

/// A moment in a zone, to the second, such as `2026-03-02 21:50:00 CET`.
pub fn moment(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S %Z").to_string()
}

/// A moment as seen from another: `3m ago`, `in 2h`, `just now`.
pub fn ago(at: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(at).as_secs();
    match seconds {
        1.. => format!("{} ago", span(seconds)),
        0 => NOW.to_owned(),
        _ => format!("in {}", span(-seconds)),
    }
}

/// A length of time in its largest two units at most: `45s`, `3m`, `2h 5m`, `4d`.
pub fn span(seconds: i64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match () {
        () if minutes == 0 => format!("{seconds}s"),
        () if hours == 0 => format!("{minutes}m"),
        () if hours < 10 && minutes % 60 > 0 => format!("{hours}h {}m", minutes % 60),
        () if days == 0 => format!("{hours}h"),
        () => format!("{days}d"),
    }
}

/// A moment that a person names: `24h`, `1h30m`, `2d` before `now`, or an RFC 3339 time.
///
/// # Errors
/// It is neither; the text says what would be.
pub fn since(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at);
    }
    let wrong = || format!("`{text}` is no time: write 30m, 24h, 2d or 2026-03-02T08:00:00Z");
    let span: Span = text.parse().map_err(|_| wrong())?;
    // A day has 24 hours here: the span is counted back from a moment, not from a date.
    let length = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).map_err(|_| wrong())?;
    if length < SignedDuration::ZERO {
        return Err(wrong());
    }
    now.checked_sub(length).map_err(|_| wrong())
}

/// A length of time that a person names: `90s`, `30m`, `2h`, `3d`.
///
/// # Errors
/// It is none, or not a positive one; the text says what would be.
pub fn length(text: &str) -> Result<SignedDuration, String> {
    let wrong = || format!("`{text}` is no length of time: write 90s, 30m, 2h or 3d");
    let span: Span = text.parse().map_err(|_| wrong())?;
    let length = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).map_err(|_| wrong())?;
    if length > SignedDuration::ZERO { Ok(length) } else { Err(wrong()) }
}

/// The moment that is so long after `now`.
///
/// # Errors
/// As [`length`]; or there is no such moment.
pub fn after(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    now.checked_add(length(text)?).map_err(|_| format!("`{text}` is too long"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_790_000_000 + seconds).unwrap()
    }

    #[test]
    fn distances_read_as_people_say_them() {
        let said: Vec<String> =
            [0, -5, -200, -7_500, -36_000, -200_000, 90].map(|s| ago(at(s), at(0))).into();
        assert_eq!(said, ["just now", "5s ago", "3m ago", "2h 5m ago", "10h ago", "2d ago", "in 1m"]);
    }

    #[test]
    fn since_takes_spans_and_moments() {
        assert_eq!(since("24h", at(0)), Ok(at(-86_400)));
        assert_eq!(since("1h30m", at(0)), Ok(at(-5_400)));
        assert_eq!(since("2d", at(0)), Ok(at(-172_800)));
        assert_eq!(since(&at(7).to_string(), at(0)), Ok(at(7)));
        assert!(since("yesterday", at(0)).unwrap_err().contains("24h"));
        assert!(since("-3h", at(0)).is_err());
    }
}
