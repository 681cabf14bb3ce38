//! The scenarios that come with the program.

use std::time::Duration;

use crate::model::catalog;
use crate::model::message::Triple;
use crate::sandbox::incoming::Incoming;
use crate::sandbox::script::{Answer, Cut, Fault, busy, cut, gateway, says, status};
use crate::sandbox::world::{Action, At, Which};

use super::{Person, Scenario, Step};

/// What they are called.
pub(super) const NAMES: [&str; 5] = ["morning", "every-kind", "busy-day", "bulk-cancel", "outage"];

/// From here on in `outage` the API fails, and then the Slack inbox.
const OUTAGE_AT: Duration = Duration::from_secs(10);

/// The scenario of this name.
pub(super) fn named(name: &str) -> Option<Scenario> {
    Some(match name {
        "morning" => morning(),
        "every-kind" => every_kind(),
        "busy-day" => busy_day(),
        "bulk-cancel" => bulk_cancel(),
        "outage" => outage(),
        _ => return None,
    })
}

fn receive(seconds: u64, incoming: Incoming) -> Step {
    Step::new(Duration::from_secs(seconds), Action::Receive(Box::new(incoming)))
}

fn clinic(title: &str, steps: Vec<Step>) -> Scenario {
    let person = |name: &str, email: &str, phone: Option<&str>| Person {
        name: name.to_owned(),
        email: Some(email.to_owned()),
        phone: phone.map(str::to_owned),
    };
    Scenario {
        title: title.to_owned(),
        business: Some("Harbour Massage & Physiotherapy".to_owned()),
        time_zone: Some("Europe/London".to_owned()),
        clients: vec![
            person("Grace Field", "grace.field@example.com", Some("+44 20 7946 0117")),
            person("Tom O'Hara", "tom.ohara@example.com", Some("+44 20 7946 0124")),
            person("Priya Nair", "priya.nair@example.com", Some("+44 20 7946 0138")),
            person("Bjørn Åsen", "bjorn.asen@example.com", Some("+44 20 7946 0142")),
            person("Lucía Vega", "lucia.vega@example.com", None),
            person("Samuel Stone", "sam.stone@example.com", Some("+44 20 7946 0159")),
            person("Mei Lin", "mei.lin@example.com", Some("+44 20 7946 0163")),
        ],
        staff: vec![
            person("Leo Marsh", "leo@harbour.example", None),
            person("Nora Quay", "nora@harbour.example", None),
        ],
        steps,
    }
}

/// Fourteen messages in 40 seconds: what a small practice finds between opening and the first coffee.
fn morning() -> Scenario {
    let c2p = "client_to_pivot";
    clinic(
        "A morning at a massage and physiotherapy practice",
        vec![
            receive(0, Incoming::new("Meeting", "cancelled", c2p).from("Grace Field").with_staff("Nora Quay").about("Deep tissue massage")
                .saying("So sorry, my son has a fever and I can't leave him. Could we look at next week?")),
            receive(3, Incoming::new("Payment", "payment_failed", "to_pivot").from("Tom O'Hara").about("Invoice #1051")
                .saying("The card ending in 4821 was declined: expired card. 85.00 GBP for invoice #1051 is still open.")),
            receive(6, Incoming::new("Meeting", "schedule", c2p).from("Priya Nair").with_staff("Leo Marsh").about("First physiotherapy visit")
                .saying("Booked online. Runner's knee, left side, for about six weeks.")),
            receive(9, Incoming::text("Bjørn Åsen", "Good morning! Is there parking near you? I come by car & trailer 🚗 <around 9>")),
            receive(11, Incoming::new("Meeting", "schedule_invitation", "pivot_to_client").from("Mei Lin").with_staff("Nora Quay")
                .about("Follow-up visit").saying("Your follow-up visit with Nora is booked.")),
            receive(14, Incoming::new("Review", "submit_review", c2p).from("Lucía Vega").with_staff("Leo Marsh").about("New review")
                .saying("★★★★★ Leo explained every step and my shoulder moves freely again. ¡Gracias!")),
            receive(17, Incoming::new("Document", "document", c2p).from("Priya Nair").about("MRI left knee.pdf")
                .saying("Here is the report from the hospital, for Wednesday.")),
            receive(20, Incoming::new("Estimate", "approved", c2p).from("Samuel Stone").about("Estimate #214")
                .saying("Approved: ten sessions for the team, 720.00 GBP.")),
            receive(23, Incoming::new("Waitlist", "register_to_event_waitlist", c2p).from("Mei Lin").about("Saturday back-care class")
                .saying("Please let me know if a place becomes free.")),
            receive(26, Incoming::new("Meeting", "reschedule", c2p).from("Samuel Stone").with_staff("Leo Marsh").about("Sports massage")
                .saying("Moved from Tuesday 17:00 to Thursday 18:00.")),
            receive(29, Incoming::new("General", "system", c2p).from("Grace Field").about("Client details changed")
                .saying("The phone number of Grace Field was changed.")),
            receive(32, Incoming::new("Payment", "payment_received", "to_pivot").from("Ann Bloom").about("Invoice #1042")
                .saying("65.00 GBP was paid by card for invoice #1042.")),
            receive(36, Incoming::new("VoiceCall", "call", c2p).from("Bjørn Åsen").about("Call from +44 20 7946 0142")),
            receive(40, Incoming::new("Meeting", "request", c2p).from("Lucía Vega").with_staff("Nora Quay").about("Lymphatic drainage")
                .saying("Any afternoon from Wednesday on would be fine for me.")),
        ],
    )
}

/// The catalogue's rows, all there at the start, made a tenth of a second apart so that they keep its order.
fn every_kind() -> Scenario {
    let rows = catalog::all();
    let steps = rows
        .iter()
        .enumerate()
        .map(|(index, entry)| {
            let triple = Triple {
                activity_type: entry.activity_type.to_owned(),
                message_type: entry.message_type.to_owned(),
                direction: entry.direction.to_owned(),
            };
            let behind = u32::try_from(rows.len() - index).unwrap_or(u32::MAX);
            let late = Duration::from_millis(100).saturating_mul(behind);
            receive(0, Incoming::of(&triple).late(late))
        })
        .collect();
    clinic("Every message type there is, once", steps)
}

/// A day in eight minutes: bookings, talk and money in turn, some read by the staff before long, one burst.
fn busy_day() -> Scenario {
    let kinds = [
        ("Meeting", "schedule", "client_to_pivot"),
        ("General", "text", "client_to_pivot"),
        ("Meeting", "meeting_reminder", "to_client"),
        ("Payment", "payment_received", "to_pivot"),
        ("Meeting", "cancelled", "client_to_pivot"),
        ("Invoice", "issued", "pivot_to_client"),
        ("Meeting", "reschedule", "client_to_pivot"),
        ("General", "text", "pivot_to_client"),
        ("Payment", "payment_failed", "to_pivot"),
        ("Review", "submit_review", "client_to_pivot"),
    ];
    let clients =
        ["Grace Field", "Tom O'Hara", "Priya Nair", "Bjørn Åsen", "Lucía Vega", "Samuel Stone", "Mei Lin"];
    let mut steps: Vec<Step> = (0..240u64)
        .zip(kinds.iter().cycle())
        .zip(clients.iter().cycle())
        .map(|((nth, kind), client)| receive(nth * 2, Incoming::new(kind.0, kind.1, kind.2).from(client)))
        .collect();
    let minutes =
        (1..8).map(|minute| Step::new(Duration::from_secs(minute * 60), Action::Read(Which::Oldest(10))));
    steps.extend(minutes);
    steps.push(receive(
        200,
        Incoming::new("EventAttendance", "event_attendance_event_cancelled", "pivot_to_client").times(40),
    ));
    steps.push(receive(
        305,
        Incoming::text("Tom O'Hara", "Sent a while ago, seen only now.").late(Duration::from_secs(30)),
    ));
    clinic("A busy day in eight minutes", steps)
}

/// An event with 260 guests is called off: 260 rows in one second.
fn bulk_cancel() -> Scenario {
    let row = Incoming::new("EventAttendance", "event_attendance_client_cancel", "client_to_pivot")
        .about("Saturday back-care class")
        .saying("The class was called off.");
    clinic("260 cancellations within one second", vec![receive(2, row.times(260))])
}

/// Messages keep coming while first the API and then the Slack inbox fail in every way, and recover.
fn outage() -> Scenario {
    let after = |seconds: u64| OUTAGE_AT + Duration::from_secs(seconds);
    let fault =
        |at, answer: Answer, times| Action::Fault { at, fault: Fault { on: String::new(), times, answer } };
    let mut steps: Vec<Step> = (0..20)
        .map(|nth| {
            receive(nth * 3, Incoming::new("Meeting", "cancelled", "client_to_pivot").from("Grace Field"))
        })
        .collect();
    let broken = [
        busy(2),
        status(500),
        gateway(),
        cut(Cut::Before),
        cut(Cut::Middle),
        crate::sandbox::script::broken_json(),
        crate::sandbox::script::success_false(),
        crate::sandbox::script::empty(),
    ];
    steps.extend(broken.into_iter().map(|answer| Step::new(OUTAGE_AT, fault(At::Api, answer, Some(1)))));
    steps.push(Step::new(after(20), fault(At::Slack, busy(3), Some(1))));
    steps.push(Step::new(after(20), fault(At::Slack, says(500, "rollup_error"), Some(1))));
    steps.push(Step::new(after(20), fault(At::Slack, cut(Cut::Before), Some(1))));
    steps.push(Step::new(after(25), fault(At::Slack, says(404, "no_service"), None)));
    steps.push(Step::new(after(20), fault(At::Smtp, says(451, "4.3.0 try later"), Some(2))));
    steps.push(Step::new(after(20), fault(At::Http, status(503), Some(2))));
    steps.push(Step::new(after(35), Action::Heal(At::Slack)));
    clinic("The API, then the targets fail for half a minute", steps)
}
