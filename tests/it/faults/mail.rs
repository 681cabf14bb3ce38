//! A mail server that fails at each stage in each way, and what becomes of the mail.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use activity_relay::config::Config;
use activity_relay::sandbox::script::{Answer, Cut, Fault, cut, says, slow};
use activity_relay::store::Row;
use activity_relay::target::email::{Email, Settings};
use activity_relay::target::{Kind, Target};
use rustls::pki_types::CertificateDer;

use super::post::{Post, StartTls};
use super::record::{Observed, record};
use crate::target_tls::Authority;
use crate::world::World;

/// The stages of a conversation in the words of the inbox's script; STARTTLS is not among them.
const STAGES: [&str; 7] = ["banner", "ehlo", "auth", "mail", "rcpt", "data", "dot"];
/// A mail's timeout where the server is silent, and its patience after the dot.
const QUICK: Duration = Duration::from_millis(400);
/// Its timeout where the server is silent after the dot: enough to get there.
const QUICK_TO_THE_DOT: Duration = Duration::from_secs(3);
/// Its timeout otherwise; and what is longer than all of these.
const PATIENT: Duration = Duration::from_mins(1);
const NEVER: Duration = Duration::from_mins(5);

fn rules(url: &str, to: &str) -> String {
    format!(
        "
targets:
  books: {{ type: email, smtp: \"{url}\", from: relay@example.com, to: [{to}] }}
rules:
  - {{ name: all, match: {{}}, deliver: [{{ to: books }}] }}
"
    )
}

/// The mail target logs in where it is told to, trusts these authorities too, and has this timeout until the relay is
/// opened again; then it is patient.
fn books(
    login: bool,
    roots: Vec<CertificateDer<'static>>,
    first: Duration,
) -> impl Fn(&mut Config) + Send + Sync {
    let again = AtomicBool::new(false);
    move |config| {
        let timeout = if again.swap(true, Ordering::Relaxed) { PATIENT } else { first };
        let target = Arc::into_inner(config.targets.remove("books").unwrap()).unwrap();
        let Kind::Email(email) = &target.kind else { panic!("a mail target") };
        let credentials = login.then(|| ("relay".to_owned(), "pw".to_owned().into()));
        let settings = Settings { credentials, ..email.settings().clone() };
        let kind = Kind::Email(Email::with(settings, roots.clone(), QUICK));
        config.targets.insert("books".to_owned(), Arc::new(Target { kind, timeout, ..target }));
    }
}

/// A world with one mail target that logs in and has this timeout at first, and a message owed to it.
async fn world(first: Duration) -> World {
    let world = World::adjusted(&rules("${MAIL}", "ann@example.com"), books(true, Vec::new(), first)).await;
    world.receives("Cleo", "Hello?");
    world
}

/// What a stage's failure makes of the mail: the row after it, and what the oracle sees once all is well again.
async fn failing(stage: &str, answer: Answer) -> (Row, Observed) {
    let silent = answer.wait_ms > 0;
    let first = match (silent, stage) {
        (false, _) => PATIENT,
        (true, "dot") => QUICK_TO_THE_DOT,
        (true, _) => QUICK,
    };
    let mut world = world(first).await;
    world.sandbox.mail.fault(Fault { on: stage.to_owned(), times: None, answer });
    world.tick().await;
    let row = world.rows().await.remove(0);
    world.sandbox.mail.heal();
    if silent {
        world.reopen().await;
    }
    world.pass("3m").await;
    (row, Observed::of(&world, 1, &world.sandbox.mail.arrivals(), "x").await)
}

/// The same at STARTTLS.
async fn failing_at_starttls(start_tls: StartTls) -> (Row, Observed) {
    let authority = Authority::new("ours");
    let root = authority.certificate.clone();
    let silent = matches!(start_tls, StartTls::Stalls);
    let post = Post::start(start_tls);
    let books = books(false, vec![root], if silent { QUICK } else { PATIENT });
    let mut world = World::adjusted(&rules(&post.url(""), "ann@example.com"), books).await;
    post.lead(world.sandbox.mail.url());
    world.receives("Cleo", "Hello?");
    world.tick().await;
    let row = world.rows().await.remove(0);
    assert!(world.sandbox.mail.arrivals().is_empty(), "nothing goes unprotected");
    post.start_tls(StartTls::Works(authority.certify("localhost", 2099)));
    if silent {
        world.reopen().await;
    }
    world.pass("3m").await;
    (row, Observed::of(&world, 1, &world.sandbox.mail.arrivals(), "x").await)
}

/// Adds up what was seen at each stage.
fn sum(all: &mut Observed, one: &Observed) {
    assert_eq!(one.lost, 0, "{one:?}");
    all.messages += one.messages;
    all.delivered += one.delivered;
    all.duplicates += one.duplicates;
    all.marked += one.marked;
}

/// One failure at every stage, STARTTLS included; `expect` looks at the row after each.
async fn at_each_stage(
    answer: impl Fn(&str) -> Answer,
    start_tls: StartTls,
    expect: impl Fn(&str, &Row, &Observed),
    saw: &str,
) -> Observed {
    let mut all = Observed { saw: saw.to_owned(), ..Observed::default() };
    for stage in STAGES {
        let (row, observed) = failing(stage, answer(stage)).await;
        expect(stage, &row, &observed);
        sum(&mut all, &observed);
    }
    let (row, observed) = failing_at_starttls(start_tls).await;
    expect("starttls", &row, &observed);
    sum(&mut all, &observed);
    all
}

#[tokio::test]
async fn a_421_anywhere_costs_no_attempt() {
    let expect = |stage: &str, row: &Row, observed: &Observed| {
        assert_eq!(
            (row.state.as_str(), row.attempts, row.maybe_duplicate),
            ("pending", 0, false),
            "{stage}: {row:?}"
        );
        assert_eq!(row.last.as_ref().unwrap().outcome, "busy", "{stage}: {row:?}");
        assert_eq!((observed.delivered, observed.duplicates), (1, 0), "{stage}: {observed:?}");
    };
    let saw = "no attempt counted, the target paused; delivered afterwards";
    let busy = |_: &str| says(421, "4.3.2 closing");
    let observed = at_each_stage(busy, StartTls::Says("421 4.3.2 closing"), expect, saw).await;
    record("smtp-421", "a mail server says 421 at each of eight stages, in runs of their own", &observed);
}

#[tokio::test]
async fn a_4xx_anywhere_is_tried_again() {
    let expect = |stage: &str, row: &Row, observed: &Observed| {
        assert_eq!(
            (row.state.as_str(), row.attempts, row.maybe_duplicate),
            ("pending", 1, false),
            "{stage}: {row:?}"
        );
        assert_eq!((observed.delivered, observed.duplicates), (1, 0), "{stage}: {observed:?}");
    };
    let saw = "tried again with backoff, not marked: a no is a no; delivered afterwards";
    let later = |stage: &str| match stage {
        "rcpt" => says(452, "4.5.3 too many recipients"),
        _ => says(451, "4.3.0 try later"),
    };
    let observed = at_each_stage(later, StartTls::Says("454 4.7.0 not now"), expect, saw).await;
    let how = "a mail server says 451 at each stage, 452 4.5.3 at RCPT, 454 at STARTTLS";
    record("smtp-4xx", how, &observed);
}

#[tokio::test]
async fn a_5xx_parks_the_target_or_buries_the_mail() {
    let expect = |stage: &str, row: &Row, observed: &Observed| {
        if matches!(stage, "rcpt" | "data" | "dot") {
            assert_eq!((row.state.as_str(), row.attempts), ("dead", 1), "{stage}: {row:?}");
            assert!(row.why.as_ref().unwrap().contains("550"), "{stage}: {row:?}");
            assert_eq!(observed.delivered, 0, "{stage}: {observed:?}");
        } else {
            assert_eq!((row.state.as_str(), row.attempts), ("pending", 0), "{stage}: {row:?}");
            assert_eq!(observed.delivered, 1, "{stage}: {observed:?}");
        }
        assert!(!row.maybe_duplicate && observed.duplicates == 0, "{stage}: {row:?}");
    };
    let saw = "up to MAIL the target was parked and its mail delivered when it worked again; from RCPT on the mail was \
               dead, with the server's words";
    let never = |_: &str| says(550, "5.1.1 never");
    let observed = at_each_stage(never, StartTls::Says("550 5.1.1 never"), expect, saw).await;
    record("smtp-5xx", "a mail server says 550 at each of eight stages, in runs of their own", &observed);
}

#[tokio::test]
async fn a_dropped_connection_is_in_doubt_after_the_dot_only() {
    let expect = |stage: &str, row: &Row, observed: &Observed| {
        assert_eq!((row.state.as_str(), row.attempts), ("pending", 1), "{stage}: {row:?}");
        assert_eq!(row.maybe_duplicate, stage == "dot", "{stage}: {row:?}");
        assert_eq!((observed.delivered, observed.duplicates), (1, 0), "{stage}: {observed:?}");
    };
    let saw = "tried again and delivered; in doubt, and marked, after the final dot only";
    let observed = at_each_stage(|_| cut(Cut::Before), StartTls::HangsUp, expect, saw).await;
    record("smtp-drop", "a mail server hangs up at each of eight stages", &observed);
}

#[tokio::test]
async fn silence_is_left_at_the_deadline() {
    let expect = |stage: &str, row: &Row, observed: &Observed| {
        assert_eq!((row.state.as_str(), row.attempts), ("pending", 1), "{stage}: {row:?}");
        assert_eq!(row.maybe_duplicate, stage == "dot", "{stage}: {row:?}");
        // The silent server has the mail: it comes twice, and both sides know.
        assert_eq!(
            (observed.delivered, observed.duplicates),
            (1, usize::from(stage == "dot")),
            "{stage}: {observed:?}"
        );
    };
    let saw =
        "given up at the timeout, after the dot later; what the silent server had taken came twice, marked";
    let observed = at_each_stage(|_| slow(NEVER), StartTls::Stalls, expect, saw).await;
    record("smtp-stall", "a mail server goes silent at each of eight stages", &observed);
}

#[tokio::test]
async fn a_mail_whose_reply_was_lost_is_sent_again_byte_for_byte() {
    let world = world(PATIENT).await;
    world.sandbox.mail.answers([cut(Cut::After)]);
    world.tick().await;
    let row = world.rows().await.remove(0);
    assert!(row.state.as_str() == "pending" && row.maybe_duplicate, "{row:?}");
    world.pass("1h").await;
    let mails = world.sandbox.mail.arrivals();
    assert_eq!(mails.len(), 2);
    assert_eq!(mails[0].body, mails[1].body, "date, boundary and Message-ID are those of the first try");
    let saw = "marked maybe_duplicate and sent again an hour later, byte for byte the same";
    let observed = Observed::of(&world, 1, &mails, saw).await;
    assert_eq!((observed.delivered, observed.duplicates), (1, 1));
    record("smtp-drop-dot", "the inbox takes the mail and hangs up without a reply", &observed);
}

#[tokio::test]
async fn of_several_recipients_the_refused_one_is_alone() {
    let to = "ann@example.com, gone@example.com, bob@example.com";
    let world = World::new(&rules("${MAIL}", to)).await;
    world.receives("Cleo", "Hello?");
    let unknown = says(550, "5.1.1 no such user");
    world.sandbox.mail.fault(Fault { on: "rcpt:gone@example.com".into(), times: None, answer: unknown });
    world.tick().await;
    let states: Vec<_> = world.rows().await.iter().map(|row| row.state.to_string()).collect();
    assert_eq!(states, ["delivered", "dead", "delivered"]);
    let saw = "one dead with the server's words, the others delivered in the same round";
    let observed = Observed::of(&world, 3, &world.sandbox.mail.arrivals(), saw).await;
    assert_eq!(observed.delivered, 2);
    record("smtp-recipient", "the inbox says 550 5.1.1 to one of three recipients", &observed);
}

#[tokio::test]
async fn a_stripped_starttls_parks_the_target_before_anything_is_said() {
    let (row, observed) = failing_at_starttls(StartTls::Stripped).await;
    assert_eq!((row.state.as_str(), row.attempts, row.maybe_duplicate), ("pending", 0, false), "{row:?}");
    assert!(row.last.unwrap().reason.contains("does not offer STARTTLS"));
    assert_eq!((observed.delivered, observed.duplicates), (1, 0));
    let saw = "nothing was sent, the target parked; went on by itself when STARTTLS was back";
    record(
        "smtp-stripped",
        "a server that leaves STARTTLS out of its greeting",
        &Observed { saw: saw.into(), ..observed },
    );
}

#[tokio::test]
async fn a_mail_that_is_too_long_for_the_server_is_never_begun() {
    let post = Post::start(StartTls::Stripped);
    post.offers("SIZE 80000");
    let long =
        rules(&post.url("?tls=none"), "ann@example.com").replace("match: {}", "match: {}, template: f");
    let template = ("f/text.hbs", "{{message.body}}{{message.body}}");
    let world = World::with_template(&long, template).await;
    post.lead(world.sandbox.mail.url());
    world.receives("Cleo", &"Long story. ".repeat(20_000));
    world.receives("Dora", &"Hi! ".repeat(9_000));
    world.tick().await;
    let rows = world.rows().await;
    let reason = world.store().delivery(&rows[0].id).await.unwrap().unwrap().history[0].reason.clone();
    assert!(reason.contains("takes 80000 at the most"), "{reason}");
    let mails = world.sandbox.mail.arrivals();
    assert_eq!(mails.len(), 2, "the long one did not begin before its plain form");
    assert!(
        mails.iter().any(|mail| mail.body.contains("Shown plainly"))
            && mails.iter().any(|mail| mail.body.len() > 70_000)
    );
    let saw = "nothing of it was sent; its plain form was delivered, and one that fits went out as it was";
    let observed = Observed::of(&world, 2, &mails, saw).await;
    assert_eq!(observed.delivered, 2);
    record("smtp-size", "a server that offers SIZE 80000, and a mail of 120,000 bytes", &observed);
}
