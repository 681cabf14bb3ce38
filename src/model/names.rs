//! The people and the business behind a message's uids.

use serde::{Deserialize, Serialize};

/// A client of the business.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Client {
    /// The API's identifier.
    pub uid: String,
    /// First and last name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// E-mail address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Telephone number as the API gives it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone: Option<String>,
    /// Identifier for links into the app; it is the client's first matter where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link_uid: Option<String>,
}

/// A member of the business's staff.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Staff {
    /// The API's identifier.
    pub uid: String,
    /// Display name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// E-mail address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
}

/// The business of an account.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Business {
    /// The API's identifier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// IANA time zone, such as `Europe/Rome`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
}

/// Of whom nothing is known for now beyond the uid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Late {
    /// The client.
    pub client: bool,
    /// The staff member.
    pub staff: bool,
    /// The business.
    pub business: bool,
}

impl Late {
    /// Of anybody.
    pub fn any(self) -> bool {
        self.client || self.staff || self.business
    }
}

/// What is known about the people behind one message. Nothing here is ever required: a lookup may be
/// slow, refused or switched off, and the delivery goes out all the same.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Names {
    /// The client, at least with the uid when the message has one.
    pub client: Option<Client>,
    /// The staff member, at least with the uid when the message has one.
    pub staff: Option<Staff>,
    /// The account's business.
    pub business: Option<Business>,
    /// What of it could not be had for now: if it is missing here, it may be known in a moment.
    #[serde(skip)]
    pub late: Late,
}
