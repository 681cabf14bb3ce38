//! Claims what is due, renders it, delivers it, and writes down what came of it.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use jiff::Timestamp;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::model::delivery::{Attempt, Job, Outcome, Planned, Report, State};
use crate::model::payload::Payload;
use crate::model::settle::{Facts, TargetChange, Verdict, settle};
use crate::rules::notice::{Addressee, RELAY, Trouble, notices};
use crate::store::{Settlement, Store, StoreError, TargetState, Want};
use crate::target::{Parcel, Target};

use super::clock::{Chance, Clock};
use super::limiter::Limiter;
use super::metrics::{Metrics, OfAttempt, OfEnd, OfTarget};
use super::names::NameBook;
use super::view::view;

/// Attempts under way at once, over all targets.
const IN_FLIGHT_MAX: usize = 256;
/// Claimed for one target at once.
const CLAIM_MAX: usize = 64;
/// What a lease is longer than the attempt's deadline.
const LEASE_MARGIN: Duration = Duration::from_secs(5);
/// How long to wait before a settlement that the store could not take is tried again.
const SETTLE_AGAIN: Duration = Duration::from_millis(500);

/// The sending half of the relay. Cheap to clone; clones share everything.
#[derive(Debug, Clone)]
pub struct Courier {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    store: Store,
    clock: Clock,
    chance: Chance,
    metrics: Arc<Metrics>,
    names: Arc<HashMap<String, NameBook>>,
    tracker: TaskTracker,
    stop: CancellationToken,
    /// Poked when an attempt ends: capacity is free, a retry may be due.
    ended: Arc<Notify>,
    state: Mutex<Lanes>,
}

/// What is under way, by target, and how often each may be sent to.
#[derive(Debug, Default)]
struct Lanes {
    in_flight: HashMap<String, usize>,
    limiter: Limiter,
}

impl Lanes {
    /// How many attempts the target may start at `now`, its rate aside.
    fn open(&self, target: &Target, state: &TargetState, now: Timestamp) -> usize {
        if !target.enabled || state.paused || blocked_until(state, now).is_some() {
            return 0;
        }
        let busy = self.in_flight.get(&target.name).copied().unwrap_or_default();
        let lanes = if state.parked_until.is_some() { 1 } else { target.concurrency.get() };
        usize::try_from(lanes).unwrap_or(usize::MAX).saturating_sub(busy).min(CLAIM_MAX)
    }
}

/// What a tick found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticked {
    /// Attempts started.
    pub started: usize,
    /// When a further tick has something to do, unless an attempt ends or something new is owed before.
    pub next: Option<Timestamp>,
}

/// What the courier needs of the relay.
#[derive(Debug)]
pub struct Parts {
    /// The store.
    pub store: Store,
    /// Time.
    pub clock: Clock,
    /// Chance, for jitter.
    pub chance: Chance,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// The names of people, by account.
    pub names: Arc<HashMap<String, NameBook>>,
    /// Ends the waiting for a store that cannot be written.
    pub stop: CancellationToken,
}

impl Courier {
    /// A courier with nothing under way.
    pub fn new(parts: Parts) -> Self {
        let Parts { store, clock, chance, metrics, names, stop } = parts;
        let (tracker, ended, state) = (TaskTracker::new(), Arc::new(Notify::new()), Mutex::default());
        Self {
            shared: Arc::new(Shared { store, clock, chance, metrics, names, tracker, stop, ended, state }),
        }
    }

    /// Notified whenever an attempt ends.
    pub fn ended(&self) -> Arc<Notify> {
        self.shared.ended.clone()
    }

    /// Attempts under way.
    pub fn in_flight(&self) -> usize {
        self.lanes(|lanes| lanes.in_flight.values().sum())
    }

    /// Waits until nothing is under way.
    pub async fn idle(&self) {
        loop {
            let ended = self.shared.ended.notified();
            if self.in_flight() == 0 {
                return;
            }
            ended.await;
        }
    }

    /// Claims what is due and can be sent, and starts the attempts.
    ///
    /// # Errors
    /// The store cannot be read or written; nothing has been started then.
    pub async fn tick(&self, config: &Arc<Config>, now: Timestamp) -> Result<Ticked, StoreError> {
        let states = self.shared.store.target_states().await?;
        let wants = self.wants(config, &states, now);
        let jobs = if wants.is_empty() { Vec::new() } else { self.shared.store.claim(wants, now).await? };
        let started = jobs.len();
        self.lanes(|lanes| {
            for job in &jobs {
                *lanes.in_flight.entry(job.target.clone()).or_default() += 1;
                let rate = config.targets.get(&job.target).and_then(|target| target.rate);
                lanes.limiter.take(&job.target, rate, 1, now);
            }
        });
        for job in jobs {
            let (courier, config, state) = (self.clone(), config.clone(), standing(&states, &job.target));
            self.shared.tracker.spawn(async move { courier.attempt(job, &config, state).await });
        }
        let next = self.next(config, &states, now).await?;
        Ok(Ticked { started, next })
    }

    /// What to claim at `now`.
    fn wants(&self, config: &Config, states: &[TargetState], now: Timestamp) -> Vec<Want> {
        self.lanes(|lanes| {
            let mut room = IN_FLIGHT_MAX.saturating_sub(lanes.in_flight.values().sum());
            let mut wants = Vec::new();
            for target in config.targets.values() {
                let limit = lanes
                    .open(target, &standing(states, &target.name), now)
                    .min(lanes.limiter.free(&target.name, target.rate, now))
                    .min(room);
                if limit > 0 {
                    room -= limit;
                    let lease = target.attempt_time_max() + LEASE_MARGIN;
                    wants.push(Want { target: target.name.clone(), limit, lease });
                }
            }
            wants
        })
    }

    /// When there will be something to do: what is due next for targets with free lanes (not before their rate
    /// allows it), and the end of each target's waiting.
    async fn next(
        &self,
        config: &Config,
        states: &[TargetState],
        now: Timestamp,
    ) -> Result<Option<Timestamp>, StoreError> {
        let mut moments = Vec::new();
        let (mut ready, mut paced) = (Vec::new(), Vec::new());
        self.lanes(|lanes| {
            if lanes.in_flight.values().sum::<usize>() >= IN_FLIGHT_MAX {
                return;
            }
            for target in config.targets.values() {
                if lanes.open(target, &standing(states, &target.name), now) > 0 {
                    let free_at = lanes.limiter.free_at(&target.name, target.rate, now);
                    if free_at > now {
                        paced.push((target.name.clone(), free_at));
                    } else {
                        ready.push(target.name.clone());
                    }
                }
            }
        });
        moments.extend(self.shared.store.next_due(&ready).await?);
        for (target, free_at) in paced {
            moments.extend(self.shared.store.next_due(&[target]).await?.map(|due| due.max(free_at)));
        }
        moments.extend(
            states.iter().filter(|state| !state.paused).filter_map(|state| blocked_until(state, now)),
        );
        Ok(moments.into_iter().min())
    }

    /// One attempt, from rendering to the settled state.
    async fn attempt(self, job: Job, config: &Config, state: TargetState) {
        let name = job.target.clone();
        if let Some(target) = config.targets.get(&job.target) {
            let settlement = self.deliver(job, target, config, &state).await;
            self.write(settlement).await;
        }
        self.lanes(|lanes| {
            if let Some(count) = lanes.in_flight.get_mut(&name) {
                *count = count.saturating_sub(1);
            }
        });
        self.shared.ended.notify_waiters();
        self.shared.ended.notify_one();
    }

    async fn deliver(
        &self,
        job: Job,
        target: &Arc<Target>,
        config: &Config,
        state: &TargetState,
    ) -> Settlement {
        let shared = &self.shared;
        let view = view(&job, config, &shared.names).await;
        let (payload, problem) = payload(&job, target, config, &view);
        if problem.is_some() {
            shared.metrics.fallbacks.get_or_create(&OfTarget { target: target.name.clone() }).inc();
        }
        let now = shared.clock.now();
        let parcel =
            Parcel { id: job.claim.id.as_str(), payload: &payload, recipient: job.recipient.as_deref(), now };
        let mut report =
            AssertUnwindSafe(target.deliver(&parcel)).catch_unwind().await.unwrap_or_else(|_| panicked());
        if let Some(problem) = problem {
            report.reason = format!("{}; sent as plain text because {problem}", report.reason);
        }
        self.judge(job, target, config, state, report, payload)
    }

    /// What follows from the report, ready to be written.
    fn judge(
        &self,
        job: Job,
        target: &Target,
        config: &Config,
        state: &TargetState,
        report: Report,
        payload: Payload,
    ) -> Settlement {
        let now = self.shared.clock.now();
        let facts = Facts {
            attempts: job.claim.attempts,
            created_at: job.created_at,
            expires_at: job.expires_at,
            plain: job.plain,
            probes: state.probes,
        };
        let verdict =
            settle(facts, report.outcome, &report.reason, &target.retry, now, self.shared.chance.unit());
        self.count(&job, target, &report, &verdict);
        let notices = if job.rule == RELAY {
            Vec::new()
        } else {
            owed(&job, target, config, state, &verdict, &report, now)
        };
        // A plain resend is another payload: what was refused is not kept for it.
        let payload = (verdict.plain == job.plain).then_some(payload);
        Settlement {
            claim: job.claim,
            target: job.target,
            verdict,
            attempt: Attempt {
                at: now,
                outcome: report.outcome.as_str().to_owned(),
                status: report.status,
                reason: report.reason,
                latency_ms: u64::try_from(report.latency.as_millis()).unwrap_or(u64::MAX),
                answer: report.answer,
            },
            payload,
            maybe_duplicate: report.maybe_duplicate,
            notices,
        }
    }

    /// Writes a settlement, again and again while the store cannot be written: what was sent must be noted.
    async fn write(&self, settlement: Settlement) {
        let shared = &self.shared;
        let id = settlement.claim.id.clone();
        let settlement: Arc<[Settlement]> = Arc::new([settlement]);
        loop {
            match shared.store.settle(settlement.clone(), shared.clock.now()).await {
                Ok(written) if written.first() == Some(&true) => return,
                Ok(_) => {
                    shared.metrics.leases_lost.inc();
                    tracing::warn!(delivery = %id, "the lease was lost while sending: somebody else sends it again");
                    return;
                }
                Err(error) => {
                    tracing::error!(delivery = %id, %error, "an attempt could not be written down, trying again");
                    tokio::select! {
                        () = tokio::time::sleep(SETTLE_AGAIN) => {}
                        () = shared.stop.cancelled() => return,
                    }
                }
            }
        }
    }

    fn count(&self, job: &Job, target: &Target, report: &Report, verdict: &Verdict) {
        let metrics = &self.shared.metrics;
        let (rule, name) = (job.rule.clone(), target.name.clone());
        let outcome = report.outcome.as_str().to_owned();
        metrics
            .attempts
            .get_or_create(&OfAttempt { rule: rule.clone(), target: name.clone(), outcome })
            .inc();
        metrics
            .latency
            .get_or_create(&OfTarget { target: name.clone() })
            .observe(report.latency.as_secs_f64());
        if !matches!(verdict.state, State::Pending { .. } | State::Sending { .. }) {
            let state = verdict.state.name().as_str().to_owned();
            metrics.ended.get_or_create(&OfEnd { rule, target: name, state }).inc();
        }
        let (delivery, state) = (&job.claim.id, verdict.state.name().as_str());
        let (rule, target, outcome) = (&job.rule, &job.target, report.outcome.as_str());
        let (status, reason) = (report.status, &report.reason);
        match verdict.state {
            State::Delivered { .. } => tracing::info!(%delivery, rule, target, status, state, "delivered"),
            State::Pending { due_at } => {
                tracing::warn!(%delivery, rule, target, status, outcome, reason, %due_at, "not delivered, will be tried again");
            }
            _ => tracing::error!(%delivery, rule, target, status, outcome, reason, state, "not delivered"),
        }
    }

    fn lanes<T>(&self, look: impl FnOnce(&mut Lanes) -> T) -> T {
        look(&mut self.shared.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The payload to send: that of the first attempt, else rendered; with the template's problem if it failed.
fn payload(
    job: &Job,
    target: &Target,
    config: &Config,
    view: &crate::render::view::View,
) -> (Payload, Option<String>) {
    if let Some(kept) = &job.payload {
        return (kept.clone(), None);
    }
    if job.notice.is_some() {
        return (config.templates.render_notice(target.format(), view), None);
    }
    if job.plain {
        let why = format!("{} refused the full layout", target.name);
        return (config.templates.render_plain(target.format(), view, &why), None);
    }
    let rendered = config.templates.render(&job.template, target.format(), view);
    (rendered.payload, rendered.problem)
}

/// The notices owed for what became of a delivery or its target.
fn owed(
    job: &Job,
    target: &Target,
    config: &Config,
    state: &TargetState,
    verdict: &Verdict,
    report: &Report,
    now: Timestamp,
) -> Vec<Planned> {
    let mut to = Vec::new();
    for name in target.fallback.iter().chain(&config.alerts) {
        if let Some(found) = config.targets.get(name) {
            let addressee = Addressee { target: &found.name, recipients: found.recipients() };
            if !to.contains(&addressee) {
                to.push(addressee);
            }
        }
    }
    let mut owed = Vec::new();
    let was_parked = state.parked_until.is_some();
    match verdict.target {
        TargetChange::Park { .. } if !was_parked => {
            owed.extend(notices(&Trouble::Parked { target: &job.target, reason: &report.reason }, &to, now));
        }
        TargetChange::Healthy if was_parked => {
            owed.extend(notices(&Trouble::Recovered { target: &job.target }, &to, now));
        }
        _ => {}
    }
    if let State::Dead { why, .. } = &verdict.state {
        let delivery = job.claim.id.as_str();
        let trouble = Trouble::Died { target: &job.target, delivery, rule: &job.rule, reason: why };
        owed.extend(notices(&trouble, &to, now));
    }
    owed
}

fn standing(states: &[TargetState], target: &str) -> TargetState {
    let found = states.iter().find(|state| state.name == target).cloned();
    found.unwrap_or_else(|| TargetState { name: target.to_owned(), ..TargetState::default() })
}

/// Until when a target that nobody paused is not to be sent to.
fn blocked_until(state: &TargetState, now: Timestamp) -> Option<Timestamp> {
    [state.wait_until, state.parked_until].into_iter().flatten().filter(|until| *until > now).max()
}

fn panicked() -> Report {
    Report {
        outcome: Outcome::Retry { after: None },
        reason: "the relay failed while sending this; please report it with the log".to_owned(),
        status: None,
        answer: None,
        latency: Duration::ZERO,
        maybe_duplicate: true,
    }
}
