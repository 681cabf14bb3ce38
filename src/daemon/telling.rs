//! What people are told of deliveries and targets: which notices are owed, and to whom.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};

use crate::config::Config;
use crate::model::delivery::{Job, Planned, Report, State, StateName};
use crate::model::settle::{TargetChange, Verdict};
use crate::rules::notice::{Addressee, RELAY, Trouble, notices};
use crate::store::{Ended, Store, StoreError};
use crate::target::Target;

use super::metrics::{Metrics, OfEnd};

/// What ended so long before a start is told of again: whoever ended it may have died before it was told. It is as long as one notice
/// stands for all others of its kind.
const TOLD_AGAIN: SignedDuration = SignedDuration::from_hours(1);
/// So many of these are looked at.
const TOLD_AGAIN_MAX: usize = 1_000;

/// The notices owed for what became of a delivery, and those owed if its target is parked by it or no longer is.
pub(super) fn owed(
    job: &Job,
    target: &Target,
    config: &Config,
    verdict: &Verdict,
    report: &Report,
    now: Timestamp,
) -> (Vec<Planned>, Vec<Planned>) {
    let to = addressees(Some(target), config);
    let turned = match verdict.target {
        TargetChange::Park { .. } => {
            let owner = config.target_owners.get(&job.target).map(String::as_str);
            notices(&Trouble::Parked { target: &job.target, reason: &report.reason, owner }, &to, now)
        }
        TargetChange::Healthy => notices(&Trouble::Recovered { target: &job.target }, &to, now),
        TargetChange::Pause { .. } | TargetChange::Failing { .. } | TargetChange::None => Vec::new(),
    };
    let ended = match &verdict.state {
        // A notice that dies is told nobody, or one that cannot be delivered would go round for ever.
        State::Dead { why, .. } if job.rule != RELAY => {
            let delivery = job.claim.id.as_str();
            let owner = config.owner(&job.rule, &job.target);
            let trouble =
                Trouble::Died { target: &job.target, delivery, rule: &job.rule, reason: why, owner };
            notices(&trouble, &to, now)
        }
        State::Expired { .. } if job.rule != RELAY => {
            expired(&job.target, job.claim.id.as_str(), &job.rule, config, now)
        }
        _ => Vec::new(),
    };
    (ended, turned)
}

/// What expired did so as its rule said, which is no trouble of the target's: its fallback hears nothing of it.
fn expired(target: &str, delivery: &str, rule: &str, config: &Config, now: Timestamp) -> Vec<Planned> {
    let owner = config.owner(rule, target);
    notices(&Trouble::Expired { target, delivery, rule, owner }, &addressees(None, config), now)
}

/// Tells of what the store ended by itself, and again until that is owed: it ended in a transaction of its own.
#[derive(Debug)]
pub(super) struct Teller {
    store: Store,
    metrics: Arc<Metrics>,
    untold: Mutex<Vec<Planned>>,
    /// What ended before the start has been looked at.
    caught_up: AtomicBool,
}

impl Teller {
    /// One with nothing to tell.
    pub(super) fn new(store: Store, metrics: Arc<Metrics>) -> Self {
        Self { store, metrics, untold: Mutex::default(), caught_up: AtomicBool::new(false) }
    }

    /// Counts what ended, and tells of it.
    pub(super) async fn note_ended(&self, ended: &[Ended], config: &Config, now: Timestamp) {
        for Ended { id, rule, target, state, why } in ended {
            let reason = if *state == StateName::Expired { "too_late" } else { "interrupted" };
            self.metrics.ended.get_or_create(&OfEnd::new(rule, target, *state, reason)).inc();
            tracing::error!(delivery = %id, rule, target, %state, why, "not delivered");
        }
        self.untold().extend(owed_for_ended(ended, config, now));
        self.tell(config, now).await;
    }

    /// Owes the notices that are not owed yet; one that is already stays as it is. Those that the store does not take are kept for the
    /// next time, and hold up nothing.
    pub(super) async fn tell(&self, config: &Config, now: Timestamp) {
        if !self.caught_up.load(Ordering::Relaxed) {
            match self.ended_before(config, now).await {
                Ok(notices) => {
                    self.untold().extend(notices);
                    self.caught_up.store(true, Ordering::Relaxed);
                }
                Err(error) => tracing::error!(%error, "what ended before the start cannot be read yet"),
            }
        }
        let notices = self.untold().clone();
        if notices.is_empty() {
            return;
        }
        match self.store.owe(notices.clone(), now).await {
            Ok(_) => self.untold().retain(|untold| notices.iter().all(|told| told.id != untold.id)),
            Err(error) => {
                tracing::error!(%error, "nobody can be told yet of deliveries that were given up; it is tried again");
            }
        }
    }

    /// The notices for what was given up lately, most of which are owed already.
    async fn ended_before(&self, config: &Config, now: Timestamp) -> Result<Vec<Planned>, StoreError> {
        let since = now.checked_sub(TOLD_AGAIN).unwrap_or(Timestamp::MIN);
        let states = &[StateName::Dead, StateName::Expired];
        let rows = self.store.ended_since(states, since, TOLD_AGAIN_MAX).await?;
        let given_up = rows.into_iter().filter(|row| row.replays == 0);
        let notices = given_up.flat_map(|row| {
            let at = row.settled_at.unwrap_or(now);
            let why = row.why.unwrap_or_default();
            let ended = Ended { id: row.id, rule: row.rule, target: row.target, state: row.state, why };
            owed_for_ended(&[ended], config, at)
        });
        let mut known = HashSet::new();
        Ok(notices.filter(|notice| known.insert(notice.id.clone())).collect())
    }

    fn untold(&self) -> MutexGuard<'_, Vec<Planned>> {
        self.untold.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The notices owed for what the store ended by itself.
fn owed_for_ended(ended: &[Ended], config: &Config, now: Timestamp) -> Vec<Planned> {
    let told = ended.iter().filter(|ended| ended.rule != RELAY);
    told.flat_map(|ended| {
        let (delivery, rule) = (ended.id.as_str(), ended.rule.as_str());
        if ended.state == StateName::Expired {
            return expired(&ended.target, delivery, rule, config, now);
        }
        let owner = config.owner(rule, &ended.target);
        let trouble = Trouble::Died { target: &ended.target, delivery, rule, reason: &ended.why, owner };
        notices(&trouble, &addressees(config.targets.get(&ended.target).map(AsRef::as_ref), config), now)
    })
    .collect()
}

/// The target's fallback and whoever is named under `alerts:`, each once.
fn addressees<'a>(target: Option<&'a Target>, config: &'a Config) -> Vec<Addressee<'a>> {
    let mut to = Vec::new();
    for name in target.and_then(|target| target.fallback.as_ref()).into_iter().chain(&config.alerts) {
        if let Some(found) = config.targets.get(name) {
            let addressee = Addressee { target: &found.name, recipients: found.recipients() };
            if !to.contains(&addressee) {
                to.push(addressee);
            }
        }
    }
    to
}
