//! HTTP targets that cannot be reached or misbehave on the wire.

use std::net::TcpListener;

use activity_relay::sandbox::script::{Cut, cut};

use super::record::{Observed, record};
use crate::world::World;

/// One HTTP target at this URL, and a rule that sends it everything.
fn rules(url: &str) -> String {
    format!(
        "
targets:
  crm: {{ type: http, url: \"{url}\", allow_private: true, body: event, timeout: 1s }}
rules:
  - {{ name: all, match: {{}}, deliver: [{{ to: crm }}] }}
"
    )
}

#[tokio::test]
async fn an_answer_that_never_comes_is_marked_as_in_doubt() {
    let world = World::new(&rules("${HTTP}")).await;
    world.receives("Ann", "Hello?");
    world.sandbox.http.answers([cut(Cut::After)]);
    world.tick().await;
    world.pass("10s").await;
    let saw =
        "the request was taken and the connection reset; marked maybe_duplicate, sent again with the same id";
    let observed = Observed::of(&world, 1, &world.sandbox.http.arrivals(), saw).await;
    assert_eq!((observed.delivered, observed.duplicates), (1, 1));
    record("connect-reset", "the sandbox's inbox takes the request and hangs up", &observed);
}

#[tokio::test]
async fn a_refused_connection_costs_nothing_but_time() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let world = World::new(&rules(&format!("http://127.0.0.1:{port}/"))).await;
    world.receives("Ann", "Hello?");
    world.tick().await;
    assert_eq!(world.rows().await[0].state.as_str(), "pending");
}
