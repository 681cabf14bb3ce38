//! The commands: parse, run, print, exit code. One file per command.

pub mod answerer;
pub mod backfill;
pub mod catalog;
pub mod check;
pub mod completions;
pub mod deliveries;
pub mod demo;
pub mod digests;
pub mod explain;
pub mod health;
pub mod init;
pub mod log;
pub mod man;
pub mod mute;
mod online;
pub mod output;
pub mod payload;
mod progress;
pub mod render;
pub mod run;
mod samples;
pub mod sandbox;
pub mod schema;
pub mod status;
pub mod subject;
pub mod table;
pub mod targets;
pub mod test;
mod upcoming;
pub mod when;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::builder::Resettable;
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

use crate::config::problem::count;
use crate::config::secret::Environment;
use crate::config::{self, Config, Loaded, report};
use crate::daemon::clock::Clock;
use crate::store::{Mode, Store, StoreError};

use output::Output;

/// Threads that run tasks. The work is waiting; two keep memory small and cores free.
const WORKERS: usize = 2;
/// How long the runtime may take to end its blocking work.
const SHUTDOWN: Duration = Duration::from_millis(200);

/// What stands below the commands.
const AFTER_HELP: &str = "\
Begin with `activity-relay demo`, which needs neither account nor configuration; then `init`, `check` and `run`.

Exit codes: 0 fine · 1 a problem was found · 2 wrong usage · 64 bad rules file · 69 something needed is not \
available · 70 a fault of this program";
/// The heading of the options that every command takes.
const GLOBAL: &str = "Global options";

/// What the process ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// All is well.
    Fine = 0,
    /// A problem was found: by `check`, `test`, or a delivery died.
    Problem = 1,
    /// The command line was wrong.
    Usage = 2,
    /// The rules file was wrong at start-up.
    BadConfig = 64,
    /// Something needed is not available.
    Unavailable = 69,
    /// Our own fault.
    Internal = 70,
}

/// For whom output is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs: stable keys.
    Json,
}

/// When output is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Color {
    #[default]
    Auto,
    Always,
    Never,
}

/// Watches a vCita account for new activity messages and delivers them to Slack, e-mail and HTTP by rules.
#[derive(Debug, Parser)]
#[command(name = "activity-relay", version, max_term_width = 100, propagate_version = false, after_help = AFTER_HELP)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Options that every command takes.
#[derive(Debug, Clone, clap::Args)]
pub struct Global {
    /// The rules file
    #[arg(
        help_heading = GLOBAL,
        short,
        long,
        global = true,
        value_name = "FILE",
        env = "RELAY_CONFIG",
        default_value = "rules.yaml"
    )]
    pub config: PathBuf,
    /// The store: `sqlite://FILE`, `sqlite::memory:` or `postgres://USER:PASSWORD@HOST/DATABASE`
    #[arg(
        help_heading = GLOBAL,
        long,
        global = true,
        value_name = "URL",
        env = "RELAY_STORE",
        default_value = "sqlite://relay.db",
        hide_env_values = true
    )]
    pub store: String,
    /// Colours in output; `NO_COLOR` is respected
    #[arg(help_heading = GLOBAL, long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: Color,
    /// How log lines are written
    #[arg(help_heading = GLOBAL, long, global = true, value_name = "FORMAT", default_value = "text")]
    pub log_format: Format,
    /// Which log lines are written, such as info or `activity_relay=debug` [default: info for run, else warn]
    #[arg(help_heading = GLOBAL, long, global = true, value_name = "FILTER", env = "RUST_LOG")]
    pub log: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Args),
    Demo(demo::Args),
    Init(init::Args),
    Check(check::Args),
    Test(test::Args),
    Render(render::Args),
    Catalog(catalog::Args),
    Explain(explain::Args),
    Deliveries(deliveries::Args),
    Digests(digests::Args),
    Mute(mute::Args),
    Backfill(backfill::Args),
    Targets(targets::Args),
    Status(status::Args),
    Sandbox(sandbox::Args),
    Health(health::Args),
    Schema(schema::Args),
    Completions(completions::Args),
    Man(man::Args),
}

impl Command {
    async fn run(&self, context: &mut Context) -> anyhow::Result<Exit> {
        match self {
            Self::Run(args) => run::run(args, context).await,
            Self::Demo(args) => demo::run(args, context).await,
            Self::Init(args) => init::run(args, context).await,
            Self::Check(args) => check::run(args, context).await,
            Self::Test(args) => test::run(args, context).await,
            Self::Render(args) => render::run(args, context).await,
            Self::Catalog(args) => catalog::run(args, context).await,
            Self::Explain(args) => explain::run(args, context).await,
            Self::Deliveries(args) => deliveries::run(args, context).await,
            Self::Digests(args) => digests::run(args, context).await,
            Self::Mute(args) => mute::run(args, context).await,
            Self::Backfill(args) => backfill::run(args, context).await,
            Self::Targets(args) => targets::run(args, context).await,
            Self::Status(args) => status::run(args, context).await,
            Self::Sandbox(args) => sandbox::run(args, context).await,
            Self::Health(args) => health::run(args, context).await,
            Self::Schema(args) => schema::run(args, context).await,
            Self::Completions(args) => completions::run(args, context),
            Self::Man(args) => man::run(args, context),
        }
    }

    /// What is logged unless `--log` says otherwise: a daemon tells its story, a tool only its troubles.
    fn log_filter(&self) -> &'static str {
        match self {
            Self::Run(_) => "info",
            // It shows each failed attempt in its own way.
            Self::Demo(_) => "error",
            // What a rehearsal delivers and lets expire is no news.
            Self::Test(_) => "off",
            _ => "warn",
        }
    }
}

/// What stands on the command line itself.
#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub struct Named {
    /// `--store`.
    pub store: bool,
    /// `--url` of a command that asks a running relay.
    pub url: bool,
    /// `--config`: the file has to be there.
    pub config: bool,
    /// `--log`: it has to be readable.
    pub log: bool,
}

impl Named {
    fn of(matches: &ArgMatches) -> Self {
        // What every command takes is known to the innermost one.
        let mut innermost = matches;
        while let Some((_, inner)) = innermost.subcommand() {
            innermost = inner;
        }
        let named = |id: &str| {
            let known = innermost.ids().any(|known| known.as_str() == id);
            known && innermost.value_source(id) == Some(ValueSource::CommandLine)
        };
        Self { store: named("store"), url: named("url"), config: named("config"), log: named("log") }
    }
}

/// What a command works with.
#[derive(Debug)]
pub struct Context {
    /// The global options.
    pub global: Global,
    /// Which of them stand on the command line.
    pub named: Named,
    /// The environment of the process.
    pub environment: Environment,
    /// The one door to the terminal.
    pub out: Output,
    /// Where "now" comes from.
    pub clock: Clock,
}

/// A command that cannot go on: what to say and what to end with.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Stop {
    /// For the person at the terminal.
    pub message: String,
    /// The exit code.
    pub exit: Exit,
}

impl Stop {
    /// A stop as an error that `?` carries to the end.
    #[expect(clippy::new_ret_no_self, reason = "a stop is made only to be carried to the end")]
    pub fn new(exit: Exit, message: impl Into<String>) -> anyhow::Error {
        Self { message: message.into(), exit }.into()
    }
}

impl Context {
    /// The rules file, loaded; its problems are not shown.
    pub fn load(&self) -> Loaded {
        config::load(&self.global.config, &self.environment)
    }

    /// The configuration, or its problems printed and exit 64.
    pub fn config(&mut self) -> anyhow::Result<Config> {
        let loaded = self.load();
        if let Some(config) = loaded.config {
            return Ok(config);
        }
        let file = self.global.config.display();
        if !self.global.config.exists() {
            let remedy = "`activity-relay init` writes one, --config FILE or RELAY_CONFIG names another";
            return Err(Stop::new(Exit::BadConfig, format!("there is no {file} here: {remedy}")));
        }
        self.out.note(report::render_text(&loaded.problems, &loaded.sources, true).trim_end())?;
        let (errors, _) = count(&loaded.problems);
        let what = if errors == 1 { "one error".to_owned() } else { format!("{errors} errors") };
        Err(Stop::new(Exit::BadConfig, format!("{file} has {what}; `activity-relay check` shows them again")))
    }

    /// The command line names a rules file that is not there.
    pub fn lacks_named_config(&self) -> bool {
        self.named.config && !self.global.config.exists()
    }

    /// The store as a tool beside a running relay; exit 69 if it cannot be opened, 2 if its URL means none.
    pub async fn store(&self) -> anyhow::Result<Store> {
        Store::open(&self.global.store, Mode::Tool).await.map_err(unopened)
    }

    /// The store if there is one, else an empty one in memory: who only asks leaves no file behind.
    pub async fn existing_store(&self) -> anyhow::Result<Store> {
        let path = self.global.store.strip_prefix("sqlite://").filter(|path| !Path::new(path).exists());
        if path.is_none() {
            return self.store().await;
        }
        Store::open("sqlite::memory:", Mode::Tool).await.map_err(unopened)
    }

    /// The folder of the rules file.
    pub fn folder(&self) -> &Path {
        self.global.config.parent().unwrap_or_else(|| Path::new("."))
    }
}

/// Why there is no store: its URL is wrong usage, all else is not available.
#[expect(clippy::needless_pass_by_value, reason = "what map_err hands over")]
fn unopened(error: StoreError) -> anyhow::Error {
    let exit = if matches!(error, StoreError::Misnamed(_)) { Exit::Usage } else { Exit::Unavailable };
    Stop::new(exit, error.to_string())
}

/// An empty variable, which `RELAY_STORE=${RELAY_STORE:-}` makes of one that is not set, is taken for one that is not set.
fn without_empty(command: clap::Command, environment: &Environment) -> clap::Command {
    let is_empty = |arg: &Arg| {
        let name = arg.get_env().and_then(|name| name.to_str());
        name.is_some_and(|name| environment.get(name) == Some(""))
    };
    command
        .mut_args(|arg| if is_empty(&arg) { arg.env(Resettable::Reset) } else { arg })
        .mut_subcommands(|inner| without_empty(inner, environment))
}

/// Runs the command line; what `main` calls.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> i32 {
    let environment = Environment::of_process();
    let parsed = without_empty(Cli::command(), &environment)
        .try_get_matches_from(arguments)
        .and_then(|matches| Ok((Cli::from_arg_matches(&matches)?, Named::of(&matches))));
    let (cli, named) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => {
            let _ = error.print();
            return error.exit_code();
        }
    };
    let out = Output::new(cli.global.color);
    let exit = run(cli, named, environment, out).unwrap_or_else(|error| report(out, &error));
    exit as i32
}

fn run(cli: Cli, named: Named, environment: Environment, out: Output) -> anyhow::Result<Exit> {
    log::start(&cli.global, named.log, cli.command.log_filter())?;
    // Fails only if a provider is there already, which is just as well.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build()?;
    let mut context = Context { global: cli.global, named, environment, out, clock: Clock::System };
    let exit = runtime.block_on(cli.command.run(&mut context));
    runtime.shutdown_timeout(SHUTDOWN);
    exit
}

/// Says why a command could not go on, and gives its exit code.
fn report(out: Output, error: &anyhow::Error) -> Exit {
    let (text, exit) = match error.downcast_ref::<Stop>() {
        Some(stop) => (stop.message.clone(), stop.exit),
        None => (format!("{error:#}"), exit_of(error)),
    };
    // Where even the error stream is gone there is nobody left to tell; the exit code remains.
    let _ = out.note(format!("{}: {text}", output::paint(output::BAD, "error")));
    exit
}

/// What a command ends with that an error ends: a store in trouble is not available, all else is our own fault.
fn exit_of(error: &anyhow::Error) -> Exit {
    match error.chain().find_map(|cause| cause.downcast_ref::<StoreError>()) {
        None | Some(StoreError::Corrupt(_)) => Exit::Internal,
        Some(StoreError::Misnamed(_)) => Exit::Usage,
        Some(_) => Exit::Unavailable,
    }
}
