//! From YAML text to a tree in which everything has its place; the only user of the YAML crate.
//!
//! The tree is made from the parser's events and not through serde, so that scalars keep the text as written
//! (`no`, `0123` and `1.10` mean what the field they stand in says) and both places of a duplicate key are known.

use std::collections::HashMap;

use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, Span as Marks, StrInput, StructureStyle};

use super::codes;
use super::indentation;
use super::mask;
use super::mend::{Edit, Mended};
use super::problem::{Finding, Span, quoted};
use super::slips::{self, Stop};

/// Lists and mappings inside each other.
const DEPTH_MAX: usize = 64;
/// Values that aliases may add, all together: a legitimate file has a few, a bomb has billions.
const ALIASED_VALUES_MAX: usize = 50_000;
/// So many lines above what it tags, a tag is looked for.
const TAG_LINES_MAX: usize = 20;
/// How often a file is read again behind a slip.
const ROUNDS_MAX: usize = 100;
/// A large file is read again less often.
const PARSED_BYTES_MAX: usize = 32 * 1024 * 1024;

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

/// What one file's text gave.
pub(super) struct Parsed {
    /// The tree, of which nothing is missing but what `lost` says; `None` if it is not YAML.
    pub(super) node: Option<Node>,
    /// Everything wrong with it as YAML.
    pub(super) findings: Vec<Finding>,
    /// A part of the file could not be read, so that what it defines is unknown.
    pub(super) lost: bool,
}

/// Reads one file's text. Where a slip stops the parser, it is mended in memory or its part of the file is left out, and
/// reading goes on, so that everything else is found in the same run.
pub(super) fn parse(text: &str, file: usize) -> Parsed {
    let mut mended = Mended::new(text);
    let (mut findings, mut edits) = (Vec::new(), Vec::new());
    for stop in indentation::odd(text, file) {
        findings.push(stop.finding);
        edits.extend(stop.edit);
    }
    mended.apply(edits);
    let mut lost = false;
    let rounds = (PARSED_BYTES_MAX / text.len().max(1)).clamp(1, ROUNDS_MAX);
    for _ in 0..rounds {
        let mut builder = Builder::new(&mended, file);
        let stop = match builder.document() {
            Ok(node) => {
                findings.append(&mut builder.findings);
                return Parsed { node: Some(node), findings: told_once(findings), lost };
            }
            Err(stop) => *stop,
        };
        let line = stop.finding.span.start.0;
        let deep = *stop.finding.code() == *codes::TOO_MUCH;
        // What follows from a part that was left out is no news.
        if !lost || stop.edit.is_some() {
            findings.push(stop.finding.moved(|span| mended.written(span)));
        }
        match stop.edit {
            Some(edit) => mended.apply(vec![edit]),
            None if deep => break,
            None => {
                let left_out = section(mended.text(), line);
                if left_out.is_empty() {
                    break;
                }
                lost = true;
                mended.apply(left_out);
            }
        }
    }
    Parsed { node: None, findings: told_once(findings), lost }
}

/// What is indented with a tab is not told that its indentation fits nothing as well.
fn told_once(mut findings: Vec<Finding>) -> Vec<Finding> {
    let tabs = findings.iter().filter(|finding| *finding.code() == *codes::TAB);
    let lines: Vec<usize> = tabs.map(|finding| finding.span.start.0).collect();
    findings.retain(|finding| *finding.code() != *codes::UNEVEN || !lines.contains(&finding.span.start.0));
    findings
}

/// Turns the part of a file that belongs to one key of the outermost mapping into comments.
fn section(text: &str, line: usize) -> Vec<Edit> {
    let lines: Vec<&str> = text.lines().collect();
    let opens =
        |text: &str| text.starts_with(|c: char| !c.is_whitespace() && !matches!(c, '#' | '-' | ']' | '}'));
    let from = (0..line.min(lines.len())).rev().find(|at| opens(lines[*at])).unwrap_or(0);
    let until = (from + 1..lines.len()).find(|at| *at >= line && opens(lines[*at])).unwrap_or(lines.len());
    let all = (from..until).filter(|at| !lines[*at].starts_with('#') && !lines[*at].is_empty());
    all.map(|at| Edit { line: at + 1, start: 1, end: lines[at].chars().count() + 1, text: "#".to_owned() })
        .collect()
}

type Built<T> = Result<T, Box<Stop>>;

struct Anchored {
    node: Node,
    values: usize,
    depth: usize,
}

struct Builder<'t> {
    parser: Parser<'t, StrInput<'t>>,
    mended: &'t Mended<'t>,
    lines: Vec<&'t str>,
    file: usize,
    anchors: HashMap<usize, Anchored>,
    aliased: usize,
    findings: Vec<Finding>,
}

impl<'t> Builder<'t> {
    fn new(mended: &'t Mended<'t>, file: usize) -> Self {
        Self {
            parser: Parser::new_from_str(mended.text()),
            mended,
            lines: mended.text().lines().collect(),
            file,
            anchors: HashMap::new(),
            aliased: 0,
            findings: Vec::new(),
        }
    }

    fn document(&mut self) -> Built<Node> {
        let mut root = None;
        loop {
            let (event, marks) = self.next()?;
            match event {
                Event::StreamEnd => break,
                Event::DocumentStart(..) if root.is_some() => {
                    let span = self.span(marks);
                    let finding = Finding::error(codes::YAML_FEATURE, span, "a second document begins here");
                    self.findings.push(finding.help("a rules file is one document: remove the line ---"));
                    break;
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
                Some(Err(error)) => return Err(Box::new(slips::diagnose(&error, &self.lines, self.file))),
            }
        }
    }

    /// Where the marks stand in the file as written.
    fn span(&self, marks: Marks) -> Span {
        self.mended.written(self.read(marks))
    }

    /// Where the marks stand in the text as it is read.
    fn read(&self, marks: Marks) -> Span {
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

    fn error(&self, code: &'static codes::Code, marks: Marks, message: &str, help: &str) -> Box<Stop> {
        Box::new(Finding::error(code, self.read(marks), message).help(help).into())
    }

    fn node(&mut self, event: Event<'t>, marks: Marks, depth: usize) -> Built<Node> {
        if depth > DEPTH_MAX {
            return Err(self.error(codes::TOO_MUCH, marks, slips::TOO_DEEP, slips::TOO_DEEP_HELP));
        }
        let span = self.span(marks);
        let (node, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let style = scalar_style(style);
                let is_text = tag.as_ref().is_some_and(|tag| tag.suffix() == "str");
                let tag = tag.filter(|_| !is_text);
                let text = match &tag {
                    Some(tag) => {
                        self.tag(marks, tag.suffix(), &text);
                        format!("!{} {text}", tag.suffix()).trim_end().to_owned().into()
                    }
                    None => text,
                };
                let is_text = is_text || tag.is_some();
                // What stands alone behind the `!` is the value that was meant.
                let text = match &tag {
                    Some(tag) if text.is_empty() => tag.suffix().to_owned().into(),
                    _ => text,
                };
                let null = style == Style::Plain && !is_text && is_null(&text);
                let style = if is_text { Style::Quoted } else { style };
                let kind =
                    if null { Kind::Null } else { Kind::Scalar(Scalar { text: text.into_owned(), style }) };
                let span =
                    if matches!(style, Style::Literal | Style::Folded) { self.block(span) } else { span };
                (Node { kind, span }, anchor)
            }
            Event::SequenceStart(style, anchor, tag) => {
                if let Some(tag) = tag {
                    self.tag(marks, tag.suffix(), "");
                }
                (self.list(style, span, depth)?, anchor)
            }
            Event::MappingStart(style, anchor, tag) => {
                if let Some(tag) = tag {
                    self.tag(marks, tag.suffix(), "");
                }
                (self.map(style, span, depth)?, anchor)
            }
            Event::Alias(anchor) => return self.alias(anchor, marks, depth),
            _ => return Err(self.error(codes::SYNTAX, marks, "a value is missing here", "give it a value")),
        };
        if anchor != 0 {
            let (values, deep) = measure(&node);
            self.anchors.insert(anchor, Anchored { node: node.clone(), values, depth: deep });
        }
        Ok(node)
    }

    /// Reports a tag, which is most often a text that begins with `!`, and goes on without it.
    fn tag(&mut self, marks: Marks, name: &str, rest: &str) {
        let read = self.read(marks);
        let characters = |line: usize| -> Vec<char> {
            self.lines.get(line - 1).map(|line| line.chars().collect()).unwrap_or_default()
        };
        let here = characters(read.start.0);
        let before = here[..(read.start.1 - 1).min(here.len())].to_vec();
        let length = 1 + name.chars().count();
        // What is tagged may begin on a later line than the tag.
        let above = (1..read.start.0).rev().take(TAG_LINES_MAX).map(|line| (line, characters(line)));
        let sign = std::iter::once((read.start.0, before.clone())).chain(above).find_map(|(line, text)| {
            let at = text.iter().rposition(|c| *c == '!')?;
            let fits = line == read.start.0 || text[at + 1..].iter().collect::<String>().starts_with(name);
            fits.then_some((line, at + 1))
        });
        let (line, at) = sign.unwrap_or(read.start);
        let alone = rest.is_empty() && (line < read.start.0 || before.len() < at + length);
        let place = Span { start: (line, at), end: (line, at + length), ..read };
        let message = "a value that begins with `!` stands in quotes: YAML takes it for a tag, and tags are not used here";
        let mut finding = Finding::error(codes::YAML_FEATURE, self.mended.written(place), message)
            .help("put the whole value in quotes if the ! belongs to it, else take the tag away");
        if alone && !name.is_empty() {
            finding = finding.replacement(quoted(&format!("!{name}")));
        }
        self.findings.push(finding);
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
                if let Some(stop) = slips::template(&self.lines, self.read(marks)) {
                    return Err(Box::new(stop));
                }
                let help = "text that begins with { or [ must be in quotes: \"{{client.name}}\"";
                return Err(self.error(codes::YAML_FEATURE, marks, "a key must be plain text", help));
            };
            let key = key.into_owned();
            let (event, marks) = self.next()?;
            let value = self.node(event, marks, depth + 1)?;
            self.whole(&key, &value);
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

    /// A secret or a URL that a `#` cuts short.
    fn whole(&mut self, key: &str, value: &Node) {
        if let Kind::Scalar(scalar) = &value.kind
            && scalar.style == Style::Plain
            && (mask::is_secret(key) || scalar.text.contains("://"))
        {
            self.findings.extend(slips::cut_off(&self.lines, value.span));
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
