//! What a template sees.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::model::delivery::Notice;
use crate::model::message::Message;
use crate::model::names::Names;

/// Everything that rendering one delivery may use. The same view always renders to the same bytes.
#[derive(Debug, Clone)]
pub struct View {
    /// What it is about, oldest first; one for a plain delivery.
    pub messages: Vec<Seen>,
    /// The relay's own words, instead of messages.
    pub notice: Option<Notice>,
    /// The delivery's id.
    pub delivery_id: String,
    /// 1 on the first attempt.
    pub attempt: u32,
    /// The rule's name.
    pub rule: String,
    /// The target's name.
    pub target: String,
    /// The account's name.
    pub account: String,
    /// Where links lead, such as `https://app.vcita.com`.
    pub app_host: String,
    /// For every time shown.
    pub timezone: TimeZone,
    /// The moment relative times are measured from.
    pub now: Timestamp,
}

/// One message with the names behind it.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The message.
    pub message: Message,
    /// The people.
    pub names: Names,
}
