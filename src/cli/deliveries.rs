//! `deliveries`: what is owed, what became of it, and a person's say in it.

mod drawn;
mod show;

use clap::Subcommand;
use jiff::Timestamp;

use drawn::drawn;
pub(super) use drawn::state_style;

use super::answerer::{Answerer, Asking, Needs, stop};
use super::output::{DIM, paint};
use super::{Context, Exit, Format, Stop, when};
use crate::answers::actions::{self, Change, Changed};
use crate::answers::deliveries::Listed;
use crate::model::delivery::StateName;
use crate::model::id::DeliveryId;
use crate::store::Filter;

/// As text, so many are shown unless more are asked for.
const SHOWN_DEFAULT: usize = 50;

/// What stands below the options of `replay`.
const REPLAY_HELP: &str = "\
Examples:
  activity-relay deliveries replay d1a204cbf870
  activity-relay deliveries replay --state dead --target bookkeeper --dry-run";

/// List deliveries, show one, send again, or decide that some are not sent
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    asking: Asking,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show deliveries: as text the newest, as JSON lines all of them
    List {
        #[command(flatten)]
        filter: Filters,
        /// At most so many, the newest ones
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
        /// For people or for programs
        #[arg(long, value_name = "FORMAT", default_value = "text")]
        format: Format,
    },
    /// Show one delivery with its payload and every attempt
    Show {
        /// The delivery's id, or the beginning of it
        id: String,
        /// For people or for programs
        #[arg(long, value_name = "FORMAT", default_value = "text")]
        format: Format,
    },
    /// Send again: a new delivery for each one that has ended
    #[command(after_help = REPLAY_HELP)]
    Replay(Chosen),
    /// Decide that deliveries are not to be sent
    Discard(Chosen),
}

#[derive(Debug, clap::Args)]
struct Filters {
    /// Only in these states: pending, sending, delivered, dead, expired, withheld, discarded
    #[arg(long, value_name = "STATE", value_delimiter = ',', value_parser = parse_state)]
    state: Vec<StateName>,
    /// Only those of this rule
    #[arg(long, value_name = "RULE")]
    rule: Option<String>,
    /// Only those to this target
    #[arg(long, value_name = "TARGET")]
    target: Option<String>,
    /// Only those planned since: 24h, 2d, or 2026-03-02T08:00:00Z
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
}

#[derive(Debug, clap::Args)]
struct Chosen {
    /// Ids, or beginnings of ids
    #[arg(value_name = "ID", conflicts_with_all = ["state", "rule", "target", "since"])]
    ids: Vec<String>,
    #[command(flatten)]
    filter: Filters,
    /// Show which ones, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// For people or for programs
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
}

fn parse_state(name: &str) -> Result<StateName, String> {
    StateName::parse(name).ok_or_else(|| {
        let names: Vec<&str> = StateName::ALL.iter().map(|state| state.as_str()).collect();
        format!("there is no such state; there are {}", names.join(", "))
    })
}

impl Chosen {
    /// Refuses what names none of the deliveries that could be changed.
    fn check(&self, change: Change) -> anyhow::Result<()> {
        if !self.ids.is_empty() {
            return Ok(());
        }
        let Filters { state, rule, target, since } = &self.filter;
        if !state.is_empty() {
            return change.of_states(state).map_err(stop);
        }
        let mut line = format!("activity-relay deliveries {} --state dead", change.as_str());
        for (option, value) in [("rule", rule), ("target", target), ("since", since)] {
            line.extend(value.iter().map(|value| format!(" --{option} {value}")));
        }
        let message = format!("which deliveries? Give their ids, or the state they are in: {line}");
        Err(Stop::new(Exit::Usage, message))
    }
}

impl Filters {
    fn parsed(&self, now: Timestamp) -> anyhow::Result<Filter> {
        let since = self.since.as_deref().map(|text| when::since(text, now)).transpose();
        Ok(Filter {
            states: self.state.clone(),
            rule: self.rule.clone(),
            target: self.target.clone(),
            since: since.map_err(|error| Stop::new(Exit::Usage, format!("--since: {error}")))?,
            message: None,
            replayed: None,
            made_good_by: None,
            before: None,
            open: false,
            limit: None,
        })
    }
}

/// Runs the command.
///
/// # Errors
/// The store cannot be opened or the relay not asked, an id or name is unknown, an id not unique, a time not understood, or
/// nothing is meant that could be changed.
pub async fn run(args: &Args, context: &mut Context) -> anyhow::Result<Exit> {
    match &args.action {
        Action::Replay(chosen) => chosen.check(Change::Replay)?,
        Action::Discard(chosen) => chosen.check(Change::Discard)?,
        Action::List { .. } | Action::Show { .. } => {}
    }
    let answerer = Answerer::of(&args.asking, Needs::Store, context).await?;
    match &args.action {
        Action::List { filter, limit, format } => {
            let filter = Filter { limit: *limit, ..filter.parsed(context.clock.now())? };
            list(filter, *format, &answerer, context).await
        }
        Action::Show { id, format } => {
            let shown = answerer.delivery(id).await?;
            match format {
                Format::Json => context.out.json(&shown.document()?)?,
                Format::Text => show::text(&shown, &answerer.zone().await?, context)?,
            }
            Ok(Exit::Fine)
        }
        Action::Replay(chosen) => change(Change::Replay, chosen, &answerer, context).await,
        Action::Discard(chosen) => change(Change::Discard, chosen, &answerer, context).await,
    }
}

async fn list(
    mut filter: Filter,
    format: Format,
    answerer: &Answerer,
    context: &Context,
) -> anyhow::Result<Exit> {
    if format == Format::Json {
        for delivery in answerer.deliveries(filter).await?.0 {
            context.out.json(&delivery)?;
        }
        return Ok(Exit::Fine);
    }
    filter.limit = Some(filter.limit.unwrap_or(SHOWN_DEFAULT));
    let (found, all) = answerer.deliveries(filter).await?;
    if found.is_empty() && !answerer.has_deliveries().await? {
        let none = "no deliveries yet: a message that a rule takes makes the first one; \
                    `activity-relay status` shows whether polling goes on";
        context.out.line(paint(DIM, none))?;
        return Ok(Exit::Fine);
    }
    show_list(&found, answerer, context).await?;
    let more = all.saturating_sub(found.len() as u64);
    if more > 0 {
        context.out.line(paint(DIM, format!("{more} more; see them with --limit or --format json")))?;
    }
    Ok(Exit::Fine)
}

async fn show_list(found: &[Listed], answerer: &Answerer, context: &Context) -> anyhow::Result<()> {
    if found.is_empty() {
        let none = "no delivery fits; `activity-relay deliveries list` shows all, `status` what goes on";
        context.out.line(paint(DIM, none))?;
        return Ok(());
    }
    for line in drawn(found, context.clock.now(), &answerer.zone().await?, context.out.width()) {
        context.out.line(line.trim_end())?;
    }
    Ok(())
}

/// Those of the filter that can be changed, and how many are passed over.
async fn fitting(
    change: Change,
    filter: &Filters,
    answerer: &Answerer,
    now: Timestamp,
) -> anyhow::Result<(Vec<Listed>, usize)> {
    let (mut found, _) = answerer.deliveries(filter.parsed(now)?).await?;
    let passed_over = change.choose(&mut found, |delivery| (delivery.state, delivery.replays));
    Ok((found, passed_over))
}

/// Those that were named, all of which have to be such that they can be changed.
async fn named(change: Change, ids: &[String], answerer: &Answerer) -> anyhow::Result<Vec<Listed>> {
    let mut found: Vec<Listed> = Vec::with_capacity(ids.len());
    for id in ids {
        let delivery = answerer.delivery(id).await?.listed;
        if !change.fits(delivery.state) {
            return Err(stop(change.refuse(&delivery.id, delivery.state)));
        }
        if !found.iter().any(|known| known.id == delivery.id) {
            found.push(delivery);
        }
    }
    Ok(found)
}

async fn change(
    change: Change,
    args: &Chosen,
    answerer: &Answerer,
    context: &Context,
) -> anyhow::Result<Exit> {
    let by_id = !args.ids.is_empty();
    if by_id && !args.dry_run {
        return tell(change, &answerer.change_named(change, &args.ids).await?, 0, args.format, context);
    }
    let (found, passed_over) = if by_id {
        (named(change, &args.ids, answerer).await?, 0)
    } else {
        fitting(change, &args.filter, answerer, context.clock.now()).await?
    };
    if args.dry_run {
        return dry_run(change, &found, passed_over, args.format, answerer, context).await;
    }
    let ids: Vec<DeliveryId> = found.into_iter().map(|delivery| delivery.id).collect();
    tell(change, &answerer.change_found(change, ids).await?, passed_over, args.format, context)
}

/// Says what was changed, and how many were passed over.
fn tell(
    change: Change,
    changed: &[Changed],
    passed_over: usize,
    format: Format,
    context: &Context,
) -> anyhow::Result<Exit> {
    for one @ Changed { id, replay_of } in changed {
        match (change, format) {
            (Change::Replay, Format::Json) => context.out.json(one)?,
            (Change::Replay, Format::Text) => {
                let of = replay_of.as_ref().map_or(String::new(), DeliveryId::to_string);
                context.out.line(format!("{id} replays {of}"))?;
            }
            (Change::Discard, Format::Json) => context.out.json(&serde_json::json!({"id": id}))?,
            (Change::Discard, Format::Text) => {}
        }
    }
    if format == Format::Text {
        let what = match change {
            Change::Replay if changed.is_empty() => "planned",
            Change::Replay => "planned; a running relay sends them at once",
            Change::Discard => "discarded",
        };
        context.out.line(format!("{} {what}{}", changed.len(), actions::passed_over(passed_over)))?;
    } else {
        note_passed_over(passed_over, context)?;
    }
    Ok(Exit::Fine)
}

/// Beside a program's output.
fn note_passed_over(count: usize, context: &Context) -> anyhow::Result<()> {
    if count > 0 {
        context.out.note(actions::passed_over(count).trim_start_matches(". "))?;
    }
    Ok(())
}

async fn dry_run(
    change: Change,
    found: &[Listed],
    passed_over: usize,
    format: Format,
    answerer: &Answerer,
    context: &Context,
) -> anyhow::Result<Exit> {
    if format == Format::Json {
        for delivery in found {
            context.out.json(delivery)?;
        }
        note_passed_over(passed_over, context)?;
        return Ok(Exit::Fine);
    }
    show_list(found, answerer, context).await?;
    let what = match change {
        Change::Replay => "would be replayed",
        Change::Discard => "would be discarded",
    };
    let passed_over = actions::passed_over(passed_over);
    context.out.line(format!("{} {what}; nothing was changed{passed_over}", found.len()))?;
    Ok(Exit::Fine)
}
