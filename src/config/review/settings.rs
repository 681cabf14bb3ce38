//! Settings that are each in order and make no sense together.

use std::collections::HashSet;
use std::time::Duration;

use crate::config::codes;
use crate::config::problem::{Finding, Span};
use crate::config::raw::{Raw, RawDeliver, RawRule, RawTarget};
use crate::config::trees::Trees;
use crate::model::duration::shown;
use crate::source::{Account, StartFrom};
use crate::target::Target;

use super::super::address::is_loopback;

pub(super) fn check(raw: &Raw, trees: &Trees) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(expiries(raw, trees));
    findings.extend(retries(raw, trees));
    findings.extend(histories(raw, trees));
    findings.extend(memories(raw, trees));
    findings.extend(switched_off(raw, trees));
    findings
}

fn read<'r>(raw: &'r Raw, name: &str) -> Option<&'r Target> {
    raw.targets.iter().find(|target| target.name.value == name)?.target.as_ref()
}

/// The accounts that a rule is for.
fn accounts<'r>(raw: &'r Raw, rule: &RawRule) -> impl Iterator<Item = &'r Account> {
    let named =
        rule.accounts.as_ref().map(|list| list.iter().map(|name| name.value.clone()).collect::<Vec<_>>());
    let all = raw.accounts.iter().map(|account| &account.value);
    all.filter(move |account| named.as_ref().is_none_or(|named| named.contains(&account.name)))
}

/// Deliveries that are too old before they can be sent, or sent again.
fn expiries(raw: &Raw, trees: &Trees) -> Vec<Finding> {
    let standard = trees.top("defaults").and_then(|entry| entry.value.entry("expires_after"));
    let mut seen = HashSet::new();
    let mut findings = Vec::new();
    for rule in &raw.rules {
        for (position, deliver) in rule.deliver.iter().enumerate() {
            let own = deliver.expires_after.and_then(|_| own_expiry(rule, position, trees));
            let Some(expires) = deliver.expires_after.or(raw.defaults.expires_after) else { continue };
            let span = own.or(standard.map(|entry| entry.value.span)).unwrap_or(deliver.to.span);
            let Some((message, help)) = too_short(raw, rule, deliver, expires) else { continue };
            if seen.insert((span.file, span.start)) {
                findings.push(Finding::warning(codes::EXPIRES_EARLY, span, message).help(help));
            }
        }
    }
    findings
}

/// Where an entry of `deliver` says when it expires.
pub(super) fn own_expiry(rule: &RawRule, position: usize, trees: &Trees) -> Option<Span> {
    let entry = trees.entry(rule.span, "deliver")?;
    let crate::config::yaml::Kind::List(items) = &entry.value.kind else { return None };
    Some(items.get(position)?.entry("expires_after")?.value.span)
}

fn too_short(
    raw: &Raw,
    rule: &RawRule,
    deliver: &RawDeliver,
    expires: Duration,
) -> Option<(String, &'static str)> {
    let slow = accounts(raw, rule).find(|account| expires <= account.poll_every);
    if let Some(account) = slow {
        let message = format!(
            "most messages expire before they are seen: `{}` is polled every {}, and this is {}",
            account.name,
            shown(account.poll_every),
            shown(expires)
        );
        return Some((
            message,
            "make it several times as long as `poll_every`; it counts from when the message was made",
        ));
    }
    let first = read(raw, &deliver.to.value)?.retry.backoff.first;
    (expires <= first).then(|| {
        let message = format!(
            "a delivery that fails once is too old for a second attempt: this is {}, and `{}` waits {} before it",
            shown(expires),
            deliver.to.value,
            shown(first)
        );
        (message, "make it longer than `retry.first`, or that one shorter")
    })
}

/// Targets that give up before they try again.
fn retries(raw: &Raw, trees: &Trees) -> Vec<Finding> {
    let standard = trees.top("defaults").and_then(|entry| entry.value.entry("retry"));
    let mut seen = HashSet::new();
    let mut findings = Vec::new();
    for target in &raw.targets {
        let Some(retry) = target.target.as_ref().map(|target| target.retry) else { continue };
        if retry.give_up_after > retry.backoff.first {
            continue;
        }
        let own = trees.entry(target.name.span, "retry");
        let span = own.or(standard).map_or(target.name.span, |entry| entry.span);
        if seen.insert((span.file, span.start)) {
            let message = format!(
                "a failed delivery is given up before it is tried again: `give_up_after` is {} and `first` {}",
                shown(retry.give_up_after),
                shown(retry.backoff.first)
            );
            let help = "make `give_up_after` much longer than `first`: it should outlast an outage of the target, such as 3d";
            findings.push(Finding::warning(codes::NO_RETRY, span, message).help(help));
        }
    }
    findings
}

/// Accounts whose first run would send all that was ever left unread.
fn histories(raw: &Raw, trees: &Trees) -> Vec<Finding> {
    let mut findings = Vec::new();
    for account in &raw.accounts {
        let (name, sandbox) = (&account.value.name, is_loopback(&account.value.base_url));
        if account.value.start_from != StartFrom::Beginning || sandbox {
            continue;
        }
        let lasting = raw.rules.iter().filter(|rule| accounts(raw, rule).any(|other| other.name == *name));
        let lasting = lasting.filter(|rule| {
            rule.deliver.iter().any(|deliver| deliver.expires_after.or(raw.defaults.expires_after).is_none())
        });
        let count = lasting.count();
        if count == 0 {
            continue;
        }
        let rules = if count == 1 { "one rule sends".to_owned() } else { format!("{count} rules send") };
        let message = format!(
            "the first run sends everything that `{name}` has unread, however old: {rules} it without `expires_after`"
        );
        let help = "start from `now` or a duration such as 24h, or set `expires_after` in `defaults`, so that old news is left out";
        findings.push(
            Finding::warning(codes::BEGINNING, trees.key(account.span, "start_from"), message).help(help),
        );
    }
    findings
}

/// Accounts that look further back than the relay remembers.
fn memories(raw: &Raw, trees: &Trees) -> Vec<Finding> {
    let kept = raw.retention.delivered;
    let forgetful = raw.accounts.iter().filter(|account| account.value.overlap >= kept);
    let finding = |account: &crate::config::read::Spot<Account>| {
        let message = format!(
            "each poll looks back {}, but what is older than {} counts as sent: the rest of `overlap` does nothing",
            shown(account.value.overlap),
            shown(kept)
        );
        let finding = Finding::warning(codes::SHORT_MEMORY, trees.key(account.span, "overlap"), message);
        let finding = match trees.top("retention") {
            Some(entry) => finding.related(entry.span, "this says how long is remembered"),
            None => finding,
        };
        finding.help("keep `retention.delivered` well above `overlap`, such as 30d")
    };
    forgetful.map(finding).collect()
}

/// Targets that are switched off and named all the same.
fn switched_off(raw: &Raw, trees: &Trees) -> Vec<Finding> {
    let off = |target: &&RawTarget| target.target.as_ref().is_some_and(|target| !target.enabled);
    let finding = |target: &RawTarget| {
        let name = &target.name.value;
        let to = |rule: &&RawRule| rule.deliver.iter().any(|deliver| deliver.to.value == *name);
        let rules = raw.rules.iter().filter(to).count();
        let told =
            raw.targets.iter().find(|other| other.fallback.as_ref().is_some_and(|spot| spot.value == *name));
        let what = if raw.alerts.as_ref().is_some_and(|spot| spot.value == *name) {
            "`alerts` go to it: nobody hears of the relay's own troubles".to_owned()
        } else if let Some(other) = told {
            format!("it is the fallback of `{}`: nobody hears of that one's troubles", other.name.value)
        } else if rules > 0 {
            let rules =
                if rules == 1 { "one rule delivers".to_owned() } else { format!("{rules} rules deliver") };
            format!("{rules} to it: messages wait until it is switched on, and then all go out")
        } else {
            return None;
        };
        let message = format!("the target `{name}` is switched off, and {what}");
        let finding = Finding::warning(codes::SWITCHED_OFF, trees.key(target.name.span, "enabled"), message);
        Some(
            finding
                .help("switch it on, or name another target; with `expires_after` old messages are left out"),
        )
    };
    raw.targets.iter().filter(off).filter_map(finding).collect()
}
