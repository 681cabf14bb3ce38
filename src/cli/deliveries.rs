//! `deliveries`: what is owed, what became of it, and a person's say in it.

mod drawn;
mod show;

use clap::Subcommand;
use jiff::Timestamp;

use drawn::drawn;
pub(super) use drawn::state_style;

use super::output::{DIM, paint};
use super::{Context, Exit, Format, Stop, when};
use crate::answers::actions::Change;
use crate::answers::deliveries::{self, Found, Listed};
use crate::model::delivery::StateName;
use crate::model::id::DeliveryId;
use crate::store::{Counts, Filter, Row, Store};

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
    #[arg(value_name = "ID", required_unless_present = "state", conflicts_with_all = ["state", "rule", "target", "since"])]
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

impl Filters {
    fn parsed(&self, now: Timestamp) -> anyhow::Result<Filter> {
        let since = self.since.as_deref().map(|text| when::since(text, now)).transpose();
        Ok(Filter {
            states: self.state.clone(),
            rule: self.rule.clone(),
            target: self.target.clone(),
            since: since.map_err(|error| Stop::new(Exit::Usage, format!("--since: {error}")))?,
            message: None,
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
/// The store cannot be opened, an id is unknown or not unique, a time is not understood.
pub async fn run(args: &Args, context: &mut Context) -> anyhow::Result<Exit> {
    let store = context.store().await?;
    match &args.action {
        Action::List { filter, limit, format } => {
            let filter = Filter { limit: *limit, ..filter.parsed(context.clock.now())? };
            list(filter, *format, &store, context).await
        }
        Action::Show { id, format } => {
            let id = resolve(&store, id).await?;
            let detail = store.delivery(&id).await?.ok_or_else(|| unknown(id.as_str()))?;
            // The configuration adds a mail's headers; without one the rest is still worth seeing.
            let config = context.load().config;
            let target = config.as_ref().and_then(|config| config.targets.get(&detail.row.target));
            let target = target.map(AsRef::as_ref);
            match format {
                Format::Json => context.out.json(&deliveries::json(&detail, target)?)?,
                Format::Text => show::text(&detail, target, context)?,
            }
            Ok(Exit::Fine)
        }
        Action::Replay(chosen) => change(Change::Replay, chosen, &store, context).await,
        Action::Discard(chosen) => change(Change::Discard, chosen, &store, context).await,
    }
}

async fn list(mut filter: Filter, format: Format, store: &Store, context: &Context) -> anyhow::Result<Exit> {
    if format == Format::Json {
        for row in store.deliveries(filter).await?.0 {
            context.out.json(&Listed::of(&row))?;
        }
        return Ok(Exit::Fine);
    }
    filter.limit = Some(filter.limit.unwrap_or(SHOWN_DEFAULT));
    let (rows, all) = store.deliveries(filter).await?;
    if store.counts(None).await? == Counts::default() {
        let none = "no deliveries yet: a message that a rule takes makes the first one; \
                    `activity-relay status` shows whether polling goes on";
        context.out.line(paint(DIM, none))?;
        return Ok(Exit::Fine);
    }
    show_rows(&rows, context)?;
    let more = all.saturating_sub(rows.len() as u64);
    if more > 0 {
        context.out.line(paint(DIM, format!("{more} more; see them with --limit or --format json")))?;
    }
    Ok(Exit::Fine)
}

fn show_rows(rows: &[Row], context: &Context) -> anyhow::Result<()> {
    if rows.is_empty() {
        let none = "no delivery fits; `activity-relay deliveries list` shows all, `status` what goes on";
        context.out.line(paint(DIM, none))?;
        return Ok(());
    }
    for line in drawn(rows, context.clock.now(), &when::zone(context), context.out.width()) {
        context.out.line(line.trim_end())?;
    }
    Ok(())
}

pub(super) fn unknown(id: &str) -> anyhow::Error {
    Stop::new(Exit::Problem, format!("no delivery has the id `{id}`"))
}

/// The one delivery whose id is, or begins with, the text.
pub(super) async fn resolve(store: &Store, text: &str) -> anyhow::Result<DeliveryId> {
    match deliveries::find(store, text).await? {
        Found::One(id) => Ok(id),
        Found::None => Err(unknown(text)),
        Found::Several => Err(Stop::new(
            Exit::Problem,
            format!("several deliveries' ids begin with `{text}`; give more of it"),
        )),
    }
}

/// The deliveries a person chose, by id or by filter.
async fn chosen(chosen: &Chosen, store: &Store, now: Timestamp) -> anyhow::Result<Vec<Row>> {
    if chosen.ids.is_empty() {
        return Ok(store.deliveries(chosen.filter.parsed(now)?).await?.0);
    }
    let mut rows = Vec::with_capacity(chosen.ids.len());
    for text in &chosen.ids {
        let id = resolve(store, text).await?;
        rows.push(store.delivery(&id).await?.ok_or_else(|| unknown(text))?.row);
    }
    Ok(rows)
}

/// Leaves those that can be changed; where ids were given, one that cannot is an error.
fn changeable(rows: Vec<Row>, args: &Chosen, change: Change) -> anyhow::Result<Vec<Row>> {
    let wrong = rows.iter().find(|row| !change.fits(row.state));
    if let (Some(row), false) = (wrong, args.ids.is_empty()) {
        let text = format!("{} is {}: {}", row.id, row.state, change.unfit());
        return Err(Stop::new(Exit::Problem, text));
    }
    Ok(rows.into_iter().filter(|row| change.fits(row.state)).collect())
}

async fn change(change: Change, args: &Chosen, store: &Store, context: &Context) -> anyhow::Result<Exit> {
    let now = context.clock.now();
    let rows = changeable(chosen(args, store, now).await?, args, change)?;
    if args.dry_run {
        let what = match change {
            Change::Replay => "would be replayed",
            Change::Discard => "would be discarded",
        };
        return dry_run(what, &rows, args.format, context);
    }
    let ids: Vec<DeliveryId> = rows.into_iter().map(|row| row.id).collect();
    let changed = change.run(store, &ids, now).await?;
    for id in &changed {
        match (change, args.format) {
            (Change::Replay, format) => show_replay(id, format, store, context).await?,
            (Change::Discard, Format::Json) => context.out.json(&serde_json::json!({"id": id}))?,
            (Change::Discard, Format::Text) => {}
        }
    }
    if args.format == Format::Text {
        let what = match change {
            Change::Replay => "planned; a running relay sends them at once",
            Change::Discard => "discarded",
        };
        context.out.line(format!("{} {what}", changed.len()))?;
    }
    Ok(Exit::Fine)
}

async fn show_replay(
    id: &DeliveryId,
    format: Format,
    store: &Store,
    context: &Context,
) -> anyhow::Result<()> {
    let of = store.delivery(id).await?.and_then(|detail| detail.row.replay_of);
    match format {
        Format::Json => context.out.json(&serde_json::json!({"id": id, "replay_of": of})),
        Format::Text => {
            let of = of.map_or(String::new(), |of| of.to_string());
            Ok(context.out.line(format!("{id} replays {of}"))?)
        }
    }
}

fn dry_run(what: &str, rows: &[Row], format: Format, context: &Context) -> anyhow::Result<Exit> {
    if format == Format::Json {
        for row in rows {
            context.out.json(&Listed::of(row))?;
        }
        return Ok(Exit::Fine);
    }
    show_rows(rows, context)?;
    context.out.line(format!("{} {what}; nothing was changed", rows.len()))?;
    Ok(Exit::Fine)
}
