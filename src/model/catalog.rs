//! The 140 message types that are known, with our own labels, use cases and spelling variants.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::catalog_rows::ROWS;
use super::message::{Triple, key};

/// The four directions, as the catalogue names them.
const DIRECTIONS: [&str; 4] = ["client_to_pivot", "pivot_to_client", "to_pivot", "to_client"];

/// The values the API documents for its `activity_type`.
const API_TYPES: [&str; 23] = [
    "meeting",
    "appointment_series",
    "invoice",
    "estimate",
    "payment",
    "payment_status",
    "payment_card",
    "card_request",
    "scheduled_payments_rule",
    "payout",
    "announcement",
    "invite",
    "event",
    "event_series",
    "event_instance",
    "waitlist",
    "linked_booking",
    "client_booking_package",
    "product_order",
    "review",
    "document",
    "voice_call",
    "assignment",
];

/// Types that the API has and the catalogue has not; they go by their own names.
const TYPES_OUTSIDE: [&str; 3] = ["Payout", "Invite", "Assignment"];

/// What stands for "no type at all": these are the messages of the type `General`.
const GENERAL: &str = "General";

/// Names less alike than this (Jaro-Winkler, 0 to 1) are no suggestion.
const LIKENESS_MIN: f64 = 0.8;
/// How many suggestions are of use.
const SUGGESTIONS_MAX: usize = 3;

/// One known message type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Such as `Meeting`.
    pub activity_type: &'static str,
    /// Such as `cancelled`.
    pub message_type: &'static str,
    /// Such as `client_to_pivot`.
    pub direction: &'static str,
    /// Our own words for it.
    pub label: &'static str,
    /// Use cases it belongs to, such as `client_cancellation`.
    pub use_cases: &'static [&'static str],
    /// Use cases for which it is the row to alert on.
    pub primary_for: &'static [&'static str],
    /// The value that the API's `activity_type` most likely carries; `None` where the API has none.
    pub api_type: Option<&'static str>,
}

impl Entry {
    /// The entry's names as a triple.
    pub fn triple(&self) -> Triple {
        Triple {
            activity_type: self.activity_type.to_owned(),
            message_type: self.message_type.to_owned(),
            direction: self.direction.to_owned(),
        }
    }
}

/// What is derived from the rows, once.
struct Derived {
    by_key: HashMap<[String; 3], &'static Entry>,
    types: Vec<&'static str>,
    messages: Vec<&'static str>,
    uses: Vec<&'static str>,
    /// From the key of a type, as the catalogue or the API spells it, to its canonical name.
    type_names: HashMap<String, &'static str>,
    message_names: HashMap<String, &'static str>,
}

static DERIVED: LazyLock<Derived> = LazyLock::new(|| {
    let types = distinct(ROWS.iter().map(|row| row.activity_type));
    let messages = distinct(ROWS.iter().map(|row| row.message_type));
    let uses = distinct(ROWS.iter().flat_map(|row| row.use_cases.iter().copied()));
    let known = types.iter().copied().chain(TYPES_OUTSIDE);
    let mut type_names: HashMap<String, &'static str> = known.map(|name| (key(name), name)).collect();
    for (spelling, name) in [
        ("", GENERAL),
        ("none", GENERAL),
        ("event", "EventAttendance"),
        ("event_instance", "EventAttendance"),
        ("event_series", "EventSeriesAttendance"),
    ] {
        type_names.insert(key(spelling), name);
    }
    let by_key = ROWS
        .iter()
        .map(|row| ([key(row.activity_type), key(row.message_type), key(row.direction)], row))
        .collect();
    let message_names = messages.iter().map(|name| (key(name), *name)).collect();
    Derived { by_key, types, messages, uses, type_names, message_names }
});

fn distinct(names: impl Iterator<Item = &'static str>) -> Vec<&'static str> {
    let mut seen = Vec::new();
    for name in names {
        if !seen.contains(&name) {
            seen.push(name);
        }
    }
    seen
}

/// All of them, in the catalogue's order.
pub fn all() -> &'static [Entry] {
    &ROWS
}

/// The entry of a triple, if it is known; compared by key.
pub fn find(triple: &Triple) -> Option<&'static Entry> {
    let keys = [key(&triple.activity_type), key(&triple.message_type), key(&triple.direction)];
    DERIVED.by_key.get(&keys).copied()
}

/// The catalogue's activity types, in its order.
pub fn activity_types() -> &'static [&'static str] {
    &DERIVED.types
}

/// The catalogue's message types, each once, in its order.
pub fn message_types() -> &'static [&'static str] {
    &DERIVED.messages
}

/// The four directions.
pub fn directions() -> &'static [&'static str] {
    &DIRECTIONS
}

/// The use cases that entries belong to, each once, in the catalogue's order.
pub fn use_cases() -> &'static [&'static str] {
    &DERIVED.uses
}

/// The values the API documents for its `activity_type`, in the API's spelling.
pub fn api_types() -> &'static [&'static str] {
    &API_TYPES
}

/// A type of the catalogue or of the API's list, in any spelling.
pub fn is_known_type(name: &str) -> bool {
    let name = key(name);
    DERIVED.types.iter().chain(&API_TYPES).any(|known| key(known) == name)
}

/// The label of a triple: the catalogue's, or readable words made of its names
/// (`Meeting: schedule invitation (to client)`).
pub fn label(triple: &Triple) -> String {
    if let Some(entry) = find(triple) {
        return entry.label.to_owned();
    }
    let type_words = words(&triple.activity_type);
    let message_words = words(&triple.message_type).to_lowercase();
    let direction_words = match triple.direction.as_str() {
        "client_to_pivot" => "from client".to_owned(),
        "pivot_to_client" | "to_client" => "to client".to_owned(),
        "to_pivot" => "to business".to_owned(),
        other => words(other).to_lowercase(),
    };
    let head = match (type_words.as_str(), message_words.as_str()) {
        ("", "") => "Message of unknown type".to_owned(),
        (kind, "") => kind.to_owned(),
        ("", message) => message.to_owned(),
        (kind, message) => format!("{kind}: {message}"),
    };
    if direction_words.is_empty() { head } else { format!("{head} ({direction_words})") }
}

/// `EventAttendance` and `event_attendance` as separate words.
fn words(name: &str) -> String {
    let mut spaced = String::new();
    let mut before_is_lower = false;
    for c in name.chars() {
        if c.is_uppercase() && before_is_lower {
            spaced.push(' ');
        }
        before_is_lower = c.is_lowercase() || c.is_ascii_digit();
        spaced.push(if c == '_' || c == '-' || c.is_control() { ' ' } else { c });
    }
    spaced.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The canonical activity type for what the API sent: mapped by message type first, then by name;
/// nothing at all is `General`; what is unknown stays as it is.
pub fn canonical_type(raw_type: Option<&str>, message_type: &str) -> String {
    let raw_type = raw_type.unwrap_or_default().trim();
    let message_key = key(message_type);
    if message_key.starts_with("eventattendance") {
        return "EventAttendance".to_owned();
    }
    if message_key.starts_with("eventseriesattendance") {
        return "EventSeriesAttendance".to_owned();
    }
    let type_key = key(raw_type);
    if type_key == "assignment" && message_key == "matterassigned" {
        return GENERAL.to_owned();
    }
    match DERIVED.type_names.get(&type_key) {
        // Punctuation only is not "nothing": it is a name that nobody knows.
        Some(_) if type_key.is_empty() && !raw_type.is_empty() => raw_type.to_owned(),
        Some(name) => (*name).to_owned(),
        None => raw_type.to_owned(),
    }
}

/// The message type for the API's `activity_action`: trimmed, and in the catalogue's spelling where it is known.
pub fn canonical_message_type(raw: &str) -> String {
    let raw = raw.trim();
    DERIVED.message_names.get(&key(raw)).map_or_else(|| raw.to_owned(), |name| (*name).to_owned())
}

/// The canonical direction for what the API sent; what is unknown stays as it is, nothing at all is empty.
pub fn canonical_direction(raw: Option<&str>) -> String {
    let raw = raw.unwrap_or_default().trim();
    let raw_key = key(raw);
    match raw_key.as_str() {
        "businesstoclient" => "pivot_to_client".to_owned(),
        "clienttobusiness" => "client_to_pivot".to_owned(),
        _ => DIRECTIONS.iter().find(|known| key(known) == raw_key).map_or(raw, |known| known).to_owned(),
    }
}

/// The candidates most like `name`, best first, at most three; none if nothing comes close.
pub fn nearest<'a>(name: &str, candidates: &[&'a str]) -> Vec<&'a str> {
    let wanted = key(name);
    let mut scored: Vec<(f64, &'a str)> = candidates
        .iter()
        .map(|candidate| (likeness(&wanted, &key(candidate)), *candidate))
        .filter(|(score, _)| *score >= LIKENESS_MIN)
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0));
    scored.into_iter().take(SUGGESTIONS_MAX).map(|(_, candidate)| candidate).collect()
}

/// Jaro-Winkler finds slips of the pen; one word inside the other (`failed`, `payment_failed`) is a hit of its own.
fn likeness(wanted: &str, candidate: &str) -> f64 {
    let inside =
        wanted.len().min(candidate.len()) >= 4 && (candidate.contains(wanted) || wanted.contains(candidate));
    let score = strsim::jaro_winkler(wanted, candidate);
    if inside { score.max(LIKENESS_MIN) } else { score }
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
    fn the_catalogue_has_the_documented_counts() {
        assert_eq!(all().len(), 140);
        assert_eq!(DERIVED.by_key.len(), 140, "no two rows have the same key");
        assert_eq!(activity_types().len(), 20);
        assert_eq!(message_types().len(), 92);
        let count = |direction| all().iter().filter(|row| row.direction == direction).count();
        assert_eq!(DIRECTIONS.map(count), [28, 54, 42, 16]);
        let meetings = all().iter().filter(|row| row.activity_type == "Meeting").count();
        assert_eq!(meetings, 44);
    }

    #[test]
    fn every_row_survives_the_way_through_the_api() {
        for row in all() {
            assert_eq!(canonical_type(row.api_type, row.message_type), row.activity_type, "{row:?}");
            assert_eq!(canonical_message_type(row.message_type), row.message_type);
            assert_eq!(canonical_direction(Some(row.direction)), row.direction);
            assert_eq!(find(&row.triple()), Some(row));
            assert!(row.api_type.is_none_or(|name| API_TYPES.contains(&name)));
            assert!(row.primary_for.iter().all(|case| row.use_cases.contains(case)), "{row:?}");
        }
    }

    #[test]
    fn types_are_mapped_by_message_type_first_and_by_name_then() {
        let cases = [
            (Some("meeting"), "event_attendance_client_cancel", "EventAttendance"),
            (None, "event_series_attendance_invite", "EventSeriesAttendance"),
            (Some("event"), "rsvp_confirmation", "EventAttendance"),
            (Some("event_instance"), "something", "EventAttendance"),
            (Some("event_series"), "booking_reassigned", "EventSeriesAttendance"),
            (Some("assignment"), "matter_assigned", "General"),
            (Some("assignment"), "other", "Assignment"),
            (Some("payout"), "paid", "Payout"),
            (Some("invite"), "pay", "Invite"),
            (None, "text", "General"),
            (Some(""), "text", "General"),
            (Some(" none "), "text", "General"),
            (Some("GENERAL"), "text", "General"),
            (Some("appointment-series"), "cancelled", "AppointmentSeries"),
            (Some("brand_new"), "cancelled", "brand_new"),
            (Some("--"), "text", "--"),
        ];
        for (raw, message_type, expected) in cases {
            assert_eq!(canonical_type(raw, message_type), expected, "{raw:?} {message_type}");
        }
    }

    #[test]
    fn directions_have_two_spellings_and_unknown_ones_stay() {
        assert_eq!(canonical_direction(Some("business_to_client")), "pivot_to_client");
        assert_eq!(canonical_direction(Some("Client To Business")), "client_to_pivot");
        assert_eq!(canonical_direction(Some(" to-pivot ")), "to_pivot");
        assert_eq!(canonical_direction(Some("sideways")), "sideways");
        assert_eq!(canonical_direction(None), "");
    }

    #[test]
    fn message_types_take_the_known_spelling_and_are_never_aliased() {
        assert_eq!(canonical_message_type(" Payment-Failed "), "payment_failed");
        assert_eq!(canonical_message_type("scheduled"), "scheduled");
        assert_eq!(canonical_message_type(" brand new "), "brand new");
    }

    #[test]
    fn labels_are_readable_for_known_and_unknown_types() {
        assert_eq!(label(&triple("Meeting", "cancelled", "client_to_pivot")), "Booking cancelled by client");
        let unknown = triple("Meeting", "brand_newThing", "pivot_to_client");
        assert_eq!(label(&unknown), "Meeting: brand new thing (to client)");
        assert_eq!(label(&triple("event_thing", "", "")), "event thing");
        assert_eq!(label(&triple("", "", "")), "Message of unknown type");
    }

    #[test]
    fn names_of_the_catalogue_and_of_the_api_are_known() {
        for name in ["event instance", "Payout", "general", "EventSeriesAttendance"] {
            assert!(is_known_type(name), "{name}");
        }
        assert!(!is_known_type("Meating"));
        assert!(!is_known_type(""));
    }

    #[test]
    fn suggestions_are_near_or_absent() {
        assert_eq!(nearest("Meating", activity_types()).first(), Some(&"Meeting"));
        assert_eq!(nearest("canceled", message_types()).first(), Some(&"cancelled"));
        assert!(nearest("refunded", message_types()).contains(&"payment_refunded_notification"));
        assert_eq!(nearest("zzzz", activity_types()), Vec::<&str>::new());
    }
}
