//! The embedded store: SQLite in WAL mode, one writer thread with group commit, a few readers beside it.

mod connections;
mod db;
mod doors;
mod place;
#[cfg(test)]
mod plans;
mod schema;
mod writer;

mod admit;
mod claim;
mod figures;
mod gather;
mod good;
mod history;
mod listing;
mod mutes;
mod polling;
mod replay;
mod roles;
mod settle;
mod tally;
mod targets;
mod throttles;

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, mpsc as blocking};
use std::thread::{self, JoinHandle};

use tokio::sync::{mpsc, oneshot};

use super::commits::Commits;
use super::{Mode, Result, StoreError};
use connections::{Connections, Seat};
use db::{Db, Notes};
use place::Place;

/// A query for one of the readers; given an error instead of the database where there is none at the moment.
type Query = Box<dyn FnOnce(Result<&Db>) + Send>;

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
    notes: Notes,
    commits: Arc<Commits>,
    instance: Arc<str>,
    /// Held as long as the daemon lives; given back after the writer has ended.
    _lock: Option<Lock>,
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
        let (notes, commits) = (Notes::default(), Arc::<Commits>::default());
        let (writes, mut queue) = mpsc::channel(writer::QUEUE_MAX);
        let (ready, opened) = oneshot::channel();
        let thread = {
            let (notes, commits) = (notes.clone(), commits.clone());
            spawn("store-writer", move || match prepare(&place, mode, notes) {
                Ok((mut connections, lock)) => {
                    let seats = connections.seats();
                    if ready.send(Ok((lock, connections.instance().clone(), seats))).is_ok() {
                        writer::serve(&mut connections, &mut queue, &commits);
                    }
                }
                Err(error) => {
                    let _ = ready.send(Err(error));
                }
            })?
        };
        let (lock, instance, seats) = opened.await.map_err(|_| stopped())??;
        let mut threads = vec![thread];
        let queries = if seats.is_empty() { None } else { Some(start_readers(seats, &mut threads)?) };
        let inner = Inner { writes: Some(writes), queries, threads, notes, commits, instance, _lock: lock };
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
        if self.inner.notes.doubt.load(Ordering::Relaxed) {
            // The writer opens the store anew, or says why it cannot be opened.
            self.write(|_| Ok(())).await?;
        }
        let (answer, answered) = oneshot::channel();
        let query: Query = Box::new(move |db| {
            let result = db.and_then(|db| {
                let result = db.bound("BEGIN").and_then(|()| query(db));
                if !db.is_idle() {
                    // Nothing was changed; what matters is that the next query sees a newer state.
                    let _ = db.bound("COMMIT");
                }
                result
            });
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
        self.inner.notes.statements.load(Ordering::Relaxed)
    }

    /// Transactions committed so far.
    pub(super) fn commits(&self) -> &Commits {
        &self.inner.commits
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
fn prepare(place: &Place, mode: Mode, notes: Notes) -> Result<(Connections, Option<Lock>)> {
    let mut lock = None;
    if let Some(path) = place.path() {
        place::require_folder(path)?;
        if mode == Mode::Daemon {
            lock = Some(take_lock(path)?);
        }
        place::create_private(path);
    }
    let connections = Connections::open(place, notes).map_err(|error| name_file(place, error))?;
    let db = connections.writer()?;
    let (missing, all) = schema::missing(db).map_err(|error| name_file(place, error))?;
    if missing > 0 {
        // A schema is not changed under a running relay; a database that is new has none.
        let _while_upgrading = match place.path() {
            Some(path) if lock.is_none() && missing < all => Some(take_lock(path)?),
            _ => None,
        };
        schema::migrate(db)?;
    }
    if mode == Mode::Daemon {
        claim::take_over(db)?;
    }
    Ok((connections, lock))
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

/// Says that a relay runs on the database.
#[derive(Debug)]
struct Lock(File);

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

fn take_lock(database: &Path) -> Result<Lock> {
    let path = place::lock_path(database);
    let unavailable = |error: std::io::Error| StoreError::Unavailable(format!("{}: {error}", path.display()));
    let file =
        OpenOptions::new().create(true).write(true).truncate(false).open(&path).map_err(unavailable)?;
    match file.try_lock() {
        Ok(()) => Ok(Lock(file)),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse(database.display().to_string())),
        Err(TryLockError::Error(error)) => Err(unavailable(error)),
    }
}

fn start_readers(seats: Vec<Seat>, threads: &mut Vec<JoinHandle<()>>) -> Result<blocking::Sender<Query>> {
    let (queries, queue) = blocking::channel::<Query>();
    let queue = Arc::new(Mutex::new(queue));
    for seat in seats {
        let queue = queue.clone();
        threads.push(spawn("store-reader", move || {
            // One waits in the queue, the other for its turn to wait there.
            let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
            while let Ok(query) = next() {
                query(connections::taken(&seat).as_ref().ok_or_else(connections::closed));
            }
        })?);
    }
    Ok(queries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_goes_with_its_holder_whoever_else_has_a_copy_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("relay.db");
        let lock = take_lock(&database).unwrap();
        let copy = lock.0.try_clone().unwrap();
        assert!(matches!(take_lock(&database), Err(StoreError::InUse(_))));
        drop(lock);
        take_lock(&database).expect("nobody runs on it any more");
        drop(copy);
    }
}
