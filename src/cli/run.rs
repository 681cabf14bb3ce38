//! `run`: polls, matches and delivers until it is stopped.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::daemon::clock::Chance;
use crate::daemon::reload::{self, Origin, Reloader, tell_of_gone};
use crate::daemon::systemd::Systemd;
use crate::daemon::traces::settings::Settings;
use crate::daemon::view::preview;
use crate::daemon::{Relay, Setup, driver, lifecycle, watching};
use crate::model::delivery::{Planned, StateName};
use crate::model::message::Message;
use crate::model::payload::Payload;
use crate::store::{Admitted, Filter, Mode, Store};
use crate::target::Target;
use crate::web;

use super::output::{BOLD, DIM, counted, paint};
use super::{Context, Exit, Format, Stop, payload, unopened};

/// Poll, match and deliver until stopped
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Poll every account once, deliver all that is due now, and exit
    #[arg(long)]
    once: bool,
    /// Print what would be delivered; write and send nothing
    #[arg(long)]
    dry_run: bool,
    /// Reload when the rules file or anything that it brings in changes; SIGHUP and `POST /-/reload` always do
    #[arg(long, conflicts_with_all = ["once", "dry_run"])]
    watch: bool,
    /// Where console, health and metrics are served; `none` to switch off. With --once and --dry-run nothing is served
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8787")]
    listen: String,
    #[command(flatten)]
    console: Console,
    /// Send traces by OTLP to the collector there, such as `http://127.0.0.1:4318`; so do OpenTelemetry's variables
    #[arg(long, value_name = "URL")]
    otlp: Option<String>,
    /// How long a stop waits for what is under way
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    grace: Duration,
    /// How `--dry-run` prints
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
}

/// Who may do what in the console.
#[derive(Debug, clap::Args)]
pub(super) struct Console {
    /// What the console demands to see; needed on any address but loopback, and with --console-host
    #[arg(long = "console-token", value_name = "TOKEN", env = "RELAY_CONSOLE_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Let nothing be changed in the console
    #[arg(long = "console-read-only")]
    read_only: bool,
    /// A further name under which browsers reach the console, such as that of a proxy before it
    #[arg(long = "console-host", value_name = "NAME")]
    hosts: Vec<String>,
}

impl Console {
    /// The settings, if the console may be served on the address.
    ///
    /// # Errors
    /// Exit 2 where a token is missing or too short.
    pub(super) fn settings(&self, address: SocketAddr) -> anyhow::Result<web::Settings> {
        let token = self.token.as_deref().filter(|token| !token.is_empty());
        let settings = web::Settings {
            token: token.map(Into::into),
            read_only: self.read_only,
            hosts: self.hosts.clone(),
        };
        settings.check(address).map_err(|error| Stop::new(Exit::Usage, error.to_string()))?;
        Ok(settings)
    }
}

/// A duration as the command line gives it, such as `1m30s`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let parsed: jiff::SignedDuration =
        text.parse().map_err(|_| "a duration is meant, such as 10s or 1m30s".to_owned())?;
    Duration::try_from(parsed).map_err(|_| "a duration is never negative".to_owned())
}

/// Runs the relay.
///
/// # Errors
/// Exit 64 for a bad rules file, 69 where store or address are not to be had.
pub async fn run(args: &Args, context: &mut Context) -> anyhow::Result<Exit> {
    let (signals, told) = (TaskTracker::new(), CancellationToken::new());
    lifecycle::watch(&signals, told.clone()).context("signals cannot be watched")?;
    let config = context.config()?;
    if args.dry_run {
        return tokio::select! {
            shown = dry_run(args, context, config) => shown,
            () = told.cancelled() => Ok(Exit::Fine),
        };
    }
    if config.accounts.is_empty() {
        return Err(Stop::new(
            Exit::BadConfig,
            "the rules file names no account to poll: add one under `accounts:`",
        ));
    }
    let served = match (args.once, args.listen.as_str()) {
        (true, _) | (false, "none") => None,
        (false, address) => {
            let address = parsed(address).await?;
            Some((address, args.console.settings(address)?))
        }
    };
    // Before the port: of a second relay in the same place it is the store that says so.
    let store = tokio::select! {
        opened = Store::open(&context.global.store, Mode::Daemon) => opened.map_err(unopened)?,
        () = told.cancelled() => return Ok(Exit::Fine),
    };
    let listener = match served {
        Some((address, settings)) => Some((bind(address).await?, settings)),
        None => None,
    };
    let traces = traces(args, context, &store)?;
    let setup = Setup {
        config,
        store,
        clock: context.clock.clone(),
        chance: Chance::system(),
        traces,
        paced: true,
        dry_run: false,
    };
    let relay = Arc::new(Relay::new(setup));
    let stop = relay.stop.clone();
    signals.spawn(async move {
        told.cancelled().await;
        stop.cancel();
    });
    tell_of_gone(&relay).await?;
    if args.once {
        once(args, context, &relay).await
    } else {
        for_ever(args, context, &relay, listener).await
    }
}

/// Where traces are sent, if anybody asks for them.
fn traces(args: &Args, context: &Context, store: &Store) -> anyhow::Result<Option<Settings>> {
    let settings = Settings::of(&context.environment, args.otlp.as_deref(), store.instance())
        .map_err(|wrong| Stop::new(Exit::Usage, wrong))?;
    if let Some(settings) = &settings {
        tracing::info!(to = settings.place(), "traces are sent");
    }
    Ok(settings)
}

/// What `--listen` names: an address and a port, or a name of this machine and a port.
pub(super) async fn parsed(named: &str) -> anyhow::Result<SocketAddr> {
    if let Ok(address) = named.parse() {
        return Ok(address);
    }
    let wrong = |why: &str| Err(Stop::new(Exit::Usage, format!("--listen {named}: {why}")));
    let form = "an address and a port are meant, such as 127.0.0.1:8787, or `none`";
    let Some((host, port)) = named.rsplit_once(':') else { return wrong(form) };
    if port.parse::<u16>().is_err() {
        return wrong(form);
    }
    if host.is_empty() {
        let text = format!(
            "before the port an address is meant: 127.0.0.1:{port} for this machine alone, 0.0.0.0:{port} for all networks"
        );
        return wrong(&text);
    }
    let found: Vec<SocketAddr> =
        tokio::net::lookup_host(named).await.map_or_else(|_| Vec::new(), Iterator::collect);
    // A name often has addresses of both kinds; whoever dials it by that name tries IPv4 too. One that others know is not narrowed
    // to this machine, nor is it led to an address of it where nobody looks, as 127.0.1.1 is.
    let here = [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)];
    let near = found.iter().all(|address| address.ip().is_loopback());
    let usual = here.iter().find_map(|ip| found.iter().find(|address| address.ip() == *ip));
    match usual.filter(|_| near) {
        Some(address) => Ok(*address),
        None if found.is_empty() => wrong(&format!("the name {host} has no address; {form}")),
        None if near => wrong(&format!(
            "the name {host} leads to {}, an address of this machine alone where nobody looks: write 127.0.0.1:{port}",
            found[0].ip()
        )),
        None => wrong(&format!(
            "the name {host} does not mean this machine alone: write the address on which is to be listened, such as \
             0.0.0.0:{port} for all networks"
        )),
    }
}

pub(super) async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    web::listen(address).await.map_err(|error| {
        let remedy = "another relay may be running; choose another address with --listen, or `none`";
        Stop::new(Exit::Unavailable, format!("cannot listen on {address}: {error} ({remedy})"))
    })
}

async fn for_ever(
    args: &Args,
    context: &Context,
    relay: &Arc<Relay>,
    listener: Option<(TcpListener, web::Settings)>,
) -> anyhow::Result<Exit> {
    let systemd = Systemd::of(&context.environment);
    let origin = Origin { path: context.global.config.clone(), environment: context.environment.clone() };
    let reloader = Reloader::new(relay.clone(), origin, systemd.clone());
    let (serving, closing) = (TaskTracker::new(), CancellationToken::new());
    lifecycle::reload_on_hangup(&serving, reloader.clone(), relay.stop.clone())
        .context("signals cannot be watched")?;
    if args.watch {
        serving.spawn(watching::watch(reloader.clone(), relay.stop.clone()));
    }
    if let Some(listener) = listener {
        serve(&serving, relay, listener, reloader, closing.clone())?;
    }
    let (alive, ending, stop) = (systemd.clone(), systemd.clone(), relay.stop.clone());
    serving.spawn(async move { alive.stay_alive().await });
    serving.spawn(async move {
        stop.cancelled().await;
        ending.stopping();
    });
    let config = relay.config();
    let (accounts, targets, rules) = (config.accounts.len(), config.targets.len(), config.rules.list().len());
    let (store, instance, hash) = (relay.store.place(), relay.roles.name(), config.outline.hash());
    tracing::info!(accounts, targets, rules, hash, store, instance, "running");
    systemd.ready(&reload::running(&config));
    let under_way = driver::run(relay, args.grace).await;
    closing.cancel();
    tracing::info!(under_way, "stopped");
    Ok(Exit::Fine)
}

/// Serves console, health, metrics and reloads until `closing`.
pub(super) fn serve(
    serving: &TaskTracker,
    relay: &Arc<Relay>,
    (listener, settings): (TcpListener, web::Settings),
    reloader: Reloader,
    closing: CancellationToken,
) -> std::io::Result<()> {
    let listening = listener.local_addr()?;
    tracing::info!(%listening, "console, health and metrics are served");
    let relay = relay.clone();
    serving.spawn(async move {
        if let Err(error) = web::serve(listener, relay, reloader, settings, closing).await {
            tracing::error!(%error, "console, health and metrics are no longer served");
        }
    });
    Ok(())
}

async fn once(args: &Args, context: &Context, relay: &Arc<Relay>) -> anyhow::Result<Exit> {
    let started = relay.clock.now();
    let round = driver::once(relay, args.grace).await?;
    let filter = |state| Filter { states: vec![state], ..Filter::default() };
    let (dead, _) = relay.store.deliveries(filter(StateName::Dead)).await?;
    let died = dead.iter().filter(|row| row.settled_at.is_some_and(|at| at >= started)).count();
    let counts = relay.store.counts(None).await?;
    for (account, error) in &round.failed {
        context.out.note(format!("account {account} could not be polled: {error}"))?;
    }
    for account in &round.elsewhere {
        context
            .out
            .note(format!("account {account} is polled by another instance (`status` shows which)"))?;
    }
    let waiting = usize::try_from(counts.pending + counts.sending)?;
    context.out.note(format!(
        "{}; {waiting} waiting, {died} died in this round",
        counted(round.messages, "new message"),
        waiting = counted(waiting, "delivery"),
    ))?;
    // One that was told to stop has done what it was told.
    let fine = relay.stop.is_cancelled() || round.failed.is_empty() && died == 0;
    Ok(if fine { Exit::Fine } else { Exit::Problem })
}

/// Polls without writing, and prints what would be delivered.
async fn dry_run(args: &Args, context: &Context, config: Config) -> anyhow::Result<Exit> {
    let store = context.existing_store().await?;
    let (clock, chance) = (context.clock.clone(), Chance::system());
    let relay = Relay::new(Setup { config, store, clock, chance, traces: None, paced: true, dry_run: true });
    let mut exit = Exit::Fine;
    for post in relay.posts.all() {
        let tick = driver::poll(&relay, &post).await;
        print_found(args, context, &relay, &tick.would_admit).await?;
        if let Err(error) = tick.result {
            context.out.note(format!("account {} could not be polled: {error}", post.account().name))?;
            exit = Exit::Problem;
        }
    }
    Ok(exit)
}

async fn print_found(
    args: &Args,
    context: &Context,
    relay: &Relay,
    found: &[Admitted],
) -> anyhow::Result<()> {
    for one in found {
        match args.format {
            Format::Json => print_json(context, relay, one).await?,
            Format::Text => print_text(context, relay, one).await?,
        }
    }
    let owed: usize = found.iter().map(|one| one.deliveries.len()).sum();
    context.out.note(format!(
        "{}, {} would be made; nothing was written or sent",
        counted(found.len(), "message"),
        counted(owed, "delivery"),
    ))?;
    Ok(())
}

async fn print_json(context: &Context, relay: &Relay, found: &Admitted) -> anyhow::Result<()> {
    let message = &found.message;
    let mut deliveries = Vec::with_capacity(found.deliveries.len());
    for owed in &found.deliveries {
        let payload = rendered(relay, owed, message).await;
        let payload =
            payload.map(|(payload, target)| payload::as_json(&payload, Some(&target), owed.id.as_str()));
        deliveries.push(json!({
            "rule": owed.rule, "target": owed.target, "recipient": owed.recipient,
            "template": owed.template, "due_at": owed.due_at, "payload": payload,
        }));
    }
    context.out.json(&json!({
        "account": message.account, "uid": message.uid, "activity_type": message.triple.activity_type,
        "message_type": message.triple.message_type, "direction": message.triple.direction,
        "rules": found.rules, "deliveries": deliveries,
    }))
}

async fn print_text(context: &Context, relay: &Relay, found: &Admitted) -> anyhow::Result<()> {
    let message = &found.message;
    context.out.line(format!("{}  {}", paint(BOLD, &message.triple), paint(DIM, &message.uid)))?;
    for (index, owed) in found.deliveries.iter().enumerate() {
        let Planned { rule, target, template, .. } = owed;
        let recipient = owed.recipient.as_ref().map_or_else(String::new, |who| format!(" ({who})"));
        context.out.line(format!("  {rule} → {target}{recipient}  template {template}"))?;
        // What the further recipients of a target get is the same.
        let same = |next: &Planned| (&next.rule, &next.target, &next.template) == (rule, target, template);
        if found.deliveries.get(index + 1).is_some_and(same) {
            continue;
        }
        if let Some((payload, target)) = rendered(relay, owed, message).await {
            for line in payload::as_text(&payload, Some(&target), owed.id.as_str())?.lines() {
                context.out.line(format!("    {line}"))?;
            }
        }
    }
    if found.deliveries.is_empty() {
        context.out.line(paint(DIM, "  no rule takes it"))?;
    }
    Ok(())
}

/// What the first attempt would send, and where; `None` for a target that is not configured.
async fn rendered(relay: &Relay, owed: &Planned, message: &Message) -> Option<(Payload, Arc<Target>)> {
    let config = relay.config();
    let target = config.targets.get(&owed.target)?.clone();
    let view = preview(owed, message, &config, &relay.names, relay.clock.now()).await;
    Some((config.templates.render(&owed.template, target.format(), &view).payload, target))
}
