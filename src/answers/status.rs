//! How all stands at once: accounts, queue, targets that are held up, instances, mutes; and what of it needs attention.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::instances::{Instance, Instances};
use super::targets::{NOT_THERE, SWITCHED_OFF, Standing, standing};
use crate::config::Config;
use crate::daemon::reload::Reloader;
use crate::daemon::share::TAKEN_OVER_WITHIN;
use crate::model::mute::Mute;
use crate::model::settle::after_now;
use crate::source::Account as Polled;
use crate::store::{AccountStatus, Counts, Moment, Result, Store, TargetState};

/// A target that has taken nothing for so long is told of.
const FAILING_MIN: Duration = Duration::from_mins(5);
/// One that asks to wait is told of when something has been due for so long.
const WAITING_MIN: Duration = Duration::from_hours(1);
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
    /// Nobody polls it though a relay runs, which should have taken it up by now.
    #[serde(default)]
    pub unpolled: bool,
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

/// What waits for a target, whatever its standing.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Queue {
    /// The target's name.
    pub target: String,
    /// How many deliveries are pending or under way.
    pub pending: u64,
    /// When the oldest pending one became due, or becomes so.
    pub oldest_due: Option<Timestamp>,
}

/// A reload that was refused: the configuration before it is in force.
#[derive(Debug, Serialize, Deserialize)]
pub struct Reload {
    /// When.
    pub at: Timestamp,
    /// The first error and where it is.
    pub refused: String,
}

impl Reload {
    /// The last one of a running relay, if it was refused.
    pub fn refused(reloader: &Reloader) -> Option<Self> {
        let last = reloader.last()?;
        Some(Self { at: last.at, refused: last.reload.first_error()? })
    }
}

/// A target that nobody holds back and that has taken nothing for long, or asks to wait for long, while something is owed to it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Failing {
    /// Its name.
    pub name: String,
    /// Since when it has taken nothing; of one that asks to wait, since when the oldest delivery has been due.
    pub since: Timestamp,
    /// It asks to wait (429), and does not fail.
    #[serde(default)]
    pub asks_to_wait: bool,
    /// How many deliveries wait for it, those aside that their rules hold back.
    pub pending: u64,
}

/// How all stands at one moment: the document of the JSON contract; the keys behind `oldest_due_seconds` are beyond it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Status {
    /// Those of the rules file, polled or not yet; without a rules file those that were ever polled.
    pub accounts: Vec<Account>,
    /// How many deliveries stand where.
    #[serde(rename = "deliveries")]
    pub counts: Counts,
    /// For how long the oldest pending delivery has been due.
    pub oldest_due_seconds: Option<i64>,
    /// The next moments that deliveries wait for because their rules say so.
    pub waiting: Vec<Moment>,
    /// What waits for each target for which anything does, by their names.
    #[serde(default)]
    pub queues: Vec<Queue>,
    /// The targets that are not simply ready.
    pub targets: Vec<Held>,
    /// Those that nobody paused and that are not parked, and that have taken nothing for five minutes all the same, or have
    /// asked to wait for an hour.
    #[serde(default)]
    pub failing: Vec<Failing>,
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
    /// The last reload, if it was refused; only a running relay knows.
    #[serde(default)]
    pub reload: Option<Reload>,
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
        let (counted, states) = (store.counts_by_target().await?, store.target_states().await?);
        let stopped = stopped(config, &counted);
        let (mut targets, queues) = (held(&states, &counted, now), queues(store, &counted).await?);
        let oldest_due = queues.iter().filter_map(|queue| queue.oldest_due).min();
        let is_off = |name: &String| config.is_some_and(|config| config.is_off(name));
        targets.retain(|held| !is_off(&held.name) && !stopped.iter().any(|other| other.name == held.name));
        targets.extend(stopped);
        Ok(Self {
            accounts: accounts(store, config, &instances, now).await?,
            counts: store.counts(None).await?,
            oldest_due_seconds: oldest_due.map(|due| now.duration_since(due).as_secs().max(0)),
            waiting: store.moments(now, MOMENTS_MAX).await?,
            failing: failing(store, config, states, &queues, now).await?,
            queues,
            targets,
            shared: instances.are_shared(),
            cleaned_by: instances.cleaning(),
            instances: instances.all,
            mutes,
            ruleless,
            reload: None,
            oldest_due,
            now,
        })
    }

    /// Relays that were killed, and that no other takes the place of: nobody does what they did.
    pub fn killed(&self) -> &[Instance] {
        let any_alive = self.instances.iter().any(|instance| instance.alive);
        if any_alive { &[] } else { &self.instances }
    }

    /// Those that are there work by different rules files, as they do for a moment while a change is rolled out: worth a
    /// word, and no trouble by itself.
    pub fn rules_differ(&self) -> bool {
        let alive = self.instances.iter().filter(|instance| instance.alive);
        let mut configs = alive.filter_map(|instance| instance.config.as_ref());
        let first = configs.next();
        configs.any(|other| Some(other) != first)
    }

    /// An account fails or is polled by nobody, a target is parked or takes nothing for long, a delivery is dead, one waits
    /// for a target that is not in the rules file, the last reload was refused, or all relays were killed.
    pub fn needs_attention(&self) -> bool {
        !self.killed().is_empty()
            || self.reload.is_some()
            || self.targets.iter().any(|target| target.state == "parked" || target.gone)
            || self.accounts.iter().any(|account| account.error.is_some() || account.unpolled)
            || !self.failing.is_empty()
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
    // Nobody polls what the rules file names no longer, and nothing would ever end its trouble.
    let is_named = |name: &str, config: &Config| config.accounts.iter().any(|account| account.name == name);
    known.retain(|status| config.is_none_or(|config| is_named(&status.name, config)));
    for account in config.into_iter().flat_map(|config| &config.accounts) {
        if !known.iter().any(|status| status.name == account.name) {
            known.push(AccountStatus { name: account.name.clone(), ..AccountStatus::default() });
        }
    }
    let in_rules = |name: &str| config?.accounts.iter().find(|account| account.name == name);
    let shown = known.into_iter().map(|status| Account {
        unpolled: in_rules(&status.name).is_some_and(|polled| is_unpolled(polled, &status, instances, now)),
        polled_by: instances.polling(&status.name),
        lag_seconds: status.last_success.map(|at| now.duration_since(at).as_secs().max(0)),
        name: status.name,
        last_success: status.last_success,
        error: status.error,
    });
    Ok(shown.collect())
}

/// Its turn came so long ago that somebody should have taken it up, and nobody has. No relay at all is not missed here.
fn is_unpolled(account: &Polled, status: &AccountStatus, instances: &Instances, now: Timestamp) -> bool {
    let Some(since) = instances.there_since().filter(|_| instances.polling(&account.name).is_none()) else {
        return false;
    };
    let turn = status.last_success.map_or(since, |at| since.max(after_now(at, account.poll_every)));
    after_now(turn, TAKEN_OVER_WITHIN) <= now
}

async fn queues(store: &Store, counted: &BTreeMap<String, Counts>) -> Result<Vec<Queue>> {
    let oldest: HashMap<String, Timestamp> = store.oldest_due_by_target().await?.into_iter().collect();
    let waiting = counted.iter().map(|(target, counts)| (target, counts.pending + counts.sending));
    let queue = |(target, pending): (&String, u64)| Queue {
        target: target.clone(),
        pending,
        oldest_due: oldest.get(target).copied(),
    };
    Ok(waiting.filter(|(_, pending)| *pending > 0).map(queue).collect())
}

fn held(states: &[TargetState], counted: &BTreeMap<String, Counts>, now: Timestamp) -> Vec<Held> {
    let held = |state: &TargetState| {
        let Standing { state: standing, until, reason } = standing(Some(state), now);
        let Counts { pending, dead, .. } = counted.get(&state.name).copied().unwrap_or_default();
        let name = state.name.clone();
        (standing != "ready").then(|| Held {
            name,
            state: standing.into(),
            until,
            reason,
            pending,
            dead,
            gone: false,
        })
    };
    states.iter().filter_map(held).collect()
}

async fn failing(
    store: &Store,
    config: Option<&Config>,
    states: Vec<TargetState>,
    queues: &[Queue],
    now: Timestamp,
) -> Result<Vec<Failing>> {
    let is_sent_to =
        |name: &str| config.is_none_or(|config| config.targets.contains_key(name) && !config.is_off(name));
    let mut found = Vec::new();
    for state in states {
        let queue = queues.iter().find(|queue| queue.target == state.name);
        let Some(queue) = queue.filter(|_| is_sent_to(&state.name)) else { continue };
        if let Some((since, asks_to_wait)) = trouble(&state, queue, now) {
            found.push(Failing { name: state.name, since, asks_to_wait, pending: queue.pending });
        }
    }
    if !found.is_empty() {
        // What its rule holds back says nothing of its target.
        let held_back = store.moments(now, usize::MAX).await?;
        for failing in &mut found {
            let of_it = held_back.iter().filter(|moment| moment.target == failing.name);
            failing.pending = failing.pending.saturating_sub(of_it.map(|moment| moment.deliveries).sum());
        }
        found.retain(|failing| failing.pending > 0);
    }
    Ok(found)
}

/// Since when a target that may be sent to takes nothing, and whether it is because it asks to wait. A rest between two
/// attempts is part of the trouble.
fn trouble(state: &TargetState, queue: &Queue, now: Timestamp) -> Option<(Timestamp, bool)> {
    if state.paused || state.parked_until.is_some() {
        return None;
    }
    if state.failures > 0 {
        let since = state.failing_since.filter(|since| after_now(*since, FAILING_MIN) <= now)?;
        return Some((since, false));
    }
    // A wait that is over is noted until the next one is taken.
    state.wait_until?;
    let since = queue.oldest_due.filter(|due| after_now(*due, WAITING_MIN) <= now)?;
    Some((since, true))
}

/// Targets that something is owed to and that the rules file does not name, or switches off.
fn stopped(config: Option<&Config>, counted: &BTreeMap<String, Counts>) -> Vec<Held> {
    let Some(config) = config else { return Vec::new() };
    let mut found = Vec::new();
    for (name, Counts { pending, sending, dead, .. }) in counted {
        let gone = !config.targets.contains_key(name);
        if pending + sending == 0 || !(gone || config.is_off(name)) {
            continue;
        }
        let reason = if gone { NOT_THERE } else { SWITCHED_OFF };
        let (name, reason, pending) = (name.clone(), Some(reason.to_owned()), pending + sending);
        found.push(Held { name, state: "paused".into(), until: None, reason, pending, dead: *dead, gone });
    }
    found
}
