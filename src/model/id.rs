//! Identifiers that are derived, so that the same thing owed always has the same name.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Identifies one delivery for ever: it is the `webhook-id`, the `Idempotency-Key` and the left part of the
/// `Message-ID`. Derived from what is owed, so planning the same message twice gives the same id. Sorts by time.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DeliveryId(String);

impl DeliveryId {
    /// `at` is the moment the delivery is about; `parts` name what is owed to whom.
    pub fn derive(at: Timestamp, parts: &[&str]) -> Self {
        let millis = u64::try_from(at.as_millisecond()).unwrap_or(0);
        Self(format!("d{millis:011x}{}", hex_of(parts, 8)))
    }

    /// An id that came from the store or from a person.
    pub fn from_text(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The id as text: letters and digits only.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text for an index: as it is, or its beginning with its digest where it has more than `bytes_max` bytes. No two different
/// texts become the same. (A row of a PostgreSQL index has 2,704 bytes at most.)
pub fn bounded(text: String, bytes_max: usize) -> String {
    const DIGEST_BYTES: usize = 16;
    if text.len() <= bytes_max {
        return text;
    }
    let end = text.floor_char_boundary(bytes_max.saturating_sub(2 * DIGEST_BYTES + '…'.len_utf8()));
    format!("{}…{}", &text[..end], hex_of(&[&text], DIGEST_BYTES))
}

/// The first `bytes` bytes of their [`digest`], in hexadecimal.
pub fn hex_of(parts: &[&str], bytes: usize) -> String {
    use fmt::Write;
    digest(parts).iter().take(bytes).fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// SHA-256 over the parts; no two different lists of parts run together.
pub fn digest(parts: &[&str]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hash.finalize().into()
}
