//! Durations, rates, zones and moments, as people write them.

use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::model::duration::{UNITS_MS, shown};
use crate::source::StartFrom;

use super::codes;
use super::problem::{Applicability, Finding, Similar, similar};
use super::read::Reader;
use super::yaml::Node;

/// How often something may happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// As often as it likes.
    Unlimited,
    /// The time one send is worth.
    Every(Duration),
}

/// A duration such as `30s` or `1h30m`; the error says what to write instead.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let form = "write a number with a unit (ms, s, m, h, d, w), such as 30s, 10m, 1h30m or 2d";
    if text.is_empty() || !text.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(form.to_owned());
    }
    let mut total: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let unit_end = rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |at| digits + at);
        let (number, unit) = (&rest[..digits], rest[digits..unit_end].trim());
        if unit.is_empty() && digits == text.len() {
            return Err(format!("a unit is missing: {text}s? {form}"));
        }
        let known = UNITS_MS.iter().find(|(name, _)| *name == unit).map(|(_, ms)| *ms);
        let value = number.parse::<u64>().ok().zip(known).and_then(|(number, ms)| number.checked_mul(ms));
        total = value.and_then(|value| total.checked_add(value)).ok_or(form)?;
        rest = &rest[unit_end..];
    }
    Ok(Duration::from_millis(total))
}

/// The time one send is worth at a rate such as `10/s` or `60/m`.
fn every(text: &str) -> Option<Duration> {
    let (count, unit) = text.split_once('/')?;
    let per = match unit.trim() {
        "s" | "sec" | "second" => 1,
        "m" | "min" | "minute" => 60,
        "h" | "hour" => 3_600,
        "d" | "day" => 86_400,
        _ => return None,
    };
    let count = count.trim().parse::<u32>().ok().filter(|count| (1..=10_000).contains(count))?;
    Some(Duration::from_secs(per) / count)
}

impl Reader<'_> {
    /// A duration in a range.
    pub(super) fn duration(&mut self, node: &Node, range: RangeInclusive<Duration>) -> Option<Duration> {
        let spot = self.word(node, "a duration such as 30s")?;
        match duration(&spot.value) {
            Ok(value) if range.contains(&value) => Some(value),
            Ok(_) => {
                let help = format!("it may be from {} to {}", shown(*range.start()), shown(*range.end()));
                self.error(codes::DURATION, spot.span, "this duration is out of range", help);
                None
            }
            Err(help) => {
                let bare = !spot.substituted && spot.value.parse::<u64>().is_ok();
                let clock =
                    spot.value.contains(':') && spot.value.chars().all(|c| c.is_ascii_digit() || c == ':');
                let what = if clock { "a time of day, and not a duration" } else { "not a duration" };
                let help = if spot.substituted {
                    "write a number with a unit (ms, s, m, h, d, w), such as 30s or 2d".to_owned()
                } else {
                    help
                };
                let mut finding =
                    Finding::error(codes::DURATION, spot.span, format!("`{}` is {what}", spot.written))
                        .help(help);
                if bare {
                    finding = finding.guess(format!("{}s", spot.value));
                }
                self.report(finding);
                None
            }
        }
    }

    /// A rate.
    pub(super) fn rate(&mut self, node: &Node) -> Option<Pace> {
        let spot = self.word(node, "a rate such as 1/s")?;
        if spot.value == "unlimited" {
            return Some(Pace::Unlimited);
        }
        let rate = every(&spot.value);
        if rate.is_none() {
            let help = "write so many per unit of time, such as 1/s, 60/m or 500/h, or unlimited";
            self.error(codes::RATE, spot.span, format!("`{}` is not a rate", spot.written), help);
        }
        rate.map(Pace::Every)
    }

    /// A number that is at least 1.
    pub(super) fn positive(&mut self, node: &Node, max: u32) -> Option<NonZeroU32> {
        self.number(node, 1..=max).and_then(NonZeroU32::new)
    }

    /// An IANA time zone.
    pub(super) fn zone(&mut self, node: &Node) -> Option<TimeZone> {
        let spot = self.text(node, "a time zone such as Europe/Rome")?;
        if let Ok(zone) = TimeZone::get(&spot.value) {
            return Some(zone);
        }
        let finding =
            Finding::error(codes::TIMEZONE, spot.span, format!("`{}` is not a time zone", spot.written));
        let database = jiff::tz::db();
        let names: Vec<String> = database.available().map(|name| name.to_string()).collect();
        let city = |name: &str| name.rsplit('/').next().unwrap_or_default().to_lowercase();
        let wanted = spot.value.to_lowercase().replace(' ', "_");
        let same_city =
            names.iter().map(String::as_str).find(|name| name.contains('/') && city(name) == city(&wanted));
        let certain = |name| Similar { name, applicability: Applicability::Certain };
        let similar = same_city.map(certain).or_else(|| similar(&wanted, names.iter().map(String::as_str)));
        self.report(match similar {
            Some(similar) if !spot.substituted => {
                finding.help(format!("did you mean {}?", similar.name)).meant(&similar)
            }
            _ => finding.help("use an IANA name such as Europe/Rome, America/New_York or UTC"),
        });
        None
    }

    /// Where the very first poll begins.
    pub(super) fn start_from(&mut self, node: &Node) -> Option<StartFrom> {
        let spot = self.word(node, "now, a duration, a moment, or beginning")?;
        let found = match spot.value.as_str() {
            "now" => Some(StartFrom::Now),
            "beginning" => Some(StartFrom::Beginning),
            other => {
                let ago = duration(other).ok().map(StartFrom::Ago);
                ago.or_else(|| other.parse::<Timestamp>().ok().map(StartFrom::At))
            }
        };
        if found.is_none() {
            let help = "write now, a duration such as 24h, a moment with its offset such as 2026-11-01T00:00:00Z, or beginning";
            self.error(codes::MOMENT, spot.span, format!("`{}` is no starting point", spot.written), help);
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_shown() {
        let of = |text| duration(text).map(|d| d.as_secs());
        assert_eq!(of("30s"), Ok(30));
        assert_eq!(of("1h30m"), Ok(5_400));
        assert_eq!(of("2d"), Ok(172_800));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        for bad in
            ["", "30", "s", "-5s", "1.5h", "5 parsecs", "99999999999999999999s", "18446744073709551615w"]
        {
            assert!(duration(bad).is_err(), "{bad}");
        }
        assert_eq!(shown(Duration::from_mins(90)), "90m");
        assert_eq!(shown(Duration::from_hours(48)), "2d");
    }

    #[test]
    fn rates_become_the_time_of_one_send() {
        assert_eq!(every("10/s"), Some(Duration::from_millis(100)));
        assert_eq!(every("60/m"), Some(Duration::from_secs(1)));
        for bad in ["10", "0/s", "1/w", "-1/s", "1.5/s", "/s"] {
            assert_eq!(every(bad), None, "{bad}");
        }
    }
}
