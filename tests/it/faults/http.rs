//! An HTTP target that cannot be reached, or breaks off, or answers with more than anybody can read.

use std::sync::Arc;
use std::time::Duration;

use activity_relay::sandbox::script::{Cut, cut};
use activity_relay::store::Row;

use super::record::{Observed, record};
use super::wire::{Does, Proxy};
use crate::target_server::Wire;
use crate::world::World;

/// One HTTP target at this URL, and a rule that sends it everything.
pub(crate) fn rules(url: &str) -> String {
    rules_within(url, "1m")
}

/// The same where the target is silent, and the time-out is waited for: long enough for the try after it.
pub(crate) fn impatient_rules(url: &str) -> String {
    rules_within(url, "3s")
}

fn rules_within(url: &str, timeout: &str) -> String {
    format!(
        "
targets:
  crm: {{ type: http, url: \"{url}\", allow_private: true, body: event, timeout: {timeout} }}
rules:
  - {{ name: all, match: {{}}, deliver: [{{ to: crm }}] }}
"
    )
}

/// A message is owed to a target behind this server; then the server works. The row after the first try, and what the
/// oracle sees at the end.
async fn through(proxy: &Proxy, saw: &str) -> (Row, Observed) {
    let world = World::new(&impatient_rules(&proxy.url())).await;
    proxy.lead(world.sandbox.http.url());
    world.receives("Ann", "Hello?");
    world.tick().await;
    let first = world.rows().await.remove(0);
    proxy.does(Does::Pass);
    world.pass("10s").await;
    (first, Observed::of(&world, 1, &world.sandbox.http.arrivals(), saw).await)
}

fn reason(row: &Row) -> &str {
    &row.last.as_ref().unwrap().reason
}

#[tokio::test]
async fn a_reset_connection_is_in_doubt_and_tried_again() {
    let proxy = Proxy::start(Does::ResetAt(40));
    let (first, observed) = through(&proxy, "in doubt and marked; delivered at the second try").await;
    assert!(first.maybe_duplicate && reason(&first).contains("broke"), "{first:?}");
    assert_eq!((observed.delivered, observed.duplicates), (1, 0));
    record("connect-reset", "a proxy resets the connection 40 bytes into the request", &observed);
}

#[tokio::test]
async fn what_was_taken_and_not_answered_comes_twice_and_is_marked() {
    let world = World::new(&rules("${HTTP}")).await;
    world.receives("Ann", "Hello?");
    world.sandbox.http.answers([cut(Cut::After)]);
    world.tick().await;
    world.pass("10s").await;
    let saw = "taken but not answered: marked maybe_duplicate, sent again under the same id";
    let observed = Observed::of(&world, 1, &world.sandbox.http.arrivals(), saw).await;
    assert_eq!((observed.delivered, observed.duplicates), (1, 1));
    record("connect-reset+after", "the inbox takes the request and hangs up", &observed);
}

#[tokio::test]
async fn headers_that_drip_end_with_the_deadline_and_are_in_doubt() {
    let proxy = Proxy::start(Does::Drip(0, Duration::from_millis(50)));
    let saw = "given up at the target's timeout, marked maybe_duplicate; the second try made the receiver's copy a second one";
    let (first, observed) = through(&proxy, saw).await;
    assert!(first.maybe_duplicate && reason(&first).contains("no answer within 3.0 s"), "{first:?}");
    assert_eq!((observed.delivered, observed.duplicates), (1, 1));
    record("slow-headers", "a proxy passes the answer's head on at 20 bytes a second", &observed);
}

#[tokio::test]
async fn a_body_that_drips_behind_a_success_changes_nothing() {
    // The head of the inbox's answer is longer than that, and its body is `ok`.
    let proxy = Proxy::start(Does::Answer(Arc::new(|stream: &mut dyn Wire| {
        let _ = stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nx")
            .and_then(|()| stream.flush());
        for _ in 0..100 {
            std::thread::sleep(Duration::from_millis(50));
            if stream.write_all(b"x").and_then(|()| stream.flush()).is_err() {
                return;
            }
        }
    })));
    let world = World::new(&impatient_rules(&proxy.url())).await;
    world.receives("Ann", "Hello?");
    world.tick().await;
    let row = world.rows().await.remove(0);
    assert_eq!((row.state.as_str(), row.attempts), ("delivered", 1), "{row:?}");
    world.pass("1h").await;
    assert_eq!(proxy.server.connections(), 1, "the status is the answer");
    let saw = "delivered at the first try: the status is the answer, its body is read for no longer than the timeout";
    let observed = Observed { messages: 1, delivered: 1, saw: saw.into(), ..Observed::default() };
    record("slow-body", "a server sends 200 and its body at 20 bytes a second", &observed);
}
