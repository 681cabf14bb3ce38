//! activity-relay: watches a vCita account for new activity messages and delivers them by rules.
//!
//! What happens to one message, in ten files, top to bottom:
//! 1. `daemon/poller` wakes,
//! 2. `source/api` fetches a page,
//! 3. `source/wire` turns it into messages; one bad item never blocks a page,
//! 4. `rules/evaluate` says which rules match and why,
//! 5. `rules/plan` says what is owed, to whom, due when,
//! 6. `store::admit` writes messages, deliveries and cursor in one transaction,
//! 7. `daemon/courier` claims what is due,
//! 8. `render` makes the payload,
//! 9. `target/…` delivers and reports an outcome,
//! 10. `model::settle` decides what that means; the courier writes attempt and state in one fenced transaction.

pub mod answers;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod egress;
mod failpoint;
pub mod model;
mod parallel;
pub mod render;
pub mod rules;
pub mod sandbox;
pub mod source;
pub mod store;
pub mod target;
pub mod web;
