//! `rules:`, which messages go where.

use std::time::Duration;

use jiff::tz::TimeZone;

use crate::rules::condition::{Block, Pattern};
use crate::rules::expression::{Expression, ExpressionError};
use crate::rules::key::Key;
use crate::rules::timing::Collapse;
use crate::rules::{BlockPoints, Points};

use super::timing::{
    self, COLLAPSE_KEY, DIGEST_KEY, DURING, EXCEPT, FIELDS, OUTSIDE_KEY, RawTiming, THROTTLE_KEY,
};
use super::{EXPIRES_AFTER, Raw, TEMPLATE, expiry, name};
use crate::config::codes;
use crate::config::keys::{Field, Keys, Named, Shape, key};
use crate::config::problem::{Finding, Span};
use crate::config::read::{Fields, Reader, Spot};
use crate::config::yaml::{Kind, Node};

const BELOW: &str = "on an entry of `deliver`, beside its `to`";
const CONDITION: &str =
    "under `match`, as in match: { activity_type: Payment, message_type: payment_failed }";
const IN_DIGEST: &str = "under `digest`, as in digest: { at: \"08:00\", days: mon-fri }";
const IN_THROTTLE: &str = "under `throttle`, as in throttle: { limit: 5, per: 1h }";
pub(in crate::config) const RULE: Keys = Keys {
    of: "a rule",
    known: &[
        key("name", Shape::Text, "Its own name; it stands in logs and with each delivery").required(),
        key("match", BLOCKS, "Which messages it takes: a condition, or a list of them any of which may hold; {} takes everything")
            .required(),
        key("except", BLOCKS, "Messages that it does not take, in the same form"),
        key(
            "accounts",
            Shape::OneOrMore(&Shape::Named(Named::Account)),
            "The accounts it is for; all if left out",
        ),
        key("where", Shape::Text, "A further condition in CEL over message, client, staff and account")
            .such_as(&["message.meeting.duration >= 60"]),
        key("stop", Shape::Truth, "true: no later rule is looked at once this one took a message").or("false"),
        key("allow_unknown", Shape::Truth, "true: names outside the catalogue are meant").or("false"),
        key("template", TEMPLATE, "The template of all its deliveries"),
        COLLAPSE_KEY,
        key("resolves", RESOLVES, "The rules whose earlier messages its own make good, such as a payment after a failed one"),
        key("deliver", Shape::List(&Shape::Keys(&DELIVER), true), "Where its messages go; [] with stop: true silences them")
            .required(),
    ],
    later: &["mutes"],
    elsewhere: &[
        ("activity_type", CONDITION),
        ("message_type", CONDITION),
        ("direction", CONDITION),
        ("to", "on an entry of `deliver`, as in deliver: [{ to: front-desk }]"),
        ("digest", BELOW),
        ("throttle", BELOW),
        ("during", BELOW),
        ("outside", BELOW),
        ("expires_after", "on an entry of `deliver`, or under `defaults`"),
        ("schedules", "at the top of the file"),
    ],
    ..Keys::NONE
};
const DELIVER: Keys = Keys {
    of: "an entry of `deliver`",
    known: &[
        key("to", Shape::Named(Named::Target), "The target").required(),
        key("template", TEMPLATE, "The template, where it differs from the rule's"),
        EXPIRES_AFTER,
        DIGEST_KEY,
        THROTTLE_KEY,
        DURING,
        OUTSIDE_KEY,
        EXCEPT,
        COLLAPSE_KEY,
    ],
    elsewhere: &[
        ("every", IN_DIGEST),
        ("at", IN_DIGEST),
        ("cron", IN_DIGEST),
        ("days", IN_DIGEST),
        ("group_by", IN_DIGEST),
        ("max_items", IN_DIGEST),
        ("limit", IN_THROTTLE),
        ("per", IN_THROTTLE),
        ("over", IN_THROTTLE),
        ("resolves", "on the rule, beside its `match`"),
        ("match", "on the rule, beside its `name`"),
        ("where", "on the rule, beside its `match`"),
        ("schedules", "at the top of the file"),
    ],
    ..Keys::NONE
};
const RESOLVES: Shape = Shape::Either(&[RULES, Shape::Keys(&RESOLVING)]);
const RESOLVING: Keys = Keys {
    of: "`resolves`",
    known: &[
        key("rules", RULES, "The rules whose messages are made good"),
        key("rule", RULES, "Another word for rules"),
        key("by", FIELDS, "Fields that both messages have in common").or("client.uid"),
    ],
    one_of: &["rules", "rule"],
    ..Keys::NONE
};
const RULES: Shape = Shape::OneOrMore(&Shape::Named(Named::Rule));
const BLOCK: Keys = Keys {
    of: "a condition",
    known: &[
        key("activity_type", names(Field::ActivityType), "What the message is about: one of these"),
        key("message_type", names(Field::MessageType), "What happened: one of these"),
        key("direction", names(Field::Direction), "From whom to whom: one of these"),
        key("activity_action", names(Field::MessageType), "Another word for message_type"),
    ],
    not_both: &["message_type", "activity_action"],
    ..Keys::NONE
};
pub(super) const BLOCKS: Shape =
    Shape::Either(&[Shape::Keys(&BLOCK), Shape::List(&Shape::Keys(&BLOCK), false)]);

const fn names(field: Field) -> Shape {
    match field {
        Field::ActivityType => Shape::OneOrMore(&Shape::Catalog(Field::ActivityType)),
        Field::MessageType => Shape::OneOrMore(&Shape::Catalog(Field::MessageType)),
        Field::Direction => Shape::OneOrMore(&Shape::Catalog(Field::Direction)),
    }
}

/// A rule whose targets, templates and accounts are still names.
#[derive(Debug)]
pub(in crate::config) struct RawRule {
    /// With its place; `None` if it could not be read.
    pub(in crate::config) name: Option<Spot<String>>,
    /// Where the rule begins.
    pub(in crate::config) span: Span,
    /// Limits it.
    pub(in crate::config) accounts: Option<Vec<Spot<String>>>,
    /// Any of these.
    pub(in crate::config) any_of: Vec<RawBlock>,
    /// None of these.
    pub(in crate::config) except: Vec<RawBlock>,
    /// `where:`
    pub(in crate::config) filter: Option<Expression>,
    /// Where that stands.
    pub(in crate::config) filter_span: Option<Span>,
    /// Ends the search.
    pub(in crate::config) stop: bool,
    /// Where that is said.
    pub(in crate::config) stop_span: Option<Span>,
    /// Names outside the catalogue are meant.
    pub(in crate::config) allow_unknown: bool,
    /// For all its deliveries.
    pub(in crate::config) template: Option<Spot<String>>,
    /// What is owed.
    pub(in crate::config) deliver: Vec<RawDeliver>,
    /// For all its deliveries, with its keys and their places.
    pub(in crate::config) collapse: Option<(Collapse, Vec<Spot<Key>>)>,
    /// What it makes good.
    pub(in crate::config) resolves: Option<RawResolves>,
}

/// `resolves:`
#[derive(Debug)]
pub(in crate::config) struct RawResolves {
    /// The rules' names.
    pub(in crate::config) rules: Vec<Spot<String>>,
    /// What both messages have in common.
    pub(in crate::config) by: Key,
    /// Its fields, each with its place.
    pub(in crate::config) keys: Vec<Spot<Key>>,
}

/// One entry of `deliver:`.
#[derive(Debug)]
pub(in crate::config) struct RawDeliver {
    /// The target.
    pub(in crate::config) to: Spot<String>,
    /// The template.
    pub(in crate::config) template: Option<Spot<String>>,
    /// When it is no longer worth sending.
    pub(in crate::config) expires_after: Option<Duration>,
    /// What it waits for.
    pub(in crate::config) timing: RawTiming,
}

/// A block of conditions with the place of each pattern.
#[derive(Debug, Default)]
pub(in crate::config) struct RawBlock {
    /// `None`: any.
    pub(in crate::config) activity_type: Option<Vec<Spot<Pattern>>>,
    /// `None`: any.
    pub(in crate::config) message_type: Option<Vec<Spot<Pattern>>>,
    /// `None`: any.
    pub(in crate::config) direction: Option<Vec<Spot<Pattern>>>,
    /// Where it begins.
    pub(in crate::config) span: Span,
}

impl RawBlock {
    /// Without the places.
    pub(in crate::config) fn block(&self) -> Block {
        let plain = |patterns: &Option<Vec<Spot<Pattern>>>| {
            patterns.as_ref().map(|list| list.iter().map(|spot| spot.value.clone()).collect())
        };
        Block {
            activity_type: plain(&self.activity_type),
            message_type: plain(&self.message_type),
            direction: plain(&self.direction),
        }
    }

    /// Only the places.
    pub(in crate::config) fn points(&self) -> BlockPoints {
        let first = |patterns: &Option<Vec<Spot<Pattern>>>| {
            patterns.as_ref().and_then(|list| list.first()).map_or(self.span.start, |spot| spot.span.start)
        };
        BlockPoints {
            block: self.span.start,
            activity_type: first(&self.activity_type),
            message_type: first(&self.message_type),
            direction: first(&self.direction),
        }
    }
}

impl RawRule {
    /// Where its conditions are.
    pub(in crate::config) fn points(&self) -> Points {
        let start = |span: Option<Span>| span.map_or((0, 0), |span| span.start);
        let accounts = self.accounts.as_ref().and_then(|list| list.first()).map(|spot| spot.span);
        Points {
            accounts: start(accounts),
            any_of: self.any_of.iter().map(RawBlock::points).collect(),
            except: self.except.iter().map(RawBlock::points).collect(),
            filter: start(self.filter_span),
            stop: start(self.stop_span),
        }
    }
}

pub(super) fn read_all(reader: &mut Reader<'_>, node: &Node, raw: &mut Raw) {
    let help = "write `- name: …` and below it `match:` and `deliver:`, for each rule";
    let Some(items) = reader.list(node, "a list of rules", help) else {
        return;
    };
    let zone = raw.zone();
    let mut filters = Vec::new();
    for item in items {
        let Some(rule) = rule(reader, item, &zone) else { continue };
        let filter = item.entry("where").map(|entry| &entry.value);
        let filter = filter.and_then(|node| Some((raw.rules.len(), node, condition(reader, node)?)));
        filters.extend(filter);
        raw.rules.push(rule);
    }
    let texts: Vec<&str> = filters.iter().map(|(.., spot)| spot.value.as_str()).collect();
    for ((rule, node, spot), compiled) in filters.iter().zip(Expression::compile_all(&texts)) {
        match compiled {
            Ok(expression) => raw.rules[*rule].filter = Some(expression),
            Err(error) => reader.report(broken(reader, node, spot, &error)),
        }
    }
}

/// A rule whose `where:` is still to be compiled.
fn rule(reader: &mut Reader<'_>, node: &Node, zone: &TimeZone) -> Option<RawRule> {
    let fields = reader.fields(node, RULE)?;
    let name = reader
        .required(
            fields,
            "name",
            "give it a name that says what it is for: it stands in logs and in `deliveries`",
        )
        .and_then(|node| reader.text(node, "a name"))
        .and_then(|spot| name(reader, spot));
    let help = "say which messages it takes: match: { activity_type: Payment }; {} takes all";
    let any_of = reader.required(fields, "match", help).map(|node| blocks(reader, node)).unwrap_or_default();
    let except = fields.get("except").map(|node| blocks(reader, node)).unwrap_or_default();
    let accounts = fields.get("accounts").map(|node| {
        let items = reader.one_or_more(node);
        items.iter().filter_map(|item| reader.text(item, "the name of an account")).collect()
    });
    let stop = fields.get("stop").and_then(|node| reader.truth(node)).unwrap_or(false);
    Some(RawRule {
        name,
        span: fields.span(),
        accounts,
        any_of,
        except,
        filter: None,
        filter_span: fields.get("where").map(|node| node.span),
        stop,
        stop_span: fields.get("stop").map(|node| node.span),
        allow_unknown: fields.get("allow_unknown").and_then(|node| reader.truth(node)).unwrap_or(false),
        template: fields.get("template").and_then(|node| reader.text(node, "the name of a template")),
        deliver: deliver(reader, fields, stop, zone),
        collapse: rule_collapse(reader, fields),
        resolves: fields.get("resolves").and_then(|node| resolves(reader, node)),
    })
}

pub(super) fn blocks(reader: &mut Reader<'_>, node: &Node) -> Vec<RawBlock> {
    match &node.kind {
        Kind::List(items) if items.is_empty() => {
            let help = "write {} for every message, or one { … } for each kind";
            reader.error(codes::WRONG_TYPE, node.span, "an empty list takes nothing", help);
            Vec::new()
        }
        Kind::List(items) => items.iter().filter_map(|item| block(reader, item)).collect(),
        Kind::Null => {
            let help = "write {} for every message, or fields such as { activity_type: Payment }";
            reader.error(codes::WRONG_TYPE, node.span, "a condition is missing", help);
            Vec::new()
        }
        _ => block(reader, node).into_iter().collect(),
    }
}

fn block(reader: &mut Reader<'_>, node: &Node) -> Option<RawBlock> {
    let fields = reader.fields(node, BLOCK)?;
    if fields.get("message_type").is_some() && fields.get("activity_action").is_some() {
        let help = "`activity_action` is another word for `message_type`: keep one";
        reader.error(
            codes::DUPLICATE_KEY,
            fields.key_span("activity_action"),
            "message types are given twice",
            help,
        );
    }
    let message_type = fields.get("message_type").or_else(|| fields.get("activity_action"));
    Some(RawBlock {
        activity_type: fields.get("activity_type").map(|node| patterns(reader, node)),
        message_type: message_type.map(|node| patterns(reader, node)),
        direction: fields.get("direction").map(|node| patterns(reader, node)),
        span: fields.span(),
    })
}

/// `collapse:` of a rule, for all its deliveries.
fn rule_collapse(reader: &mut Reader<'_>, fields: Fields<'_>) -> Option<(Collapse, Vec<Spot<Key>>)> {
    let node = fields.get("collapse")?;
    let mut keys = Vec::new();
    let collapse = timing::collapse(reader, node, &mut keys)?;
    Some((collapse, keys))
}

/// `resolves: payment-failures`, or `{ rules: …, by: … }`.
fn resolves(reader: &mut Reader<'_>, node: &Node) -> Option<RawResolves> {
    let (named, by) = match &node.kind {
        Kind::Map(_) => {
            let fields = reader.fields(node, RESOLVING)?;
            let named = fields.get("rules").or_else(|| fields.get("rule"));
            if fields.get("rules").is_some() && fields.get("rule").is_some() {
                let help = "`rule` is another word for `rules`: keep one";
                reader.error(codes::DUPLICATE_KEY, fields.key_span("rule"), "rules are given twice", help);
            } else if named.is_none() {
                let help = "name the rules whose messages are made good: rules: [payment-failures]";
                reader.error(codes::MISSING_KEY, fields.span(), "`resolves` names no rule", help);
            }
            (named?, fields.get("by"))
        }
        _ => (node, None),
    };
    let items = reader.one_or_more(named);
    let rules = items.iter().filter_map(|item| reader.text(item, "the name of a rule")).collect();
    let mut keys = Vec::new();
    let by = match by {
        Some(node) => timing::of_fields(reader, node, &mut keys)?,
        None => Key::of_fields(["client.uid"]).ok()?,
    };
    Some(RawResolves { rules, by, keys })
}

fn patterns(reader: &mut Reader<'_>, node: &Node) -> Vec<Spot<Pattern>> {
    let mut found = Vec::new();
    for item in reader.one_or_more(node) {
        let Some(spot) = reader.text(item, "a name, or a pattern with * or ?") else { continue };
        let pattern = Pattern::new(&spot.value);
        if pattern.key.is_empty() {
            let help = "a name holds letters or digits; * stands for any name";
            reader.error(codes::NAME, spot.span, "this cannot be the name of anything", help);
            continue;
        }
        found.push(spot.with(pattern));
    }
    found
}

fn condition(reader: &mut Reader<'_>, node: &Node) -> Option<Spot<String>> {
    reader.text(node, "an expression such as message.body.contains(\"refund\")")
}

/// A condition that does not compile.
fn broken(reader: &Reader<'_>, node: &Node, spot: &Spot<String>, error: &ExpressionError) -> Finding {
    let mut span = spot.span;
    if let Kind::Scalar(scalar) = &node.kind
        && !spot.substituted
    {
        let lines = scalar.text.split_inclusive('\n').take(error.line.saturating_sub(1));
        let before: usize = lines.map(|line| line.chars().count()).sum();
        let at = before + error.column.saturating_sub(1);
        let word = scalar.text.chars().skip(at).take_while(|c| c.is_alphanumeric() || *c == '_').count();
        span = reader.part(node, scalar, &(at..at + word.max(1)));
    }
    let verdict = if error.remedy.is_some() { "can never work" } else { "does not compile" };
    let message = format!("this condition {verdict}: {}", error.message);
    let help = "it is a CEL expression over message, client, staff and account, such as message.meeting.duration >= 60";
    Finding::error(codes::EXPRESSION, span, message).help(error.remedy.as_deref().unwrap_or(help))
}

fn deliver(reader: &mut Reader<'_>, fields: Fields<'_>, stop: bool, zone: &TimeZone) -> Vec<RawDeliver> {
    let help = "say where its messages go: deliver: [{ to: front-desk }]; [] with `stop: true` silences them";
    let Some(node) = reader.required(fields, "deliver", help) else { return Vec::new() };
    let Some(items) = reader.list(node, "a list of deliveries", "write `- to: front-desk` below `deliver:`")
    else {
        return Vec::new();
    };
    if items.is_empty() && !stop && fields.get("resolves").is_none() {
        let help = "add { to: … }; or add `stop: true` if these messages are to be silenced";
        reader.error(codes::MISSING_KEY, node.span, "this rule delivers nothing", help);
    }
    let mut found: Vec<RawDeliver> = Vec::new();
    for item in items {
        let Some(fields) = reader.fields(item, DELIVER) else { continue };
        let to = reader.required(fields, "to", "name one of the targets").and_then(|node| {
            if let Kind::List(_) = node.kind {
                reader.wrong(node, "the name of one target", "write one entry of `deliver` for each target");
                return None;
            }
            reader.text(node, "the name of a target")
        });
        let template = fields.get("template").and_then(|node| reader.text(node, "the name of a template"));
        let expires_after = fields.get("expires_after").and_then(|node| reader.duration(node, expiry()));
        let timing = timing::read(reader, fields, zone);
        let Some(to) = to else { continue };
        if let Some(first) = found.iter().find(|other| other.to.value == to.value) {
            let finding =
                Finding::error(codes::DUPLICATE_NAME, to.span, "this rule names the same target twice");
            reader.report(
                finding
                    .related(first.to.span, "here first")
                    .help("keep one; each target gets a message once per rule"),
            );
        }
        found.push(RawDeliver { to, template, expires_after, timing });
    }
    found
}
