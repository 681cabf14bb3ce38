//! Everything that needs files or sockets, as one program.

mod config_corpus;
//! Everything that needs sockets, files or the program itself, in one binary.

mod store_conformance;
mod store_sqlite;
