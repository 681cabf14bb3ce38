//! What `check` shows of schedules and digests: their next moments, so that a mistake shows before it is deployed.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::config::Config;
use crate::rules::timing::Closes;
use crate::rules::window::{Odd, zone_name};

use super::output::{BOLD, paint};
use super::when::span;

/// How many moments are shown of each.
const SHOWN: usize = 3;

/// The next moments of everything that has any.
#[derive(Debug, Serialize)]
pub(super) struct Upcoming {
    /// By name.
    schedules: Vec<Schedule>,
    /// In file order.
    digests: Vec<Digest>,
}

#[derive(Debug, Serialize)]
struct Schedule {
    name: String,
    timezone: String,
    next: Vec<Moment>,
}

#[derive(Debug, Serialize)]
struct Digest {
    rule: String,
    to: String,
    /// `None` of one that opens with its first message.
    timezone: Option<String>,
    next: Vec<Moment>,
    /// How long after its first message it is sent, in words, of one that opens with it.
    after: Option<String>,
}

#[derive(Debug, Serialize)]
struct Moment {
    at: Timestamp,
    /// By the clock on the wall, with the zone.
    local: String,
    /// Of a schedule: `opens` or `closes`.
    #[serde(skip_serializing_if = "Option::is_none")]
    what: Option<&'static str>,
    /// What the clocks do at that time, if anything.
    note: Option<&'static str>,
}

impl Upcoming {
    /// What comes after `now`; `None` where nothing has moments of its own.
    pub(super) fn of(config: &Config, now: Timestamp) -> Option<Self> {
        let schedules = config.schedules.iter().map(|(name, hours)| {
            let changes = hours.changes(now, SHOWN).into_iter().map(|change| {
                let what = if change.opens { "opens" } else { "closes" };
                moment(change.at, &hours.zone, Some(what), hours.odd(change.at))
            });
            Schedule { name: name.clone(), timezone: zone_name(&hours.zone), next: changes.collect() }
        });
        let mut digests = Vec::new();
        for rule in config.rules.list() {
            for deliver in &rule.deliver {
                let Some(digest) = &deliver.timing.digest else { continue };
                let (timezone, next, after) = match &digest.closes {
                    Closes::After { every, extend_max } => {
                        (None, Vec::new(), Some(after(*every, *extend_max)))
                    }
                    Closes::At(moments) => {
                        let next = moments.following(now).take(SHOWN);
                        let next = next.map(|at| moment(at, &moments.zone, None, moments.odd(at)));
                        (Some(zone_name(&moments.zone)), next.collect(), None)
                    }
                };
                digests.push(Digest {
                    rule: rule.name.clone(),
                    to: deliver.target.clone(),
                    timezone,
                    next,
                    after,
                });
            }
        }
        let found = Self { schedules: schedules.collect(), digests };
        (!found.schedules.is_empty() || !found.digests.is_empty()).then_some(found)
    }

    /// For people.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = vec![paint(BOLD, "next moments")];
        for Schedule { name, timezone, next } in &self.schedules {
            lines.push(format!("  schedule {name} ({timezone})"));
            if next.is_empty() {
                lines.push("    always open".to_owned());
            }
            lines.extend(next.iter().map(Moment::line));
        }
        for Digest { rule, to, timezone, next, after } in &self.digests {
            let zone = timezone.as_ref().map(|zone| format!(" ({zone})")).unwrap_or_default();
            lines.push(format!("  digest of {rule} to {to}{zone}"));
            lines.extend(after.iter().map(|after| format!("    {after}")));
            lines.extend(next.iter().map(Moment::line));
        }
        lines
    }
}

impl Moment {
    fn line(&self) -> String {
        let what = self.what.map(|what| format!("{what:<7}")).unwrap_or_default();
        let note = self.note.map(|note| format!("  {note}")).unwrap_or_default();
        format!("    {what}{}{note}", self.local)
    }
}

fn moment(at: Timestamp, zone: &TimeZone, what: Option<&'static str>, odd: Option<Odd>) -> Moment {
    let local = at.to_zoned(zone.clone()).strftime("%a %Y-%m-%d %H:%M %Z").to_string();
    let note = odd.map(|odd| match odd {
        Odd::Skipped => "(that time is skipped on this day: it is the first instant after)",
        Odd::Twice => "(that time comes twice on this day: it is the first)",
    });
    Moment { at, local, what, note }
}

fn after(every: std::time::Duration, extend_max: Option<std::time::Duration>) -> String {
    let shown = |duration: std::time::Duration| span(i64::try_from(duration.as_secs()).unwrap_or(i64::MAX));
    match extend_max {
        Some(max) => format!(
            "{} after its last message, and {} after its first at the latest",
            shown(every),
            shown(max)
        ),
        None => format!("{} after its first message", shown(every)),
    }
}
