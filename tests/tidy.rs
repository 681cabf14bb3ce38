//! Keeps the house in order: which module may know which, what every file must have, and that the walkthrough is true.
#![expect(clippy::unwrap_used, reason = "a test that cannot read the sources has failed")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// For each folder of `src`, the folders it may name as `crate::x`.
const EDGES: [(&str, &[&str]); 13] = [
    ("model", &[]),
    ("egress", &["model"]),
    ("rules", &["model"]),
    ("render", &["model"]),
    ("store", &["model", "egress"]),
    ("source", &["model", "egress"]),
    ("target", &["model", "egress"]),
    ("config", &["model", "egress", "rules", "render", "source", "target"]),
    ("daemon", &["model", "egress", "rules", "render", "source", "target", "store", "config"]),
    ("sandbox", &["model", "daemon"]),
    ("answers", &["model", "rules", "render", "source", "target", "store", "config", "daemon"]),
    ("web", &["model", "rules", "render", "target", "store", "config", "daemon", "answers"]),
    (
        "cli",
        &[
            "model", "egress", "rules", "render", "source", "target", "store", "config", "daemon", "sandbox",
            "answers", "web",
        ],
    ),
];

/// Files beside the folders that every folder may name.
const KNOWN_TO_ALL: [&str; 2] = ["failpoint", "parallel"];

/// What a pure module never names.
const IMPURE: [&str; 9] = [
    "tokio::",
    "reqwest::",
    "rusqlite::",
    "axum::",
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "Timestamp::now",
];
const PURE: [&str; 3] = ["model", "rules", "render"];

/// Names that say nothing about what a module is about.
const VAGUE: [&str; 6] = ["utils", "util", "common", "types", "errors", "traits"];

const LINES_MAX: usize = 500;

/// The files that one message passes, as `src/lib.rs` tells it.
const WALK: [&str; 10] = [
    "src/daemon/poller.rs",
    "src/source/api.rs",
    "src/source/wire.rs",
    "src/rules/evaluate.rs",
    "src/rules/plan.rs",
    "src/store/mod.rs",
    "src/daemon/courier.rs",
    "src/render/mod.rs",
    "src/target/mod.rs",
    "src/model/settle.rs",
];

fn sources() -> Vec<(PathBuf, String)> {
    fn walk(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    walk(&root.join("src"), &mut found);
    let mut found: Vec<_> =
        found.into_iter().map(|(path, text)| (path.strip_prefix(root).unwrap().to_owned(), text)).collect();
    found.sort();
    assert!(found.len() > 40, "only {} files found: is this the right folder?", found.len());
    found
}

/// The folder of `src` that a file belongs to; `None` for `lib.rs` and `main.rs`.
fn module(path: &Path) -> Option<String> {
    let inside = path.strip_prefix("src").ok()?;
    let first = inside.components().next()?.as_os_str().to_str()?;
    inside.components().nth(1).is_some().then(|| first.to_owned())
}

/// Code lines, without comments, up to the file's tests.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .take_while(|(_, line)| !line.starts_with("#[cfg(test)]"))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .map(|(index, line)| (index + 1, line))
}

#[test]
fn dependencies_point_one_way() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let Some(module) = module(&path) else { continue };
        let allowed = EDGES.iter().find(|(name, _)| *name == module).map(|(_, allowed)| *allowed);
        let Some(allowed) = allowed else {
            wrong.push(format!("{}: the folder `{module}` is not in the list of edges", path.display()));
            continue;
        };
        for (line, code) in code(&text) {
            for used in code.split("crate::").skip(1) {
                let used: String = used.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                let used = used.as_str();
                if !used.is_empty()
                    && used != module
                    && !allowed.contains(&used)
                    && !KNOWN_TO_ALL.contains(&used)
                {
                    wrong.push(format!("{}:{line}: `{module}` may not know `{used}`", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn pure_modules_do_no_io() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        if !module(&path).is_some_and(|module| PURE.contains(&module.as_str())) {
            continue;
        }
        for (line, code) in code(&text) {
            for impure in IMPURE.iter().filter(|impure| code.contains(**impure)) {
                wrong.push(format!("{}:{line}: `{impure}` in a pure module", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn every_file_says_what_it_is_for_and_stays_short() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        if !text.starts_with("//! ") {
            wrong.push(format!("{}: the first line is not a `//!` sentence of purpose", path.display()));
        }
        let lines = text.lines().count();
        if lines > LINES_MAX {
            wrong.push(format!("{}: {lines} lines, more than {LINES_MAX}", path.display()));
        }
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        if VAGUE.contains(&stem) {
            wrong.push(format!("{}: the name says nothing about what it holds", path.display()));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_walkthrough_names_files_that_exist_and_the_tour_names_them_in_order() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tour = fs::read_to_string(root.join("src/lib.rs")).unwrap();
    let mut position = 0;
    for file in WALK {
        assert!(root.join(file).is_file(), "{file} is part of the walkthrough and does not exist");
        let stem = file.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
        let named = [stem.to_owned(), stem.replace('/', "::")];
        let found = named.iter().filter_map(|name| tour[position..].find(name.as_str())).min();
        position += found.unwrap_or_else(|| panic!("src/lib.rs does not name {stem} in its place"));
    }
}

#[test]
fn the_list_of_edges_names_folders_that_exist_once() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut seen = BTreeSet::new();
    for (name, allowed) in EDGES {
        assert!(root.join(name).is_dir(), "src/{name} does not exist");
        assert!(seen.insert(name), "{name} stands twice");
        for other in allowed {
            assert!(seen.contains(other), "`{name}` may know `{other}` only if that stands before it");
        }
    }
}
