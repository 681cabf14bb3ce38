//! Where in a template's files something stands that only shows when a message is rendered.

use handlebars::RenderError;

use super::compile::Compiled;
use super::tags;

/// A place in a part of a template, or in a partial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartPlace {
    /// Path of the file, relative to the templates' folder.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
}

/// Why a template could not be rendered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    /// In words, with the file.
    pub(super) words: String,
    /// The tag that failed.
    pub(super) at: Option<PartPlace>,
}

impl From<String> for Fault {
    fn from(words: String) -> Self {
        Self { words, at: None }
    }
}

/// Part of what a rendering makes is cut or left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// What, and how much the target takes.
    pub words: String,
    /// What of the template makes it.
    pub at: Option<PartPlace>,
}

impl Fault {
    /// What the engine says of a part or of a partial in it.
    pub(super) fn of(error: &RenderError, part: &str) -> Self {
        let file = error.template_name.as_deref().unwrap_or(part);
        let line = error.line_no.map(|line| format!(", line {line}")).unwrap_or_default();
        let at = error.line_no.zip(error.column_no);
        let place = |(line, column)| PartPlace { file: file.to_owned(), line, column };
        Self { words: format!("template {file}{line}: {}", error.reason()), at: at.map(place) }
    }
}

impl Compiled {
    /// The place, if people have the file: what the program brings is in no folder.
    pub(super) fn known(&self, at: Option<PartPlace>) -> Option<PartPlace> {
        at.filter(|at| self.texts.contains_key(&at.file))
    }

    /// A byte of a file as a place.
    pub(super) fn place(&self, file: &str, at: usize) -> Option<PartPlace> {
        let (line, column) = tags::place(self.texts.get(file)?, at);
        Some(PartPlace { file: file.to_owned(), line, column })
    }

    /// A fault in a text that stands from a byte on in its file, whose own lines and columns the engine counts.
    pub(super) fn inside(&self, fault: Fault, file: &str, start: usize) -> Fault {
        let Some(at) = fault.at.as_ref().filter(|at| at.file == file) else { return fault };
        let Some(text) = self.texts.get(file) else { return fault };
        let rest = &text[start.min(text.len())..];
        // A block of text begins below its mark, each line behind its indentation; another text in its quotes.
        let above = at.line - 1 + usize::from(rest.starts_with(['|', '>']));
        let skipped: usize = rest.split_inclusive('\n').take(above).map(str::len).sum();
        let line = rest[skipped..].lines().next().unwrap_or_default();
        let before = match above {
            0 => usize::from(line.starts_with(['"', '\''])),
            _ => line.len() - line.trim_start().len(),
        };
        let guess = line.char_indices().nth(at.column - 1 + before).map(|(byte, _)| byte);
        let tag = guess.filter(|byte| line[*byte..].starts_with("{{")).or_else(|| line.find("{{"));
        let byte = tag.map(|byte| skipped + byte).or_else(|| rest.find("{{")).unwrap_or(0);
        let words = fault.words.replacen(&format!("{file}, line {}", at.line), file, 1);
        Fault { words, at: self.place(file, start + byte) }
    }

    /// Where a field is put out in a file from a byte on, else in a partial: the first tag that does not only ask for it.
    pub(super) fn tag_of(&self, file: &str, start: usize, field: &str) -> Option<PartPlace> {
        let partials = self.texts.keys().filter(|file| file.starts_with('_')).map(|file| (file.as_str(), 0));
        let files = || std::iter::once((file, start)).chain(partials.clone());
        let first = |asked: bool| {
            files().find_map(|(file, start)| {
                self.place(file, find_tag(self.texts.get(file)?, start, field, asked)?)
            })
        };
        first(false).or_else(|| first(true))
    }
}

/// Where a name stands inside a tag, from a byte on.
fn find_tag(text: &str, mut from: usize, name: &str, asked: bool) -> Option<usize> {
    while let Some(at) = tags::find_word(text, from, name) {
        let tag = text[..at].rfind("{{").map(|open| &text[open + 2..at]).filter(|tag| !tag.contains("}}"));
        let asks = |tag: &str| tag.starts_with(['#', '^']) || tag.trim_start().starts_with("else");
        if tag.is_some_and(|tag| asked || !asks(tag)) {
            return Some(at);
        }
        from = at + name.len();
    }
    None
}
