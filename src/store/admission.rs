//! What polling brings to the store: pages of messages with what is owed for them, and how far an account got.

use jiff::Timestamp;

use crate::model::delivery::Planned;
use crate::model::good::MakesGood;
use crate::model::message::Message;

/// How far an account has been polled.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cursor {
    /// Messages made before it are not taken (the first run's beginning).
    pub floor: Option<Timestamp>,
    /// The newest `created_at` seen, never ahead of the server's clock.
    pub watermark: Option<Timestamp>,
}

/// How an account's polling goes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AccountStatus {
    /// The account's name.
    pub name: String,
    /// How far it got.
    pub cursor: Cursor,
    /// The last poll that went through.
    pub last_success: Option<Timestamp>,
    /// Why the last poll failed, if it did.
    pub error: Option<String>,
}

/// One page's worth of work, taken in as a whole or not at all.
#[derive(Debug, Default)]
pub struct Admission {
    /// Which account.
    pub account: String,
    /// New messages; one that is already there is left as it is, with its deliveries.
    pub messages: Vec<Admitted>,
    /// Items that could not be read: (uid if there was one, the raw item, why).
    pub quarantined: Vec<Quarantined>,
    /// Where the cursor stands afterwards; `None` leaves it. It never goes back: of two pollers the one that got
    /// further counts.
    pub cursor: Option<Cursor>,
    /// The role that the poller must still hold for the page to be taken in; `None` where nobody else can poll.
    pub role: Option<String>,
}

/// An item that could not be read; kept, so that nothing is dropped silently.
#[derive(Debug, Clone, PartialEq)]
pub struct Quarantined {
    /// The item's uid, or one derived from its text.
    pub uid: String,
    /// The item as the API sent it.
    pub raw: serde_json::Value,
    /// Why it could not be read.
    pub why: String,
}

/// A message with what is owed for it.
#[derive(Debug)]
pub struct Admitted {
    /// The message.
    pub message: Message,
    /// The rules that took it.
    pub rules: Vec<String>,
    /// What they owe.
    pub deliveries: Vec<Planned>,
    /// What it makes good of what came before it.
    pub makes_good: Vec<MakesGood>,
}

/// Those of a page's new messages that make others good, in the order of their making: the first counts.
pub(super) fn makers_good<'a>(fresh: impl Iterator<Item = &'a Admitted>) -> Vec<&'a Admitted> {
    let mut makers: Vec<&Admitted> = fresh.filter(|admitted| !admitted.makes_good.is_empty()).collect();
    makers.sort_by_key(|admitted| (admitted.message.created_at, &admitted.message.uid));
    makers
}

/// What an admission changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Taken {
    /// Messages that were new.
    pub messages: usize,
    /// Deliveries that were new.
    pub deliveries: usize,
    /// Items newly in quarantine.
    pub quarantined: usize,
}
