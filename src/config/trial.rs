//! Rules that are being written: read out of memory, to see what they would do. No file is looked at, and no variable.

use std::path::PathBuf;

use super::outline::Material;
use super::problem::{Problem, Severity, count};
use super::raw::{self, Raw};
use super::read::{Reader, Source};
use super::secret::Environment;
use super::yaml::{self, Kind};
use super::{Config, codes, resolve};
use crate::render::Templates;
use crate::rules::Rules;

/// What the rules are called where a place is named.
pub const NAME: &str = "playground";

/// What a trial gave.
#[derive(Debug)]
pub struct Trial {
    /// The rules; `None` if a problem is an error.
    pub rules: Option<Rules>,
    /// What is wrong or doubtful, by the lines of the text.
    pub problems: Vec<Problem>,
}

/// Reads a list of rules as it would stand under `rules:`, among the accounts, targets and templates of a configuration.
pub fn try_rules(text: &str, config: &Config) -> Trial {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    if text.contains("${") {
        return refused(
            codes::SUBSTITUTION,
            "`${…}` is not replaced here",
            "write the value itself: nothing of the machine is read here",
        );
    }
    let is_list = |node: &yaml::Node| matches!(node.kind, Kind::List(_));
    // What follows the list would stand beside `rules:`, where files are named that are read.
    let alone = yaml::parse(&text, 0);
    if !alone.node.as_ref().is_some_and(is_list) || !alone.findings.is_empty() {
        if alone.findings.is_empty() {
            return refused(codes::WRONG_TYPE, "a list of rules is meant", "begin with `- name: my-rule`");
        }
        let files = [NAME.to_owned()];
        let problems = alone.findings.into_iter().map(|finding| finding.into_problem(&files)).collect();
        return Trial { rules: None, problems };
    }
    let environment = Environment::default();
    let whole = format!("rules:\n{}\n{}", text.trim_end(), around(config));
    let material = Material::of(PathBuf::new());
    let source = Source { name: NAME.to_owned(), text: whole.as_str().into(), folder: PathBuf::new() };
    let mut reader = Reader {
        environment: &environment,
        sources: vec![source],
        findings: Vec::new(),
        egresses: Vec::new(),
        material,
        reads_files: false,
    };
    let parsed = yaml::parse(&whole, 0);
    reader.findings.extend(parsed.findings);
    let mut raw = Raw::default();
    if let Some(root) = &parsed.node {
        raw::read(&mut reader, root, true, &mut raw);
        resolve::look_up(&mut reader, &raw, &config.templates);
    }
    let (tried, _) = resolve::resolve(&reader, raw, Templates::compile(&[]).0);
    let files = [NAME.to_owned()];
    let lines = text.lines().count();
    reader.findings.sort_by_key(|finding| finding.span.start);
    let mut problems: Vec<Problem> =
        reader.findings.into_iter().map(|finding| finding.into_problem(&files)).collect();
    // What is said of the accounts and targets beside the rules is said of stand-ins; `rules:` stands before the text.
    problems.retain(|problem| problem.severity == Severity::Error || problem.line <= lines + 1);
    for problem in &mut problems {
        problem.line = problem.line.saturating_sub(1).clamp(1, lines.max(1));
        problem.end_line = problem.end_line.saturating_sub(1).clamp(1, lines.max(1));
        problem.replacement = None;
    }
    let fine = count(&problems).0 == 0;
    Trial { rules: fine.then_some(tried.rules), problems }
}

/// What stands beside the rules: accounts and targets of these names, which lead nowhere.
fn around(config: &Config) -> String {
    let quoted = |name: &str| serde_json::Value::from(name).to_string();
    let account = |name: &str| format!("- {{ name: {}, token: playground }}\n", quoted(name));
    let target =
        |name: &str| format!("  {}: {{ type: http, url: \"https://example.com/\" }}\n", quoted(name));
    let accounts: String = config.accounts.iter().map(|known| account(&known.name)).collect();
    let targets: String = config.targets.keys().map(|name| target(name)).collect();
    let schedule = |name: &String| {
        format!(
            "  {}: {{ days: mon-sun }}
",
            quoted(name)
        )
    };
    let schedules: String = config.schedules.keys().map(schedule).collect();
    let schedules = if schedules.is_empty() { schedules } else { format!("schedules:\n{schedules}") };
    format!("version: 1\naccounts:\n{accounts}targets:\n{targets}{schedules}")
}

fn refused(code: &codes::Code, message: &str, help: &str) -> Trial {
    let problem = problem(code, (NAME, 1, 1), message.to_owned(), Some(help.to_owned()));
    Trial { rules: None, problems: vec![problem] }
}

fn problem(
    code: &codes::Code,
    (file, line, column): (&str, usize, usize),
    message: String,
    help: Option<String>,
) -> Problem {
    Problem {
        code: code.id,
        severity: Severity::Error,
        file: file.to_owned(),
        line,
        column,
        end_line: line,
        end_column: column,
        message,
        help,
        replacement: None,
        applicability: None,
        related: None,
        owner: None,
    }
}

/// Compiles the parts of one template (file, text) beside the built-in ones: the templates, its name among them (without a
/// part `default`), and what is wrong by the lines of its files.
pub fn try_template(parts: &[(String, String)]) -> (Templates, &'static str, Vec<Problem>) {
    let written = parts.iter().filter(|(_, text)| !text.trim().is_empty());
    let files: Vec<(String, String)> = written
        .map(|(name, text)| (format!("{NAME}/{name}"), text.replace("\r\n", "\n").replace('\r', "\n")))
        .collect();
    let (templates, problems) = Templates::compile(&files);
    let name = if templates.names().contains(&NAME) { NAME } else { "default" };
    let problems = problems.into_iter().map(|found| {
        let file =
            found.file.strip_prefix(NAME).map_or(found.file.as_str(), |file| file.trim_start_matches('/'));
        let place = (file, found.line.max(1), found.column.max(1));
        let made = problem(codes::TEMPLATE, place, found.message, found.help);
        if found.warning { Problem { severity: Severity::Warning, ..made } } else { made }
    });
    let problems = problems.collect();
    (templates, name, problems)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load;

    fn config() -> Config {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rules.yaml");
        let text = "version: 1\naccounts: [{ name: main, token: x }]\n\
            targets: { crm: { type: http, url: \"https://example.com/\" } }\nrules: []\n";
        std::fs::write(&path, text).unwrap();
        load(&path, &Environment::default()).config.unwrap()
    }

    #[test]
    fn rules_are_read_as_they_would_be_in_the_file() {
        let tried = try_rules(
            "- name: a\r\n  match: { activity_type: Meeting }\r\n  deliver: [{ to: crm }]\r\n",
            &config(),
        );
        assert_eq!(tried.problems, []);
        assert_eq!(tried.rules.unwrap().list()[0].name, "a");
        let wrong = try_rules("- name: a\n  match: {}\n  delivr: [{ to: crm }]\n", &config());
        assert!(wrong.rules.is_none());
        assert!(wrong.problems.iter().any(|problem| problem.line == 3), "{:?}", wrong.problems);
        for (text, code) in [("include: rules.d", "R012"), ("- name: ${NAME}", "R021")] {
            assert_eq!(try_rules(text, &config()).problems[0].code, code, "{text}");
        }
    }

    #[test]
    fn nothing_of_the_machine_is_read() {
        for text in [
            "- name: ${file:/etc/passwd}\n  match: {}\n  deliver: [{ to: crm }]",
            "include: /etc/passwd",
            "- name: a\n  match: {}\n  deliver: [{ to: crm }]\ninclude: [/etc/passwd]",
            "- name: a\n  match: {}\n  deliver:\n  - { to: crm, digest: { at: \"08:00\", holidays: { file: /etc/passwd } } }",
            "accounts: [{ name: x, token_file: /etc/passwd }]",
        ] {
            let tried = try_rules(text, &config());
            assert!(tried.rules.is_none(), "{text}");
            assert!(
                tried.problems.iter().all(|problem| !problem.message.contains("root")),
                "{:?}",
                tried.problems
            );
        }
    }
}
