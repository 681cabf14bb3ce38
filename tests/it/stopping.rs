//! The program is told to stop while idle, busy and hung, is kept from running twice, and is stopped past its leases.

use std::thread;
use std::time::Duration;

use activity_relay::sandbox::script::{Fault, slow};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::faults::record::record;
use crate::oracle::Tally;
use crate::somebody::somebody;
use crate::stage::{Stage, THREE, THREE_IN_FLIGHT};
use crate::world::PATIENCE;

const MESSAGES: usize = 12;
const OWED: usize = 3 * MESSAGES;
/// Time for a lease to run out before the answer comes.
const ANSWER: Duration = Duration::from_secs(4);
/// More than a stop lets go out.
const MANY: usize = 100;

#[tokio::test(flavor = "multi_thread")]
async fn told_to_stop_while_idle_it_ends_with_0() {
    let stage = Stage::with(THREE).await;
    stage.receive(MESSAGES);
    let mut tally = Tally::default();
    tally.finish(&stage, stage.start("run --listen none"), OWED).await;
    let idle = stage.start("run --listen none");
    let verdict = tally.finish(&stage, idle, OWED).await;
    let saw = "ended with exit code 0; nothing was under way";
    record("sigterm-idle", "SIGTERM after everything was delivered", &verdict.observed(0, 0, saw));
}

#[tokio::test(flavor = "multi_thread")]
async fn told_to_stop_while_busy_it_finishes_what_is_under_way() {
    let stage = Stage::with(THREE).await;
    stage.receive(MANY);
    let mut running = stage.start("run --listen none");
    let mut tally = Tally::default();
    tally.until(&stage.sandbox, |tally| tally.arrivals() > MESSAGES).await;
    running.signal("TERM");
    assert_eq!(running.ended().await.code(), Some(0), "{}", stage.logged());
    let counts = stage.store().await.counts(None).await.unwrap();
    assert_eq!(counts.sending, 0, "everything under way was settled");
    let verdict = tally.finish(&stage, stage.start("run --listen none"), 3 * MANY).await;
    let saw = "what was under way was finished within the grace; the next run sent the rest, nothing twice";
    record("sigterm-busy", "SIGTERM with hundreds queued", &verdict.observed(0, 0, saw));
}

#[tokio::test(flavor = "multi_thread")]
async fn told_to_stop_while_a_target_hangs_it_waits_no_longer_than_its_grace() {
    let stage = Stage::with(THREE).await;
    stage.sandbox.http.fault(Fault { on: String::new(), times: None, answer: slow(2 * PATIENCE) });
    stage.receive(MESSAGES);
    let mut running = stage.start("run --listen none --grace 200ms");
    stage.sandbox.http.wait_until(PATIENCE, |arrivals| !arrivals.is_empty()).await.unwrap();
    running.signal("TERM");
    stage.until_logged(&running, "the grace period ended").await;
    assert_eq!(running.ended().await.code(), Some(0), "{}", stage.logged());
    stage.sandbox.http.heal();
    let verdict = Tally::default().finish(&stage, stage.start("run --listen none"), OWED).await;
    let saw = "the grace ended, exit code 0; what hung was due at the next start, and marked";
    record(
        "sigterm-hung",
        "SIGTERM while an HTTP target never answers",
        &verdict.observed(0, THREE_IN_FLIGHT, saw),
    );
}

/// Takes a request and never answers it; its address, and word of each request.
fn silent() -> (String, mpsc::UnboundedReceiver<()>) {
    let (asked, requests) = mpsc::unbounded_channel();
    let address = somebody(move |_, _| {
        // Its test may be over.
        let _ = asked.send(());
        loop {
            thread::park();
        }
    });
    (address, requests)
}

#[tokio::test(flavor = "multi_thread")]
async fn told_to_stop_while_it_asks_a_round_asks_no_further_and_ends_with_0() {
    let stage = Stage::new().await;
    for line in ["run --once", "run --dry-run", "run --listen none"] {
        let (api, mut requests) = silent();
        let mut command = stage.command(line);
        command.env("API", api);
        let mut round = stage.launch(command);
        timeout(PATIENCE, requests.recv()).await.expect("it asks").unwrap();
        round.signal("TERM");
        assert_eq!(round.ended().await.code(), Some(0), "{line}: {}", stage.logged());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn told_to_stop_while_it_waits_for_its_store_it_ends_with_0() {
    let stage = Stage::new().await;
    for line in ["run --listen none", "run --once", "run --dry-run"] {
        let database = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("postgres://relay@{}/relay?sslmode=disable", database.local_addr().unwrap());
        let mut waiting = stage.start(&format!("{line} --store {url}"));
        let _connection = timeout(PATIENCE, database.accept()).await.expect("it connects").unwrap();
        waiting.signal("INT");
        assert_eq!(waiting.ended().await.code(), Some(0), "{line}: {}", stage.logged());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn told_to_stop_while_it_delivers_a_round_finishes_what_is_under_way_within_its_grace() {
    let stage = Stage::new().await;
    let answers = |answer| Fault { on: String::new(), times: None, answer };
    stage.sandbox.http.fault(answers(slow(2 * PATIENCE)));
    stage.receive(MESSAGES);
    let begun = async |line: &str| {
        let before = stage.sandbox.http.arrivals().len();
        let round = stage.start(line);
        stage.sandbox.http.wait_until(PATIENCE, |arrivals| arrivals.len() > before).await.unwrap();
        round.signal("TERM");
        round
    };
    let mut hung = begun("run --once --grace 200ms").await;
    stage.until_logged(&hung, "the grace period ended").await;
    assert_eq!(hung.ended().await.code(), Some(0), "{}", stage.logged());

    let mut hung = begun("run --once --grace 60s").await;
    stage.until_logged(&hung, "stopping").await;
    hung.signal("INT");
    assert_eq!(hung.ended().await.code(), Some(143), "a second signal ends it at once");

    stage.sandbox.http.heal();
    stage.sandbox.http.fault(answers(slow(Duration::from_millis(1_500))));
    let mut busy = begun("run --once --grace 60s").await;
    assert_eq!(busy.ended().await.code(), Some(0), "{}", stage.logged());
    let counts = stage.store().await.counts(None).await.unwrap();
    assert!(counts.sending == 0 && counts.delivered > 0, "{counts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_is_kept_from_sending_and_tools_are_not() {
    let stage = Stage::with(THREE).await;
    stage.receive(MESSAGES);
    let first = stage.start("run --listen none");
    stage.sandbox.http.wait_for(1, PATIENCE).await.unwrap();
    for line in ["run --listen none", "run --once"] {
        assert_eq!(stage.output(line).await.status.code(), Some(69), "{line}");
    }
    assert!(stage.logged().contains("in use by another running relay"), "{}", stage.logged());
    for line in ["targets pause crm", "status", "deliveries list", "targets resume crm"] {
        assert_eq!(stage.output(line).await.status.code(), Some(0), "{line}: {}", stage.logged());
    }
    let verdict = Tally::default().finish(&stage, first, OWED).await;
    let saw = "the second was refused with exit code 69 and a reason; tools worked beside the first";
    record("two-processes", "a second `run` on the same database", &verdict.observed(0, 0, saw));
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_past_its_leases_it_writes_nothing_that_is_no_longer_its_own() {
    let stage = Stage::with(THREE).await;
    stage.sandbox.http.fault(Fault { on: String::new(), times: Some(1), answer: slow(ANSWER) });
    stage.receive(MESSAGES);
    let running = stage.start("run --listen none");
    stage.sandbox.http.wait_until(PATIENCE, |arrivals| !arrivals.is_empty()).await.unwrap();
    stage.stand_still(&running).await;
    stage.outlast_leases();
    for line in ["status", "deliveries list"] {
        assert_eq!(stage.output(line).await.status.code(), Some(0), "{line}");
    }
    running.signal("CONT");
    stage.until_logged(&running, "the lease was lost while sending").await;
    let verdict = Tally::default().finish(&stage, running, OWED).await;
    let saw = "its late outcome was rejected, for the lease was no longer its own; what went again is marked";
    let how = "SIGSTOP while an answer is awaited, leases run out, tools at work beside it, SIGCONT";
    record("stopped-past-lease", how, &verdict.observed(0, THREE_IN_FLIGHT, saw));
}
