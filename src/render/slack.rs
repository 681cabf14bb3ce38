//! Slack messages inside Slack's limits: what is empty is dropped, what is long is split, then shortened with a note.

use serde_json::{Map, Value, json};

use super::escape::{address, one_line, split_units, units};

/// Slack's limits, with a margin where they are not documented. Lengths are counted in UTF-16 units.
pub(super) const BLOCKS_MAX: usize = 50;
/// So many of the last blocks are kept where there are too many.
const TAIL_BLOCKS: usize = 2;
const SECTION_UNITS_MAX: usize = 2_950;
pub(super) const FIELD_UNITS_MAX: usize = 1_950;
const FIELDS_MAX: usize = 10;
pub(super) const HEADER_UNITS_MAX: usize = 150;
pub(super) const BUTTON_UNITS_MAX: usize = 75;
const URL_UNITS_MAX: usize = 3_000;
pub(super) const ELEMENTS_MAX: usize = 10;
pub(super) const TOTAL_UNITS_MAX: usize = 12_000;
/// The line shown in notifications.
pub(super) const TEXT_UNITS_MAX: usize = 3_000;

const SHORTENED: &str = "\n_… shortened; the whole text is in vCita_";

/// The message from its notification line and its blocks as rendered.
pub(super) fn message(text: &str, blocks: Vec<Value>) -> Value {
    let mut tidy: Vec<Value> = Vec::new();
    for block in blocks {
        tidied(block, &mut tidy);
    }
    let text = line(text, TEXT_UNITS_MAX);
    let text = if text.is_empty() { "A message from vCita".to_owned() } else { text };
    if tidy.is_empty() {
        tidy.push(section(&text));
    }
    let blocks = within_limits(&text, tidy);
    json!({ "text": text, "blocks": blocks, "unfurl_links": false, "unfurl_media": false })
}

/// The message without any block, for when Slack refuses the blocks.
pub(super) fn plain(text: &str) -> Value {
    json!({ "text": text, "unfurl_links": false, "unfurl_media": false })
}

/// A section of mrkdwn. `verbatim` keeps Slack from making mentions and channels of plain words.
pub(super) fn section(text: &str) -> Value {
    json!({ "type": "section", "text": { "type": "mrkdwn", "text": text, "verbatim": true } })
}

/// One block, without what is empty, split where it is too long; nothing if nothing of it is left.
fn tidied(block: Value, out: &mut Vec<Value>) {
    let Value::Object(mut block) = block else { return };
    if block.shift_remove("when").is_some_and(|when| !holds(&when)) {
        return;
    }
    match block.get("type").and_then(Value::as_str) {
        Some("section") => tidied_section(block, out),
        Some("header") => {
            let text = line(text_of(block.get("text")), HEADER_UNITS_MAX);
            if !text.is_empty() {
                block.insert("text".into(), json!({ "type": "plain_text", "text": text, "emoji": true }));
                out.push(Value::Object(block));
            }
        }
        Some(kind @ ("context" | "actions")) => {
            let actions = kind == "actions";
            let elements = list(block.shift_remove("elements"));
            let kept: Vec<Value> = elements
                .into_iter()
                .filter_map(|element| if actions { button(element) } else { context_element(element) })
                .take(ELEMENTS_MAX)
                .collect();
            if !kept.is_empty() {
                block.insert("elements".into(), Value::Array(kept));
                out.push(Value::Object(block));
            }
        }
        Some("image") => {
            let url = block.get("image_url").and_then(Value::as_str).and_then(address);
            let url = url.filter(|url| units(url) <= URL_UNITS_MAX).map(|url| json!(url));
            // An image that Slack has already needs no address.
            if url.is_some() || block.contains_key("slack_file") {
                block.extend(url.map(|url| ("image_url".to_owned(), url)));
                let alt = block.get("alt_text").and_then(Value::as_str).map(one_line).unwrap_or_default();
                block.insert("alt_text".into(), json!(if alt.is_empty() { "image".to_owned() } else { alt }));
                out.push(Value::Object(block));
            }
        }
        _ => out.push(Value::Object(block)),
    }
}

fn tidied_section(mut block: Map<String, Value>, out: &mut Vec<Value>) {
    let accessory = block.shift_remove("accessory").and_then(button);
    let fields: Vec<Value> = list(block.shift_remove("fields")).into_iter().filter_map(field).collect();
    let kind =
        block.get("text").and_then(|text| text.get("type")).and_then(Value::as_str) == Some("plain_text");
    let text = text_of(block.get("text")).trim().to_owned();
    block.shift_remove("text");
    let mut pieces = split(&text, SECTION_UNITS_MAX).into_iter();
    let mut accessory = accessory;
    let mut groups = fields.chunks(FIELDS_MAX).map(<[Value]>::to_vec);
    loop {
        let piece = pieces.next();
        let last = pieces.len() == 0;
        let group = if last { groups.next() } else { None };
        if piece.is_none() && group.is_none() {
            break;
        }
        let mut part = block.clone();
        if !out.is_empty() && piece.is_none() {
            part.shift_remove("block_id");
        }
        if let Some(piece) = piece {
            let text = if kind {
                json!({ "type": "plain_text", "text": piece, "emoji": true })
            } else {
                json!({ "type": "mrkdwn", "text": piece, "verbatim": true })
            };
            part.insert("text".into(), text);
        }
        if let Some(group) = group {
            part.insert("fields".into(), Value::Array(group));
        }
        if let Some(accessory) = accessory.take() {
            part.insert("accessory".into(), accessory);
        }
        // A block's id may stand once only.
        block.shift_remove("block_id");
        out.push(Value::Object(part));
    }
}

/// One field of a section; none if it has no text.
fn field(value: Value) -> Option<Value> {
    shortened_text(value, FIELD_UNITS_MAX)
}

fn context_element(element: Value) -> Option<Value> {
    match element.get("type").and_then(Value::as_str) {
        Some("image") => {
            let url = element.get("image_url").and_then(Value::as_str).and_then(address);
            (url.is_some() || element.get("slack_file").is_some()).then_some(element)
        }
        _ => shortened_text(element, FIELD_UNITS_MAX),
    }
}

/// A text object within its limit, if it has any text and its `when` holds.
fn shortened_text(value: Value, max: usize) -> Option<Value> {
    let Value::Object(mut object) = value else { return None };
    if object.shift_remove("when").is_some_and(|when| !holds(&when)) {
        return None;
    }
    let text = object.get("text").and_then(Value::as_str)?.trim().to_owned();
    if text.is_empty() {
        return None;
    }
    object.insert("text".into(), json!(shorten(&text, max, "…")));
    if object.get("type").and_then(Value::as_str) == Some("mrkdwn") {
        object.insert("verbatim".into(), json!(true));
    }
    Some(Value::Object(object))
}

/// A button or another element; a button without text, or with an address that leads nowhere, is none.
fn button(element: Value) -> Option<Value> {
    let Value::Object(mut element) = element else { return None };
    if element.shift_remove("when").is_some_and(|when| !holds(&when)) {
        return None;
    }
    if element.get("type").and_then(Value::as_str) != Some("button") {
        return Some(Value::Object(element));
    }
    let text = line(text_of(element.get("text")), BUTTON_UNITS_MAX);
    if text.is_empty() {
        return None;
    }
    element.insert("text".into(), json!({ "type": "plain_text", "text": text, "emoji": true }));
    if let Some(url) = element.get("url") {
        let url = url.as_str().and_then(address).filter(|url| units(url) <= URL_UNITS_MAX)?;
        element.insert("url".into(), json!(url));
    }
    Some(Value::Object(element))
}

/// Whether a `when` holds: text that is neither empty nor `false`, `0` or `no`.
pub(super) fn holds(when: &Value) -> bool {
    match when {
        // A field without a value has left its marker.
        Value::String(text) => {
            let text = text.trim();
            let marker = text.starts_with('‹') && text.ends_with("?›");
            !marker && !matches!(text, "" | "false" | "0" | "no")
        }
        Value::Bool(yes) => *yes,
        Value::Null => false,
        _ => true,
    }
}

/// Keeps the whole within Slack's number of blocks and total length: long texts give way, oldest text first kept. If no
/// block is left, `text` stands for them.
fn within_limits(text: &str, mut blocks: Vec<Value>) -> Vec<Value> {
    let mut fixed: usize = blocks.iter().map(|block| length(block) - main_length(block)).sum();
    let mut left_out = 0;
    while fixed > TOTAL_UNITS_MAX {
        let Some(last) = blocks.pop() else { break };
        fixed -= length(&last) - main_length(&last);
        left_out += 1;
    }
    if blocks.is_empty() {
        blocks.push(section(text));
    }
    if left_out > 0 {
        blocks.push(note_of(left_out));
    }
    let mut room = TOTAL_UNITS_MAX - fixed.min(TOTAL_UNITS_MAX);
    let mut full = false;
    blocks.retain_mut(|block| {
        let size = main_length(block);
        if size == 0 {
            return true;
        }
        if full {
            return false;
        }
        if size > room {
            full = true;
            let text = text_of(block.get("text")).to_owned();
            let shorter = shorten(&text, room.max(units(SHORTENED) + 1), SHORTENED);
            match block.get_mut("text") {
                Some(Value::Object(text)) => drop(text.insert("text".into(), json!(shorter))),
                Some(text) => *text = json!(shorter),
                None => {}
            }
        }
        room = room.saturating_sub(size);
        true
    });
    if blocks.len() > BLOCKS_MAX {
        // The end stays: that is where buttons and the context line are.
        let tail = blocks.split_off(blocks.len() - TAIL_BLOCKS);
        let left_out = blocks.len() - (BLOCKS_MAX - 1 - TAIL_BLOCKS);
        blocks.truncate(BLOCKS_MAX - 1 - TAIL_BLOCKS);
        blocks.push(note_of(left_out));
        blocks.extend(tail);
    }
    blocks
}

/// Says that blocks are missing.
fn note_of(left_out: usize) -> Value {
    let blocks = if left_out == 1 { "block" } else { "blocks" };
    let note = format!("_… {left_out} more {blocks} left out_");
    json!({ "type": "context", "elements": [{ "type": "mrkdwn", "text": note }] })
}

/// The length of all texts in a block.
pub(super) fn length(value: &Value) -> usize {
    match value {
        Value::String(text) => units(text),
        Value::Array(items) => items.iter().map(length).sum(),
        Value::Object(fields) => {
            fields.iter().filter(|(name, _)| *name != "type").map(|(_, value)| length(value)).sum()
        }
        _ => 0,
    }
}

/// The length of the main text of a section or a block of Markdown; nothing for other blocks.
fn main_length(block: &Value) -> usize {
    let long = matches!(block.get("type").and_then(Value::as_str), Some("section" | "markdown"));
    if long { units(text_of(block.get("text"))) } else { 0 }
}

/// Splits mrkdwn into pieces of at most `max` units, at a line's end or a space where there is one.
fn split(text: &str, max: usize) -> Vec<String> {
    let mut pieces = Vec::new();
    let mut rest = text.to_owned();
    while units(&rest) > max {
        let head = cut(&rest, max);
        let (head, tail) = rest.split_at(head.len().max(1).min(rest.len()));
        // A quotation goes on in the next piece.
        let quoted =
            head.rsplit('\n').next().is_some_and(|line| line.starts_with("> ")) && !tail.starts_with('\n');
        let tail = tail.trim_start();
        let tail = if quoted && !tail.is_empty() { format!("> {tail}") } else { tail.to_owned() };
        pieces.push(head.trim_end().to_owned());
        rest = tail;
    }
    if !rest.trim().is_empty() {
        pieces.push(rest);
    }
    pieces
}

/// The longest good beginning of at most `max` units: not within an entity or a link, if possible at a line's end.
fn cut(text: &str, max: usize) -> &str {
    let (mut head, _) = split_units(text, max);
    if head.is_empty() {
        // One cluster longer than the limit: cut between characters rather than not at all.
        let end = text.char_indices().nth(max / 2).map_or(text.len(), |(at, _)| at);
        head = &text[..end];
    }
    for (open, close, reach) in [('&', ';', 6), ('<', '>', usize::MAX)] {
        if let Some(at) = head.rfind(open)
            && at > 0
            && head.len() - at <= reach
            && !head[at..].contains(close)
        {
            head = &head[..at];
        }
    }
    let good = head.len() / 2;
    match head.rfind('\n').filter(|at| *at > good).or_else(|| head.rfind(' ').filter(|at| *at > good)) {
        Some(at) => &head[..at],
        None => head,
    }
}

/// At most `max` units, with the note at the end where something is left out.
fn shorten(text: &str, max: usize, note: &str) -> String {
    if units(text) <= max {
        return text.to_owned();
    }
    format!("{}{note}", cut(text, max.saturating_sub(units(note))).trim_end())
}

fn line(text: &str, max: usize) -> String {
    shorten(&one_line(text), max, "…")
}

/// The text of a text object, or of a bare string.
pub(super) fn text_of(value: Option<&Value>) -> &str {
    let Some(value) = value else { return "" };
    value.as_str().or_else(|| value.get("text").and_then(Value::as_str)).unwrap_or_default()
}

fn list(value: Option<Value>) -> Vec<Value> {
    match value {
        Some(Value::Array(list)) => list,
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks_of(blocks: Vec<Value>) -> Vec<Value> {
        list(message("Ann cancelled", blocks).get_mut("blocks").map(Value::take))
    }

    #[test]
    fn long_markdown_is_shortened_and_what_follows_stays() {
        let button = json!({ "type": "actions", "elements": [
            { "type": "button", "text": { "type": "plain_text", "text": "Open" }, "url": "https://example.com/" },
        ] });
        let blocks = blocks_of(vec![json!({ "type": "markdown", "text": "word ".repeat(4_000) }), button]);
        assert_eq!(blocks.len(), 2);
        let text = text_of(blocks[0].get("text"));
        assert!(text.starts_with("word word") && text.ends_with(SHORTENED), "{text}");
        assert_eq!(blocks[1]["type"], "actions");
        assert!(blocks.iter().map(length).sum::<usize>() <= TOTAL_UNITS_MAX);
    }

    #[test]
    fn what_has_no_room_is_left_out_with_a_note() {
        let video = |length| json!({ "type": "video", "title": "x".repeat(length) });
        let note = "_… 1 more block left out_";
        let blocks = blocks_of(vec![section("first"), video(9_000), video(9_000)]);
        assert_eq!(blocks.len(), 3);
        assert_eq!(blocks[2]["elements"][0]["text"], note);
        let blocks = blocks_of(vec![video(13_000)]);
        assert_eq!((text_of(blocks[0].get("text")), blocks.len()), ("Ann cancelled", 2));
        assert_eq!(blocks[1]["elements"][0]["text"], note);
    }
}
