//! What the demo prints: each message, the rule that took it, and what arrived.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use crate::cli::output::{BAD, BOLD, DIM, GOOD, Output, WARN, counted, paint};
use crate::config::Config;
use crate::model::catalog;
use crate::rules::Deliver;
use crate::sandbox::Sandbox;
use crate::sandbox::inboxes::Arrival;
use crate::sandbox::world::At;
use crate::store::StoredMessage;

use super::oracle::Score;

/// Lines shown of one arrival, and characters of one line.
const LINES_MAX: usize = 14;
const COLUMNS_MAX: usize = 96;

/// Prints the demo.
#[derive(Debug)]
pub(super) struct Show {
    out: Output,
    config: Arc<Config>,
}

impl Show {
    /// To this output.
    pub(super) fn new(out: Output, config: Arc<Config>) -> Self {
        Self { out, config }
    }

    /// What is about to happen.
    pub(super) fn opening(&self, sandbox: &Sandbox, folder: &Path) -> anyhow::Result<()> {
        let line = |text: String| self.out.line(text);
        line(paint(BOLD, "A morning at Harbour Massage & Physiotherapy"))?;
        line(format!(
            "A pretend business at {}, with a Slack, an HTTP and a mail inbox, on this machine only.",
            sandbox.url()
        ))?;
        line(format!("Rules, templates and store are in {}.", folder.display()))?;
        line(paint(
            DIM,
            "The first webhook is answered 503, the first mail 451, the second Slack post 429: watch them being tried again.",
        ))?;
        line(String::new())?;
        Ok(())
    }

    /// Where the console is.
    pub(super) fn console(&self, address: SocketAddr) -> anyhow::Result<()> {
        self.out.line(format!(
            "{}  http://{address}/\n",
            paint(BOLD, "The console, to look at it all in a browser:")
        ))?;
        Ok(())
    }

    /// A message that the relay has taken in, and the rules that took it.
    pub(super) fn message(&self, stored: &StoredMessage) -> anyhow::Result<()> {
        let message = &stored.message;
        let time = self.clock(stored.seen_at);
        let label = catalog::label(&message.triple);
        self.out.line(format!("{time}  {}  {}", paint(BOLD, label), paint(DIM, &message.triple)))?;
        if stored.rules.is_empty() {
            self.out.line(paint(DIM, "          no rule takes it: nobody is told"))?;
        }
        for name in &stored.rules {
            let target = |deliver: &Deliver| {
                let digest = if deliver.timing.digest.is_some() { ", in a digest" } else { "" };
                format!("{}{digest}", deliver.target)
            };
            let targets: Vec<String> = self
                .config
                .rules
                .get(name)
                .map_or_else(Vec::new, |rule| rule.deliver.iter().map(target).collect());
            self.out.line(format!("          rule {} → {}", paint(GOOD, name), targets.join(", ")))?;
        }
        Ok(())
    }

    /// Something that reached an inbox.
    pub(super) fn arrival(&self, arrival: &Arrival) -> anyhow::Result<()> {
        let (what, target) = match arrival.inbox {
            At::Slack => ("Slack post", "front-desk"),
            At::Http => ("webhook", "crm"),
            At::Smtp => ("mail", "bookkeeper"),
            At::Api => ("request", "api"),
        };
        let time = self.clock(arrival.at);
        if !arrival.accepted {
            let status = arrival.status;
            let text = format!("{time}  ✗ {what} to {target}: answered {status}, the relay will try again");
            self.out.line(paint(WARN, text))?;
            return Ok(());
        }
        self.out.line(format!("{time}  {} {what} at {target}", paint(GOOD, "✓")))?;
        let lines = match arrival.inbox {
            At::Slack => slack(&arrival.body),
            At::Smtp => mail(arrival),
            At::Http | At::Api => json(&arrival.body),
        };
        let more = lines.len().saturating_sub(LINES_MAX);
        for line in lines.iter().take(LINES_MAX) {
            self.out.line(format!("          {} {}", paint(DIM, "│"), shortened(line)))?;
        }
        if more > 0 {
            self.out.line(paint(DIM, format!("          │ … {}", counted(more, "more line"))))?;
        }
        Ok(())
    }

    /// How it went, and where to look next.
    pub(super) fn closing(&self, score: &Score, folder: &Path, headless: bool) -> anyhow::Result<()> {
        let Score { messages, expected, delivered, duplicates, unexpected } = score;
        let missing = expected - delivered;
        // The demo goes on until all has arrived: where its time is over before, the rest may still come.
        let word = if missing == 0 { "lost" } else { "not yet" };
        let figures = format!(
            "{}, {} expected: {delivered} arrived, {missing} {word}, {}, {unexpected} unexpected",
            counted(*messages, "message"),
            counted(*expected, "delivery"),
            counted(*duplicates, "duplicate"),
        );
        let style = if score.is_perfect() { GOOD } else { BAD };
        self.out.line(format!("\n{}", paint(style, figures)))?;
        if !headless {
            let folder = folder.display();
            self.out.line(format!(
                "
Where to look next, in another terminal while this one runs:
  activity-relay --store sqlite://{folder}/relay.db deliveries list
  activity-relay --store sqlite://{folder}/relay.db status
  less {folder}/rules.yaml

With your own account:
  activity-relay init      writes rules.yaml and templates/
  activity-relay check     says whether they are right"
            ))?;
        }
        Ok(())
    }

    /// That it goes on until it is stopped.
    pub(super) fn waiting(&self) -> anyhow::Result<()> {
        self.out.line(format!("\n{}", paint(DIM, "Everything goes on running; Ctrl-C ends it.")))?;
        Ok(())
    }

    /// A moment in the business's zone.
    fn clock(&self, at: jiff::Timestamp) -> String {
        at.to_zoned(self.config.timezone.clone()).strftime("%H:%M:%S").to_string()
    }
}

/// A Slack post as text: the blocks' texts, or the plain text where there are none.
fn slack(body: &str) -> Vec<String> {
    let Ok(post) = serde_json::from_str::<Value>(body) else { return vec![body.to_owned()] };
    let mut lines = Vec::new();
    for block in post["blocks"].as_array().into_iter().flatten() {
        texts(block, &mut lines);
    }
    if lines.is_empty() {
        lines.extend(post["text"].as_str().unwrap_or_default().lines().map(str::to_owned));
    }
    lines
}

fn texts(value: &Value, lines: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            if let Some(text) = fields.get("text").and_then(Value::as_str) {
                lines
                    .extend(as_shown(text).lines().filter(|line| !line.trim().is_empty()).map(str::to_owned));
            }
            fields.values().for_each(|inner| texts(inner, lines));
        }
        Value::Array(items) => items.iter().for_each(|item| texts(item, lines)),
        _ => {}
    }
}

/// Slack's mrkdwn as Slack shows it: links by their label, escapes undone, a field's title before its value.
fn as_shown(text: &str) -> String {
    let mut shown = String::new();
    let mut rest = text;
    while let Some((before, link)) = rest.split_once('<') {
        let (link, after) = link.split_once('>').unwrap_or((link, ""));
        shown.push_str(before);
        shown.push_str(link.split_once('|').map_or(link, |(_, label)| label));
        rest = after;
    }
    shown.push_str(rest);
    let shown = shown.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    match shown.split_once("*\n") {
        Some((title, value)) if title.starts_with('*') && !value.contains('\n') => {
            format!("{}: {value}", title.trim_start_matches('*'))
        }
        _ => shown,
    }
}

fn mail(arrival: &Arrival) -> Vec<String> {
    let Some(mail) = &arrival.mail else { return Vec::new() };
    let mut lines = vec![format!("To: {}", mail.to), format!("Subject: {}", mail.subject)];
    lines.extend(mail.text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned));
    lines
}

fn json(body: &str) -> Vec<String> {
    let pretty = serde_json::from_str::<Value>(body).and_then(|value| serde_json::to_string_pretty(&value));
    pretty.map_or_else(|_| vec![body.to_owned()], |text| text.lines().map(str::to_owned).collect())
}

fn shortened(line: &str) -> String {
    if line.chars().count() <= COLUMNS_MAX {
        return line.to_owned();
    }
    line.chars().take(COLUMNS_MAX - 1).chain(['…']).collect()
}
