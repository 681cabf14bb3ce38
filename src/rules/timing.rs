//! When a delivery is made, other than at once: in opening hours, or together with others in a digest. All of it is only
//! a later due moment and the name of a group.

use std::time::Duration;

use jiff::Timestamp;

use crate::model::message::Message;
use crate::model::names::Names;
use crate::model::settle::after_now;

use super::condition::Block;
use super::key::{Key, SEPARATOR};
use super::window::{Hours, Moments};

/// A message made before a digest closed, and seen so much later, is sent at once: the relay was down when it closed.
/// What is seen sooner waits for the next one, so that a poll's delay makes no digest of its own.
const LATE_MIN: Duration = Duration::from_mins(5);

/// How the deliveries of one entry of `deliver:` wait.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Timing {
    /// Only in these hours.
    pub during: Option<During>,
    /// Collected instead of sent one by one.
    pub digest: Option<Digest>,
}

/// `during:` with what becomes of messages outside of the hours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct During {
    /// The schedule's name.
    pub schedule: String,
    /// When it is open.
    pub hours: Hours,
    /// What becomes of the others.
    pub outside: Outside,
    /// Messages that pass at any time.
    pub except: Vec<Block>,
}

/// What becomes of a message outside of the hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outside {
    /// It waits for the next opening.
    Hold,
    /// It waits, and comes together with all others that wait.
    Digest,
    /// It is withheld.
    Drop,
}

/// `digest:`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digest {
    /// When it is sent.
    pub closes: Closes,
    /// One digest for each of these keys.
    pub group_by: Key,
}

/// When a digest is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Closes {
    /// So long after its first message.
    After(Duration),
    /// At the next of these moments.
    At(Moments),
}

/// What a delivery waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct When {
    /// When it may first be attempted.
    pub due_at: Timestamp,
    /// The group whose open delivery takes the message in.
    pub joins: Option<String>,
    /// Why it is not sent at all.
    pub withheld: Option<String>,
}

impl Timing {
    /// What follows for a message that is planned now.
    pub fn when(&self, message: &Message, names: &Names, now: Timestamp) -> When {
        let mut when = When { due_at: now, joins: None, withheld: None };
        if let Some(digest) = &self.digest {
            let (closes, window) = digest.closes(message, now);
            when.due_at = closes;
            when.joins = Some(format!("{window}{SEPARATOR}{}", digest.group_by.of(message, names).key));
        }
        let Some(during) = self.during.as_ref().filter(|during| !during.passes(message)) else { return when };
        if during.outside == Outside::Drop {
            if !during.hours.open_at(now) {
                when.withheld = Some(format!("it came outside of `{}`", during.schedule));
            }
            return when;
        }
        // A schedule that never opens is refused when the rules are read; what is owed is never held for good.
        let opens = during.hours.opens(when.due_at).unwrap_or(when.due_at);
        if opens > when.due_at {
            when.due_at = opens;
            if during.outside == Outside::Digest && when.joins.is_none() {
                when.joins = Some(format!("outside {}{SEPARATOR}{opens}", during.schedule));
            }
        }
        when
    }

    /// A key of it is only known once names were looked up.
    pub fn needs_names(&self) -> bool {
        self.digest.as_ref().is_some_and(|digest| digest.group_by.needs_names())
    }
}

impl During {
    fn passes(&self, message: &Message) -> bool {
        self.except.iter().any(|block| block.judge(&message.triple, message.raw_type.as_deref()).is_ok())
    }
}

impl Digest {
    /// When the digest that takes the message in closes, and that window's name.
    fn closes(&self, message: &Message, now: Timestamp) -> (Timestamp, String) {
        match &self.closes {
            Closes::After(every) => (after_now(now, *every), "every".to_owned()),
            Closes::At(moments) => {
                let missed = moments
                    .last(now)
                    .filter(|closed| message.created_at < *closed && after_now(*closed, LATE_MIN) <= now);
                if let Some(closed) = missed {
                    return (now, closed.to_string());
                }
                // Moments that never come are refused when the rules are read.
                let next = moments.next(now).unwrap_or(now);
                (next, next.to_string())
            }
        }
    }
}

#[cfg(test)]
#[path = "timing_tests.rs"]
mod tests;
