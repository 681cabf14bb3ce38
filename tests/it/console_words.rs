//! What the console says where there is nothing, and of one as of many.

use activity_relay::sandbox::incoming::Incoming;
use activity_relay::store::Filter;
use serde_json::Value;

use crate::console::{get, started};
use crate::stage::{RULES, Stage};
use crate::world::PATIENCE;

#[tokio::test]
async fn an_address_without_a_page_has_the_navigation_and_programs_are_led_to_the_document() {
    let stage = Stage::new().await;
    let (running, address) = started(&stage, "").await;
    let page = get(&address, "/nowhere", "Accept: text/html\r\n").await;
    assert_eq!(page.status, 404);
    assert!(page.body.contains("No page has this address.") && page.body.contains("href=\"/deliveries\""));
    assert!(page.body.contains("<title>There is nothing here"), "{}", page.body);
    let problem = get(&address, "/api/v1/nosuch", "").await;
    assert_eq!((problem.status, problem.header("content-type")), (404, Some("application/problem+json")));
    let problem: Value = serde_json::from_str(&problem.body).unwrap();
    assert_eq!(problem["detail"], "/api/openapi.json describes what can be asked", "{problem}");
    running.ends().await;
}

#[tokio::test]
async fn one_message_is_told_of_as_one() {
    let stage = Stage::with(&RULES.replace("match: {}", "match: { activity_type: Payment }")).await;
    let (running, address) = started(&stage, "").await;
    stage.sandbox.business.receive(Incoming::text("Ann", "hello"));
    let coverage = async || get(&address, "/coverage", "").await.body;
    let told = async {
        loop {
            let page = coverage().await;
            if page.contains("by no rule</b>") {
                return page;
            }
        }
    };
    let page = tokio::time::timeout(PATIENCE, told).await.unwrap();
    assert!(
        page.contains("1 message of the last 30 days was taken by no rule</b>Nobody is told of it."),
        "{page}"
    );
    running.ends().await;
}

#[tokio::test]
async fn a_digest_of_two_is_one_message_together_with_another() {
    let digest = "deliver: [{ to: crm, digest: { every: 6h } }]";
    let stage = Stage::with(&RULES.replace("deliver: [{ to: crm }]", digest)).await;
    let (running, address) = started(&stage, "").await;
    stage.receive(2);
    let store = stage.store().await;
    let id = loop {
        let (rows, _) = store.deliveries(Filter::default()).await.unwrap();
        if let Some(row) = rows.iter().find(|row| row.messages.len() == 2) {
            break row.id.clone();
        }
        tokio::task::yield_now().await;
    };
    let page = get(&address, &format!("/deliveries/{}", id.as_str()), "").await.body;
    assert!(page.contains("together with 1 other message</span>"), "{page}");
    running.ends().await;
}

#[tokio::test]
async fn a_target_that_is_off_has_no_button_that_would_do_nothing() {
    let stage = Stage::with(&RULES.replace("type: http,", "type: http, enabled: false,")).await;
    let (running, address) = started(&stage, "").await;
    stage.receive(1);
    let store = stage.store().await;
    while store.counts(None).await.unwrap().pending == 0 {
        tokio::task::yield_now().await;
    }
    let overview = get(&address, "/", "").await.body;
    assert!(overview.contains("1 delivery for a target that is off: crm"), "{overview}");
    for page in [overview, get(&address, "/targets", "").await.body] {
        assert!(page.contains("switched off in the rules file"), "{page}");
        assert!(!page.contains("/targets/resume"), "{page}");
    }
    let refused = stage.output(&format!("targets resume crm --url http://{address}")).await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(stage.logged().contains("take that out and reload"), "{}", stage.logged());
    running.ends().await;
}
