//! What each rule takes: conditions that take nothing, exceptions that except nothing, rules that an earlier `stop` hides.

use std::collections::HashMap;

use crate::config::codes;
use crate::config::problem::{Finding, Span};
use crate::config::raw::{Raw, RawBlock, RawRule};
use crate::config::trees::Trees;
use crate::config::yaml::{Kind, Node};

use super::universe::{Taken, Types, Universe};

/// What one rule takes, `where` left out.
pub(super) struct Reach {
    /// By each block of `match`, before `except`.
    blocks: Vec<Taken>,
    except: Vec<Taken>,
    /// By all of `match`, after `except`.
    pub(super) taken: Taken,
    /// By each single name that `match` lists beside others, after `except`: where it stands, and what it alone takes.
    parts: Vec<(Span, String, Types)>,
    /// It names something beyond the universe, so it may take more than is known here.
    pub(super) beyond: bool,
}

impl Reach {
    pub(super) fn of(rule: &RawRule, universe: &Universe) -> Self {
        let of = |blocks: &[RawBlock]| blocks.iter().map(|block| universe.block(block)).collect::<Vec<_>>();
        let (blocks, except) = (of(&rule.any_of), of(&rule.except));
        let any = union(&blocks, universe);
        let not = union(&except, universe);
        let taken = Taken { surely: any.surely.without(&not.maybe), maybe: any.maybe.without(&not.surely) };
        let beyond = rule.any_of.iter().chain(&rule.except).any(|block| universe.is_beyond(block));
        let mut parts = Vec::new();
        for block in &rule.any_of {
            for (span, name, part) in singled_out(block) {
                let mut types = universe.block(&part).maybe;
                types.remove(&not.surely);
                parts.push((span, name, types));
            }
        }
        Self { blocks, except, taken, parts, beyond }
    }

    /// That of a rule of which nothing is known.
    pub(super) fn nothing(universe: &Universe) -> Self {
        let taken = union(&[], universe);
        Self { blocks: Vec::new(), except: Vec::new(), taken, parts: Vec::new(), beyond: true }
    }

    /// The known message types that it may take, as positions in the catalogue.
    pub(super) fn known(&self) -> impl Iterator<Item = usize> {
        Universe::known().filter(|position| self.taken.maybe.has(*position))
    }
}

fn union(blocks: &[Taken], universe: &Universe) -> Taken {
    let mut all = Taken { surely: universe.none(), maybe: universe.none() };
    for taken in blocks {
        all.surely.add(&taken.surely);
        all.maybe.add(&taken.maybe);
    }
    all
}

/// The block once for each name that it lists beside others, with that name alone.
fn singled_out(block: &RawBlock) -> Vec<(Span, String, RawBlock)> {
    let mut found = Vec::new();
    for field in 0..2 {
        let names = if field == 0 { &block.activity_type } else { &block.message_type };
        let names = names.as_deref().filter(|names| names.len() > 1).unwrap_or_default();
        for name in names {
            let alone = Some(vec![name.clone()]);
            let keep = |list: &Option<Vec<_>>| list.clone();
            let part = RawBlock {
                activity_type: if field == 0 { alone.clone() } else { keep(&block.activity_type) },
                message_type: if field == 1 { alone } else { keep(&block.message_type) },
                direction: block.direction.clone(),
                span: block.span,
            };
            found.push((name.span, name.written.clone(), part));
        }
    }
    found
}

/// Conditions that take nothing, and exceptions that take nothing away.
pub(super) fn check(raw: &Raw, reaches: &[Reach], trees: &Trees) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (rule, reach) in raw.rules.iter().zip(reaches).filter(|(_, reach)| !reach.beyond) {
        let dead: Vec<usize> = (0..reach.blocks.len()).filter(|block| excepted(reach, *block)).collect();
        let except = trees.key(rule.span, "except");
        if !dead.is_empty() && dead.len() == reach.blocks.len() {
            let message = "`except` takes away everything that `match` takes, so this rule never matches";
            let help = "narrow `except` to what this rule is not for, or take the rule out";
            let finding = Finding::warning(codes::TAKES_NOTHING, except, message);
            findings.push(finding.related(trees.key(rule.span, "match"), "all of this").help(help));
            continue;
        }
        for block in dead {
            let message = "this condition never matches: `except` takes away everything that it takes";
            let finding = Finding::warning(codes::TAKES_NOTHING, at(trees, rule, "match", block), message);
            let finding = finding.related(except, "this takes it away");
            findings.push(finding.help("take the condition out, or narrow `except`"));
        }
        for (block, taken) in reach.except.iter().enumerate() {
            let met = reach.blocks.iter().any(|other| other.maybe.meets(&taken.maybe));
            if taken.maybe.is_empty() || met {
                continue;
            }
            let message = "this `except` takes nothing away: `match` takes no message that it fits";
            let finding = Finding::warning(codes::IDLE_EXCEPT, at(trees, rule, "except", block), message);
            findings.push(finding.related(trees.key(rule.span, "match"), "this takes other messages").help(
                "take it out, or mend the names; `activity-relay catalog` shows which types go together",
            ));
        }
    }
    findings
}

/// The block takes something, and `except` all of that.
fn excepted(reach: &Reach, block: usize) -> bool {
    let taken = &reach.blocks[block].maybe;
    let mut left = taken.clone();
    reach.except.iter().for_each(|except| left.remove(&except.surely));
    left.is_empty() && !taken.is_empty()
}

/// Where a block of `match` or `except` stands.
fn at(trees: &Trees, rule: &RawRule, key: &str, block: usize) -> Span {
    let Some(entry) = trees.entry(rule.span, key) else { return rule.span };
    let node: &Node = match &entry.value.kind {
        Kind::List(items) => items.get(block).unwrap_or(&entry.value),
        _ => &entry.value,
    };
    node.span
}

/// What earlier rules with `stop` let nobody else see.
struct Stops<'r> {
    everywhere: Types,
    by_account: HashMap<&'r str, Types>,
    rules: Vec<(&'r RawRule, &'r Reach)>,
}

impl<'r> Stops<'r> {
    fn add(&mut self, rule: &'r RawRule, reach: &'r Reach, universe_size: &Types) {
        match &rule.accounts {
            None => self.everywhere.add(&reach.taken.surely),
            Some(accounts) => {
                for account in accounts {
                    let types =
                        self.by_account.entry(&account.value).or_insert_with(|| universe_size.clone());
                    types.add(&reach.taken.surely);
                }
            }
        }
        self.rules.push((rule, reach));
    }

    /// All of these types are stopped, in each of the accounts.
    fn hide(&self, types: &Types, accounts: Option<&[&str]>, all: &[&str]) -> bool {
        if self.rules.is_empty() || types.is_empty() {
            return false;
        }
        let left = types.without(&self.everywhere);
        left.is_empty()
            || accounts.unwrap_or(all).iter().all(|account| {
                self.by_account.get(account).is_some_and(|stopped| left.without(stopped).is_empty())
            })
    }

    /// The first of those that stop some of these types, and how many others do.
    fn first(&self, types: &Types) -> Option<(&'r RawRule, usize)> {
        let mut stopping = self.rules.iter().filter(|(_, reach)| reach.taken.surely.meets(types));
        let (rule, _) = stopping.next()?;
        Some((rule, stopping.count()))
    }
}

/// Rules, and single names in their conditions, that no message reaches because of earlier rules with `stop`.
///
/// A rule that lies partly behind a `stop` is how `stop` is used and no mistake. A name that somebody wrote down and
/// that no message gets to is one.
pub(super) fn shadows(raw: &Raw, reaches: &[Reach], trees: &Trees) -> Vec<Finding> {
    let Some(empty) = reaches.first().map(|reach| reach.taken.surely.without(&reach.taken.surely)) else {
        return Vec::new();
    };
    let all: Vec<&str> = raw.accounts.iter().map(|account| account.value.name.as_str()).collect();
    let mut stops = Stops { everywhere: empty.clone(), by_account: HashMap::new(), rules: Vec::new() };
    let mut findings = Vec::new();
    for (rule, reach) in raw.rules.iter().zip(reaches) {
        let accounts: Option<Vec<&str>> =
            rule.accounts.as_ref().map(|list| list.iter().map(|account| account.value.as_str()).collect());
        let hidden = |types: &Types| stops.hide(types, accounts.as_deref(), &all);
        if !reach.beyond && hidden(&reach.taken.maybe) {
            let span = rule.name.as_ref().map_or(rule.span, |name| name.span);
            let message = "no message reaches this rule: earlier rules stop all that it takes";
            findings.extend(shadow(&stops, &reach.taken.maybe, span, message, trees));
        } else if !reach.beyond {
            for (span, name, types) in reach.parts.iter().filter(|(_, _, types)| hidden(types)) {
                let message = format!("no message with `{name}` reaches this rule: earlier rules stop them");
                findings.extend(shadow(&stops, types, *span, &message, trees));
            }
        }
        if rule.stop && rule.filter.is_none() {
            stops.add(rule, reach, &empty);
        }
    }
    findings
}

fn shadow(stops: &Stops<'_>, types: &Types, span: Span, message: &str, trees: &Trees) -> Option<Finding> {
    let (rule, others) = stops.first(types)?;
    let name = rule.name.as_ref().map_or("it", |name| name.written.as_str());
    let more = if others > 0 { format!(", and {others} more below it") } else { String::new() };
    let related = format!("`{name}` stops them here{more}");
    let help = format!("move this rule above `{name}`, or take one of the two out");
    let finding = Finding::warning(codes::SHADOWED, span, message);
    Some(finding.related(trees.key(rule.span, "stop"), related).help(help))
}
