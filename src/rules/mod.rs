//! Which rules take a message, why, and what is owed because of it. Pure: no clock, network, file or database.

mod bindings;
mod certain;
pub mod condition;
pub mod evaluate;
pub mod event;
pub mod expression;
pub mod good;
pub mod index;
pub mod key;
mod kinds;
pub mod notice;
pub mod plan;
pub mod timing;
mod vocabulary;
pub mod window;

use std::time::Duration;

use crate::model::message::Triple;

use condition::{Block, Field, Pattern, Subject};
use expression::Expression;
use key::Key;
use timing::Timing;

/// Where something stands in a file, counted from 1, columns in characters.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct Place {
    /// As the person named it on the command line or in `include:`.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
}

/// A line and a column of a rule's file, counted from 1, columns in characters; zero where there is nothing.
pub type Point = (usize, usize);

/// Where a rule's conditions stand.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Points {
    /// `accounts:`
    pub accounts: Point,
    /// The blocks of `match:`
    pub any_of: Vec<BlockPoints>,
    /// The blocks of `except:`
    pub except: Vec<BlockPoints>,
    /// `where:`
    pub filter: Point,
    /// `stop:`
    pub stop: Point,
}

/// Where the parts of a block of conditions stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BlockPoints {
    /// Its beginning.
    pub block: Point,
    /// The values of each field that it has.
    pub activity_type: Point,
    /// The same.
    pub message_type: Point,
    /// The same.
    pub direction: Point,
}

impl BlockPoints {
    /// Where the field's values stand.
    pub fn field(&self, field: Field) -> Point {
        match field {
            Field::ActivityType => self.activity_type,
            Field::MessageType => self.message_type,
            Field::Direction => self.direction,
        }
    }
}

/// One rule, complete and checked.
#[derive(Debug)]
pub struct Rule {
    /// Unique in the configuration.
    pub name: String,
    /// Where it is defined.
    pub place: Place,
    /// Where its conditions are, in the same file.
    pub points: Points,
    /// Who answers for it, if its file says so.
    pub owner: Option<String>,
    /// Accounts it is limited to; `None` for all.
    pub accounts: Option<Vec<String>>,
    /// Any of these blocks takes a message.
    pub any_of: Vec<Block>,
    /// None of these may.
    pub except: Vec<Block>,
    /// A further condition.
    pub filter: Option<Expression>,
    /// No later rule is looked at once this one matched.
    pub stop: bool,
    /// What is owed for a match.
    pub deliver: Vec<Deliver>,
    /// What other rules' messages it makes good.
    pub resolves: Option<Resolves>,
    /// By which keys other rules make its messages good: [`Rules::new`] knows.
    pub good_by: Vec<Key>,
}

impl Rule {
    /// The place of one of its points; its own where there is none.
    pub fn place_of(&self, (line, column): Point) -> Place {
        if line == 0 { self.place.clone() } else { Place { file: self.place.file.clone(), line, column } }
    }

    /// The rule's `match` and `except` take the triple; `accounts` and `where` are left out of it.
    pub fn can_take(&self, triple: &Triple, raw_type: Option<&str>) -> bool {
        self.can_take_subject(&Subject::new(triple, raw_type))
    }

    /// The same for a subject whose keys are made already.
    pub fn can_take_subject(&self, subject: &Subject<'_>) -> bool {
        let takes = |block: &Block| block.takes_subject(subject);
        self.any_of.iter().any(takes) && !self.except.iter().any(takes)
    }
}

/// `resolves:`, such as a payment that makes an earlier failure good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolves {
    /// The rules whose earlier messages are made good.
    pub rules: Vec<String>,
    /// What both messages have in common.
    pub by: Key,
}

/// One entry of a rule's `deliver:` list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deliver {
    /// The target's name.
    pub target: String,
    /// The target's recipients, one delivery each; empty where the target is one address.
    pub recipients: Vec<String>,
    /// The template's name.
    pub template: String,
    /// From the message's `created_at` on; after it the delivery expires.
    pub expires_after: Option<Duration>,
    /// What its deliveries wait for.
    pub timing: Timing,
}

/// All rules in file order, with the index that finds those that can match.
#[derive(Debug, Default)]
pub struct Rules {
    list: Vec<Rule>,
    index: index::Index,
    resolving: bool,
}

impl Rules {
    /// Builds the index over the rules.
    pub fn new(mut list: Vec<Rule>) -> Self {
        good::mark(&mut list);
        let resolving = list.iter().any(|rule| rule.resolves.is_some());
        let index = index::Index::new(&list);
        Self { list, index, resolving }
    }

    /// The rules in file order.
    pub fn list(&self) -> &[Rule] {
        &self.list
    }

    /// The rule of that name.
    pub fn get(&self, name: &str) -> Option<&Rule> {
        self.list.iter().find(|rule| rule.name == name)
    }

    /// Some rule makes good what others told.
    pub fn are_resolving(&self) -> bool {
        self.resolving
    }

    /// Some rule's `where:`, or a key by which its deliveries wait or are made good, looks at the client, the staff member or the business, so
    /// that their names have to be looked up before rules are evaluated and deliveries planned.
    pub fn need_names(&self) -> bool {
        self.list.iter().any(|rule| {
            rule.filter.as_ref().is_some_and(Expression::needs_names)
                || rule.resolves.as_ref().is_some_and(|resolves| resolves.by.needs_names())
                || rule.deliver.iter().any(|deliver| deliver.timing.needs_names())
        })
    }
}

/// A field's patterns in a `match:` block; `None` in a block stands for any value.
pub type Patterns = Vec<Pattern>;
