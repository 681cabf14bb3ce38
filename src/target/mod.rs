//! The outside ends: Slack, e-mail, HTTP. Each delivers one payload and reports what happened; it decides nothing.

pub mod email;
pub mod http;
pub mod retry_after;
pub mod slack;
mod verdict;

use std::num::NonZeroU32;
use std::time::Duration;

use jiff::Timestamp;

use crate::model::delivery::{Report, RetryPolicy};
use crate::model::payload::{Format, Payload};
use crate::model::rate::Rate;

/// A target as configured.
#[derive(Debug)]
pub struct Target {
    /// Its name in the rules file.
    pub name: String,
    /// How it is reached.
    pub kind: Kind,
    /// How often it may be sent to; `None` for unlimited.
    pub rate: Option<Rate>,
    /// How many attempts may be under way at once.
    pub concurrency: NonZeroU32,
    /// How failures are retried.
    pub retry: RetryPolicy,
    /// The total deadline of one attempt.
    pub timeout: Duration,
    /// `enabled: false` keeps its deliveries pending.
    pub enabled: bool,
    /// After an outage, a backlog longer than this is sent together; `None` sends each delivery by itself.
    pub coalesce_over: Option<NonZeroU32>,
    /// Told when this target is parked or a delivery to it dies.
    pub fallback: Option<String>,
}

/// The closed set of targets.
#[derive(Debug)]
pub enum Kind {
    /// Slack incoming webhook.
    Slack(slack::Slack),
    /// Mail over SMTP.
    Email(email::Email),
    /// Any HTTP endpoint.
    Http(http::Http),
}

/// One thing to send.
#[derive(Debug)]
pub struct Parcel<'a> {
    /// The delivery's id: `webhook-id`, `Idempotency-Key`, left part of `Message-ID`.
    pub id: &'a str,
    /// The rendered payload.
    pub payload: &'a Payload,
    /// The mail address, for an e-mail target.
    pub recipient: Option<&'a str>,
    /// The wall clock, for signatures.
    pub now: Timestamp,
}

impl Target {
    /// `slack`, `email` or `http`.
    pub fn type_name(&self) -> &'static str {
        match self.kind {
            Kind::Slack(_) => "slack",
            Kind::Email(_) => "email",
            Kind::Http(_) => "http",
        }
    }

    /// The kind of payload it takes.
    pub fn format(&self) -> Format {
        match &self.kind {
            Kind::Slack(_) => Format::Slack,
            Kind::Email(_) => Format::Email,
            Kind::Http(http) => Format::Http(http.body()),
        }
    }

    /// Its recipients, each of which gets a delivery of its own; empty where the target is one address.
    pub fn recipients(&self) -> &[String] {
        match &self.kind {
            Kind::Email(email) => email.recipients(),
            Kind::Slack(_) | Kind::Http(_) => &[],
        }
    }

    /// How long one attempt can take at the most: what a lease has to cover, beside its margin.
    pub fn attempt_time_max(&self) -> Duration {
        match &self.kind {
            Kind::Email(email) => self.timeout + email.reply_wait(),
            Kind::Slack(_) | Kind::Http(_) => self.timeout,
        }
    }

    /// Reaches and authenticates as far as that goes without posting anything to people. Says in words how it went;
    /// `Err` holds the remedy where one is known.
    pub async fn probe(&self, deadline: Duration) -> Result<String, String> {
        match &self.kind {
            Kind::Slack(slack) => slack.probe(deadline).await,
            Kind::Email(email) => email.probe(deadline).await,
            Kind::Http(http) => http.probe(deadline).await,
        }
    }

    /// Delivers once, within the target's deadline. Never fails: what goes wrong is in the report.
    pub async fn deliver(&self, parcel: &Parcel<'_>) -> Report {
        match &self.kind {
            Kind::Slack(slack) => slack.deliver(parcel, self.timeout).await,
            Kind::Email(email) => email.deliver(parcel, self.timeout).await,
            Kind::Http(http) => http.deliver(parcel, self.timeout).await,
        }
    }
}
