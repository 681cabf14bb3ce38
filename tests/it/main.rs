//! Everything that needs sockets, files or the program itself, in one binary.

mod store_cli;
mod store_conformance;
mod store_sqlite;
