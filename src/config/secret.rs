//! The environment, and the substitution of `${…}` in string values.

use std::collections::BTreeMap;

/// Environment variables, taken once at the start (or given, in tests).
#[derive(Debug, Clone, Default)]
pub struct Environment {
    variables: BTreeMap<String, String>,
}

impl Environment {
    /// The process's own.
    pub fn of_process() -> Self {
        Self { variables: std::env::vars().collect() }
    }

    /// The given ones.
    pub fn of<K: Into<String>, V: Into<String>>(variables: impl IntoIterator<Item = (K, V)>) -> Self {
        Self { variables: variables.into_iter().map(|(k, v)| (k.into(), v.into())).collect() }
    }

    /// One variable's value.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }
}
