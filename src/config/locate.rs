//! Where the characters of a text stand in the file: behind indentation, line folds, quotes and escapes.

use super::problem::Span;
use super::yaml::{Scalar, Style};

/// Line and column, from 1, in characters.
type At = (usize, usize);

/// Where two characters (from 0, the first not behind the second) of a scalar's text stand in the file that it was read
/// from. `None` if the file does not say the same as the text.
pub(super) fn characters(
    text: &str,
    span: Span,
    scalar: &Scalar,
    (first, last): (usize, usize),
) -> Option<(At, At)> {
    let mut source = Walk::new(text, span.start);
    let block = matches!(scalar.style, Style::Literal | Style::Folded);
    if block && matches!(source.peek(), Some('|' | '>')) {
        source.next_line();
    }
    let quote = source.peek().filter(|c| scalar.style == Style::Quoted && matches!(c, '"' | '\''));
    if quote.is_some() {
        source.step();
    }
    let mut start = None;
    for (index, wanted) in scalar.text.chars().take(last + 1).enumerate() {
        let at = source.find(wanted, quote)?;
        if index == first {
            start = Some(at);
        }
        if index == last {
            return start.map(|start| (start, at));
        }
    }
    // Just behind the end of the text.
    start
        .map(|start| (start, start))
        .or_else(|| (first >= scalar.text.chars().count()).then_some((source.at, source.at)))
}

/// A way through a text, character by character.
struct Walk<'t> {
    rest: std::iter::Peekable<std::str::Chars<'t>>,
    at: At,
}

impl<'t> Walk<'t> {
    fn new(text: &'t str, start: At) -> Self {
        let line = text.split_inclusive('\n').take(start.0 - 1).map(str::len).sum::<usize>();
        let rest = &text[line..];
        let inside = rest.char_indices().nth(start.1 - 1).map_or(rest.len(), |(at, _)| at);
        Self { rest: rest[inside..].chars().peekable(), at: start }
    }

    fn peek(&mut self) -> Option<char> {
        self.rest.peek().copied()
    }

    fn step(&mut self) {
        match self.rest.next() {
            Some('\n') => self.at = (self.at.0 + 1, 1),
            Some(_) => self.at.1 += 1,
            None => {}
        }
    }

    fn next_line(&mut self) {
        let line = self.at.0;
        while self.at.0 == line && self.peek().is_some() {
            self.step();
        }
    }

    /// Steps over one character of the scalar's text; where it stands.
    fn find(&mut self, wanted: char, quote: Option<char>) -> Option<At> {
        if wanted.is_whitespace() && self.peek() != Some('\\') {
            let at = self.at;
            if self.peek() == Some(wanted) {
                self.step();
            }
            return Some(at);
        }
        while self.peek().is_some_and(|c| c.is_whitespace() && c != wanted) {
            self.step();
        }
        let at = self.at;
        let found = self.peek()?;
        self.step();
        match quote {
            Some('"') if found == '\\' => {
                let kind = self.peek()?;
                self.step();
                let digits = match kind {
                    'x' => 2,
                    'u' => 4,
                    'U' => 8,
                    _ => 0,
                };
                (0..digits).for_each(|_| self.step());
                if kind == '\n' {
                    return self.find(wanted, quote);
                }
            }
            Some('\'') if found == '\'' && self.peek() == Some('\'') => self.step(),
            _ if found != wanted => return None,
            _ => {}
        }
        Some(at)
    }
}
