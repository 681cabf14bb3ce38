//! A post for each account that the configuration names: who polls it, and who knows its people's names.

use std::sync::{Arc, Mutex, PoisonError, RwLock};

use tokio::sync::{MutexGuard, Notify};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::egress::Egress;
use crate::egress::policy::Policy;
use crate::source::Account;
use crate::source::api::{Api, REQUESTS_PER_SECOND};
use crate::source::lookup::Lookup;
use crate::source::pace::Pace;
use crate::store::Store;

use super::clock::Clock;
use super::names::{NameBook, NameBooks};
use super::poller::Poller;
use super::traces::Traces;

/// What posts share with the rest of the relay.
#[derive(Debug)]
pub struct Around {
    /// The store.
    pub store: Store,
    /// Time.
    pub clock: Clock,
    /// The names of people, by account.
    pub names: Arc<NameBooks>,
    /// Where spans are brought.
    pub traces: Traces,
}

/// The posts of all accounts. They follow the configuration.
#[derive(Debug)]
pub struct Posts {
    around: Around,
    /// The API is asked at its own pace.
    paced: bool,
    dry_run: bool,
    /// Where the API is, the rules file says, not a message.
    egress: Egress,
    stop: CancellationToken,
    /// In file order.
    all: RwLock<Vec<Arc<Post>>>,
}

/// The polling of one account, for as long as the configuration names it.
#[derive(Debug)]
pub struct Post {
    account: String,
    state: Mutex<State>,
    poller: tokio::sync::Mutex<Poller>,
    /// Poked when the account is another one than it was.
    changed: Notify,
    /// The account is named no longer, or the relay stops.
    over: CancellationToken,
}

#[derive(Debug)]
struct State {
    account: Arc<Account>,
    /// Takes over before the next poll: the account is another one than it was.
    successor: Option<Poller>,
    /// What a token may ask for in a time, whatever else is changed about the account.
    pace: Pace,
    lookup_pace: Pace,
}

impl Posts {
    /// No posts yet.
    pub fn new(around: Around, stop: CancellationToken, (paced, dry_run): (bool, bool)) -> Self {
        let (egress, all) = (Egress::new(Policy::Any), RwLock::default());
        Self { around, paced, dry_run, egress, stop, all }
    }

    /// All of them, in file order.
    pub fn all(&self) -> Vec<Arc<Post>> {
        self.all.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Has a post for each account of the configuration and no other: those of accounts that are as they were stay,
    /// those of other accounts of the same name get another poller, which begins when the poll under way has ended.
    /// Returns the names of the accounts that are gone.
    pub fn follow(&self, config: &Config) -> Vec<String> {
        let before = self.all();
        let known = |account: &Arc<Account>| before.iter().find(|post| post.account == account.name);
        let all = config.accounts.iter().map(|account| match known(account) {
            Some(post) => {
                self.change(post, account);
                post.clone()
            }
            None => Arc::new(self.post(account)),
        });
        let all: Vec<Arc<Post>> = all.collect();
        let gone = before.iter().filter(|post| !all.iter().any(|other| Arc::ptr_eq(post, other)));
        let gone: Vec<String> = gone.map(|post| self.end(post)).collect();
        *self.all.write().unwrap_or_else(PoisonError::into_inner) = all;
        gone
    }

    fn post(&self, account: &Arc<Account>) -> Post {
        let pace = |pace| if self.paced { pace } else { Pace::unlimited() };
        let (pace, lookup_pace) = (pace(Pace::per_second(REQUESTS_PER_SECOND)), pace(Lookup::pace()));
        let poller = self.poller(account, &pace, &lookup_pace);
        Post {
            account: account.name.clone(),
            state: Mutex::new(State { account: account.clone(), successor: None, pace, lookup_pace }),
            poller: tokio::sync::Mutex::new(poller),
            changed: Notify::new(),
            over: self.stop.child_token(),
        }
    }

    fn change(&self, post: &Post, account: &Arc<Account>) {
        let mut state = post.state.lock().unwrap_or_else(PoisonError::into_inner);
        if *state.account == **account {
            return;
        }
        state.account = account.clone();
        state.successor = Some(self.poller(account, &state.pace, &state.lookup_pace));
        drop(state);
        post.changed.notify_one();
    }

    /// A poller of the account, with its name book.
    fn poller(&self, account: &Arc<Account>, pace: &Pace, lookup_pace: &Pace) -> Poller {
        let lookup = Lookup::new(account, &self.egress, lookup_pace.clone());
        let book = self.book(account, Some(lookup));
        let api = Api::new(account, &self.egress, pace.clone());
        let Around { store, traces, .. } = &self.around;
        Poller::new(account.clone(), api, book, store.clone(), self.dry_run).traced(traces.clone())
    }

    /// A name book in place of the one the account had.
    fn book(&self, account: &Account, lookup: Option<Lookup>) -> NameBook {
        let (store, clock) = (self.around.store.clone(), self.around.clock.clone());
        let book = NameBook::new(account, lookup, store, clock, TaskTracker::new());
        self.around.names.insert(account.name.clone(), book.clone());
        book
    }

    /// What is owed for the account's messages is still delivered, with the names that the store knows.
    fn end(&self, post: &Post) -> String {
        post.over.cancel();
        let account = post.account();
        self.book(&account, None);
        account.name.clone()
    }
}

impl Post {
    /// The account as the configuration has it.
    pub fn account(&self) -> Arc<Account> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).account.clone()
    }

    /// Its poller, which polls the account as the configuration has it; waits for a poll under way.
    pub async fn poller(&self) -> MutexGuard<'_, Poller> {
        let mut poller = self.poller.lock().await;
        let successor = self.state.lock().unwrap_or_else(PoisonError::into_inner).successor.take();
        if let Some(successor) = successor {
            *poller = successor.in_place_of(&mut poller);
        }
        poller
    }

    /// Waits until the account is another one than it was.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Cancelled when the account is polled no longer.
    pub fn over(&self) -> &CancellationToken {
        &self.over
    }
}
