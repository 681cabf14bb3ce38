//! What two rules files would have sent for the same messages, as a difference that a person can read.

mod difference;

use std::path::Path;
use std::sync::Arc;

use anstyle::Style;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::{Args, Past};
use crate::cli::output::{BAD, BOLD, DIM, GOOD, WARN, counted, paint};
use crate::cli::table::short;
use crate::cli::{Context, Exit, Format, Stop, payload, when};
use crate::config::problem::count;
use crate::config::{self, Config, report};
use crate::daemon::door::Sent;
use crate::daemon::past::Period;
use crate::daemon::rehearsal::Rehearsal;
use crate::model::catalog;
use crate::model::settle::after_now;
use difference::{Change, Kind, Outcome, Sending, To, changes};

/// Time for what waits at the period's end, such as the next digest.
const AFTERWARDS: std::time::Duration = std::time::Duration::from_hours(8 * 24);
/// What is sent within so many seconds is sent at once.
const AT_ONCE_SECONDS: i64 = 60;
/// So much is shown of a text that differs.
const TEXT_CHARS_MAX: usize = 66;

/// A configuration that is compared, and the name people gave it.
pub(super) struct Side {
    name: String,
    /// What it says.
    pub(super) config: Arc<Config>,
}

impl Side {
    /// The other file.
    ///
    /// # Errors
    /// It has errors; they are shown.
    pub(super) fn load(path: &Path, context: &Context) -> anyhow::Result<Self> {
        let loaded = config::load(path, &context.environment);
        let name = path.display().to_string();
        let Some(config) = loaded.config else {
            context.out.note(report::render_text(&loaded.problems, &loaded.sources, true).trim_end())?;
            let (errors, _) = count(&loaded.problems);
            let errors = if errors == 1 { "one error".to_owned() } else { format!("{errors} errors") };
            return Err(Stop::new(Exit::BadConfig, format!("{name} cannot be compared: it has {errors}")));
        };
        Ok(Self { name, config: Arc::new(config) })
    }
}

/// Runs the comparison.
pub(super) async fn run(
    args: &Args,
    past: &[Past],
    (config, after): (Config, Side),
    period: Period,
    context: &Context,
) -> anyhow::Result<Exit> {
    let before = Side { name: context.global.config.display().to_string(), config: Arc::new(config) };
    let (old, old_count) = outcome(&before, past, period).await?;
    let (new, new_count) = outcome(&after, past, period).await?;
    let mut changes = changes(&old, &new, past);
    if !args.rule.is_empty() {
        changes.retain(|change| change.concerns(&args.rule));
    }
    match args.format {
        Format::Json => context.out.json(&json!({
            "messages": past.len(),
            "before": { "file": before.name, "deliveries": old_count },
            "after": { "file": after.name, "deliveries": new_count },
            "changes": changes,
        }))?,
        Format::Text => {
            changes.iter().try_for_each(|change| show(change, past, &before.config.timezone, context))?;
            let verdict = if changes.is_empty() { "no difference" } else { "\ncompared" };
            context.out.line(format!(
                "{} over {}: {} sends {}, {} sends {}; nothing was written or sent",
                paint(BOLD, verdict),
                counted(past.len(), "message"),
                before.name,
                counted(old_count, "delivery"),
                after.name,
                counted(new_count, "delivery"),
            ))?;
        }
    }
    let differ = args.exit_code && !changes.is_empty();
    Ok(if differ { Exit::Problem } else { Exit::Fine })
}

/// Everything that a rules file sends for the messages, each taken in at its own moment; and how many deliveries that is.
async fn outcome(side: &Side, past: &[Past], period: Period) -> anyhow::Result<(Outcome, usize)> {
    let start = past.first().map_or(period.from, |past| past.message.created_at);
    let rehearsal = Rehearsal::new(side.config.clone(), start).await?;
    for one in past {
        rehearsal.advance_to(one.message.created_at).await?;
        rehearsal.receive(one.message.clone(), &one.names).await?;
    }
    let end = past.last().map_or(period.to, |past| past.message.created_at).max(period.to);
    rehearsal.advance_to(after_now(end, AFTERWARDS)).await?;
    let mut outcome = Outcome::new();
    let sent: Vec<Sent> = rehearsal.sent().into_iter().filter(|sent| !sent.messages.is_empty()).collect();
    for one in &sent {
        let sending = Sending {
            to: To { target: one.target.clone(), recipient: one.recipient.clone() },
            rule: one.rule.clone(),
            at: one.at,
            content: content(one, &side.config),
        };
        for uid in &one.messages {
            outcome.entry((one.account.clone(), uid.clone())).or_default().push(sending.clone());
        }
    }
    Ok((outcome, sent.len()))
}

/// What is sent, without what only tells deliveries apart: its id, and a name of its rule that stands alone.
fn content(sent: &Sent, config: &Config) -> Value {
    fn blank(value: &mut Value, id: &str, rule: &str) {
        match value {
            Value::String(text) if text == rule => text.clear(),
            Value::String(text) if text.contains(id) => *text = text.replace(id, ""),
            Value::Array(list) => list.iter_mut().for_each(|one| blank(one, id, rule)),
            Value::Object(map) => map.values_mut().for_each(|one| blank(one, id, rule)),
            _ => {}
        }
    }
    let target = config.targets.get(&sent.target).map(AsRef::as_ref);
    let mut content = payload::as_json(&sent.payload, target, sent.id.as_str());
    blank(&mut content, sent.id.as_str(), &sent.rule);
    content
}

fn show(change: &Change, past: &[Past], zone: &TimeZone, context: &Context) -> anyhow::Result<()> {
    let find = |uid: &String| past.iter().find(|past| past.message.uid == *uid);
    let first = change.messages.first().and_then(find);
    let label = first.filter(|_| change.message.is_some());
    let what = match label {
        Some(past) => format!("{} × {}", change.count, catalog::label(&past.message.triple)),
        None => counted(change.count, "delivery"),
    };
    let (style, words) = words(change, &what);
    let details = details(change, first, zone);
    let rule = match &change.rule_before {
        Some(before) => format!("(rule {}, before: {before})", change.rule),
        None => format!("(rule {})", change.rule),
    };
    context.out.line(format!("{}{details} {}", paint(style, words), paint(DIM, rule)))?;
    if let (Kind::Text, Some(was), Some(now)) = (change.kind, &change.was, &change.now) {
        let line = |name: &str, text: &str| format!("    {name}: {}", short(text, TEXT_CHARS_MAX));
        context.out.line(paint(BAD, line("was", was)))?;
        context.out.line(paint(GOOD, line("now", now)))?;
    }
    for past in change.messages.iter().filter_map(find) {
        let who = past.names.client.as_ref().and_then(|client| client.name.as_deref()).unwrap_or("");
        let (at, uid) = (when::moment(past.message.created_at, zone), &past.message.uid);
        context.out.line(paint(DIM, format!("    {at}  {uid}  {who}").trim_end()))?;
    }
    let more = change.count - change.messages.len();
    if more > 0 {
        context.out.line(paint(DIM, format!("    and {more} more")))?;
    }
    Ok(())
}

fn words(change: &Change, what: &str) -> (Style, String) {
    let name = |to: &To| to.recipient.clone().unwrap_or_else(|| to.target.clone());
    let to = name(&change.to);
    match change.kind {
        Kind::Stops => (BAD, format!("- stops {what} to {to}")),
        Kind::Adds => (GOOD, format!("+ adds {what} to {to}")),
        Kind::Moves => {
            let from = change.before.as_ref().map(name).unwrap_or_default();
            (WARN, format!("~ moves {what} from {from} to {to}"))
        }
        Kind::Later => (WARN, format!("~ sends {what} to {to} later")),
        Kind::Earlier => (WARN, format!("~ sends {what} to {to} earlier")),
        Kind::Text => (WARN, format!("~ changes the text of {what} to {to}")),
        Kind::Rule => (DIM, format!("~ sends {what} to {to} by another rule")),
    }
}

/// When the first of them is sent and was.
fn details(change: &Change, first: Option<&Past>, zone: &TimeZone) -> String {
    let (Kind::Later | Kind::Earlier, Some(past)) = (change.kind, first) else { return String::new() };
    let said = |at: &Option<String>| {
        let at: Option<Timestamp> = at.as_deref().and_then(|at| at.parse().ok());
        at.map(|at| {
            let wait = at.duration_since(past.message.created_at).as_secs();
            if wait < AT_ONCE_SECONDS { "at once".to_owned() } else { when::moment(at, zone) }
        })
    };
    match (said(&change.now), said(&change.was)) {
        (Some(now), Some(was)) => format!(" ({now} instead of {was})"),
        _ => String::new(),
    }
}
