//! Everything that needs sockets, files or the program itself, in one binary.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on fails where it stands"
)]

mod alerts;
mod api;
mod cli_check;
mod cli_contract;
mod cli_docs;
mod cli_guide;
mod cli_past;
mod cli_test;
mod config_corpus;
mod config_explain;
mod config_files;
mod config_fix;
mod config_hostile;
mod config_init;
mod config_schema;
mod config_time;
mod console;
mod crash;
mod daemon_once;
mod digests_killed;
mod disks;
mod engine_courier;
mod every_kind;
mod fairness;
mod faults;
mod hostile;
mod instances;
mod instances_killed;
mod kill;
mod metrics;
mod oracle;
mod outage;
mod outbox;
mod points;
mod points_postgres;
mod points_wire;
mod postgres;
mod postgres_trouble;
mod process;
mod rehearsal;
mod reload;
mod reload_load;
mod reload_process;
mod sandbox_api;
mod sandbox_inboxes;
mod several;
mod soak;
mod source_api;
mod source_lookup;
mod source_names;
mod source_poller;
mod stage;
mod starved;
mod stopping;
mod store_cli;
mod store_conformance;
mod store_figures;
mod store_kit;
mod store_postgres;
mod store_postgres_plans;
mod store_postgres_tls;
mod store_sharing;
mod store_sqlite;
mod store_time;
mod target_http;
mod target_server;
mod target_smtp;
mod target_tls;
mod time;
mod upgrade;
mod world;
