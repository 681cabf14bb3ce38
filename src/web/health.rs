//! `/livez`, `/readyz` and `/metrics`.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio_util::sync::CancellationToken;

use crate::daemon::clock::Clock;
use crate::daemon::metrics::{Metrics, OfTarget};
use crate::store::Store;

/// The media type of `OpenMetrics` text.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What the health routes look at. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Health {
    /// The store, which must answer.
    pub store: Store,
    /// The counters.
    pub metrics: Arc<Metrics>,
    /// Time, for the age of what is due.
    pub clock: Clock,
    /// Cancelled when the relay stops.
    pub stop: CancellationToken,
}

/// 200 as long as the process turns.
pub async fn livez() -> &'static str {
    "ok\n"
}

/// 200 once the store can be written; 503 otherwise and while stopping.
pub async fn readyz(State(health): State<Health>) -> (StatusCode, String) {
    if health.stop.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n".to_owned());
    }
    match health.store.ping().await {
        Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")),
    }
}

/// The counters, with the queue measured afresh.
pub async fn metrics(State(health): State<Health>) -> Response {
    if let Err(error) = measure(&health).await {
        return (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response();
    }
    ([(header::CONTENT_TYPE, OPEN_METRICS)], health.metrics.render()).into_response()
}

async fn measure(health: &Health) -> Result<(), crate::store::StoreError> {
    let counts = health.store.counts(None).await?;
    let figure = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    health.metrics.queued.set(figure(counts.pending + counts.sending));
    health.metrics.dead.set(figure(counts.dead));
    let oldest = health.store.oldest_due().await?;
    let waiting = oldest.map_or(Duration::ZERO, |due| {
        Duration::try_from(health.clock.now().duration_since(due)).unwrap_or(Duration::ZERO)
    });
    health.metrics.oldest_due_seconds.set(figure(waiting.as_secs()));
    for state in health.store.target_states().await? {
        let parked = i64::from(state.parked_until.is_some());
        health.metrics.parked.get_or_create(&OfTarget { target: state.name }).set(parked);
    }
    Ok(())
}
