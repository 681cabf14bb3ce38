//! `backfill`: takes the messages of a period again for chosen rules, or compares what two rules files make of them.

mod compare;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::json;

use crate::config::Config;
use crate::daemon::{names, past};
use crate::model::catalog;
use crate::model::delivery::Planned;
use crate::model::message::Message;
use crate::model::mute::Mute;
use crate::model::names::Names;
use crate::rules::evaluate::matching;
use crate::rules::plan::plan;
use crate::source;
use crate::store::{Admission, Admitted, Store};

use super::output::{BOLD, DIM, WARN, paint};
use super::{Context, Exit, Format, Stop, mute, when};

/// More deliveries than this are only planned by somebody who says that it is meant.
const UNASKED_MAX: usize = 50;
/// As text, so many are shown one by one.
const SHOWN_MAX: usize = 50;
/// Deliveries that are planned in one transaction.
const BATCH: usize = 200;

/// What stands below the options.
const AFTER_HELP: &str = "\
The messages are those that the store remembers; --fetch asks the API for them instead, read ones as well. What a rule \
has owed for a message before is not owed again: a second backfill sends nothing twice. `expires_after` does not hold \
for what is sent late on purpose.

Examples:
  activity-relay backfill --rule payment-failures --since 7d --dry-run
  activity-relay backfill --rule payment-failures --since 2026-11-01T00:00:00Z --until 2026-11-08T00:00:00Z
  activity-relay backfill --since 30d --compare rules.new.yaml";

/// Take the messages of a period again for chosen rules, or compare two rules files over them
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// The rules to plan for; several may be given
    #[arg(long, value_name = "RULE", required_unless_present = "compare")]
    rule: Vec<String>,
    /// Messages made since: 24h, 7d, or 2026-03-02T08:00:00Z
    #[arg(long, value_name = "TIME")]
    since: String,
    /// Messages made before [default: now]
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Only those of this account
    #[arg(long, value_name = "NAME")]
    account: Option<String>,
    /// Ask the API for the messages instead of the store
    #[arg(long)]
    fetch: bool,
    /// Show what would be sent, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Plan more than 50 deliveries
    #[arg(long)]
    yes: bool,
    /// Show what another rules file would have sent otherwise; nothing is sent or written
    #[arg(long, value_name = "FILE", conflicts_with_all = ["dry_run", "yes"])]
    compare: Option<PathBuf>,
    /// For people or for programs
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
}

/// A message of the period, with what is known of its people.
#[derive(Debug, Clone)]
struct Past {
    message: Message,
    names: Names,
}

/// Runs the command.
///
/// # Errors
/// A bad rules file, an unknown rule or account, an API that cannot be asked, a store that cannot be written.
pub async fn run(args: &Args, context: &mut Context) -> anyhow::Result<Exit> {
    let config = context.config()?;
    for rule in &args.rule {
        if config.rules.get(rule).is_none() {
            return Err(mute::unknown_rule(rule, config.rules.list().iter().map(|rule| rule.name.as_str())));
        }
    }
    let now = context.clock.now();
    let period = period(args, now)?;
    let store = context.existing_store().await?;
    let messages = history(args, &config, &store, period, context).await?;
    if let Some(other) = &args.compare {
        return compare::run(other, &args.rule, args.format, &messages, (config, period), context).await;
    }
    let mutes = store.mutes(now).await?;
    if let Some(mute) =
        args.rule.iter().find_map(|rule| Mute::of(&mutes, rule, now)).filter(|_| !args.dry_run)
    {
        let lift = format!("`activity-relay mute lift {}` ends that", mute.id);
        return Err(Stop::new(Exit::Problem, format!("nothing is sent: {}; {lift}", mute.why())));
    }
    let (owed, known) = owed(&args.rule, &config, &store, messages, now).await?;
    if args.dry_run {
        return dry_run(&owed, known, args.format, context);
    }
    if owed.len() > UNASKED_MAX && !args.yes {
        let to = by_target(&owed).into_iter().map(|(target, count)| format!("{count} to {target}"));
        let to = to.collect::<Vec<_>>().join(", ");
        let text = format!(
            "this would send {} deliveries ({to}). --dry-run shows them; --yes says that it is meant",
            owed.len()
        );
        return Err(Stop::new(Exit::Problem, text));
    }
    let planned = send(&context.store().await?, &owed, now).await?;
    match args.format {
        Format::Json => context.out.json(&json!({ "planned": planned, "owed_before": known }))?,
        Format::Text => {
            let before = if known > 0 {
                format!("; {known} were owed before and are left as they are")
            } else {
                String::new()
            };
            context.out.line(format!("{planned} planned{before}; a running relay sends them at once"))?;
        }
    }
    Ok(Exit::Fine)
}

fn period(args: &Args, now: Timestamp) -> anyhow::Result<past::Period> {
    let moment = |option: &str, text: &str| {
        when::since(text, now).map_err(|error| Stop::new(Exit::Usage, format!("{option}: {error}")))
    };
    let from = moment("--since", &args.since)?;
    let to = args.until.as_deref().map_or(Ok(now), |text| moment("--until", text))?;
    if to <= from {
        return Err(Stop::new(Exit::Usage, "--until is not later than --since: the period is empty"));
    }
    Ok(past::Period { from, to })
}

/// The period's messages of all accounts asked for, in order of their making.
async fn history(
    args: &Args,
    config: &Config,
    store: &Store,
    period: past::Period,
    context: &Context,
) -> anyhow::Result<Vec<Past>> {
    let wanted = args.account.as_deref();
    let accounts = config.accounts.iter().filter(|account| wanted.is_none_or(|name| name == account.name));
    let accounts: Vec<_> = accounts.collect();
    if let (true, Some(name)) = (accounts.is_empty(), wanted) {
        let known: Vec<&str> = config.accounts.iter().map(|account| account.name.as_str()).collect();
        let text = format!("there is no account `{name}`; there are: {}", known.join(", "));
        return Err(Stop::new(Exit::Usage, text));
    }
    let mut found = Vec::new();
    for account in accounts {
        if args.fetch {
            let asked = past::fetched(account, &source::http::egress(), period, context.clock.now()).await;
            let (messages, unreadable) = asked.map_err(|error| {
                Stop::new(Exit::Unavailable, format!("account {} cannot be asked: {error}", account.name))
            })?;
            if unreadable > 0 {
                context.out.note(format!(
                    "{unreadable} messages of {} cannot be read and are left out",
                    account.name
                ))?;
            }
            found.extend(messages);
        } else {
            found.extend(past::stored(store, &account.name, period).await?);
        }
    }
    found.sort_by(|a, b| (a.created_at, &a.uid).cmp(&(b.created_at, &b.uid)));
    if found.is_empty() && !args.fetch {
        context
            .out
            .note(paint(WARN, "the store has no messages of that period; --fetch asks the API for them"))?;
    }
    let mut past = Vec::with_capacity(found.len());
    for message in found {
        past.push(Past { names: names::stored(store, &message).await, message });
    }
    Ok(past)
}

/// A message with what the chosen rules owe for it.
struct Owing {
    message: Message,
    names: Names,
    planned: Vec<Planned>,
}

/// What the chosen rules owe that was never owed before, and how many deliveries were.
async fn owed(
    rules: &[String],
    config: &Config,
    store: &Store,
    messages: Vec<Past>,
    now: Timestamp,
) -> anyhow::Result<(Vec<Owing>, usize)> {
    let (mut owed, mut known) = (Vec::new(), 0);
    for Past { message, names } in messages {
        let mut found = matching(&config.rules, &message, &names);
        found.retain(|rule| rules.contains(&rule.name));
        let mut planned = Vec::new();
        for one in plan(&found, &message, &[], now) {
            if store.delivery(&one.id).await?.is_some() {
                known += 1;
            } else {
                planned.push(Planned { expires_at: None, ..one });
            }
        }
        if !planned.is_empty() {
            owed.push(Owing { message, names, planned });
        }
    }
    Ok((owed, known))
}

fn all(owed: &[Owing]) -> impl Iterator<Item = (&Owing, &Planned)> {
    owed.iter().flat_map(|owing| owing.planned.iter().map(move |planned| (owing, planned)))
}

fn by_target(owed: &[Owing]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for (_, planned) in all(owed) {
        *counts.entry(planned.target.as_str()).or_default() += 1;
    }
    counts
}

fn dry_run(owed: &[Owing], known: usize, format: Format, context: &Context) -> anyhow::Result<Exit> {
    if format == Format::Json {
        for (owing, planned) in all(owed) {
            context.out.json(&json!({
                "rule": planned.rule, "target": planned.target, "recipient": planned.recipient,
                "template": planned.template, "account": planned.account, "messages": planned.messages,
                "message": owing.message.triple.to_string(), "created_at": owing.message.created_at,
            }))?;
        }
        return Ok(Exit::Fine);
    }
    let zone = when::zone(context);
    for (owing, planned) in all(owed).take(SHOWN_MAX) {
        let who = owing.names.client.as_ref().and_then(|client| client.name.as_deref());
        let who = who.map_or(String::new(), |name| format!(", {name}"));
        let recipient = planned.recipient.as_ref().map_or(String::new(), |to| format!(" ({to})"));
        context.out.line(format!(
            "{}  {}{who}\n    {} → {}{recipient}",
            paint(DIM, when::moment(owing.message.created_at, &zone)),
            paint(BOLD, catalog::label(&owing.message.triple)),
            planned.rule,
            planned.target
        ))?;
    }
    let count = all(owed).count();
    if count > SHOWN_MAX {
        context.out.line(paint(DIM, format!("{} more; --format json has all of them", count - SHOWN_MAX)))?;
    }
    let to = by_target(owed).into_iter().map(|(target, count)| format!("{count} to {target}"));
    let to = to.collect::<Vec<_>>().join(", ");
    let to = if to.is_empty() { String::new() } else { format!(" ({to})") };
    context.out.note(format!(
        "{count} deliveries would be made{to}; {known} were owed before; nothing was written"
    ))?;
    Ok(Exit::Fine)
}

/// Plans what is owed; returns how many deliveries are new. Messages that the store does not know are taken in with it.
async fn send(store: &Store, owed: &[Owing], now: Timestamp) -> anyhow::Result<usize> {
    let mut planned = 0;
    for chunk in owed.chunks(BATCH) {
        let accounts: BTreeSet<&str> = chunk.iter().map(|owing| owing.message.account.as_str()).collect();
        for account in accounts {
            let own: Vec<&Owing> = chunk.iter().filter(|owing| owing.message.account == account).collect();
            let uids: Vec<String> = own.iter().map(|owing| owing.message.uid.clone()).collect();
            let seen: HashSet<String> = store.seen(account, &uids).await?;
            let (known, fresh): (Vec<&Owing>, Vec<&Owing>) =
                own.into_iter().partition(|owing| seen.contains(&owing.message.uid));
            let admit = |owing: &Owing| Admitted {
                message: owing.message.clone(),
                rules: owing
                    .planned
                    .iter()
                    .map(|one| one.rule.clone())
                    .collect::<BTreeSet<_>>()
                    .into_iter()
                    .collect(),
                deliveries: owing.planned.clone(),
            };
            let messages: Vec<Admitted> = fresh.into_iter().map(admit).collect();
            let account = account.to_owned();
            planned +=
                store.admit(Admission { account, messages, ..Admission::default() }, now).await?.deliveries;
            let known = known.into_iter().flat_map(|owing| owing.planned.iter().cloned());
            planned += store.owe(known.collect(), now).await?;
        }
    }
    Ok(planned)
}

/// A configuration that is to be compared, and the name people gave it.
struct Side {
    name: String,
    config: Arc<Config>,
}
