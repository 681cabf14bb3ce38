//! Plays one test: its messages through a rehearsal, and what came of them.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;

use crate::config::Config;
use crate::config::rule_tests::Test;
use crate::daemon::door::Sent;
use crate::daemon::rehearsal::Rehearsal;
use crate::model::delivery::StateName;
use crate::model::message::Message;
use crate::store::{Row, StoreError};

/// What came of a test.
#[derive(Debug)]
pub(super) struct Played {
    /// Each message with every rule's verdict, in the order of arrival.
    pub(super) messages: Vec<Judged>,
    /// What was sent, in the order of its moments, then what was not.
    pub(super) made: Vec<Made>,
    /// Where the clock stands at the end.
    pub(super) end: Timestamp,
}

/// A message with the rules' verdicts.
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) message: Message,
    /// Of each rule, in file order.
    pub(super) verdicts: Vec<Verdict>,
}

/// What a rule made of a message.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) rule: String,
    pub(super) matched: bool,
    pub(super) reason: String,
}

/// A delivery, whatever came of it.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) row: Row,
    /// As it went out, if it did.
    pub(super) sent: Option<Sent>,
}

impl Made {
    /// When it went out, is due, or ended.
    pub(super) fn at(&self) -> Option<Timestamp> {
        self.sent.as_ref().map(|sent| sent.at).or(self.row.due_at).or(self.row.settled_at)
    }

    pub(super) fn was_sent(&self) -> bool {
        self.row.state == StateName::Delivered
    }
}

impl Played {
    /// The rules that took a message, in file order.
    pub(super) fn rules(&self) -> Vec<&str> {
        let mut found: Vec<(usize, &str)> = Vec::new();
        for judged in &self.messages {
            for (place, verdict) in judged.verdicts.iter().enumerate().filter(|(_, verdict)| verdict.matched)
            {
                if !found.iter().any(|(known, _)| *known == place) {
                    found.push((place, &verdict.rule));
                }
            }
        }
        found.sort_unstable();
        found.into_iter().map(|(_, rule)| rule).collect()
    }

    /// What a rule made of each message.
    pub(super) fn verdicts<'p>(&'p self, rule: &'p str) -> impl Iterator<Item = (&'p Message, &'p Verdict)> {
        self.messages.iter().filter_map(move |judged| {
            let verdict = judged.verdicts.iter().find(|verdict| verdict.rule == rule)?;
            Some((&judged.message, verdict))
        })
    }
}

/// Plays a test from its first message to its end.
pub(super) async fn play(config: &Arc<Config>, test: &Test) -> Result<Played, StoreError> {
    let rehearsal = Rehearsal::new(config.clone(), test.now).await?;
    let mut messages = Vec::with_capacity(test.messages.len());
    for arrival in &test.messages {
        // What is due at the very moment at which a message arrives goes out after it.
        if arrival.at > rehearsal.now() {
            rehearsal.advance_to(arrival.at).await?;
        }
        let verdicts = rehearsal.verdicts(&arrival.message, &arrival.names).await;
        let verdicts = verdicts.into_iter().map(|verdict| Verdict {
            rule: verdict.rule.to_owned(),
            matched: verdict.matched,
            reason: verdict.reason,
        });
        messages.push(Judged { message: arrival.message.clone(), verdicts: verdicts.collect() });
        rehearsal.receive(arrival.message.clone(), &arrival.names).await?;
    }
    rehearsal.advance_to(test.until).await?;
    let mut rows: HashMap<_, Row> =
        rehearsal.rows().await?.into_iter().map(|row| (row.id.clone(), row)).collect();
    let mut made: Vec<Made> = Vec::with_capacity(rows.len());
    for sent in rehearsal.sent() {
        made.extend(rows.remove(&sent.id).map(|row| Made { row, sent: Some(sent) }));
    }
    let mut rest: Vec<Made> = rows.into_values().map(|row| Made { row, sent: None }).collect();
    rest.sort_by(|a, b| (a.row.created_at, &a.row.id).cmp(&(b.row.created_at, &b.row.id)));
    made.extend(rest);
    Ok(Played { messages, made, end: rehearsal.now() })
}
