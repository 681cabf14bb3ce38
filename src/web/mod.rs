//! What the relay serves: the console, health and metrics, and the reload of its configuration.

mod access;
mod api;
mod assets;
mod events;
mod form;
mod guard;
mod health;
mod kept;
mod pages;
mod plot;
mod reload;
mod serve;
mod told;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::answers::targets::Tested;
use crate::daemon::Relay;
use crate::daemon::reload::Reloader;

use access::Access;
pub use access::{Settings, Unsafe};
use events::Events;
use health::Readiness;
use kept::Kept;
use pages::{
    configuration, coverage, deliveries, digests, feed, login, messages, mutes, overview, playground, targets,
};
use playground::Mails;
use told::Told;

/// What the pages look at. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Console {
    relay: Arc<Relay>,
    reloader: Reloader,
    access: Arc<Access>,
    events: Arc<Events>,
    mails: Arc<Mails>,
    /// What changes did.
    told: Arc<Told>,
    /// What test messages came to.
    tests: Arc<Kept<Arc<Vec<Tested>>>>,
    readiness: Arc<Readiness>,
    /// Cancelled when nothing more is served.
    closing: CancellationToken,
}

/// Serves until `closing` is cancelled; answers under way are finished.
///
/// # Errors
/// The listener fails.
pub async fn serve(
    listener: TcpListener,
    relay: Arc<Relay>,
    reloader: Reloader,
    settings: Settings,
    closing: CancellationToken,
) -> std::io::Result<()> {
    let console = Console {
        events: Arc::new(Events::new(relay.clone(), feed::entry)),
        access: Arc::new(Access::new(settings)),
        told: Arc::default(),
        mails: Arc::default(),
        tests: Arc::default(),
        readiness: Arc::default(),
        closing: closing.clone(),
        relay,
        reloader,
    };
    let router = Router::new()
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(health::metrics))
        .route("/-/reload", post(reload::reload))
        .merge(guard::guarded(routes().merge(api::routes()), &console))
        .with_state(console);
    serve::serve(listener, router, closing).await
}

/// The pages, and what they send.
fn routes() -> Router<Console> {
    Router::new()
        .route("/", get(overview::show))
        .route("/feed", get(feed::show))
        .route("/feed/events", get(feed::events))
        .route("/messages/{account}/{uid}", get(messages::show))
        .route("/find", get(messages::find))
        .route("/deliveries", get(deliveries::list))
        .route("/deliveries/{id}", get(deliveries::show))
        .route("/deliveries/review", post(deliveries::review))
        .route("/deliveries/change", post(deliveries::change))
        .route("/digests", get(digests::list))
        .route("/digests/review", post(digests::review))
        .route("/digests/change", post(digests::change))
        .route("/targets", get(targets::list))
        .route("/targets/pause", post(targets::pause))
        .route("/targets/resume", post(targets::resume))
        .route("/targets/test", post(targets::test))
        .route("/coverage", get(coverage::show))
        .route("/playground", get(playground::show))
        .route("/playground/preview", post(playground::preview))
        .route("/playground/mail/{id}", get(playground::mail))
        .route("/mutes", get(mutes::list))
        .route("/mutes/add", post(mutes::add))
        .route("/mutes/lift", post(mutes::lift))
        .route("/configuration", get(configuration::show))
        .route("/configuration/reload", post(configuration::reload))
        .route("/login", get(login::show).post(login::sign_in))
        .route("/logout", post(login::sign_out))
        .route("/assets/{name}", get(assets::serve))
        .fallback(pages::missing)
}

/// Opens the address to serve on.
///
/// # Errors
/// It is taken, or not ours.
pub async fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}
