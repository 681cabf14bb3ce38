//! Everything the fake business knows and remembers, as plain state; time comes in as an argument.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::settle::after_now;

use super::behaviour::Behaviour;
use super::incoming::Incoming;
use super::people::People;
use super::script::{Fault, Script};

/// Of the request log the newest are kept.
const REQUESTS_MAX: usize = 20_000;

/// What a token is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenKind {
    /// Everything.
    Staff,
    /// Clients and the business, but not the messages.
    App,
    /// As `App`.
    Directory,
    /// Nothing any more.
    Revoked,
}

/// A message that the business has received.
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub(super) item: Value,
    pub(super) made: Timestamp,
    pub(super) visible_at: Timestamp,
    pub(super) read: bool,
    pub(super) conversation: Option<String>,
}

impl Record {
    pub(super) fn uid(&self) -> &str {
        self.item.get("uid").and_then(Value::as_str).unwrap_or_default()
    }
}

/// One request that the API was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Request {
    /// Counted from 1.
    pub number: u64,
    /// By the business's clock.
    pub at: Timestamp,
    /// Such as `GET`.
    pub method: String,
    /// Without the query.
    pub path: String,
    /// The query's parameters, decoded.
    pub query: BTreeMap<String, String>,
    /// The status answered; 0 where the connection was cut without an answer.
    pub status: u16,
    /// Rows in the answer, for the list of messages.
    pub rows: Option<usize>,
}

/// Which messages an action is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Which {
    /// All there are.
    All,
    /// The oldest unread ones, so many.
    Oldest(usize),
    /// Those with these uids.
    Uids(Vec<String>),
    /// Those of the client with this name or uid.
    Client(String),
}

/// Which server a fault is set on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum At {
    /// The API of the fake business.
    #[default]
    Api,
    /// The Slack inbox.
    Slack,
    /// The HTTP inbox.
    Http,
    /// The SMTP inbox.
    Smtp,
}

/// Something that happens to the business.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// A message comes in.
    Receive(Box<Incoming>),
    /// Messages are read.
    Read(Which),
    /// Messages are set back to unread.
    Unread(Which),
    /// Messages are deleted.
    Delete(Which),
    /// Something breaks.
    Fault {
        /// Where.
        #[serde(default)]
        at: At,
        /// What.
        fault: Fault,
    },
    /// All faults of one server are over.
    Heal(At),
    /// A token is good for something else from here on.
    Token {
        /// The token.
        token: String,
        /// What it is good for.
        kind: TokenKind,
    },
}

/// The fake business's state.
#[derive(Debug)]
pub(super) struct World {
    pub(super) behaviour: Behaviour,
    pub(super) people: People,
    pub(super) records: Vec<Record>,
    pub(super) tokens: BTreeMap<String, TokenKind>,
    pub(super) scripts: BTreeMap<At, Script>,
    pub(super) requests: Vec<Request>,
    pub(super) requests_seen: u64,
    /// Requests for the list of messages so far.
    pub(super) lists_seen: u64,
    pub(super) client_lookups: Vec<Timestamp>,
    pub(super) rng: fastrand::Rng,
    /// Between the business's clock and the clock given.
    pub(super) shift: SignedDuration,
    timeline: Vec<(Timestamp, Action)>,
    before_lists: Vec<(u64, Action)>,
    uids_given: u64,
}

impl World {
    pub(super) fn new(behaviour: Behaviour, token: String, seed: u64) -> Self {
        Self {
            behaviour,
            people: People::default(),
            records: Vec::new(),
            tokens: BTreeMap::from([(token, TokenKind::Staff)]),
            scripts: BTreeMap::new(),
            requests: Vec::new(),
            requests_seen: 0,
            lists_seen: 0,
            client_lookups: Vec::new(),
            rng: fastrand::Rng::with_seed(seed),
            shift: SignedDuration::ZERO,
            timeline: Vec::new(),
            before_lists: Vec::new(),
            uids_given: 0,
        }
    }

    /// Receives a message that can be seen from `now` on; the uids given to it.
    pub(super) fn receive(&mut self, incoming: &Incoming, now: Timestamp) -> Vec<String> {
        let made = incoming.made_at(now);
        (0..incoming.count.unwrap_or(1))
            .map(|_| {
                self.uids_given += 1;
                let uid = format!("sb{:014}", self.uids_given);
                let item = incoming.item(&uid, made, &mut self.people);
                self.records.push(Record {
                    item,
                    made,
                    visible_at: now,
                    read: incoming.read,
                    conversation: incoming.conversation.clone(),
                });
                uid
            })
            .collect()
    }

    /// Does what an action says; the uids of messages received.
    pub(super) fn act(&mut self, action: Action, now: Timestamp) -> Vec<String> {
        match action {
            Action::Receive(incoming) => return self.receive(&incoming, now),
            Action::Read(which) => self.each(&which, |record| record.read = true),
            Action::Unread(which) => self.each(&which, |record| record.read = false),
            Action::Delete(which) => {
                // A record that can never be seen is as good as none, and the others keep their places.
                self.each(&which, |record| record.visible_at = Timestamp::MAX);
            }
            Action::Fault { at, fault } => self.scripts.entry(at).or_default().add(fault),
            Action::Heal(at) => self.scripts.entry(at).or_default().clear(),
            Action::Token { token, kind } => {
                self.tokens.insert(token, kind);
            }
        }
        Vec::new()
    }

    /// Lets an action happen at a moment.
    pub(super) fn schedule(&mut self, at: Timestamp, action: Action) {
        let place = self.timeline.partition_point(|(other, _)| *other <= at);
        self.timeline.insert(place, (at, action));
    }

    /// Lets an action happen just before the `nth` list request from here on is answered (1 is the next one).
    pub(super) fn before_list(&mut self, nth: u64, action: Action) {
        self.before_lists.push((self.lists_seen + nth.max(1), action));
    }

    /// Lets everything happen that was due by `now`; the uids of messages received.
    pub(super) fn catch_up(&mut self, now: Timestamp) -> Vec<String> {
        let due = self.timeline.partition_point(|(at, _)| *at <= now);
        let happened: Vec<_> = self.timeline.drain(..due).collect();
        happened.into_iter().flat_map(|(at, action)| self.act(action, at)).collect()
    }

    /// When the next scheduled action happens.
    pub(super) fn next_at(&self) -> Option<Timestamp> {
        self.timeline.first().map(|(at, _)| *at)
    }

    /// One more list request: lets happen what was to happen before it.
    pub(super) fn count_list(&mut self, now: Timestamp) {
        self.lists_seen += 1;
        let number = self.lists_seen;
        let (due, later) =
            std::mem::take(&mut self.before_lists).into_iter().partition(|(at, _)| *at <= number);
        self.before_lists = later;
        let due: Vec<(u64, Action)> = due;
        for (_, action) in due {
            self.act(action, now);
        }
    }

    /// Writes a request into the log.
    pub(super) fn log(&mut self, mut request: Request) {
        self.requests_seen += 1;
        request.number = self.requests_seen;
        if self.requests.len() >= REQUESTS_MAX {
            self.requests.drain(..REQUESTS_MAX / 2);
        }
        self.requests.push(request);
    }

    /// Whether one more client lookup is within the limit.
    pub(super) fn may_look_up(&mut self, now: Timestamp) -> bool {
        let minute = Duration::from_mins(1);
        self.client_lookups.retain(|at| after_now(*at, minute) > now);
        if self.client_lookups.len() >= self.behaviour.clients_per_minute as usize {
            return false;
        }
        self.client_lookups.push(now);
        true
    }

    fn each(&mut self, which: &Which, mut change: impl FnMut(&mut Record)) {
        let client = match which {
            Which::Client(who) => self.people.client_uid(who),
            _ => None,
        };
        let mut left = match which {
            Which::Oldest(count) => *count,
            _ => usize::MAX,
        };
        let mut order: Vec<usize> = (0..self.records.len()).collect();
        order.sort_by_key(|index| self.records.get(*index).map(|record| record.made));
        for index in order {
            let Some(record) = self.records.get_mut(index) else { continue };
            let meant = match which {
                Which::All => true,
                Which::Oldest(_) => !record.read && left > 0,
                Which::Uids(uids) => uids.iter().any(|uid| uid == record.uid()),
                Which::Client(_) => {
                    record.item.get("client_uid").and_then(Value::as_str) == client.as_deref()
                }
            };
            if meant {
                left = left.saturating_sub(1);
                change(record);
            }
        }
    }
}
