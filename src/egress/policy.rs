//! Which addresses and hosts may be dialled.

use ipnet::IpNet;

/// Which addresses may be dialled.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Policy {
    /// Public addresses only.
    #[default]
    Public,
    /// Public addresses and these networks (`allow_private: [10.1.0.0/16]`).
    PublicAnd(Vec<IpNet>),
    /// Any address (`allow_private: true`).
    Any,
}
