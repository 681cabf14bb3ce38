//! Where the courier hands over what is due: to the targets, or to a record that a rehearsal keeps.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use crate::model::delivery::{Job, Outcome, Report};
use crate::model::id::DeliveryId;
use crate::model::payload::Payload;
use crate::render::view::{Seen, View};
use crate::target::Parcel;

use super::lanes::Lanes;

/// Where what is due is handed over. A closed set: there is no third way out.
#[derive(Debug, Clone)]
pub enum Door {
    /// To its target, over the network.
    Targets,
    /// To a record: nothing leaves the process, and everything counts as delivered.
    Record(Record),
}

impl Door {
    /// Targets are spared; a record takes everything at once.
    pub(super) fn lanes(&self) -> Lanes {
        match self {
            Self::Targets => Lanes::default(),
            Self::Record(_) => Lanes::unlimited(),
        }
    }
}

/// What would have been sent. Cheap to clone; clones share everything.
#[derive(Debug, Clone, Default)]
pub struct Record {
    sent: Arc<Mutex<Vec<Sent>>>,
}

/// A delivery as it would have gone out.
#[derive(Debug, Clone, PartialEq)]
pub struct Sent {
    /// Its id.
    pub id: DeliveryId,
    /// Account of its messages.
    pub account: String,
    /// The rule that owed it; [`crate::rules::notice::RELAY`] for the relay's own notices.
    pub rule: String,
    /// To which target.
    pub target: String,
    /// To which of the target's recipients.
    pub recipient: Option<String>,
    /// Uids of its messages, oldest first; empty for a notice.
    pub messages: Vec<String>,
    /// When: the moment at which it was due.
    pub at: Timestamp,
    /// What would have been sent.
    pub payload: Payload,
    /// The template failed, and the payload is the plain fallback: which template, which part, why.
    pub problem: Option<String>,
}

impl Record {
    /// What was handed over so far. What was due at one moment stands in any order: attempts run side by side.
    pub fn sent(&self) -> Vec<Sent> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes what is handed over, and says that it was delivered.
    pub(super) fn take(&self, job: &Job, view: &View, parcel: &Parcel<'_>, problem: Option<&str>) -> Report {
        let sent = Sent {
            id: job.claim.id.clone(),
            account: job.account.clone(),
            rule: job.rule.clone(),
            target: job.target.clone(),
            recipient: job.recipient.clone(),
            messages: uids(view),
            at: parcel.now,
            payload: parcel.payload.clone(),
            problem: problem.map(str::to_owned),
        };
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).push(sent);
        Report {
            outcome: Outcome::Delivered,
            reason: "recorded in a rehearsal".to_owned(),
            status: None,
            answer: None,
            latency: Duration::ZERO,
            maybe_duplicate: false,
        }
    }
}

/// Of all messages that it tells of, oldest first.
fn uids(view: &View) -> Vec<String> {
    let mut messages: Vec<_> = view.messages.iter().flat_map(Seen::whole).map(|seen| &seen.message).collect();
    messages.sort_by_key(|message| (message.created_at, &message.uid));
    messages.into_iter().map(|message| message.uid.clone()).collect()
}
