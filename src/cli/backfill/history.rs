//! The messages of a period: those that the store remembers, or those that the API lists.

use std::sync::Arc;

use jiff::Timestamp;
use tokio_util::task::TaskTracker;

use super::Args;
use crate::cli::output::{WARN, counted, paint};
use crate::cli::progress::Progress;
use crate::cli::{Context, Exit, Stop, when};
use crate::config::Config;
use crate::daemon::names::NameBook;
use crate::daemon::past::{self, Fetched, Period};
use crate::daemon::poller::PollError;
use crate::egress::Egress;
use crate::model::message::Message;
use crate::model::names::Names;
use crate::source::lookup::Lookup;
use crate::source::{self, Account, stamp};
use crate::store::{Mode, Store};

/// A message of the period, with what is known of its people.
#[derive(Debug, Clone)]
pub(super) struct Past {
    /// The message.
    pub(super) message: Message,
    /// Its people.
    pub(super) names: Names,
    /// Polling has yet to take it in, by all rules.
    pub(super) still_to_poll: bool,
}

/// The period's messages of all accounts asked for, in order of their making. Names are looked up only where the messages
/// are, and only if `need_names`.
pub(super) async fn history(
    args: &Args,
    config: &Config,
    store: &Store,
    period: Period,
    need_names: bool,
    context: &Context,
) -> anyhow::Result<Vec<Past>> {
    let mut past = Vec::new();
    for account in accounts(args.account.as_deref(), config)? {
        past.extend(if args.fetch {
            fetched(account, store, period, need_names, context).await?
        } else {
            stored(account, config, store, period, context).await?
        });
    }
    past.sort_by(|a, b| (a.message.created_at, &a.message.uid).cmp(&(b.message.created_at, &b.message.uid)));
    Ok(past)
}

fn accounts<'c>(wanted: Option<&str>, config: &'c Config) -> anyhow::Result<Vec<&'c Arc<Account>>> {
    let accounts = config.accounts.iter().filter(|account| wanted.is_none_or(|name| name == account.name));
    let accounts: Vec<_> = accounts.collect();
    if let (true, Some(name)) = (accounts.is_empty(), wanted) {
        let known: Vec<&str> = config.accounts.iter().map(|account| account.name.as_str()).collect();
        let text = format!("there is no account `{name}`; there are: {}", known.join(", "));
        return Err(Stop::new(Exit::Problem, text));
    }
    Ok(accounts)
}

async fn stored(
    account: &Account,
    config: &Config,
    store: &Store,
    period: Period,
    context: &Context,
) -> anyhow::Result<Vec<Past>> {
    let since = remembered(account, config, store, context.clock.now()).await?;
    if since.is_none_or(|since| period.from < since) {
        let since = since.map_or_else(
            || "was never polled: the store has none of its messages".to_owned(),
            |since| format!("is remembered since {}", when::moment(since, &config.timezone)),
        );
        let text =
            format!("the account {} {since}; --fetch asks the API for all of the period", account.name);
        context.out.note(paint(WARN, text))?;
    }
    let mut past = Vec::new();
    for message in past::stored(store, &account.name, period).await? {
        past.push(Past { names: past::names(store, None, &message).await, message, still_to_poll: false });
    }
    Ok(past)
}

/// Since when the store has all that was polled; `None` if nothing ever was.
async fn remembered(
    account: &Account,
    config: &Config,
    store: &Store,
    now: Timestamp,
) -> anyhow::Result<Option<Timestamp>> {
    let floor = store.cursor(&account.name).await?.floor;
    Ok(floor.map(|floor| floor.max(forgotten(config, now))))
}

/// What was made before it may no longer be in the store.
pub(super) fn forgotten(config: &Config, now: Timestamp) -> Timestamp {
    let memory = i64::try_from(config.retention.delivered.as_secs()).unwrap_or(i64::MAX);
    stamp::shift(now, -memory)
}

async fn fetched(
    account: &Account,
    store: &Store,
    period: Period,
    need_names: bool,
    context: &Context,
) -> anyhow::Result<Vec<Past>> {
    let egress = source::http::egress();
    let mut progress = Progress::new(context);
    let name = &account.name;
    let tell = |listed| progress.tell(&format!("asking for {name}: {} so far", counted(listed, "message")));
    let asked = past::fetched(account, &egress, store, period, context.clock.now(), tell).await;
    drop(progress);
    let Fetched { messages: found, unreadable, incomplete, still_to_poll } =
        asked.map_err(|error| match error {
            PollError::Api(error) => {
                let text = format!("the account {} cannot be asked: {error}", account.name);
                Stop::new(Exit::Unavailable, text)
            }
            PollError::Store(error) => error.into(),
        })?;
    let warn = |text: String| context.out.note(paint(WARN, text));
    if unreadable > 0 {
        warn(format!("{} of {} not readable: left out", counted(unreadable, "message"), account.name))?;
    }
    if incomplete {
        warn(format!("the API counts more messages of {} than it shows: some may be missing", account.name))?;
    }
    let book = if need_names { Some(book(account, &egress, context).await?) } else { None };
    let (all, mut past) = (found.len(), Vec::with_capacity(found.len()));
    let mut progress = Progress::new(context);
    for message in found {
        if book.is_some() {
            progress.tell(&format!("asking for names of {name}: {} of {all} messages", past.len()));
        }
        let names = past::names(store, book.as_ref(), &message).await;
        past.push(Past { still_to_poll: still_to_poll.contains(&message.uid), names, message });
    }
    Ok(past)
}

/// A book that looks names up and keeps them to itself.
async fn book(account: &Account, egress: &Egress, context: &Context) -> anyhow::Result<NameBook> {
    let lookup = Lookup::new(account, egress, Lookup::pace());
    let memory = Store::open("sqlite::memory:", Mode::Tool).await?;
    Ok(NameBook::new(account, Some(lookup), memory, context.clock.clone(), TaskTracker::new()))
}
