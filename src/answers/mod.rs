//! What is answered when somebody asks how things stand: one composition for commands, pages and programs. Nothing here prints.

pub mod actions;
pub mod asked;
pub mod coverage;
pub mod deliveries;
pub mod digests;
pub mod explain;
pub mod figures;
pub mod instances;
pub mod mutes;
pub mod payload;
pub mod playground;
pub mod status;
pub mod subject;
pub mod targets;
pub mod when;
