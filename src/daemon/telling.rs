//! What people are told of deliveries and targets: which notices are owed, and to whom.

use jiff::Timestamp;

use crate::config::Config;
use crate::model::delivery::{Job, Planned, Report, State, StateName};
use crate::model::settle::{TargetChange, Verdict};
use crate::rules::notice::{Addressee, RELAY, Trouble, notices};
use crate::store::Ended;
use crate::target::Target;

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

/// The notices owed for what the store ended by itself.
pub(super) fn owed_for_ended(ended: &[Ended], config: &Config, now: Timestamp) -> Vec<Planned> {
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
