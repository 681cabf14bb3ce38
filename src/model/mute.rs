//! A rule that a person has silenced for a while.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// While it lasts, what its rule owes is withheld: recorded with the reason, never sent by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mute {
    /// Its number in the store.
    pub id: i64,
    /// Which rule.
    pub rule: String,
    /// When it ends.
    pub until: Timestamp,
    /// Why, in that person's words.
    pub reason: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Between the rule's name and the end of its mute, in the reason of what it withholds.
const MUTED: &str = "is muted until";

impl Mute {
    /// The one of these that silences the rule at that moment; of several the one that lasts longest.
    pub fn of<'m>(mutes: &'m [Self], rule: &str, now: Timestamp) -> Option<&'m Self> {
        let lasting = mutes.iter().filter(|mute| mute.rule == rule && now < mute.until);
        lasting.max_by_key(|mute| mute.until)
    }

    /// What a delivery that it withholds says.
    pub fn why(&self) -> String {
        format!("rule `{}` {MUTED} {:.0}: {}", self.rule, self.until, self.reason)
    }

    /// Whether that is what the reason of a withheld delivery says.
    pub fn is_why(reason: &str) -> bool {
        reason.starts_with("rule `") && reason.contains(MUTED)
    }
}
