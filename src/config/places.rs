//! Where the parts of a configuration stand in its files, for what is found out about them after loading.

use std::collections::HashMap;

use super::problem::Span;
use super::raw::Raw;

/// The places of what a check beyond the file itself may find fault with.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// The accounts by name.
    pub(super) accounts: HashMap<String, Span>,
    /// The targets by name.
    pub(super) targets: HashMap<String, Span>,
    /// Of each rule's deliveries, in file order: where the template is named, or the target if none is.
    pub(super) templates: Vec<Vec<Span>>,
}

impl Places {
    /// The places of everything that was read.
    pub(super) fn of(raw: &Raw) -> Self {
        let fallback = raw.defaults.template.as_ref();
        let rules = raw.rules.iter().map(|rule| {
            let place = |deliver: &super::raw::RawDeliver| {
                let named = deliver.template.as_ref().or(rule.template.as_ref()).or(fallback);
                named.map_or(deliver.to.span, |spot| spot.span)
            };
            rule.deliver.iter().map(place).collect()
        });
        Self {
            accounts: raw.accounts.iter().map(|spot| (spot.value.name.clone(), spot.span)).collect(),
            targets: raw.targets.iter().map(|target| (target.name.value.clone(), target.name.span)).collect(),
            templates: rules.collect(),
        }
    }
}
