//! What every request to the console passes: which host it names, who sends it, whether a change comes from our own page; and
//! the headers that every answer carries.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Extension;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::rejection::ExtensionRejection;
use axum::extract::{ConnectInfo, FromRequestParts, Request, State};
use axum::http::header::{self, HeaderName};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Version};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use url::form_urlencoded;

use super::Console;
use super::access::{Admittance, SET_A_TOKEN};
use super::api::as_problem;
use super::pages::problem;

/// How long a form may be, in KiB, and how long it may take to arrive.
const BODY_KIB_MAX: usize = 256;
/// The same where ten thousand ids may be named.
const IDS_KIB_MAX: usize = 1024;
const IDS: [&str; 2] = ["/api/v1/deliveries/", "/deliveries/change"];
const BODY_TIME_MAX: Duration = Duration::from_secs(15);
/// The session's cookie.
pub(super) const COOKIE: &str = "relay_session";
/// The field of a form, and the header of a script, that proves that a change comes from a page of ours.
pub(super) const PROOF: &str = "csrf";
const PROOF_HEADER: &str = "x-csrf-token";
/// What a browser says about where a request comes from.
const FETCH_SITE: &str = "sec-fetch-site";
/// What is posted and changes nothing that is kept.
const CHANGES_NOTHING: [&str; 4] = ["/login", "/logout", "/playground/preview", "/api/v1/playground"];
/// What proxies add: who asks is not who is connected.
const PROXIED: [&str; 6] =
    ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "via"];
/// Where programs ask.
const API: &str = "/api/";
/// What is open to everybody.
const LOGIN: &str = "/login";
const ASSETS: &str = "/assets/";

/// Only what is our own, and nothing inside the page itself.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
    frame-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The sender of a request, once it has passed.
#[derive(Debug, Clone)]
pub(super) struct Visitor {
    /// What his pages send along with every change.
    pub(super) proof: String,
    /// Where he is.
    pub(super) peer: SocketAddr,
    /// He has shown a token and can leave.
    pub(super) signed_in: bool,
    /// Nothing can be changed.
    pub(super) read_only: bool,
}

/// What a handler is given: what is asked, and who asks.
pub(super) struct Call {
    pub(super) console: Console,
    pub(super) visitor: Visitor,
}

impl FromRequestParts<Console> for Call {
    type Rejection = ExtensionRejection;

    async fn from_request_parts(parts: &mut Parts, console: &Console) -> Result<Self, Self::Rejection> {
        let Extension(visitor) = Extension::from_request_parts(parts, console).await?;
        Ok(Self { console: console.clone(), visitor })
    }
}

/// Lets a request pass or answers it.
pub(super) async fn guard(
    State(console): State<Console>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    let embedded = request.uri().path().starts_with("/playground/mail/");
    let program = request.uri().path().starts_with(API);
    let mut response = match pass(&console, peer, request).await {
        Ok(request) => next.run(request).await,
        Err(refusal) => *refusal,
    };
    if program {
        response = as_problem(response);
    }
    harden(response.headers_mut(), embedded);
    response
}

/// The request with its [`Visitor`], or what it is answered.
async fn pass(console: &Console, peer: SocketAddr, request: Request) -> Result<Request, Box<Response>> {
    let access = &console.access;
    let refuse = |status, title: &str, words: &str| Err(Box::new(problem(status, title, words)));
    let passed_on = is_proxied(request.headers(), request.version());
    if !access.is_guarded() && passed_on && !request.uri().path().starts_with(ASSETS) {
        let words = format!(
            "The request came through a proxy, and the relay demands no token: whoever reaches the proxy could change \
             everything. To open the console to others, {SET_A_TOKEN}, and start the relay again."
        );
        return refuse(StatusCode::FORBIDDEN, "This console is not made for others yet", &words);
    }
    let host = text(request.headers(), "host").unwrap_or_default();
    if !access.knows_host(host) {
        return refuse(
            StatusCode::MISDIRECTED_REQUEST,
            "This name is not known here",
            "The console answers to addresses, to localhost and to this machine's own name. If it is to be reached by another \
             name, start the relay with --console-host NAME.",
        );
    }
    if names_a_token(request.uri().query().unwrap_or_default()) {
        return refuse(
            StatusCode::BAD_REQUEST,
            "A token does not belong into an address",
            "Addresses are written into logs and histories. Take this token out of use, and sign in with the new one at /login, \
             or send it as `Authorization: Bearer`.",
        );
    }
    let session = cookie(request.headers()).unwrap_or_default().to_owned();
    let (path, changes) = (request.uri().path().to_owned(), changes(request.method()));
    let mut bearer = false;
    if access.is_guarded() {
        let now = console.relay.clock.now();
        if let Some(token) = shown_token(request.headers()) {
            match access.admit(token, peer.ip(), now) {
                Admittance::Session(_) => bearer = true,
                Admittance::Wrong => {
                    return refuse(StatusCode::UNAUTHORIZED, "This is not the token", "Nothing was done.");
                }
                Admittance::Wait(seconds) => return Err(Box::new(slow_down(seconds))),
            }
        }
        let known = bearer || access.knows_session(&session, now);
        if !known && !is_open(&path) {
            return Err(Box::new(sign_in_first(&request, &path)));
        }
    }
    // Who signs in may have a session that has ended, or that the page which he comes from was not given.
    let session = if access.is_guarded() && path != LOGIN { session } else { String::new() };
    let visitor = Visitor {
        proof: access.proof(&session),
        peer,
        signed_in: access.is_guarded(),
        read_only: access.is_read_only(),
    };
    let mut request = if changes {
        if access.is_read_only() && !CHANGES_NOTHING.contains(&path.as_str()) {
            return refuse(
                StatusCode::FORBIDDEN,
                "Nothing can be changed here",
                "This console was started with --console-read-only.",
            );
        }
        proven(console, &session, bearer, request).await?
    } else {
        request
    };
    request.extensions_mut().insert(visitor);
    Ok(request)
}

/// A change that comes from a page of ours, or from a program that shows its token itself.
async fn proven(
    console: &Console,
    session: &str,
    bearer: bool,
    request: Request,
) -> Result<Request, Box<Response>> {
    let refuse = || {
        Err(Box::new(problem(
            StatusCode::FORBIDDEN,
            "This did not come from a page of this console",
            "Nothing was changed. If you did come from here, the page was open for too long: load it again and repeat what you did.",
        )))
    };
    let (headers, host) = (request.headers(), text(request.headers(), "host").unwrap_or_default());
    let origin = text(headers, "origin");
    let site = text(headers, FETCH_SITE);
    let strange = site.is_some_and(|site| site != "same-origin" && site != "none")
        || origin.is_some_and(|origin| {
            origin.split_once("://").is_none_or(|(_, of)| !of.eq_ignore_ascii_case(host))
        });
    if strange {
        return refuse();
    }
    // No browser leaves both away when a page sends something.
    let program = request.uri().path().starts_with(API) && origin.is_none() && site.is_none();
    let cookieless = cookie(headers).is_none();
    let header = text(headers, PROOF_HEADER).map(str::to_owned);
    let (parts, body) = request.into_parts();
    let names_ids = IDS.iter().any(|path| parts.uri.path().starts_with(path));
    let kib_max = if names_ids { IDS_KIB_MAX } else { BODY_KIB_MAX };
    let body = read(body, kib_max).await?;
    let trusted = bearer || (program && cookieless && !console.access.is_guarded());
    let shown = header.or_else(|| field(&parts.headers, &body, PROOF));
    if trusted || shown.is_some_and(|shown| console.access.is_proof(session, &shown)) {
        return Ok(Request::from_parts(parts, Body::from(body)));
    }
    refuse()
}

async fn read(body: Body, kib_max: usize) -> Result<Bytes, Box<Response>> {
    match tokio::time::timeout(BODY_TIME_MAX, to_bytes(body, kib_max * 1024)).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(_)) => Err(Box::new(problem(
            StatusCode::PAYLOAD_TOO_LARGE,
            "That is too much at once",
            &format!("What is sent here may have up to {kib_max} KiB."),
        ))),
        Err(_) => Err(Box::new(problem(
            StatusCode::REQUEST_TIMEOUT,
            "That took too long",
            "The form did not arrive within 15 seconds. Try again.",
        ))),
    }
}

/// A field of a form.
fn field(headers: &HeaderMap, body: &[u8], name: &str) -> Option<String> {
    let form = text(headers, "content-type")?.starts_with("application/x-www-form-urlencoded");
    let mut fields = form_urlencoded::parse(if form { body } else { b"" });
    fields.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

fn changes(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// What may be seen without a token.
fn is_open(path: &str) -> bool {
    path == LOGIN || path.starts_with(ASSETS)
}

fn names_a_token(query: &str) -> bool {
    let names = ["token", "access_token", "console_token", "console-token", "api_key", "authorization"];
    form_urlencoded::parse(query.as_bytes())
        .any(|(key, _)| names.iter().any(|name| key.eq_ignore_ascii_case(name)))
}

fn sign_in_first(request: &Request, path: &str) -> Response {
    let page = *request.method() == Method::GET
        && !path.starts_with(API)
        && text(request.headers(), "accept").is_some_and(|accepts| accepts.contains("text/html"));
    if page {
        let next = request.uri().path_and_query().map_or("/", |to| to.as_str());
        let to: String = form_urlencoded::Serializer::new(String::new()).append_pair("next", next).finish();
        return Redirect::to(&format!("/login?{to}")).into_response();
    }
    let mut response = problem(
        StatusCode::UNAUTHORIZED,
        "Sign in first",
        "Sign in at /login, or send the console's token as `Authorization: Bearer`.",
    );
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

/// What somebody is told who has shown too many wrong tokens.
pub(super) fn slow_down(seconds: i64) -> Response {
    let words = format!(
        "Too many wrong tokens came from your address. For {seconds} seconds only the right one is taken."
    );
    let mut response = problem(StatusCode::TOO_MANY_REQUESTS, "Slow down", &words);
    if let Ok(value) = HeaderValue::from_str(&seconds.to_string()) {
        response.headers_mut().insert(header::RETRY_AFTER, value);
    }
    response
}

/// The token that a program shows.
pub(super) fn shown_token(headers: &HeaderMap) -> Option<&str> {
    text(headers, "authorization").and_then(|value| value.strip_prefix("Bearer ")).map(str::trim)
}

/// Whether a request looks as if somebody passed it on. HTTP/1.0 is what nginx speaks to what is behind it unless it is told otherwise, and
/// browsers do not.
fn is_proxied(headers: &HeaderMap, version: Version) -> bool {
    version < Version::HTTP_11 || PROXIED.iter().any(|name| headers.contains_key(*name))
}

/// Whether a program on this machine asks, and for itself.
pub(super) fn is_near(peer: SocketAddr, headers: &HeaderMap, version: Version) -> bool {
    peer.ip().to_canonical().is_loopback() && !is_proxied(headers, version)
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = all.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == COOKIE).map(|(_, value)| value)
}

/// The headers of every answer.
fn harden(headers: &mut HeaderMap, embedded: bool) {
    let fixed = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // With `no-referrer` a browser would send `Origin: null` from our own forms.
        (header::REFERRER_POLICY, "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (
            HeaderName::from_static("permissions-policy"),
            "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
        ),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if !embedded {
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
        headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}

/// The console behind its guard.
pub(super) fn guarded(router: axum::Router<Console>, console: &Console) -> axum::Router<Console> {
    router.layer(axum::middleware::from_fn_with_state(console.clone(), guard))
}
