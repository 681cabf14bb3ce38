//! What a claim costs with a short queue and with a long one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use activity_relay::daemon::clock::Clock;
use activity_relay::model::delivery::{Attempt, Job, State};
use activity_relay::model::settle::{TargetChange, Verdict};
use activity_relay::store::{Admission, Mode, Settlement, Store, Want};
use jiff::Timestamp;

use crate::bed::admitted;

const TARGET: &str = "desk";
/// What waits: a short queue, and the long one that is held against it.
const QUEUES: [usize; 2] = [1_000, 1_000_000];
/// Queued in one transaction.
const QUEUE_PAGE: usize = 1_000;
/// Claimed and settled at once, and how often.
const BATCH: usize = 64;
const CLAIMS: usize = 15;
const LEASE: Duration = Duration::from_mins(1);
/// What is promised: the long queue's claim over that of the short one.
const RATIO_MAX: f64 = 2.0;

/// Prints the median claim of each queue on each store; `anew` makes a store empty.
pub(crate) async fn compare(stores: &[(&str, String)], anew: impl AsyncFn(&str) -> String) {
    println!("{:<12} {:>10} {:>10} {:>7}", "", "queued", "claim ms", "ratio");
    for (name, url) in stores {
        let mut short = None;
        for queued in QUEUES {
            let store = Store::open(&anew(url).await, Mode::Daemon).await.unwrap();
            queue(&store, TARGET, queued).await;
            let claim = median_claim(&store).await.as_secs_f64() * 1000.0;
            let ratio = claim / *short.get_or_insert(claim);
            let missed = if ratio <= RATIO_MAX { "" } else { "   MISSED" };
            println!("{name:<12} {queued:>10} {claim:>10.2} {ratio:>7.2}{missed}");
        }
    }
}

/// Puts so many deliveries for the target into the store.
pub(crate) async fn queue(store: &Store, target: &str, count: usize) {
    for first in (0..count).step_by(QUEUE_PAGE) {
        let now = Clock::System.now();
        let messages = (first..first + QUEUE_PAGE).map(|number| admitted(&format!("q{number}"), target, now));
        let page = Admission { account: "main".into(), messages: messages.collect(), ..Admission::default() };
        store.admit(page, now).await.unwrap();
    }
}

/// What is claimed is settled before the next claim, as between the rounds of a busy relay.
async fn median_claim(store: &Store) -> Duration {
    let mut times = Vec::with_capacity(CLAIMS);
    for _ in 0..CLAIMS {
        let now = Clock::System.now();
        let want = Want {
            target: TARGET.into(),
            limit: BATCH,
            lease: LEASE,
            rate: None,
            concurrency: BATCH,
            ahead: 0,
        };
        let began = Instant::now();
        let claimed = store.claim(vec![want], now).await.unwrap();
        times.push(began.elapsed());
        assert_eq!(claimed.jobs.len(), BATCH);
        let settled = claimed.jobs.into_iter().map(|job| Arc::new(delivered(job, now))).collect();
        store.settle(settled, now).await.unwrap();
    }
    times.sort();
    times[CLAIMS / 2]
}

fn delivered(job: Job, at: Timestamp) -> Settlement {
    let outcome = "delivered".to_owned();
    Settlement {
        plain: job.plain,
        target: job.target,
        claim: job.claim,
        verdict: Verdict {
            state: State::Delivered { at },
            counts: true,
            plain: job.plain,
            target: TargetChange::Healthy,
        },
        attempt: Attempt {
            at,
            outcome,
            status: Some(200),
            reason: "accepted".into(),
            latency_ms: 1,
            answer: None,
        },
        payload: None,
        maybe_duplicate: false,
        notices: Vec::new(),
        turn_notices: Vec::new(),
    }
}
