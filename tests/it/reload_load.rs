//! Other rules again and again while messages come in and go out to three targets, every other time in a bad file:
//! nothing is lost, nothing is sent twice, and delivery never stops.
//!
//! `RELOADS` makes it as long as wanted, `RELOAD_SEED` another one.

use std::time::Instant;

use activity_relay::sandbox::script::status;

use crate::faults::record::record;
use crate::oracle::Tally;
use crate::reload_process::ask;
use crate::stage::{ANY, Running, Stage};
use crate::world::{say, setting};

/// Messages that come in before each reload: about as much as goes out meanwhile.
const MESSAGES: usize = 4;
/// What goes out to each target; at the end it is sent faster.
const RATE: &str = "20/s";
const RATE_AT_THE_END: &str = "500/s";
/// So much arrives before the next reload.
const GETS_ON: usize = 2;
/// After so many reloads each of the three inboxes gets something before the next one.
const ROUND: usize = 10;
/// One in so many is left to the watch, which takes its time.
const WATCHED: usize = 25;
/// One in so many is asked for by SIGHUP, the others by a request.
const SIGNALLED: usize = 3;
/// What is logged: of the deliveries nothing, or the log would be long.
const LOG: &str = "warn,activity_relay::cli::run=info,activity_relay::daemon::reload=info";

/// What is different from one reload to the next. Every message is owed to three targets under each of them.
#[derive(Debug, Clone, Copy)]
enum Shape {
    /// As at the end.
    Plain,
    /// One more account, whose messages no rule takes.
    SecondAccount,
    /// The account is polled in another way.
    OtherPolling,
    /// Nothing is polled that a rule takes.
    NoMainAccount,
    /// The HTTP target is gone, with what is owed to it, and another one is there.
    NoCrm,
    /// What the HTTP target is sent says where it comes from, and how many at once is different.
    OtherCrm,
    /// The rule has another name, and the mail's target other limits.
    OtherRule,
}

const SHAPES: [Shape; 7] = [
    Shape::Plain,
    Shape::SecondAccount,
    Shape::OtherPolling,
    Shape::NoMainAccount,
    Shape::NoCrm,
    Shape::OtherCrm,
    Shape::OtherRule,
];

impl Shape {
    /// The file, with a further rule of this name that takes nothing.
    fn rules(self, mark: &str) -> String {
        let account = |name: &str, every: &str| {
            format!(
                "  - {{ name: {name}, token: \"${{TOKEN}}\", base_url: \"${{API}}\", start_from: beginning, poll_every: \
                 {every}, overlap: 10s, lookup: false }}\n"
            )
        };
        let accounts = match self {
            Self::SecondAccount => account("main", "1s") + &account("second", "1s"),
            Self::OtherPolling => account("main", "2s"),
            Self::NoMainAccount => account("second", "1s"),
            _ => account("main", "1s"),
        };
        let http = |name: &str, more: &str| {
            format!(
                "  {name}: {{ type: http, url: \"${{HTTP}}\", allow_private: true, body: event, rate: {RATE}, burst: 20, {more} }}\n"
            )
        };
        let crm = match self {
            Self::NoCrm => String::new(),
            Self::OtherCrm => http("crm", "concurrency: 2, headers: { x-shop: \"7\" }"),
            _ => http("crm", "concurrency: 8"),
        };
        let to = if matches!(self, Self::NoCrm) { "crm2" } else { "crm" };
        let (name, mails) = if matches!(self, Self::OtherRule) { ("every", "2") } else { ("all", "4") };
        format!(
            "version: 1\naccounts:\n{accounts}defaults: {{ retry: {{ first: 1s, max: 2s }} }}\ntargets:\n{crm}{crm2}{desk}{books}\
             rules:\n  - {{ name: {name}, where: 'account.name == \"main\"', match: {{}}, deliver: [{{ to: desk }}, {{ to: books }}, \
             {{ to: {to} }}] }}\n  - {{ name: {mark}, match: {{ activity_type: Payment }}, deliver: [{{ to: desk }}] }}\n",
            crm2 = http("crm2", "concurrency: 4"),
            desk = format_args!(
                "  desk: {{ type: slack, webhook_url: \"${{SLACK}}\", allow_private: true, rate: {RATE}, burst: 20, concurrency: 4 }}\n"
            ),
            books = format_args!(
                "  books: {{ type: email, smtp: \"${{MAIL}}\", from: relay@example.com, to: [books@example.com], rate: {RATE}, \
                 burst: 20, concurrency: {mails} }}\n"
            ),
        )
    }
}

/// A program under load, and how its reloads are asked for.
struct Load {
    stage: Stage,
    running: Running,
    address: String,
    /// By signal, request and watch.
    asked: [usize; 3],
}

impl Load {
    /// Another file is there; returns once the program has read it.
    async fn reload(&mut self, number: usize, text: Option<&str>, words: &str, good: bool) {
        match text {
            Some(text) => self.stage.rules(text),
            None => std::fs::remove_file(self.stage.folder.path().join("rules.yaml")).unwrap(),
        }
        if number.is_multiple_of(WATCHED) {
            self.asked[2] += 1;
            self.stage.until_logged(&self.running, words).await;
        } else if number.is_multiple_of(SIGNALLED) {
            self.asked[0] += 1;
            self.running.signal("HUP");
            self.stage.until_logged(&self.running, words).await;
        } else {
            self.asked[1] += 1;
            let (status, body) = ask(&self.address, "POST", "").await;
            assert_eq!(status, if good { 200 } else { 422 }, "{body}");
        }
    }

    /// One of the ways in which a file can be bad. All but the first can only be told by the answer to a request.
    async fn reload_badly(&mut self, number: usize, rng: &mut fastrand::Rng) {
        let rules = Shape::Plain.rules("bad");
        let marked = rules.replace("name: bad,", &format!("name: bad, oops{number}: 1,"));
        let words = format!("oops{number}");
        let told = number.is_multiple_of(WATCHED) || number.is_multiple_of(SIGNALLED);
        match if told { 0 } else { rng.u8(0..4) } {
            0 => self.reload(number, Some(&marked), &words, false).await,
            1 => self.reload(number, Some(&rules[..rules.len() / 2]), &words, false).await,
            2 => self.reload(number, Some(""), &words, false).await,
            _ => self.reload(number, None, &words, false).await,
        }
    }

    /// How much has arrived in each inbox.
    fn arrived(&self) -> Vec<usize> {
        self.stage.sandbox.inboxes().iter().map(|inbox| inbox.arrivals().len()).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reloaded_under_load_it_loses_nothing_and_sends_nothing_twice() {
    let reloads = setting("RELOADS", 60);
    let seed = u64::try_from(setting("RELOAD_SEED", 1)).unwrap();
    let mut rng = fastrand::Rng::with_seed(seed);
    let stage = Stage::with(&Shape::Plain.rules("mark0")).await;
    stage.receive(20 * MESSAGES);
    let running = stage.start(&format!("run --watch --listen {ANY} --log {LOG}"));
    let address = stage.address_of(&running).await;
    stage.until_logged(&running, "running").await;
    let mut load = Load { stage, running, address, asked: [0; 3] };
    let (started, mut tally, mut bad) = (Instant::now(), Tally::default(), 0);
    let (mut before, mut round, mut polled) = (load.arrived(), 0, true);
    for number in 1..=reloads {
        load.stage.receive(MESSAGES);
        if number.is_multiple_of(ROUND) {
            load.stage.sandbox.http.answers([status(503)]);
        }
        if number.is_multiple_of(2) {
            bad += 1;
            load.reload_badly(number, &mut rng).await;
        } else {
            let shape = SHAPES[rng.usize(0..SHAPES.len())];
            polled = !matches!(shape, Shape::NoMainAccount);
            let mark = format!("mark{number}");
            load.reload(number, Some(&shape.rules(&mark)), &format!("+{mark}"), true).await;
        }
        if !polled {
            // What is there to send may be sent already; the next file comes at once.
            continue;
        }
        tally.look(&load.stage.sandbox);
        let moment = tally.arrivals() + GETS_ON;
        // Where a reload takes its time, all of the above has arrived by now.
        load.stage.receive(1);
        tally.until(&load.stage.sandbox, |tally| tally.arrivals() >= moment).await;
        if number >= round + ROUND {
            let moved = || before.iter().zip(load.arrived()).all(|(before, now)| now > *before);
            tally.until(&load.stage.sandbox, |_| moved()).await;
            (before, round) = (load.arrived(), number);
        }
    }
    let took = started.elapsed();
    load.stage.rules(&Shape::Plain.rules("last").replace(RATE, RATE_AT_THE_END));
    assert_eq!(ask(&load.address, "POST", "").await.0, 200);
    let owed = 3 * load.stage.uids().len();
    let Load { stage, running, asked: [signals, requests, looks], .. } = load;
    let verdict = tally.finish(&stage, running, owed).await;
    let (lost, duplicates, marked) = (verdict.lost.len(), verdict.duplicates, verdict.doubtful);
    say(&format!(
        "seed {seed}: reloads={reloads} bad={bad} (signal {signals}, request {requests}, watch {looks}) deliveries={owed} \
         lost={lost} duplicates={duplicates} marked={marked} ({took:.1?})"
    ));
    let saw =
        format!("{reloads} reloads, {bad} of them of a bad file; something arrived between any two of them");
    let how = "SIGHUP, POST /-/reload and a changed file, again and again, while it sends to Slack, mail and HTTP: accounts, \
               targets and rules come and go";
    record("reload-sending+load", how, &verdict.observed(seed, 0, &saw));
}
