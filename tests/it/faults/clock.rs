//! Time that jumps: a clock set wrong and right again, and the hours that a zone leaves out or has twice.

use activity_relay::sandbox::behaviour::{Behaviour, Times};
use activity_relay::sandbox::script::{busy, status};
use jiff::{SignedDuration, Timestamp};

use super::record::{Observed, record};
use super::wire::{Does, Proxy};
use crate::world::{PATIENCE, World};

const RULES: &str = r#"
targets:
  crm: { type: http, url: "${HTTP}", allow_private: true, body: event }
  desk: { type: slack, webhook_url: "${SLACK}", allow_private: true, rate: 100/s, burst: 100 }
rules:
  - { name: all, match: {}, deliver: [{ to: crm }, { to: desk }] }
"#;

/// Waits stand in the outbox and a target is paused when the clock jumps. What comes afterwards is not held up by more
/// than the pause, nothing comes twice, nobody is asked again and again.
async fn jump(by: SignedDuration) -> Observed {
    let world = World::new(RULES).await;
    world.receives("Ann", "before");
    world.tick().await;
    world.receives("Bob", "in between");
    world.sandbox.http.answers([status(503)]);
    world.sandbox.slack.answers([busy(30)]);
    world.tick().await;
    world.jump(by);
    world.receives("Cleo", "after");
    let asked = world.sandbox.business.list_requests().len();
    world.pass("30s").await;
    let asked = world.sandbox.business.list_requests().len() - asked;
    assert!(asked <= 20, "{by}: {asked} requests in one poll");
    let taken = world.sandbox.http.received();
    assert!(taken.iter().any(|arrival| arrival.body.contains("after")), "{by}: {}", world.owed().await);
    // A clock that was set back comes by every moment again.
    for _ in 0..12 {
        world.pass(&(by.abs() / 10).to_string()).await;
    }
    world.pass("1m").await;
    let (posts, tries) = (world.sandbox.slack.received(), world.sandbox.http.arrivals());
    assert_eq!((posts.len(), world.sandbox.slack.duplicates()), (3, 0), "{by}: {}", world.owed().await);
    assert_eq!(tries.len(), 4, "{by}: one of three was tried twice");
    let rows: Vec<_> = world.rows().await.into_iter().filter(|row| row.target == "crm").collect();
    let observed = Observed::judge(&rows, 3, &tries, "x");
    assert_eq!((observed.delivered, observed.duplicates), (3, 0), "{by}");
    Observed { messages: 6, delivered: 6, seed: world.seed(), ..observed }
}

#[tokio::test]
async fn a_clock_that_jumps_loses_repeats_and_storms_nothing() {
    let day = SignedDuration::from_hours(24);
    for (key, by, what) in [
        ("clock-hour", SignedDuration::from_hours(1), "forwards by an hour"),
        ("clock-hour+back", SignedDuration::from_hours(-1), "back by an hour"),
        ("clock-day", day, "forwards by a day"),
        ("clock-day+back", -day, "back by a day"),
    ] {
        let saw = if by.is_negative() {
            "new messages went at once; what was backing off or paused waited until the clock came by again"
        } else {
            "all delivered at the next tick, each once"
        };
        let observed = Observed { saw: saw.into(), ..jump(by).await };
        let how = format!(
            "this machine's clock is set {what} while one delivery backs off and one target is paused"
        );
        record(key, &how, &observed);
    }
}

/// What waits for a digest, for hours or for its turn when the clock jumps.
const WAITING: &str = r#"
targets:
  crm: { type: http, url: "${HTTP}", allow_private: true, body: event }
schedules:
  office: { from: "08:00", to: "10:00" }
rules:
  - { name: hourly, match: {}, deliver: [{ to: crm, digest: { every: 1h } }] }
  - { name: daily, match: {}, deliver: [{ to: crm, digest: { at: ["08:00", "20:00"] }, collapse: { by: client.uid, within: 60s } }] }
  - { name: few, match: {}, deliver: [{ to: crm, throttle: { limit: 1, per: 1h, over: digest } }] }
  - { name: held, match: {}, deliver: [{ to: crm, during: office }] }
  - { name: gathered, match: {}, deliver: [{ to: crm, during: office, outside: digest }] }
"#;

async fn jump_while_all_waits(by: SignedDuration) -> Observed {
    const EACH_SIDE: usize = 4;
    let world = World::new(WAITING).await;
    let mut uids = Vec::new();
    for side in ["before", "after"] {
        for number in 0..EACH_SIDE {
            uids.push(world.receives("Ann", &format!("{side} {number}")));
            world.pass("20m").await;
        }
        if side == "before" {
            world.jump(by);
        }
    }
    // A clock that was set back by a day comes by every moment again, and then by those of the day after.
    for _ in 0..60 {
        world.pass("1h").await;
    }
    let (rows, arrivals) = (world.rows().await, world.sandbox.http.arrivals());
    for rule in ["hourly", "daily", "few", "held", "gathered"] {
        let own = rows.iter().filter(|row| row.rule == rule);
        let mut told: Vec<&String> = own.flat_map(|row| &row.messages).collect();
        told.sort();
        let mut expected: Vec<&String> = uids.iter().collect();
        expected.sort();
        assert_eq!(told, expected, "{by} {rule}: {}", world.owed().await);
    }
    let observed = Observed::judge(&rows, rows.len(), &arrivals, "x");
    assert_eq!((observed.delivered, observed.duplicates, observed.lost), (rows.len(), 0, 0), "{by}");
    assert_eq!(arrivals.len(), rows.len(), "{by}: nothing was sent again and again");
    Observed { messages: rows.len(), seed: world.seed(), ..observed }
}

#[tokio::test]
async fn what_waits_for_its_moment_when_the_clock_jumps_is_told_once() {
    for (key, hours, what) in [
        ("clock-hour+waiting", 1, "forwards by an hour"),
        ("clock-hour+waiting+back", -1, "back by an hour"),
        ("clock-day+waiting", 24, "forwards by a day"),
        ("clock-day+waiting+back", -24, "back by a day"),
    ] {
        let observed = jump_while_all_waits(SignedDuration::from_hours(hours)).await;
        let saw = "each message in one delivery of each rule, each delivery once";
        let how = format!(
            "this machine's clock is set {what} while messages wait for digests, for hours and for their turn"
        );
        record(key, &how, &Observed { saw: saw.into(), ..observed });
    }
}

#[tokio::test]
async fn a_lease_that_a_jump_ends_is_a_repeat_that_is_marked() {
    let proxy = Proxy::start(Does::Pass);
    let world = World::new(&RULES.replace("${HTTP}", &proxy.url())).await;
    proxy.lead(world.sandbox.http.url());
    let let_go = proxy.holds();
    world.receives("Ann", "Hello?");
    world.poll().await;
    let jump = async {
        world.sandbox.http.wait_until(PATIENCE, |arrivals| !arrivals.is_empty()).await.unwrap();
        world.jump(SignedDuration::from_hours(24));
        proxy.does(Does::Pass);
        let again = async {
            world.sandbox.http.wait_until(PATIENCE, |arrivals| arrivals.len() == 2).await.unwrap();
            let_go();
        };
        tokio::join!(world.send(), again);
    };
    tokio::join!(world.send(), jump);
    world.pass("1m").await;
    let rows: Vec<_> = world.rows().await.into_iter().filter(|row| row.target == "crm").collect();
    let saw =
        "the lease was taken for ended and the delivery sent again, marked; the first answer was fenced off";
    let observed = Observed::judge(&rows, 1, &world.sandbox.http.arrivals(), saw);
    assert_eq!((observed.delivered, observed.duplicates), (1, 1), "{}", world.owed().await);
    record(
        "clock-day+sending",
        "this machine's clock is set forwards by a day while a target answers",
        &observed,
    );
}

#[tokio::test]
async fn hours_that_are_missing_or_come_twice_are_hours_like_any_other() {
    const ZONED: &str = r#"
timezone: Europe/Berlin
targets:
  crm: { type: http, url: "${HTTP}", allow_private: true }
rules:
  - { name: all, match: {}, template: f, deliver: [{ to: crm }] }
"#;
    let (mut all, mut shown) = (Observed::default(), Vec::new());
    for from in ["2026-03-29T00:00:00Z", "2026-10-25T00:00:00Z"] {
        let behaviour = Behaviour { times: Times::Naked, ..Behaviour::default() };
        let template = ("f/http.yaml", "at: '{{date message.created_at \"%H:%M %Z\"}}'\n");
        let world = World::shaped(behaviour, ZONED, template).await;
        let start: Timestamp = from.parse().unwrap();
        let wait = start.duration_since(world.clock.now());
        world.clock.advance(wait.try_into().unwrap());
        for minute in 0..18 {
            world.receives("Ann", &format!("minute {minute}0"));
            world.pass("10m").await;
        }
        let arrivals = world.sandbox.http.arrivals();
        shown.extend(arrivals.iter().step_by(3).map(|arrival| arrival.body.clone()));
        let observed = Observed::of(&world, 18, &arrivals, "x").await;
        assert_eq!((observed.delivered, observed.duplicates, observed.lost), (18, 0, 0));
        all = Observed { messages: all.messages + 18, delivered: all.delivered + 18, ..all };
    }
    insta::assert_snapshot!(shown.join(" "), @r#"{"at":"01:00 CET"} {"at":"01:30 CET"} {"at":"03:00 CEST"} {"at":"03:30 CEST"} {"at":"04:00 CEST"} {"at":"04:30 CEST"} {"at":"02:00 CEST"} {"at":"02:30 CEST"} {"at":"02:00 CET"} {"at":"02:30 CET"} {"at":"03:00 CET"} {"at":"03:30 CET"}"#);
    let saw =
        "each delivered once and shown at its local time; waits and leases are moments, not hours of a zone";
    let how =
        "messages every ten minutes through 29 March and 25 October in Europe/Berlin, times without a zone";
    record("dst", how, &Observed { saw: saw.into(), ..all });
}
