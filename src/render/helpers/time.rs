//! Helpers that show moments and lengths of time.

use jiff::Timestamp;
use jiff::fmt::strtime::BrokenDownTime;
use jiff::tz::{Offset, TimeZone};
use serde_json::{Value, json};

use super::Args;

/// How a moment is shown unless told otherwise: `Tue 10 Mar 2026, 10:00`.
const PATTERN: &str = "%a %-d %b %Y, %H:%M";

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// `date VALUE [PATTERN] [ZONE]`
pub(super) fn date(args: &Args<'_>) -> Result<Value, String> {
    let value = args.at(0)?;
    let text = value.text();
    let Ok(at) = text.parse::<Timestamp>() else { return Ok(json!(text)) };
    let pattern = args.params.get(1).map_or_else(|| PATTERN.to_owned(), super::Arg::text);
    let zone = match args.params.get(2) {
        Some(zone) if !zone.missing => {
            let name = zone.text();
            zone_of(&name).ok_or_else(|| format!("there is no time zone {name}"))?
        }
        _ => args.zone(),
    };
    let zoned = at.to_zoned(zone);
    let shown = BrokenDownTime::from(&zoned).to_string(&pattern);
    shown.map(|text| json!(text)).map_err(|_| format!("the pattern {pattern} cannot be used"))
}

/// A moment as `date` shows it without a pattern.
pub(super) fn shown(at: Timestamp, zone: TimeZone) -> String {
    at.to_zoned(zone).strftime(PATTERN).to_string()
}

/// Why a pattern cannot be used, if so.
pub(super) fn pattern_problem(pattern: &str) -> Option<String> {
    let zoned = Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC);
    let result = BrokenDownTime::from(&zoned).to_string(pattern);
    result.err().map(|error| format!("`{pattern}` is no pattern for a date: {error}"))
}

/// `relative VALUE`: measured from the moment of rendering.
pub(super) fn relative(args: &Args<'_>) -> Result<Value, String> {
    let text = args.at(0)?.text();
    let (Ok(at), Some(now)) = (text.parse::<Timestamp>(), args.now()) else { return Ok(json!(text)) };
    let seconds = now.as_second() - at.as_second();
    let size = seconds.abs();
    let (count, unit) = match size {
        size if size < 45 => return Ok(json!("just now")),
        size if size < HOUR - MINUTE / 2 => ((size + MINUTE / 2) / MINUTE, "minute"),
        size if size < DAY - HOUR / 2 => ((size + HOUR / 2) / HOUR, "hour"),
        size => ((size + DAY / 2) / DAY, "day"),
    };
    let plural = if count == 1 { "" } else { "s" };
    Ok(json!(if seconds > 0 {
        format!("{count} {unit}{plural} ago")
    } else {
        format!("in {count} {unit}{plural}")
    }))
}

/// `duration MINUTES`
pub(super) fn duration(args: &Args<'_>) -> Result<Value, String> {
    let arg = args.at(0)?;
    let Some(minutes) = arg.number().filter(|minutes| *minutes >= 0.0) else { return Ok(json!(arg.text())) };
    #[expect(clippy::cast_possible_truncation, reason = "a cast saturates")]
    let minutes = minutes.round() as i64;
    Ok(json!(match (minutes / 60, minutes % 60) {
        (0, minutes) => format!("{minutes} min"),
        (hours, 0) => format!("{hours} h"),
        (hours, minutes) => format!("{hours} h {minutes} min"),
    }))
}

/// A zone by its IANA name, or a fixed offset such as `+02:00`.
pub(super) fn zone_of(name: &str) -> Option<TimeZone> {
    if let Ok(zone) = TimeZone::get(name) {
        return Some(zone);
    }
    let (sign, rest) = match name.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = match rest.split_once(':') {
        Some((hours, minutes)) => (hours.parse::<i32>().ok()?, minutes.parse::<i32>().ok()?),
        None => (rest.parse::<i32>().ok()?, 0),
    };
    let seconds = sign * (hours.checked_mul(3600)?.checked_add(minutes.checked_mul(60)?)?);
    Offset::from_seconds(seconds).ok().map(TimeZone::fixed)
}
