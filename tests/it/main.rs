//! Everything that needs files or sockets, as one program.

mod config_corpus;
