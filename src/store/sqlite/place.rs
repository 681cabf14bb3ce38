//! Where a store lies: the URL a person writes, as a path.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::store::{Result, StoreError};

/// Where the database lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// Gone with the process.
    Memory,
    /// A file.
    File(PathBuf),
}

impl Place {
    /// Understands `sqlite::memory:`, `sqlite://relative.db` and `sqlite:///absolute.db`.
    ///
    /// # Errors
    /// Another scheme or no path. The URL itself is not repeated: it may hold a password.
    pub(super) fn parse(url: &str) -> Result<Self> {
        if url == "sqlite::memory:" {
            return Ok(Self::Memory);
        }
        let supported = "use sqlite://FILE, sqlite::memory: or postgres://…";
        let words = match url.split_once("://") {
            Some(("sqlite", "")) => format!("it names no file; {supported}"),
            Some(("sqlite", path)) => return Ok(Self::File(PathBuf::from(path))),
            Some((scheme, _)) => format!("{scheme}:// stores are not supported; {supported}"),
            None if url.is_empty() || url.contains([':', '@']) => format!("it is none; {supported}"),
            None => format!("a path alone is none; sqlite://{url} is that file"),
        };
        Err(StoreError::Misnamed(words))
    }

    /// The file, if it is one.
    pub(super) fn path(&self) -> Option<&Path> {
        match self {
            Self::Memory => None,
            Self::File(path) => Some(path),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("the database in memory"),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

/// The file whose lock says that a relay runs on the database beside it, whichever link leads there.
pub(super) fn lock_path(database: &Path) -> PathBuf {
    let database = database.canonicalize().unwrap_or_else(|_| database.to_owned());
    let mut name = database.into_os_string();
    name.push(".lock");
    PathBuf::from(name)
}

/// Makes the file where there is none, for its owner's eyes only: it holds names, addresses and messages. What SQLite
/// puts beside it takes over its rights. Where it cannot be made, opening it says why.
pub(super) fn create_private(database: &Path) {
    use std::os::unix::fs::OpenOptionsExt;
    let _ = std::fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(database);
}

/// Fails with words for a person if the folder of the file is not there.
pub(super) fn require_folder(database: &Path) -> Result<()> {
    let folder = match database.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => return Ok(()),
    };
    if folder.is_dir() {
        return Ok(());
    }
    Err(StoreError::Unavailable(format!(
        "the folder {} does not exist; create it or name another file with --store",
        folder.display()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_relative_with_two_slashes_and_absolute_with_three() {
        let parse = |url| Place::parse(url).unwrap();
        assert_eq!(parse("sqlite::memory:"), Place::Memory);
        assert_eq!(parse("sqlite://relay.db"), Place::File("relay.db".into()));
        assert_eq!(parse("sqlite:///var/lib/relay.db"), Place::File("/var/lib/relay.db".into()));
        assert_eq!(lock_path(Path::new("a/relay.db")), Path::new("a/relay.db.lock"));
    }

    #[test]
    fn what_is_not_supported_is_named_without_its_password() {
        let error = Place::parse("mysql://ann:hunter2@db/relay").unwrap_err().to_string();
        assert!(error.contains("mysql://") && error.contains("sqlite://FILE"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
        let bare = Place::parse("/tmp/x.db").unwrap_err().to_string();
        assert!(bare.contains("sqlite:///tmp/x.db"), "{bare}");
        let other = Place::parse("ann:hunter2@db/relay").unwrap_err().to_string();
        assert!(!other.contains("hunter2"), "{other}");
        assert!(Place::parse("sqlite://").is_err());
    }
}
