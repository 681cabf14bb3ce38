//! What a change did, said on the page that follows it and not again: neither when that page is loaded anew nor by a bookmark.

use jiff::Timestamp;

use super::kept::Kept;

/// What was done and not said yet. Where several instances are behind one address, the page may be asked of another one,
/// which says nothing.
#[derive(Debug, Default)]
pub(super) struct Told(Kept<String>);

impl Told {
    /// The address of the page which says it.
    pub(super) fn keep(&self, page: &str, words: String, now: Timestamp) -> String {
        let sign = if page.contains('?') { '&' } else { '?' };
        format!("{page}{sign}told={}", self.0.keep(words, now))
    }

    /// What is kept under a number of an address, once.
    pub(super) fn take(&self, number: &str) -> Option<String> {
        self.0.take(number.parse().ok()?)
    }
}
