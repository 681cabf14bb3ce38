//! Reading a tree with the schema in hand: every mistake becomes a finding with its place, and reading goes on.

use std::path::PathBuf;
use std::sync::Arc;

use crate::egress::Egress;
use crate::egress::policy::Policy;

use super::codes::{self, Code};
use super::keys::Keys;
use super::outline::Material;
use super::problem::{Finding, Span, similar};
use super::secret::{Environment, bare_variable, substitute};
use super::slips::{self, missing_space_at};
use super::yaml::{Entry, Kind, Node, Scalar, Style};

/// One file as read.
#[derive(Debug)]
pub(super) struct Source {
    /// As the person named it.
    pub(super) name: String,
    /// As it is on disk; shown to nobody before it is masked.
    pub(super) text: Arc<str>,
    /// Where relative paths in it start.
    pub(super) folder: PathBuf,
}

/// A value with its place and the text it was written as.
#[derive(Debug, Clone)]
pub(super) struct Spot<T> {
    /// The value.
    pub(super) value: T,
    /// Where it stands.
    pub(super) span: Span,
    /// As written, before substitution: the only form that may be shown.
    pub(super) written: String,
    /// It holds a `${…}`, so that the value differs from the text.
    pub(super) substituted: bool,
}

impl<T> Spot<T> {
    /// The same place with another value.
    pub(super) fn with<U>(self, value: U) -> Spot<U> {
        Spot { value, span: self.span, written: self.written, substituted: self.substituted }
    }
}

/// It could not be read, which has been reported.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unreadable;

/// The reader's state: what it needs to know, and what it found wrong.
#[derive(Debug)]
pub(super) struct Reader<'e> {
    /// The variables for `${…}`.
    pub(super) environment: &'e Environment,
    /// The files read so far.
    pub(super) sources: Vec<Source>,
    /// Everything wrong so far.
    pub(super) findings: Vec<Finding>,
    /// The clients made so far, one for each policy.
    pub(super) egresses: Vec<Egress>,
    /// What was read so far.
    pub(super) material: Material,
    /// Files that are named may be read; not so for rules that somebody is only trying.
    pub(super) reads_files: bool,
}

/// A mapping whose keys have been checked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'n> {
    span: Span,
    entries: &'n [Entry],
    of: &'static str,
}

impl Reader<'_> {
    /// The client for a policy. Targets with the same policy share one: each has its own connections and certificates.
    pub(super) fn egress(&mut self, policy: Policy) -> Egress {
        if let Some(made) = self.egresses.iter().find(|made| *made.policy() == policy) {
            return made.clone();
        }
        let made = Egress::new(policy);
        self.egresses.push(made.clone());
        made
    }

    /// Notes an error; more can be said about it on the way.
    pub(super) fn report(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// Notes an error with what to do about it.
    pub(super) fn error(
        &mut self,
        code: &'static Code,
        span: Span,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.findings.push(Finding::error(code, span, message).help(help));
    }

    /// A value of the wrong kind.
    pub(super) fn wrong(&mut self, node: &Node, wanted: &str, help: &str) {
        let message = match node.kind {
            Kind::Null => format!("a value is missing: {wanted} is wanted"),
            _ => format!("{wanted} is wanted, and this is {}", node.what()),
        };
        self.error(codes::WRONG_TYPE, node.span, message, help);
    }

    /// The node as a mapping with these keys; unknown ones are reported.
    pub(super) fn fields<'n>(&mut self, node: &'n Node, keys: Keys) -> Option<Fields<'n>> {
        let Kind::Map(entries) = &node.kind else {
            if self.missing_space(node, keys) {
                return None;
            }
            self.wrong(
                node,
                "a mapping",
                &format!("{} is written as `key: value` lines or as {}", keys.of, keys.example()),
            );
            return None;
        };
        for entry in entries {
            if keys.names().any(|known| known == entry.key) {
                continue;
            }
            if keys.later.contains(&entry.key.as_str()) {
                let message = format!("`{}` is not available in this version", entry.key);
                self.error(
                    codes::NOT_YET,
                    entry.span,
                    message,
                    "take it out for now: nothing would act on it",
                );
                continue;
            }
            if let Some((key, _)) = entry.key.split_once(':')
                && keys.names().any(|known| known == key)
            {
                self.report(missing_space_at(behind(entry.span, key), ':'));
                continue;
            }
            if entry.key.strip_prefix('-').is_some_and(|key| keys.names().any(|known| known == key)) {
                self.report(missing_space_at(entry.span, '-'));
                continue;
            }
            if let Some((key, _)) = entry.key.split_once(SIGNS)
                && keys.names().any(|known| known == key)
            {
                let place = behind(entry.span, key);
                self.report(slips::missing_colon(Span { end: place.start, ..entry.span }, key));
                continue;
            }
            let mut finding = Finding::error(
                codes::UNKNOWN_KEY,
                entry.span,
                format!("{} has no key `{}`", keys.of, shown_key(&entry.key)),
            );
            let allowed = keys.names().collect::<Vec<_>>().join(", ");
            let elsewhere = keys.elsewhere.iter().find(|(key, _)| *key == entry.key);
            finding = match similar(&entry.key, keys.names()) {
                _ if elsewhere.is_some() => {
                    let place = elsewhere.map_or("", |(_, place)| *place);
                    finding.help(format!("`{}` stands {place}", entry.key))
                }
                Some(similar) => finding
                    .help(format!("did you mean `{}`? It takes: {allowed}", similar.name))
                    .meant(&similar),
                None => finding.help(format!("it takes: {allowed}")),
            };
            self.report(finding);
        }
        Some(Fields { span: node.span, entries, of: keys.of })
    }

    /// Reports a text that is one of the keys and its value with the colon or the space behind it left out:
    /// `to:front-desk`, `to front-desk`.
    fn missing_space(&mut self, node: &Node, keys: Keys) -> bool {
        let Kind::Scalar(Scalar { text, style: Style::Plain }) = &node.kind else { return false };
        let Some((key, sign)) = text.find([':', ' ']).map(|at| (&text[..at], text.as_bytes()[at])) else {
            return false;
        };
        if !keys.names().any(|known| known == key) || !self.begins_its_line(node.span) {
            return false;
        }
        let place = behind(node.span, key);
        if sign == b':' {
            self.report(missing_space_at(place, ':'));
        } else {
            let span = Span { start: node.span.start, end: place.start, ..place };
            self.report(slips::missing_colon(span, key));
        }
        true
    }

    /// Only blanks and dashes stand before it.
    fn begins_its_line(&self, span: Span) -> bool {
        let source = self.sources.get(span.file);
        let line = source.and_then(|source| source.text.lines().nth(span.start.0 - 1)).unwrap_or_default();
        line.chars().take(span.start.1 - 1).all(|c| matches!(c, ' ' | '-'))
    }

    /// The value of a key that must be there.
    pub(super) fn required<'n>(
        &mut self,
        fields: Fields<'n>,
        key: &'static str,
        help: &str,
    ) -> Option<&'n Node> {
        let found = fields.get(key);
        if found.is_none() && !fields.lacks_colon(key) {
            let message = format!("{} needs the key `{key}`", fields.of);
            self.error(codes::MISSING_KEY, fields.span, message, help);
        }
        found
    }

    /// The items of a list.
    pub(super) fn list<'n>(&mut self, node: &'n Node, wanted: &str, help: &str) -> Option<&'n [Node]> {
        if let Kind::List(items) = &node.kind {
            Some(items)
        } else if let Kind::Map(entries) = &node.kind
            && let Some(entry) =
                entries.first().filter(|entry| entry.key.starts_with('-') && entry.key.len() > 1)
        {
            self.report(missing_space_at(entry.span, '-'));
            None
        } else if let Kind::Scalar(Scalar { text, style: Style::Plain }) = &node.kind
            && text.strip_prefix('-').is_some_and(|rest| rest.starts_with(char::is_alphabetic))
        {
            self.report(missing_space_at(node.span, '-'));
            None
        } else {
            self.wrong(node, wanted, help);
            None
        }
    }

    /// The items of a list, or the one value as a list of one.
    pub(super) fn one_or_more<'n>(&mut self, node: &'n Node) -> &'n [Node] {
        match &node.kind {
            Kind::List(items) if items.is_empty() => {
                self.error(
                    codes::WRONG_TYPE,
                    node.span,
                    "an empty list",
                    "name at least one, or leave the key out",
                );
                &[]
            }
            Kind::List(items) => items,
            _ => std::slice::from_ref(node),
        }
    }

    /// A scalar with its `${…}` replaced, whatever it looks like.
    fn scalar(&mut self, node: &Node, wanted: &str, help: &str) -> Option<(Spot<String>, Style)> {
        let Kind::Scalar(scalar) = &node.kind else {
            self.wrong(node, wanted, help);
            return None;
        };
        let folder = self.sources.get(node.span.file).map(|source| source.folder.clone()).unwrap_or_default();
        let material = &mut self.material;
        match substitute(&scalar.text, self.environment, &folder, |path| material.secret(path)) {
            Ok(value) => {
                let substituted = scalar.text.contains("${");
                self.bare_variable(node.span, &scalar.text);
                Some((
                    Spot { value, span: node.span, written: scalar.text.clone(), substituted },
                    scalar.style,
                ))
            }
            Err(mistakes) => {
                for mistake in mistakes {
                    let span = self.part(node, scalar, &mistake.range);
                    self.error(mistake.code, span, mistake.message, mistake.help);
                }
                None
            }
        }
    }

    /// Warns of `$NAME` without braces, which stays as it is.
    fn bare_variable(&mut self, span: Span, text: &str) {
        let Some(name) = bare_variable(text) else { return };
        // It may yet be a password, so a name that nobody has set is not repeated.
        let known = self.environment.get(name).is_some();
        let message = if known {
            format!("this stays as it is: the variable {name} wants braces")
        } else {
            "this stays as it is: a variable wants braces".to_owned()
        };
        let finding = Finding::warning(codes::SUBSTITUTION, span, message);
        let finding = finding.help("write ${NAME} for what a variable holds, and $$ for a dollar sign");
        self.report(if known { finding.guess(format!("${{{name}}}")) } else { finding });
    }

    /// The text of a scalar with its `${…}` replaced, or as it is where that cannot be; reports nothing.
    pub(super) fn substituted(&mut self, text: &str, span: Span) -> String {
        let folder = self.sources.get(span.file).map(|source| source.folder.clone()).unwrap_or_default();
        let material = &mut self.material;
        let found = substitute(text, self.environment, &folder, |path| material.secret(path));
        found.unwrap_or_else(|_| text.to_owned())
    }

    /// Text. Numbers and truth values want quotes, so that `1.10` does not become something else elsewhere.
    pub(super) fn text(&mut self, node: &Node, wanted: &str) -> Option<Spot<String>> {
        let (spot, style) = self.scalar(
            node,
            wanted,
            "write it as text, in quotes if it holds : # or begins with { [ * & ! @",
        )?;
        if style == Style::Plain && !spot.substituted && !self.stands_without_quotes(&spot, wanted) {
            return None;
        }
        if spot.value.trim().is_empty() {
            let (message, help) = if spot.substituted {
                (format!("`{}` is empty", spot.written), "give the variable or the file a value")
            } else {
                ("this text is empty".to_owned(), "give it a value or leave the key out")
            };
            self.error(codes::WRONG_TYPE, spot.span, message, help);
            return None;
        }
        Some(spot)
    }

    /// Text or a number: for values such as durations that are written without quotes.
    pub(super) fn word(&mut self, node: &Node, wanted: &str) -> Option<Spot<String>> {
        let (spot, _) = self.scalar(node, wanted, "write one value")?;
        Some(Spot { value: spot.value.trim().to_owned(), ..spot })
    }

    /// A whole number in a range.
    pub(super) fn number(&mut self, node: &Node, range: std::ops::RangeInclusive<u32>) -> Option<u32> {
        let wanted = format!("a whole number from {} to {}", range.start(), range.end());
        let (spot, style) = self.scalar(node, &wanted, "write it as digits")?;
        let parsed = spot.value.trim().parse::<u32>().ok();
        match parsed {
            Some(_) if style != Style::Plain && !spot.substituted => {
                let finding = Finding::error(
                    codes::WRONG_TYPE,
                    spot.span,
                    format!("{wanted} is wanted, and this is text"),
                );
                self.report(finding.help("take the quotes away").replacement(spot.value));
                None
            }
            Some(number) if range.contains(&number) => Some(number),
            Some(_) => {
                self.error(
                    codes::NUMBER,
                    spot.span,
                    "this number is out of range",
                    format!("{wanted} is wanted"),
                );
                None
            }
            None => {
                let help = "write it as digits, without a sign, a point or a unit";
                self.error(codes::WRONG_TYPE, spot.span, format!("{wanted} is wanted"), help);
                None
            }
        }
    }

    /// `true` or `false`.
    pub(super) fn truth(&mut self, node: &Node) -> Option<bool> {
        let (spot, style) = self.scalar(node, "true or false", "write true or false")?;
        let plain = style == Style::Plain || spot.substituted;
        let instead = match spot.value.trim().to_lowercase().as_str() {
            "true" if plain => return Some(true),
            "false" if plain => return Some(false),
            "true" | "yes" | "on" | "y" | "1" => "true",
            "false" | "no" | "off" | "n" | "0" => "false",
            _ => {
                self.error(
                    codes::WRONG_TYPE,
                    spot.span,
                    "true or false is wanted",
                    "write true or false, without quotes",
                );
                return None;
            }
        };
        let finding = Finding::error(codes::WRONG_TYPE, spot.span, "true or false is wanted, in these words");
        self.report(finding.help(format!("write {instead}, without quotes")).replacement(instead));
        None
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&mut self, node: &Node, choices: &[(&'static str, T)]) -> Option<T> {
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        let spot = self.word(node, &format!("one of {}", names.join(", ")))?;
        if let Some((_, value)) = choices.iter().find(|(name, _)| *name == spot.value) {
            return Some(*value);
        }
        let finding = Finding::error(
            codes::CHOICE,
            spot.span,
            format!("`{}` is none of the possible values", spot.written),
        );
        let all = names.join(", ");
        let finding = match similar(&spot.value, names) {
            Some(similar) => {
                finding.help(format!("did you mean `{}`? Possible are: {all}", similar.name)).meant(&similar)
            }
            None => finding.help(format!("possible are: {all}")),
        };
        self.report(finding);
        None
    }

    /// The span of some characters of a scalar, where they can be found in the file; else of all of it.
    pub(super) fn part(&self, node: &Node, scalar: &Scalar, range: &std::ops::Range<usize>) -> Span {
        let found = self.sources.get(node.span.file).and_then(|source| {
            let last = range.end.max(range.start + 1) - 1;
            super::locate::characters(&source.text, node.span, scalar, (range.start, last))
        });
        found.map_or(node.span, |(start, last)| Span { start, end: (last.0, last.1 + 1), ..node.span })
    }
}

impl<'n> Fields<'n> {
    /// The value of a key, if it is there.
    pub(super) fn get(&self, key: &str) -> Option<&'n Node> {
        self.entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value)
    }

    /// Where a key stands, or the mapping if it is not there.
    pub(super) fn key_span(&self, key: &str) -> Span {
        self.entries.iter().find(|entry| entry.key == key).map_or(self.span, |entry| entry.span)
    }

    /// The key is there with its value in its name, as the colon between them is missing: that is told by itself.
    pub(super) fn lacks_colon(&self, key: &str) -> bool {
        let glued = |entry: &Entry| entry.key.strip_prefix(key).is_some_and(|rest| rest.starts_with(SIGNS));
        self.entries.iter().any(glued)
    }

    /// Where the mapping begins.
    pub(super) fn span(&self) -> Span {
        self.span
    }
}

/// What stands behind a key in place of the colon that was meant.
const SIGNS: [char; 3] = [' ', '=', ';'];

/// A key for a message: what follows its first word may be the value, and a secret.
fn shown_key(key: &str) -> String {
    key.split_once(SIGNS).map_or_else(|| key.to_owned(), |(word, _)| format!("{word} …"))
}

/// The place of what stands right behind a key at the start of a span.
fn behind(span: Span, key: &str) -> Span {
    Span { start: (span.start.0, span.start.1 + key.chars().count()), ..span }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_of_one_policy_share_a_client() {
        let environment = Environment::of([("A", "b")]);
        let mut reader = Reader {
            environment: &environment,
            sources: Vec::new(),
            findings: Vec::new(),
            egresses: Vec::new(),
            material: Material::default(),
            reads_files: true,
        };
        for policy in [Policy::Public, Policy::Any, Policy::Public] {
            assert_eq!(reader.egress(policy.clone()).policy(), &policy);
        }
        assert_eq!(reader.egresses.len(), 2);
    }
}
