//! What happens, for those who watch: the store is asked for it while somebody does, once for all of them. What another
//! instance does is in it as well.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::Stream;
use futures_util::stream;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::daemon::Relay;
use crate::model::delivery::StateName;
use crate::model::id::DeliveryId;
use crate::store::{Result, Row, StoreError, StoredMessage};

/// How often the store is asked, however many watch.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// How many new messages, and how many new ends of deliveries, are told each time: the newest, where there are more.
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

    /// What tells it from others: a delivery that was given up and is discarded later ends twice.
    pub(super) fn id(&self) -> String {
        match self {
            Self::Message(stored) => format!("m-{}-{}", stored.message.account, stored.message.uid),
            Self::Delivery(row) => format!("d-{}-{}", row.id, row.state),
        }
    }
}

/// Something that happened, as it is told.
#[derive(Debug)]
pub(super) struct News {
    /// Its number: they begin at the relay's start, in milliseconds, so that none is one that an earlier process gave.
    pub(super) number: u64,
    /// What it was.
    pub(super) event: Event,
    /// How pages show it: made once, for all who watch.
    pub(super) entry: String,
}

/// What those who watch are told.
#[derive(Debug)]
pub(super) enum Live {
    /// What happened, all of a moment together.
    News(Vec<Arc<News>>),
    /// The store cannot be read for this reason, so that nothing is known of what happens.
    Trouble(String),
    /// It can be read again.
    Again,
}

/// How pages show what happened, on one line, in this zone and at this moment.
type Entry = fn(&Event, &TimeZone, Timestamp) -> String;

/// What is known of what happened.
#[derive(Debug, Default)]
struct Known {
    /// The last things that happened, the oldest first.
    news: VecDeque<Arc<News>>,
    /// The number of the last of them.
    number: u64,
    /// The number of the last message.
    message: Option<i64>,
    /// When the store was asked last: by the relay's clock, and by one that nobody sets.
    asked: Option<(Timestamp, Instant)>,
    /// The deliveries that it named as the last ones then, and how they ended.
    ended: HashMap<DeliveryId, StateName>,
    /// Why it did not answer then.
    trouble: Option<String>,
}

/// The feed.
#[derive(Debug)]
pub(super) struct Events {
    relay: Arc<Relay>,
    entry: Entry,
    known: Mutex<Known>,
    /// Held by the one who asks the store.
    turn: tokio::sync::Mutex<()>,
    /// The number of the last thing that happened.
    last: watch::Sender<u64>,
}

impl Events {
    pub(super) fn new(relay: Arc<Relay>, entry: Entry) -> Self {
        let number = u64::try_from(relay.clock.now().as_millisecond()).unwrap_or(0);
        Self {
            relay,
            entry,
            known: Mutex::new(Known { number, ..Known::default() }),
            turn: tokio::sync::Mutex::default(),
            last: watch::Sender::new(number),
        }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known behind the number, the oldest first: all of it behind one of before the start, and behind one that is not
    /// reached yet, which a process gave whose clock was ahead.
    fn behind(&self, after: u64) -> Vec<Arc<News>> {
        let known = self.known();
        let after = if after > known.number { 0 } else { after };
        known.news.iter().filter(|news| news.number > after).cloned().collect()
    }

    /// What happened last behind the number, the oldest first, and the number of the last thing that did.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(super) async fn recent(&self, after: u64) -> Result<(u64, Vec<Arc<News>>)> {
        self.ask().await?;
        let recent = self.behind(after);
        let last = recent.last().map_or_else(|| self.known().number, |news| news.number);
        Ok((last, recent))
    }

    /// What happens behind the number, as it happens, and whether that is known, until `closing`.
    pub(super) fn follow(
        self: Arc<Self>,
        after: u64,
        closing: CancellationToken,
    ) -> impl Stream<Item = Live> + Send {
        let begun = (self.last.subscribe(), after, None);
        stream::unfold((self, begun, closing), |(events, (mut last, after, known), closing)| async move {
            loop {
                last.mark_unchanged();
                let trouble = events.known().trouble.clone();
                if trouble != known {
                    let told = trouble.clone().map_or(Live::Again, Live::Trouble);
                    return Some((told, (events, (last, after, trouble), closing)));
                }
                let fresh = events.behind(after);
                if let Some(newest) = fresh.last() {
                    let after = newest.number;
                    return Some((Live::News(fresh), (events, (last, after, known), closing)));
                }
                let next = events.known().asked.map_or_else(Instant::now, |(_, asked)| asked + ASK_EVERY);
                tokio::select! {
                    _ = last.changed() => {}
                    () = tokio::time::sleep_until(next) => {
                        if let Err(error) = events.ask().await {
                            tracing::debug!(%error, "the feed cannot be read");
                        }
                    }
                    () = closing.cancelled() => return None,
                }
            }
        })
    }

    /// Asks the store, unless somebody has just done so.
    async fn ask(&self) -> Result<()> {
        let _turn = self.turn.lock().await;
        let (message, before) = {
            let mut known = self.known();
            let before = known.asked;
            if before.is_some_and(|(_, at)| at.elapsed() < ASK_EVERY) {
                return Ok(());
            }
            // Whatever comes of it, the next one waits his turn.
            known.asked = Some((before.map_or(Timestamp::MIN, |(asked, _)| asked), Instant::now()));
            (known.message, before)
        };
        let now = self.relay.clock.now();
        let since = before.and_then(|(asked, _)| asked.checked_sub(OVERLAP).ok()).unwrap_or(Timestamp::MIN);
        let read = self.read(message, since).await;
        self.known().trouble = read.as_ref().err().map(StoreError::to_string);
        let (messages, ended) = read?;
        let number = self.learn(messages, ended, now);
        self.last.send_if_modified(|last| std::mem::replace(last, number) != number);
        Ok(())
    }

    /// The messages behind the number, and the deliveries that ended since.
    async fn read(
        &self,
        message: Option<i64>,
        since: Timestamp,
    ) -> Result<(Vec<(i64, StoredMessage)>, Vec<Row>)> {
        let messages = self.relay.store.arrivals(message, NEWS_MAX).await?;
        Ok((messages, self.relay.store.ended_since(&StateName::ENDS, since, NEWS_MAX).await?))
    }

    /// Keeps what is new of it; returns the number of the last thing that happened.
    fn learn(&self, messages: Vec<(i64, StoredMessage)>, mut ended: Vec<Row>, now: Timestamp) -> u64 {
        let zone = self.relay.config().timezone.clone();
        let mut known = self.known();
        known.message = messages.iter().map(|(number, _)| *number).max().or(known.message).or(Some(0));
        known.asked = known.asked.map(|(_, at)| (now, at));
        let named = ended.iter().map(|row| (row.id.clone(), row.state)).collect();
        let before = std::mem::replace(&mut known.ended, named);
        ended.retain(|row| before.get(&row.id) != Some(&row.state));
        let messages = messages.into_iter().map(|(_, stored)| Event::Message(Box::new(stored)));
        let mut fresh: Vec<Event> =
            messages.chain(ended.into_iter().map(|row| Event::Delivery(Box::new(row)))).collect();
        fresh.sort_by_key(|event| (event.at(), matches!(event, Event::Delivery(_))));
        for event in fresh {
            known.number += 1;
            let (number, entry) = (known.number, (self.entry)(&event, &zone, now));
            known.news.push_back(Arc::new(News { number, event, entry }));
        }
        while known.news.len() > 2 * NEWS_MAX {
            known.news.pop_front();
        }
        known.number
    }
}
