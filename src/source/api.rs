//! The calls that polling needs: a page of the list of messages, and whose token it is.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::Mutex;

use super::fault::{ApiError, judge};
use super::http::Http;
use super::pace::Pace;
use super::walk::{PAGE_ROWS, Query};
use super::wire::{Page, read_page};
use super::{Account, wire};
use crate::egress::Egress;

/// Requests a second, unless told otherwise.
pub const REQUESTS_PER_SECOND: f64 = 2.0;
/// From the first byte sent to the last one read.
const DEADLINE: Duration = Duration::from_secs(30);
/// The longest answer that is read, after decompression.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// After an answer that was too long, so many times fewer messages are asked for at once.
const FEWER: usize = 10;
const LIST: &str = "/v3/communication/activity_messages";
const USERINFO: &str = "/oauth/userinfo";

/// The API of one account.
#[derive(Debug)]
pub struct Api {
    account: String,
    unread_only: bool,
    http: Http,
    pace: Pace,
    deadline: Duration,
    /// The most messages that are asked for at once.
    rows_max: AtomicUsize,
    /// Held during a request: one in flight per token.
    turn: Mutex<()>,
}

/// A page, and the server's clock when it was made.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// What is on the page.
    pub page: Page,
    /// The answer's `Date`, if it had one.
    pub server_now: Option<Timestamp>,
}

/// Whose token it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Userinfo {
    /// `staff` for the kind that is needed.
    pub kind: Option<String>,
    /// The staff member's role.
    pub role: Option<String>,
    /// The business.
    pub business_uid: Option<String>,
    /// Its name.
    pub business_name: Option<String>,
    /// The host of its app, such as `app.vcita.com`.
    pub brand_host: Option<String>,
}

impl Api {
    /// The API of an account, asked at the given pace through [`super::http::egress`].
    pub fn new(account: &Account, egress: &Egress, pace: Pace) -> Self {
        Self {
            account: account.name.clone(),
            unread_only: account.unread_only,
            http: Http::new(account, egress),
            pace,
            deadline: DEADLINE,
            rows_max: AtomicUsize::new(usize::MAX),
            turn: Mutex::new(()),
        }
    }

    /// With another deadline per request than 30 seconds.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Lists messages whether they were read or not, whatever the account says.
    pub fn with_read_ones(mut self) -> Self {
        self.unread_only = false;
        self
    }

    /// Fetches one page. Never asks by type or direction: some messages cannot be asked for that way.
    ///
    /// # Errors
    /// See [`ApiError`]; nothing may be concluded about the list from any of them. After [`ApiError::TooLong`] pages are
    /// smaller: a walk that has turned pages has to begin anew.
    pub async fn list(&self, query: &Query) -> Result<Answer, ApiError> {
        let per_page = query.per_page.min(self.rows_max.load(Ordering::Relaxed));
        let query = Query { per_page, ..*query };
        let reply = self.get(LIST, &parameters(&query, self.unread_only)).await;
        if matches!(reply, Err(ApiError::TooLong(_))) {
            self.rows_max.store((per_page / FEWER).max(1), Ordering::Relaxed);
        }
        let reply = reply?;
        judge(&reply)?;
        let page = read_page(&self.account, &reply.body);
        let mut page = page.map_err(|why| ApiError::Unreadable(why.to_string()))?;
        if per_page < PAGE_ROWS {
            page.per_page = Some(page.per_page.map_or(per_page, |given| given.min(per_page)));
        }
        Ok(Answer { page, server_now: reply.server_now })
    }

    /// Whose token it is.
    ///
    /// # Errors
    /// See [`ApiError`].
    pub async fn userinfo(&self) -> Result<Userinfo, ApiError> {
        let reply = self.get(USERINFO, &[]).await?;
        judge(&reply)?;
        let value: Value = serde_json::from_slice(&reply.body)
            .map_err(|_| ApiError::Unreadable("userinfo is not JSON".to_owned()))?;
        Ok(Userinfo::of(&value))
    }

    async fn get(&self, path: &str, query: &[(&str, String)]) -> Result<super::http::Reply, ApiError> {
        let _turn = self.turn.lock().await;
        self.pace.turn().await;
        self.http.get(path, query, self.deadline, ANSWER_BYTES_MAX).await
    }
}

impl Userinfo {
    /// From the answer, whose fields may stand at the top or under `data`.
    pub(crate) fn of(value: &Value) -> Self {
        let value = value.get("data").filter(|data| data.is_object()).unwrap_or(value);
        let text = |names: &[&str]| {
            let mut found = names.iter().filter_map(|name| value.get(name)?.as_str());
            found.find(|text| !text.is_empty()).map(wire::cut)
        };
        Self {
            kind: text(&["type"]),
            role: text(&["role"]),
            business_uid: text(&["business_uid", "business_id"]),
            business_name: text(&["business_name"]),
            brand_host: text(&["brand_host"]),
        }
    }
}

/// The query's parameters, times cut to whole seconds.
fn parameters(query: &Query, unread_only: bool) -> Vec<(&'static str, String)> {
    let seconds = |at: Timestamp| super::stamp::floor(at).to_string();
    let mut parameters = Vec::with_capacity(6);
    if unread_only {
        parameters.push(("was_read", "false".to_owned()));
    }
    parameters.push(("sort", "created_at:asc".to_owned()));
    parameters.push(("created_after", seconds(query.created_after)));
    if let Some(before) = query.created_before {
        parameters.push(("created_before", seconds(before)));
    }
    parameters.push(("page", query.page.to_string()));
    parameters.push(("per_page", query.per_page.to_string()));
    parameters
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_is_sent_in_whole_seconds_of_utc_and_never_by_type_or_direction() {
        let query = Query {
            created_after: "2026-03-10T09:00:00.900+02:00".parse().unwrap(),
            created_before: Some("2026-03-10T09:00:00Z".parse().unwrap()),
            page: 1,
            per_page: 100,
        };
        let text = |unread_only| {
            let all = parameters(&query, unread_only);
            all.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
        };
        assert_eq!(
            text(true),
            "was_read=false&sort=created_at:asc&created_after=2026-03-10T07:00:00Z\
             &created_before=2026-03-10T09:00:00Z&page=1&per_page=100"
        );
        assert!(!text(false).contains("was_read"));
    }
}
