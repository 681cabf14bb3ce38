//! Every message type of the catalogue, to every kind of target, exactly once, with the client's name.

use std::collections::BTreeSet;

use activity_relay::model::catalog;
use activity_relay::sandbox::inboxes::{Arrival, Inbox};
use activity_relay::sandbox::incoming::Incoming;
use activity_relay::sandbox::scenario::Scenario;
use activity_relay::sandbox::world::Action;
use serde_json::json;

use crate::world::World;

const RULES: &str = r#"
targets:
  desk: { type: slack, webhook_url: "${SLACK}", allow_private: true, rate: 1000/s, burst: 1000 }
  books: { type: email, smtp: "${MAIL}", from: relay@example.com, to: [books@example.com], rate: 1000/s, burst: 1000 }
  crm: { type: http, url: "${HTTP}", allow_private: true, rate: 1000/s, burst: 1000, body: event }
rules:
  - { name: everything, match: {}, deliver: [{ to: desk }, { to: books }, { to: crm }] }
"#;
const CLIENT: &str = "Wilhelmina Quist";

fn said(arrival: &Arrival) -> String {
    match &arrival.mail {
        Some(mail) => format!("{}\n{}", mail.subject, mail.text),
        None => arrival.body.clone(),
    }
}

#[tokio::test]
async fn every_type_arrives_everywhere_once_and_names_the_client() {
    let world = World::new(RULES).await;
    let mut scenario = Scenario::named("every-kind").unwrap();
    for (index, step) in scenario.steps.iter_mut().enumerate() {
        if let Action::Receive(incoming) = &mut step.action {
            **incoming = std::mem::take::<Incoming>(incoming)
                .from(CLIENT)
                .about(&format!("subject-{index:03}"))
                .with("uid", json!(format!("kind{index:03}")));
        }
    }
    let count = catalog::all().len();
    assert_eq!((count, scenario.size().0), (140, 140));
    world.sandbox.play(&scenario);
    world.tick().await;
    world.pass("30s").await;

    let triples: BTreeSet<String> = catalog::all()
        .iter()
        .map(|entry| format!("{}/{}/{}", entry.activity_type, entry.message_type, entry.direction))
        .collect();
    let events = world.sandbox.http.received();
    let seen: BTreeSet<String> = events
        .iter()
        .map(|arrival| {
            let body: serde_json::Value = serde_json::from_str(&arrival.body).unwrap();
            let field = |name: &str| body["data"]["message"][name].as_str().unwrap().to_owned();
            format!("{}/{}/{}", field("activity_type"), field("message_type"), field("direction"))
        })
        .collect();
    assert_eq!(seen, triples);

    let once = |inbox: &Inbox| {
        let received = inbox.received();
        assert_eq!(inbox.arrivals().len(), received.len(), "none was refused");
        assert_eq!((received.len(), inbox.duplicates()), (count, 0));
        let identities: BTreeSet<&str> = received.iter().map(Arrival::identity).collect();
        assert_eq!(identities.len(), count);
        for arrival in &received {
            assert!(said(arrival).contains(CLIENT), "{}", said(arrival));
        }
    };
    world.sandbox.inboxes().into_iter().for_each(once);
    assert!(world.rows().await.iter().all(|row| row.state.as_str() == "delivered" && row.attempts == 1));
}
