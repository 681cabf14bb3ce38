//! The program under load while its PostgreSQL restarts and its connections are cut: nothing is lost.

use crate::faults::record::record;
use crate::oracle::{Tally, Verdict};
use crate::postgres::Cluster;
use crate::stage::{Running, Stage, THREE, THREE_IN_FLIGHT};

const MESSAGES: usize = 60;
const OWED: usize = 3 * MESSAGES;
const RUN: &str = "run --listen none";
/// After so many arrivals each there is trouble.
const MOMENTS: [usize; 4] = [1, 40, 80, 130];

/// A relay on a database of its own, with everything before it.
async fn under_load(cluster: &Cluster) -> (Stage, Running, String) {
    let database = cluster.database().await;
    let stage = Stage::with(THREE).await.on(cluster.url(&database));
    stage.receive(MESSAGES);
    let running = stage.start(RUN);
    (stage, running, database)
}

async fn finished(mut tally: Tally, stage: &Stage, running: Running) -> Verdict {
    // What comes in last: it polls as well.
    stage.receive(1);
    tally.finish(stage, running, OWED + 3).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_restarts_under_load_costs_nothing() {
    let Some(cluster) = Cluster::start(&[]) else { return };
    let (stage, running, _) = under_load(&cluster).await;
    let mut tally = Tally::default();
    for (place, moment) in MOMENTS.into_iter().enumerate() {
        tally.until(&stage.sandbox, |tally| tally.arrivals() >= moment).await;
        if place % 2 == 0 {
            cluster.stop_at_once();
        } else {
            cluster.stop();
        }
        cluster.start_again();
    }
    let verdict = finished(tally, &stage, running).await;
    let saw = "it waited for the server, wrote down what had been sent meanwhile, and went on by itself";
    let how = "`pg_ctl stop -m immediate` and `-m fast` by turns, then start, four times while it sends to three targets";
    record("pg-restarted", how, &verdict.observed(0, MOMENTS.len() * THREE_IN_FLIGHT, saw));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_are_cut_under_load_cost_nothing() {
    let Some(cluster) = Cluster::start(&[]) else { return };
    let (stage, running, database) = under_load(&cluster).await;
    let (mut tally, mut cut) = (Tally::default(), 0);
    for moment in MOMENTS {
        tally.until(&stage.sandbox, |tally| tally.arrivals() >= moment).await;
        cut += cluster.cut(&database).await;
    }
    assert!(cut > 0, "there were connections to cut");
    let verdict = finished(tally, &stage, running).await;
    let saw = "other connections took over, and everything was done once";
    let how = "pg_terminate_backend on all of its connections, four times while it sends to three targets";
    record("pg-cut", how, &verdict.observed(0, MOMENTS.len() * THREE_IN_FLIGHT, saw));
}
