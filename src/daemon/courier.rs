//! Claims what is due, renders it, delivers it, and writes down what came of it.

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::model::delivery::{Attempt, Claim, Job, Outcome, Report, State, StateName};
use crate::model::payload::Payload;
use crate::model::settle::{TargetChange, Verdict, settle};
use crate::store::{Admission, Claimed, Outlook, Settlement, Store, StoreError, Taken, TargetState};
use crate::target::{Parcel, Target};

use super::backlog::take_together;
use super::clock::{Chance, Clock};
use super::closing::nothing_left;
use super::door::Door;
use super::empties::Empties;
use super::facts::facts;
use super::gates::{Gates, Turn};
pub use super::lanes::Ticked;
use super::lanes::{LEASE_MARGIN, Lanes, TURN_WAIT_MAX, attempt_max};
use super::metrics::{self, Metrics, OfAttempt, OfEnd, OfTarget};
use super::names::{NameBooks, WAIT_MAX};
use super::scribe::{Next, Scribe};
use super::telling::{Teller, owed};
use super::traces::Traces;
use super::view::{payload, view};

/// How long a delivery waits whose messages cannot be read at the moment.
const UNREAD_SLEEP: Duration = Duration::from_secs(1);

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
    names: Arc<NameBooks>,
    traces: Traces,
    door: Door,
    scribe: Scribe,
    tracker: TaskTracker,
    stop: CancellationToken,
    /// Told when an attempt ends: capacity is free, a retry may be due.
    ended: watch::Sender<()>,
    state: Mutex<Lanes>,
    gates: Gates,
    empties: Empties,
    teller: Teller,
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
        lanes.leave(&self.target);
        drop(lanes);
        self.shared.ended.send_replace(());
    }
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
    pub names: Arc<NameBooks>,
    /// Where spans are brought.
    pub traces: Traces,
    /// Where it hands over what is due.
    pub door: Door,
    /// Cancelled when nothing new is to be sent.
    pub stop: CancellationToken,
}

/// How far sending came.
enum Sent {
    /// The target said something, or nothing.
    Attempted(Report, Option<Payload>),
    /// Nothing is to be sent any more, for this reason.
    Needless(String),
    /// Nothing was sent, and the claim is to be given back.
    NotNow,
}

impl Courier {
    /// A courier with nothing under way.
    pub fn new(parts: Parts) -> Self {
        let Parts { store, clock, chance, metrics, names, traces, door, stop } = parts;
        let (tracker, ended, state) = (TaskTracker::new(), watch::Sender::new(()), Mutex::new(door.lanes()));
        let scribe = Scribe::new(store.clone(), clock.clone(), metrics.clone(), tracker.clone());
        let empties = Empties::default();
        let teller = Teller::new(store.clone(), metrics.clone());
        let shared = Shared {
            store,
            clock,
            chance,
            metrics,
            names,
            traces,
            door,
            scribe,
            tracker,
            stop,
            ended,
            state,
            gates: Gates::default(),
            empties,
            teller,
        };
        Self { shared: Arc::new(shared) }
    }

    /// Changes whenever an attempt ends.
    pub fn ended(&self) -> watch::Receiver<()> {
        self.shared.ended.subscribe()
    }

    /// Attempts under way.
    pub fn in_flight(&self) -> usize {
        self.lanes(|lanes| lanes.in_flight())
    }

    /// Waits until nothing is under way, and nothing is taken in.
    pub async fn idle(&self) {
        self.shared.tracker.close();
        self.shared.tracker.wait().await;
    }

    /// After a trouble of the store: writes down what it could not take, before anything is claimed.
    pub async fn catch_up(&self) {
        self.shared.scribe.catch_up().await;
    }

    /// From here on this configuration is in force; what is under way ends under the one it began with.
    pub fn follow(&self, config: Arc<Config>) {
        self.shared.gates.follow(&config);
        self.lanes(|lanes| lanes.follow(config));
    }

    /// Claims what is due and can be sent, and starts the attempts.
    ///
    /// # Errors
    /// The store cannot be read or written; nothing has been started then.
    pub async fn tick(&self, config: &Arc<Config>, now: Timestamp) -> Result<Ticked, StoreError> {
        self.shared.empties.tick(&self.shared.store, config, now).await?;
        self.shared.teller.tell(config, now).await;
        let enabled = config.targets.values().filter(|target| target.enabled);
        let enabled: Vec<String> = enabled.map(|target| target.name.clone()).collect();
        let shared = &self.shared;
        let mut outlook = shared.store.outlook(&enabled).await?;
        if take_together(&shared.store, &shared.metrics, config, &outlook, now).await? {
            outlook = shared.store.outlook(&enabled).await?;
        }
        let me = shared.store.instance();
        let (wants, mut ticked) = self.lanes(|lanes| lanes.plan(config, &outlook, me, now));
        let wanted = !wants.is_empty();
        if !wanted && !self.lanes(|lanes| lanes.sweeps(now)) {
            return Ok(ticked);
        }
        let wished: Vec<_> = wants.iter().map(|want| (want.target.clone(), want.limit)).collect();
        let leased = shared.clock.now().max(now);
        let Claimed { jobs, ended } = shared.store.claim(wants, leased).await?;
        self.lanes(|lanes| {
            for (target, limit) in &wished {
                let brought = jobs.iter().filter(|job| job.target == *target).count();
                lanes.claimed(target, brought == *limit);
            }
        });
        ticked.started = jobs.len();
        // What somebody else left may be due now that it was taken back.
        if jobs.is_empty() {
            (ticked.next, ticked.held) = (Some(now), Some(now));
        }
        self.start_knowing(jobs, config, &outlook);
        shared.teller.note_ended(&ended, config, now).await;
        Ok(ticked)
    }

    /// The moment by the clock that leases are reckoned by.
    pub fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    /// Takes in a page, and starts at once what of it is due and can be sent; nothing while stopping. What is leased is started, or
    /// given back, even if nobody waits for the page any more.
    ///
    /// # Errors
    /// The store cannot be written; nothing was taken in, and nothing started.
    pub async fn take_in(
        &self,
        page: Admission,
        config: &Arc<Config>,
        now: Timestamp,
    ) -> Result<Taken, StoreError> {
        let due = page.messages.iter().flat_map(|admitted| &admitted.deliveries);
        let targets: BTreeSet<&str> = due.map(|owed| owed.target.as_str()).collect();
        let stopping = self.shared.stop.is_cancelled();
        let wants =
            if stopping { Vec::new() } else { self.lanes(|lanes| lanes.offer(config, targets.into_iter())) };
        let (courier, config) = (self.clone(), config.clone());
        let taking = self.shared.tracker.spawn(async move {
            let (taken, jobs) = courier.shared.store.admit_leasing(page, wants, now).await?;
            crate::failpoint::pass("admitted");
            courier.start_knowing(jobs, &config, &Outlook::default());
            Ok(taken)
        });
        let failed = |_| {
            StoreError::Trouble(
                "the relay failed while taking in a page; please report it with the log".to_owned(),
            )
        };
        taking.await.map_err(failed)?
    }

    fn start_knowing(&self, jobs: Vec<Job>, config: &Arc<Config>, outlook: &Outlook) {
        for job in jobs {
            crate::failpoint::pass("claimed");
            self.lanes(|lanes| lanes.enter(&job.target));
            let lane = Lane { shared: self.shared.clone(), target: job.target.clone() };
            let (courier, config, state) = (self.clone(), config.clone(), outlook.state(&job.target));
            self.shared.tracker.spawn(async move {
                courier.attempt(job, config, state).await;
                drop(lane);
            });
        }
    }

    /// One attempt after another, each from rendering to the settled state, as long as more comes for the lane.
    async fn attempt(&self, job: Job, config: Arc<Config>, mut state: TargetState) {
        let mut next = Some(job);
        while let Some(mut job) = next.take() {
            let Some(target) = config.targets.get(&job.target) else { return self.release(job.claim).await };
            let Some(turn) = self.turn(&job.claim, target, &config).await else {
                return self.release(job.claim).await;
            };
            let begun = self.shared.traces.attempt(&job, target);
            let sent = AssertUnwindSafe(self.send(&mut job, target, &config)).catch_unwind().await;
            let settlement = match sent {
                Ok(Sent::Attempted(report, payload)) => {
                    self.judge(job, target, &config, &state, report, payload).await
                }
                Ok(Sent::Needless(why)) => self.withhold(job, why),
                Ok(Sent::NotNow) => return self.release(job.claim).await,
                Err(_) => self.judge(job, target, &config, &state, panicked(), None).await,
            };
            self.shared.traces.attempted(begun, &settlement);
            if settlement.verdict.target.is_trouble() {
                self.shared.gates.shut(&target.name);
            }
            drop(turn);
            // Whatever is wrong with a target is looked at before it is sent to again.
            let healthy = matches!(settlement.verdict.state, State::Delivered { .. });
            let quick = Duration::from_millis(settlement.attempt.latency_ms) <= TURN_WAIT_MAX;
            self.lanes(|lanes| lanes.took(&target.name, healthy && quick));
            let calm = state.parked_until.is_none() && state.failing_since.is_none();
            let goes_on = healthy && calm && !self.shared.stop.is_cancelled();
            let want = if goes_on { self.lanes(|lanes| lanes.go_on(target, &config)) } else { None };
            let wanted = want.is_some();
            let Next { job, ended } = self.shared.scribe.write(settlement, want).await;
            if wanted && job.is_none() {
                self.lanes(|lanes| lanes.claimed(&target.name, false));
            }
            self.shared.teller.note_ended(&ended, &config, self.shared.clock.now()).await;
            state = TargetState { name: target.name.clone(), ..TargetState::default() };
            next = job;
        }
    }

    /// Waits until the target takes one more request; `None` if the claim is better given back: nothing is sent any more, the target
    /// takes nothing for now, another configuration is in force, or the lease would not last.
    async fn turn(&self, claim: &Claim, target: &Target, config: &Arc<Config>) -> Option<Turn> {
        if !self.lanes(|lanes| lanes.is_in_force(config)) {
            return None;
        }
        let left = Duration::try_from(claim.lease.until.duration_since(self.shared.clock.now()));
        let left = left.unwrap_or_default().checked_sub(attempt_max(target))?;
        let patience = left.saturating_sub(LEASE_MARGIN);
        let size = self.lanes(|lanes| lanes.concurrency(target));
        let turn = tokio::select! {
            turn = self.shared.gates.turn(&target.name, size, patience) => turn,
            () = self.shared.stop.cancelled() => None,
        };
        if turn.is_none() {
            // It is slow, or in trouble: until it takes the next one, nothing more is leased than it takes at once.
            self.lanes(|lanes| lanes.took(&target.name, false));
        }
        turn.filter(|_| self.lanes(|lanes| lanes.is_in_force(config)))
    }

    /// Renders and sends.
    async fn send(&self, job: &mut Job, target: &Target, config: &Config) -> Sent {
        let (shared, begun) = (&self.shared, Instant::now());
        let view = match view(job, config, &shared.store, &shared.names, shared.clock.now()).await {
            Ok(view) => view,
            Err(error @ StoreError::Corrupt(_)) => return Sent::Attempted(unreadable(&error), None),
            Err(error) => {
                tracing::warn!(delivery = %job.claim.id, %error, "what the delivery is about cannot be read; it is tried again in a moment");
                tokio::select! {
                    () = tokio::time::sleep(UNREAD_SLEEP) => {}
                    () = shared.stop.cancelled() => {}
                }
                return Sent::NotNow;
            }
        };
        if let Some(why) = nothing_left(job, &view.messages, &view.around, config) {
            return Sent::Needless(why);
        }
        let (payload, problem) = payload(job, target, config, &view);
        if problem.is_some() {
            shared.metrics.fallbacks.get_or_create(&OfTarget { target: target.name.clone() }).inc();
        }
        let now = shared.clock.now();
        if shared.stop.is_cancelled() {
            return Sent::NotNow;
        }
        if begun.elapsed() > WAIT_MAX + LEASE_MARGIN {
            let reason = "not sent: reading what it tells of took longer than its lease allows".to_owned();
            return Sent::Attempted(Report { outcome: Outcome::Doubtful, ..unsent(reason) }, None);
        }
        let parcel =
            Parcel { id: job.claim.id.as_str(), payload: &payload, recipient: job.recipient.as_deref(), now };
        let mut report = match &shared.door {
            Door::Targets => target.deliver(&parcel).await,
            Door::Record(record) => record.take(job, &view, &parcel, problem.as_deref()),
        };
        if let Some(problem) = problem {
            report.reason = format!("{}; sent as plain text because {problem}", report.reason);
        }
        Sent::Attempted(report, Some(payload))
    }

    /// Nothing is left to tell: recorded with the reason, and not sent.
    fn withhold(&self, job: Job, why: String) -> Settlement {
        let now = self.shared.clock.now();
        let state = StateName::Withheld.as_str();
        tracing::info!(delivery = %job.claim.id, rule = job.rule, target = job.target, reason = why, state, "not sent");
        let of = OfEnd::new(&job.rule, &job.target, StateName::Withheld, "made_good");
        self.shared.metrics.ended.get_or_create(&of).inc();
        Settlement {
            plain: job.plain,
            claim: job.claim,
            target: job.target,
            verdict: Verdict {
                state: State::Withheld { at: now, why: why.clone() },
                counts: false,
                plain: job.plain,
                target: TargetChange::None,
            },
            attempt: Attempt {
                at: now,
                outcome: state.to_owned(),
                status: None,
                reason: why,
                latency_ms: 0,
                answer: None,
            },
            payload: None,
            maybe_duplicate: false,
            notices: Vec::new(),
            turn_notices: Vec::new(),
        }
    }

    /// Gives a claim back unattempted.
    async fn release(&self, claim: Claim) {
        let id = claim.id.clone();
        if let Err(error) = self.shared.store.release(vec![claim], self.shared.clock.now()).await {
            tracing::warn!(delivery = %id, %error, "a claim could not be given back; it is due again when its lease ends");
        }
    }

    /// What follows from the report, ready to be written.
    async fn judge(
        &self,
        job: Job,
        target: &Target,
        config: &Config,
        state: &TargetState,
        mut report: Report,
        payload: Option<Payload>,
    ) -> Settlement {
        let now = self.shared.clock.now();
        let (outcome, jitter) = (report.outcome, self.shared.chance.unit(job.claim.id.as_str(), now));
        let facts = facts(&self.shared.store, &job, target, state, outcome, now).await;
        let verdict = settle(facts, outcome, &report.reason, &target.retry, now, jitter);
        report.outcome = facts.meant(outcome);
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
            plain: job.plain,
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

    fn count(&self, job: &Job, target: &Target, report: &Report, verdict: &Verdict) {
        let metrics = &self.shared.metrics;
        let (rule, name) = (&job.rule, &target.name);
        let of = OfTarget { target: name.clone() };
        let (outcome, answer) = (report.outcome.as_str().to_owned(), metrics::answer(report.status));
        let attempt = OfAttempt { rule: rule.clone(), target: name.clone(), outcome, answer };
        metrics.attempts.get_or_create(&attempt).inc();
        metrics.latency.get_or_create(&of).observe(report.latency.as_secs_f64());
        if !matches!(verdict.state, State::Pending { .. } | State::Sending { .. }) {
            let reason = metrics::reason(&verdict.state, report.outcome);
            metrics.ended.get_or_create(&OfEnd::new(rule, name, verdict.state.name(), reason)).inc();
        }
        if let State::Delivered { at } = verdict.state {
            let waited = at.duration_since(job.first_due).as_secs_f64().max(0.0);
            metrics.delivery_latency.get_or_create(&of).observe(waited);
            if job.throttled > 0 {
                let held = OfEnd::new(rule, name, StateName::Withheld, "throttled");
                metrics.ended.get_or_create(&held).inc_by(u64::from(job.throttled));
            }
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

fn panicked() -> Report {
    let reason = "the relay failed while sending this; please report it with the log".to_owned();
    Report { maybe_duplicate: true, ..unsent(reason) }
}

/// Nothing is sent, as what else it is to tell makes no sense: no fault of the target's, and not tried without an end.
fn unreadable(error: &StoreError) -> Report {
    let reason = format!("not sent: what it tells of other messages cannot be read: {error}");
    Report { outcome: Outcome::Doubtful, ..unsent(reason) }
}

fn unsent(reason: String) -> Report {
    let (outcome, latency) = (Outcome::Retry { after: None }, Duration::ZERO);
    Report { outcome, reason, status: None, answer: None, latency, maybe_duplicate: false }
}
