//! Traces by OTLP, if they are asked for: what happened to each message, from the poll that found it to the target's answer.

mod otlp;
pub mod settings;
mod span;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;

use crate::model::delivery::{Job, Planned, State};
use crate::store::{Admission, Settlement};
use crate::target::Target;

use super::clock::Clock;
use super::metrics::{Metrics, OfSpans};
use otlp::Exporter;
use settings::Settings;
use span::{Event, Ids, Kind, Span, Value};

/// Of a delivery about several messages, so many have its attempts in their traces.
const SPREAD_MAX: usize = 100;
/// So many of the deliveries planned for a message are named.
const EVENTS_MAX: usize = 50;
/// How long a stop waits for the last spans to be taken.
const FLUSH_TIME_MAX: Duration = Duration::from_secs(2);

/// Where spans are brought. Cheap to clone; without settings nothing is kept, made or sent.
#[derive(Debug, Clone, Default)]
pub struct Traces {
    shared: Option<Arc<Shared>>,
}

#[derive(Debug)]
struct Shared {
    clock: Clock,
    metrics: Arc<Metrics>,
    settings: Settings,
    queue: Mutex<VecDeque<Span>>,
    /// Poked when there is enough for a whole request.
    enough: Notify,
    exporter: tokio::sync::Mutex<Exporter>,
}

/// A page on its way into the store; empty where nobody asks for traces.
#[derive(Debug, Default)]
pub(super) struct Page {
    began: Timestamp,
    messages: Vec<Arrival>,
}

/// The id of a message's trace, in hexadecimal, whether anybody asks for traces or not.
pub fn trace_id(account: &str, uid: &str) -> String {
    Ids::of_message(account, uid).trace
}

/// What a span says.
type Facts = Vec<(&'static str, Value)>;

/// An attempt that is under way.
#[derive(Debug)]
pub(super) struct Begun {
    began: Timestamp,
    /// Of each trace that it is part of, the span that it belongs to.
    all: Vec<Ids>,
    starts: u32,
    facts: Facts,
    /// What came before the first attempt.
    wait: (Timestamp, Facts),
}

/// What the spans tell of a message that is taken in.
#[derive(Debug)]
struct Arrival {
    ids: Ids,
    facts: Facts,
    planned: Vec<Facts>,
    owed: usize,
}

impl Traces {
    /// Traces that are sent as the settings say; none without settings.
    pub(super) fn new(settings: Option<Settings>, clock: &Clock, metrics: &Arc<Metrics>) -> Self {
        let shared = settings.map(|settings| Shared {
            clock: clock.clone(),
            metrics: metrics.clone(),
            exporter: tokio::sync::Mutex::new(Exporter::new(settings.clone())),
            queue: Mutex::default(),
            enough: Notify::new(),
            settings,
        });
        Self { shared: shared.map(Arc::new) }
    }

    /// Somebody asks for them.
    pub(super) fn are_on(&self) -> bool {
        self.shared.is_some()
    }

    /// A page that is about to be taken in.
    pub(super) fn page(&self, admission: &Admission) -> Page {
        let Some(shared) = &self.shared else { return Page::default() };
        let messages = admission.messages.iter().filter_map(|admitted| {
            let message = &admitted.message;
            let ids = Ids::of_message(&message.account, &message.uid);
            let owed = &admitted.deliveries;
            shared.settings.takes(&ids.trace).then(|| Arrival {
                ids,
                facts: vec![
                    ("activity_relay.account", message.account.as_str().into()),
                    ("activity_relay.message.uid", message.uid.as_str().into()),
                    ("activity_relay.message.activity_type", message.triple.activity_type.as_str().into()),
                    ("activity_relay.message.message_type", message.triple.message_type.as_str().into()),
                    ("activity_relay.message.direction", message.triple.direction.as_str().into()),
                    ("activity_relay.message.created_at", message.created_at.to_string().into()),
                ],
                planned: owed.iter().take(EVENTS_MAX).map(planned).collect(),
                owed: owed.len(),
            })
        });
        Page { messages: messages.collect(), began: shared.clock.now() }
    }

    /// The page was taken in; its poll began then.
    pub(super) fn admitted(&self, page: Page, polled: Timestamp) {
        let Some(shared) = &self.shared else { return };
        let (began, ended) = (page.began, shared.clock.now());
        for Arrival { ids, facts, planned, owed } in page.messages {
            let dropped_events = owed - planned.len();
            let event = |facts| Event { name: "delivery planned", at: began, facts };
            let mut admit = Span::new("admit", Kind::Internal, (began, ended));
            admit.ids = ids.child("admit", &[]);
            admit.facts = vec![("activity_relay.deliveries", owed.into())];
            admit.events = planned.into_iter().map(event).collect();
            admit.dropped_events = dropped_events;
            let poll = Span { ids, facts, ..Span::new("poll", Kind::Consumer, (polled, ended)) };
            shared.bring([poll, admit]);
        }
    }

    /// An attempt begins; `None` where nobody asks for its span.
    pub(super) fn attempt(&self, job: &Job, target: &Target) -> Option<Begun> {
        let shared = self.shared.as_ref()?;
        let messages = job.messages.iter().take(SPREAD_MAX);
        let mut all: Vec<Ids> =
            messages.map(|message| Ids::of_message(&message.account, &message.uid)).collect();
        if job.messages.is_empty() {
            all.push(Ids::of_notice(job.claim.id.as_str()));
        }
        all.retain(|ids| shared.settings.takes(&ids.trace));
        let began = shared.clock.now();
        (!all.is_empty()).then(|| Begun {
            began,
            all,
            starts: job.claim.starts,
            facts: attempted(job, target),
            wait: wait(job),
        })
    }

    /// The attempt ended, and this follows from it.
    pub(super) fn attempted(&self, begun: Option<Begun>, settlement: &Settlement) {
        let (Some(shared), Some(begun)) = (&self.shared, begun) else { return };
        let Begun { began, all, starts, mut facts, wait: (since, waited) } = begun;
        let id = settlement.claim.id.as_str();
        facts.extend(ended(settlement));
        let fails = !matches!(settlement.verdict.state, State::Delivered { .. } | State::Withheld { .. });
        for ids in all {
            let own = |name| ids.child(name, &[id, &starts.to_string()]);
            if starts <= 1 {
                let mut wait = Span::new("wait", Kind::Internal, (since.min(began), began));
                (wait.ids, wait.facts) = (own("wait"), waited.clone());
                shared.bring([wait]);
            }
            let mut deliver = Span::new("deliver", Kind::Client, (began, shared.clock.now()));
            (deliver.ids, deliver.facts) = (own("deliver"), facts.clone());
            deliver.failure = fails.then(|| settlement.attempt.reason.clone());
            shared.bring([deliver]);
        }
    }

    /// Waits until there is something worth sending: enough of it, or time has passed.
    pub(super) async fn due(&self) {
        match &self.shared {
            Some(shared) => tokio::select! {
                () = shared.enough.notified() => {}
                () = tokio::time::sleep(shared.settings.delay) => {}
            },
            None => std::future::pending().await,
        }
    }

    /// Sends what there is, unless the collector failed a short while ago.
    pub async fn tick(&self) {
        let Some(shared) = &self.shared else { return };
        let mut exporter = shared.exporter.lock().await;
        let now = shared.clock.now();
        while !exporter.rests(now) {
            let batch = exporter.batch(|count| shared.take(count));
            if batch.is_empty() {
                return;
            }
            let sent = exporter.send(batch, now).await;
            shared.count("sent", sent.taken);
            shared.count("rejected", sent.rejected);
        }
    }

    /// Sends the last spans before an end, as far as they are taken in a moment.
    pub(super) async fn flush(&self) {
        let Some(shared) = &self.shared else { return };
        let flushed = async {
            shared.exporter.lock().await.hurry();
            self.tick().await;
        };
        let in_time = tokio::time::timeout(FLUSH_TIME_MAX, flushed).await.is_ok();
        let waiting = shared.queue().len();
        let left = waiting + shared.exporter.lock().await.kept();
        if !in_time || left > 0 {
            tracing::warn!(left, "the last spans could not be sent: they are missing from their traces");
        }
    }
}

impl Shared {
    /// Keeps spans until they are sent, as far as there is room.
    fn bring<const N: usize>(&self, spans: [Span; N]) {
        let mut queue = self.queue();
        let room = self.settings.queue_max.saturating_sub(queue.len());
        queue.extend(spans.into_iter().take(room));
        let enough = queue.len() >= self.settings.batch_max;
        drop(queue);
        self.count("dropped", N.saturating_sub(room));
        if enough {
            self.enough.notify_one();
        }
    }

    fn take(&self, count: usize) -> Vec<Span> {
        let mut queue = self.queue();
        let count = count.min(queue.len());
        queue.drain(..count).collect()
    }

    fn queue(&self) -> std::sync::MutexGuard<'_, VecDeque<Span>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, result: &str, spans: usize) {
        if spans > 0 {
            let of = OfSpans { result: result.to_owned() };
            self.metrics.spans.get_or_create(&of).inc_by(spans as u64);
        }
    }
}

/// A delivery as it was planned.
fn planned(planned: &Planned) -> Facts {
    let mut facts = vec![
        ("activity_relay.rule", planned.rule.as_str().into()),
        ("activity_relay.target", planned.target.as_str().into()),
        ("activity_relay.due_at", planned.due_at.to_string().into()),
    ];
    if planned.joins.is_none() {
        // What takes messages in may be there already, under another id.
        facts.push(("activity_relay.delivery.id", planned.id.as_str().into()));
    }
    facts.extend(planned.withheld.as_deref().map(|why| ("activity_relay.withheld", why.into())));
    facts
}

/// Since when a delivery waited for its first attempt, and what there is to say of that.
fn wait(job: &Job) -> (Timestamp, Facts) {
    let facts = vec![
        ("activity_relay.delivery.id", job.claim.id.as_str().into()),
        ("activity_relay.rule", job.rule.as_str().into()),
        ("activity_relay.target", job.target.as_str().into()),
        ("activity_relay.due_at", job.first_due.to_string().into()),
    ];
    (job.created_at, facts)
}

/// What there is to say of an attempt from its beginning; nothing that a message says, and nobody's name.
fn attempted(job: &Job, target: &Target) -> Facts {
    let mut facts = vec![
        ("activity_relay.delivery.id", job.claim.id.as_str().into()),
        ("activity_relay.account", job.account.as_str().into()),
        ("activity_relay.rule", job.rule.as_str().into()),
        ("activity_relay.target", job.target.as_str().into()),
        ("activity_relay.target.type", target.type_name().into()),
        ("activity_relay.attempt", usize::try_from(job.claim.starts).unwrap_or(usize::MAX).into()),
        ("activity_relay.messages", job.messages.len().into()),
    ];
    if let [message] = job.messages.as_slice() {
        facts.push(("activity_relay.message.uid", message.uid.as_str().into()));
    }
    facts.extend(job.replay_of.as_ref().map(|of| ("activity_relay.replay_of", of.as_str().into())));
    facts
}

/// What there is to say of it once it has ended.
fn ended(settlement: &Settlement) -> Facts {
    let Settlement { attempt, verdict, .. } = settlement;
    let latency = usize::try_from(attempt.latency_ms).unwrap_or(usize::MAX);
    let mut facts: Facts = vec![
        ("activity_relay.outcome", attempt.outcome.as_str().into()),
        ("activity_relay.delivery.state", verdict.state.name().as_str().into()),
        ("activity_relay.latency_ms", latency.into()),
    ];
    facts.extend(attempt.status.map(|status| ("activity_relay.status", usize::from(status).into())));
    if let State::Pending { due_at } = &verdict.state {
        facts.push(("activity_relay.due_at", due_at.to_string().into()));
    }
    facts
}
