//! Mail over SMTP: one transaction and one delivery per recipient.

mod compose;
mod judge;
mod replies;
mod smtp;

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use lettre::transport::smtp::client::AsyncSmtpConnection;
use lettre::transport::smtp::response::Response;
use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;
use secrecy::SecretString;
use tokio::time::{Instant, timeout, timeout_at};

use crate::egress::tls::client_config;
use crate::model::delivery::{Outcome, Report};
use crate::model::payload::Payload;

use super::Parcel;
use super::verdict::{excerpt, unsent};
pub use compose::headers;
use compose::{Composed, compose};
use smtp::{Cause, Opened, Stage, Trouble};

/// How long the server may take to answer the final dot (RFC 5321, 4.5.3.2.6): hanging up earlier makes duplicates.
pub const REPLY_WAIT: Duration = Duration::from_mins(10);
/// How long an unused connection is kept. Servers hang up after a minute or more.
const IDLE_TIME_MAX: Duration = Duration::from_secs(30);
/// How many unused connections are kept.
const IDLE_CONNECTIONS_MAX: usize = 2;
/// How long a kept connection may take to show that it is alive, and half of what is left of the deadline at the most: the
/// other half is for a fresh one.
const RESET_TIME_MAX: Duration = Duration::from_secs(5);
/// A connection is used so often at the most: many servers count.
const USES_MAX: u32 = 50;

/// How the connection to the SMTP server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tls {
    /// TLS from the first byte (`smtps://`, port 465).
    Implicit,
    /// STARTTLS or nothing is sent (`smtp://`, the default).
    Required,
    /// STARTTLS where the server offers it.
    Opportunistic,
    /// Plain text.
    None,
}

/// An SMTP server and the envelope.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Protection.
    pub tls: Tls,
    /// User and password, sent over TLS or to loopback only.
    pub credentials: Option<(String, SecretString)>,
    /// `Name <address>`.
    pub from: String,
    /// Everybody who gets a mail of their own: to, cc and bcc.
    pub recipients: Vec<String>,
    /// Shown in the `To` header.
    pub to: Vec<String>,
    /// Shown in the `Cc` header.
    pub cc: Vec<String>,
    /// The `Reply-To` header.
    pub reply_to: Option<String>,
}

/// A mail target.
pub struct Email {
    settings: Box<Settings>,
    roots: Vec<CertificateDer<'static>>,
    reply_wait: Duration,
    /// Made at the first use: reading the machine's authorities takes time and memory.
    tls: OnceLock<Result<Arc<ClientConfig>, String>>,
    idle: Mutex<Vec<Idle>>,
}

/// A connection between two mails.
struct Idle {
    connection: AsyncSmtpConnection,
    since: Instant,
    uses: u32,
}

impl std::fmt::Debug for Email {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Email").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Email {
    /// Connects on the first delivery, not here. Addresses have been checked by `config`.
    pub fn new(settings: Settings) -> Self {
        Self::with(settings, Vec::new(), REPLY_WAIT)
    }

    /// With certificate authorities beside the machine's, and another patience for the reply to the final dot.
    pub fn with(settings: Settings, roots: Vec<CertificateDer<'static>>, reply_wait: Duration) -> Self {
        Self { settings: Box::new(settings), roots, reply_wait, tls: OnceLock::new(), idle: Mutex::default() }
    }

    /// One delivery each.
    pub fn recipients(&self) -> &[String] {
        &self.settings.recipients
    }

    /// What it was made of.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// How much longer than its deadline a delivery may take, waiting for the reply to the final dot.
    pub fn reply_wait(&self) -> Duration {
        self.reply_wait
    }

    /// Sends once, to one recipient. The deadline covers everything up to the final dot; the reply to that is awaited for
    /// `reply_wait` longer, because a mail whose reply is not awaited is a mail that is sent twice.
    pub async fn deliver(&self, parcel: &Parcel<'_>, deadline: Duration) -> Report {
        let start = Instant::now();
        let Payload::Email(mail) = parcel.payload else {
            let words = "the stored payload is not a mail; the target's type has changed".to_owned();
            return unsent(start, (Outcome::Refused, words));
        };
        let Some(recipient) = parcel.recipient else {
            return unsent(start, (Outcome::Refused, "the delivery names no recipient".to_owned()));
        };
        let composed = match compose(&self.settings, mail, parcel.id, recipient) {
            Ok(composed) => composed,
            Err(words) => return unsent(start, (Outcome::Refused, words)),
        };
        match self.send(&composed, start + deadline).await {
            Ok(reply) => Report {
                outcome: Outcome::Delivered,
                reason: "delivered".to_owned(),
                status: Some(reply.code().into()),
                answer: excerpt(&reply.message().collect::<Vec<_>>().join("\n")),
                latency: start.elapsed(),
                maybe_duplicate: false,
            },
            Err(trouble) => self.report(start, &trouble),
        }
    }

    /// Connects, protects the connection, logs in and hangs up: no mail is sent.
    pub async fn probe(&self, deadline: Duration) -> Result<String, String> {
        let end = Instant::now() + deadline;
        let words = |trouble: Trouble| judge::judge(&trouble, &self.settings).1;
        let Opened { mut connection, protected } = self.open(end).await.map_err(words)?;
        let protected = if protected { "over TLS" } else { "in plain text" };
        let login = if self.settings.credentials.is_some() { " and the login" } else { "" };
        // The server has said all we asked; how it takes the goodbye is no matter.
        let _ = timeout_at(end, connection.quit()).await;
        Ok(format!("{}:{} accepts connections {protected}{login}", self.settings.host, self.settings.port))
    }

    /// Over a connection kept from earlier, or a fresh one where that turns out dead before the mail has begun.
    async fn send(&self, mail: &Composed, end: Instant) -> Result<Response, Trouble> {
        while let Some(Idle { mut connection, uses, .. }) = self.take_idle() {
            let left = end.saturating_duration_since(Instant::now());
            let alive = timeout(RESET_TIME_MAX.min(left / 2), smtp::reset(&mut connection)).await;
            if !matches!(alive, Ok(Ok(()))) {
                continue;
            }
            let result = smtp::hand_over(&mut connection, mail, end, self.reply_wait).await;
            if result.as_ref().is_err_and(is_stale) {
                continue;
            }
            self.keep(connection, uses + 1, &result);
            return result;
        }
        let Opened { mut connection, .. } = self.open(end).await?;
        let result = smtp::hand_over(&mut connection, mail, end, self.reply_wait).await;
        self.keep(connection, 1, &result);
        result
    }

    async fn open(&self, end: Instant) -> Result<Opened, Trouble> {
        let tls = self
            .client_config()
            .map_err(|words| Trouble { stage: Stage::Tls, cause: Cause::Setup(words) })?;
        let opened = timeout_at(end, smtp::open(&self.settings, tls)).await;
        opened.unwrap_or(Err(Trouble { stage: Stage::Connect, cause: Cause::Timeout }))
    }

    fn client_config(&self) -> Result<Arc<ClientConfig>, String> {
        let made = self.tls.get_or_init(|| {
            let made = client_config(&self.roots).map(Arc::new);
            made.map_err(|error| format!("TLS cannot be set up ({error}); install `ca-certificates`"))
        });
        made.clone()
    }

    fn take_idle(&self) -> Option<Idle> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|idle| idle.since.elapsed() < IDLE_TIME_MAX);
        idle.pop()
    }

    /// Keeps a connection on which question and answer are still in step: after a yes or a plain no.
    fn keep(&self, connection: AsyncSmtpConnection, uses: u32, result: &Result<Response, Trouble>) {
        let in_step = match result {
            Ok(_) => true,
            Err(trouble) => match trouble.cause {
                Cause::Reply(code, _) => code != 421,
                Cause::TooLong { .. } => true,
                _ => false,
            },
        };
        if !in_step || uses >= USES_MAX {
            return;
        }
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_CONNECTIONS_MAX {
            idle.push(Idle { connection, since: Instant::now(), uses });
        }
    }

    fn report(&self, start: Instant, trouble: &Trouble) -> Report {
        let (outcome, reason) = judge::judge(trouble, &self.settings);
        let (status, answer) = match &trouble.cause {
            Cause::Reply(code, text) => (Some(*code), excerpt(text)),
            _ => (None, None),
        };
        let unknown = trouble.stage == Stage::Dot && status.is_none();
        Report { outcome, reason, status, answer, latency: start.elapsed(), maybe_duplicate: unknown }
    }
}

/// The kept connection turned out dead, or tired of us, before the server took anything of this mail.
fn is_stale(trouble: &Trouble) -> bool {
    trouble.stage == Stage::Sender && matches!(trouble.cause, Cause::Lost(_) | Cause::Reply(421, _))
}
