//! How fast deliveries go from admission to a receiver in another process, beside what the parts alone can do in the
//! same run, and how long a message takes at a steady pace.
//!
//! Each arm is a process of its own, so that its CPU time and its peak memory are its own. The PostgreSQL arm runs where
//! `PIPELINE_POSTGRES` names a database for it alone. `PIPELINE_DELIVERIES` sets how many each arm sends. With the
//! argument `neighbours`, it measures instead what one dead target costs the others, with `claims` what a claim costs in a long queue.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    reason = "a measurement that cannot be made ends; its figures are printed"
)]

mod arms;
#[path = "../bed/mod.rs"]
mod bed;
mod claims;
mod neighbours;

use std::process::{Command, Stdio};

use arms::Figures;
use bed::receiver;

/// As in the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    rustls::crypto::aws_lc_rs::default_provider().install_default().unwrap();
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    match arguments.next().as_deref() {
        Some("receiver") => runtime.block_on(receiver::serve()),
        Some("arm") => {
            let rest: Vec<String> = arguments.collect();
            runtime.block_on(arms::run(&rest));
        }
        Some("neighbours") => {
            neighbours::compare(&stores(), |arm, store| output(&["arm", arm, &emptied(store)]));
        }
        Some("claims") => runtime.block_on(claims::compare(&stores(), anew)),
        _ => compare(),
    }
}

/// Runs all arms, one after the other, twice; prints the better of each: what else the machine does only slows.
fn compare() {
    let postgres = std::env::var("PIPELINE_POSTGRES").ok();
    let mut arms = vec![
        ("posts alone (ceiling)", "posts", String::new()),
        ("posts, one full commit of 64 rows per 64 (durable ceiling)", "durable", sqlite()),
        ("deliveries, SQLite", "deliver", sqlite()),
        ("from the API, SQLite", "poll", sqlite()),
    ];
    match &postgres {
        Some(url) => arms.push(("deliveries, PostgreSQL", "deliver", url.clone())),
        None => println!("no PostgreSQL arm: PIPELINE_POSTGRES names no database"),
    }
    let mut best: Vec<Option<Figures>> = arms.iter().map(|_| None).collect();
    for _round in 0..2 {
        for ((_, arm, store), best) in arms.iter().zip(&mut best) {
            let figures = measure(arm, store);
            if best.as_ref().is_none_or(|best| figures.per_second > best.per_second) {
                *best = Some(figures);
            }
        }
    }
    println!(
        "{:<58} {:>9} {:>11} {:>11} {:>12} {:>12} {:>9}",
        "", "per s", "CPU s/1000", "of server", "stmts each", "commits each", "peak MiB"
    );
    let durable = best[1].as_ref().map_or(1.0, |figures| figures.per_second);
    for ((name, ..), figures) in arms.iter().zip(&best) {
        let Figures { per_second, cpu_seconds, server_cpu_seconds, statements, commits, peak_mib } =
            figures.as_ref().unwrap();
        println!(
            "{name:<58} {per_second:>9.0} {cpu_seconds:>11.3} {server_cpu_seconds:>11.3} {statements:>12.2} {commits:>12.3} {peak_mib:>9.1}   {:>4.0} % of the durable ceiling",
            100.0 * per_second / durable
        );
    }
    for (name, store) in stores() {
        println!("{name}: {}", output(&["arm", "latency", &emptied(&store)]).trim());
    }
}

fn stores() -> Vec<(&'static str, String)> {
    let postgres = std::env::var("PIPELINE_POSTGRES").ok().map(|url| ("PostgreSQL", url));
    std::iter::once(("SQLite", sqlite())).chain(postgres).collect()
}

/// A round begins with an empty store: another file, or the database's schema made anew. (Posts alone have none.)
async fn anew(store: &str) -> String {
    if !store.starts_with("postgres") {
        return sqlite();
    }
    let (client, connection) = tokio_postgres::connect(store, tokio_postgres::NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    client.batch_execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public").await.unwrap();
    drop(client);
    connection.await.unwrap().unwrap();
    store.to_owned()
}

/// The same, of an arm's own process.
fn emptied(store: &str) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(anew(store))
}

/// A file of its own for each arm; the folder stays until the process ends.
fn sqlite() -> String {
    let folder = tempfile::tempdir().unwrap().keep();
    format!("sqlite://{}", folder.join("relay.db").display())
}

fn measure(arm: &str, store: &str) -> Figures {
    Figures::parse(&output(&["arm", arm, &emptied(store)]))
}

fn output(arguments: &[&str]) -> String {
    let (mut receiver, address) = receiver::start();
    let mut command = Command::new(std::env::current_exe().unwrap());
    let output = command.args(arguments).arg(address).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "{arguments:?} failed");
    drop(receiver.stdin.take());
    receiver.wait().unwrap();
    String::from_utf8(output.stdout).unwrap()
}
