//! What checking a rules file costs with 1,000 and 10,000 rules, beside reading its bytes and beside parsing it alone.
//!
//! `RELAY_BIN` names the program that `check` is asked of; else it is the one that is built with the benchmark, without link-time
//! optimisation.

use std::fmt::Write;
use std::path::PathBuf;
use std::process::Command;

use activity_relay::config;
use activity_relay::config::secret::Environment;
use activity_relay::model::catalog;
use divan::Bencher;

/// As in the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const RULES: [usize; 2] = [1_000, 10_000];

fn main() {
    divan::main();
}

/// Writes a file whose rules take each message type of the catalogue in turn, each fourth with a condition.
#[expect(clippy::unwrap_used, reason = "a benchmark without its file measures nothing")]
fn file(count: usize) -> PathBuf {
    let mut text = String::from(
        "version: 1\naccounts:\n  - { name: main, token: not-a-real-token }\ntargets:\n  \
         desk: { type: slack, webhook_url: \"https://hooks.slack.com/services/T000/B000/x\" }\nrules:\n",
    );
    for (number, entry) in catalog::all().iter().cycle().take(count).enumerate() {
        let (activity, message, direction) = (entry.activity_type, entry.message_type, entry.direction);
        write!(
            text,
            "  - name: rule-{number}\n    match:\n      activity_type: {activity:?}\n      message_type: {message:?}\n      \
             direction: {direction:?}\n    deliver:\n      - to: desk\n"
        )
        .unwrap();
        if number % 4 == 0 {
            writeln!(text, "    where: message.body.contains(\"order {number}\")").unwrap();
        }
    }
    let path = std::env::temp_dir().join(format!("check-bench-{}-{count}.yaml", std::process::id()));
    std::fs::write(&path, text).unwrap();
    path
}

/// The floor: the bytes are read.
#[divan::bench(args = RULES, sample_count = 10)]
fn bytes(bencher: Bencher<'_, '_>, count: usize) {
    let path = file(count);
    bencher.bench_local(|| std::fs::read(&path).map(|bytes| bytes.len()).ok());
}

/// The YAML crate makes a tree of it, without places.
#[divan::bench(args = RULES, sample_count = 10)]
fn parse(bencher: Bencher<'_, '_>, count: usize) {
    let text = std::fs::read_to_string(file(count)).unwrap_or_default();
    bencher.bench_local(|| serde_saphyr::from_str::<serde_json::Value>(&text).is_ok());
}

/// Everything but rendering: the tree with places, names, conditions, what rules do to each other.
#[divan::bench(args = RULES, sample_count = 10)]
fn load(bencher: Bencher<'_, '_>, count: usize) {
    let path = file(count);
    bencher.bench_local(|| config::load(&path, &Environment::default()).problems.len());
}

/// `activity-relay check` as a person runs it: the program starts, loads, and renders what each rule can take.
#[expect(clippy::disallowed_methods, reason = "which program is measured is the caller's to say")]
#[divan::bench(args = RULES, sample_count = 10)]
fn check(bencher: Bencher<'_, '_>, count: usize) {
    let path = file(count);
    let program =
        std::env::var_os("RELAY_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_activity-relay").into());
    bencher.bench_local(|| {
        let mut command = Command::new(&program);
        command.arg("--config").arg(&path).arg("check").output().map(|output| output.stdout.len()).ok()
    });
}
