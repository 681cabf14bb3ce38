//! The program is killed again and again while it sends to three targets, one of them flaky: nothing is lost, and what
//! came twice is marked.
//!
//! `KILL_MESSAGES` and `KILLS` make it as long as wanted, `KILL_SEED` another one.

use std::time::{Duration, Instant};

use activity_relay::sandbox::script::{Answer, busy, ok, slow, status};

use crate::faults::record::record;
use crate::oracle::Tally;
use crate::stage::{Stage, THREE, THREE_IN_FLIGHT};
use crate::world::{say, setting};

/// Longer than the HTTP target's time-out, which is five seconds here: the request is taken, and the relay does not hear of it.
const TOO_SLOW: Duration = Duration::from_secs(6);
/// So much arrives between two kills at least. Whatever is under way at five kills in a row is buried as their cause, even
/// alone: kills that come quicker than answers cannot be told from a delivery that kills.
const GETS_ON: usize = 2 * THREE_IN_FLIGHT;
/// A pause that the target asks for holds up the whole run.
const PAUSES_MAX: usize = 3;

/// What the flaky target answers, one after the other; how many of these leave the relay in doubt.
fn moods(rng: &mut fastrand::Rng, count: usize) -> (Vec<Answer>, usize) {
    let (mut doubts, mut pauses) = (0, 0);
    let answers = (0..count)
        .map(|_| match rng.u8(..100) {
            0..10 => status(503),
            10..12 => {
                doubts += 1;
                slow(TOO_SLOW)
            }
            12..14 if pauses < PAUSES_MAX => {
                pauses += 1;
                busy(1)
            }
            _ => ok(),
        })
        .collect();
    (answers, doubts)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_moment_it_loses_nothing() {
    let (messages, kills) = (setting("KILL_MESSAGES", 200), setting("KILLS", 3));
    let seed = u64::try_from(setting("KILL_SEED", 1)).unwrap();
    let (mut rng, owed) = (fastrand::Rng::with_seed(seed), 3 * messages);
    let stage = Stage::with(&THREE.replace("body: event,", "body: event, timeout: 5s,")).await;
    stage.receive(messages);
    let (answers, doubts) = moods(&mut rng, messages);
    stage.sandbox.http.answers(answers);
    let chance = (owed / kills.max(1)).saturating_sub(GETS_ON).max(1);
    let (started, mut tally) = (Instant::now(), Tally::default());
    for _ in 0..kills {
        let running = stage.start("run --listen none");
        // In the course of the arrivals: the kill hits whatever goes on then.
        let moment = tally.arrivals() + GETS_ON + rng.usize(0..chance);
        tally.until(&stage.sandbox, |tally| tally.arrivals() >= moment).await;
        running.kill().await;
    }
    let last = stage.start("run --listen none");
    let verdict = tally.finish(&stage, last, owed).await;
    say(&format!(
        "seed {seed}: messages={messages} kills={kills} lost={} duplicates={} marked={} ({:.1?})",
        verdict.lost.len(),
        verdict.duplicates,
        verdict.doubtful,
        started.elapsed()
    ));
    let saw = format!("{kills} kills under load, each followed by a start that took up what was under way");
    let how = "SIGKILL from outside while it sends to Slack, mail and a flaky HTTP target";
    record("kill-random", how, &verdict.observed(seed, kills * THREE_IN_FLIGHT + doubts, &saw));
}
