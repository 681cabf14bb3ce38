//! `explain` for people.

use jiff::Timestamp;

use super::{Owed, Story, changed};
use crate::cli::output::{BAD, BOLD, DIM, GOOD, WARN, paint};
use crate::cli::status::{Standing, standing};
use crate::cli::{Context, when};
use crate::config::Config;
use crate::model::catalog;
use crate::model::delivery::{Planned, StateName};
use crate::model::mute::Mute;
use crate::rules::evaluate::Evaluation;
use crate::store::{Detail, Row, TargetState};

/// The whole story.
pub(super) fn text(story: &Story<'_>, config: &Config, context: &Context) -> anyhow::Result<()> {
    let now = context.clock.now();
    let moment = |at: Timestamp| format!("{} ({})", when::moment(at, &config.timezone), when::ago(at, now));
    message(story, context, &moment)?;
    context.out.line(format!("\n{}", paint(BOLD, "Rules")))?;
    for verdict in &story.verdicts {
        rule(verdict, Mute::of(&story.mutes, verdict.rule, now), config, context, &moment)?;
    }
    if story.verdicts.is_empty() {
        context.out.line(paint(DIM, "  the rules file has none"))?;
    }
    differences(story, context)?;
    context.out.line("")?;
    match &story.owed {
        Owed::Is(details) => {
            context.out.line(paint(BOLD, "Deliveries"))?;
            if details.is_empty() {
                context.out.line(paint(DIM, "  none: nothing was owed for it, or it is no longer kept"))?;
            }
            details.iter().try_for_each(|detail| delivery(detail, &story.targets, context, &moment, now))
        }
        Owed::Would(planned) => {
            context.out.line(paint(BOLD, "If it came now"))?;
            if planned.is_empty() {
                context.out.line(paint(DIM, "  nothing would be delivered"))?;
            }
            planned.iter().try_for_each(|owed| would(owed, &story.targets, context, &moment, now))
        }
    }
}

type Moment<'m> = &'m dyn Fn(Timestamp) -> String;

fn message(story: &Story<'_>, context: &Context, moment: Moment<'_>) -> anyhow::Result<()> {
    let message = &story.message;
    context.out.line(format!(
        "{}  {}",
        paint(BOLD, catalog::label(&message.triple)),
        paint(DIM, &message.triple)
    ))?;
    if story.stored.is_none() && catalog::find(&message.triple).is_none() {
        let note =
            "  the catalogue does not know this type; `activity-relay catalog` lists those that it knows";
        context.out.line(paint(WARN, note))?;
    }
    let fact = |name: &str, value: String| {
        context.out.line(format!("  {} {value}", paint(DIM, format!("{name:<8}"))))
    };
    if story.stored.is_some() {
        fact("uid", message.uid.clone())?;
    }
    fact("account", message.account.clone())?;
    if let Some(client) = &story.names.client {
        fact("client", client.name.clone().unwrap_or_else(|| client.uid.clone()))?;
    }
    if let Some(staff) = &story.names.staff {
        fact("staff", staff.name.clone().unwrap_or_else(|| staff.uid.clone()))?;
    }
    if !message.subject.is_empty() {
        fact("subject", message.subject.split_whitespace().collect::<Vec<_>>().join(" "))?;
    }
    if let Some(stored) = &story.stored {
        fact("made", moment(message.created_at))?;
        fact("seen", moment(stored.seen_at))?;
    }
    Ok(())
}

fn rule(
    verdict: &Evaluation<'_>,
    mute: Option<&Mute>,
    config: &Config,
    context: &Context,
    moment: Moment<'_>,
) -> anyhow::Result<()> {
    let (style, mark) = if verdict.matched { (GOOD, "✓") } else { (DIM, "✗") };
    let place = &verdict.place;
    let place = format!("{}:{}:{}", place.file, place.line, place.column);
    context.out.line(format!("  {} {}  {}", paint(style, mark), verdict.rule, paint(DIM, place)))?;
    context.out.line(format!("      {}", verdict.reason))?;
    if let Some(owner) = config.rules.get(verdict.rule).and_then(|rule| rule.owner.as_deref()) {
        context.out.line(format!("      {}", paint(DIM, format!("owner: {owner}"))))?;
    }
    if let Some(mute) = mute {
        let text = format!("muted until {}: {} (mute {})", moment(mute.until), mute.reason, mute.id);
        context.out.line(format!("      {}", paint(WARN, text)))?;
    }
    Ok(())
}

/// Says where the rules have changed since the message came.
fn differences(story: &Story<'_>, context: &Context) -> anyhow::Result<()> {
    let (gained, lost) = changed(story);
    if !gained.is_empty() {
        let text = format!(
            "today's rules would take it by {}, which did not when it came; `activity-relay backfill` sends it after all",
            gained.join(", ")
        );
        context.out.line(format!("  {}", paint(WARN, text)))?;
    }
    if !lost.is_empty() {
        let text = format!("when it came it was taken by {}, which would not take it today", lost.join(", "));
        context.out.line(format!("  {}", paint(WARN, text)))?;
    }
    Ok(())
}

fn to(rule: &str, target: &str, recipient: Option<&str>) -> String {
    let recipient = recipient.map_or_else(String::new, |who| format!(" ({who})"));
    format!("{rule} → {target}{recipient}")
}

fn delivery(
    detail: &Detail,
    targets: &[TargetState],
    context: &Context,
    moment: Moment<'_>,
    now: Timestamp,
) -> anyhow::Result<()> {
    let row = &detail.row;
    let state = paint(super::super::deliveries::state_style(row.state), row.state);
    let to = to(&row.rule, &row.target, row.recipient.as_deref());
    context.out.line(format!("  {to}  {state}  {}", paint(DIM, &row.id)))?;
    if let Some(of) = &row.replay_of {
        context.out.line(format!("      replays {of}"))?;
    }
    if row.messages.len() > 1 {
        context.out.line(format!("      together with {} other messages", row.messages.len() - 1))?;
    }
    for (number, attempt) in detail.history.iter().enumerate() {
        let status = attempt.status.map_or(String::new(), |status| format!(" {status}"));
        context.out.line(format!(
            "      {}. {}{status}, {} ms, {}: {}",
            number + 1,
            attempt.outcome,
            attempt.latency_ms,
            moment(attempt.at),
            attempt.reason
        ))?;
        if let Some(answer) = attempt.answer.as_deref().filter(|answer| !answer.trim().is_empty()) {
            let answer = crate::cli::table::short(answer, 200);
            context.out.line(format!("         {}", paint(DIM, format!("answer: {answer}"))))?;
        }
    }
    if row.maybe_duplicate {
        let note = "the target may have had it twice: an attempt ended without a clear answer";
        context.out.line(format!("      {}", paint(WARN, note)))?;
    }
    if let Some(next) = next(row, targets, moment, now) {
        context.out.line(format!("      {next}"))?;
    }
    Ok(())
}

/// What will happen next, or why nothing will.
fn next(row: &Row, targets: &[TargetState], moment: Moment<'_>, now: Timestamp) -> Option<String> {
    let why = row.why.as_deref().unwrap_or("no reason was kept");
    let replay = format!("activity-relay deliveries replay {}", row.id);
    Some(match row.state {
        StateName::Delivered => return None,
        StateName::Sending => match row.due_at {
            Some(end) => {
                format!("is being sent; if nothing comes of it, it is due again {}", when::ago(end, now))
            }
            None => "is being sent".to_owned(),
        },
        StateName::Pending => pending(&row.target, row.due_at, targets, moment, now),
        StateName::Dead => format!("given up: {why}. To send it again: {replay}"),
        StateName::Expired => format!("too old to be sent: {why}. To send it all the same: {replay}"),
        StateName::Withheld => format!("withheld: {why}. To send it all the same: {replay}"),
        StateName::Discarded => format!("discarded by a person. To send it all the same: {replay}"),
    })
}

/// Why something that is owed is not sent at this moment.
fn pending(
    target: &str,
    due: Option<Timestamp>,
    targets: &[TargetState],
    moment: Moment<'_>,
    now: Timestamp,
) -> String {
    let state = targets.iter().find(|state| state.name == target);
    let Standing { state, until, reason } = standing(state, now);
    let reason = reason.map_or(String::new(), |reason| format!(": {reason}"));
    let until = until.map_or(String::new(), |until| format!(", next try {}", moment(until)));
    if state != "ready" {
        return format!(
            "waits for its target, which is {state}{until}{reason}. At once: activity-relay targets resume {target}"
        );
    }
    match due {
        Some(due) if due > now => format!("due {}", moment(due)),
        _ => "due now: a running relay sends it at once".to_owned(),
    }
}

fn would(
    owed: &Planned,
    targets: &[TargetState],
    context: &Context,
    moment: Moment<'_>,
    now: Timestamp,
) -> anyhow::Result<()> {
    let to = to(&owed.rule, &owed.target, owed.recipient.as_deref());
    context.out.line(format!("  {to}  {}", paint(DIM, format!("template {}", owed.template))))?;
    if let Some(why) = &owed.withheld {
        context.out.line(format!("      {}", paint(BAD, format!("withheld: {why}"))))?;
        return Ok(());
    }
    context.out.line(format!("      {}", pending(&owed.target, Some(owed.due_at), targets, moment, now)))?;
    if let Some(end) = owed.expires_at {
        context.out.line(format!("      expires {}", moment(end)))?;
    }
    Ok(())
}
