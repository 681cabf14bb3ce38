//! The e-mail target against an SMTP server that says and does what it is told to.
#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]

use std::io::{BufRead, BufReader, Read, Write};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use activity_relay::model::delivery::{Outcome, Report};
use activity_relay::model::payload::{Mail, Payload};
use activity_relay::target::Parcel;
use activity_relay::target::email::{Email, Settings, Tls};
use futures_util::future::join_all;
use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use rustls::{ServerConnection, StreamOwned};

use crate::target_server::{Server, Wire, stall};
use crate::target_tls::Authority;

/// What is waited for where the server is silent: long enough for it to be told all that comes before.
const QUICK: Duration = Duration::from_secs(2);
const PATIENT: Duration = Duration::from_mins(1);
const RETRY: Outcome = Outcome::Retry { after: None };

/// What the server says or does at one point instead of agreeing.
#[derive(Clone, Copy)]
enum Quirk {
    /// Agrees everywhere.
    None,
    /// Says this when a line begins so; `banner` and `.` are points too.
    Says(&'static str, &'static str),
    /// Says these bytes there.
    Utters(&'static str, &'static [u8]),
    /// Hangs up there.
    HangsUp(&'static str),
    /// Goes silent there.
    Stalls(&'static str),
    /// Hangs up after so many mails.
    Tires(usize),
}

/// A server and every line it was told.
struct Smtp {
    server: Server,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Smtp {
    fn start(quirk: Quirk) -> Self {
        let lines: Arc<Mutex<Vec<String>>> = Arc::default();
        let log = Arc::clone(&lines);
        let server = Server::raw("127.0.0.1:0", move |stream, _| {
            let _ = converse(stream, quirk, &log, "banner");
        });
        Self { server, lines }
    }

    /// The same over TLS from the first byte or after STARTTLS, with the authority to trust.
    fn protected(quirk: Quirk, tls: Tls) -> (Self, CertificateDer<'static>) {
        let lines: Arc<Mutex<Vec<String>>> = Arc::default();
        let log = Arc::clone(&lines);
        let authority = Authority::new("ours");
        let config = authority.certify("localhost", 2099);
        let server = Server::raw("127.0.0.1:0", move |mut stream, _| {
            if tls == Tls::Required && offer_starttls(&mut stream).is_err() {
                return;
            }
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = StreamOwned::new(connection, stream);
            let greeted = tls == Tls::Required && matches!(stream.read(&mut [0; 4096]), Ok(1..));
            let _ = converse(stream, quirk, &log, if greeted { "EHLO" } else { "banner" });
        });
        (Self { server, lines }, authority.certificate)
    }

    fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    fn count(&self, verb: &str) -> usize {
        self.lines().iter().filter(|line| line.starts_with(verb)).count()
    }

    fn target(&self, tls: Tls) -> Email {
        Email::with(settings(&self.server, tls), Vec::new(), QUICK)
    }
}

fn offer_starttls(stream: &mut impl Wire) -> std::io::Result<()> {
    for reply in ["220 here\r\n", "250-here\r\n250 STARTTLS\r\n"] {
        stream.write_all(reply.as_bytes())?;
        let _ = stream.read(&mut [0; 4096])?;
    }
    stream.write_all(b"220 go\r\n")
}

fn converse(
    stream: impl Wire,
    quirk: Quirk,
    log: &Mutex<Vec<String>>,
    beginning: &str,
) -> std::io::Result<()> {
    let mut input = BufReader::new(stream);
    let (mut mails, mut in_data, mut point) = (0, false, beginning.to_owned());
    loop {
        let usual = match point.as_str() {
            "banner" => "220 here",
            point if point.starts_with("EHLO") => "250-here\r\n250 AUTH PLAIN LOGIN",
            "DATA" => "354 go on",
            "QUIT" => "221 bye",
            _ => "250 2.0.0 fine",
        };
        let reply = match quirk {
            Quirk::Says(at, words) if point.starts_with(at) => words.as_bytes(),
            Quirk::Utters(at, bytes) if point.starts_with(at) => bytes,
            Quirk::HangsUp(at) if point.starts_with(at) => return Ok(()),
            Quirk::Stalls(at) if point.starts_with(at) => {
                stall(input.get_mut());
                return Ok(());
            }
            Quirk::Tires(count) if mails >= count && point.starts_with("RSET") => return Ok(()),
            _ => usual.as_bytes(),
        };
        input.get_mut().write_all(&[reply, b"\r\n"].concat())?;
        input.get_mut().flush()?;
        in_data = in_data || (point == "DATA" && reply.starts_with(b"3"));
        loop {
            let mut line = String::new();
            if input.read_line(&mut line)? == 0 {
                return Ok(());
            }
            line.trim_end().clone_into(&mut point);
            log.lock().unwrap().push(point.clone());
            if !in_data || point == "." {
                break;
            }
        }
        mails += usize::from(in_data);
        in_data = false;
    }
}

fn settings(server: &Server, tls: Tls) -> Settings {
    Settings {
        host: server.address.ip().to_string(),
        port: server.address.port(),
        tls,
        credentials: None,
        from: "Relay <relay@example.com>".to_owned(),
        recipients: vec!["ann@example.org".to_owned()],
        to: vec!["ann@example.org".to_owned()],
        cc: Vec::new(),
        reply_to: None,
    }
}

async fn deliver(target: &Email) -> Report {
    deliver_to(target, "ann@example.org").await
}

async fn deliver_to(target: &Email, recipient: &str) -> Report {
    let mail = Mail {
        subject: "Hello".to_owned(),
        text: "One\n.\n..two\n".to_owned(),
        html: Some("<p>One</p>".to_owned()),
        attachments: Vec::new(),
        thread: None,
        date_ms: 0,
    };
    let payload = Payload::Email(mail);
    let now = Timestamp::UNIX_EPOCH;
    let parcel = Parcel { id: "d1", payload: &payload, recipient: Some(recipient), now };
    target.deliver(&parcel, PATIENT).await
}

async fn against(quirk: Quirk) -> Report {
    deliver(&Smtp::start(quirk).target(Tls::None)).await
}

#[tokio::test]
async fn one_transaction_for_one_recipient_with_dots_doubled() {
    let smtp = Smtp::start(Quirk::None);
    let report = deliver(&smtp.target(Tls::None)).await;
    assert_eq!((report.outcome, report.status), (Outcome::Delivered, Some(250)), "{}", report.reason);
    let lines = smtp.lines();
    for line in [
        "MAIL FROM:<relay@example.com>",
        "RCPT TO:<ann@example.org>",
        "Message-ID: <d1@example.com>",
        "..",
        "...two",
    ] {
        assert!(lines.iter().any(|said| said == line), "{line} in {lines:#?}");
    }
    assert_eq!(smtp.count("RCPT"), 1);
}

#[tokio::test]
async fn a_no_at_each_stage_has_its_class() {
    for (at, words, outcome) in [
        ("banner", "421 4.3.2 too busy", Outcome::Busy { after: None }),
        ("banner", "554 5.7.1 not you", Outcome::TargetBroken),
        ("MAIL", "451 4.7.1 greylisted", RETRY),
        ("MAIL", "530 5.7.0 authenticate first", Outcome::TargetBroken),
        ("MAIL", "550 5.7.1 not your address", Outcome::TargetBroken),
        ("MAIL", "421 4.7.0 slow down", Outcome::Busy { after: None }),
        ("RCPT", "450 4.2.0 busy", RETRY),
        ("RCPT", "452 4.5.3 too many", RETRY),
        ("RCPT", "550-5.1.1 no such\r\n550 5.1.1 user", Outcome::Refused),
        ("RCPT", "554 5.7.1 relay denied", Outcome::Doubtful),
        ("DATA", "451 4.3.0 disk", RETRY),
        ("DATA", "554 5.5.1 no", Outcome::Refused),
        (".", "452 4.3.1 disk", RETRY),
        (".", "552 5.3.4 too big", Outcome::ShapeRefused),
        (".", "552 too much", Outcome::Refused),
        (".", "421 4.3.0 closing", Outcome::Busy { after: None }),
    ] {
        let report = against(Quirk::Says(at, words)).await;
        assert_eq!(report.outcome, outcome, "{at} {words}: {}", report.reason);
        assert_eq!(report.status, words[..3].parse().ok(), "{at} {words}: {}", report.reason);
        assert!(!report.maybe_duplicate, "a no is a no: {at} {words}");
    }
}

#[tokio::test]
async fn a_reply_in_an_old_encoding_or_without_a_text_is_a_reply() {
    const BROKEN: Outcome = Outcome::TargetBroken;
    let long: &[u8] = [b"250 ", &[b'x'; 1500][..]].concat().leak();
    let cut = "x".repeat(894);
    for tls in [Tls::None, Tls::Required, Tls::Implicit] {
        for (at, bytes, outcome, answer) in [
            ("AUTH", &b"535 \xc7\xeb"[..], BROKEN, Some("??")),
            ("RCPT", b"550 5.1.1 Bo\xeete inconnue", Outcome::Refused, Some("5.1.1 Bo?te inconnue")),
            (
                "RCPT",
                "550 5.1.1 Bo\u{ee}te inconnue".as_bytes(),
                Outcome::Refused,
                Some("5.1.1 Boîte inconnue"),
            ),
            ("RCPT", b"550-5.1.1 \xee\r\n550", Outcome::Refused, Some("5.1.1 ? ")),
            (".", b"250", Outcome::Delivered, None),
            (".", b"250 accept\xe9", Outcome::Delivered, Some("accept?")),
            (".", long, Outcome::Delivered, Some(cut.as_str())),
        ] {
            let quirk = Quirk::Utters(at, bytes);
            let (smtp, roots) = if tls == Tls::None {
                (Smtp::start(quirk), Vec::new())
            } else {
                let (smtp, root) = Smtp::protected(quirk, tls);
                (smtp, vec![root])
            };
            let mut settings = settings(&smtp.server, tls);
            "localhost".clone_into(&mut settings.host);
            settings.credentials = Some(("relay".to_owned(), "pw".to_owned().into()));
            let report = deliver(&Email::with(settings, roots, PATIENT)).await;
            let place = format!("{tls:?}, {at} {}: {}", bytes.escape_ascii(), report.reason);
            assert_eq!(report.outcome, outcome, "{place}");
            assert_eq!(report.answer.as_deref(), answer, "{place}");
            assert!(!report.maybe_duplicate, "{place}");
            assert_eq!(smtp.count("DATA"), usize::from(at == "."), "{place}");
        }
    }
}

#[tokio::test]
async fn a_server_that_talks_without_end_is_left_before_it_fills_the_memory() {
    const SENT_MAX: usize = 64 << 20;
    let endless_line = b"x".repeat(40_000);
    let endless_lines: &[u8] = &[&b"220-"[..], &[b'x'; 400], b"\r\n"].concat().repeat(100);
    for (tls, babble, words) in [
        (Tls::None, &endless_line[..], "a line of more than 2000 bytes"),
        (Tls::Required, &endless_line, "a line of more than 2000 bytes"),
        // The library's own words.
        (Tls::None, endless_lines, "response too large"),
        (Tls::Required, endless_lines, "more than 100000 bytes"),
    ] {
        let (told, sent) = mpsc::channel();
        let babble = babble.to_vec();
        let server = Server::raw("127.0.0.1:0", move |mut stream, _| {
            let mut sent = 0;
            while sent < SENT_MAX && stream.write_all(&babble).is_ok() {
                sent += babble.len();
            }
            let _ = told.send(sent);
        });
        let report = deliver(&Email::with(settings(&server, tls), Vec::new(), PATIENT)).await;
        assert_eq!(report.outcome, RETRY, "{}", report.reason);
        assert!(report.reason.contains(words), "{}", report.reason);
        assert!(sent.recv().unwrap() < SENT_MAX, "it was hung up on");
    }
}

#[tokio::test]
async fn lost_connections_are_tried_again_and_are_in_doubt_after_the_dot_only() {
    for at in ["banner", "EHLO", "MAIL", "RCPT", "DATA", "."] {
        let report = against(Quirk::HangsUp(at)).await;
        assert_eq!(report.outcome, RETRY, "{at}: {}", report.reason);
        assert_eq!(report.maybe_duplicate, at == ".", "{at}: {}", report.reason);
    }
}

#[tokio::test]
async fn a_silent_server_is_left_at_the_deadline_and_after_the_dot_later() {
    let payload = Payload::Email(Mail { text: "x".to_owned(), ..Mail::default() });
    let now = Timestamp::UNIX_EPOCH;
    let parcel = Parcel { id: "d1", payload: &payload, recipient: Some("ann@example.org"), now };
    let silent = async |at| {
        let smtp = Smtp::start(Quirk::Stalls(at));
        let after_the_dot = if at == "." { QUICK } else { PATIENT };
        let target = Email::with(settings(&smtp.server, Tls::None), Vec::new(), after_the_dot);
        (at, target.deliver(&parcel, QUICK).await)
    };
    for (at, report) in join_all(["banner", "EHLO", "MAIL", "RCPT", "DATA", "."].map(silent)).await {
        assert_eq!((report.outcome, report.maybe_duplicate), (RETRY, at == "."), "{at}: {}", report.reason);
        let expected = if at == "." { 2 * QUICK..PATIENT } else { QUICK..PATIENT };
        assert!(expected.contains(&report.latency), "{at}: {:?}", report.latency);
    }
}

#[tokio::test]
async fn an_answer_out_of_step_is_no_answer() {
    let report = against(Quirk::Says("DATA", "250 2.1.5 the recipient is fine")).await;
    assert_eq!(report.outcome, RETRY, "{}", report.reason);
    assert!(report.reason.contains("answered 250 where 354 was due"), "{}", report.reason);
}

#[tokio::test]
async fn a_stripped_starttls_stops_before_anything_is_said() {
    let smtp = Smtp::start(Quirk::None);
    let report = deliver(&smtp.target(Tls::Required)).await;
    assert_eq!(report.outcome, Outcome::TargetBroken);
    assert!(report.reason.contains("does not offer STARTTLS"), "{}", report.reason);
    assert_eq!(smtp.count("MAIL") + smtp.count("AUTH"), 0);
    assert_eq!(deliver(&smtp.target(Tls::Opportunistic)).await.outcome, Outcome::Delivered);
}

#[tokio::test]
async fn one_connection_serves_several_mails_and_a_dead_one_is_replaced() {
    let smtp = Smtp::start(Quirk::Tires(2));
    let target = smtp.target(Tls::None);
    for _ in 0..4 {
        assert_eq!(deliver(&target).await.outcome, Outcome::Delivered);
    }
    assert_eq!((smtp.server.connections(), smtp.count("DATA")), (2, 4));
    assert_eq!((smtp.count("EHLO"), smtp.count("RSET")), (2, 3));
}

#[tokio::test]
async fn a_kept_connection_that_went_silent_leaves_time_for_a_fresh_one() {
    let smtp = Smtp::start(Quirk::Stalls("RSET"));
    let target = smtp.target(Tls::None);
    let payload = Payload::Email(Mail { text: "x".to_owned(), ..Mail::default() });
    let now = Timestamp::UNIX_EPOCH;
    let parcel = Parcel { id: "d1", payload: &payload, recipient: Some("ann@example.org"), now };
    for connections in [1, 2] {
        let report = target.deliver(&parcel, Duration::from_secs(4)).await;
        assert_eq!(report.outcome, Outcome::Delivered, "{}", report.reason);
        assert_eq!(smtp.server.connections(), connections);
    }
}

#[tokio::test]
async fn a_refused_recipient_leaves_the_connection_usable() {
    let smtp = Smtp::start(Quirk::Says("RCPT", "550 5.1.1 unknown"));
    let target = smtp.target(Tls::None);
    for _ in 0..2 {
        assert_eq!(deliver(&target).await.outcome, Outcome::Refused);
    }
    assert_eq!(smtp.server.connections(), 1);
}

#[tokio::test]
async fn international_domains_need_nothing_of_the_server() {
    let smtp = Smtp::start(Quirk::None);
    let mut settings = settings(&smtp.server, Tls::None);
    settings.from = "Relay <info@müller.de>".to_owned();
    settings.to = vec!["ann@bücher.example".to_owned()];
    let report = deliver_to(&Email::with(settings, Vec::new(), PATIENT), "ann@bücher.example").await;
    assert_eq!(report.outcome, Outcome::Delivered, "{}", report.reason);
    let lines = smtp.lines();
    for line in ["MAIL FROM:<info@xn--mller-kva.de>", "RCPT TO:<ann@xn--bcher-kva.example>"] {
        assert!(lines.iter().any(|said| said == line), "{line} in {lines:#?}");
    }
}

#[tokio::test]
async fn letters_beyond_ascii_before_the_at_are_asked_for_and_blamed_on_whose_they_are() {
    const ANN: &str = "ann@example.org";
    const JOERG: &str = "jörg@example.org";
    for (from, to, reply_to, recipient, without) in [
        (JOERG, ANN, None, ANN, Outcome::TargetBroken),
        (JOERG, JOERG, None, JOERG, Outcome::TargetBroken),
        (ANN, JOERG, None, JOERG, Outcome::Refused),
        (ANN, ANN, None, JOERG, Outcome::Refused),
        (ANN, JOERG, None, ANN, Outcome::TargetBroken),
        (ANN, ANN, Some(JOERG), ANN, Outcome::TargetBroken),
    ] {
        for (quirk, outcome) in
            [(Quirk::None, without), (Quirk::Says("EHLO", "250-here\r\n250 SMTPUTF8"), Outcome::Delivered)]
        {
            let smtp = Smtp::start(quirk);
            let mut settings = settings(&smtp.server, Tls::None);
            settings.from = from.to_owned();
            settings.to = vec![to.to_owned()];
            settings.reply_to = reply_to.map(str::to_owned);
            let report = deliver_to(&Email::with(settings, Vec::new(), PATIENT), recipient).await;
            assert_eq!(report.outcome, outcome, "{from} {to} {reply_to:?} {recipient}: {}", report.reason);
            assert_eq!(smtp.count(&format!("MAIL FROM:<{from}> SMTPUTF8")), smtp.count("MAIL"));
            assert_eq!(smtp.count("MAIL"), usize::from(outcome == Outcome::Delivered));
        }
    }
}

#[tokio::test]
async fn a_bad_password_breaks_the_target_and_is_never_shown() {
    let smtp = Smtp::start(Quirk::Says("AUTH", "535 5.7.8 bad credentials"));
    let mut settings = settings(&smtp.server, Tls::None);
    settings.credentials = Some(("relay".to_owned(), "hunter2".to_owned().into()));
    let target = Email::with(settings, Vec::new(), PATIENT);
    let report = deliver(&target).await;
    assert_eq!(report.outcome, Outcome::TargetBroken);
    let probe = target.probe(PATIENT).await.unwrap_err();
    for text in [&report.reason, &probe] {
        assert!(text.contains("check user and password in `smtp`") && !text.contains("hunter2"), "{text}");
    }
    assert!(!format!("{target:?}").contains("hunter2"));
    assert_eq!(smtp.count("MAIL"), 0);
}

#[tokio::test]
async fn a_probe_says_goodbye_and_sends_no_mail() {
    let smtp = Smtp::start(Quirk::None);
    let words = smtp.target(Tls::None).probe(PATIENT).await.unwrap();
    assert!(words.ends_with("accepts connections in plain text"), "{words}");
    assert_eq!((smtp.count("QUIT"), smtp.count("MAIL")), (1, 0));
}
