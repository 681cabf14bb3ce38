//! The embedded store: SQLite in WAL mode, one writer thread with group commit, a few readers beside it.

mod connections;
mod db;
mod doors;
mod lock;
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

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, mpsc as blocking};
use std::thread::{self, JoinHandle};

use tokio::sync::{mpsc, oneshot};

use super::commits::Commits;
use super::{Mode, Result, StoreError};
use connections::{Connections, Seat};
use db::{Db, Notes};
use lock::Lock;
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
    place: Place,
    /// `None` for a database in memory.
    lock_path: Option<PathBuf>,
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
        let lock_path = place.path().map(place::lock_path);
        let (notes, commits) = (Notes::default(), Arc::<Commits>::default());
        let (writes, mut queue) = mpsc::channel(writer::QUEUE_MAX);
        let (ready, opened) = oneshot::channel();
        let thread = {
            let (notes, commits, place) = (notes.clone(), commits.clone(), place.clone());
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
        let writes = Some(writes);
        let inner =
            Inner { writes, queries, threads, notes, commits, instance, place, lock_path, _lock: lock };
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

    /// Whether a `run` holds the database, in this process or another; one that was killed does not. Where that cannot be
    /// asked nobody is missed.
    pub(super) fn is_served(&self) -> bool {
        self.inner.lock_path.as_deref().is_none_or(lock::is_held)
    }

    /// Who this store is in leases and roles.
    pub(super) fn instance(&self) -> &str {
        &self.inner.instance
    }

    /// Where it lies, for a person.
    pub(super) fn place(&self) -> String {
        self.inner.place.to_string()
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
            lock = Some(Lock::take(path)?);
        }
        place::create_private(path);
    }
    let connections = Connections::open(place, notes).map_err(|error| name_file(place, error))?;
    let db = connections.writer()?;
    let (missing, all) = schema::missing(db, place).map_err(|error| name_file(place, error))?;
    if missing > 0 {
        // A schema is not changed under a running relay; a database that is new has none.
        let _while_upgrading = match place.path() {
            Some(path) if lock.is_none() && missing < all => Some(Lock::take(path)?),
            _ => None,
        };
        schema::migrate(db, place)?;
    }
    if mode == Mode::Daemon {
        claim::take_over(db)?;
    }
    Ok((connections, lock))
}

/// Says which file an error of opening is about.
fn name_file(place: &Place, error: StoreError) -> StoreError {
    match error {
        StoreError::Unavailable(text) | StoreError::Trouble(text) | StoreError::Corrupt(text) => {
            StoreError::Unavailable(format!("{place}: {text}"))
        }
        other => other,
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
