//! `deliveries show`: the story of one delivery.

use jiff::tz::TimeZone;

use super::state_style;
use crate::answers::deliveries::{Shown, Window, waits_for};
use crate::cli::output::{BOLD, DIM, paint};
use crate::cli::{Context, payload, when};
use crate::model::id::DeliveryId;

/// The story for people.
pub(super) fn text(shown: &Shown, zone: &TimeZone, context: &Context) -> anyhow::Result<()> {
    let (row, now) = (&shown.listed, context.clock.now());
    let moment = |at| format!("{} ({})", when::moment(at, zone), when::ago(at, now));
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
    if let Some(waits) = waits_for(row, now, zone) {
        fact("waits", waits)?;
    }
    if let Some(Window { from, to }) = row.window {
        fact("covers", format!("{} to {}", when::moment(from, zone), when::moment(to, zone)))?;
    }
    if row.throttled > 0 {
        fact("held back", format!("{} before it, as its rule's throttle says", row.throttled))?;
    }
    if let Some(instance) = &row.held_by {
        fact("sent by", format!("instance {instance}"))?;
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
    match shown.replayed_by.as_slice() {
        [] if row.replays > 0 => fact("replayed", "sent again as what is no longer kept".to_owned())?,
        [] => {}
        again => {
            let ids: Vec<&str> = again.iter().map(DeliveryId::as_str).collect();
            fact("replayed", format!("sent again as {}", ids.join(", ")))?;
        }
    }
    if let Some(good) = &row.resolved_by {
        fact("made good", format!("by {}, {}", good.message, moment(good.at)))?;
    }
    if row.maybe_duplicate {
        fact("note", "the target may have had it twice: an attempt ended without a clear answer".to_owned())?;
    }
    for (number, attempt) in shown.history.iter().enumerate() {
        let status = attempt.status.map_or(String::new(), |status| format!(" {status}"));
        let head = format!("{}. {}{status}", number + 1, attempt.outcome);
        let tail = format!("{}, {} ms", moment(attempt.at), attempt.latency_ms);
        context.out.line(format!("\n{} {}", paint(BOLD, head), paint(DIM, tail)))?;
        context.out.line(format!("   {}", attempt.reason))?;
        if let Some(answer) = attempt.answer.as_deref().filter(|answer| !answer.trim().is_empty()) {
            context.out.line(format!("   {} {}", paint(DIM, "answer"), answer.trim()))?;
        }
    }
    if let Some(of) = &shown.payload_type {
        context.out.line(format!("\n{}", paint(BOLD, "payload")))?;
        context.out.line(payload::in_words(&shown.payload, of)?)?;
    }
    Ok(())
}
