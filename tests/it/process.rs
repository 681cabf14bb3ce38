//! The program itself, as a process: how it starts, stops and ends.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use activity_relay::sandbox::script::{Fault, slow, status};

use crate::stage::{RULES, Stage};
use crate::world::PATIENCE;

fn exists(folder: &Path, name: &str) -> bool {
    folder.join(name).exists()
}

#[tokio::test]
async fn a_stop_finishes_what_is_under_way_and_exits_0() {
    let stage = Stage::new().await;
    let answer = slow(Duration::from_millis(1_500));
    stage.sandbox.http.fault(Fault { on: String::new(), times: None, answer });
    stage.receive(3);
    let mut running = stage.start("run --listen none");
    stage.sandbox.http.wait_for(3, PATIENCE).await.unwrap();
    running.signal("TERM");
    assert_eq!(running.ended().await.code(), Some(0), "{}", stage.logged());
    let list = stage.output("deliveries list --format json").await;
    let rows = String::from_utf8(list.stdout).unwrap();
    assert_eq!(rows.matches(r#""state":"delivered""#).count(), 3, "{rows}");
    assert!(!rows.contains(r#""maybe_duplicate":true"#), "{rows}");
}

#[tokio::test]
async fn a_log_that_cannot_be_written_holds_up_nothing() {
    let stage = Stage::new().await;
    stage.receive(3);
    let mut command = Command::new("sh");
    let program = env!("CARGO_BIN_EXE_activity-relay");
    command.args(["-c", "exec \"$0\" run --listen none 2>/dev/full", program]);
    stage.prepare(&mut command);
    let mut running = stage.launch(command);
    stage.sandbox.http.wait_for(3, PATIENCE).await.unwrap();
    stage.receive(3);
    stage.sandbox.http.wait_for(6, PATIENCE).await.unwrap();
    running.signal("TERM");
    assert_eq!(running.ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once_and_nothing_is_lost() {
    let stage = Stage::with(&RULES.replace("body: event,", "body: event, timeout: 10m,")).await;
    // Far longer than anybody waits here for the end.
    stage.sandbox.http.fault(Fault {
        on: String::new(),
        times: Some(1),
        answer: slow(Duration::from_mins(10)),
    });
    stage.receive(1);
    let mut running = stage.start("run --listen none --grace 10m");
    stage.sandbox.http.wait_for(1, PATIENCE).await.unwrap();
    running.signal("TERM");
    stage.until_logged(&running, "stopping").await;
    running.signal("INT");
    assert!(!running.ended().await.success());
    let again = stage.output("run --once").await;
    assert_eq!(again.status.code(), Some(0), "{}", stage.logged());
    assert_eq!((stage.sandbox.http.received().len(), stage.sandbox.http.duplicates()), (2, 1));
}

#[tokio::test]
async fn a_second_run_on_the_same_store_is_refused_with_69() {
    let stage = Stage::new().await;
    stage.receive(1);
    let mut running = stage.start("run --listen none");
    stage.sandbox.http.wait_for(1, PATIENCE).await.unwrap();
    let second = stage.output("run --listen none").await;
    assert_eq!(second.status.code(), Some(69));
    assert!(stage.logged().contains("in use by another running relay"), "{}", stage.logged());
    assert_eq!(stage.output("status").await.status.code(), Some(0), "tools work beside it");
    running.signal("INT");
    assert_eq!(running.ended().await.code(), Some(0));
}

#[tokio::test]
async fn one_round_says_how_it_went() {
    let stage = Stage::new().await;
    stage.receive(30);
    assert_eq!(stage.output("run --once").await.status.code(), Some(0), "{}", stage.logged());
    assert_eq!(stage.sandbox.http.received().len(), 30);
    stage.receive(1);
    stage.sandbox.http.answers([status(302)]);
    assert_eq!(stage.output("run --once").await.status.code(), Some(1), "a delivery died");
    stage.sandbox.business.answers([status(500)]);
    assert_eq!(stage.output("run --once").await.status.code(), Some(1), "the poll failed");
    assert_eq!(stage.output("run --once").await.status.code(), Some(0));
}

#[tokio::test]
async fn a_dry_run_writes_and_sends_nothing() {
    let stage = Stage::new().await;
    stage.receive(2);
    let told = stage.output("run --dry-run --format json").await;
    assert_eq!(told.status.code(), Some(0), "{}", stage.logged());
    assert_eq!(String::from_utf8(told.stdout).unwrap().lines().count(), 2);
    assert!(stage.sandbox.http.arrivals().is_empty());
    assert!(!exists(stage.folder.path(), "relay.db"), "no store is left behind");
}

#[tokio::test]
async fn bad_rules_end_it_with_64() {
    let stage = Stage::new().await;
    std::fs::write(stage.folder.path().join("rules.yaml"), RULES.replace("targets:", "tragets:")).unwrap();
    assert_eq!(stage.output("run").await.status.code(), Some(64));
    assert!(stage.logged().contains("targets"), "{}", stage.logged());
    assert!(!exists(stage.folder.path(), "relay.db"));
}

#[tokio::test]
async fn an_address_to_listen_on_that_is_none_is_told_how_to_write_it() {
    let stage = Stage::new().await;
    for (wrong, words) in [
        (":8787", "127.0.0.1:8787 for this machine alone, 0.0.0.0:8787 for all networks"),
        ("localhost", "an address and a port are meant"),
        ("localhost:http", "an address and a port are meant"),
        ("127.0.0.1", "an address and a port are meant"),
    ] {
        let said = stage.output(&format!("run --listen {wrong}")).await;
        let stderr = String::from_utf8(said.stderr).unwrap();
        assert_eq!((said.status.code(), stderr.contains(words)), (Some(2), true), "{wrong}: {stderr}");
    }
}

#[tokio::test]
async fn health_is_served_while_it_runs() {
    let stage = Stage::new().await;
    stage.receive(1);
    // A name of this machine will do.
    let mut running = stage.start("run --listen localhost:0");
    let address = stage.address_of(&running).await;
    stage.sandbox.http.wait_for(1, PATIENCE).await.unwrap();
    for (path, words) in [("livez", "ok"), ("readyz", "ok"), ("metrics", "# EOF")] {
        let (code, said) = stage.health(&format!("http://{address}/{path}")).await;
        assert_eq!(code, 0, "{path}: {said}");
        // `health` reads the beginning of an answer only.
        assert!(path == "metrics" || said.contains(words), "{path}: {said}");
    }
    running.signal("TERM");
    assert_eq!(running.ended().await.code(), Some(0));
    assert_eq!(stage.health(&format!("http://{address}/readyz")).await.0, 1);
}
