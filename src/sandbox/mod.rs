//! The fake business and the inboxes: everything the relay speaks to, in one process, for demos, staging and tests.

mod api;
pub mod behaviour;
pub mod business;
mod control;
mod http;
pub mod inboxes;
pub mod incoming;
pub mod people;
pub mod scenario;
pub mod script;
pub mod world;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::daemon::clock::Clock;

use behaviour::Behaviour;
use business::Business;
use inboxes::Inbox;
use scenario::Scenario;
use world::{At, World};

/// The token that the fake business takes where nothing else is said.
pub const TOKEN: &str = "sandbox-staff-token";
/// A stop waits this long for answers under way.
const STOP_WAIT: Duration = Duration::from_secs(2);

/// How a sandbox is set up. Port 0 is any free one.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How the fake business's API behaves.
    pub behaviour: Behaviour,
    /// The staff token.
    pub token: String,
    /// The token of the control API; absent: there is none.
    pub control_token: Option<String>,
    /// For everything that is left to chance.
    pub seed: u64,
    /// The API's port.
    pub port: u16,
    /// The Slack inbox's port.
    pub slack_port: u16,
    /// The HTTP inbox's port.
    pub http_port: u16,
    /// The SMTP inbox's port.
    pub smtp_port: u16,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            behaviour: Behaviour::default(),
            token: TOKEN.to_owned(),
            control_token: None,
            seed: 1,
            port: 0,
            slack_port: 0,
            http_port: 0,
            smtp_port: 0,
        }
    }
}

/// A running sandbox: on loopback only, stopped when dropped.
#[derive(Debug)]
pub struct Sandbox {
    /// The fake business.
    pub business: Business,
    /// The Slack inbox.
    pub slack: Inbox,
    /// The HTTP inbox.
    pub http: Inbox,
    /// The SMTP inbox.
    pub mail: Inbox,
    url: String,
    token: String,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Sandbox {
    /// Starts the API and the three inboxes. Fails where a port is taken.
    pub async fn start(settings: Settings, clock: Clock) -> io::Result<Self> {
        let (api, url) = listen(settings.port).await?;
        let (slack_door, slack_url) = listen(settings.slack_port).await?;
        let (http_door, http_url) = listen(settings.http_port).await?;
        let (smtp_door, smtp_url) = listen(settings.smtp_port).await?;

        let business =
            Business::new(World::new(settings.behaviour, settings.token.clone(), settings.seed), clock);
        let numbers = Arc::new(AtomicU64::new(0));
        let inbox = |at, url| Inbox::new(at, url, business.clone(), Arc::clone(&numbers));
        let slack = inbox(At::Slack, format!("http://{slack_url}/services/T0SANDBOX/B0SANDBOX/relay"));
        let hooks = inbox(At::Http, format!("http://{http_url}/hooks/relay"));
        let mail = inbox(At::Smtp, format!("smtp://{smtp_url}?tls=none"));

        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let control = control::Control {
            token: settings.control_token,
            inboxes: vec![slack.clone(), hooks.clone(), mail.clone()],
        };
        let handler = business.clone();
        tasks.spawn(http::serve(api, stop.clone(), move |asked| match control.handle(&handler, &asked) {
            Some(reply) => (reply, script::ok()),
            None => api::handle(&handler, &asked),
        }));
        let handler = slack.clone();
        tasks.spawn(http::serve(slack_door, stop.clone(), move |asked| {
            inboxes::slack::handle(&handler, &asked)
        }));
        let handler = hooks.clone();
        tasks.spawn(http::serve(http_door, stop.clone(), move |asked| {
            inboxes::http::handle(&handler, &asked)
        }));
        tasks.spawn(inboxes::smtp::serve(smtp_door, mail.clone(), stop.clone(), tasks.clone()));
        tasks.close();
        let url = format!("http://{url}");
        Ok(Self { business, slack, http: hooks, mail, url, token: settings.token, stop, tasks })
    }

    /// The API's base address, for an account's `base_url`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The staff token, for an account's `token`.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Lets a scenario begin: its people join, its steps happen from here on.
    pub fn play(&self, scenario: &Scenario) {
        scenario.play(&self.business);
    }

    /// The three inboxes.
    pub fn inboxes(&self) -> [&Inbox; 3] {
        [&self.slack, &self.http, &self.mail]
    }

    /// Stops; answers under way are waited for, but not long.
    pub async fn stop(self) {
        self.stop.cancel();
        // What is still under way then is cut off by the end of its runtime.
        let _ = tokio::time::timeout(STOP_WAIT, self.tasks.wait()).await;
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn listen(port: u16) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(|error| {
        io::Error::new(error.kind(), format!("127.0.0.1:{port} cannot be listened on: {error}"))
    })?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}
