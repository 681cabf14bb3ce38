//! What the reader makes of each of the API's inconsistencies.
#![expect(clippy::needless_pass_by_value, reason = "json! values are made where they are passed")]

use serde_json::{Value, json};

use super::*;

fn item() -> Value {
    json!({
        "uid": "gn5zqo7nfbwee21c", "business_uid": "d290f1ee26c54", "staff_uid": "5ya4gbwm2c3qoic8",
        "client_uid": "0c4ac9717ab26f56", "activity_type": "meeting", "activity_action": "cancelled",
        "direction": "client_to_pivot", "channels": ["email", "sms"],
        "message_text": { "body": "Sorry, I can't come.", "subject": "Massage" },
        "cta_button_text": "Open", "link_url_params": null,
        "meeting_data": { "service_uid": "svc_1", "service_name": "Massage", "start_time": "2026-03-15T14:00:00Z",
                          "duration": 60, "interaction_type": "video" },
        "created_at": "2026-03-10T09:00:00Z", "updated_at": "2026-03-10T09:00:01Z"
    })
}

fn with(changes: Value) -> Value {
    let mut item = item();
    for (key, value) in changes.as_object().unwrap() {
        item[key] = value.clone();
    }
    item
}

fn read(changes: Value) -> Message {
    read_item("main", &with(changes)).unwrap()
}

fn page(items: Value) -> Page {
    let body =
        json!({ "success": true, "data": { "activity_messages": items, "per_page": 100, "total_count": 9 } });
    read_page("main", body.to_string().as_bytes()).unwrap()
}

fn refusal(body: &str) -> String {
    read_page("main", body.as_bytes()).unwrap_err().to_string()
}

#[test]
fn a_complete_item_is_read_whole_and_kept_as_sent() {
    let message = read(json!({}));
    assert_eq!(message.account, "main");
    assert_eq!(message.uid, "gn5zqo7nfbwee21c");
    assert!(!message.uid_derived);
    assert_eq!(message.triple.message_type, "cancelled");
    assert_eq!(message.raw_type.as_deref(), Some("meeting"));
    assert_eq!(message.raw_direction.as_deref(), Some("client_to_pivot"));
    assert_eq!(message.channels, ["email", "sms"]);
    assert_eq!((message.subject.as_str(), message.body.as_str()), ("Massage", "Sorry, I can't come."));
    let meeting = message.meeting.unwrap();
    assert_eq!((meeting.duration, meeting.service_name.as_deref()), (Some(60), Some("Massage")));
    assert_eq!(message.created_at.to_string(), "2026-03-10T09:00:00Z");
    assert_eq!(message.updated_at.unwrap().to_string(), "2026-03-10T09:00:01Z");
    assert_eq!(message.raw, item());
}

#[test]
fn the_type_is_canonical_and_the_raw_one_stays_beside_it() {
    let message = read(json!({ "activity_type": "appointment_series" }));
    assert_eq!(
        message.triple.activity_type,
        catalog::canonical_type(Some("appointment_series"), "cancelled")
    );
    assert_eq!(message.raw_type.as_deref(), Some("appointment_series"));
}

#[test]
fn the_action_decides_about_a_type_that_the_list_lacks() {
    let message =
        read(json!({ "activity_type": "event", "activity_action": "event_attendance_client_cancel" }));
    let expected = catalog::canonical_type(Some("event"), "event_attendance_client_cancel");
    assert_eq!(message.triple.activity_type, expected);
}

#[test]
fn null_missing_and_empty_types_are_general() {
    let expected = catalog::canonical_type(None, "cancelled");
    for absent in [json!(null), json!(""), json!("  ")] {
        let message = read(json!({ "activity_type": absent }));
        assert_eq!((message.triple.activity_type, message.raw_type), (expected.clone(), None));
    }
    let mut missing = item();
    missing.as_object_mut().unwrap().remove("activity_type");
    assert_eq!(read_item("main", &missing).unwrap().triple.activity_type, expected);
}

#[test]
fn the_message_type_is_read_from_the_action_in_snake_case() {
    assert_eq!(
        read(json!({ "activity_action": "Schedule invitation" })).triple.message_type,
        "schedule_invitation"
    );
    assert_eq!(read(json!({ "activity_action": null })).triple.message_type, "");
    assert_eq!(read(json!({ "message_type": "system" })).triple.message_type, "cancelled");
}

#[test]
fn a_name_without_end_is_cut_and_stays_told_apart() {
    let of = |length: usize| {
        read(json!({ "activity_action": "x".repeat(length), "activity_type": "y".repeat(length) })).triple
    };
    let (long, longer) = (of(9_000), of(9_001));
    assert!(long.message_type.len() <= 200 && long.message_type.starts_with("xxx"), "{long}");
    assert!(long.activity_type.len() <= 200, "{long}");
    assert_ne!(long.message_type, longer.message_type);
}

#[test]
fn actions_and_types_out_of_the_table_pass_through() {
    let message = read(json!({ "activity_action": "scheduled", "activity_type": "hologram" }));
    assert_eq!(message.triple.message_type, "scheduled");
    assert_eq!(message.raw_type.as_deref(), Some("hologram"));
    for unmapped in ["payout", "invite"] {
        let message = read(json!({ "activity_type": unmapped }));
        assert_eq!(message.triple.activity_type, catalog::canonical_type(Some(unmapped), "cancelled"));
    }
}

#[test]
fn both_spellings_of_a_direction_are_read_and_unknown_ones_kept() {
    for raw in ["business_to_client", "client_to_business", "to_pivot", "sideways"] {
        let message = read(json!({ "direction": raw }));
        assert_eq!(message.triple.direction, catalog::canonical_direction(Some(raw)));
        assert_eq!(message.raw_direction.as_deref(), Some(raw));
    }
    assert_eq!(read(json!({ "direction": null })).raw_direction, None);
}

#[test]
fn only_the_uid_and_the_time_are_needed() {
    let bare = json!({ "uid": "m1", "created_at": "2026-03-10T09:00:00Z" });
    let message = read_item("main", &bare).unwrap();
    assert_eq!((message.client_uid, message.staff_uid, message.meeting), (None, None, None));
    assert_eq!((message.subject.as_str(), message.body.as_str()), ("", ""));
    assert!(message.channels.is_empty());
}

#[test]
fn every_field_may_be_null_or_of_another_shape() {
    let nulls = json!({
        "business_uid": null, "staff_uid": null, "client_uid": null, "activity_type": null, "activity_action": null,
        "direction": null, "channels": null, "message_text": null, "meeting_data": null, "updated_at": null,
    });
    assert_eq!(read(nulls).uid, "gn5zqo7nfbwee21c");
    let odd = json!({
        "uid": 77, "client_uid": {}, "channels": "email", "message_text": "just text", "updated_at": "later",
        "meeting_data": [{ "duration": "45", "start_time": "whenever" }], "link_url_params": { "amount": 5 }, "new": 1,
    });
    let message = read(odd);
    assert_eq!((message.uid.as_str(), message.client_uid, message.updated_at), ("77", None, None));
    assert_eq!((message.channels, message.body), (vec!["email".to_owned()], "just text".to_owned()));
    assert_eq!(message.meeting, Some(Meeting { duration: Some(45), ..Meeting::default() }));
    assert_eq!(read(json!({ "meeting_data": {} })).meeting, None);
}

#[test]
fn a_missing_uid_is_derived_from_the_content_and_flagged() {
    let first = read(json!({ "uid": null }));
    let again = read(json!({ "uid": "", "created_at": "2026-03-10T10:00:00+01:00" }));
    assert!(first.uid_derived && again.uid_derived);
    assert_eq!(first.uid, again.uid, "the same instant in another spelling is the same message");
    for changed in [
        json!({ "uid": null, "client_uid": "other" }),
        json!({ "uid": null, "message_text": { "subject": "Sauna" } }),
        json!({ "uid": null, "direction": "to_pivot" }),
        json!({ "uid": null, "created_at": "2026-03-10T09:00:01Z" }),
    ] {
        assert_ne!(read(changed).uid, first.uid);
    }
}

#[test]
fn uids_are_opaque_and_odd_ones_become_digests() {
    for uid in
        ["msg_a1b2c3d4e5f6", "d290f1ee26c54", "gn5zqo7nfbwee21c", "0b1c9d0e-6f7a-4f3e-9a63-7d0f7e1c2b3a"]
    {
        assert_eq!(read(json!({ "uid": uid })).uid, uid);
    }
    for odd in ["x".repeat(129), "a\nb".to_owned()] {
        let message = read(json!({ "uid": odd }));
        assert_eq!((message.uid.len(), message.uid_derived), (32, false));
    }
}

#[test]
fn an_item_without_a_readable_time_is_set_aside_and_the_rest_of_the_page_is_read() {
    let page = page(json!([
        with(json!({ "uid": "a" })),
        with(json!({ "uid": "b", "created_at": null })),
        with(json!({ "uid": "c", "created_at": "soon" })),
        "not even an object",
        with(json!({ "uid": "d" })),
    ]));
    let (mut read, mut aside) = (Vec::new(), Vec::new());
    for item in &page.items {
        match item {
            Item::Message(message) => read.push(message.uid.as_str()),
            Item::Unreadable(item) => aside.push((item.uid.as_str(), item.why.as_str())),
        }
    }
    assert_eq!(read, ["a", "d"]);
    assert_eq!(aside[0], ("b", "created_at is missing"));
    assert_eq!(aside[1], ("c", "created_at is no time: \"soon\""));
    assert_eq!(aside[2].1, "the item is no object");
    assert_eq!(aside[2].0.len(), 32);
}

#[test]
fn an_item_that_is_no_valid_json_is_set_aside_alone() {
    let deep = format!("{{\"uid\":\"deep\",\"x\":{}1{}}}", "[".repeat(5000), "]".repeat(5000));
    let body = format!(
        r#"{{"success":true,"data":{{"activity_messages":[{deep},{{"uid":"big","n":1e999}},{}],"per_page":25}}}}"#,
        item()
    );
    let page = read_page("main", body.as_bytes()).unwrap();
    // Every other field of theirs can be read: what is missing is the time.
    for (nth, uid) in [(0, "deep"), (1, "big")] {
        assert!(
            matches!(&page.items[nth], Item::Unreadable(item) if item.uid == uid && item.why.contains("created_at"))
        );
    }
    assert!(matches!(&page.items[2], Item::Message(_)));
}

#[test]
fn half_an_emoji_and_broken_utf8_spoil_nothing() {
    let body = br#"{"data":{"activity_messages":[
        {"uid":"a","created_at":"2026-03-10T09:00:00Z","message_text":{"body":"bye \ud83d\ude00 \\ud83d \ud83d"}},
        {"uid":"b","created_at":"2026-03-10T09:00:00Z","message_text":{"body":"caf"#
        .iter()
        .copied()
        .chain([0xE9])
        .chain(*br#""}}]}}"#)
        .collect::<Vec<u8>>();
    let page = read_page("main", &body).unwrap();
    let bodies: Vec<&str> = page
        .items
        .iter()
        .map(|item| match item {
            Item::Message(message) => message.body.as_str(),
            Item::Unreadable(item) => panic!("{}", item.why),
        })
        .collect();
    assert_eq!(bodies, ["bye \u{1f600} \\ud83d \u{fffd}", "caf\u{fffd}"]);
}

#[test]
fn the_page_size_in_effect_and_the_total_come_from_the_answer() {
    let page = page(json!([]));
    assert_eq!((page.per_page, page.total_count), (Some(100), Some(9)));
    let bare =
        read_page("main", br#"{"data":{"activity_messages":[],"per_page":"25","total_count":-1}}"#).unwrap();
    assert_eq!((bare.per_page, bare.total_count), (Some(25), None));
}

#[test]
fn success_may_be_missing_and_the_list_may_be_one_object() {
    let body = json!({ "status": "OK", "data": { "activity_messages": item() } }).to_string();
    assert_eq!(read_page("main", body.as_bytes()).unwrap().items.len(), 1);
}

#[test]
fn a_time_without_a_zone_is_taken_for_utc_and_reported() {
    assert!(!page(json!([item()])).zoneless);
    assert!(page(json!([item(), with(json!({ "created_at": "2026-03-10T09:00:00.250" }))])).zoneless);
    let message = read(json!({ "created_at": "23/4/2019 09:00:00" }));
    assert_eq!(message.created_at.to_string(), "2019-04-23T09:00:00Z");
}

#[test]
fn html_and_escaped_html_become_clean_text() {
    let message = read(json!({ "message_text": {
        "body": "&lt;div&gt;See you&lt;br&gt;Ann &amp;amp; Bob &lt;3&lt;/div&gt;", "subject": "Invoice&nbsp;#1042" } }));
    assert_eq!((message.subject.as_str(), message.body.as_str()), ("Invoice #1042", "See you\nAnn & Bob <3"));
}

#[test]
fn an_answer_that_is_no_page_is_refused_with_its_reason() {
    assert_eq!(refusal(""), "the answer is empty");
    assert!(refusal("<html><body>Bad gateway</body></html>").contains("web page, not JSON"));
    assert!(refusal(r#"{"success":true,"data":{"activity_mess"#).contains("cut off after 38 bytes"));
    assert!(refusal(r#"{"success":false,"errors":[{"message":"busy"}]}"#).ends_with("no success: busy"));
    for listless in
        [r#"{"success":true}"#, r#"{"data":null}"#, r#"{"data":{"activity_messages":null}}"#, "[]", "5"]
    {
        let why = refusal(listless);
        assert!(why.contains("no list") || why.contains("not JSON"), "{listless}: {why}");
    }
}

#[test]
fn the_words_of_an_error_are_found_in_every_shape() {
    for (body, words) in [
        (r#"{"errors":[{"code":"invalid","message":"first"}],"error":"second"}"#, "first"),
        (r#"{"errors":["plain"]}"#, "plain"),
        (r#"{"success":false,"error":"Conversation not found"}"#, "Conversation not found"),
        (r#"{"error":{"message":"nested"}}"#, "nested"),
        (r#"{"status":"Failure","message":"third"}"#, "third"),
        (r#"{"error_description":"fourth"}"#, "fourth"),
        (r#"{"response":"Not Subscribed"}"#, "Not Subscribed"),
    ] {
        assert_eq!(words_of(body).as_deref(), Some(words), "{body}");
    }
    assert_eq!(words_of("{}"), None);
    let long = json!({ "error": "é".repeat(500) }).to_string();
    assert_eq!(words_of(&long).unwrap().chars().count(), 301);
}

#[test]
fn a_field_that_is_nested_beyond_sense_stays_as_its_text_and_harms_no_other() {
    for depth in [10, DEPTH_MAX, DEPTH_MAX + 2, 126, 127, 128, 100_000] {
        let nested = format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        let item = item().to_string().replace("null", &nested);
        let body = format!(r#"{{"success":true,"data":{{"activity_messages":[{item}]}}}}"#);
        let page = read_page("main", body.as_bytes()).unwrap();
        let Item::Message(message) = &page.items[0] else { panic!("{depth}") };
        assert_eq!(
            (message.uid.as_str(), message.body.as_str()),
            ("gn5zqo7nfbwee21c", "Sorry, I can't come.")
        );
        assert_eq!(message.raw["link_url_params"].is_string(), depth > DEPTH_MAX, "{depth}");
        let kept = serde_json::to_string(message).unwrap();
        assert_eq!(&serde_json::from_str::<Message>(&kept).unwrap(), message.as_ref(), "{depth}");
    }
}
