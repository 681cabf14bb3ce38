//! What people and programs hand over, and why what they ask for is not done: the same words wherever it is asked.

use crate::config::problem::nearest;
use crate::store::StoreError;

/// How long a text may be that is kept, in characters.
const TEXT_CHARS_MAX: usize = 300;

/// Why what was asked for is not done.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// There is no such delivery, target, rule or mute.
    #[error("{0}")]
    Missing(String),
    /// It is there, and in no state for it.
    #[error("{0}")]
    Conflict(String),
    /// It makes no sense.
    #[error("{0}")]
    Wrong(String),
    /// The store fails.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What to say of a rule or target (`what`) of which nobody knows.
pub fn unknown<'n>(what: &str, name: &str, known: impl Iterator<Item = &'n str>) -> Refusal {
    let known: Vec<&str> = known.collect();
    let near = nearest(name, known.iter().copied());
    let near = near.map_or(String::new(), |near| format!("did you mean `{near}`? "));
    Refusal::Missing(format!("no {what} is named `{name}`; {near}there are: {}", known.join(", ")))
}

/// A text that is kept and shown: on one line, not too long, not empty.
///
/// # Errors
/// It is not; the text says what would be.
pub fn line(name: &str, text: &str) -> Result<String, Refusal> {
    let begun = text.chars().next().is_some_and(|first| !first.is_whitespace());
    if !begun || text.chars().count() > TEXT_CHARS_MAX || text.chars().any(char::is_control) {
        return Err(Refusal::Wrong(format!(
            "`{name}` is one line of 1 to {TEXT_CHARS_MAX} characters that does not begin with a space"
        )));
    }
    Ok(text.split_whitespace().collect::<Vec<_>>().join(" "))
}
