//! Files that were damaged or made to harm: never a panic, and every problem stands inside its file.

use std::fs;
use std::path::Path;

use activity_relay::config::secret::Environment;
use activity_relay::config::{self, report};

/// How many damaged files are tried.
const TRIES: usize = 1_500;
/// Chance is the same in every run; another number tries others.
const SEED: u64 = 1;

fn environment() -> Environment {
    Environment::of([
        ("VCITA_TOKEN", "t"),
        ("SLACK_WEBHOOK_URL", "https://hooks.slack.com/services/T000/B000/x"),
        ("SMTP_URL", "smtps://relay:x@mail.example.com:465"),
        ("CRM_SECRET", "whsec_czNjcjN0czNjcjN0czNjcjN0czNjcjN0"),
    ])
}

/// Loads a text as the rules file, holds the places of its problems against it, and renders it in every way.
fn judge(path: &Path, text: &[u8]) {
    fs::write(path, text).unwrap();
    let loaded = config::load(path, &environment());
    for problem in &loaded.problems {
        let Some((_, text)) = loaded.sources.iter().find(|(name, _)| *name == problem.file) else {
            panic!("{problem:?} is in no file");
        };
        let lines: Vec<&str> = text.split('\n').collect();
        let inside = |line: usize, column: usize| {
            let length = lines.get(line.wrapping_sub(1)).map_or(0, |line| line.chars().count());
            // The place behind the last character, and the start of the line behind the last one, are the file's end.
            (1..=lines.len() + 1).contains(&line) && (1..=length + 2).contains(&column)
        };
        assert!(inside(problem.line, problem.column), "{problem:?}\n{text}");
        assert!(inside(problem.end_line, problem.end_column), "{problem:?}\n{text}");
    }
    let text = report::render_text(&loaded.problems, &loaded.sources, false);
    assert_eq!(text.is_empty(), loaded.problems.is_empty());
    report::render_json(&loaded.problems);
    report::render_sarif(&loaded.problems);
    report::render_github(&loaded.problems);
}

#[test]
fn a_file_cut_off_at_any_line_is_judged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rules.yaml");
    let text = fs::read_to_string("rules.example.yaml").unwrap();
    let ends = text.match_indices('\n').map(|(at, _)| at).step_by(2);
    ends.for_each(|at| judge(&path, &text.as_bytes()[..at]));
}

#[test]
fn damaged_files_are_judged() {
    let mut random = fastrand::Rng::with_seed(SEED);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rules.yaml");
    let texts: Vec<Vec<u8>> = fs::read_dir("tests/config/invalid")
        .unwrap()
        .chain(fs::read_dir("tests/config/valid").unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .map(|path| fs::read(path).unwrap())
        .collect();
    let signs = b"\t :-*&!@%`{}[]'\"|>#,?\\\n\r$~";
    for _ in 0..TRIES {
        let mut text = random.choice(&texts).unwrap().clone();
        for _ in 0..random.usize(1..4) {
            if text.is_empty() {
                break;
            }
            let at = random.usize(..text.len());
            match random.u8(..4) {
                0 => text[at] = *random.choice(signs).unwrap(),
                1 => text.insert(at, *random.choice(signs).unwrap()),
                2 => drop(text.drain(at..(at + random.usize(1..20)).min(text.len()))),
                _ => text.splice(at..at, "“\u{a0}é🎉".bytes()).for_each(drop),
            }
        }
        judge(&path, &text);
    }
}

#[test]
fn files_that_are_made_to_harm_are_refused_or_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rules.yaml");
    let nested = (0..10_000).fold(String::new(), |text, depth| text + &" ".repeat(depth.min(200)) + "a:\n");
    let keys = (0..100_000).fold(String::new(), |text, number| text + &format!("x-{number}: 1\n"));
    for text in [
        "[".repeat(10_000),
        nested,
        format!("a: {}", "b".repeat(15 * 1024 * 1024)),
        keys,
        "- @\n".repeat(5_000),
        "a: \"\n".repeat(5_000),
        "\ta: b\n".repeat(2_000),
        // What mends the first of these does not mend the second.
        "a: \"b\" c \"d\" e\n".repeat(2_000),
        "a: \"b\" c\n   \"d\" e\n f: \"g\n".repeat(500),
    ] {
        judge(&path, text.as_bytes());
    }
}

#[test]
fn what_nests_too_deeply_is_refused_in_words_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rules.yaml");
    for depth in [100, 300, 10_000] {
        fs::write(&path, format!("a: {}{}\n", "[".repeat(depth), "]".repeat(depth))).unwrap();
        let problems = config::load(&path, &environment()).problems;
        let deep = problems.iter().find(|problem| problem.code == "R005");
        assert!(deep.is_some_and(|problem| problem.message.contains("nested too deeply")), "{problems:?}");
    }
}
