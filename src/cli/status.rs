//! `status`: one screen that says whether all is well.

mod instances;

use std::collections::BTreeSet;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::answerer::{Answerer, Asking, Needs};
use super::output::{BAD, BOLD, DIM, GOOD, WARN, paint};
use super::table::{self, plain};
use super::{Context, Exit, Format, mute, when};
use crate::answers::status::{Account, Failing, Reload, Status};
use crate::model::delivery::StateName;
use crate::model::mute::Mute;
use crate::store::{Counts, Moment};

/// Show each account's lag, the queue, and what needs attention; exit 1 if something does
///
/// Something needs attention while an account's polling fails or nobody polls it, a target is parked, has taken nothing for
/// five minutes or asks to wait while something has been due for an hour, a delivery is dead, one waits for a target that is
/// not in the rules file, the last reload was refused, the relay was killed (of several: all of them), or the rules file is
/// broken.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// For people or for programs
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
    #[command(flatten)]
    asking: Asking,
}

/// Runs the command.
///
/// # Errors
/// The store cannot be opened or read, or the relay not asked.
pub async fn run(args: &Args, context: &mut Context) -> anyhow::Result<Exit> {
    let answerer = Answerer::of(&args.asking, Needs::Store, context).await?;
    // A relay that runs goes on with the rules it has; one that is started anew would end at once.
    let (lacks_rules, exists) = (answerer.lacks_rules(), context.global.config.exists());
    if lacks_rules {
        let file = context.global.config.display();
        context.out.note(if exists {
            format!("{file} does not load; only what the store knows is shown")
        } else {
            format!(
                "there is no {file} here, so only the store is looked at; --config FILE names a rules file"
            )
        })?;
    }
    let broken = lacks_rules && exists;
    let status = answerer.status().await?;
    match args.format {
        Format::Json => context.out.json(&status)?,
        Format::Text => {
            show(context, &status, &answerer.zone().await?)?;
            show_end(context, &status, broken)?;
        }
    }
    Ok(if status.needs_attention() || broken { Exit::Problem } else { Exit::Fine })
}

fn show(context: &Context, status: &Status, zone: &TimeZone) -> anyhow::Result<()> {
    let (counts, now) = (status.counts, status.now);
    show_accounts(context, &status.accounts, status.shared, now)?;
    if status.shared {
        instances::show(status, context)?;
    }
    show_deliveries(context, counts, status.oldest_due, now)?;
    show_waiting(context, &status.waiting, zone, now)?;
    show_targets(context, status)?;
    show_mutes(context, &status.mutes, zone, now)?;
    show_ruleless(context, &status.ruleless)
}

/// What needs attention first, in words.
fn show_end(context: &Context, status: &Status, broken: bool) -> anyhow::Result<()> {
    if broken {
        let file = context.global.config.display();
        let words = "a relay that runs keeps the rules it has, and none could be started: `activity-relay check` says why";
        context.out.line(format!("\n{} {words}", paint(BAD, format!("{file} is broken:"))))?;
    }
    for line in instances::missed(status) {
        context.out.line(format!("\n{line}"))?;
    }
    for Failing { name, since, asks_to_wait, pending } in &status.failing {
        let span = when::span(status.now.duration_since(*since).as_secs());
        let head = if *asks_to_wait {
            format!("{name} asks to wait, and the oldest delivery has been due for {span}:")
        } else {
            format!("{name} has taken nothing for {span}:")
        };
        let hint = format!("activity-relay deliveries list --target {name} --state pending");
        context.out.line(format!("\n{} {pending} wait and are tried again; `{hint}`", paint(BAD, head)))?;
    }
    if let Some(Reload { at, refused }) = &status.reload {
        let head = format!("the last reload ({}) was refused:", when::ago(*at, status.now));
        context.out.line(format!("\n{} {refused}; what was in force stays in force", paint(BAD, head)))?;
    }
    if status.counts.dead > 0 {
        let hint = "activity-relay deliveries list --state dead";
        context.out.line(format!("\n{} dead: look at them with `{hint}`", paint(BAD, status.counts.dead)))?;
    }
    if !broken && !status.needs_attention() && !status.rules_differ() && status.ruleless.is_empty() {
        context.out.line(format!("\n{}", paint(GOOD, "nothing needs attention")))?;
    }
    Ok(())
}

fn show_accounts(
    context: &Context,
    accounts: &[Account],
    shared: bool,
    now: Timestamp,
) -> anyhow::Result<()> {
    if accounts.is_empty() {
        context.out.line(paint(DIM, "no account was ever polled; start `activity-relay run`"))?;
        return Ok(());
    }
    let rows = accounts.iter().map(|account| {
        let last = account.last_success.map_or("never".to_owned(), |at| when::ago(at, now));
        let error = account.error.as_deref().unwrap_or_default();
        let mut row = vec![(BOLD, account.name.clone()), plain(last)];
        if shared {
            row.push(account.polled_by.as_ref().map_or((WARN, "nobody".to_owned()), |by| plain(by.clone())));
        }
        row.push((BAD, table::short(error, 120)));
        row
    });
    let head: &[&str] =
        if shared { &["ACCOUNT", "LAST SUCCESS", "POLLED BY", ""] } else { &["ACCOUNT", "LAST SUCCESS", ""] };
    for line in table::lines(head, rows.collect(), context.out.width()) {
        context.out.line(line.trim_end())?;
    }
    Ok(())
}

fn show_deliveries(
    context: &Context,
    counts: Counts,
    oldest: Option<Timestamp>,
    now: Timestamp,
) -> anyhow::Result<()> {
    let words = StateName::ALL.iter().filter(|state| {
        let always = matches!(state, StateName::Pending | StateName::Delivered | StateName::Dead);
        always || counts.of(**state) > 0
    });
    let words: Vec<String> = words
        .map(|state| {
            let n = counts.of(*state);
            let style = if *state == StateName::Dead && n > 0 { BAD } else { BOLD };
            format!("{} {state}", paint(style, n))
        })
        .collect();
    context.out.line(format!("\n{}", words.join(" · ")))?;
    if let Some(oldest) = oldest {
        let due = when::ago(oldest, now);
        let due = if due == when::NOW { "now" } else { &due };
        context.out.line(format!("oldest pending: due {due}"))?;
    }
    Ok(())
}

fn show_waiting(
    context: &Context,
    waiting: &[Moment],
    zone: &TimeZone,
    now: Timestamp,
) -> anyhow::Result<()> {
    if waiting.is_empty() {
        return Ok(());
    }
    let rows = waiting.iter().map(|one| {
        let what = match (one.gathers, one.deliveries) {
            (true, 1) => "1 digest".to_owned(),
            (true, n) => format!("{n} digests"),
            (false, n) => format!("{n} held"),
        };
        vec![
            plain(what),
            plain(when::moment(one.at, zone)),
            (DIM, when::ago(one.at, now)),
            plain(format!("{} → {}", one.rule, one.target)),
        ]
    });
    context.out.line("")?;
    for line in table::lines(&["WAITS", "UNTIL", "", "RULE, TARGET"], rows.collect(), context.out.width()) {
        context.out.line(line.trim_end())?;
    }
    Ok(())
}

fn show_mutes(context: &Context, mutes: &[Mute], zone: &TimeZone, now: Timestamp) -> anyhow::Result<()> {
    if mutes.is_empty() {
        return Ok(());
    }
    context.out.line("")?;
    for line in mute::drawn(mutes, now, zone, context.out.width()) {
        context.out.line(line.trim_end())?;
    }
    Ok(())
}

/// Mutes that silence nothing: their rule was renamed or removed.
fn show_ruleless(context: &Context, mutes: &[Mute]) -> anyhow::Result<()> {
    for mute in mutes {
        context.out.line(paint(
            WARN,
            format!(
                "mute {} silences nothing: the rules file has no rule `{}`. If it was renamed, mute the new name; \
                 `activity-relay mute lift {}` removes this one",
                mute.id, mute.rule, mute.id
            ),
        ))?;
    }
    Ok(())
}

/// Those that something waits for and those that are held, by their names.
fn show_targets(context: &Context, status: &Status) -> anyhow::Result<()> {
    let held = status.targets.iter().map(|held| &held.name);
    let names: BTreeSet<&String> = status.queues.iter().map(|queue| &queue.target).chain(held).collect();
    if names.is_empty() {
        return Ok(());
    }
    let moment = |at: Option<Timestamp>| at.map_or(String::new(), |at| when::ago(at, status.now));
    let rows = names.into_iter().map(|name| {
        let held = status.targets.iter().find(|held| held.name == *name);
        let queue = status.queues.iter().find(|queue| queue.target == *name);
        let failing = status.failing.iter().find(|failing| failing.name == *name);
        let (style, state) = match held.map(|held| &*held.state) {
            _ if failing.is_some_and(|failing| failing.asks_to_wait) => (BAD, "paused"),
            _ if failing.is_some() => (BAD, "failing"),
            None => (DIM, "ready"),
            Some("parked") => (BAD, "parked"),
            Some(other) => (WARN, other),
        };
        let reason = held.and_then(|held| held.reason.as_deref()).unwrap_or_default();
        vec![
            (BOLD, name.clone()),
            (style, state.to_owned()),
            plain(queue.map_or(0, |queue| queue.pending).to_string()),
            plain(moment(queue.and_then(|queue| queue.oldest_due))),
            plain(moment(held.and_then(|held| held.until))),
            plain(table::short(reason, 80)),
        ]
    });
    context.out.line("")?;
    let columns = ["TARGET", "STATE", "PENDING", "OLDEST DUE", "NEXT TRY", "WHY"];
    for line in table::lines(&columns, rows.collect(), context.out.width()) {
        context.out.line(line.trim_end())?;
    }
    Ok(())
}
