//! `targets`: where messages go, which of them are held up, and a test message through one of them.

use clap::Subcommand;
use jiff::Timestamp;
use serde::Serialize;

use super::output::{BAD, BOLD, DIM, GOOD, WARN, paint};
use super::status::{Standing, standing};
use super::table::{self, plain};
use super::{Context, Exit, Format, Stop, when};
use crate::config::Config;
use crate::model::delivery::{Notice, Outcome, Report};
use crate::model::id::DeliveryId;
use crate::render::view::{Around, View};
use crate::store::Counts;
use crate::target::{Parcel, Target};

/// The type of a target that deliveries name but the rules file does not.
const GONE: &str = "unknown";

/// List, pause, resume and test targets
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
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
    },
    /// End a pause, a wait or a parking: send again at once
    Resume {
        /// The target's name in the rules file
        name: String,
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

/// Why nothing is sent to a target that the rules file does not name.
pub(super) const NOT_THERE: &str =
    "not in the rules file; what is owed waits until it is back, expires, or is discarded";

#[derive(Serialize)]
struct Listed {
    name: String,
    #[serde(rename = "type")]
    kind: &'static str,
    state: &'static str,
    until: Option<Timestamp>,
    reason: Option<String>,
    pending: u64,
    dead: u64,
}

#[derive(Serialize)]
struct List {
    targets: Vec<Listed>,
}

#[derive(Serialize)]
struct Tested<'a> {
    target: &'a str,
    recipient: Option<&'a str>,
    outcome: &'static str,
    status: Option<u16>,
    reason: &'a str,
    answer: Option<&'a str>,
    latency_ms: u128,
}

/// Runs the command.
///
/// # Errors
/// The rules file has problems, the store cannot be opened, or the name is unknown.
pub async fn run(args: &Args, context: &mut Context) -> anyhow::Result<Exit> {
    let config = context.config()?;
    match &args.action {
        Action::List { format } => list(*format, &config, context).await,
        Action::Pause { name, reason } => {
            find(&config, name)?;
            context.store().await?.pause_target(name, true, reason).await?;
            context.out.line(format!("{name} is paused; `activity-relay targets resume {name}` ends it"))?;
            Ok(Exit::Fine)
        }
        Action::Resume { name } => {
            find(&config, name)?;
            let store = context.store().await?;
            store.pause_target(name, false, "").await?;
            let pending = store.counts(Some(name)).await?.pending;
            context.out.line(format!("{name} is resumed; {pending} pending"))?;
            Ok(Exit::Fine)
        }
        Action::Test { name, format } => test(find(&config, name)?, *format, &config, context).await,
    }
}

fn find<'a>(config: &'a Config, name: &str) -> anyhow::Result<&'a Target> {
    config.targets.get(name).map(AsRef::as_ref).ok_or_else(|| {
        let names: Vec<&str> = config.targets.keys().map(String::as_str).collect();
        Stop::new(Exit::Problem, format!("no target is named `{name}`; there are: {}", names.join(", ")))
    })
}

async fn list(format: Format, config: &Config, context: &Context) -> anyhow::Result<Exit> {
    let store = context.store().await?;
    let now = context.clock.now();
    let states = store.target_states().await?;
    let mut targets = Vec::new();
    for target in config.targets.values() {
        let counts = store.counts(Some(&target.name)).await?;
        let mut standing = standing(states.iter().find(|state| state.name == target.name), now);
        if !target.enabled {
            standing = held("`enabled: false` in the rules file");
        }
        targets.push(listed(&target.name, target.type_name(), standing, counts));
    }
    for name in store.owed_targets().await?.iter().filter(|name| !config.targets.contains_key(*name)) {
        let counts = store.counts(Some(name)).await?;
        targets.push(listed(name, GONE, held(NOT_THERE), counts));
    }
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

/// Nothing is sent, for a reason that lies in the rules file.
fn held(reason: &str) -> Standing {
    Standing { state: "paused", until: None, reason: Some(reason.to_owned()) }
}

fn listed(name: &str, kind: &'static str, standing: Standing, counts: Counts) -> Listed {
    Listed {
        name: name.to_owned(),
        kind,
        state: standing.state,
        until: standing.until,
        reason: standing.reason,
        pending: counts.pending + counts.sending,
        dead: counts.dead,
    }
}

fn row(target: &Listed, now: Timestamp) -> Vec<table::Cell> {
    let style = match target.state {
        "ready" => GOOD,
        "parked" => BAD,
        _ => WARN,
    };
    let until = target.until.map_or(String::new(), |until| format!("next try {}: ", when::ago(until, now)));
    let why = format!("{until}{}", target.reason.as_deref().unwrap_or_default());
    let dead = if target.dead > 0 { BAD } else { DIM };
    vec![
        (BOLD, target.name.clone()),
        plain(target.kind),
        (style, target.state.to_owned()),
        plain(target.pending.to_string()),
        (dead, target.dead.to_string()),
        plain(table::short(&why, 100)),
    ]
}

async fn test(target: &Target, format: Format, config: &Config, context: &Context) -> anyhow::Result<Exit> {
    let recipients: Vec<Option<&str>> = match target.recipients() {
        [] => vec![None],
        recipients => recipients.iter().map(|recipient| Some(recipient.as_str())).collect(),
    };
    let mut exit = Exit::Fine;
    for recipient in recipients {
        let report = send_test(target, recipient, config, context).await;
        if report.outcome != Outcome::Delivered {
            exit = Exit::Problem;
        }
        match format {
            Format::Json => context.out.json(&Tested {
                target: &target.name,
                recipient,
                outcome: report.outcome.as_str(),
                status: report.status,
                reason: &report.reason,
                answer: report.answer.as_deref(),
                latency_ms: report.latency.as_millis(),
            })?,
            Format::Text => show_test(target, recipient, &report, context)?,
        }
    }
    Ok(exit)
}

async fn send_test(target: &Target, recipient: Option<&str>, config: &Config, context: &Context) -> Report {
    let now = context.clock.now();
    let moment = when::moment(now, &config.timezone);
    let name = &target.name;
    let id = DeliveryId::derive(now, &["test", name, recipient.unwrap_or_default()]);
    let notice = Notice {
        subject: "Test message from activity-relay".to_owned(),
        text: format!(
            "This is a test. Somebody ran `activity-relay targets test {name}` at {moment}.\n\
             It arrived, so the target works; there is nothing to do."
        ),
    };
    let account = config.accounts.first();
    let view = View {
        messages: Vec::new(),
        notice: Some(notice),
        delivery_id: id.to_string(),
        attempt: 1,
        rule: "relay".to_owned(),
        target: name.clone(),
        account: account.map(|account| account.name.clone()).unwrap_or_default(),
        app_host: account
            .map(|account| account.app_host.as_str().trim_end_matches('/').to_owned())
            .unwrap_or_default(),
        timezone: config.timezone.clone(),
        now,
        around: Around::default(),
    };
    let payload = config.templates.render_notice(target.format(), &view);
    target.deliver(&Parcel { id: id.as_str(), payload: &payload, recipient, now }).await
}

fn show_test(
    target: &Target,
    recipient: Option<&str>,
    report: &Report,
    context: &Context,
) -> anyhow::Result<()> {
    let (style, word) = match report.outcome {
        Outcome::Delivered => (GOOD, "delivered"),
        _ => (BAD, "not delivered"),
    };
    let to = recipient.map_or_else(String::new, |recipient| format!(" to {recipient}"));
    let took = report.latency.as_millis();
    context.out.line(format!(
        "{} ({}){to}: {} in {took} ms",
        paint(BOLD, &target.name),
        target.type_name(),
        paint(style, word)
    ))?;
    if let Some(status) = report.status {
        context.out.line(format!("  status  {status}"))?;
    }
    if let Some(answer) = report.answer.as_deref().filter(|answer| !answer.trim().is_empty()) {
        context.out.line(format!("  answer  {}", table::short(answer, 500)))?;
    }
    if !report.reason.is_empty() {
        context.out.line(format!(
            "  {}  {}",
            if style == GOOD { "note  " } else { "why   " },
            report.reason
        ))?;
    }
    Ok(())
}
