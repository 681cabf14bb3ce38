//! What a replay of all that fit sends again, what it passes over, and what of it can be seen: by commands, API and console.

use activity_relay::sandbox::script::status;
use activity_relay::store::{Filter, Row};
use serde_json::Value;

use crate::stage::{RULES, Stage};

const REPLAY: &str = "deliveries replay --state dead";

/// What a command does: its exit code, stdout and stderr.
async fn does(stage: &Stage, line: &str) -> (i32, String, String) {
    let output = stage.output(line).await;
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// The last line that a command prints.
async fn says(stage: &Stage, line: &str) -> String {
    let (exit, out, err) = does(stage, line).await;
    assert_eq!(exit, 0, "{line}: {out}{err}");
    out.lines().last().unwrap_or_default().to_owned()
}

async fn rows(stage: &Stage) -> Vec<Row> {
    stage.store().await.deliveries(Filter::default()).await.unwrap().0
}

/// A round in which the target refuses so many for good.
async fn round(stage: &Stage, refused: usize) {
    stage.sandbox.http.answers((0..refused).map(|_| status(302)));
    let (exit, _, err) = does(stage, "run --once").await;
    assert_eq!(exit, i32::from(refused > 0), "{err}");
}

macro_rules! on_each_store {
    ($($story:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $story() {
                super::$story(super::Stage::new().await).await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $story() {
                let Some(url) = crate::postgres::fresh_url().await else { return };
                super::$story(super::Stage::new().await.on(url)).await;
            })*
        }
    };
}

on_each_store! {
    what_was_sent_again_is_passed_over,
    a_delivery_says_as_what_it_was_sent_again,
}

async fn what_was_sent_again_is_passed_over(stage: Stage) {
    let passed = "passed over: they were sent again before; `activity-relay deliveries show ID` says as what";
    stage.receive(2);
    round(&stage, 2).await;
    assert_eq!(says(&stage, REPLAY).await, "2 planned; a running relay sends them at once");
    assert_eq!(says(&stage, REPLAY).await, format!("0 planned. 2 {passed}"), "they are on their way");
    round(&stage, 1).await;
    let dry = says(&stage, &format!("{REPLAY} --dry-run --format json")).await;
    let newest: Value = serde_json::from_str(&dry).unwrap();
    assert!(newest["replay_of"].is_string(), "of a chain it is the newest link: {newest}");
    let would = says(&stage, &format!("{REPLAY} --dry-run")).await;
    assert_eq!(would, format!("1 would be replayed; nothing was changed. 2 {passed}"));
    let again = says(&stage, &format!("{REPLAY} --target crm --rule all")).await;
    assert_eq!(again, format!("1 planned; a running relay sends them at once. 2 {passed}"));
    round(&stage, 0).await;
    assert_eq!(
        says(&stage, REPLAY).await,
        format!("0 planned. 3 {passed}"),
        "all of them arrived in the end"
    );
    assert_eq!(stage.sandbox.http.received().len(), 2);
    let named = format!("deliveries replay {}", rows(&stage).await[0].id);
    assert_eq!(says(&stage, &named).await, "1 planned; a running relay sends them at once", "as asked");
    assert_eq!(
        says(&stage, "deliveries discard --state dead").await,
        "3 discarded",
        "that is another matter"
    );
}

async fn a_delivery_says_as_what_it_was_sent_again(stage: Stage) {
    stage.receive(1);
    round(&stage, 1).await;
    let dead = rows(&stage).await[0].id.clone();
    let show = format!("deliveries show {dead}");
    assert!(!does(&stage, &show).await.1.contains("sent again"));
    assert_eq!(says(&stage, REPLAY).await, "1 planned; a running relay sends them at once");
    let again = rows(&stage).await[1].id.clone();
    let shown = does(&stage, &show).await.1;
    assert!(shown.contains(&format!("sent again as {again}\n")), "{shown}");
    let list = does(&stage, "deliveries list").await.1;
    assert_eq!(list.matches("sent again").count(), 1, "{list}");
    let document: Value =
        serde_json::from_str(&says(&stage, &format!("{show} --format json")).await).unwrap();
    assert_eq!((&document["replays"], &document["replayed_by"][0]), (&1.into(), &again.as_str().into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_names_no_state_or_one_that_does_not_fit_is_told_what_to_write() {
    let stage = Stage::new().await;
    for (line, words) in [
        ("deliveries replay --target crm", "activity-relay deliveries replay --state dead --target crm"),
        ("deliveries discard --rule all", "activity-relay deliveries discard --state dead --rule all"),
        ("deliveries replay", "Give their ids, or the state they are in"),
        ("deliveries replay --state pending", "what is pending is not replayed: it will be sent anyway"),
        (
            "deliveries discard --state delivered,expired",
            "what is delivered or expired is not discarded: only",
        ),
    ] {
        let (exit, out, err) = does(&stage, line).await;
        assert_eq!((exit, out.as_str()), (2, ""), "{line}: {err}");
        assert!(err.contains(words), "{line}: {err}");
    }
    assert!(!stage.file().unwrap().exists(), "no store is opened for it");
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_and_targets_that_nobody_knows_are_a_problem() {
    let stage = Stage::new().await;
    stage.receive(1);
    round(&stage, 0).await;
    for (line, words) in [
        ("deliveries list --target cmr", "no target is named `cmr`; did you mean `crm`? there are: crm"),
        ("deliveries list --rule nosuch", "no rule is named `nosuch`; there are: all"),
        ("deliveries list --rule nosuch --format json", "no rule is named `nosuch`; there are: all"),
        ("deliveries replay --state dead --target nosuch", "no target is named `nosuch`"),
        ("deliveries discard --state dead --target nosuch --dry-run", "no target is named `nosuch`"),
    ] {
        let (exit, out, err) = does(&stage, line).await;
        assert_eq!((exit, out.as_str()), (1, ""), "{line}: {err}");
        assert!(err.contains(words), "{line}: {err}");
    }
    let known = [
        "deliveries list --state dead --rule all --target crm",
        "deliveries list --rule relay",
        "deliveries list",
    ];
    for line in known {
        assert_eq!(does(&stage, line).await.0, 0, "{line}");
    }
    let past = "deliveries list --state dead --rule all --target crm";
    stage.rules(&RULES.replace("crm", "desk").replace("name: all", "name: each"));
    assert_eq!(does(&stage, past).await.0, 0, "the store knows them from the past");
    assert_eq!(
        does(&stage, "deliveries list --rule each --target desk").await.0,
        0,
        "the rules file names them"
    );
    stage.rules("nonsense");
    assert_eq!(does(&stage, past).await.0, 0);
    for line in ["deliveries list --rule each", "deliveries list --target desk"] {
        assert_eq!(does(&stage, line).await.0, 0, "what the rules file does not name, nobody knows: {line}");
    }
}
