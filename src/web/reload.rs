//! `POST /-/reload`: reads the configuration again, for programs on this machine, or with the token, and never for a page in a
//! browser.

use std::net::{IpAddr, SocketAddr};

use axum::Json;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Version, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::Console;
use super::access::{Access, Admittance, name_of};
use super::guard::{is_near, shown_token};
use crate::config::report::{render_json, render_text};
use crate::daemon::reload::{Cause, Outcome, Reload};

/// What a browser says about where a request comes from.
const FETCH_SITE: &str = "sec-fetch-site";

/// 200 once it is in force or was so already; 422 with the problems if it cannot be used; 403 for who may not ask, 401 and
/// 429 for who shows a wrong token.
pub(super) async fn reload(
    State(console): State<Console>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    version: Version,
    headers: HeaderMap,
) -> Response {
    let near = is_near(peer, &headers, version);
    if let Err((status, why)) = may_ask(&console.access, (peer, near), &headers, console.relay.clock.now()) {
        let mut refusal = (status, format!("{why}\n")).into_response();
        if status == StatusCode::UNAUTHORIZED {
            refusal.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        return refusal;
    }
    let reload = console.reloader.reload(Cause::Request).await;
    let status = match reload.outcome {
        Outcome::Refused => StatusCode::UNPROCESSABLE_ENTITY,
        Outcome::Replaced(_) | Outcome::Unchanged => StatusCode::OK,
    };
    let accepts = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if accepts.contains("application/json") {
        (status, Json(as_json(&reload))).into_response()
    } else {
        (status, as_text(&reload)).into_response()
    }
}

/// Whoever shows the token may, from wherever he asks; without it programs on this machine, unless a proxy passes it on for
/// somebody. A page in a browser on this machine reaches loopback as well: its requests say where they come from, or name a
/// host of its own that leads here.
fn may_ask(
    access: &Access,
    (peer, near): (SocketAddr, bool),
    headers: &HeaderMap,
    now: Timestamp,
) -> Result<(), (StatusCode, String)> {
    let forbidden = |why: &str| Err((StatusCode::FORBIDDEN, why.to_owned()));
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    if text("origin").is_some() || text(FETCH_SITE).is_some_and(|site| site != "none") {
        return forbidden("a page in a browser may not ask for a reload");
    }
    if let Some(token) = shown_token(headers).filter(|_| access.is_guarded()) {
        return match access.admit(token, peer.ip(), now) {
            Admittance::Session(_) if access.is_read_only() && !near => forbidden(
                "with --console-read-only only programs on the relay's own machine may ask for a reload",
            ),
            Admittance::Session(_) => Ok(()),
            Admittance::Wrong => {
                Err((StatusCode::UNAUTHORIZED, "this is not the console's token".to_owned()))
            }
            Admittance::Wait(seconds) => {
                let why = format!("too many wrong tokens; for {seconds} seconds only the right one is taken");
                Err((StatusCode::TOO_MANY_REQUESTS, why))
            }
        };
    }
    if !near {
        return forbidden(
            "only programs on the relay's own machine may ask for a reload without a token: show the console's token as \
             `Authorization: Bearer`, send the relay SIGHUP, or start it with --watch",
        );
    }
    if !names_an_address(text("host").unwrap_or_default()) {
        return forbidden(
            "ask by the relay's address, such as http://127.0.0.1:8787/-/reload, and not by a name, or show the console's \
             token",
        );
    }
    Ok(())
}

/// Whether a `Host` is an address or `localhost`: no name that somebody else's name server may lead here.
fn names_an_address(host: &str) -> bool {
    let name = name_of(host);
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

/// `check`'s document, with what came of it.
pub(super) fn as_json(reload: &Reload) -> Value {
    let mut document = render_json(&reload.problems);
    if let Value::Object(fields) = &mut document {
        fields.insert("result".to_owned(), json!(reload.outcome.as_str()));
        fields.insert("hash".to_owned(), json!(reload.hash));
        if let Outcome::Replaced(difference) = &reload.outcome {
            fields.insert("difference".to_owned(), json!(difference));
        }
    }
    document
}

fn as_text(reload: &Reload) -> String {
    let hash = &reload.hash;
    let last = match &reload.outcome {
        Outcome::Replaced(difference) => format!("reloaded, configuration {hash}: {difference}"),
        Outcome::Unchanged => format!("not reloaded: the files say what configuration {hash} says"),
        Outcome::Refused => format!("not reloaded: configuration {hash} stays in force"),
    };
    format!("{}{last}\n", render_text(&reload.problems, &reload.sources, false))
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::web::access::Settings;

    const TOKEN: &str = "a-token-that-is-long";

    fn answered(settings: Settings, peer: &str, headers: &[(&'static str, &str)]) -> u16 {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        let (access, now) = (Access::new(settings), Timestamp::UNIX_EPOCH);
        let (peer, headers): (SocketAddr, HeaderMap) = (peer.parse().unwrap(), headers.collect());
        let near = is_near(peer, &headers, Version::HTTP_11);
        let refused = may_ask(&access, (peer, near), &headers, now).err();
        refused.map_or(200, |(status, _)| status.as_u16())
    }

    fn asked(peer: &str, headers: &[(&'static str, &str)]) -> bool {
        answered(Settings::default(), peer, headers) == 200
    }

    #[test]
    fn programs_on_this_machine_may_ask_and_pages_may_not() {
        let here = "127.0.0.1:5000";
        for host in
            ["127.0.0.1:8787", "localhost:8787", "LOCALHOST", "[::1]:8787", "10.0.0.7:80", "127.0.0.1"]
        {
            assert!(asked(here, &[("host", host)]), "{host}");
        }
        assert!(asked("[::ffff:127.0.0.1]:5000", &[("host", "localhost")]));
        assert!(asked(here, &[("host", "localhost"), ("sec-fetch-site", "none")]));
        for host in
            ["", "evil.test", "evil.test:8787", "127.0.0.1.evil.test", "localhost.evil.test", "[evil]:1"]
        {
            assert!(!asked(here, &[("host", host)]), "{host}");
        }
        for origin in ["https://evil.test", "http://127.0.0.1:8787", "null"] {
            assert!(!asked(here, &[("host", "127.0.0.1:8787"), ("origin", origin)]), "{origin}");
        }
        for site in ["cross-site", "same-site", "same-origin"] {
            assert!(!asked(here, &[("host", "localhost"), ("sec-fetch-site", site)]), "{site}");
        }
        assert!(!asked("10.0.0.8:5000", &[("host", "10.0.0.7:8787")]), "from another machine");
        let proxied = [("host", "127.0.0.1:8787"), ("x-forwarded-for", "10.0.0.8")];
        assert!(!asked(here, &proxied), "for another machine");
    }

    #[test]
    fn who_shows_the_token_may_ask_from_wherever_he_is() {
        let guarded = || Settings { token: Some(TOKEN.into()), ..Settings::default() };
        let (right, wrong) = (format!("Bearer {TOKEN}"), "Bearer guess");
        let far = "10.0.0.8:5000";
        for (peer, headers, status) in [
            (far, vec![("host", "relay:8787"), ("authorization", right.as_str())], 200),
            ("127.0.0.1:1", vec![("host", "relay"), ("via", "1.1 x"), ("authorization", &right)], 200),
            (far, vec![("host", "10.0.0.7"), ("authorization", wrong)], 401),
            ("127.0.0.1:1", vec![("host", "127.0.0.1"), ("authorization", wrong)], 401),
            (far, vec![("host", "10.0.0.7")], 403),
            ("127.0.0.1:1", vec![("host", "127.0.0.1")], 200),
            (far, vec![("origin", "https://evil.test"), ("authorization", &right)], 403),
        ] {
            assert_eq!(answered(guarded(), peer, &headers), status, "{peer} {headers:?}");
        }
        let looks = || Settings { read_only: true, ..guarded() };
        assert_eq!(answered(looks(), far, &[("host", "10.0.0.7"), ("authorization", &right)]), 403);
        assert_eq!(answered(looks(), "127.0.0.1:1", &[("host", "127.0.0.1")]), 200, "as a signal may");
    }
}
