//! Rules that are silenced for a while: made and lifted by whoever asks for it.

use jiff::Timestamp;

use super::asked::{Refusal, line};
use crate::config::Config;
use crate::config::problem::nearest;
use crate::model::mute::Mute;
use crate::store::Store;

/// Silences a rule of the rules file until then.
///
/// # Errors
/// There is no such rule, the moment is past, the reason is none, or the store cannot be written.
pub async fn add(
    store: &Store,
    config: &Config,
    (rule, until, reason): (&str, Timestamp, &str),
    now: Timestamp,
) -> Result<Mute, Refusal> {
    let reason = line("reason", reason)?;
    if config.rules.get(rule).is_none() {
        let known = config.rules.list().iter().map(|rule| rule.name.as_str());
        return Err(Refusal::Missing(unknown_rule(rule, known)));
    }
    if until <= now {
        return Err(Refusal::Conflict(format!("{until} is past; now it is {now:.0}")));
    }
    Ok(store.mute(rule, until, &reason, now).await?)
}

/// Ends a mute before its time.
///
/// # Errors
/// It is not there or has ended, or the store cannot be written.
pub async fn lift(store: &Store, id: i64, now: Timestamp) -> Result<Mute, Refusal> {
    store.lift_mute(id, now).await?.ok_or_else(|| unknown(&id.to_string()))
}

/// What to say of a mute that is not there.
pub fn unknown(id: &str) -> Refusal {
    let remedy = "`activity-relay mute list` shows what is muted";
    Refusal::Missing(format!("there is no mute {id}, or it is over; {remedy}"))
}

/// What to say of a rule that is not in the rules file.
pub fn unknown_rule<'n>(rule: &str, known: impl Iterator<Item = &'n str>) -> String {
    let known: Vec<&str> = known.collect();
    let hint = match nearest(rule, known.iter().copied()) {
        Some(similar) => format!("did you mean `{similar}`?"),
        None => format!("there are: {}", known.join(", ")),
    };
    format!("the rules file has no rule `{rule}`; {hint}")
}
