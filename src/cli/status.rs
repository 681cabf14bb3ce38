//! `status`: one screen that says whether all is well.

mod instances;

use jiff::Timestamp;
use serde::Serialize;

use super::output::{BAD, BOLD, DIM, GOOD, WARN, paint};
use super::table::{self, plain};
use super::{Context, Exit, Format, mute, targets, when};
use crate::config::Config;
use crate::model::delivery::StateName;
use crate::model::mute::Mute;
use crate::store::{AccountStatus, Counts, Store, TargetState};
use instances::{Instance, Instances};

/// Show each account's lag, the queue, and what needs attention; exit 1 if something does
///
/// Something needs attention while an account's polling fails, a target is parked, a delivery is dead, or one waits for a
/// target that is not in the rules file.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// For people or for programs
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
}

#[derive(Serialize)]
struct Account {
    name: String,
    last_success: Option<Timestamp>,
    lag_seconds: Option<i64>,
    error: Option<String>,
    polled_by: Option<String>,
}

/// A target that is not simply ready.
#[derive(Serialize)]
struct Held {
    name: String,
    state: &'static str,
    until: Option<Timestamp>,
    reason: Option<String>,
    pending: u64,
    dead: u64,
}

#[derive(Serialize)]
struct Status {
    accounts: Vec<Account>,
    deliveries: serde_json::Map<String, serde_json::Value>,
    oldest_due_seconds: Option<i64>,
    targets: Vec<Held>,
    instances: Vec<Instance>,
    cleaned_by: Option<String>,
    mutes: Vec<Mute>,
}

/// Runs the command.
///
/// # Errors
/// The store cannot be opened or read.
pub async fn run(args: &Args, context: &mut Context) -> anyhow::Result<Exit> {
    let store = context.store().await?;
    let now = context.clock.now();
    let counts = store.counts(None).await?;
    let loaded = context.load().config;
    let instances = Instances::of(&store, now).await?;
    let mutes = store.mutes(now).await?;
    let without_rule =
        |mute: &&Mute| loaded.as_ref().is_some_and(|config| config.rules.get(&mute.rule).is_none());
    let ruleless: Vec<Mute> = mutes.iter().filter(without_rule).cloned().collect();
    let mut accounts = accounts(context, &store, loaded.as_ref(), now).await?;
    for account in &mut accounts {
        account.polled_by = instances.polling(&account.name);
    }
    let mut targets = held(&store, now).await?;
    let gone = gone(&store, loaded.as_ref()).await?;
    let forsaken = !gone.is_empty();
    targets.retain(|target| !gone.iter().any(|gone| gone.name == target.name));
    targets.extend(gone);
    let oldest_due = store.oldest_due().await?;
    let oldest_due_seconds = oldest_due.map(|due| now.duration_since(due).as_secs().max(0));
    let parked = targets.iter().any(|target| target.state == "parked");
    let failing = accounts.iter().any(|account| account.error.is_some());
    let troubled = parked || failing || forsaken || counts.dead > 0;
    match args.format {
        Format::Json => {
            let deliveries =
                StateName::ALL.iter().map(|state| (state.to_string(), counts.of(*state).into())).collect();
            let (cleaned_by, instances) = (instances.cleaning(), instances.all);
            let status =
                Status { accounts, deliveries, oldest_due_seconds, targets, instances, cleaned_by, mutes };
            context.out.json(&status)?;
        }
        Format::Text => {
            show_accounts(context, &accounts, instances.are_shared(), now)?;
            instances.show(context, now)?;
            show_deliveries(context, counts, oldest_due, now)?;
            show_targets(context, &targets, now)?;
            show_mutes(context, &mutes, now)?;
            show_ruleless(context, &ruleless)?;
            if counts.dead > 0 {
                let hint = "activity-relay deliveries list --state dead";
                context
                    .out
                    .line(format!("\n{} dead: look at them with `{hint}`", paint(BAD, counts.dead)))?;
            } else if !troubled && ruleless.is_empty() {
                context.out.line(format!("\n{}", paint(GOOD, "nothing needs attention")))?;
            }
        }
    }
    Ok(if troubled { Exit::Problem } else { Exit::Fine })
}

/// Those that were ever polled, and those of the rules file that never were.
async fn accounts(
    context: &Context,
    store: &Store,
    config: Option<&Config>,
    now: Timestamp,
) -> anyhow::Result<Vec<Account>> {
    let mut known = store.accounts().await?;
    if config.is_none() {
        let file = context.global.config.display();
        context.out.note(format!("{file} does not load; only what the store knows is shown"))?;
    }
    for account in config.iter().flat_map(|config| &config.accounts) {
        if !known.iter().any(|status| status.name == account.name) {
            known.push(AccountStatus { name: account.name.clone(), ..AccountStatus::default() });
        }
    }
    let shown = known.into_iter().map(|status| Account {
        polled_by: None,
        lag_seconds: status.last_success.map(|at| now.duration_since(at).as_secs().max(0)),
        name: status.name,
        last_success: status.last_success,
        error: status.error,
    });
    Ok(shown.collect())
}

async fn held(store: &Store, now: Timestamp) -> anyhow::Result<Vec<Held>> {
    let mut held = Vec::new();
    for state in store.target_states().await? {
        let Standing { state: name, until, reason } = standing(Some(&state), now);
        if name == "ready" {
            continue;
        }
        let counts = store.counts(Some(&state.name)).await?;
        let Counts { pending, dead, .. } = counts;
        held.push(Held { name: state.name, state: name, until, reason, pending, dead });
    }
    Ok(held)
}

/// Targets that something is owed to and that the rules file does not name: nobody sends to them.
async fn gone(store: &Store, config: Option<&Config>) -> anyhow::Result<Vec<Held>> {
    let Some(config) = config else { return Ok(Vec::new()) };
    let mut gone = Vec::new();
    for name in store.owed_targets().await? {
        let Counts { pending, sending, dead, .. } = store.counts(Some(&name)).await?;
        if pending + sending == 0 || config.targets.contains_key(&name) {
            continue;
        }
        let reason = Some(targets::NOT_THERE.to_owned());
        gone.push(Held { name, state: "paused", until: None, reason, pending: pending + sending, dead });
    }
    Ok(gone)
}

/// A target's standing in the words of the JSON contract.
pub(super) struct Standing {
    /// `ready`, `paused` or `parked`.
    pub(super) state: &'static str,
    /// When a wait ends, or a parked target is tried again.
    pub(super) until: Option<Timestamp>,
    /// Why it is not ready.
    pub(super) reason: Option<String>,
}

pub(super) fn standing(state: Option<&TargetState>, now: Timestamp) -> Standing {
    let ready = Standing { state: "ready", until: None, reason: None };
    let Some(state) = state else { return ready };
    let reason = state.reason.clone();
    if state.paused {
        Standing { state: "paused", until: None, reason }
    } else if state.parked_until.is_some() {
        Standing { state: "parked", until: state.parked_until, reason }
    } else if state.wait_until.is_some_and(|until| until > now) {
        Standing { state: "paused", until: state.wait_until, reason }
    } else {
        ready
    }
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

fn show_mutes(context: &Context, mutes: &[Mute], now: Timestamp) -> anyhow::Result<()> {
    if mutes.is_empty() {
        return Ok(());
    }
    context.out.line("")?;
    for line in mute::drawn(mutes, now, &when::zone(context), context.out.width()) {
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

fn show_targets(context: &Context, targets: &[Held], now: Timestamp) -> anyhow::Result<()> {
    if targets.is_empty() {
        return Ok(());
    }
    let rows = targets.iter().map(|target| {
        let style = if target.state == "parked" { BAD } else { WARN };
        let until = target.until.map_or(String::new(), |until| when::ago(until, now));
        let reason = table::short(target.reason.as_deref().unwrap_or_default(), 80);
        let pending = plain(target.pending.to_string());
        vec![
            (BOLD, target.name.clone()),
            (style, target.state.to_owned()),
            plain(until),
            pending,
            plain(reason),
        ]
    });
    context.out.line("")?;
    for line in
        table::lines(&["TARGET", "STATE", "NEXT TRY", "PENDING", "WHY"], rows.collect(), context.out.width())
    {
        context.out.line(line.trim_end())?;
    }
    Ok(())
}
