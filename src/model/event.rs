//! What an event is told by when the API tells it in several messages. Pure.

use std::cmp::Reverse;

use super::catalog;
use super::message::Message;

/// Use cases that say how a payment ended.
const MONEY: [&str; 2] = ["payment_failure", "payment_received"];
/// Use cases that say what became of an appointment or an offer.
const OUTCOMES: [&str; 5] =
    ["client_cancellation", "no_show", "client_reschedule", "new_booking", "estimate_decision"];

/// The place of the message that says most: how a payment ended; what became of an appointment or an offer; any other type
/// that is the one to alert on; one of a use case at all; one that belongs to none or is unknown; internal noise last. Of
/// equals the newest, so that what came of it wins over what was before. `None` where there is no message.
pub fn most_telling<'m>(messages: impl IntoIterator<Item = &'m Message>) -> Option<usize> {
    let ranked = messages.into_iter().enumerate();
    let best = ranked.min_by_key(|(_, one)| (rank(one), Reverse((one.created_at, one.uid.as_str()))));
    best.map(|(place, _)| place)
}

fn rank(message: &Message) -> u8 {
    let Some(entry) = catalog::find(&message.triple) else { return 4 };
    let primary = |of: &[&str]| entry.primary_for.iter().any(|use_case| of.contains(use_case));
    match entry.use_cases {
        cases if cases.contains(&"noise") => 5,
        _ if primary(&MONEY) => 0,
        _ if primary(&OUTCOMES) => 1,
        _ if !entry.primary_for.is_empty() => 2,
        [] => 4,
        _ => 3,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn told(kinds: &[&str]) -> usize {
        let message = |(number, kind): (usize, &&str)| -> Message {
            let [activity_type, message_type, direction] = kind.split('/').collect::<Vec<_>>()[..] else {
                panic!("{kind}")
            };
            let fields = json!({
                "account": "main",
                "uid": format!("m{number}"),
                "triple": {
                    "activity_type": activity_type, "message_type": message_type, "direction": direction,
                },
                "created_at": format!("2026-03-10T09:00:{number:02}Z"),
                "raw": Value::Null,
            });
            serde_json::from_value(fields).unwrap()
        };
        let messages: Vec<Message> = kinds.iter().enumerate().map(message).collect();
        most_telling(&messages).unwrap()
    }

    #[test]
    fn the_message_that_says_most_speaks_for_its_event() {
        const PAID: &str = "Payment/payment_received/to_pivot";
        const FAILED: &str = "Payment/payment_failed/to_pivot";
        const NOISE: &str = "General/system/client_to_pivot";
        let receipt = "Payment/receipt_sent/to_client";
        assert_eq!(told(&["Payment/payment_pending/to_pivot", PAID, receipt, NOISE]), 1);
        assert_eq!(told(&[FAILED, "Invoice/reminder/to_pivot"]), 0);
        assert_eq!(told(&[FAILED, PAID]), 1, "what came of it in the end");
        assert_eq!(told(&[PAID, FAILED]), 1);
        assert_eq!(told(&[NOISE, "BrandNew/never_seen/sideways"]), 1);
        assert_eq!(
            told(&["Meeting/cancelled/client_to_pivot", "Meeting/cancelled_notification/to_client"]),
            0
        );
        assert_eq!(most_telling([]), None);
    }
}
