//! `demo`: a business's morning, from its messages to Slack posts, mails and webhooks, in one process and without an account.

mod browser;
mod oracle;
mod show;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cli::run::{Console, bind, duration, parsed, serve};
use crate::config::secret::Environment;
use crate::config::{self, Config};
use crate::daemon::clock::Chance;
use crate::daemon::reload::{Origin, Reloader};
use crate::daemon::systemd::Systemd;
use crate::daemon::{Relay, Setup, driver, lifecycle};
use crate::sandbox::inboxes::{Arrival, Inbox};
use crate::sandbox::scenario::{Scenario, Step};
use crate::sandbox::script::{busy, ok, says, status};
use crate::sandbox::world::Action;
use crate::sandbox::{Sandbox, Settings};
use crate::store::{Mode, Store};
use crate::web;

use super::{Context, Exit, Stop, init};
use oracle::Score;
use show::Show;

/// The rules file, with the addresses left to the environment.
const RULES: &str = include_str!("rules.yaml");
/// Signs what the HTTP inbox gets, and is checked there.
const SECRET: &str = "whsec_ZGVtby1zaWduaW5nLXNlY3JldC1mb3ItbG9vcGJhY2s=";
/// Where the console is served where nobody says.
const LISTEN: &str = "127.0.0.1:8787";
/// How long the morning takes where nobody says.
const MORNING: Duration = Duration::from_secs(24);
/// How much of `--for` the morning takes; the rest is for what is tried again.
const SHARE_OF_STORY: f64 = 0.5;
/// After the last arrival so long nothing may follow, for duplicates to show.
const QUIET: Duration = Duration::from_millis(1500);
/// How often it is looked whether a message has been polled.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long a stop may take.
const GRACE: Duration = Duration::from_secs(2);

/// Show the whole thing without an account: a pretend business, its inboxes, and the relay between them
#[derive(Debug, clap::Args)]
pub struct Args {
    /// For scripts: ends by itself; the last line is JSON; exit 0 only if every delivery arrived exactly once
    #[arg(long)]
    headless: bool,
    /// Where the console is served; `none` to switch off [default: 127.0.0.1:8787, or a free port if that is taken]
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    #[command(flatten)]
    console: Console,
    /// How long it may take in all
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    bound: Option<Duration>,
}

/// Plays the morning.
///
/// # Errors
/// The temporary folder, a port or the store are not to be had.
pub async fn run(args: &Args, context: &mut Context) -> anyhow::Result<Exit> {
    let end = args.bound.or(args.headless.then_some(MORNING * 2)).map(|bound| Instant::now() + bound);
    let morning = args.bound.map_or(MORNING, |bound| bound.mul_f64(SHARE_OF_STORY).min(MORNING));
    let folder = std::env::temp_dir().join(format!("activity-relay-demo-{}", std::process::id()));
    let listener = listener(args).await?;
    let stage = Stage::build(&folder, context).await?;
    let show = Show::new(context.out, stage.relay.config());
    show.opening(&stage.sandbox, &folder)?;

    let tasks = TaskTracker::new();
    lifecycle::watch(&tasks, stage.relay.stop.clone()).context("signals cannot be watched")?;
    let closing = CancellationToken::new();
    if let Some((listener, settings)) = listener {
        let address = listener.local_addr()?;
        let origin = Origin { path: folder.join("rules.yaml"), environment: stage.environment.clone() };
        let reloader = Reloader::new(stage.relay.clone(), origin, Systemd::default());
        serve(&tasks, &stage.relay, (listener, settings), reloader, closing.clone())?;
        show.console(address)?;
        if !args.headless && context.out.width().is_some() {
            browser::open(&format!("http://{address}/"), &context.environment);
        }
    }
    let relay = stage.relay.clone();
    let running = tasks.spawn(async move { driver::run(&relay, GRACE).await });
    let score = stage.play(&show, &tasks, morning, end).await?;
    show.closing(&score, &folder, args.headless)?;
    if !args.headless && args.bound.is_none() && !stage.relay.stop.is_cancelled() {
        show.waiting()?;
        stage.relay.stop.cancelled().await;
    }
    stage.relay.stop.cancel();
    running.await?;
    closing.cancel();
    stage.sandbox.stop().await;
    std::fs::remove_dir_all(&folder).with_context(|| format!("{} cannot be removed", folder.display()))?;
    // What is no terminal is read by a program.
    if args.headless || context.out.width().is_none() {
        context.out.json(&score.json())?;
    }
    Ok(if score.is_perfect() { Exit::Fine } else { Exit::Problem })
}

/// Where the console is served. Where nobody says, another program may have the usual port: then any free one will do.
async fn listener(args: &Args) -> anyhow::Result<Option<(TcpListener, web::Settings)>> {
    let asked = match args.listen.as_deref() {
        Some("none") => return Ok(None),
        Some(address) => {
            let address = parsed(address).await?;
            let settings = args.console.settings(address)?;
            return Ok(Some((bind(address).await?, settings)));
        }
        None => parsed(LISTEN).await?,
    };
    let settings = args.console.settings(asked)?;
    let free = SocketAddr::new(asked.ip(), 0);
    let listener = match bind(asked).await {
        Ok(listener) => listener,
        Err(_) => bind(free).await?,
    };
    Ok(Some((listener, settings)))
}

/// The business, its inboxes and the relay between them.
struct Stage {
    sandbox: Sandbox,
    environment: Environment,
    relay: Arc<Relay>,
}

impl Stage {
    async fn build(folder: &Path, context: &Context) -> anyhow::Result<Self> {
        let sandbox = Sandbox::start(Settings::default(), context.clock.clone()).await?;
        sandbox.http.verify_with([SECRET]);
        // Not everything works the first time, or there would be nothing to show.
        sandbox.slack.answers([ok(), busy(1)]);
        sandbox.http.answers([status(503)]);
        sandbox.mail.answers([says(451, "4.3.0 mailbox busy, try again")]);
        let (config, environment) = configure(folder, &sandbox)?;
        let store = Store::open(&format!("sqlite://{}", folder.join("relay.db").display()), Mode::Daemon)
            .await
            .map_err(|error| Stop::new(Exit::Unavailable, error.to_string()))?;
        let (clock, chance) = (context.clock.clone(), Chance::system());
        let relay = Arc::new(Relay::new(Setup {
            config,
            store,
            clock,
            chance,
            traces: None,
            paced: true,
            dry_run: false,
        }));
        Ok(Self { sandbox, environment, relay })
    }

    /// Lets the morning happen, shows it, and judges it.
    async fn play(
        &self,
        show: &Show,
        tasks: &TaskTracker,
        morning: Duration,
        end: Option<Instant>,
    ) -> anyhow::Result<Score> {
        let scenario = Scenario::named("morning").context("the morning is part of the program")?;
        self.sandbox.play(&Scenario { steps: Vec::new(), ..scenario.clone() });
        let (tell, told) = mpsc::unbounded_channel();
        for inbox in self.sandbox.inboxes() {
            tasks.spawn(forward(inbox.clone(), tell.clone()));
        }
        let mut audience = Audience { stage: self, show, told, coming: VecDeque::new() };
        let last = scenario.steps.iter().map(Step::after).max().unwrap_or_default();
        let pace = (morning.as_secs_f64() / last.as_secs_f64().max(1.0)).min(1.0);
        let start = Instant::now();
        let mut messages = 0;
        for step in &scenario.steps {
            audience.watch_until(start + step.after().mul_f64(pace)).await?;
            if let Action::Receive(incoming) = &step.action {
                audience.coming.push_back(self.sandbox.business.receive((**incoming).clone()));
                messages += 1;
            }
        }
        loop {
            let before = self.arrivals();
            let over = end.is_some_and(|end| Instant::now() >= end) || self.relay.stop.is_cancelled();
            let complete = Score::of(messages, &before);
            let look_again = Instant::now() + QUIET;
            audience.watch_until(end.map_or(look_again, |end| end.min(look_again))).await?;
            let after = self.arrivals();
            let quiet = after.len() == before.len() && self.relay.courier.in_flight() == 0;
            if over || (complete.delivered == complete.expected && quiet) {
                return Ok(Score::of(messages, &after));
            }
        }
    }

    fn arrivals(&self) -> Vec<Arrival> {
        self.sandbox.inboxes().iter().flat_map(|inbox| inbox.arrivals()).collect()
    }
}

/// Watches what happens and shows it in its order: first a message, then what came of it.
struct Audience<'a> {
    stage: &'a Stage,
    show: &'a Show,
    told: mpsc::UnboundedReceiver<Arrival>,
    /// Uids of messages that the relay has not taken in yet.
    coming: VecDeque<String>,
}

impl Audience<'_> {
    async fn watch_until(&mut self, end: Instant) -> anyhow::Result<()> {
        let stop = &self.stage.relay.stop;
        while Instant::now() < end && !stop.is_cancelled() {
            let look = Instant::now() + LOOK_EVERY;
            let arrival = tokio::select! {
                arrival = self.told.recv() => arrival,
                () = tokio::time::sleep_until(look.min(end)) => None,
                () = stop.cancelled() => None,
            };
            self.messages().await?;
            if let Some(arrival) = arrival {
                self.show.arrival(&arrival)?;
            }
        }
        Ok(())
    }

    /// Shows the messages that the relay has taken in, with the rules that took them.
    async fn messages(&mut self) -> anyhow::Result<()> {
        while let Some(uid) = self.coming.front() {
            let Some(stored) = self.stage.relay.store.message(None, uid).await? else { break };
            self.show.message(&stored)?;
            self.coming.pop_front();
        }
        Ok(())
    }
}

/// Writes the rules and the shipped templates, and loads them as anybody's would be.
fn configure(folder: &Path, sandbox: &Sandbox) -> anyhow::Result<(Config, Environment)> {
    let rules = folder.join("rules.yaml");
    init::write_templates(folder).with_context(|| format!("{} cannot be written", folder.display()))?;
    std::fs::write(&rules, RULES)?;
    let environment = Environment::of([
        ("DEMO_TOKEN", sandbox.token()),
        ("DEMO_API", sandbox.url()),
        ("DEMO_SLACK", sandbox.slack.url()),
        ("DEMO_HTTP", sandbox.http.url()),
        ("DEMO_SMTP", sandbox.mail.url()),
        ("DEMO_SECRET", SECRET),
    ]);
    let loaded = config::load(&rules, &environment);
    let problems = loaded.problems;
    let config =
        loaded.config.with_context(|| format!("the demo's own rules have problems: {problems:?}"))?;
    Ok((config, environment))
}

/// Sends on what arrives at an inbox, as it arrives.
async fn forward(inbox: Inbox, tell: mpsc::UnboundedSender<Arrival>) {
    let mut seen = 0;
    while let Ok(arrivals) = inbox.wait_until(Duration::MAX, |arrivals| arrivals.len() > seen).await {
        for arrival in &arrivals[seen..] {
            if tell.send(arrival.clone()).is_err() {
                return;
            }
        }
        seen = arrivals.len();
    }
}
