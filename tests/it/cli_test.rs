//! `test` as a person runs it: the program itself, in a folder with rules, tests and nothing set.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;

const RULES: &str = r#"version: 1
accounts:
  - { name: main, token: "${VCITA_TOKEN}" }
timezone: Europe/Rome
targets:
  desk: { type: slack, webhook_url: "${SLACK_WEBHOOK_URL}" }
  books: { type: email, smtp: "${SMTP_URL}", from: "a@b.test", to: [c@d.test, e@f.test] }
  crm: { type: http, url: "${CRM_URL}", signing_secret: "${file:/run/secrets/not-there}" }
rules:
  - name: cancelled
    match:
      - { activity_type: Meeting, message_type: cancelled, direction: client_to_pivot }
      - { activity_type: EventAttendance }
    template: short
    deliver: [{ to: desk }]
  - name: payments
    match: { activity_type: Payment }
    deliver: [{ to: books }, { to: crm, expires_after: 1h }]
"#;
const SHORT: &str = "{{who}} cancelled\n{{message.subject}}\n";

/// A folder with the rules and these tests.
struct Folder(TempDir);

impl Folder {
    fn new(tests: &str) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.write("rules.yaml", RULES);
        folder.write("templates/short/text.hbs", SHORT);
        folder.write("rules.test.yaml", tests);
        folder
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path().join(name)).unwrap()
    }

    fn run(&self, line: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_activity-relay"));
        command.args(line.split(' ')).current_dir(self.path()).env_clear().env("CI", "true");
        command.output().unwrap()
    }

    /// Exit code, and what is printed.
    fn text(&self, line: &str) -> (i32, String) {
        let output = self.run(line);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        (output.status.code().unwrap(), format!("{out}{err}"))
    }

    fn json(&self, line: &str) -> (i32, Value) {
        let output = self.run(&format!("{line} --format json"));
        (output.status.code().unwrap(), serde_json::from_slice(&output.stdout).unwrap())
    }
}

/// `name passed`, a line for each test.
fn outcomes(document: &Value) -> Vec<String> {
    let tests = document["tests"].as_array().unwrap().iter();
    tests.map(|test| format!("{} {}", test["name"].as_str().unwrap(), test["passed"])).collect()
}

/// `code line:column` of each failure.
fn failures(document: &Value) -> Vec<String> {
    let tests = document["tests"].as_array().unwrap().iter();
    let failures = tests.flat_map(|test| test["failures"].as_array().unwrap());
    failures
        .map(|one| format!("{} {}:{}", one["code"].as_str().unwrap(), one["line"], one["column"]))
        .collect()
}

/// A test of one cancelled meeting, of which this is expected.
fn cancelled(expect: &str) -> String {
    format!(
        "tests:\n  - name: cancelled\n    messages:\n      - sample: meeting/Cancelled/client_to_pivot\n        \
         with: {{ client.name: Ann, message.subject: Massage }}\n    expect: {expect}\n"
    )
}

#[test]
fn messages_become_what_is_expected_of_them_without_any_secret() {
    let folder = Folder::new(
        r#"now: "2026-03-02T09:00:00"
tests:
  - name: by sample
    messages:
      - sample: Meeting/cancelled/client_to_pivot
        with: { client: { name: Ann }, message.subject: "Fish & chips" }
      - { sample: Meeting/cancelled/client_to_pivot, at: 5m, with: { client.name: null } }
    expect:
      rules: [cancelled]
      deliveries:
        - { to: desk, at: +5m, text: { contains: "ann.bloom@example.com", not_contains: "Ann Bloom" } }
        - to: desk
          at: "2026-03-02T09:00:00+01:00"
          template: short
          messages: 1
          text: "Ann cancelled\nFish &amp; chips"
          body: { json_contains: { blocks: [{ type: section }] } }
      not_matched: { payments: "activity_type is `Meeting`" }
  - name: by file, twice the same
    messages: [{ file: items/paid.json }, { file: items/paid.json, at: 1h }]
    advance_to: "2026-03-02T12:00:00"
    expect:
      rules: [payments]
      deliveries:
        - { to: books, recipient: c@d.test, subject: { matches: "(?i)paid|payment" }, html: { contains: "</" } }
        - { to: books, recipient: e@f.test }
        - to: crm
          body:
            json_contains: { type: vcita.payment.payment_received, data: { message: { uid: p1 } } }
  - name: too late
    messages:
      - sample: Payment/payment_failed/to_pivot
        with: { message.created_at: "2026-03-02T06:00:00+01:00" }
    expect:
      deliveries: [{ to: books, count: 2 }, { to: crm, state: expired }]
  - name: silence
    messages: [{ sample: Review/submit_review/client_to_pivot }]
    expect: { rules: [], deliveries: [], not_matched: { cancelled: , payments: activity_type } }
"#,
    );
    folder.write(
        "items/paid.json",
        r#"{ "uid": "p1", "activity_type": "payment", "activity_action": "payment_received", "direction": "to_pivot",
            "client_uid": "c1", "message_text": "paid", "created_at": "2025-01-01T00:00:00Z" }"#,
    );
    let (code, text) = folder.text("test --coverage");
    insta::assert_snapshot!(format!("{text}exit {code}"));
}

#[test]
fn each_failure_shows_its_place_its_reason_and_what_came() {
    let folder = Folder::new(
        r"tests:
  - name: other rules
    messages: [{ sample: Payment/payment_failed/to_pivot }]
    expect: { rules: [cancelled] }
  - name: other reasons
    messages: [{ sample: Payment/payment_failed/to_pivot }]
    expect: { not_matched: { payments: , cancelled: weather } }
  - name: other deliveries
    messages: [{ sample: Payment/payment_failed/to_pivot, with: { client.name: Ann } }]
    expect:
      deliveries:
        - { to: books, count: 3 }
        - { to: desk, rule: cancelled }
  - name: another text
    messages: [{ sample: Meeting/cancelled/client_to_pivot, with: { client.name: Ann, message.subject: Massage } }]
    expect:
      deliveries:
        - to: desk
          rule: payments
          at: +1h
          text: |
            Ann cancelled
            Yoga
",
    );
    let (code, text) = folder.text("test");
    insta::assert_snapshot!(format!("{text}exit {code}"));
    let (code, document) = folder.json("test --run reasons$");
    assert_eq!((code, outcomes(&document)), (1, vec!["other reasons false".to_owned()]));
    assert_eq!(failures(&document), ["R111 7:30", "R111 7:53"]);
    let message = document["tests"][0]["failures"][1]["message"].as_str().unwrap();
    assert!(message.starts_with("rules.test.yaml:7: the rule `cancelled` does not take"), "{message}");
}

#[test]
fn a_template_that_fails_fails_the_test_whatever_is_expected() {
    let folder = Folder::new(&cancelled("{ rules: [cancelled] }"));
    folder.write("templates/short/text.hbs", "{{date now \"%H\" message.subject}}");
    let (code, document) = folder.json("test");
    assert_eq!((code, failures(&document)), (1, vec!["R117 2:11".to_owned()]), "{document}");
    assert!(document["tests"][0]["failures"][0]["message"].as_str().unwrap().contains("short/text.hbs"));
}

#[test]
fn a_snapshot_is_written_only_when_asked_for_and_compared_ever_after() {
    let tests =
        cancelled("{ deliveries: [{ to: desk, text: { snapshot: true }, body: { snapshot: whole } }] }");
    let folder = Folder::new(&tests);
    let (code, document) = folder.json("test");
    assert_eq!(
        (code, failures(&document)),
        (1, vec!["R116 6:58".to_owned(), "R116 6:84".to_owned()]),
        "{document}"
    );
    assert!(!folder.path().join("snapshots").exists());

    let (code, text) = folder.text("test --update");
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("wrote snapshots/rules/cancelled-desk-text.txt"), "{text}");
    assert_eq!(folder.read("snapshots/rules/cancelled-desk-text.txt"), "Ann cancelled\nMassage\n");
    assert!(folder.read("snapshots/rules/whole.json").contains("\"type\": \"section\""));
    assert_eq!(folder.json("test").0, 0);

    folder.write("templates/short/text.hbs", "{{who}} cancelled\nfor good\n");
    let (code, text) = folder.text("test");
    assert_eq!(code, 1);
    for line in ["- Massage", "+ for good", "`activity-relay test --update` writes the snapshot anew"] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    let (code, document) = folder.json("test --update");
    assert_eq!(code, 0, "{document}");
    assert_eq!(document["written"].as_array().unwrap().len(), 2, "{document}");
    assert_eq!(folder.text("test --update").1, "rules.test.yaml\n  ✓ cancelled\n\n1 test: 1 passed\n");
}

/// A test of two cancelled meetings, of Ann's and of Bob's, with these deliveries.
fn two_clients(deliveries: &str) -> String {
    format!(
        "tests:\n  - name: two\n    messages:\n      - {{ sample: Meeting/cancelled/client_to_pivot, with: {{ client.name: Ann }} }}\n      \
         - {{ sample: Meeting/cancelled/client_to_pivot, with: {{ client.name: Bob }} }}\n    expect: {{ deliveries: [{deliveries}] }}\n"
    )
}

#[test]
fn a_snapshot_of_several_deliveries_holds_one_text_that_all_of_them_have() {
    let folder = Folder::new(&two_clients("{ to: desk, count: 2, text: { snapshot: fd } }"));
    for _ in 0..2 {
        let (code, document) = folder.json("test --update");
        assert_eq!((code, failures(&document)), (1, vec!["R116 6:68".to_owned()]), "{document}");
        let message = document["tests"][0]["failures"][0]["message"].as_str().unwrap();
        assert!(message.contains("2 deliveries to desk have different texts"), "{message}");
        assert!(!folder.path().join("snapshots").exists(), "nothing is half written");
    }
    folder.write(
        "rules.test.yaml",
        &two_clients("{ to: desk, text: { snapshot: a } }, { to: desk, text: { snapshot: b } }"),
    );
    let (code, document) = folder.json("test --update");
    assert_eq!((code, document["written"].as_array().unwrap().len()), (0, 2), "{document}");
    let kept = [folder.read("snapshots/rules/a.txt"), folder.read("snapshots/rules/b.txt")];
    assert_eq!(kept, ["Ann cancelled\nSports massage\n", "Bob cancelled\nSports massage\n"]);
    assert_eq!(folder.json("test").0, 0);
    folder.write("snapshots/rules/a.txt", &kept[1]);
    folder.write("snapshots/rules/b.txt", &kept[0]);
    let (code, document) = folder.json("test --update");
    assert_eq!((code, &document["written"]), (0, &json!([])), "what is kept is not exchanged: {document}");

    folder.write("templates/short/text.hbs", "a client cancelled\n");
    folder.write("rules.test.yaml", &two_clients("{ to: desk, count: 2, text: { snapshot: fd } }"));
    assert_eq!(folder.json("test --update").0, 0);
    assert_eq!(folder.read("snapshots/rules/fd.txt"), "a client cancelled\n");
    folder.write("templates/short/text.hbs", SHORT);
    let (code, text) = folder.text("test");
    assert!(code == 1 && text.contains("write an entry for each of them"), "{text}");
}

#[test]
fn one_rule_needs_no_list_and_what_became_of_the_others_is_counted() {
    let folder = Folder::new(&cancelled("{ rules: cancelled }"));
    assert_eq!(folder.json("test").0, 0);
    folder.write("rules.test.yaml", &cancelled("{ rules: canceled }"));
    let (code, text) = folder.text("test");
    assert!(
        code == 1 && text.contains("there is no rule `canceled`") && text.contains("cancelled"),
        "{text}"
    );
    folder.write(
        "rules.test.yaml",
        &cancelled("{ deliveries: [{ to: desk }, { to: desk, state: withheld }] }"),
    );
    let (_, text) = folder.text("test");
    assert!(text.contains("no delivery to desk is withheld") && text.contains("one is delivered"), "{text}");
    folder.write(
        "rules.test.yaml",
        "tests:\n  - name: two\n    messages:\n      - { sample: Payment/payment_failed/to_pivot }\n      - { sample: \
         Payment/payment_failed/to_pivot, at: 1h }\n    advance_to: \"2026-03-02T09:30:00Z\"\n    expect: { deliveries: [{ to: crm, \
         state: withheld, count: 2 }] }\n",
    );
    let (_, text) = folder.text("test");
    assert!(
        text.contains("the clock cannot go back: this moment is earlier than the last message"),
        "{text}"
    );
    folder.write(
        "rules.test.yaml",
        &two_clients("{ to: desk, count: 2 }, { to: desk, state: withheld, count: 2 }"),
    );
    let (_, text) = folder.text("test");
    let said = ["none of the 2 expected deliveries to desk is withheld", "2 are delivered"];
    assert!(said.iter().all(|words| text.contains(words)), "{text}");
}

#[test]
fn two_texts_are_not_kept_in_one_snapshot_and_a_type_may_be_one_that_nobody_knows_yet() {
    let kept = "{ deliveries: [{ to: desk, text: { snapshot: a }, body: { snapshot: a } }, { to: desk, text: { snapshot: A } }] }";
    let folder = Folder::new(&cancelled(kept));
    let (code, document) = folder.json("test --update");
    let problems = document["problems"].as_array().unwrap();
    assert_eq!((code, problems.len(), &problems[0]["code"]), (1, 1, &json!("R106")), "{document}");
    assert!(!folder.path().join("snapshots").exists(), "a test with a mistake is not run");

    folder.write(
        "rules.test.yaml",
        "tests:\n  - name: new\n    messages: [{ sample: Payment/payment_failed/to_pivot, with: { message.message_type: \
         points_expired } }]\n    expect: { rules: [payments], deliveries: [{ to: books, count: 2 }, { to: crm, body: { json_contains: \
         { type: vcita.payment.points_expired } } }] }\n",
    );
    let (code, text) = folder.text("test");
    assert_eq!(code, 0, "{text}");
}

#[test]
fn the_rules_of_a_test_are_a_set_and_each_is_named_once() {
    let both = "tests:\n  - name: both\n    messages:\n      - { sample: Meeting/cancelled/client_to_pivot }\n      \
                - { sample: Payment/payment_failed/to_pivot }\n      - { sample: Payment/payment_failed/to_pivot }\n    \
                expect: { rules: [RULES] }\n";
    let folder = Folder::new(&both.replace("RULES", "payments, cancelled"));
    assert_eq!(folder.json("test").0, 0);
    folder.write("rules.test.yaml", &both.replace("RULES", "cancelled, payments, payments"));
    let (code, text) = folder.text("test");
    assert!(code == 1 && text.contains("the rule `payments` stands here twice"), "{text}");
    folder.write("rules.test.yaml", &both.replace("RULES", "payments"));
    assert_eq!(folder.json("test").0, 1, "exactly these");
}

#[test]
fn a_list_of_ways_to_look_at_a_part_has_to_hold_as_a_whole() {
    let tests = |last: &str| {
        cancelled(&format!(
            "{{ deliveries: [{{ to: desk, text: [\"Ann cancelled\\nMassage\", {{ contains: Ann }}, {{ contains: {last} }}], \
             body: [{{ json_contains: {{ blocks: [{{ type: section }}] }} }}, {{ matches: {last} }}] }}] }}"
        ))
    };
    let folder = Folder::new(&tests("Massage"));
    let (code, document) = folder.json("test");
    assert_eq!(code, 0, "{document}");
    folder.write("rules.test.yaml", &tests("Yoga"));
    let (code, document) = folder.json("test");
    assert_eq!((code, failures(&document).len()), (1, 2), "{document}");
    folder.write("rules.test.yaml", &cancelled("{ deliveries: [{ to: desk, text: [[Ann]] }] }"));
    assert_eq!(folder.json("test").1["problems"].as_array().unwrap().len(), 1, "a list in a list");
}

#[test]
fn whatever_keeps_tests_from_running_is_told_to_people_to_programs_and_to_ci_systems() {
    let folder = Folder::new(&cancelled("{ rules: [cancelled] }"));
    let told = |line: &str, code: &str, words: &str| {
        fs::write(folder.path().join("out.xml"), "").unwrap();
        let (exit, document) = folder.json(&format!("{line} --junit out.xml"));
        assert_eq!((exit, &document["problems"][0]["code"]), (1, &json!(code)), "{document}");
        assert_eq!(document["tests"], json!([]), "{document}");
        let xml = folder.read("out.xml");
        assert!(xml.contains("errors=\"1\"") && xml.contains(words), "{words}: {xml}");
        let (exit, text) = folder.text(line);
        assert!(exit == 1 && text.contains(&format!("error[{code}]")), "{text}");
    };
    told("test --config nowhere.yaml", "R001", "nowhere.yaml cannot be read");
    folder.write("bad.yaml", &RULES.replace("template: short", "templat: short"));
    told("test --config bad.yaml", "R010", "bad.yaml:14");
    folder.write("rules.yaml", &RULES.replace("Europe/Rome", "${ZONE:-Europe/Rome}"));
    folder
        .write("rules.test.yaml", &format!("env: {{ ZONE: Mars }}\n{}", cancelled("{ rules: [cancelled] }")));
    told("test", "R031", "with this `env` the rules file has a problem, in rules.yaml:4");
}

#[test]
fn coverage_names_what_no_test_reached() {
    let folder = Folder::new(&cancelled("{ rules: [cancelled] }"));
    let (_, text) = folder.text("test --coverage");
    insta::assert_snapshot!(text);
    let coverage = folder.json("test").1["coverage"].clone();
    assert_eq!(
        coverage["rules"],
        json!({ "reached": 1, "of": 2, "missing": [
        { "rule": "payments", "place": { "file": "rules.yaml", "line": 16 } }] })
    );
    assert_eq!(
        coverage["blocks"],
        json!({ "reached": 1, "of": 2, "missing": [
        { "rule": "cancelled", "block": 2, "place": { "file": "rules.yaml", "line": 13 } }] })
    );
    assert_eq!(coverage["deliveries"]["missing"][1]["to"], "crm", "{coverage}");
}

#[test]
fn the_report_for_ci_systems_is_xml_whatever_stands_in_names_and_texts() {
    let folder = Folder::new(
        "tests:\n  - name: \"<&\\\"'\\x01> ok\"\n    messages: [{ sample: Review/submit_review/client_to_pivot }]\n    \
         expect: { rules: [] }\n  - name: fails\n    messages: [{ sample: Meeting/cancelled/client_to_pivot, with: { client.name: \
         \"]]><b>\" } }]\n    expect: { deliveries: [] }\n  - { name: broken, mesages: [] }\n",
    );
    let (code, _) = folder.text("test --junit out.xml");
    assert_eq!(code, 1);
    let xml = folder.read("out.xml");
    let took = regex::Regex::new("time=\"[0-9.]+\"").unwrap();
    insta::assert_snapshot!(took.replace_all(&xml, "time=\"…\""));
}

#[test]
fn mistakes_in_a_file_of_tests_are_shown_as_those_of_the_rules_are() {
    let folder = Folder::new(
        r#"nwo: x
tests:
  - name: one
    messages:
      - sample: Meeting/canceled/client_to_pivot
      - { file: nowhere.json }
      - { sample: Meeting/cancelled/client_to_pivot, with: { client.nme: x, message.meeting.duration: long }, at: soon }
      - { sample: Meeting/cancelled/client_to_pivot, account: other }
    advance: 1h
    advance_to: +1h
    expect:
      rules: [canceled]
      deliveries:
        - { to: dsk }
        - { to: desk, html: x, state: sent, text: { matches: "(" } }
  - { name: two, messages: [], expect: {} }
  - { name: fine, messages: [], expect: { rules: [] } }
  - { name: fine, messages: [], expect: { rules: [] } }
"#,
    );
    let (code, document) = folder.json("test");
    assert_eq!(code, 1);
    let problems = document["problems"].as_array().unwrap().iter();
    let lines = problems.map(|one| {
        let text = |key: &str| one[key].as_str().unwrap_or("–").to_owned();
        format!(
            "{} {}:{} {} ({})",
            text("code"),
            one["line"],
            one["column"],
            text("message"),
            text("replacement")
        )
    });
    insta::assert_snapshot!(lines.collect::<Vec<_>>().join("\n"));
    assert_eq!(outcomes(&document), ["fine true", "fine true"], "what can be read is run");
    let (code, text) = folder.text("test nowhere.test.yaml");
    assert_eq!(code, 1);
    assert!(text.contains("error[R001]") && text.contains("nowhere.test.yaml cannot be read"), "{text}");
}

#[test]
fn a_run_that_tests_nothing_does_not_look_like_a_good_one() {
    let folder = Folder::new(&cancelled("{ rules: [cancelled] }"));
    let (code, text) = folder.text("test --run weather");
    assert!(code == 1 && text.contains("no test is called anything like `weather`"), "{text}");
    fs::remove_file(folder.path().join("rules.test.yaml")).unwrap();
    let (code, text) = folder.text("test");
    assert!(code == 1 && text.contains("there are no tests for rules.yaml"), "{text}");
    folder.write("rules.yaml", &RULES.replace("deliver", "delver"));
    let (code, text) = folder.text("test");
    assert!(code == 1 && text.contains("error[R010]") && text.contains("no test was run"), "{text}");
}

#[test]
fn a_file_of_tests_belongs_to_the_rules_it_is_named_after_and_else_to_all() {
    let named =
        |name: &str| format!("tests:\n  - {{ name: {name}, messages: [], expect: {{ rules: [] }} }}\n");
    let folder = Folder::new(&named("own"));
    folder.write("more.test.yaml", &named("more"));
    folder.write("other.yaml", RULES);
    folder.write("other.test.yaml", &named("other"));
    assert_eq!(outcomes(&folder.json("test").1), ["more true", "own true"]);
    assert_eq!(outcomes(&folder.json("test --config other.yaml").1), ["more true", "other true"]);
    assert_eq!(outcomes(&folder.json("test other.test.yaml").1), ["other true"]);

    folder.write("apart/a.yaml", &named("apart"));
    let inline = "tests:\n  - apart/*.yaml\n  - { name: inline, messages: [], expect: { rules: [] } }\n";
    folder.write("rules.yaml", &format!("{RULES}{inline}"));
    assert_eq!(folder.json("check").0, 1, "the secrets are not set, and that is all");
    let (code, document) = folder.json("test");
    assert_eq!(code, 0, "{document}");
    assert_eq!(outcomes(&document), ["inline true", "apart true", "more true", "own true"]);
    folder.write("rules.yaml", &format!("{RULES}tests: gone.yaml\n"));
    let (code, document) = folder.json("test");
    assert_eq!((code, &document["problems"][0]["code"]), (1, &json!("R107")), "{document}");
}

#[test]
fn a_file_of_tests_may_set_variables_and_a_client_of_another_name_is_another() {
    let folder = Folder::new(
        r#"env: { ZONE: America/New_York }
now: "2026-03-02T09:00:00"
tests:
  - name: two clients
    messages:
      - { sample: Meeting/cancelled/client_to_pivot, with: { client.name: Ann } }
      - { sample: Meeting/cancelled/client_to_pivot, with: { client.name: Bob } }
    expect:
      deliveries:
        - { to: desk, at: "2026-03-02T14:00:00Z", text: { contains: Ann } }
        - { to: desk, text: { contains: Bob } }
"#,
    );
    folder.write("rules.yaml", &RULES.replace("Europe/Rome", "${ZONE:-Europe/Rome}"));
    let (code, text) = folder.text("test");
    assert_eq!(code, 0, "{text}");
    folder.write("rules.yaml", &RULES.replace("Europe/Rome", "${NO_ZONE}"));
    let (code, text) = folder.text("test");
    assert!(code == 1 && text.contains("error[R020]: the variable NO_ZONE"), "{text}");
}
