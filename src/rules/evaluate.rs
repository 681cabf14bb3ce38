//! Which rules match a message, and why the others do not.

use crate::model::message::Message;
use crate::model::names::Names;

use super::{Rule, Rules};

/// One rule's verdict on one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evaluation<'a> {
    /// The rule's name.
    pub rule: &'a str,
    /// Whether it took the message.
    pub matched: bool,
    /// Why, in words: what matched, or the first condition that failed.
    pub reason: String,
}

/// The rules that match, in file order, `stop` observed. Looks only at rules that can match.
pub fn matching<'a>(rules: &'a Rules, message: &Message, names: &Names) -> Vec<&'a Rule> {
    let _ = (rules, message, names);
    Vec::new()
}

/// Every rule's verdict with its reason, in file order. Agrees with [`matching`].
pub fn evaluate<'a>(rules: &'a Rules, message: &Message, names: &Names) -> Vec<Evaluation<'a>> {
    let _ = (rules, message, names);
    Vec::new()
}
