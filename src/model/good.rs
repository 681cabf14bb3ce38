//! What makes an earlier delivery good: a later message that has a key in common with it.

use jiff::Timestamp;

/// What a message makes good: deliveries of these rules that were made for earlier messages and have this key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MakesGood {
    /// The rules.
    pub rules: Vec<String>,
    /// The key, as [`super::delivery::Planned::good_by`] has it.
    pub key: String,
}

/// That a delivery was made good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MadeGood {
    /// The uid of the message that did it, of the same account.
    pub by: String,
    /// When that message was taken in.
    pub at: Timestamp,
}
