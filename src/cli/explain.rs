//! `explain`: why a message did or did not arrive, or what would become of it.

mod show;

use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::answers::explain::{About, Story, document};
use crate::config::Config;
use crate::daemon::names;
use crate::model::message::Message;
use crate::store::Store;

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
    let other = match args.what.as_deref() {
        Some(what) if Path::new(what).is_file() => {
            let message = subject::from_file(Path::new(what), account)?;
            let names = names::stored(store, &message).await;
            (About::File, message, names)
        }
        Some(uid) => {
            let stored = Story::of_stored(config, store, args.account.as_deref(), uid, now).await?;
            let (None, Some(triple)) = (&stored, subject::known_type(uid)) else { return Ok(stored) };
            let (message, names) = subject::sample_of(&triple, account, now)?;
            (About::Type, message, names)
        }
        None => {
            let triple = [&args.activity_type, &args.message_type, &args.direction];
            let triple = subject::canonical(triple.map(|name| name.as_deref().unwrap_or_default()));
            let (message, names) = subject::sample_of(&triple, account, now)?;
            (About::Type, message, names)
        }
    };
    Ok(Some(Story::of_other(config, store, other, now).await?))
}

/// The account that a file's or a sample's message is taken to belong to.
fn account<'c>(args: &'c Args, config: &'c Config) -> anyhow::Result<&'c str> {
    let known: Vec<&str> = config.accounts.iter().map(|account| account.name.as_str()).collect();
    match args.account.as_deref() {
        Some(name) if !known.contains(&name) => {
            let message = format!("there is no account `{name}`; there are: {}", known.join(", "));
            Err(Stop::new(Exit::Problem, message))
        }
        Some(name) => Ok(name),
        None => Ok(known.first().copied().unwrap_or("main")),
    }
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
    if let Some(triple) = subject::whole_type(uid) {
        let text = format!(
            "`{uid}` is neither a message that is stored nor a file, and {}",
            show::unknown_type(&triple)
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
