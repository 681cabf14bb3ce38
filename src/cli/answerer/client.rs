//! Asks a running relay's API, and turns every refusal into a sentence with its remedy and its exit code.

use std::net::IpAddr;
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION};
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use url::{Host, Url};

use crate::cli::output::{WARN, paint};
use crate::cli::{Exit, Stop};
use crate::egress::policy::Policy;
use crate::egress::{Answer, Egress, Request, place};

/// The answer must come within this time; where somebody else is asked on the way, within the longer one.
const PATIENCE: Duration = Duration::from_mins(1);
const PATIENCE_LONG: Duration = Duration::from_mins(5);
/// More is not read of an answer, in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// What every problem of the relay begins with.
const PROBLEMS: &str = "urn:activity-relay:problem:";

/// One question.
#[derive(Debug)]
pub(super) struct Question {
    method: Method,
    /// Behind `/api/v1`.
    path: Vec<String>,
    query: Vec<(String, String)>,
    body: Option<Value>,
    patience: Duration,
}

impl Question {
    pub(super) fn new(method: Method, path: &[&str]) -> Self {
        let path = path.iter().map(|&part| part.to_owned()).collect();
        Self { method, path, query: Vec::new(), body: None, patience: PATIENCE }
    }

    pub(super) fn query(mut self, name: &str, value: String) -> Self {
        self.query.push((name.to_owned(), value));
        self
    }

    pub(super) fn body(self, body: Value) -> Self {
        Self { body: Some(body), ..self }
    }

    /// The relay asks somebody else before it answers.
    pub(super) fn patiently(self) -> Self {
        Self { patience: PATIENCE_LONG, ..self }
    }
}

/// A relay that can be asked.
#[derive(Debug)]
pub(super) struct Client {
    base: Url,
    /// As the header holds it, marked as a secret.
    token: Option<HeaderValue>,
    egress: Egress,
}

/// Why the relay did not do it (RFC 9457).
#[derive(Deserialize)]
struct Problem {
    r#type: String,
    detail: String,
}

/// What is needed of `/api/openapi.json`.
#[derive(Deserialize)]
struct Description {
    info: Info,
    paths: Map<String, Value>,
}

#[derive(Deserialize)]
struct Info {
    version: String,
}

fn unavailable(message: impl Into<String>) -> anyhow::Error {
    Stop::new(Exit::Unavailable, message)
}

impl Client {
    /// A client for the relay at that URL, which may have a path before `/api`.
    ///
    /// # Errors
    /// Exit 2: it is no URL of a relay, or the token cannot be sent.
    pub(super) fn new(url: &str, token: Option<&str>) -> anyhow::Result<Self> {
        let wrong = |why: &str| Stop::new(Exit::Usage, format!("--url {why}"));
        let base = Url::parse(url)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or_else(|| wrong("is no address of a relay: write it as http://127.0.0.1:8787"))?;
        if !base.username().is_empty() || base.password().is_some() {
            return Err(wrong("holds a user name or password: the token goes into RELAY_CONSOLE_TOKEN"));
        }
        if base.query().is_some() || base.fragment().is_some() {
            return Err(wrong("ends with its path: no `?…`, no `#…`; a token goes into RELAY_CONSOLE_TOKEN"));
        }
        let header = |token: &str| {
            let mut header = HeaderValue::from_str(&format!("Bearer {token}"))
                .map_err(|_| Stop::new(Exit::Usage, "RELAY_CONSOLE_TOKEN holds what no header can"))?;
            header.set_sensitive(true);
            Ok::<_, anyhow::Error>(header)
        };
        let token = token.map(header).transpose()?;
        // It is the operator's own address: wherever it is, it is meant.
        Ok(Self { base, token, egress: Egress::new(Policy::Any) })
    }

    /// What to say before anything is sent: others can read a token that goes over plain HTTP.
    pub(super) fn warning(&self) -> Option<String> {
        let near = match self.base.host()? {
            Host::Domain(name) => name.eq_ignore_ascii_case("localhost"),
            Host::Ipv4(four) => four.is_loopback(),
            Host::Ipv6(six) => IpAddr::V6(six).to_canonical().is_loopback(),
        };
        let readable = self.token.is_some() && self.base.scheme() == "http" && !near;
        readable.then(|| {
            let text = format!(
                "the token goes to {} unencrypted, and whoever is on the way can read it: use https, or a tunnel",
                place(&self.base)
            );
            paint(WARN, text)
        })
    }

    /// Asks, and reads the answer.
    ///
    /// # Errors
    /// There is none, or it is a refusal: each with its sentence and exit code.
    pub(super) async fn ask<T: DeserializeOwned>(&self, question: Question) -> anyhow::Result<T> {
        let answer = self.send(&question).await?;
        if answer.status.is_success() {
            if answer.cut.is_some() {
                let place = place(&self.base);
                return Err(unavailable(format!("the answer of the relay at {place} broke off; try again")));
            }
            return serde_json::from_slice(&answer.body).map_err(|error| self.unreadable(&error));
        }
        Err(self.refused(&question, &answer).await)
    }

    /// What answers is no relay, or one that answers otherwise than this program knows.
    pub(super) fn unreadable(&self, error: &serde_json::Error) -> anyhow::Error {
        unavailable(format!(
            "the answer of {} cannot be read ({error}): either no relay answers there, or one of another version than \
             this program ({})",
            self.shown(),
            env!("CARGO_PKG_VERSION")
        ))
    }

    async fn send(&self, question: &Question) -> anyhow::Result<Answer> {
        let path = question.path.iter().map(String::as_str);
        let mut url = self.address(["api", "v1"].into_iter().chain(path));
        if !question.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&question.query);
        }
        let mut headers = self.headers();
        let body = question.body.as_ref().map(Value::to_string).unwrap_or_default();
        if !body.is_empty() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        let request = Request {
            method: question.method.clone(),
            url,
            headers,
            body: body.into_bytes(),
            answer_bytes_max: ANSWER_BYTES_MAX,
        };
        self.egress.send(request, question.patience).await.map_err(|failure| {
            let remedy = "is it running, and is this what its --listen names?";
            unavailable(format!("no relay answers at {}: {failure}; {remedy}", self.shown()))
        })
    }

    fn headers(&self) -> HeaderMap {
        let json = (ACCEPT, HeaderValue::from_static("application/json"));
        let token = self.token.clone().map(|token| (AUTHORIZATION, token));
        [json].into_iter().chain(token).collect()
    }

    /// An address below the relay's own.
    fn address<'p>(&self, path: impl IntoIterator<Item = &'p str>) -> Url {
        let mut url = self.base.clone();
        // Only an address that cannot be a base has no path, and none of those has a host.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url
    }

    /// The relay's address as it was given.
    fn shown(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    async fn refused(&self, question: &Question, answer: &Answer) -> anyhow::Error {
        let (status, shown) = (answer.status, self.shown());
        if status.is_redirection() {
            return self.redirected(answer);
        }
        let problem: Option<Problem> = serde_json::from_slice(&answer.body).ok();
        let kind = problem.as_ref().and_then(|problem| problem.r#type.strip_prefix(PROBLEMS));
        let (Some(problem), Some(kind)) = (&problem, kind) else { return self.strange(status) };
        let detail = &problem.detail;
        match kind {
            "unauthorized" if self.token.is_none() => unavailable(format!(
                "the relay at {shown} demands a token: set RELAY_CONSOLE_TOKEN to the one it was started with"
            )),
            "unauthorized" => unavailable(format!(
                "the relay at {shown} does not take this token: RELAY_CONSOLE_TOKEN has to be the one it was started with"
            )),
            "not-found" | "method-not-allowed" => match self.knows(question).await {
                Ok(None) => Stop::new(Exit::Problem, detail.as_str()),
                Ok(Some(version)) => unavailable(format!(
                    "the relay at {shown} (version {version}) does not know this question: it is older than this program \
                     (version {}); update it, or run the command on its machine",
                    env!("CARGO_PKG_VERSION")
                )),
                Err(error) => error,
            },
            "conflict" => Stop::new(Exit::Problem, detail.as_str()),
            "bad-request" | "unsupported-media-type" | "too-large" => Stop::new(Exit::Usage, detail.as_str()),
            _ => unavailable(format!("the relay at {shown} refuses it: {detail}")),
        }
    }

    fn redirected(&self, answer: &Answer) -> anyhow::Error {
        let to = answer.headers.get(LOCATION).and_then(|to| to.to_str().ok());
        // Its query may hold what nobody else is to see.
        let to = to.and_then(|to| self.base.join(to).ok()).map(|to| format!("{}{}", place(&to), to.path()));
        unavailable(format!(
            "{} leads on to {}, which is not followed, so that the token goes nowhere else; if the relay is there, give \
             that address",
            self.shown(),
            to.as_deref().unwrap_or("somewhere else")
        ))
    }

    /// Somebody else answers than the relay's API.
    fn strange(&self, status: StatusCode) -> anyhow::Error {
        unavailable(format!(
            "what answers at {} is not the API of a relay ({status}); where it is reached through a proxy, give the path \
             too, such as https://example.com/relay",
            self.shown()
        ))
    }

    /// Whether the relay knows the question: `None`, or the version of one that does not.
    async fn knows(&self, question: &Question) -> anyhow::Result<Option<String>> {
        let url = self.address(["api", "openapi.json"]);
        let request = Request::get(url, self.headers(), ANSWER_BYTES_MAX);
        let answer = self.egress.send(request, PATIENCE).await;
        let answer = answer.map_err(|failure| unavailable(failure.to_string()))?;
        let Ok(description) = serde_json::from_slice::<Description>(&answer.body) else {
            return Err(self.strange(answer.status));
        };
        let method = question.method.as_str().to_lowercase();
        let known = description
            .paths
            .iter()
            .any(|(path, operations)| operations.get(&method).is_some() && fits(path, &question.path));
        Ok((!known).then_some(description.info.version))
    }
}

/// Whether a path of the description, such as `/api/v1/mutes/{id}`, is that of a question.
fn fits(described: &str, path: &[String]) -> bool {
    let Some(described) = described.strip_prefix("/api/v1/") else { return false };
    let parts: Vec<&str> = described.split('/').collect();
    parts.len() == path.len()
        && parts.iter().zip(path).all(|(part, given)| part.starts_with('{') || part == given)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(url: &str) -> Client {
        Client::new(url, Some("a-token")).unwrap()
    }

    #[test]
    fn addresses_are_below_the_one_given_whatever_stands_in_them() {
        let of = |url: &str| client(url).address(["api", "v1", "targets", "a/b ?", "pause"]).to_string();
        assert_eq!(of("http://h:1"), "http://h:1/api/v1/targets/a%2Fb%20%3F/pause");
        assert_eq!(of("http://h:1/"), "http://h:1/api/v1/targets/a%2Fb%20%3F/pause");
        assert_eq!(of("https://h/x/relay/"), "https://h/x/relay/api/v1/targets/a%2Fb%20%3F/pause");
        for wrong in ["127.0.0.1:8787", "ftp://h", "http://u:p@h", "http://h/?token=x", "relay"] {
            assert!(Client::new(wrong, None).is_err(), "{wrong}");
        }
        assert!(Client::new("http://h", Some("two\nlines")).is_err());
    }

    #[test]
    fn a_token_that_others_can_read_is_warned_of() {
        for near in
            ["http://localhost:1", "http://127.0.0.9", "http://[::1]:8787", "https://relay.example.com"]
        {
            assert_eq!(client(near).warning(), None, "{near}");
        }
        for far in ["http://10.0.0.7:8787", "http://relay.example.com"] {
            assert!(client(far).warning().is_some_and(|text| text.contains("https")), "{far}");
            assert_eq!(
                Client::new(far, None).unwrap().warning(),
                None,
                "without a token there is nothing to read"
            );
        }
    }

    #[test]
    fn a_question_is_known_by_the_description() {
        let path = |parts: &[&str]| parts.iter().map(|&part| part.to_owned()).collect::<Vec<_>>();
        assert!(fits("/api/v1/targets/{name}/pause", &path(&["targets", "crm", "pause"])));
        assert!(!fits("/api/v1/targets/{name}/pause", &path(&["targets", "crm", "resume"])));
        assert!(!fits("/api/v1/targets", &path(&["targets", "crm"])));
    }
}
