//! A message that the fake business is to receive: as much of it as matters, the rest is filled in.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::model::message::Triple;
use crate::model::sample;

use super::people::People;

/// A message to receive. Absent fields are those of the sample of its type.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Incoming {
    /// Such as `Meeting`.
    pub activity_type: String,
    /// Such as `cancelled`.
    pub message_type: String,
    /// Such as `client_to_pivot`.
    pub direction: String,
    /// Name or uid of a client; an unknown name becomes a new client; `none` for null.
    pub client: Option<String>,
    /// Name or uid of a staff member; an unknown name becomes a new one; `none` for null.
    pub staff: Option<String>,
    /// The activity's title.
    pub subject: Option<String>,
    /// What it says.
    pub body: Option<String>,
    /// The service of a meeting; absent: its subject.
    pub service: Option<String>,
    /// The conversation it belongs to.
    pub conversation: Option<String>,
    /// It has been read already.
    pub read: bool,
    /// How long before it can be seen it was made, such as `30s`: a late commit.
    pub late: Option<String>,
    /// As many of them, all made in the same second; absent: one.
    pub count: Option<u32>,
    /// Keys of the item that are put over what was made; `null` is a null.
    pub item: Map<String, Value>,
}

impl Incoming {
    /// A message of one type.
    pub fn new(activity_type: &str, message_type: &str, direction: &str) -> Self {
        Self {
            activity_type: activity_type.to_owned(),
            message_type: message_type.to_owned(),
            direction: direction.to_owned(),
            ..Self::default()
        }
    }

    /// A message of one type.
    pub fn of(triple: &Triple) -> Self {
        Self::new(&triple.activity_type, &triple.message_type, &triple.direction)
    }

    /// A chat message from a client.
    pub fn text(client: &str, says: &str) -> Self {
        Self::new("General", "text", "client_to_pivot").from(client).saying(says)
    }

    /// The client it is from or about.
    pub fn from(mut self, client: &str) -> Self {
        self.client = Some(client.to_owned());
        self
    }

    /// The staff member it is for or by.
    pub fn with_staff(mut self, staff: &str) -> Self {
        self.staff = Some(staff.to_owned());
        self
    }

    /// The activity's title.
    pub fn about(mut self, subject: &str) -> Self {
        self.subject = Some(subject.to_owned());
        self
    }

    /// What it says.
    pub fn saying(mut self, body: &str) -> Self {
        self.body = Some(body.to_owned());
        self
    }

    /// It has been read already.
    pub fn read(mut self) -> Self {
        self.read = true;
        self
    }

    /// It was made this long before it can be seen.
    pub fn late(mut self, by: Duration) -> Self {
        self.late = Some(format!("{}ms", by.as_millis()));
        self
    }

    /// As many of them in one second.
    pub fn times(mut self, count: u32) -> Self {
        self.count = Some(count);
        self
    }

    /// One key of the item, exactly so.
    pub fn with(mut self, name: &str, value: Value) -> Self {
        self.item.insert(name.to_owned(), value);
        self
    }

    /// What is wrong with it, for the person who wrote it.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.message_type.is_empty() {
            return Err("a message needs a message_type, such as cancelled".to_owned());
        }
        self.late.as_deref().map_or(Ok(()), |late| duration(late).map(|_| ()))
    }

    /// When it was made, if it can be seen at `now`.
    pub(super) fn made_at(&self, now: Timestamp) -> Timestamp {
        let late = self.late.as_deref().and_then(|late| duration(late).ok()).unwrap_or_default();
        now.checked_sub(SignedDuration::try_from(late).unwrap_or_default()).unwrap_or(now)
    }

    /// The item as the API would give it.
    pub(super) fn item(&self, uid: &str, made: Timestamp, people: &mut People) -> Value {
        let triple = Triple {
            activity_type: self.activity_type.clone(),
            message_type: self.message_type.clone(),
            direction: self.direction.clone(),
        };
        let mut item = sample::item(&triple, made);
        item["uid"] = json!(uid);
        item["business_uid"] = json!(people.business_uid());
        if let Some(client) = &self.client {
            item["client_uid"] = json!(people.client_uid(client));
        }
        if let Some(staff) = &self.staff {
            item["staff_uid"] = json!(people.staff_uid(staff));
        }
        if let Some(subject) = &self.subject {
            item["message_text"]["subject"] = json!(subject);
        }
        if let Some(body) = &self.body {
            item["message_text"]["body"] = json!(body);
        }
        if let Some(meeting) = item.get_mut("meeting_data")
            && let Some(service) = self.service.as_ref().or(self.subject.as_ref())
        {
            meeting["service_name"] = json!(service);
        }
        if let Value::Object(fields) = &mut item {
            fields.extend(self.item.clone());
        }
        item
    }
}

/// A duration as people write it: `30s`, `1h30m`, `250ms`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    text.parse::<SignedDuration>()
        .ok()
        .and_then(|duration| Duration::try_from(duration).ok())
        .ok_or_else(|| format!("{text:?} is not a duration; write it like 30s, 5m or 1h30m"))
}
