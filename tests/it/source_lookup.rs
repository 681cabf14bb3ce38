//! Lookups of names against a server that answers as told.

use activity_relay::source::Token;
use activity_relay::source::fault::ApiError;
use activity_relay::source::http::egress;
use activity_relay::source::lookup::Lookup;
use activity_relay::source::pace::Pace;

use crate::source_api::{Server, answer};

fn lookup(server: &Server) -> Lookup {
    Lookup::new(&server.account(Token::Value("t".into())), &egress(), Pace::unlimited())
}

#[tokio::test]
async fn a_client_is_found_missing_or_not_to_be_had() {
    let ann = r#"{"status":"OK","data":{"client":{"first_name":"Ann","last_name":"Lee","matters":[{"uid":"m1"}]}}}"#;
    let server = Server::of([
        answer(200, "", ann),
        answer(422, "", r#"{"error":"not found"}"#),
        answer(429, "retry-after: 9\r\n", r#"{"error":"Too many requests"}"#),
        answer(422, "", r#"{"status":"Error","error":"Unauthorized"}"#),
    ])
    .await;
    let lookup = lookup(&server);
    let client = lookup.client("c1").await.unwrap().unwrap();
    assert_eq!((client.name.as_deref(), client.link_uid.as_deref()), (Some("Ann Lee"), Some("m1")));
    assert_eq!(lookup.client("c2").await.unwrap(), None);
    assert_eq!(lookup.client("c3").await.unwrap_err().asked_to_wait().unwrap().as_secs(), 9);
    assert!(matches!(lookup.client("c4").await.unwrap_err(), ApiError::Unauthorized { .. }));
    assert!(server.asked()[0].starts_with("GET /platform/v1/clients/c1 HTTP/1.1"));
}

#[tokio::test]
async fn staff_comes_with_one_call_and_the_business_without_its_token() {
    let staff = r#"{"data":{"staff":[{"id":"s1","display_name":"Bob","active":"true"}]}}"#;
    let business = r#"{"data":{"business":{"meta":{"auth_token":"hush"},"business":{"name":"Salon","time_zone":"Europe/Rome"}}}}"#;
    let server = Server::of([
        answer(200, "", staff),
        answer(200, "", r#"{"business_uid":"b1","business_name":"S"}"#),
        answer(200, "", business),
        answer(200, "", r#"{"business_uid":"b1","business_name":"S"}"#),
        answer(403, "", ""),
    ])
    .await;
    let lookup = lookup(&server);
    assert_eq!(lookup.staff("b1").await.unwrap()[0].name.as_deref(), Some("Bob"));
    let full = lookup.business(None).await.unwrap();
    assert_eq!((full.name.as_deref(), full.time_zone.as_deref()), (Some("Salon"), Some("Europe/Rome")));
    assert!(!format!("{full:?}").contains("hush"));
    assert_eq!(
        lookup.business(None).await.unwrap().name.as_deref(),
        Some("S"),
        "the name survives a refusal"
    );
    assert!(server.asked()[0].starts_with("GET /platform/v1/businesses/b1/staffs?status=all HTTP/1.1"));
}
