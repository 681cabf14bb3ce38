//! `explain` for people.

use anstyle::Style;
use jiff::Timestamp;

use crate::answers::explain::{About, Next, Outlook, Owed, Remedy, Story, changed};
use crate::cli::output::{BAD, BOLD, DIM, GOOD, WARN, counted, paint};
use crate::cli::{Context, deliveries, table, when};
use crate::config::Config;
use crate::config::problem::nearest;
use crate::model::catalog;
use crate::model::delivery::{Planned, StateName};
use crate::model::group::{Join, Kind, Over, Quota};
use crate::model::message::Triple;
use crate::model::mute::Mute;
use crate::rules::evaluate::Evaluation;
use crate::rules::expression::Expression;
use crate::store::Detail;

/// How wide a message's subject and body are shown where no terminal says how wide it is.
const TEXT_CHARS_MAX: usize = 120;
/// What stands before the value of a fact.
const FACT_INDENT: usize = 11;
/// How much of a target's answer is shown, in characters.
const ANSWER_CHARS_MAX: usize = 200;

/// The whole story.
pub(super) fn text(story: &Story<'_>, config: &Config, context: &Context) -> anyhow::Result<()> {
    Teller { story, config, context, now: context.clock.now() }.tell()
}

/// Who tells a story.
struct Teller<'s> {
    story: &'s Story<'s>,
    config: &'s Config,
    context: &'s Context,
    now: Timestamp,
}

impl Teller<'_> {
    fn tell(&self) -> anyhow::Result<()> {
        self.message()?;
        self.head("Rules")?;
        self.story.verdicts.iter().try_for_each(|verdict| self.rule(verdict))?;
        if self.story.verdicts.is_empty() {
            self.say(2, DIM, "the rules file has none")?;
        }
        self.differences()?;
        match &self.story.owed {
            Owed::Is(details) => {
                self.head("Deliveries")?;
                if details.is_empty() {
                    let taken = self.story.stored.as_ref().is_some_and(|stored| !stored.rules.is_empty());
                    let why =
                        if taken { "none that is still kept (`retention`)" } else { "none: no rule took it" };
                    self.say(2, DIM, why)?;
                }
                details.iter().try_for_each(|detail| self.delivery(detail, details))?;
                self.made_good()
            }
            Owed::Would(planned) => {
                self.head("If it came now")?;
                if planned.is_empty() {
                    self.say(2, DIM, "nothing would be delivered")?;
                }
                planned.iter().try_for_each(|owed| self.would(owed))
            }
        }
    }

    fn head(&self, text: &str) -> anyhow::Result<()> {
        Ok(self.context.out.line(format!("\n{}", paint(BOLD, text)))?)
    }

    /// A text behind so many spaces, on as many lines as a terminal needs.
    fn say(&self, indent: usize, style: Style, text: impl AsRef<str>) -> anyhow::Result<()> {
        let columns_max = self.context.out.width().map(|columns| columns.saturating_sub(indent));
        for line in table::wrapped(text.as_ref(), columns_max) {
            self.context.out.line(format!("{:indent$}{}", "", paint(style, line)))?;
        }
        Ok(())
    }

    fn moment(&self, at: Timestamp) -> String {
        format!("{} ({})", when::moment(at, &self.config.timezone), when::ago(at, self.now))
    }

    fn message(&self) -> anyhow::Result<()> {
        let (message, names) = (&self.story.message, &self.story.names);
        let label = paint(BOLD, catalog::label(&message.triple));
        self.context.out.line(format!("{label}  {}", paint(DIM, &message.triple)))?;
        if let (About::Type, None) = (self.story.about, catalog::find(&message.triple)) {
            self.say(2, WARN, unknown_type(&message.triple))?;
        }
        let fact = |name: &str, value: &str| {
            self.context.out.line(format!("  {} {value}", paint(DIM, format!("{name:<8}"))))
        };
        let text_chars_max = self.context.out.width().unwrap_or(TEXT_CHARS_MAX).saturating_sub(FACT_INDENT);
        if self.story.stored.is_some() {
            fact("uid", &message.uid)?;
        }
        fact("account", &message.account)?;
        if let Some(client) = &names.client {
            fact("client", &table::short(client.name.as_ref().unwrap_or(&client.uid), text_chars_max))?;
        }
        if let Some(staff) = &names.staff {
            fact("staff", &table::short(staff.name.as_ref().unwrap_or(&staff.uid), text_chars_max))?;
        }
        if !message.subject.is_empty() {
            fact("subject", &table::short(&message.subject, text_chars_max))?;
        }
        if !message.body.is_empty() {
            fact("body", &table::short(&message.body, text_chars_max))?;
        }
        if let Some(stored) = &self.story.stored {
            fact("made", &self.moment(message.created_at))?;
            fact("seen", &self.moment(stored.seen_at))?;
        }
        let note = match self.story.about {
            About::Polled => return Ok(()),
            About::File => "of its people only what the store remembers is known",
            About::Type => {
                "people, texts and figures are samples: what `where` says of them need not hold for a real one"
            }
        };
        self.say(2, DIM, note)
    }

    fn rule(&self, verdict: &Evaluation<'_>) -> anyhow::Result<()> {
        let (style, mark) = if verdict.matched { (GOOD, "✓") } else { (DIM, "✗") };
        let place = &verdict.place;
        let place = format!("{}:{}:{}", place.file, place.line, place.column);
        self.context.out.line(format!("  {} {}  {}", paint(style, mark), verdict.rule, paint(DIM, place)))?;
        self.say(6, Style::new(), &verdict.reason)?;
        if let Some(owner) = self.config.rules.get(verdict.rule).and_then(|rule| rule.owner.as_deref()) {
            self.say(6, DIM, format!("owner: {owner}"))?;
        }
        if let Some(mute) = Mute::of(&self.story.mutes, verdict.rule, self.now) {
            let Mute { id, until, reason, .. } = mute;
            self.say(6, WARN, format!("muted until {}: {reason} (mute {id})", self.moment(*until)))?;
        }
        Ok(())
    }

    /// Says where the rules have changed since the message came.
    fn differences(&self) -> anyhow::Result<()> {
        let (gained, lost) = changed(self.story);
        let (told, gained): (Vec<&str>, Vec<&str>) =
            gained.into_iter().partition(|rule| self.told_by_a_former_rule(rule));
        if !told.is_empty() {
            let text = format!(
                "today's rules would take it by {}, which did not when it came, and it went to the same targets by a rule \
                 that is no longer there: nothing is missing if that rule was renamed",
                told.join(", ")
            );
            self.say(2, WARN, text)?;
        }
        if !gained.is_empty() {
            let text = format!(
                "today's rules would take it by {}, which did not when it came; `activity-relay backfill` sends it \
                 after all",
                gained.join(", ")
            );
            self.say(2, WARN, text)?;
        }
        if !lost.is_empty() {
            let looks_at_names = self.config.rules.list().iter().any(|rule| {
                (rule.stop || lost.contains(&rule.name.as_str()))
                    && rule.filter.as_ref().is_some_and(Expression::needs_names)
            });
            let perhaps = if looks_at_names {
                " (a `where` that looks at names takes what it cannot judge for want of them)"
            } else {
                ""
            };
            let text = format!(
                "when it came it was taken by {}, which would not take it today{perhaps}",
                lost.join(", ")
            );
            self.say(2, WARN, text)?;
        }
        Ok(())
    }

    /// All that a rule would send was sent, to the same targets, by a rule that the file does not have any more.
    fn told_by_a_former_rule(&self, rule: &str) -> bool {
        let Owed::Is(details) = &self.story.owed else { return false };
        let deliver = self.config.rules.get(rule).map_or(&[][..], |rule| &rule.deliver);
        let is_told = |target: &str| {
            details.iter().any(|Detail { row, .. }| {
                row.target == target
                    && row.state == StateName::Delivered
                    && self.config.rules.get(&row.rule).is_none()
            })
        };
        !deliver.is_empty() && deliver.iter().all(|deliver| is_told(&deliver.target))
    }

    fn delivery(&self, detail: &Detail, all: &[Detail]) -> anyhow::Result<()> {
        let row = &detail.row;
        let state = paint(deliveries::state_style(row.state), row.state);
        let to = to(&row.rule, &row.target, row.recipient.as_deref());
        self.context.out.line(format!("  {to}  {state}  {}", paint(DIM, &row.id)))?;
        if let Some(of) = &row.replay_of {
            self.say(6, Style::new(), format!("replays {of}"))?;
        }
        if row.messages.len() > 1 {
            self.say(
                6,
                Style::new(),
                format!("together with {}", counted(row.messages.len() - 1, "other message")),
            )?;
        }
        for (number, attempt) in detail.history.iter().enumerate() {
            let status = attempt.status.map_or(String::new(), |status| format!(" {status}"));
            let (outcome, latency, at) = (&attempt.outcome, attempt.latency_ms, self.moment(attempt.at));
            let said = format!("{}. {outcome}{status}, {latency} ms, {at}: {}", number + 1, attempt.reason);
            self.say(6, Style::new(), said)?;
            if let Some(answer) = attempt.answer.as_deref().filter(|answer| !answer.trim().is_empty()) {
                self.say(9, DIM, format!("answer: {}", table::short(answer, ANSWER_CHARS_MAX)))?;
            }
        }
        if let Some(good) = &row.made_good {
            self.say(6, GOOD, format!("made good by {}, {}", good.by, self.moment(good.at)))?;
        }
        if row.maybe_duplicate {
            let note = "the target may have had it twice: an attempt ended without a clear answer";
            self.say(6, WARN, note)?;
        }
        let again = all.iter().find(|other| other.row.replay_of.as_ref() == Some(&row.id));
        match self.outlook(|outlook| outlook.next(row, again.map(|again| again.row.id.as_str()))) {
            Some(next) => self.say(6, Style::new(), coming(next, &row.target, row.id.as_str())),
            None => Ok(()),
        }
    }

    /// What the message made good.
    fn made_good(&self) -> anyhow::Result<()> {
        if self.story.made_good.is_empty() {
            return Ok(());
        }
        self.head("Makes good")?;
        for row in &self.story.made_good {
            let to = to(&row.rule, &row.target, row.recipient.as_deref());
            let about = paint(DIM, format!("{}  {}", row.id, row.messages.join(", ")));
            self.context.out.line(format!("  {to}  {about}"))?;
        }
        Ok(())
    }

    /// What the outlook says.
    fn outlook<T>(&self, says: impl FnOnce(&Outlook<'_>) -> T) -> T {
        let moment = |at| self.moment(at);
        let (config, targets, now) = (self.config, &self.story.targets[..], self.now);
        says(&Outlook { config, targets, now, moment: &moment })
    }

    fn would(&self, owed: &Planned) -> anyhow::Result<()> {
        let to = to(&owed.rule, &owed.target, owed.recipient.as_deref());
        self.context.out.line(format!("  {to}  {}", paint(DIM, format!("template {}", owed.template))))?;
        if let Some(why) = &owed.withheld {
            return self.say(6, BAD, format!("withheld: {why}"));
        }
        if let Some(end) = owed.expires_at.filter(|end| *end <= self.now) {
            return self.say(6, BAD, format!("too old to be sent: expired {}", self.moment(end)));
        }
        if let Some(Join { kind, to, .. }) = &owed.joins {
            let what = match kind {
                Kind::Digest => "collected in a digest that closes",
                Kind::Event => "waits for further messages about the same until",
            };
            self.say(6, Style::new(), format!("{what} {}", self.moment(*to)))?;
        }
        if let Some(Quota { throttle, over, .. }) = &owed.quota {
            let per = jiff::SignedDuration::try_from(throttle.per).unwrap_or(jiff::SignedDuration::MAX);
            let others = match over {
                Over::Drop(_) => "others are withheld and counted",
                Over::Join { .. } => "others are collected in a digest",
            };
            self.say(6, Style::new(), format!("at most {} in {per:#}; {others}", throttle.limit))?;
        }
        let next = self.outlook(|outlook| outlook.pending(&owed.target, Some(owed.due_at)));
        self.say(6, Style::new(), coming(next, &owed.target, owed.id.as_str()))?;
        match owed.expires_at {
            Some(end) => self.say(6, Style::new(), format!("expires {}", self.moment(end))),
            None => Ok(()),
        }
    }
}

/// What comes next, with what a person can do about it.
fn coming(next: Next, target: &str, id: &str) -> String {
    let Next { words, remedy } = next;
    match remedy {
        Some(Remedy::Replay) => {
            format!("{words}. To send it all the same: activity-relay deliveries replay {id}")
        }
        Some(Remedy::Resume) => format!("{words}. At once: activity-relay targets resume {target}"),
        Some(Remedy::Flush) => format!("{words}. At once: activity-relay digests flush {id}"),
        None => words,
    }
}

fn to(rule: &str, target: &str, recipient: Option<&str>) -> String {
    let recipient = recipient.map_or_else(String::new, |who| format!(" ({who})"));
    format!("{rule} → {target}{recipient}")
}

/// What to say of a type that the catalogue does not have: the nearest one that it has.
pub(super) fn unknown_type(triple: &Triple) -> String {
    let known: Vec<String> = catalog::all().iter().map(|entry| entry.triple().to_string()).collect();
    let near = nearest(&triple.to_string(), known.iter().map(String::as_str));
    let near = near.map_or(String::new(), |near| format!("; the nearest is {near}"));
    format!("the catalogue does not know this type{near}. `activity-relay catalog` lists those that it knows")
}
