//! `deliveries`: what is owed, what became of it, and a person's say in it.

mod drawn;
mod show;

use clap::Subcommand;
use jiff::Timestamp;
use serde::Serialize;

use drawn::drawn;
pub(super) use drawn::{state_style, waits_for};

use super::output::{DIM, paint};
use super::{Context, Exit, Format, Stop, when};
use crate::model::delivery::{Attempt, StateName};
use crate::model::group::Kind;
use crate::model::id::DeliveryId;
use crate::store::{Counts, Filter, Row, Store};

/// As text, so many are shown unless more are asked for.
const SHOWN_DEFAULT: usize = 50;
/// So many are replayed or discarded in one transaction.
const BATCH: usize = 200;

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
                Format::Json => context.out.json(&show::json(&detail, target)?)?,
                Format::Text => show::text(&detail, target, context)?,
            }
            Ok(Exit::Fine)
        }
        Action::Replay(chosen) => replay(chosen, &store, context).await,
        Action::Discard(chosen) => discard(chosen, &store, context).await,
    }
}

/// A delivery as the JSON contract has it; the keys behind `replay_of` are beyond it.
#[derive(Serialize)]
pub(super) struct Listed<'a> {
    id: &'a DeliveryId,
    rule: &'a str,
    target: &'a str,
    recipient: Option<&'a str>,
    messages: &'a [String],
    state: StateName,
    due_at: Option<Timestamp>,
    attempts: u32,
    last: Option<Last<'a>>,
    maybe_duplicate: bool,
    replay_of: Option<&'a DeliveryId>,
    account: &'a str,
    template: &'a str,
    created_at: Timestamp,
    settled_at: Option<Timestamp>,
    why: Option<&'a str>,
    held_by: Option<&'a str>,
    first_due: Timestamp,
    window: Option<Window>,
    throttled: u32,
}

/// The time that a digest covers.
#[derive(Serialize)]
pub(super) struct Window {
    from: Timestamp,
    to: Timestamp,
}

impl Window {
    pub(super) fn of(row: &Row) -> Option<Self> {
        let gathered = row.gathered.filter(|gathered| gathered.kind == Kind::Digest)?;
        Some(Self { from: gathered.from, to: gathered.to })
    }
}

#[derive(Serialize)]
struct Last<'a> {
    at: Timestamp,
    outcome: &'a str,
    status: Option<u16>,
    reason: &'a str,
    latency_ms: u64,
}

impl<'a> Last<'a> {
    fn of(attempt: &'a Attempt) -> Self {
        Self {
            at: attempt.at,
            outcome: &attempt.outcome,
            status: attempt.status,
            reason: &attempt.reason,
            latency_ms: attempt.latency_ms,
        }
    }
}

impl<'a> Listed<'a> {
    pub(super) fn of(row: &'a Row) -> Self {
        Self {
            id: &row.id,
            rule: &row.rule,
            target: &row.target,
            recipient: row.recipient.as_deref(),
            messages: &row.messages,
            state: row.state,
            due_at: row.due_at,
            attempts: row.attempts,
            last: row.last.as_ref().map(Last::of),
            maybe_duplicate: row.maybe_duplicate,
            replay_of: row.replay_of.as_ref(),
            account: &row.account,
            template: &row.template,
            created_at: row.created_at,
            settled_at: row.settled_at,
            why: row.why.as_deref(),
            held_by: row.held_by.as_deref(),
            first_due: row.first_due,
            window: Window::of(row),
            throttled: row.throttled,
        }
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
    let found = if text.is_empty() { Vec::new() } else { store.ids_like(text, 2).await? };
    match <[DeliveryId; 1]>::try_from(found) {
        Ok([id]) => Ok(id),
        Err(found) if found.is_empty() => Err(unknown(text)),
        Err(found) if found[0].as_str() == text => Ok(found[0].clone()),
        Err(_) => Err(Stop::new(
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
fn changeable(
    rows: Vec<Row>,
    args: &Chosen,
    can: fn(StateName) -> bool,
    what: &str,
) -> anyhow::Result<Vec<Row>> {
    let wrong = rows.iter().find(|row| !can(row.state));
    if let (Some(row), false) = (wrong, args.ids.is_empty()) {
        return Err(Stop::new(Exit::Problem, format!("{} is {}: {what}", row.id, row.state)));
    }
    Ok(rows.into_iter().filter(|row| can(row.state)).collect())
}

async fn replay(args: &Chosen, store: &Store, context: &Context) -> anyhow::Result<Exit> {
    let now = context.clock.now();
    let ended = |state| !matches!(state, StateName::Pending | StateName::Sending);
    let rows = chosen(args, store, now).await?;
    let rows = changeable(rows, args, ended, "it will be sent anyway; only what has ended is replayed")?;
    if args.dry_run {
        return dry_run("would be replayed", &rows, args.format, context);
    }
    let ids: Vec<DeliveryId> = rows.into_iter().map(|row| row.id).collect();
    let mut planned = 0;
    for batch in ids.chunks(BATCH) {
        for id in store.replay(batch, now).await? {
            planned += 1;
            let of = store.delivery(&id).await?.and_then(|detail| detail.row.replay_of);
            match args.format {
                Format::Json => context.out.json(&serde_json::json!({"id": id, "replay_of": of}))?,
                Format::Text => {
                    context
                        .out
                        .line(format!("{id} replays {}", of.map_or(String::new(), |of| of.to_string())))?;
                }
            }
        }
    }
    if args.format == Format::Text {
        context.out.line(format!("{planned} planned; a running relay sends them at once"))?;
    }
    Ok(Exit::Fine)
}

async fn discard(args: &Chosen, store: &Store, context: &Context) -> anyhow::Result<Exit> {
    let now = context.clock.now();
    let can = |state| matches!(state, StateName::Pending | StateName::Sending | StateName::Dead);
    let rows = chosen(args, store, now).await?;
    let rows = changeable(rows, args, can, "only what is pending, sending or dead is discarded")?;
    if args.dry_run {
        return dry_run("would be discarded", &rows, args.format, context);
    }
    let ids: Vec<DeliveryId> = rows.into_iter().map(|row| row.id).collect();
    let mut discarded = 0;
    for batch in ids.chunks(BATCH) {
        for id in store.discard(batch, now).await? {
            discarded += 1;
            if args.format == Format::Json {
                context.out.json(&serde_json::json!({"id": id}))?;
            }
        }
    }
    if args.format == Format::Text {
        context.out.line(format!("{discarded} discarded"))?;
    }
    Ok(Exit::Fine)
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
