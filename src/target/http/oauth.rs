//! OAuth 2.0 client credentials (RFC 6749, section 4.4): fetches a token, keeps it until it runs out.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::Instant;
use url::{Url, form_urlencoded};

use crate::egress::{ANSWER_BYTES_MAX, Answer, Egress, Failure, Request, place};
use crate::model::delivery::Outcome;
use crate::target::retry_after::asked;
use crate::target::verdict::Verdict;

use super::Auth;

/// A token is not used in its last moments: it may run out on the way.
const MARGIN: Duration = Duration::from_secs(30);
/// How long a token is kept whose server does not say how long it lasts, and how long one is kept at the most.
const LIFE_DEFAULT: Duration = Duration::from_mins(5);
const LIFE_MAX: Duration = Duration::from_hours(24);

/// Where tokens come from, and the one in hand. One fetch at a time: whoever comes meanwhile waits for it.
#[derive(Debug)]
pub(super) struct Tokens {
    token_url: Url,
    client_id: String,
    client_secret: SecretString,
    scope: Option<String>,
    held: Mutex<Option<Held>>,
}

#[derive(Debug)]
struct Held {
    token: SecretString,
    until: Instant,
}

/// Why there is no token.
pub(super) enum NoToken {
    /// The token endpoint did not answer.
    Failed(Failure),
    /// It answered, with this meaning.
    Refused(Verdict),
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    /// Seconds: a number, which some servers write as a text.
    #[serde(default)]
    expires_in: Value,
}

#[derive(Deserialize)]
struct Denied {
    error: String,
}

impl Tokens {
    /// Nothing in hand yet; `None` for another kind of authentication.
    pub(super) fn of(auth: &Auth) -> Option<Self> {
        let Auth::OAuth2 { token_url, client_id, client_secret, scope } = auth else { return None };
        Some(Self {
            token_url: token_url.clone(),
            client_id: client_id.clone(),
            client_secret: client_secret.clone(),
            scope: scope.clone(),
            held: Mutex::default(),
        })
    }

    /// The token in hand, or a new one. `refused` is a token that was just refused: if it is the one in hand, it is dropped.
    pub(super) async fn token(
        &self,
        egress: &Egress,
        refused: Option<&SecretString>,
        now: jiff::Timestamp,
        end: Instant,
    ) -> Result<SecretString, NoToken> {
        let mut held = self.held.lock().await;
        let fresh = held.as_ref().filter(|held| {
            let again = refused.is_some_and(|token| token.expose_secret() == held.token.expose_secret());
            !again && Instant::now() < held.until
        });
        if let Some(held) = fresh {
            return Ok(held.token.clone());
        }
        *held = None;
        let left = end.saturating_duration_since(Instant::now());
        let answer = egress.send(self.request(), left).await.map_err(NoToken::Failed)?;
        let new = self.judge(&answer, now).map_err(NoToken::Refused)?;
        let token = new.token.clone();
        *held = Some(new);
        Ok(token)
    }

    fn request(&self) -> Request {
        // RFC 6749, 2.3.1: both halves are form-encoded before they are joined.
        let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let pair = format!("{}:{}", encode(&self.client_id), encode(self.client_secret.expose_secret()));
        let mut headers = HeaderMap::new();
        if let Ok(mut value) = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(pair))) {
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials");
        if let Some(scope) = &self.scope {
            form.append_pair("scope", scope);
        }
        Request {
            method: Method::POST,
            url: self.token_url.clone(),
            headers,
            body: form.finish().into_bytes(),
            answer_bytes_max: ANSWER_BYTES_MAX,
        }
    }

    fn judge(&self, answer: &Answer, now: jiff::Timestamp) -> Result<Held, Verdict> {
        let (status, place) = (answer.status, place(&self.token_url));
        match status.as_u16() {
            200..=299 => held(answer).ok_or_else(|| {
                (
                    Outcome::TargetBroken,
                    format!("{place} answered {status} but gave no bearer token; check `token_url`"),
                )
            }),
            429 => {
                let after = asked(&answer.headers, &answer.body, now);
                Err((
                    Outcome::Busy { after },
                    format!("{place} asks to wait before it gives a token ({status})"),
                ))
            }
            408 | 425 | 500..=599 => {
                let after = asked(&answer.headers, &answer.body, now);
                Err((Outcome::Retry { after }, format!("{place} could not give a token ({status})")))
            }
            _ => {
                let error = serde_json::from_slice::<Denied>(&answer.body).map(|denied| denied.error);
                let word = error.map(|error| format!(" {}", excerpt(&error))).unwrap_or_default();
                let words = format!(
                    "{place} gives no token ({status}{word}); check `client_id`, `client_secret`, `scope` and `token_url`"
                );
                Err((Outcome::TargetBroken, words))
            }
        }
    }
}

/// An error code of RFC 6749 is one short ASCII word; whatever else stands there is not repeated.
fn excerpt(word: &str) -> &str {
    let short = word.len() <= 40 && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    if short { word } else { "with an error of its own" }
}

fn held(answer: &Answer) -> Option<Held> {
    let granted: Granted = serde_json::from_slice(&answer.body).ok()?;
    let seconds = match &granted.expires_in {
        Value::String(text) => text.trim().parse().ok(),
        other => other.as_f64(),
    };
    let asked = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let life = asked.unwrap_or(LIFE_DEFAULT).min(LIFE_MAX);
    let kept = life.saturating_sub(MARGIN).max(life / 2);
    HeaderValue::try_from(&granted.access_token).ok()?;
    Some(Held { token: granted.access_token.into(), until: Instant::now() + kept })
}
