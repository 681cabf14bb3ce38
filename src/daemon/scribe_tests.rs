//! Writing down again, after a trouble of the store, what became of attempts.

use std::time::Duration;

use jiff::Timestamp;
use rusqlite::Connection;
use tokio_util::task::TaskTracker;

use super::*;
use crate::model::delivery::{Attempt, Job, Planned, State};
use crate::model::settle::{TargetChange, Verdict};
use crate::store::Mode;

fn planned(number: usize, now: Timestamp) -> Planned {
    Planned {
        id: DeliveryId::derive(now, &[&number.to_string()]),
        account: "main".into(),
        rule: "r".into(),
        target: "crm".into(),
        recipient: None,
        template: "default".into(),
        messages: vec![],
        notice: None,
        due_at: now,
        expires_at: None,
        withheld: None,
        replay_of: None,
        joins: None,
        quota: None,
        good_by: Vec::new(),
    }
}

fn delivered(job: Job, now: Timestamp) -> Settlement {
    let attempt = Attempt {
        at: now,
        outcome: "delivered".into(),
        status: Some(200),
        reason: "delivered".into(),
        latency_ms: 1,
        answer: None,
    };
    let state = State::Delivered { at: now };
    Settlement {
        plain: false,
        claim: job.claim,
        target: job.target,
        verdict: Verdict { state, counts: true, plain: false, target: TargetChange::Healthy },
        attempt,
        payload: None,
        maybe_duplicate: false,
        notices: vec![],
        turn_notices: vec![],
    }
}

/// Whoever claims after the trouble may take back what has no end yet: what queued up behind the first batch is as much in
/// danger as that.
#[tokio::test]
async fn catching_up_waits_for_what_queued_up_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("relay.db");
    let store = Store::open(&format!("sqlite://{}", path.display()), Mode::Daemon).await.unwrap();
    let (clock, now) = (Clock::System, Clock::System.now());
    store.owe((0..5).map(|number| planned(number, now)).collect(), now).await.unwrap();
    let lease = Duration::from_mins(1);
    let want = Want { target: "crm".into(), limit: 5, lease, rate: None, concurrency: 5, ahead: 0 };
    let jobs = store.claim(vec![want], now).await.unwrap().jobs;
    let beside = Connection::open(&path).unwrap();
    beside.execute_batch("ALTER TABLE attempts RENAME TO gone").unwrap();

    let scribe = Scribe::new(store.clone(), clock, Arc::default(), TaskTracker::new());
    let mut writing: Vec<_> =
        jobs.into_iter().map(|job| Box::pin(scribe.write(delivered(job, now), None))).collect();
    for one in &mut writing {
        assert!(futures_util::poll!(one).is_pending());
        // The first is a batch of its own.
        tokio::task::yield_now().await;
    }
    // It stands before this in the writer's queue, so it has failed by then.
    store.ping().await.unwrap();
    beside.execute_batch("ALTER TABLE gone RENAME TO attempts").unwrap();
    scribe.catch_up().await;
    let open = "SELECT count(*) FROM deliveries WHERE state <> 'delivered'";
    assert_eq!(beside.query_one(open, [], |row| row.get::<_, i64>(0)).unwrap(), 0);
}

/// Nobody else sends what a person discarded meanwhile.
#[tokio::test]
async fn what_was_discarded_while_it_was_sent_is_no_lost_lease() {
    let store = Store::open("sqlite::memory:", Mode::Daemon).await.unwrap();
    let (clock, now) = (Clock::System, Clock::System.now());
    store.owe((0..2).map(|number| planned(number, now)).collect(), now).await.unwrap();
    let claimed = async |now| {
        let lease = Duration::from_mins(1);
        let want = Want { target: "crm".into(), limit: 1, lease, rate: None, concurrency: 5, ahead: 0 };
        store.claim(vec![want], now).await.unwrap().jobs.remove(0)
    };
    let metrics: Arc<Metrics> = Arc::default();
    let scribe = Scribe::new(store.clone(), clock, metrics.clone(), TaskTracker::new());
    let discarded = claimed(now).await;
    store.discard(std::slice::from_ref(&discarded.claim.id), now).await.unwrap();
    scribe.write(delivered(discarded, now), None).await;
    assert_eq!(metrics.leases_lost.get(), 0);
    let lost = claimed(now).await;
    claimed(now + Duration::from_mins(2)).await;
    scribe.write(delivered(lost, now), None).await;
    assert_eq!(metrics.leases_lost.get(), 1);
}
