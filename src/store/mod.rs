//! The durable memory: messages, deliveries, attempts, cursors. One contract; it decides nothing.

pub mod postgres;
pub mod rows;
pub mod sqlite;
mod steps;

pub use rows::{Counts, Detail, Filter, Row, StoredMessage};

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::model::delivery::{Attempt, Claim, Job, Planned};
use crate::model::id::DeliveryId;
use crate::model::message::{Message, Triple};
use crate::model::settle::{TargetChange, Verdict};
use sqlite::{admit, claim, history, listing, polling, replay, settle, targets};

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
    /// Notices owed because of it (delivery dead).
    pub notices: Vec<Planned>,
    /// Notices owed if it is this settlement that parks its target, or ends the parking: of several attempts that
    /// end alike only the first does.
    pub turn_notices: Vec<Planned>,
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

/// What a courier looks at before it claims.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outlook {
    /// The standing of all targets that are not simply ready.
    pub states: Vec<TargetState>,
    /// When the first pending delivery of a target is due; targets without one are not in it.
    pub due: HashMap<String, Timestamp>,
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
        Ok(Self::Sqlite(sqlite::Sqlite::open(url, mode).await?))
    }

    /// Where the account's polling stands; the default for one never polled.
    pub async fn cursor(&self, account: &str) -> Result<Cursor> {
        let account = account.to_owned();
        match self {
            Self::Sqlite(sqlite) => sqlite.read(move |db| polling::cursor(db, &account)).await,
        }
    }

    /// Which of the uids are known, as messages or in quarantine.
    pub async fn seen(&self, account: &str, uids: &[String]) -> Result<HashSet<String>> {
        let (account, uids) = (account.to_owned(), uids.to_vec());
        match self {
            Self::Sqlite(sqlite) => sqlite.read(move |db| polling::seen(db, &account, &uids)).await,
        }
    }

    /// How many distinct known uids were made within the period, both ends included.
    pub async fn seen_between(&self, account: &str, from: Timestamp, to: Timestamp) -> Result<u64> {
        let account = account.to_owned();
        match self {
            Self::Sqlite(sqlite) => {
                sqlite.read(move |db| polling::seen_between(db, &account, from, to)).await
            }
        }
    }

    /// Takes in one page: messages, deliveries, quarantine and cursor in one transaction.
    pub async fn admit(&self, admission: Admission, now: Timestamp) -> Result<Taken> {
        match self {
            Self::Sqlite(sqlite) => sqlite.write(move |db| admit::admit(db, &admission, now)).await,
        }
    }

    /// Notes how a poll went: `Ok` clears the error and sets the last success.
    pub async fn polled(
        &self,
        account: &str,
        result: std::result::Result<(), String>,
        now: Timestamp,
    ) -> Result<()> {
        let account = account.to_owned();
        match self {
            Self::Sqlite(sqlite) => sqlite.write(move |db| polling::polled(db, &account, &result, now)).await,
        }
    }

    /// Claims what is due, a lease for each; what has expired meanwhile is settled as such and not returned.
    pub async fn claim(&self, wants: Vec<Want>, now: Timestamp) -> Result<Vec<Job>> {
        match self {
            Self::Sqlite(sqlite) => sqlite.write(move |db| claim::claim(db, &wants, now)).await,
        }
    }

    /// Writes attempts and next states, each fenced by its lease; `false` where the lease was lost.
    pub async fn settle(
        &self,
        settlements: impl Into<Arc<[Settlement]>>,
        now: Timestamp,
    ) -> Result<Vec<bool>> {
        let settlements = settlements.into();
        match self {
            Self::Sqlite(sqlite) => sqlite.write(move |db| settle::settle(db, &settlements, now)).await,
        }
    }

    /// Gives claims back unattempted (shutdown): due at once, nothing counted.
    pub async fn release(&self, claims: Vec<Claim>, now: Timestamp) -> Result<()> {
        match self {
            Self::Sqlite(sqlite) => sqlite.write(move |db| settle::release(db, &claims, now)).await,
        }
    }

    /// The earliest moment at which a claim for one of these targets finds something: pauses, waits and
    /// parking are reckoned with.
    pub async fn next_due(&self, targets: &[String]) -> Result<Option<Timestamp>> {
        let targets = targets.to_vec();
        match self {
            Self::Sqlite(sqlite) => sqlite.read(move |db| claim::next_due(db, &targets)).await,
        }
    }

    /// How the targets stand, and when the first pending delivery of each of `targets` is due, its target's standing
    /// aside: both at one moment.
    pub async fn outlook(&self, targets: &[String]) -> Result<Outlook> {
        let targets = targets.to_vec();
        match self {
            Self::Sqlite(sqlite) => sqlite.read(move |db| claim::outlook(db, &targets)).await,
        }
    }

    /// Plans replays: a new delivery for each one that is settled (in whatever way), `replay_of` set, due at
    /// once, rendered anew, without an end of life. Returns the new ids; unknown and open ones are passed over.
    pub async fn replay(&self, ids: &[DeliveryId], now: Timestamp) -> Result<Vec<DeliveryId>> {
        let ids = ids.to_vec();
        match self {
            Self::Sqlite(sqlite) => sqlite.write(move |db| replay::replay(db, &ids, now)).await,
        }
    }

    /// A person decides that these are not to be sent. Returns the ids that changed (pending, sending or dead ones).
    pub async fn discard(&self, ids: &[DeliveryId], now: Timestamp) -> Result<Vec<DeliveryId>> {
        let ids = ids.to_vec();
        match self {
            Self::Sqlite(sqlite) => sqlite.write(move |db| replay::discard(db, &ids, now)).await,
        }
    }

    /// Takes in deliveries outside of polling (notices).
    pub async fn owe(&self, planned: Vec<Planned>, now: Timestamp) -> Result<usize> {
        match self {
            Self::Sqlite(sqlite) => sqlite.write(move |db| admit::owe(db, &planned, now)).await,
        }
    }

    /// The deliveries that fit, and how many fit in all.
    pub async fn deliveries(&self, filter: Filter) -> Result<(Vec<Row>, u64)> {
        match self {
            Self::Sqlite(sqlite) => sqlite.read(move |db| listing::deliveries(db, &filter)).await,
        }
    }

    /// One delivery with payload and history.
    pub async fn delivery(&self, id: &DeliveryId) -> Result<Option<Detail>> {
        let id = id.clone();
        match self {
            Self::Sqlite(sqlite) => sqlite.read(move |db| listing::delivery(db, &id)).await,
        }
    }

    /// A stored message, by uid; in any account if none is named.
    pub async fn message(&self, account: Option<&str>, uid: &str) -> Result<Option<StoredMessage>> {
        let (account, uid) = (account.map(str::to_owned), uid.to_owned());
        match self {
            Self::Sqlite(sqlite) => {
                sqlite.read(move |db| listing::message(db, account.as_deref(), &uid)).await
            }
        }
    }

    /// How many deliveries stand where, of one target or of all.
    pub async fn counts(&self, target: Option<&str>) -> Result<Counts> {
        let target = target.map(str::to_owned);
        match self {
            Self::Sqlite(sqlite) => sqlite.read(move |db| listing::counts(db, target.as_deref())).await,
        }
    }

    /// Targets to which something is owed or died, by name: also those that are no longer configured.
    pub async fn owed_targets(&self) -> Result<Vec<String>> {
        match self {
            Self::Sqlite(sqlite) => sqlite.read(listing::owed_targets).await,
        }
    }

    /// Accounts that were ever polled.
    pub async fn accounts(&self) -> Result<Vec<AccountStatus>> {
        match self {
            Self::Sqlite(sqlite) => sqlite.read(polling::accounts).await,
        }
    }

    /// The due moment of the oldest pending delivery.
    pub async fn oldest_due(&self) -> Result<Option<Timestamp>> {
        match self {
            Self::Sqlite(sqlite) => sqlite.read(listing::oldest_due).await,
        }
    }

    /// The standing of all targets that are not simply ready.
    pub async fn target_states(&self) -> Result<Vec<TargetState>> {
        match self {
            Self::Sqlite(sqlite) => sqlite.read(targets::list).await,
        }
    }

    /// Applies a change of a target outside of settling.
    pub async fn change_target(&self, target: &str, change: TargetChange, reason: &str) -> Result<()> {
        let (target, reason) = (target.to_owned(), reason.to_owned());
        match self {
            Self::Sqlite(sqlite) => {
                sqlite
                    .write(move |db| targets::change(db, &target, change, &reason, None, None).map(|_| ()))
                    .await
            }
        }
    }

    /// A person pauses (`true`) or resumes (`false`; also ends waiting and parking) a target.
    pub async fn pause_target(&self, target: &str, paused: bool, reason: &str) -> Result<()> {
        let (target, reason) = (target.to_owned(), reason.to_owned());
        match self {
            Self::Sqlite(sqlite) => {
                sqlite.write(move |db| targets::pause(db, &target, paused, &reason)).await
            }
        }
    }

    /// A cached name and when it was fetched; the value is the `model::names` type of its kind as JSON.
    pub async fn name(
        &self,
        account: &str,
        kind: NameKind,
        uid: &str,
    ) -> Result<Option<(serde_json::Value, Timestamp)>> {
        let (account, uid) = (account.to_owned(), uid.to_owned());
        match self {
            Self::Sqlite(sqlite) => sqlite.read(move |db| polling::name(db, &account, kind, &uid)).await,
        }
    }

    /// Caches names: (kind, uid, value).
    pub async fn keep_names(
        &self,
        account: &str,
        names: Vec<(NameKind, String, serde_json::Value)>,
        now: Timestamp,
    ) -> Result<()> {
        let account = account.to_owned();
        match self {
            Self::Sqlite(sqlite) => {
                sqlite.write(move |db| polling::keep_names(db, &account, &names, now)).await
            }
        }
    }

    /// How many messages of each triple were seen, for the catalogue's unknown types: (triple, count).
    pub async fn triples(&self) -> Result<Vec<(Triple, u64)>> {
        match self {
            Self::Sqlite(sqlite) => sqlite.read(history::triples).await,
        }
    }

    /// What is in quarantine, newest first: (account, item, when).
    pub async fn quarantine(&self) -> Result<Vec<(String, Quarantined, Timestamp)>> {
        match self {
            Self::Sqlite(sqlite) => sqlite.read(polling::quarantine).await,
        }
    }

    /// Removes history that ended before the given moments, at most `batch` deliveries and messages; returns
    /// how many went. A message that polling may meet again stays, however old it is.
    pub async fn prune(
        &self,
        delivered_before: Timestamp,
        dead_before: Timestamp,
        batch: usize,
    ) -> Result<usize> {
        match self {
            Self::Sqlite(sqlite) => {
                sqlite.write(move |db| history::prune(db, delivered_before, dead_before, batch)).await
            }
        }
    }

    /// The store answers and can be written.
    pub async fn ping(&self) -> Result<()> {
        match self {
            Self::Sqlite(sqlite) => sqlite.write(history::ping).await,
        }
    }

    /// Ids that begin with the text, in order, at most `limit`: for people, who type the beginning only.
    pub async fn ids_like(&self, prefix: &str, limit: usize) -> Result<Vec<DeliveryId>> {
        let prefix = prefix.to_owned();
        match self {
            Self::Sqlite(sqlite) => sqlite.read(move |db| listing::ids_like(db, &prefix, limit)).await,
        }
    }

    /// Statements run so far: what a delivery costs.
    pub fn statements(&self) -> u64 {
        match self {
            Self::Sqlite(sqlite) => sqlite.statements(),
        }
    }

    /// Transactions committed so far.
    pub fn commits(&self) -> u64 {
        match self {
            Self::Sqlite(sqlite) => sqlite.commits(),
        }
    }
}
