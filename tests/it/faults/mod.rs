//! The relay among things that break: every fault on the list, each judged by the same oracle.

mod http;
pub(crate) mod record;
