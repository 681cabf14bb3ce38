//! Where the relay delivers to in a sandbox: inboxes that check what arrives, keep it, and can be waited on.

pub(super) mod http;
pub(super) mod mail;
pub(super) mod slack;
pub(super) mod smtp;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::watch;

use super::business::{Business, TimedOut};
use super::script::{Answer, Fault};
use super::world::{Action, At};

pub use mail::Mail;

/// Something that reached an inbox, taken or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Arrival {
    /// Counted over all inboxes of a sandbox, from 1.
    pub number: u64,
    /// Which inbox.
    pub inbox: At,
    /// When, by the sandbox's clock.
    pub at: Timestamp,
    /// The request's method; `MAIL` for mail.
    pub method: String,
    /// The request's path; the recipients for mail.
    pub path: String,
    /// The request's header fields in lower case; the mail's for mail.
    pub headers: BTreeMap<String, String>,
    /// The raw body; the whole message for mail.
    pub body: String,
    /// The status or reply code answered; 0 where the connection was cut instead.
    pub status: u16,
    /// The inbox has taken it, whatever it answered.
    pub accepted: bool,
    /// What a person would see of it: one line.
    pub shown: String,
    /// What is wrong with it, for inboxes that check.
    pub problem: Option<String>,
    /// The message, for mail.
    pub mail: Option<Mail>,
}

impl Arrival {
    /// What stays the same when it is sent again: `webhook-id`, `Message-ID`, or the body itself.
    pub fn identity(&self) -> &str {
        let named = self.headers.get("webhook-id").or_else(|| self.headers.get("message-id"));
        named.map_or(self.body.as_str(), String::as_str)
    }
}

/// One inbox. Clones are handles on the same one.
#[derive(Debug, Clone)]
pub struct Inbox(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    which: At,
    url: String,
    business: Business,
    state: Mutex<State>,
    changed: watch::Sender<u64>,
    numbers: Arc<AtomicU64>,
}

#[derive(Debug, Default)]
struct State {
    arrivals: Vec<Arrival>,
    secrets: Vec<String>,
    gap: Option<Duration>,
    last: Option<Timestamp>,
}

impl Inbox {
    pub(super) fn new(which: At, url: String, business: Business, numbers: Arc<AtomicU64>) -> Self {
        let changed = watch::Sender::new(0);
        Self(Arc::new(Shared { which, url, business, state: Mutex::default(), changed, numbers }))
    }

    /// Where to send to: a webhook's address, or `smtp://…?tls=none`.
    pub fn url(&self) -> &str {
        &self.0.url
    }

    /// Which inbox it is.
    pub fn which(&self) -> At {
        self.0.which
    }

    /// The next messages are answered like this, one after the other.
    pub fn answers(&self, answers: impl IntoIterator<Item = Answer>) {
        for answer in answers {
            self.fault(Fault { on: String::new(), times: Some(1), answer });
        }
    }

    /// Something breaks here.
    pub fn fault(&self, fault: Fault) {
        self.0.business.act(Action::Fault { at: self.0.which, fault });
    }

    /// All that is broken here works again.
    pub fn heal(&self) {
        self.0.business.act(Action::Heal(self.0.which));
    }

    /// Refuses HTTP requests that are not signed with one of these Standard Webhooks secrets (`whsec_…`).
    pub fn verify_with(&self, secrets: impl IntoIterator<Item = impl Into<String>>) {
        self.state().secrets = secrets.into_iter().map(Into::into).collect();
    }

    /// Answers 429 to what comes sooner than this after the one before.
    pub fn limit(&self, gap: Duration) {
        self.state().gap = Some(gap);
    }

    /// Everything that came, refused or not, oldest first.
    pub fn arrivals(&self) -> Vec<Arrival> {
        self.state().arrivals.clone()
    }

    /// Everything that came after the first `count`.
    pub fn arrivals_after(&self, count: usize) -> Vec<Arrival> {
        self.state().arrivals.get(count..).unwrap_or_default().to_vec()
    }

    /// What was taken, oldest first.
    pub fn received(&self) -> Vec<Arrival> {
        self.state().arrivals.iter().filter(|arrival| arrival.accepted).cloned().collect()
    }

    /// What a person would see of what was taken, a line each.
    pub fn shown(&self) -> String {
        let lines: Vec<String> = self.received().into_iter().map(|arrival| arrival.shown).collect();
        lines.join("\n")
    }

    /// How many of those taken had been taken before.
    pub fn duplicates(&self) -> usize {
        let mut seen = std::collections::BTreeSet::new();
        self.received().iter().filter(|arrival| !seen.insert(arrival.identity().to_owned())).count()
    }

    /// Waits until this many messages were taken, `bound` at most.
    pub async fn wait_for(&self, count: usize, bound: Duration) -> Result<Vec<Arrival>, TimedOut> {
        self.wait_until(bound, |arrivals| arrivals.iter().filter(|arrival| arrival.accepted).count() >= count)
            .await
            .map(|arrivals| arrivals.into_iter().filter(|arrival| arrival.accepted).collect())
    }

    /// Waits until everything that came satisfies a condition, `bound` at most.
    pub async fn wait_until(
        &self,
        bound: Duration,
        enough: impl Fn(&[Arrival]) -> bool,
    ) -> Result<Vec<Arrival>, TimedOut> {
        let mut changes = self.0.changed.subscribe();
        let wait = async {
            loop {
                let arrivals = self.arrivals();
                if enough(&arrivals) || changes.changed().await.is_err() {
                    return arrivals;
                }
            }
        };
        tokio::time::timeout(bound, wait).await.map_err(|_| {
            let shown: Vec<String> = self
                .arrivals()
                .iter()
                .map(|arrival| format!("{} {}", arrival.status, arrival.shown))
                .collect();
            TimedOut { waited: bound, seen: format!("{} arrivals {shown:?}", shown.len()) }
        })
    }

    /// What the script says for a place, if anything.
    pub(super) fn scripted(&self, place: &str, anywhere: bool) -> Option<Answer> {
        self.0.business.caught_up().scripts.entry(self.0.which).or_default().take(place, anywhere)
    }

    /// The secrets to verify with.
    pub(super) fn secrets(&self) -> Vec<String> {
        self.state().secrets.clone()
    }

    /// Whole seconds to wait, if this message comes too soon after the one before.
    pub(super) fn too_soon(&self) -> Option<u64> {
        let now = self.0.business.now();
        let mut state = self.state();
        let next = match (state.gap, state.last) {
            (Some(gap), Some(last)) => crate::model::settle::after_now(last, gap),
            _ => now,
        };
        if next > now {
            let whole = next.duration_since(now).as_secs();
            return Some(u64::try_from(whole).unwrap_or(0).saturating_add(1));
        }
        state.last = Some(now);
        None
    }

    /// Now, by the sandbox's clock.
    pub(super) fn now(&self) -> Timestamp {
        self.0.business.now()
    }

    /// Keeps what came and wakes who waits for it.
    pub(super) fn keep(&self, mut arrival: Arrival) {
        let mut state = self.state();
        arrival.number = self.0.numbers.fetch_add(1, Ordering::Relaxed) + 1;
        state.arrivals.push(arrival);
        drop(state);
        self.0.changed.send_modify(|count| *count += 1);
        self.0.business.notify();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The first line of a text, cut to a screen's width.
fn one_line(text: &str) -> String {
    const CHARS_MAX: usize = 160;
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(CHARS_MAX) {
        Some((at, _)) => format!("{}…", line.get(..at).unwrap_or_default()),
        None => line,
    }
}
