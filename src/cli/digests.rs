//! `digests`: what is being collected, and a person's say in it.

use clap::Subcommand;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::json;

use super::deliveries::{resolve, unknown};
use super::output::{DIM, paint};
use super::table::{self, plain};
use super::{Context, Exit, Format, Stop, when};
use crate::answers::digests;
use crate::model::id::DeliveryId;
use crate::store::{Row, Store};

/// What stands below the options.
const AFTER_HELP: &str = "\
A digest collects messages until it closes, and is one delivery then. `flush` closes it at once; `cancel` discards it with \
all its messages, which `activity-relay deliveries replay ID` takes back.

Examples:
  activity-relay digests list
  activity-relay digests flush d1a204cbf870";

/// Show the digests that are open, close one at once, or cancel it
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show the digests that still take messages in
    List {
        /// For people or for programs
        #[arg(long, value_name = "FORMAT", default_value = "text")]
        format: Format,
    },
    /// Close digests now: they are sent at once
    Flush(Chosen),
    /// Discard digests with all their messages
    Cancel(Chosen),
}

#[derive(Debug, clap::Args)]
struct Chosen {
    /// Ids, or beginnings of ids, as `digests list` shows them
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,
    /// For people or for programs
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
}

/// Runs the command.
///
/// # Errors
/// The store cannot be opened, an id is unknown, not unique, or of no open digest.
pub async fn run(args: &Args, context: &mut Context) -> anyhow::Result<Exit> {
    let store = context.store().await?;
    let now = context.clock.now();
    match &args.action {
        Action::List { format } => list(&store, *format, context).await,
        Action::Flush(chosen) => {
            let ids = open_ones(&store, &chosen.ids).await?;
            let flushed = store.flush(&ids, now).await?;
            tell(&flushed, "closed; a running relay sends them at once", chosen.format, context)
        }
        Action::Cancel(chosen) => {
            let ids = open_ones(&store, &chosen.ids).await?;
            let cancelled = store.discard(&ids, now).await?;
            tell(&cancelled, "discarded", chosen.format, context)
        }
    }
}

async fn list(store: &Store, format: Format, context: &Context) -> anyhow::Result<Exit> {
    let digests = digests::open(store).await?;
    match format {
        Format::Json => {
            context
                .out
                .json(&json!({ "digests": digests.iter().map(digests::as_json).collect::<Vec<_>>() }))?;
        }
        Format::Text if digests.is_empty() => context.out.line(paint(DIM, "no digest is open"))?,
        Format::Text => {
            let (zone, width) = (when::zone(context), context.out.width());
            for line in drawn(&digests, context.clock.now(), &zone, width) {
                context.out.line(line.trim_end())?;
            }
        }
    }
    Ok(Exit::Fine)
}

fn drawn(rows: &[Row], now: Timestamp, zone: &TimeZone, columns_max: Option<usize>) -> Vec<String> {
    let cells = rows.iter().map(|row| {
        let to =
            row.recipient.as_ref().map_or_else(|| row.target.clone(), |to| format!("{}: {to}", row.target));
        vec![
            plain(row.id.to_string()),
            plain(row.messages.len().to_string()),
            plain(when::moment(row.first_due, zone)),
            (DIM, when::ago(row.first_due, now)),
            plain(format!("{} → {to}", row.rule)),
            (DIM, digests::key(row)),
        ]
    });
    table::lines(&["ID", "HOLDS", "CLOSES", "", "RULE, TARGET", "KEY"], cells.collect(), columns_max)
}

async fn open_ones(store: &Store, ids: &[String]) -> anyhow::Result<Vec<DeliveryId>> {
    let mut found = Vec::with_capacity(ids.len());
    for text in ids {
        let id = resolve(store, text).await?;
        let row = store.delivery(&id).await?.ok_or_else(|| unknown(text))?.row;
        if !row.open || !digests::is_digest(&row) {
            let message = format!(
                "{id} is no open digest: it is {}; `activity-relay digests list` shows those that are open",
                row.state
            );
            return Err(Stop::new(Exit::Problem, message));
        }
        found.push(id);
    }
    Ok(found)
}

fn tell(ids: &[DeliveryId], what: &str, format: Format, context: &Context) -> anyhow::Result<Exit> {
    for id in ids.iter().filter(|_| format == Format::Json) {
        context.out.json(&json!({ "id": id }))?;
    }
    if format == Format::Text {
        context.out.line(format!("{} {what}", ids.len()))?;
    }
    Ok(Exit::Fine)
}
