//! Answers of a running relay, read back out of the documents of its API.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use reqwest::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::client::{Client, Question};
use crate::answers::actions::{Change, Changed};
use crate::answers::deliveries::{Listed, Shown};
use crate::answers::digests::Digest;
use crate::answers::status::Status;
use crate::answers::targets;
use crate::model::id::DeliveryId;
use crate::model::mute::Mute;
use crate::store::Filter;

/// Deliveries that are asked for at once, the most that the API gives; and that are changed at once.
const PAGE: usize = 1_000;

/// A running relay.
#[derive(Debug)]
pub struct There {
    client: Client,
}

/// `GET /api/v1/deliveries`
#[derive(Deserialize)]
struct Page {
    deliveries: Vec<Listed>,
    next_cursor: Option<String>,
    total: Option<u64>,
}

/// The documents that hold one list.
#[derive(Deserialize)]
struct ChangedOnes {
    deliveries: Vec<Changed>,
}
#[derive(Deserialize)]
struct Targets {
    targets: Vec<targets::Listed>,
}
#[derive(Deserialize)]
struct Tests {
    tests: Vec<targets::Tested>,
}
#[derive(Deserialize)]
struct Mutes {
    mutes: Vec<Mute>,
}
#[derive(Deserialize)]
struct Digests {
    digests: Vec<Digest>,
}
#[derive(Deserialize)]
struct Ids {
    digests: Vec<Id>,
}
#[derive(Deserialize)]
struct Id {
    id: DeliveryId,
}

/// What is needed of `GET /api/v1/configuration`.
#[derive(Deserialize)]
struct Configuration {
    timezone: String,
}

impl There {
    pub(super) fn new(client: Client) -> Self {
        Self { client }
    }

    async fn get<T: DeserializeOwned>(&self, path: &[&str]) -> anyhow::Result<T> {
        self.client.ask(Question::new(Method::GET, path)).await
    }

    async fn post<T: DeserializeOwned>(&self, path: &[&str], body: Value) -> anyhow::Result<T> {
        self.client.ask(Question::new(Method::POST, path).body(body)).await
    }

    pub(super) async fn zone(&self) -> anyhow::Result<TimeZone> {
        let Configuration { timezone } = self.get(&["configuration"]).await?;
        // A zone that this machine does not know is the other one's affair.
        Ok(TimeZone::get(&timezone).unwrap_or(TimeZone::UTC))
    }

    /// Page by page, the newest first.
    pub(super) async fn deliveries(&self, filter: Filter) -> anyhow::Result<(Vec<Listed>, u64)> {
        let wanted = filter.limit.unwrap_or(usize::MAX);
        let asked = query(&filter);
        let (mut found, mut total, mut cursor): (Vec<Listed>, _, _) = (Vec::new(), None, None);
        loop {
            let limit = (wanted - found.len()).clamp(1, PAGE);
            let mut question = Question::new(Method::GET, &["deliveries"]).query("limit", limit.to_string());
            for (name, value) in &asked {
                question = question.query(name, value.clone());
            }
            question = match &cursor {
                Some(cursor) => question.query("cursor", String::clone(cursor)),
                None => question.query("count", "true".to_owned()),
            };
            let page: Page = self.client.ask(question).await?;
            total = total.or(page.total);
            found.extend(page.deliveries);
            cursor = page.next_cursor;
            if cursor.is_none() || found.len() >= wanted {
                break;
            }
        }
        found.truncate(wanted);
        if filter.limit.is_none() {
            found.reverse();
        }
        let total = total.unwrap_or(found.len() as u64);
        Ok((found, total))
    }

    pub(super) async fn has_deliveries(&self) -> anyhow::Result<bool> {
        let one = Filter { limit: Some(1), ..Filter::default() };
        Ok(!self.deliveries(one).await?.0.is_empty())
    }

    pub(super) async fn delivery(&self, id: &str) -> anyhow::Result<Shown> {
        let document: Map<String, Value> = self.get(&["deliveries", id]).await?;
        Shown::read(document).map_err(|error| self.client.unreadable(&error))
    }

    pub(super) async fn change_named(&self, change: Change, ids: &[String]) -> anyhow::Result<Vec<Changed>> {
        let body = json!({ "ids": ids });
        let changed: ChangedOnes = self.post(&["deliveries", change.as_str()], body).await?;
        Ok(changed.deliveries)
    }

    pub(super) async fn change_found(
        &self,
        change: Change,
        ids: Vec<DeliveryId>,
    ) -> anyhow::Result<Vec<Changed>> {
        let mut all = Vec::with_capacity(ids.len());
        for ids in ids.chunks(PAGE) {
            let body = json!({ "ids": ids, "pass_over": true });
            let changed: ChangedOnes = self.post(&["deliveries", change.as_str()], body).await?;
            all.extend(changed.deliveries);
        }
        Ok(all)
    }

    pub(super) async fn status(&self) -> anyhow::Result<Status> {
        self.get(&["status"]).await
    }

    pub(super) async fn targets(&self) -> anyhow::Result<Vec<targets::Listed>> {
        Ok(self.get::<Targets>(&["targets"]).await?.targets)
    }

    pub(super) async fn hold(&self, target: &str, reason: Option<&str>) -> anyhow::Result<targets::Listed> {
        match reason {
            Some(reason) => self.post(&["targets", target, "pause"], json!({ "reason": reason })).await,
            None => self.client.ask(Question::new(Method::POST, &["targets", target, "resume"])).await,
        }
    }

    pub(super) async fn test(&self, target: &str) -> anyhow::Result<Vec<targets::Tested>> {
        let question = Question::new(Method::POST, &["targets", target, "test"]).patiently();
        Ok(self.client.ask::<Tests>(question).await?.tests)
    }

    pub(super) async fn mutes(&self) -> anyhow::Result<Vec<Mute>> {
        Ok(self.get::<Mutes>(&["mutes"]).await?.mutes)
    }

    pub(super) async fn mute(&self, rule: &str, until: Timestamp, reason: &str) -> anyhow::Result<Mute> {
        self.post(&["mutes"], json!({ "rule": rule, "until": until, "reason": reason })).await
    }

    pub(super) async fn lift(&self, id: i64) -> anyhow::Result<Mute> {
        self.client.ask(Question::new(Method::DELETE, &["mutes", &id.to_string()])).await
    }

    pub(super) async fn digests(&self) -> anyhow::Result<Vec<Digest>> {
        Ok(self.get::<Digests>(&["digests"]).await?.digests)
    }

    pub(super) async fn flush(&self, ids: &[String]) -> anyhow::Result<Vec<DeliveryId>> {
        self.change_digests("flush", ids).await
    }

    pub(super) async fn cancel(&self, ids: &[String]) -> anyhow::Result<Vec<DeliveryId>> {
        self.change_digests("cancel", ids).await
    }

    async fn change_digests(&self, how: &str, ids: &[String]) -> anyhow::Result<Vec<DeliveryId>> {
        let changed: Ids = self.post(&["digests", how], json!({ "ids": ids })).await?;
        Ok(changed.digests.into_iter().map(|one| one.id).collect())
    }
}

/// A filter as the API reads it; its limit and its beginning are those of each page.
fn query(filter: &Filter) -> Vec<(&'static str, String)> {
    let states = filter.states.iter().map(|state| ("state", state.to_string()));
    let mut fields: Vec<(&'static str, String)> = states.collect();
    fields.extend(filter.rule.clone().map(|rule| ("rule", rule)));
    fields.extend(filter.target.clone().map(|target| ("target", target)));
    fields.extend(filter.message.clone().map(|message| ("message", message)));
    fields.extend(filter.since.map(|since| ("since", since.to_string())));
    fields
}
