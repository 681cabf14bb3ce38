//! When a delivery is made, other than at once: in opening hours, or together with others in a digest. All of it is only
//! a later due moment and the name of a group.

use std::num::NonZeroU32;
use std::time::Duration;

use jiff::Timestamp;

use crate::model::group::{Join, Kind, Over, Quota, SEPARATOR};
use crate::model::message::Message;
use crate::model::names::Names;
use crate::model::settle::after_now;
use crate::model::throttle::Throttle;

use super::condition::Block;
use super::key::Key;
use super::window::{Hours, Moments};

/// A message made before a digest closed, and seen so much later, is sent at once: the relay was down when it closed.
/// What is seen sooner waits for the next one, so that a poll's delay makes no digest of its own. So much later than it
/// closed, a digest says that it is late.
pub const LATE_MIN: Duration = Duration::from_mins(5);

/// How the deliveries of one entry of `deliver:` wait.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Timing {
    /// Only in these hours.
    pub during: Option<During>,
    /// Collected instead of sent one by one.
    pub digest: Option<Digest>,
    /// So many in a time.
    pub throttle: Option<Limit>,
    /// One event told in several messages is one delivery; in a digest, one of those that it tells.
    pub collapse: Option<Collapse>,
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
    /// With so many messages it is sent at once.
    pub items_max: Option<NonZeroU32>,
    /// The first message of the time goes at once, by itself.
    pub leading: bool,
    /// It is sent without a message too; only for one that is sent at times of day.
    pub if_empty: IfEmpty,
}

/// What becomes of a digest without messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IfEmpty {
    /// There is none.
    #[default]
    Skip,
    /// It is sent, and says so.
    Send,
}

/// When a digest is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Closes {
    /// So long after its first message.
    After {
        /// How long.
        every: Duration,
        /// Each message begins that time anew, up to so long after the first.
        extend_max: Option<Duration>,
    },
    /// At the next of these moments.
    At(Moments),
}

/// `throttle:`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// How many go, in what time.
    pub throttle: Throttle,
    /// What is counted together.
    pub key: Key,
    /// The others come together when the next one may go; else they are withheld.
    pub digest: bool,
}

/// `collapse:`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collapse {
    /// What messages about the same event have in common.
    pub by: Key,
    /// From the first to the last of them.
    pub within: Duration,
}

/// What a delivery waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct When {
    /// When it may first be attempted.
    pub due_at: Timestamp,
    /// The group whose open delivery takes the message in.
    pub joins: Option<Join>,
    /// How many of its kind may go.
    pub quota: Option<Quota>,
    /// Why it is not sent at all.
    pub withheld: Option<String>,
}

impl Timing {
    /// What follows for a message that is planned now.
    pub fn when(&self, message: &Message, names: &Names, now: Timestamp) -> When {
        let mut when = When::at_once(now);
        if let Some(collapse) = &self.collapse {
            let key = collapse.by.of(message, names).key;
            when.due_at = after_now(now, collapse.within);
            when.joins = Some(Join { to: when.due_at, ..group(Kind::Event, key, now) });
        }
        if let Some(limit) = &self.throttle {
            let key = limit.key.of(message, names).key;
            when.quota = Some(limit.quota(&key, now));
        }
        if let Some(digest) = &self.digest {
            let key = digest.group_by.of(message, names).key;
            digest.gather(message.created_at, &key, now, &mut when);
        }
        if let Some(during) = self.during.as_ref().filter(|during| !during.passes(message)) {
            during.hold(now, &mut when);
        }
        when
    }

    /// What opens the digest that is sent without a message too, before there is one.
    pub fn opens(&self, now: Timestamp) -> Option<When> {
        let digest = self.digest.as_ref().filter(|digest| digest.if_empty == IfEmpty::Send)?;
        let mut when = When::at_once(now);
        digest.gather(now, "", now, &mut when);
        if let Some(during) = &self.during {
            during.hold(now, &mut when);
        }
        (when.joins.is_some() && when.withheld.is_none()).then_some(when)
    }

    /// Some of its deliveries are digests.
    pub fn makes_digests(&self) -> bool {
        self.digest.is_some()
            || self.throttle.as_ref().is_some_and(|limit| limit.digest)
            || self.during.as_ref().is_some_and(|during| during.outside == Outside::Digest)
    }

    /// The fields that its keys are made of and the message does not have.
    pub fn missing(&self, message: &Message, names: &Names) -> Vec<&'static str> {
        self.keys().flat_map(|key| key.of(message, names).missing).collect()
    }

    /// A key of it is only known once names were looked up.
    pub fn needs_names(&self) -> bool {
        self.keys().any(Key::needs_names)
    }

    fn keys(&self) -> impl Iterator<Item = &Key> {
        let digest = self.digest.iter().map(|digest| &digest.group_by);
        let throttle = self.throttle.iter().map(|limit| &limit.key);
        digest.chain(throttle).chain(self.collapse.iter().map(|collapse| &collapse.by))
    }
}

impl When {
    fn at_once(now: Timestamp) -> Self {
        Self { due_at: now, joins: None, quota: None, withheld: None }
    }
}

fn group(kind: Kind, key: String, now: Timestamp) -> Join {
    Join { kind, key, from: now, to: now, items_max: None, extend_max: None }
}

impl Limit {
    fn quota(&self, key: &str, now: Timestamp) -> Quota {
        let over = if self.digest {
            let key = format!("throttle{SEPARATOR}{key}");
            Over::join(group(Kind::Digest, key, now), None)
        } else {
            let Throttle { limit, per } = self.throttle;
            Over::Drop(format!("throttled: no more than {limit} in {}", in_words(per)))
        };
        Quota { key: key.to_owned(), throttle: self.throttle, over }
    }
}

fn in_words(duration: Duration) -> String {
    let span = jiff::SignedDuration::try_from(duration).unwrap_or(jiff::SignedDuration::MAX);
    format!("{span:#}")
}

impl During {
    fn passes(&self, message: &Message) -> bool {
        self.except.iter().any(|block| block.judge(&message.triple, message.raw_type.as_deref()).is_ok())
    }

    fn hold(&self, now: Timestamp, when: &mut When) {
        if self.outside == Outside::Drop {
            if !self.hours.open_at(now) {
                when.withheld = Some(format!("it came outside of `{}`", self.schedule));
            }
            return;
        }
        // A schedule that never opens is refused when the rules are read; what is owed is never held for good.
        let opens = |at: Timestamp| self.hours.opens(at).unwrap_or(at);
        if let Some(Quota { throttle, over: Over::Join { join, due_at, closed }, .. }) = &mut when.quota {
            // Not in one group with those that pass at any time: the first to come says for all of a group when it is due.
            join.key.insert_str(0, &format!("during {} ", self.schedule));
            match due_at {
                Some(due_at) => *due_at = opens(*due_at),
                None => *closed = self.hours.closed(now, throttle.per),
            }
        }
        let first = when.due_at.max(now);
        let opens = opens(first);
        if opens == first {
            return;
        }
        when.due_at = opens;
        // An event that is told by itself is among those of the digest then, which are told apart when it closes.
        if self.outside == Outside::Digest && when.joins.as_ref().is_none_or(|join| join.kind == Kind::Event)
        {
            let key = format!("outside {}{SEPARATOR}{opens}", self.schedule);
            when.joins = Some(Join { to: opens, ..group(Kind::Digest, key, now) });
        }
    }
}

impl Digest {
    /// Puts the message into the digest of its key.
    fn gather(&self, made: Timestamp, key: &str, now: Timestamp, when: &mut When) {
        let mut join = self.window(made, now);
        let due_at = join.to;
        join.key = format!("{}{SEPARATOR}{key}", join.key);
        join.items_max = self.items_max;
        if self.leading && due_at > now {
            // The first of a time goes; until that time is over, the others are gathered.
            let (per, due_at) = match self.closes {
                Closes::After { every, .. } => (every, None),
                Closes::At(_) => {
                    (Duration::try_from(join.to.duration_since(join.from)).unwrap_or_default(), Some(due_at))
                }
            };
            let (key, throttle) = (join.name(), Throttle { limit: NonZeroU32::MIN, per });
            when.quota = Some(Quota { key, throttle, over: Over::join(join, due_at) });
            return;
        }
        when.due_at = due_at;
        when.joins = Some(join);
    }

    /// The time that the digest covers which takes the message in, and that time's name for a key.
    fn window(&self, made: Timestamp, now: Timestamp) -> Join {
        match &self.closes {
            Closes::After { every, extend_max } => Join {
                to: after_now(now, *every),
                extend_max: *extend_max,
                ..group(Kind::Digest, "every".to_owned(), now)
            },
            Closes::At(moments) => {
                let last = moments.last(now);
                let missed = last.filter(|closed| made < *closed && after_now(*closed, LATE_MIN) <= now);
                // Moments that never come are refused when the rules are read.
                let to = missed.or_else(|| moments.next(now)).unwrap_or(now);
                let before = if missed.is_some() { moments.before(to) } else { last };
                let from = before.unwrap_or(made).min(made);
                Join { from, to, ..group(Kind::Digest, to.to_string(), now) }
            }
        }
    }
}

#[cfg(test)]
#[path = "timing_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "timing_model_tests.rs"]
mod model_tests;
