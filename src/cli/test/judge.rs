//! What a test expected beside what came of it.

use std::fmt::Write;

use jiff::Timestamp;

use crate::config::Config;
use crate::config::problem::{Problem, Span};
use crate::config::rule_tests::{
    self as codes, ExpectedDelivery, Listed, Matcher, Part, Placed, Suite, Test,
};
use crate::model::delivery::StateName;
use crate::model::payload::Payload;

use super::checks::{Mismatch, mismatches};
use super::difference::Difference;
use super::pairing::pair;
use super::parts;
use super::play::{Made, Played};
use super::snapshots::{Snapshots, same};
use crate::cli::output::counted;
use crate::cli::when;

/// One thing that is not as expected.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) problem: Problem,
    pub(super) difference: Option<Difference>,
}

/// What a test is judged with.
pub(super) struct Judge<'a> {
    pub(super) config: &'a Config,
    pub(super) suite: &'a Suite,
    pub(super) test: &'a Test,
    pub(super) played: &'a Played,
    pub(super) snapshots: &'a mut Snapshots,
}

impl Judge<'_> {
    /// All that is not as expected; snapshots are written where that is asked for.
    pub(super) fn failures(&mut self) -> Vec<Failure> {
        let mut found = Vec::new();
        self.templates(&mut found);
        if let Some(wanted) = &self.test.expect.rules {
            found.extend(self.rules(wanted));
        }
        for (rule, reason) in &self.test.expect.not_matched {
            found.extend(self.not_matched(rule, reason.as_ref()));
        }
        if let Some(wanted) = &self.test.expect.deliveries {
            self.deliveries(wanted, &mut found);
        }
        found
    }

    fn failure(&self, mismatch: Mismatch) -> Failure {
        let Mismatch { code, span, message, help, difference } = mismatch;
        Failure { problem: self.suite.problem(code, span, message, help), difference }
    }

    fn plain(
        &self,
        code: &'static crate::config::codes::Code,
        span: Span,
        message: String,
        help: String,
    ) -> Failure {
        let help = Some(help).filter(|help| !help.is_empty());
        self.failure(Mismatch { code, span, message, help, difference: None })
    }

    /// A template that fails is a failure whatever is expected.
    fn templates(&self, found: &mut Vec<Failure>) {
        for sent in self.played.made.iter().filter_map(|made| made.sent.as_ref()) {
            let Some(problem) = &sent.problem else { continue };
            let message = format!(
                "what the rule `{}` sends to {} is the plain fallback: {problem}",
                sent.rule, sent.target
            );
            let help = "mend the template; `activity-relay render` shows what it makes".to_owned();
            found.push(self.plain(codes::TEMPLATE, self.test.span, message, help));
        }
    }

    fn rules(&self, wanted: &Listed<String>) -> Vec<Failure> {
        let took = self.played.rules();
        let mut found = Vec::new();
        for rule in wanted.items.iter().filter(|rule| !took.contains(&rule.value.as_str())) {
            let message = format!("the rule `{}` took none of the messages", rule.value);
            found.push(self.plain(codes::RULES, rule.span, message, self.why_not(&rule.value)));
        }
        for rule in &took {
            if !wanted.items.iter().any(|wanted| wanted.value == *rule) {
                let why = self.played.verdicts(rule).find(|(_, verdict)| verdict.matched);
                let why = why.map_or_else(String::new, |(_, verdict)| format!("{}; ", verdict.reason));
                let message = format!("the rule `{rule}` took a message and is not expected to");
                let help = format!("{why}add it to `rules` if it is to take it");
                found.push(self.plain(codes::RULES, wanted.span, message, help));
            }
        }
        for (index, rule) in wanted.items.iter().enumerate() {
            if wanted.items[..index].iter().any(|earlier| earlier.value == rule.value) {
                let message = format!("the rule `{}` stands here twice", rule.value);
                let help = "name each rule once, however many messages it takes".to_owned();
                found.push(self.plain(codes::RULES, rule.span, message, help));
            }
        }
        found
    }

    fn not_matched(&self, rule: &Placed<String>, reason: Option<&Placed<String>>) -> Option<Failure> {
        if let Some((message, verdict)) =
            self.played.verdicts(&rule.value).find(|(_, verdict)| verdict.matched)
        {
            let text = format!("the rule `{}` took {}", rule.value, message.triple);
            return Some(self.plain(codes::NOT_MATCHED, rule.span, text, verdict.reason.clone()));
        }
        let reason = reason?;
        let says = |text: &str| text.to_lowercase().contains(&reason.value.to_lowercase());
        if self.played.verdicts(&rule.value).any(|(_, verdict)| says(&verdict.reason)) {
            return None;
        }
        let text = format!("the rule `{}` does not take the message, but for another reason", rule.value);
        Some(self.plain(codes::NOT_MATCHED, reason.span, text, self.why_not(&rule.value)))
    }

    /// Why a rule took no message, the same reason once.
    fn why_not(&self, rule: &str) -> String {
        let mut reasons: Vec<&str> =
            self.played.verdicts(rule).map(|(_, verdict)| verdict.reason.as_str()).collect();
        reasons.dedup();
        match reasons.as_slice() {
            [] => "there was no message".to_owned(),
            reasons => reasons.join("; "),
        }
    }

    /// Each delivery that counts has its expectation, and the other way round. What was not sent counts where an
    /// expectation names its state.
    fn deliveries(&mut self, wanted: &Listed<ExpectedDelivery>, found: &mut Vec<Failure>) {
        let named: Vec<StateName> = wanted.items.iter().map(|item| item.value.state.value).collect();
        let played = self.played;
        let counts = |made: &&Made| made.was_sent() || named.contains(&made.row.state);
        let made: Vec<&Made> = played.made.iter().filter(counts).collect();
        let fits: Vec<Vec<usize>> = made
            .iter()
            .map(|made| {
                let fits = |item: &Placed<ExpectedDelivery>| {
                    item.value.to.value == made.row.target && mismatches(self, &item.value, made).is_empty()
                };
                let items = wanted.items.iter().enumerate().filter(|(_, item)| fits(item));
                let mut places: Vec<usize> = items.map(|(index, _)| index).collect();
                // While snapshots are written any text fits: what fits as it is kept goes where it went before.
                places.sort_by_key(|place| !is_kept(self, &wanted.items[*place].value, made));
                places
            })
            .collect();
        let room: Vec<usize> = wanted.items.iter().map(|item| item.value.count).collect();
        let paired = pair(&fits, &room);
        let mut left: Vec<&Made> = Vec::new();
        let mut room = room;
        let mut kept: Vec<Vec<&Made>> = vec![Vec::new(); wanted.items.len()];
        for (made, place) in made.iter().zip(&paired) {
            match place {
                Some(place) => {
                    room[*place] -= 1;
                    kept[*place].push(made);
                }
                None => left.push(made),
            }
        }
        for (item, made) in wanted.items.iter().zip(&kept) {
            self.keep(&item.value, made, found);
        }
        for (item, missing) in wanted.items.iter().zip(room).filter(|(_, missing)| *missing > 0) {
            self.missing(&item.value, missing, &mut left, found);
        }
        for made in left {
            found.push(self.unexpected(wanted.span, made));
        }
    }

    /// An expectation that nothing fits: the delivery that comes nearest, with what differs, or nothing at all.
    fn missing(
        &self,
        wanted: &ExpectedDelivery,
        count: usize,
        left: &mut Vec<&Made>,
        found: &mut Vec<Failure>,
    ) {
        for number in 0..count {
            let near = left.iter().enumerate().filter(|(_, made)| made.row.target == wanted.to.value);
            let near = near.map(|(index, made)| (index, mismatches(self, wanted, made)));
            let Some((index, differs)) = near.min_by_key(|(_, differs)| differs.len()) else {
                found.push(self.not_made(wanted, count - number));
                return;
            };
            left.remove(index);
            found.extend(differs.into_iter().map(|mismatch| self.failure(mismatch)));
        }
    }

    fn not_made(&self, wanted: &ExpectedDelivery, missing: usize) -> Failure {
        let target = &wanted.to.value;
        let state = wanted.state.value;
        let is = if state == StateName::Delivered { "was made".to_owned() } else { format!("is {state}") };
        let message = if missing < wanted.count {
            let is = if missing == 1 { "is" } else { "are" };
            format!("{missing} of the {} expected deliveries to {target} {is} missing", wanted.count)
        } else if wanted.count > 1 {
            format!("none of the {} expected deliveries to {target} {is}", wanted.count)
        } else {
            format!("no delivery to {target} {is}")
        };
        self.plain(codes::SENT, wanted.to.span, message, self.why_not_made(wanted))
    }

    /// It waits or was held back, or its rules took nothing.
    fn why_not_made(&self, wanted: &ExpectedDelivery) -> String {
        let other = |made: &&Made| made.row.target == wanted.to.value && made.row.state != wanted.state.value;
        let others: Vec<&Made> = self.played.made.iter().filter(other).collect();
        match others.as_slice() {
            [] => {}
            [made] => return format!("one is {}", self.state_in_words(made)),
            others => return counted_states(others),
        }
        let owes = |rule: &&crate::rules::Rule| match &wanted.rule {
            Some(name) => rule.name == name.value,
            None => rule.deliver.iter().any(|deliver| deliver.target == wanted.to.value),
        };
        let all: Vec<&str> =
            self.config.rules.list().iter().filter(owes).map(|rule| rule.name.as_str()).collect();
        match all.as_slice() {
            [] => format!("no rule delivers to {}", wanted.to.value),
            rules if rules.iter().any(|rule| self.played.rules().contains(rule)) => {
                let to =
                    |made: &&Made| made.row.target == wanted.to.value && rules.contains(&&*made.row.rule);
                let made = counted(self.played.made.iter().filter(to).count(), "delivery");
                format!("{made} there came of these rules: {}", rules.join(", "))
            }
            [rule] => format!("`{rule}`: {}", self.why_not(rule)),
            rules => format!("none of the rules that deliver there took a message: {}", rules.join(", ")),
        }
    }

    fn unexpected(&self, span: Span, made: &Made) -> Failure {
        let row = &made.row;
        let to = row.recipient.as_ref().map_or_else(String::new, |recipient| format!(", for {recipient}"));
        let when = made.at().map_or_else(String::new, |at| format!(" at {}", self.moment(at)));
        let message = format!(
            "the rule `{}` makes a delivery to {}{to}{when} that is not expected",
            row.rule, row.target
        );
        let help =
            format!("add {{ to: {}, rule: {} }} to `deliveries` if it is to be made", row.target, row.rule);
        let readable = |payload: &Payload| match payload {
            Payload::Http(_) => Part::Body,
            Payload::Slack(_) | Payload::Email(_) => Part::Text,
        };
        let text = made.sent.as_ref().and_then(|sent| parts::text(&sent.payload, readable(&sent.payload)));
        let difference = text.map(Difference::In);
        self.failure(Mismatch { code: codes::UNEXPECTED, span, message, help: Some(help), difference })
    }

    /// Writes the snapshots of the deliveries that are as expected.
    fn keep(&mut self, wanted: &ExpectedDelivery, made: &[&Made], found: &mut Vec<Failure>) {
        if !self.snapshots.update {
            return;
        }
        for check in &wanted.checks {
            let Matcher::Snapshot(name) = &check.matcher else { continue };
            let texts = made.iter().filter_map(|made| text(made, check.part)).collect::<Vec<_>>();
            let Some((text, others)) = texts.split_first() else { continue };
            if !others.iter().all(|other| same(other, text)) {
                let message = format!(
                    "the {} deliveries to {} have different texts, and a snapshot holds one",
                    texts.len(),
                    wanted.to.value
                );
                let help = "write an entry of its own for each of them, with a snapshot of another name";
                found.push(self.plain(codes::SNAPSHOT, check.span, message, help.to_owned()));
                continue;
            }
            if let Err(error) = self.snapshots.write(name, check.part, text) {
                let path = self.snapshots.path(name, check.part);
                let message = format!("{} cannot be written: {error}", path.display());
                found.push(self.plain(codes::SNAPSHOT, check.span, message, String::new()));
            }
        }
    }

    /// Where a delivery stands, and why or until when.
    pub(super) fn state_in_words(&self, made: &Made) -> String {
        let row = &made.row;
        let more = match (row.state, row.due_at, &row.why) {
            (StateName::Pending, Some(due), _) => {
                format!(
                    ": it is due at {}, and the test ends at {}",
                    self.moment(due),
                    self.moment(self.played.end)
                )
            }
            (_, _, Some(why)) => format!(": {why}"),
            _ => String::new(),
        };
        format!("{}{more}", row.state)
    }

    /// A moment from the test's `now` on, and by the wall clock of the rules file's zone.
    pub(super) fn moment(&self, at: Timestamp) -> String {
        format!("{} ({})", since(self.test.now, at), when::moment(at, &self.config.timezone))
    }
}

/// A part of what was sent.
fn text(made: &Made, part: Part) -> Option<String> {
    parts::text(&made.sent.as_ref()?.payload, part)
}

/// Every snapshot that is expected of a delivery holds its text already.
fn is_kept(judge: &Judge<'_>, wanted: &ExpectedDelivery, made: &Made) -> bool {
    wanted.checks.iter().all(|check| match &check.matcher {
        Matcher::Snapshot(name) => {
            let kept = judge.snapshots.read(name, check.part);
            kept.zip(text(made, check.part)).is_some_and(|(kept, is)| same(&kept, &is))
        }
        _ => true,
    })
}

/// `2 are delivered, 1 is pending`.
fn counted_states(made: &[&Made]) -> String {
    let states = StateName::ALL.into_iter().filter_map(|state| {
        let count = made.iter().filter(|made| made.row.state == state).count();
        let are = if count == 1 { "is" } else { "are" };
        (count > 0).then(|| format!("{count} {are} {state}"))
    });
    states.collect::<Vec<_>>().join(", ")
}

/// `+1h30m`: as `at` in a test is written.
fn since(now: Timestamp, at: Timestamp) -> String {
    let mut left = at.duration_since(now).as_secs();
    let sign = if left < 0 { '-' } else { '+' };
    left = left.abs();
    let mut text = String::new();
    for (unit, seconds) in [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)] {
        if left >= seconds {
            let _ = write!(text, "{}{unit}", left / seconds);
            left %= seconds;
        }
    }
    format!("{sign}{}", if text.is_empty() { "0s" } else { &text })
}
