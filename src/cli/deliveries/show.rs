//! `deliveries show`: the story of one delivery.

use serde_json::{Map, Value, json};

use super::{Listed, state_style};
use crate::cli::output::{BOLD, DIM, paint};
use crate::cli::{Context, when};
use crate::model::payload::Payload;
use crate::store::Detail;

/// The list's object with `payload` and `history` behind it.
pub(super) fn json(detail: &Detail) -> anyhow::Result<Map<String, Value>> {
    let mut object = match serde_json::to_value(Listed::of(&detail.row))? {
        Value::Object(object) => object,
        other => Map::from_iter([("delivery".to_owned(), other)]),
    };
    object.insert("payload".to_owned(), detail.payload.as_ref().map_or(Value::Null, payload));
    object.insert("history".to_owned(), serde_json::to_value(&detail.history)?);
    Ok(object)
}

/// A payload as `render` shows it: the JSON body, or the parts of the mail.
fn payload(payload: &Payload) -> Value {
    match payload {
        Payload::Slack(body) => body.clone(),
        Payload::Http(body) => serde_json::from_str(&body.body).unwrap_or_else(|_| json!(body.body)),
        Payload::Email(mail) => json!({
            "subject": mail.subject, "text": mail.text, "html": mail.html, "headers": {},
        }),
    }
}

/// The story for people.
pub(super) fn text(detail: &Detail, context: &Context) -> anyhow::Result<()> {
    let row = &detail.row;
    let (zone, now) = (when::zone(context), context.clock.now());
    let moment = |at| format!("{} ({})", when::moment(at, &zone), when::ago(at, now));
    let to = row.recipient.as_ref().map_or_else(|| row.target.clone(), |to| format!("{} ({to})", row.target));
    let fact = |name: &str, value: String| {
        context.out.line(format!("  {} {value}", paint(DIM, format!("{name:<9}"))))
    };
    context.out.line(format!("{} {}", paint(BOLD, &row.id), paint(state_style(row.state), row.state)))?;
    fact("rule", row.rule.clone())?;
    fact("target", to)?;
    fact("account", row.account.clone())?;
    match &row.notice {
        Some(notice) => fact("notice", notice.subject.clone())?,
        None => fact("messages", row.messages.join(", "))?,
    }
    fact("template", row.template.clone())?;
    fact("planned", moment(row.created_at))?;
    if let Some(due) = row.due_at {
        fact("due", moment(due))?;
    }
    if let Some(settled) = row.settled_at {
        fact("ended", moment(settled))?;
    }
    if let Some(why) = &row.why {
        fact("why", why.clone())?;
    }
    if let Some(of) = &row.replay_of {
        fact("replays", of.to_string())?;
    }
    if row.maybe_duplicate {
        fact("note", "the target may have had it twice: an attempt ended without a clear answer".to_owned())?;
    }
    for (number, attempt) in detail.history.iter().enumerate() {
        let status = attempt.status.map_or(String::new(), |status| format!(" {status}"));
        let head = format!("{}. {}{status}", number + 1, attempt.outcome);
        let tail = format!("{}, {} ms", moment(attempt.at), attempt.latency_ms);
        context.out.line(format!("\n{} {}", paint(BOLD, head), paint(DIM, tail)))?;
        context.out.line(format!("   {}", attempt.reason))?;
        if let Some(answer) = attempt.answer.as_deref().filter(|answer| !answer.trim().is_empty()) {
            context.out.line(format!("   {} {}", paint(DIM, "answer"), answer.trim()))?;
        }
    }
    if let Some(sent) = &detail.payload {
        context.out.line(format!("\n{}", paint(BOLD, "payload")))?;
        context.out.line(serde_json::to_string_pretty(&payload(sent))?)?;
    }
    Ok(())
}
