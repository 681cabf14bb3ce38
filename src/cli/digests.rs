//! `digests`: what is being collected, and a person's say in it.

use clap::Subcommand;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::json;

use super::answerer::{Answerer, Asking, Needs};
use super::output::{DIM, paint};
use super::table::{self, plain};
use super::{Context, Exit, Format, when};
use crate::answers::digests::Digest;
use crate::model::id::DeliveryId;

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
    #[command(flatten)]
    asking: Asking,
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
/// The store cannot be opened or the relay not asked, an id is unknown, not unique, or of no open digest.
pub async fn run(args: &Args, context: &mut Context) -> anyhow::Result<Exit> {
    let answerer = Answerer::of(&args.asking, Needs::Store, context).await?;
    match &args.action {
        Action::List { format } => list(&answerer, *format, context).await,
        Action::Flush(chosen) => {
            let flushed = answerer.flush(&chosen.ids).await?;
            tell(&flushed, "closed; a running relay sends them at once", chosen.format, context)
        }
        Action::Cancel(chosen) => {
            let cancelled = answerer.cancel(&chosen.ids).await?;
            tell(&cancelled, "discarded", chosen.format, context)
        }
    }
}

async fn list(answerer: &Answerer, format: Format, context: &Context) -> anyhow::Result<Exit> {
    let digests = answerer.digests().await?;
    match format {
        Format::Json => context.out.json(&json!({ "digests": digests }))?,
        Format::Text if digests.is_empty() => context.out.line(paint(DIM, "no digest is open"))?,
        Format::Text => {
            let (zone, width) = (answerer.zone().await?, context.out.width());
            for line in drawn(&digests, context.clock.now(), &zone, width) {
                context.out.line(line.trim_end())?;
            }
        }
    }
    Ok(Exit::Fine)
}

fn drawn(digests: &[Digest], now: Timestamp, zone: &TimeZone, columns_max: Option<usize>) -> Vec<String> {
    let cells = digests.iter().map(|digest| {
        let target = &digest.target;
        let to = digest.recipient.as_ref().map_or_else(|| target.clone(), |to| format!("{target}: {to}"));
        vec![
            plain(digest.id.to_string()),
            plain(digest.count.to_string()),
            plain(when::moment(digest.closes_at, zone)),
            (DIM, when::ago(digest.closes_at, now)),
            plain(format!("{} → {to}", digest.rule)),
            (DIM, digest.key.clone()),
        ]
    });
    table::lines(&["ID", "HOLDS", "CLOSES", "", "RULE, TARGET", "KEY"], cells.collect(), columns_max)
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
