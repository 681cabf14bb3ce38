//! Hosts in URLs: which are private, and which are written so that one cannot see where they lead.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use url::{Host, Url};

use crate::egress::policy::Policy;

use super::codes;
use super::problem::Span;
use super::read::{Reader, Spot};
use super::yaml::{Kind, Node};

/// The host is this machine: `localhost` or a loopback address.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => is_localhost(name),
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

/// A name that always leads to this machine.
pub(super) fn is_localhost(name: &str) -> bool {
    let name = name.trim_end_matches('.');
    name.eq_ignore_ascii_case("localhost") || name.to_ascii_lowercase().ends_with(".localhost")
}

impl Reader<'_> {
    /// `allow_private: true`, `false`, or a list of networks.
    pub(super) fn policy(&mut self, node: Option<&Node>) -> Option<Policy> {
        let Some(node) = node else { return Some(Policy::Public) };
        let Kind::List(items) = &node.kind else {
            return self.truth(node).map(|any| if any { Policy::Any } else { Policy::Public });
        };
        let mut networks = Vec::new();
        for item in items {
            let Some(spot) = self.word(item, "a network such as 10.1.0.0/16") else { continue };
            let network = spot.value.parse::<IpNet>().ok();
            let network = network.or_else(|| spot.value.parse::<IpAddr>().ok().map(IpNet::from));
            if network.is_none() {
                let help = "write an address with the length of its prefix, such as 10.1.0.0/16 or fd00::/8";
                self.error(codes::NETWORK, spot.span, format!("`{}` is not a network", spot.written), help);
            }
            networks.push(network);
        }
        // Whether an address is in a network that cannot be read, nobody knows: it is not complained of as well.
        let known: Option<Vec<IpNet>> = networks.into_iter().collect();
        Some(known.map_or(Policy::Any, Policy::PublicAnd))
    }

    /// Reports what is made of message data, where that would decide who is reached or as whom.
    pub(super) fn is_unconfined(&mut self, spot: &Spot<String>, what: &str) -> bool {
        let unconfined = spot.value.contains("{{");
        if unconfined {
            let help = "write it out; what a message says may only go into the body";
            let message = format!("{what} made of message data is refused");
            self.error(codes::UNCONFINED, spot.span, message, help);
        }
        unconfined
    }

    /// A target's URL: http or https, no user, a host whose form hides nothing, a private one only if allowed.
    pub(super) fn target_url(&mut self, spot: &Spot<String>, policy: &Policy) -> Option<Url> {
        if self.is_unconfined(spot, "a URL") {
            return None;
        }
        let url = match Url::parse(spot.value.trim()) {
            Ok(url) if matches!(url.scheme(), "http" | "https") => url,
            Ok(_) => {
                self.error(
                    codes::URL,
                    spot.span,
                    "only http and https URLs can be called",
                    "write https://… ",
                );
                return None;
            }
            Err(error) => {
                let help = "write it whole, such as https://example.com/hooks/relay";
                self.error(codes::URL, spot.span, format!("this is not a URL: {error}"), help);
                return None;
            }
        };
        if !url.username().is_empty() || url.password().is_some() {
            let help = "use `auth: { basic: { user: …, password: ${…} } }`";
            self.error(codes::URL_PASSWORD, spot.span, "user:password in the URL is refused", help);
            return None;
        }
        self.host(&url, spot, policy).then_some(url)
    }

    fn host(&mut self, url: &Url, spot: &Spot<String>, policy: &Policy) -> bool {
        let written = spot.value.split("://").nth(1).unwrap_or_default();
        let authority = written.split(['/', '?', '#', '\\']).next().unwrap_or_default().to_ascii_lowercase();
        let ip = match url.host() {
            Some(Host::Domain(name)) if is_localhost(name) => Some(IpAddr::from(Ipv4Addr::LOCALHOST)),
            Some(Host::Domain(_)) => None,
            Some(Host::Ipv4(ip)) => {
                if authority.split(':').next() != Some(ip.to_string().as_str()) {
                    let help = format!("write it in the usual form: {ip}");
                    self.error(
                        codes::URL,
                        spot.span,
                        "the address in this URL is written in an odd form",
                        help,
                    );
                    return false;
                }
                Some(IpAddr::from(ip))
            }
            Some(Host::Ipv6(ip)) => Some(IpAddr::from(ip)),
            None => return self.no_host(spot.span),
        };
        let Some(ip) = ip.filter(|ip| policy.check_address(*ip).is_err()) else { return true };
        let (message, help) = match policy {
            Policy::PublicAnd(_) => (
                "this address is in none of the networks of `allow_private`",
                format!("add its network there, or {ip} itself"),
            ),
            _ => (
                "this is a private or loopback address, which targets may not reach",
                "if it is meant, add `allow_private: true` to the target, or the network: `allow_private: [10.1.0.0/16]`".to_owned(),
            ),
        };
        self.error(codes::PRIVATE_ADDRESS, spot.span, message, help);
        false
    }

    fn no_host(&mut self, span: Span) -> bool {
        self.error(
            codes::URL,
            span,
            "this URL has no host",
            "write it whole, such as https://example.com/hooks/relay",
        );
        false
    }
}
