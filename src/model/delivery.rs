//! A delivery: one thing owed to one target, and where it stands.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::backoff::Backoff;
use super::group::{Gathered, Join, Quota};
use super::id::DeliveryId;
use super::message::Message;
use super::payload::Payload;

/// Where a delivery stands. Each variant carries exactly what is true in that state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Waits for its moment: new, backed off, held, or told to wait.
    Pending {
        /// When it may next be claimed.
        due_at: Timestamp,
    },
    /// Somebody holds the right to attempt it; when the lease ends it is simply due again.
    Sending {
        /// Who may settle it, and until when.
        lease: Lease,
    },
    /// The target took it.
    Delivered {
        /// When.
        at: Timestamp,
    },
    /// Given up, kept with payload and last answer, replayable.
    Dead {
        /// When.
        at: Timestamp,
        /// Why, in words for a person.
        why: String,
    },
    /// Too old to be worth sending.
    Expired {
        /// When.
        at: Timestamp,
    },
    /// A rule said not to send it.
    Withheld {
        /// When.
        at: Timestamp,
        /// Which rule and why.
        why: String,
    },
    /// A person said not to send it.
    Discarded {
        /// When.
        at: Timestamp,
    },
}

/// A state's name, as it stands in YAML, SQL, JSON, logs and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names are those of State, which documents them")]
pub enum StateName {
    Pending,
    Sending,
    Delivered,
    Dead,
    Expired,
    Withheld,
    Discarded,
}

impl StateName {
    /// All of them, in the order in which people are shown them.
    pub const ALL: [Self; 7] = [
        Self::Pending,
        Self::Sending,
        Self::Delivered,
        Self::Dead,
        Self::Expired,
        Self::Withheld,
        Self::Discarded,
    ];

    /// Those in which a delivery ends.
    pub const ENDS: [Self; 5] = [Self::Delivered, Self::Dead, Self::Expired, Self::Withheld, Self::Discarded];

    /// The name in lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Sending => "sending",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
            Self::Expired => "expired",
            Self::Withheld => "withheld",
            Self::Discarded => "discarded",
        }
    }

    /// The state of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }
}

impl fmt::Display for StateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl State {
    /// The state's name.
    pub fn name(&self) -> StateName {
        match self {
            Self::Pending { .. } => StateName::Pending,
            Self::Sending { .. } => StateName::Sending,
            Self::Delivered { .. } => StateName::Delivered,
            Self::Dead { .. } => StateName::Dead,
            Self::Expired { .. } => StateName::Expired,
            Self::Withheld { .. } => StateName::Withheld,
            Self::Discarded { .. } => StateName::Discarded,
        }
    }
}

/// The right to settle a delivery, until it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Random; the fence of every write that settles the delivery.
    pub token: String,
    /// When somebody else may claim it.
    pub until: Timestamp,
}

/// The right to attempt one delivery once. Not `Clone`: settling consumes it.
#[derive(Debug, PartialEq, Eq)]
pub struct Claim {
    /// Which delivery.
    pub id: DeliveryId,
    /// Attempts that reached the target before this one; refusals that cost no attempt are not in it.
    pub attempts: u32,
    /// Claims so far, this one included. Higher than `attempts` where a process died holding the claim.
    pub starts: u32,
    /// The fence.
    pub lease: Lease,
}

/// A delivery that its claimer is to attempt.
#[derive(Debug)]
pub struct Job {
    /// The right to attempt it.
    pub claim: Claim,
    /// Account of its messages.
    pub account: String,
    /// The rule that owes it; the reserved name `relay` for the relay's own notices.
    pub rule: String,
    /// To which target.
    pub target: String,
    /// To which of the target's recipients; `None` where the target has one address only.
    pub recipient: Option<String>,
    /// The template the rule named when the delivery was planned.
    pub template: String,
    /// What it is about, oldest first. Empty for a notice.
    pub messages: Vec<Message>,
    /// The relay's own words to its owner, instead of messages.
    pub notice: Option<Notice>,
    /// The payload of an earlier attempt, to be sent again unchanged.
    pub payload: Option<Payload>,
    /// Send a plain rendering: the target refused the full one.
    pub plain: bool,
    /// When it was planned.
    pub created_at: Timestamp,
    /// When it was first to be attempted.
    pub first_due: Timestamp,
    /// When it stops being worth sending.
    pub expires_at: Option<Timestamp>,
    /// The delivery it replays.
    pub replay_of: Option<DeliveryId>,
    /// What it covers, where it gathered messages.
    pub gathered: Option<Gathered>,
    /// How many of its kind were held back for good since the last one that went.
    pub throttled: u32,
}

/// The relay's own words to the people who run it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// One line.
    pub subject: String,
    /// Plain text: what happened, what it means, what to do.
    pub text: String,
}

/// A delivery as planning makes it and the store takes it in.
#[derive(Debug, Clone, PartialEq)]
pub struct Planned {
    /// Derived from what is owed.
    pub id: DeliveryId,
    /// Account of its messages.
    pub account: String,
    /// The rule that owes it.
    pub rule: String,
    /// To which target.
    pub target: String,
    /// To which of the target's recipients.
    pub recipient: Option<String>,
    /// Which template renders it.
    pub template: String,
    /// Uids of its messages, oldest first.
    pub messages: Vec<String>,
    /// The relay's own words, instead of messages.
    pub notice: Option<Notice>,
    /// When it may first be attempted.
    pub due_at: Timestamp,
    /// When it stops being worth sending.
    pub expires_at: Option<Timestamp>,
    /// `Some` when a rule withholds it: it is recorded with this reason and never sent.
    pub withheld: Option<String>,
    /// The delivery it replays.
    pub replay_of: Option<DeliveryId>,
    /// The group whose open delivery takes in these messages; without one this delivery opens it.
    pub joins: Option<Join>,
    /// How many of its kind may go; looked at if no open delivery takes its messages in.
    pub quota: Option<Quota>,
    /// Keys by which later messages make it good, as long as it is none that gathers a digest.
    pub good_by: Vec<String>,
}

/// A delivery that waits, as far as it matters for sending it together with others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Which one.
    pub id: DeliveryId,
    /// Account of its messages.
    pub account: String,
    /// The rule that owes it.
    pub rule: String,
    /// To which of the target's recipients.
    pub recipient: Option<String>,
    /// Which template renders it.
    pub template: String,
    /// When it was planned.
    pub created_at: Timestamp,
    /// When it stops being worth sending.
    pub expires_at: Option<Timestamp>,
    /// Claims in a row that ended with the holder gone.
    pub lost: u32,
    /// The target refused it for what it says, or for its form.
    pub doubted: bool,
    /// The target refused it as if it refused everything.
    pub turned_away: bool,
}

/// What happened on the wire, in the target's own judgement. What follows from it is for `settle` to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The target took it.
    Delivered,
    /// Trouble that time may cure: try again, not before `after` where the target said so.
    Retry {
        /// What the target asked for (`Retry-After`).
        after: Option<Duration>,
    },
    /// The target asks everybody to wait (429, SMTP 421): no attempt is counted and the whole target pauses.
    Busy {
        /// What the target asked for.
        after: Option<Duration>,
    },
    /// The target itself refuses, whatever the message (revoked webhook, bad password): it is parked.
    TargetBroken,
    /// The target does not take this shape; a plain rendering may pass.
    ShapeRefused,
    /// The target refuses this message, but a changed configuration may cure it: few, slow retries.
    Doubtful,
    /// The target refuses this message for good.
    Refused,
}

impl Outcome {
    /// The name under which the attempt is recorded, counted and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Retry { .. } => "retry",
            Self::Busy { .. } => "busy",
            Self::TargetBroken => "target_broken",
            Self::ShapeRefused => "shape_refused",
            Self::Doubtful => "doubtful",
            Self::Refused => "refused",
        }
    }
}

/// One attempt as a target reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The judgement.
    pub outcome: Outcome,
    /// In words for a person: what happened and, where it is known, the remedy. Never holds a secret.
    pub reason: String,
    /// The HTTP status or SMTP reply code, if there was one.
    pub status: Option<u16>,
    /// The first part of the answer's body or the SMTP reply's text.
    pub answer: Option<String>,
    /// From the start of the attempt to its end.
    pub latency: Duration,
    /// The target may have taken it although no answer says so.
    pub maybe_duplicate: bool,
}

/// An attempt as the store keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// When it ended.
    pub at: Timestamp,
    /// `Outcome::as_str`, or `lost` for a claim whose holder died.
    pub outcome: String,
    /// HTTP status or SMTP reply code.
    pub status: Option<u16>,
    /// In words.
    pub reason: String,
    /// In milliseconds.
    pub latency_ms: u64,
    /// The first part of the answer.
    pub answer: Option<String>,
}

/// How a target's failures are retried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The growing wait.
    pub backoff: Backoff,
    /// What was tried in vain for so long is dead.
    pub give_up_after: Duration,
}

impl RetryPolicy {
    /// A longer wait between two attempts counts for no more: the relay may have been down, the target held, or so much may have
    /// waited that the delivery's turn did not come.
    pub fn wait_max(&self) -> Duration {
        self.give_up_after / 4
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            backoff: Backoff { first: Duration::from_secs(5), max: Duration::from_hours(1) },
            give_up_after: Duration::from_hours(72),
        }
    }
}
