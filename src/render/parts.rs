//! Structured parts: YAML in which each string is a template, parsed once and rendered leaf by leaf.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::{Error, Spanned};

use super::tags::{self, Mistake};

/// A structured part's tree. `L` is what stands at its strings: text and place while reading, a name once compiled.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Tree<L> {
    /// A string, which is a template.
    Leaf(L),
    /// Anything else that has no parts.
    Value(Value),
    /// A list.
    List(Vec<Tree<L>>),
    /// Fields, in file order.
    Map(Vec<(String, Tree<L>)>),
}

/// A string of the file and the byte offset at which it starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Leaf {
    pub(super) text: String,
    pub(super) at: usize,
}

impl<L> Tree<L> {
    /// Makes every leaf into something else; `key` is the name of the nearest field around it.
    pub(super) fn map<M>(self, key: &str, change: &mut impl FnMut(&str, L) -> M) -> Tree<M> {
        match self {
            Self::Leaf(leaf) => Tree::Leaf(change(key, leaf)),
            Self::Value(value) => Tree::Value(value),
            Self::List(list) => Tree::List(list.into_iter().map(|item| item.map(key, change)).collect()),
            Self::Map(fields) => Tree::Map(
                fields
                    .into_iter()
                    .map(|(name, value)| {
                        let value = value.map(&name, change);
                        (name, value)
                    })
                    .collect(),
            ),
        }
    }

    /// Its leaves, in file order.
    pub(super) fn leaves(&self) -> Vec<&L> {
        match self {
            Self::Leaf(leaf) => vec![leaf],
            Self::Value(_) => Vec::new(),
            Self::List(list) => list.iter().flat_map(Self::leaves).collect(),
            Self::Map(fields) => fields.iter().flat_map(|(_, value)| value.leaves()).collect(),
        }
    }

    /// The first leaf below a JSON pointer such as `/0/text`, which is followed as far as it leads.
    pub(super) fn leaf_at(&self, pointer: &str) -> Option<&L> {
        let mut node = self;
        for name in pointer.split('/').filter(|name| !name.is_empty()) {
            let next = match node {
                Self::List(list) => name.parse::<usize>().ok().and_then(|index| list.get(index)),
                Self::Map(fields) => fields.iter().find(|(key, _)| key == name).map(|(_, value)| value),
                Self::Leaf(_) | Self::Value(_) => None,
            };
            match next.filter(|next| !next.leaves().is_empty()) {
                Some(next) => node = next,
                None => break,
            }
        }
        node.leaves().into_iter().next()
    }

    /// Renders the tree to JSON; the first leaf that fails ends it.
    pub(super) fn render<E>(&self, leaf: &mut impl FnMut(&L) -> Result<Value, E>) -> Result<Value, E> {
        Ok(match self {
            Self::Leaf(inner) => leaf(inner)?,
            Self::Value(value) => value.clone(),
            Self::List(list) => {
                Value::Array(list.iter().map(|item| item.render(leaf)).collect::<Result<_, E>>()?)
            }
            Self::Map(fields) => {
                let mut map = Map::new();
                for (name, value) in fields {
                    map.insert(name.clone(), value.render(leaf)?);
                }
                Value::Object(map)
            }
        })
    }
}

/// Reads a YAML part.
pub(super) fn read(text: &str) -> Result<Spot, Mistake> {
    if let Some(line) = text.lines().position(|line| line.trim_start_matches(' ').starts_with('\t')) {
        let at = tags::offset(text, line + 1, 1);
        return Err(tags::mistake(at, "the line is indented with a tab", "YAML takes spaces only"));
    }
    let options = serde_saphyr::options! {
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options::<Spot>(text, options).map_err(|error| unreadable(text, &error))
}

/// What is wrong in words of its own: the parser speaks to programmers.
fn unreadable(text: &str, error: &Error) -> Mistake {
    let (line, column) = error.location().map_or((1, 1), |at| (number(at.line()), number(at.column())));
    let at = tags::offset(text, line.max(1), column.max(1));
    let written = text.lines().nth(line.saturating_sub(1)).unwrap_or_default();
    match error {
        Error::DuplicateMappingKey { key, .. } => {
            let key = key.as_deref().map_or_else(String::new, |key| format!(" `{key}`"));
            tags::mistake(
                at,
                format!("the key{key} stands here a second time"),
                "keep one of them: only one could be sent",
            )
        }
        _ if written.contains("{{") => {
            let help = "text with `{{` first, or with `: ` in it, goes in quotes: name: \"{{client.name}}\"";
            tags::mistake(at, "the YAML cannot be read here", help)
        }
        _ => {
            let words = error.to_string();
            let words = words.split(['\n', ',']).next().unwrap_or_default();
            let words = words.split(" at line ").next().unwrap_or_default();
            let message = format!("the YAML cannot be read here: {words}");
            tags::mistake(
                at,
                message,
                "look for a quotation mark or a bracket that is left open, and at how far lines are indented",
            )
        }
    }
}

fn number(wide: u64) -> usize {
    usize::try_from(wide).unwrap_or(usize::MAX)
}

/// The byte offset at which a value starts.
pub(super) fn start(node: &Spot, text: &str) -> usize {
    tags::offset(text, number(node.referenced.line()), number(node.referenced.column()))
}

/// The values alone, each string with its place.
pub(super) fn tree(node: Spot, text: &str) -> Tree<Leaf> {
    let at = start(&node, text);
    match node.value {
        Node::Text(leaf) => Tree::Leaf(Leaf { text: leaf, at }),
        Node::Value(value) => Tree::Value(value),
        Node::List(list) => Tree::List(list.into_iter().map(|item| tree(item, text)).collect()),
        Node::Map(fields) => {
            Tree::Map(fields.into_iter().map(|(name, value)| (name, tree(value, text))).collect())
        }
    }
}

/// A value of the file and where it stands.
pub(super) type Spot = Spanned<Node>;

/// YAML as it stands in the file.
pub(super) enum Node {
    Text(String),
    Value(Value),
    List(Vec<Spot>),
    Map(Vec<(String, Spot)>),
}

impl Node {
    /// A field of a mapping.
    pub(super) fn field(&self, name: &str) -> Option<&Spot> {
        let Self::Map(fields) = self else { return None };
        fields.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Value(Value::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Value(Value::Number(value.into())))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Value(Value::Number(value.into())))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Value(Number::from_f64(value).map_or(Value::Null, Value::Number)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(value.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Value(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Value(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = access.next_element()? {
            list.push(item);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = access.next_entry()? {
            fields.push(field);
        }
        Ok(Node::Map(fields))
    }
}
