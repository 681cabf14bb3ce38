//! A database that an older version left behind, with deliveries in it, is brought up to date and delivered.

use crate::faults::record::record;
use crate::oracle::Tally;
use crate::stage::{RULES, Stage};

/// What the first version may have left behind, beside the one delivery of the fixture: one that was being sent, one
/// that waits for another try, and one whose target is parked. All of it is due, whatever the year.
const LEFT: &str = "
INSERT INTO deliveries (id, account, rule, target, template, state, due_at, lease, claimed_at, starts, created_at)
VALUES ('d2', 'main', 'cancellations', 'crm', 'default', 'sending', 1790000030000, 'a1b2', 1790000000000, 1, 1790000000000);
INSERT INTO deliveries (id, account, rule, target, template, state, due_at, attempts, starts, created_at)
VALUES ('d3', 'main', 'cancellations', 'crm', 'default', 'pending', 1790000005000, 1, 1, 1790000000000);
INSERT INTO attempts VALUES (3, 1, 1790000000000, 'retry', 503, 'the server answered 503', 12, NULL);
INSERT INTO deliveries (id, account, rule, target, template, state, due_at, created_at)
VALUES ('d4', 'main', 'cancellations', 'parked', 'default', 'pending', 1790000000000, 1790000000000);
INSERT INTO targets (name, parked_until, probes, reason) VALUES ('parked', 1790000060000, 2, 'no_service');
INSERT INTO delivery_messages VALUES (2, 0, 1), (3, 0, 1), (4, 0, 1);
UPDATE deliveries SET due_at = 1000;
UPDATE targets SET parked_until = 1000;
";
const OWED: usize = 4;

/// The rules of the new version: the old targets are all HTTP here.
fn rules() -> String {
    let target = "{ type: http, url: \"${HTTP}\", allow_private: true, body: event }";
    let crm = RULES.lines().find(|line| line.starts_with("  crm:")).unwrap();
    RULES.replace(crm, &format!("  crm: {target}\n  desk: {target}\n  parked: {target}"))
}

async fn old() -> Stage {
    let stage = Stage::with(&rules()).await;
    stage.database().execute_batch(&format!("{}{LEFT}", include_str!("../fixtures/store-1.sql"))).unwrap();
    stage
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_older_version_owed_is_delivered() {
    let stage = old().await;
    let verdict = Tally::default().finish(&stage, stage.start("run --listen none"), OWED).await;
    assert_eq!(verdict.doubtful, 1, "the one that was being sent");
    let saw =
        "the schema was brought up to date; rows that were pending, being sent and parked were delivered";
    let how = "a database as the first schema left it, with such rows in it";
    record("upgrade", how, &verdict.observed(0, 1, saw));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_that_is_killed_is_done_by_the_next_start() {
    let stage = old().await;
    stage.start_armed("run --listen none", "migrate=kill").killed().await;
    let steps: u32 =
        stage.database().query_row("SELECT max(version) FROM migrations", [], |row| row.get(0)).unwrap();
    assert_eq!(steps, 1, "nothing of it is there");
    let verdict = Tally::default().finish(&stage, stage.start("run --listen none"), OWED).await;
    let saw = "the database was as before; the next start brought it up to date and delivered what was owed";
    let how = "the program sends itself SIGKILL in the upgrade's transaction (failpoint `migrate`)";
    record("kill-migrating", how, &verdict.observed(0, 1, saw));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_database_is_refused_and_left_alone() {
    let stage = old().await;
    stage.database().execute_batch("INSERT INTO migrations VALUES (99, 'future', 'x')").unwrap();
    for line in ["run --listen none", "deliveries list"] {
        let refused = stage.output(line).await;
        let said = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(69), "{said}");
        assert!(said.contains("relay.db was written by a newer version (schema 99, this program"), "{said}");
        assert!(said.contains("use the newer program, or a copy of the store"), "{said}");
    }
    assert!(stage.sandbox.http.arrivals().is_empty());
}
