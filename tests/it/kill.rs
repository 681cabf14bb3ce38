//! The program is killed again and again while it sends: nothing is lost, and what came twice is marked.
//!
//! `KILL_MESSAGES` and `KILLS` make it as long as wanted, `KILL_SEED` another one.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use activity_relay::sandbox::Sandbox;
use serde_json::Value;

use crate::process::Stage;
use crate::world::{say, setting};

/// The target's `concurrency` in the rules: so many may be under way when the program is killed.
const IN_FLIGHT: usize = 8;
/// A run between two kills may take so long.
const RUN_MAX: Duration = Duration::from_mins(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_moment_it_loses_nothing() {
    let (messages, kills) = (setting("KILL_MESSAGES", 600), setting("KILLS", 3));
    let seed = u64::try_from(setting("KILL_SEED", 1)).unwrap();
    let mut rng = fastrand::Rng::with_seed(seed);
    let stage = Stage::new().await;
    stage.receive(messages);
    // Moments in the course of the arrivals, the first of them before any: the kill hits whatever goes on then.
    let mut moments: Vec<usize> = (0..kills).map(|_| rng.usize(0..messages)).collect();
    moments.sort_unstable();
    let (started, mut tally) = (Instant::now(), Tally::default());
    for moment in moments {
        let running = stage.start("run --listen none");
        tally.until(&stage.sandbox, |tally| tally.arrivals >= moment).await;
        running.kill();
    }
    let mut last = stage.start("run --listen none");
    tally.until(&stage.sandbox, |tally| tally.accepted.len() == messages).await;
    last.signal("TERM");
    assert_eq!(last.ended().await.code(), Some(0));
    tally.look(&stage.sandbox);

    let counts = tally.accepted;
    let (missing, twice) = (messages - counts.len(), counts.values().map(|count| count - 1).sum::<usize>());
    let listed = stage.output("deliveries list --format json").await;
    let rows: Vec<Value> = String::from_utf8(listed.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let marked = rows.iter().filter(|row| row["maybe_duplicate"] == true).count();
    say(&format!(
        "seed {seed}: messages={messages} kills={kills} lost={missing} duplicates={twice} marked={marked} ({:.1?})",
        started.elapsed()
    ));
    assert_eq!((rows.len(), missing), (messages, 0));
    assert!(rows.iter().all(|row| row["state"] == "delivered"));
    assert!(twice <= kills * IN_FLIGHT && marked <= kills * IN_FLIGHT, "more than were under way");
    for row in rows.iter().filter(|row| row["maybe_duplicate"] == false) {
        let id = row["id"].as_str().unwrap();
        assert_eq!(counts.get(id), Some(&1), "{id} came twice and is not marked");
    }
}

/// What has arrived so far.
#[derive(Default)]
struct Tally {
    arrivals: usize,
    /// How often each delivery was taken.
    accepted: BTreeMap<String, usize>,
}

impl Tally {
    fn look(&mut self, sandbox: &Sandbox) {
        for arrival in sandbox.http.arrivals_after(self.arrivals) {
            self.arrivals += 1;
            if arrival.accepted {
                *self.accepted.entry(arrival.identity().to_owned()).or_default() += 1;
            }
        }
    }

    /// Looks whenever something has happened, until it is enough.
    async fn until(&mut self, sandbox: &Sandbox, enough: impl Fn(&Self) -> bool) {
        let mut changes = sandbox.business.watch();
        let waiting = async {
            loop {
                self.look(sandbox);
                if enough(self) {
                    return;
                }
                changes.changed().await.unwrap();
            }
        };
        tokio::time::timeout(RUN_MAX, waiting).await.expect("the run gets on");
    }
}
