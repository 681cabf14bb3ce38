//! Names from the fake business through memory and the store: fetched once, kept a day, never waited for long.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has to fail")]

use std::time::{Duration, Instant};

use activity_relay::daemon::clock::Clock;
use activity_relay::daemon::names::{NameBook, NameBooks, Soon, WAIT_MAX};
use activity_relay::model::message::Message;
use activity_relay::model::names::{Client, Late, Names};
use activity_relay::model::sample::BUSINESS_UID;
use activity_relay::sandbox::{Sandbox, Settings, script};
use activity_relay::source::http::egress;
use activity_relay::source::lookup::Lookup;
use activity_relay::source::pace::Pace;
use activity_relay::source::wire::read_item;
use activity_relay::source::{Account, StartFrom, Token};
use activity_relay::store::{Mode, Store};
use serde_json::json;
use tokio_util::task::TaskTracker;

use crate::source_api::install_crypto;
use crate::world::PATIENCE;

const ANN: &str = "c0ffee00c0ffee00";

struct World {
    sandbox: Sandbox,
    store: Store,
    clock: Clock,
    account: Account,
    /// The lookups of all its books.
    tasks: TaskTracker,
}

impl World {
    async fn new() -> Self {
        install_crypto();
        let clock = Clock::manual("2026-03-10T09:00:00Z".parse().unwrap());
        let sandbox = Sandbox::start(Settings::default(), clock.clone()).await.unwrap();
        let ann = Client { uid: ANN.into(), name: Some("Ann Lee".into()), ..Client::default() };
        sandbox.business.people(|people| people.add_client(ann));
        let account = Account {
            name: "main".into(),
            token: Token::Value(sandbox.token().into()),
            base_url: sandbox.url().parse().unwrap(),
            poll_every: Duration::from_secs(20),
            start_from: StartFrom::Now,
            unread_only: true,
            overlap: Duration::from_mins(2),
            lookup: true,
            app_host: "https://app.vcita.com".parse().unwrap(),
        };
        let store = Store::open("sqlite::memory:", Mode::Daemon).await.unwrap();
        Self { sandbox, store, clock, account, tasks: TaskTracker::new() }
    }

    fn book(&self) -> NameBook {
        let lookup = Lookup::new(&self.account, &egress(), Pace::unlimited());
        NameBook::new(&self.account, Some(lookup), self.store.clone(), self.clock.clone(), self.tasks.clone())
    }

    fn message(client_uid: &str) -> Message {
        Self::message_to(client_uid, "nobody")
    }

    fn message_to(client_uid: &str, staff_uid: &str) -> Message {
        let item = json!({ "uid": "m1", "client_uid": client_uid, "staff_uid": staff_uid, "created_at": "2026-03-10T09:00:00Z" });
        read_item("main", &item).unwrap()
    }

    /// The names once all are here: who asks does not wait for longer than [`WAIT_MAX`], which may be too short on a busy machine.
    async fn names(book: &NameBook, message: &Message) -> Names {
        let all = async {
            loop {
                let names = book.names(message, WAIT_MAX).await;
                if names.late == Late::default() {
                    return names;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, all).await.expect("the names do not come")
    }

    fn lookups_of(&self, uid: &str) -> usize {
        self.requests_for(&format!("/platform/v1/clients/{uid}"))
    }

    fn requests_for(&self, path: &str) -> usize {
        self.sandbox.business.requests().iter().filter(|request| request.path == path).count()
    }

    /// Where the list of staff is.
    fn staff_path() -> String {
        format!("/platform/v1/businesses/{BUSINESS_UID}/staffs")
    }
}

#[tokio::test]
async fn a_name_is_fetched_once_however_many_ask_and_again_after_a_day() {
    let world = World::new().await;
    let book = world.book();
    let message = World::message(ANN);
    let (first, second) = tokio::join!(World::names(&book, &message), World::names(&book, &message));
    assert_eq!(first, second);
    assert_eq!(first.client.unwrap().name.as_deref(), Some("Ann Lee"));
    assert!(first.business.unwrap().name.is_some());
    assert_eq!(first.staff.unwrap().uid, "nobody", "an unknown uid is at least a uid");
    assert_eq!(world.lookups_of(ANN), 1);

    let restarted = World::names(&world.book(), &message).await;
    assert_eq!(restarted.client.unwrap().name.as_deref(), Some("Ann Lee"));
    assert_eq!(world.lookups_of(ANN), 1, "the store remembers across restarts");

    world.clock.advance(Duration::from_hours(25));
    World::names(&book, &message).await;
    assert_eq!(world.lookups_of(ANN), 2);
}

#[tokio::test]
async fn a_slow_or_broken_lookup_costs_no_more_than_the_wait_and_leaves_the_uids() {
    let world = World::new().await;
    let path = format!("/platform/v1/clients/{ANN}");
    let slow = script::Answer { wait_ms: 60_000, ..script::ok() };
    world.sandbox.business.fault(script::Fault { on: path, times: None, answer: slow });
    let message = World::message(ANN);
    let book = world.book();
    let names = book.names(&message, Duration::from_millis(100)).await;
    assert!(!world.tasks.is_empty(), "the lookup goes on, nobody waited for its end");
    assert_eq!(names.client.map(|client| (client.uid, client.name)), Some((ANN.to_owned(), None)));

    let unknown = World::message("no-such-client");
    assert_eq!(World::names(&book, &unknown).await.client.unwrap().name, None);
    World::names(&book, &unknown).await;
    assert_eq!(world.lookups_of("no-such-client"), 1, "that there is none is remembered for a while");
}

#[tokio::test]
async fn all_that_a_delivery_tells_of_waits_for_names_once() {
    let (world, books) = (World::new().await, NameBooks::default());
    books.insert("main".to_owned(), world.book());
    let clients: Vec<String> = (0..40).map(|number| format!("client-{number}")).collect();
    for client in &clients {
        let on = format!("/platform/v1/clients/{client}");
        let slow = script::Answer { wait_ms: 60_000, ..script::ok() };
        world.sandbox.business.fault(script::Fault { on, times: None, answer: slow });
    }
    let (started, soon) = (Instant::now(), Soon::within(&books, Duration::from_secs(1)));
    for client in &clients {
        let names = soon.names(&World::message(client)).await;
        assert_eq!(names.client.map(|known| known.uid), Some(client.clone()));
    }
    // Each by itself they would take forty seconds.
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
}

#[tokio::test]
async fn one_answer_about_the_staff_counts_for_all_who_waited_for_it() {
    // The list without them, and a refusal: neither is worth waiting for any longer.
    for answer in [script::ok(), script::status(403)] {
        let (world, wait_ms) = (World::new().await, 1_000);
        let slow = script::Answer { wait_ms, ..answer };
        world.sandbox.business.fault(script::Fault { on: World::staff_path(), times: None, answer: slow });
        let messages = ["nobody", "no-one"].map(|staff| World::message_to(ANN, staff));
        let book = world.book();
        book.prefetch(&messages);
        let [one, other] = &messages;
        tokio::join!(World::names(&book, one), World::names(&book, other));
        assert_eq!(world.requests_for(&World::staff_path()), 1);
    }
}
