//! How all stands at once: accounts, queue, targets that are held up, instances, mutes; and what of it needs attention.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::instances::{Instance, Instances};
use super::targets::{NOT_THERE, Standing, standing};
use crate::config::Config;
use crate::model::mute::Mute;
use crate::store::{AccountStatus, Counts, Moment, Result, Store};

/// So many moments are shown that deliveries wait for.
const MOMENTS_MAX: usize = 20;

/// How an account's polling goes.
#[derive(Debug, Serialize, Deserialize)]
pub struct Account {
    /// Its name.
    pub name: String,
    /// The last poll that went through.
    pub last_success: Option<Timestamp>,
    /// Seconds since then.
    pub lag_seconds: Option<i64>,
    /// Why the last poll failed, if it did.
    pub error: Option<String>,
    /// The instance that polls it.
    pub polled_by: Option<String>,
}

/// A target that is not simply ready.
#[derive(Debug, Serialize, Deserialize)]
pub struct Held {
    /// Its name.
    pub name: String,
    /// `paused` or `parked`.
    pub state: Cow<'static, str>,
    /// When a wait ends, or a parked target is tried again.
    pub until: Option<Timestamp>,
    /// Why.
    pub reason: Option<String>,
    /// What waits for it.
    pub pending: u64,
    /// Dead deliveries to it.
    pub dead: u64,
    /// The rules file does not name it: nobody sends to it.
    pub gone: bool,
}

/// How all stands at one moment: the document of the JSON contract; the keys behind `oldest_due_seconds` are beyond it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Status {
    /// Those that were ever polled, and those of the rules file that never were.
    pub accounts: Vec<Account>,
    /// How many deliveries stand where.
    #[serde(rename = "deliveries")]
    pub counts: Counts,
    /// For how long the oldest pending delivery has been due.
    pub oldest_due_seconds: Option<i64>,
    /// The next moments that deliveries wait for because their rules say so.
    pub waiting: Vec<Moment>,
    /// The targets that are not simply ready.
    pub targets: Vec<Held>,
    /// The relays that run, the oldest first.
    pub instances: Vec<Instance>,
    /// The one of them that cleans.
    pub cleaned_by: Option<String>,
    /// The mutes that have not ended.
    pub mutes: Vec<Mute>,
    /// Those of them that silence nothing: their rule was renamed or removed.
    #[serde(rename = "mutes_without_rule")]
    pub ruleless: Vec<Mute>,
    /// There may be several relays on the store.
    pub shared: bool,
    /// When the oldest pending delivery became due, or becomes so.
    pub oldest_due: Option<Timestamp>,
    /// When it was so.
    pub now: Timestamp,
}

impl Status {
    /// Gathers it; without a configuration only what the store knows.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn of(store: &Store, config: Option<&Config>, now: Timestamp) -> Result<Self> {
        let instances = Instances::of(store, now).await?;
        let mutes = store.mutes(now).await?;
        let without_rule = |mute: &&Mute| config.is_some_and(|config| config.rules.get(&mute.rule).is_none());
        let ruleless = mutes.iter().filter(without_rule).cloned().collect();
        let gone = gone(store, config).await?;
        let (mut targets, oldest_due) = (held(store, now).await?, store.oldest_due().await?);
        targets.retain(|target| !gone.iter().any(|gone| gone.name == target.name));
        targets.extend(gone);
        Ok(Self {
            accounts: accounts(store, config, &instances, now).await?,
            counts: store.counts(None).await?,
            oldest_due_seconds: oldest_due.map(|due| now.duration_since(due).as_secs().max(0)),
            waiting: store.moments(now, MOMENTS_MAX).await?,
            targets,
            shared: instances.are_shared(),
            cleaned_by: instances.cleaning(),
            instances: instances.all,
            mutes,
            ruleless,
            oldest_due,
            now,
        })
    }

    /// An account fails, a target is parked, a delivery is dead, or one waits for a target that is not in the rules file.
    pub fn needs_attention(&self) -> bool {
        self.targets.iter().any(|target| target.state == "parked" || target.gone)
            || self.accounts.iter().any(|account| account.error.is_some())
            || self.counts.dead > 0
    }
}

async fn accounts(
    store: &Store,
    config: Option<&Config>,
    instances: &Instances,
    now: Timestamp,
) -> Result<Vec<Account>> {
    let mut known = store.accounts().await?;
    for account in config.into_iter().flat_map(|config| &config.accounts) {
        if !known.iter().any(|status| status.name == account.name) {
            known.push(AccountStatus { name: account.name.clone(), ..AccountStatus::default() });
        }
    }
    let shown = known.into_iter().map(|status| Account {
        polled_by: instances.polling(&status.name),
        lag_seconds: status.last_success.map(|at| now.duration_since(at).as_secs().max(0)),
        name: status.name,
        last_success: status.last_success,
        error: status.error,
    });
    Ok(shown.collect())
}

async fn held(store: &Store, now: Timestamp) -> Result<Vec<Held>> {
    let mut held = Vec::new();
    for state in store.target_states().await? {
        let Standing { state: name, until, reason } = standing(Some(&state), now);
        if name == "ready" {
            continue;
        }
        let Counts { pending, dead, .. } = store.counts(Some(&state.name)).await?;
        held.push(Held { name: state.name, state: name.into(), until, reason, pending, dead, gone: false });
    }
    Ok(held)
}

/// Targets that something is owed to and that the rules file does not name.
async fn gone(store: &Store, config: Option<&Config>) -> Result<Vec<Held>> {
    let Some(config) = config else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for name in store.owed_targets().await? {
        let Counts { pending, sending, dead, .. } = store.counts(Some(&name)).await?;
        if pending + sending == 0 || config.targets.contains_key(&name) {
            continue;
        }
        let (reason, pending) = (Some(NOT_THERE.to_owned()), pending + sending);
        found.push(Held { name, state: "paused".into(), until: None, reason, pending, dead, gone: true });
    }
    Ok(found)
}
