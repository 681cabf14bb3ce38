//! Decides when to tick: the only place where the relay waits.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use jiff::Timestamp;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::alarm::Alarm;
use super::hand::Hand;
use super::metrics::OfAccount;
use super::poller::{PollError, Tick, polling_role};
use super::posts::Post;
use super::roles::{BEAT_EVERY, JANITOR};
use super::{Relay, janitor};

/// The longest the courier sleeps: another process may have resumed a target or replayed a delivery.
const COURIER_SLEEP_MAX: Duration = Duration::from_secs(1);
/// The shortest it sleeps after a tick that found nothing to start.
const COURIER_SLEEP_MIN: Duration = Duration::from_millis(10);
/// How long it waits after the store failed it.
const STORE_TROUBLE_SLEEP: Duration = Duration::from_secs(2);
/// A round waits for a target's pace, but not for one that told everybody to come back much later.
const DRAIN_WAIT_MAX: Duration = Duration::from_secs(2);
/// So often in a row a round waits without getting anything done before it leaves the rest to the next one.
const DRAIN_WAITS_MAX: u32 = 10;
/// How long a part of the relay that failed by a fault of ours rests before it goes on.
const FAULT_SLEEP: Duration = Duration::from_secs(5);
/// How often history is pruned.
const JANITOR_EVERY: Duration = Duration::from_mins(10);

/// Runs the relay until its `stop` is cancelled, then finishes what is under way within `grace`.
/// Returns how many attempts were still under way when the grace ended; their leases make them due again.
pub async fn run(relay: &Arc<Relay>, grace: Duration) -> usize {
    relay.make_way();
    let tracker = TaskTracker::new();
    let (polling, pollers) = (relay.clone(), tracker.clone());
    tracker.spawn(async move { poll_all(&polling, &pollers).await });
    let (sending, cleaning, beating) = (relay.clone(), relay.clone(), relay.clone());
    tracker.spawn(async move { unfailing(&beating, "roles", || beat_for_ever(&beating)).await });
    tracker.spawn(async move { unfailing(&sending, "sending", || send_for_ever(&sending)).await });
    if relay.traces.are_on() {
        let tracing = relay.clone();
        tracker.spawn(async move { unfailing(&tracing, "tracing", || trace_for_ever(&tracing)).await });
    }
    tracker.spawn(async move { unfailing(&cleaning, "cleaning", || clean_for_ever(&cleaning)).await });
    tracker.close();
    relay.stop.cancelled().await;
    crate::failpoint::pass("stopping");
    let finished = async {
        tracker.wait().await;
        relay.courier.idle().await;
    };
    within(grace, relay, finished).await;
    relay.traces.flush().await;
    relay.courier.in_flight()
}

/// Waits for what is under way, but no longer than its grace.
async fn within(grace: Duration, relay: &Relay, finished: impl Future<Output = ()>) {
    if tokio::time::timeout(grace, finished).await.is_err() {
        tracing::warn!(
            under_way = relay.courier.in_flight(),
            "the grace period ended; what is under way is due again"
        );
    }
}

/// Runs a part of the relay, and again if it fails by a fault of ours: a relay that looks alive and no longer polls or
/// sends would be worse than one that has stopped.
async fn unfailing<F: Future<Output = ()>>(relay: &Relay, part: &str, body: impl Fn() -> F) {
    while AssertUnwindSafe(body()).catch_unwind().await.is_err() {
        tracing::error!(part, "the relay failed and goes on in a moment; please report it with the log");
        tokio::select! {
            () = tokio::time::sleep(FAULT_SLEEP) => {}
            () = relay.stop.cancelled() => return,
        }
    }
}

/// Says that this instance is there and keeps what it holds; gives it up when told to stop.
async fn beat_for_ever(relay: &Relay) {
    let (mut troubled, mut configs) = (false, relay.configs());
    while !relay.stop.is_cancelled() {
        configs.mark_unchanged();
        let beaten = relay.roles.tick(&relay.config(), relay.clock.now()).await;
        match &beaten {
            Ok(()) if std::mem::take(&mut troubled) => {
                tracing::info!("what this instance holds is known again");
            }
            Err(error) if !std::mem::replace(&mut troubled, true) => {
                tracing::error!(%error, "what this instance holds cannot be told at the moment");
            }
            _ => {}
        }
        let once_is_enough = beaten.is_ok() && !relay.store.is_shared();
        tokio::select! {
            () = tokio::time::sleep(BEAT_EVERY), if !once_is_enough => {}
            Ok(()) = configs.changed() => {}
            () = relay.stop.cancelled() => {}
        }
    }
    if let Err(error) = relay.roles.leave(relay.clock.now()).await {
        tracing::warn!(%error, "what this instance held could not be given up; others take over when it ends");
    }
}

/// Polls every account that the configuration names, for as long as it names it.
async fn poll_all(relay: &Arc<Relay>, tracker: &TaskTracker) {
    let mut configs = relay.configs();
    let mut begun: Vec<Arc<Post>> = Vec::new();
    loop {
        configs.mark_unchanged();
        let posts = relay.posts.all();
        for post in &posts {
            if !begun.iter().any(|known| Arc::ptr_eq(known, post)) {
                let (relay, post) = (relay.clone(), post.clone());
                tracker.spawn(async move {
                    unfailing(&relay, "polling", || poll_for_ever(&relay, &post)).await;
                });
            }
        }
        begun = posts;
        tokio::select! {
            changed = configs.changed() => if changed.is_err() { return },
            () = relay.stop.cancelled() => return,
        }
    }
}

async fn poll_for_ever(relay: &Relay, post: &Post) {
    let account = post.account();
    let mut alarm = Alarm::new(relay, &account.name).await;
    let role = polling_role(&account.name);
    while !post.over().is_cancelled() {
        if !relay.roles.holds(&role, relay.clock.now()) {
            tokio::select! {
                () = relay.roles.gained(&role, || relay.clock.now()) => {}
                () = post.over().cancelled() => return,
            }
            post.poller().await.take_up();
            alarm = Alarm::new(relay, &account.name).await;
        }
        // A poll under way ends as it began, even if its account is named no longer.
        let tick = tokio::select! {
            tick = poll_handing(relay, post) => tick,
            () = relay.stop.cancelled() => return,
        };
        if tick.result.as_ref().is_err_and(PollError::role_lost) {
            continue;
        }
        if post.over().is_cancelled() {
            return;
        }
        alarm.note(relay, &post.account(), &tick).await;
        if tick.result.as_ref().is_ok_and(|taken| taken.deliveries > 0) {
            relay.owed.notify_one();
        }
        tokio::select! {
            () = tokio::time::sleep(tick.next_in) => {}
            () = post.changed() => {}
            () = post.over().cancelled() => {}
        }
    }
}

/// One poll of one account, counted. What is owed waits to be claimed.
pub async fn poll(relay: &Relay, post: &Post) -> Tick {
    poll_counted(relay, post, None).await
}

/// The same; what is due at once is sent at once.
pub async fn poll_handing(relay: &Relay, post: &Post) -> Tick {
    let hand = Hand { courier: relay.courier.clone(), config: relay.configs() };
    poll_counted(relay, post, Some(hand)).await
}

async fn poll_counted(relay: &Relay, post: &Post, hand: Option<Hand>) -> Tick {
    let mut poller = post.poller().await;
    let began = Instant::now();
    let of = OfAccount { account: poller.account().name.clone() };
    let now = relay.clock.now();
    let tick = poller.tick(&relay.config(), hand, now, relay.chance.unit(&of.account, now)).await;
    let metrics = &relay.metrics;
    metrics.poll_duration.observe(began.elapsed().as_secs_f64());
    tick.arrivals.count(metrics, &of.account);
    match &tick.result {
        Ok(_) => {
            if !post.over().is_cancelled() {
                metrics.poll_success.get_or_create(&of).set(relay.clock.now().as_second());
            }
        }
        Err(error) if error.role_lost() => {
            metrics.polls_left.get_or_create(&of).inc();
            relay.roles.lost(&polling_role(&of.account));
        }
        Err(error) => {
            metrics.poll_failures.get_or_create(&of).inc();
            if let PollError::Store(error) = error {
                relay.store_failed(error);
            }
        }
    }
    tick
}

/// Sends whatever is due until the relay stops.
pub async fn send_for_ever(relay: &Relay) {
    let mut ended = relay.courier.ended();
    let mut troubled = false;
    while !relay.stop.is_cancelled() {
        if troubled {
            if relay.store.ping().await.is_err() {
                rest(relay).await;
                continue;
            }
            relay.courier.catch_up().await;
        }
        let now = relay.clock.now();
        relay.look_after_store().await;
        let ticked = relay.courier.tick(&relay.config(), now).await;
        if let Err(error) = &ticked {
            relay.store_failed(error);
        }
        match &ticked {
            Ok(_) if std::mem::take(&mut troubled) => tracing::info!("deliveries can be claimed again"),
            Err(error) if !std::mem::replace(&mut troubled, true) => {
                tracing::error!(%error, "nothing can be claimed at the moment");
            }
            _ => {}
        }
        let sleep = match ticked {
            Ok(ticked) if ticked.started > 0 => continue,
            Ok(ticked) => ticked
                .next
                .map_or(COURIER_SLEEP_MAX, |at| until(at, now))
                .clamp(COURIER_SLEEP_MIN, COURIER_SLEEP_MAX),
            Err(_) => {
                rest(relay).await;
                continue;
            }
        };
        tokio::select! {
            () = tokio::time::sleep(sleep) => {}
            _ = ended.changed() => tokio::task::yield_now().await,
            () = relay.owed.notified() => {}
            () = relay.stop.cancelled() => {}
        }
    }
}

/// Waits a little for a store in trouble.
async fn rest(relay: &Relay) {
    tokio::select! {
        () = tokio::time::sleep(STORE_TROUBLE_SLEEP) => {}
        () = relay.stop.cancelled() => {}
    }
}

async fn clean_for_ever(relay: &Relay) {
    while !relay.stop.is_cancelled() {
        tokio::select! {
            () = relay.roles.gained(JANITOR, || relay.clock.now()) => {}
            () = relay.stop.cancelled() => return,
        }
        match janitor::tick(&relay.store, relay.config().retention, relay.clock.now()).await {
            Ok(0) => {}
            Ok(gone) => tracing::info!(rows = gone, "old history removed"),
            Err(error) => tracing::error!(%error, "old history could not be removed"),
        }
        tokio::select! {
            () = tokio::time::sleep(JANITOR_EVERY) => {}
            () = relay.stop.cancelled() => {}
        }
    }
}

/// Sends spans as they gather until the relay stops; what ends after that, [`run`] sends.
async fn trace_for_ever(relay: &Relay) {
    while !relay.stop.is_cancelled() {
        tokio::select! {
            () = relay.traces.due() => relay.traces.tick().await,
            () = relay.stop.cancelled() => {}
        }
    }
}

/// What one round brought.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Round {
    /// New messages.
    pub messages: usize,
    /// Accounts whose poll failed: name and reason.
    pub failed: Vec<(String, String)>,
    /// Accounts that another instance polls.
    pub elsewhere: Vec<String>,
}

/// Polls every account once that no other instance polls, and delivers all that is due when that is done. Told to stop,
/// it polls no further and finishes what is under way within `grace`.
///
/// # Errors
/// The store fails.
pub async fn once(relay: &Relay, grace: Duration) -> anyhow::Result<Round> {
    let config = relay.config();
    relay.make_way_for_missed().await?;
    relay.roles.take_free(&config, relay.clock.now()).await?;
    let round = tokio::select! {
        round = once_holding(relay, grace) => round,
        () = keep_holding(relay) => Ok(Round::default()),
        () = trace_until_it_ends(relay) => Ok(Round::default()),
    };
    relay.roles.end_round().await?;
    round
}

/// What is held for a round lasts no longer than what is held for good, unless it is kept. Never ends.
async fn keep_holding(relay: &Relay) {
    loop {
        tokio::time::sleep(BEAT_EVERY).await;
        if relay.store.is_shared()
            && let Err(error) = relay.roles.take_free(&relay.config(), relay.clock.now()).await
        {
            tracing::warn!(%error, "what this round holds could not be kept");
        }
    }
}

/// A round may bring more spans than may wait. Never ends.
async fn trace_until_it_ends(relay: &Relay) {
    loop {
        relay.traces.due().await;
        relay.traces.tick().await;
    }
}

async fn once_holding(relay: &Relay, grace: Duration) -> anyhow::Result<Round> {
    let mut round = Round::default();
    for post in relay.posts.all() {
        if relay.stop.is_cancelled() {
            break;
        }
        let name = post.account().name.clone();
        if !relay.roles.holds(&polling_role(&name), relay.clock.now()) {
            round.elsewhere.push(name);
            continue;
        }
        let tick = tokio::select! {
            tick = poll(relay, &post) => tick,
            () = relay.stop.cancelled() => break,
        };
        match tick.result {
            Ok(taken) => round.messages += taken.messages,
            Err(error) if error.role_lost() => round.elsewhere.push(name),
            Err(error) => round.failed.push((name, error.to_string())),
        }
    }
    let drained = drain(relay).await;
    if drained.is_err() || relay.stop.is_cancelled() {
        within(grace, relay, relay.courier.idle()).await;
    }
    relay.traces.flush().await;
    drained.map(|()| round)
}

/// Delivers until nothing is left that is due and may be sent, or until it is told to stop. Waits for a target's pace, as
/// long as that gets something done, and for what is under way; not for retries.
///
/// # Errors
/// The store fails.
pub async fn drain(relay: &Relay) -> anyhow::Result<()> {
    let mut ended = relay.courier.ended();
    let (mut least, mut idle_waits) = (u64::MAX, 0);
    while !relay.stop.is_cancelled() {
        let now = relay.clock.now();
        // Asked before the tick: an attempt that ends after the tick has looked leaves lanes free that it found taken.
        let busy = relay.courier.in_flight() > 0;
        let ticked = relay.courier.tick(&relay.config(), now).await?;
        if ticked.started > 0 {
            continue;
        }
        let held = ticked.held.map(|at| until(at, now).max(COURIER_SLEEP_MIN));
        if busy {
            tokio::select! {
                _ = ended.changed() => tokio::task::yield_now().await,
                () = tokio::time::sleep(held.unwrap_or(DRAIN_WAIT_MAX)) => {}
                () = relay.stop.cancelled() => {}
            }
            continue;
        }
        let Some(wait) = held.filter(|wait| *wait <= DRAIN_WAIT_MAX) else { break };
        let counts = relay.store.counts(None).await?;
        let open = counts.pending + counts.sending;
        idle_waits = if open < least { 0 } else { idle_waits + 1 };
        least = least.min(open);
        if idle_waits > DRAIN_WAITS_MAX {
            break;
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = relay.stop.cancelled() => {}
        }
    }
    Ok(())
}

fn until(at: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO)
}
