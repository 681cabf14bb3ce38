//! The sending half of the relay between a real store and the inboxes of the fake world, tick by tick.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has to fail")]

use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use activity_relay::config::secret::Environment;
use activity_relay::config::{Config, load};
use activity_relay::daemon::clock::{Chance, Clock};
use activity_relay::daemon::courier::Ticked;
use activity_relay::daemon::hand::Hand;
use activity_relay::daemon::{Relay, Setup, driver};
use activity_relay::model::delivery::StateName;
use activity_relay::sandbox::inboxes::Arrival;
use activity_relay::sandbox::script::{Answer, says, slow, status};
use activity_relay::sandbox::{Sandbox, Settings};
use activity_relay::store::{Filter, Mode, Row, Store};

use crate::source_api::install_crypto;
use crate::store_kit::{admitted, at, page, planned};
use crate::world::World;

/// Longer than anything here takes.
const BOUND: Duration = Duration::from_secs(30);

struct Engine {
    relay: Arc<Relay>,
    sandbox: Sandbox,
    folder: tempfile::TempDir,
}

/// Three targets: a channel, an endpoint, and one for the relay's own troubles.
const TARGETS: &str = "
  desk: { type: slack, webhook_url: '${SLACK}', allow_private: true, rate: 1000/s, burst: 100, fallback: crm }
  crm: { type: http, url: '${HTTP}', allow_private: true }
";

impl Engine {
    async fn new(targets: &str) -> Self {
        Self::with(targets, "").await
    }

    async fn with(targets: &str, more: &str) -> Self {
        install_crypto();
        let clock = Clock::manual(at(0));
        let sandbox = Sandbox::start(Settings::default(), clock.clone()).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let rules = folder.path().join("rules.yaml");
        let text = format!(
            "version: 1\naccounts:\n  - {{ name: main, token: '${{TOKEN}}', base_url: '${{API}}', lookup: false }}\n\
             targets:{targets}\n{more}\nrules: []\n"
        );
        std::fs::write(&rules, text).unwrap();
        let config = configured(&rules, &sandbox);
        let url = format!("sqlite://{}", folder.path().join("relay.db").display());
        let store = Store::open(&url, Mode::Daemon).await.unwrap();
        let setup = Setup {
            config,
            store,
            clock,
            chance: Chance::seeded(1),
            traces: None,
            paced: false,
            dry_run: false,
        };
        Self { relay: Arc::new(Relay::new(setup)), sandbox, folder }
    }

    /// One message for each uid, owed to the target since the moment that its number says.
    async fn owes(&self, target: &str, uids: &[&str]) {
        for (second, uid) in uids.iter().enumerate() {
            let due = at(i64::try_from(second).unwrap() - 60);
            let one = admitted(uid, vec![planned(target, uid, due)]);
            self.relay.store.admit(page(vec![one]), due).await.unwrap();
        }
    }

    /// Ticks and waits for what was started.
    async fn tick(&self) -> Ticked {
        let ticked = self.relay.courier.tick(&self.relay.config(), self.relay.clock.now()).await.unwrap();
        tokio::time::timeout(BOUND, self.relay.courier.idle()).await.unwrap();
        ticked
    }

    /// Ticks until nothing more is started.
    async fn deliver(&self) -> usize {
        let mut started = 0;
        loop {
            match self.tick().await.started {
                0 => return started,
                more => started += more,
            }
        }
    }

    fn pass(&self, seconds: u64) {
        self.relay.clock.advance(Duration::from_secs(seconds));
    }

    async fn rows(&self, target: &str) -> Vec<Row> {
        let filter = Filter { target: Some(target.into()), limit: None, ..Filter::default() };
        let (mut rows, _) = self.relay.store.deliveries(filter).await.unwrap();
        rows.sort_by_key(|row| row.created_at);
        rows
    }

    async fn count(&self, target: &str, state: StateName) -> usize {
        self.rows(target).await.iter().filter(|row| row.state == state).count()
    }

    /// The subjects of what arrived at the endpoint as notices.
    fn told(&self) -> Vec<String> {
        let texts = self.sandbox.http.received();
        let subject = |body: &str| {
            let from = body.find("Relay: ")?;
            body[from..].find(['"', '\\', '\n']).map(|end| body[from..from + end].to_owned())
        };
        texts.iter().filter_map(|arrival| subject(&format!("{arrival:?}").replace("\\\"", "\""))).collect()
    }
}

fn configured(rules: &Path, sandbox: &Sandbox) -> Config {
    let environment = Environment::of([
        ("TOKEN", sandbox.token()),
        ("API", sandbox.url()),
        ("SLACK", sandbox.slack.url()),
        ("HTTP", sandbox.http.url()),
    ]);
    let loaded = load(rules, &environment);
    loaded.config.unwrap_or_else(|| panic!("{:?}", loaded.problems))
}

fn no_service() -> Answer {
    says(404, "no_service")
}

#[tokio::test]
async fn a_parked_channel_is_told_and_its_end_too_however_often_within_the_hour() {
    let engine = Engine::new(TARGETS).await;
    for round in 1..=2 {
        let uid = format!("m{round}");
        engine.sandbox.slack.answers([no_service()]);
        engine.owes("desk", &[&uid]).await;
        engine.deliver().await;
        assert_eq!(engine.told().len(), 2 * round - 1, "{:?}", engine.told());
        engine.pass(120);
        engine.deliver().await;
        assert_eq!(engine.told().len(), 2 * round, "{:?}", engine.told());
    }
    let told = engine.told();
    assert!(told[2].contains("is parked") && told[3].contains("works again"), "{told:?}");
}

#[tokio::test]
async fn several_refusals_at_once_park_and_tell_once() {
    let engine = Engine::new(
        "
  ops: { type: slack, webhook_url: '${SLACK}', allow_private: true, rate: 1000/s }
  crm: { type: http, url: '${HTTP}', allow_private: true, fallback: ops }
",
    )
    .await;
    engine.sandbox.http.answers((0..8).map(|_| status(401)));
    engine.owes("crm", &["a", "b", "c", "d", "e", "f", "g", "h"]).await;
    engine.deliver().await;
    assert_eq!(engine.sandbox.slack.received().len(), 1);
    assert_eq!(engine.count("crm", StateName::Pending).await, 8);
    assert!(engine.rows("crm").await.iter().all(|row| row.attempts == 0));
}

#[tokio::test]
async fn a_serial_target_reads_in_order_after_it_was_parked_or_told_to_wait() {
    for trouble in [no_service(), says(429, "").header("retry-after", "30")] {
        let engine =
            Engine::new("\n  crm: { type: http, url: '${HTTP}', allow_private: true, concurrency: 1 }\n")
                .await;
        engine.sandbox.http.answers([trouble]);
        engine.owes("crm", &["a", "b", "c"]).await;
        engine.deliver().await;
        assert_eq!(engine.count("crm", StateName::Delivered).await, 0);
        engine.pass(120);
        engine.deliver().await;
        let rows = engine.rows("crm").await;
        assert!(rows.iter().all(|row| (row.state, row.attempts) == (StateName::Delivered, 1)), "{rows:?}");
        let arrivals = engine.sandbox.http.received();
        let order: Vec<&str> = arrivals.iter().map(Arrival::identity).collect();
        let owed: Vec<&str> = rows.iter().map(|row| row.id.as_str()).collect();
        assert_eq!(order, owed);
    }
}

#[tokio::test]
async fn idle_targets_take_no_room_from_those_with_work() {
    let mut targets = String::from("\n");
    for number in 0..60 {
        writeln!(targets, "  t{number:02}: {{ type: http, url: '${{HTTP}}', allow_private: true }}").unwrap();
    }
    let engine = Engine::new(&targets).await;
    engine.owes("t59", &["a"]).await;
    engine.owes("t00", &["b"]).await;
    assert_eq!(engine.tick().await.started, 2);
}

#[tokio::test]
async fn what_waits_for_a_parked_or_paused_target_expires_in_time() {
    let engine = Engine::new(TARGETS).await;
    let mut owed = planned("desk", "a", at(0));
    owed.expires_at = Some(at(30));
    engine.relay.store.admit(page(vec![admitted("a", vec![owed])]), at(0)).await.unwrap();
    engine.relay.store.pause_target("desk", true, "holidays").await.unwrap();
    engine.relay.store.pause_target("crm", true, "holidays").await.unwrap();
    engine.pass(31);
    engine.tick().await;
    assert_eq!(engine.count("desk", StateName::Expired).await, 1);
}

#[tokio::test]
async fn a_relay_told_to_stop_gives_back_what_it_has_not_begun() {
    let engine = Engine::new(TARGETS).await;
    engine.owes("desk", &["a"]).await;
    engine.relay.stop.cancel();
    assert_eq!(engine.tick().await.started, 1);
    assert_eq!(engine.relay.courier.in_flight(), 0);
    let rows = engine.rows("desk").await;
    assert_eq!((rows[0].state, rows[0].attempts), (StateName::Pending, 0));
    assert!(engine.sandbox.slack.received().is_empty());
}

#[tokio::test]
async fn a_round_ends_whatever_holds_its_deliveries() {
    let engine = Engine::with(
        "
  broken: { type: http, url: '${HTTP}/broken', allow_private: true }
  off: { type: http, url: '${HTTP}/off', allow_private: true, enabled: false }
  later: { type: http, url: '${HTTP}/later', allow_private: true }
  desk: { type: slack, webhook_url: '${SLACK}', allow_private: true }
",
        "defaults: { retry: { first: 1s } }",
    )
    .await;
    let store = &engine.relay.store;
    for target in ["broken", "off", "later"] {
        engine.owes(target, &[&format!("{target}1"), &format!("{target}2")]).await;
    }
    store.pause_target("broken", true, "a person").await.unwrap();
    let wait = activity_relay::model::settle::TargetChange::Pause { until: at(3600) };
    store.change_target("later", wait, "retry-after").await.unwrap();
    engine.sandbox.slack.answers([status(503)]);
    engine.owes("desk", &["x"]).await;
    engine.owes("gone", &["y"]).await;
    tokio::time::timeout(BOUND, driver::drain(&engine.relay)).await.unwrap().unwrap();
    assert_eq!(engine.rows("desk").await[0].attempts, 1, "a retry is left to the next round");
    assert_eq!(engine.relay.courier.in_flight(), 0);
}

#[tokio::test]
async fn a_tick_with_nothing_to_do_says_when_to_come_again() {
    let engine = Engine::new(TARGETS).await;
    engine.owes("desk", &["a", "b"]).await;
    engine.sandbox.slack.answers([says(429, "").header("retry-after", "40")]);
    engine.deliver().await;
    let ticked = engine.tick().await;
    assert_eq!((ticked.started, ticked.next, ticked.held), (0, Some(at(40)), Some(at(40))));
    engine.relay.store.pause_target("desk", true, "a person").await.unwrap();
    assert_eq!(engine.tick().await.next, None);
}

#[tokio::test]
async fn a_slow_answer_holds_one_lane_and_the_lane_comes_back() {
    let engine =
        Engine::new("\n  crm: { type: http, url: '${HTTP}', allow_private: true, timeout: 1s }\n").await;
    engine.sandbox.http.answers([slow(Duration::from_secs(20))]);
    engine.owes("crm", &["a"]).await;
    assert_eq!(engine.tick().await.started, 1);
    assert_eq!(engine.relay.courier.in_flight(), 0);
    let rows = engine.rows("crm").await;
    assert_eq!((rows[0].state, rows[0].attempts), (StateName::Pending, 1));
    assert!(rows[0].maybe_duplicate, "it may have arrived");
}

#[tokio::test]
async fn a_delivery_costs_few_statements_and_shares_its_commits() {
    const MESSAGES: usize = 512;
    let engine =
        Engine::new("\n  crm: { type: http, url: '${HTTP}', allow_private: true, concurrency: 64 }\n").await;
    let uids: Vec<String> = (0..MESSAGES).map(|number| format!("m{number}")).collect();
    let messages = uids.iter().map(|uid| admitted(uid, vec![planned("crm", uid, at(-60))])).collect();
    let store = &engine.relay.store;
    let (statements, commits) = (store.statements(), store.commits());
    store.admit(page(messages), at(-60)).await.unwrap();
    tokio::time::timeout(BOUND, driver::drain(&engine.relay)).await.unwrap().unwrap();
    assert_eq!(engine.count("crm", StateName::Delivered).await, MESSAGES);
    let (statements, commits) = (store.statements() - statements, store.commits() - commits);
    let deliveries = u64::try_from(MESSAGES).unwrap();
    // Each on its own they would be one for every settlement, and those of the claims.
    assert!(commits < deliveries, "{commits} commits");
    assert!(statements < 8 * deliveries, "{statements} statements");
}

/// An endpoint that takes two requests at once, for which as many again are leased ahead.
const PAIR: &str =
    "\n  crm: { type: http, url: '${HTTP}', allow_private: true, concurrency: 2, timeout: 3s }\n";

/// A relay that knows that it takes them.
async fn pair() -> Engine {
    let engine = Engine::new(PAIR).await;
    engine.owes("crm", &["first"]).await;
    assert_eq!(engine.deliver().await, 1);
    engine
}

/// What each open delivery's row says: its state, its attempts, and whether it may have arrived.
fn told_of(rows: &[Row]) -> Vec<(StateName, u32, bool)> {
    let open = rows.iter().filter(|row| row.state != StateName::Delivered);
    let mut told: Vec<_> = open.map(|row| (row.state, row.attempts, row.maybe_duplicate)).collect();
    told.sort_unstable_by_key(|(_, attempts, _)| *attempts);
    told
}

#[tokio::test]
async fn what_is_leased_ahead_waits_for_its_turn_and_is_given_back_if_there_is_none() {
    let engine = pair().await;
    engine.sandbox.http.answers([slow(Duration::from_secs(20)), slow(Duration::from_secs(20))]);
    engine.owes("crm", &["a", "b", "c", "d", "e"]).await;
    assert_eq!(engine.tick().await.started, 4);
    assert_eq!(engine.sandbox.http.arrivals_after(1).len(), 2);
    let (untouched, late) = ((StateName::Pending, 0, false), (StateName::Pending, 1, true));
    assert_eq!(told_of(&engine.rows("crm").await), [untouched, untouched, untouched, late, late]);
    engine.pass(60);
    engine.deliver().await;
    assert_eq!(engine.count("crm", StateName::Delivered).await, 6);
}

#[tokio::test]
async fn what_is_leased_ahead_is_given_back_once_the_target_takes_nothing() {
    for trouble in [status(401), says(429, "").header("retry-after", "30")] {
        let engine = pair().await;
        engine.sandbox.http.answers([trouble.clone(), trouble]);
        engine.owes("crm", &["a", "b", "c", "d"]).await;
        assert_eq!(engine.tick().await.started, 4);
        assert_eq!(engine.sandbox.http.arrivals_after(1).len(), 2);
        assert_eq!(told_of(&engine.rows("crm").await), [(StateName::Pending, 0, false); 4]);
    }
}

#[tokio::test]
async fn what_was_leased_under_rules_that_are_replaced_is_given_back() {
    let engine = pair().await;
    engine.owes("crm", &["a"]).await;
    let earlier = engine.relay.config();
    engine.relay.replace(configured(&engine.folder.path().join("rules.yaml"), &engine.sandbox));
    engine.relay.courier.tick(&earlier, engine.relay.clock.now()).await.unwrap();
    engine.relay.courier.idle().await;
    assert!(engine.sandbox.http.arrivals_after(1).is_empty());
    assert_eq!(told_of(&engine.rows("crm").await), [(StateName::Pending, 0, false)]);
    assert_eq!(engine.deliver().await, 1);
}

#[tokio::test]
async fn what_a_slow_target_had_no_turn_for_is_not_leased_again_at_once() {
    let engine = Engine::new(&PAIR.replace("3s", "30s")).await;
    engine.owes("crm", &["first"]).await;
    assert_eq!(engine.deliver().await, 1);
    engine.sandbox.http.answers([slow(BOUND), slow(BOUND)]);
    engine.owes("crm", &["a", "b", "c", "d"]).await;
    let (courier, config, now) = (&engine.relay.courier, engine.relay.config(), engine.relay.clock.now());
    assert_eq!(courier.tick(&config, now).await.unwrap().started, 4);
    let mut ended = courier.ended();
    while courier.in_flight() > 2 {
        ended.changed().await.unwrap();
    }
    assert_eq!(courier.tick(&config, now).await.unwrap().started, 0);
    assert_eq!(engine.count("crm", StateName::Pending).await, 2);
}

/// So many endpoints, `t0` and on, that take `EACH` at once.
struct Crowd {
    engine: Engine,
    names: Vec<String>,
}

impl Crowd {
    const EACH: usize = 32;

    async fn new(count: usize) -> Self {
        let names: Vec<String> = (0..count).map(|number| format!("t{number}")).collect();
        let mut targets = String::from("\n");
        for name in &names {
            let each = Self::EACH;
            writeln!(
                targets,
                "  {name}: {{ type: http, url: '${{HTTP}}', allow_private: true, concurrency: {each} }}"
            )
            .unwrap();
        }
        Self { engine: Engine::new(&targets).await, names }
    }

    /// Such messages, owed to the first `targets` of them.
    async fn owes(&self, targets: usize, uids: std::ops::Range<usize>) {
        let planned =
            |uid: &str| self.names[..targets].iter().map(|name| planned(name, uid, at(-60))).collect();
        let messages = uids.map(|uid| format!("m{uid}")).map(|uid| admitted(&uid, planned(&uid)));
        self.engine.relay.store.admit(page(messages.collect()), at(-60)).await.unwrap();
    }

    async fn starts(&self) -> usize {
        let relay = &self.engine.relay;
        relay.courier.tick(&relay.config(), relay.clock.now()).await.unwrap().started
    }

    async fn sending(&self) -> std::collections::HashMap<String, usize> {
        self.engine.relay.store.outlook(&[]).await.unwrap().sending
    }
}

#[tokio::test]
async fn what_is_leased_ahead_leaves_room_for_every_other_target() {
    const TARGETS: usize = 6;
    let crowd = Crowd::new(TARGETS).await;
    crowd.owes(TARGETS, 0..1).await;
    assert_eq!(crowd.engine.deliver().await, TARGETS);
    crowd.engine.sandbox.http.answers((0..TARGETS * Crowd::EACH).map(|_| slow(BOUND)));
    crowd.owes(TARGETS, 1..2 * Crowd::EACH + 1).await;
    assert_eq!(crowd.starts().await, TARGETS * Crowd::EACH);
    let sending = crowd.sending().await;
    assert!(sending.values().all(|sending| *sending == Crowd::EACH), "{sending:?}");
}

#[tokio::test]
async fn however_many_targets_hang_there_is_a_place_for_the_next_one() {
    const HUNG: usize = 12;
    let crowd = Crowd::new(HUNG + 1).await;
    crowd.engine.sandbox.http.answers((0..HUNG * Crowd::EACH).map(|_| slow(BOUND)));
    crowd.owes(HUNG, 0..2 * Crowd::EACH).await;
    while crowd.starts().await > 0 {}
    let sending = crowd.sending().await;
    assert!(sending.len() == HUNG && sending.values().sum::<usize>() < 256, "{sending:?}");
    crowd.owes(HUNG + 1, 100..101).await;
    assert_eq!(crowd.starts().await, 1);
    assert_eq!(crowd.sending().await.get("t12"), Some(&1));
}

#[tokio::test]
async fn what_a_page_hands_over_is_leased_from_the_moment_of_the_page() {
    let world = World::new(
        "\ntargets: { crm: { type: http, url: '${HTTP}', allow_private: true } }\n\
         rules: [{ name: all, match: {}, deliver: [{ to: crm }] }]\n",
    )
    .await;
    let (relay, began) = (world.relay(), world.clock.now());
    world.sandbox.http.answers([slow(BOUND)]);
    world.receives("Ann", "Hello?");
    // The walk to this page took longer than a lease lasts.
    world.clock.advance(Duration::from_mins(5));
    let hand = Hand { courier: relay.courier.clone(), config: relay.configs() };
    let post = &relay.posts.all()[0];
    let polled = post.poller().await.tick(&relay.config(), Some(hand), began, 0.5).await;
    assert_eq!(polled.result.unwrap().deliveries, 1);
    // Were the lease at its end, this would take it back while it is being sent.
    relay.courier.tick(&relay.config(), world.clock.now()).await.unwrap();
    let rows = world.rows().await;
    assert_eq!((rows[0].state, rows[0].maybe_duplicate), (StateName::Sending, false));
}
