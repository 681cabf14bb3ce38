//! Who of several instances does what: roles that one instance holds at a time, and the instances themselves.

use jiff::Timestamp;

/// A running relay on this store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// Random; names the instance in leases and roles.
    pub id: String,
    /// The host it runs on, and its process there, for people.
    pub host: String,
    /// When it started.
    pub started_at: Timestamp,
    /// When it last said that it is there, by its own clock.
    pub seen_at: Timestamp,
    /// The hash of the configuration by which it works; unknown of one of an older version.
    pub config: Option<String>,
}

/// A role that an instance holds: nobody else has it before `until`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// The role, such as `poll main` or `janitor`.
    pub role: String,
    /// The holder.
    pub instance: String,
    /// When somebody else may take it, unless the holder keeps it.
    pub until: Timestamp,
}
