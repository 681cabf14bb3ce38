//! The one HTTP client: own name resolution with every address checked when dialling, no redirects, no proxies, capped answers.

pub mod failure;
mod handed;
pub mod policy;
pub mod resolve;
pub mod tls;

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{Client, Method, Response, StatusCode};
use rustls::ClientConfig;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use url::{Host, Url};

pub use failure::{Failure, FailureKind, place};
use handed::Handed;
use policy::{Policy, check_url};
use resolve::{Guarded, Resolver};

/// How much of an answer's body is kept, after decompression, unless a request says otherwise.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// What every request says it comes from, unless it says otherwise itself.
pub const USER_AGENT: &str = concat!("activity-relay/", env!("CARGO_PKG_VERSION"));
/// A connection that takes longer than this to make is given up, even within a longer deadline.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);
/// How long an unused connection is kept.
const IDLE_TIME_MAX: Duration = Duration::from_mins(1);
/// How many unused connections to one host are kept.
const IDLE_CONNECTIONS_MAX: usize = 64;

/// An HTTP client under a policy. Cheap to clone; clones share connections, so make one per policy and clone it.
#[derive(Clone)]
pub struct Egress {
    inner: Arc<Inner>,
}

struct Inner {
    guarded: Guarded,
    roots: Vec<CertificateDer<'static>>,
    /// Made at the first use: reading the machine's authorities takes time and memory.
    client: OnceLock<Result<(Client, Arc<ClientConfig>), Failure>>,
}

/// One request.
#[derive(Clone)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// Where to.
    pub url: Url,
    /// Headers beside those that HTTP itself needs.
    pub headers: HeaderMap,
    /// The body, empty for none.
    pub body: Vec<u8>,
    /// Reading stops after so many bytes of the answer's body, counted after decompression.
    pub answer_bytes_max: usize,
}

impl Request {
    /// A GET whose answer may be so long.
    pub fn get(url: Url, headers: HeaderMap, answer_bytes_max: usize) -> Self {
        Self { method: Method::GET, url, headers, body: Vec::new(), answer_bytes_max }
    }
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body's beginning, decompressed.
    pub body: Vec<u8>,
    /// Why the body is not all there; `None` for a whole one.
    pub cut: Option<Cut>,
}

/// Why a body was not read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// It is longer than asked for.
    TooLong,
    /// The deadline passed.
    Deadline,
    /// The connection broke, its length lied or its compression is damaged.
    Broken,
}

impl Answer {
    /// The body as text; what is not UTF-8 shows as replacement characters.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl fmt::Debug for Egress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Egress").field("policy", self.policy()).finish_non_exhaustive()
    }
}

impl Egress {
    /// A client that may only reach what the policy allows.
    pub fn new(policy: Policy) -> Self {
        Self::with(policy, Resolver::System, Vec::new())
    }

    /// A client with its own resolver, and with certificate authorities beside the machine's.
    pub fn with(policy: Policy, resolver: Resolver, roots: Vec<CertificateDer<'static>>) -> Self {
        let guarded = Guarded { resolver, policy };
        Self { inner: Arc::new(Inner { guarded, roots, client: OnceLock::new() }) }
    }

    /// The policy it was made with.
    pub fn policy(&self) -> &Policy {
        &self.inner.guarded.policy
    }

    /// Sends a request. The deadline covers everything: name lookup, connecting, TLS, headers and body. Once a status
    /// is there it is an answer, even if its body stalls, lies about its length or does not end: reading just stops.
    pub async fn send(&self, request: Request, deadline: Duration) -> Result<Answer, Failure> {
        let end = Instant::now() + deadline;
        let Request { method, url, headers, body, answer_bytes_max } = request;
        check_url(&url, self.policy()).map_err(|refusal| Failure::refused(&refusal))?;
        let (client, _) = self.client()?;
        let (body, handed) = Handed::of(body);
        let request = client.request(method, url.clone()).headers(headers).body(body);
        let response = match timeout_at(end, request.send()).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(Failure::of(&url, &error).after(&handed)),
            Err(_) => return Err(Failure::timeout(&url, deadline).after(&handed)),
        };
        let (status, headers) = (response.status(), response.headers().clone());
        let (body, cut) = read(response, answer_bytes_max, end).await;
        Ok(Answer { status, headers, body, cut })
    }

    /// Connects, shakes hands over TLS where the URL says `https`, and hangs up: nothing is posted. Says what it reached.
    pub async fn reach(&self, url: &Url, deadline: Duration) -> Result<String, Failure> {
        check_url(url, self.policy()).map_err(|refusal| Failure::refused(&refusal))?;
        let reached = tokio::time::timeout(deadline, self.shake_hands(url)).await;
        reached.map_err(|_| Failure::timeout(url, deadline))?
    }

    async fn shake_hands(&self, url: &Url) -> Result<String, Failure> {
        let failed = |error: &(dyn std::error::Error + 'static)| Failure::of(url, error);
        let port = url.port_or_known_default().unwrap_or(443);
        let (addresses, server) = match url.host() {
            Some(Host::Ipv4(four)) => (vec![four.into()], ServerName::IpAddress(four.into())),
            Some(Host::Ipv6(six)) => (vec![six.into()], ServerName::IpAddress(six.into())),
            Some(Host::Domain(name)) => {
                let addresses = self.inner.guarded.addresses(name).await.map_err(|error| failed(&error))?;
                let name = ServerName::try_from(name.to_owned()).map_err(|error| failed(&error))?;
                (addresses, name)
            }
            None => return Err(Failure::refused(&policy::Refusal::NoHost)),
        };
        let addresses: Vec<_> = addresses.into_iter().map(|ip| std::net::SocketAddr::new(ip, port)).collect();
        let stream =
            TcpStream::connect(addresses.as_slice()).await.map_err(|error| match failed(&error) {
                failure if failure.kind == FailureKind::Reset => {
                    Failure { kind: FailureKind::Connect, ..failure }
                }
                failure => failure,
            })?;
        if url.scheme() != "https" {
            return Ok(format!("{} accepts connections", place(url)));
        }
        let (_, tls) = self.client()?;
        let stream = TlsConnector::from(Arc::clone(tls)).connect(server, stream).await;
        let stream = stream.map_err(|error| failed(&error))?;
        let version =
            stream.get_ref().1.protocol_version().and_then(|version| version.as_str()).unwrap_or("TLS");
        Ok(format!("{} accepts connections over {version} with a valid certificate", place(url)))
    }

    fn client(&self) -> Result<&(Client, Arc<ClientConfig>), Failure> {
        self.inner.client.get_or_init(|| self.build()).as_ref().map_err(Clone::clone)
    }

    #[expect(clippy::disallowed_methods, reason = "this is the door")]
    fn build(&self) -> Result<(Client, Arc<ClientConfig>), Failure> {
        let config = tls::client_config(&self.inner.roots).map_err(|error| Failure::of_client(&error))?;
        let plain = Arc::new(config.clone());
        let mut config = config;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let client = Client::builder()
            .tls_backend_preconfigured(config)
            .dns_resolver(self.inner.guarded.clone())
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .user_agent(USER_AGENT)
            .connect_timeout(CONNECT_TIME_MAX)
            .pool_idle_timeout(IDLE_TIME_MAX)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .build();
        let client = client.map_err(|error| {
            let text = format!("the HTTP client cannot be made: {error}");
            Failure::new(FailureKind::Other, text)
        })?;
        Ok((client, plain))
    }
}

/// Reads a body's beginning until it ends, is long enough, breaks, or `end` comes.
async fn read(mut response: Response, bytes_max: usize, end: Instant) -> (Vec<u8>, Option<Cut>) {
    let mut body = Vec::new();
    loop {
        match timeout_at(end, response.chunk()).await {
            Ok(Ok(Some(chunk))) => {
                let room = bytes_max - body.len();
                body.extend_from_slice(&chunk[..chunk.len().min(room)]);
                if chunk.len() > room {
                    return (body, Some(Cut::TooLong));
                }
            }
            Ok(Ok(None)) => return (body, None),
            Ok(Err(_)) => return (body, Some(Cut::Broken)),
            Err(_) => return (body, Some(Cut::Deadline)),
        }
    }
}
