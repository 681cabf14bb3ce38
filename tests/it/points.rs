//! The program is killed at each named moment, at several passings of it, and started again: nothing is lost.

use activity_relay::daemon::clock::Clock;
use activity_relay::model::delivery::State;
use activity_relay::model::settle::TargetChange;
use jiff::SignedDuration;

use crate::faults::record::record;
use crate::oracle::{Tally, Verdict};
use crate::stage::{RULES, Stage, THREE, THREE_IN_FLIGHT};
use crate::store_kit::{admitted, claim, end, page, planned};

/// Messages in a run; each is owed to three targets.
const MESSAGES: usize = 12;
const OWED: usize = 3 * MESSAGES;
/// What ended so long ago is no longer kept.
const OLD: SignedDuration = SignedDuration::from_hours(24 * 60);
/// More than go in one step.
const OLD_MESSAGES: usize = 600;

/// Killed while it takes messages in and sends, once at each of these passings.
async fn killed_at(point: &str, passings: &[u32]) -> Verdict {
    let mut verdict = Verdict::default();
    for passing in passings {
        let stage = Stage::with(THREE).await;
        stage.receive(MESSAGES);
        stage.start_armed("run --listen none", &format!("{point}=kill@{passing}")).killed().await;
        let again = stage.start("run --listen none");
        verdict = verdict.and(Tally::default().finish(&stage, again, OWED).await);
    }
    verdict
}

fn how(point: &str, passings: &[u32]) -> String {
    format!("the program sends itself SIGKILL at its failpoint `{point}`, at the passings {passings:?}")
}

#[tokio::test(flavor = "multi_thread")]
async fn before_a_page_is_taken_in_a_kill_costs_nothing() {
    let saw = "the page was fetched again; each message was sent once";
    for (key, point, passings) in
        [("kill-fetched", "fetched", &[1][..]), ("kill-admitting", "admit", &[1, 7, 12][..])]
    {
        let verdict = killed_at(point, passings).await;
        record(key, &how(point, passings), &verdict.observed(0, 0, saw));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_in_is_sent_by_the_next_run() {
    let verdict = killed_at("admitted", &[1]).await;
    let saw = "what was owed was in the outbox, and the next run sent it";
    record("kill-admitted", &how("admitted", &[1]), &verdict.observed(0, THREE_IN_FLIGHT, saw));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_under_way_is_due_at_the_next_start_and_marked() {
    for (key, point, passings, saw) in [
        ("kill-claimed", "claimed", &[1, 2, 20][..], "what was claimed was due again at the next start"),
        ("kill-unsettled", "settle-before", &[1, 2][..], "sent again by the next run with the same ids"),
        (
            "kill-unsettled+in-it",
            "settle",
            &[1, 2][..],
            "the half of an outcome was undone, and it was sent again",
        ),
        ("kill-settled", "settled", &[1, 2][..], "what was settled stayed so, and the rest followed"),
    ] {
        let verdict = killed_at(point, passings).await;
        let most = passings.len() * THREE_IN_FLIGHT;
        record(key, &how(point, passings), &verdict.observed(0, most, saw));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_in_a_stop_is_a_kill_like_any_other() {
    let stage = Stage::with(THREE).await;
    stage.receive(MESSAGES);
    let running = stage.start_armed("run --listen none", "stopping=kill");
    let mut tally = Tally::default();
    tally.until(&stage.sandbox, |tally| tally.arrivals() > 3).await;
    running.signal("TERM");
    running.killed().await;
    let verdict = tally.finish(&stage, stage.start("run --listen none"), OWED).await;
    let saw = "the next run sent what was left";
    record("kill-stopping", &how("stopping", &[1]), &verdict.observed(0, THREE_IN_FLIGHT, saw));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_that_was_killed_is_begun_anew() {
    let stage = Stage::with(THREE).await;
    stage.receive(MESSAGES);
    for (line, passing) in [("run --listen none", 1), ("run --listen none", 2), ("status", 2)] {
        stage.start_armed(line, &format!("migrate=kill@{passing}")).killed().await;
    }
    let verdict = Tally::default().finish(&stage, stage.start("run --listen none"), OWED).await;
    let saw = "the database was as before it; the next start made it anew";
    record("kill-migrating+new", &how("migrate", &[1, 2]), &verdict.observed(0, 0, saw));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_was_killed_is_done_as_a_whole_or_not_at_all() {
    let stage = Stage::with(RULES).await;
    stage.receive(MESSAGES);
    assert_eq!(stage.output("run --once").await.status.code(), Some(0), "{}", stage.logged());
    let running = stage.start("run --listen none");
    let replay = "deliveries replay --state delivered";
    stage.start_armed(replay, "replay=kill@5").killed().await;
    assert_eq!(stage.store().await.counts(None).await.unwrap().pending, 0, "nothing of it is there");
    assert_eq!(stage.output(replay).await.status.code(), Some(0));
    let verdict = Tally::default().finish(&stage, running, 2 * MESSAGES).await;
    let saw = "none was planned; the second call planned each once, and the running relay sent them";
    record("kill-replaying", &how("replay", &[5]), &verdict.observed(0, 0, saw));
}

#[tokio::test(flavor = "multi_thread")]
async fn pruning_that_was_killed_forgets_nothing_that_is_owed() {
    let stage = Stage::with(THREE).await;
    let old = Clock::System.now() - OLD;
    let store = stage.store().await;
    let uids: Vec<String> = (0..OLD_MESSAGES).map(|number| format!("old-{number}")).collect();
    let messages = uids.iter().map(|uid| admitted(uid, vec![planned("crm", uid, old)])).collect();
    store.admit(page(messages), old).await.unwrap();
    for job in claim(&store, "crm", OLD_MESSAGES, old).await {
        assert!(end(&store, job, State::Delivered { at: old }, TargetChange::None, old).await);
    }
    drop(store);
    stage.receive(MESSAGES);
    for passing in 1..=2 {
        stage.start_armed("run --listen none", &format!("prune=kill@{passing}")).killed().await;
    }
    let running = stage.start("run --listen none");
    stage.until_logged(&running, "old history removed").await;
    let verdict = Tally::default().finish(&stage, running, OWED).await;
    let saw = "each step was done or undone as a whole; the next start pruned on and sent what was owed";
    record("kill-pruning", &how("prune", &[1, 2]), &verdict.observed(0, 2 * THREE_IN_FLIGHT, saw));
    let gone = stage.store().await.message(None, "old-0").await.unwrap().is_none();
    assert!(gone, "the old message is forgotten");
}
