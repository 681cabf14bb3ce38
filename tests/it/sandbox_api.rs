//! The fake business's API, asked over HTTP as a client would.
#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::time::Duration;

use activity_relay::daemon::clock::Clock;
use activity_relay::sandbox::behaviour::{Behaviour, General, Profile};
use activity_relay::sandbox::business::LIST_PATH;
use activity_relay::sandbox::incoming::Incoming;
use activity_relay::sandbox::script::{self, Cut, Fault};
use activity_relay::sandbox::world::{Action, At, TokenKind, Which};
use activity_relay::sandbox::{Sandbox, Settings, TOKEN};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What a raw request was answered.
pub(crate) struct Answered {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answered {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    fn uids(&self) -> Vec<String> {
        let rows = self.json()["data"]["activity_messages"].clone();
        rows.as_array().unwrap().iter().map(|row| row["uid"].as_str().unwrap().to_owned()).collect()
    }
}

/// One request on a connection of its own; the error is that of a connection that was cut.
pub(crate) async fn ask(
    base: &str,
    request_line: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> std::io::Result<Answered> {
    let host = base.trim_start_matches("http://");
    let mut stream = TcpStream::connect(host).await?;
    let mut request = format!(
        "{request_line} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        request.extend([name, ": ", value, "\r\n"]);
    }
    request.push_str("\r\n");
    request.push_str(body);
    stream.write_all(request.as_bytes()).await?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await?;
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").ok_or(std::io::ErrorKind::UnexpectedEof)?;
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Ok(Answered { status, head: head.to_lowercase(), body: body.to_owned() })
}

async fn list_as(sandbox: &Sandbox, token: &str, query: &str) -> Answered {
    let line = format!("GET {LIST_PATH}?{query}");
    ask(sandbox.url(), &line, &[("authorization", &format!("Bearer {token}"))], "").await.unwrap()
}

async fn list(sandbox: &Sandbox, query: &str) -> Answered {
    list_as(sandbox, TOKEN, query).await
}

async fn sandbox(behaviour: Behaviour) -> (Sandbox, Clock) {
    let clock = Clock::manual("2026-11-02T08:00:00Z".parse().unwrap());
    let settings = Settings { behaviour, control_token: Some("control".to_owned()), ..Settings::default() };
    (Sandbox::start(settings, clock.clone()).await.unwrap(), clock)
}

async fn documented() -> (Sandbox, Clock) {
    sandbox(Behaviour::default()).await
}

fn cancelled() -> Incoming {
    Incoming::new("Meeting", "cancelled", "client_to_pivot")
}

#[tokio::test]
async fn the_list_is_paged_newest_first_with_the_count_of_all() {
    let (sandbox, clock) = documented().await;
    for _ in 0..30 {
        sandbox.business.receive(cancelled());
        clock.advance(Duration::from_secs(1));
    }
    let first = list(&sandbox, "").await;
    let data = &first.json()["data"];
    assert_eq!((&data["page"], &data["per_page"], &data["total_count"]), (&1.into(), &25.into(), &30.into()));
    assert_eq!(first.uids().len(), 25);
    assert_eq!(data["activity_messages"][0]["created_at"], "2026-11-02T08:00:29Z");
    assert_eq!(list(&sandbox, "page=2").await.uids().len(), 5);
    assert_eq!(list(&sandbox, "page=3").await.uids().len(), 0);
    let capped = list(&sandbox, "per_page=500&sort=created_at:asc").await.json();
    assert_eq!(capped["data"]["per_page"], 100);
    assert_eq!(capped["data"]["activity_messages"][0]["created_at"], "2026-11-02T08:00:00Z");
}

#[tokio::test]
async fn both_time_bounds_include_what_is_on_them() {
    let (sandbox, clock) = documented().await;
    let mut uids = Vec::new();
    for _ in 0..3 {
        uids.push(sandbox.business.receive(cancelled()));
        clock.advance(Duration::from_secs(10));
    }
    let found =
        list(&sandbox, "created_after=2026-11-02T08:00:10Z&created_before=2026-11-02T08:00:10Z").await;
    assert_eq!(found.uids(), [uids[1].clone()]);
}

#[tokio::test]
async fn the_direction_filter_cannot_reach_notices_to_the_business() {
    let (sandbox, _) = documented().await;
    sandbox.business.receive(Incoming::new("Payment", "payment_failed", "to_pivot"));
    let cancelled = sandbox.business.receive(cancelled());
    assert_eq!(list(&sandbox, "direction=client_to_business").await.uids(), [cancelled]);
    assert_eq!(list(&sandbox, "direction=business_to_client").await.uids().len(), 0);
    assert_eq!(list(&sandbox, "direction=to_pivot").await.status, 400);
}

#[tokio::test]
async fn tokens_are_refused_for_two_reasons_that_can_be_told_apart() {
    let (sandbox, _) = documented().await;
    sandbox.business.token("app", TokenKind::App);
    let message = |answered: Answered| (answered.status, answered.json()["errors"][0]["message"].clone());
    assert_eq!(message(list_as(&sandbox, "nobody", "").await), (401, "401 Unauthorized".into()));
    assert_eq!(message(list_as(&sandbox, "app", "").await), (401, "Unauthorized".into()));
    assert_eq!(list(&sandbox, "").await.status, 200);
    sandbox.business.token(TOKEN, TokenKind::Revoked);
    assert_eq!(message(list(&sandbox, "").await), (401, "401 Unauthorized".into()));
}

#[tokio::test]
async fn other_methods_are_answered_with_what_is_allowed() {
    let (sandbox, _) = documented().await;
    for method in ["POST", "DELETE", "QUERY", "HEAD", "OPTIONS", "TRACE"] {
        let line = format!("{method} {LIST_PATH}");
        let answered = ask(sandbox.url(), &line, &[("authorization", "Bearer x")], "").await.unwrap();
        assert_eq!(answered.status, 405, "{method}");
        assert!(answered.head.contains("\r\nallow: get"), "{method}: {}", answered.head);
    }
}

#[tokio::test]
async fn an_unknown_conversation_is_a_404_of_the_old_shape() {
    let (sandbox, _) = documented().await;
    let answered = list(&sandbox, "conversation_uid=none").await;
    assert_eq!(answered.status, 404);
    assert_eq!(answered.json()["error"], "Conversation not found");
}

#[tokio::test]
async fn rows_can_be_read_exactly_between_two_pages() {
    let (sandbox, clock) = documented().await;
    let mut uids = Vec::new();
    for _ in 0..4 {
        uids.push(sandbox.business.receive(cancelled()));
        clock.advance(Duration::from_secs(1));
    }
    sandbox.business.act_before_request(2, Action::Read(Which::Oldest(1)));
    let query = |page| format!("was_read=false&sort=created_at:asc&per_page=2&page={page}");
    assert_eq!(list(&sandbox, &query(1)).await.uids(), [uids[0].clone(), uids[1].clone()]);
    assert_eq!(list(&sandbox, &query(2)).await.uids(), [uids[3].clone()], "the third row slid into page 1");
}

#[tokio::test]
async fn a_late_commit_is_seen_later_than_it_was_made() {
    let (sandbox, clock) = documented().await;
    let late = cancelled().late(Duration::from_secs(30));
    sandbox.business.act_after(Duration::from_secs(30), Action::Receive(Box::new(late)));
    assert_eq!(list(&sandbox, "").await.uids().len(), 0);
    clock.advance(Duration::from_secs(30));
    let found = list(&sandbox, "").await.json();
    assert_eq!(found["data"]["activity_messages"][0]["created_at"], "2026-11-02T08:00:00Z");
}

#[tokio::test]
async fn ties_come_in_another_order_each_time_when_shuffled() {
    let (sandbox, _) = sandbox(Behaviour::of(Profile::Quirky)).await;
    sandbox.business.receive(cancelled().times(60));
    let (one, two) =
        (list(&sandbox, "per_page=100").await.uids(), list(&sandbox, "per_page=100").await.uids());
    assert_ne!(one, two);
    let sorted = |mut uids: Vec<String>| {
        uids.sort();
        uids
    };
    assert_eq!(sorted(one), sorted(two));
}

#[tokio::test]
async fn the_quirky_profile_shows_general_rows_and_times_in_every_shape() {
    let (sandbox, _) = sandbox(Behaviour::of(Profile::Quirky)).await;
    for _ in 0..28 {
        sandbox.business.receive(Incoming::text("Grace Field", "a < b & c"));
    }
    let rows = list(&sandbox, "per_page=100").await.json()["data"]["activity_messages"].clone();
    let rows = rows.as_array().unwrap();
    let has = |name: &str, value: &Value| rows.iter().any(|row| row.get(name) == Some(value));
    assert!(has("activity_type", &Value::Null) && has("activity_type", &"".into()));
    assert!(rows.iter().any(|row| row.get("activity_type").is_none()));
    assert!(has("direction", &"client_to_business".into()));
    for time in ["2026-11-02T08:00:00Z", "2026-11-02T08:00:00.000", "2026-11-02T10:00:00.000+02:00"] {
        assert!(has("created_at", &time.into()), "{time}");
    }
    assert!(
        rows.iter()
            .any(|row| row["message_text"]["body"] == "&lt;div&gt;a &lt; b &amp; c&lt;br&gt;&lt;/div&gt;"
                || row["message_text"]["body"].as_str().is_some_and(|body| body.starts_with("&lt;div&gt;")))
    );
}

#[tokio::test]
async fn general_rows_can_be_kept_out_of_what_the_schema_must_hold() {
    let (sandbox, _) = sandbox(Behaviour { general: General::Hidden, ..Behaviour::default() }).await;
    sandbox.business.receive(Incoming::text("Grace Field", "hello"));
    assert_eq!(list(&sandbox, "").await.json()["data"]["total_count"], 0);
}

#[tokio::test]
async fn faults_happen_in_the_order_they_were_scripted() {
    let (sandbox, _) = documented().await;
    sandbox.business.answers([
        script::busy(7),
        script::gateway(),
        script::broken_json(),
        script::cut(Cut::Before),
        script::cut(Cut::Middle),
        script::trickle(Duration::from_millis(1)),
        script::ok(),
    ]);
    let busy = list(&sandbox, "").await;
    assert_eq!(busy.status, 429);
    assert!(busy.head.contains("retry-after: 7"));
    assert_eq!(list(&sandbox, "").await.status, 502);
    let broken = list(&sandbox, "").await;
    assert!(broken.status == 200 && serde_json::from_str::<Value>(&broken.body).is_err());
    let line = format!("GET {LIST_PATH}");
    let token = [("authorization", "Bearer sandbox-staff-token")];
    assert!(ask(sandbox.url(), &line, &token, "").await.is_err(), "cut before the answer");
    let half = ask(sandbox.url(), &line, &token, "").await;
    assert!(
        half.is_err() || serde_json::from_str::<Value>(&half.unwrap().body).is_err(),
        "cut in the middle"
    );
    assert!(list(&sandbox, "").await.body.contains("activity_messages"));
    assert_eq!(list(&sandbox, "").await.status, 200);
    let asked: Vec<u16> = sandbox.business.list_requests().iter().map(|request| request.status).collect();
    assert_eq!(asked, [429, 502, 200, 0, 200, 200, 200]);
}

#[tokio::test]
async fn the_request_log_says_what_was_asked() {
    let (sandbox, _) = documented().await;
    list(&sandbox, "was_read=false&page=2").await;
    let requests =
        sandbox.business.wait_for_requests(Duration::from_secs(5), |all| !all.is_empty()).await.unwrap();
    assert_eq!(requests[0].query["page"], "2");
    assert!(!requests[0].query.contains_key("direction"));
}

#[tokio::test]
async fn clients_staff_and_business_are_told_in_their_odd_shapes() {
    let (sandbox, _) = documented().await;
    let uid = sandbox.business.receive(cancelled().from("Grace Field").with_staff("Nora Quay"));
    let row = list(&sandbox, "").await.json()["data"]["activity_messages"][0].clone();
    assert_eq!(row["uid"], uid.as_str());
    let get = async |path: &str| {
        let token = [("authorization", "Bearer sandbox-staff-token")];
        ask(sandbox.url(), &format!("GET {path}"), &token, "").await.unwrap()
    };
    let client = get(&format!("/platform/v1/clients/{}", row["client_uid"].as_str().unwrap())).await.json();
    assert_eq!(client["data"]["client"]["first_name"], "Grace");
    assert_eq!(get("/platform/v1/clients/nobody").await.status, 422);
    let business = row["business_uid"].as_str().unwrap();
    let staff = get(&format!("/platform/v1/businesses/{business}/staffs?status=all")).await.json();
    assert_eq!(staff["data"]["staff"][1]["display_name"], "Nora Quay");
    assert_eq!(staff["data"]["staff"][1]["active"], "true");
    let card = get(&format!("/platform/v1/businesses/{business}")).await.json();
    assert_eq!(card["data"]["business"]["business"]["time_zone"], "Europe/London");
    assert_eq!(get("/oauth/userinfo").await.json()["type"], "staff");
}

#[tokio::test]
async fn too_many_client_lookups_in_a_minute_are_refused() {
    let (sandbox, clock) = sandbox(Behaviour { clients_per_minute: 2, ..Behaviour::default() }).await;
    let look = async || {
        let token = [("authorization", "Bearer sandbox-staff-token")];
        ask(sandbox.url(), "GET /platform/v1/clients/x", &token, "").await.unwrap().status
    };
    assert_eq!((look().await, look().await, look().await), (422, 422, 429));
    clock.advance(Duration::from_mins(1));
    assert_eq!(look().await, 422);
}

#[tokio::test]
async fn the_control_api_moves_the_world_for_tests_in_other_languages() {
    let (sandbox, _) = documented().await;
    let control = async |line: &str, body: &str| {
        ask(sandbox.url(), line, &[("authorization", "Bearer control")], body).await.unwrap()
    };
    let refused = ask(sandbox.url(), "GET /__control/state", &[], "").await.unwrap();
    assert_eq!(refused.status, 401);
    let message =
        r#"{"activity_type":"Meeting","message_type":"cancelled","direction":"client_to_pivot","count":2}"#;
    let uids = control("POST /__control/messages", message).await.json()["uids"].clone();
    assert_eq!(uids.as_array().unwrap().len(), 2);
    control("POST /__control/read", &format!(r#"{{"uids":[{}]}}"#, uids[0])).await;
    control("POST /__control/clock", r#"{"advance":"1h"}"#).await;
    let state = control("GET /__control/state", "").await.json();
    assert_eq!((&state["messages"], &state["unread"]), (&2.into(), &1.into()));
    assert_eq!(state["now"], "2026-11-02T09:00:00Z");
    let fault = r#"{"action":{"fault":{"at":"api","fault":{"times":1,"answer":{"status":500}}}}}"#;
    assert_eq!(control("POST /__control/actions", fault).await.status, 200);
    assert_eq!(list(&sandbox, "").await.status, 500);
    assert_eq!(control("GET /__control/requests", "").await.json()["requests"][0]["status"], 500);
    assert_eq!(control("POST /__control/messages", r#"{"kind":"x"}"#).await.status, 400);
    assert_eq!(control("GET /__control/nothing", "").await.status, 404);
}

#[tokio::test]
async fn a_fault_lasts_until_it_is_healed() {
    let (sandbox, _) = documented().await;
    sandbox.business.fault(Fault { on: String::new(), times: None, answer: script::status(503) });
    assert_eq!((list(&sandbox, "").await.status, list(&sandbox, "").await.status), (503, 503));
    sandbox.business.act(Action::Heal(At::Api));
    assert_eq!(list(&sandbox, "").await.status, 200);
}
