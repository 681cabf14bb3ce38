//! Messages and templates that nobody foresaw: too long, full of NUL, nested without end, failing.

use activity_relay::sandbox::inboxes::Arrival;
use activity_relay::sandbox::incoming::Incoming;
use activity_relay::sandbox::script::says;
use activity_relay::sandbox::world::Action;
use serde_json::Value;

use super::record::{Observed, record};
use crate::world::{World, setting};

const EVERYWHERE: &str = r#"
targets:
  desk: { type: slack, webhook_url: "${SLACK}", allow_private: true, rate: 100/s, burst: 100 }
  books: { type: email, smtp: "${MAIL}", from: relay@example.com, to: [books@example.com] }
  crm: { type: http, url: "${HTTP}", allow_private: true, body: event, timeout: 60s }
rules:
  - { name: all, match: {}, deliver: [{ to: desk }, { to: books }, { to: crm }] }
"#;

/// Everything that reached an inbox whose messages name their delivery, and how many posts the channel got.
fn arrivals(world: &World) -> (Vec<Arrival>, usize) {
    let named = [&world.sandbox.mail, &world.sandbox.http];
    (named.iter().flat_map(|inbox| inbox.arrivals()).collect(), world.sandbox.slack.received().len())
}

/// Each message went to all three targets, once.
async fn everywhere(world: &World, messages: usize, saw: &str) -> Observed {
    let (named, posts) = arrivals(world);
    let rows = world.rows().await;
    assert!(rows.iter().all(|row| row.state.as_str() == "delivered"), "{}", world.owed().await);
    let rest: Vec<_> = rows.into_iter().filter(|row| row.target != "desk").collect();
    let observed = Observed::judge(&rest, 2 * messages, &named, saw);
    assert_eq!((posts, observed.delivered, observed.duplicates), (messages, 2 * messages, 0));
    Observed { messages: 3 * messages, delivered: observed.delivered + posts, ..observed }
}

/// `MESSAGE_MEGABYTES=50` for the whole of it, which takes its time without optimisation.
#[tokio::test]
async fn a_message_of_many_megabytes_is_one_like_any_other() {
    let megabytes = setting("MESSAGE_MEGABYTES", 4);
    let world = World::new(EVERYWHERE).await;
    world.receives("Ann", &"All work and no play. ".repeat((megabytes << 20) / 22 + 1));
    world.receives("Bob", "Are you open today?");
    world.tick().await;
    let lengths: Vec<usize> =
        world.sandbox.http.received().iter().map(|arrival| arrival.body.len()).collect();
    assert!(lengths.iter().any(|length| *length > megabytes << 20), "{lengths:?}");
    let saw = "the HTTP target got all of it, Slack and mail a shortened text; the short one was not held up";
    let observed = everywhere(&world, 2, saw).await;
    record("message-50mb", &format!("a message of {megabytes} MB and a short one on one page"), &observed);
}

#[tokio::test]
async fn nul_is_a_character_that_nobody_stumbles_over() {
    let world = World::new(EVERYWHERE).await;
    world.sandbox.business.receive(
        Incoming::text("A\0nn", "Are\0 you open\u{1}\u{1b}[31m today?\0")
            .about("Hi\0")
            .with("odd", "\0\0".into()),
    );
    world.tick().await;
    let mail = &world.sandbox.mail.received()[0].body;
    assert!(!mail.contains('\0') && mail.contains("you open"), "{mail}");
    let saw = "delivered everywhere, the NULs left out of text and mail";
    record(
        "message-nul",
        "NUL in name, subject, body and an unknown field",
        &everywhere(&world, 1, saw).await,
    );
}

#[tokio::test]
async fn deep_json_stays_a_field_of_its_own() {
    let world = World::new(EVERYWHERE).await;
    let (open, close) = ("[".repeat(100_000), "]".repeat(100_000));
    let item = |uid: &str, odd: &str| {
        format!(
            r#"{{"uid":"{uid}","activity_type":"general","activity_action":"text","direction":"client_to_pivot",
                "message_text":{{"body":"Hello {uid}"}},"created_at":"2026-03-10T08:59:00Z","odd":{odd}}}"#
        )
    };
    // At 127 levels the reader still reads it, and what holds it does not.
    let (near, far) = (format!("{}{}", &open[..126], &close[..126]), format!("{open}{close}"));
    let items = [item("near", &near), item("far", &far), item("plain", "1")].join(",");
    let page = format!(
        r#"{{"success":true,"data":{{"activity_messages":[{items}],"per_page":100,"total_count":3}}}}"#
    );
    world.sandbox.business.answers([says(200, page)]);
    world.tick().await;
    assert!(world.store().quarantine().await.unwrap().is_empty());
    let said = world.sandbox.http.received();
    let bodies: Vec<Value> =
        said.iter().map(|arrival| serde_json::from_str(&arrival.body).unwrap()).collect();
    assert!(bodies.iter().any(|body| body["data"]["message"]["body"] == "Hello far"), "{bodies:?}");
    let saw = "delivered everywhere; the nested field is kept as text";
    let how = "items with a field nested 126 and 100,000 levels deep, beside a plain one";
    record("message-deep", how, &everywhere(&world, 3, saw).await);
}

#[tokio::test]
async fn a_template_that_fails_sends_plain_text_with_the_reason() {
    let rules = EVERYWHERE.replace("match: {}", "match: {}, template: f");
    let template = ("f/text.hbs", "{{date message.created_at \"%H\" message.uid}}");
    let world = World::with_template(&rules, template).await;
    world.sandbox.business.act(Action::Receive(Box::new(Incoming::text("Ann", "Are you open today?"))));
    world.tick().await;
    for inbox in [&world.sandbox.slack, &world.sandbox.mail] {
        let body = inbox.received().remove(0).body;
        assert!(body.contains("Are you open today?") && body.contains("f/text.hbs"), "{body}");
    }
    let saw = "the plain text went out, with the template's fault in it and in the attempt's reason";
    record(
        "template-fails",
        "a template that calls a helper with a wrong argument",
        &everywhere(&world, 1, saw).await,
    );
}
