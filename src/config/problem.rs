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
    /// A second place that belongs to it, such as the first of two equal keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub related: Option<Related>,
    /// Who answers for the file, if it says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
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
    replacement: Option<String>,
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

    /// The text that mends it, in place of the span.
    pub fn replacement(self, text: impl Into<String>) -> Self {
        Self { replacement: Some(text.into()), ..self }
    }

    /// A second place that belongs to it.
    pub fn related(self, span: Span, message: impl Into<String>) -> Self {
        Self { related: Some((span, message.into())), ..self }
    }

    /// The problem, with the files' names in place of their indices.
    pub fn into_problem(self, files: &[String]) -> Problem {
        let name = |span: Span| files.get(span.file).cloned().unwrap_or_default();
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
            replacement: self.replacement,
            related: self.related.map(|(span, message)| Related {
                file: name(span),
                line: span.start.0,
                column: span.start.1,
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

/// The candidate that is nearest to what was written, if any is near enough to be meant.
pub fn nearest<'a>(written: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = written.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| {
            let other = candidate.to_lowercase();
            let alike = strsim::jaro_winkler(&lower, &other);
            (strsim::damerau_levenshtein(&lower, &other), alike, candidate)
        })
        .filter(|(distance, alike, candidate)| {
            *distance <= candidate.chars().count().div_ceil(3) || (*alike > 0.9 && lower.len() > 3)
        })
        .min_by(|a, b| a.0.cmp(&b.0).then(b.1.total_cmp(&a.1)))
        .map(|(_, _, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn the_nearest_name_is_suggested_and_a_far_one_is_not() {
        let keys = ["poll_every", "overlap", "token", "token_file"];
        assert_eq!(nearest("pol_every", keys), Some("poll_every"));
        assert_eq!(nearest("tokn", keys), Some("token"));
        assert_eq!(nearest("Overlap", keys), Some("overlap"));
        assert_eq!(nearest("webhook", keys), None);
    }
}
