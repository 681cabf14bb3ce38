//! The oracle's record: what a fault did, in one line on the terminal and, where `FAULTS_DIR` says so, in a file of its own.

use std::collections::BTreeMap;
use std::path::Path;

use activity_relay::config::secret::Environment;
use activity_relay::sandbox::inboxes::Arrival;
use activity_relay::store::Row;
use serde::Serialize;

use crate::world::{World, say};

/// Every fault that the guarantee is held against, in the order of the table that `tests/faults/write` makes of them:
/// a key, and the table's words.
pub(crate) const FAULTS: &[(&str, &str)] = &[
    ("kill-fetched", "kill -9 after the fetch"),
    ("kill-admitting", "kill -9 in the transaction that takes a page in"),
    ("kill-admitted", "kill -9 after that transaction"),
    ("kill-claimed", "kill -9 after a claim"),
    ("kill-connected", "kill -9 after connecting to the target"),
    ("kill-requested", "kill -9 after the request was written"),
    ("kill-answering", "kill -9 while the answer is read"),
    ("kill-unsettled", "kill -9 before the outcome is written"),
    ("kill-settled", "kill -9 after the outcome was written"),
    ("kill-migrating", "kill -9 in a migration"),
    ("kill-replaying", "kill -9 in a replay"),
    ("kill-pruning", "kill -9 while history is pruned"),
    ("kill-stopping", "kill -9 in a shutdown"),
    ("kill-reloading", "kill -9 in a reload"),
    ("kill-random", "kill -9 at random, again and again"),
    ("two-processes", "two processes on one database"),
    ("stopped-past-lease", "one of two stopped past its lease, then resumed"),
    ("clocks-apart", "clocks of two hosts 5 s apart"),
    ("poller-killed", "the instance that polls is killed"),
    ("disk-full", "disk full"),
    ("db-locked", "database locked by somebody else"),
    ("db-slow", "database slow"),
    ("db-read-only", "database read-only"),
    ("db-fsync", "fsync fails"),
    ("pg-restarted", "PostgreSQL restarted"),
    ("pg-cut", "connections to PostgreSQL cut"),
    ("connect-refused", "connection refused"),
    ("connect-blackholed", "connection blackholed"),
    ("connect-reset", "connection reset"),
    ("slow-headers", "headers at one byte a time"),
    ("slow-body", "a body at one byte a time"),
    ("tls-stalled", "TLS handshake stalled"),
    ("tls-expired", "expired certificate"),
    ("tls-wrong-host", "certificate for another host"),
    ("tls-self-signed", "self-signed certificate"),
    ("tls-unknown-ca", "certificate of an unknown authority"),
    ("dns-nxdomain", "DNS: no such name"),
    ("dns-servfail", "DNS: the server fails"),
    ("dns-empty", "DNS: a name without addresses"),
    ("dns-rebinding", "DNS: rebinding to a private address between check and dial"),
    ("egress-addresses", "addresses and host forms that the egress policy refuses"),
    ("status-every", "every HTTP status"),
    ("redirect-loop", "redirect loop"),
    ("body-10gb", "answer body of 10 GB"),
    ("body-gzip-bomb", "answer body that is a gzip bomb"),
    ("body-lying-length", "answer body with a lying length"),
    ("retry-after-0", "Retry-After: 0"),
    ("retry-after-negative", "Retry-After: -5"),
    ("retry-after-1e300", "Retry-After: 1e300"),
    ("retry-after-inf", "Retry-After: inf"),
    ("retry-after-nan", "Retry-After: NaN"),
    ("retry-after-past", "Retry-After: a date in the past"),
    ("retry-after-dates", "Retry-After: the three forms of a date"),
    ("retry-after-two", "Retry-After: two headers"),
    ("retry-after-bodies", "retry_after in the bodies of Discord and Telegram"),
    ("clock-hour", "clock jumps by an hour, forwards and back"),
    ("clock-day", "clock jumps by a day, forwards and back"),
    ("dst", "DST gap and fold"),
    ("template-fails", "a template that fails"),
    ("message-50mb", "a message of 50 MB"),
    ("message-nul", "a message with NUL characters"),
    ("message-deep", "a message of deeply nested JSON"),
    ("dead-target", "one dead target among 50 with 100,000 queued"),
    ("reload-sending", "other rules while deliveries are being sent"),
    ("reload-removed", "a target removed with deliveries pending"),
    ("reload-renamed", "a target renamed with deliveries pending"),
    ("reload-secret", "a secret rotated with deliveries pending"),
    ("reload-bad-file", "a rules file that is broken, with deliveries pending"),
    ("sigterm-idle", "SIGTERM while idle"),
    ("sigterm-busy", "SIGTERM while sending"),
    ("sigterm-hung", "SIGTERM while a target hangs"),
    ("upgrade", "upgrade with pending rows"),
    ("smtp-421", "SMTP: 421 at the banner and at every other stage"),
    ("smtp-4xx", "SMTP: 4xx at each stage"),
    ("smtp-5xx", "SMTP: 5xx at each stage"),
    ("smtp-drop", "SMTP: connection dropped at each stage"),
    ("smtp-drop-dot", "SMTP: connection dropped after the final dot"),
    ("smtp-stall", "SMTP: silence at each stage"),
    ("smtp-recipient", "SMTP: one of several recipients refused"),
    ("smtp-stripped", "SMTP: STARTTLS stripped"),
    ("smtp-size", "SMTP: a mail larger than the server takes"),
    ("slack-429", "Slack: 429"),
    ("slack-no-service", "Slack: no_service"),
    ("slack-archived", "Slack: channel_is_archived"),
    ("slack-invalid-blocks", "Slack: invalid_blocks"),
    ("slack-1000", "Slack: one a second with 1,000 queued"),
    ("api-401", "API: 401 in mid-run"),
    ("api-429", "API: 429 in each body form"),
    ("api-html", "API: HTML with status 200"),
    ("api-truncated", "API: truncated JSON"),
    ("api-late", "API: items late and re-ordered"),
    ("api-burst", "API: 260 items in one second"),
    ("api-read", "API: items read between two pages"),
];

/// What the oracle saw of one run with a fault.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Observed {
    /// What was owed: a delivery for each message, target and recipient.
    pub(crate) messages: usize,
    /// How many of these were taken by their receiver, counted once.
    pub(crate) delivered: usize,
    /// How many ended as nothing that the guarantee names: not delivered, dead with a reason, expired, withheld,
    /// discarded, nor still queued where the fault lasts.
    pub(crate) lost: usize,
    /// How many arrivals were repeats of what the receiver had taken before.
    pub(crate) duplicates: usize,
    /// How many of these repeats belong to deliveries marked `maybe_duplicate`.
    pub(crate) marked: usize,
    /// What chance was drawn from; 0 where none is.
    pub(crate) seed: u64,
    /// What the relay did, in a clause: "tried again after 5 s, delivered at the second try".
    pub(crate) saw: String,
}

impl Observed {
    /// Judges a world at the end of its run: `owed` deliveries to the inboxes in which these arrivals were.
    pub(crate) async fn of(world: &World, owed: usize, arrivals: &[Arrival], saw: impl Into<String>) -> Self {
        Self { seed: world.seed(), ..Self::judge(&world.rows().await, owed, arrivals, saw) }
    }

    /// Judges rows of an outbox (the relay's own notices left out) by what arrived. Slack's posts carry no name: there
    /// a delivered row has to have a post that is like no other, so let the messages of such a test differ.
    pub(crate) fn judge(rows: &[Row], owed: usize, arrivals: &[Arrival], saw: impl Into<String>) -> Self {
        let rows: Vec<&Row> = rows.iter().filter(|row| row.notice.is_none()).collect();
        let mut taken: BTreeMap<&str, usize> = BTreeMap::new();
        for arrival in arrivals.iter().filter(|arrival| arrival.accepted) {
            *taken.entry(delivery_of(arrival)).or_default() += 1;
        }
        let nameless =
            !arrivals.is_empty() && arrivals.iter().all(|arrival| arrival.identity() == arrival.body);
        let mut posts = taken.values();
        let mut observed = Self { messages: owed, saw: saw.into(), ..Self::default() };
        let mut accounted = 0;
        for row in rows {
            let delivered = row.state.as_str() == "delivered";
            let times = match nameless {
                true if delivered => posts.next().copied().unwrap_or(0),
                true => 0,
                false => taken.get(row.id.as_str()).copied().unwrap_or(0),
            };
            let repeats = times.saturating_sub(1);
            observed.delivered += usize::from(times > 0);
            observed.duplicates += repeats;
            observed.marked += if row.maybe_duplicate { repeats } else { 0 };
            let explained = match row.state.as_str() {
                "delivered" => times > 0,
                "dead" | "withheld" => row.why.is_some(),
                _ => true,
            };
            accounted += usize::from(explained);
        }
        observed.lost = owed.saturating_sub(accounted);
        observed
    }
}

/// The delivery that an arrival names, or its body where it names none.
fn delivery_of(arrival: &Arrival) -> &str {
    let identity = arrival.identity();
    let mail = identity.strip_prefix('<').and_then(|inner| inner.split_once('@'));
    mail.map_or(identity, |(id, _)| id)
}

/// A line of the table as it lies in `FAULTS_DIR`.
#[derive(Serialize)]
struct Line<'a> {
    key: &'a str,
    how: &'a str,
    #[serde(flatten)]
    observed: &'a Observed,
}

/// Holds a run with a fault to the guarantee: nothing lost, and every repeat marked. Prints one line and, where the
/// environment names a `FAULTS_DIR`, leaves `<key>.json` there for `tests/faults/write`.
///
/// `key` is one of [`FAULTS`], or one of them with a variant such as `kill-claimed+postgres`; `how` says in a clause how
/// the fault is made.
pub(crate) fn record(key: &str, how: &str, observed: &Observed) {
    let fault = key.split('+').next().unwrap_or(key);
    assert!(FAULTS.iter().any(|(known, _)| *known == fault), "{fault} is not in the list of faults");
    let Observed { lost, duplicates, marked, seed, saw, .. } = observed;
    say(&format!("fault={key} lost={lost} duplicates={duplicates} seed={seed}: {saw}"));
    assert!(observed.messages > 0 && !saw.is_empty() && !how.is_empty(), "{key}: nothing was observed");
    assert_eq!(*lost, 0, "{key}: {observed:?}");
    assert_eq!(duplicates, marked, "{key}: something came twice and is not marked: {observed:?}");
    if let Some(folder) = Environment::of_process().get("FAULTS_DIR") {
        let line = serde_json::to_string_pretty(&Line { key, how, observed }).unwrap();
        std::fs::create_dir_all(folder).unwrap();
        std::fs::write(Path::new(&folder).join(format!("{key}.json")), line).unwrap();
    }
}

#[test]
fn keys_are_words_and_each_stands_once() {
    let mut keys: Vec<&str> = FAULTS.iter().map(|(key, _)| *key).collect();
    assert!(
        keys.iter().all(|key| key.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'))
    );
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), FAULTS.len());
}
