//! One delivery beside one expectation: all that differs.

use serde_json::Value;

use crate::config::codes::Code;
use crate::config::problem::Span;
use crate::config::rule_tests::{self as codes, Check, ExpectedDelivery, Matcher};
use crate::model::payload::Payload;

use super::difference::Difference;
use super::judge::Judge;
use super::parts;
use super::play::Made;
use super::snapshots::same;
use crate::cli::output::counted;

/// One thing that differs.
#[derive(Debug)]
pub(super) struct Mismatch {
    pub(super) code: &'static Code,
    pub(super) span: Span,
    pub(super) message: String,
    pub(super) help: Option<String>,
    pub(super) difference: Option<Difference>,
}

impl Mismatch {
    fn new(code: &'static Code, span: Span, message: String) -> Self {
        Self { code, span, message, help: None, difference: None }
    }
}

/// All that differs between what was expected and what was made; the target aside, which is the same.
pub(super) fn mismatches(judge: &Judge<'_>, wanted: &ExpectedDelivery, made: &Made) -> Vec<Mismatch> {
    let (row, target) = (&made.row, &wanted.to.value);
    let mut found = Vec::new();
    let mut differs = |span, message| found.push(Mismatch::new(codes::DELIVERY, span, message));
    if let Some(rule) = wanted.rule.as_ref().filter(|rule| rule.value != row.rule) {
        differs(rule.span, format!("it is the rule `{}` that owes this delivery to {target}", row.rule));
    }
    if let Some(to) = wanted.recipient.as_ref().filter(|to| row.recipient.as_ref() != Some(&to.value)) {
        let is = row.recipient.as_deref().unwrap_or("nobody in particular");
        differs(to.span, format!("this delivery to {target} goes to {is}"));
    }
    if let Some(template) = wanted.template.as_ref().filter(|template| template.value != row.template) {
        differs(template.span, format!("the template is `{}`", row.template));
    }
    if let Some(count) = wanted.messages.as_ref().filter(|count| count.value != row.messages.len()) {
        differs(
            count.span,
            format!("this delivery to {target} is about {}", counted(row.messages.len(), "message")),
        );
    }
    if let Some(resolved) = wanted.resolved.as_ref().filter(|one| one.value != row.made_good.is_some()) {
        let is = match &row.made_good {
            Some(good) => format!("was made good by {} at {}", good.by, judge.moment(good.at)),
            None => "was not made good".to_owned(),
        };
        differs(resolved.span, format!("this delivery to {target} {is}"));
    }
    if wanted.state.value != row.state {
        differs(wanted.state.span, format!("this delivery to {target} is {}", judge.state_in_words(made)));
    }
    if let Some(at) = &wanted.at
        && let Some(is) = made.at().filter(|is| *is != at.value)
    {
        let (is, wanted) = (judge.moment(is), judge.moment(at.value));
        differs(at.span, format!("the delivery to {target} went out at {is}, and not at {wanted}"));
    }
    if let Some(sent) = &made.sent {
        let of = (target.as_str(), wanted.count);
        found.extend(wanted.checks.iter().filter_map(|check| part(judge, check, &sent.payload, of)));
    }
    found
}

/// What is wrong with one part.
fn part(
    judge: &Judge<'_>,
    check: &Check,
    payload: &Payload,
    (target, count): (&str, usize),
) -> Option<Mismatch> {
    let what = format!("the {} to {target}", check.part.as_str());
    let differs = |message: String, difference: Difference| {
        Some(Mismatch { difference: Some(difference), ..Mismatch::new(codes::TEXT, check.span, message) })
    };
    if let Matcher::JsonEquals(_) | Matcher::JsonContains(_) = check.matcher {
        return json(check, &parts::body(payload)?, &what);
    }
    let Some(text) = parts::text(payload, check.part) else {
        let message = format!("what was sent to {target} has no {} part", check.part.as_str());
        return Some(Mismatch::new(codes::TEXT, check.span, message));
    };
    match &check.matcher {
        Matcher::Equals(wanted) if !same(wanted, &text) => {
            let difference = Difference::Between { expected: wanted.clone(), actual: text };
            differs(format!("{what} is another one"), difference)
        }
        Matcher::Contains(wanted) if !text.contains(wanted.trim_end_matches('\n')) => {
            differs(format!("{what} does not contain this"), Difference::In(text))
        }
        Matcher::NotContains(unwanted) if text.contains(unwanted.trim_end_matches('\n')) => {
            differs(format!("{what} contains this"), Difference::In(text))
        }
        Matcher::Matches(regex) if !regex.is_match(&text) => {
            differs(format!("{what} does not match this"), Difference::In(text))
        }
        Matcher::Snapshot(name) if !judge.snapshots.update => {
            let found = snapshot(judge, check, name, text, &what)?;
            let several = "if the deliveries of this entry are to have different texts, write an entry for each of them";
            let help =
                if count > 1 { found.help.map(|help| format!("{help}; {several}")) } else { found.help };
            Some(Mismatch { help, ..found })
        }
        _ => None,
    }
}

fn snapshot(judge: &Judge<'_>, check: &Check, name: &str, text: String, what: &str) -> Option<Mismatch> {
    let path = judge.snapshots.path(name, check.part);
    let file = path.display();
    let (message, help, difference) = match judge.snapshots.read(name, check.part) {
        Some(kept) if same(&kept, &text) => return None,
        Some(expected) => (
            format!("{what} differs from {file}"),
            "if it is to be so, `activity-relay test --update` writes the snapshot anew",
            Difference::Between { expected, actual: text },
        ),
        None => (
            format!("{file} does not exist yet"),
            "`activity-relay test --update` writes it; read it before you keep it",
            Difference::In(text),
        ),
    };
    let mismatch = Mismatch::new(codes::SNAPSHOT, check.span, message);
    Some(Mismatch { help: Some(help.to_owned()), difference: Some(difference), ..mismatch })
}

fn json(check: &Check, is: &Value, what: &str) -> Option<Mismatch> {
    let (fits, expected, actual) = match &check.matcher {
        Matcher::JsonEquals(wanted) => (wanted == is, wanted, is.clone()),
        Matcher::JsonContains(wanted) => (contains(is, wanted), wanted, restricted(is, wanted)),
        _ => return None,
    };
    if fits {
        return None;
    }
    let difference = Difference::Between {
        expected: parts::pretty(&sorted(expected)),
        actual: parts::pretty(&sorted(&actual)),
    };
    let how = if matches!(check.matcher, Matcher::JsonEquals(_)) {
        "is another one"
    } else {
        "does not contain this"
    };
    let message = format!("{what} {how}");
    Some(Mismatch { difference: Some(difference), ..Mismatch::new(codes::TEXT, check.span, message) })
}

/// `is` has at least the keys of `wanted`, with values that contain theirs, and its items, in their order.
fn contains(is: &Value, wanted: &Value) -> bool {
    match (is, wanted) {
        (Value::Object(is), Value::Object(wanted)) => {
            wanted.iter().all(|(key, wanted)| is.get(key).is_some_and(|is| contains(is, wanted)))
        }
        (Value::Array(is), Value::Array(wanted)) => {
            let mut rest = is.iter();
            wanted.iter().all(|wanted| rest.any(|is| contains(is, wanted)))
        }
        _ => is == wanted,
    }
}

/// What of `is` is of interest beside `wanted`: the keys that it names.
fn restricted(is: &Value, wanted: &Value) -> Value {
    match (is, wanted) {
        (Value::Object(is), Value::Object(wanted)) => {
            let of = |(key, wanted): (&String, &Value)| Some((key.clone(), restricted(is.get(key)?, wanted)));
            Value::Object(wanted.iter().filter_map(of).collect())
        }
        (Value::Array(is), Value::Array(wanted)) if !wanted.is_empty() => {
            // Which items were meant is not known: each is shown by the keys of the one in its place.
            let last = wanted.len() - 1;
            Value::Array(
                is.iter().enumerate().map(|(at, is)| restricted(is, &wanted[at.min(last)])).collect(),
            )
        }
        _ => is.clone(),
    }
}

/// With keys in one order, so that only values differ.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut keys: Vec<&String> = fields.keys().collect();
            keys.sort();
            Value::Object(keys.into_iter().map(|key| (key.clone(), sorted(&fields[key]))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_body_contains_what_it_has_more_of() {
        let is = json!({ "a": 1, "b": { "c": "x", "d": null }, "list": [1, { "e": 2, "f": 3 }, 4] });
        for wanted in
            [json!({}), json!({ "b": { "c": "x" } }), json!({ "list": [{ "e": 2 }, 4] }), is.clone()]
        {
            assert!(contains(&is, &wanted), "{wanted}");
        }
        for wanted in [json!({ "a": 2 }), json!({ "g": null }), json!({ "list": [4, 1] }), json!([])] {
            assert!(!contains(&is, &wanted), "{wanted}");
        }
        assert_eq!(
            restricted(&json!([{ "a": 1, "b": 2 }, { "a": 3, "b": 4 }]), &json!([{ "a": 0 }])),
            json!([{ "a": 1 }, { "a": 3 }])
        );
        assert_eq!(
            restricted(&is, &json!({ "a": 5, "b": { "c": 0 }, "z": 1 })),
            json!({ "a": 1, "b": { "c": "x" } })
        );
    }
}
