//! The lock that says that a relay runs on the database: taken by `run`, asked by whoever wants to know.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;
use std::thread;
use std::time::Duration;

use super::db::LET_WRITE;
use super::place::lock_path;
use crate::store::{Result, StoreError};

/// So often, and after so long, a lock is tried again that only somebody who asks has in hand.
const TRIES: usize = 1000;
const TRY_AGAIN: Duration = Duration::from_millis(1);

/// Says that a relay runs on the database.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Lock {
    /// Takes it.
    ///
    /// # Errors
    /// Another relay has it, or the file cannot be made.
    pub(super) fn take(database: &Path) -> Result<Self> {
        let path = lock_path(database);
        let unavailable = |error: io::Error| {
            let refused =
                matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem);
            let remedy = if refused { format!("; {LET_WRITE}") } else { String::new() };
            StoreError::Unavailable(format!("{}: {error}{remedy}", path.display()))
        };
        let file =
            OpenOptions::new().create(true).write(true).truncate(false).open(&path).map_err(unavailable)?;
        for _ in 0..TRIES {
            match file.try_lock() {
                Ok(()) => return Ok(Self(file)),
                // Whoever only asks shares it, and lets it go at once.
                Err(TryLockError::WouldBlock) if shared(&file) => thread::sleep(TRY_AGAIN),
                Err(TryLockError::WouldBlock) => break,
                Err(TryLockError::Error(error)) => return Err(unavailable(error)),
            }
        }
        Err(StoreError::InUse(database.display().to_string()))
    }
}

impl Drop for Lock {
    /// Given back, not only closed: a process that is being started elsewhere in the program holds a copy of every open
    /// file until its own program runs, and a lock lives as long as its last copy
    /// (<https://man7.org/linux/man-pages/man2/flock.2.html>).
    fn drop(&mut self) {
        if let Err(error) = self.0.unlock() {
            tracing::debug!(%error, "the lock of the database goes with its file");
        }
    }
}

/// Whether a relay holds the lock of that file. One that starts at the same moment gets it all the same; where the file
/// cannot be asked, somebody may well hold it, and where there is none (a relay that was killed leaves it) the database is a copy.
pub(super) fn is_held(path: &Path) -> bool {
    match File::open(path) {
        Ok(file) => !shared(&file),
        Err(_) => true,
    }
}

/// Whether nobody has the lock alone: it is shared for a moment.
fn shared(file: &File) -> bool {
    let shared = file.try_lock_shared().is_ok();
    // What fails here goes with the file.
    shared && file.unlock().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_goes_with_its_holder_whoever_else_has_a_copy_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("relay.db");
        let lock = Lock::take(&database).unwrap();
        let copy = lock.0.try_clone().unwrap();
        assert!(matches!(Lock::take(&database), Err(StoreError::InUse(_))));
        drop(lock);
        Lock::take(&database).expect("nobody runs on it any more");
        drop(copy);
    }

    #[test]
    fn who_asks_for_the_lock_keeps_nobody_from_taking_it() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("relay.db");
        let path = lock_path(&database);
        assert!(is_held(&path), "where the relay is that has it, nobody knows");
        drop(Lock::take(&database).unwrap());
        thread::scope(|scope| {
            let asking = scope.spawn(|| (0..5_000).filter(|_| is_held(&path)).count());
            while !asking.is_finished() {
                let lock = Lock::take(&database).expect("only somebody who asks is there");
                assert!(is_held(&path));
                drop(lock);
                assert!(!is_held(&path));
            }
        });
    }
}
