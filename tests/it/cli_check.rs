//! `check` and `catalog` as a person runs them: the program itself, beside a sandbox where the network matters.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use activity_relay::daemon::clock::Clock;
use activity_relay::sandbox::world::TokenKind;
use activity_relay::sandbox::{Sandbox, Settings};
use activity_relay::store::{Mode, Store};
use serde_json::Value;
use tempfile::TempDir;

use super::store_kit::{admitted, at, page};

const DESK: &str = "  desk: { type: slack, webhook_url: \"https://hooks.slack.com/services/T/B/x\" }\n";

/// A folder with a rules file, in which the program runs with nothing set.
struct Folder(TempDir);

impl Folder {
    fn new(rules: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("rules.yaml"), rules).unwrap();
        Self(folder)
    }

    fn template(self, path: &str, text: &str) -> Self {
        let path = self.0.path().join("templates").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    async fn run(&self, line: &str) -> (i32, Output) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_activity-relay"));
        command.args(line.split(' ')).current_dir(self.path()).env_clear();
        // On a thread of its own, so that a sandbox goes on answering.
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        (output.status.code().unwrap(), output)
    }

    async fn text(&self, line: &str) -> (i32, String) {
        let (code, output) = self.run(line).await;
        (code, String::from_utf8(output.stdout).unwrap())
    }

    async fn json(&self, line: &str) -> (i32, Value) {
        let (code, output) = self.run(&format!("{line} --format json")).await;
        (code, serde_json::from_slice(&output.stdout).unwrap())
    }
}

fn rules(account: &str, targets: &str, rules: &str) -> String {
    format!("version: 1\naccounts:\n  - {{ name: main, {account} }}\ntargets:\n{targets}rules:\n{rules}")
}

/// `code severity line` of each problem.
fn problems(document: &Value) -> Vec<String> {
    let all = document["problems"].as_array().unwrap();
    let of = |problem: &Value| {
        let word = |key: &str| problem[key].as_str().unwrap().to_owned();
        format!("{} {} {}", word("code"), word("severity"), problem["line"])
    };
    all.iter().map(of).collect()
}

#[tokio::test]
async fn a_template_that_shows_a_missing_field_is_found_before_a_message_is() {
    let two = "  - name: all\n    match: {}\n    template: when\n    deliver: [{ to: desk }]\n\
               \x20 - name: long\n    match: {}\n    where: message.meeting.duration >= 10\n    template: when\n    deliver: [{ to: desk }]\n";
    let folder = Folder::new(&rules("token: abc", DESK, two))
        .template("when/text.hbs", "{{client.name}} at {{message.meeting.start_time}}");
    let (code, document) = folder.json("check").await;
    assert_eq!((code, problems(&document)), (0, vec!["R064 warning 1".to_owned()]), "{document}");
    let message = document["problems"][0]["message"].as_str().unwrap();
    assert!(message.contains("‹message.meeting.start_time?›"), "{message}");
    assert!(message.contains("of the 140 message types"), "{message}");
    assert_eq!(folder.run("check --deny warnings").await.0, 1);
}

#[tokio::test]
async fn a_template_that_fails_on_some_messages_is_an_error_at_its_tag() {
    let rule =
        "  - { name: pay, match: { activity_type: Payment }, deliver: [{ to: desk, template: broken }] }\n";
    let folder = Folder::new(&rules("token: abc", DESK, rule))
        .template("broken/text.hbs", "{{date now \"%H\" message.uid}}");
    let (code, document) = folder.json("check").await;
    assert_eq!((code, problems(&document)), (1, vec!["R063 error 1".to_owned()]), "{document}");
    let message = document["problems"][0]["message"].as_str().unwrap();
    assert!(message.contains("broken/text.hbs") && message.contains("Payment/"), "{message}");
}

#[tokio::test]
async fn an_error_in_one_rule_hides_neither_templates_nor_the_rules_beside_it() {
    let three = "  - { name: odd, match: {}, deliver: [{ to: dsk }] }\n\
                 \x20 - { name: pay, match: { activity_type: Payment }, deliver: [{ to: desk, template: broken }] }\n\
                 \x20 - { name: half, match: {}, deliver: [{ to: desk, template: half }] }\n";
    let folder = Folder::new(&rules("token: abc", DESK, three))
        .template("broken/text.hbs", "{{date now \"%H\" message.uid}}")
        .template("half/text.hbs", "{{#if now}}");
    let (code, document) = folder.json("check").await;
    let found = problems(&document);
    assert_eq!(code, 1);
    for expected in ["R051 error 7", "R063 error 1", "R061 error 1"] {
        assert!(found.iter().any(|problem| problem == expected), "{expected}\n{document}");
    }
    assert_eq!(found.iter().filter(|problem| problem.starts_with("R063")).count(), 1, "{document}");
}

#[tokio::test]
async fn places_survive_in_template_parts_partials_layouts_and_included_folders() {
    let rule = "  - { name: all, match: {}, deliver: [{ to: desk, template: a }] }\n";
    let folder = Folder::new(&format!("include: [\"teams/*/*.yaml\"]\n{}", rules("token: abc", DESK, rule)))
        .template("a/text.hbs", "one\ntwo {{clent.name}}{{> sign}}")
        .template("a/slack.yaml", "- type: section\n  text: { type: mrkdwn, text: \"{{mesage.body}}\" }\n")
        .template("a/http.yaml", "body:\n  name: '{{nobody}}'\n")
        .template("_partials/sign.hbs", "\n\n {{clinet.name}}")
        .template("_layouts/page.hbs", "<p>{{#if}}</p>");
    fs::create_dir_all(folder.path().join("teams/crm")).unwrap();
    let broken = "rules:\n  - name: crm\n    match: {}\n    deliver:\n      - { to: dsk }\n";
    fs::write(folder.path().join("teams/crm/rules.yaml"), broken).unwrap();
    let (code, document) = folder.json("check").await;
    let all = document["problems"].as_array().unwrap();
    let mut places: Vec<String> = all
        .iter()
        .map(|problem| {
            let file = problem["file"].as_str().unwrap().trim_start_matches("templates/");
            format!("{} {file}:{}:{}", problem["code"].as_str().unwrap(), problem["line"], problem["column"])
        })
        .collect();
    places.sort();
    let expected = [
        "R051 teams/crm/rules.yaml:5:15",
        "R061 _layouts/page.hbs:1:4",
        "R061 _partials/sign.hbs:3:4",
        "R061 a/http.yaml:2:12",
        "R061 a/slack.yaml:2:34",
        "R061 a/text.hbs:2:7",
    ];
    assert_eq!(code, 1);
    assert_eq!(places, expected, "{document}");
}

/// `file:line:column` of each problem, and of the place in the rules that belongs to it.
fn places(document: &Value) -> Vec<String> {
    let place =
        |of: &Value| format!("{}:{}:{}", of["file"].as_str().unwrap_or("none"), of["line"], of["column"]);
    let problems = document["problems"].as_array().unwrap().iter();
    problems.map(|problem| format!("{} {}", place(problem), place(&problem["related"]))).collect()
}

#[tokio::test]
async fn what_only_rendering_shows_is_told_at_its_tag_and_where_the_template_is_used() {
    let rule = "  - { name: all, match: { activity_type: Payment }, deliver: [{ to: desk, template: t }] }\n";
    for (files, place) in [
        (
            &[("t/text.hbs", "paid\n{{#if who}} {{date now \"%H\" message.uid}}{{/if}}")][..],
            "t/text.hbs:2:13",
        ),
        (
            &[("t/text.hbs", "{{> sign}}"), ("_partials/sign.hbs", "é {{date now \"%H\" who}}")],
            "_partials/sign.hbs:1:3",
        ),
        (
            &[("t/slack.yaml", "- type: section\n  text: \"a {{date now '%H' message.uid}}\"\n")],
            "t/slack.yaml:2:12",
        ),
        (
            &[("t/slack.yaml", "- type: section\n  text: |\n    one {{who}}\n    {{date now '%H' who}}\n")],
            "t/slack.yaml:4:5",
        ),
        (
            &[(
                "t/text.hbs",
                "{{#if message.meeting.duration}}long{{/if}}\nfor {{message.meeting.duration}}",
            )],
            "t/text.hbs:2:7",
        ),
        (
            &[
                ("t/subject.hbs", "{{who}}"),
                ("t/text.hbs", "{{> at}}"),
                ("_partials/at.hbs", "at\n{{message.meeting.start_time}}"),
            ],
            "_partials/at.hbs:2:3",
        ),
        (
            &[(
                "t/slack.yaml",
                "- type: divider\n- type: section\n  fields:\n    - { type: mrkdwn, text: '{{message.meeting.duration}}' }\n",
            )],
            "t/slack.yaml:4:32",
        ),
    ] {
        let folder = Folder::new(&rules("token: \"${T:-x}\"", DESK, rule));
        let folder = files.iter().fold(folder, |folder, (path, text)| folder.template(path, text));
        let (_, document) = folder.json("check").await;
        let expected = format!("templates/{place} rules.yaml:7:85");
        assert_eq!(places(&document), [expected], "{document}");
        let (_, text) = folder.text("check").await;
        assert!(text.contains("this delivery uses it") && text.contains(place), "{text}");
    }
}

#[tokio::test]
async fn what_is_cut_is_told_at_the_very_text() {
    let rule = "  - { name: all, match: { activity_type: Review }, deliver: [{ to: desk, template: t }] }\n";
    let long = "word ".repeat(40);
    let blocks = format!(
        "- type: divider\n- type: actions\n  elements:\n    - {{ type: button, text: Open, url: 'https://example.com' }}\n    \
         - {{ type: button, url: 'https://example.com', text: '{long}' }}\n"
    );
    let folder = Folder::new(&rules("token: \"${T:-x}\"", DESK, rule)).template("t/slack.yaml", &blocks);
    let (_, document) = folder.json("check").await;
    assert_eq!(places(&document), ["templates/t/slack.yaml:5:57 rules.yaml:7:84"], "{document}");
    assert_eq!(document["problems"][0]["code"], "R069", "{document}");
    let mail = "  mail: { type: email, smtp: \"smtp://127.0.0.1:25\", from: a@b.test, to: c@d.test, fallback: desk }\n";
    let text = rules("token: \"${T:-x}\"", &format!("{DESK}{mail}"), &rule.replace("to: desk", "to: mail"));
    let folder = Folder::new(&text).template("t/subject.hbs", &long);
    let (_, document) = folder.json("check").await;
    assert_eq!(places(&document), ["templates/t/subject.hbs:1:1 rules.yaml:8:84"], "{document}");
}

#[tokio::test]
async fn online_says_whose_token_it_is_and_reaches_each_target_without_posting() {
    let sandbox = Sandbox::start(Settings::default(), Clock::System).await.unwrap();
    let account = format!("token: {}, base_url: \"{}\"", sandbox.token(), sandbox.url());
    let targets = format!(
        "  crm: {{ type: http, url: \"{}\", allow_private: true }}\n\
         \x20 desk: {{ type: slack, webhook_url: \"{}\", allow_private: true }}\n\
         \x20 mail: {{ type: email, smtp: \"{}\", from: a@b.test, to: c@d.test }}\n\
         \x20 off: {{ type: http, url: \"http://127.0.0.1:1/\", allow_private: true, enabled: false }}\n",
        sandbox.http.url(),
        sandbox.slack.url(),
        sandbox.mail.url()
    );
    let rule =
        "  - { name: all, match: {}, deliver: [{ to: crm }, { to: desk }, { to: mail }, { to: off }] }\n";
    let folder = Folder::new(&rules(&account, &targets, rule));
    let (code, text) = folder.text("check --online").await;
    assert_eq!(code, 0, "{text}");
    for start in ["✓ main  account", "✓ crm   http", "✓ desk  slack", "✓ mail  email", "– off   http"]
    {
        assert!(text.lines().any(|line| line.starts_with(start)), "{start}\n{text}");
    }
    assert!(text.contains("a staff token of "), "{text}");
    let (_, document) = folder.json("check --online").await;
    assert_eq!(document["errors"], 0);
    assert_eq!(document["online"]["accounts"][0]["ok"], true);
    assert!(document["online"]["accounts"][0]["business"].is_string());
    assert_eq!(document["online"]["targets"][3]["ok"], Value::Null);
    assert_eq!(sandbox.inboxes().map(|inbox| inbox.arrivals().len()), [0, 0, 0]);
}

#[tokio::test]
async fn online_names_what_is_wrong_at_its_place_and_ends_with_one() {
    let sandbox = Sandbox::start(Settings::default(), Clock::System).await.unwrap();
    let account = format!("token: n0t-this-0ne, base_url: \"{}\"", sandbox.url());
    let targets = "  crm: { type: http, url: \"http://127.0.0.1:1/\", allow_private: true }\n";
    let rule = "  - { name: all, match: {}, deliver: [{ to: crm }] }\n";
    let folder = Folder::new(&rules(&account, targets, rule));
    let (code, document) = folder.json("check --online").await;
    let expected = vec!["R080 error 3".to_owned(), "R082 error 5".to_owned()];
    assert_eq!((code, problems(&document)), (1, expected), "{document}");
    let (code, text) = folder.text("check --online").await;
    assert_eq!(code, 1);
    assert!(text.lines().any(|line| line.starts_with("✗ main")), "{text}");
    assert!(text.lines().any(|line| line.starts_with("✗ crm")), "{text}");
    assert!(!text.contains("n0t-this-0ne"), "{text}");
}

#[tokio::test]
async fn online_refuses_a_token_that_is_not_of_a_staff_member() {
    let sandbox = Sandbox::start(Settings::default(), Clock::System).await.unwrap();
    sandbox.business.token("app-token", TokenKind::App);
    let account = format!("token: app-token, base_url: \"{}\"", sandbox.url());
    let folder = Folder::new(&rules(
        &account,
        "  crm: { type: http, url: \"http://127.0.0.1:1/\", allow_private: true, enabled: false }\n",
        "  - { name: a, match: {}, deliver: [{ to: crm }] }\n",
    ));
    let (code, document) = folder.json("check --online").await;
    assert_eq!(code, 1);
    assert!(problems(&document).contains(&"R081 error 3".to_owned()), "{document}");
    assert!(document["online"]["accounts"][0]["detail"].as_str().unwrap().contains("`app`"), "{document}");
}

#[tokio::test]
async fn online_finds_two_accounts_of_one_business() {
    let sandbox = Sandbox::start(Settings::default(), Clock::System).await.unwrap();
    sandbox.business.token("another-staff-token", TokenKind::Staff);
    let text = format!(
        "version: 1\naccounts:\n  - {{ name: main, token: {}, base_url: \"{url}\" }}\n\
         \x20 - {{ name: branch, token: another-staff-token, base_url: \"{url}\" }}\n\
         targets:\n{DESK}rules:\n  - {{ name: all, match: {{}}, deliver: [{{ to: desk }}] }}\n",
        sandbox.token(),
        url = sandbox.url()
    );
    let folder = Folder::new(&text);
    let (_, document) = folder.json("check --online").await;
    assert!(problems(&document).contains(&"R083 warning 4".to_owned()), "{document}");
    let detail = document["online"]["accounts"][1]["detail"].as_str().unwrap();
    assert!(detail.contains("the business of `main` too"), "{detail}");
    assert!(!document.to_string().contains("another-staff-token"), "{document}");
}

#[tokio::test]
async fn what_a_target_would_cut_is_found_with_a_sample_of_ordinary_size() {
    let rule =
        "  - { name: all, match: { activity_type: Review }, deliver: [{ to: desk, template: wide }] }\n";
    let header = format!("- type: header\n  text: {}\n- type: section\n  text: x\n", "word ".repeat(40));
    let folder = Folder::new(&rules("token: abc", DESK, rule)).template("wide/slack.yaml", &header);
    let (code, document) = folder.json("check").await;
    assert_eq!((code, problems(&document)), (0, vec!["R069 warning 2".to_owned()]), "{document}");
    let message = document["problems"][0]["message"].as_str().unwrap();
    assert!(message.contains("a header of 199 characters is cut to 150"), "{message}");
}

#[tokio::test]
async fn places_that_are_far_apart_have_an_excerpt_each_and_an_error_s_code_is_named_first() {
    let rule = |name: &str| {
        format!("  - {{ name: {name}, match: {{ activity_type: Meeting }}, deliver: [{{ to: desk }}] }}\n")
    };
    let far = format!("{}{}{}", rule("one"), "  # nothing\n".repeat(5_000), rule("two"));
    let (code, text) = Folder::new(&rules("token: abc", DESK, &far)).text("check").await;
    assert!(
        code == 0
            && text.contains(":5008:")
            && text.contains("::: ")
            && text.contains("it is sent here first"),
        "{text}"
    );
    assert!(!text.contains("nothing"), "{text}");
    let wrong = rule("one").replace("to: desk", "to: nowhere");
    let (code, text) = Folder::new(&rules("token: abc", DESK, &wrong)).text("check").await;
    assert!(code == 1 && text.find("R084") < text.find("R051"), "{text}");
    assert!(text.contains("check --explain R051 says more"), "{text}");
}

#[tokio::test]
async fn a_missing_field_is_told_with_the_types_that_have_it() {
    let rule = "  - { name: two, match: { activity_type: [Meeting, Payment] }, deliver: [{ to: desk, template: when }] }\n";
    let folder = Folder::new(&rules("token: abc", DESK, rule))
        .template("when/text.hbs", "at {{message.meeting.start_time}}");
    let (_, document) = folder.json("check").await;
    let help = document["problems"][0]["help"].as_str().unwrap();
    assert!(help.starts_with("Meeting messages have it and Payment have not: "), "{help}");
    assert!(help.contains("{{#if message.meeting.start_time}}…{{/if}}"), "{help}");
}

#[tokio::test]
async fn templates_and_partials_that_nothing_uses_are_named_by_their_files() {
    let rule = "  - { name: all, match: {}, deliver: [{ to: desk, template: used }] }\n";
    let folder = Folder::new(&rules("token: abc", DESK, rule))
        .template("used/text.hbs", "{{> shared}}")
        .template("idle/text.hbs", "hello")
        .template("_partials/shared.hbs", "hello")
        .template("_partials/lonely.hbs", "hello");
    let (code, document) = folder.json("check").await;
    let found: Vec<(&str, &str)> = document["problems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|problem| (problem["code"].as_str().unwrap(), problem["file"].as_str().unwrap()))
        .collect();
    let expected = [("R067", "templates/idle/text.hbs"), ("R067", "templates/_partials/lonely.hbs")];
    assert_eq!((code, found), (0, expected.to_vec()), "{document}");
}

#[tokio::test]
async fn a_file_with_errors_is_not_asked_about_online() {
    let folder = Folder::new("version: 2\n");
    let (code, text) = folder.text("check --online").await;
    assert_eq!(code, 1);
    assert!(text.contains("nothing was asked online"), "{text}");
}

#[tokio::test]
async fn the_catalogue_is_there_without_a_rules_file() {
    let folder = Folder(tempfile::tempdir().unwrap());
    let (code, document) = folder.json("catalog").await;
    let rows = document["message_types"].as_array().unwrap();
    assert_eq!((code, rows.len()), (0, 140));
    for key in ["activity_type", "message_type", "direction", "label", "use_cases", "rules"] {
        assert!(rows.iter().all(|row| row.get(key).is_some()), "{key}");
    }
    let (_, text) = folder.text("catalog").await;
    assert!(text.ends_with("\n140 message types\n"), "{text}");
    assert_eq!(folder.run("catalog --coverage").await.0, 64);
    assert_eq!(folder.run("catalog --use-case revie").await.0, 1);
    assert_eq!(folder.text("catalog nothing-like-it").await, (0, "0 message types\n".to_owned()));
}

#[tokio::test]
async fn filters_take_any_spelling_and_wildcards() {
    let folder = Folder(tempfile::tempdir().unwrap());
    let of = async |line: &str| {
        let (_, document) = folder.json(&format!("catalog {line}")).await;
        let rows = document["message_types"].as_array().unwrap().clone();
        rows.iter().map(|row| row["message_type"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(of("--activity-type review").await, ["submit_review"]);
    let failures = of("--activity-type PAYMENT --message-type *_failed").await;
    assert!(!failures.is_empty() && failures.iter().all(|name| name.ends_with("failed")), "{failures:?}");
    let by_client =
        of("--activity-type meeting --message-type cancelled --direction client_to_business").await;
    assert_eq!(by_client, ["cancelled"]);
    assert!(of("--use-case review").await.contains(&"submit_review".to_owned()));
    assert_eq!(of("offline REFUND").await, ["payment_offline_refunded_notification"]);
}

#[tokio::test]
async fn coverage_names_the_rules_and_ends_at_one_that_stops() {
    let three = "  - { name: quiet, match: { activity_type: Announcement }, stop: true, deliver: [] }\n\
                 \x20 - { name: pay, match: { activity_type: Payment }, deliver: [{ to: desk }] }\n\
                 \x20 - { name: loud, match: { activity_type: [Payment, Announcement] }, deliver: [{ to: desk }] }\n";
    let folder = Folder::new(&rules("token: abc", DESK, three));
    let (code, document) = folder.json("catalog --coverage").await;
    let rows = document["message_types"].as_array().unwrap();
    let of = |kind: &str| &rows.iter().find(|row| row["activity_type"] == kind).unwrap()["rules"];
    assert_eq!(code, 0);
    assert_eq!(of("Payment"), &serde_json::json!(["pay", "loud"]));
    assert_eq!(of("Announcement"), &serde_json::json!(["quiet"]));
    assert_eq!(of("Review"), &serde_json::json!([]));
    let (_, text) = folder.text("catalog --coverage --activity-type review").await;
    assert!(text.contains("no rule") && text.ends_with("1 message type, 1 that no rule takes\n"), "{text}");
}

#[tokio::test]
async fn unknown_lists_what_was_seen_beside_the_catalogue_with_how_often() {
    let folder = Folder(tempfile::tempdir().unwrap());
    let url = format!("sqlite://{}", folder.path().join("relay.db").display());
    let store = Store::open(&url, Mode::Daemon).await.unwrap();
    let seen = |uid: &str, message_type: &str| {
        let mut admitted = admitted(uid, Vec::new());
        admitted.message.triple.message_type = message_type.to_owned();
        admitted
    };
    let three = vec![seen("a", "teleported"), seen("b", "teleported"), seen("c", "cancelled")];
    store.admit(page(three), at(0)).await.unwrap();
    let (code, document) = folder.json("catalog --unknown").await;
    let rows = document["message_types"].as_array().unwrap();
    assert_eq!((code, rows.len()), (0, 1), "{document}");
    assert_eq!((&rows[0]["message_type"], &rows[0]["seen"]), (&"teleported".into(), &2.into()));
    let (_, text) = folder.text("catalog --unknown").await;
    assert!(text.contains("teleported") && text.contains("2 seen"), "{text}");
}

#[tokio::test]
async fn a_template_that_cannot_tell_a_digest_is_found_before_one_is_due() {
    let digest = "  - name: failed\n    match: { activity_type: Payment, message_type: payment_failed }\n    deliver: [{ to: desk, template: t, digest: { at: \"08:00\", if_empty: send } }]\n";
    let text = rules("token: \"${T:-x}\"", DESK, digest);
    let folder = Folder::new(&text).template("t/text.hbs", "{{who}}: {{message.label}}\n");
    let (code, said) = folder.text("check").await;
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("the template `t` fails on an empty digest"), "{said}");
    assert!(said.contains("--sample Payment/payment_failed/to_pivot --items 0` shows it"), "{said}");

    let whole =
        "{{#if count}}{{summary}}{{#each items}}\n{{who}}{{/each}}{{else}}none{{/if}}{{> notes-text}}\n";
    let folder = folder.template("t/text.hbs", whole);
    let (code, said) = folder.text("check").await;
    assert!(code == 0 && said.starts_with("rules.yaml is fine"), "{said}");
    let render = "render t --target desk --sample Payment/payment_failed/to_pivot --items";
    let (code, shown) = folder.json(&format!("{render} 3 --notes")).await;
    let shown = shown["payload"]["blocks"][0]["text"]["text"].as_str().unwrap();
    assert!(code == 0 && shown.starts_with("3 failed payments\nAnn Bloom\n"), "{shown}");
    assert!(shown.contains("Late by 2 h") && shown.contains("3 more were held back"), "{shown}");
    let (_, shown) = folder.json(&format!("{render} 0")).await;
    assert_eq!(shown["payload"]["blocks"][0]["text"]["text"], "none");
}
