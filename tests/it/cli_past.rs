//! `explain`, `mute` and `backfill` as people use them: the program itself, over what it polled and delivered.

use std::process::Output;
use std::time::Duration;

use activity_relay::model::delivery::StateName;
use activity_relay::sandbox::incoming::Incoming;
use serde_json::Value;

use crate::stage::Stage;

const RULES: &str = r#"
version: 1
accounts:
  - { name: main, token: "${TOKEN}", base_url: "${API}", start_from: beginning }
targets:
  crm: { type: http, url: "${HTTP}", allow_private: true, body: event }
rules:
  - name: cancellations
    match:
      - { activity_type: Meeting, message_type: cancelled, direction: client_to_pivot }
      - { activity_type: EventAttendance }
    deliver: [{ to: crm }]
  - name: quiet
    match: { activity_type: Meeting }
    except:
      message_type: cancelled
    deliver: [{ to: crm }]
  - name: payments
    match: { activity_type: Payment }
    where: message.subject == "never"
    deliver: [{ to: crm }]
"#;

/// A stage where Ann has cancelled, which was polled and delivered, and the message's uid.
async fn cancelled() -> (Stage, String) {
    cancelled_on(Stage::with(RULES).await).await
}

async fn cancelled_on(stage: Stage) -> (Stage, String) {
    let cancelled = Incoming::new("Meeting", "cancelled", "client_to_pivot").from("Ann").about("Massage");
    let uid = stage.sandbox.business.receive(cancelled);
    let round = stage.output("run --once").await;
    assert!(round.status.success(), "{}", err(&round));
    (stage, uid)
}

/// Stories that are told over each store.
macro_rules! on_each_store {
    ($($story:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $story() {
                super::$story(super::Stage::with(super::RULES).await).await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $story() {
                let Some(url) = crate::postgres::fresh_url().await else { return };
                super::$story(super::Stage::with(super::RULES).await.on(url)).await;
            })*
        }
    };
}

on_each_store! {
    what_a_muted_rule_owes_is_withheld_until_it_is_lifted,
    a_new_rule_takes_the_past_once,
    what_was_never_polled_is_fetched,
    two_rules_files_are_compared_over_what_happened,
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn json(output: &Output) -> Value {
    serde_json::from_str(&out(output))
        .unwrap_or_else(|error| panic!("{error}: {}{}", out(output), err(output)))
}

/// `rule matched line:column reason`, a line for each rule.
fn verdicts(document: &Value) -> String {
    let rules = document["rules"].as_array().unwrap().iter();
    let line = |rule: &Value| {
        let text = |key: &str| rule[key].as_str().unwrap().to_owned();
        let (place, matched) = (&rule["place"], rule["matched"].as_bool().unwrap());
        format!("{} {matched} {}:{} {}", text("rule"), place["line"], place["column"], text("reason"))
    };
    rules.map(line).collect::<Vec<_>>().join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivered_message_is_explained_with_each_condition_s_place() {
    let (stage, uid) = cancelled().await;
    let document = json(&stage.output(&format!("explain {uid} --format json")).await);
    insta::assert_snapshot!(verdicts(&document), @"
    cancellations true 10:9 block 1 of `match` takes Meeting/cancelled/client_to_pivot
    quiet false 16:7 `except` takes Meeting/cancelled/client_to_pivot out again
    payments false 19:29 activity_type is `Meeting`, the rule wants `Payment`
    ");
    assert_eq!(document["message"]["uid"], uid.as_str());
    assert_eq!(document["message"]["client"]["name"], "Ann");
    assert_eq!(document["message"]["taken_by"], serde_json::json!(["cancellations"]));
    let delivery = &document["deliveries"][0];
    assert_eq!((delivery["state"].as_str(), delivery["target"].as_str()), (Some("delivered"), Some("crm")));
    assert_eq!(delivery["history"][0]["status"], 200);
    let text = out(&stage.output(&format!("explain {uid}")).await);
    for words in [
        "✓ cancellations  rules.yaml:",
        "✗ quiet  rules.yaml:",
        "cancellations → crm  delivered",
        "1. delivered 200",
    ] {
        assert!(text.contains(words), "{words:?} is not in {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_type_is_explained_as_if_it_came_now_and_nothing_is_left_behind() {
    let stage = Stage::with(RULES).await;
    let line =
        "explain --activity-type payment --message-type payment_failed --direction to_pivot --format json";
    let document = json(&stage.output(line).await);
    assert_eq!(document["message"]["activity_type"], "Payment");
    assert_eq!(document["rules"][2]["reason"], "`where` is false: message.subject == \"never\"");
    assert_eq!(document["rules"][2]["place"]["line"], 20);
    assert_eq!(document["deliveries"], serde_json::json!([]));
    let line =
        "explain --activity-type Meeting --message-type schedule --direction client_to_pivot --format json";
    let owed = &json(&stage.output(line).await)["deliveries"][0];
    assert_eq!((owed["rule"].as_str(), owed["state"].as_str()), (Some("quiet"), Some("pending")));
    assert!(!stage.file().unwrap().exists(), "who only asks makes no store");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_type_is_explained_by_its_name_however_it_is_spelled_and_a_part_leads_to_it() {
    let stage = Stage::with(RULES).await;
    let whole = json(&stage.output("explain meeting/Cancelled/client_to_pivot --format json").await);
    assert_eq!(whole["rules"][0]["matched"], true, "{whole}");
    assert!(whole["message"]["body"].as_str().unwrap().contains("cancel"), "{whole}");
    let slip = stage.output("explain Payment/payment_faild/to_pivot").await;
    assert_eq!(slip.status.code(), Some(1));
    let words = "the catalogue does not know this type; the nearest is Payment/payment_failed/to_pivot";
    assert!(err(&slip).contains(words), "{}", err(&slip));
    let part = stage.output("explain Review").await;
    assert_eq!(part.status.code(), Some(1));
    assert!(err(&part).contains("by its whole name: Review/submit_review/client_to_pivot"), "{}", err(&part));
    let part = stage.output("render default Review/submit_review/client_to_pivot --target crm").await;
    assert!(err(&part).contains("--sample Review/submit_review/client_to_pivot"), "{}", err(&part));
    let part = stage.output("render default --sample review --target crm").await;
    assert!(err(&part).contains("such as Review/submit_review/client_to_pivot"), "{}", err(&part));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_saved_once_and_explained_from_its_file() {
    let (stage, uid) = cancelled().await;
    let saved = stage.output(&format!("explain {uid} --save item.json")).await;
    assert!(
        saved.status.success() && err(&saved).contains("messages: [{ file: item.json }]"),
        "{}",
        err(&saved)
    );
    let again = stage.output(&format!("explain {uid} --save item.json")).await;
    assert_eq!(again.status.code(), Some(2));
    let document = json(&stage.output("explain item.json --format json").await);
    assert_eq!(document["rules"][0]["matched"], true);
    assert_eq!(document["deliveries"][0]["id"], Value::Null, "it would be owed");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_uid_says_where_to_look() {
    let (stage, _) = cancelled().await;
    let output = stage.output("explain nobody").await;
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("no message with the uid `nobody`"), "{}", err(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_s_id_leads_to_its_message() {
    let (stage, uid) = cancelled().await;
    let list = out(&stage.output("deliveries list --format json").await);
    let id = serde_json::from_str::<Value>(list.trim()).unwrap()["id"].as_str().unwrap().to_owned();
    let output = stage.output(&format!("explain {id}")).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains(&format!("`activity-relay explain {uid}`")), "{}", err(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_quarantined_is_explained_as_such() {
    let stage = Stage::with(RULES).await;
    let broken = Incoming::new("Meeting", "cancelled", "client_to_pivot");
    let uid = stage.sandbox.business.receive(broken.with("created_at", "last Tuesday".into()));
    assert!(stage.output("run --once").await.status.success());
    let output = stage.output(&format!("explain {uid}")).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(
        err(&output).contains("cannot be read") && err(&output).contains("last Tuesday"),
        "{}",
        err(&output)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_says_for_what() {
    let stage = Stage::with(RULES).await;
    assert!(stage.output("targets pause crm").await.status.success());
    let cancelled = Incoming::new("Meeting", "cancelled", "client_to_pivot").from("Ann");
    let uid = stage.sandbox.business.receive(cancelled);
    assert!(stage.output("run --once").await.status.success());
    let explain = format!("explain {uid}");
    let text = out(&stage.output(&explain).await);
    assert!(text.contains("waits for its target, which is paused"), "{text}");
    assert!(text.contains("activity-relay targets resume crm"), "{text}");
    stage.rules(&RULES.replace("crm", "other"));
    let text = out(&stage.output(&explain).await);
    assert!(text.contains("waits for its target, which is not in the rules file"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_was_stopped_is_told_by_whom_and_where() {
    let (stage, uid) = cancelled().await;
    let other = "start_from: beginning }\n  - { name: other, token: x, base_url: \"${API}\" }";
    let theirs = "rules:\n  - { name: theirs, accounts: [other], match: {}, deliver: [{ to: crm }] }";
    let rules = RULES.replace("start_from: beginning }", other).replace("rules:", theirs);
    stage.rules(&rules.replacen(
        "    deliver: [{ to: crm }]",
        "    stop: true\n    deliver: [{ to: crm }]",
        1,
    ));
    let document = json(&stage.output(&format!("explain {uid} --format json")).await);
    insta::assert_snapshot!(verdicts(&document), @"
    theirs false 9:32 account is `main`, the rule is for `other`
    cancellations true 12:9 block 1 of `match` takes Meeting/cancelled/client_to_pivot
    quiet false 14:11 not looked at: rule `cancellations` took the message and has `stop: true`
    payments false 14:11 not looked at: rule `cancellations` took the message and has `stop: true`
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_that_changed_since_are_pointed_out() {
    let (stage, uid) = cancelled().await;
    stage.rules(&RULES.replace("name: cancellations", "name: renamed"));
    let text = out(&stage.output(&format!("explain {uid}")).await);
    assert!(text.contains("today's rules would take it by renamed"), "{text}");
    assert!(text.contains("taken by cancellations, which would not take it today"), "{text}");
    assert!(text.contains("nothing is missing if that rule was renamed"), "{text}");
    assert!(!text.contains("backfill"), "it would be sent twice: {text}");
    stage.rules(
        &RULES.replace("except:\n      message_type: cancelled", "except: { activity_type: Payment }"),
    );
    let text = out(&stage.output(&format!("explain {uid}")).await);
    assert!(
        text.contains("take it by quiet") && text.contains("`activity-relay backfill` sends it"),
        "{text}"
    );
}

async fn what_a_muted_rule_owes_is_withheld_until_it_is_lifted(stage: Stage) {
    let muted = stage.output("mute --rule cancellations --for 2h --reason moving --format json").await;
    let id = json(&muted)["id"].as_i64().unwrap();
    let cancel = || Incoming::new("Meeting", "cancelled", "client_to_pivot").from("Ann");
    let uid = stage.sandbox.business.receive(cancel());
    let round = stage.output("run --once").await;
    assert!(err(&round).contains("the rule is muted"), "{}", err(&round));
    let delivery =
        json(&stage.output(&format!("explain {uid} --format json")).await)["deliveries"][0].clone();
    assert_eq!(delivery["state"], "withheld");
    assert!(delivery["why"].as_str().unwrap().ends_with(": moving"), "{delivery}");
    assert_eq!(json(&stage.output("status --format json").await)["mutes"][0]["rule"], "cancellations");

    assert!(stage.output(&format!("mute lift {id}")).await.status.success());
    assert_eq!(stage.output(&format!("mute lift {id}")).await.status.code(), Some(1));
    assert_eq!(json(&stage.output("mute list --format json").await)["mutes"], serde_json::json!([]));
    stage.sandbox.business.receive(cancel());
    assert!(stage.output("run --once").await.status.success());
    assert!(stage.output("deliveries replay --state withheld --rule cancellations").await.status.success());
    assert!(stage.output("run --once").await.status.success());
    let counts = stage.store().await.counts(None).await.unwrap();
    assert_eq!((counts.delivered, counts.of(StateName::Withheld)), (2, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_mutes_the_longer_one_is_named_until_both_are_lifted() {
    let stage = Stage::with(RULES).await;
    assert!(stage.output("mute --rule cancellations --for 2h --reason long").await.status.success());
    let shorter = stage.output("mute --rule cancellations --for 1h --reason short").await;
    assert!(err(&shorter).contains("mute 1 silences cancellations until"), "{}", err(&shorter));
    stage.sandbox.business.receive(Incoming::new("Meeting", "cancelled", "client_to_pivot").from("Ann"));
    let round = err(&stage.output("run --once").await);
    assert_eq!(round.matches("the rule is muted").count(), 1, "{round}");
    let lifted = stage.output("mute lift 2").await;
    assert!(out(&lifted).contains("cancellations stays muted"), "{}", out(&lifted));
    assert!(err(&lifted).contains("mute 1 silences cancellations until"), "{}", err(&lifted));
    assert!(out(&stage.output("mute lift 1").await).contains("cancellations is no longer muted"));
    let named = stage.output("mute lift cancellations").await;
    assert!(err(&named).contains("`activity-relay mute list` shows"), "{}", err(&named));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mute_names_a_rule_and_an_end_that_exist() {
    let stage = Stage::with(RULES).await;
    let unknown = stage.output("mute --rule cancelation --for 2h --reason x").await;
    assert_eq!(unknown.status.code(), Some(1));
    assert!(err(&unknown).contains("did you mean `cancellations`?"), "{}", err(&unknown));
    assert_eq!(stage.output("mute --rule cancellations --for 0s --reason x").await.status.code(), Some(2));
    assert_eq!(stage.output("mute --rule cancellations --for 2h").await.status.code(), Some(2), "no reason");
    let past = stage.output("mute --rule cancellations --until 2026-01-01T00:00:00Z --reason x").await;
    assert_eq!(past.status.code(), Some(2));
}

async fn a_new_rule_takes_the_past_once(stage: Stage) {
    let (stage, _) = cancelled_on(stage).await;
    stage.rules(&RULES.replace("name: cancellations", "name: renamed"));
    let dry = stage.output("backfill --rule renamed --since 2h --dry-run").await;
    assert!(out(&dry).contains("renamed → crm"), "{}", out(&dry));
    assert!(out(&dry).contains("\"type\":\"vcita.meeting.cancelled\""), "{}", out(&dry));
    assert!(err(&dry).contains("would send 1 delivery (1 to crm); nothing was written"), "{}", err(&dry));
    let first = json(&stage.output("backfill --rule renamed --since 2h --format json").await);
    assert_eq!(first, serde_json::json!({"planned": 1, "owed_before": 0}));
    let second = json(&stage.output("backfill --rule renamed --since 2h --format json").await);
    assert_eq!(second, serde_json::json!({"planned": 0, "owed_before": 1}));
    assert!(stage.output("run --once").await.status.success());
    assert_eq!(stage.store().await.counts(None).await.unwrap().delivered, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_are_sent_only_by_somebody_who_means_it() {
    let stage = Stage::with(&RULES.replace("cancelled, direction: client_to_pivot", "cancelled")).await;
    for _ in 0..51 {
        stage.sandbox.business.receive(Incoming::new("Meeting", "cancelled", "pivot_to_client").from("Ann"));
    }
    assert!(stage.output("run --once").await.status.success());
    stage.rules(
        &RULES
            .replace("cancelled, direction: client_to_pivot", "cancelled")
            .replace("name: cancellations", "name: more"),
    );
    let asked = stage.output("backfill --rule more --since 2h").await;
    assert_eq!(asked.status.code(), Some(1));
    assert!(err(&asked).contains("51 deliveries (51 to crm)"), "{}", err(&asked));
    let meant = json(&stage.output("backfill --rule more --since 2h --yes --format json").await);
    assert_eq!(meant["planned"], 51);
}

async fn what_was_never_polled_is_fetched(stage: Stage) {
    stage.rules(&RULES.replace("start_from: beginning", "start_from: now"));
    let cancelled = Incoming::new("Meeting", "cancelled", "client_to_pivot").from("Ann").read();
    let cancelled = cancelled.late(Duration::from_hours(1));
    let uid = stage.sandbox.business.receive(cancelled);
    assert!(stage.output("run --once").await.status.success());
    let stored = stage.output("backfill --rule cancellations --since 2h --dry-run").await;
    assert!(err(&stored).contains("--fetch asks the API"), "{}", err(&stored));
    let fetched = json(&stage.output("backfill --rule cancellations --since 2h --fetch --format json").await);
    assert_eq!(fetched["planned"], 1);
    let document = json(&stage.output(&format!("explain {uid} --format json")).await);
    assert_eq!(document["deliveries"][0]["state"], "pending");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_polling_has_yet_to_take_in_is_left_to_it() {
    let (stage, _) = cancelled().await;
    let both = RULES.replace("    except:\n      message_type: cancelled\n", "");
    stage.rules(&both);
    let cancelled = || Incoming::new("Meeting", "cancelled", "client_to_pivot").from("Bob");
    stage.sandbox.business.receive(cancelled());
    stage.sandbox.business.receive(cancelled().late(Duration::from_hours(1)));
    stage.sandbox.business.receive(cancelled().late(Duration::from_hours(1)).read());
    let line = "backfill --rule cancellations --since 2h --fetch --format json";
    let fetched = stage.output(line).await;
    assert!(err(&fetched).contains("still to be polled: 2 messages;"), "{}", err(&fetched));
    assert_eq!(json(&fetched), serde_json::json!({"planned": 1, "owed_before": 1}), "the one that was read");
    assert!(stage.output("run --once").await.status.success());
    let list = stage.output("deliveries list --rule quiet --format json").await;
    assert_eq!(out(&list).lines().count(), 2, "the other rule has what is its own: {}", out(&list));
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_looked_up_for_rules_that_ask_for_them() {
    let rules = RULES
        .replace("start_from: beginning", "start_from: now")
        .replace("where: message.subject == \"never\"", "where: client.name.startsWith(\"Ann\")");
    let stage = Stage::with(&rules).await;
    let failed = |from: &str| {
        let failed = Incoming::new("Payment", "payment_failed", "to_pivot").from(from);
        failed.late(Duration::from_hours(1)).read()
    };
    stage.sandbox.business.receive(failed("Ann"));
    stage.sandbox.business.receive(failed("Bob"));
    let line = "backfill --rule payments --since 2h --fetch --dry-run";
    let fetched = stage.output(line).await;
    assert!(out(&fetched).contains(", Ann\n    payments → crm"), "{}", out(&fetched));
    assert!(
        err(&fetched).contains("would send 1 delivery (1 to crm); nothing was written"),
        "{}",
        err(&fetched)
    );
    assert!(!stage.file().unwrap().exists(), "who only asks makes no store");
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_a_rule_cannot_judge_are_counted() {
    let (stage, _) = cancelled().await;
    let named = "{ activity_type: Meeting }\n    where: client.name.startsWith(\"Zoe\")";
    stage.rules(&RULES.replace("{ activity_type: Payment }\n    where: message.subject == \"never\"", named));
    let database = stage.database();
    database.execute("DELETE FROM names", []).unwrap();
    let dry = stage.output("backfill --rule payments --since 2h --dry-run").await;
    assert!(err(&dry).contains("cannot be judged for 1 message"), "{}", err(&dry));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_period_beyond_the_store_s_memory_says_so() {
    let (stage, _) = cancelled().await;
    let dry = stage.output("backfill --rule cancellations --since 60d --dry-run").await;
    let said = err(&dry);
    assert!(said.contains("the account main is remembered since") && said.contains("--fetch"), "{said}");
    assert!(said.contains("1 delivery owed before (1 delivered)"), "{said}");
    let fetched = stage.output("backfill --rule cancellations --since 60d --fetch --dry-run").await;
    assert!(err(&fetched).contains("what was sent once is sent again"), "{}", err(&fetched));
}

async fn two_rules_files_are_compared_over_what_happened(stage: Stage) {
    let (stage, uid) = cancelled_on(stage).await;
    let other = RULES
        .replace("message_type: cancelled, direction: client_to_pivot", "message_type: schedule")
        .replace("    except:\n      message_type: cancelled\n", "")
        .replace("name: quiet", "name: loud");
    std::fs::write(stage.folder.path().join("other.yaml"), &other).unwrap();
    let text = out(&stage.output("backfill --since 2h --compare other.yaml").await);
    let words = "~ sends 1 delivery to crm by another rule (rule loud, before: cancellations)";
    assert!(text.contains(words) && text.contains(&uid), "{text}");
    let words = "rules.yaml sends 1 delivery, other.yaml sends 1 delivery";
    assert!(text.contains(words), "{text}");

    std::fs::write(
        stage.folder.path().join("none.yaml"),
        RULES.replace("cancelled, direction: client_to_pivot", "schedule"),
    )
    .unwrap();
    let document = json(&stage.output("backfill --since 2h --compare none.yaml --format json").await);
    assert_eq!(document["changes"][0]["change"], "stops");
    assert_eq!(document["changes"][0]["messages"], serde_json::json!([uid]));
    assert_eq!((&document["before"]["deliveries"], &document["after"]["deliveries"]), (&1.into(), &0.into()));
    let same = out(&stage.output("backfill --since 2h --compare rules.yaml --dry-run").await);
    assert!(same.contains("no difference over 1 message"), "{same}");
    let line = |other: &str| format!("backfill --since 2h --exit-code --compare {other}");
    assert_eq!(stage.output(&line("rules.yaml")).await.status.code(), Some(0));
    assert_eq!(stage.output(&line("none.yaml")).await.status.code(), Some(1));
    assert_eq!(stage.store().await.counts(None).await.unwrap().delivered, 1, "nothing was written");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_comparison_says_what_moves_when_and_in_which_words() {
    const DESK: &str = "  desk: { type: slack, webhook_url: \"${SLACK}\", allow_private: true }\nrules:";
    let (stage, uid) = cancelled().await;
    let rules = RULES.replace("rules:", DESK);
    let other = |name: &str, rules: &str| std::fs::write(stage.folder.path().join(name), rules).unwrap();
    other("moved.yaml", &rules.replacen("deliver: [{ to: crm }]", "deliver: [{ to: desk }]", 1));
    let text = out(&stage.output("backfill --since 2h --compare moved.yaml").await);
    let words = "~ moves 1 × Booking cancelled by client from crm to desk (rule cancellations)";
    assert!(text.starts_with(words) && text.contains(&uid), "{text}");
    other("rules.yaml", &rules.replacen("deliver: [{ to: crm }]", "deliver: [{ to: desk }]", 1));
    std::fs::create_dir_all(stage.folder.path().join("templates/short")).unwrap();
    other("templates/short/text.hbs", "{{client.name}} is off\n");
    let short = "deliver: [{ to: desk, template: short }]";
    other("text.yaml", &rules.replacen("deliver: [{ to: crm }]", short, 1));
    let document = json(&stage.output("backfill --since 2h --compare text.yaml --format json").await);
    let change = &document["changes"][0];
    assert_eq!((&change["change"], &change["target"]), (&"text".into(), &"desk".into()), "{document}");
    assert_ne!(change["was"], change["now"]);
    assert_eq!(stage.output("backfill --since 2h --compare nowhere.yaml").await.status.code(), Some(64));
}

#[tokio::test(flavor = "multi_thread")]
async fn status_warns_of_a_mute_whose_rule_is_gone() {
    let stage = Stage::with(RULES).await;
    assert!(stage.output("mute --rule cancellations --for 2h --reason moving").await.status.success());
    let quiet = out(&stage.output("status").await);
    assert!(!quiet.contains("silences nothing"), "{quiet}");
    stage.rules(&RULES.replace("name: cancellations", "name: renamed"));
    let text = out(&stage.output("status").await);
    assert!(text.contains("silences nothing: the rules file has no rule `cancellations`"), "{text}");
    assert!(!text.contains("nothing needs attention"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn status_does_not_call_it_well_while_no_relay_could_be_started() {
    let stage = Stage::with(RULES).await;
    stage.rules(&RULES.replace("deliver:", "delivr:"));
    let output = stage.output("status").await;
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("rules.yaml is broken: a relay that runs keeps the rules it has"), "{text}");
    assert!(!text.contains("nothing needs attention"), "{text}");
}
