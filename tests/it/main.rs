//! Everything that needs sockets, files or the program itself, in one binary.

mod config_corpus;
mod config_init;
mod store_conformance;
mod store_sqlite;
