//! Aligned columns for people: the widths are those of the text, whatever its colours.

use anstyle::Style;

use super::output::{DIM, paint};

/// The last column is never cut to less, in characters.
const LAST_CHARS_MIN: usize = 20;
/// Between two columns.
const GAP: &str = "  ";

/// One cell: how it looks and what it says.
pub type Cell = (Style, String);

/// A cell without a style of its own.
pub fn plain(text: impl Into<String>) -> Cell {
    (Style::new(), text.into())
}

/// The header and the rows as lines, each column as wide as its widest cell; the last one is not padded, and cut where
/// a line would be longer than `columns_max`, the width of a terminal.
pub fn lines(header: &[&str], rows: Vec<Vec<Cell>>, columns_max: Option<usize>) -> Vec<String> {
    let header = header.iter().map(|name| (DIM, (*name).to_owned())).collect();
    let all: Vec<Vec<Cell>> = std::iter::once(header).chain(rows).collect();
    let columns = all.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            all.iter().filter_map(|row| row.get(column)).map(|cell| width(&cell.1)).max().unwrap_or(0)
        })
        .collect();
    let before: usize = widths.iter().rev().skip(1).map(|width| width + GAP.len()).sum();
    let last_max = columns_max.map(|max| max.saturating_sub(before).max(LAST_CHARS_MIN));
    all.into_iter().map(|row| line(row, &widths, last_max)).collect()
}

fn line(mut row: Vec<Cell>, widths: &[usize], last_max: Option<usize>) -> String {
    let whole = row.len() == widths.len();
    if let (Some(max), Some((_, text)), true) = (last_max, row.last_mut(), whole) {
        *text = short(text, max);
    }
    let mut line = String::new();
    for (column, (style, text)) in row.iter().enumerate() {
        if column > 0 {
            line.push_str(GAP);
        }
        line.push_str(&paint(*style, text.replace(char::is_control, " ")));
        if column + 1 < row.len() {
            line.push_str(&" ".repeat(widths[column] - width(text)));
        }
    }
    line
}

fn width(text: &str) -> usize {
    text.chars().count()
}

/// The words of a text that may come from anywhere: what a terminal would obey is no part of them.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty())
}

/// The text on one line, cut to `chars_max` with an ellipsis.
pub fn short(text: &str, chars_max: usize) -> String {
    let line: String = words(text).collect::<Vec<_>>().join(" ");
    if width(&line) <= chars_max {
        return line;
    }
    line.chars().take(chars_max.saturating_sub(1)).chain(['…']).collect()
}

/// The text's words on lines of at most so many characters; a longer word has a line of its own. Without a limit it is one
/// line.
pub fn wrapped(text: &str, columns_max: Option<usize>) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in words(text) {
        match lines.last_mut() {
            Some(line) if columns_max.is_none_or(|max| width(line) + 1 + width(word) <= max) => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::BAD;

    #[test]
    fn colours_do_not_move_columns() {
        let rows = vec![vec![(BAD, "dead".into()), plain("x")], vec![plain("delivered"), plain("y")]];
        let plain = lines(&["STATE", "WHY"], rows, None).join("\n");
        let plain = anstream::adapter::strip_str(&plain).to_string();
        assert_eq!(plain, "STATE      WHY\ndead       x\ndelivered  y");
    }

    #[test]
    fn the_last_column_keeps_inside_the_terminal() {
        let rows = vec![vec![plain("dead"), plain("the mailbox is full and nobody reads it")]];
        let drawn = lines(&["STATE", "WHY"], rows, Some(30)).join("\n");
        let drawn = anstream::adapter::strip_str(&drawn).to_string();
        assert_eq!(drawn, "STATE  WHY\ndead   the mailbox is full an…");
    }

    #[test]
    fn texts_wrap_between_words() {
        assert_eq!(wrapped("a bc  def\nghijkl m", Some(4)), ["a bc", "def", "ghijkl", "m"]);
        assert_eq!(wrapped("a bc  def", None), ["a bc def"]);
        assert_eq!(wrapped(" ", Some(4)), [""; 0]);
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(short("a\n b", 9), "a b");
        assert_eq!(short("a\u{1b}[31m\u{7}b", 9), "a [31m b");
        assert_eq!(short("grüße aus Rom", 6), "grüße…");
    }
}
