//! `explain`: why a message did or did not arrive, or what would become of it.

mod show;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::config::Config;
use crate::daemon::names;
use crate::model::catalog;
use crate::model::delivery::{Planned, StateName};
use crate::model::group::Over;
use crate::model::message::Message;
use crate::model::mute::Mute;
use crate::model::names::Names;
use crate::rules::Place;
use crate::rules::evaluate::{Evaluation, evaluate, matching};
use crate::rules::plan::plan;
use crate::store::{Detail, Filter, Store, StoredMessage, TargetState};

use super::deliveries::Listed;
use super::{Context, Exit, Format, Stop, subject};

/// From so many characters on, what is no uid may be the beginning of a delivery's id.
const DELIVERY_ID_CHARS_MIN: usize = 8;

/// What stands below the options.
const AFTER_HELP: &str = "\
Examples:
  activity-relay explain a81bf03c                        a message that was polled
  activity-relay explain item.json                       one item as the API gives it
  activity-relay explain Meeting/cancelled/client_to_pivot
                                                         one of this type, if it came now
  activity-relay explain a81bf03c --save cancelled.json  keep it for a rule test";

/// Say why a message did or did not arrive: each rule's verdict, and every attempt
#[derive(Debug, clap::Args)]
#[command(
    after_help = AFTER_HELP,
    group = clap::ArgGroup::new("about").required(true).args(["what", "activity_type"])
)]
pub struct Args {
    /// A stored message's uid, a file with one item as the API gives it, or a type of the catalogue, written
    /// `Meeting/cancelled/client_to_pivot`
    #[arg(
        value_name = "FILE|UID|TYPE",
        conflicts_with_all = ["activity_type", "message_type", "direction"]
    )]
    what: Option<String>,
    /// The activity type of a message that may come
    #[arg(long, value_name = "TYPE", requires_all = ["message_type", "direction"])]
    activity_type: Option<String>,
    /// Its message type
    #[arg(long, value_name = "TYPE", requires = "activity_type")]
    message_type: Option<String>,
    /// Its direction
    #[arg(long, value_name = "DIRECTION", requires = "activity_type")]
    direction: Option<String>,
    /// The account it belongs to [default: the first of the rules file]
    #[arg(long, value_name = "NAME")]
    account: Option<String>,
    /// Write the item to a file, for a rule test
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// Write over a file that is there
    #[arg(long, requires = "save")]
    force: bool,
    /// For people or for programs
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
}

/// A message with all there is to say of it.
struct Story<'c> {
    about: About,
    message: Message,
    names: Names,
    /// `None` for one that was never polled.
    stored: Option<StoredMessage>,
    verdicts: Vec<Evaluation<'c>>,
    owed: Owed,
    /// Where the targets stand that are not simply ready.
    targets: Vec<TargetState>,
    /// Which rules are muted at the moment.
    mutes: Vec<Mute>,
}

/// What a story is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum About {
    /// A message that was polled.
    Polled,
    /// An item out of a file.
    File,
    /// A made-up message of a type.
    Type,
}

/// What is owed for it.
enum Owed {
    /// The deliveries there are.
    Is(Vec<Detail>),
    /// Those that there would be.
    Would(Vec<Planned>),
}

/// Runs the command.
///
/// # Errors
/// An unknown uid, a file that cannot be read, a bad rules file.
pub async fn run(args: &Args, context: &mut Context) -> anyhow::Result<Exit> {
    let config = context.config()?;
    let known = context.existing_store().await?;
    let now = context.clock.now();
    let Some(story) = found(args, &config, &known, now).await? else {
        let uid = args.what.as_deref().unwrap_or_default();
        return Err(unknown(&known, uid, context).await?);
    };
    if let Some(path) = &args.save {
        save(path, args.force, &story.message, context)?;
    }
    match args.format {
        Format::Json => context.out.json(&document(&story, now)?)?,
        Format::Text => show::text(&story, &config, context)?,
    }
    Ok(Exit::Fine)
}

async fn found<'c>(
    args: &Args,
    config: &'c Config,
    store: &Store,
    now: Timestamp,
) -> anyhow::Result<Option<Story<'c>>> {
    let account = account(args, config)?;
    let (about, message, names, stored) = match args.what.as_deref() {
        Some(what) if Path::new(what).is_file() => {
            let message = subject::from_file(Path::new(what), account)?;
            let names = names::stored(store, &message).await;
            (About::File, message, names, None)
        }
        Some(uid) => {
            let stored = store.message(args.account.as_deref(), uid).await?;
            match (stored, subject::known_type(uid)) {
                (Some(stored), _) => {
                    let names = names::stored(store, &stored.message).await;
                    (About::Polled, stored.message.clone(), names, Some(stored))
                }
                (None, Some(triple)) => {
                    let (message, names) = subject::sample_of(&triple, account, now)?;
                    (About::Type, message, names, None)
                }
                (None, None) => return Ok(None),
            }
        }
        None => {
            let triple = [&args.activity_type, &args.message_type, &args.direction];
            let triple = subject::canonical(triple.map(|name| name.as_deref().unwrap_or_default()));
            let (message, names) = subject::sample_of(&triple, account, now)?;
            (About::Type, message, names, None)
        }
    };
    let mutes = store.mutes(now).await?;
    let owed = if stored.is_some() {
        Owed::Is(deliveries(store, &message).await?)
    } else {
        let found = matching(&config.rules, &message, &names);
        Owed::Would(plan(&found, &message, &names, &mutes, now))
    };
    let verdicts = evaluate(&config.rules, &message, &names);
    let targets = store.target_states().await?;
    Ok(Some(Story { about, message, names, stored, verdicts, owed, targets, mutes }))
}

/// The account that a file's or a sample's message is taken to belong to.
fn account<'c>(args: &'c Args, config: &'c Config) -> anyhow::Result<&'c str> {
    let known: Vec<&str> = config.accounts.iter().map(|account| account.name.as_str()).collect();
    match args.account.as_deref() {
        Some(name) if !known.contains(&name) => {
            let message = format!("there is no account `{name}`; there are: {}", known.join(", "));
            Err(Stop::new(Exit::Usage, message))
        }
        Some(name) => Ok(name),
        None => Ok(known.first().copied().unwrap_or("main")),
    }
}

/// All deliveries of a message, with their attempts.
async fn deliveries(store: &Store, message: &Message) -> anyhow::Result<Vec<Detail>> {
    let filter = Filter { message: Some(message.uid.clone()), ..Filter::default() };
    let mut details = Vec::new();
    for row in store.deliveries(filter).await?.0.iter().filter(|row| row.account == message.account) {
        details.extend(store.delivery(&row.id).await?);
    }
    Ok(details)
}

/// What to say of a uid that is no message: it may have been unreadable.
async fn unknown(store: &Store, uid: &str, context: &Context) -> anyhow::Result<anyhow::Error> {
    let quarantine = store.quarantine().await?;
    if let Some((account, item, at)) = quarantine.into_iter().find(|(_, item, _)| item.uid == uid) {
        let text = format!(
            "the message `{uid}` of the account {account} came {}, but cannot be read: {}. It is kept aside and was not \
             looked at by any rule; its raw form is:\n{}",
            super::when::ago(at, context.clock.now()),
            item.why,
            item.raw
        );
        return Ok(Stop::new(Exit::Problem, text));
    }
    if uid.len() >= DELIVERY_ID_CHARS_MIN
        && let Some(id) = store.ids_like(uid, 1).await?.first()
        && let Some(delivery) = store.delivery(id).await?
        && let Some(message) = delivery.row.messages.first()
    {
        let text = format!(
            "`{uid}` is a delivery, for the message {message}; `activity-relay explain {message}` explains that, \
             `activity-relay deliveries show {id}` the delivery"
        );
        return Ok(Stop::new(Exit::Problem, text));
    }
    let types = subject::types_like(uid);
    if !types.is_empty() {
        let text = format!(
            "no message with the uid `{uid}` is stored. A type is explained by its whole name: {types}"
        );
        return Ok(Stop::new(Exit::Problem, text));
    }
    let text = format!(
        "no message with the uid `{uid}` is stored, and no file has that name. The relay keeps what it polled for the \
         `retention` of the rules file; `activity-relay deliveries list --format json` has the uids of what was delivered"
    );
    Ok(Stop::new(Exit::Problem, text))
}

fn save(path: &Path, force: bool, message: &Message, context: &Context) -> anyhow::Result<()> {
    if path.exists() && !force {
        let text = format!("{} is there already; --force writes over it", path.display());
        return Err(Stop::new(Exit::Usage, text));
    }
    let text = format!("{}\n", serde_json::to_string_pretty(&message.raw)?);
    std::fs::write(path, text).map_err(|error| {
        Stop::new(Exit::Unavailable, format!("{} cannot be written: {error}", path.display()))
    })?;
    let file = path.display();
    context.out.note(format!("wrote {file}; a rule test takes it with `messages: [{{ file: {file} }}]`"))?;
    Ok(())
}

/// The document of `--format json`.
fn document(story: &Story<'_>, now: Timestamp) -> anyhow::Result<Value> {
    let rules: Vec<Value> = story.verdicts.iter().map(|verdict| verdict_json(verdict, story)).collect();
    let deliveries = match &story.owed {
        Owed::Is(details) => details.iter().map(is_json).collect::<anyhow::Result<Vec<_>>>()?,
        Owed::Would(planned) => planned.iter().map(|planned| would_json(planned, now)).collect(),
    };
    Ok(json!({ "message": message_json(story), "rules": rules, "deliveries": deliveries }))
}

fn verdict_json(verdict: &Evaluation<'_>, story: &Story<'_>) -> Value {
    let Place { file, line, column } = &verdict.place;
    json!({
        "rule": verdict.rule,
        "matched": verdict.matched,
        "reason": verdict.reason,
        "place": { "file": file, "line": line, "column": column },
        "muted": story.mutes.iter().find(|mute| mute.rule == verdict.rule),
    })
}

fn message_json(story: &Story<'_>) -> Value {
    let message = &story.message;
    json!({
        "account": message.account,
        "uid": message.uid,
        "activity_type": message.triple.activity_type,
        "message_type": message.triple.message_type,
        "direction": message.triple.direction,
        "label": catalog::label(&message.triple),
        "subject": message.subject,
        "body": message.body,
        "channels": message.channels,
        "meeting": message.meeting,
        "created_at": message.created_at,
        "seen_at": story.stored.as_ref().map(|stored| stored.seen_at),
        "taken_by": story.stored.as_ref().map(|stored| &stored.rules),
        "client": story.names.client,
        "staff": story.names.staff,
    })
}

fn is_json(detail: &Detail) -> anyhow::Result<Value> {
    let mut object = object(&Listed::of(&detail.row))?;
    object.insert("history".to_owned(), serde_json::to_value(&detail.history)?);
    Ok(Value::Object(object))
}

fn object(value: &impl Serialize) -> anyhow::Result<Map<String, Value>> {
    match serde_json::to_value(value)? {
        Value::Object(object) => Ok(object),
        other => Ok(Map::from_iter([("delivery".to_owned(), other)])),
    }
}

/// A delivery that there would be, in the list's form; it has no id, as it is not there.
fn would_json(planned: &Planned, now: Timestamp) -> Value {
    let state = match (&planned.withheld, planned.expires_at) {
        (Some(_), _) => StateName::Withheld,
        (None, Some(end)) if end <= now => StateName::Expired,
        (None, _) => StateName::Pending,
    };
    json!({
        "id": null,
        "rule": planned.rule,
        "target": planned.target,
        "recipient": planned.recipient,
        "messages": planned.messages,
        "state": state,
        "due_at": (state == StateName::Pending).then_some(planned.due_at),
        "digest": planned.joins.as_ref().map(|join| json!({ "from": join.from, "to": join.to })),
        "throttle": planned.quota.as_ref().map(|quota| json!({
            "limit": quota.throttle.limit, "per_seconds": quota.throttle.per.as_secs(),
            "over": match quota.over { Over::Drop(_) => "drop", Over::Join { .. } => "digest" },
        })),
        "attempts": 0,
        "last": null,
        "maybe_duplicate": false,
        "replay_of": null,
        "account": planned.account,
        "template": planned.template,
        "expires_at": planned.expires_at,
        "why": planned.withheld,
        "history": [],
    })
}

/// The rules that would decide otherwise today than they did when the message came: (take it now, took it then).
fn changed<'s>(story: &'s Story<'_>) -> (Vec<&'s str>, Vec<&'s str>) {
    let Some(stored) = &story.stored else { return (Vec::new(), Vec::new()) };
    let now: HashMap<&str, bool> =
        story.verdicts.iter().map(|verdict| (verdict.rule, verdict.matched)).collect();
    let then = |rule: &str| stored.rules.iter().any(|taken| taken == rule);
    let gained = story.verdicts.iter().filter(|verdict| verdict.matched && !then(verdict.rule));
    let lost = stored.rules.iter().map(String::as_str).filter(|rule| now.get(rule) != Some(&true));
    (gained.map(|verdict| verdict.rule).collect(), lost.collect())
}
