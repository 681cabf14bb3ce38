//! What is different between two configurations, by the names of their parts: for people and programs, never a value.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::outline::Section;

/// Names that are shown of each section; the others are counted.
const SHOWN_MAX: usize = 20;

/// See the module. Sections in which nothing is different are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Difference {
    sections: BTreeMap<Section, Changes>,
}

/// What is different in one section.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Changes {
    /// Names that are new.
    pub added: Vec<String>,
    /// Names that are gone.
    pub removed: Vec<String>,
    /// What says something else than it did.
    pub changed: Vec<Changed>,
    /// They stand in another order.
    pub reordered: bool,
}

/// A part that says something else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Changed {
    /// Its name.
    pub name: String,
    /// Which of its keys do.
    pub keys: Vec<String>,
}

/// How a part is different.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    Added,
    Removed,
    /// In these keys.
    Changed(Vec<String>),
}

impl Difference {
    /// Both say the same.
    pub fn is_empty(&self) -> bool {
        self.sections.is_empty()
    }

    /// What is different in a section.
    pub fn of(&self, section: Section) -> Option<&Changes> {
        self.sections.get(&section)
    }

    pub(super) fn note(&mut self, section: Section, name: &str, change: Change) {
        let (changes, name) = (self.sections.entry(section).or_default(), name.to_owned());
        match change {
            Change::Added => changes.added.push(name),
            Change::Removed => changes.removed.push(name),
            Change::Changed(keys) => changes.changed.push(Changed { name, keys }),
        }
    }

    pub(super) fn reordered(&mut self) {
        self.sections.entry(Section::Rules).or_default().reordered = true;
    }
}

/// `rules: +new, -old, ~other (match, deliver); targets: ~crm (url)`
impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("nothing but comments or layout");
        }
        let sections = self.sections.iter();
        let lines: Vec<String> =
            sections.map(|(section, changes)| format!("{}: {changes}", section.as_str())).collect();
        f.write_str(&lines.join("; "))
    }
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let added = self.added.iter().map(|name| format!("+{name}"));
        let removed = self.removed.iter().map(|name| format!("-{name}"));
        let changed = self.changed.iter().map(|Changed { name, keys }| {
            let keys: Vec<&str> = keys.iter().map(String::as_str).filter(|key| !key.is_empty()).collect();
            if keys.is_empty() { format!("~{name}") } else { format!("~{name} ({})", keys.join(", ")) }
        });
        let all: Vec<String> = added.chain(removed).chain(changed).collect();
        let mut shown: Vec<String> = all.iter().take(SHOWN_MAX).cloned().collect();
        if all.len() > shown.len() {
            shown.push(format!("and {} more", all.len() - shown.len()));
        }
        if self.reordered {
            shown.push("in another order".to_owned());
        }
        f.write_str(&shown.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_names_are_counted_and_keys_that_say_nothing_left_out() {
        let mut difference = Difference::default();
        difference.note(Section::Settings, "timezone", Change::Changed(vec![String::new()]));
        assert_eq!(difference.to_string(), "settings: ~timezone");
        for number in 0..SHOWN_MAX + 3 {
            difference.note(Section::Rules, &format!("r{number}"), Change::Added);
        }
        let text = difference.to_string();
        assert!(text.starts_with("rules: +r0, +r1, "), "{text}");
        assert!(text.ends_with(", and 3 more; settings: ~timezone"), "{text}");
        let json = serde_json::to_value(&difference).unwrap();
        assert_eq!(
            json["rules"]["added"].as_array().unwrap().len(),
            SHOWN_MAX + 3,
            "programs get all of them"
        );
    }
}
