//! Turns messages into payloads: templates, escaping by part, built-in defaults. Pure.

use handlebars::Context;
use serde_json::{Value, json};

use crate::model::payload::{Body, Format, HttpBody, Mail, Payload};

mod blocks;
mod check;
mod compile;
mod digest;
mod escape;
mod event;
mod fault;
mod helpers;
mod limits;
mod parts;
mod plain;
mod schema;
mod sheet;
pub mod shipped;
mod slack;
mod tags;
pub mod view;

use compile::{Compiled, Folder, LeafName};
use escape::{Kind, one_line, split_units, truncate};
use fault::Fault;
use limits::Of;
use parts::Tree;
use view::View;

pub use fault::{Cut, PartPlace};

/// The template of a rule that names none.
const DEFAULT: &str = "default";
/// A text part is cut after so many UTF-16 units; an HTML part that is longer is left out.
const TEXT_UNITS_MAX: usize = 200_000;
const HTML_BYTES_MAX: usize = 2_000_000;

/// All templates of a configuration, compiled and checked.
#[derive(Debug)]
pub struct Templates {
    compiled: Compiled,
}

impl Default for Templates {
    fn default() -> Self {
        Self::compile(&[]).0
    }
}

/// What rendering gave.
#[derive(Debug, Clone, PartialEq)]
pub struct Rendered {
    /// Always something that can be sent.
    pub payload: Payload,
    /// The template failed and this is the plain fallback: which template, which part, why.
    pub problem: Option<String>,
    /// The tag that failed, if it is in a file that people have.
    pub at: Option<PartPlace>,
}

impl Rendered {
    /// The markers that stand for missing values in it, each once, such as `‹message.meeting.start_time?›`.
    pub fn markers(&self) -> Vec<String> {
        let texts = match &self.payload {
            Payload::Slack(value) => vec![value.to_string()],
            Payload::Http(body) => vec![body.body.clone()],
            Payload::Email(mail) => {
                vec![mail.subject.clone(), mail.text.clone(), mail.html.clone().unwrap_or_default()]
            }
        };
        let mut found = Vec::new();
        for rest in texts.iter().flat_map(|text| text.match_indices('‹').map(|(at, _)| &text[at..])) {
            let marker = rest.find("?›").map(|end| rest[..end + "?›".len()].to_owned());
            found.extend(
                marker.filter(|marker| !found.contains(marker) && !marker.contains(char::is_whitespace)),
            );
        }
        found
    }
}

/// A template that does not compile or names something that does not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateProblem {
    /// Path of the part, such as `client-cancelled/slack.yaml`, relative to the templates' folder.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// What is wrong, in words.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
    /// The template can be used all the same, though probably not as meant.
    pub warning: bool,
}

impl Templates {
    /// Compiles the built-in `default` and the given files; `files` are (path relative to the templates' folder, text).
    /// All problems at once.
    pub fn compile(files: &[(String, String)]) -> (Self, Vec<TemplateProblem>) {
        let mut compiled = compile::compile(&shipped::built_in(), files);
        let problems = std::mem::take(&mut compiled.problems);
        (Self { compiled }, problems)
    }

    /// Names of the templates a rule may use, sorted; `default` is always among them.
    pub fn names(&self) -> Vec<&str> {
        self.compiled.folders.keys().map(String::as_str).collect()
    }

    /// The files of a template that are not as the program brings them, relative to the templates' folder.
    pub fn own_files(&self, template: &str) -> Vec<&str> {
        let own = self.compiled.own.iter().map(String::as_str);
        own.filter(|file| file.split_once('/').is_some_and(|(folder, _)| folder == template)).collect()
    }

    /// Partials and layouts that no template includes and that the program did not bring, relative to the templates' folder.
    pub fn not_included(&self) -> Vec<&str> {
        self.compiled.not_included.intersection(&self.compiled.own).map(String::as_str).collect()
    }

    /// Renders for a target's format. Never fails: a template that does gives the plain fallback and says so.
    pub fn render(&self, template: &str, format: Format, view: &View) -> Rendered {
        if view.notice.is_some() {
            return Rendered { payload: plain::notice(format, view), problem: None, at: None };
        }
        match self.try_render(template, format, view) {
            Ok(payload) => Rendered { payload, problem: None, at: None },
            Err(Fault { words, at }) => Rendered {
                payload: plain::message(format, view, &words),
                problem: Some(words),
                at: self.compiled.known(at),
            },
        }
    }

    /// What of a rendering is cut or left out because the target takes no more; nothing if it fails.
    pub fn cuts(&self, template: &str, format: Format, view: &View) -> Vec<Cut> {
        let measure = || -> Result<Vec<Cut>, Fault> {
            let pages = self.pages(template, format, view)?;
            let found = match format {
                Format::Slack => limits::slack(&pages.subject(Kind::Slack)?, &pages.slack_blocks()?),
                Format::Email => {
                    let (text, html) = pages.mail_parts()?;
                    let html = (html.as_deref().unwrap_or_default(), HTML_BYTES_MAX);
                    let text = (text.as_str(), TEXT_UNITS_MAX);
                    limits::mail(&pages.subject(Kind::Plain)?, plain::SUBJECT_MAX, text, html)
                }
                Format::Http(_) => Vec::new(),
            };
            Ok(found.into_iter().map(|(words, of)| Cut { words, at: pages.place_of(&of) }).collect())
        };
        measure().unwrap_or_default()
    }

    /// Where a template puts out the value whose marker a rendering for this view shows, if that is in a file that
    /// people have.
    pub fn place_of_marker(
        &self,
        template: &str,
        format: Format,
        view: &View,
        marker: &str,
    ) -> Option<PartPlace> {
        let field = marker.trim_start_matches('‹').trim_end_matches("?›");
        let pages = self.pages(template, format, view).ok()?;
        pages.texts(format).into_iter().find_map(|(kind, name, start)| {
            let shows = pages.part(kind, name).is_ok_and(|said| said.contains(marker));
            let file = file_of(name);
            let tag = || self.compiled.tag_of(file, start, field);
            shows.then(|| tag().or_else(|| self.compiled.place(file, start))).flatten()
        })
    }

    /// The text of a file that people have, as it was compiled.
    pub fn text(&self, file: &str) -> Option<&str> {
        self.compiled.texts.get(file).map(String::as_str)
    }

    /// The plain rendering (what, who, when, link) with a note why, for a target that refused the full one.
    pub fn render_plain(&self, format: Format, view: &View, why: &str) -> Payload {
        plain::message(format, view, why)
    }

    /// Renders one of the relay's own notices.
    pub fn render_notice(&self, format: Format, view: &View) -> Payload {
        plain::notice(format, view)
    }

    fn try_render(&self, template: &str, format: Format, view: &View) -> Result<Payload, Fault> {
        if view.messages.is_empty() && !view.is_digest() {
            return Err("there is no message to render".to_owned().into());
        }
        match format {
            Format::Slack => self.pages(template, format, view)?.slack().map(Payload::Slack),
            Format::Email => self.pages(template, format, view)?.mail(view).map(Payload::Email),
            Format::Http(form) => match (form, &self.folder(template)?.http) {
                (HttpBody::Auto, Some(tree)) => {
                    let body = self.pages(template, format, view)?.tree(tree)?.to_string();
                    Ok(Payload::Http(Body { content_type: "application/json".to_owned(), body }))
                }
                // No template sees it: what templates see need not be made.
                _ => Ok(event::body(view, form, None)),
            },
        }
    }

    fn folder(&self, template: &str) -> Result<&Folder, String> {
        self.compiled.folders.get(template).ok_or_else(|| {
            let near = schema::nearest(template, self.names()).map(|near| format!("; did you mean {near}?"));
            format!("there is no template {template}{}", near.unwrap_or_default())
        })
    }

    fn pages(&self, template: &str, format: Format, view: &View) -> Result<Pages<'_>, String> {
        let folder = self.folder(template)?;
        let mut data = view.data();
        if let Some(name) = sheet::name(view).filter(|_| format == Format::Email) {
            data["attachment"] = json!(name);
        }
        Ok(Pages {
            compiled: &self.compiled,
            folder,
            default: self.compiled.folders.get(DEFAULT).unwrap_or(folder),
            context: Context::wraps(data).map_err(|error| error.to_string())?,
        })
    }
}

/// One template's parts over one view.
struct Pages<'a> {
    compiled: &'a Compiled,
    folder: &'a Folder,
    default: &'a Folder,
    context: Context,
}

impl Pages<'_> {
    fn slack(&self) -> Result<Value, Fault> {
        Ok(slack::message(&self.subject(Kind::Slack)?, self.slack_blocks()?))
    }

    fn slack_blocks(&self) -> Result<Vec<Value>, Fault> {
        let own = self.folder;
        Ok(if let Some(tree) = &own.blocks {
            self.blocks(tree)?
        } else if let Some(name) = own.slack.as_ref().or(own.text.as_ref()) {
            vec![slack::section(&self.part(Kind::Slack, name)?)]
        } else if let Some(tree) = &self.default.blocks {
            self.blocks(tree)?
        } else {
            Vec::new()
        })
    }

    fn blocks(&self, tree: &Tree<LeafName>) -> Result<Vec<Value>, Fault> {
        match self.tree(tree)? {
            Value::Array(blocks) => Ok(blocks),
            _ => Err("slack.yaml is no list of blocks".to_owned().into()),
        }
    }

    fn mail(&self, view: &View) -> Result<Mail, Fault> {
        let (text, html) = self.mail_parts()?;
        let (head, rest) = split_units(&text, TEXT_UNITS_MAX);
        let text = if rest.is_empty() { text } else { format!("{head}\n… shortened") };
        Ok(Mail {
            subject: truncate(&one_line(&self.subject(Kind::Plain)?), plain::SUBJECT_MAX),
            text: format!("{}\n", text.trim()),
            html: html.filter(|html| html.len() <= HTML_BYTES_MAX && !html.trim().is_empty()),
            thread: plain::thread(view),
            date_ms: view.now.as_millisecond(),
            attachments: sheet::attachment(view).into_iter().collect(),
        })
    }

    fn mail_parts(&self) -> Result<(String, Option<String>), Fault> {
        let (text, html) = self.mail_names();
        let text = text.map(|name| self.part(Kind::Plain, name)).transpose()?.unwrap_or_default();
        let html = html.map(|name| self.part(Kind::Html, name)).transpose()?;
        Ok((text, html))
    }

    /// Of which parts a mail's text and its HTML are made.
    fn mail_names(&self) -> (Option<&String>, Option<&String>) {
        // The default lends its parts as a pair: its HTML beside a template's own text would say something else.
        let own = self.folder;
        let bare = own.text.is_none() && own.html.is_none();
        let text = own.text.as_ref().or(self.default.text.as_ref());
        let html = own.html.as_ref().or_else(|| self.default.html.as_ref().filter(|_| bare));
        (text, html)
    }

    fn subject_name(&self) -> Option<&String> {
        self.folder.subject.as_ref().or(self.default.subject.as_ref())
    }

    fn subject(&self, kind: Kind) -> Result<String, Fault> {
        Ok(self
            .subject_name()
            .map(|name| self.part(kind, name))
            .transpose()?
            .map(|text| one_line(&text))
            .unwrap_or_default())
    }

    fn tree(&self, tree: &Tree<LeafName>) -> Result<Value, Fault> {
        tree.render(&mut |leaf: &LeafName| {
            let inside = |fault| self.compiled.inside(fault, file_of(&leaf.name), leaf.at);
            let text = self.part(leaf.kind, &leaf.name).map_err(inside)?;
            Ok(if leaf.json {
                serde_json::from_str(&text).unwrap_or(Value::String(text))
            } else {
                json!(text)
            })
        })
    }

    /// Renders one part or leaf by its name; the error names the file.
    fn part(&self, kind: Kind, name: &str) -> Result<String, Fault> {
        let engine = self.compiled.engines.of(kind);
        let file = file_of(name);
        if !engine.has_template(name) {
            return Err(format!("template {file} does not compile; `activity-relay check` says why").into());
        }
        engine.render_with_context(name, &self.context).map_err(|error| Fault::of(&error, file))
    }

    /// Every text that a payload is made of.
    fn texts(&self, format: Format) -> Vec<Text<'_>> {
        let own = self.folder;
        match format {
            Format::Slack => {
                let plain = own.slack.as_ref().or(own.text.as_ref()).filter(|_| own.blocks.is_none());
                let tree = own.blocks.as_ref().or(self.default.blocks.as_ref()).filter(|_| plain.is_none());
                let whole = [whole(Kind::Slack, self.subject_name()), whole(Kind::Slack, plain)];
                whole.into_iter().flatten().chain(leaves(tree)).collect()
            }
            Format::Email => {
                let (text, html) = self.mail_names();
                let subject = whole(Kind::Plain, self.subject_name());
                [subject, whole(Kind::Plain, text), whole(Kind::Html, html)].into_iter().flatten().collect()
            }
            Format::Http(HttpBody::Auto) => leaves(own.http.as_ref()),
            Format::Http(_) => Vec::new(),
        }
    }

    /// Where in the template's files something is made.
    fn place_of(&self, of: &Of) -> Option<PartPlace> {
        let (text, html) = self.mail_names();
        let whole = match of {
            Of::Subject => self.subject_name(),
            Of::Text => text,
            Of::Html => html,
            Of::Blocks(pointer) => {
                if let Some(tree) = &self.folder.blocks {
                    let leaf = tree.leaf_at(pointer)?;
                    return self.compiled.place(file_of(&leaf.name), leaf.at);
                }
                self.folder.slack.as_ref().or(self.folder.text.as_ref())
            }
        };
        whole.and_then(|file| self.compiled.place(file, 0))
    }
}

/// A text that a payload is made of: how it is escaped, its name, and where it starts in its file.
type Text<'a> = (Kind, &'a str, usize);

fn whole(kind: Kind, name: Option<&String>) -> Option<Text<'_>> {
    name.map(|name| (kind, name.as_str(), 0))
}

fn leaves(tree: Option<&Tree<LeafName>>) -> Vec<Text<'_>> {
    let leaves = tree.map(Tree::leaves).unwrap_or_default().into_iter();
    leaves.map(|leaf| (leaf.kind, leaf.name.as_str(), leaf.at)).collect()
}

/// The file of a part or of one of its leaves.
fn file_of(name: &str) -> &str {
    name.split('#').next().unwrap_or(name)
}

#[cfg(test)]
mod blocks_tests;
#[cfg(test)]
mod digest_tests;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod tests;
