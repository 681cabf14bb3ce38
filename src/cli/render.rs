//! `render`: prints the exact payload of a template for a target.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde_json::json;

use crate::config::Config;
use crate::daemon::names;
use crate::model::id::DeliveryId;
use crate::model::message::{Message, Triple};
use crate::model::names::Names;
use crate::model::payload::{Mail, Payload};
use crate::render::view::View;

use super::{Context, Exit, Format, Stop, payload, subject};

/// What stands below the options.
const AFTER_HELP: &str = "\
Examples:
  activity-relay render client-cancelled --target front-desk --sample Meeting/cancelled/client_to_pivot
  activity-relay render default --target bookkeeper --file item.json --format json
  activity-relay render payment-failures --target bookkeeper --sample Payment/payment_failed/to_pivot --items 7 --notes";

/// Print the exact payload of a template for a target
#[derive(Debug, clap::Args)]
#[command(
    after_help = AFTER_HELP,
    override_usage = "activity-relay render [OPTIONS] --target <NAME> <TEMPLATE> <UID|--file <FILE>|--sample <TYPE>>",
    group = clap::ArgGroup::new("message").required(true).args(["uid", "file", "sample"])
)]
pub struct Args {
    /// The template's name; `default` is always there
    pub template: String,
    /// The target it is rendered for
    #[arg(long, value_name = "NAME")]
    pub target: String,
    /// A stored message's uid
    #[arg(value_name = "UID")]
    pub uid: Option<String>,
    /// A file with one item as the API gives it
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// A sample of a message type, written `Meeting/cancelled/client_to_pivot`; with --items also several
    #[arg(long, value_name = "TYPE")]
    pub sample: Vec<String>,
    /// Show a digest of so many samples of the last day; 0 shows one with nothing in it
    #[arg(long, value_name = "N", requires = "sample", value_parser = clap::value_parser!(u16).range(0..=2000))]
    pub items: Option<u16>,
    /// As if others had been held back, had expired, were settled since, and a digest were late
    #[arg(long)]
    pub notes: bool,
    /// The rule's name as the template is to see it
    #[arg(long, value_name = "NAME", default_value = "render")]
    pub rule: String,
    /// Write a mail's HTML part to a file, to open it in a browser
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Text for people or JSON for programs
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: Format,
}

/// Runs the command. Exit 1 if the template failed and the plain fallback is shown.
///
/// # Errors
/// An unknown target, template or uid, a file that cannot be read, a bad rules file.
pub async fn run(args: &Args, context: &mut Context) -> anyhow::Result<Exit> {
    let config = context.config()?;
    let Some(target) = config.targets.get(&args.target) else {
        let known: Vec<&str> = config.targets.keys().map(String::as_str).collect();
        let message = format!("there is no target {}; there are: {}", args.target, known.join(", "));
        return Err(Stop::new(Exit::Problem, message));
    };
    if !config.templates.names().contains(&args.template.as_str()) {
        let known = config.templates.names().join(", ");
        let message = format!("there is no template {}; there are: {known}", args.template);
        return Err(Stop::new(Exit::Problem, message));
    }
    let now = context.clock.now();
    let view = view(args, context, &config, now).await?;
    let rendered = config.templates.render(&args.template, target.format(), &view);
    if let Some(path) = &args.html {
        write_html(path, &rendered.payload)?;
    }
    let id = view.delivery_id.as_str();
    match args.format {
        Format::Json => {
            let value = payload::as_json(&rendered.payload, Some(target), id);
            let kind = target.type_name();
            context.out.json(&json!({ "target": args.target, "type": kind, "payload": value }))?;
        }
        Format::Text => context.out.line(payload::as_text(&rendered.payload, Some(target), id)?)?,
    }
    let Some(problem) = rendered.problem else { return Ok(Exit::Fine) };
    context.out.note(format!("the plain fallback is shown: {problem}"))?;
    Ok(Exit::Problem)
}

/// What the template is to see: the message asked for, or a digest of samples.
async fn view(args: &Args, context: &Context, config: &Config, now: Timestamp) -> anyhow::Result<View> {
    if args.sample.len() > 1 && args.items.is_none() {
        return Err(Stop::new(Exit::Usage, "several --sample make a digest: say --items N too"));
    }
    let (message, names) = chosen(args, context, config, now).await?;
    let id = DeliveryId::derive(now, &["render", &message.uid]);
    let mut view = subject::view(config, message, names, (id, &args.rule, &args.target), now);
    if let Some(items) = args.items {
        let types: Vec<Triple> =
            args.sample.iter().map(|kind| subject::triple(kind)).collect::<anyhow::Result<_>>()?;
        subject::gather(&mut view, &types, usize::from(items), now)?;
    }
    if args.notes {
        subject::note(&mut view, now)?;
    }
    Ok(view)
}

/// The message asked for, and the names that go with it.
async fn chosen(
    args: &Args,
    context: &Context,
    config: &Config,
    now: Timestamp,
) -> anyhow::Result<(Message, Names)> {
    let account = config.accounts.first().map_or("main", |account| account.name.as_str());
    if let Some(uid) = &args.uid {
        let store = context.store().await?;
        let Some(stored) = store.message(None, uid).await? else {
            let types = subject::types_like(uid);
            let hint = if types.is_empty() {
                "--file FILE or --sample TYPE renders it without".to_owned()
            } else {
                format!("a type is rendered with --sample {types}")
            };
            return Err(Stop::new(
                Exit::Problem,
                format!("no message with the uid `{uid}` is stored; {hint}"),
            ));
        };
        let names = names::stored(&store, &stored.message).await;
        return Ok((stored.message, names));
    }
    if let Some(path) = &args.file {
        return Ok((subject::from_file(path, account)?, Names::default()));
    }
    subject::sample(args.sample.first().map_or("", String::as_str), account, now)
}

/// Writes the HTML part to a file.
fn write_html(path: &Path, payload: &Payload) -> anyhow::Result<()> {
    let Payload::Email(Mail { html: Some(html), .. }) = payload else {
        return Err(Stop::new(Exit::Usage, "--html needs an e-mail target and a template with an HTML part"));
    };
    std::fs::write(path, html).map_err(|error| {
        Stop::new(Exit::Unavailable, format!("{} cannot be written: {error}", path.display()))
    })
}
