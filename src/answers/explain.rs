//! Why a message did or did not arrive, or what would become of it: each rule's verdict, what is owed, what comes next.

use std::collections::HashMap;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::deliveries::{Listed, waits_for};
use super::targets::{NOT_THERE, Standing, standing};
use crate::config::Config;
use crate::daemon::names;
use crate::daemon::traces::trace_id;
use crate::model::catalog;
use crate::model::delivery::{Planned, StateName};
use crate::model::group::Over;
use crate::model::message::Message;
use crate::model::mute::Mute;
use crate::model::names::Names;
use crate::rules::Place;
use crate::rules::evaluate::{Evaluation, evaluate, matching};
use crate::rules::plan::plan;
use crate::store::{Detail, Filter, Result, Row, Store, StoredMessage, TargetState};

/// A message with all there is to say of it.
#[derive(Debug)]
pub struct Story<'c> {
    /// What it is about.
    pub about: About,
    /// The message.
    pub message: Message,
    /// Its people, as far as they are known.
    pub names: Names,
    /// `None` for one that was never polled.
    pub stored: Option<StoredMessage>,
    /// What each rule says of it today, in file order.
    pub verdicts: Vec<Evaluation<'c>>,
    /// What is owed for it.
    pub owed: Owed,
    /// The deliveries that it made good.
    pub made_good: Vec<Row>,
    /// Where the targets stand that are not simply ready.
    pub targets: Vec<TargetState>,
    /// Which rules are muted at the moment.
    pub mutes: Vec<Mute>,
}

/// What a story is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// A message that was polled.
    Polled,
    /// An item out of a file.
    File,
    /// A made-up message of a type.
    Type,
}

/// What is owed for it.
#[derive(Debug)]
pub enum Owed {
    /// The deliveries there are.
    Is(Vec<Detail>),
    /// Those that there would be.
    Would(Vec<Planned>),
}

/// What can be done about a delivery that is not going its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// Replay it.
    Replay,
    /// Resume its target.
    Resume,
    /// Close the digest that it is.
    Flush,
}

/// What will happen next to a delivery, or why nothing will.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Next {
    /// In words, without a full stop.
    pub words: String,
    /// What a person can do about it.
    pub remedy: Option<Remedy>,
}

impl<'c> Story<'c> {
    /// The story of a message that was polled; in any account if none is named. `None` for an unknown uid.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn of_stored(
        config: &'c Config,
        store: &Store,
        account: Option<&str>,
        uid: &str,
        now: Timestamp,
    ) -> Result<Option<Self>> {
        let Some(stored) = store.message(account, uid).await? else { return Ok(None) };
        let message = stored.message.clone();
        let names = names::stored(store, &message).await;
        let owed = Owed::Is(deliveries(store, &message).await?);
        let made_good = Filter { made_good_by: Some(uid.to_owned()), ..Filter::default() };
        let mut made_good = store.deliveries(made_good).await?.0;
        made_good.retain(|row| row.account == message.account);
        Ok(Some(Self {
            about: About::Polled,
            verdicts: evaluate(&config.rules, &message, &names),
            targets: store.target_states().await?,
            mutes: store.mutes(now).await?,
            stored: Some(stored),
            message,
            names,
            owed,
            made_good,
        }))
    }

    /// The story of a message that was not polled: what would become of it if it came at this moment.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn of_other(
        config: &'c Config,
        store: &Store,
        (about, message, names): (About, Message, Names),
        now: Timestamp,
    ) -> Result<Self> {
        let mutes = store.mutes(now).await?;
        let found = matching(&config.rules, &message, &names);
        let owed = Owed::Would(plan(&found, &message, &names, &mutes, now));
        Ok(Self {
            about,
            verdicts: evaluate(&config.rules, &message, &names),
            targets: store.target_states().await?,
            stored: None,
            message,
            names,
            owed,
            made_good: Vec::new(),
            mutes,
        })
    }
}

/// All deliveries of a message, with their attempts.
async fn deliveries(store: &Store, message: &Message) -> Result<Vec<Detail>> {
    let filter = Filter { message: Some(message.uid.clone()), ..Filter::default() };
    let mut details = Vec::new();
    for row in store.deliveries(filter).await?.0.iter().filter(|row| row.account == message.account) {
        details.extend(store.delivery(&row.id).await?);
    }
    Ok(details)
}

/// Says what comes next, by the configuration and the targets' standing.
pub struct Outlook<'a> {
    /// The configuration in force.
    pub config: &'a Config,
    /// The standing of all targets that are not simply ready.
    pub targets: &'a [TargetState],
    /// The moment it is asked for.
    pub now: Timestamp,
    /// How a moment is written.
    pub moment: &'a (dyn Fn(Timestamp) -> String + Sync),
}

impl Outlook<'_> {
    /// What will happen next; `None` where all is done. `again` is the delivery that replays it.
    pub fn next(&self, row: &Row, again: Option<&str>) -> Option<Next> {
        let why = row.why.as_deref().unwrap_or("no reason was kept");
        let ended = |words: String| match again {
            Some(again) => Next { words: format!("{words}. It was sent again as {again}"), remedy: None },
            None => Next { words, remedy: Some(Remedy::Replay) },
        };
        Some(match row.state {
            StateName::Delivered => return None,
            StateName::Sending => {
                let due = row.due_at.map(|end| {
                    format!("; if nothing comes of it, it is due again {}", super::when::ago(end, self.now))
                });
                Next { words: format!("is being sent{}", due.unwrap_or_default()), remedy: None }
            }
            StateName::Pending => match waits_for(&Listed::of(row), self.now, &self.config.timezone) {
                Some(waits) if row.open => {
                    Next { words: format!("waits {waits}"), remedy: Some(Remedy::Flush) }
                }
                Some(waits) => Next { words: format!("waits: {waits}"), remedy: None },
                None => self.pending(&row.target, row.due_at),
            },
            StateName::Dead => ended(format!("given up: {why}")),
            StateName::Expired => ended(format!("too old to be sent: {why}")),
            StateName::Withheld => ended(format!("withheld: {why}")),
            StateName::Discarded => ended("discarded by a person".to_owned()),
        })
    }

    /// Why something that is owed is not sent at this moment.
    pub fn pending(&self, target: &str, due: Option<Timestamp>) -> Next {
        let plain = |words: String| Next { words, remedy: None };
        match self.config.targets.get(target) {
            None => return plain(format!("waits for its target, which is {NOT_THERE}")),
            Some(known) if !known.enabled => {
                let words = "waits for its target, which has `enabled: false` in the rules file";
                return plain(words.to_owned());
            }
            Some(_) => {}
        }
        let state = self.targets.iter().find(|state| state.name == target);
        let Standing { state, until, reason } = standing(state, self.now);
        if state != "ready" {
            let reason = reason.map_or(String::new(), |reason| format!(": {reason}"));
            let until = until.map_or(String::new(), |until| format!(", next try {}", (self.moment)(until)));
            let words = format!("waits for its target, which is {state}{until}{reason}");
            return Next { words, remedy: Some(Remedy::Resume) };
        }
        plain(match due {
            Some(due) if due > self.now => format!("due {}", (self.moment)(due)),
            _ => "due now: a running relay sends it at once".to_owned(),
        })
    }
}

/// The document of the JSON contract.
///
/// # Errors
/// A value cannot be written as JSON, which would be a fault of ours.
pub fn document(story: &Story<'_>, now: Timestamp) -> serde_json::Result<Value> {
    let rules: Vec<Value> = story.verdicts.iter().map(|verdict| verdict_json(verdict, story)).collect();
    let deliveries = match &story.owed {
        Owed::Is(details) => details.iter().map(is_json).collect::<serde_json::Result<Vec<_>>>()?,
        Owed::Would(planned) => planned.iter().map(|planned| would_json(planned, now)).collect(),
    };
    let message = message_json(&story.message, &story.names, story.stored.as_ref());
    let made_good: Vec<Value> = story.made_good.iter().map(good_json).collect();
    Ok(json!({ "message": message, "rules": rules, "deliveries": deliveries, "made_good": made_good }))
}

fn verdict_json(verdict: &Evaluation<'_>, story: &Story<'_>) -> Value {
    let Place { file, line, column } = &verdict.place;
    json!({
        "rule": verdict.rule,
        "matched": verdict.matched,
        "reason": verdict.reason,
        "place": { "file": file, "line": line, "column": column },
        "muted": story.mutes.iter().find(|mute| mute.rule == verdict.rule),
    })
}

/// A message with its people; of one that was polled, when that was and which rules took it.
pub fn message_json(message: &Message, names: &Names, stored: Option<&StoredMessage>) -> Value {
    json!({
        "account": message.account,
        "uid": message.uid,
        "activity_type": message.triple.activity_type,
        "message_type": message.triple.message_type,
        "direction": message.triple.direction,
        "label": catalog::label(&message.triple),
        "subject": message.subject,
        "body": message.body,
        "channels": message.channels,
        "meeting": message.meeting,
        "created_at": message.created_at,
        "seen_at": stored.map(|stored| stored.seen_at),
        "taken_by": stored.map(|stored| &stored.rules),
        "client": names.client,
        "staff": names.staff,
        "trace_id": trace_id(&message.account, &message.uid),
    })
}

/// A delivery that the message made good.
fn good_json(row: &Row) -> Value {
    json!({ "id": row.id, "rule": row.rule, "target": row.target, "recipient": row.recipient, "messages": row.messages })
}

fn is_json(detail: &Detail) -> serde_json::Result<Value> {
    let mut object = object(&Listed::of(&detail.row))?;
    object.insert("history".to_owned(), serde_json::to_value(&detail.history)?);
    Ok(Value::Object(object))
}

fn object(value: &impl Serialize) -> serde_json::Result<Map<String, Value>> {
    match serde_json::to_value(value)? {
        Value::Object(object) => Ok(object),
        other => Ok(Map::from_iter([("delivery".to_owned(), other)])),
    }
}

/// A delivery that there would be, in the list's form; it has no id, as it is not there.
fn would_json(planned: &Planned, now: Timestamp) -> Value {
    let state = match (&planned.withheld, planned.expires_at) {
        (Some(_), _) => StateName::Withheld,
        (None, Some(end)) if end <= now => StateName::Expired,
        (None, _) => StateName::Pending,
    };
    json!({
        "id": null,
        "rule": planned.rule,
        "target": planned.target,
        "recipient": planned.recipient,
        "messages": planned.messages,
        "state": state,
        "due_at": (state == StateName::Pending).then_some(planned.due_at),
        "digest": planned.joins.as_ref().map(|join| json!({ "from": join.from, "to": join.to })),
        "resolved_by": null,
        "throttle": planned.quota.as_ref().map(|quota| json!({
            "limit": quota.throttle.limit, "per_seconds": quota.throttle.per.as_secs(),
            "over": match quota.over { Over::Drop(_) => "drop", Over::Join { .. } => "digest" },
        })),
        "attempts": 0,
        "last": null,
        "maybe_duplicate": false,
        "replay_of": null,
        "account": planned.account,
        "template": planned.template,
        "expires_at": planned.expires_at,
        "why": planned.withheld,
        "history": [],
    })
}

/// The rules that would decide otherwise today than they did when the message came: (take it now, took it then).
pub fn changed<'s>(story: &'s Story<'_>) -> (Vec<&'s str>, Vec<&'s str>) {
    let Some(stored) = &story.stored else { return (Vec::new(), Vec::new()) };
    let now: HashMap<&str, bool> =
        story.verdicts.iter().map(|verdict| (verdict.rule, verdict.matched)).collect();
    let then = |rule: &str| stored.rules.iter().any(|taken| taken == rule);
    let gained = story.verdicts.iter().filter(|verdict| verdict.matched && !then(verdict.rule));
    let lost = stored.rules.iter().map(String::as_str).filter(|rule| now.get(rule) != Some(&true));
    (gained.map(|verdict| verdict.rule).collect(), lost.collect())
}
