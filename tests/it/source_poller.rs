//! The poller between the fake business and a real store.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has to fail")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use activity_relay::config::outline::Outline;
use activity_relay::config::{Config, Retention};
use activity_relay::daemon::clock::Clock;
use activity_relay::daemon::names::NameBook;
use activity_relay::daemon::poller::{Poller, Tick};
use activity_relay::render::Templates;
use activity_relay::rules::condition::Block;
use activity_relay::rules::expression::Expression;
use activity_relay::rules::timing::Timing;
use activity_relay::rules::{Deliver, Place, Points, Rule, Rules};
use activity_relay::sandbox::behaviour::{Behaviour, Profile};
use activity_relay::sandbox::incoming::Incoming;
use activity_relay::sandbox::script::{self, Fault};
use activity_relay::sandbox::world::{Action, Which};
use activity_relay::sandbox::{Sandbox, Settings};
use activity_relay::source::api::Api;
use activity_relay::source::http::egress;
use activity_relay::source::lookup::Lookup;
use activity_relay::source::pace::Pace;
use activity_relay::source::{Account, StartFrom, Token};
use activity_relay::store::{Filter, Mode, Store};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::json;
use tokio_util::task::TaskTracker;

use crate::source_api::install_crypto;

/// A fake business, a store and a poller between them, on a clock that moves when told to.
struct World {
    sandbox: Sandbox,
    store: Store,
    clock: Clock,
    config: Config,
    poller: Poller,
}

/// A rule that takes every message, or those that pass a `where:`.
fn config(filter: Option<&str>) -> Config {
    Config {
        accounts: Vec::new(),
        timezone: TimeZone::UTC,
        alerts: None,
        retention: Retention::default(),
        schedules: BTreeMap::new(),
        targets: BTreeMap::new(),
        target_owners: BTreeMap::new(),
        rules: Rules::new(vec![rule("all", filter)]),
        templates: Templates::default(),
        outline: Outline::default(),
    }
}

fn rule(name: &str, filter: Option<&str>) -> Rule {
    Rule {
        name: name.into(),
        place: Place::default(),
        points: Points::default(),
        owner: None,
        accounts: None,
        any_of: vec![Block::default()],
        except: Vec::new(),
        filter: filter.map(|text| Expression::compile(text).unwrap()),
        stop: false,
        deliver: vec![Deliver {
            target: "desk".into(),
            recipients: Vec::new(),
            template: "default".into(),
            expires_after: None,
            timing: Timing::default(),
        }],
        resolves: None,
        good_by: Vec::new(),
    }
}

impl World {
    async fn new(behaviour: Behaviour) -> Self {
        Self::with(behaviour, StartFrom::Now, None, false).await
    }

    async fn with(behaviour: Behaviour, start_from: StartFrom, filter: Option<&str>, dry_run: bool) -> Self {
        install_crypto();
        let clock = Clock::manual("2026-03-10T09:00:00Z".parse().unwrap());
        let sandbox =
            Sandbox::start(Settings { behaviour, ..Settings::default() }, clock.clone()).await.unwrap();
        let store = Store::open("sqlite::memory:", Mode::Daemon).await.unwrap();
        let account = Arc::new(Account {
            name: "main".into(),
            token: Token::Value(sandbox.token().into()),
            base_url: sandbox.url().parse().unwrap(),
            poll_every: Duration::from_secs(20),
            start_from,
            unread_only: true,
            overlap: Duration::from_mins(2),
            lookup: true,
            app_host: "https://app.vcita.com".parse().unwrap(),
        });
        let api = Api::new(&account, &egress(), Pace::unlimited());
        let lookup = Lookup::new(&account, &egress(), Pace::unlimited());
        let names = NameBook::new(&account, Some(lookup), store.clone(), clock.clone(), TaskTracker::new());
        let poller = Poller::new(account, api, names, store.clone(), dry_run);
        Self { sandbox, store, clock, config: config(filter), poller }
    }

    async fn tick(&mut self) -> Tick {
        self.poller.tick(&self.config, None, self.clock.now(), 0.5).await
    }

    fn receive(&self, body: &str) -> String {
        self.sandbox.business.receive(Incoming::text("Ann Lee", body))
    }

    /// The uids for which something is owed, each as often as it is owed.
    async fn owed(&self) -> Vec<String> {
        let (rows, _) = self.store.deliveries(Filter::default()).await.unwrap();
        rows.into_iter().flat_map(|row| row.messages).collect()
    }

    async fn watermark(&self) -> Option<Timestamp> {
        self.store.cursor("main").await.unwrap().watermark
    }
}

#[tokio::test]
async fn the_first_poll_begins_now_and_each_message_is_taken_once() {
    let mut world = World::new(Behaviour::default()).await;
    world.receive("before the relay came");
    world.clock.advance(Duration::from_mins(1));
    assert_eq!(world.tick().await.result.unwrap().messages, 0);
    world.clock.advance(Duration::from_secs(10));
    let uid = world.receive("hello");
    let tick = world.tick().await;
    let taken = tick.result.unwrap();
    assert_eq!((taken.messages, taken.deliveries), (1, 1));
    assert_eq!(tick.next_in, Duration::from_secs(20), "half the jitter is the interval itself");
    assert_eq!(world.tick().await.result.unwrap().messages, 0);
    assert_eq!(world.owed().await, [uid]);
    assert_eq!(world.watermark().await.unwrap().to_string(), "2026-03-10T09:01:10Z");
    let asked = world.sandbox.business.list_requests();
    assert!(asked.iter().all(|request| !request.query.contains_key("direction")));
    assert!(asked.iter().all(|request| !request.query.contains_key("activity_type")));
    assert!(asked.iter().all(|request| request.query["page"] == "1"));
}

#[tokio::test]
async fn a_start_in_the_past_takes_what_is_there() {
    let behaviour = Behaviour::default();
    let mut world = World::with(behaviour, StartFrom::Ago(Duration::from_mins(5)), None, false).await;
    world.receive("too old");
    world.clock.advance(Duration::from_mins(10));
    let uid = world.receive("recent");
    world.clock.advance(Duration::from_mins(1));
    world.tick().await.result.unwrap();
    assert_eq!(world.owed().await, [uid]);
}

#[tokio::test]
async fn a_shuffled_burst_that_shrinks_while_it_is_paged_loses_nothing_that_stays_unread() {
    for profile in [Profile::Documented, Profile::Quirky] {
        let mut world = World::new(Behaviour::of(profile)).await;
        world.tick().await.result.unwrap();
        world.clock.advance(Duration::from_secs(30));
        let burst = Action::Receive(Box::new(Incoming::text("Ann Lee", "all at once").times(260)));
        let mut expected: BTreeSet<String> = world.sandbox.business.act(burst).into_iter().collect();
        world.sandbox.business.act_before_request(2, Action::Read(Which::Oldest(40)));
        world.clock.advance(Duration::from_secs(30));
        expected.insert(world.receive("afterwards"));
        world.tick().await.result.unwrap();
        let owed = world.owed().await;
        let distinct: BTreeSet<String> = owed.iter().cloned().collect();
        assert_eq!(distinct.len(), owed.len(), "none twice");
        let lost: Vec<_> = expected.difference(&distinct).collect();
        assert!(lost.len() <= 40, "{} lost of which 40 were read at most", lost.len());
        let (all, unread) = world.sandbox.business.counts();
        assert_eq!((all, unread), (261, 221));
        assert!(distinct.len() >= unread);
    }
}

#[tokio::test]
async fn a_burst_that_stays_the_newest_is_not_turned_through_at_every_poll() {
    for profile in [Profile::Documented, Profile::Quirky] {
        let mut world = World::new(Behaviour::of(profile)).await;
        world.tick().await.result.unwrap();
        world.clock.advance(Duration::from_secs(30));
        let burst = Action::Receive(Box::new(Incoming::text("Ann Lee", "all at once").times(260)));
        world.sandbox.business.act(burst);
        // Late commits are waited for; after that the burst is known to be whole.
        for _ in 0..6 {
            world.clock.advance(Duration::from_secs(30));
            world.tick().await.result.unwrap();
        }
        assert_eq!(world.owed().await.len(), 260);
        let before = world.sandbox.business.list_requests().len();
        world.clock.advance(Duration::from_secs(30));
        let late = world.receive("and then one more");
        world.tick().await.result.unwrap();
        let asked = world.sandbox.business.list_requests().len() - before;
        assert!(asked <= 6, "{asked} requests for one new message ({profile:?})");
        assert!(world.owed().await.contains(&late));
    }
}

#[tokio::test]
async fn every_failed_answer_leaves_the_cursor_and_the_next_poll_finds_all() {
    let mut world = World::new(Behaviour::default()).await;
    world.tick().await.result.unwrap();
    let before = world.watermark().await;
    world.clock.advance(Duration::from_secs(10));
    let uid = world.receive("still here");
    let limited = script::Answer {
        headers: BTreeMap::from([("retry-after".into(), "30".into())]),
        ..script::status(429)
    };
    let truncated = script::Answer { cut: Some(script::Cut::Middle), ..script::ok() };
    for (answer, wait) in [
        (script::status(500), 20),
        (script::says(200, "<html>gateway</html>"), 40),
        (script::says(200, r#"{"success":false}"#), 60),
        (truncated, 60),
        (limited, 30),
    ] {
        world.sandbox.business.answers([answer]);
        let tick = world.tick().await;
        let error = tick.result.unwrap_err().to_string();
        assert_eq!(tick.next_in, Duration::from_secs(wait), "{error}");
        assert_eq!(world.watermark().await, before);
        assert_eq!(world.store.accounts().await.unwrap()[0].error.as_deref(), Some(error.as_str()));
        assert!(world.owed().await.is_empty());
    }
    world.tick().await.result.unwrap();
    assert_eq!(world.owed().await, [uid]);
    assert_eq!(world.store.accounts().await.unwrap()[0].error, None);
}

#[tokio::test]
async fn what_cannot_be_read_is_kept_aside_once_and_the_rest_goes_on() {
    let mut world = World::new(Behaviour::default()).await;
    world.tick().await.result.unwrap();
    world.clock.advance(Duration::from_secs(10));
    let broken =
        Incoming::text("Ann Lee", "x").with("uid", json!("broken")).with("created_at", json!("whenever"));
    world.sandbox.business.receive(broken);
    let uid = world.receive("fine");
    let taken = world.tick().await.result.unwrap();
    assert_eq!((taken.messages, taken.quarantined), (1, 1));
    let taken = world.tick().await.result.unwrap();
    assert_eq!((taken.messages, taken.quarantined), (0, 0));
    assert_eq!(world.owed().await, [uid]);
    assert_eq!(world.store.quarantine().await.unwrap()[0].1.uid, "broken");
}

#[tokio::test]
async fn a_dry_run_says_what_would_be_owed_and_writes_nothing() {
    let mut world = World::with(Behaviour::default(), StartFrom::Beginning, None, true).await;
    let uid = world.receive("hello");
    let tick = world.tick().await;
    assert_eq!(tick.would_admit.len(), 1);
    assert_eq!(
        (tick.would_admit[0].message.uid.as_str(), tick.would_admit[0].deliveries.len()),
        (uid.as_str(), 1)
    );
    assert!(world.tick().await.would_admit.is_empty(), "each once");
    assert!(world.owed().await.is_empty());
    assert!(world.store.accounts().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_rule_about_the_clients_name_waits_for_it() {
    let filter = Some(r#"client.name == "Ann Lee""#);
    let mut world = World::with(Behaviour::default(), StartFrom::Beginning, filter, false).await;
    world.sandbox.business.receive(Incoming::text("Bob Ray", "hi"));
    let uid = world.receive("hi");
    world.tick().await.result.unwrap();
    assert_eq!(world.owed().await, [uid]);
}

#[tokio::test]
async fn a_rule_takes_what_it_cannot_judge_while_names_cannot_be_had_and_stops_nothing() {
    let mut world = World::with(Behaviour::default(), StartFrom::Beginning, None, false).await;
    let vip =
        Rule { stop: true, ..rule("vip", Some(r#"has(client.name) && client.name.startsWith("Ann")"#)) };
    let long = rule("long", Some(r#"message.body.size() > 100 && client.name == "Ann Lee""#));
    let business = rule("business", Some(r#"has(account.business.name) && account.business.name == "none""#));
    world.config.rules = Rules::new(vec![vip, long, business, rule("all", None)]);
    let on = "/platform/v1/clients".to_owned();
    world.sandbox.business.fault(Fault { on, times: None, answer: script::status(503) });
    world.receive("who is it?");
    world.tick().await.result.unwrap();
    let rules = async |store: &Store| {
        let (rows, _) = store.deliveries(Filter::default()).await.unwrap();
        rows.into_iter().map(|row| row.rule).collect::<BTreeSet<String>>()
    };
    assert_eq!(rules(&world.store).await, BTreeSet::from(["all".to_owned(), "vip".to_owned()]));

    world.sandbox.business.heal();
    world.clock.advance(Duration::from_mins(2));
    world.receive("Ann, and her name is there");
    let tick = world.tick().await.result.unwrap();
    assert_eq!((tick.messages, tick.deliveries), (1, 1), "it is judged again, and stops");
}

#[tokio::test]
async fn a_rule_that_asks_whether_the_business_is_there_takes_while_its_name_cannot_be_had() {
    for there in ["has(account.business)", "account.business != null"] {
        let filter = format!(r#"{there} && account.business.name == "Calm Hands""#);
        let behaviour = Behaviour::default();
        let mut world = World::with(behaviour, StartFrom::Beginning, Some(&filter), false).await;
        for on in ["/platform/", "/oauth/userinfo"] {
            let (on, answer) = (on.to_owned(), script::status(500));
            world.sandbox.business.fault(Fault { on, times: None, answer });
        }
        let uid = world.receive("whose is it?");
        world.tick().await.result.unwrap();
        assert_eq!(world.owed().await, [uid], "{filter}");
    }
}

#[tokio::test]
async fn a_second_full_of_messages_older_than_what_is_kept_is_taken_whole() {
    let mut world = World::with(Behaviour::default(), StartFrom::Beginning, None, false).await;
    world.sandbox.business.receive(Incoming::text("Ann Lee", "long ago").times(260));
    world.clock.advance(Duration::from_hours(24 * 40));
    let recent = world.receive("recent");
    world.tick().await.result.unwrap();
    let owed: BTreeSet<String> = world.owed().await.into_iter().collect();
    assert_eq!((owed.len(), owed.contains(&recent)), (261, true));
    world.clock.advance(Duration::from_hours(1));
    assert_eq!(world.tick().await.result.unwrap().messages, 0);
}

#[tokio::test]
async fn a_message_that_turns_up_late_is_found_by_the_hourly_look_back() {
    let mut world = World::new(Behaviour::default()).await;
    world.tick().await.result.unwrap();
    world.clock.advance(Duration::from_mins(30));
    let first = world.receive("in time");
    world.tick().await.result.unwrap();
    let late = Incoming::text("Ann Lee", "late").late(Duration::from_mins(20));
    let late = world.sandbox.business.receive(late);
    assert_eq!(world.tick().await.result.unwrap().messages, 0, "behind the overlap");
    world.clock.advance(Duration::from_hours(1));
    world.tick().await.result.unwrap();
    let owed: BTreeSet<String> = world.owed().await.into_iter().collect();
    assert_eq!(owed, BTreeSet::from([first, late]));
}

#[tokio::test]
async fn a_crowded_second_that_a_walk_left_behind_is_read_though_the_walk_broke_off_later() {
    let mut world = World::new(Behaviour::default()).await;
    world.tick().await.result.unwrap();
    for (rows, pause) in std::iter::once((1_000, 30)).chain([(90, 3_600); 25]) {
        world.clock.advance(Duration::from_secs(pause));
        let burst = Action::Receive(Box::new(Incoming::text("Ann Lee", "all at once").times(rows)));
        world.sandbox.business.act(burst);
    }
    world.clock.advance(Duration::from_mins(1));
    // The API takes longer over the second's pages than a walk has for them, and fails half a day further on.
    world.sandbox.business.answers(vec![script::ok(); 20].into_iter().chain([script::status(504)]));
    let (business, clock) = (world.sandbox.business.clone(), world.clock.clone());
    let slows_down = async {
        let second_pages =
            || business.list_requests().iter().filter(|request| request.query["page"] == "2").count();
        // It is met twice: each query begins a second early.
        for times in 1..=2 {
            while second_pages() < times {
                tokio::task::yield_now().await;
            }
            clock.advance(Duration::from_mins(2));
        }
    };
    let (tick, ()) = tokio::join!(world.tick(), slows_down);
    assert!(tick.result.unwrap_err().to_string().contains("504"));
    let taken = world.owed().await.len();
    world.poller.take_up();
    assert!(world.watermark().await.unwrap() > "2026-03-10T16:00:00Z".parse().unwrap(), "{taken} taken");
    for _ in 0..3 {
        world.clock.advance(Duration::from_mins(2));
        world.tick().await.result.unwrap();
    }
    let owed: BTreeSet<String> = world.owed().await.into_iter().collect();
    assert_eq!(owed.len(), 1_000 + 25 * 90, "after the walk there were {taken}");
}

#[tokio::test]
async fn what_turned_up_late_before_a_long_trouble_is_found_after_it() {
    let mut world = World::new(Behaviour::default()).await;
    for _ in 0..2 {
        world.clock.advance(Duration::from_mins(30));
        world.receive("in time");
        world.tick().await.result.unwrap();
    }
    let late = Incoming::text("Ann Lee", "late").late(Duration::from_mins(20));
    let late = world.sandbox.business.receive(late);
    world.sandbox.business.answers([script::status(500)]);
    assert!(world.tick().await.result.is_err());
    world.clock.advance(Duration::from_hours(7));
    world.receive("afterwards");
    world.tick().await.result.unwrap();
    assert!(world.owed().await.contains(&late), "{:?}", world.owed().await);
}

#[tokio::test]
async fn a_name_that_was_not_there_and_is_looked_up_again_is_late_meanwhile() {
    let filter = Some(r#"client.name == "Ann Lee""#);
    let mut world = World::with(Behaviour::default(), StartFrom::Beginning, filter, false).await;
    let clients = |answer, times| Fault { on: "/platform/v1/clients".into(), times, answer };
    world.sandbox.business.fault(clients(script::status(404), Some(1)));
    let first = world.receive("the client was only just made");
    world.tick().await.result.unwrap();
    assert!(!world.owed().await.contains(&first), "nobody of that name is there");
    world.clock.advance(Duration::from_mins(16));
    world.sandbox.business.fault(clients(script::slow(Duration::from_mins(1)), None));
    let second = world.receive("hello");
    world.tick().await.result.unwrap();
    assert!(world.owed().await.contains(&second));
}
