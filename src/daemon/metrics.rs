//! What the relay counts: the metrics served at `/metrics`, in one place with their names.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use super::gauges::Gauges;
use crate::config::Config;
use crate::model::delivery::{Outcome, State, StateName};
use crate::rules::notice::RELAY;

/// Upper bounds of the buckets for one exchange with somebody else, in seconds.
const EXCHANGE_SECONDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 20.0];
/// Upper bounds of the buckets for what may wait: from at once to a day.
const WAIT_SECONDS: [f64; 12] =
    [0.1, 0.5, 1.0, 5.0, 15.0, 30.0, 60.0, 300.0, 900.0, 3_600.0, 21_600.0, 86_400.0];

/// How deliveries end where nobody interferes: counted from zero for every rule and target, so that the first one that
/// dies is seen as an increase.
const ENDS: [(StateName, &str); 5] = [
    (StateName::Delivered, "accepted"),
    (StateName::Dead, "refused"),
    (StateName::Dead, "gave_up"),
    (StateName::Dead, "interrupted"),
    (StateName::Expired, "too_late"),
];

/// The account a figure is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OfAccount {
    /// Its name.
    pub account: String,
}

/// The messages a figure is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OfMessage {
    /// The name of their account.
    pub account: String,
    /// Their activity type as the catalogue spells it, or `other`.
    pub activity_type: String,
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

/// How spans are counted.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OfSpans {
    /// What became of them: `sent`, `rejected` or `dropped`.
    pub result: String,
}

/// The rule, target, outcome and answer an attempt is counted under.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OfAttempt {
    /// The rule that owes the delivery.
    pub rule: String,
    /// The target.
    pub target: String,
    /// The outcome's name.
    pub outcome: String,
    /// The class of the answer's status, such as `2xx`; `none` where there was no answer.
    pub answer: String,
}

/// The rule, target, state and reason a delivery ended with.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OfEnd {
    /// The rule that owes it.
    pub rule: String,
    /// The target.
    pub target: String,
    /// The state's name.
    pub state: String,
    /// Why it ended so: one of the few words of `docs/metrics.md`.
    pub reason: String,
}

impl OfEnd {
    /// From its parts.
    pub fn new(rule: &str, target: &str, state: StateName, reason: &str) -> Self {
        let (rule, target) = (rule.to_owned(), target.to_owned());
        Self { rule, target, state: state.as_str().to_owned(), reason: reason.to_owned() }
    }
}

/// Why an attempt ended its delivery.
pub(super) fn reason(state: &State, outcome: Outcome) -> &'static str {
    match (state, outcome) {
        (State::Delivered { .. }, _) => "accepted",
        (State::Expired { .. }, _) => "too_late",
        (_, Outcome::Refused | Outcome::Doubtful | Outcome::ShapeRefused) => "refused",
        _ => "gave_up",
    }
}

/// The class of an HTTP status or SMTP reply code.
pub(super) fn answer(status: Option<u16>) -> String {
    status.map_or_else(|| "none".to_owned(), |status| format!("{}xx", status / 100))
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

/// What [`Gauges`] say.
#[derive(Debug, Default)]
struct Measured {
    queued: Family<OfTarget, Gauge>,
    dead: Family<OfTarget, Gauge>,
    oldest_due: Gauge,
    parked: Family<OfTarget, Gauge>,
    paused: Family<OfTarget, Gauge>,
    lag: Family<OfAccount, Gauge>,
    muted: Gauge,
}

type Latency = Family<OfTarget, Histogram, fn() -> Histogram>;

/// All metrics of one relay. Names and labels are documented in `docs/metrics.md`.
#[derive(Debug)]
pub struct Metrics {
    registry: Mutex<Registry>,
    /// New messages taken in.
    pub messages: Family<OfMessage, Counter>,
    /// From a message's making to its being taken in.
    pub message_age: Histogram,
    /// Messages whose type is not in the catalogue.
    pub unknown: Family<OfAccount, Counter>,
    /// Items that could not be read.
    pub quarantined: Family<OfAccount, Counter>,
    /// How long polls take.
    pub poll_duration: Histogram,
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
    /// From the first due moment to delivery.
    pub delivery_latency: Latency,
    /// Settlements that found their lease lost.
    pub leases_lost: Counter,
    /// Templates that failed and were replaced by the plain fallback.
    pub fallbacks: Family<OfTarget, Counter>,
    /// Spans of traces, by what became of them.
    pub spans: Family<OfSpans, Counter>,
    /// Measured when they are read.
    measured: Measured,
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
        Self::new(Histogram::new([]))
    }
}

impl Metrics {
    /// All at zero. How long the store's commits take, the store counts itself.
    pub fn new(commit_seconds: Histogram) -> Self {
        let exchange = || Histogram::new(EXCHANGE_SECONDS);
        let wait = || Histogram::new(WAIT_SECONDS);
        let metrics = Self {
            registry: Mutex::new(Registry::with_prefix("activity_relay")),
            messages: Family::default(),
            message_age: wait(),
            unknown: Family::default(),
            quarantined: Family::default(),
            poll_duration: exchange(),
            poll_failures: Family::default(),
            poll_success: Family::default(),
            polls_left: Family::default(),
            roles_held: Family::default(),
            roles_lost: Counter::default(),
            attempts: Family::default(),
            ended: Family::default(),
            spans: Family::default(),
            latency: Family::new_with_constructor(exchange),
            delivery_latency: Family::new_with_constructor(wait),
            leases_lost: Counter::default(),
            fallbacks: Family::default(),
            measured: Measured::default(),
            config: Family::default(),
            reload_successful: Gauge::default(),
            reload_success: Gauge::default(),
            reloads: Family::default(),
        };
        let mut registry = metrics.registry.lock().unwrap_or_else(PoisonError::into_inner);
        metrics.register_intake(&mut registry);
        metrics.register_sending(&mut registry);
        metrics.register_standing(&mut registry);
        metrics.register_config(&mut registry);
        let commit = "How long the store takes to commit a transaction to the disk";
        registry.register_with_unit("store_commit", commit, Unit::Seconds, commit_seconds);
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The program's version", version);
        drop(registry);
        metrics
    }

    fn register_intake(&self, registry: &mut Registry) {
        registry.register("messages", "New messages taken in", self.messages.clone());
        let age = "From a message's making to its being taken in";
        registry.register_with_unit("message_age", age, Unit::Seconds, self.message_age.clone());
        registry.register(
            "unknown_messages",
            "Messages of a type that is not in the catalogue",
            self.unknown.clone(),
        );
        registry.register("quarantined", "Items that could not be read", self.quarantined.clone());
        let duration = "How long a poll takes, with all its pages";
        registry.register_with_unit("poll_duration", duration, Unit::Seconds, self.poll_duration.clone());
        registry.register("poll_failures", "Polls that failed", self.poll_failures.clone());
        let success = "When the last poll went through, in seconds since the epoch";
        registry.register("poll_last_success_timestamp_seconds", success, self.poll_success.clone());
        let lag = "How long ago the account was polled with success, by whichever instance";
        registry.register_with_unit("poll_lag", lag, Unit::Seconds, self.measured.lag.clone());
        let left = "Polls that were left to the instance that had taken over";
        registry.register("polls_left", left, self.polls_left.clone());
        registry.register("role_held", "1 for what this instance holds", self.roles_held.clone());
        let lost = "Roles that another instance had taken over";
        registry.register("roles_lost", lost, self.roles_lost.clone());
    }

    fn register_sending(&self, registry: &mut Registry) {
        registry.register("attempts", "Attempts to deliver, by outcome", self.attempts.clone());
        registry.register("deliveries", "Deliveries that came to an end, by state", self.ended.clone());
        let latency = "From the start of an attempt to its end";
        registry.register_with_unit("attempt_latency", latency, Unit::Seconds, self.latency.clone());
        let latency = "From the moment a delivery was first due to its being delivered";
        registry.register_with_unit(
            "delivery_latency",
            latency,
            Unit::Seconds,
            self.delivery_latency.clone(),
        );
        registry.register("leases_lost", "Settlements that found their lease lost", self.leases_lost.clone());
        let spans = "Spans of traces, by what became of them";
        registry.register("trace_spans", spans, self.spans.clone());
        let fallbacks = "Deliveries sent as plain text because their template failed";
        registry.register("template_fallbacks", fallbacks, self.fallbacks.clone());
    }

    fn register_standing(&self, registry: &mut Registry) {
        let Measured { queued, dead, oldest_due, parked, paused, muted, .. } = &self.measured;
        registry.register("queued_deliveries", "Deliveries pending or being sent", queued.clone());
        registry.register("dead_deliveries", "Dead deliveries kept in the store", dead.clone());
        let oldest = "For how long the oldest due delivery has been due";
        registry.register_with_unit("oldest_due", oldest, Unit::Seconds, oldest_due.clone());
        registry.register("target_parked", "1 where a target is parked", parked.clone());
        registry.register("target_paused", "1 where a person has paused a target", paused.clone());
        registry.register("muted_rules", "Rules that are muted", muted.clone());
    }

    fn register_config(&self, registry: &mut Registry) {
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
    }

    /// Counts from zero whatever this configuration can bring about: a series that begins with its first event shows no
    /// increase, and an alarm that waits for one would miss it.
    pub fn expect(&self, config: &Config) {
        for account in &config.accounts {
            let of = OfAccount { account: account.name.clone() };
            for family in [&self.unknown, &self.quarantined, &self.poll_failures, &self.polls_left] {
                drop(family.get_or_create(&of));
            }
        }
        for target in config.targets.keys() {
            let of = OfTarget { target: target.clone() };
            drop(self.fallbacks.get_or_create(&of));
            drop(self.latency.get_or_create(&of));
            drop(self.delivery_latency.get_or_create(&of));
        }
        for rule in config.rules.list() {
            rule.deliver.iter().for_each(|deliver| self.expect_ends(&rule.name, &deliver.target));
        }
        let fallbacks = config.targets.values().filter_map(|target| target.fallback.as_ref());
        fallbacks.chain(&config.alerts).for_each(|target| self.expect_ends(RELAY, target));
        for result in ["sent", "rejected", "dropped"] {
            drop(self.spans.get_or_create(&OfSpans { result: result.to_owned() }));
        }
        for result in ["replaced", "unchanged", "refused"] {
            drop(self.reloads.get_or_create(&OfReload { result: result.to_owned() }));
        }
    }

    fn expect_ends(&self, rule: &str, target: &str) {
        for (state, reason) in ENDS {
            drop(self.ended.get_or_create(&OfEnd::new(rule, target, state, reason)));
        }
    }

    /// The `OpenMetrics` text: what was counted.
    pub fn render(&self) -> String {
        text(&self.registry.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The same with what was measured just now.
    pub fn render_with(&self, gauges: &Gauges) -> String {
        // Nobody reads while another one's figures are half written.
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        self.measured.set(gauges);
        text(&registry)
    }
}

impl Measured {
    fn set(&self, gauges: &Gauges) {
        let figure = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        for family in [&self.queued, &self.dead, &self.parked, &self.paused] {
            family.clear();
        }
        self.lag.clear();
        for (target, counts) in &gauges.counts {
            let of = OfTarget { target: target.clone() };
            self.queued.get_or_create(&of).set(figure(counts.pending + counts.sending));
            self.dead.get_or_create(&of).set(figure(counts.dead));
        }
        for (target, (parked, paused)) in &gauges.held {
            let of = OfTarget { target: target.clone() };
            self.parked.get_or_create(&of).set(i64::from(*parked));
            self.paused.get_or_create(&of).set(i64::from(*paused));
        }
        let seconds = |time: Duration| figure(time.as_secs());
        for (account, lag) in &gauges.lags {
            self.lag.get_or_create(&OfAccount { account: account.clone() }).set(seconds(*lag));
        }
        self.oldest_due.set(seconds(gauges.oldest_due));
        self.muted.set(i64::try_from(gauges.muted).unwrap_or(i64::MAX));
    }
}

fn text(registry: &Registry) -> String {
    let mut text = String::new();
    match encode(&mut text, registry) {
        Ok(()) => text,
        Err(error) => format!("# metrics could not be written: {error}\n"),
    }
}
