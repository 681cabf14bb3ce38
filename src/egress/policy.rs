//! Which addresses and hosts may be dialled, and why others are refused.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use url::{Host, Url};

/// Which addresses may be dialled.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Policy {
    /// Public addresses only.
    #[default]
    Public,
    /// Public addresses and these networks (`allow_private: [10.1.0.0/16]`).
    PublicAnd(Vec<IpNet>),
    /// Any address (`allow_private: true`).
    Any,
}

/// Why something is not dialled, with the remedy. Holds no path and no query of a URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The URL carries `user:password@`.
    #[error("the URL of {host} holds a user name or password; give them under `auth` instead")]
    Userinfo {
        /// The URL's host.
        host: String,
    },
    /// Neither `http` nor `https`.
    #[error("the scheme `{0}` is not supported; use https or http")]
    Scheme(String),
    /// No host at all.
    #[error("the URL has no host")]
    NoHost,
    /// The host, or every address of it, is not public.
    #[error(
        "{host} is {what}, which is not dialled; if that is meant, give the target `allow_private: true`"
    )]
    Address {
        /// The host, and the address where it is a name.
        host: String,
        /// Such as `a loopback address`.
        what: &'static str,
    },
}

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6(head: [u16; 6], prefix: u8) -> Ipv6Net {
    let address = Ipv6Addr::new(head[0], head[1], head[2], head[3], head[4], head[5], 0, 0);
    Ipv6Net::new_assert(address, prefix)
}

/// IPv4 networks that are not public: IANA's "IPv4 Special-Purpose Address Registry", and multicast.
/// The first that holds the address names it.
const SPECIAL_V4: [(Ipv4Net, &str); 16] = [
    (v4(0, 0, 0, 0, 32), "the unspecified address"), // RFC 1122, 3.2.1.3
    (v4(0, 0, 0, 0, 8), "an address of \"this network\""), // RFC 791
    (v4(10, 0, 0, 0, 8), "a private address"),       // RFC 1918
    (v4(100, 64, 0, 0, 10), "a carrier-grade NAT address"), // RFC 6598
    (v4(127, 0, 0, 0, 8), "a loopback address"),     // RFC 1122, 3.2.1.3
    (v4(169, 254, 0, 0, 16), "a link-local address (cloud metadata live there)"), // RFC 3927
    (v4(172, 16, 0, 0, 12), "a private address"),    // RFC 1918
    (v4(192, 0, 0, 0, 24), "an address for protocol assignments"), // RFC 6890
    (v4(192, 0, 2, 0, 24), "a documentation address"), // RFC 5737
    (v4(192, 88, 99, 0, 24), "a 6to4 relay address"), // RFC 7526
    (v4(192, 168, 0, 0, 16), "a private address"),   // RFC 1918
    (v4(198, 18, 0, 0, 15), "a benchmarking address"), // RFC 2544
    (v4(198, 51, 100, 0, 24), "a documentation address"), // RFC 5737
    (v4(203, 0, 113, 0, 24), "a documentation address"), // RFC 5737
    (v4(224, 0, 0, 0, 4), "a multicast address"),    // RFC 5771
    (v4(240, 0, 0, 0, 4), "a reserved or broadcast address"), // RFC 1112, RFC 919
];

/// IPv6 networks that are not public: IANA's "IPv6 Special-Purpose Address Registry". Whatever is outside
/// `2000::/3` (RFC 4291, 2.4) is refused even where it has no line of its own.
const SPECIAL_V6: [(Ipv6Net, &str); 18] = [
    (v6([0; 6], 128), "the unspecified address"), // RFC 4291
    (Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128), "a loopback address"), // RFC 4291
    (v6([0; 6], 96), "an IPv4-compatible address"), // RFC 4291, 2.5.5.1
    (v6([0, 0, 0, 0, 0xffff, 0], 96), "an IPv4-translated address"), // RFC 2765
    (v6([0x64, 0xff9b, 1, 0, 0, 0], 48), "a local NAT64 address"), // RFC 8215
    (v6([0x100, 0, 0, 0, 0, 0], 64), "a discard-only address"), // RFC 6666
    (v6([0x2001, 0, 0, 0, 0, 0], 32), "a Teredo address"), // RFC 4380
    (v6([0x2001, 2, 0, 0, 0, 0], 48), "a benchmarking address"), // RFC 5180
    (v6([0x2001, 0, 0, 0, 0, 0], 23), "an address for protocol assignments"), // RFC 2928
    (v6([0x2001, 0xdb8, 0, 0, 0, 0], 32), "a documentation address"), // RFC 3849
    (v6([0x2002, 0, 0, 0, 0, 0], 16), "a 6to4 address"), // RFC 3056, RFC 7526
    (v6([0x3fff, 0, 0, 0, 0, 0], 20), "a documentation address"), // RFC 9637
    (v6([0x5f00, 0, 0, 0, 0, 0], 16), "a segment-routing address"), // RFC 9602
    (v6([0xfc00, 0, 0, 0, 0, 0], 7), "a unique local address"), // RFC 4193
    (v6([0xfe80, 0, 0, 0, 0, 0], 10), "a link-local address"), // RFC 4291
    (v6([0xfec0, 0, 0, 0, 0, 0], 10), "a site-local address"), // RFC 3879
    (v6([0xff00, 0, 0, 0, 0, 0], 8), "a multicast address"), // RFC 4291
    (v6([0x64, 0xff9b, 0, 0, 0, 0], 32), "an address for translation"), // RFC 6052, outside 64:ff9b::/96
];

/// All global unicast addresses are in here (RFC 4291, 2.4).
const GLOBAL_V6: Ipv6Net = v6([0x2000, 0, 0, 0, 0, 0], 3);

/// The well-known NAT64 prefix; the last 32 bits are the IPv4 address that is really reached (RFC 6052).
const NAT64: Ipv6Net = v6([0x64, 0xff9b, 0, 0, 0, 0], 96);

/// The address that is really reached: IPv4-mapped (RFC 4291, 2.5.5.2) and NAT64 forms are unwrapped.
fn reached(address: IpAddr) -> IpAddr {
    let IpAddr::V6(six) = address else { return address };
    if let Some(four) = six.to_ipv4_mapped() {
        return IpAddr::V4(four);
    }
    if NAT64.contains(&six) {
        let [.., a, b, c, d] = six.octets();
        return IpAddr::V4(Ipv4Addr::new(a, b, c, d));
    }
    address
}

/// What a non-public address is, in words; `None` for a public one.
fn special(address: IpAddr) -> Option<&'static str> {
    match reached(address) {
        IpAddr::V4(four) => {
            SPECIAL_V4.iter().find(|(network, _)| network.contains(&four)).map(|(_, what)| *what)
        }
        IpAddr::V6(six) => {
            let named = SPECIAL_V6.iter().find(|(network, _)| network.contains(&six)).map(|(_, what)| *what);
            named.or_else(|| (!GLOBAL_V6.contains(&six)).then_some("not a global unicast address"))
        }
    }
}

impl Policy {
    /// `Err` says in words what the address is.
    pub fn check_address(&self, address: IpAddr) -> Result<(), &'static str> {
        let Some(what) = special(address) else { return Ok(()) };
        let allowed = match self {
            Self::Public => false,
            Self::PublicAnd(networks) => networks.iter().any(|network| network.contains(&reached(address))),
            Self::Any => true,
        };
        if allowed { Ok(()) } else { Err(what) }
    }
}

/// Checks what can be checked without asking anybody: scheme, userinfo, literal addresses, names of this machine.
/// Decimal, octal and hexadecimal spellings of IPv4 addresses are addresses to the `url` crate, so they are judged
/// as such. What a name resolves to is checked at each dial, not here.
pub fn check_url(url: &Url, policy: &Policy) -> Result<(), Refusal> {
    if !matches!(url.scheme(), "http" | "https") {
        return Err(Refusal::Scheme(url.scheme().to_owned()));
    }
    let host = url.host().ok_or(Refusal::NoHost)?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Refusal::Userinfo { host: host.to_string() });
    }
    let address = match &host {
        Host::Ipv4(four) => IpAddr::V4(*four),
        Host::Ipv6(six) => IpAddr::V6(*six),
        Host::Domain(name) if is_localhost(name) => {
            let loopbacks = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
            let allowed = loopbacks.into_iter().any(|address| policy.check_address(address).is_ok());
            let refusal = Refusal::Address { host: host.to_string(), what: "this machine" };
            return if allowed { Ok(()) } else { Err(refusal) };
        }
        Host::Domain(_) => return Ok(()),
    };
    policy.check_address(address).map_err(|what| Refusal::Address { host: host.to_string(), what })
}

/// `localhost` and everything under it (RFC 6761, 6.3), with or without the trailing dot.
fn is_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(url: &str) -> String {
        check_url(&Url::parse(url).unwrap(), &Policy::Public).expect_err(url).to_string()
    }

    #[test]
    fn every_special_network_is_refused_at_both_ends() {
        for (network, what) in SPECIAL_V4 {
            for address in [network.network(), network.broadcast()] {
                assert!(Policy::Public.check_address(address.into()).is_err(), "{address} is {what}");
                let mapped = IpAddr::V6(address.to_ipv6_mapped());
                assert!(Policy::Public.check_address(mapped).is_err(), "{mapped} is {what}");
                let nat64 = Ipv6Addr::from(u128::from(NAT64.network()) | u128::from(u32::from(address)));
                assert!(Policy::Public.check_address(nat64.into()).is_err(), "{nat64} is {what}");
            }
        }
        for (network, what) in SPECIAL_V6 {
            if network.contains(&NAT64.network()) && network.prefix_len() == 32 {
                continue; // its first addresses are the well-known prefix, judged by what they embed
            }
            let last = network.broadcast();
            assert!(Policy::Public.check_address(last.into()).is_err(), "{last} is {what}");
        }
    }

    #[test]
    fn public_addresses_pass_in_every_form() {
        for address in
            ["8.8.8.8", "100.128.0.1", "172.32.0.1", "::ffff:8.8.8.8", "64:ff9b::808:808", "2606:4700::1111"]
        {
            assert_eq!(Policy::Public.check_address(address.parse().unwrap()), Ok(()), "{address}");
        }
    }

    #[test]
    fn odd_spellings_of_an_address_are_that_address() {
        for host in ["2130706433", "0x7f.1", "017700000001", "127.1", "127.0.0.1.", "[::ffff:127.0.0.1]", "0"]
        {
            let text = refused(&format!("http://{host}/"));
            assert!(text.contains("allow_private: true"), "{host}: {text}");
        }
        assert!(refused("http://0xa9fea9fe/").contains("link-local"));
    }

    #[test]
    fn names_of_this_machine_are_refused_with_the_remedy() {
        for host in ["localhost", "LOCALHOST.", "api.localhost", "api.localhost."] {
            assert!(refused(&format!("http://{host}/")).contains("this machine"), "{host}");
        }
        let url = Url::parse("http://localhost/").unwrap();
        assert_eq!(check_url(&url, &Policy::Any), Ok(()));
        assert_eq!(check_url(&url, &Policy::PublicAnd(vec!["127.0.0.0/8".parse().unwrap()])), Ok(()));
        assert!(check_url(&url, &Policy::PublicAnd(vec!["10.0.0.0/8".parse().unwrap()])).is_err());
    }

    #[test]
    fn userinfo_is_refused_whatever_the_policy_and_never_repeated() {
        let url = Url::parse("https://user:hunter2@example.com/path?key=1").unwrap();
        let text = check_url(&url, &Policy::Any).unwrap_err().to_string();
        assert!(text.contains("example.com") && !text.contains("hunter2") && !text.contains("key"), "{text}");
    }

    #[test]
    fn a_listed_network_is_allowed_in_each_form_and_nothing_beside_it() {
        let policy = Policy::PublicAnd(vec!["10.1.0.0/16".parse().unwrap()]);
        for (address, allowed) in
            [("10.1.2.3", true), ("::ffff:10.1.2.3", true), ("10.2.0.1", false), ("127.0.0.1", false)]
        {
            assert_eq!(policy.check_address(address.parse().unwrap()).is_ok(), allowed, "{address}");
        }
    }
}
