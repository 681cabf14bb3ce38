//! The relay among things that break: every fault on the list, each judged by the same oracle.

mod answers;
mod api;
mod clock;
mod egress;
mod http;
mod mail;
mod messages;
mod post;
mod reach;
pub(crate) mod record;
mod reload;
mod slack;
pub(crate) mod wire;
