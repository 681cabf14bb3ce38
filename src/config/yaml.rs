//! From YAML text to a tree in which everything has its place; the only user of the YAML crate.
//!
//! The tree is made from the parser's events and not through serde, so that scalars keep the text as written
//! (`no`, `0123` and `1.10` mean what the field they stand in says) and both places of a duplicate key are known.

use std::collections::HashMap;

use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, ScanError, Span as Marks, StructureStyle};

use super::codes;
use super::problem::{Finding, Span};

/// Lists and mappings inside each other.
const DEPTH_MAX: usize = 64;
/// Values that aliases may add, all together: a legitimate file has a few, a bomb has billions.
const ALIASED_VALUES_MAX: usize = 50_000;

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Node {
    /// What it is.
    pub(super) kind: Kind,
    /// Where. A block list or mapping points to its first item or key, so that an excerpt stays short.
    pub(super) span: Span,
}

/// What a value is.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    /// Nothing, `~` or `null`.
    Null,
    /// Text, numbers, truth values: all as written.
    Scalar(Scalar),
    /// A list.
    List(Vec<Node>),
    /// A mapping, in file order; each key once.
    Map(Vec<Entry>),
}

/// A scalar as written.
#[derive(Debug, Clone)]
pub(super) struct Scalar {
    /// The text, with quotes and escapes resolved.
    pub(super) text: String,
    /// How it was written.
    pub(super) style: Style,
}

/// How a scalar was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// Without quotes: may be meant as a number or a truth value.
    Plain,
    /// In quotes.
    Quoted,
    /// `|`
    Literal,
    /// `>`
    Folded,
}

/// A key with its value.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// The key's text.
    pub(super) key: String,
    /// Where the key stands.
    pub(super) span: Span,
    /// Its value.
    pub(super) value: Node,
}

impl Node {
    /// What kind of value it is, for a person.
    pub(super) fn what(&self) -> &'static str {
        match &self.kind {
            Kind::Null => "nothing",
            Kind::Scalar(_) => "a single value",
            Kind::List(_) => "a list",
            Kind::Map(_) => "a mapping",
        }
    }

    /// The entries of a mapping; none of anything else.
    pub(super) fn entries(&self) -> &[Entry] {
        match &self.kind {
            Kind::Map(entries) => entries,
            Kind::Null | Kind::Scalar(_) | Kind::List(_) => &[],
        }
    }

    /// The entry of that key.
    pub(super) fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }
}

/// Reads one file's text. `None` if it is not YAML; findings may come with a tree, too.
pub(super) fn parse(text: &str, file: usize) -> (Option<Node>, Vec<Finding>) {
    let mut findings = tabs(text, file);
    if !findings.is_empty() {
        return (None, findings);
    }
    let mut builder = Builder {
        parser: Parser::new_from_str(text),
        lines: text.lines().collect(),
        file,
        anchors: HashMap::new(),
        aliased: 0,
        findings: Vec::new(),
    };
    let node = match builder.document() {
        Ok(node) => Some(node),
        Err(finding) => {
            builder.findings.push(*finding);
            None
        }
    };
    findings.append(&mut builder.findings);
    (node, findings)
}

/// Tabs in indentation, each line of them: the parser's own message about them points elsewhere.
fn tabs(text: &str, file: usize) -> Vec<Finding> {
    let mut block: Option<usize> = None;
    let mut findings = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let blanks: Vec<char> = line.chars().take_while(|c| c.is_whitespace()).collect();
        let spaces = blanks.iter().take_while(|c| **c == ' ').count();
        if line.trim().is_empty() || line.trim_start().starts_with('#') {
            continue;
        }
        if block.is_some_and(|parent| spaces > parent) {
            continue;
        }
        block = opens_block(line).then_some(spaces);
        if let Some(at) = blanks.iter().position(|c| *c == '\t') {
            let span = Span { file, start: (index + 1, at + 1), end: (index + 1, blanks.len() + 1) };
            let finding = Finding::error(codes::TAB, span, "this line is indented with a tab")
                .help("YAML takes only spaces for indentation; set your editor to insert spaces")
                .replacement("  ".repeat(blanks.len() - at));
            findings.push(finding);
        }
    }
    findings
}

/// The line ends in the header of a block scalar (`|`, `>-`, `|2`), whose content may hold tabs.
fn opens_block(line: &str) -> bool {
    let code = line.split(" #").next().unwrap_or(line).trim_end();
    let last = code.rsplit([' ', '\t']).next().unwrap_or(code);
    last.starts_with(['|', '>']) && last.chars().skip(1).all(|c| matches!(c, '+' | '-' | '1'..='9'))
}

type Built<T> = Result<T, Box<Finding>>;

struct Anchored {
    node: Node,
    values: usize,
    depth: usize,
}

struct Builder<'t> {
    parser: Parser<'t, serde_saphyr::granit_parser::StrInput<'t>>,
    lines: Vec<&'t str>,
    file: usize,
    anchors: HashMap<usize, Anchored>,
    aliased: usize,
    findings: Vec<Finding>,
}

impl<'t> Builder<'t> {
    fn document(&mut self) -> Built<Node> {
        let mut root = None;
        loop {
            let (event, marks) = self.next()?;
            match event {
                Event::StreamEnd => break,
                Event::DocumentStart(..) if root.is_some() => {
                    let message = "a second document begins here";
                    return Err(self.error(
                        codes::YAML_FEATURE,
                        marks,
                        message,
                        "a rules file is one document: remove the line ---",
                    ));
                }
                Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd => {}
                other => root = Some(self.node(other, marks, 0)?),
            }
        }
        Ok(root.unwrap_or(Node { kind: Kind::Null, span: Span::start_of(self.file) }))
    }

    fn next(&mut self) -> Built<(Event<'t>, Marks)> {
        loop {
            match self.parser.next_event() {
                None => return Ok((Event::StreamEnd, Marks::default())),
                Some(Ok((Event::Anchor(..), _))) => {}
                Some(Ok(found)) => return Ok(found),
                Some(Err(error)) => {
                    let found = wildcard(&error, &self.lines, self.file);
                    return Err(Box::new(found.unwrap_or_else(|| syntax(&error, self.file))));
                }
            }
        }
    }

    fn span(&self, marks: Marks) -> Span {
        let start = (marks.start.line().max(1), marks.start.col() + 1);
        let end = (marks.end.line().max(1), marks.end.col() + 1);
        Span { file: self.file, start, end: end.max(start) }
    }

    /// A block scalar's span without the line behind it, where the parser sees its end.
    fn block(&self, span: Span) -> Span {
        let is_inside = |line: &usize| self.lines.get(line - 1).is_some_and(|text| !text.trim().is_empty());
        if span.end.1 != 1 {
            return span;
        }
        let last = (span.start.0..span.end.0).rev().find(is_inside);
        let end = last.map(|line| (line, self.lines[line - 1].trim_end().chars().count() + 1));
        Span { end: end.unwrap_or(span.end).max(span.start), ..span }
    }

    fn error(&self, code: &'static codes::Code, marks: Marks, message: &str, help: &str) -> Box<Finding> {
        Box::new(Finding::error(code, self.span(marks), message).help(help))
    }

    fn node(&mut self, event: Event<'t>, marks: Marks, depth: usize) -> Built<Node> {
        if depth > DEPTH_MAX {
            let help = "no rules file needs that; look for brackets that are never closed";
            return Err(self.error(codes::TOO_MUCH, marks, "lists and mappings are nested too deeply", help));
        }
        let span = self.span(marks);
        let (node, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let style = scalar_style(style);
                let is_text = tag.as_ref().is_some_and(|tag| tag.suffix() == "str");
                if tag.is_some() && !is_text {
                    return Err(self.tag(marks));
                }
                let null = style == Style::Plain && !is_text && is_null(&text);
                let style = if is_text { Style::Quoted } else { style };
                let kind =
                    if null { Kind::Null } else { Kind::Scalar(Scalar { text: text.into_owned(), style }) };
                let span =
                    if matches!(style, Style::Literal | Style::Folded) { self.block(span) } else { span };
                (Node { kind, span }, anchor)
            }
            Event::SequenceStart(_, _, Some(_)) | Event::MappingStart(_, _, Some(_)) => {
                return Err(self.tag(marks));
            }
            Event::SequenceStart(style, anchor, None) => (self.list(style, span, depth)?, anchor),
            Event::MappingStart(style, anchor, None) => (self.map(style, span, depth)?, anchor),
            Event::Alias(anchor) => return self.alias(anchor, marks, depth),
            _ => return Err(self.error(codes::SYNTAX, marks, "a value is missing here", "give it a value")),
        };
        if anchor != 0 {
            let (values, deep) = measure(&node);
            self.anchors.insert(anchor, Anchored { node: node.clone(), values, depth: deep });
        }
        Ok(node)
    }

    fn tag(&self, marks: Marks) -> Box<Finding> {
        self.error(
            codes::YAML_FEATURE,
            marks,
            "YAML tags (!…) are not used here",
            "put the value in quotes if the ! belongs to it",
        )
    }

    fn alias(&mut self, anchor: usize, marks: Marks, depth: usize) -> Built<Node> {
        let Some(found) = self.anchors.get(&anchor) else {
            let help = "an alias (*name) may only follow its complete definition (&name)";
            return Err(self.error(
                codes::SYNTAX,
                marks,
                "this alias stands inside its own definition",
                help,
            ));
        };
        self.aliased += found.values;
        if self.aliased > ALIASED_VALUES_MAX || depth + found.depth > DEPTH_MAX {
            let help = "write the values out instead of aliasing aliases";
            return Err(self.error(codes::TOO_MUCH, marks, "aliases multiply the file beyond reason", help));
        }
        Ok(found.node.clone())
    }

    fn list(&mut self, style: StructureStyle, span: Span, depth: usize) -> Built<Node> {
        let mut items = Vec::new();
        loop {
            let (event, marks) = self.next()?;
            if event == Event::SequenceEnd {
                let first = items.first().map(|node: &Node| node.span);
                let span = self.extent(style, span, first, marks);
                return Ok(Node { kind: Kind::List(items), span });
            }
            items.push(self.node(event, marks, depth + 1)?);
        }
    }

    fn map(&mut self, style: StructureStyle, span: Span, depth: usize) -> Built<Node> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut seen: HashMap<String, Span> = HashMap::new();
        let mut merged: Vec<Node> = Vec::new();
        loop {
            let (event, marks) = self.next()?;
            if event == Event::MappingEnd {
                let first = entries.first().map(|entry| entry.span);
                let span = self.extent(style, span, first, marks);
                self.merge(&mut entries, merged);
                return Ok(Node { kind: Kind::Map(entries), span });
            }
            let key_span = self.span(marks);
            let Event::Scalar(key, key_style, _, None) = event else {
                let help = "text that begins with { or [ must be in quotes: \"{{client.name}}\"";
                return Err(self.error(codes::YAML_FEATURE, marks, "a key must be plain text", help));
            };
            let key = key.into_owned();
            let (event, marks) = self.next()?;
            let value = self.node(event, marks, depth + 1)?;
            if key == "<<" && scalar_style(key_style) == Style::Plain {
                merged.push(value);
            } else if let Some(first) = seen.get(&key) {
                let finding = Finding::error(
                    codes::DUPLICATE_KEY,
                    key_span,
                    format!("the key `{key}` stands here a second time"),
                )
                .related(*first, "it was given here first")
                .help("keep one of them; YAML would silently drop the other");
                self.findings.push(finding);
            } else {
                seen.insert(key.clone(), key_span);
                entries.push(Entry { key, span: key_span, value });
            }
        }
    }

    /// Adds what `<<:` brings in; a mapping's own keys win, and earlier sources win over later ones.
    fn merge(&mut self, entries: &mut Vec<Entry>, merged: Vec<Node>) {
        for source in merged {
            let span = source.span;
            let sources = match source.kind {
                Kind::List(items) => items,
                _ => vec![source],
            };
            for source in sources {
                let Kind::Map(more) = source.kind else {
                    let finding =
                        Finding::error(codes::WRONG_TYPE, span, "`<<` merges mappings, and this is none");
                    self.findings.push(finding.help("write <<: *name, where &name marks a mapping"));
                    continue;
                };
                for entry in more {
                    if !entries.iter().any(|own| own.key == entry.key) {
                        entries.push(entry);
                    }
                }
            }
        }
    }

    fn extent(&self, style: StructureStyle, start: Span, first: Option<Span>, end: Marks) -> Span {
        match (style, first) {
            (StructureStyle::Block, Some(first)) => first,
            _ => start.to(self.span(end)),
        }
    }
}

fn scalar_style(style: ScalarStyle) -> Style {
    match style {
        ScalarStyle::Plain => Style::Plain,
        ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => Style::Quoted,
        ScalarStyle::Literal => Style::Literal,
        ScalarStyle::Folded => Style::Folded,
    }
}

fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

/// How many values a node holds, itself included, and how deep they nest.
fn measure(node: &Node) -> (usize, usize) {
    let children: Vec<&Node> = match &node.kind {
        Kind::Null | Kind::Scalar(_) => return (1, 0),
        Kind::List(items) => items.iter().collect(),
        Kind::Map(entries) => entries.iter().map(|entry| &entry.value).collect(),
    };
    children
        .into_iter()
        .map(measure)
        .fold((1, 1), |(values, depth), (more, deep)| (values + more, depth.max(deep + 1)))
}

/// A pattern such as `*_failed` that stands without quotes, which YAML takes for an alias.
fn wildcard(error: &ScanError, lines: &[&str], file: usize) -> Option<Finding> {
    let mark = error.marker();
    let at = (mark.line().max(1), mark.col() + 1);
    let rest: String = lines.get(at.0 - 1)?.chars().skip(mark.col()).collect();
    let pattern = rest.split([' ', ',', ']', '}', '#']).next().filter(|text| text.starts_with('*'))?;
    let span = Span { file, start: at, end: (at.0, at.1 + pattern.chars().count()) };
    let message = format!("`{pattern}` without quotes is a YAML alias, and nothing is marked with that name");
    let finding =
        Finding::error(codes::SYNTAX, span, message).help("a pattern that begins with * stands in quotes");
    Some(finding.replacement(format!("\"{pattern}\"")))
}

/// The parser's complaint, in words that say what to do where a common mistake is behind it.
fn syntax(error: &ScanError, file: usize) -> Finding {
    let mark = error.marker();
    let at = (mark.line().max(1), mark.col() + 1);
    let span = Span { file, start: at, end: (at.0, at.1 + 1) };
    let info = error.info();
    let said = info.lines().next().unwrap_or_default();
    let deep = ["nesting", "recursion", "depth"].iter().any(|word| said.contains(word));
    let code = if deep { codes::TOO_MUCH } else { codes::SYNTAX };
    Finding::error(code, span, format!("not valid YAML: {said}"))
        .help("look here and at the line above: indentation, a missing colon or space after it, an open quote or bracket; quote text that holds `: `, ` #`, or begins with { [ * & ! @ %")
}
