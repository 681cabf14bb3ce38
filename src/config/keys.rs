//! What may stand in a rules file: the keys of each mapping and what they mean. The reader and the JSON Schema go by it.

use std::collections::BTreeSet;

use super::problem::quoted;
pub(super) use crate::rules::condition::Field;

/// The keys of one mapping: those that exist, and those that a later version will take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Keys {
    /// What the mapping is, for messages: `an account`.
    pub(super) of: &'static str,
    /// Keys that are read.
    pub(super) known: &'static [Key],
    /// Keys of the format that this version does not have.
    pub(super) later: &'static [&'static str],
    /// Keys that belong elsewhere, and where they do.
    pub(super) elsewhere: &'static [(&'static str, &'static str)],
    /// Exactly one of these must be there.
    pub(super) one_of: &'static [&'static str],
    /// At most one of these may be there.
    pub(super) not_both: &'static [&'static str],
}

/// A key that is read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key {
    /// As it is written.
    pub(super) name: &'static str,
    /// What is written behind it.
    pub(super) shape: Shape,
    /// What it means, for a person who hovers over it: a sentence without its full stop.
    pub(super) says: &'static str,
    /// The mapping is wrong without it.
    pub(super) required: bool,
    /// What holds if it is left out, as one would write it.
    pub(super) default: Option<&'static str>,
    /// What one might write.
    pub(super) examples: &'static [&'static str],
}

/// What may be written behind a key. Wherever a single value is wanted, `${…}` may stand in its place.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shape {
    /// The one version of the format.
    Version(u32),
    /// Text.
    Text,
    /// Whatever one likes.
    Any,
    /// Such as `1h30m`.
    Duration,
    /// Such as `60/m`, or `unlimited`.
    Rate,
    /// An IANA time zone.
    Zone,
    /// A time of day such as `08:00`.
    Time,
    /// A day of the week, or a range of them.
    Day,
    /// A date such as `2026-12-25`, or `12-25` of every year.
    Date,
    /// A field of messages as keys have them.
    Field,
    /// A status of HTTP or a range of them.
    Status,
    /// A whole number from the first to the second.
    Number(u32, u32),
    /// `true` or `false`.
    Truth,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Text, for which these are the usual values.
    Usually(&'static [&'static str]),
    /// A name of the catalogue in any spelling, or a pattern.
    Catalog(Field),
    /// The name of something in the configuration.
    Named(Named),
    /// One value alone, or a list of at least one.
    OneOrMore(&'static Shape),
    /// A list; whether it may be empty.
    List(&'static Shape, bool),
    /// Names of the person's own, each with one of these.
    Map(&'static Shape),
    /// A mapping.
    Keys(&'static Keys),
    /// Mappings whose keys depend on the value of `type`.
    Typed(&'static [(&'static str, &'static Keys)]),
    /// Any of these.
    Either(&'static [Shape]),
}

/// What a name may lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Named {
    /// An account.
    Account,
    /// A target.
    Target,
    /// A template's folder.
    Template,
    /// A rule.
    Rule,
    /// A schedule.
    Schedule,
}

impl Keys {
    /// Nothing, to fill in from.
    pub(super) const NONE: Self =
        Self { of: "", known: &[], later: &[], elsewhere: &[], one_of: &[], not_both: &[] };

    /// Their names, in the order in which they are told.
    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.known.iter().map(|key| key.name)
    }

    /// How such a mapping may be written: what it needs, in each of the ways that it may be had.
    pub(super) fn example(&self) -> String {
        let shown = |key: &Key| {
            let value = key.examples.first().map_or_else(|| "…".to_owned(), |example| written(example));
            format!("{}: {value}", key.name)
        };
        let needed: Vec<String> = self.known.iter().filter(|key| key.required).map(shown).collect();
        let ways = self.known.iter().filter(|key| self.one_of.contains(&key.name)).map(shown);
        let ways: Vec<String> =
            ways.map(|way| needed.iter().cloned().chain([way]).collect::<Vec<_>>().join(", ")).collect();
        match (ways.is_empty(), needed.is_empty()) {
            (false, _) => format!("{{ {} }}", ways.join(" } or { ")),
            (true, false) => format!("{{ {} }}", needed.join(", ")),
            (true, true) => "{ key: value }".to_owned(),
        }
    }

    /// Their names and those of everything within them.
    pub(super) fn all(&self, found: &mut BTreeSet<&'static str>) {
        for key in self.known {
            found.insert(key.name);
            key.shape.keys(found);
        }
    }
}

impl Shape {
    fn keys(&self, found: &mut BTreeSet<&'static str>) {
        match self {
            Self::OneOrMore(of) | Self::List(of, _) | Self::Map(of) => of.keys(found),
            Self::Keys(keys) => keys.all(found),
            Self::Typed(kinds) => kinds.iter().for_each(|(_, keys)| keys.all(found)),
            Self::Either(shapes) => shapes.iter().for_each(|shape| shape.keys(found)),
            _ => {}
        }
    }
}

/// An example as it stands between braces: times and variables want quotes.
fn written(example: &str) -> String {
    if example.contains([':', '{', '*']) { quoted(example) } else { example.to_owned() }
}

/// A key that may be left out and has no default.
pub(super) const fn key(name: &'static str, shape: Shape, says: &'static str) -> Key {
    Key { name, shape, says, required: false, default: None, examples: &[] }
}

impl Key {
    /// The mapping is wrong without it.
    pub(super) const fn required(self) -> Self {
        Self { required: true, ..self }
    }

    /// What holds if it is left out.
    pub(super) const fn or(self, default: &'static str) -> Self {
        Self { default: Some(default), ..self }
    }

    /// What one might write.
    pub(super) const fn such_as(self, examples: &'static [&'static str]) -> Self {
        Self { examples, ..self }
    }
}
