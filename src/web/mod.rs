//! What the running relay serves: health and metrics, and the reload of its configuration.

pub mod health;
pub mod reload;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::response::Html;
use axum::routing::{get, post};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::daemon::Relay;
use crate::daemon::reload::Reloader;

/// The page at `/`: where to look.
const FRONT: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>activity-relay</title>\
    <body style=\"font:16px/1.5 system-ui;margin:3rem auto;max-width:40rem\"><h1>activity-relay</h1>\
    <p>The relay is running. <a href=\"/livez\">/livez</a>, <a href=\"/readyz\">/readyz</a> and \
    <a href=\"/metrics\">/metrics</a> say how it is; <code>activity-relay status</code> says it in words.</p>";

/// Serves until `stop` is cancelled; answers under way are finished.
///
/// # Errors
/// The listener fails.
pub async fn serve(
    listener: TcpListener,
    relay: Arc<Relay>,
    reloader: Reloader,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let router = Router::new()
        .route("/", get(|| async { Html(FRONT) }))
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(health::metrics))
        .with_state(relay)
        .route("/-/reload", post(reload::reload).with_state(reloader))
        .into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await
}

/// Opens the address to serve on.
///
/// # Errors
/// It is taken, or not ours.
pub async fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}
