//! Slack and HTTP targets against servers that misbehave.
#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]

use std::io::Write;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use activity_relay::egress::policy::Policy;
use activity_relay::egress::resolve::Resolver;
use activity_relay::egress::{Cut, Egress, FailureKind, Request};
use activity_relay::model::delivery::{Outcome, Report};
use activity_relay::model::payload::{Body, HttpBody, Payload};
use activity_relay::target::Parcel;
use activity_relay::target::http::{Auth, Http, Settings, sign};
use activity_relay::target::slack::Slack;
use jiff::Timestamp;
use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use url::Url;

use crate::somebody::nobody;
use crate::target_server::{Server, answer, drip, stall};

/// What is waited for where the server is silent.
const QUICK: Duration = Duration::from_secs(2);
const PATIENT: Duration = Duration::from_mins(1);

fn settings(url: Url) -> Settings {
    Settings {
        method: Method::POST,
        url,
        headers: HeaderMap::new(),
        auth: None,
        success: vec![200..=299],
        signing_secrets: Vec::new(),
        body: HttpBody::Auto,
    }
}

fn payload() -> Payload {
    Payload::Http(Body { content_type: "application/json".to_owned(), body: r#"{"a":1}"#.to_owned() })
}

async fn deliver_to(http: &Http, deadline: Duration) -> Report {
    let payload = payload();
    let now = Timestamp::from_second(1_700_000_000).unwrap();
    http.deliver(&Parcel { id: "d1", payload: &payload, recipient: None, now }, deadline).await
}

async fn deliver(url: Url, deadline: Duration) -> Report {
    deliver_to(&Http::new(settings(url), Egress::new(Policy::Any)), deadline).await
}

#[tokio::test]
async fn every_status_has_its_class() {
    const RETRY: Outcome = Outcome::Retry { after: None };
    let asked = |seconds| Some(Duration::from_secs(seconds));
    for (status, headers, outcome) in [
        ("200 OK", "", Outcome::Delivered),
        ("204 No Content", "", Outcome::Delivered),
        ("299 Fine", "webhook-delivery: disable\r\n", Outcome::Delivered),
        ("301 Moved", "Location: https://elsewhere.example/new?key=secret\r\n", Outcome::Refused),
        ("304 Not Modified", "", Outcome::Refused),
        ("400 Bad", "", Outcome::Doubtful),
        ("401 Who", "", Outcome::TargetBroken),
        ("403 No", "", Outcome::TargetBroken),
        ("404 Where", "", Outcome::TargetBroken),
        ("408 Slow", "", RETRY),
        ("410 Gone", "", Outcome::TargetBroken),
        ("418 Teapot", "webhook-delivery: disable\r\n", Outcome::TargetBroken),
        ("422 No", "", Outcome::Doubtful),
        ("425 Early", "", RETRY),
        ("429 Busy", "", Outcome::Busy { after: None }),
        ("429 Busy", "Retry-After: inf\r\n", Outcome::Busy { after: None }),
        ("429 Busy", "Retry-After: 7\r\nRetry-After: 30\r\n", Outcome::Busy { after: asked(30) }),
        ("500 Ouch", "", RETRY),
        ("500 Ouch", "webhook-delivery: abort-message\r\n", Outcome::Refused),
        ("501 Never", "", Outcome::Doubtful),
        ("503 Later", "Retry-After: Tue, 14 Nov 2023 22:14:20 GMT\r\n", Outcome::Retry { after: asked(60) }),
        ("505 Version", "", Outcome::Doubtful),
        ("599 Odd", "", RETRY),
    ] {
        let server = Server::answers(&answer(status, headers, ""));
        let report = deliver(server.url("/"), PATIENT).await;
        assert_eq!(report.outcome, outcome, "{status} {headers}: {}", report.reason);
        assert_eq!(report.status, status[..3].parse().ok());
        assert!(!report.reason.contains("secret"), "{}", report.reason);
    }
}

#[tokio::test]
async fn what_identifies_the_delivery_goes_along_and_wins_over_the_rules_file() {
    let server = Server::answers(&answer("200 OK", "", ""));
    let secret = sign::decode_secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    let mut settings = settings(server.url("/hook?key=1"));
    settings.signing_secrets = vec![secret.clone(), secret];
    settings.auth = Some(Auth::Basic { user: "ann".to_owned(), password: "pw".to_owned().into() });
    for (name, value) in [("webhook-id", "mine"), ("host", "evil"), ("x-shop", "7"), ("user-agent", "shop/1")]
    {
        settings.headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    let report = deliver_to(&Http::new(settings, Egress::new(Policy::Any)), PATIENT).await;
    assert_eq!(report.outcome, Outcome::Delivered, "{}", report.reason);
    let request = server.seen().remove(0);
    assert!(request.starts_with("POST /hook?key=1 HTTP/1.1\r\n"), "{request}");
    for line in [
        "webhook-id: d1",
        "webhook-timestamp: 1700000000",
        "idempotency-key: d1",
        "authorization: Basic YW5uOnB3",
        "content-type: application/json",
        "x-shop: 7",
        "user-agent: shop/1",
        &format!("host: {}", server.address),
    ] {
        assert!(request.contains(&format!("\r\n{line}\r\n")), "{line} in\n{request}");
    }
    let signatures = request.lines().find_map(|line| line.strip_prefix("webhook-signature: ")).unwrap();
    assert_eq!(signatures.split(' ').filter(|one| one.starts_with("v1,")).count(), 2);
    assert!(request.ends_with("\r\n\r\n{\"a\":1}") && !request.contains("mine") && !request.contains("evil"));
}

#[tokio::test]
async fn slow_headers_end_with_the_deadline() {
    let server = Server::http(|stream, _, _| drip(stream, &[b'H'; 1000], Duration::from_millis(50)));
    let report = deliver(server.url("/secret"), QUICK).await;
    assert_eq!(report.outcome, Outcome::Retry { after: None });
    assert!(report.maybe_duplicate && report.latency < PATIENT, "{report:?}");
    assert!(report.reason.contains("2.0 s") && !report.reason.contains("secret"), "{}", report.reason);
}

#[tokio::test]
async fn a_success_stays_one_whatever_its_body_does() {
    let stalled = Server::http(|stream, _, _| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhal").unwrap();
        stall(stream);
    });
    let lying = Server::answers("HTTP/1.1 202 Accepted\r\nContent-Length: 1000\r\n\r\nshort");
    let damaged = Server::answers(&answer("200 OK", "Content-Encoding: gzip\r\n", "not gzip"));
    for (server, excerpt) in [(stalled, Some("hal")), (lying, Some("short")), (damaged, None)] {
        let report = deliver(server.url("/"), QUICK).await;
        assert_eq!(
            (report.outcome, report.answer.as_deref()),
            (Outcome::Delivered, excerpt),
            "{}",
            report.reason
        );
    }
}

#[tokio::test]
async fn a_body_without_end_is_read_to_the_cap_only() {
    let written = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&written);
    let server = Server::http(move |stream, _, _| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n").unwrap();
        while stream.write_all(&[b'x'; 8_192]).is_ok() {
            count.fetch_add(8_192, Ordering::SeqCst);
        }
    });
    let egress = Egress::new(Policy::Any);
    let request = Request::get(server.url("/"), HeaderMap::new(), 1_000);
    let answer = egress.send(request, PATIENT).await.unwrap();
    assert_eq!((answer.body.len(), answer.cut), (1_000, Some(Cut::TooLong)));
    assert!(written.load(Ordering::SeqCst) < 64 << 20, "far less than it would have sent");
}

/// A gzip stream of zeros that never ends: after a literal 0, each 13 bits repeat it 258 times.
pub(crate) fn bomb(stream: &mut dyn Write, count: &AtomicU64) {
    let mut bits: Vec<u8> = vec![1, 1, 0];
    bits.extend([0, 0, 1, 1, 0, 0, 0, 0]);
    let mut send = |bits: &mut Vec<u8>| {
        let whole = bits.len() / 8 * 8;
        let bytes: Vec<u8> = bits[..whole]
            .chunks(8)
            .map(|byte| byte.iter().rev().fold(0, |sum, bit| sum << 1 | bit))
            .collect();
        bits.drain(..whole);
        count.fetch_add(bytes.len() as u64, Ordering::SeqCst);
        stream.write_all(&bytes).is_ok()
    };
    loop {
        for _ in 0..4_000 {
            bits.extend([1, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0]);
        }
        if !send(&mut bits) {
            return;
        }
    }
}

#[tokio::test]
async fn a_compressed_bomb_is_unpacked_to_the_cap_only() {
    let written = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&written);
    let server = Server::http(move |stream, _, _| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n").unwrap();
        stream.write_all(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]).unwrap();
        bomb(stream, &count);
    });
    let request = Request::get(server.url("/"), HeaderMap::new(), 1 << 20);
    let answer = Egress::new(Policy::Any).send(request, PATIENT).await.unwrap();
    assert_eq!((answer.body.len(), answer.cut), (1 << 20, Some(Cut::TooLong)));
    assert!(answer.body.iter().all(|byte| *byte == 0));
}

#[tokio::test]
async fn refused_and_broken_connections_are_tried_again() {
    let (_nobody, address) = nobody();
    let report = deliver(Url::parse(&format!("http://{address}/")).unwrap(), PATIENT).await;
    assert_eq!((report.outcome, report.maybe_duplicate), (Outcome::Retry { after: None }, false));
    assert!(report.reason.contains("refused the connection"), "{}", report.reason);

    let closing = Server::http(|_, _, _| ());
    let report = deliver(closing.url("/"), PATIENT).await;
    assert_eq!(
        (report.outcome, report.maybe_duplicate),
        (Outcome::Retry { after: None }, true),
        "{report:?}"
    );

    let resetting = Server::raw("127.0.0.1:0", |stream, _| drop(stream));
    let report = deliver(resetting.url("/"), PATIENT).await;
    assert_eq!(report.outcome, Outcome::Retry { after: None }, "{report:?}");

    let babbling = Server::answers("220 mail.example.com ESMTP\r\n");
    let report = deliver(babbling.url("/"), PATIENT).await;
    assert_eq!(report.outcome, Outcome::Retry { after: None }, "{report:?}");
}

#[tokio::test]
async fn a_redirect_is_told_and_not_followed() {
    let elsewhere = Server::answers(&answer("200 OK", "", ""));
    let location = format!("Location: http://u:p@{}/new?key=secret#part\r\n", elsewhere.address);
    for status in ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"] {
        let server = Server::answers(&answer(status, &location, ""));
        let report = deliver(server.url("/"), PATIENT).await;
        assert_eq!(report.outcome, Outcome::Refused);
        assert!(
            report.reason.contains(&format!("to http://{}/new,", elsewhere.address)),
            "{}",
            report.reason
        );
    }
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test]
async fn private_addresses_are_not_dialled_unless_allowed() {
    let server = Server::answers(&answer("200 OK", "", ""));
    let port = server.address.port();
    for host in ["127.0.0.1", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]", "localhost", "x.localhost"] {
        let url = Url::parse(&format!("http://{host}:{port}/secret")).unwrap();
        let http = Http::new(settings(url.clone()), Egress::new(Policy::Public));
        let report = deliver_to(&http, PATIENT).await;
        assert_eq!(report.outcome, Outcome::TargetBroken, "{host}");
        assert!(report.reason.contains("allow_private: true") && !report.reason.contains("secret"));
        assert!(http.probe(PATIENT).await.is_err(), "{host}");
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_name_that_moves_to_a_private_address_is_refused_when_dialled() {
    let inside = Server::http_on("127.0.0.2:0", |stream, _, _| {
        stream.write_all(answer("200 OK", "", "").as_bytes()).unwrap();
    });
    let url = Url::parse(&format!("http://hooks.example.com:{}/", inside.address.port())).unwrap();
    let allowed: IpAddr = "127.0.0.2".parse().unwrap();
    let inner: IpAddr = "127.0.0.3".parse().unwrap();
    let policy = Policy::PublicAnd(vec!["127.0.0.2/32".parse().unwrap()]);
    let resolver = Resolver::script("hooks.example.com", vec![vec![allowed], vec![inner]]);
    let egress = Egress::with(policy, resolver, Vec::new());
    let send = || egress.send(Request::get(url.clone(), HeaderMap::new(), 100), PATIENT);
    assert_eq!(send().await.unwrap().status, 200);
    let failure = send().await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Policy, "{failure}");
    assert!(failure.text.contains("hooks.example.com (127.0.0.3) is a loopback address"), "{failure}");
    assert_eq!(egress.reach(&url, PATIENT).await.unwrap_err().kind, FailureKind::Policy);
    assert_eq!(inside.connections(), 1);
}

#[tokio::test]
async fn of_a_names_addresses_only_the_allowed_ones_are_dialled() {
    let server = Server::http_on("127.0.0.2:0", |stream, _, _| {
        stream.write_all(answer("200 OK", "", "").as_bytes()).unwrap();
    });
    let url = Url::parse(&format!("http://mixed.example.com:{}/", server.address.port())).unwrap();
    let answers = vec![vec!["127.0.0.3".parse().unwrap(), "127.0.0.2".parse().unwrap()]];
    let policy = Policy::PublicAnd(vec!["127.0.0.2/32".parse().unwrap()]);
    let egress = Egress::with(policy, Resolver::script("mixed.example.com", answers), Vec::new());
    assert_eq!(egress.send(Request::get(url, HeaderMap::new(), 100), PATIENT).await.unwrap().status, 200);
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_tried_again() {
    let egress = Egress::with(Policy::Public, Resolver::script("known.example.com", Vec::new()), Vec::new());
    let http = Http::new(settings(Url::parse("http://unknown.example.com/x").unwrap()), egress);
    let report = deliver_to(&http, PATIENT).await;
    assert_eq!((report.outcome, report.maybe_duplicate), (Outcome::Retry { after: None }, false));
    assert!(report.reason.contains("the name unknown.example.com does not resolve"), "{}", report.reason);
}

fn token_target(tokens: &Server, url: Url) -> Http {
    let mut settings = settings(url);
    settings.auth = Some(Auth::OAuth2 {
        token_url: tokens.url("/token"),
        client_id: "relay".to_owned(),
        client_secret: "s3cret".to_owned().into(),
        scope: Some("hooks write".to_owned()),
    });
    Http::new(settings, Egress::new(Policy::Any))
}

fn token_server() -> Server {
    Server::http(|stream, _, number| {
        let body = format!(r#"{{"access_token":"t{number}","token_type":"Bearer","expires_in":3600}}"#);
        stream.write_all(answer("200 OK", "", &body).as_bytes()).unwrap();
    })
}

#[tokio::test]
async fn a_token_is_kept_and_exchanged_once_when_refused() {
    let tokens = token_server();
    let server = Server::http(|stream, request, _| {
        let status = if request.contains("authorization: Bearer t1\r\n") { "200 OK" } else { "401 Old" };
        stream.write_all(answer(status, "", "").as_bytes()).unwrap();
    });
    let http = token_target(&tokens, server.url("/"));
    for _ in 0..3 {
        let report = deliver_to(&http, PATIENT).await;
        assert_eq!(report.outcome, Outcome::Delivered, "{}", report.reason);
    }
    assert_eq!((tokens.connections(), server.connections()), (2, 4));
    let asked = tokens.seen().remove(0);
    assert!(asked.contains("authorization: Basic cmVsYXk6czNjcmV0\r\n"), "{asked}");
    assert!(asked.ends_with("grant_type=client_credentials&scope=hooks+write"), "{asked}");
}

#[tokio::test]
async fn a_token_counts_whatever_is_said_of_its_life() {
    let server = Server::answers(&answer("200 OK", "", ""));
    for (life, fetched) in [
        (r#""3599""#, 1),
        (r#"" 60.5 ""#, 1),
        (r#""0""#, 2),
        ("null", 1),
        ("{}", 1),
        (r#""soon""#, 1),
        ("-1", 1),
    ] {
        let body = format!(r#"{{"access_token":"t1","token_type":"Bearer","expires_in":{life}}}"#);
        let tokens = Server::answers(&answer("200 OK", "", &body));
        let http = token_target(&tokens, server.url("/"));
        for _ in 0..2 {
            let report = deliver_to(&http, PATIENT).await;
            assert_eq!(report.outcome, Outcome::Delivered, "{life}: {}", report.reason);
        }
        assert_eq!(tokens.connections(), fetched, "{life}");
    }
}

#[tokio::test]
async fn a_token_that_is_always_refused_breaks_the_target() {
    let (tokens, server) = (token_server(), Server::answers(&answer("401 No", "", "")));
    let report = deliver_to(&token_target(&tokens, server.url("/")), PATIENT).await;
    assert_eq!(report.outcome, Outcome::TargetBroken);
    assert_eq!((tokens.connections(), server.connections()), (2, 2));

    let denying = Server::answers(&answer("401 No", "", r#"{"error":"invalid_client"}"#));
    let report = deliver_to(&token_target(&denying, server.url("/")), PATIENT).await;
    assert_eq!(report.outcome, Outcome::TargetBroken);
    assert!(report.reason.contains("401 Unauthorized invalid_client"), "{}", report.reason);
    assert!(!report.reason.contains("s3cret") && server.connections() == 2);
}

#[tokio::test]
async fn slack_posts_the_payload_and_never_shows_the_webhook() {
    let server = Server::answers(&answer("200 OK", "Content-Type: text/plain\r\n", "ok"));
    let payload = Payload::Slack(serde_json::json!({"text": "Ann – \"cancelled\""}));
    let parcel = Parcel { id: "d1", payload: &payload, recipient: None, now: Timestamp::UNIX_EPOCH };
    let url = server.url("/services/T/B/secret").to_string();
    let report = Slack::new(url.clone().into(), Egress::new(Policy::Any)).deliver(&parcel, PATIENT).await;
    assert_eq!((report.outcome, report.reason.as_str()), (Outcome::Delivered, "delivered"));
    assert!(server.seen()[0].ends_with(r#"{"text":"Ann – \"cancelled\""}"#));

    let stalled = Server::http(|stream, _, _| stall(stream));
    for (url, policy) in
        [(stalled.url("/services/T/B/secret"), Policy::Any), (url.parse().unwrap(), Policy::Public)]
    {
        let slack = Slack::new(url.to_string().into(), Egress::new(policy));
        let report = slack.deliver(&parcel, QUICK).await;
        assert_ne!(report.outcome, Outcome::Delivered);
        assert!(!format!("{report:?} {slack:?}").contains("secret"), "{report:?}");
    }
}
