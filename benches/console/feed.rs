//! What watching costs: deliveries at a steady pace and as fast as they go, with many who follow the feed and with none, by turns.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use activity_relay::daemon::metrics::OfEnd;
use activity_relay::daemon::{Relay, driver};
use activity_relay::model::delivery::StateName;
use activity_relay::store::Admission;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::bed::{admitted, seen};

/// Messages a second, and how many are taken in at once.
const PACE_PER_SECOND: u32 = 200;
const PAGE: u32 = 20;
/// Each arm is run so often, by turns; its best is shown: what else the machine does only slows.
const ROUNDS: u32 = 2;
/// Messages that are sent as fast as they go, for each second of a round.
const RUSH_PER_SECOND: u32 = 500;

/// How an arm fared.
struct Figures {
    per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    /// What all listeners were sent.
    told_bytes: u64,
}

/// Measures all arms and prints a table.
pub(crate) async fn compare(
    relay: &Arc<Relay>,
    console: &str,
    receiver: &str,
    listeners: u32,
    length: Duration,
) {
    let sending = TaskTracker::new();
    let sender = relay.clone();
    sending.spawn(async move { driver::send_for_ever(&sender).await });
    println!("{:<44} {:>12} {:>9} {:>9} {:>14}", "", "deliveries/s", "p50 ms", "p99 ms", "KiB told each");
    let seconds = u32::try_from(length.as_secs()).unwrap();
    let arms = [
        ("at 200 messages/s", Some(PACE_PER_SECOND), PACE_PER_SECOND),
        ("as fast as they go", None, RUSH_PER_SECOND),
    ];
    for (name, pace, per_second) in arms {
        let mut best: [Option<Figures>; 2] = [None, None];
        for round in 0..ROUNDS {
            for (slot, watching) in [0, listeners].into_iter().enumerate() {
                let run = format!("run{per_second}-{round}-{watching}");
                let figures =
                    arm(relay, (console, receiver), &run, watching, (per_second * seconds, pace)).await;
                let better = |known: &Figures| match pace {
                    Some(_) => figures.p99_ms < known.p99_ms,
                    None => figures.per_second > known.per_second,
                };
                if best[slot].as_ref().is_none_or(better) {
                    best[slot] = Some(figures);
                }
            }
        }
        for (figures, watching) in best.iter().flatten().zip([0, listeners]) {
            let Figures { per_second, p50_ms, p99_ms, told_bytes } = figures;
            let each = told_bytes / 1024 / u64::from(watching.max(1));
            let line = format!("{name}, {watching} watching");
            println!("{line:<44} {per_second:>12.1} {p50_ms:>9.1} {p99_ms:>9.1} {each:>14}");
        }
    }
}

/// Takes so many messages in, at a pace or at once, and waits until all have arrived.
async fn arm(
    relay: &Arc<Relay>,
    (console, receiver): (&str, &str),
    run: &str,
    watching: u32,
    (messages, pace): (u32, Option<u32>),
) -> Figures {
    seen(receiver).await;
    let (told, closing, listening) =
        (Arc::new(AtomicU64::new(0)), CancellationToken::new(), TaskTracker::new());
    for _ in 0..watching {
        listening.spawn(listen(console.to_owned(), told.clone(), closing.clone()));
    }
    let mut ended = relay.courier.ended();
    let delivered =
        relay.metrics.ended.get_or_create_owned(&OfEnd::new("all", "crm", StateName::Delivered, "accepted"));
    let goal = delivered.get() + u64::from(messages);
    let (start, clock) = (Instant::now(), &relay.clock);
    let mut admitted_at = Vec::new();
    let admitting = async {
        for first in (0..messages).step_by(PAGE as usize) {
            if let Some(pace) = pace {
                tokio::time::sleep_until((start + Duration::from_secs(1) * first / pace).into()).await;
            }
            let now = clock.now();
            let uids: Vec<String> =
                (first..messages.min(first + PAGE)).map(|n| format!("{run}-{n}")).collect();
            let taken = uids.iter().map(|uid| admitted(uid, "crm", now)).collect();
            let admission = Admission { account: "main".into(), messages: taken, ..Admission::default() };
            let config = relay.config();
            relay.courier.take_in(admission, &config, now).await.unwrap();
            relay.owed.notify_one();
            admitted_at.extend(uids.into_iter().map(|uid| (uid, now.as_microsecond())));
        }
    };
    let arriving = async {
        while delivered.get() < goal {
            let _ = ended.changed().await;
        }
    };
    tokio::join!(admitting, arriving);
    let took = start.elapsed();
    let came = seen(receiver).await;
    closing.cancel();
    listening.close();
    listening.wait().await;
    let mut ways: Vec<i64> = admitted_at.iter().map(|(uid, at)| came[uid] - at).collect();
    ways.sort_unstable();
    let at = |percent: usize| {
        f64::from(i32::try_from(ways[(ways.len() * percent).div_ceil(100) - 1]).unwrap()) / 1000.0
    };
    Figures {
        per_second: f64::from(messages) / took.as_secs_f64(),
        p50_ms: at(50),
        p99_ms: at(99),
        told_bytes: told.load(Ordering::Relaxed),
    }
}

/// Follows the feed as a browser does, and counts what it is sent.
async fn listen(console: String, told: Arc<AtomicU64>, closing: CancellationToken) {
    let mut stream = TcpStream::connect(&console).await.unwrap();
    let request =
        format!("GET /feed/events HTTP/1.1\r\nHost: {console}\r\nAccept: text/event-stream\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut chunk = vec![0; 64 * 1024];
    loop {
        let read = tokio::select! {
            read = stream.read(&mut chunk) => read.unwrap(),
            () = closing.cancelled() => return,
        };
        assert!(read > 0, "the feed ended by itself");
        told.fetch_add(u64::try_from(read).unwrap(), Ordering::Relaxed);
    }
}
