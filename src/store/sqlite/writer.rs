//! The one writer: a thread that takes what is queued, runs it in one transaction and answers after the commit.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use tokio::sync::{mpsc, oneshot};

use super::connections::Connections;
use super::db::Db;
use super::tally;
use crate::store::commits::Commits;
use crate::store::{Result, StoreError};

/// At most so many pieces of work share one commit.
const GROUP_MAX: usize = 64;
/// So much work may wait before those who bring more have to wait too.
pub(super) const QUEUE_MAX: usize = 1024;

/// A piece of work; given an error instead of the database where no transaction could be had.
pub(super) type Work = Box<dyn FnOnce(Result<&Db>) -> Done + Send>;

/// Tells who waits; given why the commit failed, if it did.
type Answer = Box<dyn FnOnce(Option<&str>) + Send>;

/// Work that ran, and how to answer it once it is known whether it lasts.
pub(super) struct Done {
    succeeded: bool,
    answer: Answer,
}

/// Packs work so that its answer comes after the commit.
pub(super) fn pack<T: Send + 'static>(
    work: impl FnOnce(&Db) -> Result<T> + Send + 'static,
    answer: oneshot::Sender<Result<T>>,
) -> Work {
    Box::new(move |db| {
        // The thread outlives a fault of ours: without it nothing could be written until the next start.
        let caught = catch_unwind(AssertUnwindSafe(|| db.and_then(work)));
        let result = caught.unwrap_or_else(|_| {
            Err(StoreError::Trouble(
                "the relay failed while writing; please report it with the log".to_owned(),
            ))
        });
        Done {
            succeeded: result.is_ok(),
            answer: Box::new(move |failed| {
                let result = match failed {
                    Some(why) => result.and_then(|_| Err(StoreError::Trouble(why.to_owned()))),
                    None => result,
                };
                // Who no longer waits for the answer does not need it.
                let _ = answer.send(result);
            }),
        }
    })
}

/// Works until nobody can bring work any more.
pub(super) fn serve(connections: &mut Connections, queue: &mut mpsc::Receiver<Work>, commits: &Commits) {
    let mut group = Vec::with_capacity(GROUP_MAX);
    while queue.blocking_recv_many(&mut group, GROUP_MAX) > 0 {
        let written = connections.sound().map(|db| commit_group(db, group.drain(..), commits));
        let written = written.unwrap_or_else(|error| {
            let failed = why(error);
            let answers = group.drain(..).map(|work| work(Err(StoreError::Trouble(failed.clone()))).answer);
            Written { answers: answers.collect(), failed: Some(failed) }
        });
        if written.failed.is_none() {
            connections.note_answered();
        }
        // Nobody goes by what may be wrong by now. If it cannot be opened, the next work finds out why.
        let _ = connections.sound();
        for answer in written.answers {
            answer(written.failed.as_deref());
        }
    }
}

/// What became of a group: how to tell each, and why the commit failed, if it did.
struct Written {
    answers: Vec<Answer>,
    failed: Option<String>,
}

/// One transaction for all; of several pieces each in a savepoint of its own, so that one that fails takes no other down.
fn commit_group(db: &Db, group: impl ExactSizeIterator<Item = Work>, commits: &Commits) -> Written {
    let alone = group.len() == 1;
    let mut failed = db.bound("BEGIN IMMEDIATE").err().map(why);
    let (mut answers, mut succeeded) = (Vec::new(), true);
    for work in group {
        let done = if let Some(why) = &failed {
            work(Err(StoreError::Trouble(why.clone())))
        } else {
            let done = if alone { work(Ok(db)) } else { in_savepoint(db, work) };
            // A full disk or an IO error makes SQLite give up the whole transaction, not the statement alone.
            if db.is_idle() {
                failed = Some("the transaction was rolled back after a write error".to_owned());
            }
            done
        };
        succeeded &= done.succeeded;
        answers.push(done.answer);
    }
    // Work that is alone and fails has nothing to commit, and its answer says why.
    if failed.is_none() && (!alone || succeeded) {
        tally::check(db);
        let began = Instant::now();
        match db.bound("COMMIT") {
            Ok(()) => commits.add(began.elapsed()),
            Err(error) => failed = Some(why(error)),
        }
    }
    if !db.is_idle() {
        // A rollback that fails leaves nothing behind either: the next BEGIN says what is wrong.
        let _ = db.bound("ROLLBACK");
    }
    Written { answers, failed }
}

fn in_savepoint(db: &Db, work: Work) -> Done {
    if let Err(error) = db.bound("SAVEPOINT work") {
        return work(Err(error));
    }
    let mut done = work(Ok(db));
    let end = || {
        if !done.succeeded {
            db.bound("ROLLBACK TO work")?;
        }
        db.bound("RELEASE work")
    };
    if !db.is_idle()
        && let Err(error) = end()
    {
        let text = why(error);
        let answer = done.answer;
        done = Done { succeeded: false, answer: Box::new(move |_| answer(Some(&text))) };
    }
    done
}

fn why(error: StoreError) -> String {
    match error {
        StoreError::Trouble(text) => text,
        other => other.to_string(),
    }
}
