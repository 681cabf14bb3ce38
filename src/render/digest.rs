//! What a delivery that gathered messages says: which it tells, in what words, and what is to be said beside them.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use crate::model::catalog;
use crate::model::group::Kind;

use super::escape::one_line;
use super::view::{Seen, View};

/// The words for several messages of a use case, one and many.
const NOUNS: [(&str, &str, &str); 14] = [
    ("payment_failure", "failed payment", "failed payments"),
    ("payment_received", "payment received", "payments received"),
    ("client_cancellation", "cancellation", "cancellations"),
    ("no_show", "no-show", "no-shows"),
    ("client_reschedule", "moved appointment", "moved appointments"),
    ("new_booking", "new booking", "new bookings"),
    ("estimate_decision", "estimate decision", "estimate decisions"),
    ("waitlist", "change on the waitlist", "changes on the waitlist"),
    ("review", "new review", "new reviews"),
    ("document", "document", "documents"),
    ("client_message", "message from clients", "messages from clients"),
    ("voice_call", "phone call", "phone calls"),
    ("assignment", "assignment", "assignments"),
    ("needs_action", "thing to look at", "things to look at"),
];

/// How many of the further messages of an event are told by their type.
const ALSO_NAMED: usize = 3;
/// How many of what is settled are told by name.
const SETTLED_NAMED: usize = 5;

impl View {
    /// Whether it tells of a time, of however many messages: none, one or many.
    pub(crate) fn is_digest(&self) -> bool {
        match self.around.gathered {
            Some(gathered) => gathered.kind == Kind::Digest,
            None => self.messages.len() > 1,
        }
    }

    /// The messages it tells, by time and then uid. What else tells of the same event stands under each.
    pub(crate) fn told(&self) -> Vec<&Seen> {
        let mut all: Vec<&Seen> = self.messages.iter().collect();
        all.sort_by_key(|seen| moment(seen));
        all
    }

    /// The time it covers: what a digest gathered in, else from its first message to its last.
    pub(crate) fn window(&self) -> Option<(Timestamp, Timestamp)> {
        if let Some(gathered) = self.around.gathered.filter(|gathered| gathered.kind == Kind::Digest) {
            return Some((gathered.from, gathered.to));
        }
        let at = || self.messages.iter().flat_map(Seen::whole).map(|seen| seen.message.created_at);
        at().min().zip(at().max())
    }

    /// How many of what, such as `7 failed payments`.
    pub(crate) fn summary(&self) -> String {
        let told = self.told();
        let (one, many) = noun(&told);
        match told.len() {
            0 => "No messages".to_owned(),
            1 => format!("1 {one}"),
            count => format!("{count} {many}"),
        }
    }

    /// What templates see of it beside the messages and what became of them.
    pub(crate) fn put_around(&self, data: &mut Map<String, Value>) {
        data.insert("digest".into(), json!(self.is_digest()));
        data.insert("summary".into(), json!(self.summary()));
        if let Some((from, to)) = self.window() {
            let (span, day) = (span(from, to, &self.timezone), day(from, to, &self.timezone));
            data.insert("window".into(), json!({ "from": from, "to": to, "span": span, "day": day }));
        }
        data.insert("expired".into(), json!(self.around.expired));
        data.insert("resolved_count".into(), json!(self.around.resolved.len()));
        let resolved = self.around.resolved.iter().map(|resolved| {
            let mut item = self.told_item(&resolved.message);
            item.insert("by".into(), Value::Object(self.item(&resolved.by)));
            item.insert("delivery".into(), json!({ "id": resolved.delivery }));
            item.insert("rule".into(), json!({ "name": one_line(&resolved.rule) }));
            item.insert("target".into(), json!({ "name": one_line(&resolved.target) }));
            Value::Object(item)
        });
        data.insert("resolved".into(), resolved.collect());
        if let Some(late) = self.late() {
            data.insert("late".into(), late);
        }
    }

    /// How late it is, if it is: in words, in seconds, and when it was due.
    pub(crate) fn late(&self) -> Option<Value> {
        let seconds = self.around.late?.as_secs();
        let mut late = Map::new();
        late.insert("text".into(), json!(length(seconds)));
        late.insert("seconds".into(), json!(seconds));
        if let Some(due) = self.around.due {
            late.insert("due".into(), json!(due));
        }
        Some(Value::Object(late))
    }

    /// What is to be said beside the messages, a line each, for renderings without a template.
    pub(crate) fn notes(&self) -> Vec<String> {
        let around = &self.around;
        let mut notes = Vec::new();
        if let Some(seen) = self.main().filter(|seen| !seen.also.is_empty() && !self.is_digest()) {
            let label = |also: &Seen| one_line(&catalog::label(&also.message.triple));
            let labels: Vec<String> = seen.also.iter().take(ALSO_NAMED).map(label).collect();
            let more = if seen.also.len() > ALSO_NAMED { "; …" } else { "" };
            notes.push(format!("The same in further messages: {}{more}", labels.join("; ")));
        }
        if let Some(late) = around.late {
            notes.push(format!("Late by {}", length(late.as_secs())));
        }
        if around.throttled > 0 {
            notes.push(format!("{} more held back since the last one", around.throttled));
        }
        if !around.resolved.is_empty() {
            let names: Vec<String> =
                around.resolved.iter().take(SETTLED_NAMED).map(|one| one.message.who()).collect();
            let more = around.resolved.len().saturating_sub(SETTLED_NAMED);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let says = if self.is_digest() { "Settled since" } else { "Settles" };
            notes.push(format!("{says}: {}{more}", names.join(", ")));
        }
        if let Some(by) = &around.resolved_by {
            notes.push(format!(
                "Settled before this was sent: {}",
                one_line(&catalog::label(&by.message.triple))
            ));
        }
        if around.expired > 0 {
            notes.push(format!("{} expired unsent", around.expired));
        }
        notes
    }
}

fn moment(seen: &Seen) -> (Timestamp, &str) {
    (seen.message.created_at, &seen.message.uid)
}

/// The words for these messages: those of the use case for which each of them is the one to alert on.
fn noun(told: &[&Seen]) -> (&'static str, &'static str) {
    let primary = |seen: &Seen, use_case: &str| {
        catalog::find(&seen.message.triple).is_some_and(|entry| entry.primary_for.contains(&use_case))
    };
    let shared = |(use_case, ..): &&(&str, &str, &str)| told.iter().all(|seen| primary(seen, use_case));
    match NOUNS.iter().find(shared) {
        Some((_, one, many)) if !told.is_empty() => (one, many),
        _ => ("message", "messages"),
    }
}

/// `2 Mar 08:00 – 3 Mar 08:00`, or `3 Mar, 09:00 – 10:00` within a day.
fn span(from: Timestamp, to: Timestamp, zone: &TimeZone) -> String {
    let (from, to) = (from.to_zoned(zone.clone()), to.to_zoned(zone.clone()));
    if from.date() == to.date() {
        let end = to.strftime("%H:%M").to_string();
        let start = from.strftime("%-d %b, %H:%M").to_string();
        return if start.ends_with(&end) { start } else { format!("{start} – {end}") };
    }
    format!("{} – {}", from.strftime("%-d %b %H:%M"), to.strftime("%-d %b %H:%M"))
}

/// `Tue 3 Mar` for a day or more, with the time for less: what tells one digest from the next.
fn day(from: Timestamp, to: Timestamp, zone: &TimeZone) -> String {
    const DAY_SECONDS: i64 = 20 * 3600;
    let long = to.duration_since(from).as_secs() >= DAY_SECONDS;
    to.to_zoned(zone.clone()).strftime(if long { "%a %-d %b" } else { "%a %-d %b, %H:%M" }).to_string()
}

/// A length of time in words: `40 s`, `5 min`, `2 h 5 min`, `3 days`.
fn length(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (2.., ..) => format!("{days} days"),
        (_, 1.., _) if minutes % 60 > 0 => format!("{hours} h {} min", minutes % 60),
        (_, 1.., _) => format!("{hours} h"),
        (_, _, 1..) => format!("{minutes} min"),
        _ => format!("{seconds} s"),
    }
}
