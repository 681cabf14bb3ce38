//! Everything that needs sockets, files or the program itself, in one binary.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on fails where it stands"
)]

mod config_corpus;
mod config_init;
mod store_conformance;
mod store_sqlite;
mod target_http;
mod target_server;
