//! Helpers that write markup of their own, each in the form of the part they stand in.

use serde_json::Value;
use unicode_segmentation::UnicodeSegmentation;

use super::super::escape::{Kind, address, one_line, truncate};
use super::{Arg, Args, shown};

/// A table shows at most so many rows, and a cell so much of its text.
const ROWS_MAX: usize = 50;
const CELL_MAX: usize = 40;

/// `link URL [TEXT]`
pub(super) fn link(kind: Kind, args: &Args<'_>) -> Result<String, String> {
    let url = args.at(0)?.text();
    let text = args.params.get(1).map_or_else(|| url.clone(), Arg::text);
    Ok(linked(kind, &url, &text))
}

/// `mailto ADDRESS [TEXT]`
pub(super) fn mailto(kind: Kind, args: &Args<'_>) -> Result<String, String> {
    scheme(kind, args, "mailto:", |text| text.trim().to_owned())
}

/// `tel NUMBER [TEXT]`
pub(super) fn tel(kind: Kind, args: &Args<'_>) -> Result<String, String> {
    let dialled =
        |text: &str| text.chars().filter(|c| c.is_ascii_digit() || matches!(c, '+' | '*' | '#')).collect();
    scheme(kind, args, "tel:", dialled)
}

fn scheme(kind: Kind, args: &Args<'_>, scheme: &str, make: fn(&str) -> String) -> Result<String, String> {
    let arg = args.at(0)?;
    let text = args.params.get(1).map_or_else(|| arg.text(), Arg::text);
    if arg.missing || kind == Kind::Plain {
        return Ok(kind.escape(&text));
    }
    Ok(linked(kind, &format!("{scheme}{}", make(&arg.text())), &text))
}

/// A link where the address leads somewhere known; else the text alone.
fn linked(kind: Kind, url: &str, text: &str) -> String {
    let (Some(url), text) = (address(url), one_line(text)) else { return kind.escape(text) };
    let text = if text.is_empty() { url.clone() } else { text };
    match kind {
        Kind::Plain if text == url => text,
        Kind::Plain => format!("{text} ({url})"),
        Kind::Html => format!("<a href=\"{}\">{}</a>", kind.escape(&url), kind.escape(&text)),
        // A `|` would end the address, so the text has none.
        Kind::Slack => format!("<{}|{}>", url.replace('&', "&amp;"), kind.escape(&text.replace('|', "¦"))),
    }
}

/// `quote TEXT [LENGTH]`
pub(super) fn quote(kind: Kind, args: &Args<'_>) -> Result<String, String> {
    let mut text = args.at(0)?.text();
    if let Some(length) = args.params.get(1) {
        text = truncate(&text, length.size()?);
    }
    let lines: Vec<&str> = text.trim().lines().collect();
    if lines.is_empty() {
        return Ok(String::new());
    }
    Ok(match kind {
        Kind::Html => format!(
            "<blockquote dir=\"auto\" style=\"margin:0;padding:2px 0 2px 14px;border-left:3px solid #9aa5b1;white-space:pre-line\">{}</blockquote>",
            kind.escape(text.trim())
        ),
        Kind::Plain | Kind::Slack => {
            let quoted: Vec<String> = lines.iter().map(|line| format!("> {}", kind.escape(line))).collect();
            quoted.join("\n")
        }
    })
}

/// `paragraphs TEXT`: line ends that are seen in every part.
pub(super) fn paragraphs(kind: Kind, args: &Args<'_>) -> Result<String, String> {
    let text = args.at(0)?.text();
    let escaped = kind.escape(text.trim());
    Ok(if kind == Kind::Html { escaped.replace('\n', "<br>\n") } else { escaped })
}

/// `table LIST FIELD HEADING [FIELD HEADING]…`
pub(super) fn table(kind: Kind, args: &Args<'_>) -> Result<String, String> {
    let pairs = args.params.get(1..).unwrap_or_default();
    if pairs.len() % 2 != 0 {
        return Err("every field needs a heading: table LIST \"field\" \"Heading\" …".to_owned());
    }
    let columns: Vec<(String, String)> =
        pairs.chunks(2).map(|pair| (pair[0].text(), pair[1].text())).collect();
    let empty = Vec::new();
    let all = args.at(0)?.value.as_array().unwrap_or(&empty);
    let rows: Vec<Vec<String>> = all
        .iter()
        .take(ROWS_MAX)
        .map(|item| columns.iter().map(|(field, _)| cell(item, field, args)).collect())
        .collect();
    let headings: Vec<String> = columns.into_iter().map(|(_, heading)| heading).collect();
    let more = all.len().saturating_sub(ROWS_MAX);
    Ok(match kind {
        Kind::Html => html_table(&headings, &rows, more),
        Kind::Plain => text_table(&headings, &rows, more),
        // A backtick would end the code block.
        Kind::Slack => {
            format!("```\n{}\n```", kind.escape(&text_table(&headings, &rows, more).replace('`', "'")))
        }
    })
}

/// The value at a dotted name; empty where there is none.
fn cell(item: &Value, field: &str, args: &Args<'_>) -> String {
    let value = field.split('.').try_fold(item, |value, name| value.get(name));
    let text = value.map(shown).unwrap_or_default();
    // A moment is shown as `date` shows it.
    if let Some(at) = text.parse().ok().filter(|_| field.ends_with("_at") || field.ends_with("_time")) {
        return super::time::shown(at, args.zone());
    }
    truncate(&one_line(&text), CELL_MAX)
}

fn text_table(headings: &[String], rows: &[Vec<String>], more: usize) -> String {
    let width = |text: &str| text.graphemes(true).count();
    let widths: Vec<usize> = (0..headings.len())
        .map(|column| {
            let cells = rows.iter().map(|row| width(&row[column]));
            cells.chain([width(&headings[column])]).max().unwrap_or(0)
        })
        .collect();
    let line = |cells: &[String]| {
        let padded: Vec<String> = cells
            .iter()
            .zip(&widths)
            .map(|(cell, all)| format!("{cell}{}", " ".repeat(all - width(cell))))
            .collect();
        padded.join("  ").trim_end().to_owned()
    };
    let mut lines = vec![line(headings)];
    lines.extend(rows.iter().map(|row| line(row)));
    if more > 0 {
        lines.push(format!("… and {more} more"));
    }
    lines.join("\n")
}

fn html_table(headings: &[String], rows: &[Vec<String>], more: usize) -> String {
    const CELL: &str =
        "padding:6px 12px 6px 0;border-bottom:1px solid #d5dae0;text-align:left;vertical-align:top";
    let row = |tag: &str, cells: &[String]| {
        let cells: Vec<String> = cells
            .iter()
            .map(|cell| format!("<{tag} style=\"{CELL}\">{}</{tag}>", Kind::Html.escape(cell)))
            .collect();
        format!("<tr>{}</tr>", cells.concat())
    };
    let body: Vec<String> = rows.iter().map(|cells| row("td", cells)).collect();
    let note = if more > 0 { format!("<p>… and {more} more</p>") } else { String::new() };
    format!(
        "<table role=\"presentation\" cellpadding=\"0\" cellspacing=\"0\" style=\"border-collapse:collapse\">{}{}</table>{note}",
        row("th", headings),
        body.concat()
    )
}
