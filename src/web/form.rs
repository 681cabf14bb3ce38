//! The fields of a form that was sent.

use url::form_urlencoded;

/// Names and values, in order; names may repeat.
#[derive(Debug, Clone)]
pub(super) struct Fields(Vec<(String, String)>);

impl Fields {
    /// Of a form's body.
    pub(super) fn of(body: &str) -> Self {
        Self(form_urlencoded::parse(body.as_bytes()).into_owned().collect())
    }

    /// The first value of that name, without spaces around it; empty where there is none.
    pub(super) fn one(&self, name: &str) -> &str {
        self.all(name).next().unwrap_or_default().trim()
    }

    /// The first value of that name as it was written.
    pub(super) fn text(&self, name: &str) -> &str {
        self.all(name).next().unwrap_or_default()
    }

    /// Adds a value.
    pub(super) fn put(&mut self, name: &str, value: &str) {
        self.0.push((name.to_owned(), value.to_owned()));
    }

    /// All values of that name.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}
