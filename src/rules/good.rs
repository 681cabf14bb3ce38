//! What makes earlier messages good: the keys that a message has in common with those that came before. Pure.

use crate::model::good::MakesGood;
use crate::model::group::SEPARATOR;
use crate::model::message::Message;
use crate::model::names::Names;

use super::Rule;
use super::key::Key;

/// What the message makes good by the rules that took it. One that misses a field of the key makes nothing good.
pub fn makes_good(found: &[&Rule], message: &Message, names: &Names) -> Vec<MakesGood> {
    let of = |rule: &&Rule| {
        let resolves = rule.resolves.as_ref()?;
        Some(MakesGood { rules: resolves.rules.clone(), key: text(&resolves.by, message, names)? })
    };
    found.iter().filter_map(of).collect()
}

/// The keys by which later messages make a delivery of the rule for this message good.
pub(super) fn good_by(rule: &Rule, message: &Message, names: &Names) -> Vec<String> {
    rule.good_by.iter().filter_map(|key| text(key, message, names)).collect()
}

/// By each rule, the keys of all that resolve it.
pub(super) fn mark(rules: &mut [Rule]) {
    let resolves: Vec<_> = rules.iter().filter_map(|rule| rule.resolves.clone()).collect();
    for rule in rules {
        rule.good_by.clear();
        for resolves in resolves.iter().filter(|resolves| resolves.rules.contains(&rule.name)) {
            if !rule.good_by.contains(&resolves.by) {
                rule.good_by.push(resolves.by.clone());
            }
        }
    }
}

/// The key with its fields' names, so that what other fields make is another key.
fn text(key: &Key, message: &Message, names: &Names) -> Option<String> {
    let keyed = key.of(message, names);
    let fields: Vec<&str> = key.fields_of().collect();
    keyed.missing.is_empty().then(|| format!("{}{SEPARATOR}{}", fields.join(","), keyed.key))
}
