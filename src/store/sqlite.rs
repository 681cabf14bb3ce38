//! The embedded store: SQLite in WAL mode, one writer thread with group commit.

/// A handle to the embedded store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Sqlite {}
