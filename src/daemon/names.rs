//! The names behind a message's uids, from memory, the store or the API, within a moment; the rest follows in the background.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::daemon::clock::Clock;
use crate::model::message::Message;
use crate::model::names::{Business, Client, Late, Names, Staff};
use crate::render::view::Seen;
use crate::source::Account;
use crate::source::fault::ApiError;
use crate::source::lookup::Lookup;
use crate::store::{NameKind, Store, StoreError};

/// The longest that anybody waits for the names of one message.
pub const WAIT_MAX: Duration = Duration::from_secs(2);
/// How long a name is taken to be right.
const FRESH_SECONDS: i64 = 24 * 3600;
/// How long "there is no such name" is believed.
const ABSENT_SECONDS: i64 = 15 * 60;
/// How long after a failed lookup the next one is tried.
const FAILED_SECONDS: i64 = 60;
/// Names in memory; beyond that the stale ones go, and if there are none, all.
const MEMORY_NAMES_MAX: usize = 20_000;

type Key = (NameKind, String);

/// The name books of all accounts, by account.
#[derive(Debug, Default)]
pub struct NameBooks {
    books: RwLock<HashMap<String, NameBook>>,
}

impl NameBooks {
    /// The book of an account; that of one that is gone knows what the store does.
    pub fn get(&self, account: &str) -> Option<NameBook> {
        self.books.read().unwrap_or_else(PoisonError::into_inner).get(account).cloned()
    }

    /// The book of an account, in place of the one it had.
    pub fn insert(&self, account: String, book: NameBook) {
        self.books.write().unwrap_or_else(PoisonError::into_inner).insert(account, book);
    }
}

/// Names as far as they can be known until a moment: one wait for all that a delivery tells of, as its lease reckons with one.
#[derive(Debug, Clone, Copy)]
pub struct Soon<'a> {
    books: &'a NameBooks,
    begun: Instant,
    until: Instant,
}

impl<'a> Soon<'a> {
    /// From here on for as long.
    pub fn within(books: &'a NameBooks, wait: Duration) -> Self {
        let begun = Instant::now();
        Self { books, begun, until: begun + wait }
    }

    /// When the reading of what a delivery tells of began.
    pub(super) fn begun(&self) -> Instant {
        self.begun
    }

    /// The names of a message's people.
    pub async fn names(&self, message: &Message) -> Names {
        match self.books.get(&message.account) {
            Some(book) => book.names(message, self.until.saturating_duration_since(Instant::now())).await,
            None => Names::default(),
        }
    }

    /// The message with its people.
    pub async fn seen(&self, message: Message) -> Seen {
        let names = self.names(&message).await;
        Seen::new(message, names)
    }
}

/// The names of one account's people. Cheap to clone.
#[derive(Debug, Clone)]
pub struct NameBook {
    inner: Arc<Inner>,
    /// The account wants names.
    looks_up: bool,
}

#[derive(Debug)]
struct Inner {
    account: String,
    lookup: Option<Lookup>,
    store: Store,
    clock: Clock,
    tasks: TaskTracker,
    known: Mutex<HashMap<Key, Known>>,
    fetching: Mutex<HashMap<Key, Fetch>>,
}

/// A lookup under way.
#[derive(Debug)]
struct Fetch {
    /// All that its answer counts for.
    keys: Vec<Key>,
    done: watch::Receiver<bool>,
}

/// What memory holds of one uid.
#[derive(Debug, Clone)]
struct Known {
    value: Option<Value>,
    until: Timestamp,
    /// It could not be looked up for now.
    failed: bool,
}

impl NameBook {
    /// The names of an account; without `lookup` only uids and what the store still knows.
    pub fn new(
        account: &Account,
        lookup: Option<Lookup>,
        store: Store,
        clock: Clock,
        tasks: TaskTracker,
    ) -> Self {
        let inner = Inner {
            account: account.name.clone(),
            lookup: lookup.filter(|_| account.lookup),
            store,
            clock,
            tasks,
            known: Mutex::default(),
            fetching: Mutex::default(),
        };
        Self { inner: Arc::new(inner), looks_up: account.lookup }
    }

    /// What is known of a message's people within `wait` (at most [`WAIT_MAX`]); at least their uids. Never fails;
    /// what is still being fetched then goes on in the background and is there for the next one who asks.
    pub async fn names(&self, message: &Message, wait: Duration) -> Names {
        let keys = keys(message);
        let gathered = tokio::time::timeout(wait.min(WAIT_MAX), self.gather(&keys)).await;
        if gathered.is_err() {
            tracing::debug!(account = self.inner.account, uid = message.uid, "names are not here in time");
        }
        let of = |kind: NameKind| keys.iter().any(|key| key.0 == kind && self.inner.is_late(key));
        let (client, staff, business) = (of(NameKind::Client), of(NameKind::Staff), of(NameKind::Business));
        let late = Late { client, staff, business };
        Names { late, ..self.inner.known_names(message) }
    }

    /// Begins to fetch the names of messages that are about to be delivered; does not wait for them.
    pub fn prefetch<'a>(&self, messages: impl IntoIterator<Item = &'a Message>) {
        let mut wanted: Vec<Key> = messages.into_iter().flat_map(keys).collect();
        wanted.sort_by(|a, b| (a.0 as u8, &a.1).cmp(&(b.0 as u8, &b.1)));
        wanted.dedup();
        if wanted.is_empty() || self.inner.lookup.is_none() {
            return;
        }
        let book = self.clone();
        self.inner.tasks.spawn(async move { book.gather(&wanted).await });
    }

    /// The account wants names.
    pub(super) fn looks_up(&self) -> bool {
        self.looks_up
    }

    /// Takes in names that are known from elsewhere, as if they had been looked up now. An account that looks up nothing
    /// learns nothing either.
    ///
    /// # Errors
    /// The store cannot be written.
    pub(super) async fn learn(&self, message: &Message, names: &Names) -> Result<(), StoreError> {
        let business = names.business.as_ref().and_then(|business| serde_json::to_value(business).ok());
        let mut told: Vec<(NameKind, String, Value)> = Vec::new();
        told.extend(
            names.client.iter().flat_map(|one| pairs(NameKind::Client, [one], |one| one.uid.clone())),
        );
        told.extend(names.staff.iter().flat_map(|one| pairs(NameKind::Staff, [one], |one| one.uid.clone())));
        told.extend(business.map(|business| (NameKind::Business, String::new(), business)));
        let known = self.inner.known_names(message);
        if !self.looks_up || known == *names {
            return Ok(());
        }
        let now = self.inner.clock.now();
        for (kind, uid, value) in &told {
            self.inner.remember((*kind, uid.clone()), Some(value.clone()), later(now, FRESH_SECONDS));
        }
        self.inner.store.keep_names(&self.inner.account, told, now).await
    }

    async fn gather(&self, keys: &[Key]) {
        let mut pending = Vec::new();
        for key in keys {
            if self.inner.is_current(key) || self.inner.recall(key).await {
                continue;
            }
            pending.extend(self.fetch(key));
        }
        for mut done in pending {
            let _ = done.wait_for(|done| *done).await;
        }
    }

    /// Fetches in the background; whoever asks for the same meanwhile waits for the same fetch.
    fn fetch(&self, key: &Key) -> Option<watch::Receiver<bool>> {
        if self.inner.lookup.is_none() {
            // The store was asked in vain; it is not asked again for every message.
            self.inner.remember(key.clone(), None, later(self.inner.clock.now(), ABSENT_SECONDS));
            return None;
        }
        // One call tells of all staff, so one fetch stands for all of them.
        let shared = if key.0 == NameKind::Staff { (NameKind::Staff, String::new()) } else { key.clone() };
        let mut fetching = self.inner.fetching.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = fetching.get_mut(&shared) {
            if !running.keys.contains(key) {
                running.keys.push(key.clone());
            }
            return Some(running.done.clone());
        }
        let (tell, done) = watch::channel(false);
        fetching.insert(shared.clone(), Fetch { keys: vec![key.clone()], done: done.clone() });
        drop(fetching);
        let inner = Arc::clone(&self.inner);
        self.inner.tasks.spawn(async move {
            inner.look_up(&shared).await;
            tell.send_replace(true);
        });
        Some(done)
    }
}

impl Inner {
    fn is_current(&self, key: &Key) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(key).is_some_and(|known| known.until > self.clock.now())
    }

    /// Nothing is known of it yet, for now: it is still being looked up, perhaps once more, or that failed in a way that passes.
    fn is_late(&self, key: &Key) -> bool {
        let (known, now) = (self.known.lock().unwrap_or_else(PoisonError::into_inner), self.clock.now());
        let passes = |known: &Known| known.failed || known.until <= now;
        let nothing = known.get(key).is_none_or(|known| known.value.is_none() && passes(known));
        self.lookup.is_some() && nothing
    }

    /// Takes a name from the store into memory; true if it is fresh enough not to be looked up.
    async fn recall(&self, key: &Key) -> bool {
        match self.store.name(&self.account, key.0, &key.1).await {
            Ok(Some((value, fetched))) => {
                let until = later(fetched, FRESH_SECONDS);
                self.remember(key.clone(), Some(value), until);
                until > self.clock.now()
            }
            Ok(None) => false,
            Err(error) => {
                tracing::debug!(account = self.account, %error, "the store's names cannot be read");
                false
            }
        }
    }

    fn remember(&self, key: Key, value: Option<Value>, until: Timestamp) {
        self.note(key, Known { value, until, failed: false });
    }

    fn note(&self, key: Key, Known { value, until, failed }: Known) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MEMORY_NAMES_MAX {
            let now = self.clock.now();
            known.retain(|_, known| known.until > now);
            if known.len() >= MEMORY_NAMES_MAX {
                known.clear();
            }
        }
        // A name that could not be renewed is better than none.
        let value = value.or_else(|| known.get(&key)?.value.clone());
        known.insert(key, Known { value, until, failed });
    }

    /// Whom the lookup was to tell of; whoever asks from here on is looked up anew.
    fn answered(&self, shared: &Key) -> Vec<Key> {
        let mut fetching = self.fetching.lock().unwrap_or_else(PoisonError::into_inner);
        fetching.remove(shared).map(|fetch| fetch.keys).unwrap_or_default()
    }

    /// Looks up, and notes of all who wait for it what came of it.
    async fn look_up(&self, key: &Key) {
        let Some(lookup) = &self.lookup else { return };
        let found = match key.0 {
            NameKind::Client => {
                lookup.client(&key.1).await.map(|client| pairs(NameKind::Client, client, |c| c.uid.clone()))
            }
            NameKind::Business => {
                let uid = Some(key.1.as_str()).filter(|uid| !uid.is_empty());
                let business = lookup.business(uid).await;
                business.map(|business| pairs(NameKind::Business, [business], |_| key.1.clone()))
            }
            NameKind::Staff => self.staff(lookup).await,
        };
        let now = self.clock.now();
        match found {
            Ok(found) => {
                for (kind, uid, value) in &found {
                    self.remember((*kind, uid.clone()), Some(value.clone()), later(now, FRESH_SECONDS));
                }
                for asked in self.answered(key) {
                    if !found.iter().any(|(kind, uid, _)| (*kind, uid) == (asked.0, &asked.1)) {
                        self.remember(asked, None, later(now, ABSENT_SECONDS));
                    }
                }
                if let Err(error) = self.store.keep_names(&self.account, found, now).await {
                    tracing::debug!(account = self.account, %error, "names cannot be kept in the store");
                }
            }
            Err(error) => {
                let wait = error.asked_to_wait().and_then(|wait| i64::try_from(wait.as_secs()).ok());
                let until = later(now, wait.unwrap_or(0).max(FAILED_SECONDS));
                // What is refused now is refused the next time: there is nothing to wait for.
                let lasting = matches!(error, ApiError::Refused { .. } | ApiError::TooLong(_));
                let failed = !(lasting || error.token_refused());
                for asked in self.answered(key) {
                    self.note(asked, Known { value: None, until, failed });
                }
                tracing::debug!(account = self.account, kind = ?key.0, %error, "a name cannot be looked up");
            }
        }
    }

    async fn staff(&self, lookup: &Lookup) -> Result<Vec<(NameKind, String, Value)>, ApiError> {
        let known = self.value::<Business>(&(NameKind::Business, String::new())).and_then(|known| known.uid);
        let business = match known {
            Some(uid) => Some(uid),
            None => lookup.business(None).await?.uid,
        };
        let Some(business) = business else { return Ok(Vec::new()) };
        Ok(pairs(NameKind::Staff, lookup.staff(&business).await?, |member| member.uid.clone()))
    }

    fn value<T: DeserializeOwned>(&self, key: &Key) -> Option<T> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        serde_json::from_value(known.get(key)?.value.clone()?).ok()
    }

    fn known_names(&self, message: &Message) -> Names {
        let client = |uid: &String| {
            let found = self.value::<Client>(&(NameKind::Client, uid.clone()));
            found.unwrap_or_else(|| Client { uid: uid.clone(), ..Client::default() })
        };
        let staff = |uid: &String| {
            let found = self.value::<Staff>(&(NameKind::Staff, uid.clone()));
            found.unwrap_or_else(|| Staff { uid: uid.clone(), ..Staff::default() })
        };
        let business = self.value::<Business>(&(NameKind::Business, String::new()));
        let uid_only =
            || message.business_uid.clone().map(|uid| Business { uid: Some(uid), ..Business::default() });
        Names {
            client: message.client_uid.as_ref().map(client),
            staff: message.staff_uid.as_ref().map(staff),
            business: business.or_else(uid_only),
            late: Late::default(),
        }
    }
}

/// What the store knows of a message's people, however old; nothing is looked up. At least their uids.
pub async fn stored(store: &Store, message: &Message) -> Names {
    let inner = Inner {
        account: message.account.clone(),
        lookup: None,
        store: store.clone(),
        clock: Clock::System,
        tasks: TaskTracker::new(),
        known: Mutex::default(),
        fetching: Mutex::default(),
    };
    for key in keys(message) {
        inner.recall(&key).await;
    }
    inner.known_names(message)
}

/// What to look up for a message. The business is the account's own, under an empty uid.
fn keys(message: &Message) -> Vec<Key> {
    let mut keys = Vec::with_capacity(3);
    keys.extend(message.client_uid.clone().map(|uid| (NameKind::Client, uid)));
    keys.extend(message.staff_uid.clone().map(|uid| (NameKind::Staff, uid)));
    keys.push((NameKind::Business, String::new()));
    keys
}

fn pairs<T: Serialize>(
    kind: NameKind,
    found: impl IntoIterator<Item = T>,
    uid: impl Fn(&T) -> String,
) -> Vec<(NameKind, String, Value)> {
    let pair = |one: T| Some((kind, uid(&one), serde_json::to_value(&one).ok()?));
    found.into_iter().filter_map(pair).collect()
}

fn later(at: Timestamp, seconds: i64) -> Timestamp {
    at.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX)
}
