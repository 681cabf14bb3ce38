//! The embedded store: SQLite in WAL mode, one writer thread with group commit, a few readers beside it.

mod db;
mod doors;
mod place;
#[cfg(test)]
mod plans;
mod schema;
mod writer;

mod admit;
mod claim;
mod gather;
mod history;
mod listing;
mod mutes;
mod polling;
mod replay;
mod roles;
mod settle;
mod targets;

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc as blocking};
use std::thread::{self, JoinHandle};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use tokio::sync::{mpsc, oneshot};

use super::{Mode, Result, StoreError};
use db::Db;
use place::Place;

/// How long a statement waits for another process's transaction.
const BUSY_TIMEOUT_MS: u32 = 5_000;
/// Pages that the writer keeps in memory. (References between rows are not checked while it writes, which would cost it a
/// tenth of its time; that they hold is what the tests check.)
const CACHE_KIB: u32 = 16 << 10;
/// The WAL file is cut back to this after a checkpoint.
const WAL_BYTES_MAX: u32 = 64 << 20;
/// Queries that may run at once, beside the writer.
const READERS: usize = 2;

/// A query for one of the readers.
type Query = Box<dyn FnOnce(&Db) + Send>;

/// A handle to the embedded store. Cheap to clone; the last one to go waits for the writer to finish.
#[derive(Debug, Clone)]
pub struct Sqlite {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    writes: Option<mpsc::Sender<writer::Work>>,
    /// `None` for a database in memory, which has the writer's connection only.
    queries: Option<blocking::Sender<Query>>,
    threads: Vec<JoinHandle<()>>,
    statements: Arc<AtomicU64>,
    commits: Arc<AtomicU64>,
    instance: Arc<str>,
    /// Held as long as the daemon lives; given back after the writer has ended.
    _lock: Option<File>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.writes = None;
        self.queries = None;
        for thread in self.threads.drain(..) {
            // A thread that panicked has nothing left to wait for.
            let _ = thread.join();
        }
    }
}

impl Sqlite {
    /// Opens the database and brings its schema up to date.
    pub(super) async fn open(url: &str, mode: Mode) -> Result<Self> {
        let place = Place::parse(url)?;
        let statements = Arc::new(AtomicU64::new(0));
        let commits = Arc::new(AtomicU64::new(0));
        let (writes, mut queue) = mpsc::channel(writer::QUEUE_MAX);
        let (ready, opened) = oneshot::channel();
        let thread = {
            let (place, statements, commits) = (place.clone(), statements.clone(), commits.clone());
            spawn("store-writer", move || match prepare(&place, mode, statements) {
                Ok((db, lock)) => {
                    if ready.send(Ok((lock, db.instance().into()))).is_ok() {
                        writer::serve(&db, &mut queue, &commits);
                    }
                }
                Err(error) => {
                    let _ = ready.send(Err(error));
                }
            })?
        };
        let (lock, instance): (_, Arc<str>) = opened.await.map_err(|_| stopped())??;
        let mut threads = vec![thread];
        let queries = match place.path() {
            None => None,
            Some(path) => Some(start_readers(path, &statements, &instance, &mut threads)?),
        };
        let inner =
            Inner { writes: Some(writes), queries, threads, statements, commits, instance, _lock: lock };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Runs on the writer, in a transaction; the answer comes once it is on the disk. Work that was handed
    /// over is done even if nobody waits for it any more.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Db) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (answer, answered) = oneshot::channel();
        let Some(writes) = &self.inner.writes else { return Err(stopped()) };
        writes.send(writer::pack(work, answer)).await.map_err(|_| stopped())?;
        answered.await.map_err(|_| stopped())?
    }

    /// Runs on a reader, on one state of the database; sees everything whose write was answered.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Db) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let Some(queries) = &self.inner.queries else { return self.write(query).await };
        let (answer, answered) = oneshot::channel();
        let query: Query = Box::new(move |db| {
            let result = db.batch("BEGIN").and_then(|()| query(db));
            if !db.is_idle() {
                // Nothing was changed; what matters is that the next query sees a newer state.
                let _ = db.batch("COMMIT");
            }
            let _ = answer.send(result);
        });
        queries.send(query).map_err(|_| stopped())?;
        answered.await.map_err(|_| stopped())?
    }

    /// Who this store is in leases and roles.
    pub(super) fn instance(&self) -> &str {
        &self.inner.instance
    }

    /// Statements run so far, by the writer and the readers.
    pub(super) fn statements(&self) -> u64 {
        self.inner.statements.load(Ordering::Relaxed)
    }

    /// Transactions committed so far.
    pub(super) fn commits(&self) -> u64 {
        self.inner.commits.load(Ordering::Relaxed)
    }
}

fn stopped() -> StoreError {
    StoreError::Trouble("its thread has ended; start the program again".into())
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(body)
        .map_err(|error| StoreError::Unavailable(format!("no thread for the store: {error}")))
}

/// Opens, locks, migrates; for a daemon also takes back what its predecessor held.
fn prepare(place: &Place, mode: Mode, statements: Arc<AtomicU64>) -> Result<(Db, Option<File>)> {
    let mut lock = None;
    let connection = match place.path() {
        None => Connection::open_in_memory()?,
        Some(path) => {
            place::require_folder(path)?;
            if mode == Mode::Daemon {
                lock = Some(take_lock(path)?);
            }
            place::create_private(path);
            connect(path)?
        }
    };
    let instance: String = connection
        .query_one("SELECT lower(hex(randomblob(8)))", [], |row| row.get(0))
        .map_err(|error| name_file(place, error.into()))?;
    keep_plans(&connection).map_err(|error| name_file(place, error.into()))?;
    let db = Db::new(connection, statements, instance.into());
    db.batch(&format!(
        "PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
         PRAGMA foreign_keys = OFF; PRAGMA journal_size_limit = {WAL_BYTES_MAX}; PRAGMA temp_store = MEMORY;
         PRAGMA cache_size = -{CACHE_KIB};"
    ))
    .map_err(|error| name_file(place, error))?;
    let (missing, all) = schema::missing(&db).map_err(|error| name_file(place, error))?;
    if missing > 0 {
        // A schema is not changed under a running relay; a database that is new has none.
        let _while_upgrading = match place.path() {
            Some(path) if lock.is_none() && missing < all => Some(take_lock(path)?),
            _ => None,
        };
        schema::migrate(&db)?;
    }
    if mode == Mode::Daemon {
        claim::take_over(&db)?;
    }
    Ok((db, lock))
}

fn connect(path: &Path) -> Result<Connection> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(path, flags)
        .map_err(|error| StoreError::Unavailable(format!("{}: {error}", path.display())))
}

/// A statement's plan stays as it was prepared, whatever is bound to it: else SQLite prepares it anew time and again
/// (<https://www.sqlite.org/c3ref/c_dbconfig_defensive.html>, `SQLITE_DBCONFIG_ENABLE_QPSG`).
fn keep_plans(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map(|_| ())
}

/// Says which file an error of opening is about.
fn name_file(place: &Place, error: StoreError) -> StoreError {
    let name =
        place.path().map_or_else(|| "the database in memory".into(), |path| path.display().to_string());
    match error {
        StoreError::Unavailable(text) | StoreError::Trouble(text) | StoreError::Corrupt(text) => {
            StoreError::Unavailable(format!("{name}: {text}"))
        }
        other => other,
    }
}

fn take_lock(database: &Path) -> Result<File> {
    let path = place::lock_path(database);
    let unavailable = |error: std::io::Error| StoreError::Unavailable(format!("{}: {error}", path.display()));
    let file =
        OpenOptions::new().create(true).write(true).truncate(false).open(&path).map_err(unavailable)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse(database.display().to_string())),
        Err(TryLockError::Error(error)) => Err(unavailable(error)),
    }
}

fn start_readers(
    path: &Path,
    statements: &Arc<AtomicU64>,
    instance: &Arc<str>,
    threads: &mut Vec<JoinHandle<()>>,
) -> Result<blocking::Sender<Query>> {
    let (queries, queue) = blocking::channel::<Query>();
    let queue = Arc::new(Mutex::new(queue));
    for _ in 0..READERS {
        let connection = connect(path)?;
        keep_plans(&connection)?;
        let db = Db::new(connection, statements.clone(), instance.clone());
        db.batch(&format!("PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}; PRAGMA query_only = ON;"))?;
        let queue = queue.clone();
        threads.push(spawn("store-reader", move || {
            // One waits in the queue, the other for its turn to wait there.
            let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
            while let Ok(query) = next() {
                query(&db);
            }
        })?);
    }
    Ok(queries)
}
