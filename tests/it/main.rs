//! Everything that needs sockets, files or the program itself, in one binary.

mod source_api;
mod source_lookup;
mod source_names;
mod source_poller;
mod store_conformance;
mod store_sqlite;
mod target_http;
mod target_server;
