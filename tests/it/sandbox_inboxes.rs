//! The inboxes, spoken to as targets would.
#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::time::Duration;

use activity_relay::daemon::clock::Clock;
use activity_relay::sandbox::incoming::Incoming;
use activity_relay::sandbox::scenario::Scenario;
use activity_relay::sandbox::script::{self, Answer, Cut, Fault};
use activity_relay::sandbox::{Sandbox, Settings};
use lettre::message::Mailbox;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::{self, AsyncSmtpTransport};
use lettre::{AsyncTransport, Message, Tokio1Executor};

use crate::sandbox_api::{Answered, ask};

const BOUND: Duration = Duration::from_secs(10);

async fn sandbox() -> (Sandbox, Clock) {
    let clock = Clock::manual("2026-11-02T08:00:00Z".parse().unwrap());
    (Sandbox::start(Settings::default(), clock.clone()).await.unwrap(), clock)
}

async fn post(url: &str, headers: &[(&str, &str)], body: &str) -> std::io::Result<Answered> {
    let (host, path) = url.trim_start_matches("http://").split_once('/').unwrap();
    ask(&format!("http://{host}"), &format!("POST /{path}"), headers, body).await
}

#[tokio::test]
async fn slack_takes_refuses_and_is_busy() {
    let (sandbox, _) = sandbox().await;
    let url = sandbox.slack.url().to_owned();
    let said = async |body: &str| {
        let answered = post(&url, &[], body).await.unwrap();
        (answered.status, answered.body)
    };
    sandbox.slack.answers([script::ok(), script::busy(30)]);
    assert_eq!(said(r#"{"text":"Ann: hello"}"#).await, (200, "ok".to_owned()));
    assert_eq!(said(r#"{"text":"again"}"#).await, (429, "rate_limited".to_owned()));
    assert_eq!(said("nonsense").await, (400, "invalid_payload".to_owned()));
    assert_eq!(sandbox.slack.shown(), "Ann: hello");
    assert_eq!(sandbox.slack.arrivals().len(), 3);
    let wrong = post(&url.replace("/relay", ""), &[], r#"{"text":"x"}"#).await.unwrap();
    assert_eq!((wrong.status, wrong.body.as_str()), (404, "no_service"));
}

#[tokio::test]
async fn slack_can_insist_on_one_message_a_second() {
    let (sandbox, clock) = sandbox().await;
    sandbox.slack.limit(Duration::from_secs(1));
    let say = async || post(sandbox.slack.url(), &[], r#"{"text":"x"}"#).await.unwrap();
    assert_eq!(say().await.status, 200);
    let busy = say().await;
    assert!(busy.status == 429 && busy.head.contains("retry-after: "));
    clock.advance(Duration::from_secs(1));
    assert_eq!(say().await.status, 200);
    assert_eq!(sandbox.slack.received().len(), 2);
}

#[tokio::test]
async fn what_was_taken_without_an_answer_counts_as_a_duplicate_when_it_comes_again() {
    let (sandbox, _) = sandbox().await;
    sandbox.http.answers([script::cut(Cut::After)]);
    let id = [("webhook-id", "d1")];
    assert!(post(sandbox.http.url(), &id, r#"{"type":"vcita.meeting.cancelled"}"#).await.is_err());
    assert_eq!(sandbox.http.received().len(), 1);
    assert_eq!(sandbox.http.duplicates(), 0);
    assert_eq!(
        post(sandbox.http.url(), &id, r#"{"type":"vcita.meeting.cancelled"}"#).await.unwrap().status,
        200
    );
    assert_eq!(sandbox.http.duplicates(), 1);
    assert_eq!(sandbox.http.received()[1].shown, "vcita.meeting.cancelled");
}

#[tokio::test]
async fn unsigned_requests_are_refused_once_a_secret_is_set() {
    let (sandbox, clock) = sandbox().await;
    sandbox.http.verify_with(["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]);
    assert_eq!(post(sandbox.http.url(), &[], "{}").await.unwrap().status, 401);
    sandbox.business.set_clock("2021-02-25T15:02:10Z".parse().unwrap());
    let signed = [
        ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
        ("webhook-timestamp", "1614265330"),
        ("webhook-signature", "v1,AAAA v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
    ];
    let body = r#"{"test": 2432232314}"#;
    let answered = post(sandbox.http.url(), &signed, body).await.unwrap();
    assert_eq!(answered.status, 200, "{} at {}", answered.body, sandbox.business.now());
    clock.advance(Duration::from_mins(10));
    assert_eq!(post(sandbox.http.url(), &signed, body).await.unwrap().status, 401, "too old");
}

fn transport(sandbox: &Sandbox) -> AsyncSmtpTransport<Tokio1Executor> {
    let port = sandbox.mail.url().rsplit(':').next().unwrap().trim_end_matches("?tls=none").parse().unwrap();
    AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous("127.0.0.1")
        .port(port)
        .timeout(Some(BOUND))
        .credentials(Credentials::new("relay".to_owned(), "secret".to_owned()))
        .build()
}

fn mail(to: &[&str]) -> Message {
    let builder = Message::builder()
        .from("Relay <relay@example.com>".parse().unwrap())
        .message_id(Some("<d1@relay>".to_owned()))
        .subject("Zahlung für Größe 5 fehlgeschlagen ☂");
    let to = to.iter().map(|address| address.parse::<Mailbox>().unwrap());
    to.fold(builder, lettre::message::MessageBuilder::to)
        .body("first\r\n.dotted\r\n..twice\r\n".to_owned())
        .unwrap()
}

/// The reply code of a refusal.
fn code(sent: Result<smtp::response::Response, smtp::Error>) -> Option<u16> {
    match sent {
        Ok(response) => Some(response.code().into()),
        Err(error) => error.status().map(Into::into),
    }
}

#[tokio::test]
async fn a_mail_arrives_with_its_dots_and_its_umlauts() {
    let (sandbox, _) = sandbox().await;
    transport(&sandbox).send(mail(&["books@example.com", "ann@example.com"])).await.unwrap();
    let received = sandbox.mail.wait_for(1, BOUND).await.unwrap();
    let mail = received[0].mail.clone().unwrap();
    assert_eq!(mail.subject, "Zahlung für Größe 5 fehlgeschlagen ☂");
    assert_eq!(mail.recipients, ["books@example.com", "ann@example.com"]);
    assert_eq!(mail.message_id, "<d1@relay>");
    assert_eq!(mail.text, "first\r\n.dotted\r\n..twice");
    assert_eq!(received[0].identity(), "<d1@relay>");
}

#[tokio::test]
async fn mail_can_fail_at_every_stage() {
    let (sandbox, _) = sandbox().await;
    for (stage, code_said) in [
        ("banner", 421),
        ("ehlo", 421),
        ("auth", 535),
        ("mail", 451),
        ("rcpt:books@", 550),
        ("data", 451),
        ("dot", 552),
    ] {
        let answer = script::says(code_said, "scripted");
        sandbox.mail.fault(Fault { on: stage.to_owned(), times: Some(1), answer });
        let refused = transport(&sandbox).send(mail(&["books@example.com"])).await;
        assert_eq!(code(refused), Some(code_said), "{stage}");
        assert!(sandbox.mail.received().is_empty(), "{stage}");
    }
    transport(&sandbox).send(mail(&["books@example.com"])).await.unwrap();
    assert_eq!(sandbox.mail.received().len(), 1);
}

#[tokio::test]
async fn a_mail_may_be_taken_although_the_connection_breaks_after_the_dot() {
    let (sandbox, _) = sandbox().await;
    sandbox.mail.answers([Answer { cut: Some(Cut::After), ..Answer::default() }]);
    assert!(transport(&sandbox).send(mail(&["books@example.com"])).await.is_err());
    transport(&sandbox).send(mail(&["books@example.com"])).await.unwrap();
    assert_eq!((sandbox.mail.received().len(), sandbox.mail.duplicates()), (2, 1));
}

#[tokio::test]
async fn waiting_in_vain_says_what_came_instead() {
    let (sandbox, _) = sandbox().await;
    post(sandbox.slack.url(), &[], r#"{"text":"only this"}"#).await.unwrap();
    let error = sandbox.slack.wait_for(2, Duration::from_millis(20)).await.unwrap_err();
    assert!(error.to_string().contains("only this"), "{error}");
}

#[tokio::test]
async fn a_scenario_plays_by_the_clock() {
    let (sandbox, clock) = sandbox().await;
    let scenario = Scenario::named("morning").unwrap();
    let (messages, last) = scenario.size();
    sandbox.play(&scenario);
    assert_eq!(sandbox.business.counts(), (1, 1));
    clock.advance(Duration::from_secs(3));
    assert_eq!(sandbox.business.counts(), (2, 2));
    clock.advance(last);
    assert_eq!(sandbox.business.counts(), (messages, messages));
}

#[tokio::test]
async fn an_outage_reaches_the_inboxes_when_its_time_has_come() {
    let (sandbox, clock) = sandbox().await;
    sandbox.play(&Scenario::named("outage").unwrap());
    let say =
        async || post(sandbox.slack.url(), &[], r#"{"text":"x"}"#).await.map(|answered| answered.status).ok();
    assert_eq!(say().await, Some(200));
    clock.advance(Duration::from_secs(30));
    assert_eq!((say().await, say().await, say().await), (Some(429), Some(500), None));
    clock.advance(Duration::from_secs(6));
    assert_eq!((say().await, say().await), (Some(404), Some(404)));
    clock.advance(Duration::from_secs(10));
    assert_eq!(say().await, Some(200));
}

#[tokio::test]
async fn two_hundred_and_sixty_rows_of_one_second_are_there_at_once() {
    let (sandbox, clock) = sandbox().await;
    sandbox.play(&Scenario::named("bulk-cancel").unwrap());
    clock.advance(Duration::from_secs(2));
    assert_eq!(sandbox.business.counts(), (260, 260));
    sandbox.business.receive(Incoming::text("Ann Bloom", "hello"));
    assert_eq!(sandbox.business.counts(), (261, 261));
}
