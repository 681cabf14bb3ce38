//! Gathers what a template sees for one delivery: its messages, and the names behind them.

use std::collections::HashMap;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::config::Config;
use crate::model::delivery::Job;
use crate::model::names::Names;
use crate::render::view::{Seen, View};

use super::names::{NameBook, WAIT_MAX};

/// The view of a job, which gives its messages to it. The same job gives the same view, names that were learnt meanwhile
/// aside.
pub(crate) async fn view(job: &mut Job, config: &Config, books: &HashMap<String, NameBook>) -> View {
    let patience = Instant::now() + WAIT_MAX;
    let mut messages = Vec::with_capacity(job.messages.len());
    for message in std::mem::take(&mut job.messages) {
        let names = match books.get(&message.account) {
            Some(book) => book.names(&message, patience.saturating_duration_since(Instant::now())).await,
            None => Names::default(),
        };
        messages.push(Seen { message, names });
    }
    frame(job, messages, config, job.created_at)
}

/// The view of a job whose messages' names are known.
pub fn frame(job: &Job, messages: Vec<Seen>, config: &Config, now: Timestamp) -> View {
    let account = config.accounts.iter().find(|account| account.name == job.account);
    View {
        messages,
        notice: job.notice.clone(),
        delivery_id: job.claim.id.as_str().to_owned(),
        attempt: job.claim.attempts + 1,
        rule: job.rule.clone(),
        target: job.target.clone(),
        account: job.account.clone(),
        app_host: account
            .map_or_else(String::new, |account| account.app_host.as_str().trim_end_matches('/').to_owned()),
        timezone: config.timezone.clone(),
        now,
    }
}
