//! Small changes to a text that let the YAML parser go on behind a mistake, and the way back to the places as written.

use std::borrow::Cow;
use std::collections::HashMap;

use super::problem::Span;

/// Other characters in place of some of a line. Columns count from 1, in characters; the end is behind the last one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Edit {
    /// The line, from 1.
    pub(super) line: usize,
    /// The first column that is replaced.
    pub(super) start: usize,
    /// The column behind the last one that is.
    pub(super) end: usize,
    /// What stands there instead; no line break.
    pub(super) text: String,
}

/// A text with its changes so far. Lines stay lines.
pub(super) struct Mended<'t> {
    text: Cow<'t, str>,
    edits: HashMap<usize, Vec<Edit>>,
}

impl<'t> Mended<'t> {
    /// The text as it is.
    pub(super) fn new(text: &'t str) -> Self {
        Self { text: Cow::Borrowed(text), edits: HashMap::new() }
    }

    /// The text as it is now.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Makes these changes, whose columns are those of the text as it is now; at most one for each line.
    pub(super) fn apply(&mut self, edits: Vec<Edit>) {
        if edits.is_empty() {
            return;
        }
        let mut next = edits.into_iter().peekable();
        let mut text = String::with_capacity(self.text.len() + 64);
        for (index, line) in self.text.split_inclusive('\n').enumerate() {
            match next.next_if(|edit| edit.line == index + 1) {
                Some(edit) => {
                    text.push_str(&replaced(line, &edit));
                    self.edits.entry(edit.line).or_default().push(edit);
                }
                None => text.push_str(line),
            }
        }
        self.text = Cow::Owned(text);
    }

    /// Where something stands in the text as it was written.
    pub(super) fn written(&self, span: Span) -> Span {
        if self.edits.is_empty() {
            return span;
        }
        let start = self.back(span.start, false);
        Span { start, end: self.back(span.end, true).max(start), ..span }
    }

    fn back(&self, (line, mut column): (usize, usize), is_end: bool) -> (usize, usize) {
        for edit in self.edits.get(&line).into_iter().flatten().rev() {
            let length = edit.text.chars().count();
            if column >= edit.start + length {
                column = column - length + (edit.end - edit.start);
            } else if column > edit.start {
                column = if is_end { edit.end } else { edit.start };
            }
        }
        (line, column)
    }
}

/// The line with one change made.
pub(super) fn replaced(line: &str, edit: &Edit) -> String {
    let byte = |column: usize| line.char_indices().nth(column - 1).map_or(line.len(), |(at, _)| at);
    let (start, end) = (byte(edit.start), byte(edit.end.max(edit.start)));
    format!("{}{}{}", &line[..start], edit.text, &line[end..])
}

#[cfg(test)]
mod tests {
    use super::{Edit, Mended};
    use crate::config::problem::Span;

    #[test]
    fn places_lead_back_to_the_text_as_written() {
        let mut mended = Mended::new("a:b c\nx");
        mended.apply(vec![Edit { line: 1, start: 3, end: 3, text: " ".to_owned() }]);
        assert_eq!(mended.text(), "a: b c\nx");
        mended.apply(vec![Edit { line: 1, start: 6, end: 7, text: "\"c\"".to_owned() }]);
        assert_eq!(mended.text(), "a: b \"c\"\nx");
        let span = Span { file: 0, start: (1, 6), end: (1, 9) };
        let written = mended.written(span);
        assert_eq!((written.start, written.end), ((1, 5), (1, 6)));
        assert_eq!(mended.written(Span { file: 0, start: (2, 1), end: (2, 2) }).start, (2, 1));
    }
}
