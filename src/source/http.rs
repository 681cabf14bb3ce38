//! One GET to the API with the account's token: the token's file, the deadline, the size limit, no redirects.

use std::path::Path;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use reqwest::header::{ACCEPT, AUTHORIZATION, DATE, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Mutex;
use url::Url;

use super::fault::{ApiError, Network, retry_after};
use super::{Account, Token, stamp};
use crate::egress::policy::Policy;
use crate::egress::{Answer, Cut, Egress, FailureKind, Request};

/// The longest token file that is read, in bytes.
const TOKEN_BYTES_MAX: u64 = 64 * 1024;

/// What came back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The server's clock (`Date`).
    pub server_now: Option<Timestamp>,
    /// How long it asked us to wait.
    pub retry_after: Option<Duration>,
    /// Where a redirect points.
    pub location: Option<String>,
    /// The body, decompressed.
    pub body: Vec<u8>,
}

/// Makes requests with an account's token.
#[derive(Debug)]
pub struct Http {
    base: Url,
    token: Token,
    account: String,
    read: Mutex<Option<TokenFile>>,
    egress: Egress,
}

/// A token file as last read.
#[derive(Debug)]
struct TokenFile {
    token: SecretString,
    modified: Option<SystemTime>,
    bytes: u64,
}

/// The client for the API of all accounts; clones share connections. It may dial any address: where it goes is the
/// owner's `base_url` alone and never comes from a message, and a sandbox stands on loopback.
pub fn egress() -> Egress {
    Egress::new(Policy::Any)
}

impl Http {
    /// For one account.
    pub fn new(account: &Account, egress: &Egress) -> Self {
        Self {
            base: account.base_url.clone(),
            token: account.token.clone(),
            account: account.name.clone(),
            read: Mutex::new(None),
            egress: egress.clone(),
        }
    }

    /// Asks for a path. A 401 makes a token file be read again, and a token that changed is tried at once.
    /// The deadline covers name lookup, connecting, headers and body of each of the two tries.
    ///
    /// # Errors
    /// No token, no answer, or an answer that is too long; any status is an answer.
    pub async fn get(
        &self,
        path: &str,
        query: &[(&str, String)],
        deadline: Duration,
        bytes_max: usize,
    ) -> Result<Reply, ApiError> {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path().trim_end_matches('/')));
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let token = self.token(false).await?;
        let reply = self.send(&url, &token, deadline, bytes_max).await?;
        if reply.status != 401 || matches!(self.token, Token::Value(_)) {
            return Ok(reply);
        }
        let newer = self.token(true).await?;
        if newer.expose_secret() == token.expose_secret() {
            return Ok(reply);
        }
        self.send(&url, &newer, deadline, bytes_max).await
    }

    async fn send(
        &self,
        url: &Url,
        token: &SecretString,
        deadline: Duration,
        bytes_max: usize,
    ) -> Result<Reply, ApiError> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let bearer = HeaderValue::from_str(&format!("Bearer {}", token.expose_secret()));
        let mut bearer = bearer.map_err(|_| self.no_token("holds characters that no token has"))?;
        bearer.set_sensitive(true);
        headers.insert(AUTHORIZATION, bearer);
        let answer = self.egress.send(Request::get(url.clone(), headers, bytes_max), deadline).await;
        let answer = answer.map_err(|failure| ApiError::Network {
            reason: match failure.kind {
                FailureKind::Dns => Network::Dns,
                FailureKind::Connect | FailureKind::Policy => Network::Connect,
                FailureKind::Tls => Network::Tls,
                FailureKind::Timeout => Network::Timeout,
                FailureKind::Reset | FailureKind::Other => Network::Broken,
            },
            detail: failure.text,
        })?;
        reply(answer, bytes_max)
    }

    /// The token, from its file again if that changed or if `again`.
    async fn token(&self, again: bool) -> Result<SecretString, ApiError> {
        let path = match &self.token {
            Token::Value(token) => return self.trimmed(token.expose_secret()),
            Token::File(path) => path,
        };
        let mut read = self.read.lock().await;
        let facts = tokio::fs::metadata(path).await.map_err(|error| self.no_file(path, &error))?;
        let fits = |known: &TokenFile| known.modified == facts.modified().ok() && known.bytes == facts.len();
        if let Some(known) = read.as_ref().filter(|known| !again && fits(known)) {
            return Ok(known.token.clone());
        }
        if facts.len() > TOKEN_BYTES_MAX {
            return Err(self.no_token("is a file far too long for a token"));
        }
        let text = tokio::fs::read_to_string(path).await.map_err(|error| self.no_file(path, &error))?;
        let token = self.trimmed(&text)?;
        *read = Some(TokenFile { token: token.clone(), modified: facts.modified().ok(), bytes: facts.len() });
        Ok(token)
    }

    fn trimmed(&self, text: &str) -> Result<SecretString, ApiError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(self.no_token("is empty"));
        }
        Ok(SecretString::from(text))
    }

    fn no_token(&self, what: &str) -> ApiError {
        let place = match &self.token {
            Token::Value(_) => String::new(),
            Token::File(path) => format!(" in {}", path.display()),
        };
        ApiError::NoToken(format!(
            "the token of account {}{place} {what}; put a staff token there",
            self.account
        ))
    }

    fn no_file(&self, path: &Path, error: &std::io::Error) -> ApiError {
        ApiError::NoToken(format!(
            "the token file {} of account {} cannot be read: {error}; check token_file and who may read it",
            path.display(),
            self.account
        ))
    }
}

/// The parts of an answer that matter here. A success has to be whole; a refusal is a refusal even if the words for it
/// do not all arrive.
fn reply(answer: Answer, bytes_max: usize) -> Result<Reply, ApiError> {
    let text = |name| answer.headers.get(name).and_then(|value| value.to_str().ok());
    let server_now = text(DATE).and_then(stamp::http_date);
    let received = answer.body.len();
    let lost = |reason| ApiError::Network { reason, detail: format!("after {received} bytes of its answer") };
    match answer.cut.filter(|_| answer.status.is_success()) {
        Some(Cut::TooLong) => Err(ApiError::TooLong(bytes_max)),
        Some(Cut::Deadline) => Err(lost(Network::Timeout)),
        Some(Cut::Broken) => Err(lost(Network::Broken)),
        None => Ok(Reply {
            status: answer.status.as_u16(),
            server_now,
            retry_after: text(RETRY_AFTER).and_then(|wait| retry_after(wait, server_now)),
            location: text(LOCATION).map(str::to_owned),
            body: answer.body,
        }),
    }
}
