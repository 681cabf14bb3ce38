//! Any HTTP endpoint: method, headers, authentication, Standard Webhooks signatures.

use std::ops::RangeInclusive;
use std::time::Duration;

use reqwest::Method;
use reqwest::header::HeaderMap;
use secrecy::SecretString;
use url::Url;

use crate::egress::Egress;
use crate::model::delivery::Report;
use crate::model::payload::HttpBody;

use super::Parcel;

/// How a request is authenticated.
#[derive(Debug, Clone)]
pub enum Auth {
    /// `Authorization: Basic`.
    Basic {
        /// User name.
        user: String,
        /// Password.
        password: SecretString,
    },
    /// `Authorization: Bearer`.
    Bearer(SecretString),
    /// OAuth 2.0 client credentials grant (RFC 6749, section 4.4).
    OAuth2 {
        /// The token endpoint.
        token_url: Url,
        /// Client identifier.
        client_id: String,
        /// Client secret.
        client_secret: SecretString,
        /// Space-separated scopes.
        scope: Option<String>,
    },
}

/// An HTTP endpoint as configured.
#[derive(Debug)]
pub struct Settings {
    /// `POST` unless told otherwise.
    pub method: Method,
    /// Where to.
    pub url: Url,
    /// Further headers; values marked sensitive.
    pub headers: HeaderMap,
    /// Authentication.
    pub auth: Option<Auth>,
    /// Statuses that mean success.
    pub success: Vec<RangeInclusive<u16>>,
    /// Standard Webhooks secrets, decoded; each adds a signature.
    pub signing_secrets: Vec<SecretBytes>,
    /// What the body is made of.
    pub body: HttpBody,
}

/// A decoded signing secret, never shown.
#[derive(Clone)]
pub struct SecretBytes(pub Vec<u8>);

impl std::fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretBytes(…)")
    }
}

/// An HTTP target.
#[derive(Debug)]
pub struct Http {
    settings: Settings,
    egress: Egress,
}

impl Http {
    /// The URL's form has been checked by `config`; addresses are checked when dialling.
    pub fn new(settings: Settings, egress: Egress) -> Self {
        Self { settings, egress }
    }

    /// What its body is made of.
    pub fn body(&self) -> HttpBody {
        self.settings.body
    }

    /// Sends once.
    pub async fn deliver(&self, parcel: &Parcel<'_>, deadline: Duration) -> Report {
        let _ = (parcel, deadline, &self.egress);
        std::future::pending().await
    }
}
