//! `/livez`, `/readyz` and `/metrics`: for probes and scrapers, which show no token.

use std::net::SocketAddr;
use std::time::Duration;

use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, StatusCode, Version, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use tokio::sync::Mutex;

use super::Console;
use super::guard::is_near;
use crate::daemon::gauges::Gauges;
use crate::store::StoreError;

/// The media type of `OpenMetrics` text.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// For so long what the store said last is said again: each question writes.
const FRESH: Duration = Duration::from_secs(1);

/// What the store said last. Whoever asks while it is being asked waits for that answer.
#[derive(Debug, Default)]
pub(super) struct Readiness(Mutex<Option<(Timestamp, Result<(), Ill>)>>);

/// Why the store cannot be written: for the people of this machine, and for everybody.
#[derive(Debug, Clone)]
struct Ill {
    near: String,
    far: &'static str,
}

impl Ill {
    fn of(error: &StoreError) -> Self {
        let far = match error {
            StoreError::Trouble(_) => "store: it cannot be written, the log says why",
            StoreError::Unavailable(_) => "store: it cannot be reached, the log says why",
            _ => "store: it cannot be used, the log says why",
        };
        Self { near: error.to_string(), far }
    }

    fn told(self, near: bool) -> (StatusCode, String) {
        let words = if near { self.near.as_str() } else { self.far };
        (StatusCode::SERVICE_UNAVAILABLE, format!("{words}\n"))
    }
}

impl Readiness {
    async fn of(&self, console: &Console) -> Result<(), Ill> {
        let mut last = self.0.lock().await;
        let now = console.relay.clock.now();
        let is_fresh =
            |at: &Timestamp| Duration::try_from(now.duration_since(*at)).is_ok_and(|age| age < FRESH);
        if let Some((_, said)) = last.as_ref().filter(|(at, _)| is_fresh(at)) {
            return said.clone();
        }
        let said = console.relay.store.ping().await.map_err(|error| {
            tracing::warn!(%error, "not ready");
            Ill::of(&error)
        });
        *last = Some((console.relay.clock.now(), said.clone()));
        said
    }
}

/// 200 as long as the process turns.
pub(super) async fn livez() -> &'static str {
    "ok\n"
}

/// 200 once the store can be written; 503 otherwise and while stopping.
pub(super) async fn readyz(
    State(console): State<Console>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    version: Version,
    headers: HeaderMap,
) -> (StatusCode, String) {
    if console.relay.stop.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n".to_owned());
    }
    match console.readiness.of(&console).await {
        Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
        Err(ill) => ill.told(is_near(peer, &headers, version)),
    }
}

/// The counters, and how things stand just now. Scrapers come by names that nobody told us; on this machine somebody
/// else's name is that of a page in a browser.
pub(super) async fn metrics(
    State(console): State<Console>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    version: Version,
    headers: HeaderMap,
) -> Response {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    if peer.ip().to_canonical().is_loopback() && !console.access.knows_host(host) {
        let words = "ask by the relay's address, or name the host with --console-host\n";
        return (StatusCode::MISDIRECTED_REQUEST, words).into_response();
    }
    match Gauges::of(&console.relay).await {
        Ok(gauges) => {
            let text = console.relay.metrics.render_with(&gauges);
            ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response()
        }
        Err(error) => Ill::of(&error).told(is_near(peer, &headers, version)).into_response(),
    }
}
