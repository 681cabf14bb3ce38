//! Gathers what a template sees for one delivery, its messages and the names behind them, and makes the payload of it.

use jiff::Timestamp;

use crate::config::Config;
use crate::model::delivery::{Job, Planned};
use crate::model::message::Message;
use crate::model::payload::Payload;
use crate::render::view::{Around, Seen, View};
use crate::store::{Store, StoreError};
use crate::target::Target;

use super::closing::around;
use super::names::{NameBooks, Soon, WAIT_MAX};
use super::resolving;

/// The view of a job, which gives its messages to it. The same job gives the same view, aside from names that were learnt
/// and messages that were made good meanwhile.
///
/// # Errors
/// The store cannot be read.
pub(crate) async fn view(
    job: &mut Job,
    config: &Config,
    store: &Store,
    books: &NameBooks,
    now: Timestamp,
) -> Result<View, StoreError> {
    let soon = Soon::within(books, WAIT_MAX);
    let mut messages = Vec::with_capacity(job.messages.len());
    for message in std::mem::take(&mut job.messages) {
        messages.push(soon.seen(message).await);
    }
    let mut around = around(job, &mut messages, config, store, soon, now).await?;
    resolving::around(job, &messages, config, store, soon, &mut around).await?;
    Ok(View { around, ..frame(job, messages, config, job.first_due) })
}

/// The view of a job whose messages' names are known.
pub fn frame(job: &Job, messages: Vec<Seen>, config: &Config, now: Timestamp) -> View {
    View {
        messages,
        notice: job.notice.clone(),
        delivery_id: job.claim.id.as_str().to_owned(),
        attempt: job.claim.attempts + 1,
        rule: job.rule.clone(),
        target: job.target.clone(),
        account: job.account.clone(),
        app_host: app_host(config, &job.account),
        timezone: config.timezone.clone(),
        now,
        around: Around { gathered: job.gathered, throttled: job.throttled, ..Around::default() },
    }
}

/// The view that the first attempt at something planned would have.
pub async fn preview(
    owed: &Planned,
    message: &Message,
    config: &Config,
    books: &NameBooks,
    now: Timestamp,
) -> View {
    View {
        messages: vec![Soon::within(books, WAIT_MAX).seen(message.clone()).await],
        notice: owed.notice.clone(),
        delivery_id: owed.id.as_str().to_owned(),
        attempt: 1,
        rule: owed.rule.clone(),
        target: owed.target.clone(),
        account: owed.account.clone(),
        app_host: app_host(config, &owed.account),
        timezone: config.timezone.clone(),
        now,
        around: Around::default(),
    }
}

fn app_host(config: &Config, account: &str) -> String {
    let account = config.accounts.iter().find(|known| known.name == account);
    account.map_or_else(String::new, |account| account.app_host.as_str().trim_end_matches('/').to_owned())
}

/// The payload to send: that of the first attempt, else rendered; with the template's problem if it failed. What was
/// rendered for a target of another type, which refused it, is of no use to the one that has its name.
pub(super) fn payload(job: &Job, target: &Target, config: &Config, view: &View) -> (Payload, Option<String>) {
    if let Some(kept) = job.payload.as_ref().filter(|kept| kept.fits(target.format())) {
        return (kept.clone(), None);
    }
    if job.notice.is_some() {
        return (config.templates.render_notice(target.format(), view), None);
    }
    if job.plain {
        let why = format!("{} refused the full layout", target.name);
        return (config.templates.render_plain(target.format(), view, &why), None);
    }
    let rendered = config.templates.render(&job.template, target.format(), view);
    (rendered.payload, rendered.problem)
}
