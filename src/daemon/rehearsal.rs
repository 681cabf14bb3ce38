//! A rehearsal: the relay's own path from a message to its payload, on a clock of its own, with nothing going out.
//!
//! Messages are matched and planned as the poller does it, admitted to a store in memory, claimed and rendered by the
//! courier, and settled. Only the door is another one: what is due is recorded instead of sent. Nothing is asked of the
//! network or the disk. Whatever waits, waits for its `due_at` in that store, so that a clock which jumps from one due
//! moment to the next plays days in no time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::model::delivery::Planned;
use crate::model::id::DeliveryId;
use crate::model::message::Message;
use crate::model::names::Names;
use crate::rules::evaluate::{Evaluation, evaluate};
use crate::store::{Admission, Filter, Mode, Row, Store, StoreError};

use super::clock::{Chance, Clock};
use super::courier::{Courier, Parts};
use super::door::{Door, Record, Sent};
use super::intake;
use super::names::{NameBook, NameBooks};
use super::traces::Traces;

/// Plays messages through a configuration. Several may exist side by side; they share nothing.
///
/// Targets take everything at once: their rates are not waited for, so that [`Sent::at`] is the moment at which a delivery
/// was due. What has become too old while it waited is seen as expired at the next moment that the clock stands still.
#[derive(Debug)]
pub struct Rehearsal {
    config: Arc<Config>,
    store: Store,
    clock: Clock,
    names: Arc<NameBooks>,
    courier: Courier,
    record: Record,
    /// The planned deliveries' numbers.
    planned: Mutex<HashMap<DeliveryId, usize>>,
}

/// What a message brought.
#[derive(Debug, Clone, PartialEq)]
pub struct Received {
    /// The message was new; one whose uid its account has had before brings nothing.
    pub fresh: bool,
    /// The rules that took it, in file order.
    pub rules: Vec<String>,
    /// What they owe.
    pub planned: Vec<Planned>,
}

impl Rehearsal {
    /// Opens an empty store in memory; the clock stands at `start`.
    ///
    /// # Errors
    /// The store cannot be opened.
    pub async fn new(config: Arc<Config>, start: Timestamp) -> Result<Self, StoreError> {
        let store = Store::open("sqlite::memory:", Mode::Daemon).await?;
        let clock = Clock::manual(start);
        let names = Arc::new(NameBooks::default());
        for account in &config.accounts {
            let book = NameBook::new(account, None, store.clone(), clock.clone(), TaskTracker::new());
            names.insert(account.name.clone(), book);
        }
        let record = Record::default();
        let courier = Courier::new(Parts {
            store: store.clone(),
            clock: clock.clone(),
            chance: Chance::seeded(0),
            metrics: Arc::default(),
            names: names.clone(),
            traces: Traces::default(),
            door: Door::Record(record.clone()),
            stop: CancellationToken::new(),
        });
        Ok(Self { config, store, clock, names, courier, record, planned: Mutex::default() })
    }

    /// Where the clock stands.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Takes a message in at this moment. `names` is what is known of its people, where the account looks names up at all.
    /// What is due at once is not sent before the next [`Self::advance_to`], be it to this very moment.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn receive(&self, message: Message, names: &Names) -> Result<Received, StoreError> {
        let now = self.clock.now();
        let names = match self.names.get(&message.account) {
            Some(book) => {
                book.learn(&message, names).await?;
                book.names(&message, Duration::MAX).await
            }
            None => Names::default(),
        };
        let admitted = intake::admit(&self.config, message, &names, &[], now);
        let (rules, planned) = (admitted.rules.clone(), admitted.deliveries.clone());
        self.number(&planned);
        let account = admitted.message.account.clone();
        let admission = Admission { account, messages: vec![admitted], ..Admission::default() };
        let taken = self.store.admit(admission, now).await?;
        Ok(Received { fresh: taken.messages > 0, rules, planned })
    }

    /// Every rule's verdict on a message, with its reason, in file order; nothing is taken in.
    pub async fn verdicts(&self, message: &Message, names: &Names) -> Vec<Evaluation<'_>> {
        let names = match self.names.get(&message.account) {
            Some(book) if book.looks_up() => names.clone(),
            Some(book) => book.names(message, Duration::ZERO).await,
            None => Names::default(),
        };
        evaluate(&self.config.rules, message, &names)
    }

    /// Time passes: whatever is due on the way is sent at its moment. A moment that is past only sends what is due now.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub async fn advance_to(&self, moment: Timestamp) -> Result<(), StoreError> {
        loop {
            let next = self.send_due().await?;
            let now = self.clock.now();
            let Some(next) = next.filter(|next| *next <= moment) else { break };
            self.clock.advance(next.duration_since(now).try_into().unwrap_or_default());
        }
        let left = moment.duration_since(self.clock.now());
        if left.is_positive() {
            self.clock.advance(left.try_into().unwrap_or_default());
            self.send_due().await?;
        }
        Ok(())
    }

    /// What would have been sent so far, in the order of its moments, and of the same moment in the order of planning.
    pub fn sent(&self) -> Vec<Sent> {
        let mut sent = self.record.sent();
        let planned = self.planned.lock().unwrap_or_else(PoisonError::into_inner);
        let number = |one: &Sent| planned.get(&one.id).copied().unwrap_or(usize::MAX);
        sent.sort_by(|a, b| (a.at, number(a), &a.id).cmp(&(b.at, number(b), &b.id)));
        sent
    }

    /// Where every delivery stands, oldest first.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn rows(&self) -> Result<Vec<Row>, StoreError> {
        Ok(self.store.deliveries(Filter::default()).await?.0)
    }

    fn number(&self, planned: &[Planned]) {
        let mut numbers = self.planned.lock().unwrap_or_else(PoisonError::into_inner);
        for one in planned {
            let next = numbers.len();
            numbers.entry(one.id.clone()).or_insert(next);
        }
    }

    /// Sends until nothing is due; when something will be.
    async fn send_due(&self) -> Result<Option<Timestamp>, StoreError> {
        loop {
            let now = self.clock.now();
            let ticked = self.courier.tick(&self.config, now).await?;
            self.courier.idle().await;
            let due = ticked.next.is_some_and(|next| next <= now);
            if ticked.started == 0 && !due {
                return Ok(ticked.next);
            }
        }
    }
}
