//! What `where:` conditions accept, say, and survive.

use std::time::{Duration, Instant};

use serde_json::json;

use super::*;
use crate::model::message::{Meeting, Triple};
use crate::model::names::Client;

fn message() -> Message {
    Message {
        account: "main".to_owned(),
        uid: "m1".to_owned(),
        uid_derived: false,
        triple: Triple {
            activity_type: "Meeting".to_owned(),
            message_type: "cancelled".to_owned(),
            direction: "client_to_pivot".to_owned(),
        },
        raw_type: Some("meeting".to_owned()),
        raw_direction: None,
        business_uid: None,
        staff_uid: None,
        client_uid: Some("c1".to_owned()),
        channels: vec!["email".to_owned(), "sms".to_owned()],
        subject: "Massage".to_owned(),
        body: "I want a refund".to_owned(),
        meeting: Some(Meeting { duration: Some(90), ..Meeting::default() }),
        created_at: "2026-03-10T09:00:00Z".parse().unwrap(),
        updated_at: None,
        raw: json!({"amount": 12.5, "items": (0..2_000).collect::<Vec<_>>(), "tag": null}),
    }
}

fn judge(text: &str, message: &Message) -> Result<bool, String> {
    Expression::compile(text)
        .unwrap_or_else(|error| panic!("{text}: {error:?}"))
        .judge(message, &Names::default())
}

#[test]
fn the_documented_condition_works() {
    let text = r#"message.meeting.duration >= 60 && message.body.contains("refund")"#;
    assert_eq!(judge(text, &message()), Ok(true));
    assert_eq!(judge(text, &Message { body: "bye".to_owned(), ..message() }), Ok(false));
    let without = judge(text, &Message { meeting: None, ..message() });
    assert_eq!(without.unwrap_err(), "`meeting` is not known for this message");
}

#[test]
fn every_kind_of_field_can_be_asked_for() {
    for text in [
        r#"message.activity_type == "Meeting" && message.label == "Booking cancelled by client""#,
        r#"message.created_at > timestamp("2026-01-01T00:00:00Z")"#,
        r#"message.created_at.getHours("Europe/Rome") == 10"#,
        r#""sms" in message.channels && message.channels.exists(c, c.startsWith("em"))"#,
        r#"message.body.matches("(?i)REFUND")"#,
        r#"client.uid == "c1" && message.client_uid == "c1" && account.name == "main""#,
        "message.raw.amount > 12 && message.raw.items[3] == 3 && message.raw.tag == null",
        "!has(client.name) && !has(message.meeting.start_time) && has(message.meeting)",
        r#"has(client.name) ? client.name == "Ann" : true"#,
        "type(message.raw.amount) == double",
        "true",
    ] {
        assert_eq!(judge(text, &message()), Ok(true), "{text}");
    }
}

#[test]
fn names_are_asked_for_only_where_they_are_used() {
    let needs = |text: &str| Expression::compile(text).unwrap().needs_names();
    assert!(needs(r#"client.name == "Ann""#));
    assert!(needs(r#"client["name"] == "Ann""#));
    assert!(needs(r#"account.business.time_zone == "Europe/Rome""#));
    assert!(!needs(r#"client.uid == "c1" && account.name == "main" && staff.uid == "s""#));
    let named = Names {
        client: Some(Client { name: Some("Ann".to_owned()), ..Client::default() }),
        ..Names::default()
    };
    let vip = Expression::compile(r#"client.name in ["Ann", "Bob"]"#).unwrap();
    assert_eq!(vip.judge(&message(), &named), Ok(true));
    assert_eq!(vip.judge(&message(), &Names::default()).unwrap_err(), "`name` is not known for this message");
}

#[test]
fn what_depends_on_names_that_are_late_waits_for_them_and_nothing_else_does() {
    let late = Names { late: Late { client: true, staff: true, business: true }, ..Names::default() };
    let waits = |text: &str| Expression::compile(text).unwrap().waits_for_names(&message(), &late);
    for text in [
        r#"account.business.name == "Calm Hands""#,
        r#"has(account.business) && account.business.name == "Calm Hands""#,
        r#"account.business != null && account.business.name == "Calm Hands""#,
        r#"!has(account.business) || account.business.name == "Calm Hands""#,
        r#"has(account.business.name) && account.business.name == "Calm Hands""#,
        r#""name" in account.business"#,
        r#"account.business["name"] == "Calm Hands""#,
        r#"has(client.name) && client.name == "Ann""#,
        r#"has(staff.name) && staff.name == "Leo""#,
    ] {
        assert!(waits(text), "{text}");
    }
    for text in [
        r#"account.name == "other" && account.business.name == "Calm Hands""#,
        r#"has(account.business) || client.name == "Ann""#,
        r#"!has(account.business) && account.business.name == "Calm Hands""#,
    ] {
        assert!(!waits(text), "{text}");
    }
}

#[test]
fn what_does_not_compile_is_named_with_its_place() {
    for (text, line, column, part) in [
        ("", 1, 1, "empty"),
        ("message.body ==", 1, 16, "ends too early"),
        ("message.body = 'x'", 1, 14, "written `==`"),
        ("message.body == 'x", 1, 17, "quotation mark"),
        ("message.body == 'x')", 1, 20, "`)` cannot stand here"),
        ("message.body == 'ä' && foo", 1, 24, "`foo` is no variable"),
        ("message.body == 'ä' && a b", 1, 26, "`b` cannot stand here"),
        ("has(message.meeting) &&\n  mesage.uid == '1'", 2, 3, "did you mean `message`?"),
        ("message.bdy == ''", 1, 9, "did you mean `body`?"),
        ("message.meeting.duraton > 1", 1, 17, "did you mean `duration`?"),
        ("message.body.contans('x')", 1, 14, "did you mean `contains`?"),
        ("message.channels.exsts(c, c == 'x')", 1, 18, "did you mean `exists`?"),
        ("@round()", 1, 1, "`@` cannot stand here"),
        ("1 + 1", 1, 3, "neither true nor false"),
        ("'yes'", 1, 1, "neither true nor false"),
    ] {
        let error = Expression::compile(text).unwrap_err();
        assert!(error.message.contains(part), "{text}: {}", error.message);
        assert_eq!((error.line, error.column), (line, column), "{text}: {}", error.message);
    }
}

#[test]
fn what_can_never_work_is_refused_with_its_own_remedy() {
    for (text, column, part, remedy) in [
        ("message.subject", 9, "`message.subject` is a text", "message.subject == \"…\""),
        ("has(message.meeting) && message.meeting", 33, "a group of fields", "has(message.meeting)"),
        ("!message.channels", 10, "a list, which is neither", "in message.channels"),
        ("message.meeting.duration >= \"60\"", 26, "a number and is compared with \"60\"", "60 without"),
        ("\"60\" <= message.meeting.duration", 6, "a number and is compared with \"60\"", "60 without"),
        ("message.subject == 5", 17, "a text and is compared with 5", "in quotation marks"),
        ("message.created_at > \"2026-01-01\"", 20, "a moment", "timestamp("),
        ("size(message.channels) > 1 ? message.body == 1 : true", 43, "a text", "quotation marks"),
        ("message.body.matches('([')", 22, "no regular expression: unclosed character class", "backslash"),
        ("message.channels.exists(c, c.matches('*'))", 38, "no regular expression", "backslash"),
    ] {
        let error = Expression::compile(text).unwrap_err();
        assert!(error.message.contains(part), "{text}: {}", error.message);
        assert!(error.remedy.as_ref().is_some_and(|said| said.contains(remedy)), "{text}: {error:?}");
        assert_eq!((error.line, error.column), (1, column), "{text}: {}", error.message);
    }
    for text in [
        "message.raw.amount >= \"60\"",
        "message.channels.exists(message, message.subject > 1)",
        "message.channels.map(c, size(c)) == [5, 3]",
        "message.created_at - timestamp(\"2026-01-01T00:00:00Z\") > duration(\"1h\")",
        "(has(client.name) ? client.name : \"\") != \"\"",
        "client.email == null",
        "message.meeting.duration >= 1.5",
        "bool(message.raw.flag)",
    ] {
        assert!(Expression::compile(text).is_ok(), "{text}");
    }
}

#[test]
fn a_judgement_that_fails_says_why_and_quotes_no_value() {
    for (text, part) in [
        ("message.raw.amount", "type float, not true or false"),
        ("message.raw.items[0] > message.body", "does not go with int and string"),
        ("message.raw.items[9999] == 1", "outside its list"),
        ("message.meeting.duration / 0 == 1", "divides by zero"),
        ("message.body.matches(message.subject + '(')", "no regular expression: unclosed group"),
        ("duration('abc') > duration('1s')", ""),
    ] {
        let why = judge(text, &message()).unwrap_err();
        assert!(why.contains(part), "{text}: {why}");
        assert!(!why.contains("refund"), "{text}: {why}");
    }
}

#[test]
fn hostile_conditions_are_refused_or_end_soon() {
    let started = Instant::now();
    assert!(Expression::compile(&"x".repeat(TEXT_CHARS_MAX + 1)).unwrap_err().message.contains("at most"));
    let nested = format!("{}true{}", "(".repeat(900), ")".repeat(900));
    assert!(Expression::compile(&nested).unwrap_err().message.contains("nested"));
    for text in [
        "!".repeat(1_900) + "true",
        "-".repeat(1_900) + "1 == 1",
        format!("message{} == 1", ".raw".repeat(450)),
        format!("1{} == 1", "+1".repeat(900)),
        format!("true{}", "?true:true".repeat(190)),
        format!("true{}", "&&true".repeat(300)),
        format!("message.raw{} == 1", "[0]".repeat(600)),
        "{".repeat(30),
        "'\\u{0}".to_owned(),
        "timestamp('9999-12-31T23:59:59Z') + duration('999999h') > message.created_at".to_owned(),
        "-9223372036854775808 / -1 == 1".to_owned(),
        "message.body.matches('(a{1000}){1000}')".to_owned(),
    ] {
        if let Ok(expression) = Expression::compile(&text) {
            let _ = expression.judge(&message(), &Names::default());
        }
    }
    let loops =
        "message.raw.items.all(a, message.raw.items.all(b, message.raw.items.all(c, a + b + c >= 0)))";
    assert_eq!(judge(loops, &message()).unwrap_err(), "its loops make more than 1000 rounds");
    let building = "message.raw.items.map(a, message.raw.items.map(b, message.raw.items)).size() > 0";
    assert!(judge(building, &message()).unwrap_err().contains("rounds"));
    let big = Message { body: "a".repeat(5_000_000), ..message() };
    assert_eq!(judge("message.body.matches('(a*)*b')", &big), Ok(false));
    assert!(started.elapsed() < Duration::from_mins(1), "{:?}", started.elapsed());
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_compiler_panic(text in "[a-c1(){}.,'\"\\\\&|!=<> +?:\\[\\]@-]{0,40}|.{0,30}") {
        if let Ok(expression) = Expression::compile(&text) {
            let _ = expression.judge(&message(), &Names::default());
        }
    }
}

#[test]
fn conditions_can_be_shared_between_tasks() {
    fn shared<T: Send + Sync>() {}
    shared::<Expression>();
}
