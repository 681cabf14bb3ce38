//! The messages of a digest as a table in a file, for a mail to carry: CSV as spreadsheets read it (RFC 4180).

use crate::model::catalog;
use crate::model::payload::Attachment;

use super::escape::{clean, one_line, truncate};
use super::view::{Seen, View};

/// A digest of more messages carries the file: what a mail shows is read, a longer list is worked with.
const CARRIED_FROM: usize = 21;
/// A file never grows beyond so many bytes; the last row then says how many messages are left out.
const BYTES_MAX: usize = 2_000_000;
/// So much of a message's text stands in its row.
const TEXT_MAX: usize = 500;

/// By this a spreadsheet knows that the file is UTF-8.
const MARK: &str = "\u{feff}";
const HEAD: [&str; 10] =
    ["Time", "Client", "E-mail", "Phone", "What", "About", "Text", "Staff", "Link", "Message"];

/// The name of the file that a mail of this carries; none if it carries none.
pub(super) fn name(view: &View) -> Option<String> {
    if !view.is_digest() || view.messages.iter().flat_map(Seen::whole).count() < CARRIED_FROM {
        return None;
    }
    let safe = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '-' };
    let rule: String = view.rule.chars().map(safe).take(60).collect();
    let (_, to) = view.window()?;
    Some(format!("{rule}-{}.csv", to.to_zoned(view.timezone.clone()).strftime("%Y-%m-%d")))
}

/// The file, with every message of the digest: of an event that came in several, each.
pub(super) fn attachment(view: &View) -> Option<Attachment> {
    let name = name(view)?;
    let mut text = format!("{MARK}{}", row(&HEAD.map(str::to_owned)));
    let mut all: Vec<&Seen> = view.messages.iter().flat_map(Seen::whole).collect();
    all.sort_by_key(|seen| (seen.message.created_at, &seen.message.uid));
    for (index, seen) in all.iter().enumerate() {
        let next = row(&cells(view, seen));
        if text.len() + next.len() > BYTES_MAX {
            text.push_str(&row(&[format!("{} more messages are left out", all.len() - index)]));
            break;
        }
        text.push_str(&next);
    }
    Some(Attachment { name, content_type: "text/csv; charset=utf-8".to_owned(), text })
}

fn cells(view: &View, seen: &Seen) -> [String; 10] {
    let message = &seen.message;
    let at = message.created_at.to_zoned(view.timezone.clone());
    let client = seen.client().unwrap_or_default();
    let words = |text: Option<String>| text.map(|text| one_line(&text)).unwrap_or_default();
    [
        at.strftime("%Y-%m-%d %H:%M").to_string(),
        seen.who(),
        words(client.email),
        words(client.phone),
        one_line(&catalog::label(&message.triple)),
        one_line(&message.subject),
        truncate(clean(&message.body).trim(), TEXT_MAX),
        words(seen.staff().and_then(|staff| staff.name)),
        view.links(Some(seen)).open,
        message.uid.clone(),
    ]
}

fn row(cells: &[String]) -> String {
    let cells: Vec<String> = cells.iter().map(|cell| quoted(cell)).collect();
    cells.join(",") + "\r\n"
}

/// A cell that cannot end early, and that no spreadsheet takes for a formula.
fn quoted(cell: &str) -> String {
    let formula = cell.trim_start().starts_with(['=', '+', '-', '@', '＝', '＋', '－', '＠'])
        || cell.starts_with(['\t', '\r', '\n']);
    let guard = if formula { "'" } else { "" };
    if guard.is_empty() && !cell.contains(['"', ',', '\r', '\n', ';', '\t']) {
        return cell.to_owned();
    }
    format!("\"{guard}{}\"", cell.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::{quoted, row};

    #[test]
    fn a_cell_neither_ends_early_nor_is_a_formula() {
        assert_eq!(quoted("Ann"), "Ann");
        assert_eq!(quoted("a,\"b\"\nc"), "\"a,\"\"b\"\"\nc\"");
        for formula in ["=HYPERLINK(\"x\")", "+1", "-1", "@sum", " =1", "\t=1", "＝1"] {
            assert!(quoted(formula).starts_with("\"'"), "{formula}");
        }
        assert_eq!(row(&["a".to_owned(), "b c".to_owned()]), "a,b c\r\n");
    }
}
