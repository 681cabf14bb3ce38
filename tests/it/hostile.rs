//! Clients who mean harm or write novels, through the whole pipeline: nothing they say is more than words anywhere.

use activity_relay::model::payload::Payload;
use activity_relay::sandbox::incoming::Incoming;
use serde_json::Value;

use crate::world::World;

const EVERYWHERE: &str = r#"
targets:
  desk: { type: slack, webhook_url: "${SLACK}", allow_private: true }
  books: { type: email, smtp: "${MAIL}", from: relay@example.com, to: [books@example.com] }
  crm: { type: http, url: "${HTTP}", allow_private: true, body: event }
rules:
  - { name: all, match: {}, deliver: [{ to: desk }, { to: books }, { to: crm }] }
"#;
const NAME: &str = r#"<!channel> & "Bob" <https://evil|x>"#;

#[tokio::test]
async fn a_name_full_of_markup_is_a_name_everywhere() {
    let world = World::new(EVERYWHERE).await;
    world.sandbox.business.receive(
        Incoming::text(NAME, "see <!here> <@U1> <https://evil.example|this>\r\nBcc: all@example.com")
            .about("Hi\r\nBcc: all@example.com"),
    );
    world.tick().await;

    let slack = &world.sandbox.slack.received()[0].body;
    for live in ["<!channel>", "<!here>", "<@U1>", "<https://evil"] {
        assert!(!slack.contains(live), "{live} is live in {slack}");
    }
    assert!(slack.contains("&lt;!channel&gt; &amp; "), "{slack}");

    let mail = world.sandbox.mail.received().remove(0);
    assert_eq!(mail.mail.unwrap().recipients, ["books@example.com"]);
    assert!(!mail.headers.contains_key("bcc"), "{:?}", mail.headers);
    let row = world.rows().await.into_iter().find(|row| row.target == "books").unwrap();
    let detail = world.store().delivery(&row.id).await.unwrap().unwrap();
    let Some(Payload::Email(mail)) = detail.payload else { panic!("a mail keeps its payload") };
    assert!(mail.subject.contains(NAME) && !mail.subject.contains(['\r', '\n']), "{}", mail.subject);
    let html = mail.html.unwrap();
    assert!(html.contains("&lt;!channel&gt;") && !html.contains("<!channel>"), "{html}");
    assert!(!html.contains("<https://evil"), "{html}");

    let body: Value = serde_json::from_str(&world.sandbox.http.received()[0].body).unwrap();
    assert_eq!(body["data"]["client"]["name"], NAME);
}

#[tokio::test]
async fn a_novel_stays_within_slacks_limits() {
    let world = World::new(EVERYWHERE).await;
    let (plain, escaped) = ("Long story. ".repeat(4_200), "<&> é👩‍👩‍👧 ".repeat(5_000));
    world.receives("Ann", &plain);
    world.receives("Bob", &escaped);
    world.tick().await;
    // The inbox knows the limits, and refuses what is beyond.
    let arrivals = world.sandbox.slack.arrivals();
    let problems: Vec<_> = arrivals.iter().filter_map(|arrival| arrival.problem.as_deref()).collect();
    assert!(problems.is_empty(), "{problems:?}");
    assert_eq!((arrivals.len(), world.sandbox.slack.received().len()), (2, 2), "none was sent twice");
    assert!(arrivals.iter().all(|arrival| arrival.body.contains("shortened")));
    let body: Value = serde_json::from_str(&world.sandbox.http.received()[0].body).unwrap();
    assert_eq!(body["data"]["message"]["body"].as_str().map(str::trim), Some(plain.trim()), "JSON is whole");
}
