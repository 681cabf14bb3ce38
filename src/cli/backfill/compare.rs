//! What two rules files would have sent for the same messages, as a difference that a person can read.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;

use super::{Past, Side};
use crate::cli::output::{BAD, BOLD, DIM, GOOD, WARN, paint};
use crate::cli::{Context, Exit, Format, Stop, payload, when};
use crate::config::problem::count;
use crate::config::{self, Config, report};
use crate::daemon::door::Sent;
use crate::daemon::past::Period;
use crate::daemon::rehearsal::Rehearsal;
use crate::model::catalog;
use crate::model::settle::after_now;

/// How many messages a difference names.
const EXAMPLES_MAX: usize = 3;
/// Time for what waits at the period's end, such as the next digest.
const AFTERWARDS: std::time::Duration = std::time::Duration::from_hours(8 * 24);

/// Where something goes: a target and one of its recipients.
type To = (String, Option<String>);

/// What a rules file sends for one message to one address.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Told {
    rules: BTreeSet<String>,
    /// Of each delivery: when, and what.
    what: BTreeSet<(Timestamp, String)>,
}

type Outcome = BTreeMap<(String, To), Told>;

/// One line of the difference.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Change {
    /// `stops`, `adds`, `text`, `time`, `rule`, `repeats` or `repeats less`.
    #[serde(rename = "change")]
    kind: &'static str,
    rule: String,
    target: String,
    recipient: Option<String>,
    /// The message type, as `Type/message/direction`.
    message: String,
    count: usize,
    /// Uids of the first messages.
    messages: Vec<String>,
}

/// Runs the comparison.
pub(super) async fn run(
    other: &Path,
    rules: &[String],
    format: Format,
    messages: &[Past],
    (config, period): (Config, Period),
    context: &Context,
) -> anyhow::Result<Exit> {
    let loaded = config::load(other, &context.environment);
    let Some(other_config) = loaded.config else {
        context.out.note(report::render_text(&loaded.problems, &loaded.sources, true).trim_end())?;
        let (errors, _) = count(&loaded.problems);
        let text = format!("{} cannot be compared: it has {errors} errors", other.display());
        return Err(Stop::new(Exit::BadConfig, text));
    };
    let before = Side { name: context.global.config.display().to_string(), config: Arc::new(config) };
    let after = Side { name: other.display().to_string(), config: Arc::new(other_config) };
    let (old, new) = (outcome(&before, messages, period).await?, outcome(&after, messages, period).await?);
    let mut changes = changes(&old, &new, messages);
    if !rules.is_empty() {
        changes.retain(|change| rules.contains(&change.rule));
    }
    let deliveries = |outcome: &Outcome| outcome.values().map(|told| told.what.len()).sum::<usize>();
    let totals = (deliveries(&old), deliveries(&new));
    match format {
        Format::Json => context.out.json(&json!({
            "messages": messages.len(),
            "before": { "file": before.name, "deliveries": totals.0 },
            "after": { "file": after.name, "deliveries": totals.1 },
            "changes": changes,
        }))?,
        Format::Text => show(&changes, messages, (&before, &after), totals, context)?,
    }
    Ok(Exit::Fine)
}

/// Everything that a rules file sends for the messages, each at its own moment.
async fn outcome(side: &Side, messages: &[Past], period: Period) -> anyhow::Result<Outcome> {
    let start = messages.first().map_or(period.from, |past| past.message.created_at);
    let rehearsal = Rehearsal::new(side.config.clone(), start).await?;
    for past in messages {
        rehearsal.advance_to(past.message.created_at).await?;
        rehearsal.receive(past.message.clone(), &past.names).await?;
    }
    let end = messages.last().map_or(period.to, |past| past.message.created_at).max(period.to);
    rehearsal.advance_to(after_now(end, AFTERWARDS)).await?;
    let mut outcome = Outcome::new();
    for sent in rehearsal.sent() {
        let text = text(&sent, &side.config);
        for uid in &sent.messages {
            let key = (format!("{}/{uid}", sent.account), (sent.target.clone(), sent.recipient.clone()));
            let told =
                outcome.entry(key).or_insert_with(|| Told { rules: BTreeSet::new(), what: BTreeSet::new() });
            told.rules.insert(sent.rule.clone());
            told.what.insert((sent.at, text.clone()));
        }
    }
    Ok(outcome)
}

/// What is sent, without what only tells deliveries apart.
fn text(sent: &Sent, config: &Config) -> String {
    let target = config.targets.get(&sent.target).map(AsRef::as_ref);
    let text = payload::as_json(&sent.payload, target, sent.id.as_str()).to_string();
    text.replace(sent.id.as_str(), "")
}

fn changes(old: &Outcome, new: &Outcome, messages: &[Past]) -> Vec<Change> {
    let mut changes: Vec<Change> = Vec::new();
    for past in messages {
        let message = &past.message;
        let key = format!("{}/{}", message.account, message.uid);
        let of = |outcome: &Outcome| -> BTreeMap<To, Told> {
            let range = outcome.range((key.clone(), (String::new(), None))..);
            let own = range.take_while(|((uid, _), _)| *uid == key);
            own.map(|((_, to), told)| (to.clone(), told.clone())).collect()
        };
        let (old, new) = (of(old), of(new));
        for to in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
            let Some((change, rules)) = change(old.get(to), new.get(to)) else { continue };
            let (target, recipient) = to.clone();
            let (rule, triple) =
                (rules.iter().cloned().collect::<Vec<_>>().join(", "), message.triple.to_string());
            let same = |known: &&mut Change| {
                (known.kind, &known.rule, &known.target, &known.recipient, &known.message)
                    == (change, &rule, &target, &recipient, &triple)
            };
            match changes.iter_mut().find(same) {
                Some(known) => {
                    known.count += 1;
                    if known.messages.len() < EXAMPLES_MAX {
                        known.messages.push(message.uid.clone());
                    }
                }
                None => changes.push(Change {
                    kind: change,
                    rule,
                    target,
                    recipient,
                    message: triple,
                    count: 1,
                    messages: vec![message.uid.clone()],
                }),
            }
        }
    }
    changes.sort();
    changes
}

/// What changes for one message at one address, and by which rules.
fn change<'t>(old: Option<&'t Told>, new: Option<&'t Told>) -> Option<(&'static str, &'t BTreeSet<String>)> {
    match (old, new) {
        (None, None) => None,
        (Some(old), None) => Some(("stops", &old.rules)),
        (None, Some(new)) => Some(("adds", &new.rules)),
        (Some(old), Some(new)) => {
            let texts = |told: &Told| told.what.iter().map(|(_, text)| text.clone()).collect::<BTreeSet<_>>();
            let times = |told: &Told| told.what.iter().map(|(at, _)| *at).collect::<BTreeSet<_>>();
            if old.what.len() != new.what.len() {
                let more = old.what.len() < new.what.len();
                return Some((if more { "repeats" } else { "repeats less" }, &new.rules));
            }
            if times(old) != times(new) {
                return Some(("time", &new.rules));
            }
            if texts(old) != texts(new) {
                return Some(("text", &new.rules));
            }
            (old.rules != new.rules).then_some(("rule", &new.rules))
        }
    }
}

fn show(
    changes: &[Change],
    messages: &[Past],
    (before, after): (&Side, &Side),
    totals: (usize, usize),
    context: &Context,
) -> anyhow::Result<()> {
    let zone = when::zone(context);
    for change in changes {
        let to = change.recipient.as_ref().unwrap_or(&change.target);
        let triple = messages.iter().find(|past| past.message.triple.to_string() == change.message);
        let label =
            triple.map_or_else(|| change.message.clone(), |past| catalog::label(&past.message.triple));
        let (style, words) = words(change, &label, to);
        context.out.line(format!(
            "{} {}",
            paint(style, words),
            paint(DIM, format!("(rule {})", change.rule))
        ))?;
        for uid in &change.messages {
            let Some(past) = messages.iter().find(|past| past.message.uid == *uid) else { continue };
            let who = past.names.client.as_ref().and_then(|client| client.name.as_deref()).unwrap_or("");
            let at = when::moment(past.message.created_at, &zone);
            context.out.line(paint(DIM, format!("    {at}  {uid}  {who}").trim_end()))?;
        }
        let more = change.count - change.messages.len();
        if more > 0 {
            context.out.line(paint(DIM, format!("    and {more} more")))?;
        }
    }
    let verdict = if changes.is_empty() { "no difference" } else { "compared" };
    context.out.line(format!(
        "{}{}: {} messages; {} sends {} deliveries, {} sends {}. Nothing was written or sent",
        if changes.is_empty() { "" } else { "\n" },
        paint(BOLD, verdict),
        messages.len(),
        before.name,
        totals.0,
        after.name,
        totals.1
    ))?;
    Ok(())
}

fn words(change: &Change, label: &str, to: &str) -> (anstyle::Style, String) {
    let count = change.count;
    let what = format!("{count} × {label}");
    match change.kind {
        "stops" => (BAD, format!("- stops {what} to {to}")),
        "adds" => (GOOD, format!("+ adds {what} to {to}")),
        "text" => (WARN, format!("~ changes the text of {what} to {to}")),
        "time" => (WARN, format!("~ changes the time of {what} to {to}")),
        "rule" => (DIM, format!("~ sends {what} to {to} by another rule")),
        other => (WARN, format!("~ {other} {what} to {to}")),
    }
}
