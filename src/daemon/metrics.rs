//! What the relay counts: the metrics served at `/metrics`, in one place with their names.

use std::sync::Mutex;
use std::sync::PoisonError;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

/// Upper bounds of the attempt-latency buckets, in seconds.
const LATENCY_SECONDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 20.0];

/// The account a figure is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OfAccount {
    /// Its name.
    pub account: String,
}

/// The target a figure is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OfTarget {
    /// Its name.
    pub target: String,
}

/// The role a figure is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OfRole {
    /// Its name, such as `poll main`.
    pub role: String,
}

/// The rule, target and outcome an attempt is counted under.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OfAttempt {
    /// The rule that owes the delivery.
    pub rule: String,
    /// The target.
    pub target: String,
    /// The outcome's name.
    pub outcome: String,
}

/// The rule, target and state a delivery ended in.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OfEnd {
    /// The rule that owes it.
    pub rule: String,
    /// The target.
    pub target: String,
    /// The state's name.
    pub state: String,
}

/// The configuration a figure is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OfConfig {
    /// Its hash.
    pub hash: String,
}

/// How reloads are counted.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OfReload {
    /// How it went: `replaced`, `unchanged` or `refused`.
    pub result: String,
}

type Latency = Family<OfTarget, Histogram, fn() -> Histogram>;

/// All metrics of one relay. Names and labels are documented in `docs/metrics.md`.
#[derive(Debug)]
pub struct Metrics {
    registry: Mutex<Registry>,
    /// New messages taken in.
    pub messages: Family<OfAccount, Counter>,
    /// Messages whose type is not in the catalogue.
    pub unknown: Family<OfAccount, Counter>,
    /// Items that could not be read.
    pub quarantined: Family<OfAccount, Counter>,
    /// Polls that failed.
    pub poll_failures: Family<OfAccount, Counter>,
    /// Seconds since the epoch of the last poll that went through.
    pub poll_success: Family<OfAccount, Gauge>,
    /// Polls that were left to the instance that had taken over.
    pub polls_left: Family<OfAccount, Counter>,
    /// 1 for what this instance holds.
    pub roles_held: Family<OfRole, Gauge>,
    /// Roles that another instance had taken over before this one gave them up.
    pub roles_lost: Counter,
    /// Attempts by outcome.
    pub attempts: Family<OfAttempt, Counter>,
    /// Deliveries that came to an end, by state.
    pub ended: Family<OfEnd, Counter>,
    /// How long attempts take.
    pub latency: Latency,
    /// Settlements that found their lease lost.
    pub leases_lost: Counter,
    /// Templates that failed and were replaced by the plain fallback.
    pub fallbacks: Family<OfTarget, Counter>,
    /// Deliveries that are pending or being sent.
    pub queued: Gauge,
    /// Dead deliveries that nobody has replayed or discarded.
    pub dead: Gauge,
    /// Seconds the oldest due delivery has been due.
    pub oldest_due_seconds: Gauge,
    /// 1 where a target is parked.
    pub parked: Family<OfTarget, Gauge>,
    /// 1 for the configuration in force.
    pub config: Family<OfConfig, Gauge>,
    /// 1 if the files could be used when they were read last.
    pub reload_successful: Gauge,
    /// Seconds since the epoch of when they could be.
    pub reload_success: Gauge,
    /// Reloads by how they went.
    pub reloads: Family<OfReload, Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All at zero.
    pub fn new() -> Self {
        let metrics = Self {
            registry: Mutex::new(Registry::with_prefix("activity_relay")),
            messages: Family::default(),
            unknown: Family::default(),
            quarantined: Family::default(),
            poll_failures: Family::default(),
            poll_success: Family::default(),
            polls_left: Family::default(),
            roles_held: Family::default(),
            roles_lost: Counter::default(),
            attempts: Family::default(),
            ended: Family::default(),
            latency: Family::new_with_constructor(|| Histogram::new(LATENCY_SECONDS)),
            leases_lost: Counter::default(),
            fallbacks: Family::default(),
            queued: Gauge::default(),
            dead: Gauge::default(),
            oldest_due_seconds: Gauge::default(),
            parked: Family::default(),
            config: Family::default(),
            reload_successful: Gauge::default(),
            reload_success: Gauge::default(),
            reloads: Family::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&self) {
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        let registry = &mut *registry;
        registry.register("messages", "New messages taken in", self.messages.clone());
        registry.register(
            "unknown_messages",
            "Messages of a type that is not in the catalogue",
            self.unknown.clone(),
        );
        registry.register("quarantined", "Items that could not be read", self.quarantined.clone());
        registry.register("poll_failures", "Polls that failed", self.poll_failures.clone());
        let success = "When the last poll went through, in seconds since the epoch";
        registry.register("poll_last_success_timestamp_seconds", success, self.poll_success.clone());
        let left = "Polls that were left to the instance that had taken over";
        registry.register("polls_left", left, self.polls_left.clone());
        registry.register("role_held", "1 for what this instance holds", self.roles_held.clone());
        let lost = "Roles that another instance had taken over";
        registry.register("roles_lost", lost, self.roles_lost.clone());
        registry.register("attempts", "Attempts to deliver, by outcome", self.attempts.clone());
        registry.register("deliveries", "Deliveries that came to an end, by state", self.ended.clone());
        let latency = "From the start of an attempt to its end";
        registry.register_with_unit("attempt_latency", latency, Unit::Seconds, self.latency.clone());
        registry.register("leases_lost", "Settlements that found their lease lost", self.leases_lost.clone());
        let fallbacks = "Deliveries sent as plain text because their template failed";
        registry.register("template_fallbacks", fallbacks, self.fallbacks.clone());
        registry.register("queued_deliveries", "Deliveries pending or being sent", self.queued.clone());
        registry.register("dead_deliveries", "Dead deliveries kept in the store", self.dead.clone());
        let oldest = "For how long the oldest due delivery has been due";
        registry.register_with_unit("oldest_due", oldest, Unit::Seconds, self.oldest_due_seconds.clone());
        registry.register("target_parked", "1 where a target is parked", self.parked.clone());
        registry.register("config_hash", "1 for the configuration in force", self.config.clone());
        let successful = "1 if the files of the configuration could be used when they were read last";
        registry.register("config_last_reload_successful", successful, self.reload_successful.clone());
        let success = "When the files could be used last, in seconds since the epoch";
        registry.register(
            "config_last_reload_success_timestamp_seconds",
            success,
            self.reload_success.clone(),
        );
        registry.register("config_reloads", "Reloads, by how they went", self.reloads.clone());
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The program's version", version);
    }

    /// The `OpenMetrics` text.
    pub fn render(&self) -> String {
        let mut text = String::new();
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        match encode(&mut text, &registry) {
            Ok(()) => text,
            Err(error) => format!("# metrics could not be written: {error}\n"),
        }
    }
}
