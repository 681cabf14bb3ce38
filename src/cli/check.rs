//! `check`: everything that is wrong with the rules file, at once and offline.

use clap::ValueEnum;
use serde_json::{Value, json};

use crate::config::fix::{self, Fixed};
use crate::config::problem::{Applicability, Severity, count};
use crate::config::{Loaded, codes, report};

use super::online::{self, Answers};
use super::output::{BAD, GOOD, WARN, counted, paint};
use super::upcoming::Upcoming;
use super::{Context, Exit, Stop, samples};

/// Check the rules file and the templates, and show all problems at once
///
/// Exits with 0 if the relay can run with it, with 1 if it cannot.
/// `--fix` writes what is certain into the files: the spelling of names, missing spaces and quotes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How problems are shown
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: ReportFormat,
    /// What else counts as a failure
    #[arg(long, value_name = "WHAT")]
    deny: Option<Deny>,
    /// Also ask the API and the targets, without posting to people
    #[arg(long)]
    online: bool,
    /// Write certain corrections into the files, show them, and check again
    #[arg(long)]
    fix: bool,
    /// Explain a code such as R014 with an example; without one, list all codes
    #[arg(long, value_name = "CODE", num_args = 0..=1, default_missing_value = "", conflicts_with_all = ["online", "deny", "fix"])]
    explain: Option<String>,
}

/// How often `--fix` looks again for what a correction brought to light.
const FIX_ROUNDS: usize = 10;

/// How problems are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ReportFormat {
    /// With excerpts, for people
    Text,
    /// One document with stable keys
    Json,
    /// Annotations of a GitHub workflow
    Github,
    /// SARIF 2.1.0, for code scanning
    Sarif,
}

/// What else counts as a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Deny {
    /// Exit with 1 on warnings too
    Warnings,
}

/// Runs the command.
pub async fn run(args: &Args, context: &mut Context) -> anyhow::Result<Exit> {
    if let Some(code) = &args.explain {
        return explain(code, args.format, context);
    }
    let fixed = if args.fix { mend(context)? } else { Vec::new() };
    let mut loaded = context.load();
    samples::check(&mut loaded, context.clock.now());
    // What the file says is shown with excerpts; what the network says has lines of its own.
    let offline = loaded.problems.len();
    let answers = match &loaded.config {
        Some(config) if args.online => Some(online::ask(config, context.clock.now()).await),
        _ => None,
    };
    if let Some(answers) = &answers {
        answers.report(&mut loaded);
    }
    let (errors, warnings) = count(&loaded.problems);
    let upcoming = loaded.config.as_ref().and_then(|config| Upcoming::of(config, context.clock.now()));
    match args.format {
        ReportFormat::Text => {
            changes(&fixed, args, context)?;
            show(&loaded, offline, answers.as_ref(), args, context)?;
            if let Some(upcoming) = &upcoming {
                context.out.line("")?;
                upcoming.lines().into_iter().try_for_each(|line| context.out.line(line))?;
            }
        }
        ReportFormat::Json => {
            let mut document = as_json(&loaded, answers.as_ref())?;
            if let (Some(upcoming), Value::Object(fields)) = (&upcoming, &mut document) {
                fields.insert("upcoming".to_owned(), serde_json::to_value(upcoming)?);
            }
            if let (true, Value::Object(fields)) = (args.fix, &mut document) {
                fields.insert("fixed".to_owned(), serde_json::to_value(&fixed)?);
            }
            context.out.json(&document)?;
        }
        ReportFormat::Sarif => {
            note_changes(&fixed, context)?;
            context.out.json(&report::render_sarif(&loaded.problems))?;
        }
        ReportFormat::Github => {
            note_changes(&fixed, context)?;
            for line in report::render_github(&loaded.problems) {
                context.out.line(line)?;
            }
        }
    }
    let denied = args.deny == Some(Deny::Warnings) && warnings > 0;
    Ok(if errors > 0 || denied { Exit::Problem } else { Exit::Fine })
}

/// Writes every certain correction into the files, until none is left; what was changed.
fn mend(context: &mut Context) -> anyhow::Result<Vec<Fixed>> {
    let mut all = Vec::new();
    for _ in 0..FIX_ROUNDS {
        let loaded = context.load();
        let fixed = fix::apply(&loaded.problems).map_err(|error| {
            Stop::new(Exit::Problem, format!("the corrections cannot be written: {error}"))
        })?;
        if fixed.is_empty() {
            break;
        }
        all.extend(fixed);
    }
    Ok(all)
}

/// What `--fix` changed, beside what is written for programs.
fn note_changes(fixed: &[Fixed], context: &Context) -> anyhow::Result<()> {
    fix::diff(fixed).into_iter().try_for_each(|line| context.out.note(line))?;
    Ok(())
}

/// What `--fix` changed, line by line.
fn changes(fixed: &[Fixed], args: &Args, context: &Context) -> anyhow::Result<()> {
    for line in fix::diff(fixed) {
        let style = match line.as_bytes() {
            [b'-', ..] => BAD,
            [b'+', ..] => GOOD,
            _ => WARN,
        };
        context.out.line(paint(style, line))?;
    }
    if !fixed.is_empty() {
        context.out.line(format!("{} corrected\n", counted(fixed.len(), "line")))?;
    } else if args.fix {
        context.out.line("nothing to correct that is certain\n")?;
    }
    Ok(())
}

/// The document of `--format json`, with what the accounts and targets answered if they were asked.
fn as_json(loaded: &Loaded, answers: Option<&Answers>) -> anyhow::Result<Value> {
    let mut document = report::render_json(&loaded.problems);
    if let (Some(answers), Value::Object(fields)) = (answers, &mut document) {
        fields.insert("online".to_owned(), serde_json::to_value(answers)?);
    }
    Ok(document)
}

fn show(
    loaded: &Loaded,
    offline: usize,
    answers: Option<&Answers>,
    args: &Args,
    context: &Context,
) -> anyhow::Result<()> {
    let text = report::render_text(&loaded.problems[..offline], &loaded.sources, true);
    if !text.is_empty() {
        context.out.line(text.trim_end())?;
        context.out.line("")?;
    }
    if let Some(answers) = answers {
        answers.lines().into_iter().try_for_each(|line| context.out.line(line))?;
        context.out.line("")?;
    } else if args.online {
        context.out.line("nothing was asked online, as the file has errors\n")?;
    }
    context.out.line(summary(loaded, context))?;
    let (_, warnings) = count(&loaded.problems);
    if args.deny == Some(Deny::Warnings) && warnings > 0 {
        context.out.line("warnings count as errors (--deny warnings)")?;
    }
    if !args.fix {
        let certain =
            loaded.problems.iter().filter(|problem| problem.applicability == Some(Applicability::Certain));
        let certain = certain.count();
        if certain > 0 {
            context.out.line(format!("{certain} of these can be corrected with --fix"))?;
        }
    }
    let worst = loaded.problems.iter().find(|problem| problem.severity == Severity::Error);
    if let Some(problem) = worst.or(loaded.problems.first()) {
        context.out.line(format!("activity-relay check --explain {} says more", problem.code))?;
    }
    Ok(())
}

/// The last line: what is wrong in numbers, or what there is.
fn summary(loaded: &Loaded, context: &Context) -> String {
    let (errors, warnings) = count(&loaded.problems);
    if errors + warnings > 0 {
        let style = if errors > 0 { BAD } else { WARN };
        return paint(style, format!("{}, {}", counted(errors, "error"), counted(warnings, "warning")));
    }
    let Some(config) = &loaded.config else { return String::new() };
    let what = format!(
        "{}, {}, {}",
        counted(config.accounts.len(), "account"),
        counted(config.targets.len(), "target"),
        counted(config.rules.list().len(), "rule"),
    );
    format!("{} {what}", paint(GOOD, format!("{} is fine:", context.global.config.display())))
}

fn explain(code: &str, format: ReportFormat, context: &Context) -> anyhow::Result<Exit> {
    let json = format == ReportFormat::Json;
    if code.is_empty() && json {
        let all: Vec<Value> =
            codes::ALL.iter().map(|code| json!({ "code": code.id, "meaning": code.meaning })).collect();
        context.out.json(&json!({ "codes": all }))?;
        return Ok(Exit::Fine);
    }
    if code.is_empty() {
        for code in codes::ALL {
            context.out.line(format!("{}  {}", code.id, code.meaning))?;
        }
        return Ok(Exit::Fine);
    }
    let Some(code) = codes::find(code) else {
        let near = codes::near(code).join(", ");
        let message = format!("there is no code {code}; near are {near}, and `check --explain` lists all");
        return Err(Stop::new(Exit::Problem, message));
    };
    let explanation = code.explanation().trim_end();
    if json {
        let document = json!({ "code": code.id, "meaning": code.meaning, "explanation": explanation });
        context.out.json(&document)?;
        return Ok(Exit::Fine);
    }
    context.out.line(format!("{}: {}\n", code.id, code.meaning))?;
    context.out.line(explanation)?;
    Ok(Exit::Fine)
}
