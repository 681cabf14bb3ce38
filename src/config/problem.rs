//! A problem in a file: what, where, and what to do about it.

use serde::Serialize;

use super::codes::Code;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The configuration cannot be used.
    Error,
    /// It can, but probably does not do what was meant.
    Warning,
}

/// One problem. Lines and columns count from 1, columns in characters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// `R` and three digits.
    pub code: &'static str,
    /// How bad.
    pub severity: Severity,
    /// Which file.
    pub file: String,
    /// First line.
    pub line: usize,
    /// First column.
    pub column: usize,
    /// Last line.
    pub end_line: usize,
    /// The column behind the last character.
    pub end_column: usize,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
    /// The text that would mend it, in place of the span.
    pub replacement: Option<String>,
    /// How sure it is that the replacement is what was meant; there with a replacement.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub applicability: Option<Applicability>,
    /// A second place that belongs to it, such as the first of two equal keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub related: Option<Related>,
    /// Who answers for the file, if it says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
}

/// How sure it is that a replacement is what was meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Applicability {
    /// `check --fix` writes it into the file.
    Certain,
    /// Only shown: something else may have been meant.
    Maybe,
}

/// A second place of a problem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Related {
    /// Which file.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// Last line.
    pub end_line: usize,
    /// The column behind the last character.
    pub end_column: usize,
    /// What stands there.
    pub message: String,
}

/// A stretch of one of the files read. Lines and columns count from 1, columns in characters; the end is behind the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// Index into the files read.
    pub file: usize,
    /// First line and column.
    pub start: (usize, usize),
    /// Last line and the column behind the last character.
    pub end: (usize, usize),
}

impl Span {
    /// The first character of a file.
    pub fn start_of(file: usize) -> Self {
        Self { file, start: (1, 1), end: (1, 1) }
    }

    /// From the start of this to the end of the other.
    pub fn to(self, other: Self) -> Self {
        Self { end: other.end, ..self }
    }
}

/// A problem whose file is still an index: what the readers of the file produce.
#[derive(Debug, Clone)]
pub struct Finding {
    code: &'static Code,
    severity: Severity,
    /// Where.
    pub span: Span,
    message: String,
    help: Option<String>,
    replacement: Option<(String, Applicability)>,
    related: Option<(Span, String)>,
}

impl Finding {
    /// The configuration cannot be used because of it.
    pub fn error(code: &'static Code, span: Span, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { code, severity: Severity::Error, span, message, help: None, replacement: None, related: None }
    }

    /// It can be used, but probably not as meant.
    pub fn warning(code: &'static Code, span: Span, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, span, message) }
    }

    /// The configuration cannot be used because of it.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// What to do about it.
    pub fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    /// The text that certainly mends it, in place of the span.
    pub fn replacement(self, text: impl Into<String>) -> Self {
        Self { replacement: Some((text.into(), Applicability::Certain)), ..self }
    }

    /// A text that may be what was meant, in place of the span: shown, and written by nobody.
    pub fn guess(self, text: impl Into<String>) -> Self {
        Self { replacement: Some((text.into(), Applicability::Maybe)), ..self }
    }

    /// The name that was probably meant, written as YAML takes it.
    pub fn meant(self, similar: &Similar<'_>) -> Self {
        Self { replacement: Some((scalar(similar.name), similar.applicability)), ..self }
    }

    /// The text that would mend it.
    pub fn replaced(&self) -> Option<&str> {
        self.replacement.as_ref().map(|(text, _)| text.as_str())
    }

    /// Takes the replacement back: it may not be shown or written.
    pub fn without_replacement(self) -> Self {
        Self { replacement: None, ..self }
    }

    /// The same with every place moved.
    pub fn moved(mut self, place: impl Fn(Span) -> Span) -> Self {
        self.span = place(self.span);
        self.related = self.related.map(|(span, message)| (place(span), message));
        self
    }

    /// It stands in such a place, or what belongs to it does.
    pub fn touches(&self, is_there: impl Fn(Span) -> bool) -> bool {
        is_there(self.span) || self.related.as_ref().is_some_and(|(span, _)| is_there(*span))
    }

    /// Which kind of problem.
    pub fn code(&self) -> &'static Code {
        self.code
    }

    /// A second place that belongs to it.
    pub fn related(self, span: Span, message: impl Into<String>) -> Self {
        Self { related: Some((span, message.into())), ..self }
    }

    /// The problem, with the files' names in place of their indices.
    pub fn into_problem(self, files: &[String]) -> Problem {
        let name = |span: Span| files.get(span.file).cloned().unwrap_or_default();
        let (replacement, applicability) = self.replacement.unzip();
        Problem {
            code: self.code.id,
            severity: self.severity,
            file: name(self.span),
            line: self.span.start.0,
            column: self.span.start.1,
            end_line: self.span.end.0,
            end_column: self.span.end.1,
            message: self.message,
            help: self.help,
            replacement,
            applicability,
            related: self.related.map(|(span, message)| Related {
                file: name(span),
                line: span.start.0,
                column: span.start.1,
                end_line: span.end.0,
                end_column: span.end.1,
                message,
            }),
            owner: None,
        }
    }
}

/// How many of the problems are errors, and how many warnings.
pub fn count(problems: &[Problem]) -> (usize, usize) {
    let errors = problems.iter().filter(|problem| problem.severity == Severity::Error).count();
    (errors, problems.len() - errors)
}

/// A name that was probably meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Similar<'a> {
    /// The name.
    pub name: &'a str,
    /// Certain if it is a slip of a letter or two, and no other name is as near.
    pub applicability: Applicability,
}

/// The candidate that is nearest to what was written, if any is near enough to be meant.
pub fn nearest<'a>(written: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    similar(written, candidates).map(|similar| similar.name)
}

/// The candidate that is nearest to what was written, and whether it can only be that one.
pub fn similar<'a>(written: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<Similar<'a>> {
    let lower = written.to_lowercase();
    let mut near: Vec<(usize, f64, &str)> = candidates
        .into_iter()
        .map(|candidate| {
            let other = candidate.to_lowercase();
            let alike = strsim::jaro_winkler(&lower, &other);
            (strsim::damerau_levenshtein(&lower, &other), alike, candidate)
        })
        .filter(|(distance, alike, candidate)| {
            *distance <= candidate.chars().count().div_ceil(3) || (*alike > 0.9 && lower.len() > 3)
        })
        .collect();
    near.sort_by(|a, b| a.0.cmp(&b.0).then(b.1.total_cmp(&a.1)));
    let &(distance, _, name) = near.first()?;
    // A letter more or less makes another word of a very short one.
    let slip =
        distance <= [0, 1, 2][usize::from(name.chars().count() > 3) + usize::from(name.chars().count() > 5)];
    let alone = near.iter().all(|(other, _, candidate)| *other > distance || *candidate == name);
    let applicability = if slip && alone { Applicability::Certain } else { Applicability::Maybe };
    Some(Similar { name, applicability })
}

/// A text as a YAML value: in quotes if it needs them.
pub fn scalar(text: &str) -> String {
    let plain = text.starts_with(|c: char| c.is_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | '+'))
        && !["true", "false", "null", "yes", "no", "on", "off", "y", "n"]
            .contains(&text.to_lowercase().as_str());
    if plain { text.to_owned() } else { quoted(text) }
}

/// A text in double quotes, as YAML reads them.
pub fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::{Applicability, nearest, scalar, similar};

    #[test]
    fn the_nearest_name_is_suggested_and_a_far_one_is_not() {
        let keys = ["poll_every", "overlap", "token", "token_file"];
        assert_eq!(nearest("pol_every", keys), Some("poll_every"));
        assert_eq!(nearest("tokn", keys), Some("token"));
        assert_eq!(nearest("Overlap", keys), Some("overlap"));
        assert_eq!(nearest("webhook", keys), None);
    }

    #[test]
    fn only_a_slip_with_one_possible_name_is_certain() {
        let of = |written, names: &[&'static str]| {
            similar(written, names.iter().copied()).map(|s| s.applicability)
        };
        assert_eq!(of("dsk", &["desk", "mail"]), Some(Applicability::Certain));
        assert_eq!(of("dsk", &["desk", "disk"]), Some(Applicability::Maybe));
        assert_eq!(of("canceling", &["cancelled"]), Some(Applicability::Maybe));
        assert_eq!(of("no", &["NZ"]), Some(Applicability::Maybe));
        assert_eq!(of("nz", &["NZ"]), Some(Applicability::Certain));
    }

    #[test]
    fn names_are_quoted_where_yaml_would_read_something_else() {
        for (name, written) in
            [("desk", "desk"), ("no", "\"no\""), ("1.5", "\"1.5\""), ("a: \"b", "\"a: \\\"b\"")]
        {
            assert_eq!(scalar(name), written);
        }
    }
}
