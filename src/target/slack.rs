//! Slack incoming webhooks.

use std::time::Duration;

use secrecy::SecretString;

use crate::egress::Egress;
use crate::model::delivery::Report;

use super::Parcel;

/// A Slack incoming webhook.
#[derive(Debug)]
pub struct Slack {
    webhook_url: SecretString,
    egress: Egress,
}

impl Slack {
    /// `webhook_url` has been checked by `config` for host and form.
    pub fn new(webhook_url: SecretString, egress: Egress) -> Self {
        Self { webhook_url, egress }
    }

    /// Posts once.
    pub async fn deliver(&self, parcel: &Parcel<'_>, deadline: Duration) -> Report {
        let _ = (parcel, deadline, &self.webhook_url, &self.egress);
        std::future::pending().await
    }
}
