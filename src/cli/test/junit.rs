//! The report that CI systems read: JUnit's XML, one suite for each file of tests.

use std::fmt::Write;

use super::{Outcome, Ran};
use crate::config::problem::Problem;

/// The whole document.
pub(super) fn document(ran: &[Ran]) -> String {
    let tests: usize = ran.iter().map(cases).sum();
    let failures: usize = ran.iter().map(|ran| ran.outcomes.iter().filter(|one| !one.passed()).count()).sum();
    let errors: usize = ran.iter().filter(|ran| !ran.suite.problems.is_empty()).count();
    let seconds: f64 = ran.iter().map(seconds).sum();
    whole((tests, failures, errors, seconds), |xml| ran.iter().for_each(|ran| suite(xml, ran)))
}

/// The document where the rules file itself has problems, so that no test was run.
pub(super) fn of_problems(file: &str, problems: &[Problem]) -> String {
    whole((1, 0, 1, 0.0), |xml| {
        let file = escaped(file);
        let _ = writeln!(
            xml,
            "  <testsuite name=\"{file}\" tests=\"1\" failures=\"0\" errors=\"1\" time=\"0.000\">"
        );
        broken(xml, &file, problems);
        xml.push_str("  </testsuite>\n");
    })
}

fn whole(
    (tests, failures, errors, seconds): (usize, usize, usize, f64),
    suites: impl FnOnce(&mut String),
) -> String {
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(
        xml,
        "<testsuites name=\"activity-relay\" tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\" time=\"{seconds:.3}\">"
    );
    suites(&mut xml);
    xml.push_str("</testsuites>\n");
    xml
}

fn cases(ran: &Ran) -> usize {
    ran.outcomes.len() + usize::from(!ran.suite.problems.is_empty())
}

fn seconds(ran: &Ran) -> f64 {
    ran.outcomes.iter().map(|outcome| outcome.took.as_secs_f64()).sum()
}

fn suite(xml: &mut String, ran: &Ran) {
    let file = escaped(&ran.suite.file);
    let failures = ran.outcomes.iter().filter(|outcome| !outcome.passed()).count();
    let errors = usize::from(!ran.suite.problems.is_empty());
    let _ = writeln!(
        xml,
        "  <testsuite name=\"{file}\" tests=\"{}\" failures=\"{failures}\" errors=\"{errors}\" time=\"{:.3}\">",
        cases(ran),
        seconds(ran)
    );
    if !ran.suite.problems.is_empty() {
        broken(xml, &file, &ran.suite.problems);
    }
    for outcome in &ran.outcomes {
        case(xml, &file, outcome);
    }
    xml.push_str("  </testsuite>\n");
}

/// What is wrong with a file, as a case of its own.
fn broken(xml: &mut String, file: &str, problems: &[Problem]) {
    let texts: Vec<String> = problems
        .iter()
        .map(|problem| format!("{}:{}: {}", problem.file, problem.line, problem.message))
        .collect();
    let _ = writeln!(
        xml,
        "    <testcase name=\"(the file itself)\" classname=\"{file}\" time=\"0.000\">\n      \
         <error message=\"the file has problems\">{}</error>\n    </testcase>",
        escaped(&texts.join("\n"))
    );
}

fn case(xml: &mut String, file: &str, outcome: &Outcome) {
    let _ = write!(
        xml,
        "    <testcase name=\"{}\" classname=\"{file}\" file=\"{file}\" line=\"{}\" time=\"{:.3}\"",
        escaped(&outcome.name),
        outcome.line,
        outcome.took.as_secs_f64()
    );
    let Some(first) = outcome.failures.first() else {
        xml.push_str("/>\n");
        return;
    };
    let texts: Vec<String> = outcome.failures.iter().map(super::as_text).collect();
    let _ = writeln!(
        xml,
        ">\n      <failure message=\"{}\" type=\"{}\">{}</failure>\n    </testcase>",
        escaped(&first.problem.message),
        first.problem.code,
        escaped(&texts.join("\n\n"))
    );
}

/// Text for XML 1.0, which has no place for most control characters, not even escaped.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push_str("&#10;"),
            '\t' => out.push_str("&#9;"),
            '\r' => out.push_str("&#13;"),
            '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            other => out.push(other),
        }
    }
    out
}
