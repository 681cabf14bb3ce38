//! What differs between what two rules files send for the same messages. Pure.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::super::Past;

/// How many messages a difference names.
const EXAMPLES_MAX: usize = 3;
/// A shift of less than so many seconds comes from a target's pace, not from the rules.
const PACE_SECONDS: i64 = 60;

/// Where something goes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct To {
    /// The target's name.
    pub(super) target: String,
    /// The recipient, where the target has several.
    pub(super) recipient: Option<String>,
}

/// Something that a rules file sends for a message.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sending {
    /// Where to.
    pub(super) to: To,
    /// By which rule.
    pub(super) rule: String,
    /// When.
    pub(super) at: Timestamp,
    /// What, without what only tells deliveries apart.
    pub(super) content: Value,
}

/// All that a rules file sends, by account and message.
pub(super) type Outcome = BTreeMap<(String, String), Vec<Sending>>;

/// How something is different, in the order in which it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    Stops,
    Adds,
    Moves,
    Later,
    Earlier,
    Text,
    Rule,
}

/// One line of the difference: what is alike is counted.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Change {
    /// How it is different.
    #[serde(rename = "change")]
    pub(super) kind: Kind,
    /// By which rule it is sent; by which it was, where it no longer is.
    pub(super) rule: String,
    /// By which rule it was sent, where that is another one.
    pub(super) rule_before: Option<String>,
    /// Where to.
    #[serde(flatten)]
    pub(super) to: To,
    /// Where it went to, where that is somewhere else.
    pub(super) before: Option<To>,
    /// The message type, as `Type/message/direction`; `None` where only the rule has another name.
    pub(super) message: Option<String>,
    /// How many deliveries.
    pub(super) count: usize,
    /// Uids of the first messages.
    pub(super) messages: Vec<String>,
    /// Of the first: when it was sent, or the first part that differs.
    pub(super) was: Option<String>,
    /// The same under the other file.
    pub(super) now: Option<String>,
}

impl Change {
    /// It is about one of these rules.
    pub(super) fn concerns(&self, rules: &[String]) -> bool {
        rules.iter().any(|rule| *rule == self.rule || Some(rule) == self.rule_before.as_ref())
    }

    fn is_like(&self, other: &Self) -> bool {
        (self.kind, &self.rule, &self.rule_before, &self.to, &self.before, &self.message)
            == (other.kind, &other.rule, &other.rule_before, &other.to, &other.before, &other.message)
    }
}

/// Everything that differs, what is alike counted together.
pub(super) fn changes(old: &Outcome, new: &Outcome, past: &[Past]) -> Vec<Change> {
    let mut all: Vec<Change> = Vec::new();
    for Past { message, .. } in past {
        let key = (message.account.clone(), message.uid.clone());
        let of = |outcome: &Outcome| outcome.get(&key).cloned().unwrap_or_default();
        for (old, new) in pairs(of(old), of(new)) {
            let Some(mut change) = change(old.as_ref(), new.as_ref()) else { continue };
            change.message = (change.kind != Kind::Rule).then(|| message.triple.to_string());
            match all.iter_mut().find(|known| known.is_like(&change)) {
                Some(known) => {
                    known.count += 1;
                    if known.messages.len() < EXAMPLES_MAX && !known.messages.contains(&message.uid) {
                        known.messages.push(message.uid.clone());
                    }
                }
                None => all.push(Change { messages: vec![message.uid.clone()], ..change }),
            }
        }
    }
    all.sort_by(|a, b| (a.kind, &a.to, &a.rule, &a.message).cmp(&(b.kind, &b.to, &b.rule, &b.message)));
    all
}

/// What takes the place of what: first what goes to the same address by the same rule, then what the same rule sends
/// elsewhere, then what says the same at the same address, then what goes there at all. The rest has no counterpart.
fn pairs(old: Vec<Sending>, mut new: Vec<Sending>) -> Vec<(Option<Sending>, Option<Sending>)> {
    type Alike = fn(&Sending, &Sending) -> bool;
    let ways: [Alike; 4] = [
        |a, b| a.to == b.to && a.rule == b.rule,
        |a, b| a.rule == b.rule,
        |a, b| a.to == b.to && a.content == b.content,
        |a, b| a.to == b.to,
    ];
    let (mut pairs, mut left) = (Vec::new(), old);
    for alike in ways {
        for one in std::mem::take(&mut left) {
            match new.iter().position(|other| alike(&one, other)) {
                Some(position) => pairs.push((Some(one), Some(new.remove(position)))),
                None => left.push(one),
            }
        }
    }
    pairs.extend(left.into_iter().map(|one| (Some(one), None)));
    pairs.extend(new.into_iter().map(|one| (None, Some(one))));
    pairs
}

fn change(old: Option<&Sending>, new: Option<&Sending>) -> Option<Change> {
    let of = |kind, one: &Sending| Change {
        kind,
        rule: one.rule.clone(),
        rule_before: None,
        to: one.to.clone(),
        before: None,
        message: None,
        count: 1,
        messages: Vec::new(),
        was: None,
        now: None,
    };
    let (old, new) = match (old, new) {
        (None, None) => return None,
        (Some(old), None) => return Some(of(Kind::Stops, old)),
        (None, Some(new)) => return Some(of(Kind::Adds, new)),
        (Some(old), Some(new)) => (old, new),
    };
    let shift = new.at.duration_since(old.at).as_secs();
    let mut change = if old.to != new.to {
        Change { before: Some(old.to.clone()), ..of(Kind::Moves, new) }
    } else if shift.abs() >= PACE_SECONDS {
        let kind = if shift > 0 { Kind::Later } else { Kind::Earlier };
        Change { was: Some(old.at.to_string()), now: Some(new.at.to_string()), ..of(kind, new) }
    } else if let Some((was, now)) = first_difference(&old.content, &new.content) {
        Change { was: Some(was), now: Some(now), ..of(Kind::Text, new) }
    } else if old.rule != new.rule {
        of(Kind::Rule, new)
    } else {
        return None;
    };
    change.rule_before = (old.rule != new.rule).then(|| old.rule.clone());
    Some(change)
}

/// The first value that differs; of two texts the first line that does. What is missing is empty.
fn first_difference(old: &Value, new: &Value) -> Option<(String, String)> {
    match (old, new) {
        _ if old == new => None,
        (Value::Object(a), Value::Object(b)) => {
            let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            let of =
                |map: &serde_json::Map<String, Value>, key: &str| map.get(key).cloned().unwrap_or_default();
            keys.into_iter().find_map(|key| first_difference(&of(a, key), &of(b, key)))
        }
        (Value::Array(a), Value::Array(b)) => {
            let of = |list: &[Value], at: usize| list.get(at).cloned().unwrap_or_default();
            (0..a.len().max(b.len())).find_map(|at| first_difference(&of(a, at), &of(b, at)))
        }
        (Value::String(a), Value::String(b)) => {
            let (mut a, mut b) = (a.lines(), b.lines());
            loop {
                match (a.next(), b.next()) {
                    // They differ in how their lines end.
                    (None, None) => return Some((String::new(), String::new())),
                    (a, b) if a != b => {
                        return Some((a.unwrap_or_default().to_owned(), b.unwrap_or_default().to_owned()));
                    }
                    _ => {}
                }
            }
        }
        _ => Some((words(old), words(new))),
    }
}

fn words(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sending(to: &str, rule: &str, at: i64, text: &str) -> Sending {
        let to = To { target: to.to_owned(), recipient: None };
        let at = Timestamp::from_second(1_790_000_000 + at).unwrap();
        Sending { to, rule: rule.to_owned(), at, content: json!({ "text": text }) }
    }

    fn compared(old: &[&Sending], new: &[&Sending]) -> Vec<String> {
        let owned = |list: &[&Sending]| list.iter().copied().cloned().collect();
        let pairs = pairs(owned(old), owned(new));
        let changes = pairs.iter().filter_map(|(old, new)| change(old.as_ref(), new.as_ref()));
        let mut lines: Vec<String> = changes
            .map(|change| {
                let from = change.before.map_or(String::new(), |to| format!(" from {}", to.target));
                let rule = change.rule_before.map_or(String::new(), |rule| format!("{rule}→"));
                format!("{:?}{from} to {} by {rule}{}", change.kind, change.to.target, change.rule)
            })
            .collect();
        lines.sort();
        lines
    }

    #[test]
    fn each_delivery_has_one_counterpart_at_most() {
        let (a, b) = (&sending("crm", "a", 0, "x"), &sending("crm", "b", 0, "x"));
        assert_eq!(compared(&[a, b], &[b, a]), [""; 0]);
        assert_eq!(compared(&[a, b], &[b]), ["Stops to crm by a"]);
        assert_eq!(compared(&[a], &[a, b]), ["Adds to crm by b"]);
        assert_eq!(compared(&[a], &[b]), ["Rule to crm by a→b"]);
        assert_eq!(compared(&[a], &[&sending("desk", "a", 0, "y")]), ["Moves from crm to desk by a"]);
        let elsewhere = &sending("desk", "b", 0, "x");
        assert_eq!(compared(&[a], &[elsewhere]), ["Adds to desk by b", "Stops to crm by a"]);
        assert_eq!(compared(&[a, elsewhere], &[b]), ["Moves from desk to crm by b", "Stops to crm by a"]);
    }

    #[test]
    fn a_target_s_pace_is_no_difference() {
        let at = |seconds| sending("crm", "a", seconds, "x");
        assert_eq!(compared(&[&at(0)], &[&at(59)]), [""; 0]);
        assert_eq!(compared(&[&at(0)], &[&at(3600)]), ["Later to crm by a"]);
        assert_eq!(compared(&[&at(0)], &[&at(-3600)]), ["Earlier to crm by a"]);
    }

    #[test]
    fn the_first_difference_is_a_value_or_a_line() {
        let differ = |old: Value, new: Value| first_difference(&old, &new);
        assert_eq!(differ(json!({"a": 1}), json!({"a": 1})), None);
        let lines = (json!({"a": 1, "text": "x\ny\nz"}), json!({"a": 1, "text": "x\nY\nz"}));
        assert_eq!(differ(lines.0, lines.1), Some(("y".into(), "Y".into())));
        assert_eq!(differ(json!({}), json!({"b": [true]})), Some((String::new(), "[true]".into())));
        assert_eq!(differ(json!([1, 2]), json!([1])), Some(("2".into(), String::new())));
    }
}
