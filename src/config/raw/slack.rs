//! Targets of `type: slack`.

use secrecy::SecretString;
use url::Url;

use crate::egress::policy::Policy;
use crate::target::slack::Slack;

use super::target::{
    ALLOW_PRIVATE, BURST, COALESCE_OVER, CONCURRENCY, ENABLED, FALLBACK, RATE, RETRY, TIMEOUT, TYPE,
};
use crate::config::codes;
use crate::config::keys::{Keys, Shape, key};
use crate::config::problem::Finding;
use crate::config::read::{Fields, Reader};

pub(super) const OF: &str = "a Slack target";
pub(super) const KEYS: Keys = Keys {
    of: OF,
    known: &[
        TYPE,
        key("webhook_url", Shape::Text, "The address of the incoming webhook, as Slack shows it")
            .required()
            .such_as(&["${SLACK_WEBHOOK_URL}"]),
        RATE.or("1/s"),
        BURST.or("3"),
        CONCURRENCY.or("1"),
        RETRY,
        ENABLED,
        FALLBACK,
        TIMEOUT,
        ALLOW_PRIVATE,
        COALESCE_OVER.or("20"),
    ],
    ..Keys::NONE
};
/// The path of the URL that `init` writes where one belongs.
const PLACEHOLDER: &str = "/services/replace/this/address";
const HOSTS: [&str; 2] = ["hooks.slack.com", "hooks.slack-gov.com"];

/// The path is that of an incoming webhook or of a workflow's
/// (<https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks>).
fn is_hook(url: &Url) -> bool {
    let parts: Vec<&str> =
        url.path_segments().into_iter().flatten().filter(|part| !part.is_empty()).collect();
    match parts.as_slice() {
        ["services", rest @ ..] => rest.len() == 3,
        ["workflows" | "triggers", rest @ ..] => rest.len() >= 2,
        _ => false,
    }
}

pub(super) fn read(reader: &mut Reader<'_>, fields: Fields<'_>) -> Option<Slack> {
    let policy = reader.policy(fields.get("allow_private"));
    let help =
        "create one in Slack under Apps, Incoming Webhooks, and add `webhook_url: ${SLACK_WEBHOOK_URL}`";
    let node = reader.required(fields, "webhook_url", help)?;
    let spot = reader.text(node, "the URL of a Slack webhook")?;
    let policy = policy?;
    let url = reader.target_url(&spot, &policy)?;
    let slack = url.scheme() == "https" && url.host_str().is_some_and(|host| HOSTS.contains(&host));
    if policy == Policy::Public && !slack {
        let help = "copy the whole URL from Slack, https://hooks.slack.com/services/…; `allow_private: true` lifts this check";
        reader.error(codes::SLACK_HOST, spot.span, "this URL does not lead to Slack", help);
        return None;
    }
    if slack && url.path() == PLACEHOLDER {
        let message = "this only stands in for the URL of a webhook: Slack knows nothing of it";
        let help = "copy the whole URL from Slack, or set the variable that the line names";
        reader.report(Finding::warning(codes::PLACEHOLDER, spot.span, message).help(help));
    } else if slack && !is_hook(&url) {
        let message = "this is not the whole URL of a Slack webhook: Slack will know nothing of it";
        let help = "copy the whole URL from Slack: https://hooks.slack.com/services/T…/B…/…, three parts behind `services`";
        reader.report(Finding::warning(codes::SLACK_HOST, spot.span, message).help(help));
    }
    Some(Slack::new(SecretString::from(url.as_str()), reader.egress(policy)))
}
