//! Which rules match a message, and why the others do not.

use crate::model::message::Message;
use crate::model::names::Names;

use super::condition::{Block, Subject};
use super::{Rule, Rules};

/// One rule's verdict on one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evaluation<'a> {
    /// The rule's name.
    pub rule: &'a str,
    /// Whether it took the message.
    pub matched: bool,
    /// Why, in words: what matched, or the first condition that failed.
    pub reason: String,
}

/// The rules that match, in file order, `stop` observed. Looks only at rules that can match.
pub fn matching<'a>(rules: &'a Rules, message: &Message, names: &Names) -> Vec<&'a Rule> {
    let subject = Subject::of(message);
    let mut found = Vec::new();
    for position in rules.index.candidates(&message.account, &subject) {
        let rule = &rules.list[position];
        if judge(rule, &subject, message, names).is_ok() {
            found.push(rule);
            if rule.stop {
                break;
            }
        }
    }
    found
}

/// Every rule's verdict with its reason, in file order. Agrees with [`matching`].
pub fn evaluate<'a>(rules: &'a Rules, message: &Message, names: &Names) -> Vec<Evaluation<'a>> {
    let subject = Subject::of(message);
    let mut stopped_by: Option<&str> = None;
    let verdict = |rule: &'a Rule| {
        let judged = match stopped_by {
            Some(earlier) => {
                Err(format!("not looked at: rule `{earlier}` took the message and has `stop: true`"))
            }
            None => judge(rule, &subject, message, names),
        };
        let matched = judged.is_ok();
        if matched && rule.stop {
            stopped_by = Some(&rule.name);
        }
        let (Ok(reason) | Err(reason)) = judged;
        Evaluation { rule: &rule.name, matched, reason }
    };
    rules.list.iter().map(verdict).collect()
}

/// `Ok` with what matched, `Err` with the first condition that failed.
fn judge(rule: &Rule, subject: &Subject<'_>, message: &Message, names: &Names) -> Result<String, String> {
    if let Some(accounts) = &rule.accounts
        && !accounts.contains(&message.account)
    {
        let wanted: Vec<String> = accounts.iter().map(|account| format!("`{account}`")).collect();
        return Err(format!("account is `{}`, the rule is for {}", message.account, wanted.join(", ")));
    }
    let block = first_fit(&rule.any_of, subject)?;
    if let Some(number) = rule.except.iter().position(|block| block.judge_subject(subject).is_ok()) {
        let which = numbered("except", number, rule.except.len());
        return Err(format!("{which} takes {} out again", message.triple));
    }
    let which = numbered("match", block, rule.any_of.len());
    let Some(filter) = &rule.filter else { return Ok(format!("{which} takes {}", message.triple)) };
    match filter.judge(message, names) {
        Ok(true) => Ok(format!("{which} takes {}, and `where` is true", message.triple)),
        Ok(false) => Err(format!("`where` is false: {}", filter.text().trim())),
        Err(why) => Err(format!("`where` cannot be judged: {why}: {}", filter.text().trim())),
    }
}

/// The position of the first block that takes the subject, else why none does.
fn first_fit(blocks: &[Block], subject: &Subject<'_>) -> Result<usize, String> {
    let mut refusals = Vec::new();
    for (number, block) in blocks.iter().enumerate() {
        match block.judge_subject(subject) {
            Ok(()) => return Ok(number),
            Err(refusal) => refusals.push(refusal),
        }
    }
    match refusals.as_slice() {
        [] => Err("the rule has no `match`".to_owned()),
        [only] => Err(only.clone()),
        _ => {
            let list = refusals.iter().enumerate().map(|(number, why)| format!("({}) {why}", number + 1));
            Err(format!("no block of its `match` fits: {}", list.collect::<Vec<_>>().join("; ")))
        }
    }
}

fn numbered(what: &str, number: usize, count: usize) -> String {
    if count > 1 { format!("block {} of `{what}`", number + 1) } else { format!("`{what}`") }
}

#[cfg(test)]
#[path = "evaluate_tests.rs"]
mod tests;
