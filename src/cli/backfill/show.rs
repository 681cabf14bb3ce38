//! What a backfill would send, for people and for programs.

use std::collections::BTreeMap;

use serde_json::json;

use super::{Owing, Plan};
use crate::cli::output::{BOLD, DIM, counted, paint};
use crate::cli::table::short;
use crate::cli::{Context, Format, payload, subject, when};
use crate::config::Config;
use crate::model::catalog;
use crate::model::delivery::{Planned, StateName};

/// As text, so many are shown one by one.
const SHOWN_MAX: usize = 50;
/// So much is shown of a rendered text where no terminal says how wide it is.
const TEXT_CHARS_MAX: usize = 80;

/// Prints what would be sent; nothing is written.
pub(super) fn dry_run(plan: &Plan, config: &Config, format: Format, context: &Context) -> anyhow::Result<()> {
    if format == Format::Json {
        for (owing, planned) in plan.deliveries() {
            context.out.json(&json!({
                "rule": planned.rule, "target": planned.target, "recipient": planned.recipient,
                "template": planned.template, "account": planned.account, "messages": planned.messages,
                "message": owing.message.triple.to_string(), "created_at": owing.message.created_at,
                "text": first_line(owing, planned, config, context),
            }))?;
        }
        return Ok(());
    }
    let chars_max = context.out.width().unwrap_or(TEXT_CHARS_MAX).saturating_sub(4);
    for (owing, planned) in plan.deliveries().take(SHOWN_MAX) {
        let who = owing.names.client.as_ref().and_then(|client| client.name.as_deref());
        let who = who.map_or(String::new(), |name| format!(", {name}"));
        let recipient = planned.recipient.as_ref().map_or(String::new(), |to| format!(" ({to})"));
        context.out.line(format!(
            "{}  {}{who}\n    {} → {}{recipient}\n    {}",
            paint(DIM, when::moment(owing.message.created_at, &config.timezone)),
            paint(BOLD, catalog::label(&owing.message.triple)),
            planned.rule,
            planned.target,
            paint(DIM, short(&first_line(owing, planned, config, context), chars_max)),
        ))?;
    }
    let count = plan.deliveries().count();
    if count > SHOWN_MAX {
        context.out.line(paint(DIM, format!("{} more; --format json has all of them", count - SHOWN_MAX)))?;
    }
    let text = format!(
        "would send {}{}{}; nothing was written",
        counted(count, "delivery"),
        to_whom(plan),
        before(plan)
    );
    context.out.note(text)?;
    Ok(())
}

/// The beginning of what the target would be given.
fn first_line(owing: &Owing, planned: &Planned, config: &Config, context: &Context) -> String {
    let Some(target) = config.targets.get(&planned.target) else { return String::new() };
    let (message, names) = (owing.message.clone(), owing.names.clone());
    let of = (planned.id.clone(), planned.rule.as_str(), planned.target.as_str());
    let view = subject::view(config, message, names, of, context.clock.now());
    payload::first_line(&config.templates.render(&planned.template, target.format(), &view).payload)
}

/// How many go to which target, in brackets.
pub(super) fn to_whom(plan: &Plan) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for (_, planned) in plan.deliveries() {
        *counts.entry(planned.target.as_str()).or_default() += 1;
    }
    if counts.is_empty() {
        return String::new();
    }
    let counts: Vec<String> =
        counts.into_iter().map(|(target, count)| format!("{count} to {target}")).collect();
    format!(" ({})", counts.join(", "))
}

/// How many are not sent because they were owed before, and what helps where they did not arrive.
pub(super) fn before(plan: &Plan) -> String {
    if plan.before.is_empty() {
        return String::new();
    }
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for state in &plan.before {
        *counts.entry(state.to_string()).or_default() += 1;
    }
    let counts: Vec<String> = counts.into_iter().map(|(state, count)| format!("{count} {state}")).collect();
    let lost = [StateName::Withheld, StateName::Dead, StateName::Expired, StateName::Discarded];
    let help = if plan.before.iter().any(|state| lost.contains(state)) {
        "; `activity-relay deliveries replay` sends what did not arrive"
    } else {
        ""
    };
    format!("; {} owed before ({}){help}", counted(plan.before.len(), "delivery"), counts.join(", "))
}
