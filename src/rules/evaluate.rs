//! Which rules match a message, and why the others do not.

use crate::model::message::Message;
use crate::model::names::Names;

use super::condition::{Block, Field, Subject};
use super::{Place, Point, Rule, Rules};

/// One rule's verdict on one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evaluation<'a> {
    /// The rule's name.
    pub rule: &'a str,
    /// Whether it took the message.
    pub matched: bool,
    /// Why, in words: what matched, or the first condition that failed.
    pub reason: String,
    /// Where that stands: the block that took the message, or the condition that failed.
    pub place: Place,
}

/// A judgement's reason, and where in the rule it stands.
struct Reason {
    text: String,
    point: Point,
    /// The rule takes the message to be on the safe side: names that its `where` looks at are not here.
    unsure: bool,
}

impl Reason {
    fn new(text: String, point: Point) -> Self {
        Self { text, point, unsure: false }
    }
}

/// Whether a rule is known to take a message, or takes it because names are late.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sure(pub bool);

/// The rule is known to take the message: names that are late would make no difference.
pub fn surely_takes(rule: &Rule, message: &Message, names: &Names) -> bool {
    judge(rule, &Subject::of(message), message, names).is_ok_and(|reason| !reason.unsure)
}

/// The rules that match, in file order, `stop` observed. Looks only at rules that can match. Where names are late, a rule
/// whose `where` depends on them takes the message, and does not stop: better one too many than one that is never told of.
pub fn matching<'a>(rules: &'a Rules, message: &Message, names: &Names) -> Vec<&'a Rule> {
    taking(rules, message, names).into_iter().map(|(rule, _)| rule).collect()
}

/// The same, and which of them take it to be on the safe side only.
pub fn taking<'a>(rules: &'a Rules, message: &Message, names: &Names) -> Vec<(&'a Rule, Sure)> {
    let subject = Subject::of(message);
    let mut found = Vec::new();
    for position in rules.index.candidates(&message.account, &subject) {
        let rule = &rules.list[position];
        if let Ok(reason) = judge(rule, &subject, message, names) {
            found.push((rule, Sure(!reason.unsure)));
            if rule.stop && !reason.unsure {
                break;
            }
        }
    }
    found
}

/// Every rule's verdict with its reason, in file order. Agrees with [`matching`].
pub fn evaluate<'a>(rules: &'a Rules, message: &Message, names: &Names) -> Vec<Evaluation<'a>> {
    let subject = Subject::of(message);
    let mut stopped_by: Option<&Rule> = None;
    let verdict = |rule: &'a Rule| {
        if let Some(stop) = stopped_by {
            let reason = format!("not looked at: rule `{}` took the message and has `stop: true`", stop.name);
            return Evaluation {
                rule: &rule.name,
                matched: false,
                reason,
                place: stop.place_of(stop.points.stop),
            };
        }
        let judged = judge(rule, &subject, message, names);
        let matched = judged.is_ok();
        if rule.stop && judged.as_ref().is_ok_and(|reason| !reason.unsure) {
            stopped_by = Some(rule);
        }
        let (Ok(reason) | Err(reason)) = judged;
        Evaluation { rule: &rule.name, matched, reason: reason.text, place: rule.place_of(reason.point) }
    };
    rules.list.iter().map(verdict).collect()
}

/// The rule's `where` is all that is between it and the message, and cannot be judged, as with a name that is not known.
pub fn undecided(rule: &Rule, message: &Message, names: &Names) -> bool {
    let for_account = rule.accounts.as_ref().is_none_or(|accounts| accounts.contains(&message.account));
    let takes = for_account && rule.can_take(&message.triple, message.raw_type.as_deref());
    takes && rule.filter.as_ref().is_some_and(|filter| filter.judge(message, names).is_err())
}

/// `Ok` with what matched, `Err` with the first condition that failed.
fn judge(rule: &Rule, subject: &Subject<'_>, message: &Message, names: &Names) -> Result<Reason, Reason> {
    let points = &rule.points;
    if let Some(accounts) = &rule.accounts
        && !accounts.contains(&message.account)
    {
        let wanted: Vec<String> = accounts.iter().map(|account| format!("`{account}`")).collect();
        let text = format!("account is `{}`, the rule is for {}", message.account, wanted.join(", "));
        return Err(Reason::new(text, points.accounts));
    }
    let block = first_fit(rule, subject)?;
    if let Some(number) = rule.except.iter().position(|block| block.takes_subject(subject)) {
        let which = numbered("except", number, rule.except.len());
        let point = points.except.get(number).map_or((0, 0), |points| points.block);
        return Err(Reason::new(format!("{which} takes {} out again", message.triple), point));
    }
    let which = numbered("match", block, rule.any_of.len());
    let point = points.any_of.get(block).map_or((0, 0), |points| points.block);
    let Some(filter) = &rule.filter else {
        return Ok(Reason::new(format!("{which} takes {}", message.triple), point));
    };
    if filter.waits_for_names(message, names) {
        let text = format!(
            "{which} takes {}; `where` looks at names that could not be had in time, so it is taken",
            message.triple
        );
        return Ok(Reason { text, point, unsure: true });
    }
    let refused = |text: String| Err(Reason::new(text, points.filter));
    match filter.judge(message, names) {
        Ok(true) => Ok(Reason::new(format!("{which} takes {}, and `where` is true", message.triple), point)),
        Ok(false) => refused(format!("`where` is false: {}", filter.text().trim())),
        Err(why) => refused(format!("`where` cannot be judged: {why}: {}", filter.text().trim())),
    }
}

/// The position of the first block that takes the subject, else why none does; the place is that of the block which
/// comes closest.
fn first_fit(rule: &Rule, subject: &Subject<'_>) -> Result<usize, Reason> {
    let blocks = &rule.any_of;
    let mut closest: Option<(Field, usize)> = None;
    for (number, block) in blocks.iter().enumerate() {
        match block.misfit(subject) {
            None => return Ok(number),
            Some(field) if closest.is_none_or(|(other, _)| field > other) => closest = Some((field, number)),
            Some(_) => {}
        }
    }
    let refusal = |block: &Block| block.judge_subject(subject).err().unwrap_or_default();
    let text = match blocks.as_slice() {
        [] => "the rule has no `match`".to_owned(),
        [only] => refusal(only),
        _ => {
            let list = blocks
                .iter()
                .enumerate()
                .map(|(number, block)| format!("({}) {}", number + 1, refusal(block)));
            format!("no block of its `match` fits: {}", list.collect::<Vec<_>>().join("; "))
        }
    };
    let point = closest.and_then(|(field, number)| Some(rule.points.any_of.get(number)?.field(field)));
    Err(Reason::new(text, point.unwrap_or_default()))
}

fn numbered(what: &str, number: usize, count: usize) -> String {
    if count > 1 { format!("block {} of `{what}`", number + 1) } else { format!("`{what}`") }
}

#[cfg(test)]
#[path = "evaluate_tests.rs"]
mod tests;
