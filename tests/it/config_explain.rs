//! What `check --explain` says: every code has an example that shows just that problem, and one that is right.

use std::fs;
use std::path::Path;
use std::process::Command;

use activity_relay::config::codes;
use serde_json::Value;

/// Codes whose problem cannot be shown by a text alone.
const WITHOUT_EXAMPLE: [(&str, &str); 7] = [
    ("R001", "the file cannot be read"),
    ("R080", "needs an API that refuses"),
    ("R081", "needs an API that knows the token"),
    ("R082", "needs a target that refuses"),
    ("R083", "needs an API that knows two tokens"),
    ("R116", "a right one needs the snapshot's file"),
    ("R117", "a template that fails on a sample is refused by `check` before it is tested"),
];
/// What an example is completed with where it does not bring its own.
const COMMON: [(&str, &str); 4] = [
    ("version", "version: 1\n"),
    ("accounts", "accounts:\n  - name: main\n    token: ${VCITA_TOKEN}\n"),
    ("targets", "targets:\n  front-desk:\n    type: slack\n    webhook_url: ${SLACK_WEBHOOK_URL}\n"),
    ("rules", "rules:\n  - name: all\n    match: {}\n    deliver: [{ to: front-desk }]\n"),
];
const ENVIRONMENT: [(&str, &str); 5] = [
    ("VCITA_TOKEN", "not-a-real-token"),
    ("SLACK_WEBHOOK_URL", "https://hooks.slack.com/services/T000/B000/not-real"),
    ("SMTP_URL", "smtps://relay:not-real@mail.example.com:465"),
    ("CRM_SECRET", "whsec_bm90LWEtcmVhbC1zZWNyZXQtbm90LWF0LWFsbA=="),
    ("CRM_PASSWORD", "not-real"),
];

/// The files of an example: the rules file, and those with a heading such as `templates/x/text.hbs:`.
fn example(explanation: &str, heading: &str) -> Option<Vec<(String, String)>> {
    let rest = explanation.split(&format!("\n{heading}\n")).nth(1)?;
    let mut files = vec![("rules.yaml".to_owned(), String::new())];
    for line in rest.lines() {
        if let Some(text) = line.strip_prefix("    ") {
            let (_, file) = files.last_mut()?;
            file.push_str(text);
            file.push('\n');
        } else if let Some(name) = line.strip_suffix(':').filter(|name| name.contains(['/', '.'])) {
            files.push((name.to_owned(), String::new()));
        } else if !line.is_empty() {
            break;
        }
    }
    for (key, text) in COMMON {
        if !files[0].1.lines().any(|line| line.starts_with(&format!("{key}:"))) {
            files[0].1 = if key == "version" {
                format!("{text}{}", files[0].1)
            } else {
                format!("{}{text}", files[0].1)
            };
        }
    }
    Some(files)
}

/// The codes that `check` finds in an example, or `test` where it has tests; each once.
fn found(files: &[(String, String)]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let tested = |(name, text): &(String, String)| name.ends_with(".test.yaml") || text.contains("\ntests:");
    if files.iter().any(tested) {
        return failed(folder.path());
    }
    let document = check(folder.path(), &["--format", "json"]);
    let document: Value = serde_json::from_str(&document).unwrap();
    let problems = document["problems"].as_array().unwrap();
    let mut codes: Vec<String> =
        problems.iter().map(|problem| problem["code"].as_str().unwrap().to_owned()).collect();
    codes.sort();
    codes.dedup();
    codes
}

/// The codes that `test` shows, each once.
fn failed(folder: &Path) -> Vec<String> {
    let text = run(folder, &["test"]);
    let codes = text.split("error[").skip(1).filter_map(|rest| rest.split(']').next());
    codes.map(str::to_owned).collect::<std::collections::BTreeSet<_>>().into_iter().collect()
}

fn check(folder: &Path, arguments: &[&str]) -> String {
    run(folder, &[&["check"], arguments].concat())
}

fn run(folder: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_activity-relay"));
    command.args(arguments).current_dir(folder).env_clear().envs(ENVIRONMENT);
    String::from_utf8(command.output().unwrap().stdout).unwrap()
}

#[test]
fn every_code_has_an_example_that_shows_it_alone_and_one_that_is_right() {
    let mut wrong = Vec::new();
    for code in codes::ALL {
        let (bad, good) = (example(code.explanation(), "Wrong:"), example(code.explanation(), "Right:"));
        let (Some(bad), Some(good)) = (bad, good) else {
            let known = WITHOUT_EXAMPLE.iter().any(|(id, _)| *id == code.id);
            wrong.extend((!known).then(|| format!("{} has no example", code.id)));
            continue;
        };
        let of_bad = found(&bad);
        if of_bad != [code.id] {
            wrong.push(format!("{}: the wrong example shows {of_bad:?}", code.id));
        }
        let of_good = found(&good);
        if !of_good.is_empty() {
            wrong.push(format!("{}: the right example shows {of_good:?}", code.id));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn a_code_is_explained_all_are_listed_and_an_unknown_one_brings_the_nearest() {
    let folder = tempfile::tempdir().unwrap();
    let text = check(folder.path(), &["--explain", "r051"]);
    assert!(text.starts_with("R051: A target that does not exist.\n\n"), "{text}");
    assert!(text.contains("\nWrong:\n\n    rules:") && text.contains("\nRight:\n\n    rules:"), "{text}");
    let all = check(folder.path(), &["--explain"]);
    assert_eq!(all.lines().count(), codes::ALL.len());
    let json =
        |arguments: &[&str]| -> Value { serde_json::from_str(&check(folder.path(), arguments)).unwrap() };
    let one = json(&["--explain", "R014", "--format", "json"]);
    let code = codes::find("R014").unwrap();
    assert_eq!((&one["code"], &one["meaning"]), (&code.id.into(), &code.meaning.into()));
    assert_eq!(one["explanation"], code.explanation().trim_end());
    let all = json(&["--explain", "--format", "json"]);
    assert_eq!(all["codes"].as_array().unwrap().len(), codes::ALL.len());
    let output = Command::new(env!("CARGO_BIN_EXE_activity-relay"))
        .args(["check", "--explain", "R50"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("near are R050"));
}
