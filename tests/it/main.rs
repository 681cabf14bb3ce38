//! The integration tests: real sockets, real files.

mod source_api;
mod source_lookup;
