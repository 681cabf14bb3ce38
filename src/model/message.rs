//! An activity message as the relay understands it, whatever shape the API gave it.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What a rule matches on: (activity type, message type, direction), in canonical spelling.
///
/// `activity_type` is the catalogue's name (`Meeting`), or the raw value where the catalogue has none;
/// `message_type` is snake case as the catalogue has it; `direction` is one of `pivot_to_client`,
/// `client_to_pivot`, `to_pivot`, `to_client`, or the raw value where it is none of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Triple {
    /// Such as `Meeting`.
    pub activity_type: String,
    /// Such as `cancelled`.
    pub message_type: String,
    /// Such as `client_to_pivot`.
    pub direction: String,
}

impl fmt::Display for Triple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.activity_type, self.message_type, self.direction)
    }
}

/// The key by which names are compared: lower case, letters and digits only (`Event_Attendance` is `eventattendance`).
/// Wildcards `*` and `?` are kept, so that a pattern can be keyed too.
pub fn key(name: &str) -> String {
    name.chars()
        .filter(|c| c.is_alphanumeric() || *c == '*' || *c == '?')
        .flat_map(char::to_lowercase)
        .collect()
}

/// One activity message of one account.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Name of the account in the rules file.
    pub account: String,
    /// The API's identifier, opaque; derived from the content where the API gave none (see `uid_derived`).
    pub uid: String,
    /// The API gave no uid and this one was derived from the content.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub uid_derived: bool,
    /// What rules match on.
    pub triple: Triple,
    /// `activity_type` exactly as the API sent it, if it sent one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw_type: Option<String>,
    /// `direction` exactly as the API sent it, if it sent one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw_direction: Option<String>,
    /// The business it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub business_uid: Option<String>,
    /// The staff member it concerns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staff_uid: Option<String>,
    /// The client it concerns; absent on notices that concern the business only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_uid: Option<String>,
    /// `email`, `sms`, or whatever else the API names.
    #[serde(default)]
    pub channels: Vec<String>,
    /// The activity's title, such as an appointment's or an invoice's number. May be empty.
    #[serde(default)]
    pub subject: String,
    /// Clean text: HTML and escaped HTML removed. May be empty.
    #[serde(default)]
    pub body: String,
    /// Present on messages about a meeting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meeting: Option<Meeting>,
    /// When the message was made, by the API's clock.
    pub created_at: Timestamp,
    /// When it was last changed, by the API's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<Timestamp>,
    /// The item exactly as the API sent it.
    pub raw: serde_json::Value,
}

/// The appointment behind a message about a meeting. Every field may be missing.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Meeting {
    /// The service's identifier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_uid: Option<String>,
    /// The service's name, such as `Massage`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_name: Option<String>,
    /// When the appointment starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Timestamp>,
    /// Length in minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<i64>,
    /// `in_person`, `video`, `phone`, or whatever else the API names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interaction_type: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::key;

    #[test]
    fn names_compare_without_case_spaces_and_punctuation() {
        for spelling in ["EventAttendance", "event_attendance", "event attendance", "Event-Attendance"] {
            assert_eq!(key(spelling), "eventattendance");
        }
        assert_eq!(key("*_failed"), "*failed");
    }
}
