//! Everything that needs sockets, files or the program itself, in one binary.

mod config_corpus;
mod config_init;
mod store_conformance;
mod store_sqlite;
//! The integration tests, as one program.

mod target_http;
mod target_server;
