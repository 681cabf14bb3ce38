//! What is PostgreSQL's own: restarts and cut connections, the schema's history, several instances at once.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::process::Command;
use std::sync::Arc;

use activity_relay::model::delivery::State;
use activity_relay::model::settle::TargetChange;
use activity_relay::store::{Filter, Mode, Picked, Store, StoreError, Want};

use super::postgres::{Cluster, shared};
use super::store_good::what_comes_after_an_upgrade_is_made_good;
use super::store_kit::{admitted, at, claim, claim_one, end, owe, page, planned, settlement, uids, want};
use super::target_server::Server;
use super::world::PATIENCE;

/// The schema's number that this program knows.
const KNOWN: u32 = 9;

async fn open(url: &str) -> Result<Store, StoreError> {
    Store::open(url, Mode::Daemon).await
}

/// A store in a new database of the shared server, and the database's name.
async fn fresh() -> Option<(&'static Cluster, String, Store)> {
    let cluster = shared()?;
    let name = cluster.database().await;
    let store = open(&cluster.url(&name)).await.unwrap();
    Some((cluster, name, store))
}

#[tokio::test]
async fn cut_connections_are_replaced_unnoticed() {
    let Some((cluster, name, store)) = fresh().await else { return };
    owe(&store, "desk", &["a", "b"]).await;
    let job = claim_one(&store, "desk", at(0)).await;
    assert!(cluster.cut(&name).await > 0);
    assert!(end(&store, job, State::Delivered { at: at(1) }, TargetChange::Healthy, at(1)).await);
    assert!(cluster.cut(&name).await > 0);
    assert_eq!(uids(&claim(&store, "desk", 9, at(1)).await), ["b"]);
    assert!(cluster.cut(&name).await > 0);
    assert_eq!(store.counts(None).await.unwrap().delivered, 1);
}

#[tokio::test]
async fn who_waited_for_anothers_replay_sees_it() {
    let Some((cluster, name, store)) = fresh().await else { return };
    owe(&store, "desk", &["a", "b"]).await;
    for job in claim(&store, "desk", 2, at(0)).await {
        let dead = State::Dead { at: at(1), why: "refused".into() };
        assert!(end(&store, job, dead, TargetChange::None, at(1)).await);
    }
    let rows = store.deliveries(Filter::default()).await.unwrap().0;
    let seen: Vec<Picked> = rows.iter().map(Picked::from).collect();
    let client = cluster.connect(&name).await;
    client.batch_execute("BEGIN; SELECT 1 FROM deliveries FOR UPDATE").await.unwrap();
    let both_wait = async {
        let watch = cluster.connect(&name).await;
        let sql = "SELECT count(*) FROM pg_stat_activity
                   WHERE datname = current_database() AND wait_event_type = 'Lock'";
        while watch.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) < 2 {}
        client.batch_execute("COMMIT").await.unwrap();
    };
    let both_wait = tokio::time::timeout(PATIENCE, both_wait);
    let (one, other, waited) =
        tokio::join!(store.replay(&seen, at(2)), store.replay(&seen, at(2)), both_wait);
    waited.expect("both wait for the rows");
    let (one, other) = (one.unwrap().len(), other.unwrap().len());
    assert_eq!((one.max(other), one.min(other)), (2, 0));
}

#[tokio::test]
async fn after_a_trouble_others_write_down_what_they_sent_before_anything_is_taken_back() {
    let Some((cluster, name, store)) = fresh().await else { return };
    let other = open(&cluster.url(&name)).await.unwrap();
    owe(&store, "desk", &["a", "b"]).await;
    let sent = claim_one(&other, "desk", at(0)).await;
    let lost = claim_one(&other, "desk", at(0)).await;
    store.came_back(at(100));
    assert!(claim(&store, "desk", 9, at(100)).await.is_empty());
    assert!(end(&other, sent, State::Delivered { at: at(60) }, TargetChange::Healthy, at(101)).await);
    assert!(claim(&store, "desk", 9, at(109)).await.is_empty());
    let again = claim(&store, "desk", 9, at(110)).await;
    assert_eq!((again.len(), &again[0].claim.id), (1, &lost.claim.id));
}

#[tokio::test]
async fn a_server_that_stops_is_trouble_until_it_is_back() {
    let Some(cluster) = Cluster::start(&[]) else { return };
    let name = cluster.database().await;
    let store = open(&cluster.url(&name)).await.unwrap();
    owe(&store, "desk", &["a", "b"]).await;
    let job = claim_one(&store, "desk", at(0)).await;
    cluster.stop_at_once();
    let error = store.ping().await.unwrap_err();
    assert!(matches!(&error, StoreError::Trouble(text) if text.contains("database t0")), "{error}");
    let settlement = Arc::new(settlement(job, State::Delivered { at: at(1) }, TargetChange::Healthy, at(1)));
    assert!(store.settle(vec![settlement.clone()], at(1)).await.is_err());
    cluster.start_again();
    assert_eq!(store.settle(vec![settlement], at(2)).await.unwrap(), [true], "what was answered is there");
    cluster.stop();
    cluster.start_again();
    assert_eq!(uids(&claim(&store, "desk", 9, at(2)).await), ["b"], "not even noticed");
}

#[tokio::test]
async fn a_start_without_a_server_says_where_it_should_be() {
    let Some((cluster, _, _)) = fresh().await else { return };
    let port = cluster.port();
    let missing = format!("postgres://postgres:hunter2@127.0.0.1:{port}/nowhere");
    let error = open(&missing).await.unwrap_err();
    assert!(
        matches!(&error, StoreError::Unavailable(text) if text.contains("\"nowhere\" does not exist")
        && text.contains("create it")),
        "{error}"
    );
    let error = open("postgres://ann:hunter2@127.0.0.1:1/relay").await.unwrap_err().to_string();
    assert!(error.contains("127.0.0.1:1, database relay") && error.contains("refused"), "{error}");
    assert!(!error.contains("hunter2"), "{error}");
    let error = open("postgres://ann@no-such-host.invalid/relay").await.unwrap_err().to_string();
    assert!(error.contains("no-such-host.invalid"), "{error}");
}

/// Why it cannot be opened, which is not that nothing answers there.
async fn refusal(url: &str) -> String {
    let error = open(url).await.unwrap_err().to_string();
    assert!(!error.contains("the server up?") && !error.contains("hunter2"), "{error}");
    error
}

#[tokio::test]
async fn a_password_that_is_asked_for_and_missing_is_told_as_such() {
    let cluster = Cluster::prepared(|data| {
        data.put("pg_hba.conf", "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n");
        String::new()
    });
    let Some(cluster) = cluster else { return };
    let error = refusal(&format!("postgres://postgres@127.0.0.1:{}/postgres", cluster.port())).await;
    assert!(
        error.contains("password missing; the server asks for one")
            && error.contains("postgres://USER:PASSWORD@"),
        "{error}"
    );
}

#[tokio::test]
async fn a_database_that_takes_no_writes_is_told_as_such() {
    let Some(cluster) = shared() else { return };
    let name = cluster.database().await;
    let sql = format!("ALTER DATABASE {name} SET default_transaction_read_only = on");
    cluster.connect(&name).await.batch_execute(&sql).await.unwrap();
    let error = refusal(&cluster.url(&name)).await;
    assert!(error.contains("read-only") && error.contains("default_transaction_read_only"), "{error}");
}

#[tokio::test]
async fn a_port_of_another_server_is_told_as_such() {
    // The second begins as a PostgreSQL server does that agrees to TLS.
    for greeting in ["HTTP/1.1 400 Bad Request\r\n\r\n", "SSH-2.0-OpenSSH_9.9\r\n"] {
        let server = Server::raw("127.0.0.1:0", move |mut stream, _| {
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(greeting.as_bytes());
            // Whoever closes with something unread resets the connection, and with it what was said.
            let _ = stream.shutdown(Shutdown::Write);
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        });
        let error = refusal(&format!("postgres://ann:hunter2@{}/relay", server.address)).await;
        assert!(error.contains("do host and port in --store lead to a PostgreSQL server?"), "{error}");
    }
}

#[tokio::test]
async fn a_server_without_a_connection_left_is_told_as_such() {
    let Some(cluster) = Cluster::start(&[("max_connections", "4")]) else { return };
    let only = cluster.connect("postgres").await;
    only.batch_execute("CREATE ROLE relay LOGIN").await.unwrap();
    let url = cluster.url("postgres").replace("postgres@", "relay@");
    let error = refusal(&url).await;
    assert!(error.contains("raise max_connections or run fewer instances"), "{error}");
    assert!(error.contains("with --url"), "{error}");
}

#[tokio::test]
async fn instances_that_start_together_make_the_schema_once() {
    let Some(cluster) = shared() else { return };
    let url = cluster.url(&cluster.database().await);
    let stores = futures_util::future::join_all((0..6).map(|_| open(&url))).await;
    let names: HashSet<String> =
        stores.into_iter().map(|store| store.unwrap().instance().to_owned()).collect();
    assert_eq!(names.len(), 6);
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_left_alone() {
    let Some((cluster, name, _)) = fresh().await else { return };
    let sql = "INSERT INTO migrations VALUES (99, 'future', 'x')";
    cluster.connect(&name).await.batch_execute(sql).await.unwrap();
    let error = open(&cluster.url(&name)).await.unwrap_err();
    assert!(matches!(error, StoreError::TooNew { found: 99, known: KNOWN, .. }), "{error}");
    let words = error.to_string();
    assert!(words.contains(&format!("database {name} was written by a newer version")), "{words}");
    assert!(words.contains("use the newer program, or a copy of the store"), "{words}");
}

/// The schema as first released, with a pending delivery, as `fixtures/store-1-postgres.sql` keeps it for ever.
#[tokio::test]
async fn an_old_database_opens_with_its_pending_deliveries() {
    let Some(cluster) = shared() else { return };
    let name = cluster.database().await;
    let old = include_str!("../fixtures/store-1-postgres.sql");
    cluster.connect(&name).await.batch_execute(old).await.unwrap();
    let store = open(&cluster.url(&name)).await.unwrap();
    let jobs = claim(&store, "desk", 9, at(0)).await;
    assert_eq!(uids(&jobs), ["m1"]);
    assert_eq!(store.counts(None).await.unwrap().sending, 1);
    what_comes_after_an_upgrade_is_made_good(store).await;
}

#[tokio::test]
async fn a_migration_that_fails_leaves_the_old_schema() {
    let Some(cluster) = shared() else { return };
    let name = cluster.database().await;
    let client = cluster.connect(&name).await;
    // Something in the way of the last statements of the first step, and no table of ours.
    client
        .batch_execute("CREATE FUNCTION deliveries_uncounted() RETURNS integer LANGUAGE sql AS 'SELECT 1'")
        .await
        .unwrap();
    assert!(open(&cluster.url(&name)).await.is_err());
    let row =
        client.query_one("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'", &[]).await.unwrap();
    assert_eq!(row.get::<_, i64>(0), 0);
}

#[tokio::test]
async fn another_program_s_tables_are_not_touched() {
    let Some(cluster) = shared() else { return };
    let name = cluster.database().await;
    let client = cluster.connect(&name).await;
    client
        .batch_execute(
            "CREATE TABLE messages (n integer); CREATE TABLE migrations (id integer, batch integer);
           CREATE SCHEMA relay",
        )
        .await
        .unwrap();
    let error = open(&cluster.url(&name)).await.unwrap_err().to_string();
    assert!(error.contains("another program keeps its") && error.contains("search_path"), "{error}");
    let beside = format!("{}&options=-c%20search_path%3Drelay", cluster.url(&name));
    let store = open(&beside).await.unwrap();
    owe(&store, "desk", &["a"]).await;
    let row = client.query_one("SELECT count(*) FROM relay.deliveries", &[]).await.unwrap();
    assert_eq!(row.get::<_, i64>(0), 1);
}

#[tokio::test]
async fn a_server_that_cannot_hold_a_store_is_refused() {
    let Some(cluster) = shared() else { return };
    let client = cluster.connect("postgres").await;
    client.batch_execute("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0").await.unwrap();
    let error = open(&cluster.url("latin")).await.unwrap_err().to_string();
    assert!(error.contains("LATIN1") && error.contains("UTF8"), "{error}");
    client.batch_execute("CREATE DATABASE standby").await.unwrap();
    client.batch_execute("ALTER DATABASE standby SET default_transaction_read_only = on").await.unwrap();
    let error = open(&cluster.url("standby")).await.unwrap_err().to_string();
    assert!(error.contains("does not allow writes"), "{error}");
}

#[tokio::test]
async fn what_a_text_column_cannot_hold_is_kept_all_the_same() {
    let Some((_, _, store)) = fresh().await else { return };
    let mut odd = admitted("m1", vec![planned("desk", "m1", at(0))]);
    odd.message.body = "nul \0 and \u{10ffff}".to_owned();
    odd.message.triple.message_type = "odd\0type".to_owned();
    let sent = odd.message.clone();
    store.admit(page(vec![odd]), at(0)).await.unwrap();
    let job = claim_one(&store, "desk", at(0)).await;
    assert_eq!(job.messages, [sent]);
    let mut ended = settlement(job, State::Delivered { at: at(1) }, TargetChange::Healthy, at(1));
    ended.attempt.answer = Some("ok\0".to_owned());
    assert_eq!(store.settle(vec![ended.into()], at(1)).await.unwrap(), [true]);
    store.polled("main", Err("bad\0answer".to_owned()), at(1)).await.unwrap();
    assert_eq!(store.triples().await.unwrap()[0].0.message_type, "odd\u{fffd}type");
}

/// Two instances at everything at once: nothing is claimed twice, no target gets more than its concurrency, and nobody
/// stands in another's way for good.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[expect(clippy::disallowed_methods, reason = "all tasks are waited for")]
async fn instances_share_the_work_without_a_deadlock() {
    let Some((cluster, name, first)) = fresh().await else { return };
    let url = cluster.url(&name);
    let stores = [first, open(&url).await.unwrap(), open(&url).await.unwrap()];
    let targets = ["a", "b", "c", "d"];
    let work = stores.iter().enumerate().map(|(index, store)| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut sent = Vec::new();
            let mut idle = 0;
            for round in 0..2_000 {
                if round < 40 {
                    let uid = format!("{index}-{round}");
                    let owed = targets.iter().map(|target| planned(target, &uid, at(0))).collect();
                    store.admit(page(vec![admitted(&uid, owed)]), at(0)).await.unwrap();
                }
                let wants: Vec<Want> =
                    targets.iter().map(|name| Want { concurrency: 3, ..want(name, 3) }).collect();
                let jobs = store.claim(wants, at(1)).await.unwrap().jobs;
                idle = if jobs.is_empty() { idle + 1 } else { 0 };
                let mut batch = Vec::new();
                for (place, job) in jobs.into_iter().enumerate() {
                    sent.push((job.claim.id.clone(), job.claim.starts));
                    let change = if place % 2 == 0 {
                        TargetChange::Healthy
                    } else {
                        TargetChange::Failing { rest_until: None }
                    };
                    batch.push(Arc::new(settlement(job, State::Delivered { at: at(1) }, change, at(1))));
                }
                assert!(store.settle(batch, at(1)).await.unwrap().into_iter().all(|written| written));
                if round >= 40 && idle > 3 {
                    return sent;
                }
            }
            panic!("the work does not end");
        })
    });
    let mut all = Vec::new();
    for sent in futures_util::future::join_all(work).await {
        all.extend(sent.unwrap());
    }
    let distinct: HashSet<_> = all.iter().collect();
    assert_eq!((all.len(), distinct.len()), (3 * 40 * targets.len(), 3 * 40 * targets.len()));
    assert_eq!(stores[0].counts(None).await.unwrap().delivered, all.len() as u64);
    let sql = "SELECT deadlocks FROM pg_stat_database WHERE datname = $1";
    let row = cluster.connect("postgres").await.query_one(sql, &[&name]).await.unwrap();
    assert_eq!(row.get::<_, i64>(0), 0);
}

#[tokio::test]
async fn nothing_is_leased_ahead_while_another_instance_has_some() {
    let Some((cluster, name, first)) = fresh().await else { return };
    let other = open(&cluster.url(&name)).await.unwrap();
    let wants = |limit| vec![Want { concurrency: 2, ahead: 2, ..want("desk", limit) }];
    owe(&first, "desk", &["a", "b", "c", "d", "e", "f"]).await;
    let theirs = other.claim(wants(1), at(0)).await.unwrap().jobs.remove(0);
    assert_eq!(first.claim(wants(9), at(0)).await.unwrap().jobs.len(), 1);
    let ended = settlement(theirs, State::Delivered { at: at(1) }, TargetChange::Healthy, at(1));
    assert_eq!(other.settle(vec![ended.into()], at(1)).await.unwrap(), [true]);
    assert_eq!(first.claim(wants(9), at(1)).await.unwrap().jobs.len(), 3);
    assert!(other.claim(wants(9), at(1)).await.unwrap().jobs.is_empty());
}

#[tokio::test]
async fn a_page_and_a_batch_cost_a_handful_of_statements() {
    let Some((_, _, store)) = fresh().await else { return };
    let names: Vec<String> = (0..64).map(|n| format!("m{n}")).collect();
    let cost = || (store.statements(), store.commits());
    let before = cost();
    owe(&store, "desk", &names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let jobs = claim(&store, "desk", 64, at(0)).await;
    assert_eq!(jobs.len(), 64);
    let ends = jobs
        .into_iter()
        .map(|job| Arc::new(settlement(job, State::Delivered { at: at(1) }, TargetChange::Healthy, at(1))));
    assert!(store.settle(ends.collect(), at(1)).await.unwrap().into_iter().all(|written| written));
    let after = cost();
    let (statements, commits) = (after.0 - before.0, after.1 - before.1);
    assert!(
        statements < 20 && commits == 3,
        "64 deliveries took {statements} statements and {commits} commits"
    );
}

#[tokio::test]
async fn the_command_line_takes_it_and_keeps_its_password_to_itself() {
    let Some((cluster, name, store)) = fresh().await else { return };
    owe(&store, "desk", &["a"]).await;
    let port = cluster.port();
    let said = |database: &str, args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_activity-relay"));
        command.env("RELAY_STORE", format!("postgres://postgres:hunter2@127.0.0.1:{port}/{database}"));
        let done = command.args(args).output().unwrap();
        let text =
            String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
        assert!(!text.contains("hunter2"), "{text}");
        (done.status.code(), text)
    };
    let (code, text) = said(&name, &["deliveries", "list", "--format", "json"]);
    assert!(code == Some(0) && text.contains("\"desk\""), "{text}");
    let (code, text) = said(&name, &["deliveries", "discard", "--state", "pending"]);
    assert_eq!((code, store.counts(None).await.unwrap().discarded), (Some(0), 1), "{text}");
    let (code, text) = said("nowhere", &["status"]);
    assert!(code == Some(69) && text.contains("\"nowhere\" does not exist"), "{text}");
}

#[tokio::test]
async fn every_session_is_told_how_patient_to_be() {
    let Some((cluster, name, store)) = fresh().await else { return };
    let sql = format!("ALTER DATABASE {name} SET synchronous_commit = off");
    cluster.connect(&name).await.batch_execute(&sql).await.unwrap();
    cluster.cut(&name).await;
    // A trigger sees what the relay's own session has.
    let client = cluster.connect(&name).await;
    client
        .batch_execute(
            "CREATE TABLE seen AS SELECT name, setting FROM pg_settings WHERE false;
             CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
               INSERT INTO seen SELECT name, setting FROM pg_settings WHERE name IN ('synchronous_commit',
                 'statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout', 'application_name');
               RETURN NEW; END $$;
             CREATE TRIGGER look AFTER UPDATE ON heartbeat FOR EACH ROW EXECUTE FUNCTION look()",
        )
        .await
        .unwrap();
    store.ping().await.unwrap();
    let rows = client.query("SELECT name, setting FROM seen ORDER BY name", &[]).await.unwrap();
    let seen: Vec<(String, String)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let seen: Vec<(&str, &str)> = seen.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(
        seen,
        [
            ("application_name", "activity-relay"),
            ("idle_in_transaction_session_timeout", "5000"),
            ("lock_timeout", "10000"),
            ("statement_timeout", "20000"),
            ("synchronous_commit", "on"),
        ]
    );
}
