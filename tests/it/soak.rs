//! A business at its worst for hours of simulated time: whatever stays unread long enough arrives exactly once.
//!
//! `SOAK_SEEDS` and `SOAK_MESSAGES` make it as long as wanted; `SOAK_FIRST` is the first seed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use activity_relay::sandbox::behaviour::{Behaviour, OverCap, Profile};
use activity_relay::sandbox::incoming::Incoming;
use activity_relay::sandbox::script;
use activity_relay::sandbox::world::{Action, Which};
use serde_json::{Value, json};

use crate::world::{World, say, setting};

/// Many at once, so that the sockets are busy; the page cap and all else is the business's affair.
const RULES: &str = "
accounts:
  - { name: main, token: \"${TOKEN}\", base_url: \"${API}\", start_from: beginning, poll_every: 30s, lookup: false }
version: 1
targets:
  crm: { type: http, url: \"${HTTP}\", allow_private: true, body: event, concurrency: 32 }
rules:
  - { name: all, match: {}, deliver: [{ to: crm }] }
";
/// Rows that an act on many guests makes within one second.
const BURST: u32 = 260;
/// What is unread for so many complete polls (five minutes at two a minute) was to be seen.
const FAIR_POLLS: u64 = 10;
/// What was committed so late that only the hourly look back finds it is judged if it stays unread to the end, and
/// the end comes after so many polls at the latest: the look back has a small budget at each of them.
const LAST_POLLS_MAX: u64 = 3_000;
/// The end does not come before so many: time for a duplicate to show.
const LAST_POLLS_MIN: u64 = 20;
/// Later than the overlap, which is two minutes.
const VERY_LATE: Duration = Duration::from_mins(20);

/// What the test knows of one message, from its own doing alone.
#[derive(Debug)]
struct Known {
    visible_at_poll: u64,
    read_at_poll: Option<u64>,
    very_late: bool,
    arrived: usize,
}

/// A run of one seed.
struct Soak {
    world: World,
    rng: fastrand::Rng,
    known: BTreeMap<String, Known>,
    unread: Vec<String>,
    polls: u64,
    /// Arrivals counted so far.
    looked_at: usize,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Verdict {
    must: usize,
    lost: Vec<String>,
    duplicates: usize,
}

impl Soak {
    async fn new(seed: u64, over_cap: OverCap) -> Self {
        let behaviour = Behaviour { over_cap, ..Behaviour::of(Profile::Quirky) };
        let world = World::with(behaviour, seed, RULES).await;
        let rng = fastrand::Rng::with_seed(seed);
        Self { world, rng, known: BTreeMap::new(), unread: Vec::new(), polls: 0, looked_at: 0 }
    }

    /// A message under a uid of our own, so that nothing has to be asked of anybody. It is there after `within_polls`
    /// more polls at the latest.
    fn message(&mut self, late: Duration, within_polls: u64) -> Action {
        let uid = format!("m{:06}", self.known.len());
        let visible_at_poll = self.polls + within_polls;
        let known = Known { visible_at_poll, read_at_poll: None, very_late: late >= VERY_LATE, arrived: 0 };
        self.known.insert(uid.clone(), known);
        self.unread.push(uid.clone());
        let kinds = [("Meeting", "cancelled"), ("General", "text"), ("Payment", "payment_failed")];
        let (kind, what) = kinds[self.rng.usize(..kinds.len())];
        let incoming = Incoming::new(kind, what, "client_to_pivot").late(late).with("uid", json!(uid));
        Action::Receive(Box::new(incoming))
    }

    /// Staff read some of what is unread, mostly the oldest.
    fn reading(&mut self) -> Option<Action> {
        let count = self.rng.usize(1..60).min(self.unread.len());
        let from = if self.rng.u8(..4) == 0 { self.rng.usize(..=self.unread.len() - count) } else { 0 };
        let uids: Vec<String> = self.unread.drain(from..from + count).collect();
        for uid in &uids {
            if let Some(known) = self.known.get_mut(uid) {
                known.read_at_poll = Some(self.polls);
            }
        }
        (!uids.is_empty()).then_some(Action::Read(Which::Uids(uids)))
    }

    /// What happens until the next poll, and while it pages.
    fn happen(&mut self, left: usize) {
        let business = self.world.sandbox.business.clone();
        let singles = self.rng.usize(1..12).min(left);
        for _ in 0..singles {
            let late = match self.rng.u16(..400) {
                0 => VERY_LATE,
                1..80 => Duration::from_millis(self.rng.u64(1_000..90_000)),
                _ => Duration::from_millis(self.rng.u64(0..30_000)),
            };
            if self.rng.u8(..8) == 0 {
                // A poll makes one request at least.
                let nth = self.rng.u64(2..6);
                business.act_before_request(nth, self.message(late, nth));
            } else {
                business.act(self.message(late, 0));
            }
        }
        if self.rng.u8(..6) == 0 && left > singles {
            // A second, of the business's clock: stamps have thousandths in some shapes and none in others.
            let second = self.rng.u64(0..40) * 1_000;
            for _ in 0..usize::try_from(BURST).unwrap().min(left - singles) {
                let late = Duration::from_millis(second + self.rng.u64(0..1_000));
                business.act(self.message(late, 0));
            }
        }
        if self.rng.u8(..3) == 0
            && let Some(reading) = self.reading()
        {
            match self.rng.u8(..3) {
                0 => drop(business.act(reading)),
                _ => business.act_before_request(self.rng.u64(2..9), reading),
            }
        }
        match self.rng.u8(..40) {
            0 => business.answers([script::ok(), script::status(502)]),
            1 => business.answers([script::broken_json()]),
            2 => self.world.sandbox.http.answers([script::status(503), script::ok(), script::busy(7)]),
            _ => {}
        }
    }

    /// One poll and what it owes, then time passes as the poller asks.
    async fn step(&mut self) {
        let tick = self.world.try_poll().await;
        self.world.send().await;
        // A walk that ran out of requests is no complete one: it asks to go on within a second.
        if tick.result.is_ok() && tick.next_in > Duration::from_secs(1) {
            self.polls += 1;
        }
        self.world.clock.advance(tick.next_in);
        match self.rng.u16(..150) {
            0 => self.world.reopen().await,
            1 => self.world.clock.advance(Duration::from_mins(self.rng.u64(30..180))),
            _ => {}
        }
    }

    async fn run(mut self, messages: usize) -> Verdict {
        while self.known.len() < messages {
            self.happen(messages - self.known.len());
            self.step().await;
        }
        self.world.sandbox.business.heal();
        self.world.sandbox.http.heal();
        for poll in 0..LAST_POLLS_MAX {
            match poll {
                // Life goes on, and moves the newest message's time away from the last burst.
                6 | 12 => {
                    let message = self.message(Duration::ZERO, 0);
                    self.world.sandbox.business.act(message);
                }
                LAST_POLLS_MIN => self.world.clock.advance(Duration::from_hours(1)),
                _ => {}
            }
            self.step().await;
            self.look();
            if poll > LAST_POLLS_MIN && self.verdict().lost.is_empty() {
                break;
            }
        }
        self.verdict()
    }

    /// Counts what has arrived since the last look.
    fn look(&mut self) {
        let fresh = self.world.sandbox.http.arrivals_after(self.looked_at);
        self.looked_at += fresh.len();
        for arrival in fresh.iter().filter(|arrival| arrival.accepted) {
            let body: Value = serde_json::from_str(&arrival.body).unwrap();
            let uid = body["data"]["message"]["uid"].as_str().unwrap();
            self.known.get_mut(uid).expect("nothing arrives that was never there").arrived += 1;
        }
    }

    fn verdict(&self) -> Verdict {
        let mut verdict = Verdict::default();
        for (uid, known) in &self.known {
            let fair = match known.read_at_poll {
                Some(at) => !known.very_late && at.saturating_sub(known.visible_at_poll) >= FAIR_POLLS,
                None => true,
            };
            verdict.must += usize::from(fair);
            verdict.duplicates += known.arrived.saturating_sub(1);
            if fair && known.arrived == 0 {
                verdict.lost.push(format!("{uid} {known:?}"));
            }
        }
        verdict.lost.sort();
        verdict
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn soak_whatever_stays_unread_arrives_exactly_once() {
    let (seeds, messages) = (setting("SOAK_SEEDS", 2), setting("SOAK_MESSAGES", 1_000));
    let mut failed = Vec::new();
    let first = u64::try_from(setting("SOAK_FIRST", 1)).unwrap();
    for seed in first..first + u64::try_from(seeds).unwrap() {
        // The case is the small page; the other is what the API is said to have.
        let over_cap = if seed % 4 == 0 { OverCap::Clamp } else { OverCap::TwentyFive };
        let started = Instant::now();
        let verdict = Soak::new(seed, over_cap).await.run(messages).await;
        let (lost, duplicates, took) = (verdict.lost.len(), verdict.duplicates, started.elapsed());
        say(&format!(
            "seed {seed:>2} page {over_cap:?}: messages={messages} must_arrive={} lost={lost} duplicates={duplicates} ({took:.1?})",
            verdict.must
        ));
        assert!(verdict.must > messages / 2, "most of them stay unread long enough to be judged");
        if lost + duplicates > 0 {
            failed.push((seed, verdict));
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}
