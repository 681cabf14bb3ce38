# What there is to do; `just ci` is what CI runs.

default:
    @just --list

# formatting, lints, tests, docs: everything CI looks at
ci:
    .ci/run

# format the code
fmt:
    cargo fmt --all

# lints, warnings as errors
lint:
    cargo clippy --all-targets --locked -- -D warnings

# everything that needs nothing but the Rust toolchain
test:
    cargo test --locked

# accept changed snapshots
snapshots:
    INSTA_UPDATE=always cargo test --locked

# the API documentation
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --locked

# benchmarks
bench:
    cargo bench --locked

# the first five minutes
demo:
    cargo run --release --locked -- demo

# the long random runs of what CI runs in short: seeds and messages may be given
soak seeds="20" messages="10000":
    SOAK_SEEDS={{seeds}} SOAK_MESSAGES={{messages}} cargo test --release --locked --test it soak -- --nocapture

# the program killed while it sends, at length
kill messages="5000" kills="10" seed="1":
    KILL_MESSAGES={{messages}} KILLS={{kills}} KILL_SEED={{seed}} cargo test --locked --test it kill:: -- --nocapture

# the configuration reloaded while it sends, at length, every other time from a bad file
reloads count="1000" seed="1":
    RELOADS={{count}} RELOAD_SEED={{seed}} cargo test --locked --test it reload_load -- --nocapture

# every fault of the guarantee's list, and docs/faults.md out of what was observed
faults:
    #!/usr/bin/env bash
    set -euo pipefail
    export FAULTS_DIR="$PWD/target/faults" MESSAGE_MEGABYTES=50
    rm -rf "$FAULTS_DIR"
    RELAY_REQUIRE_POSTGRES=1 cargo test --locked --test it
    tests/faults/write

# the fuzzers side by side, so many seconds each (needs cargo-fuzz)
fuzz seconds="900":
    cargo build --locked
    SECONDS_EACH={{seconds}} fuzz/run

# everything long and random, in parts that each print their seed: KILL_PARTS, KILLS and KILL_MESSAGES (of each part),
# KILL_FIRST (the first part's seed), RELOADS, SOAK_SEEDS, SOAK_MESSAGES
torture:
    tests/torture
