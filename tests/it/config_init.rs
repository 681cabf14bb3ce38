//! What `init` writes, and what `check` makes of it.

use activity_relay::config;
use activity_relay::config::problem::{Severity, count};
use activity_relay::config::secret::Environment;

#[test]
fn the_starter_file_is_fine_with_nothing_set_and_names_what_to_fill_in() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rules.yaml");
    std::fs::write(&path, include_str!("../../src/cli/init/rules.yaml")).unwrap();
    let template = folder.path().join("templates/client-cancelled");
    std::fs::create_dir_all(&template).unwrap();
    std::fs::write(
        template.join("subject.hbs"),
        include_str!("../../src/cli/init/client-cancelled/subject.hbs"),
    )
    .unwrap();
    std::fs::write(template.join("text.hbs"), include_str!("../../src/cli/init/client-cancelled/text.hbs"))
        .unwrap();
    let loaded = config::load(&path, &Environment::default());
    let severe: Vec<_> =
        loaded.problems.iter().filter(|p| p.severity == Severity::Error && p.code != "R052").collect();
    assert!(severe.is_empty(), "{severe:?}");
    assert!(loaded.problems.iter().any(|p| p.code == "R023" && p.line == 10), "{:?}", loaded.problems);
    assert!(count(&loaded.problems).1 >= 1);
}
