//! What things are and what follows from them: messages, deliveries, outcomes. Pure: no clock, network, file or database.

pub mod backoff;
pub mod catalog;
mod catalog_rows;
pub mod delivery;
pub mod duration;
pub mod event;
pub mod good;
pub mod group;
pub mod id;
pub mod message;
pub mod mute;
pub mod names;
pub mod payload;
pub mod rate;
pub mod sample;
pub mod settle;
pub mod throttle;
