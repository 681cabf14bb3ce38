//! `POST /-/reload`: reads the configuration again, for programs on this machine and never for a page in a browser.

use std::net::{IpAddr, SocketAddr};

use axum::Json;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::config::report::{render_json, render_text};
use crate::daemon::reload::{Cause, Outcome, Reload, Reloader};

/// What a browser says about where a request comes from.
const FETCH_SITE: &str = "sec-fetch-site";

/// 200 once it is in force or was so already; 422 with the problems if it cannot be used; 403 for who may not ask.
pub async fn reload(
    State(reloader): State<Reloader>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Response {
    if let Err(why) = may_ask(peer, &headers) {
        return (StatusCode::FORBIDDEN, format!("{why}\n")).into_response();
    }
    let reload = reloader.reload(Cause::Request).await;
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

/// A page in a browser on this machine reaches loopback as well: its requests say where they come from, or name a host
/// of its own that leads here.
fn may_ask(peer: SocketAddr, headers: &HeaderMap) -> Result<(), &'static str> {
    if !peer.ip().to_canonical().is_loopback() {
        return Err(
            "only programs on the relay's own machine may ask for a reload; send it SIGHUP, or start it with --watch",
        );
    }
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    if text("origin").is_some() || text(FETCH_SITE).is_some_and(|site| site != "none") {
        return Err("a page in a browser may not ask for a reload");
    }
    let host = text("host").unwrap_or_default();
    if !names_an_address(host) {
        return Err("ask by the relay's address, such as http://127.0.0.1:8787/-/reload, and not by a name");
    }
    Ok(())
}

/// Whether a `Host` is an address or `localhost`: no name that somebody else's name server may lead here.
fn names_an_address(host: &str) -> bool {
    let bracketed = host.strip_prefix('[').and_then(|rest| rest.split_once(']')).map(|(inner, _)| inner);
    let name = bracketed.unwrap_or_else(|| host.rsplit_once(':').map_or(host, |(name, _)| name));
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

    fn asked(peer: &str, headers: &[(&'static str, &str)]) -> bool {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        may_ask(peer.parse().unwrap(), &headers.collect()).is_ok()
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
    }
}
