//! The bounded pool of connections, transactions on it, and what their errors mean for a person.

use std::error::Error as _;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use deadpool_postgres::{
    Hook, HookError, Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime, TimeoutType,
};
use tokio::time::{Instant, timeout};
use tokio_postgres::error::SqlState;

use super::place::Place;
use super::tls;
use super::tx::{Isolation, Tx};
use crate::egress::failure::tls_cause;
use crate::store::commits::Commits;
use crate::store::{Result, StoreError};

/// Connections that one instance holds at most.
pub(super) const CONNECTIONS_MAX: usize = 8;
/// How long one address may take to answer.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
/// How long a connection may take to be made: all addresses, TLS and the password.
const CREATE_TIME_MAX: Duration = Duration::from_secs(10);
/// How long a piece of work waits for a connection.
const WAIT_TIME_MAX: Duration = Duration::from_secs(10);
/// What is sent and not acknowledged for so long has found nobody: the connection is cut.
const UNACKNOWLEDGED_TIME_MAX: Duration = Duration::from_secs(15);
/// An idle connection is probed after so long, so that nobody on the way forgets it.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
/// The server gives up a statement that takes longer.
const STATEMENT_TIME_MAX: Duration = Duration::from_secs(20);
/// And one that waits for another session's lock for longer.
const LOCK_TIME_MAX: Duration = Duration::from_secs(10);
/// And a transaction whose process stands still with its locks in hand: sooner than those who wait for them give up.
const IDLE_IN_TRANSACTION_TIME_MAX: Duration = Duration::from_secs(5);
/// A transaction whose answers do not come is given up: the network swallows them. Longer than the server's patience.
const WORK_TIME_MAX: Duration = Duration::from_secs(30);
/// So often a transaction is tried that failed for what a new connection, or a new try, mends at once.
pub(super) const TRIES: usize = 2;

/// Runs work in a transaction, `isolated` as said, and commits it. What is given up half-way, also by a caller who no
/// longer waits, leaves nothing. The work may run twice: once more where its first connection was cut before the commit.
macro_rules! isolated {
    ($db:expr, $isolation:ident, |$tx:ident| $work:expr) => {{
        let db: &$crate::store::postgres::connect::Database = &$db;
        // On the heap: the calls above it would all carry it along.
        let tries = Box::pin(async {
            let mut tried = 1;
            loop {
                let begun = db.begin($crate::store::postgres::tx::Isolation::$isolation).await?;
                let result = {
                    let $tx = &begun;
                    async { $work }.await
                };
                if tried == $crate::store::postgres::connect::TRIES {
                    begun.last_try();
                }
                match db.end(begun, result).await {
                    std::ops::ControlFlow::Break(result) => break result,
                    std::ops::ControlFlow::Continue(()) => tried += 1,
                }
            }
        });
        db.in_time(tries).await
    }};
}

/// A transaction that changes something.
macro_rules! transact {
    ($db:expr, |$tx:ident| $work:expr) => {
        $crate::store::postgres::connect::isolated!($db, ReadCommitted, |$tx| $work)
    };
}

/// A transaction of the daily work, whose statements keep their plans for a while.
macro_rules! daily {
    ($db:expr, |$tx:ident| $work:expr) => {
        $crate::store::postgres::connect::isolated!($db, Daily, |$tx| $work)
    };
}

/// Queries on one state of the database.
macro_rules! query {
    ($db:expr, |$tx:ident| $work:expr) => {
        $crate::store::postgres::connect::isolated!($db, OneState, |$tx| $work)
    };
}

pub(super) use {daily, isolated, query, transact};

/// The database: a pool, and counters of what was done with it.
#[derive(Debug)]
pub(in crate::store) struct Database {
    pool: Pool,
    place: Place,
    statements: AtomicU64,
    commits: Commits,
}

impl Database {
    /// Prepares the pool; connects nowhere yet.
    pub(super) fn new(mut place: Place) -> Result<Self> {
        place.config.connect_timeout(CONNECT_TIME_MAX).tcp_user_timeout(UNACKNOWLEDGED_TIME_MAX);
        place.config.keepalives_idle(KEEPALIVE_IDLE).keepalives_interval(KEEPALIVE_IDLE / 3);
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = Manager::from_config(place.config.clone(), tls::connector(&place)?, recycling);
        let settings = settings();
        let hook = Hook::async_fn(move |client, _| {
            let settings = settings.clone();
            Box::pin(async move { client.batch_execute(&settings).await.map_err(HookError::Backend) })
        });
        let pool = Pool::builder(manager)
            .max_size(CONNECTIONS_MAX)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(WAIT_TIME_MAX))
            .create_timeout(Some(CREATE_TIME_MAX))
            .recycle_timeout(Some(CREATE_TIME_MAX))
            .post_create(hook)
            .build()
            .map_err(|error| StoreError::Unavailable(format!("no pool of connections: {error}")))?;
        Ok(Self { pool, place, statements: AtomicU64::new(0), commits: Commits::default() })
    }

    /// Where it lies, for a person.
    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// Statements run so far.
    pub(super) fn statements(&self) -> u64 {
        self.statements.load(Ordering::Relaxed)
    }

    /// Transactions committed so far.
    pub(super) fn commits(&self) -> &Commits {
        &self.commits
    }

    /// A transaction that begins with its first statement.
    pub(super) async fn begin(&self, isolation: Isolation) -> Result<Tx<'_>> {
        Ok(Tx::new(self.connection().await?, isolation, &self.place, &self.statements))
    }

    /// Commits what succeeded and undoes what failed. `Continue` where another try is safe and may end better.
    pub(super) async fn end<T>(&self, tx: Tx<'_>, result: Result<T>) -> ControlFlow<Result<T>> {
        match result {
            Ok(value) => {
                let (changes, began) = (tx.changes(), Instant::now());
                let ended = tx.commit().await;
                if ended.is_ok() && changes {
                    self.commits.add(began.elapsed());
                }
                // Whether a commit that was cut off came through nobody knows: it is not done twice.
                ControlFlow::Break(ended.map(|()| value))
            }
            Err(error) => {
                let worth_another = tx.worth_another_try();
                if tx.is_cut() {
                    self.forget_idle();
                }
                tx.rollback().await;
                if worth_another { ControlFlow::Continue(()) } else { ControlFlow::Break(Err(error)) }
            }
        }
    }

    /// What befell one connection most likely befell those that lie idle as well: each of them would be found out by
    /// somebody who waits for it in vain.
    fn forget_idle(&self) {
        self.pool.retain(|_, _| false);
    }

    /// Gives up what nobody answers.
    pub(super) async fn in_time<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        timeout(WORK_TIME_MAX, work).await.unwrap_or_else(|_| {
            self.forget_idle();
            let seconds = WORK_TIME_MAX.as_secs();
            Err(StoreError::Trouble(format!(
                "{} did not answer for {seconds} s; is the network up?",
                self.place
            )))
        })
    }

    async fn connection(&self) -> Result<Object> {
        self.pool.get().await.map_err(|error| match error {
            PoolError::Backend(error) | PoolError::PostCreateHook(HookError::Backend(error)) => {
                explain(&error, &self.place)
            }
            PoolError::Timeout(TimeoutType::Wait) => StoreError::Trouble(format!(
                "all {CONNECTIONS_MAX} connections to {} are busy for {} s; is the server overloaded?",
                self.place,
                WAIT_TIME_MAX.as_secs()
            )),
            PoolError::Timeout(_) => StoreError::Trouble(format!(
                "{} did not let the relay in within {} s; is the address right and the server up?",
                self.place,
                CREATE_TIME_MAX.as_secs()
            )),
            other => StoreError::Trouble(other.to_string()),
        })
    }
}

/// What every session is told: how patient it is, that a commit is on the disk before it is answered, that a plan is made
/// for the tables as they are and not as they were when the session began, and that it goes by an index wherever there
/// is one: where the server's statistics lag behind it takes reading a whole table for the shorter way.
fn settings() -> String {
    let ms = |time: Duration| time.as_millis();
    format!(
        "SET statement_timeout = {}; SET lock_timeout = {}; SET idle_in_transaction_session_timeout = {};
         SET plan_cache_mode = force_custom_plan; SET enable_seqscan = off; SET enable_material = off; SET jit = off;
         SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'",
        ms(STATEMENT_TIME_MAX),
        ms(LOCK_TIME_MAX),
        ms(IDLE_IN_TRANSACTION_TIME_MAX),
    )
}

/// What a relay at work does by itself, and what is said instead where one only starts: it ends.
const AT_WORK: [(&str, &str); 3] = [
    ("the relay goes on as soon as the server answers", "is the address in --store right and the server up?"),
    (
        "the relay goes on as soon as PostgreSQL answers",
        "do host and port in --store lead to a PostgreSQL server?",
    ),
    ("the relay goes on by itself", "try again then"),
];

/// The same error where nothing has begun.
pub(super) fn at_start(text: &str) -> String {
    AT_WORK.iter().fold(text.to_owned(), |text, (goes_on, ends)| text.replace(goes_on, ends))
}

/// What cures a session in which nothing can be changed.
const READ_ONLY: &str = "the server is read-only, a standby perhaps, or default_transaction_read_only is on; name \
                         the primary in --store, or turn that off";
/// What is said of words that another server may have said, or one that was cut off.
const NOT_POSTGRES: &str =
    "the answer broke off, or is none of PostgreSQL's; the relay goes on as soon as PostgreSQL answers";
/// What the driver says by itself, and what cures it.
const OF_DRIVER: [(&str, &str); 5] = [
    (
        "password missing",
        "the server asks for one: write it in --store, as in postgres://USER:PASSWORD@HOST/DATABASE",
    ),
    (
        "server does not support TLS",
        "set ssl = on there, or sslmode=disable in --store where nobody can listen in",
    ),
    ("database does not allow writes", READ_ONLY),
    ("bytes remaining on stream", NOT_POSTGRES),
    ("invalid message length", NOT_POSTGRES),
];

/// Says what an error means and what cures it. Of the server's words only the message is taken: its details may
/// quote rows.
pub(super) fn explain(error: &tokio_postgres::Error, place: &Place) -> StoreError {
    let Some(db) = error.as_db_error() else { return of_driver(error, place) };
    let text = db.message();
    let remedy = match db.code().code() {
        "53100" => "free some space on the server's disk and the relay goes on by itself",
        "53300" => {
            "raise max_connections or run fewer instances; commands with --url ask a running relay, and need no \
             connection of their own"
        }
        "53200" | "53000" | "53400" => "the server is short of something; look at its log",
        "57P01" | "57P02" | "57P03" => "the server stops or starts; the relay goes on by itself",
        "57014" => "the server is slow or overloaded",
        "55P03" => "another session holds a lock; pg_stat_activity shows whose",
        "25006" => READ_ONLY,
        "42501" => "grant the relay's user what docs/operations.md says",
        "3D000" => "create it, or name another in --store",
        code if code.starts_with("28") => "correct user and password in --store, or the server's pg_hba.conf",
        code if is_contradiction(code) => return StoreError::Corrupt(text.to_owned()),
        _ => "look at the server's log",
    };
    StoreError::Trouble(format!("{place}: {text}; {remedy}"))
}

/// The same of an error without a word of the server.
fn of_driver(error: &tokio_postgres::Error, place: &Place) -> StoreError {
    if let Some(error) = tls_cause(error) {
        return StoreError::Trouble(match error {
            // Who was asked for TLS and says something else.
            rustls::Error::InvalidMessage(_) => format!("{place}: {error}; {NOT_POSTGRES}"),
            error => format!("{place}: {}", tls::explain(error, place)),
        });
    }
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    // What does not come from the server and not from the network does not fit the program.
    let misread =
        ["error deserializing", "error serializing", "invalid column", "query returned", "expected "];
    if misread.iter().any(|start| text.starts_with(start)) {
        return StoreError::Corrupt(text);
    }
    let known = OF_DRIVER.iter().find(|(said, _)| text.contains(said));
    let remedy = known.map_or("the relay goes on as soon as the server answers", |(_, remedy)| remedy);
    StoreError::Trouble(format!("{place}: {text}; {remedy}"))
}

/// Classes in which the server says that statement, schema and data do not fit each other.
fn is_contradiction(code: &str) -> bool {
    ["22", "23", "42"].iter().any(|class| code.starts_with(class))
}

/// A new connection, or only a new try, may well do better: the transaction was not committed.
pub(super) fn is_passing(error: &tokio_postgres::Error) -> bool {
    let passing = [
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::ADMIN_SHUTDOWN,
        SqlState::CRASH_SHUTDOWN,
        SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
    ];
    match error.code() {
        Some(code) => passing.contains(code),
        None => {
            error.is_closed() || error.source().is_some_and(<dyn std::error::Error>::is::<std::io::Error>)
        }
    }
}
