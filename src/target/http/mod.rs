//! Any HTTP endpoint: method, headers, authentication, Standard Webhooks signatures.

mod oauth;
pub mod sign;

use std::ops::RangeInclusive;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;
use url::Url;

use crate::egress::{self, ANSWER_BYTES_MAX, Answer, Egress, Failure, Request};
use crate::model::delivery::{Outcome, Report};
use crate::model::payload::{Body, HttpBody, Payload};

use super::Parcel;
use super::verdict::{Verdict, answered, by_status, failed, unsent};
use oauth::{NoToken, Tokens};

/// Headers that a rules file cannot set: they belong to the delivery or to HTTP itself, and the relay's own always win.
/// `Content-Type`, `User-Agent` and `Idempotency-Key` may be set; `Authorization` too, unless `auth` is given.
pub const RESERVED_HEADERS: [&str; 11] = [
    "webhook-id",
    "webhook-timestamp",
    "webhook-signature",
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "te",
    "trailer",
    "upgrade",
    "expect",
];

const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// By which a receiver says `disable` (send me nothing more) or `abort-message` (never send this one again).
const WEBHOOK_DELIVERY: HeaderName = HeaderName::from_static("webhook-delivery");

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
    settings: Box<Settings>,
    egress: Egress,
    tokens: Option<Box<Tokens>>,
}

impl Http {
    /// The URL's form has been checked by `config`; addresses are checked when dialling.
    pub fn new(settings: Settings, egress: Egress) -> Self {
        let tokens = settings.auth.as_ref().and_then(Tokens::of).map(Box::new);
        Self { settings: Box::new(settings), egress, tokens }
    }

    /// What its body is made of.
    pub fn body(&self) -> HttpBody {
        self.settings.body
    }

    /// Sends once. With OAuth 2.0 a refused token is exchanged for a new one and the request repeated, once.
    pub async fn deliver(&self, parcel: &Parcel<'_>, deadline: Duration) -> Report {
        let start = Instant::now();
        let end = start + deadline;
        let Payload::Http(body) = parcel.payload else {
            let words = "the stored payload is not an HTTP body; the target's type has changed".to_owned();
            return unsent(start, (Outcome::Refused, words));
        };
        let mut refused = None;
        loop {
            let token = match self.authorization(refused.as_ref(), parcel, end).await {
                Ok(token) => token,
                Err(NoToken::Failed(failure)) => {
                    return Report { maybe_duplicate: false, ..failed(start, &failure) };
                }
                Err(NoToken::Refused(verdict)) => return unsent(start, verdict),
            };
            let again = refused.is_none() && self.tokens.is_some();
            match self.send(parcel, body, token.as_ref(), end).await {
                Ok(answer) if answer.status.as_u16() == 401 && again => refused = token,
                Ok(answer) => return answered(start, &answer, self.judge(&answer, parcel.now)),
                Err(failure) => return failed(start, &failure),
            }
        }
    }

    /// Connects (and fetches a token, with OAuth 2.0) without posting anything.
    pub async fn probe(&self, deadline: Duration) -> Result<String, String> {
        let end = Instant::now() + deadline;
        if let Some(tokens) = &self.tokens {
            // The moment matters for a wait that the endpoint asks for, which a probe does not heed.
            let token = tokens.token(&self.egress, None, jiff::Timestamp::UNIX_EPOCH, end).await;
            token.map_err(|error| match error {
                NoToken::Failed(failure) => failure.text,
                NoToken::Refused((_, words)) => words,
            })?;
        }
        let left = end.saturating_duration_since(Instant::now());
        self.egress.reach(&self.settings.url, left).await.map_err(|failure| failure.text)
    }

    /// The secret that `Authorization` carries: the token, or `user:password` in base64.
    async fn authorization(
        &self,
        refused: Option<&SecretString>,
        parcel: &Parcel<'_>,
        end: Instant,
    ) -> Result<Option<SecretString>, NoToken> {
        if let Some(tokens) = &self.tokens {
            return tokens.token(&self.egress, refused, parcel.now, end).await.map(Some);
        }
        Ok(match &self.settings.auth {
            Some(Auth::Bearer(token)) => Some(token.clone()),
            Some(Auth::Basic { user, password }) => {
                Some(STANDARD.encode(format!("{user}:{}", password.expose_secret())).into())
            }
            Some(Auth::OAuth2 { .. }) | None => None,
        })
    }

    async fn send(
        &self,
        parcel: &Parcel<'_>,
        body: &Body,
        token: Option<&SecretString>,
        end: Instant,
    ) -> Result<Answer, Failure> {
        let request = Request {
            method: self.settings.method.clone(),
            url: self.settings.url.clone(),
            headers: self.headers(parcel, body, token),
            body: body.body.clone().into_bytes(),
            answer_bytes_max: ANSWER_BYTES_MAX,
        };
        self.egress.send(request, end.saturating_duration_since(Instant::now())).await
    }

    /// All headers of one attempt: our defaults, over them those of the rules file, over them what is ours alone.
    fn headers(&self, parcel: &Parcel<'_>, body: &Body, token: Option<&SecretString>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let mut set = |name: HeaderName, value: &str| {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(name, value);
            }
        };
        set(USER_AGENT, egress::USER_AGENT);
        set(CONTENT_TYPE, &body.content_type);
        set(IDEMPOTENCY_KEY, parcel.id);
        for name in self.settings.headers.keys().filter(|name| !RESERVED_HEADERS.contains(&name.as_str())) {
            headers.remove(name);
            for value in self.settings.headers.get_all(name) {
                headers.append(name, value.clone());
            }
        }
        let mut set = |name: HeaderName, value: String, sensitive: bool| {
            if let Ok(mut value) = HeaderValue::try_from(value) {
                value.set_sensitive(sensitive);
                headers.insert(name, value);
            }
        };
        if let (Some(auth), Some(token)) = (&self.settings.auth, token) {
            let scheme = if matches!(auth, Auth::Basic { .. }) { "Basic" } else { "Bearer" };
            set(AUTHORIZATION, format!("{scheme} {}", token.expose_secret()), true);
        }
        let (seconds, secrets) = (parcel.now.as_second(), &self.settings.signing_secrets);
        set(WEBHOOK_ID, parcel.id.to_owned(), false);
        set(WEBHOOK_TIMESTAMP, seconds.to_string(), false);
        if !secrets.is_empty() {
            set(
                WEBHOOK_SIGNATURE,
                sign::signatures(secrets, parcel.id, seconds, body.body.as_bytes()),
                false,
            );
        }
        headers
    }

    fn judge(&self, answer: &Answer, now: jiff::Timestamp) -> Verdict {
        let status = answer.status.as_u16();
        if self.settings.success.iter().any(|range| range.contains(&status)) {
            return (Outcome::Delivered, "delivered".to_owned());
        }
        let place = egress::place(&self.settings.url);
        match answer.headers.get(WEBHOOK_DELIVERY).map(HeaderValue::as_bytes) {
            Some(b"disable") => {
                let words =
                    format!("{place} asks to be sent nothing more (webhook-delivery: disable, {status})");
                (Outcome::TargetBroken, words)
            }
            Some(b"abort-message") => {
                let words = format!(
                    "{place} asks never to be sent this message again (webhook-delivery: abort-message, {status})"
                );
                (Outcome::Refused, words)
            }
            _ => by_status(answer, &self.settings.url, now),
        }
    }
}
