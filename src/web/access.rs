//! Who may see and change what: the token, the session that it opens, the proof that a change comes from our own page.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};

use hmac::digest::array::Array;
use hmac::{Hmac, KeyInit, Mac};
use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

/// A token may not be shorter, in bytes: it is all that stands between the network and the console.
const TOKEN_BYTES_MIN: usize = 16;
/// What to do where one is missing.
pub(super) const SET_A_TOKEN: &str = "set RELAY_CONSOLE_TOKEN (or --console-token) to a secret of at least 16 characters, such as \
    the output of `openssl rand -hex 32`";
/// How long a session lasts.
pub(super) const SESSION: SignedDuration = SignedDuration::from_hours(7 * 24);
/// So many wrong tokens from one address cost nothing; each further one doubles the wait, up to the most.
const FREE_FAILURES: u32 = 3;
const WAIT_SECONDS_MAX: i64 = 60;
/// Addresses whose failures are remembered.
const REMEMBERED_MAX: usize = 1_024;

/// What the person who starts the relay decides about the console.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Demanded of everybody, if there is one.
    pub token: Option<SecretString>,
    /// Nothing can be changed by the console.
    pub read_only: bool,
    /// Names under which browsers reach it, beside addresses, `localhost` and the machine's own name.
    pub hosts: Vec<String>,
}

/// Why the console cannot be served as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unsafe {
    /// Others on the network reach the address.
    #[error(
        "--listen {0} is reachable from other machines, so the console demands a token: {SET_A_TOKEN}; or listen on \
         127.0.0.1, or `--listen none`"
    )]
    NoToken(SocketAddr),
    /// Others reach it by a name: a proxy on this machine comes from loopback, whoever is behind it.
    #[error(
        "--console-host {0} lets browsers on other machines in, so the console demands a token: {SET_A_TOKEN}; or leave \
         --console-host away"
    )]
    NamedWithoutToken(String),
    /// It is no name.
    #[error("--console-host {0}: a name is meant, such as relay.example.com, and no address of a page")]
    NoName(String),
    /// It can be guessed.
    #[error(
        "the console's token has fewer than {TOKEN_BYTES_MIN} characters: take a longer one, such as the output of \
         `openssl rand -hex 32`"
    )]
    ShortToken,
}

impl Settings {
    /// Whether the console may be served on the address, and by the names it is given.
    ///
    /// # Errors
    /// There is no token where one is needed, or it is too short.
    pub fn check(&self, address: SocketAddr) -> Result<(), Unsafe> {
        if let Some(address) = self.hosts.iter().find(|name| name.contains('/')) {
            return Err(Unsafe::NoName(address.clone()));
        }
        match &self.token {
            Some(token) if token.expose_secret().len() < TOKEN_BYTES_MIN => Err(Unsafe::ShortToken),
            Some(_) => Ok(()),
            None if !address.ip().to_canonical().is_loopback() => Err(Unsafe::NoToken(address)),
            None => match self.hosts.iter().find(|name| !is_loopback(name)) {
                Some(name) => Err(Unsafe::NamedWithoutToken(name.clone())),
                None => Ok(()),
            },
        }
    }
}

/// The name in a `Host`, without its port.
pub(super) fn name_of(host: &str) -> &str {
    let bracketed = host.strip_prefix('[').and_then(|rest| rest.split_once(']')).map(|(inner, _)| inner);
    bracketed.unwrap_or_else(|| host.rsplit_once(':').map_or(host, |(name, _)| name))
}

/// Whether a name never leaves this machine.
fn is_loopback(name: &str) -> bool {
    let address = name.parse::<IpAddr>().or_else(|_| name_of(name).parse());
    name_of(name).eq_ignore_ascii_case("localhost")
        || address.is_ok_and(|address| address.to_canonical().is_loopback())
}

/// Judges requests.
#[derive(Debug)]
pub(super) struct Access {
    settings: Settings,
    own_name: String,
    key: [u8; 32],
    failures: Mutex<HashMap<IpAddr, Failures>>,
}

/// Wrong tokens from one address.
#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    /// No wrong one is counted before.
    until: Timestamp,
}

/// What became of a token that was shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Admittance {
    /// It is the one; this is the session.
    Session(String),
    /// It is not.
    Wrong,
    /// Too many were wrong: so many seconds have to pass.
    Wait(i64),
}

impl Access {
    pub(super) fn new(settings: Settings) -> Self {
        // All instances behind one token know each other's sessions.
        let of_token =
            |token: &SecretString| mac(token.expose_secret().as_bytes(), &["activity-relay console"]);
        let key = settings.token.as_ref().map_or_else(random, of_token);
        let own_name = hostname::get().ok().and_then(|name| name.into_string().ok()).unwrap_or_default();
        Self { settings, own_name, key, failures: Mutex::default() }
    }

    /// Somebody has to show a token.
    pub(super) fn is_guarded(&self) -> bool {
        self.settings.token.is_some()
    }

    pub(super) fn is_read_only(&self) -> bool {
        self.settings.read_only
    }

    /// Whether a `Host` is one of ours: an address, `localhost`, this machine, or a name that was given. Somebody else's name
    /// that leads here is how a page of his would reach us (DNS rebinding).
    pub(super) fn knows_host(&self, host: &str) -> bool {
        let name = name_of(host);
        let same = |known: &str| !known.is_empty() && known.eq_ignore_ascii_case(name);
        name.parse::<IpAddr>().is_ok()
            || same("localhost")
            || same(&self.own_name)
            || self.settings.hosts.iter().any(|known| same(name_of(known)))
    }

    /// Looks at a token that was shown; wrong ones slow their sender down. The right one never waits: behind a proxy all
    /// have one address, and whoever guesses would lock out everybody.
    pub(super) fn admit(&self, token: &str, peer: IpAddr, now: Timestamp) -> Admittance {
        let Some(expected) = &self.settings.token else { return Admittance::Wrong };
        // Of equal length and compared in constant time, whatever was shown.
        let shown = mac(&self.key, &["token", token]);
        let right = mac_is(&self.key, &["token", expected.expose_secret()], &shown);
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if right {
            failures.remove(&peer);
            return Admittance::Session(self.session(now));
        }
        if let Some(known) = failures.get(&peer).filter(|known| known.until > now) {
            return Admittance::Wait(known.until.duration_since(now).as_secs() + 1);
        }
        if failures.len() >= REMEMBERED_MAX {
            failures.retain(|_, known| known.until > now);
        }
        if failures.len() >= REMEMBERED_MAX {
            failures.clear();
        }
        let known = failures.entry(peer).or_insert(Failures { count: 0, until: now });
        known.count = known.count.saturating_add(1);
        let doublings = known.count.saturating_sub(FREE_FAILURES).min(6);
        if doublings > 0 {
            let wait = (1_i64 << (doublings - 1)).min(WAIT_SECONDS_MAX);
            known.until = now.saturating_add(SignedDuration::from_secs(wait)).unwrap_or(now);
        }
        drop(failures);
        tracing::warn!(%peer, "a wrong token was shown to the console");
        Admittance::Wrong
    }

    fn session(&self, now: Timestamp) -> String {
        let end = now.saturating_add(SESSION).unwrap_or(now).as_second().to_string();
        let proof = hex(&mac(&self.key, &["session", &end]));
        format!("{end}.{proof}")
    }

    /// Whether a session is one of ours and lasts.
    pub(super) fn knows_session(&self, session: &str, now: Timestamp) -> bool {
        let Some((end, proof)) = session.split_once('.') else { return false };
        let lasts = end.parse::<i64>().is_ok_and(|end| end > now.as_second());
        lasts && unhex(proof).is_some_and(|proof| mac_is(&self.key, &["session", end], &proof))
    }

    /// What a page of ours sends along with every change; empty session where no token is demanded.
    pub(super) fn proof(&self, session: &str) -> String {
        hex(&mac(&self.key, &["change", session]))
    }

    /// Whether a change comes from a page of ours.
    pub(super) fn is_proof(&self, session: &str, shown: &str) -> bool {
        self.key != [0; 32]
            && unhex(shown).is_some_and(|shown| mac_is(&self.key, &["change", session], &shown))
    }
}

/// A key for as long as the process lives; none of zeros is ever used.
fn random() -> [u8; 32] {
    let mut key = [0; 32];
    if rustls::crypto::aws_lc_rs::default_provider().secure_random.fill(&mut key).is_err() {
        tracing::error!("the machine has no randomness: the console refuses all changes");
    }
    key
}

/// The authentication code of several texts; each is preceded by its length.
fn hasher(key: &[u8], parts: &[&str]) -> Hmac<Sha256> {
    // HMAC takes keys of any length (RFC 2104); the error does not come.
    let mut hasher = Hmac::<Sha256>::new_from_slice(key).unwrap_or_else(|_| Hmac::new(&Array::default()));
    for part in parts {
        hasher.update(&(part.len() as u64).to_be_bytes());
        hasher.update(part.as_bytes());
    }
    hasher
}

fn mac(key: &[u8], parts: &[&str]) -> [u8; 32] {
    hasher(key, parts).finalize().into_bytes().into()
}

/// In constant time.
fn mac_is(key: &[u8], parts: &[&str], shown: &[u8]) -> bool {
    hasher(key, parts).verify_slice(shown).is_ok()
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|n| char::from_digit(n.into(), 16))
        .collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> =
        text.chars().map(|c| c.to_digit(16).and_then(|n| u8::try_from(n).ok())).collect::<Option<_>>()?;
    let pairs = digits.chunks_exact(2);
    pairs.remainder().is_empty().then(|| pairs.map(|pair| pair[0] << 4 | pair[1]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guarded() -> Access {
        Access::new(Settings { token: Some("a-token-that-is-long".into()), ..Settings::default() })
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_790_000_000 + seconds).unwrap()
    }

    #[test]
    fn only_loopback_goes_without_a_token() {
        let open = Settings::default();
        for address in ["127.0.0.1:1", "[::1]:1", "127.9.9.9:1", "[::ffff:127.0.0.1]:1"] {
            assert_eq!(open.check(address.parse().unwrap()), Ok(()), "{address}");
        }
        for address in ["0.0.0.0:1", "[::]:1", "10.0.0.7:1", "[fe80::1]:1", "192.168.1.2:1"] {
            let address = address.parse().unwrap();
            assert_eq!(open.check(address), Err(Unsafe::NoToken(address)));
            let short = Settings { token: Some("short".into()), ..Settings::default() };
            assert_eq!(short.check(address), Err(Unsafe::ShortToken));
            assert_eq!(guarded().settings.check(address), Ok(()));
        }
    }

    #[test]
    fn only_names_of_this_machine_go_without_a_token() {
        let loopback = "127.0.0.1:8787".parse().unwrap();
        let named = |host: &str| Settings { hosts: vec![host.into()], ..Settings::default() };
        for host in ["localhost", "LOCALHOST", "127.0.0.1", "::1", "[::1]", "127.0.0.1:8787"] {
            assert_eq!(named(host).check(loopback), Ok(()), "{host}");
        }
        for host in ["relay.example.com", "10.0.0.7", "localhost.evil.test", "fe80::1", ""] {
            assert_eq!(named(host).check(loopback), Err(Unsafe::NamedWithoutToken(host.into())));
            let token = Some("a-token-that-is-long".into());
            assert_eq!(Settings { token, ..named(host) }.check(loopback), Ok(()), "{host}");
        }
    }

    #[test]
    fn a_session_is_ours_and_ends() {
        let (access, peer) = (guarded(), "10.0.0.9".parse().unwrap());
        let Admittance::Session(session) = access.admit("a-token-that-is-long", peer, at(0)) else {
            panic!("the token is the one")
        };
        assert!(access.knows_session(&session, at(1)) && guarded().knows_session(&session, at(1)));
        assert!(!access.knows_session(&session, at(8 * 86_400)), "it has ended");
        let (end, proof) = session.split_once('.').unwrap();
        let later = format!("{}.{proof}", end.parse::<i64>().unwrap() + 1);
        for forged in [later.as_str(), "", ".", "9999999999.", "x", &session[..session.len() - 2]] {
            assert!(!access.knows_session(forged, at(1)), "{forged}");
        }
        let other = Settings { token: Some("another-token-as-long".into()), ..Settings::default() };
        assert!(!Access::new(other).knows_session(&session, at(1)));
        assert!(access.is_proof(&session, &access.proof(&session)));
        assert!(!access.is_proof(&session, &access.proof("")) && !access.is_proof(&session, ""));
    }

    #[test]
    fn who_guesses_is_told_to_wait_and_locks_nobody_out() {
        let (access, peer) = (guarded(), "10.0.0.9".parse().unwrap());
        let mut now = at(0);
        let mut looked_at = 0;
        for _ in 0..600 {
            now = now.saturating_add(SignedDuration::from_secs(1)).unwrap();
            if access.admit("guess", peer, now) == Admittance::Wrong {
                looked_at += 1;
            }
        }
        assert!(looked_at < 30, "{looked_at} of them are not told to wait, in ten minutes");
        assert!(matches!(access.admit("guess", peer, now), Admittance::Wait(1..=61)));
        for peer in [peer, "10.0.0.10".parse().unwrap()] {
            assert!(matches!(access.admit("a-token-that-is-long", peer, now), Admittance::Session(_)));
        }
        assert_eq!(access.admit("guess", peer, now), Admittance::Wrong, "it begins anew");
    }

    #[test]
    fn only_names_of_ours_are_hosts() {
        let access = Access::new(Settings { hosts: vec!["relay.example.com".into()], ..Settings::default() });
        for host in [
            "localhost:8787",
            "127.0.0.1:8787",
            "[::1]:8787",
            "10.0.0.7",
            "Relay.Example.com:443",
            "LOCALHOST",
        ] {
            assert!(access.knows_host(host), "{host}");
        }
        for host in [
            "",
            "evil.test",
            "evil.test:8787",
            "localhost.evil.test",
            "relay.example.com.evil.test",
            "[evil]:1",
        ] {
            assert!(!access.knows_host(host), "{host}");
        }
    }
}
