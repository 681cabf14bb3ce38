//! `mute`: silences a rule for a while, shows what is silenced, ends it early.

use clap::Subcommand;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::answerer::{Answerer, Asking, Needs};
use super::output::{DIM, WARN, paint};
use super::table::{self, plain};
use super::{Context, Exit, Format, Stop, when};
use crate::model::mute::Mute;
use crate::model::settle::after_now;

/// What stands below the options.
const AFTER_HELP: &str = "\
While a rule is muted, what it owes is recorded as withheld, with the reason, and not sent. It works again by itself \
when the time is over. To send what was withheld after all:
  activity-relay deliveries replay --state withheld --rule client-cancellations

Examples:
  activity-relay mute --rule client-cancellations --for 2h --reason \"we move the calendar\"
  activity-relay mute list
  activity-relay mute lift 3";

/// Silence a rule for a while; list and lift what is silenced
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP, subcommand_negates_reqs = true)]
pub struct Args {
    #[command(subcommand)]
    action: Option<Action>,
    /// The rule
    #[arg(long, value_name = "RULE", required = true)]
    rule: Option<String>,
    /// For how long, such as 30m, 2h or 3d
    #[arg(long = "for", value_name = "DURATION", required_unless_present = "until", value_parser = length)]
    length: Option<SignedDuration>,
    /// Until when, such as 2026-03-02T18:00:00+01:00
    #[arg(long, value_name = "TIME", conflicts_with = "length")]
    until: Option<Timestamp>,
    /// Why: it stands with each delivery that is withheld
    #[arg(long, value_name = "TEXT", required = true)]
    reason: Option<String>,
    /// For people or for programs
    #[arg(long, global = true, value_name = "FORMAT", default_value = "text")]
    format: Format,
    #[command(flatten)]
    asking: Asking,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show the rules that are muted
    List,
    /// End a mute before its time
    Lift {
        /// Its id, as `mute list` shows it
        #[arg(value_parser = id)]
        id: i64,
    },
}

impl Args {
    /// What says how a rule is muted has no place beside an action.
    fn fit_together(&self) -> anyhow::Result<()> {
        let action = match &self.action {
            Some(Action::List) => "list",
            Some(Action::Lift { .. }) => "lift",
            None => return Ok(()),
        };
        let given = [
            ("--rule", self.rule.is_some()),
            ("--for", self.length.is_some()),
            ("--until", self.until.is_some()),
            ("--reason", self.reason.is_some()),
        ];
        let Some((option, _)) = given.into_iter().find(|(_, given)| *given) else { return Ok(()) };
        let text = format!(
            "{option} belongs to `mute` alone, which silences a rule: `mute {action}` does not take it"
        );
        Err(Stop::new(Exit::Usage, text))
    }
}

fn length(text: &str) -> Result<SignedDuration, String> {
    let wrong = || format!("`{text}` is no length of time: write 30m, 2h or 3d");
    let span: jiff::Span = text.parse().map_err(|_| wrong())?;
    let length = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).map_err(|_| wrong())?;
    if length.is_positive() { Ok(length) } else { Err(wrong()) }
}

fn id(text: &str) -> Result<i64, String> {
    text.parse().map_err(|_| "it is a number, which `activity-relay mute list` shows".to_owned())
}

/// Runs the command.
///
/// # Errors
/// An unknown rule or mute, a moment that is past, a store that cannot be opened or a relay that cannot be asked.
pub async fn run(args: &Args, context: &mut Context) -> anyhow::Result<Exit> {
    args.fit_together()?;
    let needs = if args.action.is_some() { Needs::Store } else { Needs::Rules };
    let answerer = Answerer::of(&args.asking, needs, context).await?;
    match &args.action {
        Some(Action::List) => list(&answerer, args.format, context).await,
        Some(Action::Lift { id }) => lift(&answerer, *id, args.format, context).await,
        None => mute(args, &answerer, context).await,
    }
}

async fn mute(args: &Args, answerer: &Answerer, context: &Context) -> anyhow::Result<Exit> {
    let (rule, reason) =
        (args.rule.as_deref().unwrap_or_default(), args.reason.as_deref().unwrap_or_default());
    if reason.trim().is_empty() {
        return Err(Stop::new(
            Exit::Usage,
            "--reason is empty: say why, for whoever finds out that it is muted",
        ));
    }
    let now = context.clock.now();
    let length = args.length.map(SignedDuration::unsigned_abs);
    let until = length.map_or_else(|| args.until.unwrap_or(now), |length| after_now(now, length));
    if until <= now {
        return Err(Stop::new(Exit::Usage, format!("--until {until} is past; now it is {now:.0}")));
    }
    let mute = answerer.mute(rule, until, reason.trim()).await?;
    match args.format {
        Format::Json => context.out.json(&mute)?,
        Format::Text => {
            let zone = answerer.zone().await?;
            let end = when::moment(mute.until, &zone);
            context.out.line(format!(
                "{rule} is muted until {end}. What it owes is withheld until then; `activity-relay mute lift {}` ends \
                 it early",
                mute.id
            ))?;
            let mutes = answerer.mutes().await?;
            if let Some(longer) = Mute::of(&mutes, rule, now).filter(|longest| longest.until > mute.until) {
                context.out.note(stays_muted(longer, &zone))?;
            }
        }
    }
    Ok(Exit::Fine)
}

/// What to say of a rule that another mute silences as well.
fn stays_muted(by: &Mute, zone: &TimeZone) -> String {
    let Mute { id, rule, until, reason, .. } = by;
    let text = format!("mute {id} silences {rule} until {}: {reason}", when::moment(*until, zone));
    paint(WARN, text)
}

async fn list(answerer: &Answerer, format: Format, context: &Context) -> anyhow::Result<Exit> {
    let now = context.clock.now();
    let mutes = answerer.mutes().await?;
    match format {
        Format::Json => context.out.json(&json!({ "mutes": mutes }))?,
        Format::Text if mutes.is_empty() => context.out.line(paint(DIM, "no rule is muted"))?,
        Format::Text => {
            let zone = answerer.zone().await?;
            for line in drawn(&mutes, now, &zone, context.out.width()) {
                context.out.line(line.trim_end())?;
            }
        }
    }
    Ok(Exit::Fine)
}

/// The mutes as a table.
pub(super) fn drawn(
    mutes: &[Mute],
    now: Timestamp,
    zone: &TimeZone,
    columns_max: Option<usize>,
) -> Vec<String> {
    let cells = mutes.iter().map(|mute| {
        vec![
            plain(mute.id.to_string()),
            plain(mute.rule.clone()),
            plain(when::moment(mute.until, zone)),
            (DIM, when::ago(mute.until, now)),
            plain(mute.reason.clone()),
        ]
    });
    table::lines(&["ID", "MUTED RULE", "UNTIL", "", "REASON"], cells.collect(), columns_max)
}

async fn lift(answerer: &Answerer, id: i64, format: Format, context: &Context) -> anyhow::Result<Exit> {
    let mute = answerer.lift(id).await?;
    match format {
        Format::Json => context.out.json(&mute)?,
        Format::Text => {
            let (rule, now) = (&mute.rule, context.clock.now());
            let mutes = answerer.mutes().await?;
            if let Some(other) = Mute::of(&mutes, rule, now) {
                context.out.line(format!("mute {id} is lifted, and {rule} stays muted"))?;
                context.out.note(stays_muted(other, &answerer.zone().await?))?;
                return Ok(Exit::Fine);
            }
            context.out.line(format!(
                "{rule} is no longer muted. What was withheld stays withheld; to send it: \
                 activity-relay deliveries replay --state withheld --rule {rule}"
            ))?;
        }
    }
    Ok(Exit::Fine)
}
