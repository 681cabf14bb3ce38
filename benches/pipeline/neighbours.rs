//! What one dead target with a long queue costs the others: their latency at a steady pace beside it, and without it.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use activity_relay::daemon::clock::Clock;
use activity_relay::daemon::metrics::{OfAttempt, OfEnd};
use activity_relay::daemon::{Relay, driver};
use activity_relay::model::delivery::StateName;
use activity_relay::store::Admission;
use tokio::net::TcpSocket;

use crate::bed::{admitted, peak_mib, relay_of, seen};
use crate::claims::queue;

const OTHERS: usize = 49;
const DEAD: &str = "dead";
/// Queued for the dead one before the others' messages come.
const QUEUED: usize = 100_000;
/// The others' pace, over all of them: pages of so many deliveries, so often, for so long.
const PAGE: usize = 5;
const PAGE_EVERY: Duration = Duration::from_millis(50);
const PACED_FOR: Duration = Duration::from_secs(15);
const DEAD_TIMEOUT_SECONDS: u64 = 20;
const ROUNDS: usize = 2;
/// What is promised: the p95 beside a dead target over that without one, and the process's peak memory.
const P95_RATIO_MAX: f64 = 1.2;
const PEAK_MIB_MAX: f64 = 120.0;

/// How the fiftieth target is dead, by the arm's name.
const ARMS: [(&str, &str); 4] = [
    ("beside-nothing", "no dead target"),
    ("beside-refused", "the 50th refuses connections"),
    ("beside-silent", "the 50th accepts and never answers"),
    ("beside-503", "the 50th answers 503 at once"),
];

/// What a run came to, times in milliseconds.
#[derive(Clone, Copy)]
struct Figures {
    p50: f64,
    p95: f64,
    p99: f64,
    peak_mib: f64,
    dead_attempts: f64,
}

/// Runs the arms in turn, `ROUNDS` times, and prints the better of each; the store and `measure` come from the caller.
pub(crate) fn compare(stores: &[(&str, String)], output: impl Fn(&str, &str) -> String) {
    for (name, store) in stores {
        let mut best: [Option<Figures>; ARMS.len()] = [None; ARMS.len()];
        for _round in 0..ROUNDS {
            for ((arm, _), best) in ARMS.iter().zip(&mut best) {
                let text = output(arm, store);
                let numbers: Vec<f64> =
                    text.split_whitespace().map(|number| number.parse().unwrap()).collect();
                let [p50, p95, p99, peak_mib, dead_attempts] = numbers[..] else {
                    panic!("{arm} said {text}")
                };
                if best.is_none_or(|best| p95 < best.p95) {
                    *best = Some(Figures { p50, p95, p99, peak_mib, dead_attempts });
                }
            }
        }
        println!(
            "{name}: {OTHERS} targets get {PAGE} deliveries every {PAGE_EVERY:?}; {QUEUED} are queued for the 50th"
        );
        println!(
            "{:<36} {:>8} {:>8} {:>8} {:>10} {:>9} {:>14}",
            "", "p50 ms", "p95 ms", "p99 ms", "p95 ratio", "peak MiB", "dead attempts"
        );
        let without = best[0].unwrap().p95;
        for ((_, words), figures) in ARMS.iter().zip(best) {
            let Figures { p50, p95, p99, peak_mib, dead_attempts } = figures.unwrap();
            let ratio = p95 / without;
            let kept = ratio <= P95_RATIO_MAX && peak_mib <= PEAK_MIB_MAX;
            println!(
                "{words:<36} {p50:>8.2} {p95:>8.2} {p99:>8.2} {ratio:>10.2} {peak_mib:>9.1} {dead_attempts:>14.0}{}",
                if kept { "" } else { "   MISSED" }
            );
        }
    }
}

/// One arm: the relay as `run` drives it, the fiftieth target as the arm's name says.
pub(crate) async fn run(arm: &str, store: &str, url: &str) {
    // Bound and not listened on, or listened on and never accepted from, for as long as this process lives.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let closed = format!("http://{}/hook", socket.local_addr().unwrap());
    let (dead, _listener) = match arm {
        "beside-silent" => (closed, Some(socket.listen(64).unwrap())),
        "beside-503" => (format!("{url}/503"), None),
        _ => (closed, None),
    };
    let relay =
        relay_of(store, &rules(), &[("HTTP", url), ("DEAD", &dead), ("API", "http://127.0.0.1:9")]).await;
    if arm != "beside-nothing" {
        // There before the others' messages come.
        queue(&relay.store, DEAD, QUEUED).await;
    }
    let sender = relay.clone();
    let sending = tokio::spawn(async move { driver::send_for_ever(&sender).await });
    let admitted = admit_paced(&relay).await;
    until_delivered(&relay, admitted.len()).await;
    let attempts = dead_attempts(&relay).await;
    relay.stop.cancel();
    sending.await.unwrap();

    let received = seen(url).await;
    let mut ways: Vec<i64> = admitted.iter().map(|(uid, at)| received[uid] - at).collect();
    ways.sort_unstable();
    let at =
        |percent: usize| f64::from(i32::try_from(ways[(ways.len() - 1) * percent / 100]).unwrap()) / 1000.0;
    println!("{} {} {} {} {attempts}", at(50), at(95), at(99), peak_mib());
}

/// Pages come at a steady pace, each for a few of the others in turn. Returns when the admission of each began, in
/// microseconds since the epoch.
async fn admit_paced(relay: &Arc<Relay>) -> HashMap<String, i64> {
    let (config, clock, start) = (relay.config(), Clock::System, Instant::now());
    let mut began = HashMap::new();
    let mut number = 0;
    for page in 0.. {
        let at = PAGE_EVERY * page;
        if at >= PACED_FOR {
            break;
        }
        tokio::time::sleep_until((start + at).into()).await;
        let now = clock.now();
        let mut targets = Vec::new();
        let mut messages = Vec::new();
        for _ in 0..PAGE {
            let (uid, target) = (format!("m{number}"), other(number % OTHERS));
            messages.push(admitted(&uid, &target, now));
            began.insert(uid, now.as_microsecond());
            targets.push(target);
            number += 1;
        }
        let page = Admission { account: "main".into(), messages, ..Admission::default() };
        relay.courier.take_in(page, &config, now).await.unwrap();
        relay.owed.notify_one();
    }
    began
}

async fn until_delivered(relay: &Relay, count: usize) {
    let mut ended = relay.courier.ended();
    let of = |number| OfEnd::new("all", &other(number), StateName::Delivered, "accepted");
    let delivered =
        || -> u64 { (0..OTHERS).map(|number| relay.metrics.ended.get_or_create(&of(number)).get()).sum() };
    while delivered() < u64::try_from(count).unwrap() {
        let _ = ended.changed().await;
    }
}

/// Those that ended, and those under way when all others have theirs.
async fn dead_attempts(relay: &Relay) -> u64 {
    // It answers 503, or not at all.
    let made = ["5xx", "none"].map(|answer| {
        let (rule, target, outcome) = ("all".into(), DEAD.into(), "retry".into());
        let of = OfAttempt { rule, target, outcome, answer: answer.into() };
        relay.metrics.attempts.get_or_create(&of).get()
    });
    let outlook = relay.store.outlook(&[DEAD.to_owned()]).await.unwrap();
    let under_way = outlook.sending.get(DEAD).copied().unwrap_or_default();
    made.iter().sum::<u64>() + u64::try_from(under_way).unwrap()
}

fn other(number: usize) -> String {
    format!("t{number:02}")
}

fn rules() -> String {
    let (mut targets, mut deliver) = (String::new(), String::new());
    for number in 0..OTHERS {
        let name = other(number);
        writeln!(targets, "  {name}: {{ type: http, url: '${{HTTP}}', allow_private: true }}").unwrap();
        write!(deliver, "{{ to: {name} }}, ").unwrap();
    }
    format!(
        "targets:\n{targets}  {DEAD}: {{ type: http, url: '${{DEAD}}', allow_private: true, timeout: {DEAD_TIMEOUT_SECONDS}s }}\n\
         rules: [{{ name: all, match: {{}}, deliver: [{deliver}{{ to: {DEAD} }}] }}]\n"
    )
}
