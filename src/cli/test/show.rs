//! How a run of tests is shown to people: a line for each test, then what failed, then the sum.

use crate::cli::Context;
use crate::cli::output::{BAD, BOLD, DIM, GOOD, counted, paint};
use crate::config::report;

use super::coverage::Coverage;
use super::judge::Failure;
use super::{Outcome, Ran};

/// Everything, the sum last.
pub(super) fn all(ran: &[Ran], coverage: Option<&Coverage>, context: &Context) -> anyhow::Result<()> {
    let out = &context.out;
    for ran in ran {
        let text = report::render_text(&ran.suite.problems, std::slice::from_ref(&ran.suite.source), true);
        if !text.is_empty() {
            out.line(format!("{}\n", text.trim_end()))?;
        }
    }
    for ran in ran.iter().filter(|ran| !ran.outcomes.is_empty()) {
        out.line(paint(BOLD, &ran.suite.file))?;
        for outcome in &ran.outcomes {
            let sign = if outcome.passed() { paint(GOOD, "✓") } else { paint(BAD, "✗") };
            out.line(format!("  {sign} {}", outcome.name))?;
        }
        for (path, new) in &ran.written {
            let how = if *new { "wrote" } else { "changed" };
            out.line(format!("  {} {}", paint(DIM, how), path.display()))?;
        }
        out.line("")?;
    }
    for ran in ran {
        for outcome in ran.outcomes.iter().filter(|outcome| !outcome.passed()) {
            out.line(format!("{} {}\n", paint(BAD, "✗"), paint(BOLD, &outcome.name)))?;
            let mut before = None;
            for failure in &outcome.failures {
                // What came is shown once, however much is wrong with it.
                let again = failure.difference.is_some() && failure.difference == before;
                out.line(shown(failure, ran, again))?;
                before.clone_from(&failure.difference);
            }
        }
    }
    if let Some(coverage) = coverage {
        coverage.lines().into_iter().try_for_each(|line| out.line(line))?;
    }
    out.line(sum(ran))?;
    Ok(())
}

fn shown(failure: &Failure, ran: &Ran, again: bool) -> String {
    let source = std::slice::from_ref(&ran.suite.source);
    let mut text =
        report::render_text(std::slice::from_ref(&failure.problem), source, true).trim_end().to_owned();
    if let Some(difference) = failure.difference.as_ref().filter(|_| !again) {
        text.push('\n');
        for line in difference.lines() {
            text.push_str("\n    ");
            text.push_str(&line);
        }
    }
    text.push('\n');
    text
}

fn sum(ran: &[Ran]) -> String {
    let outcomes = || ran.iter().flat_map(|ran| &ran.outcomes);
    let (all, failed) = (outcomes().count(), outcomes().filter(|one: &&Outcome| !one.passed()).count());
    let broken = ran.iter().filter(|ran| !ran.suite.problems.is_empty()).count();
    let mut parts = Vec::new();
    if failed > 0 {
        parts.push(paint(BAD, format!("{failed} failed")));
    }
    if broken > 0 {
        parts.push(paint(BAD, format!("{} with mistakes", counted(broken, "file"))));
    }
    let passed = format!("{} passed", all - failed);
    parts.push(if parts.is_empty() { paint(GOOD, passed) } else { passed });
    format!("{}: {}", counted(all, "test"), parts.join(", "))
}
