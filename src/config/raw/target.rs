//! `targets:`, where deliveries go: what all types have in common, and which type it is.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::model::delivery::RetryPolicy;
use crate::model::rate::Rate;
use crate::target::{Kind as TargetKind, Target};

use super::{Raw, RawTarget, email, http, name, retry, seconds, slack};
use crate::config::codes;
use crate::config::keys::{Key, Keys, Named, Shape, key};
use crate::config::problem::{Finding, similar};
use crate::config::read::{Fields, Reader, Spot, Unreadable};
use crate::config::value::Pace;
use crate::config::yaml::{Kind, Node};

/// Types that a later version brings.
const LATER: [&str; 8] =
    ["teams", "discord", "telegram", "google_chat", "mattermost", "ntfy", "pagerduty", "twilio"];
const HTTP_TIMEOUT: Duration = Duration::from_secs(20);
/// Mail servers may take their time on purpose before they greet and after they have the message.
const MAIL_TIMEOUT: Duration = Duration::from_mins(2);
const CONCURRENCY_MAX: u32 = 256;
const BURST_MAX: u32 = 10_000;
const COALESCE_OVER_MAX: u32 = 10_000;

/// The keys of each type.
pub(in crate::config) const TYPES: &[(&str, &Keys)] =
    &[("slack", &slack::KEYS), ("email", &email::KEYS), ("http", &http::KEYS)];
const TYPE_NAMES: [&str; 3] = ["slack", "email", "http"];
// What several types have in common.
pub(super) const TYPE: Key = key("type", Shape::Choice(&TYPE_NAMES), "What kind of target it is").required();
pub(super) const RATE: Key = key("rate", Shape::Rate, "How often it is sent to").such_as(&["10/s", "60/m"]);
pub(super) const BURST: Key =
    key("burst", Shape::Number(1, BURST_MAX), "How many may go at once after a quiet time; needs a rate");
pub(super) const CONCURRENCY: Key =
    key("concurrency", Shape::Number(1, CONCURRENCY_MAX), "How many attempts may be under way at once");
pub(super) const RETRY: Key =
    key("retry", Shape::Keys(&super::RETRY), "How an attempt that failed is repeated");
pub(super) const ENABLED: Key = key("enabled", Shape::Truth, "false keeps its deliveries waiting").or("true");
pub(super) const FALLBACK: Key = key(
    "fallback",
    Shape::Named(Named::Target),
    "The target that is told when this one is parked or a delivery to it dies",
);
pub(super) const TIMEOUT: Key = key("timeout", Shape::Duration, "How long one attempt may take").or("20s");
pub(super) const ALLOW_PRIVATE: Key = key(
    "allow_private",
    Shape::Either(&[Shape::Truth, Shape::List(&Shape::Text, true)]),
    "Which private or loopback addresses it may reach: true for any, or a list of networks",
)
.or("false");
pub(super) const COALESCE_OVER: Key = key(
    "coalesce_over",
    Shape::Number(0, COALESCE_OVER_MAX),
    "After an outage a backlog longer than this is sent as one digest; 0 never does",
);

/// What a type does unless told otherwise.
struct Standard {
    pace: Pace,
    burst: u32,
    concurrency: u32,
    timeout: Duration,
    /// 0 for never.
    coalesce_over: u32,
}

pub(super) fn read_all(reader: &mut Reader<'_>, node: &Node, raw: &mut Raw) {
    let Kind::Map(entries) = &node.kind else {
        reader.wrong(
            node,
            "a mapping of names to targets",
            "write `front-desk:` and below it `type: slack` and so on",
        );
        raw.targets_lost = true;
        return;
    };
    for entry in entries {
        let spot = Spot {
            value: entry.key.clone(),
            span: entry.span,
            written: entry.key.clone(),
            substituted: false,
        };
        let usable = name(reader, spot.clone()).is_some();
        let (target, fallback) = target(reader, &entry.key, &entry.value, raw.defaults.retry);
        raw.targets.push(RawTarget { name: spot, target: target.filter(|_| usable), fallback });
    }
}

fn target(
    reader: &mut Reader<'_>,
    name: &str,
    node: &Node,
    retries: RetryPolicy,
) -> (Option<Target>, Option<Spot<String>>) {
    let Some((keys, standard)) = kind_of(reader, node) else { return (None, None) };
    let Some(fields) = reader.fields(node, keys) else { return (None, None) };
    let fallback = fields.get("fallback").and_then(|node| reader.text(node, "the name of a target"));
    let rate = rate(reader, fields, &standard);
    let concurrency = match fields.get("concurrency") {
        Some(node) => reader.positive(node, CONCURRENCY_MAX),
        None => NonZeroU32::new(standard.concurrency),
    };
    let retry = fields.get("retry").map_or(retries, |node| retry(reader, node, retries));
    let enabled = fields.get("enabled").map_or(Some(true), |node| reader.truth(node));
    let coalesce_over = match fields.get("coalesce_over") {
        Some(node) => reader.number(node, 0..=COALESCE_OVER_MAX),
        None => Some(standard.coalesce_over),
    };
    let timeout = fields.get("timeout");
    let timeout = timeout.map_or(Some(standard.timeout), |node| {
        reader.duration(node, Duration::from_millis(100)..=seconds(600))
    });
    let kind = match keys.of {
        slack::OF => slack::read(reader, fields).map(TargetKind::Slack),
        email::OF => email::read(reader, fields).map(TargetKind::Email),
        _ => http::read(reader, fields).map(TargetKind::Http),
    };
    let build = || {
        Some(Target {
            name: name.to_owned(),
            kind: kind?,
            rate: rate.ok()?,
            concurrency: concurrency?,
            retry,
            timeout: timeout?,
            enabled: enabled?,
            coalesce_over: NonZeroU32::new(coalesce_over?),
            fallback: fallback.as_ref().map(|spot| spot.value.clone()),
        })
    };
    (build(), fallback)
}

/// The type of a target: which keys it has, and what holds unless they say otherwise.
fn kind_of(reader: &mut Reader<'_>, node: &Node) -> Option<(Keys, Standard)> {
    let Kind::Map(entries) = &node.kind else {
        reader.wrong(
            node,
            "a target",
            "write its keys below its name, the first being `type: slack`, `email` or `http`",
        );
        return None;
    };
    let Some(entry) = entries.iter().find(|entry| entry.key == "type") else {
        let help = "add `type: slack`, `type: email` or `type: http`";
        reader.error(codes::MISSING_KEY, node.span, "a target needs the key `type`", help);
        return None;
    };
    let http = |pace, burst, concurrency| {
        let (timeout, coalesce_over) = (HTTP_TIMEOUT, 0);
        Standard { pace, burst, concurrency, timeout, coalesce_over }
    };
    let spot = reader.word(&entry.value, "slack, email or http")?;
    Some(match spot.value.as_str() {
        "slack" => (slack::KEYS, Standard { coalesce_over: 20, ..http(Pace::Every(seconds(1)), 3, 1) }),
        "http" => (http::KEYS, http(Pace::Unlimited, 1, 8)),
        "email" => (email::KEYS, Standard { timeout: MAIL_TIMEOUT, ..http(Pace::Unlimited, 1, 2) }),
        later if LATER.contains(&later) => {
            let help = "take it out for now, or reach the service by `type: http`";
            reader.error(
                codes::NOT_YET,
                spot.span,
                format!("targets of type `{later}` are not available in this version"),
                help,
            );
            return None;
        }
        _ => {
            let finding = Finding::error(
                codes::CHOICE,
                spot.span,
                format!("there is no target type `{}`", spot.written),
            );
            let known = ["slack", "email", "http", "webhook", "smtp", "mail"];
            let near = similar(&spot.value, known);
            reader.report(match near.map(|near| near.name) {
                Some("smtp" | "mail") => finding.help("the type is called `email`").replacement("email"),
                Some("webhook") => finding.help("the type is called `http`").replacement("http"),
                Some(name) => {
                    let finding =
                        finding.help(format!("did you mean `{name}`? The types are slack, email, http"));
                    near.map_or(finding.clone(), |near| finding.meant(&near))
                }
                None => finding.help("the types are slack, email and http"),
            });
            return None;
        }
    })
}

/// `Ok(None)` is unlimited.
fn rate(
    reader: &mut Reader<'_>,
    fields: Fields<'_>,
    standard: &Standard,
) -> Result<Option<Rate>, Unreadable> {
    let pace = fields.get("rate").map_or(Some(standard.pace), |node| reader.rate(node));
    let burst = match fields.get("burst") {
        Some(node) => reader.positive(node, BURST_MAX),
        None => NonZeroU32::new(standard.burst),
    };
    match (pace.ok_or(Unreadable)?, burst.ok_or(Unreadable)?) {
        (Pace::Every(every), burst) => Ok(Some(Rate { every, burst })),
        (Pace::Unlimited, _) => {
            if fields.get("burst").is_some() {
                let help = "add a rate such as `rate: 10/s`, or take `burst` out";
                reader.error(
                    codes::RATE,
                    fields.key_span("burst"),
                    "a burst without a rate has no effect",
                    help,
                );
            }
            Ok(None)
        }
    }
}
