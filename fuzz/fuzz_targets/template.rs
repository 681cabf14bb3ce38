//! Any texts as the parts of a template, rendered for every format over a message that tries to break out: whatever
//! compiles, and whatever does not, gives a payload that is well formed.
#![no_main]

use std::sync::LazyLock;

use activity_relay::model::message::{Message, Triple};
use activity_relay::model::payload::{Format, HttpBody, Payload};
use activity_relay::model::sample;
use activity_relay::render::Templates;
use activity_relay::render::view::{Around, Seen, View};
use activity_relay::source::wire;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use libfuzzer_sys::fuzz_target;

/// A line of this and a part's name begins the part.
const BEGINS: &str = "=== ";
const PARTS: [&str; 8] = [
    "t/subject.hbs",
    "t/text.hbs",
    "t/html.hbs",
    "t/slack.hbs",
    "t/slack.yaml",
    "t/http.yaml",
    "_partials/p.hbs",
    "_layouts/l.hbs",
];
const HOSTILE: &str = "<!channel> \"},{\"x\": {{client.email}} \r\nBcc: all@example.com <script>alert(1)</script>";

static VIEWS: LazyLock<[View; 2]> = LazyLock::new(|| [view(1), view(3)]);

fn view(count: usize) -> View {
    let now: Timestamp = "2026-03-02T21:50:00Z".parse().expect("a moment");
    let name = |text: &str| text.to_owned();
    let triple = Triple {
        activity_type: name("Meeting"),
        message_type: name("cancelled"),
        direction: name("client_to_pivot"),
    };
    let message: Message = wire::read_item("main", &sample::item(&triple, now)).expect("a sample can be read");
    let mut names = sample::names();
    if let Some(client) = &mut names.client {
        client.name = Some(HOSTILE.to_owned());
    }
    let seen = Seen::new(Message { subject: HOSTILE.to_owned(), ..message }, names);
    View {
        messages: vec![seen; count],
        notice: None,
        delivery_id: name("d1"),
        attempt: 1,
        rule: name("rule"),
        target: name("target"),
        account: name("main"),
        app_host: name("https://app.vcita.com"),
        timezone: TimeZone::UTC,
        now,
        around: Around::default(),
    }
}

fn parts(text: &str) -> Vec<(String, String)> {
    let mut parts: Vec<(String, String)> = Vec::new();
    for line in text.split_inclusive('\n') {
        let name = line.strip_prefix(BEGINS).map(str::trim);
        match (name.filter(|name| PARTS.contains(name)), parts.last_mut()) {
            (Some(name), _) => parts.push((name.to_owned(), String::new())),
            (None, Some((_, part))) => part.push_str(line),
            (None, None) => parts.push((PARTS[1].to_owned(), line.to_owned())),
        }
    }
    parts
}

fuzz_target!(|input: &str| {
    let files = parts(input);
    let (templates, problems) = Templates::compile(&files);
    for problem in &problems {
        assert!(problem.line >= 1 && problem.column >= 1 && !problem.message.is_empty(), "{problem:?}");
    }
    // Only what some part has a say in: to render the built-in template again and again takes most of the time.
    let has = |names: &[&str]| files.iter().any(|(part, _)| names.iter().any(|name| part.ends_with(name)));
    let text = has(&["subject.hbs", "text.hbs", "p.hbs"]);
    let mut formats = Vec::new();
    formats.extend((text || has(&["slack.hbs", "slack.yaml"])).then_some(Format::Slack));
    formats.extend((text || has(&["html.hbs", "l.hbs"])).then_some(Format::Email));
    formats.extend(has(&["http.yaml", "p.hbs"]).then_some(Format::Http(HttpBody::Auto)));
    for view in VIEWS.iter() {
        for &format in &formats {
            match templates.render("t", format, view).payload {
                Payload::Slack(message) => {
                    let pings = message.to_string().contains("<!channel>");
                    assert!(!pings || input.contains("<!channel") || input.contains("\\x") || input.contains("\\u"), "{message}");
                }
                Payload::Http(body) => {
                    serde_json::from_str::<serde_json::Value>(&body.body).expect("a body is JSON");
                }
                Payload::Email(mail) => assert!(!mail.subject.contains(['\r', '\n']), "{mail:?}"),
            }
        }
    }
});
