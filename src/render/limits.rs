//! What of a rendering is cut, or left out, because the target takes no more.

use serde_json::Value;

use super::escape::{one_line, units};
use super::slack::{
    BLOCKS_MAX, BUTTON_UNITS_MAX, ELEMENTS_MAX, FIELD_UNITS_MAX, HEADER_UNITS_MAX, TEXT_UNITS_MAX,
    TOTAL_UNITS_MAX, holds, length, text_of,
};

/// What of a message it is that is cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Of {
    Subject,
    Text,
    Html,
    /// A JSON pointer into the list of blocks.
    Blocks(String),
}

type Cuts = Vec<(String, Of)>;

/// In words, each cut once: `a header of 180 characters is cut to 150`. A long section is split, which loses nothing.
pub(super) fn slack(text: &str, blocks: &[Value]) -> Cuts {
    let mut cuts = Vec::new();
    longer(&mut cuts, "the notification line", text, TEXT_UNITS_MAX, Of::Subject);
    let blocks: Vec<(String, &Value)> = shown("", blocks);
    for (at, block) in &blocks {
        match block.get("type").and_then(Value::as_str) {
            Some("header") => {
                let text = text_of(block.get("text"));
                longer(&mut cuts, "a header", text, HEADER_UNITS_MAX, Of::Blocks(format!("{at}/text")));
            }
            Some("section") => {
                for (at, field) in shown_in(at, block, "fields") {
                    let of = Of::Blocks(format!("{at}/text"));
                    longer(&mut cuts, "a field", text_of(Some(field)), FIELD_UNITS_MAX, of);
                }
                if let Some(accessory) = block.get("accessory") {
                    button(&mut cuts, &format!("{at}/accessory"), accessory);
                }
            }
            Some(kind @ ("context" | "actions")) => {
                let elements = shown_in(at, block, "elements");
                for (at, element) in &elements {
                    button(&mut cuts, at, element);
                }
                if elements.len() > ELEMENTS_MAX {
                    let left_out = elements.len() - ELEMENTS_MAX;
                    let words = format!(
                        "{left_out} elements of a block of type `{kind}` are left out, as Slack takes {ELEMENTS_MAX}"
                    );
                    cuts.push((words, Of::Blocks(at.clone())));
                }
            }
            _ => {}
        }
    }
    if blocks.len() > BLOCKS_MAX {
        let words = format!("{} blocks are too many, as Slack takes {BLOCKS_MAX}", blocks.len());
        cuts.push((words, Of::Blocks(String::new())));
    }
    let total: usize = blocks.iter().map(|(_, block)| length(block)).sum();
    if total > TOTAL_UNITS_MAX {
        let words = format!("the text of {total} characters is shortened to {TOTAL_UNITS_MAX}");
        cuts.push((words, Of::Blocks(String::new())));
    }
    cuts.dedup_by(|one, other| one.0 == other.0);
    cuts
}

/// Those of a list that are shown, each with its pointer.
fn shown<'v>(at: &str, items: &'v [Value]) -> Vec<(String, &'v Value)> {
    let all = items.iter().enumerate().map(|(index, item)| (format!("{at}/{index}"), item));
    all.filter(|(_, item)| item.get("when").is_none_or(holds)).collect()
}

fn shown_in<'v>(at: &str, block: &'v Value, list: &str) -> Vec<(String, &'v Value)> {
    let items = block.get(list).and_then(Value::as_array);
    shown(&format!("{at}/{list}"), items.map_or(&[], Vec::as_slice))
}

fn button(cuts: &mut Cuts, at: &str, element: &Value) {
    let of = Of::Blocks(format!("{at}/text"));
    match element.get("type").and_then(Value::as_str) {
        Some("button") => longer(cuts, "a button's text", text_of(element.get("text")), BUTTON_UNITS_MAX, of),
        Some("mrkdwn" | "plain_text") => {
            longer(cuts, "a line of context", text_of(Some(element)), FIELD_UNITS_MAX, of);
        }
        _ => {}
    }
}

/// The same for the parts of a mail: its subject, its text, its HTML.
pub(super) fn mail(subject: &str, subject_max: usize, text: (&str, usize), html: (&str, usize)) -> Cuts {
    let mut cuts = Vec::new();
    longer(&mut cuts, "the subject", subject, subject_max, Of::Subject);
    longer(&mut cuts, "the text", text.0, text.1, Of::Text);
    if html.0.len() > html.1 {
        let words =
            format!("the HTML of {} bytes is left out, as more than {} are too many", html.0.len(), html.1);
        cuts.push((words, Of::Html));
    }
    cuts
}

fn longer(cuts: &mut Cuts, what: &str, text: &str, max: usize, of: Of) {
    let length = units(&if max < 4_000 { one_line(text) } else { text.to_owned() });
    if length > max {
        cuts.push((format!("{what} of {length} characters is cut to {max}"), of));
    }
}
