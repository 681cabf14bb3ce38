//! Several files: what an include finds, in which order, what is told of mistakes in them, and who answers for them.

#![expect(clippy::unwrap_used, reason = "a test that cannot prepare its folder has failed")]

use std::path::Path;

use activity_relay::config::secret::Environment;
use activity_relay::config::{self, Loaded, report};

const MAIN: &str = "\
version: 1
accounts: [{ name: main, token: x }]
targets:
  desk: { type: slack, webhook_url: \"https://hooks.slack.com/services/T/B/x\" }
";

fn rule(name: &str, to: &str) -> String {
    format!("  - {{ name: {name}, match: {{}}, deliver: [{{ to: {to} }}] }}\n")
}

/// Loads `rules.yaml` among these files: (path, text).
fn load(files: &[(&str, String)]) -> Loaded {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    config::load(&folder.path().join("rules.yaml"), &Environment::default())
}

fn rules(loaded: &Loaded) -> Vec<&str> {
    let config = loaded.config.as_ref().unwrap_or_else(|| panic!("{:#?}", loaded.problems));
    config.rules.list().iter().map(|rule| rule.name.as_str()).collect()
}

/// Code, file's name and line of each problem.
fn problems(loaded: &Loaded) -> Vec<(&str, String, usize)> {
    let name = |file: &str| Path::new(file).file_name().unwrap().to_string_lossy().into_owned();
    loaded.problems.iter().map(|problem| (problem.code, name(&problem.file), problem.line)).collect()
}

#[test]
fn rules_of_included_files_follow_those_of_the_file_that_includes_them_in_order_of_their_names() {
    let loaded = load(&[
        ("rules.yaml", format!("{MAIN}include: [teams/**/*.yaml, rules.d/*.yaml]\nrules:\n{}", rule("main", "desk"))),
        ("rules.d/b.yaml", format!("rules:\n{}", rule("b", "books"))),
        ("rules.d/a.yaml", format!("include: more/*.yaml\nrules:\n{}", rule("a", "books"))),
        ("rules.d/more/nested.yaml", format!("rules:\n{}", rule("nested", "desk"))),
        ("rules.d/.hidden.yaml", "nonsense".to_owned()),
        ("teams/x.yaml", format!("rules:\n{}", rule("x", "desk"))),
        ("teams/crm/deep/y.yaml", format!("include: ../../../rules.d/a.yaml\nrules:\n{}", rule("deep", "desk"))),
        ("teams/targets.yaml", "targets:\n  books: { type: email, smtp: smtps://m.example.com, from: a@example.com, to: b@example.com }\n".to_owned()),
    ]);
    assert_eq!(rules(&loaded), ["main", "deep", "a", "nested", "x", "b"]);
    // They all take the same, which is told: four of them repeat what an earlier one sends.
    let codes: Vec<&str> = loaded.problems.iter().map(|problem| problem.code).collect();
    assert_eq!(codes, ["R066"; 4], "{:#?}", loaded.problems);
}

#[test]
fn a_pattern_that_finds_nothing_is_a_warning_and_excuses_no_unknown_target() {
    let text = format!("{MAIN}include: rules.d/*.yaml\nrules:\n{}", rule("main", "nobody"));
    let loaded = load(&[("rules.yaml", text.clone())]);
    assert_eq!(
        problems(&loaded),
        [("R071", "rules.yaml".to_owned(), 5), ("R051", "rules.yaml".to_owned(), 7)]
    );
    assert!(loaded.config.is_none());
    let loaded = load(&[("rules.yaml", text.replace("nobody", "desk"))]);
    assert_eq!(problems(&loaded), [("R071", "rules.yaml".to_owned(), 5)]);
    assert_eq!(rules(&loaded), ["main"]);
}

#[test]
fn a_file_that_includes_one_that_includes_it_is_told_so() {
    let circle = |pattern: &str, back: &str| {
        load(&[
            ("rules.yaml", format!("{MAIN}include: rules.d/*.yaml\nrules:\n{}", rule("main", "desk"))),
            ("rules.d/a.yaml", format!("include: {pattern}\nrules:\n{}", rule("a", "desk"))),
            ("rules.d/b.yaml", format!("{back}\nrules:\n{}", rule("b", "desk"))),
        ])
    };
    // The rules are all the same, which is worth a word of its own.
    let told = |loaded: &Loaded| {
        let all = problems(loaded).into_iter();
        all.map(|(code, file, line)| (code.to_owned(), file, line))
            .filter(|(code, ..)| code != "R066")
            .collect::<Vec<_>>()
    };
    assert_eq!(told(&circle("../rules.yaml", "")), [("R071".to_owned(), "a.yaml".to_owned(), 1)]);
    assert_eq!(told(&circle("a.yaml", "")), [("R071".to_owned(), "a.yaml".to_owned(), 1)]);
    assert_eq!(told(&circle("b.yaml", "include: a.yaml")), [("R071".to_owned(), "b.yaml".to_owned(), 1)]);
    assert_eq!(
        rules(&circle("\"*.yaml\"", "")),
        ["main", "a", "b"],
        "a pattern may fit the file it stands in"
    );
}

#[test]
fn one_broken_file_hides_no_problem_of_the_others_and_paths_are_short() {
    let loaded = load(&[
        ("rules.yaml", format!("{MAIN}include: rules.d/*.yaml\nrules:\n{}", rule("one", "desk"))),
        ("rules.d/a.yaml", "rules: [\n".to_owned()),
        ("rules.d/b.yaml", "include: ../shared/c.yaml\nrules:\n  - { name: b, mtch: {} }\n".to_owned()),
        ("shared/c.yaml", format!("rules:\n{}{}", rule("one", "desk"), rule("two", "desk"))),
    ]);
    let at = |code, file: &str, line| (code, file.to_owned(), line);
    assert_eq!(
        problems(&loaded),
        [
            at("R025", "a.yaml", 1),
            at("R011", "b.yaml", 3),
            at("R011", "b.yaml", 3),
            at("R010", "b.yaml", 3),
            at("R050", "c.yaml", 2),
            at("R066", "c.yaml", 3),
        ]
    );
    let twice = &loaded.problems[4];
    assert!(twice.related.as_ref().unwrap().file.ends_with("rules.yaml"), "{twice:?}");
    assert!(twice.file.ends_with("shared/c.yaml") && !twice.file.contains(".."), "{}", twice.file);
}

#[test]
fn a_file_has_an_owner_who_is_told_with_its_problems_and_known_of_its_rules_and_targets() {
    let books = "owner: Books <books@example.com>\ntargets:\n  crm: { type: http, url: \"https://crm.example.com/\" }\nrules:\n";
    let files = |rest: String| {
        [
            (
                "rules.yaml",
                format!(
                    "{MAIN}include: rules.d/*.yaml\nrules:\n{}{}",
                    rule("main", "desk"),
                    rule("to-crm", "crm")
                ),
            ),
            ("rules.d/books.yaml", format!("{books}{rest}")),
        ]
    };
    let config = load(&files(rule("books", "desk"))).config.unwrap();
    assert_eq!(config.owner("books", "desk"), Some("Books <books@example.com>"));
    assert_eq!(config.owner("to-crm", "crm"), Some("Books <books@example.com>"));
    assert_eq!(config.owner("main", "desk"), None);

    let loaded = load(&files(rule("books", "nobody")));
    assert_eq!(loaded.problems[0].owner.as_deref(), Some("Books <books@example.com>"));
    let text = report::render_text(&loaded.problems, &loaded.sources, false);
    assert!(text.contains("the owner of this file is Books <books@example.com>"), "{text}");
}
