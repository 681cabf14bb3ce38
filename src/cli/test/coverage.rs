//! Which rules, blocks of conditions and deliveries the tests reached.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::cli::output::{BOLD, DIM, GOOD, WARN, paint};
use crate::config::{Config, Loaded, Subject as Of};
use crate::rules::condition::Subject;
use crate::rules::{Place, Rule};

use super::play::Played;

/// What was reached so far.
#[derive(Debug, Default)]
pub(super) struct Reached {
    rules: HashSet<String>,
    /// Of the rule, which block.
    blocks: HashSet<(String, usize)>,
    /// By the rule, to which target.
    deliveries: HashSet<(String, String)>,
}

/// What there is, and what of it no test reached.
#[derive(Debug, Default)]
pub(super) struct Coverage {
    rules: Share,
    /// Of rules with several blocks.
    blocks: Share,
    deliveries: Share,
}

#[derive(Debug, Default)]
struct Share {
    of: usize,
    missing: Vec<Missing>,
}

#[derive(Debug)]
struct Missing {
    rule: String,
    place: Place,
    /// What of the rule: for people, and as a key with its value for programs.
    what: String,
    key: Option<(&'static str, Value)>,
}

impl Reached {
    /// Notes what a test reached.
    pub(super) fn note(&mut self, config: &Config, played: &Played) {
        for judged in &played.messages {
            let subject = Subject::of(&judged.message);
            for verdict in judged.verdicts.iter().filter(|verdict| verdict.matched) {
                self.rules.insert(verdict.rule.clone());
                let Some(rule) = config.rules.get(&verdict.rule) else { continue };
                let blocks =
                    rule.any_of.iter().enumerate().filter(|(_, block)| block.takes_subject(&subject));
                self.blocks.extend(blocks.map(|(number, _)| (verdict.rule.clone(), number)));
            }
        }
        let sent = played.made.iter().filter(|made| made.was_sent());
        self.deliveries.extend(sent.map(|made| (made.row.rule.clone(), made.row.target.clone())));
    }

    /// Beside what there is in the rules file.
    pub(super) fn coverage(&self, config: &Config, loaded: &Loaded) -> Coverage {
        let mut coverage =
            Coverage { rules: Share::default(), blocks: Share::default(), deliveries: Share::default() };
        for (number, rule) in config.rules.list().iter().enumerate() {
            let missing = (!self.rules.contains(&rule.name)).then(|| rule_missing(rule));
            coverage.rules.count(missing);
            for block in (0..rule.any_of.len()).filter(|_| rule.any_of.len() > 1) {
                let reached = self.blocks.contains(&(rule.name.clone(), block));
                let point = rule.points.any_of.get(block).map(|points| points.block).unwrap_or_default();
                coverage.blocks.count((!reached).then(|| Missing {
                    place: rule.place_of(point),
                    what: format!("block {} of `match` of the rule `{}`", block + 1, rule.name),
                    key: Some(("block", json!(block + 1))),
                    ..rule_missing(rule)
                }));
            }
            for (delivery, deliver) in rule.deliver.iter().enumerate() {
                let reached = self.deliveries.contains(&(rule.name.clone(), deliver.target.clone()));
                coverage.deliveries.count((!reached).then(|| Missing {
                    what: format!("the delivery of the rule `{}` to {}", rule.name, deliver.target),
                    key: Some(("to", json!(deliver.target))),
                    place: loaded.place(Of::Template(number, delivery)),
                    rule: rule.name.clone(),
                }));
            }
        }
        coverage
    }
}

fn rule_missing(rule: &Rule) -> Missing {
    let what = format!("the rule `{}`", rule.name);
    Missing { rule: rule.name.clone(), place: rule.place.clone(), what, key: None }
}

impl Share {
    fn count(&mut self, missing: Option<Missing>) {
        self.of += 1;
        self.missing.extend(missing);
    }

    fn reached(&self) -> usize {
        self.of - self.missing.len()
    }

    fn shown(&self, what: &str) -> String {
        let percent = (self.reached() * 100).checked_div(self.of).unwrap_or(100);
        let style = if self.missing.is_empty() { GOOD } else { WARN };
        format!("{what} {} of {} ({})", self.reached(), self.of, paint(style, format!("{percent} %")))
    }

    fn json(&self) -> Value {
        let missing: Vec<Value> = self.missing.iter().map(Missing::json).collect();
        json!({ "reached": self.reached(), "of": self.of, "missing": missing })
    }
}

impl Missing {
    fn json(&self) -> Value {
        let mut value = json!({ "rule": self.rule });
        if let Some((key, named)) = &self.key {
            value[*key] = named.clone();
        }
        value["place"] = json!({ "file": self.place.file, "line": self.place.line });
        value
    }
}

impl Coverage {
    /// For programs.
    pub(super) fn json(&self) -> Value {
        json!({ "rules": self.rules.json(), "blocks": self.blocks.json(), "deliveries": self.deliveries.json() })
    }

    /// For people. Of a rule that no test reached, its parts are not listed.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut shares = vec![self.rules.shown("rules")];
        if self.blocks.of > 0 {
            shares.push(self.blocks.shown("blocks of conditions"));
        }
        shares.push(self.deliveries.shown("deliveries"));
        let mut lines = vec![format!("{} {}", paint(BOLD, "coverage:"), shares.join(", "))];
        let gone = |rule: &str| self.rules.missing.iter().any(|missing| missing.rule == rule);
        let parts = self.blocks.missing.iter().chain(&self.deliveries.missing);
        let mut missing: Vec<&Missing> =
            self.rules.missing.iter().chain(parts.filter(|part| !gone(&part.rule))).collect();
        missing.sort_by_key(|missing| (missing.place.file.as_str(), missing.place.line));
        for missing in missing {
            let place = format!("{}:{}", missing.place.file, missing.place.line);
            lines.push(format!("  {} no test reaches {}", paint(DIM, format!("{place}:")), missing.what));
        }
        lines
    }
}
