//! Answers of every kind: all statuses, redirects that lead in circles, bodies without end, lengths that lie, waits that
//! nobody can wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use activity_relay::sandbox::script::{Answer, Fault, redirect, says, status};
use jiff::SignedDuration;

use super::http::rules;
use super::record::{Observed, record};
use super::wire::{Does, Proxy};
use crate::target_http::bomb;
use crate::target_server::Wire;
use crate::world::World;

/// What is due to become of a delivery that met this status: its state, whether the try counts, whether the target is
/// parked or paused.
fn class(status: u16) -> (&'static str, u32, bool) {
    match status {
        200..=299 => ("delivered", 1, false),
        300..=399 => ("dead", 1, false),
        401 | 403 | 404 | 410 | 429 => ("pending", 0, true),
        _ => ("pending", 1, false),
    }
}

#[tokio::test]
async fn every_status_ends_well_or_with_a_reason() {
    let world = World::new(&rules("${HTTP}")).await;
    let mut owed = 0;
    for code in 200..=599 {
        world.receives("Ann", &format!("met by {code}"));
        owed += 1;
        world.sandbox.http.answers([status(code)]);
        world.tick().await;
        let row = world.rows().await.pop().unwrap();
        let held = world.store().target_states().await.unwrap().iter().any(|target| {
            [target.parked_until, target.wait_until].into_iter().flatten().any(|at| at > world.clock.now())
        });
        assert_eq!((row.state.as_str(), row.attempts, held), class(code), "{code}: {row:?}");
        // Past the longest of the first waits: a probe, a pause, a slow retry.
        world.pass("15m").await;
    }
    let saw = "2xx delivered; 3xx dead with the reason; 401, 403, 404, 410 park the target and 429 pauses it, at no \
               attempt; all others tried again and delivered";
    let observed = Observed::of(&world, owed, &world.sandbox.http.arrivals(), saw).await;
    assert_eq!(observed.delivered, owed - 100, "all but the hundred redirects");
    record("status-every", "the inbox answers each status from 200 to 599 once", &observed);
}

#[tokio::test]
async fn a_redirect_loop_is_one_request() {
    let world = World::new(&rules("${HTTP}")).await;
    world.receives("Ann", "Hello?");
    let answer = redirect(world.sandbox.http.url());
    world.sandbox.http.fault(Fault { on: String::new(), times: None, answer });
    world.tick().await;
    world.pass("1h").await;
    assert_eq!(world.sandbox.http.arrivals().len(), 1);
    let row = world.rows().await.remove(0);
    let why = row.why.clone().unwrap();
    assert!(row.state.as_str() == "dead" && why.contains("which is not followed"), "{row:?}");
    world.sandbox.http.heal();
    world.store().replay(&[row.id.clone().into()], world.clock.now()).await.unwrap();
    world.send().await;
    let saw = "one request, never followed; dead with the Location in the reason; a replay was delivered";
    let observed = Observed::of(&world, 2, &world.sandbox.http.arrivals(), saw).await;
    assert_eq!(observed.delivered, 1);
    record("redirect-loop", "the inbox redirects to itself", &observed);
}

/// A message is met by this answer, and by the inbox afterwards.
async fn met_by(key: &str, how: &str, saw: &str, instead: impl Fn(&mut dyn Wire) + Send + Sync + 'static) {
    let proxy = Proxy::start(Does::Answer(Arc::new(instead)));
    let world = World::new(&rules(&proxy.url())).await;
    proxy.lead(world.sandbox.http.url());
    world.receives("Ann", "Hello?");
    world.tick().await;
    let row = world.rows().await.remove(0);
    assert_eq!((row.state.as_str(), row.attempts), ("pending", 1), "{key}: {row:?}");
    let kept = row.last.and_then(|last| last.answer).unwrap_or_default();
    assert!(kept.len() < 10_000, "{key}: {} bytes are kept", kept.len());
    proxy.does(Does::Pass);
    world.pass("10s").await;
    let observed = Observed::of(&world, 1, &world.sandbox.http.arrivals(), saw).await;
    assert_eq!((observed.delivered, observed.duplicates), (1, 0), "{key}: {observed:?}");
    record(key, how, &observed);
}

#[tokio::test]
async fn a_body_of_ten_gigabytes_is_left_unread() {
    let written = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&written);
    let saw = "64 KiB of it were read, the connection dropped; tried again and delivered";
    met_by("body-10gb", "a server answers 503 with a body of 10 GB", saw, move |stream| {
        let head = b"HTTP/1.1 503 Busy\r\nContent-Length: 10000000000\r\n\r\n";
        let mut more = stream.write_all(head).is_ok();
        while more {
            count.fetch_add(8_192, Ordering::SeqCst);
            more = stream.write_all(&[b'x'; 8_192]).is_ok();
        }
    })
    .await;
    assert!(written.load(Ordering::SeqCst) < 64 << 20, "far less than it would have sent");
}

#[tokio::test]
async fn a_gzip_bomb_is_unpacked_to_the_cap_only() {
    let saw = "unpacked to 64 KiB and left; tried again and delivered";
    met_by("body-gzip-bomb", "a server answers 503 with an endless gzip stream of zeros", saw, |stream| {
        let head = b"HTTP/1.1 503 Busy\r\nContent-Encoding: gzip\r\n\r\n\x1f\x8b\x08\0\0\0\0\0\0\xff";
        if stream.write_all(head).is_ok() {
            bomb(stream, &AtomicU64::new(0));
        }
    })
    .await;
}

#[tokio::test]
async fn lengths_that_lie_harm_nothing() {
    let saw = "tried again and delivered";
    for (variant, head, how) in [
        ("", "Content-Length: 1000", "a server promises 1,000 bytes of body, sends 5 and hangs up"),
        ("+short", "Content-Length: 2", "a server promises 2 bytes and sends 5"),
        ("+negative", "Content-Length: -1", "a server promises -1 bytes"),
        ("+huge", "Content-Length: 99999999999999999999999", "a server promises 10^23 bytes"),
        ("+two", "Content-Length: 5\r\nContent-Length: 7", "a server names two lengths"),
        ("+chunks", "Transfer-Encoding: chunked", "a server promises chunks and sends none"),
    ] {
        let answer = format!("HTTP/1.1 503 Busy\r\n{head}\r\n\r\nshort");
        met_by(&format!("body-lying-length{variant}"), how, saw, move |stream| {
            let _ = stream.write_all(answer.as_bytes());
        })
        .await;
    }
}

/// What the target answers with, and the seconds within which the next try is due.
struct Wait {
    key: &'static str,
    how: &'static str,
    answer: Answer,
    due: std::ops::RangeInclusive<i64>,
}

fn wait(key: &'static str, how: &'static str, answer: Answer, due: std::ops::RangeInclusive<i64>) -> Wait {
    Wait { key, how, answer, due }
}

/// The inbox's own clock stands in its answers, so that dates can be told by it.
fn dated(text: &str) -> Answer {
    status(503).header("date", "Tue, 10 Mar 2026 09:00:00 GMT").header("retry-after", text)
}

#[tokio::test]
async fn waits_are_kept_where_they_make_sense_and_never_do_harm() {
    let header = |text: &str| status(503).header("retry-after", text);
    // What is unusable leaves the first backoff step: one to five seconds.
    let backoff = 1..=5;
    for Wait { key, how, answer, due } in [
        wait("retry-after-0", "503 with Retry-After: 0", header("0"), 1..=1),
        wait("retry-after-negative", "503 with Retry-After: -5", header("-5"), backoff.clone()),
        wait("retry-after-1e300", "503 with Retry-After: 1e300", header("1e300"), backoff.clone()),
        wait("retry-after-inf", "503 with Retry-After: inf", header("inf"), backoff.clone()),
        wait("retry-after-nan", "503 with Retry-After: NaN", header("NaN"), backoff.clone()),
        wait(
            "retry-after-past",
            "503 with a date an hour ago",
            dated("Tue, 10 Mar 2026 08:00:00 GMT"),
            backoff,
        ),
        wait(
            "retry-after-dates",
            "503 with an IMF-fixdate 30 s ahead",
            dated("Tue, 10 Mar 2026 09:00:30 GMT"),
            30..=30,
        ),
        wait(
            "retry-after-dates+rfc850",
            "503 with a date of RFC 850",
            dated("Tuesday, 10-Mar-26 09:00:30 GMT"),
            30..=30,
        ),
        wait(
            "retry-after-dates+asctime",
            "503 with a date of asctime",
            dated("Tue Mar 10 09:00:30 2026"),
            30..=30,
        ),
        wait("retry-after-bodies", "503 with Discord's body", says(503, r#"{"retry_after":12.5}"#), 12..=13),
        wait(
            "retry-after-bodies+telegram",
            "503 with Telegram's body",
            says(503, r#"{"ok":false,"parameters":{"retry_after":35}}"#),
            35..=35,
        ),
        wait("retry-after-0+year", "503 with Retry-After of a year", header("31536000"), 86_400..=86_400),
    ] {
        let saw =
            if *due.end() > 5 { "waited as asked, then delivered" } else { "backed off, then delivered" };
        kept(key, how, saw, World::new(&rules("${HTTP}")).await, answer, due).await;
    }
}

#[tokio::test]
async fn of_two_waits_the_longer_one_is_kept() {
    // The inbox's script holds each header once; a raw server sends two.
    let proxy = Proxy::start(Does::Answer(Arc::new(|stream: &mut dyn Wire| {
        let head = "HTTP/1.1 503 Busy\r\nRetry-After: 5\r\nRetry-After: 30\r\nContent-Length: 0\r\n\r\n";
        let _ = stream.write_all(head.as_bytes());
    })));
    let world = World::new(&rules(&proxy.url())).await;
    proxy.lead(world.sandbox.http.url());
    world.receives("Ann", "Hello?");
    world.tick().await;
    proxy.does(Does::Pass);
    due(
        "retry-after-two",
        "503 with Retry-After: 5 and Retry-After: 30",
        "waited for the longer",
        &world,
        30..=30,
    )
    .await;
}

async fn kept(
    key: &str,
    how: &str,
    saw: &str,
    world: World,
    answer: Answer,
    within: std::ops::RangeInclusive<i64>,
) {
    world.receives("Ann", "Hello?");
    world.sandbox.http.answers([answer]);
    world.tick().await;
    due(key, how, saw, &world, within).await;
}

/// The delivery is due within these seconds, is not tried before, and is delivered then.
async fn due(key: &str, how: &str, saw: &str, world: &World, within: std::ops::RangeInclusive<i64>) {
    let due_at = world.rows().await[0].due_at.unwrap();
    let wait = due_at.duration_since(world.clock.now());
    assert!(within.contains(&wait.as_secs()) || within.contains(&(wait.as_secs() + 1)), "{key}: {wait:?}");
    let tried = world.sandbox.http.arrivals().len();
    world.pass(&(wait - SignedDuration::from_millis(100)).to_string()).await;
    assert_eq!(world.sandbox.http.arrivals().len(), tried, "{key}: tried too early");
    world.pass("100ms").await;
    let observed = Observed::of(world, 1, &world.sandbox.http.arrivals(), saw).await;
    assert_eq!((observed.delivered, observed.duplicates), (1, 0), "{key}: {}", world.owed().await);
    record(key, how, &observed);
}
