//! `where:` conditions that always say the same.

use std::sync::LazyLock;

use jiff::Timestamp;

use crate::config::codes;
use crate::config::problem::Finding;
use crate::config::raw::{Raw, RawRule};
use crate::config::trees::Trees;
use crate::model::catalog;
use crate::model::message::Message;
use crate::model::sample;
use crate::parallel;
use crate::rules::expression::{Expression, Undecided};
use crate::source::wire;

use super::reach::Reach;

/// A sample of each known message type, made when the first is wanted.
pub(super) type Samples = LazyLock<Vec<Option<Message>>>;

/// What a condition says about the message types of its rule.
enum Says {
    /// True whatever a message holds.
    Always,
    /// False whatever a message holds.
    Never,
    /// It fails on every sample of them, with this on the first.
    Fails(Undecided),
    Depends,
}

/// Conditions that are true, or false, of every message that the rule takes, or that cannot be judged on any.
pub(super) fn check<'r>(
    raw: &'r Raw,
    reaches: &'r [Reach],
    trees: &Trees,
    samples: &Samples,
) -> Vec<Finding> {
    let filtered = |(rule, reach): (&'r RawRule, &'r Reach)| Some((rule, rule.filter.as_ref()?, reach));
    let filtered: Vec<(&RawRule, &Expression, &Reach)> =
        raw.rules.iter().zip(reaches).filter_map(filtered).collect();
    let found = parallel::map(&filtered, |(rule, filter, reach)| {
        let taken: Vec<&Message> = reach.known().filter_map(|position| samples[position].as_ref()).collect();
        finding(rule, &says(filter, &taken), taken.len(), trees)
    });
    found.into_iter().flatten().collect()
}

/// A sample of each known message type.
pub(super) fn messages() -> Vec<Option<Message>> {
    let read = |entry: &catalog::Entry| {
        wire::read_item("main", &sample::item(&entry.triple(), Timestamp::UNIX_EPOCH)).ok()
    };
    catalog::all().iter().map(read).collect()
}

fn says(filter: &Expression, taken: &[&Message]) -> Says {
    let mut certain = taken.iter().map(|message| filter.by_type(message));
    match certain.next() {
        Some(Some(first)) if certain.all(|other| other == Some(first)) => {
            return if first { Says::Always } else { Says::Never };
        }
        None => return Says::Depends,
        Some(_) => {}
    }
    let names = sample::names();
    let mut reason = None;
    for message in taken.iter().filter(|message| filter.by_type(message) != Some(false)) {
        match filter.decide(message, &names) {
            Ok(_) => return Says::Depends,
            Err(why) => {
                reason = reason.filter(|first: &Undecided| !first.mistaken || why.mistaken).or(Some(why));
            }
        }
    }
    reason.map_or(Says::Depends, Says::Fails)
}

fn finding(rule: &RawRule, says: &Says, count: usize, trees: &Trees) -> Option<Finding> {
    let span = trees.entry(rule.span, "where").map_or(rule.span, |entry| entry.value.span);
    let warning = |message: String| Finding::warning(codes::CONSTANT_WHERE, span, message);
    let kinds = if count == 1 {
        "the one message type that".to_owned()
    } else {
        format!("all {count} message types that")
    };
    Some(match says {
        Says::Depends => return None,
        Says::Always => warning(format!("this condition is always true: it holds for {kinds} the rule takes"))
            .help("take it out; `match` says the same"),
        Says::Never => {
            warning(format!("this condition is always false for {kinds} the rule takes, so it never matches"))
                .help("mend the condition, or take the rule out; names are compared exactly here, as in `catalog`")
        }
        Says::Fails(Undecided { why, mistaken: true }) => {
            let message = format!("this condition can never work: {why}; that is so on a sample of {kinds} the rule takes");
            Finding::error(codes::CONSTANT_WHERE, span, message)
                .help("mend that part: what cannot be judged does not pass, so the rule would take nothing")
        }
        Says::Fails(Undecided { why, .. }) => warning(format!(
            "this condition cannot be judged on a sample of {kinds} the rule takes ({why}), and such messages do not pass"
        ))
        .help("ask for the field first, such as has(message.meeting) && …, or narrow `match` to types that have it"),
    })
}
