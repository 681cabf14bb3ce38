//! The files' trees, kept to find where a key of something stands that was read from them.

use std::collections::HashMap;

use super::problem::Span;
use super::yaml::{Entry, Kind, Node};

/// Every file's tree, the main file's last.
#[derive(Debug, Default)]
pub(super) struct Trees {
    roots: Vec<Node>,
    /// Rules and accounts by where they begin, targets by where their names stand: the tree, and the way down it.
    parts: HashMap<Start, [usize; 3]>,
}

/// A file and a line and column in it.
type Start = (usize, (usize, usize));

fn start(span: Span) -> Start {
    (span.file, span.start)
}

impl Trees {
    /// Keeps a file's tree.
    pub(super) fn add(&mut self, root: Node) {
        let tree = self.roots.len();
        for (place, entry) in root.entries().iter().enumerate() {
            let starts: Vec<Start> = match (entry.key.as_str(), &entry.value.kind) {
                ("rules", Kind::List(items)) => items.iter().map(|item| start(item.span)).collect(),
                ("accounts", Kind::List(items)) => items
                    .iter()
                    .map(|item| start(item.entry("name").map_or(item.span, |name| name.value.span)))
                    .collect(),
                ("targets", Kind::Map(entries)) => entries.iter().map(|entry| start(entry.span)).collect(),
                _ => continue,
            };
            for (position, start) in starts.into_iter().enumerate() {
                self.parts.insert(start, [tree, place, position]);
            }
        }
        self.roots.push(root);
    }

    /// Every file's tree.
    pub(super) fn roots(&self) -> &[Node] {
        &self.roots
    }

    /// The rule that begins here, the account whose name stands here, or the target whose name stands here.
    pub(super) fn part(&self, span: Span) -> Option<&Node> {
        let [tree, place, position] = *self.parts.get(&start(span))?;
        match &self.roots.get(tree)?.entries().get(place)?.value.kind {
            Kind::List(items) => items.get(position),
            Kind::Map(entries) => entries.get(position).map(|entry| &entry.value),
            Kind::Null | Kind::Scalar(_) => None,
        }
    }

    /// Where a key of that part stands; the part itself if it has no such key.
    pub(super) fn key(&self, part: Span, key: &str) -> Span {
        self.entry(part, key).map_or(part, |entry| entry.span)
    }

    /// A key of that part with its value.
    pub(super) fn entry(&self, part: Span, key: &str) -> Option<&Entry> {
        self.part(part)?.entry(key)
    }

    /// A key at the top of the main file.
    pub(super) fn top(&self, key: &str) -> Option<&Entry> {
        self.roots.last()?.entry(key)
    }
}
