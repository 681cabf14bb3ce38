//! The integration tests: real sockets, real files.

mod source_api;
mod source_lookup;
//! Everything that needs sockets, files or the program itself, in one binary.

mod store_conformance;
mod store_sqlite;
//! The integration tests, as one program.

mod target_http;
mod target_server;
