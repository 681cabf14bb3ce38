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
        /// Who answers for it, where the rules file says so.
        owner: Option<&'a str>,
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
        /// Who answers for the rule, where the rules file says so.
        owner: Option<&'a str>,
    },
    /// A delivery was too old before it could be sent.
    Expired {
        /// To which target.
        target: &'a str,
        /// Which one.
        delivery: &'a str,
        /// Which rule owed it.
        rule: &'a str,
        /// Who answers for the rule, where the rules file says so.
        owner: Option<&'a str>,
    },
    /// The store could not be written for a while, and can be again.
    StoreRecovered {
        /// Since when it could not.
        from: Timestamp,
        /// Since when it can.
        to: Timestamp,
        /// What it said.
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
            Self::Expired { target, .. } => ["expired", target],
            Self::StoreRecovered { .. } => ["store recovered", ""],
            Self::Polling { account, .. } => ["polling", account],
            Self::PollingRecovered { account } => ["polling recovered", account],
        }
    }

    fn owner(&self) -> Option<&str> {
        match self {
            Self::Parked { owner, .. } | Self::Died { owner, .. } | Self::Expired { owner, .. } => *owner,
            _ => None,
        }
    }

    /// In words.
    pub fn notice(&self) -> Notice {
        let (subject, mut text) = match self {
            Self::Parked { target, reason, .. } => (
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
            Self::Died { target, delivery, rule, reason, .. } => (
                format!("Relay: a delivery to {target} failed for good"),
                format!(
                    "The delivery {delivery} of rule \"{rule}\" to \"{target}\" was given up: {reason}\n\nIt is kept. To see it: \
                     activity-relay deliveries show {delivery}. To send it again: activity-relay deliveries replay {delivery}. \
                     Others to this target within the hour are not announced: activity-relay deliveries list --state dead"
                ),
            ),
            Self::Expired { target, delivery, rule, .. } => (
                format!("Relay: a delivery to {target} expired"),
                format!(
                    "The delivery {delivery} of rule \"{rule}\" to \"{target}\" was not sent within its `expires_after`.\n\nIf it \
                     is wanted all the same: activity-relay deliveries replay {delivery}. Others to this target within the \
                     hour are not announced: activity-relay deliveries list --state expired"
                ),
            ),
            Self::StoreRecovered { from, to, reason } => (
                "Relay: the store can be written again".to_owned(),
                format!(
                    "The store could not be written from {from:.0} to {to:.0}: {reason}\n\nMeanwhile nothing was polled or \
                     sent. Nothing is lost: polling and sending go on from where they stopped."
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
        if let Some(owner) = self.owner() {
            text = format!("{text}\n\nOwner: {owner}");
        }
        Notice { subject, text }
    }
}

/// One notice to each of the addressees. Deaths and what expired are told once an hour at the most; every other trouble has an end
/// that is told too, so each beginning and each end is a notice of its own, and it is for the caller to tell it once.
/// That a target refuses everything is never told to that target.
pub fn notices(trouble: &Trouble<'_>, to: &[Addressee<'_>], now: Timestamp) -> Vec<Planned> {
    let [what, about] = trouble.subject_key();
    let told_at = match trouble {
        Trouble::Died { .. } | Trouble::Expired { .. } => {
            let period_start = now.as_second() - now.as_second().rem_euclid(AGAIN_AFTER_SECONDS);
            Timestamp::from_second(period_start).unwrap_or(now)
        }
        _ => now,
    };
    let deaf = |target: &str| matches!(trouble, Trouble::Parked { target: parked, .. } if *parked == target);
    let mut owed = Vec::new();
    for addressee in to.iter().filter(|addressee| !deaf(addressee.target)) {
        for recipient in recipients(addressee.recipients) {
            let parts = [RELAY, what, about, addressee.target, recipient.unwrap_or_default()];
            owed.push(Planned {
                id: DeliveryId::derive(told_at, &parts),
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
                joins: None,
                quota: None,
                good_by: Vec::new(),
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

    const TO: [Addressee<'static>; 2] =
        [Addressee { target: "ops", recipients: &[] }, Addressee { target: "crm", recipients: &[] }];

    fn told(trouble: &Trouble<'_>, at: &str) -> Vec<(String, DeliveryId)> {
        let owed = notices(trouble, &TO, at.parse().unwrap());
        owed.into_iter().map(|owed| (owed.target, owed.id)).collect()
    }

    #[test]
    fn a_parked_target_is_not_told_of_it_and_every_parking_is_told_anew() {
        let trouble = Trouble::Parked { target: "crm", reason: "no_service", owner: None };
        let first = told(&trouble, "2026-03-02T08:10:00Z");
        let again = told(&trouble, "2026-03-02T08:50:00Z");
        assert_eq!(first.iter().map(|(target, _)| target.as_str()).collect::<Vec<_>>(), ["ops"]);
        assert_ne!(first[0].1, again[0].1);
        let recovered = told(&Trouble::Recovered { target: "crm" }, "2026-03-02T08:20:00Z");
        assert_eq!(recovered.len(), 2);
    }

    #[test]
    fn deaths_at_one_target_are_told_once_an_hour_and_there_too() {
        let trouble = Trouble::Died {
            target: "crm",
            delivery: "d1",
            rule: "vip",
            reason: "refused",
            owner: Some("CRM team <crm@example.com>"),
        };
        assert!(trouble.notice().text.ends_with("\n\nOwner: CRM team <crm@example.com>"));
        let first = told(&trouble, "2026-03-02T08:10:00Z");
        assert_eq!(first, told(&trouble, "2026-03-02T08:50:00Z"));
        assert_ne!(first, told(&trouble, "2026-03-02T09:10:00Z"));
        assert_eq!(first.len(), 2);
    }
}
