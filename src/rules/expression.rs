//! The `where:` condition: a CEL expression over `message`, `client`, `staff` and `account`.

use crate::model::message::Message;
use crate::model::names::Names;

/// A compiled `where:`.
#[derive(Debug)]
pub struct Expression {
    text: String,
}

impl Expression {
    /// Compiles it; the error names what is wrong and, where known, the place inside the text
    /// (line and column from 1).
    pub fn compile(text: &str) -> Result<Self, ExpressionError> {
        Ok(Self { text: text.to_owned() })
    }

    /// As written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// It looks at `client`, `staff` or the business.
    pub fn needs_names(&self) -> bool {
        false
    }

    /// `Ok(true)` if the message passes; the error says why it could not be judged (it then counts as not passing).
    pub fn judge(&self, message: &Message, names: &Names) -> Result<bool, String> {
        let _ = (message, names);
        Ok(true)
    }
}

/// A `where:` that does not compile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpressionError {
    /// In words.
    pub message: String,
    /// Line inside the text, from 1.
    pub line: usize,
    /// Column inside the line, from 1, in characters.
    pub column: usize,
}
