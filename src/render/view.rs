//! What a template sees.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::model::catalog;
use crate::model::delivery::Notice;
use crate::model::group::Gathered;
use crate::model::message::Message;
use crate::model::names::{Client, Names, Staff};

use super::escape::{clean, one_line, split_units};

/// More of a body is never shown, whatever a template asks for; the API's own limit is 50,000.
const BODY_UNITS_MAX: usize = 60_000;
/// A digest shows at most so many messages.
const ITEMS_MAX: usize = 500;

/// Everything that rendering one delivery may use. The same view always renders to the same bytes.
#[derive(Debug, Clone)]
pub struct View {
    /// What it tells, oldest first; one for a plain delivery, and for an event that came in several messages.
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
    /// What became of others of its kind.
    pub around: Around,
}

/// What a delivery is to tell beside its messages. By default, nothing.
#[derive(Debug, Clone, Default)]
pub struct Around {
    /// What it covers, where it gathered messages.
    pub gathered: Option<Gathered>,
    /// How much later than promised it is sent, if that is worth a word.
    pub late: Option<Duration>,
    /// When it was promised, if that is known.
    pub due: Option<Timestamp>,
    /// How many of its kind were held back for good since the last one that went.
    pub throttled: u32,
    /// How many messages of the same rule for the same target became too old to be sent in the time that it covers.
    pub expired: u64,
    /// Of a digest, messages that it does not tell of, because others made them good since; of a single message, those
    /// that it makes good itself.
    pub resolved: Vec<Resolved>,
    /// What made its message good before it was sent.
    pub resolved_by: Option<Seen>,
}

/// A message that another one made good.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The message.
    pub message: Seen,
    /// What made it good.
    pub by: Seen,
    /// The delivery that told it, or was to.
    pub delivery: String,
    /// The rule that owed that.
    pub rule: String,
    /// To which target.
    pub target: String,
}

/// One message with the names behind it.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The message.
    pub message: Message,
    /// The people.
    pub names: Names,
    /// What else tells of the same event, oldest first; none has any of its own.
    pub also: Vec<Seen>,
}

impl View {
    /// The message that single-message templates speak about: the newest, or of an event the one that says most.
    pub(crate) fn main(&self) -> Option<&Seen> {
        self.told().last().copied()
    }

    /// The time zone's name as helpers take it.
    pub(crate) fn zone_name(&self) -> String {
        self.timezone.iana_name().map_or_else(|| self.timezone.to_offset(self.now).to_string(), str::to_owned)
    }

    /// Everything a template sees, as JSON. What is unknown is absent, never null.
    pub(crate) fn data(&self) -> Value {
        let told = self.told();
        let shown = &told[..told.len().min(ITEMS_MAX)];
        let items: Vec<Value> = shown.iter().map(|seen| Value::Object(self.told_item(seen))).collect();
        let main = told.last().copied();
        let mut data = main.map(|seen| self.told_item(seen)).unwrap_or_default();
        if main.is_none() {
            data.insert("links".into(), json!(self.links(None)));
            data.insert("who".into(), json!(one_line(&self.account)));
            data.insert("also".into(), json!([]));
        }
        let business = main.and_then(|seen| seen.names.business.as_ref());
        let mut account = Map::new();
        account.insert("name".into(), json!(self.account));
        put(&mut account, "business_uid", business.and_then(|b| b.uid.clone()));
        put(&mut account, "business_name", business.and_then(|b| b.name.as_deref()).map(one_line));
        put(&mut account, "time_zone", business.and_then(|b| b.time_zone.clone()));
        data.insert("account".into(), Value::Object(account));
        data.insert("rule".into(), json!({ "name": one_line(&self.rule) }));
        data.insert("target".into(), json!({ "name": one_line(&self.target) }));
        data.insert(
            "delivery".into(),
            json!({ "id": self.delivery_id, "attempt": self.attempt, "throttled": self.around.throttled }),
        );
        data.insert("count".into(), json!(told.len()));
        data.insert("omitted".into(), json!(told.len() - shown.len()));
        data.insert("by_type".into(), self.by_type());
        self.put_around(&mut data);
        if let Some(by) = &self.around.resolved_by {
            data.insert("resolved_by".into(), Value::Object(self.item(by)));
        }
        data.insert("items".into(), Value::Array(items));
        data.insert("zone".into(), json!(self.zone_name()));
        data.insert("now".into(), json!(self.now));
        Value::Object(data)
    }

    /// How many messages there are of each label, the most frequent first.
    pub(crate) fn by_type(&self) -> Value {
        let mut counts: Vec<(String, usize)> = Vec::new();
        for seen in self.told() {
            let label = catalog::label(&seen.message.triple);
            match counts.iter_mut().find(|(known, _)| *known == label) {
                Some((_, count)) => *count += 1,
                None => counts.push((label, 1)),
            }
        }
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        counts.into_iter().map(|(label, count)| json!({ "label": label, "count": count })).collect()
    }

    /// The same with what else tells of its event.
    pub(crate) fn told_item(&self, seen: &Seen) -> Map<String, Value> {
        let mut item = self.item(seen);
        item.insert("also".into(), seen.also.iter().map(|also| Value::Object(self.item(also))).collect());
        item
    }

    /// One message with the people behind it, as templates see it.
    pub(crate) fn item(&self, seen: &Seen) -> Map<String, Value> {
        let mut message = message_fields(&seen.message);
        message.insert("label".into(), json!(one_line(&catalog::label(&seen.message.triple))));
        message.insert("subject".into(), json!(one_line(&seen.message.subject)));
        message.insert("body".into(), json!(bounded(&clean(&seen.message.body))));
        message.insert("emoji".into(), json!(emoji(&seen.message)));
        let use_cases = catalog::find(&seen.message.triple).map_or(&[][..], |entry| entry.use_cases);
        message.insert("use_cases".into(), json!(use_cases));
        let mut item = Map::new();
        item.insert("message".into(), Value::Object(message));
        if let Some(client) = seen.client() {
            let mut fields = Map::new();
            fields.insert("uid".into(), json!(client.uid));
            put(&mut fields, "name", client.name.as_deref().map(one_line).filter(|s| !s.is_empty()));
            put(&mut fields, "email", client.email.as_deref().map(one_line).filter(|s| !s.is_empty()));
            put(&mut fields, "phone", client.phone.as_deref().map(one_line).filter(|s| !s.is_empty()));
            item.insert("client".into(), Value::Object(fields));
        }
        if let Some(staff) = seen.staff() {
            let mut fields = Map::new();
            fields.insert("uid".into(), json!(staff.uid));
            put(&mut fields, "name", staff.name.as_deref().map(one_line).filter(|s| !s.is_empty()));
            put(&mut fields, "email", staff.email.as_deref().map(one_line).filter(|s| !s.is_empty()));
            item.insert("staff".into(), Value::Object(fields));
        }
        item.insert("links".into(), json!(self.links(Some(seen))));
        item.insert("who".into(), json!(seen.who()));
        item
    }

    /// The pages of the web app that a message may lead to.
    pub(crate) fn links(&self, seen: Option<&Seen>) -> Links {
        let host = self.app_host.trim_end_matches('/');
        let client = seen.and_then(Seen::client).map(|client| {
            let id = client.link_uid.filter(|id| !id.is_empty()).unwrap_or(client.uid);
            format!("{host}/app/clients/{}", path_segment(&id))
        });
        let page = |name: &str| format!("{host}/app/{name}");
        let about_time = seen.is_some_and(|seen| seen.message.meeting.is_some());
        Links {
            open: client.clone().unwrap_or_else(|| page(if about_time { "calendar" } else { "dashboard" })),
            client,
            conversations: page("conversations"),
            calendar: page("calendar"),
            clients: page("clients"),
            dashboard: page("dashboard"),
        }
    }
}

/// Pages of the web app.
#[derive(Debug, Serialize)]
pub(crate) struct Links {
    /// The page that says most about the message.
    pub(crate) open: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<String>,
    conversations: String,
    calendar: String,
    clients: String,
    dashboard: String,
}

impl Seen {
    /// A message that alone tells of its event.
    pub fn new(message: Message, names: Names) -> Self {
        Self { message, names, also: Vec::new() }
    }

    /// All messages of the event, this one first.
    pub fn whole(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(&self.also)
    }

    /// One of these uids is of its event.
    pub(crate) fn tells_of(&self, uids: &[String]) -> bool {
        self.whole().any(|one| uids.contains(&one.message.uid))
    }

    /// The client as far as known: at least the uid, if the message has one.
    pub(crate) fn client(&self) -> Option<Client> {
        let uid = self.message.client_uid.clone().filter(|uid| !uid.is_empty());
        self.names.client.clone().or_else(|| uid.map(|uid| Client { uid, ..Client::default() }))
    }

    /// The staff member as far as known.
    pub(crate) fn staff(&self) -> Option<Staff> {
        let uid = self.message.staff_uid.clone().filter(|uid| !uid.is_empty());
        self.names.staff.clone().or_else(|| uid.map(|uid| Staff { uid, ..Staff::default() }))
    }

    /// Whom the message is about, in the best words there are; never empty.
    pub(crate) fn who(&self) -> String {
        let words = |text: Option<&String>| text.map(|text| one_line(text)).filter(|text| !text.is_empty());
        if let Some(client) = self.client() {
            return words(client.name.as_ref())
                .or_else(|| words(client.email.as_ref()))
                .or_else(|| words(client.phone.as_ref()))
                .unwrap_or_else(|| format!("client {}", one_line(&client.uid)));
        }
        let business = self.names.business.as_ref().and_then(|business| words(business.name.as_ref()));
        business.unwrap_or_else(|| one_line(&self.message.account))
    }
}

/// A message's own fields, under the names of the contract; what is unknown is absent.
pub(crate) fn message_fields(message: &Message) -> Map<String, Value> {
    let mut fields = Map::new();
    fields.insert("uid".into(), json!(message.uid));
    fields.insert("activity_type".into(), json!(message.triple.activity_type));
    fields.insert("message_type".into(), json!(message.triple.message_type));
    fields.insert("direction".into(), json!(message.triple.direction));
    fields.insert("label".into(), json!(catalog::label(&message.triple)));
    fields.insert("subject".into(), json!(message.subject));
    fields.insert("body".into(), json!(message.body));
    fields.insert("channels".into(), json!(message.channels));
    fields.insert("created_at".into(), json!(message.created_at));
    put(&mut fields, "updated_at", message.updated_at.map(|at| at.to_string()));
    put(&mut fields, "business_uid", message.business_uid.clone());
    put(&mut fields, "staff_uid", message.staff_uid.clone());
    put(&mut fields, "client_uid", message.client_uid.clone());
    if let Some(meeting) = &message.meeting {
        fields.insert("meeting".into(), serde_json::to_value(meeting).unwrap_or_default());
    }
    fields.insert("raw".into(), message.raw.clone());
    fields
}

fn put(fields: &mut Map<String, Value>, name: &str, value: Option<String>) {
    if let Some(value) = value {
        fields.insert(name.into(), Value::String(value));
    }
}

fn bounded(body: &str) -> String {
    let (head, rest) = split_units(body, BODY_UNITS_MAX);
    if rest.is_empty() { head.to_owned() } else { format!("{head}…") }
}

/// One segment of a URL's path: everything but the plainest characters percent-encoded.
pub(crate) fn path_segment(text: &str) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// The sign by which a message is recognised at a glance: by its main use case, else by its type.
fn emoji(message: &Message) -> &'static str {
    let by_use_case = catalog::find(&message.triple)
        .and_then(|entry| entry.use_cases.iter().find_map(|use_case| use_case_emoji(use_case)));
    by_use_case.unwrap_or_else(|| type_emoji(&message.triple.activity_type))
}

fn use_case_emoji(use_case: &str) -> Option<&'static str> {
    Some(match use_case {
        "client_cancellation" => "❌",
        "payment_failure" => "⚠️",
        "payment_received" => "💰",
        "new_booking" => "📅",
        "client_reschedule" => "🔁",
        "client_message" => "💬",
        "review" => "⭐",
        "document" => "📄",
        "estimate_decision" => "🧾",
        "waitlist" => "⏳",
        "no_show" => "👻",
        "voice_call" => "📞",
        "assignment" => "👤",
        "needs_action" => "🔔",
        _ => return None,
    })
}

fn type_emoji(activity_type: &str) -> &'static str {
    match activity_type {
        "Meeting" | "AppointmentSeries" | "LinkedBooking" => "📅",
        "EventAttendance" | "EventSeriesAttendance" => "🎟️",
        "Invoice" | "Estimate" => "🧾",
        "Payment" | "PaymentStatus" | "PaymentCard" | "CardRequest" | "ScheduledPaymentsRule" => "💳",
        "ClientBookingPackage" | "ProductOrder" => "🛍️",
        "Waitlist" => "⏳",
        "Document" => "📄",
        "Review" => "⭐",
        "VoiceCall" => "📞",
        "Announcement" => "📣",
        _ => "💬",
    }
}
