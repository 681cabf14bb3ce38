//! What people choose in the console and change: seen before it is done, done once, and of the ones that they mean.

use activity_relay::sandbox::incoming::Incoming;
use activity_relay::store::{Filter, Row};

use crate::console::{Answer, form_to, gathering, get, hidden, open_digest, post, started};
use crate::stage::{Running, Stage};
use crate::world::PATIENCE;

/// A console whose relay has delivered so many messages.
struct Delivered {
    stage: Stage,
    running: Running,
    address: String,
    proof: String,
}

impl Delivered {
    async fn new(messages: usize) -> Self {
        let stage = Stage::new().await;
        let (running, address) = started(&stage, "").await;
        for number in 0..messages {
            stage.sandbox.business.receive(Incoming::text("Ann", &format!("no. {number}")));
        }
        let proof = get(&address, "/targets", "").await.proof();
        let delivered = Self { stage, running, address, proof };
        delivered.settled(messages).await;
        delivered
    }

    /// All deliveries, once so many are delivered.
    async fn settled(&self, all: usize) -> Vec<Row> {
        let store = self.stage.store().await;
        let come = async {
            while store.counts(None).await.unwrap().delivered < all as u64 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, come).await.expect("they are not delivered");
        store.deliveries(Filter::default()).await.unwrap().0
    }

    async fn send(&self, path: &str, form: &str) -> Answer {
        let own = format!("Origin: http://{}\r\n", self.address);
        post(&self.address, path, &own, &format!("csrf={}&{form}", self.proof)).await
    }

    async fn page(&self, path: &str) -> Answer {
        get(&self.address, path, "").await
    }

    /// Puts deliveries into a state.
    fn put(&self, which: &str, state: &str) {
        let sql = format!(
            "UPDATE deliveries SET state = '{state}' WHERE {which};
             DELETE FROM counts;
             INSERT INTO counts (target, state, n) SELECT target, state, count(*) FROM deliveries GROUP BY target, state"
        );
        self.stage.database().execute_batch(&sql).unwrap();
    }
}

#[tokio::test]
async fn a_change_of_all_that_fit_names_the_state_that_is_meant() {
    let console = Delivered::new(1).await;
    for change in ["replay", "discard"] {
        let form = format!("scope=all&target=crm&change={change}");
        let refused = console.send("/deliveries/review", &form).await;
        assert!(refused.status == 400 && refused.body.contains("Choose a state first"), "{}", refused.body);
    }
    let waits = console.send("/deliveries/review", "scope=all&state=pending&change=replay").await;
    assert!(waits.status == 400 && waits.body.contains("only what has ended is replayed"), "{}", waits.body);
    let ended = console.send("/deliveries/review", "scope=all&state=delivered&change=discard").await;
    assert_eq!(ended.status, 400, "{}", ended.body);
    let review = console.send("/deliveries/review", "scope=all&state=delivered&change=replay").await;
    assert!(
        review.body.contains("Replay 1 delivery?") && review.body.contains("1 delivered"),
        "{}",
        review.body
    );
    assert!(!review.body.contains("There are more"), "{}", review.body);
    let offered = async |query: &str| {
        let page = console.page(&format!("/deliveries?{query}")).await.body;
        ["Choose a state to", "Replay all that fit", "Discard all that fit"].map(|words| page.contains(words))
    };
    assert_eq!(offered("target=crm").await, [true, false, false]);
    assert_eq!(offered("state=delivered").await, [false, true, false], "what cannot be done is not offered");
    assert_eq!(console.settled(1).await.len(), 1, "nothing was changed");
    console.running.ends().await;
}

#[tokio::test]
async fn more_than_are_changed_at_once_are_said_to_be_more() {
    let console = Delivered::new(1).await;
    let database = console.stage.database();
    let withhold = |from: u32, to: u32| {
        let sql = format!(
            "WITH RECURSIVE n (i) AS (SELECT {from} UNION ALL SELECT i + 1 FROM n WHERE i < {to})
             INSERT INTO deliveries (id, account, rule, target, template, state, created_at, settled_at, first_due)
             SELECT printf('x%06d', i), account, rule, target, template, 'withheld', created_at, settled_at, first_due
             FROM n, (SELECT * FROM deliveries LIMIT 1)"
        );
        database.execute_batch(&sql).unwrap();
    };
    let review =
        async || console.send("/deliveries/review", "scope=all&state=withheld&change=replay").await.body;
    withhold(1, 10_000);
    let page = review().await;
    assert!(page.contains("Replay 10,000 deliveries?") && !page.contains("There are more"), "{page}");
    withhold(10_001, 10_001);
    let page = review().await;
    assert!(
        page.contains("Replay 10,000 deliveries?") && page.contains("There are more; only the newest 10,000"),
        "{page}"
    );
    assert!(page.contains("10,000 withheld"), "{page}");
    console.put("state = 'withheld'", "dead");
    let review = console.send("/deliveries/review", "scope=all&state=dead&change=discard").await;
    let form = format!("{}&change=discard", form_to(&review, "/deliveries/change"));
    assert_eq!(console.send("/deliveries/change", &form).await.status, 303, "so many can be named");
    let counts = console.stage.store().await.counts(None).await.unwrap();
    assert_eq!((counts.discarded, counts.dead), (10_000, 1));
    console.running.ends().await;
}

#[tokio::test]
async fn what_comes_into_the_state_after_the_look_is_not_changed() {
    let console = Delivered::new(4).await;
    let mut rows = console.settled(4).await;
    // The newest first, so that those that come later were planned before.
    rows.sort_unstable_by_key(|row| std::cmp::Reverse(row.number));
    let die = |rows: &[Row]| rows.iter().for_each(|row| console.put(&format!("id = '{}'", row.id), "dead"));
    die(&rows[..2]);
    let review = console.send("/deliveries/review", "scope=all&state=dead&change=discard").await;
    assert!(review.body.contains("Discard 2 deliveries?"), "{}", review.body);
    die(&rows[2..]);
    let form = format!("{}&change=discard", form_to(&review, "/deliveries/change"));
    let changed = console.send("/deliveries/change", &form).await;
    let told = console.page(changed.header("location").unwrap()).await.body;
    assert!(told.contains("2 deliveries discarded."), "{told}");
    let counts = console.stage.store().await.counts(None).await.unwrap();
    assert_eq!((counts.discarded, counts.dead), (2, 2));
    console.running.ends().await;
}

#[tokio::test]
async fn a_second_click_changes_nothing_and_says_so() {
    let console = Delivered::new(2).await;
    let look = async |state: &str, change: &str| {
        let review =
            console.send("/deliveries/review", &format!("scope=all&state={state}&change={change}")).await;
        format!("{}&change={change}", form_to(&review, "/deliveries/change"))
    };
    let replay = look("delivered", "replay").await;
    assert_eq!(console.send("/deliveries/change", &replay).await.status, 303);
    let again = console.send("/deliveries/change", &replay).await;
    assert!(again.status == 409 && again.body.contains("by a second click"), "{}", again.body);
    assert_eq!(console.settled(4).await.len(), 4);
    console.put("replay_of IS NULL", "dead");
    let discard = look("dead", "discard").await;
    assert_eq!(console.send("/deliveries/change", &discard).await.status, 303);
    let again = console.send("/deliveries/change", &discard).await;
    assert!(
        again.status == 409 && again.body.contains("nothing can be discarded any more"),
        "{}",
        again.body
    );
    console.running.ends().await;
}

#[tokio::test]
async fn what_a_digest_takes_in_after_the_look_is_not_cancelled_unseen() {
    let stage = Stage::with(&gathering()).await;
    let (running, address) = started(&stage, "").await;
    let own = format!("Origin: http://{address}\r\n");
    let look = async |page: &Answer| {
        let form = format!("csrf={}&id={}&change=cancel", page.proof(), hidden(page, "id"));
        let review = post(&address, "/digests/review", &own, &form).await;
        format!("{}&change=cancel", form_to(&review, "/digests/change"))
    };
    stage.receive(2);
    let seen = look(&open_digest(&address, 2).await).await;
    stage.receive(1);
    let grown = open_digest(&address, 3).await;
    let refused = post(&address, "/digests/change", &own, &seen).await;
    assert!(refused.status == 409 && refused.body.contains("1 message more came"), "{}", refused.body);
    let cancelled = post(&address, "/digests/change", &own, &look(&grown).await).await;
    let told = get(&address, cancelled.header("location").unwrap(), "").await.body;
    assert!(told.contains("discarded with its 3 messages"), "{told}");
    running.ends().await;
}

#[tokio::test]
async fn a_digest_is_cancelled_by_one_of_two_clicks() {
    let stage = Stage::with(&gathering()).await;
    let (running, address) = started(&stage, "").await;
    let own = format!("Origin: http://{address}\r\n");
    stage.receive(2);
    let page = open_digest(&address, 2).await;
    let form = format!("csrf={}&id={}&messages=2&change=cancel", page.proof(), hidden(&page, "id"));
    let locker = stage.database();
    locker.execute_batch("BEGIN IMMEDIATE").unwrap();
    let click = || post(&address, "/digests/change", &own, &form);
    let free = async {
        // Meanwhile both have found it open, and wait to write.
        for _ in 0..5 {
            get(&address, "/digests", "").await;
        }
        locker.execute_batch("ROLLBACK").unwrap();
    };
    let (first, second, ()) = tokio::join!(click(), click(), free);
    let mut statuses = [first.status, second.status];
    statuses.sort_unstable();
    // One that comes late finds none that is open.
    assert!(matches!(statuses, [303, 404 | 409]), "{statuses:?} {} {}", first.body, second.body);
    let refused = if first.status == 303 { second } else { first };
    assert!(refused.body.contains("no longer open"), "{}", refused.body);
    running.ends().await;
}

#[tokio::test]
async fn a_rule_that_another_mute_silences_stays_muted() {
    let console = Delivered::new(0).await;
    let told = async |path: &str, form: &str| {
        let changed = console.send(path, form).await;
        console.page(changed.header("location").unwrap()).await.body
    };
    let page = told("/mutes/add", "rule=all&for=8h&reason=long").await;
    assert!(page.contains("all is muted.") && !page.contains("by mute"), "{page}");
    let page = told("/mutes/add", "rule=all&for=2h&reason=short").await;
    assert!(page.contains("all is muted.") && page.contains("by mute 1"), "{page}");
    let page = told("/mutes/lift", "id=2").await;
    assert!(page.contains("Mute 2 is lifted, and all stays muted until"), "{page}");
    assert!(page.contains("by mute 1") && !page.contains("no longer muted"), "{page}");
    let page = told("/mutes/lift", "id=1").await;
    assert!(page.contains("all is no longer muted"), "{page}");
    console.running.ends().await;
}

#[tokio::test]
async fn what_is_sent_again_was_looked_at_and_is_sent_once() {
    let console = Delivered::new(1).await;
    let id = console.settled(1).await[0].id.to_string();
    let page = console.page(&format!("/deliveries/{id}")).await.body;
    assert!(page.contains("Send once more…") && !page.contains("/deliveries/change"), "{page}");
    let look = async || console.send("/deliveries/review", &format!("id={id}&change=replay")).await;
    let form = |review: &Answer| format!("id={id}&replays={}&change=replay", hidden(review, "replays"));
    let review = look().await;
    assert!(review.body.contains("Replay 1 delivery?") && !review.body.contains("sent again before"));
    let both = form(&review);
    let (first, second) =
        tokio::join!(console.send("/deliveries/change", &both), console.send("/deliveries/change", &both));
    let mut statuses = [first.status, second.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [303, 409], "a double click: {} {}", first.body, second.body);
    let refused = if first.status == 409 { first } else { second };
    assert!(refused.body.contains("by a second click"), "{}", refused.body);
    assert_eq!(console.settled(2).await.len(), 2);
    let unseen = console.send("/deliveries/change", &format!("id={id}&change=replay")).await;
    assert_eq!(unseen.status, 409, "nothing is sent again unseen");
    let review = look().await;
    assert!(review.body.contains("1 of them was sent again before"), "{}", review.body);
    assert_eq!(
        console.send("/deliveries/change", &form(&review)).await.status,
        303,
        "it was seen and is meant"
    );
    assert_eq!(console.settled(3).await.len(), 3);
    console.running.ends().await;
}

#[tokio::test]
async fn a_test_is_sent_once_however_often_its_page_is_loaded() {
    let console = Delivered::new(0).await;
    let tested = console.send("/targets/test", "name=crm").await;
    let to = tested.header("location").unwrap().to_owned();
    assert!(tested.status == 303 && to.starts_with("/targets?test="), "{to}");
    for _ in 0..2 {
        let page = console.page(&to).await.body;
        assert!(page.contains("Test of crm: delivered") && page.contains("status 200"), "{page}");
    }
    assert_eq!(console.stage.sandbox.http.received().len(), 1);
    let gone = console.page("/targets?test=1").await.body;
    assert!(gone.contains("What this test came to is not known here"), "{gone}");
    console.running.ends().await;
}

#[tokio::test]
async fn a_pause_has_a_reason() {
    let console = Delivered::new(0).await;
    for unsaid in ["name=crm", "name=crm&reason=+"] {
        let refused = console.send("/targets/pause", unsaid).await;
        assert!(refused.status == 400 && refused.body.contains("Say why"), "{}", refused.body);
    }
    assert!(!console.page("/targets").await.body.contains(">paused<"));
    assert_eq!(console.send("/targets/pause", "name=crm&reason=we+move+house").await.status, 303);
    let page = console.page("/targets").await.body;
    assert!(page.contains(">paused<") && page.contains("we move house"), "{page}");
    console.running.ends().await;
}

#[tokio::test]
async fn a_beginning_that_several_ids_have_opens_none_of_them() {
    let console = Delivered::new(2).await;
    let rows = console.settled(2).await;
    let ids: Vec<&str> = rows.iter().map(|row| row.id.as_str()).collect();
    let several = console.page("/find?q=d").await;
    assert_eq!(several.status, 200);
    for id in &ids {
        assert!(several.body.contains(&format!("href=\"/deliveries/{id}\"")), "{}", several.body);
        let one = console.page(&format!("/find?q={id}")).await;
        assert_eq!((one.status, one.header("location")), (303, Some(&*format!("/deliveries/{id}"))));
    }
    let common = ids[0].bytes().zip(ids[1].bytes()).take_while(|(a, b)| a == b).count();
    let one = console.page(&format!("/find?q={}", &ids[0][..=common])).await;
    assert_eq!(
        one.header("location"),
        Some(&*format!("/deliveries/{}", ids[0])),
        "the beginning of one alone"
    );
    assert_eq!(console.page("/find?q=dx").await.status, 404);
    console.running.ends().await;
}
