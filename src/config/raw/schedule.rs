//! `schedules:`, opening hours by name, and the times, days and holidays that digests have in common with them.

use std::collections::BTreeSet;

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;

use super::{Raw, name};
use crate::config::codes;
use crate::config::files;
use crate::config::holidays;
use crate::config::keys::{Key, Keys, Shape, key};
use crate::config::problem::{Finding, Span, similar};
use crate::config::read::{Reader, Spot};
use crate::config::yaml::{Kind, Node};
use crate::rules::window::{Days, Hours};

/// A list of the holidays of a century has some 50 KB; calendars that people export have more in them.
const HOLIDAYS_BYTES_MAX: u64 = 4 * 1024 * 1024;

pub(in crate::config) const SCHEDULE: Keys = Keys {
    of: "a schedule",
    known: &[
        DAYS,
        key("from", Shape::Time, "When it opens").or("00:00"),
        key("to", Shape::Time, "When it closes: on the next day where it is not later than from").or("24:00"),
        TIMEZONE,
        HOLIDAYS,
    ],
    ..Keys::NONE
};
pub(super) const DAYS: Key = key("days", Shape::OneOrMore(&Shape::Day), "On which days of the week")
    .or("mon-sun")
    .such_as(&["mon-fri"]);
pub(super) const TIMEZONE: Key =
    key("timezone", Shape::Zone, "Whose local time it is; that of the file if left out");
pub(super) const HOLIDAYS: Key = key(
    "holidays",
    Shape::OneOrMore(&Shape::Either(&[Shape::Date, Shape::Keys(&HOLIDAY_FILE)])),
    "Days that are left out: dates, or a file of them",
);
const HOLIDAY_FILE: Keys = Keys {
    of: "a file of holidays",
    known: &[key("file", Shape::Text, "Its path: one date a line, or a calendar (.ics)")
        .required()
        .such_as(&["holidays.ics"])],
    ..Keys::NONE
};

/// A schedule with its name's place.
#[derive(Debug)]
pub(in crate::config) struct RawSchedule {
    /// Its name.
    pub(in crate::config) name: Spot<String>,
    /// `None` if it could not be read; it exists all the same.
    pub(in crate::config) hours: Option<Hours>,
}

pub(super) fn read_all(reader: &mut Reader<'_>, node: &Node, raw: &mut Raw) {
    let Kind::Map(entries) = &node.kind else {
        let help = "write `office-hours:` and below it `days: mon-fri` and so on";
        reader.wrong(node, "a mapping of names to schedules", help);
        raw.schedules_lost = true;
        return;
    };
    let zone = raw.zone();
    for entry in entries {
        let (value, written) = (entry.key.clone(), entry.key.clone());
        let spot = Spot { value, span: entry.span, written, substituted: false };
        let usable = name(reader, spot.clone()).is_some();
        let hours = hours(reader, &entry.key, &entry.value, &zone).filter(|_| usable);
        raw.schedules.push(RawSchedule { name: spot, hours });
    }
}

fn hours(reader: &mut Reader<'_>, name: &str, node: &Node, zone: &TimeZone) -> Option<Hours> {
    let fields = reader.fields(node, SCHEDULE)?;
    if !["days", "from", "to"].iter().any(|key| fields.get(key).is_some()) {
        let help =
            "add `days: mon-fri`, or `from: \"08:00\"` and `to: \"18:00\"`; as it is it is always open";
        reader.error(codes::MISSING_KEY, fields.span(), "this schedule says no days and no hours", help);
        return None;
    }
    let days = fields.get("days").map_or(Some(Days::ALL), |node| days(reader, node));
    let midnight = Some(TimeOfDay::At(Time::midnight()));
    let from = fields.get("from").map_or(midnight, |node| time_of_day(reader, node));
    let to = fields.get("to").map_or(Some(TimeOfDay::End), |node| time_of_day(reader, node));
    let zone = fields.get("timezone").map_or(Some(zone.clone()), |node| reader.zone(node));
    let holidays =
        fields.get("holidays").map_or(Some(BTreeSet::new()), |node| holidays_of(reader, Some(name), node));
    let TimeOfDay::At(from) = from? else {
        let help = "write \"00:00\" for the beginning of a day";
        reader.error(codes::TIME_OF_DAY, fields.key_span("from"), "no day has a time 24:00 to open at", help);
        return None;
    };
    let to = match to? {
        TimeOfDay::At(to) => Some(to),
        TimeOfDay::End => None,
    };
    let hours = Hours { days: days?, from, to, zone: zone?, holidays: holidays? };
    if let Some(day) = hours.idle_from() {
        let message = format!("`{name}` never opens: not once in the year from {day} on");
        let help = "mend `days` or `holidays`: what waits for it would wait for ever";
        reader.error(codes::NEVER, fields.key_span("holidays"), message, help);
        return None;
    }
    Some(hours)
}

/// Days of the week, each a day or a range.
pub(super) fn days(reader: &mut Reader<'_>, node: &Node) -> Option<Days> {
    let mut found: Option<Days> = None;
    for item in reader.one_or_more(node) {
        let spot = reader.text(item, "days of the week such as mon-fri")?;
        match Days::parse(&spot.value) {
            Ok(days) => found = Some(found.map_or(days, |found| found.or(days))),
            Err(word) => {
                let message = format!("`{word}` is no day of the week");
                let finding = Finding::error(codes::DAYS, spot.span, message);
                let help =
                    "days are mon, tue, wed, thu, fri, sat, sun; a range is mon-fri, a list [sat, sun]";
                let near = similar(&word, Days::words()).filter(|_| word == spot.value);
                reader.report(match near {
                    Some(near) => finding.help(format!("did you mean `{}`? {help}", near.name)).meant(&near),
                    None => finding.help(help),
                });
                return None;
            }
        }
    }
    found
}

/// A time of day as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TimeOfDay {
    /// Up to 23:59.
    At(Time),
    /// 24:00, the end of the day.
    End,
}

/// A time of day.
pub(super) fn time_of_day(reader: &mut Reader<'_>, node: &Node) -> Option<TimeOfDay> {
    if let Kind::Scalar(scalar) = &node.kind
        && let Some(hour) = scalar.text.parse::<u8>().ok().filter(|hour| *hour < 24 && scalar.text.len() <= 2)
    {
        let whole = format!("\"{hour:02}:00\"");
        let message = format!("`{}` is no time of day: the minutes are missing", scalar.text);
        let finding = Finding::error(codes::TIME_OF_DAY, node.span, message);
        reader.report(finding.help(format!("write it as {whole}, in quotes")).guess(whole));
        return None;
    }
    let spot = reader.text(node, "a time of day such as \"08:00\"")?;
    let time = time(&spot.value);
    if time.is_none() {
        let message = format!("`{}` is no time of day", spot.written);
        let help = "write hours and minutes from \"00:00\" to \"23:59\", in quotes";
        reader.error(codes::TIME_OF_DAY, spot.span, message, help);
    }
    time
}

fn time(text: &str) -> Option<TimeOfDay> {
    let (hour, minute) = text.trim().split_once(':')?;
    let digits = |part: &str| part.len() <= 2 && part.chars().all(|c| c.is_ascii_digit());
    if !digits(hour) || !digits(minute) || minute.len() != 2 {
        return None;
    }
    match (hour.parse().ok()?, minute.parse().ok()?) {
        (24, 0) => Some(TimeOfDay::End),
        (hour, minute) => Time::new(hour, minute, 0, 0).ok().map(TimeOfDay::At),
    }
}

/// The days of `holidays:`, of the schedule of this name or of a digest.
pub(super) fn holidays_of(reader: &mut Reader<'_>, of: Option<&str>, node: &Node) -> Option<BTreeSet<Date>> {
    let mut found = BTreeSet::new();
    let mut whole = true;
    for item in reader.one_or_more(node) {
        if let Kind::Map(_) = item.kind {
            match file(reader, of, item) {
                Some(dates) => found.extend(dates),
                None => whole = false,
            }
            continue;
        }
        let Some(spot) = reader.word(item, "a date such as 2026-12-25, or { file: … }") else {
            whole = false;
            continue;
        };
        if let Some(dates) = holidays::dates(&spot.value) {
            found.extend(dates);
        } else {
            let message = format!("`{}` is no date", spot.written);
            let help =
                "write year, month and day as 2026-12-25, 12-25 for every year, or { file: holidays.ics }";
            reader.error(codes::HOLIDAYS, spot.span, message, help);
            whole = false;
        }
    }
    whole.then_some(found)
}

fn file(reader: &mut Reader<'_>, of: Option<&str>, node: &Node) -> Option<BTreeSet<Date>> {
    let fields = reader.fields(node, HOLIDAY_FILE)?;
    let path = reader.required(fields, "file", "name a file: { file: holidays.ics }")?;
    let spot = reader.text(path, "the path of a file")?;
    let folder = reader.sources.get(spot.span.file).map(|source| source.folder.clone()).unwrap_or_default();
    let path = folder.join(&spot.value);
    let read = if reader.reads_files {
        files::read_text(&path, HOLIDAYS_BYTES_MAX)
    } else {
        Err("no file is read here".to_owned())
    };
    reader.material.holidays(of, &path, read.as_deref().ok());
    let text = match read {
        Ok(text) => text,
        Err(why) => {
            let message = format!("the file of holidays `{}` cannot be read: {why}", spot.written);
            let help = "check its name and who may read it; a relative path starts at the folder of the file that names it";
            reader.error(codes::HOLIDAYS, spot.span, message, help);
            return None;
        }
    };
    let listed = holidays::read(&text);
    if let Some(wrong) = listed.wrong {
        let file = files::add(reader, path.display().to_string(), text.clone());
        let length = text.lines().nth(wrong.line - 1).map_or(0, |line| line.chars().count());
        let span = Span { file, start: (wrong.line, 1), end: (wrong.line, length + 1) };
        let finding = Finding::error(codes::HOLIDAYS, span, wrong.message)
            .related(spot.span, "it is read because of this");
        reader.report(finding.help(wrong.help));
        return None;
    }
    if listed.dates.is_empty() {
        let message = format!("there is no day in the file of holidays `{}`", spot.written);
        let help = "write one date a line, such as 2026-12-25, or take it out";
        reader.report(Finding::warning(codes::HOLIDAYS, spot.span, message).help(help));
    }
    Some(listed.dates)
}
