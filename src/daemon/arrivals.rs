//! What a poll took in, as it is counted: by type, how old it was, what was withheld from the start.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::metrics::{Metrics, OfAccount, OfEnd, OfMessage};
use crate::model::catalog;
use crate::model::delivery::StateName;
use crate::model::mute::Mute;
use crate::store::Admission;

/// What stands for every activity type that the catalogue does not know: names come from outside, and must not become
/// series without end.
const OTHER: &str = "other";

/// What was taken in.
#[derive(Debug, Default)]
pub struct Arrivals {
    /// Messages by their activity type, as the catalogue spells it.
    types: BTreeMap<&'static str, u64>,
    /// How old each was, in seconds.
    ages: Vec<f64>,
    unknown: u64,
    quarantined: u64,
    /// Deliveries withheld when they were planned: rule, target, reason.
    withheld: BTreeMap<(String, String, &'static str), u64>,
}

impl Arrivals {
    /// What the page brings.
    pub(super) fn of(admission: &Admission, now: Timestamp) -> Self {
        let mut arrivals = Self { quarantined: count(admission.quarantined.len()), ..Self::default() };
        for admitted in &admission.messages {
            let message = &admitted.message;
            let known = catalog::find(&message.triple);
            arrivals.unknown += u64::from(known.is_none());
            *arrivals.types.entry(known.map_or(OTHER, |entry| entry.activity_type)).or_default() += 1;
            arrivals.ages.push(now.duration_since(message.created_at).as_secs_f64().max(0.0));
            for owed in &admitted.deliveries {
                let Some(why) = &owed.withheld else { continue };
                let reason = if Mute::is_why(why) { "muted" } else { "outside_hours" };
                *arrivals.withheld.entry((owed.rule.clone(), owed.target.clone(), reason)).or_default() += 1;
            }
        }
        arrivals
    }

    /// Takes in another page's.
    pub(super) fn add(&mut self, other: Self) {
        for (name, count) in other.types {
            *self.types.entry(name).or_default() += count;
        }
        for (of, count) in other.withheld {
            *self.withheld.entry(of).or_default() += count;
        }
        self.ages.extend(other.ages);
        self.unknown += other.unknown;
        self.quarantined += other.quarantined;
    }

    /// Counts them.
    pub(super) fn count(&self, metrics: &Metrics, account: &str) {
        let of = OfAccount { account: account.to_owned() };
        for (name, count) in &self.types {
            let of = OfMessage { account: account.to_owned(), activity_type: (*name).to_owned() };
            metrics.messages.get_or_create(&of).inc_by(*count);
        }
        for age in &self.ages {
            metrics.message_age.observe(*age);
        }
        metrics.unknown.get_or_create(&of).inc_by(self.unknown);
        metrics.quarantined.get_or_create(&of).inc_by(self.quarantined);
        for ((rule, target, reason), count) in &self.withheld {
            let of = OfEnd::new(rule, target, StateName::Withheld, reason);
            metrics.ended.get_or_create(&of).inc_by(*count);
        }
    }
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
