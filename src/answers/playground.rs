//! Rules and a template that are being written, tried on a message: judged and rendered. Nothing is kept or sent.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::explain::message_json;
use super::{payload, subject};
use crate::config::Config;
use crate::config::problem::Problem;
use crate::config::report::render_json;
use crate::config::trial::{NAME, try_rules, try_template};
use crate::daemon::names;
use crate::model::id::DeliveryId;
use crate::model::message::Message;
use crate::model::names::Names;
use crate::model::payload::{Format, HttpBody, Payload};
use crate::render::Rendered;
use crate::render::view::View;
use crate::rules::evaluate::{Evaluation, evaluate};
use crate::store::{Result, Store, StoredMessage};

/// The parts that a template has here.
pub const PARTS: [&str; 5] = ["subject.hbs", "text.hbs", "html.hbs", "slack.yaml", "http.yaml"];
/// What a template sees as the rule's name while it is tried.
const RULE: &str = "my-rule";
/// What it is rendered as, in the order in which it is shown.
const FORMATS: [Format; 3] = [Format::Slack, Format::Email, Format::Http(HttpBody::Auto)];

/// A message that something is tried on.
#[derive(Debug, Clone)]
pub struct Subject {
    message: Message,
    names: Names,
    /// `None` of a sample.
    stored: Option<StoredMessage>,
}

impl Subject {
    /// A stored message, in any account if none is named; `None` for one that is not there.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn stored(store: &Store, account: Option<&str>, uid: &str) -> Result<Option<Self>> {
        let Some(stored) = store.message(account, uid).await? else { return Ok(None) };
        let message = stored.message.clone();
        Ok(Some(Self { names: names::stored(store, &message).await, stored: Some(stored), message }))
    }

    /// A sample of a type, which is written `Meeting/cancelled/client_to_pivot`, of the first account.
    ///
    /// # Errors
    /// It is no type; the text says how one is written.
    pub fn sample(kind: &str, config: &Config, now: Timestamp) -> std::result::Result<Self, String> {
        let names: Vec<&str> = kind.split('/').collect();
        let plain = |name: &&str| {
            !name.is_empty() && name.chars().all(|char| char.is_ascii_alphanumeric() || " _-".contains(char))
        };
        let triple = match names.as_slice() {
            &[activity_type, message_type, direction] if names.iter().all(plain) => {
                subject::canonical([activity_type, message_type, direction])
            }
            _ => {
                return Err(
                    "a sample is named by its type, such as Meeting/cancelled/client_to_pivot".to_owned()
                );
            }
        };
        let account = config.accounts.first().map_or("main", |account| account.name.as_str());
        let (message, names) = subject::sample_of(&triple, account, now)?;
        Ok(Self { message, names, stored: None })
    }

    fn view(&self, config: &Config, now: Timestamp) -> View {
        let id = DeliveryId::derive(now, &[NAME, &self.message.uid]);
        subject::view(config, self.message.clone(), self.names.clone(), (id, RULE, NAME), now)
    }
}

/// What a rule says of the message.
#[derive(Debug)]
pub struct Verdict {
    /// The rule.
    pub rule: String,
    /// It takes the message.
    pub matched: bool,
    /// Why, or why not.
    pub reason: String,
    /// Where that stands: file, line, column. Of rules that are tried, the lines of their text.
    pub place: (String, usize, usize),
}

impl Verdict {
    fn of(found: Evaluation<'_>, lines_before: usize) -> Self {
        let line = found.place.line.saturating_sub(lines_before);
        let place = (found.place.file.clone(), line, found.place.column);
        Self { rule: found.rule.to_owned(), matched: found.matched, reason: found.reason, place }
    }
}

/// What came of a trial.
#[derive(Debug)]
pub struct Tried {
    /// What it was tried on.
    pub subject: Subject,
    /// What is wrong or doubtful about the rules, then about the template.
    pub problems: Vec<Problem>,
    /// What each rule says; none where the rules have an error.
    pub verdicts: Vec<Verdict>,
    /// The template that was rendered: the one that was tried, or `default` without any part.
    pub template: &'static str,
    /// As a Slack post, a mail and an HTTP body, in this order.
    pub payloads: Vec<Payload>,
    /// Why a plain fallback stands in the place of some of them.
    pub fallbacks: Vec<String>,
}

/// Judges the message by the rules (as they stand under `rules:`; `None`: by those in force) and renders it by a template of
/// these parts (file, text).
pub fn tried(
    rules: Option<&str>,
    parts: &[(String, String)],
    subject: Subject,
    config: &Config,
    now: Timestamp,
) -> Tried {
    let judged = |rules, lines_before| {
        let found = evaluate(rules, &subject.message, &subject.names);
        found.into_iter().map(|found| Verdict::of(found, lines_before)).collect()
    };
    let (verdicts, mut problems) = match rules {
        None => (judged(&config.rules, 0), Vec::new()),
        Some(text) => {
            let trial = try_rules(text, config);
            // They were read below a line of their own: `rules:`.
            let verdicts = trial.rules.as_ref().map(|rules| judged(rules, 1));
            (verdicts.unwrap_or_default(), trial.problems)
        }
    };
    let (templates, template, wrong) = try_template(parts);
    problems.extend(wrong);
    let view = subject.view(config, now);
    let rendered = FORMATS.map(|format| templates.render(template, format, &view));
    let (mut payloads, mut fallbacks) = (Vec::new(), Vec::new());
    for Rendered { payload, problem, .. } in rendered {
        payloads.push(payload);
        fallbacks.extend(problem);
    }
    Tried { subject, problems, verdicts, template, payloads, fallbacks }
}

/// As programs are shown it: beside `check`'s document the message, the verdicts and the payloads.
pub fn as_json(tried: &Tried) -> Value {
    let Subject { message, names, stored } = &tried.subject;
    let verdict = |verdict: &Verdict| {
        let (file, line, column) = &verdict.place;
        json!({
            "rule": verdict.rule, "matched": verdict.matched, "reason": verdict.reason,
            "place": { "file": file, "line": line, "column": column },
        })
    };
    let mut payloads = json!({});
    for rendered in &tried.payloads {
        let name = match rendered {
            Payload::Slack(_) => "slack",
            Payload::Email(_) => "email",
            Payload::Http(_) => "http",
        };
        payloads[name] = payload::as_json(rendered, None, "");
    }
    let mut document = render_json(&tried.problems);
    document["message"] = message_json(message, names, stored.as_ref());
    document["rules"] = tried.verdicts.iter().map(verdict).collect();
    document["template"] = json!(tried.template);
    document["payloads"] = payloads;
    document["fallbacks"] = json!(tried.fallbacks);
    document
}
