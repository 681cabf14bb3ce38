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
use crate::model::delivery::{Attempt, Claim, Job, Outcome, Planned, Report, State};
use crate::model::payload::Payload;
use crate::model::settle::{Facts, TargetChange, Verdict, after_now, settle};
use crate::rules::notice::{Addressee, RELAY, Trouble, notices};
use crate::store::{Outlook, Settlement, Store, StoreError, TargetState, Want};
use crate::target::{Parcel, Target};

use super::clock::{Chance, Clock};
use super::limiter::Limiter;
use super::metrics::{Metrics, OfAttempt, OfEnd, OfTarget};
use super::names::{NameBook, WAIT_MAX};
use super::view::view;

/// Attempts under way at once, over all targets.
const IN_FLIGHT_MAX: usize = 256;
/// Claimed for one target at once.
const CLAIM_MAX: usize = 64;
/// How often the store is asked to sweep although nothing is to be claimed.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// What a lease is longer than the attempt's deadline.
const LEASE_MARGIN: Duration = Duration::from_secs(5);
/// How long to wait before a settlement that the store could not take is tried again.
const SETTLE_AGAIN: Duration = Duration::from_millis(500);
/// It doubles up to this.
const SETTLE_AGAIN_MAX: Duration = Duration::from_secs(4);

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
    /// Who is asked first, so that a full house is shared by all.
    turn: usize,
    swept: Option<Timestamp>,
}

impl Lanes {
    /// How many attempts the target may start, its rate and its waiting aside.
    fn open(&self, target: &Target, state: &TargetState) -> usize {
        let busy = self.in_flight.get(&target.name).copied().unwrap_or_default();
        let lanes = if state.parked_until.is_some() { 1 } else { target.concurrency.get() };
        usize::try_from(lanes).unwrap_or(usize::MAX).saturating_sub(busy).min(CLAIM_MAX)
    }
}

/// One attempt's place among those under way, given back however the attempt ends.
#[derive(Debug)]
struct Lane {
    shared: Arc<Shared>,
    target: String,
}

impl Drop for Lane {
    fn drop(&mut self) {
        let mut lanes = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        let left = lanes.in_flight.get(&self.target).copied().unwrap_or_default().saturating_sub(1);
        if left == 0 {
            lanes.in_flight.remove(&self.target);
        } else {
            lanes.in_flight.insert(self.target.clone(), left);
        }
        drop(lanes);
        self.shared.ended.notify_waiters();
        self.shared.ended.notify_one();
    }
}

/// What a tick found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticked {
    /// Attempts started.
    pub started: usize,
    /// When a further tick has something to do, unless an attempt ends or something new is owed before.
    pub next: Option<Timestamp>,
    /// When the first target may be sent to for which something is due that its pace or its standing holds up.
    pub held: Option<Timestamp>,
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
    /// Cancelled when nothing new is to be sent.
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
        let enabled = config.targets.values().filter(|target| target.enabled);
        let enabled: Vec<String> = enabled.map(|target| target.name.clone()).collect();
        let outlook = self.shared.store.outlook(&enabled).await?;
        let (wants, mut ticked) = self.plan(config, &outlook, now);
        let wanted = !wants.is_empty();
        if !wanted && !self.sweeps(now) {
            return Ok(ticked);
        }
        let jobs = self.shared.store.claim(wants, now).await?;
        ticked.started = jobs.len();
        if wanted && jobs.is_empty() {
            (ticked.next, ticked.held) = (Some(now), Some(now));
        }
        for job in jobs {
            crate::failpoint::pass("claimed");
            let lane = self.enter(&job, config, now);
            let (courier, config, state) =
                (self.clone(), config.clone(), standing(&outlook.states, &job.target));
            self.shared.tracker.spawn(async move {
                courier.attempt(job, &config, state).await;
                drop(lane);
            });
        }
        Ok(ticked)
    }

    /// Whether it is time for a claim without wants: what is too old expires by it, and what a lost holder had is
    /// taken back.
    fn sweeps(&self, now: Timestamp) -> bool {
        self.lanes(|lanes| {
            let due = lanes.swept.is_none_or(|last| now < last || now >= after_now(last, SWEEP_EVERY));
            if due {
                lanes.swept = Some(now);
            }
            due
        })
    }

    fn enter(&self, job: &Job, config: &Config, now: Timestamp) -> Lane {
        let rate = config.targets.get(&job.target).and_then(|target| target.rate);
        self.lanes(|lanes| {
            *lanes.in_flight.entry(job.target.clone()).or_default() += 1;
            lanes.limiter.take(&job.target, rate, 1, now);
        });
        Lane { shared: self.shared.clone(), target: job.target.clone() }
    }

    /// What to claim at `now`, and when there will be more to do. Only targets that something is due for take of the
    /// room there is, and they take turns.
    fn plan(&self, config: &Config, outlook: &Outlook, now: Timestamp) -> (Vec<Want>, Ticked) {
        let mut wants = Vec::new();
        let mut ticked = Ticked { started: 0, next: None, held: None };
        let earlier =
            |so_far: Option<Timestamp>, at| Some(so_far.map_or(at, |so_far: Timestamp| so_far.min(at)));
        self.lanes(|lanes| {
            let mut room = IN_FLIGHT_MAX.saturating_sub(lanes.in_flight.values().sum());
            let count = config.targets.len();
            lanes.turn = lanes.turn.wrapping_add(1);
            let first = lanes.turn.checked_rem(count).unwrap_or_default();
            for target in config.targets.values().cycle().skip(first).take(count) {
                let Some(due) = outlook.due.get(&target.name).copied() else { continue };
                let state = standing(&outlook.states, &target.name);
                if state.paused {
                    continue;
                }
                let free = lanes.limiter.free(&target.name, target.rate, now);
                let open_at = blocked_until(&state, now).unwrap_or(now).max(lanes.limiter.free_at(
                    &target.name,
                    target.rate,
                    now,
                ));
                let at = due.max(open_at);
                if at > now {
                    ticked.next = earlier(ticked.next, at);
                    if due <= now {
                        ticked.held = earlier(ticked.held, at);
                    }
                    continue;
                }
                let limit = lanes.open(target, &state).min(free).min(room);
                if limit > 0 {
                    room -= limit;
                    let lease = target.attempt_time_max() + WAIT_MAX + LEASE_MARGIN;
                    wants.push(Want { target: target.name.clone(), limit, lease });
                }
            }
        });
        (wants, ticked)
    }

    /// One attempt, from rendering to the settled state.
    async fn attempt(&self, job: Job, config: &Config, state: TargetState) {
        let Some(target) = config.targets.get(&job.target) else { return self.release(job.claim).await };
        let sent = AssertUnwindSafe(self.send(&job, target, config)).catch_unwind().await;
        let (report, payload) = match sent {
            Ok(Some((report, payload))) => (report, Some(payload)),
            Ok(None) => return self.release(job.claim).await,
            Err(_) => (panicked(), None),
        };
        let settlement = self.judge(job, target, config, &state, report, payload);
        self.write(settlement).await;
    }

    /// Renders and sends; `None` if the relay is told to stop before anything is on the wire.
    async fn send(&self, job: &Job, target: &Target, config: &Config) -> Option<(Report, Payload)> {
        let shared = &self.shared;
        let view = view(job, config, &shared.names).await;
        let (payload, problem) = payload(job, target, config, &view);
        if problem.is_some() {
            shared.metrics.fallbacks.get_or_create(&OfTarget { target: target.name.clone() }).inc();
        }
        if shared.stop.is_cancelled() {
            return None;
        }
        let now = shared.clock.now();
        let parcel =
            Parcel { id: job.claim.id.as_str(), payload: &payload, recipient: job.recipient.as_deref(), now };
        let mut report = target.deliver(&parcel).await;
        if let Some(problem) = problem {
            report.reason = format!("{}; sent as plain text because {problem}", report.reason);
        }
        Some((report, payload))
    }

    /// Gives a claim back unattempted.
    async fn release(&self, claim: Claim) {
        let id = claim.id.clone();
        if let Err(error) = self.shared.store.release(vec![claim], self.shared.clock.now()).await {
            tracing::warn!(delivery = %id, %error, "a claim could not be given back; it is due again when its lease ends");
        }
    }

    /// What follows from the report, ready to be written.
    fn judge(
        &self,
        job: Job,
        target: &Target,
        config: &Config,
        state: &TargetState,
        report: Report,
        payload: Option<Payload>,
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
        if matches!(verdict.target, TargetChange::Park { .. }) && state.parked_until.is_none() {
            tracing::error!(
                target = job.target,
                reason = report.reason,
                "the target is parked: what is for it waits"
            );
        }
        let (notices, turn_notices) = owed(&job, target, config, &verdict, &report, now);
        // A plain resend is another payload: what was refused is not kept for it.
        let payload = payload.filter(|_| verdict.plain == job.plain);
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
            turn_notices,
        }
    }

    /// Writes a settlement, again and again while the store cannot be written: what was sent must be noted.
    async fn write(&self, settlement: Settlement) {
        let shared = &self.shared;
        let id = settlement.claim.id.clone();
        let settlement: Arc<[Settlement]> = Arc::new([settlement]);
        let mut wait = SETTLE_AGAIN;
        loop {
            crate::failpoint::pass("settle-before");
            match shared.store.settle(settlement.clone(), shared.clock.now()).await {
                Ok(written) if written.first() == Some(&true) => return crate::failpoint::pass("settled"),
                Ok(_) => {
                    shared.metrics.leases_lost.inc();
                    tracing::warn!(delivery = %id, "the lease was lost while sending: somebody else sends it again");
                    return;
                }
                Err(error) => {
                    if wait == SETTLE_AGAIN {
                        tracing::error!(delivery = %id, %error, "an attempt cannot be written down; it is tried again until it can");
                    }
                    tokio::time::sleep(wait).await;
                    wait = wait.saturating_mul(2).min(SETTLE_AGAIN_MAX);
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

/// The notices owed for what became of a delivery, and those owed if its target is parked by it or no longer is.
fn owed(
    job: &Job,
    target: &Target,
    config: &Config,
    verdict: &Verdict,
    report: &Report,
    now: Timestamp,
) -> (Vec<Planned>, Vec<Planned>) {
    let mut to = Vec::new();
    for name in target.fallback.iter().chain(&config.alerts) {
        if let Some(found) = config.targets.get(name) {
            let addressee = Addressee { target: &found.name, recipients: found.recipients() };
            if !to.contains(&addressee) {
                to.push(addressee);
            }
        }
    }
    let turned = match verdict.target {
        TargetChange::Park { .. } => {
            notices(&Trouble::Parked { target: &job.target, reason: &report.reason }, &to, now)
        }
        TargetChange::Healthy => notices(&Trouble::Recovered { target: &job.target }, &to, now),
        TargetChange::Pause { .. } | TargetChange::None => Vec::new(),
    };
    let died = match &verdict.state {
        // A notice that dies is told nobody, or one that cannot be delivered would go round for ever.
        State::Dead { why, .. } if job.rule != RELAY => {
            let delivery = job.claim.id.as_str();
            let trouble = Trouble::Died { target: &job.target, delivery, rule: &job.rule, reason: why };
            notices(&trouble, &to, now)
        }
        _ => Vec::new(),
    };
    (died, turned)
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
