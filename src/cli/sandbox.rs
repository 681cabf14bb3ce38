//! `sandbox`: the fake business and the inboxes alone, to stand in for staging.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::json;
use tokio::sync::watch;

use crate::daemon::clock::Chance;
use crate::model::id::hex_of;
use crate::sandbox::behaviour::{Behaviour, General, OverCap, Profile, Ties, Times};
use crate::sandbox::inboxes::Arrival;
use crate::sandbox::scenario::Scenario;
use crate::sandbox::world::{At, Request};
use crate::sandbox::{Sandbox, Settings, TOKEN};

use super::output::{BAD, BOLD, DIM, GOOD, paint};
use super::{Context, Exit, Format, Stop};

/// Start a fake vCita business with Slack, HTTP and mail inboxes, to stand in for staging
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// What happens: morning, every-kind, busy-day, bulk-cancel, outage, a YAML or JSON file, or none
    #[arg(long, value_name = "NAME|FILE", default_value = "morning")]
    pub scenario: String,
    /// The API's port; 0 is any free one
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    pub port: u16,
    /// The Slack inbox's port
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    pub slack_port: u16,
    /// The HTTP inbox's port
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    pub http_port: u16,
    /// The SMTP inbox's port
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    pub smtp_port: u16,
    /// Whether the API keeps to its documentation
    #[arg(long, value_name = "PROFILE", default_value = "documented")]
    pub profile: Profile,
    /// What happens when more than 100 rows a page are asked for
    #[arg(long, value_name = "HOW")]
    pub over_cap: Option<OverCap>,
    /// The order of rows with the same time
    #[arg(long, value_name = "ORDER")]
    pub ties: Option<Ties>,
    /// How times are written
    #[arg(long, value_name = "SHAPE")]
    pub times: Option<Times>,
    /// What General rows have for a type
    #[arg(long, value_name = "VALUE")]
    pub general: Option<General>,
    /// The staff token that the API takes
    #[arg(long, value_name = "TOKEN", default_value = TOKEN)]
    pub token: String,
    /// The token of the control API; made up if absent
    #[arg(long, value_name = "TOKEN")]
    pub control_token: Option<String>,
    /// A Standard Webhooks secret (whsec_…) that the HTTP inbox checks signatures with
    #[arg(long, value_name = "SECRET")]
    pub signing_secret: Vec<String>,
    /// For everything left to chance
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,
    /// For whom the output is made
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: Format,
}

/// Starts the sandbox and reports what it is asked until it is told to stop.
pub async fn run(args: &Args, context: &mut Context) -> anyhow::Result<Exit> {
    let scenario = match args.scenario.as_str() {
        "none" => None,
        name => Some(Scenario::load(name).map_err(|problem| Stop::new(Exit::Usage, problem.to_string()))?),
    };
    let control_token = args.control_token.clone().unwrap_or_else(made_up_token);
    let settings = Settings {
        behaviour: behaviour(args),
        token: args.token.clone(),
        control_token: Some(control_token.clone()),
        seed: args.seed,
        port: args.port,
        slack_port: args.slack_port,
        http_port: args.http_port,
        smtp_port: args.smtp_port,
    };
    let stop = stop_signal()?;
    let sandbox = Sandbox::start(settings, context.clock.clone())
        .await
        .map_err(|error| Stop::new(Exit::Unavailable, format!("the sandbox cannot start: {error}")))?;
    sandbox.http.verify_with(&args.signing_secret);
    if let Some(scenario) = &scenario {
        sandbox.play(scenario);
    }
    greet(&sandbox, args, scenario.as_ref(), &control_token, context)?;
    tokio::pin!(stop);
    let mut changes = sandbox.business.watch();
    let mut seen = Seen::default();
    loop {
        tokio::select! {
            () = &mut stop => break,
            () = next(&mut changes) => seen.print(&sandbox, args.format, context)?,
        }
    }
    seen.print(&sandbox, args.format, context)?;
    sandbox.stop().await;
    Ok(Exit::Fine)
}

fn behaviour(args: &Args) -> Behaviour {
    let base = Behaviour::of(args.profile);
    Behaviour {
        over_cap: args.over_cap.unwrap_or(base.over_cap),
        ties: args.ties.unwrap_or(base.ties),
        times: args.times.unwrap_or(base.times),
        general: args.general.unwrap_or(base.general),
        ..base
    }
}

/// Nobody on the same machine should be able to guess it.
fn made_up_token() -> String {
    let chance = Chance::system();
    let parts = ["one", "two", "three"].map(|part| chance.unit(part, Timestamp::UNIX_EPOCH).to_string());
    hex_of(&parts.each_ref().map(String::as_str), 16)
}

/// Ends with the first SIGINT or SIGTERM from here on.
fn stop_signal() -> anyhow::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

async fn next(changes: &mut watch::Receiver<u64>) {
    if changes.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

fn greet(
    sandbox: &Sandbox,
    args: &Args,
    scenario: Option<&Scenario>,
    control_token: &str,
    context: &Context,
) -> anyhow::Result<()> {
    if args.format == Format::Json {
        return context.out.json(&json!({
            "event": "ready",
            "base_url": sandbox.url(), "token": sandbox.token(),
            "control_url": format!("{}/__control", sandbox.url()), "control_token": control_token,
            "slack_url": sandbox.slack.url(), "http_url": sandbox.http.url(), "smtp_url": sandbox.mail.url(),
            "scenario": args.scenario, "messages": scenario.map_or(0, |scenario| scenario.size().0),
        }));
    }
    let out = context.out;
    out.line(paint(BOLD, "A fake vCita business, and inboxes to deliver to"))?;
    let control = format!("{}/__control", sandbox.url());
    for (name, value) in [
        ("API", sandbox.url()),
        ("token", sandbox.token()),
        ("Slack inbox", sandbox.slack.url()),
        ("HTTP inbox", sandbox.http.url()),
        ("SMTP inbox", sandbox.mail.url()),
        ("control", control.as_str()),
        ("its token", control_token),
    ] {
        out.line(format!("  {name:12} {value}"))?;
    }
    if let Some(scenario) = scenario {
        let (messages, last) = scenario.size();
        let title = &scenario.title;
        out.line(format!("  {:12} {title}: {messages} messages in {} s", "scenario", last.as_secs()))?;
    }
    out.line(paint(DIM, "\nIn the rules file:"))?;
    for line in rules_lines(sandbox) {
        out.line(format!("  {line}"))?;
    }
    out.line(paint(DIM, "\nStop with Ctrl-C."))?;
    Ok(())
}

/// The account and the targets of a rules file that polls the sandbox and delivers to it.
fn rules_lines(sandbox: &Sandbox) -> Vec<String> {
    let (slack, http, smtp) = (sandbox.slack.url(), sandbox.http.url(), sandbox.mail.url());
    vec![
        "accounts:".to_owned(),
        format!(
            "  - {{ name: main, token: {}, base_url: \"{}\", start_from: 24h }}",
            sandbox.token(),
            sandbox.url()
        ),
        "targets:".to_owned(),
        format!("  slack: {{ type: slack, webhook_url: \"{slack}\", allow_private: true }}"),
        format!("  http: {{ type: http, url: \"{http}\", allow_private: true }}"),
        format!(
            "  mail: {{ type: email, smtp: \"{smtp}\", from: relay@example.com, to: [you@example.com] }}"
        ),
    ]
}

/// What has been printed already.
#[derive(Debug, Default)]
struct Seen {
    requests: u64,
    arrivals: BTreeMap<At, usize>,
}

impl Seen {
    fn print(&mut self, sandbox: &Sandbox, format: Format, context: &Context) -> anyhow::Result<()> {
        for request in sandbox.business.requests_after(self.requests) {
            self.requests = request.number;
            match format {
                Format::Json => context.out.json(&json!({ "event": "request", "request": request }))?,
                Format::Text => context.out.line(request_line(&request))?,
            }
        }
        let mut arrivals: Vec<Arrival> = Vec::new();
        for inbox in sandbox.inboxes() {
            let seen = self.arrivals.entry(inbox.which()).or_default();
            let fresh = inbox.arrivals_after(*seen);
            *seen += fresh.len();
            arrivals.extend(fresh);
        }
        arrivals.sort_by_key(|arrival| arrival.number);
        for arrival in &arrivals {
            match format {
                Format::Json => context.out.json(&json!({ "event": "arrival", "arrival": arrival }))?,
                Format::Text => context.out.line(arrival_line(arrival))?,
            }
        }
        Ok(())
    }
}

fn request_line(request: &Request) -> String {
    let query: Vec<String> = request.query.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let rows = request.rows.map(|rows| format!(" {rows} rows")).unwrap_or_default();
    let status = match request.status {
        0 => paint(BAD, "cut"),
        status if status < 400 => paint(GOOD, status),
        status => paint(BAD, status),
    };
    let asked = paint(DIM, format!("{} {}", request.path, query.join(" ")));
    format!("{} {status}{rows} {} {asked}", clock_time(request.at), request.method)
}

fn arrival_line(arrival: &Arrival) -> String {
    let inbox = match arrival.inbox {
        At::Api => "API",
        At::Slack => "Slack",
        At::Http => "HTTP",
        At::Smtp => "mail",
    };
    let style = if arrival.accepted { GOOD } else { BAD };
    let status = if arrival.status == 0 { "cut".to_owned() } else { arrival.status.to_string() };
    let problem = arrival.problem.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
    format!("{} {} {status} {}{problem}", clock_time(arrival.at), paint(style, inbox), arrival.shown)
}

fn clock_time(at: Timestamp) -> String {
    at.strftime("%H:%M:%SZ").to_string()
}
