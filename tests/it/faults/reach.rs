//! A target that is not reached: nobody listens, nobody answers, the name or the certificate is wrong.

use std::net::{IpAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use super::http::{impatient_rules, rules};
use super::record::{Observed, record};
use super::wire::{Does, Proxy, pass_on_from};
use crate::somebody::nobody;
use crate::target_tls::{Authority, NAME, self_signed};
use crate::world::World;
use activity_relay::config::Config;
use activity_relay::egress::Egress;
use activity_relay::egress::policy::Policy;
use activity_relay::egress::resolve::{Resolver, Told};
use activity_relay::model::payload::HttpBody;
use activity_relay::store::Row;
use activity_relay::target::http::{Http, Settings};
use activity_relay::target::{Kind, Target};
use reqwest::Method;
use reqwest::header::HeaderMap;
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;

/// Gives the target `crm` another way out: a name server, authorities and a policy of the test's own.
fn crm_through(url: &str, egress: Egress) -> impl Fn(&mut Config) + Send + Sync + use<> {
    let url = url::Url::parse(url).unwrap();
    move |config| {
        let target = Arc::into_inner(config.targets.remove("crm").unwrap()).unwrap();
        let settings = Settings {
            method: Method::POST,
            url: url.clone(),
            headers: HeaderMap::new(),
            auth: None,
            success: vec![200..=299],
            signing_secrets: Vec::new(),
            body: HttpBody::Event,
        };
        let kind = Kind::Http(Http::new(settings, egress.clone()));
        config.targets.insert("crm".to_owned(), Arc::new(Target { kind, ..target }));
    }
}

/// What is owed waits, unmarked, as nothing was ever sent; its last reason holds these words.
fn waits(row: &Row, words: &str) {
    assert_eq!(row.state.as_str(), "pending", "{row:?}");
    assert!(!row.maybe_duplicate, "nothing was handed over: {row:?}");
    let reason = &row.last.as_ref().unwrap().reason;
    assert!(reason.contains(words), "{reason}");
}

async fn delivered(world: &World, saw: &str) -> Observed {
    let observed = Observed::of(world, 1, &world.sandbox.http.arrivals(), saw).await;
    assert_eq!((observed.delivered, observed.duplicates), (1, 0), "{observed:?} {}", world.owed().await);
    observed
}

#[tokio::test]
async fn refused_connections_are_tried_again_until_somebody_listens() {
    let (socket, address) = nobody();
    let world = World::new(&rules(&format!("http://{address}/hooks/relay"))).await;
    world.receives("Ann", "Hello?");
    world.tick().await;
    waits(&world.rows().await[0], "refused the connection");
    let listener = socket.listen(8).unwrap();
    pass_on_from(listener, world.sandbox.http.url());
    world.pass("10s").await;
    let observed =
        delivered(&world, "tried again after the first backoff step, delivered at the second try").await;
    record("connect-refused", "a port that is bound and not listened on", &observed);
}

#[tokio::test]
async fn a_blackhole_costs_the_timeout_and_nothing_is_in_doubt() {
    // A backlog that is full lets every further attempt to connect go unanswered.
    let (socket, address) = nobody();
    let listener = socket.listen(1).unwrap();
    let quick = Duration::from_millis(50);
    let fillers: Vec<_> = (0..8).map_while(|_| TcpStream::connect_timeout(&address, quick).ok()).collect();
    assert!(fillers.len() < 8, "the backlog is full");
    let world = World::new(&impatient_rules(&format!("http://{address}/hooks/relay"))).await;
    world.receives("Ann", "Hello?");
    world.tick().await;
    waits(&world.rows().await[0], "no answer within 3.0 s");
    drop(fillers);
    pass_on_from(listener, world.sandbox.http.url());
    world.pass("10s").await;
    let observed =
        delivered(&world, "given up at the target's timeout, not marked; delivered at the second try").await;
    record("connect-blackholed", "a listener whose backlog is full, so that SYNs go unanswered", &observed);
}

/// A world whose target speaks TLS to a name, with these authorities beside the machine's.
async fn tls_world(proxy: &Proxy, rules: fn(&str) -> String, roots: Vec<CertificateDer<'static>>) -> World {
    let resolver = Resolver::script(NAME, vec![vec![proxy.server.address.ip()]]);
    let url = format!("https://{NAME}:{}/hooks/relay", proxy.port());
    let egress = Egress::with(Policy::Any, resolver, roots);
    let world = World::adjusted(&rules(&url), crm_through(&url, egress)).await;
    proxy.lead(world.sandbox.http.url());
    world
}

async fn bad_certificate(key: &str, how: &str, bad: Arc<ServerConfig>, authority: &Authority, words: &str) {
    let proxy = Proxy::tls(bad);
    let world = tls_world(&proxy, rules, vec![authority.certificate.clone()]).await;
    world.receives("Ann", "Hello?");
    world.tick().await;
    waits(&world.rows().await[0], words);
    assert!(world.sandbox.http.arrivals().is_empty(), "nothing was said over it");
    proxy.certify(authority.certify(NAME, 2099));
    world.pass("10s").await;
    let saw = format!("nothing was sent (“{words}”); delivered once the certificate was right");
    record(key, how, &delivered(&world, &saw).await);
}

#[tokio::test]
async fn a_wrong_certificate_holds_the_message_back_until_it_is_right() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let how = "rcgen certificate whose notAfter is past, in a TLS server of the test's own";
    bad_certificate("tls-expired", how, ours.certify(NAME, 2001), &ours, "has expired").await;
    let how = "rcgen certificate for another name";
    let wrong = ours.certify("other.example.com", 2099);
    bad_certificate("tls-wrong-host", how, wrong, &ours, "is for another host name").await;
    let how = "rcgen certificate signed by its own key";
    bad_certificate("tls-self-signed", how, self_signed(NAME), &ours, "self-signed").await;
    let how = "rcgen certificate of an authority that nobody knows";
    bad_certificate("tls-unknown-ca", how, theirs.certify(NAME, 2099), &ours, "from an authority").await;
}

#[tokio::test]
async fn a_stalled_handshake_puts_nothing_in_doubt() {
    let authority = Authority::new("ours");
    let proxy = Proxy::tls(authority.certify(NAME, 2099));
    proxy.does(Does::Stall);
    let world = tls_world(&proxy, impatient_rules, vec![authority.certificate.clone()]).await;
    world.receives("Ann", "Hello?");
    world.tick().await;
    waits(&world.rows().await[0], "no answer within 3.0 s");
    proxy.does(Does::Pass);
    world.pass("10s").await;
    let observed =
        delivered(&world, "given up at the target's timeout, not marked; delivered at the second try").await;
    record("tls-stalled", "a server that accepts and never answers the ClientHello", &observed);
}

/// A world whose name server tells this first, and then where the inbox is.
async fn dns_world(told: Told, policy: Policy) -> World {
    let proxy = Proxy::start(Does::Pass);
    let here = Told::Addresses(vec![proxy.server.address.ip()]);
    let url = format!("http://{NAME}:{}/hooks/relay", proxy.port());
    let rules = if matches!(told, Told::Nothing) { impatient_rules } else { rules };
    let egress = Egress::with(policy, Resolver::telling(NAME, vec![told, here]), Vec::new());
    let world = World::adjusted(&rules(&url), crm_through(&url, egress)).await;
    proxy.lead(world.sandbox.http.url());
    world.receives("Ann", "Hello?");
    world.tick().await;
    world
}

#[tokio::test]
async fn a_name_that_is_not_found_is_asked_for_again() {
    for (key, told, words) in [
        ("dns-nxdomain", Told::NoSuchName, "does not resolve: no such name"),
        ("dns-servfail", Told::Failure, "does not resolve: temporary failure"),
        ("dns-empty", Told::Addresses(Vec::new()), "has no address"),
        ("dns-servfail+silent", Told::Nothing, "no answer within 3.0 s"),
    ] {
        let world = dns_world(told.clone(), Policy::Any).await;
        waits(&world.rows().await[0], words);
        world.pass("10s").await;
        let observed = delivered(&world, "asked again at the second try, delivered").await;
        record(key, &format!("a scripted resolver that tells {told:?}, then the address"), &observed);
    }
}

#[tokio::test]
async fn a_name_that_moves_inside_between_check_and_dial_is_not_followed() {
    // Of this machine's addresses one plays the public one; every other is as private as it is.
    let policy = Policy::PublicAnd(vec!["127.0.0.1/32".parse().unwrap()]);
    let inner: IpAddr = "127.0.0.9".parse().unwrap();
    let world = dns_world(Told::Addresses(vec![inner]), policy).await;
    let row = world.rows().await.remove(0);
    waits(&row, "127.0.0.9) is a loopback address");
    assert_eq!(row.attempts, 0, "the target is parked, it cost no attempt");
    world.pass("2m").await;
    let saw = "not dialled; the target was parked and went on by itself when the name pointed outside again";
    let observed = delivered(&world, saw).await;
    let how = "a scripted resolver: an allowed address when checked, a private one when dialled, the first one again";
    record("dns-rebinding", how, &observed);
}
