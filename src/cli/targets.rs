//! `targets`: where messages go, which of them are held up, and a test message through one of them.

use clap::Subcommand;
use jiff::Timestamp;
use serde::Serialize;

use super::answerer::{Answerer, Asking, Needs};
use super::output::{BAD, BOLD, DIM, GOOD, WARN, paint};
use super::table::{self, plain};
use super::{Context, Exit, Format, when};
use crate::answers::targets::{Listed, Tested};

/// List, pause, resume and test targets
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    asking: Asking,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show every target, whether it is held up, and what waits for it
    List {
        /// For people or for programs
        #[arg(long, value_name = "FORMAT", default_value = "text")]
        format: Format,
    },
    /// Send nothing to a target until it is resumed; what is owed to it waits
    Pause {
        /// The target's name in the rules file
        name: String,
        /// Why, for those who look later
        #[arg(long, value_name = "TEXT", default_value = "paused by hand")]
        reason: String,
        /// For people or for programs
        #[arg(long, value_name = "FORMAT", default_value = "text")]
        format: Format,
    },
    /// End a pause, a wait or a parking: send again at once
    Resume {
        /// The target's name in the rules file
        name: String,
        /// For people or for programs
        #[arg(long, value_name = "FORMAT", default_value = "text")]
        format: Format,
    },
    /// Send a marked test message and show what the target answered
    Test {
        /// The target's name in the rules file
        name: String,
        /// For people or for programs
        #[arg(long, value_name = "FORMAT", default_value = "text")]
        format: Format,
    },
}

#[derive(Serialize)]
struct List {
    targets: Vec<Listed>,
}

/// Runs the command.
///
/// # Errors
/// The rules file has problems, the store cannot be opened or the relay not asked, or the name is unknown.
pub async fn run(args: &Args, context: &mut Context) -> anyhow::Result<Exit> {
    let answerer = Answerer::of(&args.asking, Needs::Rules, context).await?;
    match &args.action {
        Action::List { format } => list(*format, &answerer, context).await,
        Action::Pause { name, reason, format } => {
            let target = answerer.hold(name, Some(reason)).await?;
            let words = format!("{name} is paused; `activity-relay targets resume {name}` ends it");
            held(&target, words, *format, context)
        }
        Action::Resume { name, format } => {
            let before = answerer.targets().await?.into_iter().find(|target| target.name == *name);
            let target = answerer.hold(name, None).await?;
            let was_ready = before.is_some_and(|before| before.state == "ready");
            let did = if was_ready { "was not paused" } else { "is resumed" };
            held(&target, format!("{name} {did}; {} pending", target.pending), *format, context)
        }
        Action::Test { name, format } => test(name, *format, &answerer, context).await,
    }
}

/// Says what was done, or shows the target as it stands then.
fn held(target: &Listed, words: String, format: Format, context: &Context) -> anyhow::Result<Exit> {
    match format {
        Format::Json => context.out.json(target)?,
        Format::Text => context.out.line(words)?,
    }
    Ok(Exit::Fine)
}

async fn list(format: Format, answerer: &Answerer, context: &Context) -> anyhow::Result<Exit> {
    let now = context.clock.now();
    let targets = answerer.targets().await?;
    match format {
        Format::Json => context.out.json(&List { targets })?,
        Format::Text => {
            let rows = targets.iter().map(|target| row(target, now)).collect();
            for line in table::lines(
                &["TARGET", "TYPE", "STATE", "PENDING", "DEAD", "WHY"],
                rows,
                context.out.width(),
            ) {
                context.out.line(line.trim_end())?;
            }
        }
    }
    Ok(Exit::Fine)
}

fn row(target: &Listed, now: Timestamp) -> Vec<table::Cell> {
    let style = match &*target.state {
        "ready" => GOOD,
        "parked" => BAD,
        _ => WARN,
    };
    let until = target.until.map_or(String::new(), |until| format!("next try {}: ", when::ago(until, now)));
    let why = format!("{until}{}", target.reason.as_deref().unwrap_or_default());
    let dead = if target.dead > 0 { BAD } else { DIM };
    vec![
        (BOLD, target.name.clone()),
        plain(target.kind.as_ref()),
        (style, target.state.to_string()),
        plain(target.pending.to_string()),
        (dead, target.dead.to_string()),
        plain(table::short(&why, 100)),
    ]
}

async fn test(name: &str, format: Format, answerer: &Answerer, context: &Context) -> anyhow::Result<Exit> {
    let mut exit = Exit::Fine;
    for tested in answerer.test(name).await? {
        if !tested.arrived() {
            exit = Exit::Problem;
        }
        match format {
            Format::Json => context.out.json(&tested)?,
            Format::Text => show_test(&tested, context)?,
        }
    }
    Ok(exit)
}

fn show_test(tested: &Tested, context: &Context) -> anyhow::Result<()> {
    let (style, word) = if tested.arrived() { (GOOD, "delivered") } else { (BAD, "not delivered") };
    let to = tested.recipient.as_ref().map_or_else(String::new, |recipient| format!(" to {recipient}"));
    context.out.line(format!(
        "{} ({}){to}: {} in {} ms",
        paint(BOLD, &tested.target),
        tested.kind,
        paint(style, word),
        tested.latency_ms
    ))?;
    if let Some(status) = tested.status {
        context.out.line(format!("  status  {status}"))?;
    }
    if let Some(answer) = tested.answer.as_deref().filter(|answer| !answer.trim().is_empty()) {
        context.out.line(format!("  answer  {}", table::short(answer, 500)))?;
    }
    if !tested.reason.is_empty() {
        let head = if tested.arrived() { "note  " } else { "why   " };
        context.out.line(format!("  {head}  {}", tested.reason))?;
    }
    Ok(())
}
