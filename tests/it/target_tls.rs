//! Certificates that are wrong in each way, over HTTP and SMTP.
#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use activity_relay::egress::policy::Policy;
use activity_relay::egress::resolve::Resolver;
use activity_relay::egress::{Egress, FailureKind, Request};
use activity_relay::model::delivery::{Outcome, Report};
use activity_relay::model::payload::{Mail, Payload};
use activity_relay::target::Parcel;
use activity_relay::target::email::{self, Email, Tls};
use jiff::Timestamp;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use reqwest::header::HeaderMap;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use url::Url;

use crate::target_server::{Server, answer, read_request};

const PATIENT: Duration = Duration::from_secs(10);
pub(crate) const NAME: &str = "hooks.example.com";

/// An authority of our own.
pub(crate) struct Authority {
    pub(crate) certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    /// A server's certificate for a name, good from 2000 to the given year.
    pub(crate) fn certify(&self, name: &str, until: i32) -> Arc<ServerConfig> {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        let certificate = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        config(certificate, &key)
    }
}

fn config(certificate: CertificateDer<'static>, key: &KeyPair) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    Arc::new(builder.with_no_client_auth().with_single_cert(vec![certificate], key).unwrap())
}

/// A certificate that vouches for itself.
pub(crate) fn self_signed(name: &str) -> Arc<ServerConfig> {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    config(params.self_signed(&key).unwrap().der().clone(), &key)
}

fn https(config: Arc<ServerConfig>) -> Server {
    Server::raw("127.0.0.1:0", move |stream, _| {
        let mut stream = StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), stream);
        if !read_request(&mut stream).is_empty() {
            let _ = stream.write_all(answer("200 OK", "", "").as_bytes());
            stream.conn.send_close_notify();
            let _ = stream.flush();
        }
    })
}

fn egress(server: &Server, roots: Vec<CertificateDer<'static>>) -> (Egress, Url) {
    let resolver = Resolver::script(NAME, vec![vec![server.address.ip()]]);
    let url = Url::parse(&format!("https://{NAME}:{}/secret", server.address.port())).unwrap();
    (Egress::with(Policy::Any, resolver, roots), url)
}

#[tokio::test]
async fn a_certificate_of_a_known_authority_is_accepted() {
    let authority = Authority::new("ours");
    let server = https(authority.certify(NAME, 2099));
    let (egress, url) = egress(&server, vec![authority.certificate]);
    let words = egress.reach(&url, PATIENT).await.unwrap();
    assert!(words.ends_with("with a valid certificate") && !words.contains("secret"), "{words}");
    assert_eq!(egress.send(Request::get(url, HeaderMap::new(), 10), PATIENT).await.unwrap().status, 200);
}

#[tokio::test]
async fn wrong_certificates_are_refused_in_words() {
    let (authority, unknown) = (Authority::new("ours"), Authority::new("theirs"));
    for (config, words) in [
        (authority.certify(NAME, 2001), "has expired"),
        (authority.certify("other.example.com", 2099), "is for another host name"),
        (unknown.certify(NAME, 2099), "self-signed or from an authority"),
        (self_signed(NAME), "self-signed or from an authority"),
    ] {
        let server = https(config);
        let (egress, url) = egress(&server, vec![authority.certificate.clone()]);
        let failure =
            egress.send(Request::get(url.clone(), HeaderMap::new(), 10), PATIENT).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Tls, "{failure}");
        assert!(failure.text.contains(words) && !failure.text.contains("secret"), "{failure}");
        assert_eq!(egress.reach(&url, PATIENT).await.unwrap_err(), failure);
    }
}

#[tokio::test]
async fn a_stalled_handshake_ends_with_the_deadline() {
    let server = Server::raw("127.0.0.1:0", |mut stream, _| crate::target_server::stall(&mut stream));
    let (egress, url) = egress(&server, Vec::new());
    let quick = Duration::from_millis(200);
    let failure = egress.send(Request::get(url.clone(), HeaderMap::new(), 10), quick).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Timeout, "{failure}");
    assert_eq!(egress.reach(&url, quick).await.unwrap_err().kind, FailureKind::Timeout);
}

/// Offers STARTTLS, protects the connection, takes one mail. With `slip`, text follows the answer to STARTTLS at once, as
/// from somebody in between who hopes that it is taken for an answer given under protection.
fn smtp(config: Arc<ServerConfig>, slip: &'static str) -> Server {
    Server::raw("127.0.0.1:0", move |mut stream, _| {
        let mut buffer = [0; 4096];
        for reply in ["220 here\r\n", "250-here\r\n250 STARTTLS\r\n", "220 go\r\n"] {
            let slipped = if reply == "220 go\r\n" { slip } else { "" };
            let sent = stream.write_all(format!("{reply}{slipped}").as_bytes());
            if sent.is_err() || (!reply.ends_with("go\r\n") && !matches!(stream.read(&mut buffer), Ok(1..))) {
                return;
            }
        }
        take_mails(&mut protected(&config, stream));
    })
}

/// Protects the connection from its first byte, as `smtps://` has it, and takes mails.
fn smtps(config: Arc<ServerConfig>) -> Server {
    Server::raw("127.0.0.1:0", move |stream, _| {
        let mut stream = protected(&config, stream);
        if stream.write_all(b"220 here\r\n").and_then(|()| stream.flush()).is_ok() {
            take_mails(&mut stream);
        }
    })
}

type Protected = StreamOwned<ServerConnection, TcpStream>;

fn protected(config: &Arc<ServerConfig>, stream: TcpStream) -> Protected {
    StreamOwned::new(ServerConnection::new(Arc::clone(config)).unwrap(), stream)
}

/// Agrees to everything until the client leaves.
fn take_mails(stream: &mut Protected) {
    let (mut byte, mut said, mut in_data) = ([0], Vec::new(), false);
    while let Ok(1) = stream.read(&mut byte) {
        said.push(byte[0]);
        let done = if in_data { said.ends_with(b"\r\n.\r\n") } else { said.ends_with(b"\r\n") };
        if !done {
            continue;
        }
        in_data = said.starts_with(b"DATA");
        said.clear();
        let reply = if in_data { "354 go on\r\n" } else { "250 fine\r\n" };
        if stream.write_all(reply.as_bytes()).and_then(|()| stream.flush()).is_err() {
            return;
        }
    }
}

async fn mail(server: &Server, roots: Vec<CertificateDer<'static>>, tls: Tls) -> Report {
    let settings = email::Settings {
        host: "localhost".to_owned(),
        port: server.address.port(),
        tls,
        credentials: None,
        from: "relay@example.com".to_owned(),
        recipients: vec!["ann@example.org".to_owned()],
        to: vec!["ann@example.org".to_owned()],
        cc: Vec::new(),
        reply_to: None,
    };
    let payload = Payload::Email(Mail { text: "x".to_owned(), ..Mail::default() });
    let now = Timestamp::UNIX_EPOCH;
    let parcel = Parcel { id: "d1", payload: &payload, recipient: Some("ann@example.org"), now };
    Email::with(settings, roots, Duration::from_millis(200)).deliver(&parcel, PATIENT).await
}

#[tokio::test]
async fn mail_goes_over_starttls_with_a_known_certificate_only() {
    let authority = Authority::new("ours");
    let root = || vec![authority.certificate.clone()];
    let good = smtp(authority.certify("localhost", 2099), "");
    let report = mail(&good, root(), Tls::Required).await;
    assert_eq!(report.outcome, Outcome::Delivered, "{}", report.reason);
    for (name, until, words) in
        [("localhost", 2001, "has expired"), ("other.example.com", 2099, "another host name")]
    {
        let server = smtp(authority.certify(name, until), "");
        for tls in [Tls::Required, Tls::Opportunistic] {
            let report = mail(&server, root(), tls).await;
            assert_eq!(report.outcome, Outcome::TargetBroken, "{}", report.reason);
            assert!(report.reason.contains(words), "{}", report.reason);
        }
    }
    let report = mail(&good, Vec::new(), Tls::Required).await;
    assert!(report.reason.contains("self-signed or from an authority"), "{}", report.reason);
}

#[tokio::test]
async fn mail_goes_over_tls_from_the_first_byte_with_a_known_certificate_only() {
    let authority = Authority::new("ours");
    let root = || vec![authority.certificate.clone()];
    let good = smtps(authority.certify("localhost", 2099));
    let report = mail(&good, root(), Tls::Implicit).await;
    assert_eq!(report.outcome, Outcome::Delivered, "{}", report.reason);
    for (name, until, words) in
        [("localhost", 2001, "has expired"), ("other.example.com", 2099, "another host name")]
    {
        let server = smtps(authority.certify(name, until));
        let report = mail(&server, root(), Tls::Implicit).await;
        assert_eq!(report.outcome, Outcome::TargetBroken, "{}", report.reason);
        assert!(report.reason.contains(words), "{}", report.reason);
    }
    let report = mail(&good, Vec::new(), Tls::Implicit).await;
    assert!(report.reason.contains("self-signed or from an authority"), "{}", report.reason);
    // A server that speaks STARTTLS on this port is a wrong port or a wrong scheme, never a reason to go unprotected.
    let plain = smtp(authority.certify("localhost", 2099), "");
    let report = mail(&plain, root(), Tls::Implicit).await;
    assert_ne!(report.outcome, Outcome::Delivered, "{}", report.reason);
}

#[tokio::test]
async fn text_slipped_in_before_starttls_never_makes_a_mail_delivered() {
    let authority = Authority::new("ours");
    let server = smtp(authority.certify("localhost", 2099), "250 slipped\r\n");
    let root = vec![authority.certificate.clone()];
    let report = mail(&server, root, Tls::Required).await;
    assert_eq!(report.outcome, Outcome::Retry { after: None }, "{}", report.reason);
    assert!(report.reason.contains("said more than it was asked for"), "{}", report.reason);
}
