//! The named moments with the store on PostgreSQL: what a dead instance held is due when its leases end, not at the next start.

use futures_util::future::join_all;

use crate::faults::record::record;
use crate::oracle::{Tally, Verdict};
use crate::postgres::{Cluster, shared};
use crate::stage::{Stage, THREE, THREE_IN_FLIGHT};

const MESSAGES: usize = 12;
const OWED: usize = 3 * MESSAGES;
/// Time passes for what the dead instance held: leases, and the role of the one who polls.
const OUTLIVED: &str = "
UPDATE deliveries SET due_at = due_at - 3600000 WHERE state = 'sending';
UPDATE holds SET until = until - 3600000;
UPDATE instances SET seen_at = seen_at - 3600000;
";

/// Killed while it takes messages in and sends; another instance goes on once its leases have ended.
async fn killed_at(cluster: &Cluster, point: &str, passing: u32) -> Verdict {
    let database = cluster.database().await;
    let stage = Stage::with(THREE).await.on(cluster.url(&database));
    stage.receive(MESSAGES);
    stage.start_armed("run --listen none", &format!("{point}=kill@{passing}")).killed().await;
    cluster.connect(&database).await.batch_execute(OUTLIVED).await.unwrap();
    Tally::default().finish(&stage, stage.start("run --listen none"), OWED).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_named_moment_another_instance_goes_on() {
    let Some(cluster) = shared() else { return };
    let moments = [
        (
            "kill-fetched+postgres",
            "fetched",
            &[1][..],
            "another instance fetched the page again; nothing came twice",
        ),
        ("kill-admitting+postgres", "admit", &[1][..], "the page was undone as a whole, and fetched again"),
        ("kill-admitted+postgres", "admitted", &[1][..], "what was leased was sent when the leases ended"),
        ("kill-claimed+postgres", "claimed", &[1, 20][..], "what was leased was sent when the leases ended"),
        ("kill-unsettled+postgres", "settle-before", &[1, 2][..], "sent again with the same ids, marked"),
        (
            "kill-unsettled+in-it+postgres",
            "settle",
            &[1, 2][..],
            "the half of an outcome was undone, and it was sent again",
        ),
        (
            "kill-settled+postgres",
            "settled",
            &[1, 2][..],
            "what was settled stayed so, and the rest followed",
        ),
    ];
    // Each waits for most of its time.
    let run = async |(key, point, passings, saw): (&str, &str, &[u32], &str)| {
        let runs = join_all(passings.iter().map(|passing| killed_at(cluster, point, *passing))).await;
        let verdict = runs.into_iter().fold(Verdict::default(), Verdict::and);
        let how = format!(
            "SIGKILL at the failpoint `{point}`, at the passings {passings:?}; the store is PostgreSQL"
        );
        let most = if point == "fetched" || point == "admit" { 0 } else { passings.len() * THREE_IN_FLIGHT };
        record(key, &how, &verdict.observed(0, most, saw));
    };
    join_all(moments.into_iter().map(run)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_that_was_killed_is_begun_anew() {
    let Some(cluster) = shared() else { return };
    let stage = Stage::with(THREE).await.on(cluster.url(&cluster.database().await));
    stage.receive(MESSAGES);
    for passing in [1, 3] {
        stage.start_armed("run --listen none", &format!("migrate=kill@{passing}")).killed().await;
    }
    let verdict = Tally::default().finish(&stage, stage.start("run --listen none"), OWED).await;
    let saw = "the database was as before; the next start made the schema";
    let how = "SIGKILL at the failpoint `migrate`, at the passings [1, 3]; the store is PostgreSQL";
    record("kill-migrating+postgres", how, &verdict.observed(0, 0, saw));
}
