//! The API client against a server that answers as told: refusals, limits, broken and slow answers, the token's file.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has to fail")]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use activity_relay::source::api::Api;
use activity_relay::source::fault::{ApiError, Network, Unauthorized};
use activity_relay::source::http::egress;
use activity_relay::source::pace::Pace;
use activity_relay::source::walk::Query;
use activity_relay::source::{Account, StartFrom, Token};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use url::Url;

use crate::somebody::nobody;

/// An empty page.
pub(crate) const EMPTY: &str =
    r#"{"success":true,"data":{"activity_messages":[],"page":1,"per_page":100,"total_count":0}}"#;

/// A server that gives one scripted answer per connection, raw, and keeps what it was asked.
pub(crate) struct Server {
    /// Its address.
    pub(crate) base_url: Url,
    asked: Arc<Mutex<Vec<String>>>,
    answers: Arc<Mutex<VecDeque<Vec<u8>>>>,
}

/// An answer of a status with a JSON body and further header lines.
pub(crate) fn answer(status: u16, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}")
        .into_bytes()
}

pub(crate) fn install_crypto() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    });
}

impl Server {
    /// A server that answers in the given order, and then hangs.
    pub(crate) async fn of(answers: impl IntoIterator<Item = Vec<u8>>) -> Self {
        install_crypto();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let server = Self {
            base_url,
            asked: Arc::default(),
            answers: Arc::new(Mutex::new(answers.into_iter().collect())),
        };
        let (asked, answers) = (Arc::clone(&server.asked), Arc::clone(&server.answers));
        tokio::runtime::Handle::current().spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (asked, answers) = (Arc::clone(&asked), Arc::clone(&answers));
                tokio::runtime::Handle::current().spawn(async move { serve(stream, &asked, &answers).await });
            }
        });
        server
    }

    /// The requests so far, heads only.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    pub(crate) fn account(&self, token: Token) -> Account {
        Account {
            name: "main".into(),
            token,
            base_url: self.base_url.clone(),
            poll_every: Duration::from_secs(30),
            start_from: StartFrom::Now,
            unread_only: true,
            overlap: Duration::from_mins(2),
            lookup: true,
            app_host: Url::parse("https://app.vcita.com").unwrap(),
        }
    }

    fn api(&self) -> Api {
        Api::new(&self.account(Token::Value(" secret-token\n".into())), &egress(), Pace::unlimited())
    }
}

async fn serve(mut stream: TcpStream, asked: &Mutex<Vec<String>>, answers: &Mutex<VecDeque<Vec<u8>>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    asked.lock().unwrap().push(String::from_utf8(head).unwrap());
    let next = answers.lock().unwrap().pop_front();
    match next {
        Some(bytes) => {
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown().await;
        }
        None => std::future::pending().await,
    }
}

fn query() -> Query {
    Query {
        created_after: "2026-03-10T09:00:00Z".parse().unwrap(),
        created_before: None,
        page: 1,
        per_page: 100,
    }
}

async fn refusal(bytes: Vec<u8>) -> ApiError {
    let server = Server::of([bytes]).await;
    let error = server.api().list(&query()).await.unwrap_err();
    assert!(!error.to_string().contains("secret-token"), "{error}");
    error
}

#[tokio::test]
async fn a_page_is_asked_for_with_the_trimmed_token_and_the_servers_clock_is_read() {
    let server = Server::of([answer(200, "date: Sun, 22 Nov 2026 18:35:42 GMT\r\n", EMPTY)]).await;
    let answer = server.api().list(&query()).await.unwrap();
    assert_eq!(answer.server_now.unwrap().to_string(), "2026-11-22T18:35:42Z");
    assert_eq!(answer.page.total_count, Some(0));
    let asked = server.asked().remove(0);
    let first = asked.lines().next().unwrap();
    assert_eq!(
        first,
        "GET /v3/communication/activity_messages?was_read=false&sort=created_at%3Aasc\
         &created_after=2026-03-10T09%3A00%3A00Z&page=1&per_page=100 HTTP/1.1"
    );
    assert!(asked.contains("authorization: Bearer secret-token\r\n"), "{asked}");
    assert!(asked.contains(concat!("user-agent: activity-relay/", env!("CARGO_PKG_VERSION"))), "{asked}");
}

#[tokio::test]
async fn a_refused_token_says_which_of_two_things_is_wrong() {
    let unknown = answer(
        401,
        "",
        r#"{"success":false,"errors":[{"code":"unauthorized","message":"401 Unauthorized"}]}"#,
    );
    let unknown = refusal(unknown).await;
    assert!(matches!(unknown, ApiError::Unauthorized { reason: Unauthorized::Unknown, .. }));
    assert!(unknown.to_string().contains("mistyped, revoked"), "{unknown}");
    let wrong =
        answer(401, "", r#"{"success":false,"errors":[{"code":"unauthorized","message":"Unauthorized"}]}"#);
    let wrong = refusal(wrong).await;
    assert!(matches!(wrong, ApiError::Unauthorized { reason: Unauthorized::WrongKind, .. }));
    assert!(wrong.to_string().contains("staff token is needed"), "{wrong}");
}

#[tokio::test]
async fn too_many_requests_is_understood_in_every_form() {
    let limit = |headers: &str, body: &str| answer(429, headers, body);
    let errors =
        r#"{"success":false,"errors":[{"code":"too_many_requests","message":"Rate limit exceeded"}]}"#;
    let dated = "date: Sun, 22 Nov 2026 18:35:00 GMT\r\nretry-after: Sun, 22 Nov 2026 18:36:10 GMT\r\n";
    for (bytes, expected) in [
        (limit("", r#"{"error":"Too many requests"}"#), None),
        (limit("retry-after: 30\r\n", errors), Some(30)),
        (limit("retry-after: 100000\r\n", ""), Some(900)),
        (limit(dated, ""), Some(70)),
        (limit("retry-after: -5\r\n", ""), None),
    ] {
        let error = refusal(bytes).await;
        assert!(matches!(error, ApiError::RateLimited { .. }), "{error:?}");
        assert_eq!(error.asked_to_wait().map(|wait| wait.as_secs()), expected);
    }
}

#[tokio::test]
async fn a_success_that_makes_no_sense_is_never_taken_for_an_empty_page() {
    for (body, part) in [
        ("<html><body>Please log in</body></html>", "web page"),
        (r#"{"success":true,"data":{"activity_messages":[{"uid":"#, "cut off"),
        (r#"{"success":false,"error":"busy"}"#, "busy"),
        ("", "empty"),
    ] {
        let error = refusal(answer(200, "", body)).await;
        assert!(matches!(&error, ApiError::Unreadable(why) if why.contains(part)), "{body}: {error}");
    }
}

#[tokio::test]
async fn after_an_answer_that_is_too_long_fewer_are_asked_for() {
    let page = |size: usize| {
        let page = r#"{"success":true,"data":{"activity_messages":[]}}"#;
        answer(200, "", &format!("{page}{}", " ".repeat(size)))
    };
    let server = Server::of([page(65 << 20), page(65 << 20), page(0)]).await;
    let api = server.api();
    for _ in 0..2 {
        assert!(matches!(api.list(&query()).await, Err(ApiError::TooLong(_))));
    }
    let read = api.list(&query()).await.unwrap();
    assert_eq!(read.page.per_page, Some(1), "whoever walks on is told how long a full page is");
    let asked = server.asked();
    for (asked, per_page) in asked.iter().zip(["per_page=100", "per_page=10", "per_page=1"]) {
        assert!(asked.lines().next().unwrap().split(['&', ' ']).any(|part| part == per_page), "{asked}");
    }
}

#[tokio::test]
async fn a_redirect_is_named_and_not_followed() {
    let elsewhere = Server::of([answer(200, "", EMPTY)]).await;
    let location = format!("location: {}x\r\n", elsewhere.base_url);
    let error = refusal(answer(302, &location, "")).await;
    assert!(
        matches!(&error, ApiError::Redirect { status: 302, location } if location.ends_with("/x")),
        "{error}"
    );
    assert!(elsewhere.asked().is_empty());
}

#[tokio::test]
async fn an_answer_that_does_not_come_or_stays_incomplete_is_trouble_of_the_network() {
    let silent = Server::of([]).await;
    let error = silent.api().deadline(Duration::from_millis(200)).list(&query()).await.unwrap_err();
    assert!(matches!(error, ApiError::Network { reason: Network::Timeout, .. }), "{error}");

    let lying = b"HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n{\"success\":true".to_vec();
    assert!(matches!(refusal(lying).await, ApiError::Network { reason: Network::Broken, .. }));
    let unkept = b"HTTP/1.1 500 OK\r\ncontent-length: 5000\r\n\r\noops".to_vec();
    assert!(matches!(refusal(unkept).await, ApiError::Server { status: 500, .. }));
    assert!(matches!(refusal(Vec::new()).await, ApiError::Network { reason: Network::Broken, .. }));

    let (_nobody, closed) = nobody();
    let mut account = silent.account(Token::Value("t".into()));
    account.base_url = Url::parse(&format!("http://{closed}")).unwrap();
    let error = Api::new(&account, &egress(), Pace::unlimited()).list(&query()).await.unwrap_err();
    assert!(matches!(error, ApiError::Network { reason: Network::Connect, .. }), "{error}");
}

#[tokio::test]
async fn a_token_file_is_read_again_when_it_changes_and_after_a_refusal() {
    let refused = || answer(401, "", r#"{"errors":[{"message":"401 Unauthorized"}]}"#);
    let fine = || answer(200, "", EMPTY);
    let server = Server::of([fine(), fine(), refused(), refused()]).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    std::fs::write(&path, "first\n").unwrap();
    let api = Api::new(&server.account(Token::File(path.clone())), &egress(), Pace::unlimited());
    api.list(&query()).await.unwrap();
    std::fs::write(&path, "second one\n").unwrap();
    api.list(&query()).await.unwrap();
    let error = api.list(&query()).await.unwrap_err();
    assert!(error.token_refused());
    let tokens: Vec<String> = server
        .asked()
        .iter()
        .map(|head| {
            head.lines().find_map(|line| line.strip_prefix("authorization: Bearer ")).unwrap().to_owned()
        })
        .collect();
    assert_eq!(tokens, ["first", "second one", "second one"], "the same token is not tried twice");

    std::fs::write(&path, " \n").unwrap();
    let error = api.list(&query()).await.unwrap_err();
    assert!(matches!(&error, ApiError::NoToken(text) if text.contains("is empty")), "{error}");
    std::fs::remove_file(&path).unwrap();
    let error = api.list(&query()).await.unwrap_err();
    assert!(matches!(&error, ApiError::NoToken(text) if text.contains("cannot be read")), "{error}");
}

#[tokio::test]
async fn a_token_renewed_behind_an_unchanged_file_date_is_tried_at_once_after_a_refusal() {
    let refused = answer(401, "", r#"{"errors":[{"message":"401 Unauthorized"}]}"#);
    let server = Server::of([answer(200, "", EMPTY), refused, answer(200, "", EMPTY)]).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    std::fs::write(&path, "old-token").unwrap();
    let api = Api::new(&server.account(Token::File(path.clone())), &egress(), Pace::unlimited());
    api.list(&query()).await.unwrap();
    let modified = std::fs::metadata(&path).unwrap().modified().unwrap();
    std::fs::write(&path, "new-token").unwrap();
    std::fs::File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
    api.list(&query()).await.unwrap();
    assert!(server.asked()[2].contains("Bearer new-token"));
}

#[tokio::test]
async fn whose_token_it_is_can_be_asked() {
    let body = r#"{"type":"staff","role":"owner","business_uid":"b1","business_name":"Salon","brand_host":"app.vcita.com"}"#;
    let server = Server::of([answer(200, "", body)]).await;
    let info = server.api().userinfo().await.unwrap();
    assert_eq!((info.kind.as_deref(), info.business_name.as_deref()), (Some("staff"), Some("Salon")));
    assert!(server.asked()[0].starts_with("GET /oauth/userinfo HTTP/1.1"));
}
