//! Stand-ins for secrets that are not there, so that rules can be tried out where nothing can be sent.

use std::collections::BTreeMap;
use std::path::Path;

use super::codes;
use super::problem::{Problem, Severity};
use super::secret::Environment;
use super::{Loaded, load};

/// What may stand where a secret is missing: the first that fits the place is taken. None of them leads anywhere.
const STAND_INS: [&str; 6] = [
    "https://hooks.slack.com/services/T00000000/B00000000/stand-in",
    "smtps://user:password@mail.example.com:465",
    "whsec_c3RhbmQtaW4tb2YtMzItYnl0ZXMtZm9yLXRlc3Q=",
    "stand-in@example.com",
    "stand-in",
    "1",
];

/// What is missing: where it stands, and which stand-in it has.
struct Missing {
    place: (String, usize, usize),
    choice: usize,
}

/// Reads and checks a rules file as [`load`] does, with a stand-in for each variable that is not set and each secret file
/// that cannot be read. What no stand-in fits stays a problem. For commands that send nothing.
pub fn load_standing_in(path: &Path, environment: &Environment) -> Loaded {
    let mut loaded = load(path, environment);
    let mut missing: BTreeMap<String, Missing> = BTreeMap::new();
    for problem in loaded.problems.iter().filter(|problem| is_missing(problem)) {
        if let Some(name) = named(&loaded, problem) {
            let place = (problem.file.clone(), problem.line, problem.column);
            missing.entry(name).or_insert(Missing { place, choice: 0 });
        }
    }
    // Each round gives every place that is not content with its stand-in the next one; what has had all is not set again.
    for _ in 0..=STAND_INS.len() {
        let set = missing.iter().filter_map(|(name, one)| Some((name.as_str(), *STAND_INS.get(one.choice)?)));
        loaded = load(path, &environment.with(set));
        let wrong = |one: &&mut Missing| {
            let broken = |problem: &Problem| problem.severity == Severity::Error && !is_missing(problem);
            loaded.problems.iter().any(|problem| broken(problem) && covers(problem, &one.place))
        };
        let next = missing.values_mut().filter(wrong).map(|one| one.choice += 1).count();
        if next == 0 {
            break;
        }
    }
    loaded
}

fn is_missing(problem: &Problem) -> bool {
    [codes::UNSET_VARIABLE.id, codes::SECRET_FILE.id].contains(&problem.code)
}

/// The inside of the `${…}` that a problem points to, without its default or message.
fn named(loaded: &Loaded, problem: &Problem) -> Option<String> {
    let (_, text) = loaded.sources.iter().find(|(name, _)| *name == problem.file)?;
    let line = text.lines().nth(problem.line - 1)?;
    let start = line.char_indices().nth(problem.column - 1)?.0;
    let inner = line[start..].split_once("${")?.1.split('}').next()?;
    let name = inner.split(":?").next().unwrap_or(inner);
    Some(name.to_owned())
}

fn covers(problem: &Problem, (file, line, column): &(String, usize, usize)) -> bool {
    let at = (*line, *column);
    problem.file == *file
        && (problem.line, problem.column) <= at
        && at < (problem.end_line, problem.end_column)
}
