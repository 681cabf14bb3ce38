//! The 140 message types that are known, with our own labels, use cases and spelling variants.

use super::message::Triple;

/// One known message type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Such as `Meeting`.
    pub activity_type: &'static str,
    /// Such as `cancelled`.
    pub message_type: &'static str,
    /// Such as `client_to_pivot`.
    pub direction: &'static str,
    /// Our own words for it.
    pub label: &'static str,
    /// Use cases it belongs to, such as `client_cancellation`.
    pub use_cases: &'static [&'static str],
    /// Use cases for which it is the row to alert on.
    pub primary_for: &'static [&'static str],
    /// The value that the API's `activity_type` most likely carries; `None` where the API has none.
    pub api_type: Option<&'static str>,
}

/// All of them, in the catalogue's order.
pub fn all() -> &'static [Entry] {
    &[]
}

/// The entry of a triple, if it is known.
pub fn find(triple: &Triple) -> Option<&'static Entry> {
    let _ = triple;
    None
}

/// The label of a triple: the catalogue's, or readable words made of its names.
pub fn label(triple: &Triple) -> String {
    triple.to_string()
}

/// The canonical activity type for what the API sent (facts: mapped by message type first, then by name;
/// nothing at all is `General`; what is unknown stays as it is).
pub fn canonical_type(raw_type: Option<&str>, message_type: &str) -> String {
    let _ = message_type;
    raw_type.unwrap_or("General").to_owned()
}

/// The canonical direction for what the API sent; what is unknown stays as it is.
pub fn canonical_direction(raw: Option<&str>) -> String {
    raw.unwrap_or_default().to_owned()
}
