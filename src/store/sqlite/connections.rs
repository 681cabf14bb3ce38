//! The store's connections: one that writes and a few that read, opened together; and anew, together, after the disk failed.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::claim;
use super::db::{Db, Notes};
use super::place::Place;
use crate::store::{Result, StoreError};

/// How long a statement waits for another process's transaction.
const BUSY_TIMEOUT_MS: u32 = 5_000;
/// Pages that the writer keeps in memory. (References between rows are not checked while it writes, which would cost it a
/// tenth of its time; that they hold is what the tests check.)
const CACHE_KIB: u32 = 16 << 10;
/// The WAL file is cut back to this after a checkpoint.
const WAL_BYTES_MAX: u32 = 64 << 20;
/// Queries that may run at once, beside the writer.
const READERS: usize = 2;
/// Read and written at once when the log is written anew.
const PIECE_BYTES: usize = 1 << 20;

/// Where a reader finds its connection; empty while the store is closed.
pub(super) type Seat = Arc<Mutex<Option<Db>>>;

/// A seat, and who sits there.
pub(super) fn taken(seat: &Seat) -> MutexGuard<'_, Option<Db>> {
    seat.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is said while the store is closed.
pub(super) fn closed() -> StoreError {
    StoreError::Trouble("the disk failed; the store is opened again when it can be written".into())
}

/// All connections of a store. They belong to the writer; the readers' are lent to them.
#[derive(Debug)]
pub(super) struct Connections {
    place: Place,
    notes: Notes,
    instance: Arc<str>,
    /// `None` while the store is closed.
    writer: Option<Db>,
    readers: Vec<Seat>,
    /// How many claims had been made when somebody was last told that his work is committed.
    answered: u64,
}

impl Connections {
    /// Opens them; a database in memory has the writer's only.
    pub(super) fn open(place: &Place, notes: Notes) -> Result<Self> {
        let writer = connect(place)?;
        let instance: String = writer.query_one("SELECT lower(hex(randomblob(8)))", [], |row| row.get(0))?;
        let mut all = Self {
            place: place.clone(),
            notes,
            instance: instance.into(),
            writer: None,
            readers: vec![],
            answered: 0,
        };
        all.writer = Some(all.to_write(writer)?);
        let readers = if place.path().is_some() { READERS } else { 0 };
        all.readers =
            (0..readers).map(|_| Ok(Arc::new(Mutex::new(Some(all.to_read()?))))).collect::<Result<_>>()?;
        Ok(all)
    }

    /// Who the store is in leases and roles.
    pub(super) fn instance(&self) -> &Arc<str> {
        &self.instance
    }

    /// Where the readers find their connections.
    pub(super) fn seats(&self) -> Vec<Seat> {
        self.readers.clone()
    }

    /// The writer's connection.
    pub(super) fn writer(&self) -> Result<&Db> {
        self.writer.as_ref().ok_or_else(closed)
    }

    /// The same, opened anew if there is any doubt about it.
    ///
    /// # Errors
    /// It cannot be opened, or what it holds cannot be made sure of. The next call tries again.
    pub(super) fn sound(&mut self) -> Result<&Db> {
        if self.notes.doubt.load(Ordering::Relaxed)
            && let Some(path) = self.place.path()
        {
            let log = beside(path, "-wal");
            self.reopen(&log)?;
        }
        self.writer()
    }

    /// What was claimed so far is committed, and those who claimed it are told so.
    pub(super) fn note_answered(&mut self) {
        self.answered = self.writer.as_ref().map_or(self.answered, Db::claims);
    }

    /// Closes all connections together, so that what they share is made anew: SQLite's index of its log is a file that it
    /// never syncs, and of which Linux may have forgotten pages that it could not write. What was promised is in the log.
    fn reopen(&mut self, log: &Path) -> Result<()> {
        let readers = self.readers.clone();
        let mut seats: Vec<_> = readers.iter().map(taken).collect();
        for db in seats.iter_mut().filter_map(|seat| seat.take()).chain(self.writer.take()) {
            // Moved by a wrong index, pages would come to stand where they do not belong.
            db.may_tidy_up(false)?;
        }
        let writer = self.to_write(connect(&self.place)?)?;
        writer.may_tidy_up(false)?;
        // Now the index is made anew, and nobody else writes.
        writer.batch("BEGIN IMMEDIATE")?;
        write_again(log).map_err(|error| StoreError::Trouble(format!("{}: {error}", log.display())))?;
        claim::take_back_untold(&writer, self.answered)?;
        writer.batch("COMMIT")?;
        writer.may_tidy_up(true)?;
        for seat in &mut seats {
            **seat = Some(self.to_read()?);
        }
        self.writer = Some(writer);
        self.notes.doubt.store(false, Ordering::Relaxed);
        tracing::debug!("the disk failed: the store was closed and opened again");
        Ok(())
    }

    fn to_write(&self, connection: Connection) -> Result<Db> {
        let db = Db::new(connection, self.notes.clone(), self.instance.clone());
        db.batch(&format!(
            "PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
             PRAGMA foreign_keys = OFF; PRAGMA journal_size_limit = {WAL_BYTES_MAX}; PRAGMA temp_store = MEMORY;
             PRAGMA cache_size = -{CACHE_KIB};"
        ))?;
        Ok(db)
    }

    fn to_read(&self) -> Result<Db> {
        let db = Db::new(connect(&self.place)?, self.notes.clone(), self.instance.clone());
        db.batch(&format!("PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}; PRAGMA query_only = ON;"))?;
        Ok(db)
    }
}

/// What a kernel could not write it may hold for written from then on. So whatever the log is read as is written once
/// more, and synced, before anything is based on it.
fn write_again(log: &Path) -> io::Result<()> {
    let file = match OpenOptions::new().read(true).write(true).open(log) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    let (mut piece, mut at) = (vec![0; PIECE_BYTES], 0);
    loop {
        let bytes = file.read_at(&mut piece, at)?;
        if bytes == 0 {
            return file.sync_all();
        }
        file.write_all_at(&piece[..bytes], at)?;
        at += u64::try_from(bytes).map_err(io::Error::other)?;
    }
}

/// What SQLite puts beside the file.
fn beside(database: &Path, ending: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

fn connect(place: &Place) -> Result<Connection> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = match place.path() {
        None => Connection::open_in_memory()?,
        Some(path) => Connection::open_with_flags(path, flags)
            .map_err(|error| StoreError::Unavailable(format!("{}: {error}", path.display())))?,
    };
    // A statement's plan stays as it was prepared, whatever is bound to it: else SQLite prepares it anew time and again
    // (<https://www.sqlite.org/c3ref/c_dbconfig_defensive.html>, `SQLITE_DBCONFIG_ENABLE_QPSG`).
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(connection)
}
