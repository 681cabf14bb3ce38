//! What of a structured part would be refused, or would never be seen: Slack's blocks, and an HTTP body that is none.

use super::parts::{self, Node, Spot};
use super::schema::nearest;
use super::tags::{self, Mistake};

/// What a block or an element has to have: of each of these, one.
type Needs = &'static [&'static [&'static str]];

/// Block types that a message may hold, with the fields without which Slack refuses them.
/// <https://docs.slack.dev/reference/block-kit/blocks>
const BLOCKS: &[(&str, Needs)] = &[
    ("section", &[&["text", "fields"]]),
    ("header", &[&["text"]]),
    ("divider", &[]),
    ("image", &[&["image_url", "slack_file"]]),
    ("context", &[&["elements"]]),
    ("actions", &[&["elements"]]),
    ("rich_text", &[&["elements"]]),
    ("markdown", &[&["text"]]),
    ("video", &[&["title"], &["video_url"], &["thumbnail_url"], &["alt_text"]]),
    ("table", &[&["rows"]]),
    ("input", &[&["label"], &["element"]]),
    ("context_actions", &[&["elements"]]),
    ("card", &[]),
    ("carousel", &[&["elements"]]),
    ("container", &[]),
    ("data_table", &[]),
    ("data_visualization", &[]),
    ("plan", &[]),
    ("task_card", &[]),
];
/// Blocks that Slack has, but takes in no message that is sent to it.
const ELSEWHERE: &[(&str, &str)] = &[
    ("alert", "Slack takes it in modal windows only"),
    ("file", "Slack makes it itself of a remote file, and takes it from nobody"),
];
/// What may stand in `actions` and as the `accessory` of a section, with what it has to have.
/// <https://docs.slack.dev/reference/block-kit/block-elements>
const ELEMENTS: &[(&str, Needs)] = &[
    ("button", &[&["text"]]),
    ("image", IMAGE),
    ("workflow_button", &[&["text"], &["workflow"]]),
    ("overflow", &[&["options"]]),
    ("checkboxes", &[&["options"]]),
    ("radio_buttons", &[&["options"]]),
    ("static_select", &[&["options", "option_groups"]]),
    ("external_select", &[]),
    ("users_select", &[]),
    ("conversations_select", &[]),
    ("channels_select", &[]),
    ("multi_static_select", &[&["options", "option_groups"]]),
    ("multi_external_select", &[]),
    ("multi_users_select", &[]),
    ("multi_conversations_select", &[]),
    ("multi_channels_select", &[]),
    ("datepicker", &[]),
    ("datetimepicker", &[]),
    ("timepicker", &[]),
    ("rich_text_input", &[]),
];
/// What may stand in `context`.
const CONTEXT: &[(&str, Needs)] = &[("mrkdwn", &[&["text"]]), ("plain_text", &[&["text"]]), ("image", IMAGE)];
const IMAGE: Needs = &[&["image_url", "slack_file"], &["alt_text"]];
const TEXTS: &[(&str, Needs)] = &[("mrkdwn", &[&["text"]]), ("plain_text", &[&["text"]])];

/// What is wrong with a `slack.yaml`.
pub(super) fn slack(root: &Spot, text: &str) -> Vec<Mistake> {
    let mut walk = Walk { text, found: Vec::new() };
    match &root.value {
        Node::List(blocks) if blocks.is_empty() => {
            let help = "write blocks into it, or take the file away: until then the built-in text goes out";
            walk.report(root, "there is no block in it", help);
        }
        Node::List(blocks) => blocks.iter().for_each(|block| walk.block(block)),
        _ => walk.report(
            root,
            "slack.yaml is a list of blocks",
            "start each block with a dash: - type: section",
        ),
    }
    walk.found
}

/// What is wrong with an `http.yaml`.
pub(super) fn http(root: &Spot, text: &str) -> Vec<Mistake> {
    let mut walk = Walk { text, found: Vec::new() };
    let written = &text[parts::start(root, text)..];
    match &root.value {
        Node::Value(value) if value.is_null() => {
            let help = "write fields into it, such as name: \"{{client.name}}\", or take the file away: \
                        then the whole event is sent";
            walk.found.push(tags::mistake(0, "it is empty, so that the body would be `null`", help));
        }
        // What stands in quotes, or as a block of text, is meant as it is.
        Node::Text(said) if !written.starts_with(['"', '\'', '|', '>']) => {
            let help = "write fields such as name: \"{{client.name}}\"; one text alone stands in quotes";
            let help = glued(said).unwrap_or_else(|| help.to_owned());
            walk.report(root, "the whole body would be one text", help);
        }
        _ => {}
    }
    walk.found
}

struct Walk<'t> {
    text: &'t str,
    found: Vec<Mistake>,
}

impl Walk<'_> {
    fn block(&mut self, block: &Spot) {
        let Some(kind) = self.typed(block, "block", BLOCKS) else { return };
        match kind.as_str() {
            "section" => {
                if let Some(text) = block.value.field("text") {
                    self.words(text, "the text of a section");
                }
                for field in self.items(block, "fields") {
                    self.typed(field, "field", TEXTS);
                }
                if let Some(accessory) = block.value.field("accessory") {
                    self.element(accessory);
                }
            }
            "header" => {
                if let Some(text) = block.value.field("text") {
                    self.words(text, "the text of a header");
                }
            }
            "image" if block.value.field("alt_text").is_none() => {
                let at = self.named(block, "image");
                let help = "add alt_text: what the image shows, for those who cannot see it";
                let spoken = tags::mistake(at, "without `alt_text` it is read out as `image`", help);
                self.found.push(Mistake { warning: true, ..spoken });
            }
            "context" => {
                for element in self.items(block, "elements") {
                    self.typed(element, "element of `context`", CONTEXT);
                }
            }
            "actions" => {
                for element in self.items(block, "elements") {
                    self.element(element);
                }
            }
            _ => {}
        }
    }

    fn element(&mut self, element: &Spot) {
        if self.typed(element, "element", ELEMENTS).as_deref() == Some("button")
            && let Some(text) = element.value.field("text")
        {
            self.words(text, "the text of a button");
        }
    }

    /// The type of something that has one, if it is known here and has all that it needs.
    fn typed(&mut self, node: &Spot, what: &str, known: &[(&'static str, Needs)]) -> Option<String> {
        let first = known.first().map_or("section", |(name, _)| name);
        let Node::Map(fields) = &node.value else {
            let help = match &node.value {
                Node::Text(text) => glued(text),
                _ => None,
            };
            let help = help.unwrap_or_else(|| format!("write {{ type: {first}, … }}"));
            self.report(node, format!("this is no {what}"), help);
            return None;
        };
        let Some(kind) = node.value.field("type") else {
            let near = nearest("type", fields.iter().map(|(name, _)| name.as_str()));
            let at = near.map_or_else(|| parts::start(node, self.text), |near| self.named(node, near));
            let help = near.map_or_else(
                || format!("add type: {first}, for example"),
                |near| format!("did you mean `type` where `{near}` stands?"),
            );
            self.found.push(tags::mistake(at, format!("the {what} has no `type`"), help));
            return None;
        };
        let Node::Text(name) = &kind.value else {
            self.report(kind, "the type is a word", format!("such as {first}"));
            return None;
        };
        if name.contains("{{") {
            return None;
        }
        let Some((_, needs)) = known.iter().find(|(known, _)| known == name) else {
            self.unknown(kind, name, what, known);
            return None;
        };
        let lacking: Vec<_> =
            needs.iter().filter(|names| !names.iter().any(|name| is_there(node, name))).collect();
        for names in &lacking {
            self.lacks(node, kind, (what, name), names);
        }
        lacking.is_empty().then(|| name.clone())
    }

    fn unknown(&mut self, at: &Spot, name: &str, what: &str, known: &[(&'static str, Needs)]) {
        let elsewhere = ELSEWHERE.iter().find(|(other, _)| *other == name && what == "block");
        if let Some((_, why)) = elsewhere {
            self.report(at, format!("a block `{name}` cannot be sent in a message"), *why);
            return;
        }
        let names = known.iter().map(|(name, _)| *name);
        let help = match nearest(name, names.clone()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("Slack knows {}", names.collect::<Vec<_>>().join(", ")),
        };
        self.report(at, format!("Slack knows no {what} of the type `{name}`"), help);
    }

    /// A field that has to be there is not, or holds nothing.
    fn lacks(&mut self, node: &Spot, kind: &Spot, (what, name): (&str, &str), names: &[&'static str]) {
        let shown = names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" or ");
        if let Some(empty) = names.iter().find_map(|name| node.value.field(name)) {
            let message = format!("{shown} of the {what} `{name}` holds nothing, so that it is never shown");
            self.report(empty, message, "write text into it, in quotes if it is a number");
            return;
        }
        let Node::Map(fields) = &node.value else { return };
        let others = fields.iter().map(|(name, _)| name.as_str()).filter(|name| !KNOWN.contains(name));
        let others: Vec<&str> = others.collect();
        let near = names.iter().find_map(|wanted| Some((wanted, nearest(wanted, others.iter().copied())?)));
        let (at, help) = match near {
            Some((wanted, written)) => {
                (self.named(node, written), format!("did you mean `{wanted}` where `{written}` stands?"))
            }
            None => (parts::start(kind, self.text), format!("add {}: …", names.first().unwrap_or(&"text"))),
        };
        self.found.push(tags::mistake(at, format!("the {what} `{name}` has no {shown}"), help));
    }

    /// A text object, or its text alone, which is made into one.
    fn words(&mut self, node: &Spot, what: &str) {
        match &node.value {
            Node::Text(_) => {}
            Node::Map(_) => {
                if node.value.field("type").is_some() {
                    self.typed(node, "text object", TEXTS);
                } else if !is_there(node, "text") {
                    let help = "write { type: mrkdwn, text: \"…\" }";
                    self.report(node, format!("{what} has no `text`"), help);
                }
            }
            _ => self.report(
                node,
                format!("{what} is text"),
                "write { type: mrkdwn, text: \"…\" }, numbers in quotes",
            ),
        }
    }

    /// What a list in a block holds; it is said if that is no list.
    fn items<'n>(&mut self, block: &'n Spot, name: &str) -> &'n [Spot] {
        match block.value.field(name).map(|node| (node, &node.value)) {
            None => &[],
            Some((_, Node::List(items))) => items,
            Some((node, _)) => {
                self.report(node, format!("`{name}` is a list"), "start each entry with a dash");
                &[]
            }
        }
    }

    /// Where a key, or a word, of something stands.
    fn named(&self, node: &Spot, word: &str) -> usize {
        let start = parts::start(node, self.text);
        tags::find_word(self.text, start, word).unwrap_or(start)
    }

    fn report(&mut self, node: &Spot, message: impl Into<String>, help: impl Into<String>) {
        self.found.push(tags::mistake(parts::start(node, self.text), message, help));
    }
}

/// What to say where a text is a key and its value run together.
fn glued(text: &str) -> Option<String> {
    let (key, value) = text.split_once(':').filter(|(_, value)| !value.starts_with(' '))?;
    let value = if value.contains("{{") { format!("\"{value}\"") } else { value.to_owned() };
    Some(format!("a space is missing behind the colon: {key}: {value}"))
}

/// Keys that are certainly meant as they are.
const KNOWN: [&str; 5] = ["type", "when", "block_id", "accessory", "style"];

/// A field is there and may come to something.
fn is_there(node: &Spot, name: &str) -> bool {
    node.value.field(name).is_some_and(|field| match &field.value {
        Node::Text(text) => !text.trim().is_empty(),
        Node::Value(_) => false,
        Node::List(items) => !items.is_empty(),
        Node::Map(fields) => !fields.is_empty(),
    })
}
