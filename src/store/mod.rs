//! The durable memory: messages, deliveries, attempts, cursors. One contract; it decides nothing.

mod admission;
mod commits;
mod ends;
mod figures;
mod gathering;
mod opening;
pub mod postgres;
mod roles;
pub mod rows;
pub mod sqlite;
mod standing;
mod steps;
mod troubles;
mod work;

pub use admission::{AccountStatus, Admission, Admitted, Cursor, Quarantined, Taken};
pub use figures::{Moment, Window};
pub use roles::{Hold, Instance};
pub use rows::{Counts, Detail, Filter, MessagePage, Row, StoredMessage};
pub use work::{Claimed, Ended, Outlook, Picked, Settlement, TargetState, Want};

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use prometheus_client::metrics::histogram::Histogram;

use crate::model::delivery::{Claim, Job, Planned, Waiting};
use crate::model::id::DeliveryId;
use crate::model::message::Triple;
use crate::model::mute::Mute;
use crate::model::settle::TargetChange;

/// Messages made up to this long before an account's watermark are not pruned, however old they are: polling looks again
/// behind the watermark, and a message that the store no longer knows would be taken, and delivered, once more.
pub const LOOK_BACK_SECONDS: i64 = 7 * 86_400;

/// The store. A closed set of databases.
#[derive(Debug, Clone)]
pub enum Store {
    /// The embedded one.
    Sqlite(sqlite::Sqlite),
    /// The one for several instances.
    Postgres(postgres::Postgres),
}

/// Why the store could not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another `run` holds the database.
    #[error("the store is in use by another running relay ({0})")]
    InUse(String),
    /// Made by a newer version of the program.
    #[error(
        "the store {place} was written by a newer version (schema {found}, this program knows {known}); use the newer \
         program, or a copy of the store from before it"
    )]
    TooNew {
        /// Where it lies, for a person.
        place: String,
        /// The schema's number in the database.
        found: u32,
        /// The newest number this program knows.
        known: u32,
    },
    /// Its URL means no store.
    #[error("the store's URL cannot be used: {0}")]
    Misnamed(String),
    /// It cannot be reached or opened.
    #[error("the store cannot be opened: {0}")]
    Unavailable(String),
    /// Full disk, IO error, locked: what time or a person may cure.
    #[error("the store cannot be written: {0}")]
    Trouble(String),
    /// Another instance has taken over what this one was doing: nothing was written.
    #[error("another instance holds the role `{0}`; nothing was written")]
    RoleLost(String),
    /// A row that does not make sense.
    #[error("the store holds something unreadable: {0}")]
    Corrupt(String),
}

/// What the store answers.
pub type Result<T> = std::result::Result<T, StoreError>;

/// Which kind of name is cached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum NameKind {
    Client,
    Staff,
    Business,
}

impl NameKind {
    /// The name under which it is kept.
    fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Staff => "staff",
            Self::Business => "business",
        }
    }
}

/// How the store is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// By `run`. Of a SQLite file it is the only one: it takes the lock and gives back all leases of a predecessor.
    Daemon,
    /// By any other command, beside a running `run` and before its first.
    Tool,
}

/// The same call on whichever database is behind it.
macro_rules! both {
    ($self:ident.$($call:tt)*) => {
        match $self {
            Self::Sqlite(store) => store.$($call)*,
            Self::Postgres(store) => store.$($call)*,
        }
    };
}

impl Store {
    /// Opens `sqlite://PATH`, `sqlite::memory:` or `postgres://…`, brings the schema up to date.
    ///
    /// # Errors
    /// In use by another daemon, too new, or not to be opened.
    pub async fn open(url: &str, mode: Mode) -> Result<Self> {
        if postgres::is_postgres(url) {
            return Ok(Self::Postgres(postgres::Postgres::open(url).await?));
        }
        Ok(Self::Sqlite(sqlite::Sqlite::open(url, mode).await?))
    }

    /// Where the account's polling stands; the default for one never polled.
    pub async fn cursor(&self, account: &str) -> Result<Cursor> {
        both!(self.cursor(account).await)
    }

    /// Which of the uids are known, as messages or in quarantine.
    pub async fn seen(&self, account: &str, uids: &[String]) -> Result<HashSet<String>> {
        both!(self.seen(account, uids).await)
    }

    /// How many distinct known uids were made within the period, both ends included.
    pub async fn seen_between(&self, account: &str, from: Timestamp, to: Timestamp) -> Result<u64> {
        both!(self.seen_between(account, from, to).await)
    }

    /// Takes in one page: messages, deliveries, quarantine and cursor in one transaction.
    ///
    /// # Errors
    /// The page's role is no longer held; nothing was written then.
    pub async fn admit(&self, admission: Admission, now: Timestamp) -> Result<Taken> {
        Ok(self.admit_leasing(admission, Vec::new(), now).await?.0)
    }

    /// Takes in one page and leases of its deliveries what is due at once, as far as the wants go and their targets may
    /// be sent to: as if the claim came right after, without its search. Where something older is due for a target,
    /// nothing is leased: it goes first.
    pub async fn admit_leasing(
        &self,
        admission: Admission,
        wants: Vec<Want>,
        now: Timestamp,
    ) -> Result<(Taken, Vec<Job>)> {
        both!(self.admit_leasing(admission, wants, now).await)
    }

    /// Notes how a poll went: `Ok` clears the error and sets the last success.
    pub async fn polled(
        &self,
        account: &str,
        result: std::result::Result<(), String>,
        now: Timestamp,
    ) -> Result<()> {
        both!(self.polled(account, result, now).await)
    }

    /// Claims what is due, a lease for each; rates, parking and what is under way elsewhere are looked at, and moved
    /// on, in the same transaction. What has expired meanwhile, or cannot be tried again, ends.
    pub async fn claim(&self, wants: Vec<Want>, now: Timestamp) -> Result<Claimed> {
        both!(self.claim(wants, now).await)
    }

    /// Writes attempts and next states, each fenced by its lease, all of them or none; `false` where the lease was lost.
    pub async fn settle(&self, settlements: Vec<Arc<Settlement>>, now: Timestamp) -> Result<Vec<bool>> {
        Ok(self.settle_claiming(settlements, Vec::new(), now).await?.0)
    }

    /// The same, and claims for the wants in the same transaction: what ends makes room for what waits. Nothing expires and
    /// nothing is taken back by it.
    pub async fn settle_claiming(
        &self,
        settlements: Vec<Arc<Settlement>>,
        wants: Vec<Want>,
        now: Timestamp,
    ) -> Result<(Vec<bool>, Claimed)> {
        both!(self.settle_claiming(settlements, wants, now).await)
    }

    /// Gives claims back unattempted (shutdown): due at once, nothing counted.
    pub async fn release(&self, claims: Vec<Claim>, now: Timestamp) -> Result<()> {
        both!(self.release(claims, now).await)
    }

    /// The earliest moment at which a claim for one of these targets finds something: pauses, waits and
    /// parking are reckoned with.
    pub async fn next_due(&self, targets: &[String]) -> Result<Option<Timestamp>> {
        both!(self.next_due(targets).await)
    }

    /// How the targets stand, and when the first pending delivery of each of `targets` is due, its target's standing
    /// aside: both at one moment.
    pub async fn outlook(&self, targets: &[String]) -> Result<Outlook> {
        both!(self.outlook(targets).await)
    }

    /// Plans replays: a new delivery for each one that is settled (in whatever way), `replay_of` set, due at
    /// once, rendered anew, without an end of life. Returns the new ids; unknown and open ones are passed over, and those
    /// that somebody else replayed since they were picked.
    pub async fn replay(&self, picked: &[Picked], now: Timestamp) -> Result<Vec<DeliveryId>> {
        both!(self.replay(picked, now).await)
    }

    /// A person decides that these are not to be sent. Returns the ids that changed (pending, sending or dead ones).
    pub async fn discard(&self, ids: &[DeliveryId], now: Timestamp) -> Result<Vec<DeliveryId>> {
        both!(self.discard(ids, now).await)
    }

    /// Takes in deliveries outside of polling (notices).
    pub async fn owe(&self, planned: Vec<Planned>, now: Timestamp) -> Result<usize> {
        both!(self.owe(planned, now).await)
    }

    /// Ends those of `parts` that are pending as withheld, and takes in `whole`, about all their messages, in their
    /// place. Returns how many parts it stands for; with none left, or where `whole` is there already, nothing happens.
    pub async fn gather(&self, whole: Planned, parts: &[DeliveryId], now: Timestamp) -> Result<usize> {
        both!(self.gather(whole, parts, now).await)
    }

    /// The first `limit` deliveries that wait for the target since before the given moment, in the order in which they
    /// were planned: those of rules only, neither notices nor replays nor what takes in later messages.
    pub async fn waiting(&self, target: &str, before: Timestamp, limit: usize) -> Result<Vec<Waiting>> {
        both!(self.waiting(target, before, limit).await)
    }

    /// What its rule held for the target until then, and nobody attempted yet, oldest first.
    pub async fn held(&self, target: &str, until: Timestamp, limit: usize) -> Result<Vec<Waiting>> {
        both!(self.held(target, until, limit).await)
    }

    /// What queued up during a target's trouble has been looked at.
    pub async fn recovery_seen(&self, target: &str) -> Result<()> {
        both!(self.recovery_seen(target).await)
    }

    /// This store's instance: who it is in leases and roles.
    pub fn instance(&self) -> &str {
        both!(self.instance())
    }

    /// Says that this instance is there and by which configuration, told by its hash, it works; forgets instances that said
    /// nothing since `gone_before`.
    pub async fn beat(&self, host: &str, config: &str, gone_before: Timestamp, now: Timestamp) -> Result<()> {
        both!(self.beat(host, config, gone_before, now).await)
    }

    /// Takes roles that nobody holds, keeps those that this instance holds, until `now + ttl`. Another's role is free
    /// once its end is [`crate::model::rate::CLOCKS_APART_MAX`] past. Returns those held.
    pub async fn hold(&self, roles: &[String], ttl: Duration, now: Timestamp) -> Result<HashSet<String>> {
        both!(self.hold(roles, ttl, now).await)
    }

    /// Gives roles up; those of others stay.
    pub async fn let_go(&self, roles: &[String]) -> Result<()> {
        both!(self.let_go(roles).await)
    }

    /// This instance stops: it gives up all its roles and is forgotten, with those that said nothing since `gone_before`.
    pub async fn leave(&self, gone_before: Timestamp) -> Result<()> {
        both!(self.leave(gone_before).await)
    }

    /// All roles that are held, by name.
    pub async fn holds(&self) -> Result<Vec<Hold>> {
        both!(self.holds().await)
    }

    /// The instances that said that they are there, the oldest first.
    pub async fn instances(&self) -> Result<Vec<Instance>> {
        both!(self.instances().await)
    }

    /// Closes those that still take messages in: they are due. Returns them.
    pub async fn flush(&self, ids: &[DeliveryId], now: Timestamp) -> Result<Vec<DeliveryId>> {
        both!(self.flush(ids, now).await)
    }

    /// How many deliveries of an account's rule to a target and recipient expired since then.
    pub async fn expired(&self, of: &Job, since: Timestamp) -> Result<u64> {
        both!(self.expired(of, since).await)
    }

    /// The deliveries that fit, and how many fit in all.
    pub async fn deliveries(&self, filter: Filter) -> Result<(Vec<Row>, u64)> {
        both!(self.deliveries(filter).await)
    }

    /// A page of the deliveries that fit, the newest first: at most `limit`, which has to be given. What is planned meanwhile
    /// moves nothing: the next page begins behind the number of the last row ([`Filter::before`]).
    pub async fn page(&self, filter: Filter) -> Result<Vec<Row>> {
        both!(self.page(filter).await)
    }

    /// One delivery with payload and history.
    pub async fn delivery(&self, id: &DeliveryId) -> Result<Option<Detail>> {
        both!(self.delivery(id).await)
    }

    /// A stored message, by uid; in any account if none is named.
    pub async fn message(&self, account: Option<&str>, uid: &str) -> Result<Option<StoredMessage>> {
        both!(self.message(account, uid).await)
    }

    /// An account's messages made in a period, in order of their making.
    pub async fn messages(&self, page: MessagePage) -> Result<Vec<StoredMessage>> {
        both!(self.messages(page).await)
    }

    /// A person silences a rule until then.
    pub async fn mute(&self, rule: &str, until: Timestamp, reason: &str, now: Timestamp) -> Result<Mute> {
        both!(self.mute(rule, until, reason, now).await)
    }

    /// The mutes that have not ended, the oldest first.
    pub async fn mutes(&self, now: Timestamp) -> Result<Vec<Mute>> {
        both!(self.mutes(now).await)
    }

    /// Ends a mute; it is returned if it was there and had not ended.
    pub async fn lift_mute(&self, id: i64, now: Timestamp) -> Result<Option<Mute>> {
        both!(self.lift_mute(id, now).await)
    }

    /// How many deliveries stand where, of one target or of all.
    pub async fn counts(&self, target: Option<&str>) -> Result<Counts> {
        both!(self.counts(target).await)
    }

    /// How many deliveries stand where, of each target to which anything was ever owed.
    pub async fn counts_by_target(&self) -> Result<BTreeMap<String, Counts>> {
        both!(self.counts_by_target().await)
    }

    /// Targets to which something is owed or died, by name: also those that are no longer configured.
    pub async fn owed_targets(&self) -> Result<Vec<String>> {
        both!(self.owed_targets().await)
    }

    /// Accounts that were ever polled.
    pub async fn accounts(&self) -> Result<Vec<AccountStatus>> {
        both!(self.accounts().await)
    }

    /// The due moment of the oldest pending delivery.
    pub async fn oldest_due(&self) -> Result<Option<Timestamp>> {
        Ok(self.oldest_due_by_target().await?.into_iter().map(|(_, due)| due).min())
    }

    /// The same of each target for which any is pending.
    pub async fn oldest_due_by_target(&self) -> Result<Vec<(String, Timestamp)>> {
        both!(self.oldest_due_by_target().await)
    }

    /// The standing of all targets that are not simply ready.
    pub async fn target_states(&self) -> Result<Vec<TargetState>> {
        both!(self.target_states().await)
    }

    /// Applies a change of a target outside of settling.
    pub async fn change_target(&self, target: &str, change: TargetChange, reason: &str) -> Result<()> {
        both!(self.change_target(target, change, reason).await)
    }

    /// A person pauses (`true`) or resumes (`false`; also ends waiting and parking) a target.
    pub async fn pause_target(&self, target: &str, paused: bool, reason: &str) -> Result<()> {
        both!(self.pause_target(target, paused, reason).await)
    }

    /// A cached name and when it was fetched; the value is the `model::names` type of its kind as JSON.
    pub async fn name(
        &self,
        account: &str,
        kind: NameKind,
        uid: &str,
    ) -> Result<Option<(serde_json::Value, Timestamp)>> {
        both!(self.name(account, kind, uid).await)
    }

    /// Caches names: (kind, uid, value).
    pub async fn keep_names(
        &self,
        account: &str,
        names: Vec<(NameKind, String, serde_json::Value)>,
        now: Timestamp,
    ) -> Result<()> {
        both!(self.keep_names(account, names, now).await)
    }

    /// How many messages of each triple were seen, for the catalogue's unknown types: (triple, count).
    pub async fn triples(&self) -> Result<Vec<(Triple, u64)>> {
        both!(self.triples().await)
    }

    /// What is in quarantine, newest first: (account, item, when).
    pub async fn quarantine(&self) -> Result<Vec<(String, Quarantined, Timestamp)>> {
        both!(self.quarantine().await)
    }

    /// Removes history that ended before the given moments, at most `batch` deliveries and messages; returns
    /// how many went. A message that polling may meet again stays, however old it is.
    pub async fn prune(
        &self,
        delivered_before: Timestamp,
        dead_before: Timestamp,
        batch: usize,
    ) -> Result<usize> {
        both!(self.prune(delivered_before, dead_before, batch).await)
    }

    /// The store answers and can be written.
    pub async fn ping(&self) -> Result<()> {
        both!(self.ping().await)
    }

    /// Ids that begin with the text, in order, at most `limit`: for people, who type the beginning only.
    pub async fn ids_like(&self, prefix: &str, limit: usize) -> Result<Vec<DeliveryId>> {
        both!(self.ids_like(prefix, limit).await)
    }

    /// Whether other instances may work on it at the same time.
    pub fn is_shared(&self) -> bool {
        match self {
            Self::Sqlite(_) => false,
            Self::Postgres(_) => true,
        }
    }

    /// Whether a `run` is at work on one that belongs to a single one. Where it is shared each says so itself.
    pub fn is_served(&self) -> bool {
        match self {
            Self::Sqlite(store) => store.is_served(),
            Self::Postgres(_) => true,
        }
    }

    /// Where it lies, for a person: never with a password.
    pub fn place(&self) -> String {
        both!(self.place())
    }

    /// Statements run so far: what a delivery costs.
    pub fn statements(&self) -> u64 {
        both!(self.statements())
    }

    /// Transactions committed so far.
    pub fn commits(&self) -> u64 {
        both!(self.commits()).count()
    }

    /// How long commits take until they are on the disk, in seconds.
    pub fn commit_seconds(&self) -> Histogram {
        both!(self.commits()).seconds()
    }
}
