//! The parts of a payload that a test looks at.

use serde_json::Value;

use crate::config::rule_tests::Part;
use crate::model::payload::Payload;

/// A part as text; `None` where this payload has none. Bodies are indented JSON.
pub(super) fn text(payload: &Payload, part: Part) -> Option<String> {
    match (payload, part) {
        (Payload::Email(mail), Part::Subject) => Some(mail.subject.clone()),
        (Payload::Email(mail), Part::Text) => Some(mail.text.clone()),
        (Payload::Email(mail), Part::Html) => mail.html.clone(),
        (Payload::Slack(post), Part::Subject) => Some(post["text"].as_str().unwrap_or_default().to_owned()),
        (Payload::Slack(post), Part::Text) => Some(slack(post)),
        (Payload::Http(body), Part::Text) => Some(body.body.clone()),
        (_, Part::Body) => body(payload).map(|value| pretty(&value)),
        (Payload::Slack(_), Part::Html) | (Payload::Http(_), Part::Subject | Part::Html) => None,
    }
}

/// The body as JSON; text where it is none.
pub(super) fn body(payload: &Payload) -> Option<Value> {
    match payload {
        Payload::Slack(post) => Some(post.clone()),
        Payload::Http(body) => {
            Some(serde_json::from_str(&body.body).unwrap_or_else(|_| Value::String(body.body.clone())))
        }
        Payload::Email(_) => None,
    }
}

/// Indented JSON.
pub(super) fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_else(|_| value.to_string())
}

/// What a reader of the channel sees: each block's texts, line by line, in Slack's own markup and with its escapes
/// (`&amp;`, `&lt;`, `&gt;`); buttons as `[label] address`. The notification's text where there are no blocks.
fn slack(post: &Value) -> String {
    let mut lines = Vec::new();
    for block in post["blocks"].as_array().into_iter().flatten() {
        texts(block, &mut lines);
    }
    if lines.is_empty() {
        lines.push(post["text"].as_str().unwrap_or_default().to_owned());
    }
    lines.join("\n")
}

fn texts(value: &Value, lines: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            let label = fields.get("text").and_then(|text| text["text"].as_str());
            if let (Some(label), Some(url)) = (label, fields.get("url").and_then(Value::as_str)) {
                lines.push(format!("[{label}] {url}"));
                return;
            }
            lines.extend(fields.get("text").and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|inner| texts(inner, lines));
        }
        Value::Array(items) => items.iter().for_each(|item| texts(item, lines)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_slack_post_reads_from_top_to_bottom() {
        let post = json!({ "text": "Ann cancelled", "blocks": [
            { "type": "header", "text": { "type": "plain_text", "text": "Cancelled" } },
            { "type": "section", "fields": [{ "type": "mrkdwn", "text": "*When*\ntomorrow" }] },
            { "type": "actions", "elements": [
                { "type": "button", "text": { "type": "plain_text", "text": "Open" }, "url": "https://x.test" }] },
        ] });
        let payload = Payload::Slack(post);
        let shown = text(&payload, Part::Text).unwrap();
        assert_eq!(shown, "Cancelled\n*When*\ntomorrow\n[Open] https://x.test");
        assert_eq!(text(&payload, Part::Subject).unwrap(), "Ann cancelled");
        assert_eq!(text(&Payload::Slack(json!({ "text": "a" })), Part::Text).unwrap(), "a");
    }
}
