//! A store as a year of a busy business leaves it: ended deliveries in every state over thirty days, some that wait, digests
//! that are open.

use std::sync::Arc;
use std::time::Duration;

use activity_relay::daemon::Relay;
use activity_relay::model::delivery::{Attempt, Job, Planned, State};
use activity_relay::model::group::{Join, Kind};
use activity_relay::model::id::DeliveryId;
use activity_relay::model::payload::{Body, Payload};
use activity_relay::model::settle::{TargetChange, Verdict};
use activity_relay::store::{Admission, Settlement, Want};
use jiff::{SignedDuration, Timestamp};

use crate::bed::admitted;

/// Three targets that each message is owed to, and as many rules. Nothing is sent to `books` and `desk`.
pub(crate) const RULES: &str = "targets:
  crm: { type: http, url: '${HTTP}', allow_private: true, concurrency: 64 }
  books: { type: http, url: '${HTTP}', allow_private: true, concurrency: 1 }
  desk: { type: http, url: '${HTTP}', allow_private: true, concurrency: 1 }
rules:
  - { name: all, match: {}, deliver: [{ to: crm }] }
  - { name: accounts, match: { activity_type: Meeting }, deliver: [{ to: books, digest: { every: 6h, group_by: [client.uid] } }] }
  - { name: cancellations, match: { message_type: cancelled }, deliver: [{ to: desk }] }
";
const TARGETS: [(&str, &str); 3] = [("all", "crm"), ("accounts", "books"), ("cancellations", "desk")];
/// Messages of one page, one transaction.
const PAGE: u32 = 500;
/// The time that the store covers.
const PERIOD: SignedDuration = SignedDuration::from_hours(30 * 24);
/// Of so many messages one is the last in a digest that is open.
const PER_DIGEST: u32 = 50;

/// What of it can be asked for by name.
pub(crate) struct Known {
    pub(crate) uid: String,
    pub(crate) id: String,
}

/// Fills the store; the period ends now.
pub(crate) async fn fill(relay: &Arc<Relay>, messages: u32) -> Known {
    let (store, end) = (&relay.store, relay.clock.now());
    let pages = messages.div_ceil(PAGE);
    for page in 0..pages {
        let back = PERIOD * i32::try_from(pages - page).unwrap() / i32::try_from(pages).unwrap();
        let now = end.checked_sub(back).unwrap();
        let numbers = page * PAGE..messages.min((page + 1) * PAGE);
        let taken = numbers.map(|number| {
            let uid = format!("m{number}");
            let mut one = admitted(&uid, "crm", now);
            one.rules = TARGETS.map(|(rule, _)| rule.to_owned()).into();
            let plan = one.deliveries.remove(0);
            one.deliveries = TARGETS.map(|(rule, target)| planned(&plan, rule, target, number, end)).into();
            one
        });
        let admission =
            Admission { account: "main".into(), messages: taken.collect(), ..Admission::default() };
        let wants = TARGETS.map(|(_, target)| Want {
            target: target.to_owned(),
            limit: 2 * PAGE as usize,
            lease: Duration::from_mins(1),
            rate: None,
            concurrency: usize::MAX >> 1,
            ahead: 0,
        });
        let (_, jobs) = store.admit_leasing(admission, wants.into(), now).await.unwrap();
        let ended = jobs.into_iter().enumerate().map(|(n, job)| Arc::new(settlement(job, n, now)));
        store.settle(ended.collect(), now).await.unwrap();
    }
    let uid = format!("m{}", messages / 2);
    let filter =
        activity_relay::store::Filter { message: Some(uid.clone()), limit: Some(1), ..Default::default() };
    let id = store.page(filter).await.unwrap()[0].id.to_string();
    Known { uid, id }
}

/// Most are due at once; one in fifty joins a digest that closes later, one in two hundred is held.
fn planned(like: &Planned, rule: &str, target: &str, number: u32, end: Timestamp) -> Planned {
    let id = DeliveryId::derive(like.due_at, &[&like.messages[0], rule]);
    let mut plan = Planned { id, rule: rule.to_owned(), target: target.to_owned(), ..like.clone() };
    let later = end.checked_add(SignedDuration::from_hours(6)).unwrap();
    if target == "books" && number.is_multiple_of(PER_DIGEST) {
        // Digests of ten messages each.
        let key = format!("\u{1f}client {}", number / PER_DIGEST / 10);
        let (from, to) = (like.due_at, later);
        plan.joins = Some(Join { kind: Kind::Digest, key, from, to, items_max: None, extend_max: None });
        plan.due_at = later;
    } else if target == "desk" && number.is_multiple_of(200) {
        plan.due_at = later;
    }
    plan
}

/// Nearly all arrive; some die, some expire.
fn settlement(job: Job, number: usize, now: Timestamp) -> Settlement {
    let (state, outcome, status) = match number % 100 {
        0 => (State::Dead { at: now, why: "refused: 410 Gone".to_owned() }, "refused", 410),
        1 => (State::Expired { at: now }, "retry", 503),
        _ => (State::Delivered { at: now }, "delivered", 200),
    };
    let latency_ms = 3 + u64::try_from(number * 37 % 400).unwrap();
    let body = Body { content_type: "application/json".to_owned(), body: format!("{{\"number\":{number}}}") };
    Settlement {
        claim: job.claim,
        target: job.target,
        verdict: Verdict { state, counts: true, plain: false, target: TargetChange::Healthy },
        attempt: Attempt {
            at: now,
            outcome: outcome.to_owned(),
            status: Some(status),
            reason: "the target answered".to_owned(),
            latency_ms,
            answer: Some("{\"ok\":true}".to_owned()),
        },
        payload: Some(Payload::Http(body)),
        plain: false,
        maybe_duplicate: false,
        notices: Vec::new(),
        turn_notices: Vec::new(),
    }
}
