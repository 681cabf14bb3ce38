//! Problems as people and programs read them: text with excerpts, GitHub annotations, SARIF.

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use serde_json::{Value, json};

use super::codes;
use super::problem::{Problem, Related, Severity, count};
use crate::parallel;

/// How wide an excerpt may be, in columns.
const WIDTH: usize = 120;

/// Two places that are so many lines apart have an excerpt each: one over both would be read line by line only to leave out
/// what lies between them.
const APART_MAX: usize = 100;

/// All problems with excerpts of the sources (name, text), in rustc's shape; empty if there are none.
pub fn render_text(problems: &[Problem], sources: &[(String, String)], color: bool) -> String {
    let renderer = if color { Renderer::styled() } else { Renderer::plain() }.term_width(WIDTH);
    let excerpts: Vec<(&str, Vec<&str>)> =
        sources.iter().map(|(name, text)| (name.as_str(), text.split('\n').collect())).collect();
    parallel::map(problems, |problem| renderer.render(&[group(problem, &excerpts)]) + "\n\n").concat()
}

fn group<'a>(problem: &'a Problem, sources: &[(&'a str, Vec<&'a str>)]) -> Group<'a> {
    let level = match problem.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let mut group = Group::with_title(level.primary_title(problem.message.as_str()).id(problem.code));
    let lines =
        |file: &str| sources.iter().find(|(name, _)| *name == file).map(|(_, lines)| lines.as_slice());
    let near =
        |related: &&Related| related.file == problem.file && related.line.abs_diff(problem.line) <= APART_MAX;
    let same_file = problem.related.as_ref().filter(near);
    let first = same_file.map_or(problem.line, |related| related.line.min(problem.line));
    let last = same_file.map_or(problem.end_line, |related| related.end_line.max(problem.end_line));
    let window = lines(&problem.file).unwrap_or_default();
    let (excerpt, starts) = cut(window, first, last);
    let place = |(line, column), (end_line, end_column)| {
        let from = offset(&excerpt, &starts, first, line, column);
        from..offset(&excerpt, &starts, first, end_line, end_column).max(from)
    };
    let primary = place((problem.line, problem.column), (problem.end_line, problem.end_column));
    let related = same_file.map(|related| {
        let range = place((related.line, related.column), (related.end_line, related.end_column));
        AnnotationKind::Context.span(range).label(related.message.as_str())
    });
    group = if window.iter().all(|line| line.is_empty()) {
        // There is nothing to show of a file that is empty or cannot be read.
        group.element(Origin::path(problem.file.as_str()))
    } else {
        let mut snippet = Snippet::source(excerpt.clone()).path(problem.file.as_str()).line_start(first);
        snippet = snippet.annotation(AnnotationKind::Primary.span(primary));
        group.element(snippet.annotations(related))
    };
    if let Some(related) = problem.related.as_ref().filter(|related| !near(related)) {
        let (excerpt, starts) = cut(lines(&related.file).unwrap_or_default(), related.line, related.end_line);
        let from = offset(&excerpt, &starts, related.line, related.line, related.column);
        let to = offset(&excerpt, &starts, related.line, related.end_line, related.end_column).max(from);
        let snippet = Snippet::source(excerpt).path(related.file.as_str()).line_start(related.line);
        let label = AnnotationKind::Context.span(from..to).label(related.message.as_str());
        group = group.element(snippet.annotation(label));
    }
    if let Some(owner) = &problem.owner {
        group = group.element(Level::NOTE.message(format!("the owner of this file is {owner}")));
    }
    match &problem.help {
        Some(help) => group.element(Level::HELP.message(help.as_str())),
        None => group,
    }
}

/// Lines `first..=last` (from 1) as one text, and where in it each line begins.
fn cut(lines: &[&str], first: usize, last: usize) -> (String, Vec<usize>) {
    let mut text = String::new();
    let mut starts = Vec::new();
    for line in lines.iter().skip(first.saturating_sub(1)).take(last + 1 - first) {
        starts.push(text.len());
        text.push_str(line);
        text.push('\n');
    }
    (text, starts)
}

/// The byte that a line and column (from 1, in characters) of the excerpt begin at; never outside of it.
fn offset(excerpt: &str, starts: &[usize], first: usize, line: usize, column: usize) -> usize {
    let Some(start) = starts.get(line.saturating_sub(first)) else { return excerpt.len() };
    let rest = &excerpt[*start..];
    let length = rest.find('\n').unwrap_or(rest.len());
    let inside = rest[..length].char_indices().nth(column.saturating_sub(1)).map_or(length, |(at, _)| at);
    start + inside
}

/// The document of `--format json`.
pub fn render_json(problems: &[Problem]) -> Value {
    let (errors, warnings) = count(problems);
    json!({ "problems": problems, "errors": errors, "warnings": warnings })
}

/// One workflow command per problem, which GitHub shows beside the line.
pub fn render_github(problems: &[Problem]) -> Vec<String> {
    problems
        .iter()
        .map(|problem| {
            let kind = match problem.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
            };
            let help = problem.help.as_ref().map(|help| format!("\n{help}")).unwrap_or_default();
            format!(
                "::{kind} file={},line={},col={},endLine={},endColumn={},title={}::{}",
                property(&problem.file),
                problem.line,
                problem.column,
                problem.end_line,
                problem.end_column,
                problem.code,
                escaped(&format!("{}{help}", problem.message)),
            )
        })
        .collect()
}

fn escaped(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    escaped(text).replace(':', "%3A").replace(',', "%2C")
}

/// The SARIF 2.1.0 log of one run.
pub fn render_sarif(problems: &[Problem]) -> Value {
    let rules: Vec<Value> = codes::ALL
        .iter()
        .map(|code| {
            json!({
                "id": code.id,
                "shortDescription": { "text": code.meaning },
                "fullDescription": { "text": code.explanation().lines().next().unwrap_or(code.meaning) },
                "help": { "text": code.explanation(), "markdown": code.explanation() },
            })
        })
        .collect();
    let results: Vec<Value> = problems.iter().map(sarif_result).collect();
    let version = env!("CARGO_PKG_VERSION");
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "activity-relay",
                "version": version,
                "informationUri": env!("CARGO_PKG_REPOSITORY"),
                "rules": rules,
            } },
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

fn sarif_result(problem: &Problem) -> Value {
    let help = problem.help.as_ref().map(|help| format!(". {help}")).unwrap_or_default();
    let start = (problem.line, problem.column);
    let region = region(start, (problem.end_line, problem.end_column));
    let mut result = json!({
        "ruleId": problem.code,
        "ruleIndex": codes::ALL.iter().position(|code| code.id == problem.code),
        "level": problem.severity,
        "message": { "text": format!("{}{help}", problem.message) },
        "locations": [{ "physicalLocation": location(&problem.file, &region) }],
    });
    if let Some(related) = &problem.related {
        let place = self::region((related.line, related.column), (related.end_line, related.end_column));
        result["relatedLocations"] = json!([{
            "id": 1,
            "message": { "text": related.message },
            "physicalLocation": location(&related.file, &place),
        }]);
    }
    if let Some(replacement) = &problem.replacement {
        result["fixes"] = json!([{
            "description": { "text": format!("write {replacement}") },
            "artifactChanges": [{
                "artifactLocation": { "uri": uri(&problem.file) },
                "replacements": [{ "deletedRegion": region, "insertedContent": { "text": replacement } }],
            }],
        }]);
    }
    result
}

fn region(start: (usize, usize), end: (usize, usize)) -> Value {
    json!({ "startLine": start.0, "startColumn": start.1, "endLine": end.0, "endColumn": end.1 })
}

fn location(file: &str, region: &Value) -> Value {
    json!({ "artifactLocation": { "uri": uri(file) }, "region": region })
}

/// A path as a relative or absolute URI reference.
fn uri(file: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/:@!$&'()*+,;=".contains(&byte);
    let path = file.replace('\\', "/");
    path.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}
