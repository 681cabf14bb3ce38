//! `init`: a starter rules file with tests and templates, which `check` and `test` find fine as they are.

use std::path::{Path, PathBuf};

use crate::config::schema::Of;
use crate::render::shipped;

use super::output::{DIM, paint};
use super::{Context, Exit, Stop, schema};

const RULES: &str = include_str!("init/rules.yaml");
/// Tests of it.
const TESTS: &str = include_str!("init/rules.test.yaml");
/// How wide the written paths are shown.
const PATH_CHARS: usize = 17;
/// How the rules file calls its schema, which lies beside it.
const SCHEMA: &str = "rules.schema.json";

/// Write a starter rules.yaml with tests, its schema for editors, and templates to begin with
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the command. Nothing that exists is touched: either all files are written or none.
#[expect(clippy::unused_async, reason = "every command is async")]
pub async fn run(_: &Args, context: &mut Context) -> anyhow::Result<Exit> {
    let rules = context.global.config.clone();
    let folder = context.folder().to_path_buf();
    let schema = rules.with_extension("schema.json");
    let named = schema.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let tests = rules.with_extension("test.yaml");
    let mut files: Vec<(PathBuf, String)> =
        vec![(rules.clone(), RULES.replacen(SCHEMA, &named, 1)), (tests.clone(), TESTS.to_owned())];
    files.extend(templates().map(|(path, text)| (folder.join(path), text.to_owned())));
    let mut paths = files.iter().map(|(path, _)| path).chain([&schema]);
    if let Some(path) = paths.find(|path| path.symlink_metadata().is_ok()) {
        let message = format!(
            "{} exists already and is left as it is; move it away, or choose another file with --config",
            path.display()
        );
        return Err(Stop::new(Exit::Problem, message));
    }
    for (path, text) in &files {
        add(path, text)?;
    }
    // It offers the names that stand in the files just written.
    add(&schema, &schema::text(Of::Main, &context.load().names)?)?;
    let say = |path: &Path, what: &str| {
        context.out.line(format!("wrote {:<PATH_CHARS$}  {}", path.display().to_string(), paint(DIM, what)))
    };
    say(&rules, "which messages go where")?;
    say(&tests, "tests of that")?;
    say(
        &folder.join("templates/"),
        "what is sent: a folder for each kind of news, such as client-cancelled",
    )?;
    say(&schema, "for editors, which complete and explain by it")?;
    context.out.line(next_steps(&rules))?;
    Ok(Exit::Fine)
}

fn add(path: &Path, text: &str) -> anyhow::Result<()> {
    write(path, text).map_err(|error| {
        Stop::new(Exit::Unavailable, format!("{} cannot be written: {error}", path.display()))
    })
}

/// Writes the templates that come with the program into a folder that has none yet.
///
/// # Errors
/// A file is there already or cannot be written.
pub(super) fn write_templates(folder: &Path) -> std::io::Result<()> {
    templates().try_for_each(|(path, text)| write(&folder.join(path), text))
}

/// The shipped templates, relative to the rules file's folder. `default` stays in the program, so that it goes with it.
fn templates() -> impl Iterator<Item = (PathBuf, &'static str)> {
    shipped::files()
        .filter(|(path, _)| !path.starts_with("default/"))
        .map(|(path, text)| (Path::new("templates").join(path), text))
}

/// Writes a file that does not exist yet, with the folders it needs.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write;
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::OpenOptions::new().write(true).create_new(true).open(path)?.write_all(text.as_bytes())
}

fn next_steps(rules: &Path) -> String {
    let option = if rules == Path::new("rules.yaml") {
        String::new()
    } else {
        format!(" --config {}", rules.display())
    };
    format!(
        "
Next:
  1. In vCita, open Settings, Integrations, Webhooks, and copy the token:
         export VCITA_TOKEN=…
  2. Create an incoming webhook in Slack and set it:
         export SLACK_WEBHOOK_URL=…
  3. activity-relay check{option}            is the file right?
     activity-relay test{option}             does it do what its tests say?
     activity-relay run --dry-run{option}    what would be sent?
     activity-relay run{option}

For a rule of your own: `activity-relay catalog` lists what can be matched, such as `activity-relay catalog review`;
`activity-relay explain Review/submit_review/client_to_pivot` shows such a message, and which rules take it."
    )
}
