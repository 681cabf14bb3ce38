//! The running relay: polls, plans, claims, delivers, settles, until it is told to stop.

pub mod clock;
pub mod names;
pub mod poller;
pub mod sweeps;
