//! Any text as a rules file: loading ends, quickly, with a configuration or with problems that point into the file.
#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use activity_relay::config::secret::Environment;
use activity_relay::config::{self, report};
use libfuzzer_sys::fuzz_target;

/// A folder with nothing in it but the file and one to include.
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder for the file").keep();
    std::fs::create_dir(folder.join("more.d")).expect("a folder to include from");
    std::fs::write(folder.join("more.d/one.yaml"), "rules: []\n").expect("a file to include");
    std::fs::write(folder.join("token.txt"), "token\n").expect("a file with a token");
    folder
});

static ENVIRONMENT: LazyLock<Environment> = LazyLock::new(|| {
    Environment::of([
        ("VCITA_TOKEN", "token"),
        ("SLACK_WEBHOOK_URL", "https://hooks.slack.com/services/T000/B000/x"),
        ("SMTP_URL", "smtps://relay:x@mail.example.com:465"),
        ("CRM_SECRET", "whsec_czNjcjN0czNjcjN0czNjcjN0czNjcjN0"),
        ("CRM_PASSWORD", "x"),
        ("TIMEOUT", "30s"),
        ("PARALLEL", "4"),
        ("EMPTY", ""),
    ])
});

/// The text could name a file outside the folder: `..`, a path from the root, or an escape for either. Such files are
/// a person's own choice, and what happens to be on the machine must not decide what is found.
fn leads_outside(text: &str) -> bool {
    let escapes = ["2f", "2F", "2e", "2E"];
    let from_root = |before: Option<char>| !before.is_some_and(|c| c.is_alphanumeric() || "_*?.<".contains(c));
    let text = text.replace("://", "");
    text.contains("..")
        || (text.contains('\\') && escapes.iter().any(|escape| text.contains(escape)))
        || text.match_indices('/').any(|(at, _)| from_root(text[..at].chars().next_back()))
}

fuzz_target!(init: {
    // A panic of the CEL library is caught by the program; only one that is not caught counts.
    std::panic::set_hook(Box::new(|panic| eprintln!("{panic}")));
}, |text: &str| {
    if leads_outside(text) {
        return;
    }
    let path = FOLDER.join("rules.yaml");
    std::fs::write(&path, text).expect("the file can be written");
    let loaded = config::load(&path, &ENVIRONMENT);
    assert!(loaded.config.is_some() || !loaded.problems.is_empty(), "refused without a reason");
    // A carriage return alone ends a line, too.
    let lines = text.replace("\r\n", "\n").replace('\r', "\n").lines().count() + 1;
    for problem in &loaded.problems {
        let starts = (problem.line, problem.column);
        assert!(starts >= (1, 1) && starts <= (problem.end_line, problem.end_column), "{problem:?}");
        assert!(problem.end_line <= lines || !problem.file.ends_with("rules.yaml"), "{problem:?}");
    }
    report::render_text(&loaded.problems, &loaded.sources, false);
    report::render_github(&loaded.problems);
    report::render_sarif(&loaded.problems);
});
