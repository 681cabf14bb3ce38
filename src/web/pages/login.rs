//! Signing in with the console's token, and out.

use askama::Template;
use axum::Extension;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;

use super::{Answer, page};
use crate::web::Console;
use crate::web::access::{Admittance, SESSION};
use crate::web::form::Fields;
use crate::web::guard::{COOKIE, Visitor, slow_down};

#[derive(Template)]
#[template(path = "login.html")]
struct Login {
    proof: String,
    next: String,
    wrong: bool,
}

impl Login {
    fn new(visitor: &Visitor, next: &str, wrong: bool) -> Self {
        let proof = format!("<input type=\"hidden\" name=\"csrf\" value=\"{}\">", visitor.proof);
        Self { proof, next: ours(next).to_owned(), wrong }
    }
}

/// A path of this console; nothing leads elsewhere. Browsers leave tabs and ends of lines out of an address, and take `\` for `/`.
fn ours(next: &str) -> &str {
    let strange = |char: char| char.is_ascii_control() || char == '\\';
    let inside = next.starts_with('/') && !next.starts_with("//") && !next.contains(strange);
    if inside { next } else { "/" }
}

#[derive(Deserialize)]
pub(in crate::web) struct Asked {
    #[serde(default)]
    next: String,
}

/// `GET /login`
pub(in crate::web) async fn show(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    Query(asked): Query<Asked>,
) -> Answer {
    if !console.access.is_guarded() {
        return Ok(Redirect::to("/").into_response());
    }
    page(&Login::new(&visitor, &asked.next, false))
}

/// `POST /login`
pub(in crate::web) async fn sign_in(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    headers: HeaderMap,
    body: String,
) -> Answer {
    let fields = Fields::of(&body);
    let peer = visitor.peer;
    match console.access.admit(fields.one("token"), peer.ip(), console.relay.clock.now()) {
        Admittance::Session(session) => {
            tracing::info!(%peer, "signed in to the console");
            let secure = headers.get("x-forwarded-proto").is_some_and(|scheme| scheme == "https");
            let lasts = SESSION.as_secs();
            Ok(with_cookie(Redirect::to(ours(fields.one("next"))), &session, lasts, secure))
        }
        Admittance::Wrong => {
            let mut response = page(&Login::new(&visitor, fields.one("next"), true))?;
            *response.status_mut() = StatusCode::UNAUTHORIZED;
            Ok(response)
        }
        Admittance::Wait(seconds) => Ok(slow_down(seconds)),
    }
}

/// `POST /logout`
pub(in crate::web) async fn sign_out() -> Response {
    with_cookie(Redirect::to("/login"), "", 0, false)
}

fn with_cookie(answer: Redirect, session: &str, lasts: i64, secure: bool) -> Response {
    let mut response = answer.into_response();
    let secure = if secure { "; Secure" } else { "" };
    // Lax, so that a link in a mail or a chat leads to its page and not to the door; nothing changes by a link.
    let cookie = format!("{COOKIE}={session}; Path=/; HttpOnly; SameSite=Lax; Max-Age={lasts}{secure}");
    if let Ok(value) = HeaderValue::from_str(&cookie) {
        response.headers_mut().insert(header::SET_COOKIE, value);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::ours;

    #[test]
    fn signing_in_leads_nowhere_else() {
        assert_eq!(ours("/deliveries?state=dead"), "/deliveries?state=dead");
        for elsewhere in [
            "",
            "https://evil.test",
            "//evil.test",
            "/\\evil.test",
            "javascript:alert(1)",
            "/\r\nx",
            // Browsers leave tabs out.
            "/\t/evil.test",
            // No header can hold these.
            "/\u{1}",
            "/\u{7f}",
        ] {
            assert_eq!(ours(elsewhere), "/", "{elsewhere:?}");
        }
    }
}
