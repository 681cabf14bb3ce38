//! Rule tests: messages in, what is expected of them out. Read as strictly as the rules file, against its names.

mod expect;
mod file;
mod message;

pub(super) use file::{FILE, TEST};

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use regex::Regex;
use serde_json::Value;

use crate::model::delivery::StateName;
use crate::model::message::Message;
use crate::model::names::Names;

use super::codes::{self, Code};
use super::files::{self, read_text};
use super::outline::Material;
use super::problem::{Finding, Problem, Span};
use super::read::{Reader, Source};
use super::secret::Environment;
use super::yaml::Node;
use super::{Config, Loaded, mask};

pub use super::codes::{
    TEST_DELIVERY as DELIVERY, TEST_NOT_MATCHED as NOT_MATCHED, TEST_RULES as RULES, TEST_SENT as SENT,
    TEST_SNAPSHOT as SNAPSHOT, TEST_TEMPLATE as TEMPLATE, TEST_TEXT as TEXT, TEST_UNEXPECTED as UNEXPECTED,
};

/// Where the clock stands when a test begins, unless it says otherwise: a Monday morning.
pub const NOW: &str = "2026-03-02T09:00:00Z";
/// How the files that hold tests end.
const ENDINGS: [&str; 2] = [".test.yaml", ".test.yml"];
/// A file of tests, or of an item, is not larger.
const BYTES_MAX: u64 = 4 * 1024 * 1024;

/// One file's tests.
#[derive(Debug)]
pub struct Suite {
    /// As the person names it.
    pub file: String,
    /// Where it lies.
    pub folder: PathBuf,
    /// What its snapshots are filed under: the file's name without its ending.
    pub stem: String,
    /// Those that could be read, in file order.
    pub tests: Vec<Test>,
    /// What is wrong with the file.
    pub problems: Vec<Problem>,
    /// The text of the file, for excerpts: (name as shown, text).
    pub source: (String, String),
}

/// One test.
#[derive(Debug)]
pub struct Test {
    /// What it is about.
    pub name: String,
    /// Where its name stands.
    pub span: Span,
    /// Where the clock stands at first.
    pub now: Timestamp,
    /// What the relay receives, in the order of arrival.
    pub messages: Vec<Arrival>,
    /// Where the clock stands at the end.
    pub until: Timestamp,
    /// What is to follow.
    pub expect: Expect,
}

/// A message that the relay receives.
#[derive(Debug)]
pub struct Arrival {
    /// When.
    pub at: Timestamp,
    /// The message.
    pub message: Message,
    /// Its people.
    pub names: Names,
}

/// What is expected of a test; what is absent is not looked at.
#[derive(Debug, Default)]
pub struct Expect {
    /// Exactly these rules take the messages, in whatever order they stand here.
    pub rules: Option<Listed<String>>,
    /// Exactly these deliveries are made.
    pub deliveries: Option<Listed<ExpectedDelivery>>,
    /// These rules do not take them: (rule, what the reason holds).
    pub not_matched: Vec<(Placed<String>, Option<Placed<String>>)>,
}

/// A list with its place.
#[derive(Debug)]
pub struct Listed<T> {
    /// Where it begins, or its key stands.
    pub span: Span,
    /// What it lists.
    pub items: Vec<Placed<T>>,
}

/// A value with its place.
#[derive(Debug, Clone)]
pub struct Placed<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub span: Span,
}

/// One entry of `deliveries`: what is absent may be anything.
#[derive(Debug)]
pub struct ExpectedDelivery {
    /// The target.
    pub to: Placed<String>,
    /// How many there are of it.
    pub count: usize,
    /// The rule that owes it.
    pub rule: Option<Placed<String>>,
    /// To which of the target's recipients.
    pub recipient: Option<Placed<String>>,
    /// When it goes out.
    pub at: Option<Placed<Timestamp>>,
    /// Where it stands in the end.
    pub state: Placed<StateName>,
    /// Which template renders it.
    pub template: Option<Placed<String>>,
    /// How many messages it is about.
    pub messages: Option<Placed<usize>>,
    /// Whether a later message made it good.
    pub resolved: Option<Placed<bool>>,
    /// What its parts say.
    pub checks: Vec<Check>,
}

/// What one part of a payload is to say.
#[derive(Debug)]
pub struct Check {
    /// Which part.
    pub part: Part,
    /// How it is looked at.
    pub matcher: Matcher,
    /// Where that stands.
    pub span: Span,
}

/// A part of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Part {
    Subject,
    Text,
    Html,
    Body,
}

impl Part {
    /// Its name in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Subject => "subject",
            Self::Text => "text",
            Self::Html => "html",
            Self::Body => "body",
        }
    }
}

/// How a part is looked at.
#[derive(Debug)]
pub enum Matcher {
    /// It is this text, line ends at the end aside.
    Equals(String),
    /// This stands somewhere in it.
    Contains(String),
    /// This stands nowhere in it.
    NotContains(String),
    /// This fits somewhere in it.
    Matches(Regex),
    /// It is what the file of this name, without its ending, holds.
    Snapshot(String),
    /// It is this value, whatever the order of its keys.
    JsonEquals(Value),
    /// It has at least these keys with these values, and these items.
    JsonContains(Value),
}

impl Suite {
    /// A problem that a test found, at a place in this file.
    pub fn problem(&self, code: &'static Code, span: Span, message: String, help: Option<String>) -> Problem {
        let finding = Finding::error(code, span, message);
        let finding = match help {
            Some(help) => finding.help(help),
            None => finding,
        };
        finding.into_problem(std::slice::from_ref(&self.file))
    }
}

/// A file of tests, opened: what it wants of the environment is known before its names are looked up.
#[derive(Debug)]
pub struct Opened {
    source: Source,
    path: PathBuf,
    root: Option<Node>,
    findings: Vec<Finding>,
    /// The main file itself, whose key `tests` holds them.
    inline: bool,
    /// What `env:` sets: (name, value).
    pub environment: Vec<(String, String)>,
}

impl Opened {
    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The files of tests that belong to a rules file, sorted: those beside it, but those that are named after another file.
pub fn beside(rules: &Path, loaded: &Loaded) -> Vec<PathBuf> {
    let folder = rules.parent().unwrap_or_else(|| Path::new(""));
    let own = |path: &Path| loaded.sources.iter().any(|(name, _)| Path::new(name) == path);
    let belongs = |path: &PathBuf| {
        let named_after = ["yaml", "yml"].map(|ending| folder.join(format!("{}.{ending}", stem(path))));
        let others = named_after.iter().filter(|path| path.is_file());
        let mut others = others.peekable();
        others.peek().is_none() || others.any(|path| path == rules || own(path))
    };
    let files = files::entries(folder).unwrap_or_default().into_iter();
    files.filter(|path| is_test_file(path) && path.is_file()).filter(belongs).collect()
}

fn is_test_file(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    !name.starts_with('.') && ENDINGS.iter().any(|ending| name.ends_with(ending))
}

/// The file's name without its ending.
fn stem(path: &Path) -> String {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let ending = ENDINGS.iter().chain(&[".yaml", ".yml"]).find(|ending| name.ends_with(**ending));
    name.strip_suffix(ending.copied().unwrap_or_default()).unwrap_or(&name).to_owned()
}

/// Opens a file of tests.
pub fn open(path: &Path) -> Opened {
    file::open(path, false)
}

/// Opens what the rules file says under `tests:`: the tests that stand there, or the files that are named there.
pub fn of_main_file(path: &Path) -> Vec<Opened> {
    file::of_main_file(path)
}

impl Opened {
    /// Reads the tests; names are looked up in the configuration.
    pub fn read(self, config: &Config, environment: &Environment) -> Suite {
        let Self { source, path, root, findings, inline, .. } = self;
        let (file, folder, text) = (source.name.clone(), source.folder.clone(), mask::mask(&source.text));
        let material = Material::of(folder.clone());
        let mut reader = Reader {
            environment,
            sources: vec![source],
            findings,
            egresses: Vec::new(),
            material,
            reads_files: true,
        };
        let tests = root.map(|root| file::tests(&mut reader, &root, inline, config, &stem(&path)));
        let tests = tests.unwrap_or_default();
        let mut findings = reader.findings;
        findings.sort_by_key(|finding| finding.span.start);
        let files = [file.clone()];
        let problems = findings.into_iter().map(|finding| finding.into_problem(&files)).collect();
        Suite { stem: stem(&path), source: (file.clone(), text), file, folder, tests, problems }
    }

    /// The file where the rules file has a problem under its `env:`: none of its tests can be played.
    pub fn unplayable(self, config: &Config, environment: &Environment, why: &Problem) -> Suite {
        let span = self.root.as_ref().and_then(|root| file::entry(root, "env")).map(|env| env.span);
        let mut suite = self.read(config, environment);
        let message = format!(
            "with this `env` the rules file has a problem, in {}:{}: {}",
            why.file, why.line, why.message
        );
        let code = codes::find(why.code).unwrap_or(codes::FILE);
        let problem = suite.problem(code, span.unwrap_or(Span::start_of(0)), message, why.help.clone());
        suite.tests.clear();
        suite.problems.push(problem);
        suite
    }
}

/// The text of a file that a test names, relative to its folder.
fn text_of(folder: &Path, name: &str) -> Result<String, String> {
    read_text(&folder.join(name), BYTES_MAX)
}
