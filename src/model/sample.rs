//! A believable example of any message type: what the API would send, and the people it is about.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::catalog;
use super::id::hex_of;
use super::message::{Triple, key};
use super::names::{Business, Client, Late, Names, Staff};
use super::settle::after_now;

/// The sample business's identifier.
pub const BUSINESS_UID: &str = "hb7k2m9q4x1c8v3z";
/// The sample client's identifier.
pub const CLIENT_UID: &str = "0c4an7bl9om2q5t8";
/// The sample staff member's identifier.
pub const STAFF_UID: &str = "5ym4rsh1l8e3o6p2";

/// The people behind the sample items: Ann Bloom is the client, Leo Marsh the staff member.
pub fn names() -> Names {
    Names {
        client: Some(Client {
            uid: CLIENT_UID.to_owned(),
            name: Some("Ann Bloom".to_owned()),
            email: Some("ann.bloom@example.com".to_owned()),
            phone: Some("+44 20 7946 0101".to_owned()),
            link_uid: Some("m0an7bl9om2q5t80".to_owned()),
        }),
        staff: Some(Staff {
            uid: STAFF_UID.to_owned(),
            name: Some("Leo Marsh".to_owned()),
            email: Some("leo@harbour.example".to_owned()),
        }),
        business: Some(Business {
            uid: Some(BUSINESS_UID.to_owned()),
            name: Some("Harbour Massage & Physiotherapy".to_owned()),
            time_zone: Some("Europe/London".to_owned()),
        }),
        late: Late::default(),
    }
}

/// The people behind one of several sample items: the staff member stays, the clients differ.
pub fn names_of(index: usize) -> Names {
    const NAMES: [&str; 9] = [
        "Ann Bloom",
        "Jürgen Groß",
        "Maria de las Mercedes Fernández-Villaverde y Montoya",
        "שרה כהן",
        "Bo Li",
        "Zoë O'Brien & Sons",
        "محمد العربي",
        "田中 花子",
        "Priya 🌸 Nair",
    ];
    let mut names = names();
    if let Some(client) = &mut names.client {
        let number = index + 1;
        client.name = Some(NAMES[index % NAMES.len()].to_owned());
        client.email = Some(format!("client{number}@example.com"));
        client.phone = Some(format!("+44 20 7946 {:04}", 100 + index % 900));
        client.uid = format!("{CLIENT_UID}{number}");
        client.link_uid = None;
    }
    names
}

/// The item of one message type as the API gives it, made at `at`. The same arguments give the same item.
/// General messages have no `activity_type`, as the API has no value for them.
pub fn item(triple: &Triple, at: Timestamp) -> Value {
    let made = whole_second(at).to_string();
    let uid = hex_of(&[&triple.activity_type, &triple.message_type, &triple.direction, &made], 8);
    let about_meeting = key(&triple.activity_type) == "meeting";
    let mut item = Map::new();
    item.insert("uid".to_owned(), json!(uid));
    item.insert("business_uid".to_owned(), json!(BUSINESS_UID));
    item.insert("staff_uid".to_owned(), json!(STAFF_UID));
    item.insert("client_uid".to_owned(), json!(CLIENT_UID));
    if let Some(name) = api_type(triple) {
        item.insert("activity_type".to_owned(), json!(name));
    }
    item.insert("activity_action".to_owned(), json!(triple.message_type));
    item.insert("direction".to_owned(), json!(triple.direction));
    item.insert("channels".to_owned(), channels(triple));
    item.insert("message_text".to_owned(), json!({ "body": body(triple), "subject": subject(triple) }));
    item.insert("cta_button_text".to_owned(), json!(button(triple)));
    item.insert("link_url_params".to_owned(), Value::Null);
    if about_meeting {
        let start = after_now(whole_second(at), Duration::from_hours(26));
        item.insert(
            "meeting_data".to_owned(),
            json!({
                "service_uid": "svc8sp0rt2m4ss6g",
                "service_name": "Sports massage",
                "start_time": start.to_string(),
                "duration": 60,
                "interaction_type": "in_person",
            }),
        );
    }
    item.insert("created_at".to_owned(), json!(made));
    item.insert("updated_at".to_owned(), json!(made));
    Value::Object(item)
}

/// The value that the API's `activity_type` most likely carries for a triple; `None` for General.
pub fn api_type(triple: &Triple) -> Option<String> {
    match key(&triple.activity_type).as_str() {
        "" | "general" | "none" => return None,
        "eventattendance" => return Some("event".to_owned()),
        "eventseriesattendance" => return Some("event_series".to_owned()),
        _ => {}
    }
    if let Some(name) = catalog::find(triple).and_then(|entry| entry.api_type) {
        return name.split('|').next().map(str::to_owned);
    }
    let mut name = String::with_capacity(triple.activity_type.len() + 4);
    for c in triple.activity_type.chars() {
        if c.is_uppercase() && !name.is_empty() && !name.ends_with('_') {
            name.push('_');
        }
        name.extend(c.to_lowercase());
    }
    Some(name)
}

fn whole_second(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

/// What clients send comes in through the app; what the business sends goes out by mail, much of it by SMS too.
fn channels(triple: &Triple) -> Value {
    match triple.direction.as_str() {
        "to_client" | "pivot_to_client" => json!(["email", "sms"]),
        _ => json!(["email"]),
    }
}

fn button(triple: &Triple) -> &'static str {
    match key(&triple.activity_type).as_str() {
        "invoice" => "View invoice",
        "estimate" => "View estimate",
        "payment" | "paymentstatus" | "paymentcard" | "cardrequest" | "scheduledpaymentsrule" => {
            "View payment"
        }
        "document" => "View document",
        "general" => "Reply",
        _ => "View details",
    }
}

/// The activity's title, which is what the API puts into the subject.
fn subject(triple: &Triple) -> &'static str {
    match (key(&triple.activity_type).as_str(), triple.message_type.as_str()) {
        ("meeting" | "linkedbooking", _) => "Sports massage",
        ("appointmentseries", _) => "Physiotherapy, 6 weekly sessions",
        ("invoice" | "payment" | "paymentstatus", _) => "Invoice #1042",
        ("estimate", _) => "Estimate #207",
        ("paymentcard" | "cardrequest", _) => "Card on file",
        ("scheduledpaymentsrule", _) => "Monthly plan",
        ("eventattendance", _) => "Saturday back-care class",
        ("eventseriesattendance", _) => "Posture course, 8 evenings",
        ("waitlist", _) => "Waitlist: Saturday back-care class",
        ("clientbookingpackage", _) => "10 massages",
        ("productorder", _) => "Order #58: foam roller",
        ("announcement", _) => "News from Harbour",
        ("document", _) | ("general", "document") => "Intake form.pdf",
        ("review", _) => "New review",
        ("voicecall", _) => "Call from +44 20 7946 0101",
        ("general", "general_question") => "Question from the web site",
        ("general", _) => "Message",
        _ => "Activity",
    }
}

/// What the message says. The frequent ones have a text of their own; the others say what happened.
fn body(triple: &Triple) -> String {
    let by_client = triple.direction == "client_to_pivot";
    let text = match (key(&triple.activity_type).as_str(), triple.message_type.as_str()) {
        ("meeting", "cancelled") if by_client => {
            "I am sorry, something came up at work and I have to cancel tomorrow's appointment."
        }
        ("meeting", "reschedule") if by_client => "Could we make it Thursday at the same time instead?",
        ("meeting", "schedule") if by_client => {
            "Booked online. My left shoulder is still stiff after the race."
        }
        ("meeting", "request") if by_client => "I would like an hour with Leo, any afternoon next week.",
        ("payment", "payment_failed") => {
            "The card was declined: not enough funds. 65.00 GBP for invoice #1042 is open."
        }
        ("payment", "pending_payment_failed") => "The bank transfer for invoice #1042 did not go through.",
        ("payment", "scheduled_payment_failed") => {
            "The monthly charge of 65.00 GBP was declined by the card issuer."
        }
        ("payment", "payment_received") => "65.00 GBP was paid by card for invoice #1042.",
        ("review", "submit_review") => "5 stars. Leo found the sore spot at once, and I can run again.",
        ("document" | "general", "document") if by_client => "Here is the signed intake form.",
        ("estimate", "approved") if by_client => "Approved, please go ahead with the six sessions.",
        ("estimate", "rejected") if by_client => {
            "Thank you, but this is more than I can spend on it at the moment."
        }
        ("waitlist", "register_to_event_waitlist") => "Put on the waitlist for the Saturday back-care class.",
        ("voicecall", "call") => "Incoming call, 2 min 40 s.",
        ("general", "text" | "business_text") if by_client => "Hello, are you open on Saturday morning?",
        ("general", "general_question") => "Do you treat tennis elbow, and what does a first visit cost?",
        _ => return format!("{}: {}.", catalog::label(triple), subject(triple)),
    };
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn triple(activity_type: &str, message_type: &str, direction: &str) -> Triple {
        Triple {
            activity_type: activity_type.to_owned(),
            message_type: message_type.to_owned(),
            direction: direction.to_owned(),
        }
    }

    #[test]
    fn a_meeting_carries_its_appointment_a_payment_does_not() {
        let at = "2026-11-02T08:15:30.75Z".parse().unwrap();
        let meeting = item(&triple("Meeting", "cancelled", "client_to_pivot"), at);
        assert_eq!(meeting["activity_type"], "meeting");
        assert_eq!(meeting["created_at"], "2026-11-02T08:15:30Z");
        assert_eq!(meeting["meeting_data"]["start_time"], "2026-11-03T10:15:30Z");
        let payment = item(&triple("Payment", "payment_failed", "to_pivot"), at);
        assert_eq!(payment.get("meeting_data"), None);
    }

    #[test]
    fn general_messages_have_no_type() {
        let item = item(&triple("General", "text", "client_to_pivot"), Timestamp::UNIX_EPOCH);
        assert_eq!(item.get("activity_type"), None);
    }

    #[test]
    fn types_are_spelled_as_the_api_spells_them() {
        let spelled = |name| api_type(&triple(name, "x", "to_pivot"));
        assert_eq!(spelled("AppointmentSeries").as_deref(), Some("appointment_series"));
        assert_eq!(spelled("EventAttendance").as_deref(), Some("event"));
        assert_eq!(spelled("voice_call").as_deref(), Some("voice_call"));
    }

    #[test]
    fn the_people_are_those_of_the_items() {
        let names = names();
        let item = item(&triple("Meeting", "schedule", "client_to_pivot"), Timestamp::UNIX_EPOCH);
        assert_eq!(item["client_uid"], names.client.unwrap().uid);
        assert_eq!(item["staff_uid"], names.staff.unwrap().uid);
        assert_eq!(item["business_uid"], names.business.unwrap().uid.unwrap());
    }
}
