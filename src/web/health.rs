//! `/livez`, `/readyz` and `/metrics`.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::daemon::Relay;
use crate::daemon::gauges::Gauges;

/// The media type of `OpenMetrics` text.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// 200 as long as the process turns.
pub async fn livez() -> &'static str {
    "ok\n"
}

/// 200 once the store can be written; 503 otherwise and while stopping.
pub async fn readyz(State(relay): State<Arc<Relay>>) -> (StatusCode, String) {
    if relay.stop.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n".to_owned());
    }
    match relay.store.ping().await {
        Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")),
    }
}

/// The counters, and how things stand just now.
pub async fn metrics(State(relay): State<Arc<Relay>>) -> Response {
    match Gauges::of(&relay).await {
        Ok(gauges) => {
            ([(header::CONTENT_TYPE, OPEN_METRICS)], relay.metrics.render_with(&gauges)).into_response()
        }
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response(),
    }
}
