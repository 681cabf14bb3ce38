//! Polls one account: walk, fetch, read, match, plan, admit. One transaction per page; an error leaves all as last committed.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use crate::config::Config;
use crate::daemon::arrivals::Arrivals;
use crate::daemon::hand::Hand;
use crate::daemon::intake::admit;
use crate::daemon::memory::Memory;
use crate::daemon::names::{NameBook, WAIT_MAX};
use crate::daemon::sweeps::Sweeps;
use crate::daemon::traces::Traces;
use crate::daemon::unseen::Unseen;
pub use crate::daemon::waits::PollError;
use crate::daemon::waits::wait_after;
use crate::model::backoff::scaled;
use crate::model::catalog;
use crate::model::message::{Message, Triple};
use crate::model::mute::Mute;
use crate::model::names::Names;
use crate::source::api::{Answer, Api};
use crate::source::fault::ApiError;
use crate::source::settled::Settled;
use crate::source::walk::{PageFacts, Query, Row, Walk};
use crate::source::{Account, stamp};
use crate::store::{Admission, Admitted, Cursor, Store, Taken};

/// The jitter of the poll interval: a tenth up or down.
const JITTER: f64 = 0.1;
/// The wait before a walk that ran out of requests goes on.
const GO_ON_WAIT: Duration = Duration::from_secs(1);
/// What sweeps may cost in one tick, so that fresh messages do not wait for them.
const SWEEP_REQUESTS_MAX: u32 = 10;
const SWEEP_TIME_MAX: Duration = Duration::from_secs(5);
/// Triples out of the catalogue that are counted.
const UNKNOWN_TRIPLES_MAX: usize = 1000;

/// Polls one account.
#[derive(Debug)]
pub struct Poller {
    account: Arc<Account>,
    api: Api,
    names: NameBook,
    store: Store,
    /// What this instance must hold to take anything in; `None` where no other can poll.
    role: Option<String>,
    dry_run: Option<DryRun>,
    traces: Traces,
    failures: u32,
    error: Option<String>,
    /// The store failed the last poll.
    store_failed: bool,
    sweeps: Sweeps,
    settled: Settled,
    unknown: HashMap<Triple, u64>,
    zone_warned: bool,
}

/// What a dry run remembers in place of the store.
#[derive(Debug, Default)]
struct DryRun {
    cursor: Option<Cursor>,
    seen: HashSet<String>,
}

/// How a tick went.
#[derive(Debug)]
pub struct Tick {
    /// What was taken in, or why the poll did not go through.
    pub result: Result<Taken, PollError>,
    /// When to tick again.
    pub next_in: Duration,
    /// In a dry run: the new messages with what would be owed for them.
    pub would_admit: Vec<Admitted>,
    /// What was taken in even so, to be counted.
    pub arrivals: Arrivals,
}

/// What one page or a whole poll changed.
#[derive(Debug, Default)]
struct Gain {
    taken: Taken,
    would_admit: Vec<Admitted>,
    hand: Option<Hand>,
    arrivals: Arrivals,
}

/// The role of the one instance that polls an account.
pub fn polling_role(account: &str) -> String {
    format!("poll {account}")
}

impl Poller {
    /// A poller of one account. With `dry_run` nothing is written: neither messages nor cursor nor the poll's result.
    pub fn new(account: Arc<Account>, api: Api, names: NameBook, store: Store, dry_run: bool) -> Self {
        let settled = Settled::default();
        let role = store.is_shared().then(|| polling_role(&account.name));
        Self {
            role,
            account,
            api,
            names,
            store,
            dry_run: dry_run.then(DryRun::default),
            traces: Traces::default(),
            failures: 0,
            error: None,
            store_failed: false,
            sweeps: Sweeps::new(settled.clone()),
            settled,
            unknown: HashMap::new(),
            zone_warned: false,
        }
    }

    /// The same, which brings its spans there.
    pub(super) fn traced(self, traces: Traces) -> Self {
        Self { traces, ..self }
    }

    /// The same in place of one that polled the account as it was: it goes on with what that one remembers of it. Where
    /// the list is read in another way, the past is looked through again as after a start.
    pub fn in_place_of(self, old: &mut Self) -> Self {
        let (error, unknown) = (old.error.take(), std::mem::take(&mut old.unknown));
        let new = Self { error, unknown, zone_warned: old.zone_warned, ..self };
        if !new.account.reads_as(&old.account) {
            let mut sweeps = std::mem::take(&mut old.sweeps);
            sweeps.begin_again(new.settled.clone());
            return Self { sweeps, ..new };
        }
        Self { sweeps: std::mem::take(&mut old.sweeps), settled: old.settled.clone(), ..new }
    }

    /// The account it polls.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// How often triples out of the catalogue were met since the start.
    pub fn unknown(&self) -> &HashMap<Triple, u64> {
        &self.unknown
    }

    /// It polls the account from here on: as after a start, the time in which nobody may have is looked through again.
    pub fn take_up(&mut self) {
        self.sweeps.begin_again(self.settled.clone());
        (self.failures, self.error) = (0, None);
    }

    /// Polls once, then looks a little further through the past. `jitter` is in `0.0..1.0`. May be dropped at any
    /// point: what is not committed is found again by the next tick.
    /// Without a `hand`, what is owed waits to be claimed.
    pub async fn tick(&mut self, config: &Config, hand: Option<Hand>, now: Timestamp, jitter: f64) -> Tick {
        let mut gain = Gain { hand, ..Gain::default() };
        let polled = self.poll(config, now, &mut gain).await;
        let cut_short = *polled.as_ref().unwrap_or(&false);
        let (outcome, asked) = match polled {
            Ok(_) => match self.sweep(config, now, &mut gain).await {
                Ok(asked) => (Ok(()), asked),
                Err(error) => (Err(error), None),
            },
            Err(error) => (Err(error), None),
        };
        let outcome = self.note(outcome, now).await;
        self.store_failed =
            outcome.as_ref().is_err_and(|error| matches!(error, PollError::Store(_)) && !error.role_lost());
        let next_in = match &outcome {
            Ok(()) if cut_short => GO_ON_WAIT,
            Ok(()) => scaled(self.account.poll_every, 1.0 - JITTER + 2.0 * JITTER * jitter.clamp(0.0, 1.0)),
            Err(error) => wait_after(error, self.failures, self.account.poll_every),
        };
        let next_in = next_in.max(asked.unwrap_or_default());
        let Gain { taken, would_admit, arrivals, .. } = gain;
        Tick { result: outcome.map(|()| taken), next_in, would_admit, arrivals }
    }

    /// Writes down how the poll went; a trouble is logged once, not at every poll.
    async fn note(&mut self, outcome: Result<(), PollError>, now: Timestamp) -> Result<(), PollError> {
        if outcome.as_ref().is_err_and(PollError::role_lost) {
            // Whoever polls the account says how that goes.
            return outcome;
        }
        let text = outcome.as_ref().err().map(ToString::to_string);
        self.failures = if text.is_some() { self.failures.saturating_add(1) } else { 0 };
        if text != self.error {
            if let Some(error) = &text {
                tracing::warn!(account = self.account.name, error, "the poll failed");
            } else {
                tracing::info!(account = self.account.name, "polling works again");
            }
        }
        self.error.clone_from(&text);
        if self.dry_run.is_none() {
            let result = text.map_or(Ok(()), Err);
            let written = self.store.polled(&self.account.name, result, now).await;
            if outcome.is_ok() {
                written?;
            }
        }
        outcome
    }

    /// One walk to the end of the list; `true` if it ended before that.
    async fn poll(&mut self, config: &Config, now: Timestamp, gain: &mut Gain) -> Result<bool, PollError> {
        if self.store_failed {
            // Nothing is asked of the API that could not be taken in.
            self.store.ping().await?;
        }
        let mut cursor = self.cursor(now).await?;
        let Some(floor) = cursor.floor else { return Ok(false) };
        let overlap = SignedDuration::try_from(self.account.overlap).unwrap_or(SignedDuration::MAX);
        let mut walk =
            Walk::poll(floor, cursor.watermark, self.account.overlap).remembering(&self.settled, overlap);
        let before = cursor.watermark;
        let memory = Memory::of(before, now);
        let mut server_now = now;
        let walked = self.walk(config, (&mut walk, memory), &mut cursor, (&mut server_now, now), gain).await;
        if self.dry_run.is_none() {
            self.sweeps.recheck(walk.leftover(), memory);
            // The next walk begins behind what one that broke off has got through.
            if walked.is_ok() || cursor.watermark != before {
                self.sweeps.schedule(floor, before, now, server_now);
            }
        }
        walked?;
        if let Some(missing) = walk.missing() {
            tracing::warn!(
                account = self.account.name,
                missing,
                "the API counts more messages than it shows; they are looked for again at every poll"
            );
        }
        let taken = gain.taken;
        let (messages, deliveries, quarantined) = (taken.messages, taken.deliveries, taken.quarantined);
        let requests = walk.requests();
        let account = self.account.name.as_str();
        if messages + quarantined > 0 {
            tracing::info!(account, requests, messages, deliveries, quarantined, "new messages");
        } else {
            tracing::debug!(account, requests, "nothing new");
        }
        Ok(walk.cut_short())
    }

    /// Page by page, as long as the walk asks.
    async fn walk(
        &mut self,
        config: &Config,
        (walk, memory): (&mut Walk, Memory),
        cursor: &mut Cursor,
        (server_now, now): (&mut Timestamp, Timestamp),
        gain: &mut Gain,
    ) -> Result<(), PollError> {
        while let Some(query) = walk.next() {
            let answer = self.api.list(&query).await?;
            crate::failpoint::pass("fetched");
            *server_now = answer.server_now.unwrap_or(now);
            self.take(config, (walk, memory), cursor, answer, now, gain).await?;
        }
        Ok(())
    }

    /// Where polling stands; at the very first poll, where it begins.
    async fn cursor(&mut self, now: Timestamp) -> Result<Cursor, PollError> {
        let known = match self.dry_run.as_ref().and_then(|dry| dry.cursor.clone()) {
            Some(cursor) => cursor,
            None => self.store.cursor(&self.account.name).await?,
        };
        if known.floor.is_some() {
            return Ok(known);
        }
        let start = self.account.start_from;
        let floor = start.floor(if start.is_relative() { self.server_now(now).await? } else { now });
        let cursor = Cursor { floor: Some(floor), ..known };
        tracing::info!(account = self.account.name, from = %floor, "polling begins");
        if let Some(dry) = &mut self.dry_run {
            dry.cursor = Some(cursor.clone());
        } else {
            let account = self.account.name.clone();
            let (cursor, role) = (Some(cursor.clone()), self.role.clone());
            let admission = Admission { account, cursor, role, ..Admission::default() };
            self.store.admit(admission, now).await?;
        }
        Ok(cursor)
    }

    async fn server_now(&self, now: Timestamp) -> Result<Timestamp, PollError> {
        Ok(self.api.list(&Query::probe(now)).await?.server_now.unwrap_or(now))
    }

    /// One page: what is new on it is matched, planned and admitted together with the cursor.
    async fn take(
        &mut self,
        config: &Config,
        (walk, memory): (&mut Walk, Memory),
        cursor: &mut Cursor,
        answer: Answer,
        now: Timestamp,
        gain: &mut Gain,
    ) -> Result<(), PollError> {
        if answer.page.zoneless && !std::mem::replace(&mut self.zone_warned, true) {
            tracing::warn!(
                account = self.account.name,
                "the API writes times without a zone; they are taken for UTC"
            );
        }
        // A walk may take long: what is sent at once is leased from the moment of its page, not from that of the poll.
        let now = gain.hand.as_ref().map_or(now, Hand::now);
        let rows = Row::of(&answer.page.items);
        let facts = (answer.page.per_page, answer.page.total_count, answer.server_now.unwrap_or(now));
        let kept = i64::try_from(config.retention.delivered.as_secs()).unwrap_or(i64::MAX);
        let unseen =
            Unseen { account: &self.account.name, cursor, memory, kept_since: stamp::shift(now, -kept) };
        let known = |uid: &str| self.dry_run.as_ref().is_some_and(|dry| dry.seen.contains(uid));
        let (messages, quarantined) = unseen.of(&self.store, answer.page.items, known).await?;
        let page = PageFacts {
            rows,
            fresh: messages.len() + quarantined.len(),
            per_page: facts.0,
            total_count: facts.1,
            server_now: facts.2,
        };
        let watermark = walk.page(&page).max(cursor.watermark);
        let moved = watermark != cursor.watermark;
        if !moved && messages.is_empty() && quarantined.is_empty() {
            return Ok(());
        }
        let next = Cursor { watermark, ..cursor.clone() };
        let messages = self.matched(config, messages, now).await?;
        let account = self.account.name.clone();
        let role = self.role.clone();
        let cursor_after = moved.then(|| next.clone());
        let admission = Admission { account, messages, quarantined, cursor: cursor_after, role };
        self.admit(admission, &next, now, gain).await?;
        *cursor = next;
        Ok(())
    }

    async fn admit(
        &mut self,
        admission: Admission,
        cursor: &Cursor,
        now: Timestamp,
        gain: &mut Gain,
    ) -> Result<(), PollError> {
        for item in &admission.quarantined {
            tracing::warn!(
                account = self.account.name,
                uid = item.uid,
                why = item.why,
                "a message cannot be read; it is kept aside"
            );
        }
        if let Some(dry) = &mut self.dry_run {
            dry.cursor = Some(cursor.clone());
            dry.seen.extend(admission.messages.iter().map(|admitted| admitted.message.uid.clone()));
            dry.seen.extend(admission.quarantined.iter().map(|item| item.uid.clone()));
            gain.taken.messages += admission.messages.len();
            gain.taken.quarantined += admission.quarantined.len();
            gain.taken.deliveries += admission.messages.iter().map(|one| one.deliveries.len()).sum::<usize>();
            gain.would_admit.extend(admission.messages);
            return Ok(());
        }
        let owing = admission.messages.iter().filter(|admitted| !admitted.deliveries.is_empty());
        let owing: Vec<Message> = owing.map(|admitted| admitted.message.clone()).collect();
        let arrivals = Arrivals::of(&admission, now);
        let page = self.traces.page(&admission);
        let taken = match &gain.hand {
            Some(hand) => hand.take_in(admission, now).await?,
            None => self.store.admit(admission, now).await?,
        };
        self.traces.admitted(page, now);
        gain.arrivals.add(arrivals);
        gain.taken.messages += taken.messages;
        gain.taken.deliveries += taken.deliveries;
        gain.taken.quarantined += taken.quarantined;
        self.names.prefetch(&owing);
        Ok(())
    }

    /// Matches and plans. Where a rule looks at names, these are waited for: two seconds for the whole page.
    async fn matched(
        &mut self,
        config: &Config,
        messages: Vec<Message>,
        now: Timestamp,
    ) -> Result<Vec<Admitted>, PollError> {
        let mutes = if messages.is_empty() { Vec::new() } else { self.store.mutes(now).await? };
        let need_names = config.rules.need_names();
        if need_names {
            self.names.prefetch(&messages);
        }
        let patience = Instant::now() + WAIT_MAX;
        let mut admitted = Vec::with_capacity(messages.len());
        for message in messages {
            self.count_unknown(&message);
            let names = if need_names {
                self.names.names(&message, patience.saturating_duration_since(Instant::now())).await
            } else {
                Names::default()
            };
            admitted.push(admit(config, message, &names, &mutes, now));
        }
        for mute in mutes.iter().filter(|mute| Mute::of(&mutes, &mute.rule, now) == Some(mute)) {
            let owed = admitted.iter().flat_map(|one| &one.deliveries);
            let withheld = owed.filter(|owed| owed.rule == mute.rule && owed.withheld.is_some()).count();
            if withheld > 0 {
                let Mute { rule, until, reason, .. } = mute;
                tracing::info!(rule, withheld, %until, reason, "the rule is muted");
            }
        }
        Ok(admitted)
    }

    fn count_unknown(&mut self, message: &Message) {
        if catalog::find(&message.triple).is_some() {
            return;
        }
        if let Some(count) = self.unknown.get_mut(&message.triple) {
            *count += 1;
        } else if self.unknown.len() < UNKNOWN_TRIPLES_MAX {
            let (account, triple) = (self.account.name.as_str(), &message.triple);
            tracing::info!(account, %triple, raw_type = message.raw_type, "a message type that the catalogue does not know");
            self.unknown.insert(message.triple.clone(), 1);
        }
    }

    /// Goes on with what is to be looked through again, as far as this tick's budget reaches. The API's troubles here
    /// are no trouble of the poll, which went through; returns how long it asks us to wait, if it does.
    async fn sweep(
        &mut self,
        config: &Config,
        now: Timestamp,
        gain: &mut Gain,
    ) -> Result<Option<Duration>, PollError> {
        let started = Instant::now();
        let mut requests = 0;
        let mut cursor = self.cursor(now).await?;
        while let Some(mut sweep) = self.sweeps.take() {
            while let Some(query) = sweep.walk.next() {
                if requests >= SWEEP_REQUESTS_MAX || started.elapsed() > SWEEP_TIME_MAX {
                    self.sweeps.give_back(sweep);
                    return Ok(None);
                }
                requests += 1;
                let answer = match self.api.list(&query).await {
                    Ok(answer) => answer,
                    Err(error) => {
                        tracing::warn!(account = self.account.name, %error, "the past cannot be looked through again");
                        match error {
                            ApiError::Refused { .. } => {
                                let (from, to) = (sweep.window.from, sweep.window.to);
                                if !self.sweeps.refused(sweep) {
                                    self.leaves_it(from, to);
                                }
                            }
                            ApiError::TooLong(_) => self.sweeps.restart(sweep),
                            _ => self.sweeps.postpone(sweep),
                        }
                        return Ok(error.asked_to_wait());
                    }
                };
                let taken =
                    self.take(config, (&mut sweep.walk, sweep.memory), &mut cursor, answer, now, gain).await;
                if let Err(error) = taken {
                    self.sweeps.restart(sweep);
                    return Err(error);
                }
            }
            if !self.sweeps.finish(&sweep) {
                self.leaves_it(sweep.window.from, sweep.window.to);
            }
        }
        Ok(None)
    }

    fn leaves_it(&self, from: Timestamp, to: Timestamp) {
        tracing::warn!(account = self.account.name, %from, %to, "it is left at that: what came in this time may be missing");
    }
}
