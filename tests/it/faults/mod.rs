//! The relay among things that break: every fault on the list, each judged by the same oracle.

mod answers;
mod http;
mod mail;
mod post;
mod reach;
pub(crate) mod record;
mod wire;
