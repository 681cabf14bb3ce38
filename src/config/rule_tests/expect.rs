//! `expect:`, what is to follow from a test's messages.

use jiff::Timestamp;
use regex::Regex;
use serde_json::Value;

use super::file::Reading;
use super::{Check, Expect, ExpectedDelivery, Listed, Matcher, Part, Placed};
use crate::config::codes;
use crate::config::keys::{Key, Keys, Named, Shape, key};
use crate::config::problem::{Finding, nearest};
use crate::config::read::{Fields, Spot};
use crate::config::yaml::{Kind, Node, Scalar, Style};
use crate::model::delivery::StateName;
use crate::model::payload::Format;
use crate::rules::expression::regex_fault;
use crate::rules::notice::RELAY;

pub(super) const EXPECT: Keys = Keys {
    of: "`expect`",
    known: &[
        key(
            "rules",
            Shape::Either(&[RULE, Shape::List(&RULE, true)]),
            "Exactly these rules take the messages, in file order; [] where none does",
        ),
        key(
            "deliveries",
            Shape::List(&Shape::Keys(&DELIVERY), true),
            "Exactly these deliveries are made; [] is silence",
        ),
        key(
            "not_matched",
            Shape::Map(&Shape::Text),
            "Rules that do not take the messages, each with what the reason holds",
        ),
    ],
    ..Keys::NONE
};
const DELIVERY: Keys = Keys {
    of: "an expected delivery",
    known: &[
        key("to", Shape::Named(Named::Target), "The target").required(),
        key("rule", Shape::Named(Named::Rule), "The rule that owes it"),
        key("recipient", Shape::Text, "To which of the target's recipients"),
        key("count", Shape::Number(1, COUNT_MAX), "How many of it there are").or("1"),
        key("at", Shape::Text, "When it goes out: a moment, or a time after the test's beginning")
            .such_as(&["+0s"]),
        key("state", Shape::Choice(&STATES), "Where it stands in the end").or("delivered"),
        key("template", TEMPLATE, "The template that renders it"),
        key("messages", Shape::Number(0, COUNT_MAX), "How many messages it is about"),
        key("resolved", Shape::Truth, "Whether a later message made it good"),
        key("subject", TEXTS, "A mail's subject, or the notification's text"),
        key("text", TEXTS, "The plain text"),
        key("html", TEXTS, "A mail's HTML part"),
        key(
            "body",
            Shape::Either(&[
                Shape::Text,
                Shape::Keys(&BODY),
                Shape::List(&Shape::Either(&[Shape::Text, Shape::Keys(&BODY)]), false),
            ]),
            "The JSON that is sent",
        ),
    ],
    ..Keys::NONE
};
const STATES: [&str; 7] = ["pending", "sending", "delivered", "dead", "expired", "withheld", "discarded"];
const TEMPLATE: Shape = Shape::Named(Named::Template);
const TEXTS: Shape = Shape::Either(&[
    Shape::Text,
    Shape::Keys(&MATCHER),
    Shape::List(&Shape::Either(&[Shape::Text, Shape::Keys(&MATCHER)]), false),
]);
const EQUALS: Key = key("equals", Shape::Text, "It is this text");
const CONTAINS: Key = key("contains", Shape::OneOrMore(&Shape::Text), "This stands somewhere in it");
const NOT_CONTAINS: Key = key("not_contains", Shape::OneOrMore(&Shape::Text), "This stands nowhere in it");
const MATCHES: Key =
    key("matches", Shape::OneOrMore(&Shape::Text), "This regular expression fits somewhere in it");
const SNAPSHOT: Key = key(
    "snapshot",
    Shape::Either(&[Shape::Truth, Shape::Text]),
    "It is what the snapshot of this name holds, or true for a name of its own",
);
const MATCHER: Keys = Keys {
    of: "what a text is compared with",
    known: &[EQUALS, CONTAINS, NOT_CONTAINS, MATCHES, SNAPSHOT],
    ..Keys::NONE
};
const BODY: Keys = Keys {
    of: "what a body is compared with",
    known: &[
        key("json_equals", Shape::Any, "It is this value, whatever the order of its keys"),
        key("json_contains", Shape::Any, "It has at least these keys with these values"),
        EQUALS,
        CONTAINS,
        NOT_CONTAINS,
        MATCHES,
        SNAPSHOT,
    ],
    ..Keys::NONE
};
const RULE: Shape = Shape::Named(Named::Rule);
const COUNT_MAX: u32 = 10_000;
/// How many names a message lists.
const NAMES_SHOWN: usize = 20;

pub(super) fn read(reading: &mut Reading<'_, '_>, node: &Node, now: Timestamp, test: &str) -> Expect {
    let Some(fields) = reading.reader.fields(node, EXPECT) else { return Expect::default() };
    if ["rules", "deliveries", "not_matched"].iter().all(|key| fields.get(key).is_none()) {
        let help = "name `rules`, `deliveries` ([] is silence) or `not_matched`";
        reading.reader.error(codes::MISSING_KEY, fields.span(), "nothing is expected", help);
    }
    let rules = fields.get("rules").and_then(|node| {
        // One rule needs no list; an empty one says that none takes the messages.
        let items = match &node.kind {
            Kind::Scalar(_) => std::slice::from_ref(node),
            _ => reading.reader.list(
                node,
                "a list of rules",
                "write [one, two], or [] where none takes them",
            )?,
        };
        let items = items.iter().filter_map(|item| reading.rule(item)).collect();
        Some(Listed { span: fields.key_span("rules"), items })
    });
    let deliveries = fields.get("deliveries").and_then(|node| {
        let help = "write `- to: …` for each of them; [] is silence";
        let items = reading.reader.list(node, "a list of deliveries", help)?;
        let mut found = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let delivery = reading.delivery(item, now, (test, index + 1));
            found.extend(delivery.map(|value| Placed { value, span: item.span }));
        }
        Some(Listed { span: fields.key_span("deliveries"), items: found })
    });
    let not_matched = fields.get("not_matched").map(|node| reading.not_matched(node)).unwrap_or_default();
    Expect { rules, deliveries, not_matched }
}

impl Reading<'_, '_> {
    /// The name of a rule; the relay's own notices have one too.
    fn rule(&mut self, node: &Node) -> Option<Placed<String>> {
        let spot = self.reader.text(node, "the name of a rule")?;
        let config = self.config;
        self.known(spot, "rule", config.rules.list().iter().map(|rule| rule.name.as_str()).chain([RELAY]))
    }

    fn not_matched(&mut self, node: &Node) -> Vec<(Placed<String>, Option<Placed<String>>)> {
        let Kind::Map(entries) = &node.kind else {
            let help = "write { rule: words of the reason }, or { rule: } for whatever reason";
            self.reader.wrong(node, "a mapping", help);
            return Vec::new();
        };
        let mut found = Vec::new();
        for entry in entries {
            let name = Spot {
                value: entry.key.clone(),
                span: entry.span,
                written: entry.key.clone(),
                substituted: false,
            };
            let config = self.config;
            let rules = config.rules.list().iter().map(|rule| rule.name.as_str());
            let Some(rule) = self.known(name, "rule", rules) else { continue };
            let reason = match entry.value.kind {
                Kind::Null => None,
                _ => match self.reader.text(&entry.value, "words of the reason") {
                    Some(spot) => Some(placed(spot)),
                    None => continue,
                },
            };
            found.push((rule, reason));
        }
        found
    }

    fn delivery(&mut self, node: &Node, now: Timestamp, test: (&str, usize)) -> Option<ExpectedDelivery> {
        let fields = self.reader.fields(node, DELIVERY)?;
        let to = self.reader.required(fields, "to", "name the target")?;
        let to = self.reader.text(to, "the name of a target")?;
        let config = self.config;
        let to = self.known(to, "target", config.targets.keys().map(String::as_str))?;
        let rule = fields.get("rule").and_then(|node| self.rule(node));
        let template = fields.get("template").and_then(|node| {
            let spot = self.reader.text(node, "the name of a template")?;
            self.known(spot, "template", config.templates.names())
        });
        let recipient = fields.get("recipient").and_then(|node| {
            let spot = self.reader.text(node, "one of the target's recipients")?;
            let recipients = config.targets.get(&to.value).map_or(&[][..], |target| target.recipients());
            self.known(spot, "recipient", recipients.iter().map(String::as_str))
        });
        let count = fields.get("count").and_then(|node| self.reader.number(node, 1..=COUNT_MAX));
        let messages = fields.get("messages").and_then(|node| {
            let value = usize::try_from(self.reader.number(node, 0..=COUNT_MAX)?).ok()?;
            Some(Placed { value, span: node.span })
        });
        let resolved = fields.get("resolved").and_then(|node| {
            let value = self.reader.truth(node)?;
            Some(Placed { value, span: node.span })
        });
        let at = fields.get("at").and_then(|node| {
            let value = self.at(node, now)?;
            Some(Placed { value, span: node.span })
        });
        let states = StateName::ALL.map(|state| (state.as_str(), state));
        let state = fields.get("state").and_then(|node| {
            let value = self.reader.choice(node, &states)?;
            Some(Placed { value, span: node.span })
        });
        let state = state.unwrap_or(Placed { value: StateName::Delivered, span: to.span });
        let count = count.and_then(|count| usize::try_from(count).ok()).unwrap_or(1);
        let checks = self.checks(fields, &to.value, test);
        if let Some(first) = checks.first()
            && state.value != StateName::Delivered
        {
            let help = format!("take it out, or expect `state: {}`", StateName::Delivered);
            let message = format!("what is {} has not been rendered", state.value);
            self.reader.error(codes::TEST_PART, first.span, message, help);
        }
        Some(ExpectedDelivery { to, count, rule, recipient, at, state, template, messages, resolved, checks })
    }

    fn checks(&mut self, fields: Fields<'_>, target: &str, test: (&str, usize)) -> Vec<Check> {
        let format = self.config.targets.get(target).map(|target| target.format());
        let mut found = Vec::new();
        for part in [Part::Subject, Part::Text, Part::Html, Part::Body] {
            let Some(node) = fields.get(part.as_str()) else { continue };
            let has = match (part, format) {
                (_, None) | (Part::Text, _) | (Part::Subject, Some(Format::Slack | Format::Email)) => true,
                (Part::Html, Some(format)) => format == Format::Email,
                (Part::Body, Some(format)) => format != Format::Email,
                (Part::Subject, Some(_)) => false,
            };
            if !has {
                let help = "a mail has subject, text and html; Slack has subject (the notification), text and body; HTTP has \
                            text and body";
                let message = format!("what `{target}` is sent has no part `{}`", part.as_str());
                self.reader.error(codes::TEST_PART, fields.key_span(part.as_str()), message, help);
                continue;
            }
            self.matchers(part, node, target, test, &mut found);
        }
        found
    }

    /// One way of looking at a part, or a list of them, which all have to hold.
    fn matchers(
        &mut self,
        part: Part,
        node: &Node,
        target: &str,
        test: (&str, usize),
        found: &mut Vec<Check>,
    ) {
        for node in self.reader.one_or_more(node) {
            self.matcher(part, node, target, test, found);
        }
    }

    fn matcher(
        &mut self,
        part: Part,
        node: &Node,
        target: &str,
        test: (&str, usize),
        found: &mut Vec<Check>,
    ) {
        if let Kind::Scalar(_) = node.kind {
            let Some(spot) = self.reader.text(node, "text") else { return };
            found.push(Check { part, matcher: Matcher::Equals(spot.value), span: spot.span });
            return;
        }
        let keys = if part == Part::Body { BODY } else { MATCHER };
        let Some(fields) = self.reader.fields(node, keys) else { return };
        for key in keys.names() {
            let Some(node) = fields.get(key) else { continue };
            if key.starts_with("json_") {
                let value = json(node);
                let matcher = if key == "json_equals" {
                    Matcher::JsonEquals(value)
                } else {
                    Matcher::JsonContains(value)
                };
                found.push(Check { part, matcher, span: node.span });
            } else if key == "snapshot" {
                let name = self.snapshot(node, (test.0, target, part), test.1);
                found.extend(name.map(|name| Check {
                    part,
                    matcher: Matcher::Snapshot(name),
                    span: node.span,
                }));
            } else {
                for item in self.reader.one_or_more(node) {
                    found.extend(self.text_matcher(part, key, item));
                }
            }
        }
    }

    fn text_matcher(&mut self, part: Part, key: &str, node: &Node) -> Option<Check> {
        let spot = self.reader.text(node, "text")?;
        let matcher = match key {
            "equals" => Matcher::Equals(spot.value),
            "contains" => Matcher::Contains(spot.value),
            "not_contains" => Matcher::NotContains(spot.value),
            _ => match Regex::new(&spot.value) {
                Ok(regex) => Matcher::Matches(regex),
                Err(error) => {
                    let why = regex_fault(&error);
                    let help = "see https://docs.rs/regex/latest/regex/#syntax; (?s) lets . match line ends";
                    let message = format!("this is not a regular expression: {why}");
                    self.reader.error(codes::TEST_PATTERN, spot.span, message, help);
                    return None;
                }
            },
        };
        Some(Check { part, matcher, span: spot.span })
    }

    /// `true` for a name made of the test's, or the name itself: a path without the ending.
    fn snapshot(&mut self, node: &Node, of: (&str, &str, Part), number: usize) -> Option<String> {
        let (test, target, part) = of;
        let spot = self.reader.word(node, "true, or a name for the snapshot")?;
        if spot.value == "false" || spot.value.is_empty() || spot.value.contains(['/', '\\']) {
            let help = "write `snapshot: true`, or a name of letters, digits and hyphens";
            self.reader.error(codes::NAME, spot.span, "this is no name for a snapshot", help);
            return None;
        }
        let name = if spot.value == "true" {
            let number = if number > 1 { format!("-{number}") } else { String::new() };
            format!("{}-{}{number}-{}", slug(test), slug(target), part.as_str())
        } else {
            slug(&spot.value)
        };
        Some(format!("{}/{name}", slug(self.stem)))
    }

    fn known<'a>(
        &mut self,
        spot: Spot<String>,
        what: &str,
        names: impl IntoIterator<Item = &'a str>,
    ) -> Option<Placed<String>> {
        let names: Vec<&str> = names.into_iter().collect();
        if names.contains(&spot.value.as_str()) {
            return Some(placed(spot));
        }
        let finding =
            Finding::error(codes::TEST_NAME, spot.span, format!("there is no {what} `{}`", spot.written));
        let shown = names.iter().take(NAMES_SHOWN).copied().collect::<Vec<_>>().join(", ");
        let all = if names.is_empty() {
            format!("there is no {what} at all")
        } else {
            format!("there are: {shown}")
        };
        self.reader.report(match nearest(&spot.value, names.iter().copied()) {
            Some(near) => finding.help(format!("did you mean `{near}`? In all, {all}")).replacement(near),
            None => finding.help(all),
        });
        None
    }
}

fn placed(spot: Spot<String>) -> Placed<String> {
    Placed { value: spot.value, span: spot.span }
}

/// Letters and digits, with a hyphen for all that stands between them.
pub(super) fn slug(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars().flat_map(char::to_lowercase) {
        if c.is_alphanumeric() {
            out.push(c);
        } else if !out.ends_with('-') && !out.is_empty() {
            out.push('-');
        }
    }
    out.trim_end_matches('-').to_owned()
}

/// A value as JSON has it: numbers and truth values where no quotes say otherwise.
pub(super) fn json(node: &Node) -> Value {
    match &node.kind {
        Kind::Null => Value::Null,
        Kind::Scalar(scalar) => scalar_json(scalar),
        Kind::List(items) => Value::Array(items.iter().map(json).collect()),
        Kind::Map(entries) => {
            Value::Object(entries.iter().map(|entry| (entry.key.clone(), json(&entry.value))).collect())
        }
    }
}

fn scalar_json(scalar: &Scalar) -> Value {
    if scalar.style != Style::Plain {
        return Value::String(scalar.text.clone());
    }
    match serde_json::from_str::<Value>(&scalar.text) {
        Ok(value @ (Value::Bool(_) | Value::Number(_))) => value,
        _ => Value::String(scalar.text.clone()),
    }
}
