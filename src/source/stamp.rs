//! Points in time in all the shapes the API and HTTP headers write them.

use jiff::civil::DateTime;
use jiff::fmt::{rfc2822, strtime};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

/// Numbers at least this large are milliseconds since 1970, smaller ones seconds.
const MILLIS_FROM: i64 = 100_000_000_000;

/// A point in time, and whether its text said in which zone it is (without one it is taken for UTC).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// The instant.
    pub at: Timestamp,
    /// The text named a zone or an offset.
    pub zoned: bool,
}

/// Reads a JSON value as a point in time: text in any known shape, or seconds or milliseconds since 1970.
pub fn read(value: &Value) -> Option<Stamp> {
    match value {
        Value::String(text) => parse(text),
        Value::Number(number) => {
            let number = number.as_i64()?;
            let at = if number.abs() >= MILLIS_FROM {
                Timestamp::from_millisecond(number)
            } else {
                Timestamp::from_second(number)
            };
            at.ok().map(|at| Stamp { at, zoned: true })
        }
        _ => None,
    }
}

/// Reads a text: `2026-03-10T09:00:00Z`, with milliseconds, with an offset, without a zone,
/// `2015-10-23 13:02:09`, `2015-10-23 13:02:09 UTC` and `23/4/2019 09:00:00`.
pub fn parse(text: &str) -> Option<Stamp> {
    let text = text.trim();
    if let Ok(at) = text.parse::<Timestamp>() {
        return Some(Stamp { at, zoned: true });
    }
    let (bare, named_utc) = match text.strip_suffix("UTC") {
        Some(bare) => (bare.trim_end(), true),
        None => (text, false),
    };
    if let Ok(at) = strtime::parse("%Y-%m-%d %H:%M:%S%.f %z", bare).and_then(|time| time.to_timestamp()) {
        return Some(Stamp { at, zoned: true });
    }
    let local = bare
        .parse::<DateTime>()
        .or_else(|_| DateTime::strptime("%d/%m/%Y %H:%M:%S%.f", bare))
        .or_else(|_| DateTime::strptime("%d/%m/%Y %H:%M", bare))
        .ok()?;
    let at = local.to_zoned(TimeZone::UTC).ok()?.timestamp();
    Some(Stamp { at, zoned: named_utc })
}

/// Reads a date of HTTP in any of its three forms.
pub fn http_date(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    if let Ok(at) = rfc2822::DateTimeParser::new().parse_timestamp(text) {
        return Some(at);
    }
    let bare = text.trim_end_matches("GMT").trim_end();
    let local = DateTime::strptime("%A, %d-%b-%y %H:%M:%S", bare)
        .or_else(|_| DateTime::strptime("%a %b %e %H:%M:%S %Y", bare))
        .ok()?;
    Some(local.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

/// The beginning of the second.
pub fn floor(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_nanosecond().div_euclid(1_000_000_000).try_into().unwrap_or(0))
        .unwrap_or(Timestamp::UNIX_EPOCH)
}

/// `at` moved by whole seconds, never before 1970 nor past the end of time.
pub fn shift(at: Timestamp, seconds: i64) -> Timestamp {
    let end = if seconds < 0 { Timestamp::UNIX_EPOCH } else { Timestamp::MAX };
    at.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(end).max(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn every_shape_the_api_writes_is_read() {
        for (text, expected, zoned) in [
            ("2026-03-10T09:00:00Z", "2026-03-10T09:00:00Z", true),
            ("2026-03-10T09:00:00.105Z", "2026-03-10T09:00:00.105Z", true),
            ("2026-02-10T13:19:05.000-08:00", "2026-02-10T21:19:05Z", true),
            ("2026-03-10T09:00:00+02:00", "2026-03-10T07:00:00Z", true),
            ("2026-03-10T09:00:00.250", "2026-03-10T09:00:00.250Z", false),
            ("2026-03-10T09:00:00", "2026-03-10T09:00:00Z", false),
            ("2015-10-23 13:02:09", "2015-10-23T13:02:09Z", false),
            ("2015-10-23 13:02:09 UTC", "2015-10-23T13:02:09Z", true),
            ("2015-10-23 13:02:09 +0200", "2015-10-23T11:02:09Z", true),
            ("23/4/2019 09:00:00", "2019-04-23T09:00:00Z", false),
            (" 2026-03-10T09:00:00Z\n", "2026-03-10T09:00:00Z", true),
        ] {
            assert_eq!(parse(text), Some(Stamp { at: at(expected), zoned }), "{text}");
        }
        assert_eq!(read(&json!(1_773_133_200)).unwrap().at, at("2026-03-10T09:00:00Z"));
        assert_eq!(read(&json!(1_773_133_200_105_i64)).unwrap().at, at("2026-03-10T09:00:00.105Z"));
    }

    #[test]
    fn nonsense_is_no_time() {
        for text in ["", "soon", "2026-13-40T99:00:00Z", "0", "23/4/2019x"] {
            assert_eq!(parse(text), None, "{text}");
        }
        for value in [json!(null), json!({}), json!(1e300), json!(i64::MAX), json!(true)] {
            assert_eq!(read(&value), None, "{value}");
        }
    }

    #[test]
    fn http_dates_come_in_three_forms() {
        let expected = at("1994-11-06T08:49:37Z");
        for text in
            ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]
        {
            assert_eq!(http_date(text), Some(expected), "{text}");
        }
        assert_eq!(http_date("tomorrow"), None);
    }

    #[test]
    fn seconds_are_cut_downwards() {
        assert_eq!(floor(at("2026-03-10T09:00:00.999Z")), at("2026-03-10T09:00:00Z"));
        assert_eq!(floor(at("1969-12-31T23:59:58.500Z")), at("1969-12-31T23:59:58Z"));
        assert_eq!(shift(Timestamp::UNIX_EPOCH, -5), Timestamp::UNIX_EPOCH);
    }
}
