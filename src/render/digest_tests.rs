//! What digests and events that came in several messages look like, on every target.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::model::catalog;
use crate::model::group::{Gathered, Kind};
use crate::model::names::Names;
use crate::model::payload::{Format, HttpBody, Mail, Payload};

use super::tests::{
    FORMATS, assert_within_limits, mail, message, names, shipped_templates, slack, strings, text_of, view,
};
use super::view::{Resolved, Seen, View};
use super::{DEFAULT, Templates};

const FAILED: (&str, &str, &str) = ("Payment", "payment_failed", "to_pivot");
const SCHEDULED: (&str, &str, &str) = ("Payment", "scheduled_payment_failed", "to_pivot");
const PAID: (&str, &str, &str) = ("Payment", "payment_received", "to_pivot");

fn seen(kind: (&str, &str, &str), number: usize, names: Names) -> Seen {
    let mut one = message(kind);
    one.uid = format!("m{number:04}");
    one.subject = format!("Invoice #{}", 1000 + number);
    one.created_at += Duration::from_secs(60 * number as u64);
    Seen::new(one, names)
}

/// A digest of the day before 10 March, 08:00.
fn digest(messages: Vec<Seen>) -> View {
    let mut view = View { messages, ..view(Vec::new()) };
    let at = |text: &str| text.parse().unwrap();
    let (from, to) = (at("2026-03-09T07:00:00Z"), at("2026-03-10T07:00:00Z"));
    view.around.gathered = Some(Gathered { kind: Kind::Digest, from, to });
    view
}

fn failures(count: usize) -> View {
    let kind = |number: usize| if number % 3 == 2 { SCHEDULED } else { FAILED };
    let name = |number: usize| ["Ann Bloom", "שרה כהן", "Bo <!channel> & Sons"][number % 3];
    digest((0..count).map(|number| seen(kind(number), number, names(name(number)))).collect())
}

fn with_notes(mut view: View) -> View {
    view.around.late = Some(Duration::from_mins(125));
    view.around.due = Some("2026-03-10T07:00:00Z".parse().unwrap());
    view.around.throttled = 3;
    view.around.expired = 2;
    let (message, by) = (seen(FAILED, 7, names("Cy")), seen(PAID, 9, names("Cy")));
    let [delivery, rule, target] = ["d9", "failed", "desk"].map(str::to_owned);
    view.around.resolved = vec![Resolved { message, by, delivery, rule, target }];
    view
}

fn data(view: &View) -> Value {
    let Payload::Http(body) =
        Templates::default().render(DEFAULT, Format::Http(HttpBody::Auto), view).payload
    else {
        panic!("an HTTP body")
    };
    serde_json::from_str(&body.body).unwrap()
}

fn texts(view: &View) -> (String, Mail) {
    let templates = Templates::default();
    let value = slack(templates.render(DEFAULT, Format::Slack, view));
    assert_within_limits(&value);
    let mut all = Vec::new();
    strings(&value["blocks"], &mut all);
    all.retain(|text| {
        !matches!(
            text.as_str(),
            "mrkdwn" | "plain_text" | "section" | "context" | "actions" | "header" | "button"
        )
    });
    (all.join("\n"), mail(templates.render(DEFAULT, Format::Email, view)))
}

#[test]
fn two_messages_are_told_on_slack_and_by_mail() {
    let (slack, mail) = texts(&with_notes(failures(2)));
    insta::assert_snapshot!(slack, @r#"
    2 failed payments, 9 Mar 08:00 – 10 Mar 08:00
    2 × Payment failed
    ⚠️ *<https://app.vcita.com/app/clients/mat%2F1|Ann Bloom>*, Invoice #1000: Payment failed · Tue 10 Mar, 10:00
    ⚠️ *<https://app.vcita.com/app/clients/mat%2F1|שרה כהן>*, Invoice #1001: Payment failed · Tue 10 Mar, 10:01
    Late by 2 h 5 min: it was due Tue 10 Mar 2026, 08:00
    3 more were held back since the last one
    1 settled since, not listed: Cy (Payment came in, notice to business, Tue 10 Mar, 10:09)
    2 messages expired unsent
    Open vCita
    https://app.vcita.com/app/dashboard
    Calm Hands · rule client-cancellations
    "#);
    insta::assert_snapshot!(format!("{}\n\n{}", mail.subject, mail.text), @r#"
    2 failed payments, Tue 10 Mar

    2 failed payments
    9 Mar 08:00 – 10 Mar 08:00

    2 × Payment failed

    Tue 10 Mar, 10:00  Ann Bloom: Payment failed, Invoice #1000
    Tue 10 Mar, 10:01  שרה כהן: Payment failed, Invoice #1001

    Late by 2 h 5 min: it was due Tue 10 Mar 2026, 08:00
    3 more were held back since the last one
    1 settled since, not listed: Cy (Payment came in, notice to business, Tue 10 Mar, 10:09)
    2 messages expired unsent

    Open vCita (https://app.vcita.com/app/dashboard)
    "#);
    assert_eq!(mail.attachments, []);
    assert_eq!(mail.thread, None);
}

#[test]
fn one_message_and_none_are_digests_too() {
    let (slack, mail) = texts(&failures(1));
    assert!(slack.starts_with("1 failed payment, 9 Mar 08:00 – 10 Mar 08:00"), "{slack}");
    assert_eq!(mail.subject, "1 failed payment, Tue 10 Mar");
    let one = data(&failures(1));
    assert_eq!((&one["type"], &one["data"]["count"]), (&json!("vcita.digest"), &json!(1)));

    let (slack, mail) = texts(&failures(0));
    assert!(slack.contains("Nothing in this time"), "{slack}");
    assert!(
        mail.text.contains("Nothing in this time") && mail.html.unwrap().contains("Nothing in this time")
    );
    assert_eq!(mail.subject, "No messages, Tue 10 Mar");
    let none = data(&failures(0));
    assert_eq!(none["data"]["items"], json!([]));
    assert_eq!(
        none["data"]["window"],
        json!({ "from": "2026-03-09T07:00:00Z", "to": "2026-03-10T07:00:00Z" })
    );
}

#[test]
fn seven_are_all_shown_and_three_hundred_say_how_many_are_not() {
    let (slack, mail) = texts(&failures(7));
    for number in 0..7 {
        let invoice = format!("Invoice #{}", 1000 + number);
        assert!(slack.contains(&invoice) && mail.text.contains(&invoice), "{invoice}");
        assert!(mail.html.as_ref().unwrap().contains(&invoice), "{invoice}");
    }
    assert!(slack.contains("5 × Payment failed · 2 × Scheduled payment failed"), "{slack}");
    assert!(!slack.contains(" more") && !mail.text.contains(" more"), "{slack}");

    let (slack, mail) = texts(&failures(300));
    assert!(slack.contains("*+260 more*") && slack.contains("Invoice #1039"), "{slack}");
    assert!(!slack.contains("Invoice #1040") && !slack.contains("shortened"), "{slack}");
    let name = "client-cancellations-2026-03-10.csv";
    assert!(mail.text.contains(&format!("+250 more: all are in the attached file {name}")), "{}", mail.text);
    assert!(mail.html.unwrap().len() < 100_000, "some readers cut a longer mail off");
    let [file] = mail.attachments.as_slice() else { panic!("one file") };
    assert_eq!((file.name.as_str(), file.text.matches("\r\n").count()), (name, 301));
    let last = file.text.trim_end().rsplit("\r\n").next().unwrap();
    assert!(last.starts_with("2026-03-10 14:59,Bo <!channel> & Sons,ann@example.com,"), "{last}");
    assert!(last.contains(",\"'+39 055 123\",Scheduled payment failed,Invoice #1299,"), "{last}");
}

#[test]
fn the_body_of_a_digest_is_the_contracts() {
    let event = data(&with_notes(failures(3)));
    let data = &event["data"];
    assert_eq!(event["type"], "vcita.digest");
    assert_eq!(
        (&data["count"], &data["omitted"], &data["items"].as_array().unwrap().len()),
        (&json!(3), &json!(0), &3)
    );
    assert_eq!(
        data["by_type"],
        json!([{ "label": "Payment failed", "count": 2 }, { "label": "Scheduled payment failed", "count": 1 }])
    );
    assert_eq!(data["late"], json!({ "text": "2 h 5 min", "seconds": 7500, "due": "2026-03-10T07:00:00Z" }));
    assert_eq!((&data["throttled"], &data["expired"]), (&json!(3), &json!(2)));
    assert_eq!(data["resolved"][0]["message"]["uid"], "m0007");
    assert_eq!(data["resolved"][0]["by"]["message"]["message_type"], "payment_received");
}

#[test]
fn a_digest_is_told_by_time_whatever_came_first() {
    let mut view = failures(4);
    view.messages.reverse();
    let uids: Vec<Value> = data(&view)["data"]["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["message"]["uid"].clone())
        .collect();
    assert_eq!(uids, ["m0000", "m0001", "m0002", "m0003"]);
}

#[test]
fn an_event_of_a_digest_is_told_once_with_what_else_tells_of_it() {
    let mut view = failures(2);
    let further = |number, kind| seen(kind, number, names("Ann Bloom"));
    view.messages[0].also = vec![
        further(10, ("Payment", "receipt_sent", "to_client")),
        further(11, ("Invoice", "reminder", "to_pivot")),
    ];
    let (slack, mail) = texts(&view);
    assert!(slack.starts_with("2 failed payments,"), "{slack}");
    insta::assert_snapshot!(slack.lines().nth(2).unwrap(), @"⚠️ *<https://app.vcita.com/app/clients/mat%2F1|Ann Bloom>*, Invoice #1000: Payment failed (also Receipt, system notice to client; Open invoice, reminder to business) · Tue 10 Mar, 10:00");
    insta::assert_snapshot!(mail.text.lines().nth(5).unwrap(), @"Tue 10 Mar, 10:00  Ann Bloom: Payment failed, Invoice #1000 (also Receipt, system notice to client; Open invoice, reminder to business)");
    assert!(mail.html.unwrap().contains("(also Receipt, system notice to client; "), "{}", mail.text);
    let event = data(&view);
    assert_eq!((&event["data"]["count"], &event["data"]["items"][1]["also"]), (&json!(2), &Value::Null));
    assert_eq!(event["data"]["items"][0]["also"][1]["uid"], "m0011");
    assert_eq!(mail.attachments, []);
    for number in 20..40 {
        view.messages[1].also.push(further(number, PAID));
    }
    let (slack, mail) = texts(&view);
    assert_eq!(slack.matches("; …").count(), 1, "{slack}");
    let [file] = mail.attachments.as_slice() else { panic!("one file") };
    assert_eq!(file.text.matches("\r\n").count(), 25, "every message is in the file");
}

#[test]
fn an_event_by_itself_says_in_which_messages_it_came() {
    let templates = shipped_templates();
    let mut one = super::tests::cancelled("Ann");
    let gathered = digest(Vec::new()).around.gathered.map(|all| Gathered { kind: Kind::Event, ..all });
    one.around.gathered = gathered;
    one.messages[0].also = vec![seen(("Meeting", "cancelled_notification", "to_client"), 1, names("Ann"))];
    for format in [Format::Slack, Format::Email] {
        let said = "The same in further messages: ";
        for name in templates.names().into_iter().filter(|name| *name != "backlog") {
            let text = text_of(&templates.render(name, format, &one).payload);
            assert!(text.contains(said), "{name} {format:?}: {text}");
        }
        let plain = text_of(&templates.render_plain(format, &one, "refused"));
        assert!(plain.contains(said), "{plain}");
    }
    assert_eq!(data(&one)["data"]["also"][0]["message_type"], "cancelled_notification");
}

#[test]
fn a_single_message_says_how_many_were_held_back() {
    let templates = shipped_templates();
    let mut one = super::tests::cancelled("Ann");
    one.around.throttled = 3;
    for name in templates.names().into_iter().filter(|name| *name != "backlog") {
        for format in [Format::Slack, Format::Email] {
            let text = text_of(&templates.render(name, format, &one).payload);
            assert!(text.contains("3 more were held back since the last one"), "{name} {format:?}: {text}");
        }
    }
}

#[test]
fn every_shipped_template_tells_a_digest_of_every_message_type() {
    let templates = shipped_templates();
    let all: Vec<Seen> = catalog::all()
        .iter()
        .enumerate()
        .map(|(number, entry)| {
            seen((entry.activity_type, entry.message_type, entry.direction), number, names("Ann"))
        })
        .collect();
    let mut bare = all.clone();
    for one in &mut bare {
        one.names = Names::default();
        (one.message.client_uid, one.message.subject, one.message.body) =
            (None, String::new(), String::new());
    }
    let each = all.iter().map(|one| digest(vec![one.clone()]));
    for view in each.chain([
        digest(all.clone()),
        digest(bare),
        with_notes(digest(all.clone())),
        with_notes(digest(Vec::new())),
    ]) {
        for name in templates.names() {
            for format in FORMATS {
                let rendered = templates.render(name, format, &view);
                assert_eq!(rendered.problem, None, "{name} {format:?}");
                assert_eq!(rendered.markers(), Vec::<String>::new(), "{name} {format:?}");
                if let Payload::Slack(value) = &rendered.payload {
                    assert_within_limits(value);
                }
                if view.messages.len() > 1 {
                    assert_eq!(
                        templates.cuts(name, format, &view),
                        Vec::<super::Cut>::new(),
                        "{name} {format:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_plain_rendering_tells_the_notes_too() {
    let templates = Templates::default();
    for format in [Format::Slack, Format::Email] {
        let text = text_of(&templates.render_plain(format, &with_notes(failures(2)), "refused"));
        for said in [
            "2 failed payments",
            "Late by 2 h 5 min",
            "3 more held back",
            "Settled since: Cy",
            "2 expired unsent",
        ] {
            assert!(text.contains(said), "{said}: {text}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_that_clients_are_called_breaks_a_digest(all in proptest::collection::vec((super::hostile::hostile(), super::hostile::hostile()), 0..60)) {
        let messages = all.iter().enumerate().map(|(number, (name, subject))| {
            let mut one = seen(FAILED, number, names(name));
            one.message.subject.clone_from(subject);
            one
        });
        let view = with_notes(digest(messages.collect()));
        let (slack, mail) = texts(&view);
        for (at, _) in slack.match_indices('<') {
            prop_assert!(slack[at..].starts_with("<https://app.vcita.com/"), "{}", &slack[at..]);
        }
        prop_assert!(!mail.subject.contains(['\r', '\n']));
        prop_assert!(!mail.html.unwrap().contains("<script"));
        for file in mail.attachments {
            let quotes = file.text.matches('"').count();
            prop_assert!(quotes.is_multiple_of(2), "every quoted cell is closed");
        }
        prop_assert!(data(&view)["data"]["count"] == json!(all.len()));
    }
}
