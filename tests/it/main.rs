//! The integration tests, as one program.

mod target_http;
mod target_server;
mod target_smtp;
mod target_tls;
