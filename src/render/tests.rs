//! What rendering promises, over the shipped templates and hostile messages.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use crate::model::catalog;
use crate::model::delivery::Notice;
use crate::model::message::{Meeting, Message, Triple};
use crate::model::names::{Business, Client, Late, Names, Staff};
use crate::model::payload::{Format, HttpBody, Mail, Payload};

use super::view::{Around, Seen, View};
use super::*;

pub(super) const FORMATS: [Format; 5] = [
    Format::Slack,
    Format::Email,
    Format::Http(HttpBody::Auto),
    Format::Http(HttpBody::Event),
    Format::Http(HttpBody::CloudEvents),
];

pub(super) fn message(kind: (&str, &str, &str)) -> Message {
    Message {
        account: "main".into(),
        uid: "m1".into(),
        uid_derived: false,
        triple: Triple {
            activity_type: kind.0.into(),
            message_type: kind.1.into(),
            direction: kind.2.into(),
        },
        raw_type: None,
        raw_direction: None,
        business_uid: Some("b1".into()),
        staff_uid: None,
        client_uid: Some("c1".into()),
        channels: vec!["email".into(), "sms".into()],
        subject: "Massage".into(),
        body: "Sorry, I cannot come.\nSee you next week!".into(),
        meeting: None,
        created_at: "2026-03-10T09:00:00Z".parse().unwrap(),
        updated_at: None,
        raw: json!({ "uid": "m1" }),
    }
}

fn meeting() -> Meeting {
    Meeting {
        service_uid: Some("s1".into()),
        service_name: Some("Deep tissue massage".into()),
        start_time: Some("2026-03-12T14:30:00Z".parse().unwrap()),
        duration: Some(90),
        interaction_type: Some("in_person".into()),
    }
}

pub(super) fn names(name: &str) -> Names {
    Names {
        client: Some(Client {
            uid: "c1".into(),
            name: Some(name.into()),
            email: Some("ann@example.com".into()),
            phone: Some("+39 055 123".into()),
            link_uid: Some("mat/1".into()),
        }),
        staff: Some(Staff { uid: "s1".into(), name: Some("Bea".into()), email: None }),
        business: Some(Business { uid: Some("b1".into()), name: Some("Calm Hands".into()), time_zone: None }),
        late: Late::default(),
    }
}

pub(super) fn view(messages: Vec<(Message, Names)>) -> View {
    View {
        messages: messages.into_iter().map(|(message, names)| Seen::new(message, names)).collect(),
        notice: None,
        delivery_id: "d1".into(),
        attempt: 1,
        rule: "client-cancellations".into(),
        target: "front-desk".into(),
        account: "main".into(),
        app_host: "https://app.vcita.com".into(),
        timezone: TimeZone::get("Europe/Rome").unwrap(),
        now: "2026-03-10T09:05:00Z".parse::<Timestamp>().unwrap(),
        around: Around::default(),
    }
}

pub(super) fn cancelled(name: &str) -> View {
    let mut one = message(("Meeting", "cancelled", "client_to_pivot"));
    one.meeting = Some(meeting());
    view(vec![(one, names(name))])
}

pub(super) fn shipped_templates() -> Templates {
    let files: Vec<(String, String)> =
        shipped::files().map(|(path, text)| (path.to_owned(), text.to_owned())).collect();
    let (templates, problems) = Templates::compile(&files);
    assert_eq!(problems, [], "the shipped templates compile");
    templates
}

fn compile(files: &[(&str, &str)]) -> (Templates, Vec<String>) {
    let files: Vec<(String, String)> =
        files.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
    let (templates, problems) = Templates::compile(&files);
    let shown = |p: TemplateProblem| {
        let help = p.help.map(|help| format!(" [{help}]")).unwrap_or_default();
        format!("{}:{}:{} {}{help}", p.file, p.line, p.column, p.message)
    };
    (templates, problems.into_iter().map(shown).collect())
}

pub(super) fn slack(rendered: Rendered) -> Value {
    assert_eq!(rendered.problem, None);
    let Payload::Slack(value) = rendered.payload else { panic!("a Slack payload") };
    value
}

pub(super) fn mail(rendered: Rendered) -> Mail {
    assert_eq!(rendered.problem, None);
    let Payload::Email(mail) = rendered.payload else { panic!("a mail") };
    mail
}

pub(super) fn text_of(payload: &Payload) -> String {
    match payload {
        Payload::Slack(value) => value.to_string(),
        Payload::Email(mail) => {
            format!("{}\n{}\n{}", mail.subject, mail.text, mail.html.clone().unwrap_or_default())
        }
        Payload::Http(body) => body.body.clone(),
    }
}

/// All strings of a JSON value.
pub(super) fn strings(value: &Value, out: &mut Vec<String>) {
    match value {
        Value::String(text) => out.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| strings(item, out)),
        Value::Object(fields) => fields.values().for_each(|item| strings(item, out)),
        _ => {}
    }
}

/// Slack's limits hold.
pub(super) fn assert_within_limits(value: &Value) {
    let blocks = value["blocks"].as_array().unwrap();
    assert!(!blocks.is_empty() && blocks.len() <= 50);
    assert!(!value["text"].as_str().unwrap().is_empty());
    let mut all = Vec::new();
    strings(&value["blocks"], &mut all);
    let total: usize = all.iter().map(|text| text.encode_utf16().count()).sum();
    assert!(total <= 13_000, "{total} characters");
    for block in blocks.iter().filter(|block| block["type"] == "section") {
        if let Some(text) = block["text"]["text"].as_str() {
            assert!((1..=3000).contains(&text.encode_utf16().count()));
        }
    }
}

#[test]
fn every_shipped_template_renders_every_message_type_in_every_format() {
    let templates = shipped_templates();
    let mut kinds: Vec<(&str, &str, &str)> =
        catalog::all().iter().map(|e| (e.activity_type, e.message_type, e.direction)).collect();
    kinds.extend([
        ("Meeting", "cancelled", "client_to_pivot"),
        ("Payment", "payment_failed", "to_pivot"),
        ("Estimate", "approved", "client_to_pivot"),
        ("Waitlist", "cancel_waitlist_registration", "to_pivot"),
        ("General", "text", "client_to_pivot"),
        ("BrandNew", "never_seen", "sideways"),
    ]);
    for kind in kinds {
        let mut full = message(kind);
        full.meeting = Some(meeting());
        let mut bare = message(kind);
        (bare.client_uid, bare.subject, bare.body, bare.channels) =
            (None, String::new(), String::new(), vec![]);
        bare.meeting = Some(Meeting::default());
        let views = [
            view(vec![(full.clone(), names("Ann"))]),
            view(vec![(message(kind), Names::default())]),
            view(vec![(bare.clone(), Names::default())]),
            view(vec![(full, names("Ann")), (bare, Names::default())]),
        ];
        for view in &views {
            for name in templates.names() {
                for format in FORMATS {
                    let rendered = templates.render(name, format, view);
                    assert_eq!(rendered.problem, None, "{name} {format:?} {kind:?}");
                    let text = text_of(&rendered.payload);
                    assert!(!text.contains("?›"), "{name} {format:?} {kind:?}: {text}");
                    if let Payload::Slack(value) = &rendered.payload {
                        assert_within_limits(value);
                    }
                }
            }
        }
    }
}

#[test]
fn a_hostile_name_is_inert_in_every_part() {
    let templates = shipped_templates();
    let view = cancelled("<!channel> & \"Bob\" <https://evil|x>");
    for name in templates.names() {
        let value = slack(templates.render(name, Format::Slack, &view));
        let text = value.to_string();
        assert!(!text.contains("<!channel") && !text.contains("<https://evil"), "{text}");
        assert!(text.contains("&lt;!channel&gt; &amp; \\\"Bob\\\""), "{text}");
        let mail = mail(templates.render(name, Format::Email, &view));
        let html = mail.html.unwrap();
        assert!(
            !html.contains("<!channel") && html.contains("&lt;!channel&gt; &amp; &quot;Bob&quot;"),
            "{html}"
        );
        // What was gathered is about many, so its subject names nobody.
        let named = mail.subject.contains("<!channel> & \"Bob\"");
        assert!(named || name == "backlog", "{}", mail.subject);
        assert!(mail.text.contains("<!channel> & \"Bob\""));
    }
    for format in FORMATS {
        let text = text_of(&templates.render_plain(format, &view, "Slack refused <it>"));
        assert!(format != Format::Slack || !text.contains("<!channel"), "{text}");
    }
}

#[test]
fn fifty_thousand_characters_stay_inside_slacks_limits() {
    let templates = shipped_templates();
    for unit in ["x", "word ", "🙂", "👨‍👩‍👧", "<&>", "line\n", "e\u{301}"] {
        let mut view = cancelled("Ann");
        view.messages[0].message.body = unit.repeat(50_000 / unit.chars().count());
        // What was gathered lists its messages and shows no body.
        for name in templates.names().into_iter().filter(|name| *name != "backlog") {
            let value = slack(templates.render(name, Format::Slack, &view));
            assert_within_limits(&value);
            let text = value.to_string();
            assert!(text.contains("shortened"), "says that something is left out");
            assert!(text.contains("button"), "the way to the whole text is kept");
            assert_eq!(value["unfurl_links"], false);
            assert_eq!(value["unfurl_media"], false);
        }
    }
}

#[test]
fn subjects_are_one_line() {
    let templates = shipped_templates();
    let mut view = cancelled("Ann\r\nBcc: all@example.com");
    view.messages[0].message.subject = "a\nb\u{7}".repeat(200);
    let mail = mail(templates.render(DEFAULT, Format::Email, &view));
    assert!(!mail.subject.contains(['\r', '\n', '\u{7}']));
    assert!(mail.subject.chars().count() <= 200);
}

#[test]
fn the_default_event_is_the_contracts() {
    let templates = Templates::default();
    let mut view = cancelled("Ann");
    view.messages[0].message.triple = Triple {
        activity_type: "EventAttendance".into(),
        message_type: "rsvp_confirmation".into(),
        direction: "client_to_pivot".into(),
    };
    let Payload::Http(body) = templates.render(DEFAULT, Format::Http(HttpBody::Auto), &view).payload else {
        panic!()
    };
    let event: Value = serde_json::from_str(&body.body).unwrap();
    assert_eq!(event["type"], "vcita.event_attendance.rsvp_confirmation");
    assert_eq!(event["timestamp"], "2026-03-10T09:00:00Z");
    assert_eq!(event["data"]["id"], "d1");
    assert_eq!(event["data"]["rule"], "client-cancellations");
    assert_eq!(event["data"]["client"]["name"], "Ann");
    assert_eq!(event["data"]["message"]["meeting"]["duration"], 90);
    assert_eq!(event["data"]["links"]["client"], "https://app.vcita.com/app/clients/mat%2F1");
    let Payload::Http(body) = templates.render(DEFAULT, Format::Http(HttpBody::CloudEvents), &view).payload
    else {
        panic!()
    };
    assert_eq!(body.content_type, "application/cloudevents+json");
    let event: Value = serde_json::from_str(&body.body).unwrap();
    assert_eq!(
        (&event["specversion"], &event["id"], &event["source"]),
        (&json!("1.0"), &json!("d1"), &json!("/activity-relay/main"))
    );
    view.messages[0].names = Names::default();
    let Payload::Http(body) = templates.render(DEFAULT, Format::Http(HttpBody::Event), &view).payload else {
        panic!()
    };
    let event: Value = serde_json::from_str(&body.body).unwrap();
    assert_eq!(event["data"]["client"], json!({ "uid": "c1" }));
    assert_eq!(event["data"]["staff"], Value::Null);
}

#[test]
fn a_notice_has_its_own_type() {
    let mut view = view(vec![]);
    view.notice =
        Some(Notice { subject: "target crm is parked".into(), text: "It answered 404 <html>.".into() });
    let templates = Templates::default();
    let Payload::Http(body) = templates.render_notice(Format::Http(HttpBody::Auto), &view) else { panic!() };
    assert!(body.body.contains("\"relay.notice\""), "{}", body.body);
    let value = slack(templates.render(DEFAULT, Format::Slack, &view));
    assert!(value.to_string().contains("&lt;html&gt;"));
    assert_eq!(mail(templates.render("gone", Format::Email, &view)).subject, "target crm is parked");
}

#[test]
fn mistakes_are_found_at_once_each_with_its_place() {
    let (_, problems) = compile(&[
        (
            "a/text.hbs",
            "Hi {{client.nmae}}\n{{#if custmer}}x{{/if}}\n{{#each itmes}}{{who}}{{/each}}\n{{ uper who }}",
        ),
        ("a/subject.hbs", "{{name}} {{late}} {{> foter}} {{date now \"%!\"}} {{truncate who}}"),
        ("a/html.hbs", "{{{client.name}}}"),
        ("a/slack.yaml", "- type: section\n  text: { type: mrkdwn, text: 'Hi {{cliant.name}}' }\n"),
        ("b/http.yaml", "a: 1\n\tb: 2\n"),
        ("b/slck.yaml", ""),
        (
            "c/text.hbs",
            "{{#each items as |one|}}{{one.client.name}} {{../rule.name}} {{this.whoo}} {{@index}}{{/each}}",
        ),
        ("c/html.hbs", "{{#eq who who}}x{{/eq}}"),
    ]);
    insta::assert_snapshot!(problems.join("\n"), @r##"
    a/html.hbs:1:1 three braces would put a message's text out unescaped [write {{client.name}}; helpers such as link and table bring their own markup]
    a/slack.yaml:2:37 there is no field `cliant.name` [did you mean `client.name`?]
    a/subject.hbs:1:3 there is no field `name` [did you mean `client.name`?]
    a/subject.hbs:1:12 `late` is no single value [write late.text, for example]
    a/subject.hbs:1:23 there is no partial `foter` [create _partials/foter.hbs]
    a/subject.hbs:1:43 `%!` is no pattern for a date: strftime formatting failed: found unrecognized specifier directive `!` [such as %a %-d %b %Y, %H:%M]
    a/subject.hbs:1:51 helper `truncate` takes 2 arguments, here it has 1 [docs/templates.md shows each helper in use]
    a/text.hbs:1:6 there is no field `client.nmae` [did you mean `client.name`?]
    a/text.hbs:2:7 there is no field `custmer` [known here: message, client, staff, account, rule, target, links, delivery, who, also, items, count, by_type, omitted, window, digest, summary, attachment, late, expired, resolved, resolved_count, resolved_by, zone, now]
    a/text.hbs:3:9 there is no field `itmes` [did you mean `items`?]
    a/text.hbs:4:4 there is no helper `uper` [did you mean `upper`?]
    b/http.yaml:2:1 the line is indented with a tab [YAML takes spaces only]
    b/slck.yaml:1:1 `slck.yaml` is no part of a template [did you mean `slack.yaml`?]
    c/html.hbs:1:4 helper `eq` is no block [write {{#if (eq …)}}]
    c/text.hbs:1:64 there is no field `this.whoo` [did you mean `who`?]
    "##);
}

#[test]
fn partials_that_include_each_other_are_refused_and_never_rendered() {
    let (templates, problems) = compile(&[
        ("_partials/a.hbs", "{{> b}}"),
        ("_partials/b.hbs", "\n {{> a}}"),
        ("t/text.hbs", "{{> a}}"),
    ]);
    assert_eq!(
        problems,
        [
            "_partials/b.hbs:2:6 partials include each other without end: a → b → a [take one of the inclusions out]"
        ]
    );
    let rendered = templates.render("t", Format::Email, &cancelled("Ann"));
    assert!(rendered.problem.is_some());
    assert!(text_of(&rendered.payload).contains("Ann"));
}

#[test]
fn a_missing_value_shows_a_marker_and_a_failing_template_the_plain_message() {
    let (templates, problems) = compile(&[
        ("t/subject.hbs", "x"),
        (
            "t/text.hbs",
            "{{client.name}} {{upper client.name}} {{default client.name client.uid}} {{message.raw.a.b}}",
        ),
        ("f/text.hbs", "{{date now \"%H\" message.uid}}"),
    ]);
    assert_eq!(problems, Vec::<String>::new());
    let view = view(vec![(message(("General", "text", "client_to_pivot")), Names::default())]);
    let text = mail(templates.render("t", Format::Email, &view)).text;
    assert_eq!(text, "‹client.name?› ‹CLIENT.NAME?› c1 ‹message.raw.a.b?›\n");
    let rendered = templates.render("f", Format::Email, &view);
    let problem = rendered.problem.unwrap();
    assert!(problem.contains("f/text.hbs") && problem.contains("no time zone m1"), "{problem}");
    let Payload::Email(mail) = rendered.payload else { panic!() };
    assert!(mail.text.contains("f/text.hbs") && mail.text.contains("client c1"), "{}", mail.text);
    let unknown = templates.render("tt", Format::Slack, &view).problem.unwrap();
    assert!(unknown.contains("no template tt"), "{unknown}");
}

#[test]
fn the_event_that_stands_in_for_a_body_that_failed_says_which_and_why() {
    let (templates, problems) = compile(&[("f/http.yaml", "id: '{{date now \"%H\" message.uid}}'\n")]);
    assert_eq!(problems, Vec::<String>::new());
    let mut view = cancelled("Ann");
    for kind in ["vcita.meeting.cancelled", "vcita.digest"] {
        let rendered = templates.render("f", Format::Http(HttpBody::Auto), &view);
        let Payload::Http(body) = rendered.payload else { panic!() };
        let event: Value = serde_json::from_str(&body.body).unwrap();
        assert_eq!((&event["type"], &event["data"]["rule"]), (&json!(kind), &json!("client-cancellations")));
        let why = event["data"]["template_error"].as_str().unwrap();
        assert!(why.contains("f/http.yaml") && why.contains("no time zone m1"), "{why}");
        assert_eq!(rendered.problem.as_deref(), Some(why));
        view.messages.push(view.messages[0].clone());
    }
    let whole = templates.render(DEFAULT, Format::Http(HttpBody::CloudEvents), &view).payload;
    let Payload::Http(whole) = whole else { panic!() };
    assert!(!whole.body.contains("template_error"), "{}", whole.body);
}

#[test]
fn what_has_a_name_stands_for_it_in_a_tag() {
    let (templates, problems) = compile(&[
        ("t/subject.hbs", "{{rule}}/{{rule.name}} {{account}} {{target}}"),
        (
            "t/text.hbs",
            "{{#if client}}{{rule}}{{/if}}{{#each items}} {{../rule}} {{@root.account}}{{/each}}{{> end}}\n{{#with message.raw}}{{rule}}{{/with}}",
        ),
        ("_partials/end.hbs", " {{target.name}}"),
    ]);
    assert_eq!(problems, Vec::<String>::new());
    let mut view = cancelled("Ann");
    view.messages[0].message.raw = json!({ "rule": "its own" });
    let mail = mail(templates.render("t", Format::Email, &view));
    assert_eq!(mail.subject, "client-cancellations/client-cancellations main front-desk");
    let text = "client-cancellations client-cancellations main front-desk\nits own\n";
    assert_eq!(mail.text, text);
    let (_, problems) = compile(&[("t/text.hbs", "{{#each resolved}}{{rule}}{{/each}} {{client}}")]);
    let words = ["`rule` is no single value", "`client` is no single value"];
    assert!(problems.iter().zip(words).all(|(problem, words)| problem.contains(words)), "{problems:?}");
}

#[test]
fn structured_parts_are_rendered_leaf_by_leaf() {
    let (templates, problems) = compile(&[
        (
            "t/http.yaml",
            "who: '{{client.name}}'\nyes: yes\ncode: 0123\nn: 3\nraw: '{{json message.raw}}'\nlist: ['{{count}}', true]\n",
        ),
        (
            "t/slack.yaml",
            "- type: section\n  when: '{{message.meeting}}'\n  text: { type: mrkdwn, text: never }\n- type: header\n  text: { type: plain_text, text: '{{client.name}}' }\n- type: section\n  text: { type: mrkdwn, text: '{{#if message.meeting}}never{{/if}}' }\n",
        ),
        ("plain/text.hbs", "Hi {{client.name}}, {{link links.open \"see\"}}"),
    ]);
    assert_eq!(problems, Vec::<String>::new());
    let view = view(vec![(message(("General", "text", "client_to_pivot")), names("A\"<b>\\"))]);
    let Payload::Http(body) = templates.render("t", Format::Http(HttpBody::Auto), &view).payload else {
        panic!()
    };
    assert_eq!(
        serde_json::from_str::<Value>(&body.body).unwrap(),
        json!({ "who": "A\"<b>\\", "yes": "yes", "code": "0123", "n": 3, "raw": { "uid": "m1" }, "list": ["1", true] })
    );
    let blocks = slack(templates.render("t", Format::Slack, &view))["blocks"].clone();
    assert_eq!(
        blocks,
        json!([{ "type": "header", "text": { "type": "plain_text", "text": "A\"&lt;b&gt;\\", "emoji": true } }])
    );
    let text = slack(templates.render("plain", Format::Slack, &view))["blocks"][0]["text"]["text"].clone();
    assert_eq!(text, "Hi A\"&lt;b&gt;\\, <https://app.vcita.com/app/clients/mat%2F1|see>");
}

#[test]
fn the_examples_of_the_helpers_are_true() {
    let page = include_str!("../../docs/templates.md");
    let mut view = cancelled("Ann");
    view.messages.insert(0, view.messages[0].clone());
    let mut seen = Vec::new();
    for row in page.lines().filter(|line| line.starts_with("| `{{")) {
        let cells: Vec<&str> =
            row.trim_matches('|').split(" | ").map(|cell| cell.trim().trim_matches('`')).collect();
        let (kind, want) = match cells[1].split_once(": ") {
            Some(("slack", want)) => (Kind::Slack, want),
            Some(("html", want)) => (Kind::Html, want),
            _ => (Kind::Plain, cells[1]),
        };
        let (templates, problems) = compile(&[("t/text.hbs", cells[0])]);
        assert_eq!(problems, Vec::<String>::new(), "{row}");
        let context = Context::wraps(view.data()).unwrap();
        let engine = templates.compiled.engines.of(kind);
        let got = engine.render_with_context("t/text.hbs", &context).unwrap();
        assert_eq!(got.replace('\n', "⏎"), want.replace("\\|", "|"), "{row}");
        seen.push(cells[0].to_owned());
    }
    for name in helpers::names().filter(|name| !matches!(*name, "raw" | "with" | "unless")) {
        let used = |row: &String| {
            row.contains(&format!("{{{{{name} "))
                || row.contains(&format!("({name} "))
                || row.contains(&format!("{{{{#{name} "))
        };
        assert!(seen.iter().any(used), "docs/templates.md has no example for {name}");
    }
}
