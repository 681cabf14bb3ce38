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
            notices(&Trouble::Parked { target: &job.target, reason: &report.reason }, &to, now)
        }
        TargetChange::Healthy => notices(&Trouble::Recovered { target: &job.target }, &to, now),
        TargetChange::Pause { .. } | TargetChange::Failing { .. } | TargetChange::None => Vec::new(),
    };
    let died = match &verdict.state {
        // A notice that dies is told nobody, or one that cannot be delivered would go round for ever.
        State::Dead { why, .. } if job.rule != RELAY => {
            let delivery = job.claim.id.as_str();
            let trouble = Trouble::Died { target: &job.target, delivery, rule: &job.rule, reason: why };
            notices(&trouble, &to, now)
        }
        _ => Vec::new(),
    };
    (died, turned)
}

/// The notices owed for what the store ended by itself. What expired did so as its rule said: it is counted and listed.
pub(super) fn owed_for_ended(ended: &[Ended], config: &Config, now: Timestamp) -> Vec<Planned> {
    let died = ended.iter().filter(|ended| ended.state == StateName::Dead && ended.rule != RELAY);
    died.flat_map(|ended| {
        let (delivery, rule) = (ended.id.as_str(), ended.rule.as_str());
        let trouble = Trouble::Died { target: &ended.target, delivery, rule, reason: &ended.why };
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
