//! Several processes on one PostgreSQL database, killed, stopped and resumed: nothing is lost, nothing is damaged.
//!
//! `KILL_MESSAGES` and `KILLS` make the random one as long as wanted, `KILL_SEED` another one.

use std::time::{Duration, Instant};

use activity_relay::daemon::poller::polling_role;
use activity_relay::sandbox::script::{Answer, busy, ok, slow, status};
use tokio_postgres::{Client, NoTls};
use tokio_util::task::TaskTracker;

use crate::faults::record::record;
use crate::oracle::{Tally, Verdict};
use crate::postgres::fresh_url;
use crate::stage::{Running, Stage};
use crate::world::{PATIENCE, say, setting};

/// Two targets, which lose their patience soon.
const TWO: &str = r#"
version: 1
accounts:
  - { name: main, token: "${TOKEN}", base_url: "${API}", start_from: beginning, poll_every: 1s, lookup: false }
defaults: { retry: { first: 1s, max: 2s } }
targets:
  desk: { type: slack, webhook_url: "${SLACK}", allow_private: true, rate: 500/s, concurrency: 4, timeout: 5s }
  crm: { type: http, url: "${HTTP}", allow_private: true, body: event, timeout: 5s, concurrency: 8 }
rules:
  - { name: all, match: {}, deliver: [{ to: desk }, { to: crm }] }
"#;
/// One channel, one message a second, in turn.
const PACED: &str = r#"
version: 1
accounts:
  - { name: main, token: "${TOKEN}", base_url: "${API}", start_from: beginning, poll_every: 1s, lookup: false }
targets:
  desk: { type: slack, webhook_url: "${SLACK}", allow_private: true, rate: 1/s, burst: 1 }
rules:
  - { name: all, match: {}, deliver: [{ to: desk }] }
"#;
/// So many deliveries may be under way at once by [`TWO`], over all instances: what the targets take, and for the endpoint as much again
/// ahead.
const TWO_IN_FLIGHT: usize = 4 + 2 * 8;
pub(crate) const RUN: &str = "run --listen none";
/// Longer than the HTTP target's time-out.
const TOO_SLOW: Duration = Duration::from_secs(6);

/// A stage on a database of its own, and a connection to that.
pub(crate) struct Shared {
    pub(crate) stage: Stage,
    pub(crate) database: Client,
}

impl Shared {
    pub(crate) async fn new(rules: &str) -> Option<Self> {
        let url = fresh_url().await?;
        let (database, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
        TaskTracker::new().spawn(connection);
        Some(Self { stage: Stage::with(rules).await.on(url), database })
    }

    /// Time passes for what this process holds: an hour, as if it had said nothing for as long.
    pub(crate) async fn outlast(&self, process: &str) {
        let of = format!("(SELECT id FROM instances WHERE host LIKE '%:{process}')");
        let sql = format!(
            "UPDATE deliveries SET due_at = due_at - 3600000
               WHERE state = 'sending' AND split_part(lease, '.', 1) IN {of};
             UPDATE holds SET until = until - 3600000 WHERE instance IN {of};
             UPDATE instances SET seen_at = seen_at - 3600000 WHERE id IN {of};"
        );
        self.database.batch_execute(&sql).await.unwrap();
    }

    /// The process that polls.
    async fn poller(&self) -> Option<String> {
        let sql = "SELECT split_part(i.host, ':', 2) FROM holds h JOIN instances i ON i.id = h.instance WHERE h.role = $1";
        let found = self.database.query_opt(sql, &[&polling_role("main")]).await.unwrap();
        found.map(|row| row.get(0))
    }

    /// Waits until so many have said that they are there.
    pub(crate) async fn until_there(&self, count: i64) {
        self.until_number("SELECT count(*) FROM instances", |there| there >= count).await;
    }

    /// Waits until a query gives such a number. It is asked again whenever something happens in the sandbox, which is polled
    /// each second.
    pub(crate) async fn until_number(&self, sql: &str, enough: impl Fn(i64) -> bool) {
        let mut changes = self.stage.sandbox.business.watch();
        let reached = async {
            while !enough(self.database.query_one(sql, &[]).await.unwrap().get(0)) {
                changes.changed().await.unwrap();
            }
        };
        let reached = tokio::time::timeout(PATIENCE, reached).await;
        assert!(reached.is_ok(), "{sql} never gave enough: {}", self.stage.logged());
    }

    /// Stops all in order once everything was taken; what waits for another try is left to one more.
    async fn finish(&self, tally: &mut Tally, mut running: Vec<Running>, owed: usize) -> Verdict {
        tally.until(&self.stage.sandbox, |tally| tally.taken() >= owed).await;
        loop {
            for mut running in running.drain(..) {
                // Until then a signal ends it in another way.
                self.stage.until_logged(&running, "running").await;
                running.signal("TERM");
                assert_eq!(running.ended().await.code(), Some(0), "{}", self.stage.logged());
            }
            let counts = self.stage.store().await.counts(None).await.unwrap();
            tally.look(&self.stage.sandbox);
            if counts.pending + counts.sending == 0 {
                return Verdict::of(&self.stage, tally, owed).await;
            }
            let before = tally.arrivals();
            running.push(self.stage.start(RUN));
            tally.until(&self.stage.sandbox, |tally| tally.arrivals() > before).await;
        }
    }
}

fn moods(rng: &mut fastrand::Rng, count: usize) -> (Vec<Answer>, usize) {
    let mut doubts = 0;
    let answers = (0..count)
        .map(|_| match rng.u8(..100) {
            0..8 => status(503),
            8..10 => {
                doubts += 1;
                slow(TOO_SLOW)
            }
            10 => busy(1),
            _ => ok(),
        })
        .collect();
    (answers, doubts)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_that_are_killed_at_any_moment_lose_nothing() {
    let Some(shared) = Shared::new(TWO).await else { return };
    let (messages, kills) = (setting("KILL_MESSAGES", 200), setting("KILLS", 4));
    let seed = u64::try_from(setting("KILL_SEED", 1)).unwrap();
    let (mut rng, owed) = (fastrand::Rng::with_seed(seed), 2 * messages);
    let stage = &shared.stage;
    stage.receive(messages);
    let (answers, doubts) = moods(&mut rng, messages);
    stage.sandbox.http.answers(answers);
    let mut moments: Vec<usize> = (0..kills).map(|_| rng.usize(0..owed)).collect();
    moments.sort_unstable();
    let (started, mut tally) = (Instant::now(), Tally::default());
    let mut running = vec![stage.start(RUN), stage.start(RUN)];
    for moment in moments {
        tally.until(&stage.sandbox, |tally| tally.arrivals() >= moment).await;
        let killed = running.remove(rng.usize(..2));
        let process = killed.id();
        killed.kill().await;
        shared.outlast(&process).await;
        running.push(stage.start(RUN));
    }
    let verdict = shared.finish(&mut tally, running, owed).await;
    say(&format!(
        "seed {seed}: messages={messages} kills={kills} lost={} duplicates={} marked={} ({:.1?})",
        verdict.lost.len(),
        verdict.duplicates,
        verdict.doubtful,
        started.elapsed()
    ));
    let saw = format!("{kills} kills under load, one of the two at a time; the other one went on");
    let how =
        "SIGKILL of one of two instances on PostgreSQL while they send to Slack and a flaky HTTP target";
    record("kill-random+postgres", how, &verdict.observed(seed, kills * TWO_IN_FLIGHT + doubts, &saw));
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_past_its_leases_it_writes_nothing_that_somebody_else_has() {
    const MESSAGES: usize = 12;
    let Some(shared) = Shared::new(TWO).await else { return };
    let stage = &shared.stage;
    stage.receive(MESSAGES);
    let first = stage.start_armed(RUN, "settle-before=stop");
    first.stopped().await;
    shared.outlast(&first.id()).await;
    let second = stage.start(RUN);
    let mut tally = Tally::default();
    stage.until_logged(&second, "held by this instance").await;
    // Everything is sent and written by the other one; then the first goes on.
    tally.until(&stage.sandbox, |tally| tally.arrivals() > 2 * MESSAGES).await;
    stage.until_logged(&second, "delivered").await;
    first.signal("CONT");
    stage.until_logged(&first, "the lease was lost while sending").await;
    stage.receive(MESSAGES);
    let verdict = shared.finish(&mut tally, vec![first, second], 4 * MESSAGES).await;
    let saw = "the settlements of the one that was resumed were refused and counted; what it had sent went again, marked";
    let how =
        "SIGSTOP of one of two between the answer and the settlement, leases and roles run out, SIGCONT";
    record("stopped-past-lease+postgres", how, &verdict.observed(0, TWO_IN_FLIGHT, saw));
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_in_a_transaction_it_holds_up_nobody_for_long() {
    const MESSAGES: usize = 12;
    for (point, variant) in [("admit", "admitting"), ("settle", "settling")] {
        let Some(shared) = Shared::new(TWO).await else { return };
        let stage = &shared.stage;
        stage.receive(MESSAGES);
        let first = stage.start_armed(RUN, &format!("{point}=stop"));
        first.stopped().await;
        let stopped = Instant::now();
        let second = stage.start(RUN);
        // It waits for the rows that the first one has locked, as everybody does.
        shared.outlast(&first.id()).await;
        stage.receive(MESSAGES);
        let mut tally = Tally::default();
        tally.until(&stage.sandbox, |tally| tally.taken() >= 4 * MESSAGES).await;
        say(&format!("stopped in `{point}`: all the rest was sent {:.1?} later", stopped.elapsed()));
        first.signal("CONT");
        stage.receive(MESSAGES);
        let verdict = shared.finish(&mut tally, vec![first, second], 6 * MESSAGES).await;
        let saw = "the server ended its transaction and gave the locks to the other one; resumed, it wrote nothing of it";
        let how = format!(
            "SIGSTOP of one of two at the failpoint `{point}`, in the transaction; SIGCONT when all is sent"
        );
        let key = format!("pg-stopped-in-transaction+{variant}");
        record(&key, &how, &verdict.observed(0, TWO_IN_FLIGHT, saw));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_was_fetched_before_somebody_else_took_over_is_dropped() {
    const MESSAGES: usize = 12;
    let Some(shared) = Shared::new(TWO).await else { return };
    let stage = &shared.stage;
    stage.receive(MESSAGES);
    let first = stage.start_armed(RUN, "fetched=stop");
    first.stopped().await;
    shared.outlast(&first.id()).await;
    let second = stage.start(RUN);
    let mut tally = Tally::default();
    tally.until(&stage.sandbox, |tally| tally.arrivals() >= 2 * MESSAGES).await;
    first.signal("CONT");
    stage.until_logged(&first, "another instance has taken over").await;
    let verdict = shared.finish(&mut tally, vec![first, second], 2 * MESSAGES).await;
    let saw = "its page was refused, the other one's was taken; each message was sent once";
    let how = "SIGSTOP of the poller with a page in its hands, another takes over, SIGCONT";
    record("two-processes+postgres", how, &verdict.observed(0, 0, saw));
}

/// People are shown both, and who of them polls.
async fn told_by_status(stage: &Stage, poller: &str) {
    let said = stage.output("status --format json").await.stdout;
    let status: serde_json::Value = serde_json::from_slice(&said).unwrap();
    let instances = status["instances"].as_array().unwrap();
    assert_eq!(instances.len(), 2, "{status}");
    assert!(instances.iter().all(|instance| instance["alive"] == true), "{status}");
    let by = status["accounts"][0]["polled_by"].as_str().unwrap();
    assert!(by.ends_with(&format!(":{poller}")), "{by}");
    let of_poller = instances.iter().find(|instance| instance["host"] == by).unwrap();
    let roles: Vec<&str> =
        of_poller["holds"].as_array().unwrap().iter().map(|held| held["role"].as_str().unwrap()).collect();
    assert!(roles.contains(&"poll main"), "{status}");
    let text = String::from_utf8(stage.output("status").await.stdout).unwrap();
    assert!(text.contains("POLLED BY") && text.contains("INSTANCE") && text.contains(by), "{text}");
}

/// Kills the one that polls; says how long it took until the other one did.
async fn poller_killed(shared: &Shared, wait: bool) -> (Duration, Verdict) {
    const MESSAGES: usize = 12;
    let stage = &shared.stage;
    let (one, other) = (stage.start(RUN), stage.start(RUN));
    stage.receive(MESSAGES);
    let mut tally = Tally::default();
    tally.until(&stage.sandbox, |tally| tally.arrivals() >= 2 * MESSAGES).await;
    shared.until_there(2).await;
    let poller = shared.poller().await.expect("somebody polls");
    told_by_status(stage, &poller).await;
    let (dies, lives) = if one.id() == poller { (one, other) } else { (other, one) };
    dies.kill().await;
    let killed = Instant::now();
    stage.receive(MESSAGES);
    if !wait {
        shared.outlast(&poller).await;
    }
    tally.until(&stage.sandbox, |tally| tally.arrivals() > 3 * MESSAGES).await;
    let took = killed.elapsed();
    assert_ne!(shared.poller().await.unwrap(), poller);
    (took, shared.finish(&mut tally, vec![lives], 4 * MESSAGES).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_poller_is_replaced() {
    let Some(shared) = Shared::new(TWO).await else { return };
    let (_, verdict) = poller_killed(&shared, false).await;
    let saw = "the other one polled on from where it stopped";
    let how = "SIGKILL of the one of two instances that polls; its hold runs out";
    record("poller-killed", how, &verdict.observed(0, TWO_IN_FLIGHT, saw));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "half a minute of real time"]
async fn a_killed_poller_is_replaced_within_half_a_minute() {
    let Some(shared) = Shared::new(TWO).await else { return };
    let (took, verdict) = poller_killed(&shared, true).await;
    say(&format!("the other instance polled {took:.1?} after the kill; lost={}", verdict.lost.len()));
    assert!(verdict.lost.is_empty() && took < Duration::from_secs(30), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_keep_a_channel_s_pace_and_order() {
    const MESSAGES: usize = 8;
    let Some(shared) = Shared::new(PACED).await else { return };
    let stage = &shared.stage;
    let mut both = [stage.start(RUN), stage.start(RUN)];
    stage.receive(MESSAGES);
    // One a second, and no more than that is asked of a machine that is busy.
    stage.sandbox.slack.wait_for(MESSAGES, 3 * PATIENCE).await.unwrap();
    for running in &mut both {
        // Until then a signal ends it in another way.
        stage.until_logged(running, "running").await;
        running.signal("TERM");
        assert_eq!(running.ended().await.code(), Some(0), "{}", stage.logged());
    }
    let sql = "SELECT claimed_at FROM deliveries ORDER BY claimed_at";
    let rows = shared.database.query(sql, &[]).await.unwrap();
    let claimed: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
    assert!(claimed.windows(2).all(|pair| pair[1] - pair[0] >= 1000), "{claimed:?}");
    let said: Vec<String> = stage.sandbox.slack.received().into_iter().map(|arrival| arrival.body).collect();
    for (number, body) in said.iter().enumerate() {
        assert!(body.contains(&format!("message no. {number}")), "{said:?}");
    }
}
