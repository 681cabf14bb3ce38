//! Everything that needs sockets, files or the program itself, in one binary.

mod store_conformance;
mod store_sqlite;
mod target_http;
mod target_server;
