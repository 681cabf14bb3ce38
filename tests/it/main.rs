//! Behaviour over real sockets and files.

mod sandbox_api;
mod sandbox_inboxes;
