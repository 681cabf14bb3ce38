//! Every broken rules file in `tests/config/invalid` and every good one in `tests/config/valid`.

#![expect(clippy::unwrap_used, reason = "a test that cannot read its files has failed")]

use std::path::{Path, PathBuf};

use activity_relay::config::problem::{Severity, count};
use activity_relay::config::secret::Environment;
use activity_relay::config::{self, Loaded, codes, report};

/// Part of every secret in the corpus and in the environment it is read with.
const SECRET: &str = "s3cr3t";

fn environment() -> Environment {
    Environment::of([
        ("VCITA_TOKEN", "token-s3cr3t"),
        ("SLACK_WEBHOOK_URL", "https://hooks.slack.com/services/T000/B000/s3cr3t"),
        ("SMTP_URL", "smtps://relay:s3cr3t@mail.example.com:465"),
        ("CRM_SECRET", "whsec_czNjcjN0czNjcjN0czNjcjN0czNjcjN0"),
        ("CRM_PASSWORD", "s3cr3t"),
        ("SECRET_WORD", "s3cr3t"),
        ("TIMEOUT", "30s"),
        ("PARALLEL", "4"),
        ("EMPTY", ""),
    ])
}

fn files(folder: &str) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "yaml") && path.is_file())
        .collect();
    paths.sort();
    paths
}

fn load(path: &Path) -> Loaded {
    config::load(path, &environment())
}

fn snapshot(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../config/snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

/// What a file says about itself: `#! R010` on the line of the problem, or `# expect: R011 3` at the top.
fn expected(text: &str) -> (String, usize) {
    if let Some(header) = text.strip_prefix("# expect: ") {
        let (code, line) = header.lines().next().unwrap().split_once(' ').unwrap();
        return (code.to_owned(), line.parse().unwrap());
    }
    let marked =
        text.lines().enumerate().find_map(|(index, line)| Some((line.split_once("#! ")?.1, index + 1)));
    let (code, line) = marked.unwrap_or(("R011", 1));
    (code.to_owned(), line)
}

#[test]
fn each_broken_file_is_refused_at_the_right_line_without_a_secret() {
    let paths = files("tests/config/invalid");
    assert!(paths.len() >= 40, "{}", paths.len());
    let mut misplaced = Vec::new();
    for path in paths {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let loaded = load(&path);
        let (code, line) = expected(&std::fs::read_to_string(&path).unwrap());
        let found: Vec<(&str, usize)> =
            loaded.problems.iter().map(|problem| (problem.code, problem.line)).collect();
        if found != [(code.as_str(), line)] {
            misplaced.push(format!("{name}: {code} at {line} expected, found {found:?}"));
        }
        let errors = count(&loaded.problems).0;
        assert_eq!(loaded.config.is_none(), errors > 0, "{name}");
        let text = report::render_text(&loaded.problems, &loaded.sources, false);
        let json = report::render_json(&loaded.problems).to_string();
        let sarif = report::render_sarif(&loaded.problems).to_string();
        let github = report::render_github(&loaded.problems).join("\n");
        for shown in [&text, &json, &sarif, &github] {
            assert!(!shown.contains(SECRET), "{name} shows a secret:\n{shown}");
        }
        assert!(loaded.problems.iter().all(|problem| problem.help.is_some()), "{name} says no remedy");
        snapshot(&name, &text);
    }
    assert!(misplaced.is_empty(), "{}", misplaced.join("\n"));
}

#[test]
fn each_good_file_is_taken_without_a_word() {
    let mut paths = files("tests/config/valid");
    assert!(!paths.is_empty());
    paths.push(PathBuf::from("rules.example.yaml"));
    for path in paths {
        let loaded = load(&path);
        let written = std::fs::read_to_string(&path).unwrap();
        // What may be meant is warned of and taken all the same.
        let warned: Vec<(String, usize)> =
            written.contains("#! ").then(|| expected(&written)).into_iter().collect();
        let found: Vec<(String, usize)> =
            loaded.problems.iter().map(|problem| (problem.code.to_owned(), problem.line)).collect();
        let text = report::render_text(&loaded.problems, &loaded.sources, false);
        assert!(found == warned && loaded.config.is_some(), "{}\n{text}", path.display());
    }
}

#[test]
fn all_problems_are_found_in_one_run() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rules.yaml");
    std::fs::write(
        &path,
        "version: 1\naccounts:\n  - name: main\n    token: ${NOT_SET}\n    poll_every: soon\ntimezone: Mars\n\
         targets:\n  desk: { type: slack, webhook_url: 5 }\nrules:\n  - name: a\n    mtch: {}\n    deliver: [{ to: dsk }]\n",
    )
    .unwrap();
    let loaded = load(&path);
    let found: Vec<(&str, usize)> = loaded.problems.iter().map(|p| (p.code, p.line)).collect();
    assert_eq!(
        found,
        [("R020", 4), ("R030", 5), ("R031", 6), ("R013", 8), ("R011", 10), ("R010", 11), ("R051", 12)]
    );
    assert!(loaded.problems.iter().all(|p| p.severity == Severity::Error));
}

#[test]
fn an_error_hides_no_warning_about_anything_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rules.yaml");
    let rules = |zone: &str, third: &str| {
        format!(
            "version: 1\naccounts: [{{ name: main, token: '${{VCITA_TOKEN}}' }}]\ntimezone: {zone}\n\
             targets: {{ desk: {{ type: slack, webhook_url: '${{SLACK_WEBHOOK_URL}}' }} }}\nrules:\n\
             - {{ name: a, match: {{ activity_type: Review }}, stop: true, deliver: [{{ to: desk }}] }}\n\
             - {{ name: b, match: {{ activity_type: Review }}, deliver: [{{ to: desk }}] }}\n\
             - {{ name: c, match: {{ activity_type: Payment }}, deliver: [{{ to: {third} }}] }}\n"
        )
    };
    for (zone, third, wanted) in [
        ("Europe/Rome", "desk", vec![("R065", 7)]),
        ("Europe/Roma", "desk", vec![("R031", 3), ("R065", 7)]),
        ("Europe/Rome", "dsk", vec![("R065", 7), ("R051", 8)]),
    ] {
        std::fs::write(&path, rules(zone, third)).unwrap();
        let loaded = load(&path);
        let found: Vec<(&str, usize)> = loaded.problems.iter().map(|p| (p.code, p.line)).collect();
        assert_eq!(found, wanted);
    }
    // A rule that cannot be read is not said to take anything away.
    let text = rules("Europe/Rome", "desk").replacen("stop: true", "where: 'message.('", 1);
    std::fs::write(&path, text.replacen("name: b,", "name: b, stop: true,", 1)).unwrap();
    assert!(load(&path).problems.iter().all(|problem| problem.severity == Severity::Error));
}

#[cfg(unix)]
#[test]
fn a_folder_that_cannot_be_read_is_an_error_and_its_rules_are_not_left_out_silently() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rules.yaml");
    // A link that leads to itself cannot be read by anybody.
    std::os::unix::fs::symlink("rules.d", folder.path().join("rules.d")).unwrap();
    let text = "version: 1\naccounts: [{ name: main, token: '${VCITA_TOKEN}' }]\ninclude: rules.d/*.yaml\nrules: []\n";
    std::fs::write(&path, text).unwrap();
    let loaded = load(&path);
    let found: Vec<(&str, usize)> = loaded.problems.iter().map(|p| (p.code, p.line)).collect();
    assert_eq!((found, loaded.config.is_none()), (vec![("R001", 3)], true));
    assert!(loaded.problems[0].message.starts_with("the folder "), "{:?}", loaded.problems[0]);
}

#[test]
fn hostile_files_are_refused_quickly() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rules.yaml");
    for text in [
        "[".repeat(20_000),
        "{a: ".repeat(20_000),
        "a: ".repeat(20_000),
        "- ".repeat(20_000),
        "\u{0}\u{fffd}".to_owned(),
    ] {
        std::fs::write(&path, &text).unwrap();
        let start = std::time::Instant::now();
        let loaded = load(&path);
        assert!(loaded.config.is_none() && !loaded.problems.is_empty());
        assert!(start.elapsed().as_secs() < 60, "{} took {:?}", &text[..4], start.elapsed());
    }
    std::fs::write(&path, [0xff, 0xfe, 0x00]).unwrap();
    assert_eq!(load(&path).problems[0].code, "R001");
    std::fs::write(&path, "#".repeat(17 * 1024 * 1024)).unwrap();
    assert_eq!(load(&path).problems[0].code, "R001");
}

#[test]
fn a_carriage_return_ends_a_line_wherever_it_stands() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rules.yaml");
    for end in ["\n", "\r\n", "\r"] {
        let text = "version: 1\naccounts: [{ name: main, token: x }]\nzone: y\n".replace('\n', end);
        std::fs::write(&path, text).unwrap();
        let loaded = load(&path);
        let found: Vec<(&str, usize)> = loaded.problems.iter().map(|p| (p.code, p.line)).collect();
        assert_eq!(found, [("R010", 3)], "{end:?}");
        let shown = report::render_text(&loaded.problems, &loaded.sources, false);
        assert!(shown.contains("3 | zone: y"), "{end:?}\n{shown}");
    }
}

#[test]
fn every_code_stands_in_the_documentation_with_its_meaning() {
    let docs = std::fs::read_to_string("docs/rules-file.md").unwrap();
    for code in codes::ALL {
        assert!(
            docs.contains(&format!("| {} | {} |", code.id, code.meaning)),
            "{} {}",
            code.id,
            code.meaning
        );
    }
}

/// A slip at each place where a secret may stand: the sentence about it is the same, without the secret.
#[test]
fn slips_in_secrets_do_not_show_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rules.yaml");
    let slips = [
        "@s3cr3t",
        "*s3cr3t",
        "%s3cr3t",
        "`s3cr3t`",
        "!s3cr3t",
        "“s3cr3t”",
        "s3cr3t: s3cr3t",
        "\"s3cr3t",
        "{{s3cr3t}}",
        "[s3cr3t",
        "s3cr3t #s3cr3t",
        "\"s3\\qs3cr3t\"",
        "${VCITA_TOKEN-s3cr3t}",
        "${SMTP_URL:+smtps://u:s3cr3t@mail.example.com}",
    ];
    let places = [
        "accounts:\n  - name: main\n    token: $\n",
        "accounts: [{ name: main, token: $ }]\n",
        "targets:\n  a: { type: slack, webhook_url: $ }\n",
        "targets:\n  a:\n    type: http\n    url: https://h.example.com/\n    signing_secret:\n      - $\n",
        "targets:\n  a:\n    type: http\n    auth:\n      basic:\n        user: x\n        password: $\n",
        "targets:\n  a:\n    type: http\n    auth:\n      bearer: $\n",
        "targets:\n  a:\n    type: http\n    headers:\n      Authorization: $\n",
        "targets:\n  a:\n    type: email\n    smtp: $\n",
        "targets:\n  a:\n    type: email\n    smpt: $\n",
    ];
    // A colon that is missing, or another sign in its place, and a value that stands where its key does.
    let colons = [" s3cr3t", "=s3cr3t", "; s3cr3t", ": |\ns3cr3t"];
    for place in places {
        let with_a_slip = slips.iter().map(|slip| place.replace('$', slip));
        let without_a_colon = colons.iter().map(|slip| place.replace(": $", slip));
        for text in with_a_slip.chain(without_a_colon.filter(|text| !text.contains('$'))) {
            let text = format!("version: 1\n{text}");
            std::fs::write(&path, &text).unwrap();
            let loaded = load(&path);
            assert!(!loaded.problems.is_empty());
            let all = [
                report::render_text(&loaded.problems, &loaded.sources, false),
                report::render_json(&loaded.problems).to_string(),
                report::render_sarif(&loaded.problems).to_string(),
                report::render_github(&loaded.problems).join("\n"),
            ];
            for shown in all {
                assert!(!shown.contains("s3cr3t"), "{text}\n{shown}");
            }
            let fixed = config::fix::apply(&loaded.problems).unwrap();
            assert!(!format!("{fixed:?}").contains("s3cr3t"), "{text}\n{fixed:?}");
        }
    }
}

#[test]
fn programs_get_stable_keys() {
    let loaded = load(Path::new("tests/config/invalid/unknown-target.yaml"));
    let json = serde_json::to_string_pretty(&report::render_json(&loaded.problems)).unwrap();
    snapshot("for-programs-json", &json);
    snapshot("for-programs-github", &report::render_github(&loaded.problems).join("\n"));
    let sarif = report::render_sarif(&loaded.problems);
    assert_eq!(sarif["runs"][0]["results"][0]["ruleId"], "R051");
}
