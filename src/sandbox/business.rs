//! The handle on the fake business: tests and `demo` make things happen with it and look at what was asked.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

use crate::daemon::clock::Clock;
use crate::model::settle::after_now;

use super::incoming::Incoming;
use super::people::People;
use super::script::{Answer, Fault};
use super::world::{Action, At, Request, TokenKind, Which, World};

/// The path of the list of messages.
pub const LIST_PATH: &str = "/v3/communication/activity_messages";

/// Something that was waited for did not come.
#[derive(Debug, thiserror::Error)]
#[error("nothing of the kind within {waited:?}; seen instead: {seen}")]
pub struct TimedOut {
    /// How long was waited.
    pub waited: Duration,
    /// What is there instead.
    pub seen: String,
}

/// The fake business. Clones are handles on the same one.
#[derive(Debug, Clone)]
pub struct Business {
    world: Arc<Mutex<World>>,
    clock: Clock,
    changed: watch::Sender<u64>,
}

impl Business {
    pub(super) fn new(world: World, clock: Clock) -> Self {
        Self { world: Arc::new(Mutex::new(world)), clock, changed: watch::Sender::new(0) }
    }

    /// Now, by the business's clock.
    pub fn now(&self) -> Timestamp {
        self.now_in(&self.world())
    }

    /// Sets the business's clock; it goes on from there as the clock behind it does.
    pub fn set_clock(&self, to: Timestamp) {
        let mut world = self.world();
        world.shift = to.duration_since(self.clock.now());
        let now = self.now_in(&world);
        world.catch_up(now);
        drop(world);
        self.notify();
    }

    /// A message comes in, to be seen at once; its uid (the first one's, if there are several).
    pub fn receive(&self, incoming: Incoming) -> String {
        self.act(Action::Receive(Box::new(incoming))).into_iter().next().unwrap_or_default()
    }

    /// Something happens at once; the uids of messages received.
    pub fn act(&self, action: Action) -> Vec<String> {
        let mut world = self.world();
        let now = self.now_in(&world);
        world.catch_up(now);
        let uids = world.act(action, now);
        drop(world);
        self.notify();
        uids
    }

    /// Something happens after `wait`, by the business's clock.
    pub fn act_after(&self, wait: Duration, action: Action) {
        let mut world = self.world();
        let at = after_now(self.now_in(&world), wait);
        world.schedule(at, action);
        drop(world);
        self.notify();
    }

    /// Something happens just before the `nth` request for the list from here on is answered; 1 is the next one.
    pub fn act_before_request(&self, nth: u64, action: Action) {
        self.world().before_list(nth, action);
    }

    /// Someone reads these messages.
    pub fn mark_read(&self, which: Which) {
        self.act(Action::Read(which));
    }

    /// Someone sets these messages back to unread.
    pub fn mark_unread(&self, which: Which) {
        self.act(Action::Unread(which));
    }

    /// The next requests for the list are answered like this, one after the other.
    pub fn answers(&self, answers: impl IntoIterator<Item = Answer>) {
        for answer in answers {
            self.fault(Fault { on: LIST_PATH.to_owned(), times: Some(1), answer });
        }
    }

    /// Something breaks on the API.
    pub fn fault(&self, fault: Fault) {
        self.act(Action::Fault { at: At::Api, fault });
    }

    /// All that is broken on the API works again.
    pub fn heal(&self) {
        self.act(Action::Heal(At::Api));
    }

    /// A token is good for something else from here on; unknown ones become known.
    pub fn token(&self, token: &str, kind: TokenKind) {
        self.act(Action::Token { token: token.to_owned(), kind });
    }

    /// Changes who belongs to the business.
    pub fn people<T>(&self, change: impl FnOnce(&mut People) -> T) -> T {
        change(&mut self.world().people)
    }

    /// What the API was asked, oldest first.
    pub fn requests(&self) -> Vec<Request> {
        self.world().requests.clone()
    }

    /// Those of them that came after the one with this number.
    pub fn requests_after(&self, number: u64) -> Vec<Request> {
        let world = self.world();
        let fresh = world.requests.partition_point(|request| request.number <= number);
        world.requests.get(fresh..).unwrap_or_default().to_vec()
    }

    /// The requests for the list of messages among them.
    pub fn list_requests(&self) -> Vec<Request> {
        self.world().requests.iter().filter(|request| request.path == LIST_PATH).cloned().collect()
    }

    /// How many messages were received and can be seen, and how many of these are unread.
    pub fn counts(&self) -> (usize, usize) {
        let world = self.caught_up();
        let now = self.now_in(&world);
        let seen = world.records.iter().filter(|record| record.visible_at <= now);
        seen.fold((0, 0), |(all, unread), record| (all + 1, unread + usize::from(!record.read)))
    }

    /// Waits until the request log satisfies a condition, `bound` at most.
    pub async fn wait_for_requests(
        &self,
        bound: Duration,
        enough: impl Fn(&[Request]) -> bool,
    ) -> Result<Vec<Request>, TimedOut> {
        let mut changes = self.changed.subscribe();
        let wait = async {
            loop {
                let requests = self.requests();
                if enough(&requests) {
                    return requests;
                }
                if changes.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        match tokio::time::timeout(bound, wait).await {
            Ok(requests) => Ok(requests),
            Err(_) => Err(TimedOut { waited: bound, seen: format!("{} requests", self.requests().len()) }),
        }
    }

    /// Changes whenever anything happens: a request, an arrival, an action.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    pub(super) fn notify(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    /// The state, after everything that was due has happened.
    pub(super) fn caught_up(&self) -> MutexGuard<'_, World> {
        let mut world = self.world();
        let now = self.now_in(&world);
        world.catch_up(now);
        world
    }

    pub(super) fn now_in(&self, world: &World) -> Timestamp {
        self.clock.now().saturating_add(world.shift).unwrap_or_else(|_| self.clock.now())
    }

    pub(super) fn shift_clock(&self, by: SignedDuration) {
        let to = self.now().saturating_add(by).unwrap_or_else(|_| self.now());
        self.set_clock(to);
    }

    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
