//! The durable memory: messages, deliveries, attempts, cursors. One contract; it decides nothing.

pub mod sqlite;

use std::collections::HashSet;
use std::time::Duration;

use jiff::Timestamp;

use crate::model::delivery::{Attempt, Claim, Job, Planned, StateName};
use crate::model::id::DeliveryId;
use crate::model::message::Message;
use crate::model::settle::{TargetChange, Verdict};

/// The store. A closed set of databases.
#[derive(Debug, Clone)]
pub enum Store {
    /// The embedded one.
    Sqlite(sqlite::Sqlite),
}

/// Why the store could not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another `run` holds the database.
    #[error("the store is in use by another running relay ({0})")]
    InUse(String),
    /// Made by a newer version of the program.
    #[error("the store was written by a newer version (schema {found}, this program knows {known})")]
    TooNew {
        /// The schema's number in the database.
        found: u32,
        /// The newest number this program knows.
        known: u32,
    },
    /// It cannot be reached or opened.
    #[error("the store cannot be opened: {0}")]
    Unavailable(String),
    /// Full disk, IO error, locked: what time or a person may cure.
    #[error("the store cannot be written: {0}")]
    Trouble(String),
    /// A row that does not make sense.
    #[error("the store holds something unreadable: {0}")]
    Corrupt(String),
}

/// What the store answers.
pub type Result<T> = std::result::Result<T, StoreError>;

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
    /// Where the cursor stands afterwards; `None` leaves it.
    pub cursor: Option<Cursor>,
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

/// What to claim for one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Want {
    /// The target.
    pub target: String,
    /// At most so many.
    pub limit: usize,
    /// The lease: the attempt's deadline and a margin.
    pub lease: Duration,
}

/// One attempt's end, to be written.
#[derive(Debug)]
pub struct Settlement {
    /// The right to write it, consumed.
    pub claim: Claim,
    /// To which target.
    pub target: String,
    /// What follows.
    pub verdict: Verdict,
    /// The attempt to record.
    pub attempt: Attempt,
    /// The payload sent, kept for the next attempt and for people.
    pub payload: Option<crate::model::payload::Payload>,
    /// The target may have taken it already.
    pub maybe_duplicate: bool,
    /// Notices owed because of it (target parked, delivery dead).
    pub notices: Vec<Planned>,
}

/// A target's standing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TargetState {
    /// The target's name.
    pub name: String,
    /// Paused by a person.
    pub paused: bool,
    /// Told to wait (429) until then.
    pub wait_until: Option<Timestamp>,
    /// Parked: the next probe's moment.
    pub parked_until: Option<Timestamp>,
    /// Why it is paused, waiting or parked.
    pub reason: Option<String>,
    /// Failed probes in a row.
    pub probes: u32,
}

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
    /// At most so many, the newest first; `None` for all, oldest first.
    pub limit: Option<usize>,
}

/// A delivery as people are shown it.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Its id.
    pub id: DeliveryId,
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
    /// The relay's own words, if it is a notice.
    pub notice: Option<crate::model::delivery::Notice>,
}

/// A delivery with all that is kept of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Detail {
    /// As in the list.
    pub row: Row,
    /// The payload last sent.
    pub payload: Option<crate::model::payload::Payload>,
    /// All attempts, oldest first.
    pub history: Vec<Attempt>,
}

/// How many deliveries stand where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
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

/// Which kind of name is cached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum NameKind {
    Client,
    Staff,
    Business,
}

/// How the store is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// By the one `run`: takes the lock and gives back all leases of a predecessor.
    Daemon,
    /// By any other command, beside a running `run` and before its first.
    Tool,
}

impl Store {
    /// Opens `sqlite://PATH` or `sqlite::memory:`, brings the schema up to date.
    ///
    /// # Errors
    /// In use by another daemon, too new, or not to be opened.
    pub async fn open(url: &str, mode: Mode) -> Result<Self> {
        let _ = (url, mode);
        Err(StoreError::Unavailable(String::new()))
    }

    /// Where the account's polling stands; the default for one never polled.
    pub async fn cursor(&self, account: &str) -> Result<Cursor> {
        let _ = account;
        Ok(Cursor::default())
    }

    /// Which of the uids are known, as messages or in quarantine.
    pub async fn seen(&self, account: &str, uids: &[String]) -> Result<HashSet<String>> {
        let _ = (account, uids);
        Ok(HashSet::new())
    }

    /// How many distinct known uids were made within the period, both ends included.
    pub async fn seen_between(&self, account: &str, from: Timestamp, to: Timestamp) -> Result<u64> {
        let _ = (account, from, to);
        Ok(0)
    }

    /// Takes in one page: messages, deliveries, quarantine and cursor in one transaction.
    pub async fn admit(&self, admission: Admission, now: Timestamp) -> Result<Taken> {
        let _ = (admission, now);
        Ok(Taken::default())
    }

    /// Notes how a poll went: `Ok` clears the error and sets the last success.
    pub async fn polled(
        &self,
        account: &str,
        result: std::result::Result<(), String>,
        now: Timestamp,
    ) -> Result<()> {
        let _ = (account, result, now);
        Ok(())
    }

    /// Claims what is due, a lease for each; what has expired meanwhile is settled as such and not returned.
    pub async fn claim(&self, wants: Vec<Want>, now: Timestamp) -> Result<Vec<Job>> {
        let _ = (wants, now);
        Ok(Vec::new())
    }

    /// Writes attempts and next states, each fenced by its lease; `false` where the lease was lost.
    pub async fn settle(&self, settlements: Vec<Settlement>, now: Timestamp) -> Result<Vec<bool>> {
        let _ = (settlements, now);
        Ok(Vec::new())
    }

    /// Gives claims back unattempted (shutdown): due at once, nothing counted.
    pub async fn release(&self, claims: Vec<Claim>, now: Timestamp) -> Result<()> {
        let _ = (claims, now);
        Ok(())
    }

    /// The earliest moment at which something is due for one of these targets.
    pub async fn next_due(&self, targets: &[String]) -> Result<Option<Timestamp>> {
        let _ = targets;
        Ok(None)
    }

    /// Plans replays: a new delivery for each, `replay_of` set. Returns the new ids.
    pub async fn replay(&self, ids: &[DeliveryId], now: Timestamp) -> Result<Vec<DeliveryId>> {
        let _ = (ids, now);
        Ok(Vec::new())
    }

    /// A person decides that these are not to be sent. Returns the ids that changed (pending, sending or dead ones).
    pub async fn discard(&self, ids: &[DeliveryId], now: Timestamp) -> Result<Vec<DeliveryId>> {
        let _ = (ids, now);
        Ok(Vec::new())
    }

    /// Takes in deliveries outside of polling (notices).
    pub async fn owe(&self, planned: Vec<Planned>, now: Timestamp) -> Result<usize> {
        let _ = (planned, now);
        Ok(0)
    }

    /// The deliveries that fit, and how many fit in all.
    pub async fn deliveries(&self, filter: Filter) -> Result<(Vec<Row>, u64)> {
        let _ = filter;
        Ok((Vec::new(), 0))
    }

    /// One delivery with payload and history.
    pub async fn delivery(&self, id: &DeliveryId) -> Result<Option<Detail>> {
        let _ = id;
        Ok(None)
    }

    /// A stored message, by uid; in any account if none is named.
    pub async fn message(&self, account: Option<&str>, uid: &str) -> Result<Option<StoredMessage>> {
        let _ = (account, uid);
        Ok(None)
    }

    /// How many deliveries stand where, of one target or of all.
    pub async fn counts(&self, target: Option<&str>) -> Result<Counts> {
        let _ = target;
        Ok(Counts::default())
    }

    /// Accounts that were ever polled.
    pub async fn accounts(&self) -> Result<Vec<AccountStatus>> {
        Ok(Vec::new())
    }

    /// The due moment of the oldest pending delivery.
    pub async fn oldest_due(&self) -> Result<Option<Timestamp>> {
        Ok(None)
    }

    /// The standing of all targets that are not simply ready.
    pub async fn target_states(&self) -> Result<Vec<TargetState>> {
        Ok(Vec::new())
    }

    /// Applies a change of a target outside of settling.
    pub async fn change_target(&self, target: &str, change: TargetChange, reason: &str) -> Result<()> {
        let _ = (target, change, reason);
        Ok(())
    }

    /// A person pauses (`true`) or resumes (`false`; also ends waiting and parking) a target.
    pub async fn pause_target(&self, target: &str, paused: bool, reason: &str) -> Result<()> {
        let _ = (target, paused, reason);
        Ok(())
    }

    /// A cached name and when it was fetched; the value is the `model::names` type of its kind as JSON.
    pub async fn name(
        &self,
        account: &str,
        kind: NameKind,
        uid: &str,
    ) -> Result<Option<(serde_json::Value, Timestamp)>> {
        let _ = (account, kind, uid);
        Ok(None)
    }

    /// Caches names: (kind, uid, value).
    pub async fn keep_names(
        &self,
        account: &str,
        names: Vec<(NameKind, String, serde_json::Value)>,
        now: Timestamp,
    ) -> Result<()> {
        let _ = (account, names, now);
        Ok(())
    }

    /// How many messages of each triple were seen, for the catalogue's unknown types: (triple, count).
    pub async fn triples(&self) -> Result<Vec<(crate::model::message::Triple, u64)>> {
        Ok(Vec::new())
    }

    /// What is in quarantine, newest first: (account, item, when).
    pub async fn quarantine(&self) -> Result<Vec<(String, Quarantined, Timestamp)>> {
        Ok(Vec::new())
    }

    /// Removes history that ended before the given moments, at most `batch` deliveries and messages; returns how many went.
    pub async fn prune(
        &self,
        delivered_before: Timestamp,
        dead_before: Timestamp,
        batch: usize,
    ) -> Result<usize> {
        let _ = (delivered_before, dead_before, batch);
        Ok(0)
    }

    /// The store answers and can be written.
    pub async fn ping(&self) -> Result<()> {
        Ok(())
    }
}
