//! What the files say: sections read with their schema, names still unresolved.

mod account;
mod email;
mod http;
mod rule;
mod schedule;
mod slack;
mod target;
mod timing;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::LazyLock;
use std::time::Duration;

use jiff::tz::TimeZone;

use crate::model::backoff::Backoff;
use crate::model::delivery::RetryPolicy;
use crate::source::Account;
use crate::target::Target;

use super::Retention;
use super::codes;
use super::keys::{Key, Keys, Named, Shape, key};
use super::problem::{Finding, Span};
use super::read::{Fields, Reader, Spot};
use super::rule_tests::TEST;
use super::yaml::{Kind, Node};

pub(super) use rule::{RawBlock, RawDeliver, RawRule};
pub(super) use schedule::RawSchedule;
pub(super) use timing::RawTiming;

/// The one format there is.
const VERSION: &str = "1";

/// The keys of the main file.
pub(super) const TOP: Keys = Keys {
    of: "a rules file",
    known: &[
        key("version", Shape::Version(1), "The version of the format: 1").required(),
        key("accounts", Shape::List(&Shape::Keys(&account::ACCOUNT), false), "Where messages come from")
            .required(),
        key("timezone", Shape::Zone, "Of every time shown: an IANA name").or("UTC"),
        key("alerts", Shape::Keys(&ALERTS), "Who hears of the relay's own troubles"),
        key("retention", Shape::Keys(&RETENTION), "How long history is kept"),
        key("defaults", Shape::Keys(&DEFAULTS), "For everything that does not say otherwise"),
        key("templates_dir", Shape::Text, "The folder of the templates").or("templates"),
        key("include", PATHS, "Further files with targets and rules: paths, or patterns with * and ?")
            .such_as(&["rules.d/*.yaml"]),
        key("extends", PATHS, "Another word for include"),
        key("owner", Shape::Text, "Who answers for the rules and targets of this file")
            .such_as(&["Front desk <desk@example.com>"]),
        key("targets", Shape::Map(&Shape::Typed(target::TYPES)), "Where deliveries go, by name"),
        key("schedules", Shape::Map(&Shape::Keys(&schedule::SCHEDULE)), "Opening hours, by name"),
        key("rules", Shape::List(&Shape::Keys(&rule::RULE), true), "Which messages go where, in order"),
        key("tests", TESTS, "Tests of the rules: files of them, or the tests themselves")
            .such_as(&["tests/*.test.yaml"]),
    ],
    later: &["mutes"],
    ..Keys::NONE
};
/// Such a key stands somewhere in a rules file.
pub(super) fn is_key(name: &str) -> bool {
    static ALL: LazyLock<BTreeSet<&str>> = LazyLock::new(|| {
        let mut all = BTreeSet::new();
        TOP.all(&mut all);
        all
    });
    ALL.contains(name)
}

/// What an included file may hold.
pub(super) const INCLUDED: [&str; 7] =
    ["version", "owner", "targets", "schedules", "rules", "include", "extends"];
const PATHS: Shape = Shape::OneOrMore(&Shape::Text);
const TESTS: Shape = Shape::Either(&[PATHS, Shape::List(&Shape::Keys(&TEST), false)]);
const ALERTS: Keys = Keys {
    of: "`alerts`",
    known: &[key("to", Shape::Named(Named::Target), "The target that is told").required()],
    ..Keys::NONE
};
const RETENTION: Keys = Keys {
    of: "`retention`",
    known: &[
        key("delivered", Shape::Duration, "What came to a good end").or("30d"),
        key("dead", Shape::Duration, "Dead deliveries and their messages").or("90d"),
    ],
    ..Keys::NONE
};
const DEFAULTS: Keys = Keys {
    of: "`defaults`",
    known: &[
        key("retry", Shape::Keys(&RETRY), "How an attempt that failed is repeated"),
        EXPIRES_AFTER,
        key("template", TEMPLATE, "The template of rules that name none").or("default"),
    ],
    ..Keys::NONE
};
const RETRY: Keys = Keys {
    of: "`retry`",
    known: &[
        key("first", Shape::Duration, "The wait after the first attempt; it doubles from there").or("5s"),
        key("max", Shape::Duration, "The longest wait").or("1h"),
        key("give_up_after", Shape::Duration, "When a delivery is given up as dead").or("3d"),
    ],
    ..Keys::NONE
};
const EXPIRES_AFTER: Key =
    key("expires_after", Shape::Duration, "When a delivery is no longer worth sending").such_as(&["6h"]);
const TEMPLATE: Shape = Shape::Named(Named::Template);

/// Everything the files say.
#[derive(Debug, Default)]
pub(super) struct Raw {
    /// In file order.
    pub(super) accounts: Vec<Spot<Account>>,
    /// For every time shown.
    pub(super) timezone: Option<TimeZone>,
    /// Target of the relay's own troubles.
    pub(super) alerts: Option<Spot<String>>,
    /// How long history is kept.
    pub(super) retention: Retention,
    /// For everything that does not say otherwise.
    pub(super) defaults: Defaults,
    /// Where templates lie, as written.
    pub(super) templates_dir: Option<Spot<String>>,
    /// In file order, each with the place of its name.
    pub(super) targets: Vec<RawTarget>,
    /// In file order.
    pub(super) schedules: Vec<RawSchedule>,
    /// In file order.
    pub(super) rules: Vec<RawRule>,
    /// Who answers for what: of the files that say so.
    pub(super) owners: HashMap<usize, String>,
    /// Files or sections could not be read, so that targets may be missing for that reason alone.
    pub(super) targets_lost: bool,
    /// The same of accounts.
    pub(super) accounts_lost: bool,
    /// The same of schedules.
    pub(super) schedules_lost: bool,
    /// The files of which a part could not be read.
    pub(super) lost: Vec<usize>,
}

impl Raw {
    /// Anything that has a name may be missing from now on.
    pub(super) fn lose(&mut self) {
        self.targets_lost = true;
        self.accounts_lost = true;
        self.schedules_lost = true;
    }

    /// The zone of every time that names none.
    pub(super) fn zone(&self) -> TimeZone {
        self.timezone.clone().unwrap_or(TimeZone::UTC)
    }
}

/// A target, complete but for the name of its fallback.
#[derive(Debug)]
pub(super) struct RawTarget {
    /// Its name, with the place.
    pub(super) name: Spot<String>,
    /// `None` if it could not be read; it exists all the same.
    pub(super) target: Option<Target>,
    /// The target that is told of its troubles.
    pub(super) fallback: Option<Spot<String>>,
}

/// `defaults:`
#[derive(Debug, Default)]
pub(super) struct Defaults {
    /// For targets without their own.
    pub(super) retry: RetryPolicy,
    /// For deliveries without their own.
    pub(super) expires_after: Option<Duration>,
    /// For rules without their own.
    pub(super) template: Option<Spot<String>>,
}

/// Reads the tree of the main file (`main`) or of an included one into `raw`.
pub(super) fn read(reader: &mut Reader<'_>, root: &Node, main: bool, raw: &mut Raw) {
    let lost = raw.lost.contains(&root.span.file);
    if let Kind::Null = root.kind {
        if main && !lost {
            let help = "`activity-relay init` writes one to start from";
            reader.error(codes::MISSING_KEY, root.span, "the rules file is empty", help);
        }
        return;
    }
    let Some(fields) = without_extensions(reader, root) else {
        raw.lose();
        return;
    };
    let before = reader.findings.len();
    version(reader, fields, main);
    if let Some(owner) = fields.get("owner").and_then(|node| reader.text(node, "a name")) {
        raw.owners.insert(root.span.file, owner.value);
    }
    if main {
        settings(reader, fields, raw);
        if lost {
            // Which keys are missing cannot be said of a file of which a part is.
            let mut later = reader.findings.split_off(before);
            later.retain(|finding| *finding.code() != *codes::MISSING_KEY || finding.span.start.1 > 1);
            reader.findings.append(&mut later);
        }
    } else {
        for key in TOP.names().filter(|key| !INCLUDED.contains(key)) {
            if fields.get(key).is_some() {
                let message = format!("`{key}` belongs into the main file");
                let help = "an included file may hold targets, schedules, rules and further includes";
                reader.error(codes::MAIN_FILE_ONLY, fields.key_span(key), message, help);
            }
        }
    }
    if let Some(node) = fields.get("targets") {
        target::read_all(reader, node, raw);
    }
    if let Some(node) = fields.get("schedules") {
        schedule::read_all(reader, node, raw);
    }
    if let Some(node) = fields.get("rules") {
        rule::read_all(reader, node, raw);
    }
}

/// The patterns of `include:` and `extends:`.
pub(super) fn includes(reader: &mut Reader<'_>, root: &Node) -> Vec<Spot<String>> {
    let Kind::Map(entries) = &root.kind else { return Vec::new() };
    let mut found = Vec::new();
    for entry in entries.iter().filter(|entry| entry.key == "include" || entry.key == "extends") {
        for node in reader.one_or_more(&entry.value) {
            found.extend(reader.text(node, "the path of a file"));
        }
    }
    found
}

/// Top-level keys that begin with `x-` hold anchors and whatever else a person likes.
fn without_extensions<'n>(reader: &mut Reader<'_>, root: &'n Node) -> Option<Fields<'n>> {
    let before = reader.findings.len();
    let fields = reader.fields(root, TOP);
    if let Kind::Map(entries) = &root.kind {
        let own: HashSet<(usize, usize)> =
            entries.iter().filter(|e| e.key.starts_with("x-")).map(|e| e.span.start).collect();
        let mut later = reader.findings.split_off(before);
        later.retain(|finding| !own.contains(&finding.span.start));
        reader.findings.append(&mut later);
    }
    fields
}

fn version(reader: &mut Reader<'_>, fields: Fields<'_>, main: bool) {
    let Some(node) = fields.get("version") else {
        if main {
            let finding = Finding::error(
                codes::MISSING_KEY,
                Span::start_of(fields.span().file),
                "the file does not say its `version`",
            );
            reader.report(finding.help("begin it with the line `version: 1`"));
        }
        return;
    };
    if let Some(spot) = reader.word(node, "the number 1")
        && spot.value != VERSION
    {
        let finding =
            Finding::error(codes::CHOICE, spot.span, format!("version `{}` is not known", spot.written));
        reader.report(finding.help("this program reads version 1").guess(VERSION));
    }
}

fn settings(reader: &mut Reader<'_>, fields: Fields<'_>, raw: &mut Raw) {
    raw.timezone = fields.get("timezone").and_then(|node| reader.zone(node));
    raw.retention = fields.get("retention").map(|node| retention(reader, node)).unwrap_or_default();
    raw.defaults = fields.get("defaults").map(|node| defaults(reader, node)).unwrap_or_default();
    raw.templates_dir =
        fields.get("templates_dir").and_then(|node| reader.text(node, "the path of a folder"));
    raw.alerts = fields.get("alerts").and_then(|node| {
        let fields = reader.fields(node, ALERTS)?;
        let node = reader.required(fields, "to", "name the target that hears of the relay's own troubles")?;
        reader.text(node, "the name of a target")
    });
    if let Some(node) =
        reader.required(fields, "accounts", "list at least one: accounts: [{ name: main, token: … }]")
    {
        account::read_all(reader, node, raw);
    }
}

fn retention(reader: &mut Reader<'_>, node: &Node) -> Retention {
    let standard = Retention::default();
    let Some(fields) = reader.fields(node, RETENTION) else { return standard };
    let range = hours(1)..=days(3_650);
    let delivered = fields.get("delivered").and_then(|node| reader.duration(node, range.clone()));
    let dead = fields.get("dead").and_then(|node| reader.duration(node, range));
    Retention { delivered: delivered.unwrap_or(standard.delivered), dead: dead.unwrap_or(standard.dead) }
}

fn defaults(reader: &mut Reader<'_>, node: &Node) -> Defaults {
    let Some(fields) = reader.fields(node, DEFAULTS) else { return Defaults::default() };
    Defaults {
        retry: fields
            .get("retry")
            .map_or_else(RetryPolicy::default, |node| retry(reader, node, RetryPolicy::default())),
        expires_after: fields.get("expires_after").and_then(|node| reader.duration(node, expiry())),
        template: fields.get("template").and_then(|node| reader.text(node, "the name of a template")),
    }
}

/// `retry:`, where what is left out stays as in `standard`.
fn retry(reader: &mut Reader<'_>, node: &Node, standard: RetryPolicy) -> RetryPolicy {
    let Some(fields) = reader.fields(node, RETRY) else { return standard };
    let mut get = |key: &str, range| fields.get(key).and_then(|node| reader.duration(node, range));
    let first = get("first", seconds(1)..=days(1));
    let max = get("max", seconds(1)..=days(7));
    let give_up_after = get("give_up_after", seconds(1)..=days(30));
    let policy = RetryPolicy {
        backoff: Backoff {
            first: first.unwrap_or(standard.backoff.first),
            max: max.unwrap_or(standard.backoff.max),
        },
        give_up_after: give_up_after.unwrap_or(standard.give_up_after),
    };
    if policy.backoff.max < policy.backoff.first {
        let help = "`max` is the longest wait and `first` the shortest: make max at least as long";
        reader.error(codes::DURATION, fields.key_span("max"), "`max` is shorter than `first`", help);
    }
    policy
}

/// A name that is shown, stored and typed on command lines.
fn name(reader: &mut Reader<'_>, spot: Spot<String>) -> Option<Spot<String>> {
    let text = &spot.value;
    let help = if text.chars().count() > NAME_CHARS_MAX {
        "shorten it to 100 characters"
    } else if text.trim() != text || text.chars().any(|c| c.is_control() || c == ',' || c == '/') {
        "leave out spaces at the ends, commas, slashes and control characters"
    } else if text == "relay" {
        "`relay` is the name under which the relay's own notices go out"
    } else {
        return Some(spot);
    };
    reader.error(codes::NAME, spot.span, "this name cannot be used", help);
    None
}

/// The longest name, in characters.
const NAME_CHARS_MAX: usize = 100;

/// How long a delivery may be worth sending.
fn expiry() -> std::ops::RangeInclusive<Duration> {
    seconds(1)..=days(365)
}

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

const fn hours(count: u64) -> Duration {
    Duration::from_secs(count * 3_600)
}

const fn days(count: u64) -> Duration {
    Duration::from_secs(count * 86_400)
}
