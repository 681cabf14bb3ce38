//! What matching one message costs with 10, 1,000 and 10,000 rules: through the index, and by the linear judge.

use activity_relay::model::message::{Message, Triple};
use activity_relay::model::names::Names;
use activity_relay::rules::condition::{Block, Pattern};
use activity_relay::rules::evaluate::{evaluate, matching};
use activity_relay::rules::{Place, Points, Rule, Rules};
use divan::Bencher;

const RULES: [usize; 3] = [10, 1_000, 10_000];

fn main() {
    divan::main();
}

/// One rule takes the message; all others want message types that it has not.
fn rules(count: usize) -> Rules {
    let rule = |number: usize| Rule {
        name: format!("rule-{number}"),
        place: Place::default(),
        points: Points::default(),
        owner: None,
        accounts: None,
        any_of: vec![Block {
            activity_type: Some(vec![Pattern::new("Meeting")]),
            message_type: Some(vec![Pattern::new(&if number == 0 {
                "cancelled".to_owned()
            } else {
                format!("other{number}")
            })]),
            direction: None,
        }],
        except: Vec::new(),
        filter: None,
        stop: false,
        deliver: Vec::new(),
        resolves: None,
        good_by: Vec::new(),
    };
    Rules::new((0..count).map(rule).collect())
}

fn message() -> Message {
    let item = serde_json::json!({
        "account": "main",
        "uid": "m1",
        "triple": Triple {
            activity_type: "Meeting".to_owned(),
            message_type: "cancelled".to_owned(),
            direction: "client_to_pivot".to_owned(),
        },
        "created_at": "2026-03-10T09:00:00Z",
        "raw": null,
    });
    serde_json::from_value(item).unwrap_or_else(|error| panic!("the message does not read: {error}"))
}

#[divan::bench(args = RULES)]
fn indexed(bencher: Bencher<'_, '_>, count: usize) {
    let (rules, message, names) = (rules(count), message(), Names::default());
    bencher.bench_local(|| matching(&rules, &message, &names).len());
}

/// The baseline: every rule is judged, with its reason in words.
#[divan::bench(args = RULES)]
fn linear(bencher: Bencher<'_, '_>, count: usize) {
    let (rules, message, names) = (rules(count), message(), Names::default());
    bencher.bench_local(|| evaluate(&rules, &message, &names).len());
}
