//! The rules file: from YAML text to a [`Config`] that cannot be wrong, or all problems at once, each with its place.

mod address;
pub mod codes;
pub mod difference;
mod files;
pub mod fix;
mod holidays;
mod indentation;
mod keys;
mod locate;
mod mask;
mod mend;
mod names;
pub mod outline;
mod places;
pub mod problem;
mod raw;
mod read;
pub mod report;
mod resolve;
mod review;
pub mod rule_tests;
pub mod schema;
pub mod secret;
mod slips;
mod stand_in;
mod trees;
pub mod trial;
mod value;
mod words;
mod yaml;

use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, Builder, ScopedJoinHandle};
use std::time::Duration;

use jiff::tz::TimeZone;

use crate::render::{PartPlace, Templates};
use crate::rules::window::Hours;
use crate::rules::{Place, Rules};
use crate::source::Account;
use crate::target::Target;

use codes::Code;
use outline::{Material, Outline};
use places::Places;
use problem::{Finding, Problem, Related, Severity, Span};
use read::Reader;
use secret::Environment;

pub use stand_in::load_standing_in;

/// A configuration that has been checked: every name resolves, every value is in range.
#[derive(Debug)]
pub struct Config {
    /// The accounts, in file order.
    pub accounts: Vec<Arc<Account>>,
    /// For every time shown, unless something closer says otherwise.
    pub timezone: TimeZone,
    /// The target that hears of the relay's own troubles.
    pub alerts: Option<String>,
    /// How long history is kept.
    pub retention: Retention,
    /// The targets by name.
    pub targets: BTreeMap<String, Arc<Target>>,
    /// Who answers for a target, by its name; only of those whose file says so.
    pub target_owners: BTreeMap<String, String>,
    /// The schedules by name.
    pub schedules: BTreeMap<String, Hours>,
    /// The rules, indexed.
    pub rules: Rules,
    /// The templates, compiled.
    pub templates: Templates,
    /// What it was made from.
    pub outline: Outline,
}

impl Config {
    /// Takes over from an earlier configuration the targets that are as they were, with their connections and tokens.
    pub fn keep_targets(&mut self, earlier: &Self) {
        for (name, target) in &mut self.targets {
            if let Some(old) = earlier.targets.get(name)
                && self.outline.target_is_same(name, &earlier.outline)
            {
                *target = old.clone();
            }
        }
    }
}

/// How long history is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Messages and deliveries that came to a good end.
    pub delivered: Duration,
    /// Dead deliveries and their messages.
    pub dead: Duration,
}

impl Config {
    /// Whether it names the target and switches it off.
    pub fn is_off(&self, target: &str) -> bool {
        self.targets.get(target).is_some_and(|target| !target.enabled)
    }

    /// Who answers for a rule, or else for a target.
    pub fn owner(&self, rule: &str, target: &str) -> Option<&str> {
        let of_rule = self.rules.get(rule).and_then(|rule| rule.owner.as_deref());
        of_rule.or_else(|| self.target_owners.get(target).map(String::as_str))
    }
}

impl Default for Retention {
    fn default() -> Self {
        Self { delivered: Duration::from_hours(30 * 24), dead: Duration::from_hours(90 * 24) }
    }
}

/// What loading gave.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Present if no problem is an error.
    pub config: Option<Config>,
    /// What could be read of one with errors: only good for finding more of them.
    pub draft: Option<Config>,
    /// Everything found, in file and line order.
    pub problems: Vec<Problem>,
    /// The texts of the files read, for excerpts: (name as shown, text).
    pub sources: Vec<(String, String)>,
    /// The templates' folder.
    pub templates_dir: PathBuf,
    /// The names that could be read, whatever else is wrong.
    pub names: schema::Names,
    /// What was read.
    pub outline: Outline,
    places: Places,
    files: Vec<String>,
    /// Who answers for a file, by the file's name.
    owners: BTreeMap<String, String>,
}

/// What a problem that is found after loading is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject<'a> {
    /// The rules file as a whole.
    File,
    /// An account, by its name.
    Account(&'a str),
    /// A target, by its name.
    Target(&'a str),
    /// The template of a rule's delivery: the rule's and the delivery's positions.
    Template(usize, usize),
}

impl Loaded {
    /// Where something stands, in the file that it stands in.
    pub fn place(&self, subject: Subject<'_>) -> Place {
        let span = self.span(subject);
        let file = self.files.get(span.file).cloned().unwrap_or_default();
        Place { file, line: span.start.0, column: span.start.1 }
    }

    fn span(&self, subject: Subject<'_>) -> Span {
        let span = match subject {
            Subject::File => None,
            Subject::Account(name) => self.places.accounts.get(name),
            Subject::Target(name) => self.places.targets.get(name),
            Subject::Template(rule, delivery) => {
                self.places.templates.get(rule).and_then(|places| places.get(delivery))
            }
        };
        span.copied().unwrap_or(Span::start_of(0))
    }

    /// Adds a problem that only showed in use, at the place of what it is about; [`Loaded::config`] stays.
    pub fn add(
        &mut self,
        code: &'static Code,
        severity: Severity,
        subject: Subject<'_>,
        message: String,
        help: &str,
    ) {
        let problem = self.problem((code, severity), subject, message, help);
        self.add_once(problem);
    }

    /// The same, at a place in a template if there is one: what it is about is then the place that belongs to it. `text`
    /// is that of the file.
    pub fn add_in_template(
        &mut self,
        kind: (&'static Code, Severity),
        subject: Subject<'_>,
        at: Option<(&PartPlace, &str)>,
        message: String,
        help: &str,
    ) {
        let mut problem = self.problem(kind, subject, message, help);
        if let Some((at, text)) = at {
            let file = self.templates_dir.join(&at.file).display().to_string();
            if !self.sources.iter().any(|(name, _)| *name == file) {
                self.sources.push((file.clone(), mask::mask(text)));
            }
            problem.related = Some(Related {
                file: std::mem::replace(&mut problem.file, file),
                line: problem.line,
                column: problem.column,
                end_line: problem.end_line,
                end_column: problem.end_column,
                message: "this delivery uses it".to_owned(),
            });
            (problem.line, problem.column) = (at.line, at.column);
            (problem.end_line, problem.end_column) = (at.line, at.column + 1);
        }
        self.add_once(problem);
    }

    fn problem(
        &self,
        (code, severity): (&'static Code, Severity),
        subject: Subject<'_>,
        message: String,
        help: &str,
    ) -> Problem {
        let span = self.span(subject);
        let finding = match severity {
            Severity::Error => Finding::error(code, span, message),
            Severity::Warning => Finding::warning(code, span, message),
        };
        let mut problem = finding.help(help).into_problem(&self.files);
        problem.owner = self.owners.get(&problem.file).cloned();
        problem
    }

    fn add_once(&mut self, problem: Problem) {
        let known = |other: &Problem| {
            other.line == problem.line
                && other.column == problem.column
                && other.file == problem.file
                && other.message == problem.message
        };
        if !self.problems.iter().any(known) {
            self.problems.push(problem);
        }
    }
}

/// Reads and checks a rules file with everything it includes, and its templates.
pub fn load(path: &Path, environment: &Environment) -> Loaded {
    let material = Material::of(path.parent().map(Path::to_path_buf).unwrap_or_default());
    let mut reader = Reader {
        environment,
        sources: Vec::new(),
        findings: Vec::new(),
        egresses: Vec::new(),
        material,
        reads_files: true,
    };
    let (raw, trees) = files::read(&mut reader, path).unzip();
    let (templates_dir, templates) = files::templates(&mut reader, raw.as_ref(), path);
    let names = names(raw.as_ref(), &templates);
    let owners = raw.as_ref().map(|raw| raw.owners.clone()).unwrap_or_default();
    let texts: Vec<Arc<str>> = reader.sources.iter().map(|source| source.text.clone()).collect();
    let mask_all = || texts.iter().map(|text| mask::mask(text)).collect::<Vec<_>>();
    // Beside the rest: it takes as long as judging the rules does.
    let (config, places, masked) = thread::scope(|scope| {
        let masking = Builder::new().spawn_scoped(scope, mask_all);
        if let (Some(raw), Some(trees)) = (&raw, &trees) {
            resolve::look_up(&mut reader, raw, &templates);
            review::check(&mut reader, raw, trees, &templates, &templates_dir);
        }
        let (config, places) = raw.map(|raw| resolve::resolve(&reader, raw, templates)).unzip();
        let join =
            |thread: ScopedJoinHandle<'_, _>| thread.join().unwrap_or_else(|panic| resume_unwind(panic));
        (config, places, masking.map_or_else(|_| mask_all(), join))
    });
    let outline = reader.material.outline();
    // What was found since to have a problem of its own has no text.
    let masked = masked.into_iter().chain(std::iter::repeat(String::new()));
    let sources: Vec<(String, String)> =
        reader.sources.iter().map(|source| source.name.clone()).zip(masked).collect();
    let mut findings = presentable(reader.findings, &reader.sources, &sources);
    findings.sort_by_key(|finding| (finding.span.file, finding.span.start));
    let files: Vec<String> = reader.sources.iter().map(|source| source.name.clone()).collect();
    let mut problems: Vec<Problem> =
        findings.into_iter().map(|finding| finding.into_problem(&files)).collect();
    let by_name = |(file, owner): (usize, String)| Some((files.get(file)?.clone(), owner));
    let owners: BTreeMap<String, String> = owners.into_iter().filter_map(by_name).collect();
    for problem in &mut problems {
        problem.owner = owners.get(&problem.file).cloned();
    }
    problems.dedup();
    let fine = problem::count(&problems).0 == 0;
    let places = places.unwrap_or_default();
    let config = config.map(|config| Config { outline: outline.clone(), ..config });
    let (config, draft) = if fine { (config, None) } else { (None, config) };
    Loaded { config, draft, problems, sources, templates_dir, names, outline, places, files, owners }
}

fn names(raw: Option<&raw::Raw>, templates: &Templates) -> schema::Names {
    let templates = templates.names().into_iter().map(str::to_owned).collect();
    let Some(raw) = raw else { return schema::Names { templates, ..schema::Names::default() } };
    schema::Names {
        accounts: raw.accounts.iter().map(|spot| spot.value.name.clone()).collect(),
        targets: raw.targets.iter().map(|target| target.name.value.clone()).collect(),
        rules: raw.rules.iter().filter_map(|rule| Some(rule.name.as_ref()?.value.clone())).collect(),
        schedules: raw.schedules.iter().map(|schedule| schedule.name.value.clone()).collect(),
        templates,
    }
}

/// The findings, without the replacements that would show a secret or write over a `${…}`.
fn presentable(
    findings: Vec<Finding>,
    sources: &[read::Source],
    masked: &[(String, String)],
) -> Vec<Finding> {
    let written: Vec<Vec<&str>> = sources.iter().map(|source| source.text.lines().collect()).collect();
    let shown: Vec<Vec<&str>> = masked.iter().map(|(_, text)| text.lines().collect()).collect();
    let judged = findings.into_iter().map(|finding| {
        let Some(replacement) = finding.replaced() else { return finding };
        let span = finding.span;
        let place = |lines: &[Vec<&str>]| -> String {
            let line = lines.get(span.file).and_then(|lines| lines.get(span.start.0 - 1)).unwrap_or(&"");
            line.chars().skip(span.start.1 - 1).take(span.end.1.saturating_sub(span.start.1)).collect()
        };
        let before = place(&written);
        // A colon or a dash with a space shows nothing.
        let harmless = replacement.chars().count() <= 2 || place(&shown) == before;
        if harmless && !before.contains("${") { finding } else { finding.without_replacement() }
    });
    judged.collect()
}
