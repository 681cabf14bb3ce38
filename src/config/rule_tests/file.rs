//! A file of tests from its tree: what stands at its top, and each test.

use std::path::Path;
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{Timestamp, civil};

use crate::config::Config;
use crate::model::settle::after_now;

use super::expect::EXPECT;
use super::message::MESSAGE;
use super::{Arrival, BYTES_MAX, Matcher, Opened, Part, Test, expect, message};
use crate::config::codes;
use crate::config::files::{expand, read_text};
use crate::config::keys::{Key, Keys, Shape, key};
use crate::config::problem::{Finding, Span};
use crate::config::read::{Fields, Reader, Source, Spot};
use crate::config::value;
use crate::config::yaml::{self, Kind, Node};

/// The keys of a file of tests.
pub(in crate::config) const FILE: Keys = Keys {
    of: "a file of tests",
    known: &[
        BEGINS,
        key("env", Shape::Map(&Shape::Text), "Variables that the rules file is read with"),
        key("tests", Shape::List(&Shape::Keys(&TEST), false), "The tests").required(),
    ],
    ..Keys::NONE
};
/// The keys of one test.
pub(in crate::config) const TEST: Keys = Keys {
    of: "a test",
    known: &[
        key("name", Shape::Text, "What it is about").required(),
        BEGINS,
        key("messages", Shape::List(&Shape::Keys(&MESSAGE), false), "What the relay receives").required(),
        key("advance", Shape::Duration, "How far the clock goes on after the last message"),
        key("advance_to", Shape::Text, "Where the clock stands in the end")
            .such_as(&["2026-03-03T08:01:00+01:00"]),
        key("expect", Shape::Keys(&EXPECT), "What is to follow").required(),
    ],
    not_both: &["advance", "advance_to"],
    ..Keys::NONE
};
const BEGINS: Key =
    key("now", Shape::Text, "Where the clock stands at first").such_as(&["2026-03-02T21:50:00+01:00"]);
/// The longest time that a test plays.
const ADVANCE_MAX: Duration = Duration::from_hours(366 * 24);

/// What a test is read with.
pub(super) struct Reading<'r, 'e> {
    pub(super) reader: &'r mut Reader<'e>,
    pub(super) config: &'r Config,
    /// What snapshots are filed under.
    pub(super) stem: &'r str,
    /// The file's `now`.
    now: Timestamp,
}

/// Opens a file of tests, or the main file for the tests in it.
pub(super) fn open(path: &Path, inline: bool) -> Opened {
    let (text, mut findings) = match read_text(path, BYTES_MAX) {
        Ok(text) => (text, Vec::new()),
        Err(why) => {
            let message = format!("{} cannot be read: {why}", path.display());
            let finding = Finding::error(codes::FILE, Span::start_of(0), message);
            (String::new(), vec![finding.help("check its name and who may read it")])
        }
    };
    let broken = !findings.is_empty();
    let parsed = (!broken).then(|| yaml::parse(&text, 0));
    let (root, more) = parsed.map_or((None, Vec::new()), |parsed| (parsed.node, parsed.findings));
    findings.extend(more);
    let folder = path.parent().map(Path::to_path_buf).unwrap_or_default();
    let source = Source { name: path.display().to_string(), text: text.into(), folder };
    let environment = root.as_ref().filter(|_| !inline).map(environment).unwrap_or_default();
    Opened { source, path: path.to_path_buf(), root, findings, inline, environment }
}

/// What `tests:` of the rules file says: tests, or the files that hold them.
pub(super) fn of_main_file(path: &Path) -> Vec<Opened> {
    let main = open(path, true);
    let Some(node) = main.root.as_ref().and_then(|root| entry(root, "tests")) else { return Vec::new() };
    let names: Vec<(String, Span)> = match &node.kind {
        Kind::Scalar(scalar) => vec![(scalar.text.clone(), node.span)],
        Kind::List(items) => items
            .iter()
            .filter_map(|item| match &item.kind {
                Kind::Scalar(scalar) => Some((scalar.text.clone(), item.span)),
                _ => None,
            })
            .collect(),
        _ => Vec::new(),
    };
    let here =
        matches!(&node.kind, Kind::List(items) if items.iter().any(|item| matches!(item.kind, Kind::Map(_))));
    let mut found = Vec::new();
    let mut main = main;
    for (name, span) in names {
        let files = expand(&main.source.folder, &name).paths;
        if files.is_empty() {
            let finding = Finding::error(codes::TEST_FILE, span, format!("no file is called `{name}`"));
            let help = "a path starts at the folder of the rules file; * and ? stand for parts of a name";
            main.findings.push(finding.help(help));
        }
        found.extend(files.iter().map(|file| open(file, false)));
    }
    if here || !main.findings.is_empty() {
        found.insert(0, main);
    }
    found
}

/// What stands under a key of the outermost mapping.
pub(super) fn entry<'n>(root: &'n Node, key: &str) -> Option<&'n Node> {
    let Kind::Map(entries) = &root.kind else { return None };
    entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value)
}

/// `env:` as far as it can be read; what cannot is reported later.
fn environment(root: &Node) -> Vec<(String, String)> {
    let Some(Kind::Map(entries)) = entry(root, "env").map(|node| &node.kind) else { return Vec::new() };
    let pair = |entry: &yaml::Entry| match &entry.value.kind {
        Kind::Scalar(scalar) => Some((entry.key.clone(), scalar.text.clone())),
        _ => None,
    };
    entries.iter().filter_map(pair).collect()
}

/// The tests of a file, or those under `tests:` of the main file.
pub(super) fn tests(
    reader: &mut Reader<'_>,
    root: &Node,
    inline: bool,
    config: &Config,
    stem: &str,
) -> Vec<Test> {
    let mut now = super::NOW.parse().unwrap_or(Timestamp::UNIX_EPOCH);
    let node = if inline {
        let Some(node) = entry(root, "tests") else { return Vec::new() };
        node
    } else {
        let Some(fields) = reader.fields(root, FILE) else { return Vec::new() };
        if let Some(node) = fields.get("env") {
            check_environment(reader, node);
        }
        if let Some(given) = fields.get("now") {
            now = moment(reader, given, &config.timezone).unwrap_or(now);
        }
        let help = "list at least one test: tests: [{ name: …, messages: […], expect: {…} }]";
        let Some(node) = reader.required(fields, "tests", help) else { return Vec::new() };
        node
    };
    let Kind::List(items) = &node.kind else {
        if !inline {
            reader.wrong(node, "a list of tests", "write `- name: …` for each of them");
        }
        return Vec::new();
    };
    let mut reading = Reading { reader, config, stem, now };
    let mut found: Vec<Test> = Vec::new();
    for item in items.iter().filter(|item| !inline || !matches!(item.kind, Kind::Scalar(_))) {
        let Some(test) = reading.test(item) else { continue };
        if let Some(first) = found.iter().find(|other| other.name == test.name) {
            let finding = Finding::error(codes::TEST_TWICE, test.span, "two tests have this name");
            let finding = finding.related(first.span, "the first is here");
            reading.reader.report(finding.help("rename one of them: failures and `--run` go by names"));
        }
        if snapshots_once(reading.reader, &found, &test) {
            found.push(test);
        }
    }
    found
}

/// Two texts cannot be kept in one file: `false` where one would be written over the other.
fn snapshots_once(reader: &mut Reader<'_>, earlier: &[Test], test: &Test) -> bool {
    let before = reader.findings.len();
    let mut known: Vec<(&str, Part, Span)> = earlier.iter().flat_map(snapshots).collect();
    for (name, part, span) in snapshots(test) {
        if let Some((.., first)) = known.iter().find(|(other, of, _)| *other == name && *of == part) {
            let finding = Finding::error(codes::TEST_TWICE, span, "two snapshots have this name");
            let finding = finding.related(*first, "the first is here");
            reader.report(finding.help("give each a name of its own, or write `snapshot: true`"));
        }
        known.push((name, part, span));
    }
    reader.findings.len() == before
}

fn snapshots(test: &Test) -> impl Iterator<Item = (&str, Part, Span)> {
    let deliveries = test.expect.deliveries.iter().flat_map(|listed| &listed.items);
    deliveries.flat_map(|item| &item.value.checks).filter_map(|check| match &check.matcher {
        Matcher::Snapshot(name) => Some((name.as_str(), check.part, check.span)),
        _ => None,
    })
}

fn check_environment(reader: &mut Reader<'_>, node: &Node) {
    let Kind::Map(entries) = &node.kind else {
        return reader.wrong(node, "a mapping", "`env` sets variables: { SLACK_WEBHOOK_URL: https://… }");
    };
    for entry in entries {
        if !matches!(entry.value.kind, Kind::Scalar(_)) {
            reader.wrong(&entry.value, "the value of a variable", "write it as text");
        }
    }
}

impl Reading<'_, '_> {
    fn test(&mut self, node: &Node) -> Option<Test> {
        let fields = self.reader.fields(node, TEST)?;
        let before = self.reader.findings.len();
        let help = "say in a few words what is to happen; failures and `--run` go by it";
        let name =
            self.reader.required(fields, "name", help).and_then(|node| self.reader.text(node, "a name"));
        let now = fields.get("now").and_then(|node| moment(self.reader, node, &self.config.timezone));
        let now = now.unwrap_or(self.now);
        let messages = self.messages(fields, now);
        let until = self.until(fields, now, messages.last().map_or(now, |last| last.at));
        let help = "say what is to follow: expect: { rules: […], deliveries: […] }";
        let wanted = self.reader.required(fields, "expect", help);
        let test = name.as_ref().map_or("", |name| name.value.as_str());
        let expect = wanted.map(|node| expect::read(self, node, now, test)).unwrap_or_default();
        // A test of which something could not be read would fail for that reason, or pass for no reason at all.
        let readable = !self.reader.findings[before..].iter().any(Finding::is_error);
        let name = name.filter(|_| readable)?;
        Some(Test { name: name.value, span: name.span, now, messages, until, expect })
    }

    /// In the order of arrival; those of one moment as they stand in the file.
    fn messages(&mut self, fields: Fields<'_>, now: Timestamp) -> Vec<Arrival> {
        let help = "list what the relay receives: messages: [{ sample: Meeting/cancelled/client_to_pivot }]";
        let Some(node) = self.reader.required(fields, "messages", help) else { return Vec::new() };
        let Some(items) =
            self.reader.list(node, "a list of messages", "write `- sample: …` for each of them")
        else {
            return Vec::new();
        };
        let mut arrivals: Vec<Arrival> = Vec::new();
        for (index, item) in items.iter().enumerate() {
            arrivals.extend(message::read(self, item, now, index + 1));
        }
        arrivals.sort_by_key(|arrival| arrival.at);
        arrivals
    }

    fn until(&mut self, fields: Fields<'_>, now: Timestamp, last: Timestamp) -> Timestamp {
        match (fields.get("advance"), fields.get("advance_to")) {
            (Some(_), Some(_)) => {
                let help = "keep `advance`, a duration after the last message, or `advance_to`, a moment";
                let span = fields.key_span("advance_to");
                self.reader.error(codes::TEST_TIME, span, "the time is advanced twice", help);
                last
            }
            (Some(node), None) => {
                let by = self.reader.duration(node, Duration::ZERO..=ADVANCE_MAX);
                by.map_or(last, |by| after_now(last, by))
            }
            (None, Some(node)) => {
                let Some(until) = moment(self.reader, node, &self.config.timezone) else { return last };
                if until < last {
                    let message = "the clock cannot go back: this moment is earlier than the last message";
                    let help = "write a later one, or `advance`, a duration after the last message";
                    self.reader.error(codes::TEST_TIME, node.span, message, help);
                } else if until > after_now(now, ADVANCE_MAX) {
                    let message = "this moment is more than a year after `now`";
                    self.reader.error(
                        codes::TEST_TIME,
                        node.span,
                        message,
                        "a test plays a year at the most",
                    );
                }
                until.max(last)
            }
            (None, None) => last,
        }
    }

    /// A moment, or a time from `now` on such as `+5m`.
    pub(super) fn at(&mut self, node: &Node, now: Timestamp) -> Option<Timestamp> {
        let spot = self.reader.word(node, "a time from `now` on, such as +5m")?;
        if let Ok(after) = value::duration(spot.value.strip_prefix('+').unwrap_or(&spot.value)) {
            return Some(after_now(now, after.min(ADVANCE_MAX)));
        }
        parse_moment(&spot.value, &self.config.timezone).or_else(|| no_moment(self.reader, &spot))
    }
}

/// A moment with its offset, or without one in the rules file's time zone.
fn moment(reader: &mut Reader<'_>, node: &Node, zone: &TimeZone) -> Option<Timestamp> {
    let spot = reader.word(node, "a moment such as 2026-03-02T21:50:00+01:00")?;
    parse_moment(&spot.value, zone).or_else(|| no_moment(reader, &spot))
}

fn parse_moment(text: &str, zone: &TimeZone) -> Option<Timestamp> {
    let local = || text.parse::<civil::DateTime>().ok()?.to_zoned(zone.clone()).ok();
    text.parse().ok().or_else(|| local().map(|at| at.timestamp()))
}

fn no_moment(reader: &mut Reader<'_>, spot: &Spot<String>) -> Option<Timestamp> {
    let help = "write a time from `now` on such as +5m, or a moment such as 2026-03-02T21:50:00+01:00; without an offset \
                it is in the time zone of the rules file";
    reader.error(codes::TEST_TIME, spot.span, format!("`{}` is no moment", spot.written), help);
    None
}
