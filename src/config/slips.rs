//! The slips that YAML punishes most, each in a sentence of its own and, where it is certain, with the change that mends it.

use serde_saphyr::granit_parser::{ErrorKind, ScanError};

use super::codes::{self, Code};
use super::indentation::{enclosing, indent};
use super::mend::Edit;
use super::problem::{Finding, Span, quoted};
use super::raw;

/// What is said of a file that nests more deeply than is read, by this reader or by the YAML crate's own limit.
pub(super) const TOO_DEEP: &str = "lists and mappings are nested too deeply";
/// And what helps.
pub(super) const TOO_DEEP_HELP: &str = "no rules file needs that; look for brackets that are never closed";

/// A place where the parser cannot go on, and the change with which it can.
pub(super) struct Stop {
    /// What is wrong.
    pub(super) finding: Finding,
    /// The change, in the text as the parser read it.
    pub(super) edit: Option<Edit>,
}

impl From<Finding> for Stop {
    fn from(finding: Finding) -> Self {
        Self { finding, edit: None }
    }
}

impl Stop {
    /// A change that belongs into the file, too.
    pub(super) fn mended(finding: Finding, edit: Edit) -> Self {
        Self { finding: finding.replacement(edit.text.clone()), edit: Some(edit) }
    }
}

pub(super) fn span(file: usize, edit: &Edit) -> Span {
    Span { file, start: (edit.line, edit.start), end: (edit.line, edit.end) }
}

/// The parser's complaint, in words that say what to do where a common mistake is behind it.
pub(super) fn diagnose(error: &ScanError, lines: &[&str], file: usize) -> Stop {
    let mark = error.marker();
    let at = (mark.line().max(1), mark.col() + 1);
    let here = Span { file, start: at, end: (at.0, at.1 + 1) };
    let place = Place { lines, file, at };
    let found = match error.kind() {
        ErrorKind::UnknownAnchor | ErrorKind::MissingAnchorOrAliasName => place.sign('*'),
        ErrorKind::UnexpectedCharacter { .. } => place.character(),
        ErrorKind::MappingValueNotAllowed
        | ErrorKind::InvalidMappingValueWhitespace
        | ErrorKind::SimpleKeyExpected
        | ErrorKind::InvalidSimpleKey
        | ErrorKind::ExpectedBlockMappingKey
        | ErrorKind::ExpectedBlockSequenceEntry
        | ErrorKind::InvalidIndentation
        | ErrorKind::BlockSequenceEntryNotAllowed => place
            .spacing()
            .or_else(|| place.no_colon())
            .or_else(|| place.second_colon())
            .or_else(|| place.uneven()),
        ErrorKind::InvalidTrailingSingleQuotedScalar | ErrorKind::InvalidTrailingDoubleQuotedScalar => {
            place.quote().or_else(|| place.behind_quotes())
        }
        ErrorKind::UnclosedQuotedScalar | ErrorKind::InvalidQuotedScalarIndent => place.quote(),
        ErrorKind::UnclosedFlowCollection { .. }
        | ErrorKind::ExpectedFlowMappingSeparator
        | ErrorKind::ExpectedFlowSequenceSeparator
        | ErrorKind::UnexpectedEofFlowMapping
        | ErrorKind::UnexpectedEofFlowSequence
        | ErrorKind::InvalidFlowScalarIndent => place.bracket(),
        ErrorKind::UnknownQuotedScalarEscape => Some(place.escape()),
        _ => None,
    };
    if let Some(found) = found {
        return found;
    }
    if matches!(error.kind(), ErrorKind::RecursionLimitExceeded) {
        return Finding::error(codes::TOO_MUCH, here, TOO_DEEP).help(TOO_DEEP_HELP).into();
    }
    let info = error.info();
    let said = info.lines().next().unwrap_or_default();
    let help = "look here and at the line above: indentation, a missing colon or space after it, an open quote or bracket; quote text that holds `: `, ` #`, or begins with { [ * & ! @ %";
    Finding::error(codes::SYNTAX, here, format!("not valid YAML: {said}")).help(help).into()
}

/// A template without quotes, which YAML reads as a mapping whose key is a mapping.
pub(super) fn template(lines: &[&str], span: Span) -> Option<Stop> {
    let place = Place { lines, file: span.file, at: span.start };
    let line = place.line(span.start.0)?;
    let first =
        (span.start.1.saturating_sub(2)..=span.start.1).find(|at| line[*at..].starts_with(&['{', '{']))?;
    let end = value_end(&line, first);
    let edit = place.quoting(first, end);
    let finding = Finding::error(
        codes::UNQUOTED,
        crate::config::slips::span(span.file, &edit),
        "a value that begins with `{{` stands in quotes",
    )
    .help("without them YAML reads a mapping inside a mapping: write \"{{…}}\"");
    Some(Stop::mended(finding, edit))
}

/// A text without quotes whose `#` cuts it off.
pub(super) fn cut_off(lines: &[&str], span: Span) -> Option<Finding> {
    let line = lines.get(span.end.0 - 1)?;
    let rest: Vec<char> = line.chars().skip(span.end.1 - 1).collect();
    let blanks = rest.iter().take_while(|c| c.is_whitespace()).count();
    let comment = rest.get(blanks) == Some(&'#') && rest.get(blanks + 1).is_some_and(|c| c.is_alphanumeric());
    if blanks != 1 || !comment {
        return None;
    }
    // The comment itself is not shown: it may be half of a password.
    let message = "this is all of the value: behind it a `#` begins a comment";
    Some(
        Finding::warning(codes::CUT_OFF, span, message).help(
            "put the whole value in quotes if the `#` belongs to it; else write a space behind the `#`",
        ),
    )
}

/// Where the parser stopped, with the lines around it.
struct Place<'l, 't> {
    lines: &'l [&'t str],
    file: usize,
    at: (usize, usize),
}

impl Place<'_, '_> {
    fn line(&self, line: usize) -> Option<Vec<char>> {
        self.lines.get(line.checked_sub(1)?).map(|line| line.chars().collect())
    }

    /// Quotes the characters from `start` up to `end` (from 0) of the line.
    fn quoting(&self, start: usize, end: usize) -> Edit {
        let line = self.line(self.at.0).unwrap_or_default();
        let text: String = line[start.min(end)..end].iter().collect();
        Edit { line: self.at.0, start: start + 1, end: end + 1, text: quoted(&text) }
    }

    fn error(&self, code: &'static Code, edit: &Edit, message: impl Into<String>) -> Finding {
        Finding::error(code, span(self.file, edit), message)
    }

    /// A value that begins with this sign.
    fn sign(&self, sign: char) -> Option<Stop> {
        let line = self.line(self.at.0)?;
        let start =
            (self.at.1.saturating_sub(2)..line.len().min(self.at.1 + 1)).find(|at| line[*at] == sign)?;
        let edit = self.quoting(start, value_end(&line, start));
        let message = match sign {
            '*' => "a value that begins with `*` is a YAML alias unless it stands in quotes, and nothing is marked with that name".to_owned(),
            '`' => "a value that begins with a backtick stands in quotes".to_owned(),
            _ => format!("a value that begins with `{sign}` stands in quotes"),
        };
        let help = match sign {
            // Not with the value itself: it may be a secret.
            '*' => "put the pattern in quotes, as in `message_type: \"*_failed\"`",
            _ => "YAML keeps this sign for itself: put the whole value in quotes",
        };
        Some(Stop::mended(self.error(codes::UNQUOTED, &edit, message).help(help), edit))
    }

    fn character(&self) -> Option<Stop> {
        let line = self.line(self.at.0)?;
        let sign = *line.get(self.at.1 - 1)?;
        matches!(sign, '@' | '`' | '%').then(|| self.sign(sign)).flatten()
    }

    /// `to:front-desk` or `-name: x`, here or on the line before.
    fn spacing(&self) -> Option<Stop> {
        let above = (1..self.at.0).rev().find(|line| self.is_content(*line));
        [Some(self.at.0), above].into_iter().flatten().find_map(|line| {
            let (column, sign) = missing_space(&self.line(line)?)?;
            let edit = Edit { line, start: column + 1, end: column + 1, text: " ".to_owned() };
            Some(missing_space_stop(
                Span { file: self.file, start: (line, column), end: (line, column + 1) },
                sign,
                edit,
            ))
        })
    }

    fn is_content(&self, line: usize) -> bool {
        let text = self.lines.get(line - 1).map_or("", |line| line.trim());
        !text.is_empty() && !text.starts_with('#')
    }

    /// `webhook_url ${…}`, `deliver` or `to = desk`, here or on one of the two lines before.
    fn no_colon(&self) -> Option<Stop> {
        let above = (1..self.at.0).rev().filter(|line| self.is_content(*line)).take(2);
        std::iter::once(self.at.0).chain(above).find_map(|line| {
            let text = self.line(line)?;
            let (start, end) = bare_key(&text)?;
            let key: String = text[start..end].iter().collect();
            if !raw::is_key(&key) {
                return None;
            }
            let sign = text[end..].iter().position(|c| *c != ' ').map(|at| end + at);
            let sign = sign.filter(|at| matches!(text[*at], '=' | ';')).map_or(end, |at| at + 1);
            let edit = Edit { line, start: start + 1, end: sign + 1, text: format!("{key}:") };
            Some(Stop { finding: missing_colon(span(self.file, &edit), &key), edit: Some(edit) })
        })
    }

    /// `name: urgent: payments`.
    fn second_colon(&self) -> Option<Stop> {
        let line = self.line(self.at.0)?;
        let colon =
            (self.at.1.saturating_sub(2)..line.len().min(self.at.1 + 1)).find(|at| line[*at] == ':')?;
        let first = (0..colon).rev().find(|at| line[*at] == ':' && line.get(at + 1) == Some(&' '))?;
        let start = (first + 1..colon).find(|at| line[*at] != ' ')?;
        if matches!(line[start], '"' | '\'' | '{' | '[') {
            return None;
        }
        let edit = self.quoting(start, value_end(&line, start));
        let finding = self.error(codes::UNQUOTED, &edit, "a value that holds `: ` stands in quotes");
        Some(Stop::mended(
            finding.help("without quotes YAML takes what is before the second colon for another key"),
            edit,
        ))
    }

    /// A line that begins neither where its neighbours do nor further in.
    fn uneven(&self) -> Option<Stop> {
        let own = indent(self.lines.get(self.at.0 - 1)?);
        let item = self.lines[self.at.0 - 1].trim_start().starts_with("- ");
        if enclosing(&self.lines[..self.at.0 - 1], item).contains(&own) {
            return None;
        }
        let off = |line: usize| indent(self.lines[line - 1]).abs_diff(own);
        let near = (1..self.at.0)
            .rev()
            .take(50)
            .filter(|line| self.is_content(*line) && (1..4).contains(&off(*line)))
            .min_by_key(|line| (self.lines[*line - 1].trim_start().starts_with("- ") != item, off(*line)))?;
        let there = indent(self.lines[near - 1]);
        let what = if item { "list item" } else { "key" };
        let place = Span { file: self.file, start: (self.at.0, 1), end: (self.at.0, own + 1) };
        let other = Span { file: self.file, start: (near, there + 1), end: (near, there + 2) };
        let message = format!("this {what} is indented by {own} spaces, which fits nothing above it");
        let finding = Finding::error(codes::UNEVEN, place, message)
            .related(other, format!("this line is indented by {there}"))
            .help("indent what belongs together alike, by spaces");
        Some(finding.into())
    }

    /// A quotation mark that is never closed, or only by the one that should have opened the next text.
    fn quote(&self) -> Option<Stop> {
        let open = |line: &usize| {
            let text = self.line(*line)?;
            unclosed_quote(&text).map(|at| (*line, at, text))
        };
        let (line, at, text) = (1..=self.at.0.min(self.lines.len())).rev().find_map(|line| open(&line))?;
        // The last line with an odd mark may be the one that closes it: the one that opens is above.
        let (line, at, text) = (1..line)
            .rev()
            .take(20)
            .find_map(|line| open(&line))
            .filter(|(_, _, above)| self.at.0 == line && above.contains(&text[at]))
            .unwrap_or((line, at, text));
        let end = value_end(&text, at + 1).max(at + 1);
        let close = Edit { line, start: end + 1, end: end + 1, text: text[at].to_string() };
        let place = Span { file: self.file, start: (line, at + 1), end: (line, at + 2) };
        let mut finding = Finding::error(
            codes::UNCLOSED,
            place,
            format!("the quotation mark `{}` is opened here and not closed on this line", text[at]),
        )
        .help("close it behind the text; a longer text is written as a block, behind `|` or `>`");
        if self.at.0 > line && self.at.0 <= self.lines.len() {
            let end = Span { file: self.file, start: self.at, end: (self.at.0, self.at.1 + 1) };
            finding = finding.related(end, "so that everything up to here was taken for text");
        }
        Some(Stop { finding, edit: Some(close) })
    }

    /// `where: "vip" in message.body`: the value goes on behind the quotes that it began with. What follows may be another key and
    /// its secret, so nothing of it is made part of the value.
    fn behind_quotes(&self) -> Option<Stop> {
        let line = self.line(self.at.0)?;
        let behind = (self.at.1 - 1).min(line.len());
        let start = value_start(&line, behind)?;
        let word =
            line[behind..].iter().take_while(|c| c.is_ascii_lowercase() || matches!(c, '_' | '2')).count();
        let key: String = line[behind..behind + word].iter().collect();
        let (start, end, message, help) = if line.get(behind + word) == Some(&':') && raw::is_key(&key) {
            let help = "write a comma between the two, or put each on a line of its own".to_owned();
            (behind, behind + word, format!("a comma is missing before `{key}`"), help)
        } else {
            let message = "the value goes on behind its quotes".to_owned();
            let help = "put all of it in other quotes, as in `where: '\"vip\" in message.body'`; or put a comment's `#` before what follows";
            (start, value_end(&line, behind), message, help.to_owned())
        };
        let place =
            Span { file: self.file, start: (self.at.0, start + 1), end: (self.at.0, end.max(start + 1) + 1) };
        Some(Finding::error(codes::UNQUOTED, place, message).help(help).into())
    }

    /// A bracket that is never closed.
    fn bracket(&self) -> Option<Stop> {
        let (line, column) = (1..=self.at.0.min(self.lines.len())).rev().take(40).find_map(|line| {
            let text = self.line(line)?;
            unclosed_bracket(&text).map(|at| (line, at))
        })?;
        let text = self.line(line)?;
        let close = if text[column] == '{' { '}' } else { ']' };
        let place = Span { file: self.file, start: (line, column + 1), end: (line, column + 2) };
        let finding = Finding::error(
            codes::UNCLOSED,
            place,
            format!("the bracket `{}` is opened here and never closed", text[column]),
        )
        .help(format!("close it with `{close}`"));
        let end = comment_start(&text);
        let edit = Edit { line, start: end + 1, end: end + 1, text: close.to_string() };
        Some(Stop { finding, edit: Some(edit) })
    }

    fn escape(&self) -> Stop {
        let place = Span { file: self.file, start: self.at, end: (self.at.0, self.at.1 + 1) };
        Finding::error(
            codes::SYNTAX,
            place,
            "a backslash in double quotes begins an escape, and this one does not exist",
        )
        .help("write \\\\ for a backslash, or put the text in single quotes, where a backslash is just that")
        .into()
    }
}

/// The finding about a key at that place behind which the colon is missing.
pub(super) fn missing_colon(place: Span, key: &str) -> Finding {
    let finding = Finding::error(codes::WRONG_TYPE, place, format!("a colon is missing behind `{key}`"));
    finding.help(format!("write `{key}: …`, so that it is a key with a value")).replacement(format!("{key}:"))
}

/// Where (from 0) the first word of a line stands that has no colon, in which it may be a key that lacks it.
fn bare_key(line: &[char]) -> Option<(usize, usize)> {
    let start = line.iter().position(|c| !matches!(c, ' ' | '-'))?;
    let word = line[start..].iter().take_while(|c| c.is_ascii_lowercase() || matches!(c, '_' | '2')).count();
    let rest = &line[start + word..];
    let apart = rest.first().is_none_or(|c| matches!(c, ' ' | '=' | ';'));
    let colon =
        rest.iter().enumerate().any(|(at, c)| *c == ':' && rest.get(at + 1).is_none_or(|c| *c == ' '));
    (word > 0 && apart && !colon).then_some((start, start + word))
}

/// The finding about a space that is missing behind a colon or a dash at that place.
pub(super) fn missing_space_at(place: Span, sign: char) -> Finding {
    let (line, column) = place.start;
    let edit = Edit { line, start: column + 1, end: column + 1, text: " ".to_owned() };
    missing_space_stop(Span { end: (line, column + 1), ..place }, sign, edit).finding
}

fn missing_space_stop(place: Span, sign: char, edit: Edit) -> Stop {
    let (what, example) = if sign == ':' { ("colon", "`to: front-desk`") } else { ("dash", "`- name: all`") };
    let finding = Finding::error(codes::SPACING, place, format!("a space is missing behind this {what}"))
        .help(format!("write {example}: without the space YAML takes it all for one text"))
        .replacement(format!("{sign} "));
    Stop { finding, edit: Some(edit) }
}

/// The column (from 1) of a colon or dash that a space is missing behind, at the start of a line.
fn missing_space(line: &[char]) -> Option<(usize, char)> {
    let mut at = line.iter().take_while(|c| **c == ' ').count();
    if line.get(at) == Some(&'-') && line.get(at + 1).is_some_and(|c| c.is_alphabetic()) {
        return Some((at + 1, '-'));
    }
    while line.get(at) == Some(&'-') && line.get(at + 1) == Some(&' ') {
        at += 1 + line[at + 1..].iter().take_while(|c| **c == ' ').count();
    }
    let key = line[at..].iter().take_while(|c| c.is_alphanumeric() || matches!(c, '_' | '-')).count();
    let colon = at + key;
    let glued = line.get(colon) == Some(&':') && line.get(colon + 1).is_some_and(|c| !c.is_whitespace());
    let url = line[colon.min(line.len())..].starts_with(&[':', '/', '/']);
    (key > 0 && glued && !url).then_some((colon + 1, ':'))
}

/// Where (from 0) the comment of a line begins, or its text ends.
fn comment_start(line: &[char]) -> usize {
    let comment = (1..line.len()).find(|at| line[*at] == '#' && line[at - 1].is_whitespace());
    let end = comment.unwrap_or(line.len());
    line[..end].iter().rposition(|c| !c.is_whitespace()).map_or(0, |at| at + 1)
}

/// Where (from 0) the unquoted value that starts at `start` ends: inside brackets at the next `,` or bracket.
fn value_end(line: &[char], start: usize) -> usize {
    let depth = |text: &[char]| {
        let count = |signs: &[char]| text.iter().filter(|c| signs.contains(c)).count();
        count(&['{', '[']).saturating_sub(count(&['}', ']']))
    };
    let end = comment_start(line).max(start);
    if depth(&line[..start]) == 0 {
        return end;
    }
    let trimmed = |end: usize| {
        line[..end].iter().rposition(|c| !c.is_whitespace()).map_or(end, |at| (at + 1).max(start))
    };
    let mut open = 0_usize;
    for (at, c) in line[..end].iter().enumerate().skip(start) {
        match c {
            '{' | '[' => open += 1,
            '}' | ']' | ',' if open == 0 => return trimmed(at),
            '}' | ']' => open -= 1,
            _ => {}
        }
    }
    end
}

/// Where (from 0) a quotation mark opens that the line does not close.
fn unclosed_quote(line: &[char]) -> Option<usize> {
    let mut open: Option<usize> = None;
    let mut at = 0;
    while at < line.len() {
        let c = line[at];
        match open {
            Some(from) if c == '\\' && line[from] == '"' => at += 1,
            Some(from) if c == line[from] => open = None,
            Some(_) => {}
            None if c == '#' && at > 0 && line[at - 1].is_whitespace() => break,
            None => {
                let begins = at == 0 || matches!(line[at - 1], ' ' | '[' | '{' | ',' | ':');
                if matches!(c, '"' | '\'') && begins {
                    open = Some(at);
                }
            }
        }
        at += 1;
    }
    open
}

/// Where (from 0) the quotes open that close last before `at`.
fn value_start(line: &[char], at: usize) -> Option<usize> {
    let (mut open, mut last): (Option<usize>, _) = (None, None);
    let mut place = 0;
    while place < at.min(line.len()) {
        let c = line[place];
        match open {
            Some(from) if c == '\\' && line[from] == '"' => place += 1,
            Some(from) if c == line[from] => (open, last) = (None, Some(from)),
            None if matches!(c, '"' | '\'') => open = Some(place),
            _ => {}
        }
        place += 1;
    }
    last
}

/// Where (from 0) a bracket opens that the line does not close.
fn unclosed_bracket(line: &[char]) -> Option<usize> {
    let mut open = Vec::new();
    for (at, c) in line[..comment_start(line)].iter().enumerate() {
        match c {
            '{' | '[' => open.push(at),
            '}' | ']' => {
                open.pop();
            }
            _ => {}
        }
    }
    open.pop()
}
