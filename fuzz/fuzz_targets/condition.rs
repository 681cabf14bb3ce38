//! Any text as a `where:` condition, judged on a sample message: it ends with a verdict or with a reason.
#![no_main]

use std::sync::LazyLock;

use activity_relay::model::message::{Message, Triple};
use activity_relay::model::sample;
use activity_relay::rules::expression::Expression;
use activity_relay::source::wire;
use libfuzzer_sys::fuzz_target;

static MESSAGE: LazyLock<Message> = LazyLock::new(|| {
    let name = |text: &str| text.to_owned();
    let triple = Triple {
        activity_type: name("Meeting"),
        message_type: name("cancelled"),
        direction: name("client_to_pivot"),
    };
    let at = "2026-03-02T21:50:00Z".parse().expect("a moment");
    wire::read_item("main", &sample::item(&triple, at)).expect("a sample can be read")
});

fuzz_target!(init: {
    // A panic of the CEL library is caught by the program; only one that is not caught counts.
    std::panic::set_hook(Box::new(|panic| eprintln!("{panic}")));
}, |text: &str| {
    match Expression::compile(text) {
        Ok(expression) => drop(expression.judge(&MESSAGE, &sample::names())),
        Err(error) => assert!(error.line >= 1 && error.column >= 1 && !error.message.is_empty(), "{error:?}"),
    }
});
