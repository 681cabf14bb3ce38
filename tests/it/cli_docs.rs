//! What README and docs show is true: commands parse, files pass `check`, links lead somewhere.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// README and everything in `docs`.
fn texts() -> Vec<(PathBuf, String)> {
    let docs = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        docs.filter(|path| path.extension().is_some_and(|kind| kind == "md")).collect();
    files.push(root().join("README.md"));
    files.sort();
    files.into_iter().map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_activity-relay"));
    command.env_clear().env("NO_COLOR", "1");
    command
}

/// The words of a shown command, without prompt, comment and redirection.
fn words(line: &str) -> Option<Vec<&str>> {
    let line = line.trim_start();
    let line = line.strip_prefix("$ ").or_else(|| line.strip_prefix("# ")).unwrap_or(line);
    let command = line.strip_prefix("activity-relay ")?;
    let command = command.split("  ").next()?.split(" > ").next()?;
    let words = command.split('"').enumerate().flat_map(|(part, text)| match part % 2 {
        0 => text.split_whitespace().collect(),
        _ => vec![text],
    });
    Some(words.collect())
}

/// The lines inside of fences that begin with one of the kinds.
fn fenced<'a>(text: &'a str, kinds: &[&str]) -> Vec<&'a str> {
    let mut inside = false;
    let mut lines = Vec::new();
    for line in text.lines() {
        match line.strip_prefix("```") {
            Some(kind) => inside = !inside && kinds.contains(&kind),
            None if inside || (kinds.contains(&"indented") && line.starts_with("    ")) => lines.push(line),
            None => {}
        }
    }
    lines
}

#[test]
fn every_command_shown_is_one_that_the_program_takes() {
    let mut tried = 0;
    for (path, text) in texts() {
        let shown = fenced(&text, &["console"]).into_iter().filter(|line| line.starts_with(['$', '#']));
        for words in shown.chain(fenced(&text, &["indented"])).filter_map(words) {
            // With --help nothing is done, but commands and options before it are read.
            let output = program().args(&words).arg("--help").output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{}: {}: {said}", path.display(), words.join(" "));
            tried += 1;
        }
    }
    assert!(tried > 15, "{tried} commands are shown");
}

#[test]
fn links_lead_to_files_that_exist() {
    for (path, text) in texts() {
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap();
            if !file.is_empty() && !file.contains("://") {
                assert!(path.parent().unwrap().join(file).exists(), "{}: {link}", path.display());
            }
        }
    }
}

#[test]
fn the_rules_files_shown_pass_check() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let shown = fenced(&readme, &["yaml"]).join("\n");
    let example = fs::read_to_string(root().join("rules.example.yaml")).unwrap();
    for text in [shown, example] {
        let folder = tempfile::tempdir().unwrap();
        let init = program().current_dir(folder.path()).arg("init").output().unwrap();
        assert!(init.status.success());
        fs::write(folder.path().join("rules.yaml"), text).unwrap();
        let output = program()
            .current_dir(folder.path())
            .env("VCITA_TOKEN", "token-of-a-test")
            .env("SLACK_WEBHOOK_URL", "https://hooks.slack.com/services/T000/B000/secret")
            .env("SMTP_URL", "smtps://user:password@mail.example.com:465")
            .env("CRM_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
            .arg("check")
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
}
