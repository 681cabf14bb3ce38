//! `backfill`: takes the messages of a period again for chosen rules, or compares what two rules files make of them.

mod compare;
mod history;
mod show;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use jiff::Timestamp;
use serde_json::json;

use crate::answers::mutes::unknown_rule;
use crate::config::Config;
use crate::daemon::past::Period;
use crate::model::delivery::{Planned, StateName};
use crate::model::good::MakesGood;
use crate::model::message::Message;
use crate::model::mute::Mute;
use crate::model::names::Names;
use crate::rules::evaluate::{matching, undecided};
use crate::rules::good::makes_good;
use crate::rules::plan::plan;
use crate::store::{Admission, Admitted, Filter, Row, Store};

use super::output::{WARN, counted, paint};
use super::{Context, Exit, Format, Stop, when};
use history::{Past, history};

/// More deliveries than this are only planned by somebody who says that it is meant.
const UNASKED_MAX: usize = 50;
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

/// Take the messages of a period again, or compare two rules files over them
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own on the command line")]
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
    #[arg(long, value_name = "FILE", conflicts_with = "yes")]
    compare: Option<PathBuf>,
    /// Exit with 1 if the two files differ in what they send
    #[arg(long, requires = "compare")]
    exit_code: bool,
    /// For people or for programs
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
}

/// Runs the command.
///
/// # Errors
/// A bad rules file, an unknown rule or account, an API that cannot be asked, a store that cannot be written.
pub async fn run(args: &Args, context: &mut Context) -> anyhow::Result<Exit> {
    let config = context.config()?;
    let now = context.clock.now();
    let period = period(args, now)?;
    let other = args.compare.as_deref().map(|other| compare::Side::load(other, context)).transpose()?;
    let files = [Some(&config), other.as_ref().map(|other| &*other.config)];
    let known: Vec<&str> = files
        .into_iter()
        .flatten()
        .flat_map(|file| file.rules.list())
        .map(|rule| rule.name.as_str())
        .collect();
    if let Some(rule) = args.rule.iter().find(|rule| !known.contains(&rule.as_str())) {
        return Err(Stop::new(Exit::Problem, unknown_rule(rule, known.into_iter())));
    }
    let store = context.existing_store().await?;
    if let Some(other) = other {
        let need_names = config.rules.need_names() || other.config.rules.need_names();
        let past = history(args, &config, &store, period, need_names, context).await?;
        return compare::run(args, &past, (config, other), period, context).await;
    }
    let past = history(args, &config, &store, period, config.rules.need_names(), context).await?;
    let mutes = store.mutes(now).await?;
    let silenced = args.rule.iter().find_map(|rule| Mute::of(&mutes, rule, now));
    if let Some(mute) = silenced.filter(|_| !args.dry_run) {
        let lift = format!("`activity-relay mute lift {}` ends that", mute.id);
        return Err(Stop::new(Exit::Problem, format!("nothing is sent: {}; {lift}", mute.why())));
    }
    let plan = planned(&args.rule, &config, &store, past, now).await?;
    notes(args, &config, &plan, period, now, context)?;
    if args.dry_run {
        show::dry_run(&plan, &config, args.format, context)?;
        return Ok(Exit::Fine);
    }
    let count = plan.deliveries().count();
    if count > UNASKED_MAX && !args.yes {
        let text = format!(
            "this would send {}{}. --dry-run shows them; --yes says that it is meant",
            counted(count, "delivery"),
            show::to_whom(&plan)
        );
        return Err(Stop::new(Exit::Problem, text));
    }
    let sent = if count > 0 { send(&context.store().await?, &plan.owed, now).await? } else { 0 };
    match args.format {
        Format::Json => context.out.json(&json!({ "planned": sent, "owed_before": plan.before.len() }))?,
        Format::Text => {
            let verdict = match sent {
                0 => "nothing to send".to_owned(),
                _ => format!("{} planned; a running relay sends them at once", counted(sent, "delivery")),
            };
            context.out.line(format!("{verdict}{}", show::before(&plan)))?;
        }
    }
    Ok(Exit::Fine)
}

/// What somebody should know who asks for the past.
fn notes(
    args: &Args,
    config: &Config,
    plan: &Plan,
    period: Period,
    now: Timestamp,
    context: &Context,
) -> anyhow::Result<()> {
    let warn = |text: String| context.out.note(paint(WARN, text));
    if plan.still_to_poll > 0 {
        warn(format!(
            "still to be polled: {}; that is left to a running relay, which takes it in by all rules",
            counted(plan.still_to_poll, "message")
        ))?;
    }
    for (rule, count) in &plan.undecided {
        warn(format!(
            "rule `{rule}`: its `where` cannot be judged for {}, as with a name that is not known; they are left out. \
             `activity-relay explain UID` says why",
            counted(*count, "message")
        ))?;
    }
    let forgotten = history::forgotten(config, now);
    if args.fetch && period.from < forgotten {
        warn(format!(
            "what was sent before {} is forgotten (`retention`): for messages made before then, what was sent once is \
             sent again",
            when::moment(forgotten, &config.timezone)
        ))?;
    }
    Ok(())
}

fn period(args: &Args, now: Timestamp) -> anyhow::Result<Period> {
    let moment = |option: &str, text: &str| {
        when::since(text, now).map_err(|error| Stop::new(Exit::Usage, format!("{option}: {error}")))
    };
    let from = moment("--since", &args.since)?;
    let to = args.until.as_deref().map_or(Ok(now), |text| moment("--until", text))?;
    if to <= from {
        return Err(Stop::new(Exit::Usage, "--until is not later than --since: the period is empty"));
    }
    Ok(Period { from, to })
}

/// A message with what the chosen rules owe for it.
struct Owing {
    message: Message,
    names: Names,
    planned: Vec<Planned>,
    makes_good: Vec<MakesGood>,
}

/// What there is to send, and what is not sent and why.
#[derive(Default)]
struct Plan {
    owed: Vec<Owing>,
    /// Where those stand that were owed before.
    before: Vec<StateName>,
    /// Messages that polling takes in.
    still_to_poll: usize,
    /// Messages that a rule might take if more were known.
    undecided: BTreeMap<String, usize>,
}

impl Plan {
    fn deliveries(&self) -> impl Iterator<Item = (&Owing, &Planned)> {
        self.owed.iter().flat_map(|owing| owing.planned.iter().map(move |planned| (owing, planned)))
    }
}

/// What the chosen rules owe that was never owed before.
async fn planned(
    rules: &[String],
    config: &Config,
    store: &Store,
    past: Vec<Past>,
    now: Timestamp,
) -> anyhow::Result<Plan> {
    let mut all = Plan::default();
    for Past { message, names, still_to_poll } in past {
        let mut found = matching(&config.rules, &message, &names);
        found.retain(|rule| rules.contains(&rule.name));
        for rule in rules.iter().filter_map(|name| config.rules.get(name)) {
            if undecided(rule, &message, &names) {
                *all.undecided.entry(rule.name.clone()).or_default() += 1;
            }
        }
        if still_to_poll {
            all.still_to_poll += usize::from(!found.is_empty());
            continue;
        }
        let mut planned = Vec::new();
        let owed = plan(&found, &message, &names, &[], now);
        let before = if owed.is_empty() { Vec::new() } else { owed_before(store, &message).await? };
        for one in owed {
            match before.iter().find(|row| is_that(row, &one)) {
                Some(known) => all.before.push(known.state),
                None => planned.push(Planned { expires_at: None, ..one }),
            }
        }
        if !planned.is_empty() {
            let makes_good = makes_good(&found, &message, &names);
            all.owed.push(Owing { message, names, planned, makes_good });
        }
    }
    Ok(all)
}

/// What was ever owed for the message.
async fn owed_before(store: &Store, message: &Message) -> anyhow::Result<Vec<Row>> {
    let filter = Filter { message: Some(message.uid.clone()), ..Filter::default() };
    let rows = store.deliveries(filter).await?.0;
    Ok(rows.into_iter().filter(|row| row.account == message.account).collect())
}

/// It is the same, or has taken its message in.
fn is_that(row: &Row, planned: &Planned) -> bool {
    row.id == planned.id
        || row.group.is_some()
            && (&row.rule, &row.target, &row.recipient)
                == (&planned.rule, &planned.target, &planned.recipient)
}

/// Plans what is owed; returns how many deliveries are new. Messages that the store does not know are taken in with it.
async fn send(store: &Store, owed: &[Owing], now: Timestamp) -> anyhow::Result<usize> {
    let mut sent = 0;
    for chunk in owed.chunks(BATCH) {
        let mut accounts: BTreeMap<&str, Vec<&Owing>> = BTreeMap::new();
        for owing in chunk {
            accounts.entry(&owing.message.account).or_default().push(owing);
        }
        for (account, own) in accounts {
            let messages = own.iter().map(|owing| admitted(owing)).collect();
            let admission = Admission { account: account.to_owned(), messages, ..Admission::default() };
            sent += store.admit(admission, now).await?.deliveries;
            // Of those that are there already nothing was taken in.
            let owed = own.iter().flat_map(|owing| owing.planned.iter().cloned());
            sent += store.owe(owed.collect(), now).await?;
        }
    }
    Ok(sent)
}

fn admitted(owing: &Owing) -> Admitted {
    let rules: BTreeSet<String> = owing.planned.iter().map(|one| one.rule.clone()).collect();
    Admitted {
        message: owing.message.clone(),
        rules: rules.into_iter().collect(),
        deliveries: owing.planned.clone(),
        makes_good: owing.makes_good.clone(),
    }
}
