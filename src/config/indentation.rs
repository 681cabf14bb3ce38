//! Indentation: tabs and odd blanks in it, and where a line may stand behind those above it.

use std::borrow::Cow;

use super::codes;
use super::mend::{Edit, replaced};
use super::problem::Finding;
use super::slips::{Stop, span};

/// Tabs and odd blanks in indentation, each line of them: the parser's own message about them points elsewhere.
pub(super) fn odd(text: &str, file: usize) -> Vec<Stop> {
    let mut block: Option<usize> = None;
    let mut found = Vec::new();
    // The tabs of the line before, what became of them, and whether that was certain.
    let mut last: Option<(usize, Vec<char>, (usize, bool))> = None;
    let mut lines: Vec<Cow<'_, str>> = text.lines().map(Cow::Borrowed).collect();
    for index in 0..lines.len() {
        let line = lines[index].clone();
        let line = line.as_ref();
        let blanks: Vec<char> = line.chars().take_while(|c| c.is_whitespace() || is_invisible(*c)).collect();
        let spaces = blanks.iter().take_while(|c| **c == ' ').count();
        if line.trim().is_empty() || line.trim_start().starts_with('#') {
            continue;
        }
        if block.is_some_and(|parent| spaces > parent) {
            continue;
        }
        block = opens_block(line).then_some(spaces);
        let Some(at) = blanks.iter().position(|c| *c != ' ') else { continue };
        let tab = blanks[at..].contains(&'\t');
        let (width, certain) = match &last {
            Some((above, tabs, meant)) if above + 1 == index && *tabs == blanks && !opens(&lines[*above]) => {
                *meant
            }
            _ if tab => meant(&lines, index, &blanks),
            _ => (width(&blanks, 1), true),
        };
        last = tab.then(|| (index, blanks.clone(), (width, certain)));
        let edit = Edit { line: index + 1, start: 1, end: blanks.len() + 1, text: " ".repeat(width) };
        lines[index] = Cow::Owned(replaced(line, &edit));
        let finding = if tab {
            Finding::error(codes::TAB, span(file, &edit), "this line is indented with a tab")
                .help("YAML takes only spaces for indentation; set your editor to insert spaces")
        } else {
            let name = format!("U+{:04X}", u32::from(blanks[at]));
            let message = format!(
                "this line is indented with a character that looks like a space and is none ({name})"
            );
            Finding::error(codes::ODD_BLANK, span(file, &edit), message)
                .help("type the indentation anew; such characters come from text copied out of a web page or a document")
        };
        found.push(if certain { Stop::mended(finding, edit) } else { Stop { finding, edit: Some(edit) } });
    }
    found
}

/// How wide these blanks are if a tab is so wide.
fn width(blanks: &[char], tab: usize) -> usize {
    blanks.iter().map(|c| if *c == '\t' { tab } else { usize::from(!is_invisible(*c)) }).sum()
}

/// How far a line that is indented with tabs belongs to the right, and whether that is certain: it is where the line
/// stands behind a key that has nothing else, between two that stand alike, or where only one width of a tab fits.
fn meant(lines: &[Cow<'_, str>], index: usize, blanks: &[char]) -> (usize, bool) {
    let content = |line: &&Cow<'_, str>| !line.trim().is_empty() && !line.trim_start().starts_with('#');
    let item = lines[index].trim_start().starts_with("- ");
    let above = lines[..index].iter().rev().find(content);
    let below = lines[index + 1..]
        .iter()
        .filter(content)
        .find(|line| !line.trim_start_matches(' ').starts_with('\t'));
    let column = |line: &Cow<'_, str>| if item { indent(line) } else { key_column(line) };
    if let Some(above) = above.filter(|above| !item && opens(above)) {
        let next = below.map(|line| key_column(line)).filter(|column| *column > key_column(above));
        return (next.unwrap_or(key_column(above) + 2), true);
    }
    let beside = above.map(column);
    if let Some(column) = beside.filter(|beside| below.map(column) == Some(*beside)) {
        return (column, true);
    }
    let columns = enclosing(&lines[..index], item);
    let fitting: Vec<usize> =
        [4, 2, 8].into_iter().map(|tab| width(blanks, tab)).filter(|at| columns.contains(at)).collect();
    match fitting.first() {
        Some(first) => (*first, fitting.iter().all(|other| other == first)),
        None => (beside.unwrap_or_else(|| width(blanks, 2)), false),
    }
}

/// The line ends with a key that has nothing behind it.
fn opens(line: &str) -> bool {
    line.split(" #").next().unwrap_or(line).trim_end().ends_with(':')
}

/// Where (from 0) the first key of a line stands, behind the dashes of lists.
fn key_column(line: &str) -> usize {
    line.find(|c: char| !matches!(c, '-' | ' ')).unwrap_or(0)
}

/// The columns (from 0) that a list's item or a key may stand in behind these lines. Upwards, only what encloses it counts:
/// each line further out than everything below it.
pub(super) fn enclosing<T: AsRef<str>>(above: &[T], item: bool) -> Vec<usize> {
    let (mut columns, mut least) = (Vec::new(), usize::MAX);
    let lines = above.iter().map(AsRef::as_ref).rev();
    for line in lines.filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#')) {
        let (dash, key) = (indent(line), key_column(line));
        let column = if item { dash } else { key };
        if column < least && (!item || key > dash) {
            columns.push(column);
        }
        least = least.min(dash);
        if least == 0 {
            break;
        }
    }
    columns
}

fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}' | '\u{200c}' | '\u{200d}' | '\u{2060}' | '\u{feff}')
}

/// The line ends in the header of a block scalar (`|`, `>-`, `|2`), whose content may hold tabs.
fn opens_block(line: &str) -> bool {
    let code = line.split(" #").next().unwrap_or(line).trim_end();
    let last = code.rsplit([' ', '\t']).next().unwrap_or(code);
    last.starts_with(['|', '>']) && last.chars().skip(1).all(|c| matches!(c, '+' | '-' | '1'..='9'))
}

/// How many spaces a line begins with.
pub(super) fn indent(line: &str) -> usize {
    line.chars().take_while(|c| *c == ' ').count()
}
