//! The Slack inbox: refuses what Slack refuses, in Slack's words.

use serde_json::Value;

use crate::sandbox::http::{Asked, Reply};
use crate::sandbox::script::Answer;

use super::Inbox;
use super::http::settle;

/// Webhooks that exist are below this path.
const HOOKS: &str = "/services/";
/// Blocks of one message at the most.
const BLOCKS_MAX: usize = 50;
/// Characters of a section's text, or of one of its fields, at the most.
const SECTION_CHARS_MAX: usize = 3000;
const FIELD_CHARS_MAX: usize = 2000;
/// A section's fields at the most.
const FIELDS_MAX: usize = 10;
/// Characters of a header at the most.
const HEADER_CHARS_MAX: usize = 150;
/// Characters over all blocks, and of the text, at the most.
const ALL_BLOCKS_CHARS_MAX: usize = 13_200;
const TEXT_CHARS_MAX: usize = 40_000;
/// Blocks that a message may hold.
const BLOCK_KINDS: [&str; 11] = [
    "section",
    "header",
    "divider",
    "context",
    "actions",
    "image",
    "rich_text",
    "input",
    "video",
    "file",
    "markdown",
];

/// Answers one request to the Slack inbox.
pub(in crate::sandbox) fn handle(inbox: &Inbox, asked: &Asked) -> (Reply, Answer) {
    let (reply, problem, shown) = match judge(asked) {
        Ok(message) => (Reply::text(200, "ok"), None, text_of(&message)),
        Err((status, said, why)) => {
            let shown = payload(asked).map(|message| text_of(&message)).unwrap_or_default();
            (Reply::text(status, said), Some(why), shown)
        }
    };
    let reply = if reply.status == 405 { reply.header("allow", "POST") } else { reply };
    settle(inbox, asked, reply, problem, &shown)
}

/// The status, Slack's own words for it, and what is wrong for the one who has to mend it.
type Refusal = (u16, &'static str, String);

fn judge(asked: &Asked) -> Result<Value, Refusal> {
    if asked.method != "POST" {
        return Err((405, "method_not_allowed", format!("{} where only POST is understood", asked.method)));
    }
    let hook = asked.path.strip_prefix(HOOKS).unwrap_or_default();
    if hook.split('/').filter(|part| !part.is_empty()).count() != 3 {
        return Err((404, "no_service", format!("{} is no webhook", asked.path)));
    }
    let message =
        payload(asked).ok_or((400, "invalid_payload", "the body is not JSON of an object".to_owned()))?;
    let text = message["text"].as_str().unwrap_or_default();
    if text.chars().count() > TEXT_CHARS_MAX {
        return Err((400, "msg_too_long", format!("text has more than {TEXT_CHARS_MAX} characters")));
    }
    let blocks = match &message["blocks"] {
        Value::Null => &[][..],
        Value::Array(blocks) => blocks.as_slice(),
        _ => return Err((400, "invalid_blocks_format", "blocks is not a list".to_owned())),
    };
    if text.trim().is_empty()
        && blocks.is_empty()
        && message["attachments"].as_array().is_none_or(Vec::is_empty)
    {
        return Err((400, "no_text", "neither text nor blocks".to_owned()));
    }
    let bad = |why| (400, "invalid_blocks", why);
    if blocks.len() > BLOCKS_MAX {
        return Err(bad(format!("{} blocks, {BLOCKS_MAX} at the most", blocks.len())));
    }
    for (index, one) in blocks.iter().enumerate() {
        block(one).map_err(|why| bad(format!("blocks[{index}]: {why}")))?;
    }
    if blocks.iter().map(characters).sum::<usize>() > ALL_BLOCKS_CHARS_MAX {
        let why = format!("more than {ALL_BLOCKS_CHARS_MAX} characters over all blocks");
        return Err((400, "msg_blocks_too_long", why));
    }
    Ok(message)
}

/// The message: a JSON body, or the field `payload` of a form.
fn payload(asked: &Asked) -> Option<Value> {
    let form = asked
        .header("content-type")
        .is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
    let message: Value = if form {
        let field = url::form_urlencoded::parse(&asked.body).find(|(name, _)| name == "payload")?;
        serde_json::from_str(&field.1).ok()?
    } else {
        serde_json::from_slice(&asked.body).ok()?
    };
    message.is_object().then_some(message)
}

fn block(block: &Value) -> Result<(), String> {
    let kind = block["type"].as_str().unwrap_or_default();
    if !BLOCK_KINDS.contains(&kind) {
        return Err(format!("{kind:?} is no kind of block"));
    }
    if block["block_id"].as_str().is_some_and(|id| id.chars().count() > 255) {
        return Err("block_id is longer than 255 characters".to_owned());
    }
    match kind {
        "header" => text(&block["text"], HEADER_CHARS_MAX, &["plain_text"]),
        "section" => section(block),
        "context" => context(block),
        "actions" => {
            let count = block["elements"].as_array().map_or(0, Vec::len);
            if (1..=25).contains(&count) {
                Ok(())
            } else {
                Err(format!("{count} elements, 1 to 25 are allowed"))
            }
        }
        "image" => match (
            block["alt_text"].as_str(),
            block["image_url"].as_str().or(block["slack_file"]["id"].as_str()),
        ) {
            (Some(_), Some(_)) => Ok(()),
            _ => Err("alt_text or image_url is missing".to_owned()),
        },
        _ => Ok(()),
    }
}

fn section(block: &Value) -> Result<(), String> {
    let kinds = ["plain_text", "mrkdwn"];
    let fields = block["fields"].as_array();
    if block["text"].is_null() && fields.is_none_or(Vec::is_empty) {
        return Err("neither text nor fields".to_owned());
    }
    if !block["text"].is_null() {
        text(&block["text"], SECTION_CHARS_MAX, &kinds)?;
    }
    let fields = fields.map_or(&[][..], Vec::as_slice);
    if fields.len() > FIELDS_MAX {
        return Err(format!("{} fields, {FIELDS_MAX} at the most", fields.len()));
    }
    fields.iter().try_for_each(|field| text(field, FIELD_CHARS_MAX, &kinds))
}

fn context(block: &Value) -> Result<(), String> {
    let elements = block["elements"].as_array().map_or(&[][..], Vec::as_slice);
    if !(1..=10).contains(&elements.len()) {
        return Err(format!("{} elements, 1 to 10 are allowed", elements.len()));
    }
    let texts = elements.iter().filter(|element| element["type"] != "image");
    texts.into_iter().try_for_each(|element| text(element, SECTION_CHARS_MAX, &["plain_text", "mrkdwn"]))
}

fn text(object: &Value, chars_max: usize, kinds: &[&str]) -> Result<(), String> {
    if !kinds.iter().any(|kind| object["type"] == *kind) {
        return Err(format!("the text's type is {}, not {}", object["type"], kinds.join(" or ")));
    }
    match object["text"].as_str().map(|text| text.chars().count()) {
        None | Some(0) => Err("the text is empty".to_owned()),
        Some(count) if count > chars_max => Err(format!("{count} characters, {chars_max} at the most")),
        Some(_) => Ok(()),
    }
}

/// Characters of all texts of a block.
fn characters(value: &Value) -> usize {
    match value {
        Value::Array(items) => items.iter().map(characters).sum(),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| match (name.as_str(), value) {
                ("text", Value::String(text)) => text.chars().count(),
                _ => characters(value),
            })
            .sum(),
        _ => 0,
    }
}

/// What the message says: its text, or the texts of its blocks.
fn text_of(message: &Value) -> String {
    if let Some(text) = message["text"].as_str().filter(|text| !text.trim().is_empty()) {
        return text.to_owned();
    }
    let blocks = message["blocks"].as_array().map_or(&[][..], Vec::as_slice);
    let texts: Vec<&str> = blocks.iter().filter_map(|block| block["text"]["text"].as_str()).collect();
    texts.join(" · ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::{HeaderMap, Method};
    use serde_json::json;

    fn said(body: &str) -> &'static str {
        let asked = Asked {
            method: Method::POST,
            path: "/services/T0/B0/X0".to_owned(),
            query: String::new(),
            headers: HeaderMap::new(),
            body: body.to_owned().into(),
        };
        judge(&asked).map_or_else(|(_, said, _)| said, |_| "ok")
    }

    fn said_of(block: &Value) -> &'static str {
        said(&json!({ "text": "fallback", "blocks": [block] }).to_string())
    }

    #[test]
    fn it_answers_in_slacks_words() {
        assert_eq!(said(r#"{"text":"hello"}"#), "ok");
        assert_eq!(said("text=hello"), "invalid_payload");
        assert_eq!(said("[]"), "invalid_payload");
        assert_eq!(said(r#"{"text":"  "}"#), "no_text");
        assert_eq!(said(r#"{"text":"x","blocks":{}}"#), "invalid_blocks_format");
        let many = vec![json!({ "type": "divider" }); 51];
        assert_eq!(said(&json!({ "text": "x", "blocks": many }).to_string()), "invalid_blocks");
    }

    #[test]
    fn blocks_have_their_limits() {
        let section = |count: usize| json!({ "type": "section", "text": { "type": "mrkdwn", "text": "é".repeat(count) } });
        assert_eq!(said_of(&section(3000)), "ok");
        assert_eq!(said_of(&section(3001)), "invalid_blocks");
        assert_eq!(said_of(&section(0)), "invalid_blocks");
        let header = |kind: &str, count: usize| json!({ "type": "header", "text": { "type": kind, "text": "x".repeat(count) } });
        assert_eq!(said_of(&header("plain_text", 150)), "ok");
        assert_eq!(said_of(&header("plain_text", 151)), "invalid_blocks");
        assert_eq!(said_of(&header("mrkdwn", 5)), "invalid_blocks");
        assert_eq!(said_of(&json!({ "type": "carousel" })), "invalid_blocks");
        let five = vec![section(3000); 5];
        assert_eq!(said(&json!({ "text": "x", "blocks": five }).to_string()), "msg_blocks_too_long");
    }
}
