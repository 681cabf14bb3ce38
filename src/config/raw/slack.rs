//! Targets of `type: slack`.

use secrecy::SecretString;

use crate::egress::policy::Policy;
use crate::target::slack::Slack;

use crate::config::codes;
use crate::config::read::{Fields, Keys, Reader};

pub(super) const OF: &str = "a Slack target";
pub(super) const KEYS: Keys = Keys {
    of: OF,
    known: &[
        "type",
        "webhook_url",
        "rate",
        "burst",
        "concurrency",
        "retry",
        "enabled",
        "fallback",
        "timeout",
        "allow_private",
        "coalesce_over",
    ],
    later: &[],
};
const HOSTS: [&str; 2] = ["hooks.slack.com", "hooks.slack-gov.com"];

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
    Some(Slack::new(SecretString::from(url.as_str()), reader.egress(policy)))
}
