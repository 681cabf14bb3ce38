//! Finds the rules that can match a message without looking at those that cannot.

use std::collections::{BTreeSet, HashMap};

use super::condition::{Block, Pattern, Subject, direction_key};
use super::{Patterns, Rule};

/// Stands in a slot for a field that the rule leaves open; no key holds this character.
const OPEN: &str = "\u{1}";
/// Parts the three fields of a slot.
const BETWEEN: char = '\u{2}';
/// A block with longer lists is filed under fewer fields rather than under more slots.
const SLOTS_PER_BLOCK_MAX: usize = 64;

/// Which of the three fields a slot names: type, message type, direction.
type Fields = [bool; 3];

/// An index over rules by account, type, message type and direction.
///
/// Every block of a rule is filed under all its exact values at once; a field with a wildcard, or left out, stays
/// open. A look-up asks once for each combination of open fields that occurs, so rules that cannot match cost nothing.
#[derive(Debug, Default)]
pub struct Index {
    everywhere: Shelf,
    by_account: HashMap<String, Shelf>,
}

/// The slots of the rules of one account, or of those that are limited to none.
#[derive(Debug, Default)]
struct Shelf {
    slots: HashMap<String, Vec<usize>>,
    shapes: BTreeSet<Fields>,
}

impl Index {
    /// Indexes the rules by their position.
    pub fn new(rules: &[Rule]) -> Self {
        let mut index = Self::default();
        for (position, rule) in rules.iter().enumerate() {
            match &rule.accounts {
                None => index.everywhere.file(position, rule),
                Some(accounts) => {
                    for account in accounts {
                        index.by_account.entry(account.clone()).or_default().file(position, rule);
                    }
                }
            }
        }
        index
    }

    /// Positions of the rules that may match, ascending, each once.
    pub fn candidates(&self, account: &str, subject: &Subject<'_>) -> Vec<usize> {
        let mut found = Vec::new();
        self.everywhere.look_up(subject, &mut found);
        if let Some(shelf) = self.by_account.get(account) {
            shelf.look_up(subject, &mut found);
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}

impl Shelf {
    fn file(&mut self, position: usize, rule: &Rule) {
        for block in &rule.any_of {
            let (shape, slots) = slots_of(block);
            self.shapes.insert(shape);
            for slot in slots {
                self.slots.entry(slot).or_default().push(position);
            }
        }
    }

    fn look_up(&self, subject: &Subject<'_>, found: &mut Vec<usize>) {
        let mut slot = String::new();
        for [by_type, by_message, by_direction] in &self.shapes {
            let type_keys = [Some(subject.type_key.as_str()), subject.raw_type_key.as_deref()];
            let type_keys = if *by_type { type_keys } else { [Some(OPEN), None] };
            for type_key in type_keys.into_iter().flatten() {
                let message_key = if *by_message { &subject.message_key } else { OPEN };
                let direction_key = if *by_direction { &subject.direction_key } else { OPEN };
                write_slot(&mut slot, [type_key, message_key, direction_key]);
                found.extend(self.slots.get(&slot).into_iter().flatten());
            }
        }
    }
}

fn write_slot(slot: &mut String, fields: [&str; 3]) {
    slot.clear();
    for field in fields {
        slot.push_str(field);
        slot.push(BETWEEN);
    }
}

/// The slots under which a block is filed, and which fields they name.
fn slots_of(block: &Block) -> (Fields, Vec<String>) {
    let mut fields = [
        exact(block.activity_type.as_ref(), |key| key),
        exact(block.message_type.as_ref(), |key| key),
        exact(block.direction.as_ref(), direction_key),
    ];
    while fields.iter().flatten().map(Vec::len).product::<usize>() > SLOTS_PER_BLOCK_MAX {
        // The direction goes first: it tells the fewest messages apart.
        match &mut fields {
            [_, _, direction @ Some(_)] => *direction = None,
            [kind @ Some(_), Some(_), _] => *kind = None,
            _ => break,
        }
    }
    let shape = fields.each_ref().map(Option::is_some);
    let [types, messages, directions] = fields.map(|field| field.unwrap_or_else(|| vec![OPEN]));
    let mut slots = Vec::new();
    for kind in &types {
        for message in &messages {
            for direction in &directions {
                let mut slot = String::new();
                write_slot(&mut slot, [kind, message, direction]);
                slots.push(slot);
            }
        }
    }
    (shape, slots)
}

/// The keys of a field's values if all of them are exact.
fn exact<'a>(patterns: Option<&'a Patterns>, canonical: fn(&'a str) -> &'a str) -> Option<Vec<&'a str>> {
    let patterns = patterns?;
    if patterns.iter().any(Pattern::is_wildcard) {
        return None;
    }
    Some(patterns.iter().map(|pattern| canonical(&pattern.key)).collect())
}
