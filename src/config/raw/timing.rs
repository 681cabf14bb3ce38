//! What the deliveries of an entry of `deliver:` wait for: `digest:`, `throttle:`, `during:` and `collapse:`.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::tz::TimeZone;

use super::rule::{BLOCKS, RawBlock, blocks};
use super::schedule::{DAYS, HOLIDAYS, TIMEZONE, TimeOfDay, days, holidays_of, time_of_day};
use super::{days as whole_days, seconds};
use crate::config::codes;
use crate::config::keys::{Key as KeyOf, Keys, Named, Shape, key};
use crate::config::problem::{Finding, similar};
use crate::config::read::{Fields, Reader, Spot, Unreadable};
use crate::config::yaml::Node;
use crate::model::duration::shown;
use crate::model::throttle::Throttle;
use crate::rules::key::{Key, KeyError};
use crate::rules::timing::{Closes, Collapse, Digest, IfEmpty, Limit, Outside, Timing};
use crate::rules::window::{Cron, Days, Moments, Times};

/// The shortest time that a digest may collect for.
const EVERY_MIN: Duration = Duration::from_secs(1);
const ITEMS_MAX: u32 = 1_000;
const LIMIT_MAX: u32 = 10_000;
const OVER: [&str; 2] = ["drop", "digest"];
const OUTSIDE: [&str; 3] = ["hold", "digest", "drop"];
const IF_EMPTY: [&str; 2] = ["skip", "send"];

pub(super) const DIGEST_KEY: KeyOf =
    key("digest", Shape::Keys(&DIGEST), "Its messages are collected and sent together");
pub(super) const THROTTLE_KEY: KeyOf = key(
    "throttle",
    Shape::Keys(&THROTTLE),
    "How many go in a time; the next one sent says how many were held back",
);
pub(super) const DURING: KeyOf =
    key("during", Shape::Named(Named::Schedule), "The schedule in whose hours it is sent");
pub(super) const OUTSIDE_KEY: KeyOf =
    key("outside", Shape::Choice(&OUTSIDE), "What becomes of messages outside of the hours").or("hold");
pub(super) const EXCEPT: KeyOf =
    key("except", BLOCKS, "Messages that are sent outside of the hours too, in the form of a rule's match");
pub(super) const COLLAPSE_KEY: KeyOf = key(
    "collapse",
    Shape::Keys(&COLLAPSE),
    "One event that is told in several messages is delivered once; in a digest it is told once",
);

const DIGEST: Keys = Keys {
    of: "`digest`",
    known: &[
        key("every", Shape::Duration, "So long after its first message it is sent").such_as(&["1h"]),
        key("extend", Shape::Truth, "true: each message begins that time anew; needs max").or("false"),
        key("max", Shape::Duration, "With extend: it is sent so long after its first message at the latest"),
        key("at", Shape::OneOrMore(&Shape::Time), "The times of day at which it is sent").such_as(&["08:00"]),
        DAYS,
        TIMEZONE,
        HOLIDAYS,
        key("cron", Shape::Text, "When it is sent, as a cron pattern of five fields")
            .such_as(&["0 8 * * 1-5"]),
        key("group_by", FIELDS, "Fields: one digest for each of their values").such_as(&["client.uid"]),
        key("max_items", Shape::Number(1, ITEMS_MAX), "With so many messages it is sent at once"),
        key("leading", Shape::Truth, "true: the first message goes at once, by itself").or("false"),
        key("if_empty", Shape::Choice(&IF_EMPTY), "Whether it is sent when there were no messages")
            .or("skip"),
    ],
    one_of: &["every", "at", "cron"],
    ..Keys::NONE
};
const THROTTLE: Keys = Keys {
    of: "`throttle`",
    known: &[
        key("limit", Shape::Number(1, LIMIT_MAX), "How many go").required().such_as(&["5"]),
        key("per", Shape::Duration, "In what time").required().such_as(&["1h"]),
        key("key", Shape::Text, "What is counted together: text with fields; all of the rule if left out")
            .such_as(&["{{client.uid}}"]),
        key("over", Shape::Choice(&OVER), "What becomes of the others").or("drop"),
    ],
    ..Keys::NONE
};
const COLLAPSE: Keys = Keys {
    of: "`collapse`",
    known: &[
        key("by", FIELDS, "Fields that messages about the same event have in common")
            .required()
            .such_as(&["client.uid"]),
        key("within", Shape::Duration, "From the first of them to the last").required().such_as(&["60s"]),
    ],
    ..Keys::NONE
};
/// Names of fields, as templates see them.
pub(super) const FIELDS: Shape = Shape::OneOrMore(&Shape::Field);

/// What an entry waits for; the schedule is still a name.
#[derive(Debug, Default)]
pub(in crate::config) struct RawTiming {
    /// All but the hours.
    pub(in crate::config) timing: Timing,
    /// The hours.
    pub(in crate::config) during: Option<RawDuring>,
    /// Its keys, each with its place.
    pub(in crate::config) keys: Vec<Spot<Key>>,
}

/// `during:` with what belongs to it.
#[derive(Debug)]
pub(in crate::config) struct RawDuring {
    /// The schedule's name.
    pub(in crate::config) schedule: Spot<String>,
    /// What becomes of the others.
    pub(in crate::config) outside: Outside,
    /// What passes at any time.
    pub(in crate::config) except: Vec<RawBlock>,
}

/// Reads what an entry says of it. What contradicts itself is reported.
pub(super) fn read(reader: &mut Reader<'_>, fields: Fields<'_>, zone: &TimeZone) -> RawTiming {
    let mut found = RawTiming::default();
    if let Some(node) = fields.get("digest") {
        found.timing.digest = digest(reader, node, zone, &mut found.keys);
    }
    if let Some(node) = fields.get("throttle") {
        found.timing.throttle = throttle(reader, node, &mut found.keys);
        if fields.get("digest").is_some() {
            let help = "keep one of the two; `digest: { leading: true, … }` sends the first message at once, `throttle: { over: digest, … }` collects what is over the limit";
            let message =
                "a digest and a throttle do not go together: a digest is sent once in its time anyway";
            reader.error(codes::TIMING, fields.key_span("throttle"), message, help);
        }
    }
    if let Some(node) = fields.get("collapse") {
        found.timing.collapse = collapse(reader, node, &mut found.keys);
    }
    found.during = during(reader, fields);
    found
}

/// `during:`, `outside:` and `except:`.
fn during(reader: &mut Reader<'_>, fields: Fields<'_>) -> Option<RawDuring> {
    let outside = fields.get("outside").map(|node| {
        let words = [("hold", Outside::Hold), ("digest", Outside::Digest), ("drop", Outside::Drop)];
        reader.choice(node, &words)
    });
    let except = fields.get("except").map(|node| blocks(reader, node));
    let Some(node) = fields.get("during") else {
        for key in ["outside", "except"].into_iter().filter(|key| fields.get(key).is_some()) {
            let help = "add `during: …` with the name of a schedule, or take it out; a rule's own `except` stands beside its `match`";
            let message =
                format!("`{key}` without `during` has no effect: there are no hours to be outside of");
            reader.error(codes::TIMING, fields.key_span(key), message, help);
        }
        return None;
    };
    let schedule = reader.text(node, "the name of a schedule")?;
    Some(RawDuring {
        schedule,
        outside: outside.flatten().unwrap_or(Outside::Hold),
        except: except.unwrap_or_default(),
    })
}

fn digest(
    reader: &mut Reader<'_>,
    node: &Node,
    zone: &TimeZone,
    keys: &mut Vec<Spot<Key>>,
) -> Option<Digest> {
    let fields = reader.fields(node, DIGEST)?;
    let closes = closes(reader, fields, zone);
    let group_by = match fields.get("group_by") {
        Some(node) => of_fields(reader, node, keys),
        None => Key::of_fields([]).ok(),
    };
    let items_max = fields.get("max_items").map(|node| reader.positive(node, ITEMS_MAX));
    let leading = fields.get("leading").map_or(Some(false), |node| reader.truth(node));
    let words = [("skip", IfEmpty::Skip), ("send", IfEmpty::Send)];
    let if_empty = fields.get("if_empty").map_or(Some(IfEmpty::Skip), |node| reader.choice(node, &words));
    if fields.get("every").is_some() && if_empty == Some(IfEmpty::Send) {
        let help = "take it out, or say with `at` or `cron` when it is sent";
        let message = "`if_empty` belongs to a digest with set times: one that opens with its first message is never empty";
        reader.error(codes::TIMING, fields.key_span("if_empty"), message, help);
    }
    if if_empty == Some(IfEmpty::Send) && fields.get("group_by").is_some() {
        let help = "take `group_by` out, or leave `if_empty` at skip";
        let message =
            "`if_empty: send` and `group_by` do not go together: a value that no message has makes no digest";
        reader.error(codes::TIMING, fields.key_span("if_empty"), message, help);
    }
    if leading == Some(true) && matches!(closes, Some(Closes::After { extend_max: Some(_), .. })) {
        let help = "take one of the two out";
        let message = "`leading` and `extend` do not go together: after the first message the digest is due at a fixed time";
        reader.error(codes::TIMING, fields.key_span("leading"), message, help);
    }
    Some(Digest {
        closes: closes?,
        group_by: group_by?,
        items_max: items_max.map_or(Some(None), |found| found.map(Some))?,
        leading: leading?,
        if_empty: if_empty?,
    })
}

/// When a digest is sent: by `every`, `at` or `cron`.
fn closes(reader: &mut Reader<'_>, fields: Fields<'_>, zone: &TimeZone) -> Option<Closes> {
    let given: Vec<&str> =
        ["every", "at", "cron"].into_iter().filter(|key| fields.get(key).is_some()).collect();
    let extend = fields.get("extend").map_or(Some(false), |node| reader.truth(node));
    let max =
        fields.get("max").map(|node| reader.duration(node, EVERY_MIN..=whole_days(90)).ok_or(Unreadable));
    let [way] = given.as_slice() else {
        if given.is_empty() {
            let help =
                "add `every: 1h`, which opens with the first message, or `at: \"08:00\"`, or `cron: …`";
            reader.error(codes::MISSING_KEY, fields.span(), "`digest` does not say when it is sent", help);
        } else {
            let (first, second) = (given[0], given[1]);
            let message = format!("`{first}` and `{second}` each say when the digest is sent");
            reader.error(codes::TIMING, fields.key_span(second), message, "keep one of them");
        }
        return None;
    };
    let belonging: &[(&str, &[&str])] = &[
        ("every", &["extend", "max"]),
        ("at", &["days", "timezone", "holidays"]),
        ("cron", &["timezone", "holidays"]),
    ];
    for key in ["extend", "max", "days", "timezone", "holidays"] {
        let belongs = belonging.iter().any(|(of, keys)| of == way && keys.contains(&key));
        if fields.get(key).is_some() && !belongs && !(key == "extend" && extend == Some(false)) {
            let of = if ["extend", "max"].contains(&key) { "every" } else { "at" };
            let message = format!("`{key}` belongs to `{of}`, and this digest goes by `{way}`");
            let help = if *way == "cron" && key == "days" {
                "write the days into the pattern: its last field holds them, such as 1-5"
            } else {
                "take it out"
            };
            reader.error(codes::TIMING, fields.key_span(key), message, help);
        }
    }
    if *way == "every" {
        after(reader, fields, extend, max)
    } else {
        moments(reader, fields, way, zone).map(Closes::At)
    }
}

/// `every:` with `extend:` and `max:`.
fn after(
    reader: &mut Reader<'_>,
    fields: Fields<'_>,
    extend: Option<bool>,
    max: Option<Result<Duration, Unreadable>>,
) -> Option<Closes> {
    let every = fields.get("every").and_then(|node| reader.duration(node, EVERY_MIN..=whole_days(31)));
    match (extend?, max) {
        (true, None) => {
            let help = "add `max: 4h`: so long after its first message it is sent at the latest";
            let message =
                "`extend` without `max`: a message every now and then would put the digest off for ever";
            reader.error(codes::TIMING, fields.key_span("extend"), message, help);
            None
        }
        (false, Some(_)) => {
            let help = "add `extend: true`, or take it out";
            let message = "`max` without `extend` has no effect: the digest is sent when `every` is over";
            reader.error(codes::TIMING, fields.key_span("max"), message, help);
            None
        }
        (true, Some(max)) => {
            let (every, max) = (every?, max.ok()?);
            if max < every {
                let message = format!("`max` is shorter than `every`, which is {}", shown(every));
                reader.error(
                    codes::TIMING,
                    fields.key_span("max"),
                    message,
                    "make `max` longer than `every`",
                );
            }
            Some(Closes::After { every, extend_max: Some(max) })
        }
        (false, None) => Some(Closes::After { every: every?, extend_max: None }),
    }
}

/// `at:` or `cron:`.
fn moments(reader: &mut Reader<'_>, fields: Fields<'_>, way: &str, zone: &TimeZone) -> Option<Moments> {
    let zone = fields.get("timezone").map_or(Some(zone.clone()), |node| reader.zone(node));
    let holidays =
        fields.get("holidays").map_or(Some(BTreeSet::new()), |node| holidays_of(reader, None, node));
    let node = fields.get(way)?;
    let times = if way == "cron" { cron(reader, node) } else { of_day(reader, fields, node) };
    let moments = Moments { times: times?, zone: zone?, holidays: holidays? };
    if let Some(day) = moments.idle_from() {
        let message = format!("this digest is never sent: not once in the year from {day} on");
        let help = "mend its days, its holidays or its pattern: what waits for it would wait for ever";
        let span = if fields.get("holidays").is_some() { fields.key_span("holidays") } else { node.span };
        reader.error(codes::NEVER, span, message, help);
        return None;
    }
    Some(moments)
}

fn of_day(reader: &mut Reader<'_>, fields: Fields<'_>, node: &Node) -> Option<Times> {
    let days = fields.get("days").map_or(Some(Days::ALL), |node| days(reader, node));
    let (mut at, mut whole) = (Vec::new(), true);
    for node in reader.one_or_more(node) {
        match time_of_day(reader, node) {
            Some(TimeOfDay::At(time)) => at.push(time),
            Some(TimeOfDay::End) => {
                let help = "write \"00:00\"; it counts as the beginning of its day";
                reader.error(codes::TIME_OF_DAY, node.span, "a digest is not sent at 24:00", help);
                whole = false;
            }
            None => whole = false,
        }
    }
    (whole && !at.is_empty()).then_some(Times::OfDay { at, days: days? })
}

fn cron(reader: &mut Reader<'_>, node: &Node) -> Option<Times> {
    let spot = reader.text(node, "a cron pattern such as \"0 8 * * 1-5\"")?;
    match Cron::parse(&spot.value) {
        Ok(cron) => Some(Times::Cron(cron)),
        Err(why) => {
            let help = "write five fields: minute, hour, day of the month, month, day of the week (0 or SUN is Sunday), such as \"0 8 * * 1-5\"";
            let message = format!("`{}` is no cron pattern: {}", spot.written, why.trim_end_matches('.'));
            reader.error(codes::CRON, spot.span, message, help);
            None
        }
    }
}

fn throttle(reader: &mut Reader<'_>, node: &Node, keys: &mut Vec<Spot<Key>>) -> Option<Limit> {
    let fields = reader.fields(node, THROTTLE)?;
    let limit = reader.required(fields, "limit", "say how many go: limit: 1");
    let limit = limit.and_then(|node| reader.positive(node, LIMIT_MAX));
    let per = reader.required(fields, "per", "say in what time: per: 1h");
    let per = per.and_then(|node| reader.duration(node, seconds(1)..=whole_days(31)));
    let key = fields.get("key").map_or_else(|| Key::of_fields([]).ok(), |node| written(reader, node, keys));
    let over = fields
        .get("over")
        .map_or(Some(false), |node| reader.choice(node, &[("drop", false), ("digest", true)]));
    Some(Limit { throttle: Throttle { limit: limit?, per: per? }, key: key?, digest: over? })
}

/// `collapse:`
pub(super) fn collapse(reader: &mut Reader<'_>, node: &Node, keys: &mut Vec<Spot<Key>>) -> Option<Collapse> {
    let fields = reader.fields(node, COLLAPSE)?;
    let by = reader.required(fields, "by", "name fields: by: [client.uid]");
    let by = by.and_then(|node| of_fields(reader, node, keys));
    let within = reader.required(fields, "within", "say how long it waits for the others: within: 60s");
    let within = within.and_then(|node| reader.duration(node, seconds(1)..=whole_days(1)));
    Some(Collapse { by: by?, within: within? })
}

/// A key as text with fields in it.
fn written(reader: &mut Reader<'_>, node: &Node, keys: &mut Vec<Spot<Key>>) -> Option<Key> {
    let spot = reader.text(node, "text with fields such as \"{{client.uid}}\"")?;
    match Key::parse(&spot.value) {
        Ok(key) => {
            if key.fields_of().next().is_none() {
                let message =
                    format!("the key `{}` holds no field, so everything is counted together", spot.written);
                let help = "write a field as {{client.uid}}, or leave `key` out";
                reader.report(Finding::warning(codes::KEY, spot.span, message).help(help));
            }
            keys.push(spot.with(key.clone()));
            Some(key)
        }
        Err(error) => {
            wrong_key(reader, &spot, &error);
            None
        }
    }
}

/// A key of fields. `activity_type` and the like may stand for `message.activity_type`.
pub(super) fn of_fields(reader: &mut Reader<'_>, node: &Node, keys: &mut Vec<Spot<Key>>) -> Option<Key> {
    let mut names = Vec::new();
    let mut whole = true;
    for item in reader.one_or_more(node) {
        let Some(spot) = reader.text(item, "the name of a field such as client.uid") else {
            whole = false;
            continue;
        };
        let long = format!("message.{}", spot.value.trim());
        let name = if Key::fields().any(|known| known == long) { long } else { spot.value.clone() };
        match Key::of_fields([name.as_str()]) {
            Ok(key) => {
                names.push(name);
                keys.push(spot.with(key));
            }
            Err(error) => {
                wrong_key(reader, &spot, &error);
                whole = false;
            }
        }
    }
    whole.then(|| Key::of_fields(names.iter().map(String::as_str)).ok()).flatten()
}

fn wrong_key(reader: &mut Reader<'_>, spot: &Spot<String>, error: &KeyError) {
    let finding = Finding::error(codes::KEY, spot.span, error.to_string());
    let all = Key::fields().collect::<Vec<_>>().join(", ");
    let KeyError::Unknown(name) = error else {
        reader.report(finding.help("write a field as {{client.uid}}"));
        return;
    };
    let near = similar(name, Key::fields());
    // Where the key is a text, a part of it is meant.
    let alone = spot.value.trim() == *name && !spot.substituted;
    reader.report(match near {
        Some(near) if alone => {
            finding.help(format!("did you mean `{}`? Fields are {all}", near.name)).meant(&near)
        }
        Some(near) => finding.help(format!("did you mean `{}`? Fields are {all}", near.name)),
        None => finding.help(format!("fields are {all}")),
    });
}
