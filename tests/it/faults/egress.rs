//! Every address and every spelling of a host that must not be dialled, from the rules file to the socket.

use std::net::IpAddr;

use activity_relay::config;
use activity_relay::config::secret::Environment;
use activity_relay::egress::policy::Policy;
use activity_relay::egress::resolve::Resolver;
use activity_relay::egress::{Egress, FailureKind, Request};
use reqwest::header::HeaderMap;

use super::http::rules;
use super::record::{Observed, record};
use crate::target_server::{Server, answer};
use crate::world::PATIENCE;

/// Addresses that are not public, plain and wrapped in every way that leads to them.
const ADDRESSES: [&str; 48] = [
    // unspecified and "this network"
    "0.0.0.0",
    "0.1.2.3",
    "::",
    // loopback
    "127.0.0.1",
    "127.255.255.254",
    "::1",
    // private
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.254",
    "192.168.0.1",
    "fc00::1",
    "fdff::1",
    // link-local, cloud metadata among them
    "169.254.169.254",
    "fe80::1",
    "febf::1",
    "fec0::1",
    // carrier-grade NAT
    "100.64.0.1",
    "100.127.255.254",
    // multicast, reserved, broadcast
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "ff02::1",
    // documentation, benchmarks, protocol assignments
    "192.0.2.1",
    "198.51.100.1",
    "203.0.113.1",
    "198.18.0.1",
    "192.0.0.1",
    "192.88.99.1",
    "2001:db8::1",
    "3fff::1",
    // IPv4-mapped, -compatible and -translated
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::127.0.0.1",
    "::ffff:0:127.0.0.1",
    // NAT64: the well-known prefix around private addresses, the local one around anything
    "64:ff9b::7f00:1",
    "64:ff9b::a00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::7f00:1",
    "64:ff9b:1::808:808",
    // 6to4 and Teredo, private or not
    "2002:7f00:1::1",
    "2002:a00:1::1",
    "2001::1",
    "2001:0:7f00:1::",
    // discard-only, segment routing, and what is not handed out at all
    "100::1",
    "5f00::1",
    "4000::1",
];

/// Spellings of loopback and link-local addresses, and names of this machine.
const HOSTS: [&str; 26] = [
    "2130706433",
    "0x7f000001",
    "0x7F.0.0.1",
    "017700000001",
    "0177.0.0.1",
    "127.1",
    "127.0.1",
    "0x7f.1",
    "0",
    "127.0.0.1.",
    "0x7f000001.",
    "%31%32%37.0.0.1",
    "127.0.0.%31",
    "１２７.０.０.１",
    "127。0。0。1",
    "①②⑦.0.0.1",
    "2852039166",
    "0xa9fea9fe",
    "0251.0376.0251.0376",
    "[::ffff:7f00:1]",
    "[0:0:0:0:0:0:0:1]",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "api.localhost",
    "ｌｏｃａｌｈｏｓｔ",
];

fn bracketed(address: &str) -> String {
    if address.contains(':') { format!("[{address}]") } else { address.to_owned() }
}

/// What the rules file's reader says to a target at this URL.
fn problems(url: &str) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rules.yaml");
    let head = "version: 1\naccounts:\n  - { name: main, token: t }\n";
    std::fs::write(&path, format!("{head}{}", rules(url).replace("allow_private: true, ", ""))).unwrap();
    let loaded = config::load(&path, &Environment::of([("TOKEN", "t")]));
    assert!(loaded.config.is_none(), "{url} is taken");
    loaded.problems.into_iter().map(|problem| problem.code.to_owned()).collect()
}

async fn refused(egress: &Egress, url: &str) {
    let url: url::Url = url.parse().unwrap();
    let failure = egress.send(Request::get(url.clone(), HeaderMap::new(), 10), PATIENCE).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Policy, "{url}: {failure}");
    assert!(!failure.text.contains("secret"), "{failure}");
    assert_eq!(egress.reach(&url, PATIENCE).await.unwrap_err().kind, FailureKind::Policy, "{url}");
}

#[tokio::test]
async fn nothing_inside_is_dialled_however_it_is_spelt() {
    crate::source_api::install_crypto();
    let server = Server::answers(&answer("200 OK", "", ""));
    let port = server.address.port();
    let public = Egress::new(Policy::Public);
    let mut tried = 0;
    let literals = ADDRESSES.iter().map(|address| bracketed(address));
    for host in literals.chain(HOSTS.iter().map(|host| (*host).to_owned())) {
        let url = format!("http://{host}:{port}/secret");
        refused(&public, &url).await;
        let refused = problems(&url);
        // A private address, or a spelling that hides one.
        assert!(refused.iter().any(|code| code == "R041" || code == "R037"), "{url}: {refused:?}");
        tried += 1;
    }
    for address in ADDRESSES {
        let address: IpAddr = address.parse().unwrap();
        let named =
            Egress::with(Policy::Public, Resolver::script("out.example", vec![vec![address]]), Vec::new());
        refused(&named, &format!("http://out.example:{port}/secret")).await;
        tried += 1;
    }
    for url in [format!("http://user@127.0.0.1:{port}/"), format!("http://user:pw@8.8.8.8:{port}/secret")] {
        refused(&Egress::new(Policy::Any), &url).await;
        assert!(!problems(&url).is_empty(), "{url}");
        tried += 1;
    }
    assert_eq!(server.connections(), 0, "nobody called");
    let saw = "each refused by `check` where it stands in the rules file and by the dialler, in words that name the \
               remedy; nothing was dialled, and nothing repeated of path and password";
    let observed = Observed { messages: tried, saw: saw.into(), ..Observed::default() };
    let how =
        "48 special addresses as literals and behind a name, 26 spellings of hosts, URLs with a user name";
    record("egress-addresses", how, &observed);
}
