//! What happens, for those who watch: the store is asked for it while somebody does, once for all of them. What another
//! instance does is in it as well.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::Stream;
use futures_util::stream;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::daemon::Relay;
use crate::store::{Result, Row, StoredMessage};

/// How often the store is asked.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// How many new things are looked at each time.
const NEWS_MAX: usize = 200;
/// How many things are shown to one who begins to watch, and remembered.
pub(super) const KEPT_MAX: usize = 100;
/// How far back the store is asked: what another instance wrote may bear a time of a clock that is behind.
const OVERLAP: SignedDuration = SignedDuration::from_secs(10);

/// Something that happened.
#[derive(Debug, Clone)]
pub(super) enum Event {
    /// A message was taken in.
    Message(Box<StoredMessage>),
    /// A delivery came to an end.
    Delivery(Box<Row>),
}

impl Event {
    pub(super) fn at(&self) -> Timestamp {
        match self {
            Self::Message(stored) => stored.seen_at,
            Self::Delivery(row) => row.settled_at.unwrap_or(row.created_at),
        }
    }

    /// What tells it from others.
    pub(super) fn id(&self) -> String {
        match self {
            Self::Message(stored) => format!("m-{}-{}", stored.message.account, stored.message.uid),
            Self::Delivery(row) => format!("d-{}", row.id),
        }
    }
}

/// What is known of what happened.
#[derive(Debug, Default)]
struct Known {
    /// The last ones with their numbers, the oldest first.
    events: VecDeque<(u64, Event)>,
    /// How many there were.
    number: u64,
    /// The number of the last message.
    message: Option<i64>,
    /// When the store was asked last.
    asked: Option<Timestamp>,
}

/// The feed.
#[derive(Debug)]
pub(super) struct Events {
    relay: Arc<Relay>,
    known: Mutex<Known>,
    /// Held by the one who asks the store.
    turn: tokio::sync::Mutex<()>,
    news: watch::Sender<u64>,
}

impl Events {
    pub(super) fn new(relay: Arc<Relay>) -> Self {
        Self {
            relay,
            known: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            news: watch::Sender::new(0),
        }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What happened last, the oldest first, with the number of the last one.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(super) async fn recent(&self) -> Result<(u64, Vec<Event>)> {
        self.ask().await?;
        let known = self.known();
        Ok((known.number, known.events.iter().map(|(_, event)| event.clone()).collect()))
    }

    /// What happens behind the number, as it happens, until `closing`.
    pub(super) fn follow(
        self: Arc<Self>,
        after: u64,
        closing: CancellationToken,
    ) -> impl Stream<Item = (u64, Event)> + Send {
        let waiting: VecDeque<(u64, Event)> = VecDeque::new();
        stream::unfold(
            (self, after, waiting, closing),
            |(events, mut after, mut waiting, closing)| async move {
                loop {
                    if let Some((number, event)) = waiting.pop_front() {
                        after = number;
                        return Some(((number, event), (events, after, waiting, closing)));
                    }
                    waiting
                        .extend(events.known().events.iter().filter(|(number, _)| *number > after).cloned());
                    if waiting.is_empty() {
                        tokio::select! {
                            () = tokio::time::sleep(ASK_EVERY) => {}
                            () = closing.cancelled() => return None,
                        }
                        if let Err(error) = events.ask().await {
                            tracing::debug!(%error, "the feed cannot be read");
                        }
                    }
                }
            },
        )
    }

    /// Asks the store, unless somebody else has just done so.
    async fn ask(&self) -> Result<()> {
        let seen = *self.news.borrow();
        let _turn = self.turn.lock().await;
        if *self.news.borrow() != seen {
            return Ok(());
        }
        let (message, asked) = {
            let known = self.known();
            (known.message, known.asked)
        };
        let now = self.relay.clock.now();
        let since = asked.unwrap_or(now).saturating_sub(OVERLAP).unwrap_or(now);
        let messages = self.relay.store.arrivals(message, NEWS_MAX).await?;
        let ended = if asked.is_some() {
            self.relay.store.ended_since(since, NEWS_MAX).await?
        } else {
            let filter = crate::store::Filter { limit: Some(NEWS_MAX), ..crate::store::Filter::default() };
            let mut rows = self.relay.store.page(filter).await?;
            rows.retain(|row| row.settled_at.is_some());
            rows
        };
        self.learn(messages, ended, now);
        self.news.send_modify(|news| *news += 1);
        Ok(())
    }

    fn learn(&self, messages: Vec<(i64, StoredMessage)>, ended: Vec<Row>, now: Timestamp) {
        let mut known = self.known();
        known.message = messages.iter().map(|(number, _)| *number).max().or(known.message).or(Some(0));
        known.asked = Some(now);
        let messages = messages.into_iter().map(|(_, stored)| Event::Message(Box::new(stored)));
        let mut fresh: Vec<Event> =
            messages.chain(ended.into_iter().map(|row| Event::Delivery(Box::new(row)))).collect();
        fresh.retain(|event| !known.events.iter().any(|(_, old)| old.id() == event.id()));
        fresh.sort_by_key(|event| (event.at(), matches!(event, Event::Delivery(_))));
        for event in fresh {
            known.number += 1;
            let number = known.number;
            known.events.push_back((number, event));
        }
        while known.events.len() > 2 * NEWS_MAX {
            known.events.pop_front();
        }
    }
}
