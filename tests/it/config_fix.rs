//! `check --fix`: certain corrections reach the files, nothing else of them changes, and doing it twice changes nothing.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

const HEAD: &str = "version: 1\naccounts:\n  - name: main\n    token: ${VCITA_TOKEN}\ntargets:\n  desk:\n    type: slack\n    webhook_url: ${SLACK_WEBHOOK_URL}\n";

fn check(folder: &Path, arguments: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_activity-relay"));
    command.arg("check").args(arguments).current_dir(folder).env_clear();
    command.env("VCITA_TOKEN", "s3cr3t").env("TARGET", "dsk");
    command.env("SLACK_WEBHOOK_URL", "https://hooks.slack.com/services/T000/B000/s3cr3t");
    let output = command.output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

fn with(rules: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("rules.yaml"), format!("{HEAD}{rules}")).unwrap();
    folder
}

fn rules(folder: &Path) -> String {
    fs::read_to_string(folder.join("rules.yaml")).unwrap()
}

#[test]
fn slips_of_all_kinds_are_corrected_in_one_run_and_a_second_changes_nothing() {
    let folder = with(
        "rules:\n  - name: @pay\n\tmatch: { message_type: *_failed }\n    stop: yes\n    deliver:\n      - to:dsk\n\
         \x20 - nmae: “two”\n    match: {activity_type:Meetng, message_type: canceled}\n    deliver: [{ to: 'dsk', template: defalt }]\n",
    );
    let (code, text) = check(folder.path(), &["--fix"]);
    assert_eq!(code, 0, "{text}");
    let mended = rules(folder.path());
    let wanted = "rules:\n  - name: \"@pay\"\n    match: { message_type: \"*_failed\" }\n    stop: true\n    deliver:\n      - to: desk\n\
                  \x20 - name: \"two\"\n    match: {activity_type: Meeting, message_type: cancelled}\n    deliver: [{ to: desk, template: default }]\n";
    assert_eq!(mended, format!("{HEAD}{wanted}"));
    let (code, text) = check(folder.path(), &["--fix"]);
    assert_eq!(code, 0);
    assert!(text.starts_with("nothing to correct that is certain"), "{text}");
    assert_eq!(rules(folder.path()), mended);
}

#[test]
fn what_was_changed_is_shown_as_a_diff_and_to_programs_under_a_key_of_its_own() {
    let broken = "rules:\n  - { name: a, match: {}, deliver: [{ to: dsk }] }\n";
    let folder = with(broken);
    let (_, text) = check(folder.path(), &["--fix"]);
    let wanted = "--- rules.yaml\n+++ rules.yaml\n@@ -10 +10 @@ R051\n-  - { name: a, match: {}, deliver: [{ to: dsk }] }\n+  - { name: a, match: {}, deliver: [{ to: desk }] }\n1 line corrected\n";
    assert!(text.starts_with(wanted), "{text}");
    let (code, text) = check(with(broken).path(), &["--fix", "--format", "json"]);
    let document: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &document["errors"]), (0, &0.into()));
    assert_eq!(document["fixed"][0]["codes"], serde_json::json!(["R051"]));
    assert_eq!(document["fixed"][0]["line"], 10);
}

#[test]
fn what_is_not_certain_or_comes_from_a_variable_or_is_secret_is_left_alone() {
    for rest in [
        "  disk:\n    type: slack\n    webhook_url: ${SLACK_WEBHOOK_URL}\nrules:\n  - { name: a, match: {}, deliver: [{ to: dsk }, { to: disk }] }\n",
        "rules:\n  - { name: a, match: {}, deliver: [{ to: \"${TARGET}\" }] }\n",
        "rules:\n  - { name: a, match: activity_type:Payment, deliver: [{ to: desk }] }\n",
        "rules:\n  - { name: a, match: {}, deliver: [{ to: desk, expires_after: 7 }] }\n",
        "rules:\n  - { name: a, match: {}, deliver: [{ to: desk, digest: { at: 8 } }] }\n",
        "    password: @s3cr3t\nrules:\n  - { name: a, match: {}, deliver: [{ to: desk }] }\n",
    ] {
        let folder = with(rest);
        let (code, text) = check(folder.path(), &["--fix"]);
        assert_eq!(code, 1, "{text}");
        assert!(text.starts_with("nothing to correct that is certain"), "{text}");
        assert!(!text.contains("s3cr3t"), "{text}");
        assert_eq!(rules(folder.path()), format!("{HEAD}{rest}"));
    }
}

#[test]
fn a_tab_becomes_the_spaces_that_its_neighbours_have() {
    let rules = "rules:\n  - { name: a, match: {}, deliver: [{ to: desk }] }\n";
    let cases = [
        // Behind a key that has nothing else.
        (
            "  desk:\n\ttype: slack\n\twebhook_url: ${SLACK_WEBHOOK_URL}\n",
            "  desk:\n    type: slack\n    webhook_url: ${SLACK_WEBHOOK_URL}\n",
        ),
        // Between two that stand alike.
        (
            "  desk:\n    type: slack\n\tcoalesce_over: 5\n    webhook_url: ${SLACK_WEBHOOK_URL}\n",
            "  desk:\n    type: slack\n    coalesce_over: 5\n    webhook_url: ${SLACK_WEBHOOK_URL}\n",
        ),
    ];
    let head = "version: 1\naccounts:\n  - name: main\n    token: ${VCITA_TOKEN}\ntargets:\n";
    for (written, wanted) in cases {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("rules.yaml"), format!("{head}{written}{rules}")).unwrap();
        let (code, text) = check(folder.path(), &["--fix"]);
        assert_eq!(code, 0, "{text}");
        assert_eq!(self::rules(folder.path()), format!("{head}{wanted}{rules}"));
    }
}

#[cfg(unix)]
#[test]
fn line_ends_marks_permissions_and_links_stay() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let folder = tempfile::tempdir().unwrap();
    let text = format!("\u{feff}{HEAD}rules:\n  - {{ name: a, match: {{}}, deliver: [{{ to: dsk }}] }}\n")
        .replace('\n', "\r\n");
    let real = folder.path().join("real.yaml");
    fs::write(&real, &text).unwrap();
    fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
    symlink("real.yaml", folder.path().join("rules.yaml")).unwrap();
    let (code, said) = check(folder.path(), &["--fix"]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(fs::read_to_string(&real).unwrap(), text.replace("dsk", "desk"));
    assert_eq!(fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o640);
    assert!(folder.path().join("rules.yaml").is_symlink());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}
