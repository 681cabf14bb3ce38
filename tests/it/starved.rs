//! A store that cannot be written for a while: full disk, IO errors, failing syncs, somebody else's locks.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::disks::{Backed, Small};
use crate::faults::record::record;
use crate::faults::wire::{Does, Proxy};
use crate::oracle::{Tally, Verdict};
use crate::stage::{ANY, RULES, Running, Stage, THREE, THREE_IN_FLIGHT};
use crate::world::PATIENCE;

/// Messages before, and as many while it lasts.
const MESSAGES: usize = 5;
/// Keeps a limit on the size of files from being deadly: writing fails instead.
const UNHARMED: &str = r#"trap "" XFSZ; exec "$0" "$@""#;

/// With the waits of those who write down what became of attempts, and what the store does about a disk that fails.
const LOG: &str = "info,activity_relay::daemon::scribe=debug,activity_relay::store=debug";
/// The longest of these waits: longer than that of those who claim.
const LONG_WAIT: &str = "wait=4s";

fn in_folder(folder: &Path) -> String {
    format!("sqlite://{}", folder.join("relay.db").display())
}

/// While answers are awaited the relay stands still and `begin` makes the store unwritable. It goes on, says so, and
/// delivers everything when `end` has ended it.
async fn goes_on(
    stage: &Stage,
    begin: impl FnOnce(&Running),
    says: &[&str],
    end: impl FnOnce(&Running),
) -> Verdict {
    let proxy = Proxy::start(Does::Pass);
    proxy.lead(stage.sandbox.http.url());
    let let_go = proxy.holds();
    let mut command = Command::new("sh");
    command.args(["-c", UNHARMED, env!("CARGO_BIN_EXE_activity-relay"), "run", "--listen", ANY]);
    stage.prepare(&mut command);
    command.env("RUST_LOG", LOG).env("HTTP", proxy.url());
    stage.receive(MESSAGES);
    let running = stage.launch(command);
    let address = stage.address_of(&running).await;
    let awaited = stage.sandbox.http.wait_until(PATIENCE, |arrivals| arrivals.len() == MESSAGES);
    awaited.await.unwrap();
    stage.stand_still(&running).await;
    begin(&running);
    let_go();
    stage.receive(MESSAGES);
    running.signal("CONT");
    for words in ["what became of attempts cannot be written down", "the poll failed"].iter().chain(says) {
        stage.until_logged(&running, words).await;
    }
    let ready = stage.output(&format!("health --url http://{address}/readyz")).await;
    assert_eq!(ready.status.code(), Some(1), "it is not ready");
    end(&running);
    stage.until_logged(&running, "polling works again").await;
    Tally::default().finish(stage, running, 2 * MESSAGES).await
}

const SAW: &str =
    "polling stopped, said why and was not ready; what had been sent was noted later, the rest followed";

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_stops_polling_and_ends_by_itself() {
    let Some(disk) = Small::new(8) else { return };
    let stage = Stage::new().await.on(in_folder(disk.path()));
    let says = "the disk is full; free some space";
    let verdict = goes_on(&stage, |_| disk.fill(), &[says], |_| disk.free()).await;
    let how = "a file fills the small filesystem (tmpfs) that the store lies on, while answers are awaited";
    record("disk-full", how, &verdict.observed(0, 0, SAW));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_sent_is_noted_even_if_the_disk_was_full_for_longer_than_a_lease() {
    let Some(disk) = Small::new(8) else { return };
    let stage = Stage::new().await.on(in_folder(disk.path()));
    let begin = |_: &Running| {
        stage.outlast_leases();
        disk.fill();
    };
    let says = ["nothing can be claimed at the moment", LONG_WAIT];
    let verdict = goes_on(&stage, begin, &says, |_| disk.free()).await;
    let how = "the same, and the leases run out meanwhile";
    record("disk-full+past-lease", how, &verdict.observed(0, 0, SAW));
}

/// While syncs fail the kernel, short of memory, forgets pages that it could not write, among them such of SQLite's index of
/// its log: here they are blanked, so that it is no matter of luck.
#[tokio::test(flavor = "multi_thread")]
async fn a_sync_that_fails_is_no_commit() {
    let Some(disk) = Backed::careless() else { return };
    let stage = Stage::new().await.on(in_folder(disk.path()));
    let end = |_: &Running| {
        forget_index(disk.path());
        disk.heal();
    };
    let says = ["disk I/O error", "the store was closed and opened again"];
    let verdict = goes_on(&stage, |_| disk.fail_syncs(), &says, end).await;
    let how = "the store lies on an ext4 in a file whose own filesystem fills up: writes work, fsync fails, and SQLite's \
               index of its log is gone";
    record("db-fsync", how, &verdict.observed(0, 0, SAW));
}

/// Blanks the index of the log behind its header, which SQLite would see to be wrong.
fn forget_index(folder: &Path) {
    let index = OpenOptions::new().write(true).open(folder.join("relay.db-shm")).unwrap();
    let length = index.metadata().unwrap().len();
    let header = 136;
    let rest = usize::try_from(length).unwrap().saturating_sub(header);
    index.write_all_at(&vec![0; rest], u64::try_from(header).unwrap()).unwrap();
}

fn limit(running: &Running, bytes: &str) {
    let pid = running.id();
    let limited = Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={bytes}:")]).status();
    assert!(limited.unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_io_error_is_no_commit() {
    let stage = Stage::new().await;
    let (begin, end) =
        (|running: &Running| limit(running, "0"), |running: &Running| limit(running, "unlimited"));
    let verdict = goes_on(&stage, begin, &["disk I/O error"], end).await;
    let how = "the relay's limit on file sizes (RLIMIT_FSIZE) makes each write of the database fail";
    record("db-fsync+write", how, &verdict.observed(0, 0, SAW));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_somebody_locked_is_written_when_it_is_free() {
    let stage = Stage::new().await;
    let locker = stage.database();
    let begin = |_: &Running| locker.execute_batch("BEGIN IMMEDIATE").unwrap();
    let says = "another program holds the database";
    let verdict = goes_on(&stage, begin, &[says], |_| locker.execute_batch("ROLLBACK").unwrap()).await;
    let how = "another process keeps a write transaction open for longer than the busy time-out";
    record("db-locked", how, &verdict.observed(0, 0, SAW));
}

/// How long somebody else holds the database, and leaves it alone, by turns.
const HELD: Duration = Duration::from_millis(150);
const FREE: Duration = Duration::from_millis(30);

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_database_slows_down_and_loses_nothing() {
    let stage = Stage::with(THREE).await;
    stage.receive(2 * MESSAGES);
    drop(stage.store().await);
    let (stop, stopped) = std::sync::mpsc::channel();
    let locker = stage.database();
    let slowing = thread::spawn(move || {
        while stopped.recv_timeout(FREE).is_err() {
            if locker.execute_batch("BEGIN IMMEDIATE").is_ok() {
                thread::sleep(HELD);
                locker.execute_batch("ROLLBACK").unwrap();
            }
        }
    });
    let running = stage.start("run --listen none");
    let verdict = Tally::default().finish(&stage, running, 3 * 2 * MESSAGES).await;
    stop.send(()).unwrap();
    slowing.join().unwrap();
    let how = "another process holds the write lock most of the time";
    record("db-slow", how, &verdict.observed(0, 0, "everything was delivered once, later"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_turns_read_only_is_said_and_outlived() {
    let Some(disk) = Backed::wary() else { return };
    let stage = Stage::with(THREE).await.on(in_folder(disk.path()));
    stage.receive(MESSAGES);
    let running = stage.start_armed("run --listen none", "settle-before=stop");
    running.stopped().await;
    disk.abort();
    running.signal("CONT");
    stage.until_logged(&running, "what became of attempts cannot be written down").await;
    stage.until_logged(&running, "disk I/O error").await;
    running.kill().await;
    let refused = stage.output("run --listen none").await;
    assert_eq!(refused.status.code(), Some(69), "{}", stage.logged());
    let disk = disk.mended();
    let stage = stage.on(in_folder(disk.path()));
    let verdict = Tally::default().finish(&stage, stage.start("run --listen none"), 3 * MESSAGES).await;
    let how =
        "the kernel gives up the ext4 the store lies on (remount,abort); mended, and the relay started again";
    let saw = "said so; a start was refused while it lasted; sent again afterwards what had not been noted";
    record("db-read-only", how, &verdict.observed(0, THREE_IN_FLIGHT, saw));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_may_not_be_written_is_refused_at_the_start() {
    let Some(disk) = Small::new(8) else { return };
    let stage = Stage::with(RULES).await.on(in_folder(disk.path()));
    drop(stage.store().await);
    disk.read_only();
    let refused = stage.output("run --listen none").await;
    assert_eq!(refused.status.code(), Some(69));
    assert!(stage.logged().contains("Read-only file system"), "{}", stage.logged());
}
