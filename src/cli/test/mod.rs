//! `test`: plays messages through the rules on a virtual clock, and compares what would be sent with what is expected.

mod checks;
mod coverage;
mod difference;
mod judge;
mod junit;
mod pairing;
mod parts;
mod play;
mod show;
mod snapshots;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use regex::Regex;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::config::problem::Severity;
use crate::config::rule_tests::{self, Opened, Suite, Test};
use crate::config::{Config, Loaded, load_standing_in, report};

use super::{Context, Exit, Format, Stop};
use coverage::{Coverage, Reached};
use judge::{Failure, Judge};
use snapshots::Snapshots;

/// What stands below the options.
const AFTER_HELP: &str = "\
Tests stand in the files *.test.yaml beside the rules file, and under its key `tests:`. Nothing is sent and nothing is \
asked: a secret that is not set is stood in for.

Examples:
  activity-relay test
  activity-relay test --run cancel --coverage
  activity-relay test --update       after templates were changed on purpose";

/// Run the tests of the rules file: messages in, expected rules, deliveries and texts out
///
/// Exits with 1 if a test fails or a file of tests has a mistake.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// Files of tests, in place of all that belong to the rules file
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Only tests whose name fits the regular expression
    #[arg(long, value_name = "REGEX")]
    run: Option<Regex>,
    /// Write new and changed snapshots
    #[arg(long)]
    update: bool,
    /// Say which rules, blocks of conditions and deliveries no test reaches
    #[arg(long)]
    coverage: bool,
    /// Also write a report in JUnit's XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Text for people or JSON for programs
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
}

/// One file's tests, and how they went.
#[derive(Debug)]
struct Ran {
    suite: Suite,
    outcomes: Vec<Outcome>,
    /// Snapshots that were written, each with whether it is new.
    written: Vec<(PathBuf, bool)>,
}

/// How a test went.
#[derive(Debug)]
struct Outcome {
    name: String,
    /// Where its name stands.
    line: usize,
    failures: Vec<Failure>,
    took: Duration,
}

impl Outcome {
    fn passed(&self) -> bool {
        self.failures.is_empty()
    }
}

/// Runs the command.
pub async fn run(args: &Args, context: &mut Context) -> anyhow::Result<Exit> {
    let path = context.global.config.clone();
    let mut loaded = load_standing_in(&path, &context.environment);
    let Some(config) = loaded.config.take() else { return bad_rules(args, &loaded, context) };
    let config = Arc::new(config);
    let mut reached = Reached::default();
    let mut ran = Vec::new();
    for opened in opened(args, &path, &loaded) {
        ran.push(file(args, opened, &config, context, &mut reached).await?);
    }
    let coverage = reached.coverage(&config, &loaded);
    match args.format {
        Format::Json => context.out.json(&as_json(&ran, &coverage))?,
        Format::Text => show::all(&ran, args.coverage.then_some(&coverage), context)?,
    }
    write_junit(args, || junit::document(&ran))?;
    let count: usize = ran.iter().map(|ran| ran.outcomes.len()).sum();
    let fine =
        ran.iter().all(|ran| ran.suite.problems.is_empty() && ran.outcomes.iter().all(Outcome::passed));
    if count == 0 && fine {
        // A run that tests nothing must not look like one that found nothing wrong.
        context.out.note(nothing(args, &ran, &path))?;
        return Ok(Exit::Problem);
    }
    Ok(if fine { Exit::Fine } else { Exit::Problem })
}

/// Writes the report for CI systems where it is asked for.
fn write_junit(args: &Args, document: impl FnOnce() -> String) -> anyhow::Result<()> {
    let Some(path) = &args.junit else { return Ok(()) };
    std::fs::write(path, document()).map_err(|error| {
        Stop::new(Exit::Unavailable, format!("{} cannot be written: {error}", path.display()))
    })
}

/// The files to run: those named, or all that belong to the rules file.
fn opened(args: &Args, path: &std::path::Path, loaded: &Loaded) -> Vec<Opened> {
    if !args.files.is_empty() {
        return args.files.iter().map(|file| rule_tests::open(file)).collect();
    }
    let mut found = rule_tests::of_main_file(path);
    for file in rule_tests::beside(path, loaded) {
        if !found.iter().any(|known| known.path() == file) {
            found.push(rule_tests::open(&file));
        }
    }
    found
}

fn nothing(args: &Args, ran: &[Ran], path: &std::path::Path) -> String {
    match (&args.run, ran) {
        (Some(regex), [_, ..]) => format!("no test is called anything like `{regex}`"),
        _ => format!(
            "there are no tests for {0}: write them into a file *.test.yaml beside it; what \
             `activity-relay init` writes into an empty folder shows how",
            path.display()
        ),
    }
}

/// Runs one file's tests, under the environment that the file wants.
async fn file(
    args: &Args,
    opened: Opened,
    config: &Arc<Config>,
    context: &Context,
    reached: &mut Reached,
) -> anyhow::Result<Ran> {
    let environment = context.environment.with(opened.environment.clone());
    let own = if opened.environment.is_empty() {
        None
    } else {
        let loaded = load_standing_in(&context.global.config, &environment);
        let wrong = loaded.problems.iter().find(|problem| problem.severity == Severity::Error);
        if let Some(problem) = wrong {
            let suite = opened.unplayable(config, &environment, problem);
            return Ok(Ran { suite, outcomes: Vec::new(), written: Vec::new() });
        }
        loaded.config.map(Arc::new)
    };
    let config = own.as_ref().unwrap_or(config);
    let suite = opened.read(config, &environment);
    let mut snapshots = Snapshots::beside(&suite.folder, args.update);
    let mut outcomes = Vec::new();
    let wanted = |test: &&Test| args.run.as_ref().is_none_or(|regex| regex.is_match(&test.name));
    for test in suite.tests.iter().filter(wanted) {
        let begun = Instant::now();
        let played = play::play(config, test).await?;
        reached.note(config, &played);
        let mut judge = Judge { config, suite: &suite, test, played: &played, snapshots: &mut snapshots };
        let failures = judge.failures();
        let (name, line) = (test.name.clone(), test.span.start.0);
        outcomes.push(Outcome { name, line, failures, took: begun.elapsed() });
    }
    Ok(Ran { suite, outcomes, written: snapshots.written })
}

/// A rules file with errors: nothing can be played.
fn bad_rules(args: &Args, loaded: &Loaded, context: &Context) -> anyhow::Result<Exit> {
    match args.format {
        Format::Json => {
            let (coverage, problems) = (Coverage::default().json(), &loaded.problems);
            let document = json!({ "tests": [], "coverage": coverage, "problems": problems, "written": [] });
            context.out.json(&document)?;
        }
        Format::Text => {
            context.out.line(report::render_text(&loaded.problems, &loaded.sources, true).trim_end())?;
            context.out.line("\nno test was run, as the rules file has errors")?;
        }
    }
    let file = context.global.config.display().to_string();
    write_junit(args, || junit::of_problems(&file, &loaded.problems))?;
    Ok(Exit::Problem)
}

fn as_json(ran: &[Ran], coverage: &Coverage) -> Value {
    let mut tests = Vec::new();
    for ran in ran {
        tests.extend(ran.outcomes.iter().map(|outcome| {
            let failures: Vec<Value> = outcome.failures.iter().map(failure_json).collect();
            json!({
                "name": outcome.name,
                "file": ran.suite.file,
                "line": outcome.line,
                "passed": outcome.passed(),
                "failures": failures,
                "duration_ms": u64::try_from(outcome.took.as_millis()).unwrap_or(u64::MAX),
            })
        }));
    }
    let problems: Vec<_> = ran.iter().flat_map(|ran| &ran.suite.problems).collect();
    let written: Vec<String> =
        ran.iter().flat_map(|ran| &ran.written).map(|(path, _)| path.display().to_string()).collect();
    json!({ "tests": tests, "coverage": coverage.json(), "problems": problems, "written": written })
}

fn failure_json(failure: &Failure) -> Value {
    let problem = &failure.problem;
    json!({
        "message": as_text(failure),
        "file": problem.file,
        "line": problem.line,
        "column": problem.column,
        "code": problem.code,
    })
}

/// A failure in words: what, the remedy, and the difference.
fn as_text(failure: &Failure) -> String {
    let problem = &failure.problem;
    let mut lines = vec![format!("{}:{}: {}", problem.file, problem.line, problem.message)];
    lines.extend(problem.help.clone());
    lines.extend(failure.difference.as_ref().map(difference::Difference::plain));
    lines.join("\n")
}
