//! What deliveries wait for, against what they are: keys that messages do not have, and a wait that outlives them.

use std::collections::HashSet;
use std::time::Duration;

use crate::config::codes;
use crate::config::problem::Finding;
use crate::config::raw::{Raw, RawDeliver, RawRule};
use crate::config::read::Spot;
use crate::config::trees::Trees;
use crate::model::duration::shown;
use crate::model::message::Message;
use crate::model::sample;
use crate::rules::key::Key;
use crate::rules::timing::{Closes, Outside};

use super::filters::Samples;
use super::reach::Reach;
use super::settings::own_expiry;

/// How many message types a warning names.
const TYPES_SHOWN: usize = 4;

/// Fields of keys that message types which the rule takes never have. `samples` holds one of each known type.
pub(super) fn keys(raw: &Raw, reaches: &[Reach], samples: &Samples) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (rule, reach) in raw.rules.iter().zip(reaches) {
        let of_rule = rule.collapse.iter().flat_map(|(_, keys)| keys);
        let of_rule = of_rule.chain(rule.resolves.iter().flat_map(|resolves| &resolves.keys));
        let of_entries = rule.deliver.iter().flat_map(|deliver| &deliver.timing.keys);
        for key in of_rule.chain(of_entries) {
            findings
                .extend(key.value.fields_of().filter_map(|field| absent(rule, reach, key, field, samples)));
        }
    }
    findings
}

fn absent(rule: &RawRule, reach: &Reach, key: &Spot<Key>, field: &str, samples: &Samples) -> Option<Finding> {
    let only = Key::of_fields([field]).ok()?;
    let people = sample::names();
    let taken =
        |message: &&Message| rule.filter.as_ref().is_none_or(|filter| filter.by_type(message) != Some(false));
    let taken: Vec<&Message> =
        reach.known().filter_map(|at| samples.get(at)?.as_ref()).filter(taken).collect();
    let without: Vec<&Message> =
        taken.iter().filter(|message| !only.of(message, &people).missing.is_empty()).copied().collect();
    let first = without.first()?;
    let message = if without.len() == taken.len() {
        format!("no message that this rule takes has `{field}`, so all of them have the same key")
    } else {
        let named =
            |message: &&Message| format!("{}/{}", message.triple.activity_type, message.triple.message_type);
        let shown: Vec<String> = without.iter().take(TYPES_SHOWN).map(named).collect();
        let more = without.len() - shown.len();
        let tail = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!(
            "some messages never have `{field}`, and those all have the same key: {}{tail}",
            shown.join(", ")
        )
    };
    let help = if first.client_uid.is_some() {
        "name a field that all of them have, such as client.uid, or narrow `match` to types that have it"
    } else {
        "name a field that all of them have, such as message.activity_type, or narrow `match` to types that have it"
    };
    Some(Finding::warning(codes::KEY_FIELD, key.span, message).help(help))
}

/// Deliveries that expire while they wait.
pub(super) fn expiries(raw: &Raw, trees: &Trees) -> Vec<Finding> {
    let standard = trees.top("defaults").and_then(|entry| entry.value.entry("expires_after"));
    let mut seen = HashSet::new();
    let mut findings = Vec::new();
    for rule in &raw.rules {
        for (position, deliver) in rule.deliver.iter().enumerate() {
            let own = deliver.expires_after.and_then(|_| own_expiry(rule, position, trees));
            let Some(expires) = deliver.expires_after.or(raw.defaults.expires_after) else { continue };
            let Some((what, wait)) = longest_wait(raw, deliver).filter(|(_, wait)| *wait > expires) else {
                continue;
            };
            let span = own.or(standard.map(|entry| entry.value.span)).unwrap_or(deliver.to.span);
            if seen.insert((span.file, span.start)) {
                let message = format!(
                    "messages expire while they wait: {what} up to {}, and this is {}",
                    hours(wait),
                    shown(expires)
                );
                let help = "make it longer than the longest wait, as it counts from when the message was made; or leave it, if such messages are to be left out: they are listed as expired";
                findings.push(Finding::warning(codes::EXPIRES_WAITING, span, message).help(help));
            }
        }
    }
    findings
}

/// What a delivery waits for the longest, and how long.
fn longest_wait(raw: &Raw, deliver: &RawDeliver) -> Option<(String, Duration)> {
    let digest = deliver.timing.timing.digest.as_ref().map(|digest| match &digest.closes {
        Closes::After { every, extend_max } => {
            ("its digest collects for".to_owned(), extend_max.unwrap_or(*every))
        }
        Closes::At(moments) => ("its digest collects for".to_owned(), moments.apart_max()),
    });
    let during = deliver.timing.during.as_ref().filter(|during| during.outside != Outside::Drop);
    let hours = during.and_then(|during| {
        let named =
            |schedule: &&crate::config::raw::RawSchedule| schedule.name.value == during.schedule.value;
        let hours = raw.schedules.iter().find(named)?.hours.as_ref()?;
        Some((format!("`{}` is closed for", during.schedule.value), hours.closed_max()))
    });
    digest.into_iter().chain(hours).max_by_key(|(_, wait)| *wait)
}

/// A time in hours and minutes, as the file may say it too.
fn hours(wait: Duration) -> String {
    match (wait.as_secs() / 3_600, wait.as_secs() / 60 % 60) {
        (hours, 0) => format!("{hours}h"),
        (0, minutes) => format!("{minutes}m"),
        (hours, minutes) => format!("{hours}h{minutes}m"),
    }
}
