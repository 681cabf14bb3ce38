//! What is SQLite's own: the lock of the one daemon, restarts, the schema's history, the file itself.

use activity_relay::store::{Mode, Store, StoreError};
use rusqlite::Connection;
use tempfile::TempDir;

use super::store_good::what_comes_after_an_upgrade_is_made_good;
use super::store_kit::{at, claim, owe};

struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn url(&self) -> String {
        format!("sqlite://{}", self.folder.path().join("relay.db").display())
    }

    async fn open(&self, mode: Mode) -> Result<Store, StoreError> {
        Store::open(&self.url(), mode).await
    }

    fn database(&self) -> Connection {
        Connection::open(self.folder.path().join("relay.db")).unwrap()
    }

    fn sql(&self, sql: &str) {
        self.database().execute_batch(sql).unwrap();
    }
}

#[tokio::test]
async fn the_file_and_what_is_beside_it_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let store = place.open(Mode::Daemon).await.unwrap();
    owe(&store, "desk", &["m1"]).await;
    for name in ["relay.db", "relay.db-wal", "relay.db-shm"] {
        let rights = std::fs::metadata(place.folder.path().join(name)).unwrap().permissions().mode();
        assert_eq!(rights & 0o777, 0o600, "{name}");
    }
}

#[tokio::test]
async fn a_second_daemon_is_refused_and_tools_are_not() {
    let place = Place::new();
    let first = place.open(Mode::Daemon).await.unwrap();
    let error = place.open(Mode::Daemon).await.unwrap_err();
    assert!(matches!(&error, StoreError::InUse(path) if path.ends_with("relay.db")), "{error}");
    owe(&first, "desk", &["m1"]).await;
    let tool = place.open(Mode::Tool).await.unwrap();
    assert_eq!(tool.counts(None).await.unwrap().pending, 1);
    tool.pause_target("desk", true, "by hand").await.unwrap();
    assert!(claim(&first, "desk", 1, at(0)).await.is_empty());
    drop(first);
    place.open(Mode::Daemon).await.expect("the lock goes with its holder");
}

#[tokio::test]
async fn tools_may_come_before_the_first_run() {
    let place = Place::new();
    let tool = place.open(Mode::Tool).await.unwrap();
    assert!(tool.accounts().await.unwrap().is_empty());
    place.open(Mode::Daemon).await.unwrap().ping().await.unwrap();
}

#[tokio::test]
async fn a_restart_takes_every_lease_back_at_once() {
    let place = Place::new();
    let store = place.open(Mode::Daemon).await.unwrap();
    owe(&store, "desk", &["m1", "m2"]).await;
    let held = claim(&store, "desk", 1, at(3)).await.remove(0);
    let tool = place.open(Mode::Tool).await.unwrap();
    assert_eq!(tool.counts(None).await.unwrap().sending, 1, "a tool takes nothing");
    drop((store, tool));
    let store = place.open(Mode::Daemon).await.unwrap();
    let jobs = claim(&store, "desk", 9, at(4)).await;
    assert_eq!(jobs[0].claim.id, held.claim.id, "before what came later");
    assert_eq!((jobs.len(), jobs[0].claim.starts, jobs[0].claim.attempts), (2, 2, 0));
    let detail = store.delivery(&held.claim.id).await.unwrap().unwrap();
    assert!(detail.row.maybe_duplicate);
    assert_eq!((detail.history[0].outcome.as_str(), detail.history[0].at), ("lost", at(3)));
    drop(store);
    let store = place.open(Mode::Daemon).await.unwrap();
    drop(store);
}

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let place = Place::new();
    let store = place.open(Mode::Daemon).await.unwrap();
    owe(&store, "desk", &["m1"]).await;
    drop(store);
    let store = place.open(Mode::Daemon).await.unwrap();
    assert_eq!(claim(&store, "desk", 9, at(0)).await.len(), 1);
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_left_alone() {
    let place = Place::new();
    drop(place.open(Mode::Daemon).await.unwrap());
    place.sql("INSERT INTO migrations VALUES (99, 'future', 'x')");
    let error = place.open(Mode::Daemon).await.unwrap_err();
    assert!(matches!(error, StoreError::TooNew { found: 99, known: 9, .. }), "{error}");
    let error = place.open(Mode::Tool).await.unwrap_err();
    assert!(matches!(error, StoreError::TooNew { .. }), "{error}");
}

/// The schema as first released, with a pending delivery, as `fixtures/store-1.sql` keeps it for ever.
#[tokio::test]
async fn an_old_database_opens_with_its_pending_deliveries() {
    let place = Place::new();
    place.sql(include_str!("../fixtures/store-1.sql"));
    let store = place.open(Mode::Daemon).await.unwrap();
    let jobs = claim(&store, "desk", 9, at(0)).await;
    assert_eq!(jobs.len(), 1);
    assert_eq!(jobs[0].messages[0].uid, "m1");
    what_comes_after_an_upgrade_is_made_good(store).await;
}

#[tokio::test]
async fn another_program_s_database_is_not_touched() {
    let place = Place::new();
    place.sql("CREATE TABLE recipes (name TEXT)");
    let error = place.open(Mode::Daemon).await.unwrap_err().to_string();
    assert!(error.contains("another program") && error.contains("relay.db"), "{error}");
}

#[tokio::test]
async fn what_is_no_database_is_named() {
    let place = Place::new();
    std::fs::write(place.folder.path().join("relay.db"), "this is no database, it is a text file".repeat(99))
        .unwrap();
    let error = place.open(Mode::Daemon).await.unwrap_err().to_string();
    assert!(error.contains("relay.db") && error.contains("not a database"), "{error}");
}

#[tokio::test]
async fn a_missing_folder_is_named() {
    let place = Place::new();
    let url = format!("sqlite://{}/missing/relay.db", place.folder.path().display());
    let error = Store::open(&url, Mode::Tool).await.unwrap_err();
    assert!(error.to_string().contains("/missing does not exist"), "{error}");
}

#[tokio::test]
async fn writes_that_wait_together_share_commits() {
    let place = Place::new();
    let store = place.open(Mode::Daemon).await.unwrap();
    let before = store.commits();
    // Nothing is written before all of them wait.
    let locker = place.database();
    locker.execute_batch("BEGIN IMMEDIATE").unwrap();
    let writes = futures_util::future::join_all((0..200).map(|_| store.ping()));
    let free = async { locker.execute_batch("ROLLBACK").unwrap() };
    let (results, ()) = tokio::join!(biased; writes, free);
    for result in results {
        result.unwrap();
    }
    let commits = store.commits() - before;
    assert!(commits <= 20, "200 writes took {commits} commits");
}
