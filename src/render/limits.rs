//! What of a rendering is cut, or left out, because the target takes no more.

use serde_json::Value;

use super::escape::{one_line, units};
use super::slack::{
    BLOCKS_MAX, BUTTON_UNITS_MAX, ELEMENTS_MAX, FIELD_UNITS_MAX, HEADER_UNITS_MAX, TEXT_UNITS_MAX,
    TOTAL_UNITS_MAX, holds, length, text_of,
};

/// In words, each cut once: `a header of 180 characters is cut to 150`. A long section is split, which loses nothing.
pub(super) fn slack(text: &str, blocks: &[Value]) -> Vec<String> {
    let mut cuts = Vec::new();
    longer(&mut cuts, "the notification line", text, TEXT_UNITS_MAX);
    let blocks: Vec<&Value> = blocks.iter().filter(|block| is_shown(block)).collect();
    for block in &blocks {
        match block.get("type").and_then(Value::as_str) {
            Some("header") => longer(&mut cuts, "a header", text_of(block.get("text")), HEADER_UNITS_MAX),
            Some("section") => {
                for field in shown(block.get("fields")) {
                    longer(&mut cuts, "a field", text_of(Some(field)), FIELD_UNITS_MAX);
                }
                block.get("accessory").into_iter().for_each(|element| button(&mut cuts, element));
            }
            Some(kind @ ("context" | "actions")) => {
                let elements = shown(block.get("elements"));
                for element in &elements {
                    button(&mut cuts, element);
                }
                if elements.len() > ELEMENTS_MAX {
                    let left_out = elements.len() - ELEMENTS_MAX;
                    cuts.push(format!("{left_out} elements of a block of type `{kind}` are left out, as Slack takes {ELEMENTS_MAX}"));
                }
            }
            _ => {}
        }
    }
    if blocks.len() > BLOCKS_MAX {
        cuts.push(format!("{} blocks are too many, as Slack takes {BLOCKS_MAX}", blocks.len()));
    }
    let total: usize = blocks.iter().map(|block| length(block)).sum();
    if total > TOTAL_UNITS_MAX {
        cuts.push(format!("the text of {total} characters is shortened to {TOTAL_UNITS_MAX}"));
    }
    cuts.dedup();
    cuts
}

fn shown(list: Option<&Value>) -> Vec<&Value> {
    let items = list.and_then(Value::as_array).into_iter().flatten();
    items.filter(|item| is_shown(item)).collect()
}

fn is_shown(part: &Value) -> bool {
    part.get("when").is_none_or(holds)
}

fn button(cuts: &mut Vec<String>, element: &Value) {
    match element.get("type").and_then(Value::as_str) {
        Some("button") => longer(cuts, "a button's text", text_of(element.get("text")), BUTTON_UNITS_MAX),
        Some("mrkdwn" | "plain_text") => {
            longer(cuts, "a line of context", text_of(Some(element)), FIELD_UNITS_MAX);
        }
        _ => {}
    }
}

/// The same for the parts of a mail: its subject, its text, its HTML.
pub(super) fn mail(
    subject: &str,
    subject_max: usize,
    text: (&str, usize),
    html: (&str, usize),
) -> Vec<String> {
    let mut cuts = Vec::new();
    longer(&mut cuts, "the subject", subject, subject_max);
    longer(&mut cuts, "the text", text.0, text.1);
    if html.0.len() > html.1 {
        cuts.push(format!(
            "the HTML of {} bytes is left out, as more than {} are too many",
            html.0.len(),
            html.1
        ));
    }
    cuts
}

fn longer(cuts: &mut Vec<String>, what: &str, text: &str, max: usize) {
    let length = units(&if max < 4_000 { one_line(text) } else { text.to_owned() });
    if length > max {
        cuts.push(format!("{what} of {length} characters is cut to {max}"));
    }
}
