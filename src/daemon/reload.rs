//! Another configuration while the relay runs: it is built completely and then put in force; a bad one changes nothing.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;

use crate::config::difference::Difference;
use crate::config::outline::Outline;
use crate::config::problem::{Problem, Severity, count};
use crate::config::secret::Environment;
use crate::config::{self, Config, Loaded, Subject, codes};
use crate::store::StoreError;

use super::Relay;
use super::metrics::{OfConfig, OfReload};
use super::systemd::Systemd;

/// Problems that are logged one by one.
const LOGGED_MAX: usize = 20;

/// Where a configuration comes from.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The rules file.
    pub path: PathBuf,
    /// The variables for `${…}`: a process keeps those it was started with.
    pub environment: Environment,
}

/// What asks for a reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// SIGHUP.
    Signal,
    /// `POST /-/reload`.
    Request,
    /// `run --watch` saw a change.
    Watch,
    /// Somebody in the console.
    Console,
    /// A program.
    Api,
}

impl Cause {
    /// In words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Signal => "SIGHUP",
            Self::Request => "POST /-/reload",
            Self::Watch => "a change of the files",
            Self::Console => "the console",
            Self::Api => "the API",
        }
    }
}

/// How a reload went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Another configuration is in force, and this is the difference.
    Replaced(Difference),
    /// The files say what they said: nothing was done.
    Unchanged,
    /// The files cannot be used; the old configuration is in force.
    Refused,
}

/// How a reload went, with what is to be said about it.
#[derive(Debug, Clone)]
pub struct Reload {
    /// How.
    pub outcome: Outcome,
    /// The hash of the configuration in force.
    pub hash: String,
    /// What is wrong or doubtful, as `check` finds it without rendering samples.
    pub problems: Vec<Problem>,
    /// The texts of the files, for excerpts, with secrets hidden.
    pub sources: Vec<(String, String)>,
}

impl Reload {
    /// The first error and where it is, of one that was refused.
    pub fn first_error(&self) -> Option<String> {
        let first = self.problems.iter().find(|problem| problem.severity == Severity::Error);
        let first = first.filter(|_| self.outcome == Outcome::Refused)?;
        let (errors, _) = count(&self.problems);
        let more = if errors > 1 { format!(" (and {} more)", errors - 1) } else { String::new() };
        Some(format!("{}: {} {}{more}", place(first), first.code, first.message))
    }
}

/// The reload that came last.
#[derive(Debug, Clone)]
pub struct Last {
    /// When it ended.
    pub at: Timestamp,
    /// What asked for it.
    pub cause: Cause,
    /// How it went.
    pub reload: Reload,
}

/// Reloads, one at a time. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Reloader {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    relay: Arc<Relay>,
    origin: Origin,
    systemd: Systemd,
    /// Held during a reload: who asks meanwhile waits, and finds what is in the files then.
    turn: tokio::sync::Mutex<()>,
    /// What was read last, good or bad.
    seen: Mutex<Outline>,
    last: Mutex<Option<Last>>,
}

impl Reloader {
    /// Nothing is loaded before it is asked for.
    pub fn new(relay: Arc<Relay>, origin: Origin, systemd: Systemd) -> Self {
        let seen = Mutex::new(relay.config().outline.clone());
        Self {
            shared: Arc::new(Shared {
                relay,
                origin,
                systemd,
                turn: tokio::sync::Mutex::default(),
                seen,
                last: Mutex::default(),
            }),
        }
    }

    /// Reads the files again, and puts in force what they say if it can be used.
    pub async fn reload(&self, cause: Cause) -> Reload {
        let Shared { relay, origin, systemd, turn, seen, last } = &*self.shared;
        let _turn = turn.lock().await;
        tracing::debug!(cause = cause.as_str(), "reading the configuration again");
        systemd.reloading();
        let loaded = load(origin).await;
        if let Some(loaded) = &loaded {
            *seen.lock().unwrap_or_else(PoisonError::into_inner) = loaded.outline.clone();
        }
        let reload = put_in_force(relay, loaded.unwrap_or_default()).await;
        tell(&reload, cause);
        systemd.ready(&status(&reload, &relay.config()));
        let told = Last { at: relay.clock.now(), cause, reload: reload.clone() };
        *last.lock().unwrap_or_else(PoisonError::into_inner) = Some(told);
        reload
    }

    /// The reload that came last, if there was one since the start.
    pub fn last(&self) -> Option<Last> {
        self.shared.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What was read last, good or bad.
    pub fn seen(&self) -> Outline {
        self.shared.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Reads the files, beside the tasks: there may be many of them. `None` after a fault of ours.
async fn load(origin: &Origin) -> Option<Loaded> {
    let Origin { path, environment } = origin.clone();
    let read = tokio::task::spawn_blocking(move || config::load(&path, &environment)).await;
    let mut loaded = read
        .inspect_err(|_| {
            tracing::error!("the relay failed while reading its files; please report it with the log");
        })
        .ok()?;
    if loaded.config.as_ref().is_some_and(|config| config.accounts.is_empty()) {
        let message = "the rules file names no account to poll".to_owned();
        loaded.add(codes::MISSING_KEY, Severity::Error, Subject::File, message, "add one under `accounts:`");
        loaded.config = None;
    }
    Some(loaded)
}

/// Puts in force what was loaded, if it can be used and says something else than what is in force.
pub async fn put_in_force(relay: &Relay, loaded: Loaded) -> Reload {
    let Loaded { config, problems, sources, .. } = loaded;
    let before = relay.config();
    let outcome = match config {
        None => Outcome::Refused,
        Some(config) if config.outline.is_same(&before.outline) => Outcome::Unchanged,
        Some(mut config) => {
            let difference = before.outline.difference(&config.outline);
            config.keep_targets(&before);
            crate::failpoint::pass("reload");
            relay.replace(config);
            if let Err(error) = tell_of_gone(relay).await {
                tracing::warn!(%error, "whether deliveries wait for targets that are gone is not known");
            }
            Outcome::Replaced(difference)
        }
    };
    let metrics = &relay.metrics;
    metrics.reloads.get_or_create(&OfReload { result: outcome.as_str().to_owned() }).inc();
    metrics.reload_successful.set(i64::from(outcome != Outcome::Refused));
    if outcome != Outcome::Refused {
        metrics.reload_success.set(relay.clock.now().as_second());
    }
    Reload { outcome, hash: relay.config().outline.hash().to_owned(), problems, sources }
}

impl Outcome {
    /// In one word.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Replaced(_) => "replaced",
            Self::Unchanged => "unchanged",
            Self::Refused => "refused",
        }
    }
}

/// Logs how it went; problems as `check` prints them.
fn tell(reload: &Reload, cause: Cause) {
    let (hash, by) = (&reload.hash, cause.as_str());
    match &reload.outcome {
        Outcome::Replaced(difference) => tracing::info!(by, hash, %difference, "reloaded"),
        // What is looked at by itself says nothing where nothing is new.
        Outcome::Unchanged if cause == Cause::Watch => tracing::debug!(hash, "the files say what they said"),
        Outcome::Unchanged => tracing::info!(by, hash, "not reloaded: the files say what they said"),
        Outcome::Refused => {
            let errors = || reload.problems.iter().filter(|problem| problem.severity == Severity::Error);
            for problem in errors().take(LOGGED_MAX) {
                let Problem { code, message, help, .. } = problem;
                tracing::error!(code, place = %place(problem), help, "{message}");
            }
            let errors = errors().count();
            tracing::error!(
                by,
                hash,
                errors,
                "not reloaded: the configuration stays as it was; `activity-relay check` shows all errors"
            );
        }
    }
}

fn place(problem: &Problem) -> String {
    format!("{}:{}:{}", problem.file, problem.line, problem.column)
}

/// What `systemctl status` shows.
fn status(reload: &Reload, config: &Config) -> String {
    let running = running(config);
    match reload.first_error() {
        Some(first) => format!("{running}; the last reload was refused: {first}"),
        None => running,
    }
}

/// What is in force, in a line.
pub fn running(config: &Config) -> String {
    let (accounts, targets, rules) = (config.accounts.len(), config.targets.len(), config.rules.list().len());
    let hash = config.outline.hash();
    format!("running: accounts {accounts}, targets {targets}, rules {rules}, configuration {hash}")
}

/// Says so where something is owed to a target that is no longer there: it was renamed or taken out.
///
/// # Errors
/// The store cannot be read.
pub async fn tell_of_gone(relay: &Relay) -> Result<(), StoreError> {
    let config = relay.config();
    for target in relay.store.owed_targets().await? {
        let counts = relay.store.counts(Some(&target)).await?;
        let waiting = counts.pending + counts.sending;
        if waiting > 0 && !config.targets.contains_key(&target) {
            tracing::warn!(
                target,
                waiting,
                "deliveries wait for a target that is not in the rules file: name it there again, or discard them with \
                 `activity-relay deliveries discard --target {target} --state pending`"
            );
        }
    }
    Ok(())
}

impl Relay {
    /// Tells the metrics which configuration is in force.
    pub(super) fn measure_config(&self) {
        let config = self.config();
        let hash = config.outline.hash().to_owned();
        self.metrics.expect(&config);
        self.metrics.config.clear();
        self.metrics.config.get_or_create(&OfConfig { hash }).set(1);
    }
}
