//! What `init` writes, and what `check` makes of it.

#![expect(clippy::unwrap_used, reason = "a test that cannot prepare its folder has failed")]

use std::path::Path;

use activity_relay::cli::output::Output;
use activity_relay::cli::{Color, Context, Exit, Format, Global, Named, Stop, check, init};
use activity_relay::config;
use activity_relay::config::problem::Severity;
use activity_relay::config::secret::Environment;
use activity_relay::daemon::clock::Clock;
use clap::Parser;

#[derive(Parser)]
struct CheckLine {
    #[command(flatten)]
    args: check::Args,
}

fn context(folder: &Path) -> Context {
    let global = Global {
        config: folder.join("rules.yaml"),
        store: "sqlite::memory:".to_owned(),
        color: Color::Never,
        log_format: Format::Text,
        log: None,
    };
    Context {
        global,
        named: Named::default(),
        environment: Environment::default(),
        out: Output::new(Color::Never),
        clock: Clock::System,
    }
}

async fn check(folder: &Path, options: &[&str]) -> Exit {
    let line = ["check"].iter().chain(options);
    check::run(&CheckLine::parse_from(line).args, &mut context(folder)).await.unwrap()
}

#[tokio::test]
async fn what_init_writes_is_fine_with_nothing_set() {
    let folder = tempfile::tempdir().unwrap();
    let mut fresh = context(folder.path());
    assert_eq!(init::run(&init::Args {}, &mut fresh).await.unwrap(), Exit::Fine);
    let loaded = config::load(&fresh.global.config, &Environment::default());
    let severe: Vec<_> = loaded.problems.iter().filter(|p| p.severity == Severity::Error).collect();
    assert!(severe.is_empty(), "{severe:?}");
    let codes: Vec<&str> = loaded.problems.iter().map(|problem| problem.code).collect();
    assert_eq!(codes, ["R023", "R023"], "the warnings say that token and webhook are still to be filled in");
    let text = std::fs::read_to_string(folder.path().join("rules.yaml")).unwrap();
    let named = text.lines().next().unwrap().strip_prefix("# yaml-language-server: $schema=").unwrap();
    let schema = std::fs::read_to_string(folder.path().join(named)).unwrap();
    assert!(schema.contains("front-desk") && schema.contains("client-cancelled"), "it offers what is there");
    assert_eq!(check(folder.path(), &[]).await, Exit::Fine);
    assert_eq!(check(folder.path(), &["--deny", "warnings"]).await, Exit::Problem);
}

#[tokio::test]
async fn init_leaves_what_exists_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("rules.yaml"), "mine").unwrap();
    let error = init::run(&init::Args {}, &mut context(folder.path())).await.unwrap_err();
    let stop = error.downcast_ref::<Stop>().unwrap();
    assert!(stop.exit == Exit::Problem && stop.message.contains("rules.yaml"), "{stop:?}");
    assert_eq!(std::fs::read_to_string(folder.path().join("rules.yaml")).unwrap(), "mine");
    assert!(!folder.path().join("templates").exists() && !folder.path().join("rules.schema.json").exists());
    assert_eq!(check(folder.path(), &[]).await, Exit::Problem);
}
