//! Accounts, targets and rules that are hard to tell apart, or that are the same thing twice.

use std::collections::HashMap;

use secrecy::ExposeSecret;

use crate::config::codes::{self, Code};
use crate::config::problem::{Finding, Span};
use crate::config::raw::Raw;
use crate::config::trees::Trees;
use crate::config::yaml::{Kind, Node};
use crate::model::message::key;
use crate::source::Token;

/// Names that differ in case and punctuation only, tokens and addresses that stand twice.
pub(super) fn check(raw: &Raw, trees: &Trees) -> Vec<Finding> {
    let accounts = raw.accounts.iter().map(|account| (account.value.name.as_str(), account.span));
    let targets = raw.targets.iter().map(|target| (target.name.value.as_str(), target.name.span));
    let rules = raw.rules.iter().filter_map(|rule| rule.name.as_ref());
    let mut findings = names("account", accounts);
    findings.extend(names("target", targets));
    findings.extend(names("rule", rules.map(|name| (name.value.as_str(), name.span))));
    findings.extend(tokens(raw, trees));
    findings.extend(addresses(raw, trees));
    findings
}

fn names<'n>(what: &str, names: impl Iterator<Item = (&'n str, Span)>) -> Vec<Finding> {
    let mut first: HashMap<String, (&str, Span)> = HashMap::new();
    let mut findings = Vec::new();
    for (name, span) in names {
        let key = key(name);
        let Some((other, place)) = first.get(&key).filter(|_| !key.is_empty()) else {
            first.insert(key, (name, span));
            continue;
        };
        let message = format!("the {what}s `{other}` and `{name}` differ in case and punctuation only");
        let finding = Finding::warning(codes::ALIKE_NAMES, span, message);
        let help = "rename one of them: they stand in logs, metrics and on command lines, where they are easily mixed up";
        findings.push(finding.related(*place, "the other is here").help(help));
    }
    findings
}

/// Two accounts that poll with one token: every message comes in, and goes out, twice.
fn tokens(raw: &Raw, trees: &Trees) -> Vec<Finding> {
    let mut seen = Twice::default();
    for account in &raw.accounts {
        let (key, token) = match &account.value.token {
            Token::Value(secret) => ("token", secret.expose_secret().to_owned()),
            Token::File(path) => ("token_file", path.display().to_string()),
        };
        seen.note(
            format!("{key} {} {token}", account.value.base_url),
            trees.key(account.span, key),
            codes::SAME_TOKEN,
            "this is the token of another account too: each of its messages is taken in twice",
            "give each account the token of its own business, or take one of the two out",
        );
    }
    seen.findings
}

/// Two targets that lead to one place: each counts its rate and its failures for itself.
fn addresses(raw: &Raw, trees: &Trees) -> Vec<Finding> {
    let mut seen = Twice::default();
    for target in &raw.targets {
        let Some(node) = trees.part(target.name.span) else { continue };
        let written = |name: &str| node.entry(name).map(|entry| plain(&entry.value)).unwrap_or_default();
        let Some((key, differing)) = [
            ("webhook_url", &[][..]),
            ("url", &["method", "headers", "auth", "body", "signing_secret"][..]),
            ("smtp", &["from", "to", "cc", "bcc", "reply_to"][..]),
        ]
        .into_iter()
        .find(|(key, _)| node.entry(key).is_some()) else {
            continue;
        };
        let parts: Vec<String> = differing.iter().map(|name| written(name)).collect();
        seen.note(
            format!("{key} {} {parts:?}", written(key)),
            trees.key(target.name.span, key),
            codes::SAME_TARGET,
            "another target leads to the same place: what either sends does not count for the other's `rate`",
            "use one target for both, or give them different addresses",
        );
    }
    seen.findings
}

/// A value as it is written, keys sorted, so that equal values give equal texts.
fn plain(node: &Node) -> String {
    match &node.kind {
        Kind::Null => String::new(),
        Kind::Scalar(scalar) => scalar.text.trim().to_owned(),
        Kind::List(items) => items.iter().map(plain).collect::<Vec<_>>().join("\n"),
        Kind::Map(entries) => {
            let mut pairs: Vec<String> =
                entries.iter().map(|entry| format!("{}: {}", entry.key, plain(&entry.value))).collect();
            pairs.sort_unstable();
            pairs.join("\n")
        }
    }
}

/// What was seen so far, and what stood there a second time. The values are secrets and never shown.
#[derive(Default)]
struct Twice {
    first: HashMap<String, Span>,
    findings: Vec<Finding>,
}

impl Twice {
    fn note(&mut self, value: String, span: Span, code: &'static Code, message: &str, help: &str) {
        let Some(first) = self.first.get(&value) else {
            self.first.insert(value, span);
            return;
        };
        let finding = Finding::warning(code, span, message);
        self.findings.push(finding.related(*first, "it stands here first").help(help));
    }
}
