//! The playground: a rule and a template against a message, judged and rendered as they are written. Nothing is kept or sent.

use std::collections::VecDeque;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};

use askama::Template;
use axum::Extension;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::Value;

use super::{Answer, Failure, Frame, page, short};
use crate::answers::subject;
use crate::config::Config;
use crate::config::problem::Severity;
use crate::config::trial::try_rules;
use crate::daemon::names;
use crate::model::catalog;
use crate::model::id::DeliveryId;
use crate::model::message::Message;
use crate::model::names::Names;
use crate::model::payload::{Format, HttpBody, Payload};
use crate::render::view::View;
use crate::render::{Rendered, Templates};
use crate::rules::evaluate::evaluate;
use crate::web::Console;
use crate::web::form::Fields;
use crate::web::guard::Visitor;

/// The parts of a template that are written here: file, label, lines shown.
const PARTS: [(&str, &str, u32); 5] = [
    ("subject.hbs", "subject.hbs: one line", 1),
    ("text.hbs", "text.hbs: plain text", 3),
    ("html.hbs", "html.hbs: a mail's body", 4),
    ("slack.yaml", "slack.yaml: blocks", 6),
    ("http.yaml", "http.yaml: a JSON body", 4),
];
/// The name of the template that is tried.
const TEMPLATE: &str = "playground";
/// Stored messages that are offered, the newest.
const OFFERED: usize = 20;
/// Mails that are kept for their frames.
const MAILS_MAX: usize = 32;

/// Mails that were rendered, each to be shown in a frame of its own.
#[derive(Debug, Default)]
pub(in crate::web) struct Mails(Mutex<(u64, VecDeque<(u64, String)>)>);

impl Mails {
    fn keep(&self, html: String) -> u64 {
        let mut mails = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        mails.0 += 1;
        let number = mails.0;
        mails.1.push_back((number, html));
        if mails.1.len() > MAILS_MAX {
            mails.1.pop_front();
        }
        number
    }

    fn find(&self, number: u64) -> Option<String> {
        let mails = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        mails.1.iter().find(|(known, _)| *known == number).map(|(_, html)| html.clone())
    }
}

#[derive(Template)]
#[template(path = "playground.html")]
struct Playground {
    frame: Frame,
    rule: String,
    parts: Vec<(&'static str, &'static str, u32, String)>,
    /// The chosen message: `sample:Type/message/direction`, or `stored:account/uid`.
    chosen: String,
    stored: Vec<(String, String)>,
    shown: Shown,
}

impl Playground {
    fn is_chosen(&self, triple: &str) -> bool {
        self.chosen.strip_prefix("sample:") == Some(triple)
    }
}

/// What came of it.
#[derive(Default)]
struct Shown {
    /// What is wrong: place and words.
    problems: Vec<(String, String, bool)>,
    /// Rule, whether it took the message, why, and the line.
    verdicts: Vec<(String, bool, String, usize)>,
    slack: Vec<Line>,
    subject: String,
    text: String,
    mail: Option<u64>,
    json: String,
    notes: Vec<String>,
}

/// A part of a Slack post.
struct Line {
    /// `title`, `text`, `context`, `button` or `divider`.
    kind: &'static str,
    text: String,
}

#[derive(Deserialize)]
pub(in crate::web) struct Asked {
    #[serde(default)]
    message: String,
}

/// `GET /playground`
pub(in crate::web) async fn show(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    Query(asked): Query<Asked>,
) -> Answer {
    let config = console.relay.config();
    let target = config.targets.keys().next().map_or("my-target", String::as_str);
    let rule = format!(
        "- name: my-rule\n  match:\n    activity_type: Meeting\n    message_type: cancelled\n    direction: client_to_pivot\n  \
         deliver:\n    - to: {target}\n"
    );
    let body = format!(
        "rule={}&text.hbs={}",
        encoded(&rule),
        encoded("{{client.name}}: {{message.label}}\n{{message.body}}\n")
    );
    let mut fields = Fields::of(&body);
    if !asked.message.is_empty() {
        fields.put("message", &asked.message);
    }
    answer(&console, visitor, &fields).await
}

/// `POST /playground/preview`
pub(in crate::web) async fn preview(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    body: String,
) -> Answer {
    answer(&console, visitor, &Fields::of(&body)).await
}

/// `GET /playground/mail/{id}`: in a frame without rights; mails bring their styles along.
pub(in crate::web) async fn mail(State(console): State<Console>, Path(number): Path<u64>) -> Response {
    let Some(html) = console.mails.find(number) else { return StatusCode::NOT_FOUND.into_response() };
    let policy =
        "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'";
    let head =
        [(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CONTENT_SECURITY_POLICY, policy)];
    (head, html).into_response()
}

fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

async fn answer(console: &Console, visitor: Visitor, fields: &Fields) -> Answer {
    let config = console.relay.config();
    let frame = Frame::new(console, visitor, "/playground", "Playground");
    let chosen = match fields.one("message") {
        "" => "sample:Meeting/cancelled/client_to_pivot".to_owned(),
        chosen => chosen.to_owned(),
    };
    let (message, names) = message(console, &config, &chosen, &frame).await?;
    let (rule, parts) = (fields.text("rule").to_owned(), parts(fields));
    let (written, view) = (rule.clone(), {
        let id = DeliveryId::derive(frame.now, &["playground", &message.uid]);
        subject::view(&config, message.clone(), names.clone(), (id, "my-rule", "playground"), frame.now)
    });
    let files: Vec<(String, String)> = parts
        .iter()
        .filter(|(_, _, _, text)| !text.trim().is_empty())
        .map(|(name, _, _, text)| (format!("{TEMPLATE}/{name}"), text.replace("\r\n", "\n")))
        .collect();
    let work =
        tokio::task::spawn_blocking(move || tried(&written, &files, &config, (&message, &names), &view));
    let (mut shown, html) =
        work.await.map_err(|_| Failure::Wrong("This rule or template cannot be tried.".to_owned()))?;
    shown.mail = html.map(|html| console.mails.keep(html));
    let stored = console.relay.store.arrivals(None, OFFERED).await?;
    let stored = stored.into_iter().map(|(_, stored)| {
        let message = stored.message;
        let label = format!("{} {}", catalog::label(&message.triple), short(&message.subject, 40));
        (format!("stored:{}/{}", message.account, message.uid), label)
    });
    page(&Playground { frame, rule, parts, chosen, stored: stored.collect(), shown })
}

fn parts(fields: &Fields) -> Vec<(&'static str, &'static str, u32, String)> {
    PARTS.iter().map(|(name, label, lines)| (*name, *label, *lines, fields.text(name).to_owned())).collect()
}

async fn message(
    console: &Console,
    config: &Config,
    chosen: &str,
    frame: &Frame,
) -> Result<(Message, Names), Failure> {
    let account = config.accounts.first().map_or("main", |account| account.name.as_str());
    if let Some((account, uid)) = chosen.strip_prefix("stored:").and_then(|name| name.split_once('/')) {
        let Some(stored) = console.relay.store.message(Some(account), uid).await? else {
            return Err(Failure::Missing("This message is no longer stored.".to_owned()));
        };
        let names = names::stored(&console.relay.store, &stored.message).await;
        return Ok((stored.message, names));
    }
    let names: Vec<&str> = chosen.strip_prefix("sample:").unwrap_or_default().split('/').collect();
    let &[activity_type, message_type, direction] = names.as_slice() else {
        return Err(Failure::Wrong("A sample is chosen by its type.".to_owned()));
    };
    let triple = subject::canonical([activity_type, message_type, direction]);
    subject::sample_of(&triple, account, frame.now).map_err(Failure::Wrong)
}

/// Judges and renders; returns the mail's HTML apart.
fn tried(
    rule: &str,
    files: &[(String, String)],
    config: &Config,
    (message, names): (&Message, &Names),
    view: &View,
) -> (Shown, Option<String>) {
    let mut shown = Shown::default();
    let trial = try_rules(rule, config);
    for problem in &trial.problems {
        let help = problem.help.as_deref().map_or_else(String::new, |help| format!(" ({help})"));
        let place = format!("rule, line {}", problem.line);
        shown.problems.push((
            place,
            format!("{}{help}", problem.message),
            problem.severity == Severity::Error,
        ));
    }
    if let Some(rules) = &trial.rules {
        for verdict in evaluate(rules, message, names) {
            let line = verdict.place.line.saturating_sub(1);
            shown.verdicts.push((verdict.rule.to_owned(), verdict.matched, verdict.reason, line));
        }
    }
    let (templates, problems) = Templates::compile(files);
    for problem in problems {
        let file = problem.file.trim_start_matches(TEMPLATE).trim_start_matches('/').to_owned();
        let help = problem.help.map_or_else(String::new, |help| format!(" ({help})"));
        shown.problems.push((
            format!("{file}, line {}", problem.line),
            format!("{}{help}", problem.message),
            true,
        ));
    }
    let name = if templates.names().contains(&TEMPLATE) { TEMPLATE } else { "default" };
    let mut html = None;
    for format in [Format::Slack, Format::Email, Format::Http(HttpBody::Auto)] {
        let Rendered { payload, problem } = templates.render(name, format, view);
        shown.notes.extend(problem);
        match payload {
            Payload::Slack(post) => shown.slack = lines(&post),
            Payload::Email(mail) => {
                (shown.subject, shown.text) = (mail.subject, mail.text.trim_end().to_owned());
                html = mail.html;
            }
            Payload::Http(body) => {
                let value = serde_json::from_str::<Value>(&body.body);
                shown.json =
                    value.and_then(|value| serde_json::to_string_pretty(&value)).unwrap_or(body.body);
            }
        }
    }
    (shown, html)
}

/// A post's blocks as they are read, from top to bottom.
fn lines(post: &Value) -> Vec<Line> {
    let mut found = Vec::new();
    for block in post["blocks"].as_array().into_iter().flatten() {
        let kind = match block["type"].as_str().unwrap_or_default() {
            "header" => "title",
            "context" => "context",
            "actions" => "button",
            "divider" => {
                found.push(Line { kind: "divider", text: String::new() });
                continue;
            }
            _ => "text",
        };
        let mut texts = Vec::new();
        collect(block, &mut texts);
        found.extend(texts.into_iter().map(|text| Line { kind, text }));
    }
    if found.is_empty() {
        found.push(Line { kind: "text", text: plain(post["text"].as_str().unwrap_or_default()) });
    }
    found
}

fn collect(value: &Value, texts: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            if let Some(text) = fields.get("text").and_then(Value::as_str) {
                texts.push(plain(text));
            }
            fields.values().for_each(|inner| collect(inner, texts));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, texts)),
        _ => {}
    }
}

/// Slack's text as Slack shows it, but for what is bold: links by their label, escapes undone.
fn plain(text: &str) -> String {
    let (mut shown, mut rest) = (String::new(), text);
    while let Some((before, link)) = rest.split_once('<') {
        let (link, after) = link.split_once('>').unwrap_or((link, ""));
        // Writing to a String cannot fail.
        let _ = write!(shown, "{before}{}", link.split_once('|').map_or(link, |(_, label)| label));
        rest = after;
    }
    shown.push_str(rest);
    shown.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
}
