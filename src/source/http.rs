//! One GET to the API with the account's token: the token's file, the deadline, the size limit, no redirects.

use std::error::Error;
use std::path::Path;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use reqwest::header::{ACCEPT, AUTHORIZATION, DATE, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Mutex;
use url::Url;

use super::fault::{ApiError, Network, retry_after};
use super::{Account, Token, stamp, wire};

/// What every request says it comes from.
const USER_AGENT: &str = concat!("activity-relay/", env!("CARGO_PKG_VERSION"));
/// A connection that takes longer than this to make is given up.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);
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
    client: reqwest::Client,
}

/// A token file as last read.
#[derive(Debug)]
struct TokenFile {
    token: SecretString,
    modified: Option<SystemTime>,
    bytes: u64,
}

impl Http {
    /// For one account.
    ///
    /// # Errors
    /// The HTTP client cannot be made (the machine's certificate authorities cannot be read).
    pub fn new(account: &Account) -> Result<Self, ApiError> {
        Ok(Self {
            base: account.base_url.clone(),
            token: account.token.clone(),
            account: account.name.clone(),
            read: Mutex::new(None),
            client: client()?,
        })
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
        let exchange = async {
            let response = self.client.get(url.clone()).headers(headers).send().await;
            let response = response.map_err(|error| self.network(&error))?;
            read(response, bytes_max).await
        };
        tokio::time::timeout(deadline, exchange).await.map_err(|_| ApiError::Network {
            reason: Network::Timeout,
            detail: format!("{}, {} s", self.host(), deadline.as_secs_f64()),
        })?
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

    fn host(&self) -> String {
        let host = self.base.host_str().unwrap_or_default();
        self.base.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }

    /// Which step failed, from the chain of causes.
    fn network(&self, error: &reqwest::Error) -> ApiError {
        let mut causes = Vec::new();
        let mut cause = error.source();
        while let Some(inner) = cause {
            causes.push(inner.to_string());
            cause = inner.source();
        }
        let all = causes.join(": ").to_lowercase();
        let reason = if error.is_timeout() {
            Network::Timeout
        } else if all.contains("dns error") || all.contains("failed to lookup") {
            Network::Dns
        } else if all.contains("certificate") || all.contains("tls") || all.contains("handshake") {
            Network::Tls
        } else if error.is_connect() {
            Network::Connect
        } else {
            Network::Broken
        };
        let cause = causes.last().map_or("no further cause", String::as_str);
        ApiError::Network { reason, detail: format!("{}: {}", self.host(), wire::cut(cause)) }
    }
}

async fn read(mut response: reqwest::Response, bytes_max: usize) -> Result<Reply, ApiError> {
    let text = |headers: &HeaderMap, name| {
        headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok().map(str::to_owned))
    };
    let headers = response.headers();
    let server_now = text(headers, DATE).and_then(|date| stamp::http_date(&date));
    let mut reply = Reply {
        status: response.status().as_u16(),
        server_now,
        retry_after: text(headers, RETRY_AFTER).and_then(|wait| retry_after(&wait, server_now)),
        location: text(headers, LOCATION),
        body: Vec::new(),
    };
    loop {
        match response.chunk().await {
            Ok(None) => return Ok(reply),
            Ok(Some(chunk)) if reply.body.len() + chunk.len() > bytes_max => {
                return Err(ApiError::Unreadable(format!("it is longer than {bytes_max} bytes")));
            }
            Ok(Some(chunk)) => reply.body.extend_from_slice(&chunk),
            // A refusal is a refusal even if the words for it do not arrive.
            Err(_) if !(200..300).contains(&reply.status) => return Ok(reply),
            Err(_) => {
                return Err(ApiError::Network {
                    reason: Network::Broken,
                    detail: format!("after {} bytes of the answer", reply.body.len()),
                });
            }
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the account's API may stand on loopback, which no egress policy of targets allows"
)]
fn client() -> Result<reqwest::Client, ApiError> {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .referer(false)
        .user_agent(USER_AGENT)
        .connect_timeout(CONNECT_TIME_MAX)
        .build()
        .map_err(|error| ApiError::Network {
            reason: Network::Tls,
            detail: format!("the HTTP client cannot be made: {}", wire::cut(&error.to_string())),
        })
}
