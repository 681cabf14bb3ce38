//! What a message brings with it: the rules that take it, and what they owe.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::config::Config;
use crate::model::message::Message;
use crate::model::mute::Mute;
use crate::model::names::Names;
use crate::rules::Rule;
use crate::rules::evaluate::taking;
use crate::rules::good::makes_good;
use crate::rules::plan::plan;
use crate::store::Admitted;

/// The message as the store takes it in: matched, and planned from `now` on. Whoever takes messages in does it here.
pub(super) fn admit(
    config: &Config,
    message: Message,
    names: &Names,
    mutes: &[Mute],
    now: Timestamp,
) -> Admitted {
    let taking = taking(&config.rules, &message, names);
    let found: Vec<&Rule> = taking.iter().map(|(rule, _)| *rule).collect();
    let sure: Vec<&Rule> = taking.iter().filter(|(_, sure)| sure.0).map(|(rule, _)| *rule).collect();
    let mut deliveries = plan(&found, &message, names, mutes, now);
    for (rule, _) in taking.iter().filter(|(_, sure)| !sure.0) {
        let (account, uid, rule) = (&message.account, &message.uid, &rule.name);
        tracing::info!(account, uid, rule, "taken, as the names that its `where` looks at are late");
        // It may not have been meant: such ones are limited among themselves, and what is meant is not held back for them.
        let quotas =
            deliveries.iter_mut().filter(|owed| owed.rule == *rule).filter_map(|owed| owed.quota.as_mut());
        quotas.for_each(|quota| quota.key.push_str(" (names late)"));
    }
    for rule in &found {
        let missing = rule.deliver.iter().flat_map(|deliver| deliver.timing.missing(&message, names));
        for field in missing.collect::<BTreeSet<_>>() {
            let (account, uid, rule) = (&message.account, &message.uid, &rule.name);
            tracing::warn!(
                account,
                uid,
                rule,
                field,
                "a key's field is missing: such messages count as one group"
            );
        }
    }
    let rules = found.iter().map(|rule| rule.name.clone()).collect();
    let makes_good = makes_good(&sure, &message, names);
    Admitted { message, rules, deliveries, makes_good }
}
