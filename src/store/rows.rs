//! What the store shows of what it keeps: deliveries, counts, messages.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::delivery::{Attempt, Notice, StateName};
use crate::model::good::MadeGood;
use crate::model::group::Gathered;
use crate::model::id::DeliveryId;
use crate::model::message::Message;
use crate::model::payload::Payload;

/// Which deliveries a person asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// In any of these states; empty for all.
    pub states: Vec<StateName>,
    /// Of this rule.
    pub rule: Option<String>,
    /// To this target.
    pub target: Option<String>,
    /// Planned since.
    pub since: Option<Timestamp>,
    /// Of this message.
    pub message: Option<String>,
    /// Made good by this message.
    pub made_good_by: Option<String>,
    /// Replayed before, or never.
    pub replayed: Option<bool>,
    /// Planned before the one with this number.
    pub before: Option<i64>,
    /// Only those that still take messages in.
    pub open: bool,
    /// At most so many, the newest first; `None` for all, oldest first.
    pub limit: Option<usize>,
}

/// A delivery as people are shown it.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Its id.
    pub id: DeliveryId,
    /// Its place in the order in which deliveries were planned.
    pub number: i64,
    /// Its account.
    pub account: String,
    /// The rule that owes it.
    pub rule: String,
    /// To which target.
    pub target: String,
    /// To which recipient.
    pub recipient: Option<String>,
    /// The template it is rendered by.
    pub template: String,
    /// Uids of its messages.
    pub messages: Vec<String>,
    /// Where it stands.
    pub state: StateName,
    /// The instance that is sending it.
    pub held_by: Option<String>,
    /// When it is due, while it is pending or being sent.
    pub due_at: Option<Timestamp>,
    /// When it was planned.
    pub created_at: Timestamp,
    /// When it reached its last state.
    pub settled_at: Option<Timestamp>,
    /// Why it is dead, expired, withheld or discarded.
    pub why: Option<String>,
    /// Attempts that reached the target.
    pub attempts: u32,
    /// The last attempt.
    pub last: Option<Attempt>,
    /// The target may have had it twice.
    pub maybe_duplicate: bool,
    /// The delivery it replays.
    pub replay_of: Option<DeliveryId>,
    /// How often it was replayed itself.
    pub replays: u32,
    /// The relay's own words, if it is a notice.
    pub notice: Option<Notice>,
    /// When it was first to be attempted.
    pub first_due: Timestamp,
    /// The name of the group whose messages it gathers.
    pub group: Option<String>,
    /// The time that it covers, where it gathers messages.
    pub gathered: Option<Gathered>,
    /// It still takes messages in.
    pub open: bool,
    /// How many of its kind were held back for good since the last one that went.
    pub throttled: u32,
    /// What made it good, if something did.
    pub made_good: Option<MadeGood>,
}

/// The instance that gave out the token of a lease: what stands before the first dot.
pub(super) fn holder(token: &str) -> String {
    token.split('.').next().unwrap_or(token).to_owned()
}

/// What made a delivery good, out of its two columns.
pub(super) fn made_good(by: Option<String>, at: Option<Timestamp>) -> Option<MadeGood> {
    Some(MadeGood { by: by?, at: at? })
}

/// A delivery with all that is kept of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Detail {
    /// As in the list.
    pub row: Row,
    /// The payload last sent.
    pub payload: Option<Payload>,
    /// All attempts, oldest first.
    pub history: Vec<Attempt>,
}

/// How many deliveries stand where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are those of StateName")]
pub struct Counts {
    pub pending: u64,
    pub sending: u64,
    pub delivered: u64,
    pub dead: u64,
    pub expired: u64,
    pub withheld: u64,
    pub discarded: u64,
}

impl Counts {
    /// How many stand there.
    pub fn of(&self, state: StateName) -> u64 {
        match state {
            StateName::Pending => self.pending,
            StateName::Sending => self.sending,
            StateName::Delivered => self.delivered,
            StateName::Dead => self.dead,
            StateName::Expired => self.expired,
            StateName::Withheld => self.withheld,
            StateName::Discarded => self.discarded,
        }
    }

    /// The same, to be changed.
    pub fn of_mut(&mut self, state: StateName) -> &mut u64 {
        match state {
            StateName::Pending => &mut self.pending,
            StateName::Sending => &mut self.sending,
            StateName::Delivered => &mut self.delivered,
            StateName::Dead => &mut self.dead,
            StateName::Expired => &mut self.expired,
            StateName::Withheld => &mut self.withheld,
            StateName::Discarded => &mut self.discarded,
        }
    }
}

/// A part of an account's messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessagePage {
    /// Which account.
    pub account: String,
    /// Made at this moment or later.
    pub from: Timestamp,
    /// Made before.
    pub to: Timestamp,
    /// Behind the message that was made then and has this uid: the last one of the page before.
    pub after: Option<(Timestamp, String)>,
    /// At most so many.
    pub limit: usize,
}

/// A message as the store keeps it.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredMessage {
    /// The message.
    pub message: Message,
    /// When the relay first saw it.
    pub seen_at: Timestamp,
    /// The rules that took it then.
    pub rules: Vec<String>,
}
