//! Rules with equal conditions that send the same to the same target, so that people get it twice.

use std::collections::HashMap;

use crate::config::codes;
use crate::config::problem::{Finding, Span};
use crate::config::raw::{Raw, RawRule};

use super::reach::Reach;
use super::universe::Types;

/// What two rules have in common if they take the same messages.
#[derive(PartialEq, Eq, Hash)]
struct Conditions<'r> {
    types: [&'r Types; 2],
    accounts: Option<Vec<&'r str>>,
    filter: Option<String>,
}

/// Each later delivery of a pair. Two rules that take some of the same messages are no mistake, and the catalogue's
/// coverage shows them.
pub(super) fn check(raw: &Raw, reaches: &[Reach]) -> Vec<Finding> {
    let mut seen: HashMap<(Conditions<'_>, &str, Option<&str>), Span> = HashMap::new();
    let mut findings = Vec::new();
    for (rule, reach) in raw.rules.iter().zip(reaches) {
        // What names things beyond the catalogue takes nothing that could be compared here.
        if reach.beyond || reach.taken.maybe.is_empty() {
            continue;
        }
        for deliver in &rule.deliver {
            let template = deliver.template.as_ref().or(rule.template.as_ref());
            let template = template.or(raw.defaults.template.as_ref()).map(|spot| spot.value.as_str());
            let template = template.filter(|name| *name != "default");
            let key = (conditions(rule, reach), deliver.to.value.as_str(), template);
            let Some(first) = seen.get(&key) else {
                // What it takes no later rule sees.
                if !rule.stop {
                    seen.insert(key, deliver.to.span);
                }
                continue;
            };
            let message = format!(
                "`{}` gets every message of this rule twice: an earlier rule takes the same and sends the same",
                deliver.to.written
            );
            let finding = Finding::warning(codes::TWICE, deliver.to.span, message);
            let help = "take one of the two out; or give them different conditions or templates";
            findings.push(finding.related(*first, "it is sent here first").help(help));
        }
    }
    findings
}

fn conditions<'r>(rule: &'r RawRule, reach: &'r Reach) -> Conditions<'r> {
    let accounts = rule.accounts.as_ref().map(|list| {
        let mut names: Vec<&str> = list.iter().map(|account| account.value.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        names
    });
    let filter = rule.filter.as_ref().map(|filter| filter.text().split_whitespace().collect::<String>());
    Conditions { types: [&reach.taken.surely, &reach.taken.maybe], accounts, filter }
}
