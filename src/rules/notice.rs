//! What the relay owes to its own people: troubles with targets, deliveries and accounts, as planned deliveries.

use jiff::Timestamp;

use crate::model::delivery::{Notice, Planned};
use crate::model::id::DeliveryId;

/// The rule name under which notices run. Nothing that fails under it is reported again.
pub const RELAY: &str = "relay";

/// The same trouble is told again after this long at the earliest.
const AGAIN_AFTER_SECONDS: i64 = 3600;

/// Something about the relay itself that a person should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble<'a> {
    /// The target refuses everything.
    Parked {
        /// Which one.
        target: &'a str,
        /// Its own words, with the remedy.
        reason: &'a str,
    },
    /// A parked target takes messages again.
    Recovered {
        /// Which one.
        target: &'a str,
    },
    /// A delivery was given up.
    Died {
        /// To which target.
        target: &'a str,
        /// Which one.
        delivery: &'a str,
        /// Which rule owed it.
        rule: &'a str,
        /// Why.
        reason: &'a str,
    },
    /// An account cannot be polled.
    Polling {
        /// Which one.
        account: &'a str,
        /// Why, with the remedy.
        reason: &'a str,
    },
    /// An account can be polled again.
    PollingRecovered {
        /// Which one.
        account: &'a str,
    },
}

/// Where notices go: a target's name and its recipients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addressee<'a> {
    /// The target.
    pub target: &'a str,
    /// Its recipients; empty where it is one address.
    pub recipients: &'a [String],
}

impl Trouble<'_> {
    /// What it is about, for telling the same thing once.
    fn subject_key(&self) -> [&str; 2] {
        match self {
            Self::Parked { target, .. } => ["parked", target],
            Self::Recovered { target } => ["recovered", target],
            Self::Died { target, .. } => ["died", target],
            Self::Polling { account, .. } => ["polling", account],
            Self::PollingRecovered { account } => ["polling recovered", account],
        }
    }

    /// In words.
    pub fn notice(&self) -> Notice {
        let (subject, text) = match self {
            Self::Parked { target, reason } => (
                format!("Relay: target {target} is parked"),
                format!(
                    "The target \"{target}\" refuses messages: {reason}\n\nNothing is lost: messages for it wait, one is tried \
                     now and then, and the rest follow as soon as it is taken. To try at once: activity-relay targets resume {target}"
                ),
            ),
            Self::Recovered { target } => (
                format!("Relay: target {target} works again"),
                format!(
                    "The target \"{target}\" takes messages again; what waited for it is being delivered."
                ),
            ),
            Self::Died { target, delivery, rule, reason } => (
                format!("Relay: a delivery to {target} failed for good"),
                format!(
                    "The delivery {delivery} of rule \"{rule}\" to \"{target}\" was given up: {reason}\n\nIt is kept. To see it: \
                     activity-relay deliveries show {delivery}. To send it again: activity-relay deliveries replay {delivery}. \
                     Others to this target within the hour are not announced: activity-relay deliveries list --state dead"
                ),
            ),
            Self::Polling { account, reason } => (
                format!("Relay: account {account} cannot be polled"),
                format!(
                    "New messages of the account \"{account}\" are not seen at the moment: {reason}\n\nNothing is skipped: polling \
                     goes on by itself from where it stopped."
                ),
            ),
            Self::PollingRecovered { account } => (
                format!("Relay: account {account} is polled again"),
                format!("The account \"{account}\" is being polled again, from where it stopped."),
            ),
        };
        Notice { subject, text }
    }
}

/// One notice to each of the addressees, told once an hour at the most. Never to the target it is about.
pub fn notices(trouble: &Trouble<'_>, to: &[Addressee<'_>], now: Timestamp) -> Vec<Planned> {
    let [what, about] = trouble.subject_key();
    let period_start = now.as_second() - now.as_second().rem_euclid(AGAIN_AFTER_SECONDS);
    let period_start = Timestamp::from_second(period_start).unwrap_or(now);
    let concerns_target = !what.starts_with("polling");
    let mut owed = Vec::new();
    for addressee in to.iter().filter(|addressee| !(concerns_target && addressee.target == about)) {
        for recipient in recipients(addressee.recipients) {
            let parts = [RELAY, what, about, addressee.target, recipient.unwrap_or_default()];
            owed.push(Planned {
                id: DeliveryId::derive(period_start, &parts),
                account: String::new(),
                rule: RELAY.to_owned(),
                target: addressee.target.to_owned(),
                recipient: recipient.map(str::to_owned),
                template: "default".to_owned(),
                messages: Vec::new(),
                notice: Some(trouble.notice()),
                due_at: now,
                expires_at: None,
                withheld: None,
                replay_of: None,
            });
        }
    }
    owed
}

/// Each recipient, or nobody in particular where the target is one address.
fn recipients(list: &[String]) -> Vec<Option<&str>> {
    if list.is_empty() { vec![None] } else { list.iter().map(|one| Some(one.as_str())).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_trouble_is_one_delivery_within_the_hour_and_never_goes_to_the_target_it_is_about() {
        let to = [Addressee { target: "ops", recipients: &[] }, Addressee { target: "crm", recipients: &[] }];
        let trouble = Trouble::Parked { target: "crm", reason: "no_service" };
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let first = notices(&trouble, &to, at("2026-03-02T08:10:00Z"));
        let again = notices(&trouble, &to, at("2026-03-02T08:50:00Z"));
        let later = notices(&trouble, &to, at("2026-03-02T09:10:00Z"));
        assert_eq!(first.iter().map(|owed| owed.target.as_str()).collect::<Vec<_>>(), ["ops"]);
        assert_eq!(first[0].id, again[0].id);
        assert_ne!(first[0].id, later[0].id);
    }
}
