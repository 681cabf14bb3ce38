//! Any bytes as an answer of the API: they are a page or they are not, and what was read can be read again.
#![no_main]

use activity_relay::source::wire::{self, Item};
use activity_relay::source::{plain, stamp};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    wire::words_of(&text);
    plain::line_of(&plain::text_of(&text));
    stamp::parse(&text);
    stamp::http_date(&text);
    let Ok(page) = wire::read_page("main", bytes) else { return };
    for item in page.items {
        match item {
            Item::Message(message) => {
                let kept = serde_json::to_string(&*message).expect("a message can be kept");
                let again = serde_json::from_str(&kept).expect("what is kept can be read");
                assert_eq!(*message, again);
                let raw = serde_json::from_str(&message.raw.to_string()).expect("the item can be read again");
                let again = wire::read_item("main", &raw).expect("an item that was read is read again");
                assert_eq!((again.uid, again.triple), (message.uid, message.triple));
            }
            Item::Unreadable(item) => assert!(!item.uid.is_empty() && !item.why.is_empty(), "{item:?}"),
        }
    }
});
