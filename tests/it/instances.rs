//! Several relays on one database, in simulated time: who does what, and that targets notice nothing of their number.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::Duration;

use activity_relay::daemon::driver;
use activity_relay::model::delivery::StateName;
use activity_relay::sandbox::script::{Answer, says};

use crate::faults::record::{Observed, record};
use crate::several::{ONE_ACCOUNT, Several};
use crate::store_kit::{admitted, claim_one, page, planned};
use crate::world::{PATIENCE, World};

/// One channel that takes one message a second, in turn.
const PACED: &str = "
targets:
  desk: { type: slack, webhook_url: \"${SLACK}\", allow_private: true, rate: 1/s, burst: 1 }
rules:
  - { name: all, match: {}, deliver: [{ to: desk }] }
";
/// One that has somebody to be told of its troubles.
const WITH_FALLBACK: &str = "
targets:
  desk: { type: slack, webhook_url: \"${SLACK}\", allow_private: true, rate: 1000/s, fallback: crm }
  crm: { type: http, url: \"${HTTP}\", allow_private: true }
rules:
  - { name: all, match: {}, deliver: [{ to: desk }] }
";
/// One that takes as much as there is.
const UNPACED: &str = "
targets:
  crm: { type: http, url: \"${HTTP}\", allow_private: true }
rules:
  - { name: all, match: {}, deliver: [{ to: crm }] }
";
const SECOND: Duration = Duration::from_secs(1);
const YEAR: Duration = Duration::from_hours(365 * 24);
/// How often everybody says that it is there.
const BEAT: Duration = Duration::from_secs(5);
/// Within this time somebody else does what a dead one did.
const TAKEN_OVER_WITHIN: u64 = 30;
/// Pairs of clocks, each as far from the right one as is allowed for.
const CLOCKS: [[i64; 2]; 3] = [[0, 0], [0, 5], [0, -5]];

fn accounts(count: usize) -> String {
    let mut rules = String::from("version: 1\naccounts:\n");
    for number in 0..count {
        writeln!(
            rules,
            "  - {{ name: a{number}, token: '${{TOKEN}}', base_url: '${{API}}', lookup: false }}"
        )
        .unwrap();
    }
    rules + PACED
}

async fn shares(several: &Several) -> Vec<usize> {
    let mut shares = Vec::new();
    for member in &several.members {
        let held = several.held_by(member).await;
        shares.push(held.iter().filter(|role| role.starts_with("poll ")).count());
    }
    shares
}

async fn beats(several: &Several, count: usize) {
    for _ in 0..count {
        several.pass(BEAT);
        several.beat().await;
    }
}

#[tokio::test]
async fn accounts_are_spread_over_those_that_are_there() {
    let Some(mut several) = Several::new(&accounts(5), &[0]).await else { return };
    several.beat().await;
    assert_eq!(shares(&several).await, [5]);
    several.join(0).await;
    beats(&several, 5).await;
    assert_eq!(shares(&several).await, [3, 2]);
    several.join(0).await;
    beats(&several, 5).await;
    assert_eq!(shares(&several).await.iter().sum::<usize>(), 5);
    assert!(shares(&several).await.iter().all(|share| *share <= 2), "{:?}", shares(&several).await);
    let gone = several.members.remove(1);
    gone.relay.roles.leave(several.now()).await.unwrap();
    assert!(!gone.holds("a0") && !gone.holds("a4"));
    beats(&several, 1).await;
    assert_eq!(
        shares(&several).await.iter().sum::<usize>(),
        5,
        "what one gives up is taken up by the next beat"
    );
    let holds = several.store().holds().await.unwrap();
    assert_eq!(holds.iter().filter(|hold| hold.role == "janitor").count(), 1);
}

#[tokio::test]
async fn a_dead_poller_is_replaced_within_half_a_minute_and_writes_nothing_any_more() {
    let rules = format!("{ONE_ACCOUNT}{PACED}");
    for clocks in CLOCKS {
        for dead in 0..2 {
            let Some(several) = Several::new(&rules, &clocks).await else { return };
            let (dies, lives) = (&several.members[dead], &several.members[1 - dead]);
            dies.beat().await;
            lives.beat().await;
            several.receive();
            assert_eq!(dies.poll().await.unwrap().result.unwrap().messages, 1);
            let since = several.now();
            while !lives.holds("main") {
                several.pass(SECOND);
                if several.now().duration_since(since).as_secs() % 5 == 4 {
                    lives.beat().await;
                }
                assert!(
                    !(lives.holds("main") && dies.holds("main")),
                    "one at a time, by their own clocks too"
                );
            }
            let taken = several.now().duration_since(since).as_secs();
            assert!(taken <= i64::try_from(TAKEN_OVER_WITHIN).unwrap(), "{clocks:?}: {taken} s");
            // It only stood still, with a page in its hands.
            several.receive();
            let late = driver::poll_handing(&dies.relay, &dies.relay.posts.all()[0]).await;
            assert!(late.result.unwrap_err().role_lost());
            assert_eq!(lives.poll().await.unwrap().result.unwrap().messages, 1);
            let text = dies.relay.metrics.render();
            assert!(text.contains("polls_left_total{account=\"main\"} 1"), "{text}");
            assert!(text.contains("poll_failures_total{account=\"main\"} 0"), "it is no failure: {text}");
            assert_eq!(several.store().accounts().await.unwrap()[0].error, None, "nobody is bothered by it");
        }
    }
}

/// All of them arrive, in order, and never faster than one a second by the right clock.
async fn paced(clocks: &[i64]) -> Option<Vec<u64>> {
    const MESSAGES: usize = 10;
    let several = Several::new(&format!("{ONE_ACCOUNT}{PACED}"), clocks).await?;
    several.beat().await;
    for _ in 0..MESSAGES {
        several.receive();
    }
    for member in &several.members {
        let _ = member.poll().await;
    }
    for step in 0..5 * (MESSAGES + 20) {
        if several.posts().len() == MESSAGES {
            break;
        }
        // In turn one is a moment quicker than the others.
        several.members[step % clocks.len()].send().await;
        several.send().await;
        several.pass(Duration::from_millis(200));
    }
    let posts = several.posts();
    let order: Vec<usize> = posts.iter().map(|(number, _)| *number).collect();
    assert_eq!(order, (0..MESSAGES).collect::<Vec<_>>(), "{clocks:?}");
    for pair in posts.windows(2) {
        assert!(pair[1].1.duration_since(pair[0].1).as_millis() >= 1000, "{clocks:?}: {posts:?}");
    }
    Some(several.members.iter().map(super::several::Member::attempts).collect())
}

#[tokio::test]
async fn a_target_s_pace_is_that_of_all_instances_together() {
    for clocks in CLOCKS {
        let Some(attempts) = paced(&clocks).await else { return };
        assert_eq!(attempts.iter().sum::<u64>(), 10, "{clocks:?}");
    }
}

#[tokio::test]
async fn another_instance_goes_on_with_a_pace_once_it_knows_how_it_stands() {
    for clocks in CLOCKS {
        let Some(several) = Several::new(&format!("{ONE_ACCOUNT}{PACED}"), &clocks).await else { return };
        for first in [0, 1, 0, 1] {
            several.beat().await;
            several.receive();
            several.receive();
            for member in &several.members {
                let _ = member.poll().await;
            }
            for _ in 0..15 {
                several.members[first].send().await;
                several.pass(SECOND);
            }
        }
        assert!(
            several.members.iter().all(|member| member.attempts() > 0),
            "the one that does not poll sends, too"
        );
        let posts = several.posts();
        assert_eq!(posts.len(), 8, "{clocks:?}");
        for pair in posts.windows(2) {
            assert!(pair[1].1.duration_since(pair[0].1).as_secs() >= 1, "{clocks:?}: {posts:?}");
        }
    }
}

fn told(several: &Several) -> Vec<String> {
    let arrivals = several.sandbox.http.received();
    let subject = |body: &str| {
        let from = body.find("Relay: ")?;
        body[from..].find(['"', '\\', '\n']).map(|end| body[from..from + end].to_owned())
    };
    arrivals.iter().filter_map(|arrival| subject(&arrival.body)).collect()
}

fn no_service() -> Answer {
    says(404, "no_service")
}

#[tokio::test]
async fn what_one_parks_is_parked_for_all_and_told_once() {
    let Some(several) = Several::new(&format!("{ONE_ACCOUNT}{WITH_FALLBACK}"), &[0, 0]).await else { return };
    let [first, second] = &*several.members else { panic!("two of them") };
    several.beat().await;
    several.sandbox.slack.answers([no_service(), no_service()]);
    several.receive();
    first.poll().await.unwrap().result.unwrap();
    first.send().await;
    assert_eq!(several.sandbox.slack.arrivals().len(), 1);
    for _ in 0..5 {
        several.receive();
    }
    first.poll().await.unwrap().result.unwrap();
    second.send().await;
    assert_eq!(several.sandbox.slack.arrivals().len(), 1, "the other one leaves it alone");
    several.send().await;
    assert_eq!(told(&several), ["Relay: target desk is parked"]);
    // The probe is one of both: the first fails, the next goes through.
    for arrivals in 2..=3 {
        while several.sandbox.slack.arrivals().len() < arrivals {
            several.pass(Duration::from_secs(10));
            several.send().await;
        }
    }
    for _ in 0..10 {
        several.send().await;
        several.pass(SECOND);
    }
    assert_eq!(told(&several), ["Relay: target desk is parked", "Relay: target desk works again"]);
    assert_eq!(several.posts().len(), 6);
    assert_eq!(several.sandbox.slack.arrivals().len(), 8, "each refused or taken once");
}

#[tokio::test]
async fn a_pause_holds_for_all() {
    let Some(several) = Several::new(&format!("{ONE_ACCOUNT}{WITH_FALLBACK}"), &[0, 0]).await else { return };
    let [first, second] = &*several.members else { panic!("two of them") };
    several.beat().await;
    several.sandbox.slack.answers([says(429, "").header("retry-after", "40")]);
    for _ in 0..3 {
        several.receive();
    }
    first.poll().await.unwrap().result.unwrap();
    first.send().await;
    several.pass(Duration::from_secs(39));
    assert_eq!(second.send().await + first.send().await, 0);
    several.store().pause_target("desk", true, "holidays").await.unwrap();
    several.pass(SECOND);
    assert_eq!(several.send().await, 0, "a person's word is for all of them, too");
    several.store().pause_target("desk", false, "back").await.unwrap();
    while several.send().await > 0 {}
    assert_eq!(several.posts().len(), 3);
}

/// Two instances whose clocks are apart, for two minutes; the one that polls stands still for the second of them.
async fn two_minutes(clocks: [i64; 2], seed: u64) -> Option<Observed> {
    let several = Several::new(&format!("{ONE_ACCOUNT}{PACED}"), &clocks).await?;
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut owed = 0;
    for second in 0..180_u64 {
        if second < 100 && rng.u8(..4) == 0 {
            several.receive();
            owed += 1;
        }
        let still = (60..120).contains(&second).then_some(0);
        for (nth, member) in several.members.iter().enumerate().filter(|(nth, _)| Some(*nth) != still) {
            if (second + 2 * nth as u64).is_multiple_of(BEAT.as_secs()) {
                member.beat().await;
            }
            if second.is_multiple_of(3) {
                let polled = member.poll().await;
                assert!(polled.is_none_or(|tick| tick.result.is_ok()));
            }
            member.send().await;
        }
        let holders = several.members.iter().filter(|member| member.holds("main")).count();
        assert!(holders <= 1, "{clocks:?}: two hold it at second {second}");
        several.pass(SECOND);
    }
    for pair in several.posts().windows(2) {
        assert!(pair[1].1.duration_since(pair[0].1).as_secs() >= 1, "{clocks:?}: {pair:?}");
    }
    let rows = several.rows().await;
    assert!(rows.iter().all(|row| row.state == StateName::Delivered && row.attempts == 1), "{rows:?}");
    let different: BTreeSet<usize> = several.posts().iter().map(|(number, _)| *number).collect();
    assert_eq!((different.len(), several.posts().len()), (owed, owed), "{clocks:?}");
    let saw = "roles had one holder at a time, the pace was kept, each message came once";
    Some(Observed { seed, ..Observed::judge(&rows, owed, &several.sandbox.slack.arrivals(), saw) })
}

#[tokio::test]
async fn clocks_that_are_five_seconds_apart_do_no_harm() {
    let mut all = Observed::default();
    for (seed, clocks) in (1..).zip(CLOCKS) {
        let Some(one) = two_minutes(clocks, seed).await else { return };
        all.messages += one.messages;
        all.delivered += one.delivered;
        all.lost += one.lost;
        all.duplicates += one.duplicates;
        (all.seed, all.saw) = (1, one.saw);
    }
    let how =
        "two relays whose clocks are 5 s apart in either direction, the poller standing still for a minute";
    record("clocks-apart", how, &all);
}

#[tokio::test]
async fn where_there_can_only_be_one_it_holds_everything_and_says_so_once() {
    let world = World::new(PACED).await;
    let relay = world.relay();
    assert!(relay.roles.holds("poll main", world.clock.now()), "nobody else could");
    relay.roles.tick(&relay.config(), world.clock.now()).await.unwrap();
    let held: Vec<String> = world.store().holds().await.unwrap().into_iter().map(|hold| hold.role).collect();
    assert_eq!(held, ["janitor", "poll main"]);
    world.clock.advance(YEAR);
    assert!(relay.roles.holds("poll main", world.clock.now()));
    assert_eq!(world.store().instances().await.unwrap()[0].id, world.store().instance());
    relay.roles.leave(world.clock.now()).await.unwrap();
    assert!(world.store().instances().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_single_round_polls_what_nobody_else_does_and_leaves_no_trace() {
    let Some(several) = Several::new(&accounts(2), &[0, 0]).await else { return };
    let [running, round] = &*several.members else { panic!("two of them") };
    running.relay.store.hold(&["poll a0".into()], Duration::from_mins(1), several.now()).await.unwrap();
    let went = driver::once(&round.relay, PATIENCE).await.unwrap();
    assert_eq!((went.elsewhere, went.failed), (vec!["a0".to_owned()], vec![]));
    let holds = several.store().holds().await.unwrap();
    assert_eq!(holds.iter().map(|hold| hold.role.as_str()).collect::<Vec<_>>(), ["poll a0"]);
    assert!(several.store().instances().await.unwrap().is_empty(), "nobody leaves it anything to do");
}

#[tokio::test]
async fn who_starts_while_another_says_nothing_lets_it_write_down_first_what_it_sent() {
    let Some(mut several) = Several::new(&(ONE_ACCOUNT.to_owned() + UNPACED), &[0]).await else { return };
    several.beat().await;
    let owe = async |several: &Several, uid: &str| {
        let now = several.now();
        let owed = page(vec![admitted(uid, vec![planned("crm", uid, now)])]);
        several.store().admit(owed, now).await.unwrap();
    };
    owe(&several, "sent").await;
    let sent = claim_one(several.store(), "crm", several.now()).await;
    // The database is away, for longer than who says nothing is remembered, and another relay is started when it comes back.
    several.pass(Duration::from_mins(15));
    owe(&several, "new").await;
    several.join(0).await;
    let late = &several.members[1];
    let arrived = async |count: usize| several.sandbox.http.wait_for(count, PATIENCE).await.unwrap();
    let looks = async {
        arrived(1).await;
        let rows = several.rows().await;
        let row = rows.iter().find(|row| row.id == sent.claim.id).unwrap();
        assert_eq!(
            (row.state, row.held_by.as_deref()),
            (StateName::Sending, Some(several.store().instance()))
        );
        late.clock.advance(Duration::from_secs(11));
        arrived(2).await;
        late.relay.stop.cancel();
    };
    tokio::join!(driver::run(&late.relay, PATIENCE), looks);
}

#[tokio::test]
async fn a_round_lets_those_write_down_what_they_sent_who_were_there_a_short_while_ago() {
    for (away, sent_again) in [(2, false), (15, true)] {
        let Some(mut several) = Several::new(&(ONE_ACCOUNT.to_owned() + UNPACED), &[0]).await else { return };
        several.beat().await;
        let now = several.now();
        let owed = page(vec![admitted("sent", vec![planned("crm", "sent", now)])]);
        several.store().admit(owed, now).await.unwrap();
        claim_one(several.store(), "crm", now).await;
        several.pass(Duration::from_mins(away));
        several.join(0).await;
        driver::once(&several.members[1].relay, PATIENCE).await.unwrap();
        assert_eq!(several.sandbox.http.received().len() == 1, sent_again, "{away} minutes");
    }
}
