//! The playground: a rule and a template against a message, judged and rendered as they are written. Nothing is kept or sent.

use std::collections::VecDeque;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::Value;

use super::{Answer, Failure, Frame, coded, page, short};
use crate::answers::playground::{PARTS, Subject, Tried, tried};
use crate::config::problem::{Problem, Severity};
use crate::config::trial::NAME;
use crate::model::catalog;
use crate::model::payload::Payload;
use crate::web::Console;
use crate::web::form::Fields;
use crate::web::guard::{Call, Visitor};

/// What each part is, and how many lines of it are shown.
const SHOWN: [(&str, u32); 5] =
    [("one line", 1), ("plain text", 3), ("a mail's body", 4), ("blocks", 6), ("a JSON body", 4)];
/// What is tried on where nothing is chosen.
const SAMPLE: &str = "sample:Meeting/cancelled/client_to_pivot";
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
    parts: Vec<Part>,
    /// The chosen message: `sample:Type/message/direction`, or `stored:account/uid`.
    chosen: String,
    stored: Vec<(String, String)>,
    tried: Tried,
    shown: Shown,
}

impl Playground {
    fn is_chosen(&self, triple: &str) -> bool {
        self.chosen.strip_prefix("sample:") == Some(triple)
    }
}

/// A part of the template as it is written.
struct Part {
    file: &'static str,
    what: &'static str,
    lines: u32,
    text: String,
}

/// What was rendered, as people look at it.
#[derive(Default)]
struct Shown {
    slack: Vec<Line>,
    subject: String,
    text: String,
    mail: Option<u64>,
    json: String,
}

impl Shown {
    fn of(payloads: &[Payload], mails: &Mails) -> Self {
        let mut shown = Self::default();
        for payload in payloads {
            match payload {
                Payload::Slack(post) => shown.slack = lines(post),
                Payload::Email(mail) => {
                    (shown.subject, shown.text) = (mail.subject.clone(), mail.text.trim_end().to_owned());
                    shown.mail = mail.html.clone().map(|html| mails.keep(html));
                }
                Payload::Http(body) => {
                    let value = serde_json::from_str::<Value>(&body.body);
                    let pretty = value.and_then(|value| serde_json::to_string_pretty(&value));
                    shown.json = pretty.unwrap_or_else(|_| body.body.clone());
                }
            }
        }
        shown
    }
}

/// A part of a Slack post.
struct Line {
    /// `title`, `text`, `context`, `button` or `divider`.
    kind: &'static str,
    text: String,
}

/// Where a problem stands: what is written there, and the line.
fn place(problem: &Problem) -> String {
    let what = if problem.file == NAME { "rule" } else { problem.file.as_str() };
    format!("{what}, line {}", problem.line)
}

#[derive(Deserialize)]
pub(in crate::web) struct Asked {
    #[serde(default)]
    message: String,
}

/// `GET /playground`
pub(in crate::web) async fn show(Call { console, visitor }: Call, Query(asked): Query<Asked>) -> Answer {
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
pub(in crate::web) async fn preview(Call { console, visitor }: Call, body: String) -> Answer {
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
    let frame = Frame::new(console, visitor, "/playground");
    let chosen = match fields.one("message") {
        "" => SAMPLE.to_owned(),
        chosen => chosen.to_owned(),
    };
    let subject = match chosen.split_once(':') {
        Some(("stored", name)) => {
            let (account, uid) = name.split_once('/').unwrap_or(("", name));
            let gone = || Failure::Missing("This message is no longer stored.".to_owned());
            Subject::stored(&console.relay.store, Some(account), uid).await?.ok_or_else(gone)?
        }
        _ => Subject::sample(chosen.trim_start_matches("sample:"), &config, frame.now)
            .map_err(Failure::Wrong)?,
    };
    let (rule, now) = (fields.text("rule").to_owned(), frame.now);
    let parts: Vec<(String, String)> =
        PARTS.iter().map(|file| ((*file).to_owned(), fields.text(file).to_owned())).collect();
    let (written, texts) = (rule.clone(), parts.clone());
    let work = tokio::task::spawn_blocking(move || tried(Some(&written), &texts, subject, &config, now));
    let tried =
        work.await.map_err(|_| Failure::Wrong("This rule or template cannot be tried.".to_owned()))?;
    let stored = console.relay.store.arrivals(None, OFFERED).await?;
    let stored = stored.into_iter().map(|(_, stored)| {
        let message = stored.message;
        let label = format!("{} {}", catalog::label(&message.triple), short(&message.subject, 40));
        (format!("stored:{}/{}", message.account, message.uid), label)
    });
    let parts = PARTS.iter().zip(SHOWN).zip(parts);
    let parts = parts.map(|((file, (what, lines)), (_, text))| Part { file, what, lines, text }).collect();
    let shown = Shown::of(&tried.payloads, &console.mails);
    page(&Playground { frame, rule, parts, chosen, stored: stored.collect(), tried, shown })
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
