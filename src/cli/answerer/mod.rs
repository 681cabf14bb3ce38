//! Where a command's answers come from: the store that is opened here, or a running relay that is asked by its API.

mod client;
mod here;
mod there;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::{Context, Exit, Stop};
use crate::answers::actions::{Change, Changed};
use crate::answers::asked::Refusal;
use crate::answers::deliveries::{Listed, Shown};
use crate::answers::digests::Digest;
use crate::answers::status::Status;
use crate::answers::targets;
use crate::model::id::DeliveryId;
use crate::model::mute::Mute;
use crate::store::Filter;

use here::Here;
use there::There;

/// The heading of the options that say whom to ask.
const HEADING: &str = "Asking a running relay";

/// Whom a command asks.
#[derive(Debug, Clone, clap::Args)]
pub struct Asking {
    /// Ask the relay that runs there, such as `http://127.0.0.1:8787`, instead of opening the store
    #[arg(help_heading = HEADING, long, global = true, value_name = "URL", env = "RELAY_URL")]
    url: Option<String>,
    /// What that relay's console demands to see; better given by the environment
    #[arg(
        help_heading = HEADING,
        long = "console-token",
        global = true,
        value_name = "TOKEN",
        env = "RELAY_CONSOLE_TOKEN",
        hide_env_values = true
    )]
    token: Option<String>,
}

/// What a command needs where it opens the store itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// The store; the rules file adds to it if it loads.
    Store,
    /// The rules file as well.
    Rules,
}

/// Who answers.
#[derive(Debug)]
pub enum Answerer {
    /// The store.
    Here(Box<Here>),
    /// A running relay.
    There(Box<There>),
}

/// The same question to whoever answers.
macro_rules! either {
    ($self:ident.$($call:tt)*) => {
        match $self {
            Self::Here(here) => here.$($call)*,
            Self::There(there) => there.$($call)*,
        }
    };
}

impl Answerer {
    /// Whoever is to be asked. On the command line `--url` and `--store` exclude each other; what stands there wins over the
    /// environment.
    ///
    /// # Errors
    /// The store cannot be opened, the rules file has problems where it is needed, the URL cannot be used.
    pub async fn of(asking: &Asking, needs: Needs, context: &mut Context) -> anyhow::Result<Self> {
        let named = context.named;
        if named.url && named.store {
            let message = "--url and --store exclude each other: the relay at --url has its own store";
            return Err(Stop::new(Exit::Usage, message));
        }
        let url = asking.url.as_deref().filter(|url| !url.is_empty() && !named.store);
        let Some(url) = url else { return Ok(Self::Here(Box::new(Here::open(needs, context).await?))) };
        let token = asking.token.as_deref().filter(|token| !token.is_empty());
        let client = client::Client::new(url, token)?;
        if let Some(warning) = client.warning() {
            context.out.note(warning)?;
        }
        Ok(Self::There(Box::new(There::new(client))))
    }

    /// The store is opened here, and the rules file does not load: only what the store knows is answered.
    pub fn lacks_rules(&self) -> bool {
        matches!(self, Self::Here(here) if !here.has_rules())
    }

    /// The zone in which moments are shown: that of the rules file.
    pub async fn zone(&self) -> anyhow::Result<TimeZone> {
        either!(self.zone().await)
    }

    /// The deliveries that fit, and how many fit in all: with a limit the newest first, else all, the oldest first.
    pub async fn deliveries(&self, filter: Filter) -> anyhow::Result<(Vec<Listed>, u64)> {
        either!(self.deliveries(filter).await)
    }

    /// Whether there is any delivery at all.
    pub async fn has_deliveries(&self) -> anyhow::Result<bool> {
        either!(self.has_deliveries().await)
    }

    /// The one delivery whose id is, or begins with, the text.
    pub async fn delivery(&self, id: &str) -> anyhow::Result<Shown> {
        either!(self.delivery(id).await)
    }

    /// Changes the deliveries that a person named: all of them, or none if one cannot be changed.
    pub async fn change_named(&self, change: Change, ids: &[String]) -> anyhow::Result<Vec<Changed>> {
        either!(self.change_named(change, ids).await)
    }

    /// Changes deliveries that were found before; what cannot be changed any more is passed over.
    pub async fn change_found(&self, change: Change, ids: Vec<DeliveryId>) -> anyhow::Result<Vec<Changed>> {
        either!(self.change_found(change, ids).await)
    }

    /// How all stands.
    pub async fn status(&self) -> anyhow::Result<Status> {
        either!(self.status().await)
    }

    /// Every target.
    pub async fn targets(&self) -> anyhow::Result<Vec<targets::Listed>> {
        either!(self.targets().await)
    }

    /// Pauses a target for a reason or, without one, resumes it.
    pub async fn hold(&self, target: &str, reason: Option<&str>) -> anyhow::Result<targets::Listed> {
        either!(self.hold(target, reason).await)
    }

    /// Sends a marked test message to a target.
    pub async fn test(&self, target: &str) -> anyhow::Result<Vec<targets::Tested>> {
        either!(self.test(target).await)
    }

    /// The mutes that have not ended.
    pub async fn mutes(&self) -> anyhow::Result<Vec<Mute>> {
        either!(self.mutes().await)
    }

    /// Silences a rule until then.
    pub async fn mute(&self, rule: &str, until: Timestamp, reason: &str) -> anyhow::Result<Mute> {
        either!(self.mute(rule, until, reason).await)
    }

    /// Ends a mute.
    pub async fn lift(&self, id: i64) -> anyhow::Result<Mute> {
        either!(self.lift(id).await)
    }

    /// The digests that are open.
    pub async fn digests(&self) -> anyhow::Result<Vec<Digest>> {
        either!(self.digests().await)
    }

    /// Closes digests at once.
    pub async fn flush(&self, ids: &[String]) -> anyhow::Result<Vec<DeliveryId>> {
        either!(self.flush(ids).await)
    }

    /// Discards digests with all their messages.
    pub async fn cancel(&self, ids: &[String]) -> anyhow::Result<Vec<DeliveryId>> {
        either!(self.cancel(ids).await)
    }
}

/// A refusal at the terminal: exit 1 for what is not there or in no state for it, 2 for what makes no sense.
pub(super) fn stop(refusal: Refusal) -> anyhow::Error {
    match refusal {
        Refusal::Missing(text) | Refusal::Conflict(text) => Stop::new(Exit::Problem, text),
        Refusal::Wrong(text) => Stop::new(Exit::Usage, text),
        Refusal::Store(error) => error.into(),
    }
}
