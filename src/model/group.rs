//! What gathers messages into one delivery: a digest, or an event that the API tells in several messages. Pure.

use std::num::NonZeroU32;
use std::ops::Range;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::throttle::Throttle;

/// What stands between the parts of a name; no field of a message holds it.
pub const SEPARATOR: char = '\u{1f}';

/// What the messages of a delivery are to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Each is told.
    Digest,
    /// They tell the same event: one speaks for all.
    Event,
}

impl Kind {
    /// What the names of such groups begin with.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Digest => "digest",
            Self::Event => "event",
        }
    }
}

/// The group that takes a message in: the open delivery of the same account, rule, target, recipient and name, as long as
/// nobody has begun to send it and it is not full; without one the message opens it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Join {
    /// What the group is.
    pub kind: Kind,
    /// Its key among those of its kind.
    pub key: String,
    /// When the time began that it covers.
    pub from: Timestamp,
    /// When that time ends.
    pub to: Timestamp,
    /// With so many messages it closes at once.
    pub items_max: Option<NonZeroU32>,
    /// Each message puts the end off, to so long after the first at the most.
    pub extend_max: Option<Duration>,
}

impl Join {
    /// The group's name, as the store keeps it.
    pub fn name(&self) -> String {
        format!("{}{SEPARATOR}{}", self.kind.as_str(), self.key)
    }

    /// No further message is taken in once there are so many.
    pub fn is_full(&self, items: u64) -> bool {
        self.items_max.is_some_and(|max| items >= u64::from(max.get()))
    }
}

/// The kind of a group and its key, from its name.
pub fn read_name(name: &str) -> (Kind, &str) {
    match name.split_once(SEPARATOR) {
        Some(("event", key)) => (Kind::Event, key),
        Some(("digest", key)) => (Kind::Digest, key),
        _ => (Kind::Digest, name),
    }
}

/// What a delivery that gathered messages covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gathered {
    /// What its messages are to each other.
    pub kind: Kind,
    /// When the time began that it covers.
    pub from: Timestamp,
    /// When it ended.
    pub to: Timestamp,
}

/// How many deliveries of a kind may go, and what becomes of the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quota {
    /// What is counted together, of the same account, rule, target and recipient.
    pub key: String,
    /// How many, in what time.
    pub throttle: Throttle,
    /// What becomes of the others.
    pub over: Over,
}

/// What becomes of a delivery that is over the limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Over {
    /// It is withheld, for this reason.
    Drop(String),
    /// It joins a group that is due at a moment, or when the next one may go.
    Join {
        /// The group. Where it is due when the next may go, its time ends then too.
        join: Join,
        /// When it is due, if that is settled.
        due_at: Option<Timestamp>,
        /// When nothing is sent, until the next may go at the latest, in order: what would be due then waits for the end.
        closed: Vec<Range<Timestamp>>,
    },
}

impl Over {
    /// It joins a group.
    pub fn join(join: Join, due_at: Option<Timestamp>) -> Self {
        Self::Join { join, due_at, closed: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_what_the_group_is() {
        let at = Timestamp::UNIX_EPOCH;
        let key = "08:00\u{1f}ann".to_owned();
        for kind in [Kind::Digest, Kind::Event] {
            let key = key.clone();
            let join = Join { kind, key, from: at, to: at, items_max: NonZeroU32::new(2), extend_max: None };
            assert_eq!(read_name(&join.name()), (kind, "08:00\u{1f}ann"));
            assert_eq!((join.is_full(1), join.is_full(2)), (false, true));
        }
        assert_eq!(read_name("day"), (Kind::Digest, "day"));
    }
}
