//! Why a request got no answer, in a kind to branch on and in words without secrets.

use std::error::Error;
use std::fmt;
use std::io;

use rustls::CertificateError;
use url::Url;

use super::handed::Handed;
use super::policy::Refusal;
use super::resolve::NoAddress;

/// So many of a certificate's names are told.
const NAMES_MAX: usize = 3;

/// What kind of trouble it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// The egress policy does not allow it; nothing was dialled.
    Policy,
    /// The name did not resolve.
    Dns,
    /// No connection could be made.
    Connect,
    /// The TLS handshake failed.
    Tls,
    /// The deadline passed.
    Timeout,
    /// The connection was lost before an answer came.
    Reset,
    /// Anything else, such as an answer that is not HTTP.
    Other,
}

/// Why there is no answer. The text names scheme, host and port only: paths and queries can be secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// To branch on.
    pub kind: FailureKind,
    /// In words for a person.
    pub text: String,
    /// The whole request had been handed to a connection, so that it may have been acted upon although no answer came.
    pub handed: bool,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for Failure {}

/// Scheme, host and port: as much of a URL as may be shown.
pub fn place(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}", url.scheme(), url.host_str().unwrap_or("?"))
}

impl Failure {
    /// A failure of a request that got no connection.
    pub(super) fn new(kind: FailureKind, text: String) -> Self {
        Self { kind, text, handed: false }
    }

    /// The same, of a request that came as far as this.
    pub(super) fn after(self, handed: &Handed) -> Self {
        use FailureKind::{Connect, Dns, Policy, Tls};
        // A request without a body does not tell, so the kind has to.
        let handed = handed.is().unwrap_or(!matches!(self.kind, Policy | Dns | Connect | Tls));
        Self { handed, ..self }
    }

    pub(super) fn refused(refusal: &Refusal) -> Self {
        Self::new(FailureKind::Policy, refusal.to_string())
    }

    pub(super) fn timeout(url: &Url, deadline: std::time::Duration) -> Self {
        let text = format!("{} gave no answer within {:.1} s", place(url), deadline.as_secs_f64());
        Self::new(FailureKind::Timeout, text)
    }

    pub(super) fn of_client(error: &rustls::Error) -> Self {
        let text = format!(
            "this machine's certificate authorities cannot be read ({error}); install `ca-certificates`"
        );
        Self::new(FailureKind::Other, text)
    }

    /// Classifies an error by what is found along its chain of causes.
    pub(super) fn of(url: &Url, error: &(dyn Error + 'static)) -> Self {
        let place = place(url);
        let chain = || std::iter::successors(Some(error), |error| inner(*error));
        if let Some(cause) = chain().find_map(|error| error.downcast_ref::<NoAddress>()) {
            let kind =
                if matches!(cause, NoAddress::Refused(_)) { FailureKind::Policy } else { FailureKind::Dns };
            return Self::new(kind, cause.to_string());
        }
        if let Some(cause) = chain().find_map(|error| error.downcast_ref::<rustls::Error>()) {
            return Self::new(FailureKind::Tls, format!("TLS to {place} failed: {}", tls_words(cause)));
        }
        let io = chain().filter_map(|error| error.downcast_ref::<io::Error>()).last().map(io::Error::kind);
        let connecting = chain()
            .filter_map(|error| error.downcast_ref::<reqwest::Error>())
            .any(reqwest::Error::is_connect);
        let timed_out = chain()
            .filter_map(|error| error.downcast_ref::<reqwest::Error>())
            .any(reqwest::Error::is_timeout);
        let cause = chain().last().map(ToString::to_string).unwrap_or_default();
        let (kind, text) = match io {
            Some(io::ErrorKind::ConnectionRefused) => {
                (FailureKind::Connect, format!("{place} refused the connection: nothing listens there"))
            }
            _ if connecting && timed_out => {
                (FailureKind::Connect, format!("no connection to {place} in time"))
            }
            _ if connecting => (FailureKind::Connect, format!("no connection to {place}: {cause}")),
            Some(_) => (FailureKind::Reset, format!("the connection to {place} broke: {cause}")),
            None if cause.contains("closed before") || cause.contains("connection closed") => {
                (FailureKind::Reset, format!("{place} closed the connection without an answer"))
            }
            None => (FailureKind::Other, format!("{place} gave no usable answer: {cause}")),
        };
        Self::new(kind, text)
    }
}

/// The next cause; unlike `source`, it does not skip what an `io::Error` wraps.
fn inner<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    }
}

/// The first TLS error along a chain of causes.
pub(crate) fn tls_cause<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    std::iter::successors(Some(error), |error| inner(*error)).find_map(|error| error.downcast_ref())
}

/// A TLS error with what it means for the person who has to mend it.
pub(crate) fn tls_words(error: &rustls::Error) -> String {
    use rustls::CertificateError as Bad;
    let rustls::Error::InvalidCertificate(bad) = error else { return error.to_string() };
    match bad {
        Bad::Expired | Bad::ExpiredContext { .. } => "the server's certificate has expired".to_owned(),
        Bad::NotValidYet | Bad::NotValidYetContext { .. } => {
            "the server's certificate is not valid yet; check this machine's clock".to_owned()
        }
        Bad::NotValidForName => "the server's certificate is for another host name".to_owned(),
        Bad::NotValidForNameContext { presented, .. } => {
            format!("the server's certificate is for another host name{}", names(presented))
        }
        Bad::UnknownIssuer | Bad::BadSignature => {
            "the server's certificate is self-signed or from an authority that this machine does not know"
                .to_owned()
        }
        Bad::Revoked => "the server's certificate has been revoked".to_owned(),
        other => certificate_words(other),
    }
}

fn certificate_words(other: &CertificateError) -> String {
    if is_own_authority(other) {
        return "the server's certificate is self-signed; give it one from an authority that this machine knows"
            .to_owned();
    }
    if format!("{other:?}").contains("UnsupportedCertVersion") {
        return "the server's certificate is not of X.509 version 3; give the server one that is".to_owned();
    }
    format!("the server's certificate is not accepted ({other})")
}

/// The names that a certificate is for, of which the verifier writes each as `DnsName("db.example.com")`.
fn names(presented: &[String]) -> String {
    let plain = presented.iter().map(|name| name.trim_start_matches(char::is_alphabetic));
    let plain = plain.map(|name| name.trim_matches(['(', ')', '"']));
    let fit = plain.filter(|name| !name.is_empty() && name.chars().all(|one| one.is_ascii_graphic()));
    let few: Vec<&str> = fit.take(NAMES_MAX).collect();
    if few.is_empty() { String::new() } else { format!(" ({})", few.join(", ")) }
}

/// What `openssl req -x509` makes is its own authority, which the verifier has no word of its own for.
pub(crate) fn is_own_authority(error: &CertificateError) -> bool {
    format!("{error:?}").contains("CaUsedAsEndEntity")
}
