//! Files of holidays: one date a line, or a calendar in the iCalendar format (RFC 5545).

use std::collections::BTreeSet;

use jiff::civil::Date;
use jiff::{Span, ToSpan};

/// Years in which a day comes that comes every year.
const YEARS: std::ops::RangeInclusive<i16> = 2000..=2100;
/// Days of one event: a longer one is a mistake, or a year in which nothing opens.
const DAYS_MAX: usize = 400;

/// What a file gave.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Listed {
    /// The days.
    pub(super) dates: BTreeSet<Date>,
    /// The first thing that cannot be read.
    pub(super) wrong: Option<Wrong>,
}

/// What cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    /// From 1.
    pub(super) line: usize,
    /// What is wrong.
    pub(super) message: String,
    /// What to do.
    pub(super) help: &'static str,
}

/// The days that a date stands for: `2026-12-25`, or `12-25` in every year.
pub(super) fn dates(text: &str) -> Option<Vec<Date>> {
    let parts: Vec<&str> = text.trim().split('-').collect();
    let digits = parts.iter().all(|part| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit()));
    let number =
        |part: &str, length: usize| (part.len() == length).then(|| part.parse::<i16>().ok()).flatten();
    let day = |text: &str| number(text, 2).and_then(|number| i8::try_from(number).ok());
    match parts.as_slice() {
        _ if !digits => None,
        [year, month, date] => Some(vec![Date::new(number(year, 4)?, day(month)?, day(date)?).ok()?]),
        [month, date] => {
            let (month, date) = (day(month)?, day(date)?);
            let found: Vec<Date> = YEARS.filter_map(|year| Date::new(year, month, date).ok()).collect();
            (!found.is_empty()).then_some(found)
        }
        _ => None,
    }
}

/// The days of a file. A calendar is known by its first line.
pub(super) fn read(text: &str) -> Listed {
    if text.trim_start().get(..15).is_some_and(|start| start.eq_ignore_ascii_case("BEGIN:VCALENDAR")) {
        return calendar(text);
    }
    let mut listed = Listed::default();
    for (index, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let Some(first) = line.split_whitespace().next() else { continue };
        let Some(found) = dates(first) else {
            let message = format!("`{first}` is no date");
            let help = "begin each line with a date such as 2026-12-25, or 12-25 for every year; the rest of the line is yours, and # begins a comment";
            return Listed { wrong: Some(Wrong { line: index + 1, message, help }), ..listed };
        };
        listed.dates.extend(found);
    }
    listed
}

/// A line of a calendar: where it begins, its name, its parameters and its value.
struct Property {
    line: usize,
    name: String,
    parameters: String,
    value: String,
}

/// The lines of a calendar with their folds undone.
fn properties(text: &str) -> Vec<Property> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        match (line.strip_prefix([' ', '\t']), lines.last_mut()) {
            (Some(rest), Some((_, last))) => last.push_str(rest),
            _ => lines.push((index + 1, line.to_owned())),
        }
    }
    let read = |(line, text): (usize, String)| {
        // A colon inside of quotes belongs to a parameter.
        let mut quoted = false;
        let colon = text.find(|c| {
            quoted ^= c == '"';
            c == ':' && !quoted
        })?;
        let (head, value) = (&text[..colon], &text[colon + 1..]);
        let (name, parameters) = head.split_once(';').unwrap_or((head, ""));
        let (name, value) = (name.trim().to_ascii_uppercase(), value.trim().to_owned());
        Some(Property { line, name, parameters: parameters.to_ascii_uppercase(), value })
    };
    lines.into_iter().filter_map(read).collect()
}

/// What an event of a calendar says.
#[derive(Default)]
struct Event {
    start: Option<Date>,
    end: Option<Date>,
    length: Option<Span>,
    rule: Option<(usize, String)>,
    exceptions: BTreeSet<Date>,
    further: Vec<Date>,
    left_out: bool,
    at: usize,
}

fn calendar(text: &str) -> Listed {
    let mut listed = Listed::default();
    let mut event: Option<Event> = None;
    // What stands inside of an event, such as an alarm, has dates of its own.
    let mut inner = 0_usize;
    for property in properties(text) {
        let kind = property.value.to_ascii_uppercase();
        match (property.name.as_str(), &mut event) {
            ("BEGIN", None) if kind == "VEVENT" => {
                event = Some(Event { at: property.line, ..Event::default() });
            }
            ("BEGIN", Some(_)) => inner += 1,
            ("END", Some(_)) if inner > 0 => inner -= 1,
            ("END", Some(_)) => {
                let done = event.take().unwrap_or_default();
                if let Err(wrong) = days(&done, &mut listed.dates) {
                    return Listed { wrong: Some(wrong), ..listed };
                }
            }
            (_, Some(event)) if inner == 0 => {
                if let Err(wrong) = note(event, &property) {
                    return Listed { wrong: Some(wrong), ..listed };
                }
            }
            _ => {}
        }
    }
    listed
}

/// Takes in a property of an event.
fn note(event: &mut Event, property: &Property) -> Result<(), Wrong> {
    let all_day = |value: &str| value.len() == 8 && !value.contains('T');
    let date = |value: &str| {
        let day = value.get(..8).and_then(|day| Date::strptime("%Y%m%d", day).ok());
        day.ok_or_else(|| Wrong {
            line: property.line,
            message: format!("`{value}` is no date of a calendar"),
            help: "a calendar writes dates as 20261225; export it anew, or write one date a line instead",
        })
    };
    let value = property.value.as_str();
    match property.name.as_str() {
        // What is not for whole days, such as a meeting, is no holiday.
        "DTSTART" if !all_day(value) => event.left_out = true,
        "DTSTART" => event.start = Some(date(value)?),
        "DTEND" if all_day(value) => event.end = Some(date(value)?),
        "DURATION" => event.length = value.parse().ok(),
        "RRULE" => event.rule = Some((property.line, value.to_ascii_uppercase())),
        "EXDATE" => {
            for value in value.split(',') {
                event.exceptions.insert(date(value)?);
            }
        }
        "RDATE" if !property.parameters.contains("PERIOD") => {
            for value in value.split(',') {
                event.further.push(date(value)?);
            }
        }
        "STATUS" if value.eq_ignore_ascii_case("CANCELLED") => event.left_out = true,
        _ => {}
    }
    Ok(())
}

/// Adds the days of an event.
fn days(event: &Event, found: &mut BTreeSet<Date>) -> Result<(), Wrong> {
    let Some(start) = event.start.filter(|_| !event.left_out) else { return Ok(()) };
    // The end is the day after the last one.
    let by_length = event.length.and_then(|length| start.checked_add(length).ok());
    let end = event.end.or(by_length).filter(|end| *end > start);
    let length =
        end.map_or(1, |end| start.series(1.day()).take(DAYS_MAX + 1).take_while(|day| *day < end).count());
    if length > DAYS_MAX {
        let message = format!("this event lasts more than {DAYS_MAX} days");
        let help = "mend its end: nothing would open in all that time";
        return Err(Wrong { line: event.at, message, help });
    }
    let mut starts = match &event.rule {
        None => vec![start],
        Some((line, rule)) => recurrences(start, rule).ok_or_else(|| Wrong {
            line: *line,
            message: format!("this recurrence is none that is understood here: {rule}"),
            help: "understood are events that come every year on the same date (FREQ=YEARLY with INTERVAL, COUNT, UNTIL); write others as events of their own, or one date a line",
        })?,
    };
    starts.extend(&event.further);
    for start in starts.into_iter().filter(|start| !event.exceptions.contains(start)) {
        found.extend(start.series(1.day()).take(length));
    }
    Ok(())
}

/// The days on which an event begins that comes every year; `None` if it comes otherwise.
fn recurrences(start: Date, rule: &str) -> Option<Vec<Date>> {
    let (mut yearly, mut interval, mut count, mut until) = (false, 1, usize::MAX, Date::MAX);
    for part in rule.split(';').filter(|part| !part.is_empty()) {
        let (name, value) = part.split_once('=')?;
        match name {
            "FREQ" => yearly = value == "YEARLY",
            "INTERVAL" => interval = value.parse::<usize>().ok().filter(|interval| *interval > 0)?,
            "COUNT" => count = value.parse().ok()?,
            "UNTIL" => until = Date::strptime("%Y%m%d", value.get(..8)?).ok()?,
            // These say again what the start says.
            "BYMONTH" if value.parse() == Ok(start.month()) => {}
            "BYMONTHDAY" if value.parse() == Ok(start.day()) => {}
            "WKST" => {}
            _ => return None,
        }
    }
    if !yearly {
        return None;
    }
    let years = (start.year()..=*YEARS.end()).step_by(interval);
    let days = years.filter_map(|year| Date::new(year, start.month(), start.day()).ok());
    Some(days.take(count).take_while(|day| *day <= until).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> Date {
        text.parse().unwrap()
    }

    fn listed(text: &str) -> Vec<String> {
        let listed = read(text);
        assert_eq!(listed.wrong, None);
        listed.dates.iter().map(ToString::to_string).collect()
    }

    fn event(lines: &str) -> String {
        format!("BEGIN:VCALENDAR\r\nVERSION:2.0\r\nBEGIN:VEVENT\r\n{lines}END:VEVENT\r\nEND:VCALENDAR\r\n")
    }

    #[test]
    fn a_list_holds_a_date_on_each_line_and_whatever_one_likes_behind_it() {
        let text = "# closed\n\n2026-12-25 Christmas\n2026-12-26  # and the day after\n  2027-01-01\n";
        assert_eq!(listed(text), ["2026-12-25", "2026-12-26", "2027-01-01"]);
        let wrong = read("2026-12-25\n25.12.2026 Christmas\n").wrong.unwrap();
        assert_eq!((wrong.line, wrong.message.as_str()), (2, "`25.12.2026` is no date"));
        for wrong in ["2026-13-01", "2026-02-30", "26-12-25", "2026-1-1", "tomorrow", "02-30", "+026-12-25"] {
            assert_eq!(dates(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_day_without_a_year_comes_every_year() {
        let found = dates("12-25").unwrap();
        assert!(found.contains(&day("2026-12-25")) && found.contains(&day("2087-12-25")));
        assert!(dates("02-29").unwrap().contains(&day("2028-02-29")));
    }

    #[test]
    fn an_event_of_several_days_ends_the_day_before_its_end() {
        let text = event("DTSTART;VALUE=DATE:20261224\r\nDTEND;VALUE=DATE:20261227\r\nSUMMARY:Closed\r\n");
        assert_eq!(listed(&text), ["2026-12-24", "2026-12-25", "2026-12-26"]);
        let text = event("DTSTART;VALUE=DATE:20261224\r\nDURATION:P2D\r\n");
        assert_eq!(listed(&text), ["2026-12-24", "2026-12-25"]);
        assert_eq!(listed(&event("DTSTART;VALUE=DATE:20261224\r\n")), ["2026-12-24"]);
    }

    #[test]
    fn folded_lines_alarms_and_meetings_are_no_trouble() {
        let alarm = "BEGIN:VALARM\r\nTRIGGER:-PT15M\r\nDURATION:PT5M\r\nEND:VALARM\r\n";
        let folded = "DTSTART;VALUE\r\n =DATE:2026\r\n 1225\r\nDESCRIPTION:DTSTART:19700101\r\n";
        assert_eq!(listed(&event(&format!("{folded}{alarm}"))), ["2026-12-25"]);
        assert!(
            listed(&event("DTSTART;TZID=Europe/Rome:20261225T090000\r\nDTEND:20261225T100000\r\n"))
                .is_empty()
        );
        assert!(listed(&event("DTSTART;VALUE=DATE:20261225\r\nSTATUS:CANCELLED\r\n")).is_empty());
    }

    #[test]
    fn an_event_that_comes_every_year_does_so_until_it_ends() {
        let of = |rule: &str| listed(&event(&format!("DTSTART;VALUE=DATE:20241225\r\n{rule}\r\n")));
        assert_eq!(of("RRULE:FREQ=YEARLY;COUNT=2"), ["2024-12-25", "2025-12-25"]);
        assert_eq!(of("RRULE:FREQ=YEARLY;INTERVAL=2;UNTIL=20280101T000000Z"), ["2024-12-25", "2026-12-25"]);
        assert_eq!(
            of("RRULE:FREQ=YEARLY;BYMONTH=12;BYMONTHDAY=25;UNTIL=20261231\r\nEXDATE;VALUE=DATE:20251225"),
            ["2024-12-25", "2026-12-25"]
        );
        assert_eq!(of("RRULE:FREQ=YEARLY").last().map(String::as_str), Some("2100-12-25"));
        assert_eq!(of("RDATE;VALUE=DATE:20241231"), ["2024-12-25", "2024-12-31"]);
    }

    #[test]
    fn what_is_not_understood_is_said_with_its_line() {
        let wrong = read(&event("DTSTART;VALUE=DATE:20260105\r\nRRULE:FREQ=WEEKLY\r\n")).wrong.unwrap();
        assert_eq!(wrong.line, 5);
        assert!(wrong.message.contains("FREQ=WEEKLY"), "{}", wrong.message);
        assert_eq!(read(&event("DTSTART;VALUE=DATE:2026XX05\r\n")).wrong.unwrap().line, 4);
        let endless = event("DTSTART;VALUE=DATE:20260101\r\nDTEND;VALUE=DATE:20300101\r\n");
        assert_eq!(read(&endless).wrong.unwrap().line, 3);
    }
}
