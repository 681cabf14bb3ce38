//! Every message type that a rule may meet: the 140 known ones, and what can be added to them.
//!
//! A rule such as `activity_type: Payment` is also there for payment messages that do not exist yet. So the known types
//! are joined by a new message type for each activity type and a new activity type for each message type, and by one
//! that fits for each wildcard. What is said about a rule then holds for these as well.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, LazyLock};

use crate::model::catalog;
use crate::model::message::{Triple, key};
use crate::rules::condition::{Field, Pattern};

use crate::config::raw::{RawBlock, RawRule};
use crate::config::read::Spot;

/// Stands for what is new: a letter that no name has.
const NEW: &str = "ꙮ";
/// So many wildcards of a field get a new name of their own; rules with further ones are not judged.
const WILDCARDS_MAX: usize = 8;

/// A set of message types, as positions in a [`Universe`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Types(Vec<u64>);

impl Types {
    fn none(size: usize) -> Self {
        Self(vec![0; size.div_ceil(64)])
    }

    fn set(&mut self, position: usize) {
        self.0[position / 64] |= 1 << (position % 64);
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(mine, other)| *mine |= other);
    }

    pub(super) fn keep(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(mine, other)| *mine &= other);
    }

    pub(super) fn remove(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(mine, other)| *mine &= !other);
    }

    pub(super) fn without(&self, other: &Self) -> Self {
        let mut left = self.clone();
        left.remove(other);
        left
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    pub(super) fn meets(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).any(|(mine, other)| mine & other != 0)
    }

    pub(super) fn has(&self, position: usize) -> bool {
        self.0[position / 64] & (1 << (position % 64)) != 0
    }
}

/// What is certainly taken, and what is taken under one of the names that the API may give a type.
#[derive(Debug, Clone)]
pub(super) struct Taken {
    pub(super) surely: Types,
    pub(super) maybe: Types,
}

/// A value of a field: its key, and the message types that have it.
struct Value {
    key: String,
    types: Types,
}

/// All message types, and which of them have a value.
pub(super) struct Universe {
    all: Types,
    /// By field; activity types under the names that the API may give them are in `aliases`.
    values: [Vec<Value>; 3],
    aliases: Vec<Value>,
    /// Wildcards that have a new name of their own, by field.
    wildcards: [BTreeSet<String>; 2],
}

impl Universe {
    /// The one in which these rules are judged.
    pub(super) fn of(rules: &[RawRule]) -> Arc<Self> {
        // Most files have no wildcards but `*`, and then there is only one.
        static PLAIN: LazyLock<Arc<Universe>> = LazyLock::new(|| Arc::new(Universe::with(<_>::default())));
        let blocks = || rules.iter().flat_map(|rule| rule.any_of.iter().chain(&rule.except));
        let wildcards = [
            wildcards(blocks().flat_map(|block| block.activity_type.iter().flatten())),
            wildcards(blocks().flat_map(|block| block.message_type.iter().flatten())),
        ];
        if wildcards.iter().all(BTreeSet::is_empty) { PLAIN.clone() } else { Arc::new(Self::with(wildcards)) }
    }

    fn with(wildcards: [BTreeSet<String>; 2]) -> Self {
        let [new_types, new_messages] = wildcards.each_ref().map(|keys| {
            let instances = keys.iter().map(|key| key.replace('*', &NEW.repeat(2)).replace('?', NEW));
            std::iter::once(NEW.repeat(3)).chain(instances).collect::<Vec<String>>()
        });
        let mut types: Vec<Triple> = catalog::all().iter().map(catalog::Entry::triple).collect();
        let mut add = |activity_type: &str, message_type: &str| {
            for direction in catalog::directions() {
                let (activity_type, message_type) = (activity_type.to_owned(), message_type.to_owned());
                types.push(Triple { activity_type, message_type, direction: (*direction).to_owned() });
            }
        };
        for message_type in &new_messages {
            for activity_type in catalog::activity_types() {
                add(activity_type, message_type);
            }
            for activity_type in &new_types {
                add(activity_type, message_type);
            }
        }
        for activity_type in &new_types {
            for message_type in catalog::message_types() {
                add(activity_type, message_type);
            }
        }
        let by = |of: fn(&Triple) -> &str| grouped(types.iter().map(|triple| vec![key(of(triple))]));
        let values = [
            by(|triple| &triple.activity_type),
            by(|triple| &triple.message_type),
            by(|triple| &triple.direction),
        ];
        let entries = catalog::all();
        let sent_as = |(position, triple)| aliases(triple, entries.get(position));
        let aliases = grouped(types.iter().enumerate().map(sent_as));
        let mut all = Types::none(types.len());
        (0..types.len()).for_each(|position| all.set(position));
        Self { all, values, aliases, wildcards }
    }

    /// Positions of the known message types, in the catalogue's order.
    pub(super) fn known() -> std::ops::Range<usize> {
        0..catalog::all().len()
    }

    pub(super) fn none(&self) -> Types {
        Types(vec![0; self.all.0.len()])
    }

    /// What a block of conditions takes.
    pub(super) fn block(&self, block: &RawBlock) -> Taken {
        let mut taken = Taken { surely: self.all.clone(), maybe: self.all.clone() };
        let fields = [
            (Field::ActivityType, &block.activity_type),
            (Field::MessageType, &block.message_type),
            (Field::Direction, &block.direction),
        ];
        for (field, patterns) in fields {
            let Some(patterns) = patterns else { continue };
            let mut any = Taken { surely: self.none(), maybe: self.none() };
            for pattern in patterns {
                self.pattern(field, &pattern.value, &mut any);
            }
            taken.surely.keep(&any.surely);
            taken.maybe.keep(&any.maybe);
        }
        taken
    }

    /// Adds what has a value that fits the pattern.
    fn pattern(&self, field: Field, pattern: &Pattern, taken: &mut Taken) {
        for value in self.values[field as usize].iter().filter(|value| fits(field, pattern, &value.key)) {
            taken.surely.add(&value.types);
            taken.maybe.add(&value.types);
        }
        let aliases = if field == Field::ActivityType { self.aliases.as_slice() } else { &[] };
        for value in aliases.iter().filter(|value| pattern.takes(&value.key)) {
            taken.maybe.add(&value.types);
        }
    }

    /// A block names something that is not in here, so that it may take what is not in here either.
    pub(super) fn is_beyond(&self, block: &RawBlock) -> bool {
        let strange = |field: Field, patterns: &Option<Vec<Spot<Pattern>>>| {
            patterns.iter().flatten().any(|spot| self.is_strange(field, &spot.value))
        };
        strange(Field::ActivityType, &block.activity_type)
            || strange(Field::MessageType, &block.message_type)
            || strange(Field::Direction, &block.direction)
    }

    fn is_strange(&self, field: Field, pattern: &Pattern) -> bool {
        if pattern.is_wildcard() {
            let own = self.wildcards.get(field as usize);
            return own.is_some_and(|own| !is_star(&pattern.key) && !own.contains(&pattern.key));
        }
        let known = |values: &[Value]| values.iter().any(|value| fits(field, pattern, &value.key));
        let aliased = field == Field::ActivityType && known(&self.aliases);
        !aliased && !known(&self.values[field as usize])
    }
}

/// A name under which the API sends types, its key, and the type that it stands for.
static SENT: LazyLock<Vec<(&str, String, String)>> = LazyLock::new(|| {
    let sent = |name: &&'static str| (*name, key(name), catalog::canonical_type(Some(name), ""));
    catalog::api_types().iter().map(sent).collect()
});

/// The keys under which the API may send the type of a message, beside its own. `entry` is what is known of it.
fn aliases(triple: &Triple, entry: Option<&catalog::Entry>) -> Vec<String> {
    let own = key(&triple.activity_type);
    let sent = SENT.iter().filter(|(name, key, canonical)| {
        *key != own
            && (entry.is_some_and(|entry| entry.api_type == Some(*name))
                || *canonical == triple.activity_type)
    });
    sent.map(|(_, key, _)| key.clone()).collect()
}

/// The values that occur, each with the positions at which it does.
fn grouped(keys: impl ExactSizeIterator<Item = Vec<String>>) -> Vec<Value> {
    let size = keys.len();
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut values: Vec<Value> = Vec::new();
    for (position, keys) in keys.enumerate() {
        for key in keys {
            let place = *places.entry(key.clone()).or_insert_with(|| {
                values.push(Value { key, types: Types::none(size) });
                values.len() - 1
            });
            values[place].types.set(position);
        }
    }
    values
}

/// As the rules themselves judge it.
fn fits(field: Field, pattern: &Pattern, key: &str) -> bool {
    if field == Field::Direction { pattern.takes_direction(key) } else { pattern.takes(key) }
}

/// The keys of the wildcards that stand for more than everything.
fn wildcards<'p>(patterns: impl Iterator<Item = &'p Spot<Pattern>>) -> BTreeSet<String> {
    let keys = patterns.filter(|spot| spot.value.is_wildcard() && !is_star(&spot.value.key));
    let mut found = BTreeSet::new();
    for spot in keys {
        if found.len() < WILDCARDS_MAX {
            found.insert(spot.value.key.clone());
        }
    }
    found
}

fn is_star(key: &str) -> bool {
    key.chars().all(|c| c == '*')
}
