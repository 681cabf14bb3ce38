//! The difference between what was expected and what came, line by line, and word by word where lines are alike.

use similar::{ChangeTag, TextDiff};

use crate::cli::output::{BAD, BOLD, DIM, GOOD, counted, paint};

/// Lines around a difference that are shown with it.
const CONTEXT: usize = 3;
/// A text that is only shown, not compared, is cut after so many lines.
const LINES_MAX: usize = 40;

/// What is shown below a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Difference {
    /// Two texts that were to be the same.
    Between {
        /// What was expected.
        expected: String,
        /// What came.
        actual: String,
    },
    /// What came, where something was to be found in it.
    In(String),
}

impl Difference {
    /// For people: `-` is expected, `+` is what came.
    pub(super) fn lines(&self) -> Vec<String> {
        match self {
            Self::Between { expected, actual } => between(expected, actual),
            Self::In(text) => within(text),
        }
    }

    /// The same without colours.
    pub(super) fn plain(&self) -> String {
        let lines: Vec<String> = self.lines();
        anstream::adapter::strip_str(&lines.join("\n")).to_string()
    }
}

fn between(expected: &str, actual: &str) -> Vec<String> {
    let (expected, actual) = (visible(expected), visible(actual));
    let diff = TextDiff::from_lines(&expected, &actual);
    let mut lines = vec![format!("{}  {}", paint(BAD, "- expected"), paint(GOOD, "+ what came"))];
    for (number, group) in diff.grouped_ops(CONTEXT).iter().enumerate() {
        if number > 0 {
            lines.push(paint(DIM, "  …"));
        }
        for change in group.iter().flat_map(|op| diff.iter_inline_changes(op)) {
            let (sign, style) = match change.tag() {
                ChangeTag::Delete => ("-", Some(BAD)),
                ChangeTag::Insert => ("+", Some(GOOD)),
                ChangeTag::Equal => (" ", None),
            };
            let mut line = style.map_or_else(|| format!("{sign} "), |style| paint(style, format!("{sign} ")));
            for (emphasized, value) in change.iter_strings_lossy() {
                let value = value.trim_end_matches('\n');
                line.push_str(&match (style, emphasized) {
                    (Some(style), true) => paint(style.underline(), value),
                    (Some(style), false) => paint(style, value),
                    (None, _) => value.to_owned(),
                });
            }
            lines.push(line.trim_end().to_owned());
        }
    }
    lines
}

/// Every line ends, so that the last one differs only where its text does; blanks at a line's end are shown.
fn visible(text: &str) -> String {
    let line = |line: &str| {
        let kept = line.trim_end_matches([' ', '\t']);
        let blanks = line[kept.len()..].chars().map(|c| if c == ' ' { '·' } else { '→' });
        format!("{kept}{}\n", blanks.collect::<String>())
    };
    text.trim_end_matches('\n').split('\n').map(line).collect()
}

fn within(text: &str) -> Vec<String> {
    let mut lines = vec![paint(BOLD, "what came:")];
    let all: Vec<&str> = text.trim_end().lines().collect();
    lines.extend(all.iter().take(LINES_MAX).map(|line| format!("| {line}").trim_end().to_owned()));
    if all.len() > LINES_MAX {
        lines.push(paint(DIM, format!("| … and {}", counted(all.len() - LINES_MAX, "more line"))));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_shown_with_a_little_around_it() {
        let expected = (1..=12).map(|n| n.to_string()).collect::<Vec<_>>().join("\n");
        let actual = expected.replace('6', "six");
        let shown = Difference::Between { expected, actual }.plain();
        assert_eq!(shown, "- expected  + what came\n  3\n  4\n  5\n- 6\n+ six\n  7\n  8\n  9");
    }

    #[test]
    fn a_blank_at_the_end_of_a_line_is_seen_and_a_last_line_end_is_none() {
        let shown = Difference::Between { expected: "a \nb".into(), actual: "a\nb\n".into() }.plain();
        assert_eq!(shown, "- expected  + what came\n- a·\n+ a\n  b");
    }
}
