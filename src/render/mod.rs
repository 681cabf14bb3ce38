//! Turns messages into payloads: templates, escaping by part, built-in defaults. Pure.

use crate::model::payload::{Format, Payload};

pub mod view;

use view::View;

/// All templates of a configuration, compiled and checked.
#[derive(Debug, Default)]
pub struct Templates {}

/// What rendering gave.
#[derive(Debug, Clone, PartialEq)]
pub struct Rendered {
    /// Always something that can be sent.
    pub payload: Payload,
    /// The template failed and this is the plain fallback: which template, which part, why.
    pub problem: Option<String>,
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
}

impl Templates {
    /// Compiles the built-in `default` and the given files; `files` are (path relative to the templates' folder, text).
    /// All problems at once.
    pub fn compile(files: &[(String, String)]) -> (Self, Vec<TemplateProblem>) {
        let _ = files;
        (Self {}, Vec::new())
    }

    /// Names of the templates a rule may use, sorted; `default` is always among them.
    pub fn names(&self) -> Vec<&str> {
        vec!["default"]
    }

    /// Renders for a target's format. Never fails: a template that does gives the plain fallback and says so.
    pub fn render(&self, template: &str, format: Format, view: &View) -> Rendered {
        let _ = (template, format, view);
        Rendered { payload: Payload::Slack(serde_json::Value::Null), problem: None }
    }

    /// The plain rendering (what, who, when, link) with a note why, for a target that refused the full one.
    pub fn render_plain(&self, format: Format, view: &View, why: &str) -> Payload {
        let _ = (format, view, why);
        Payload::Slack(serde_json::Value::Null)
    }

    /// Renders one of the relay's own notices.
    pub fn render_notice(&self, format: Format, view: &View) -> Payload {
        let _ = (format, view);
        Payload::Slack(serde_json::Value::Null)
    }
}
