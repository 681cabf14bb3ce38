//! Secrets that stand in the file itself, where everybody who reads the file, its history and its copies has them.

use url::Url;

use crate::config::address::{is_localhost, is_loopback};
use crate::config::codes;
use crate::config::mask::is_secret;
use crate::config::problem::Finding;
use crate::config::secret::bare_variable;
use crate::config::trees::Trees;
use crate::config::yaml::{Entry, Kind, Node, Scalar};

/// What is shorter is no secret but a stand-in for one.
const SECRET_CHARS_MIN: usize = 8;
/// The last part of a Slack webhook's address has 24 characters.
const WEBHOOK_CHARS_MIN: usize = 16;
/// Part of what people write where a secret belongs.
const STAND_INS: [&str; 6] = ["paste-your", "replace", "example", "changeme", "your-", "xxxx"];
/// Keys of a query that carry a secret.
const QUERY_KEYS: [&str; 9] =
    ["token", "accesstoken", "key", "apikey", "sig", "signature", "secret", "password", "code"];
/// Keys that hold whole URLs.
const URL_KEYS: [&str; 5] = ["webhook_url", "url", "smtp", "token_url", "base_url"];

/// Every secret written out, each at its place.
pub(super) fn check(trees: &Trees) -> Vec<Finding> {
    let mut findings = Vec::new();
    for root in trees.roots() {
        for entry in root.entries() {
            match (entry.key.as_str(), &entry.value.kind) {
                ("accounts", Kind::List(accounts)) => {
                    for account in accounts.iter().filter(|account| !is_of_a_sandbox(account)) {
                        account.entries().iter().for_each(|entry| look(entry, "VCITA", &mut findings));
                    }
                }
                ("targets", Kind::Map(targets)) => {
                    for target in targets {
                        let name = variable(&target.key);
                        target.value.entries().iter().for_each(|entry| look(entry, &name, &mut findings));
                    }
                }
                _ => {}
            }
        }
    }
    findings
}

/// The account's API is on this machine, so its token opens nothing.
fn is_of_a_sandbox(account: &Node) -> bool {
    let base_url = account.entry("base_url").and_then(|entry| text(&entry.value));
    base_url.and_then(|text| Url::parse(text).ok()).is_some_and(|url| is_loopback(&url))
}

fn look(entry: &Entry, owner: &str, findings: &mut Vec<Finding>) {
    let mut report = |node: &Node, what: &str, name: &str| {
        let variable = format!("{owner}_{}", variable(name));
        let finding =
            Finding::warning(codes::LITERAL_SECRET, node.span, format!("{what} stands in the file itself"));
        findings.push(finding.help(format!(
            "set an environment variable and write ${{{variable}}}, or ${{file:…}} for a file; then change the secret, as copies of this file have it"
        )));
    };
    match &entry.value.kind {
        Kind::Scalar(scalar) if URL_KEYS.contains(&entry.key.as_str()) => {
            if let Some(what) = secret_of_url(&scalar.text) {
                report(&entry.value, what, &entry.key);
            }
        }
        Kind::Scalar(scalar) if is_secret(&entry.key) && is_literal(scalar) => {
            report(&entry.value, &format!("the secret `{}`", entry.key), &entry.key);
        }
        Kind::List(items) if is_secret(&entry.key) => {
            for item in items {
                if matches!(&item.kind, Kind::Scalar(scalar) if is_literal(scalar)) {
                    report(item, &format!("the secret `{}`", entry.key), &entry.key);
                }
            }
        }
        Kind::Map(entries) => entries.iter().for_each(|entry| look(entry, owner, findings)),
        Kind::Scalar(_) | Kind::List(_) | Kind::Null => {}
    }
}

fn is_literal(scalar: &Scalar) -> bool {
    // That the braces are missing is told where it is read.
    if bare_variable(&scalar.text).is_some() {
        return false;
    }
    let text = scalar.text.trim();
    let scheme = text.split_once(' ').filter(|(word, _)| ["Bearer", "Basic", "Token"].contains(word));
    let text = scheme.map_or(text, |(_, rest)| rest.trim());
    text.chars().count() >= SECRET_CHARS_MIN && !is_filled_in(text) && !is_stand_in(text)
}

/// What is filled in is filled in by `${…}`; the rest of the text then is no secret.
fn is_filled_in(text: &str) -> bool {
    text.contains("${")
}

fn is_stand_in(text: &str) -> bool {
    let lower = text.to_lowercase();
    STAND_INS.iter().any(|part| lower.contains(part)) || lower.contains(['<', '…'])
}

/// What is secret about a URL, if anything of it is.
fn secret_of_url(text: &str) -> Option<&'static str> {
    let text = text.trim();
    let (scheme, rest) = text.split_once("://")?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    if let Some((user, host)) = authority.rsplit_once('@') {
        let password = user.split_once(':').map(|(_, password)| password).unwrap_or_default();
        let host = host.split([':', '?']).next().unwrap_or_default();
        let local = is_localhost(host) || host.starts_with("127.");
        if scheme.starts_with("smtp") && !password.is_empty() && !is_filled_in(password) && !local {
            return (!is_stand_in(password)).then_some("the password of the mail server");
        }
    }
    let hook = matches!(authority, "hooks.slack.com" | "hooks.slack-gov.com");
    let last = path.split(['?', '#']).next().and_then(|path| path.rsplit('/').next()).unwrap_or_default();
    if hook && last.len() >= WEBHOOK_CHARS_MIN && last.chars().all(|c| c.is_ascii_alphanumeric()) {
        return Some("the address of a Slack webhook, with which anybody can post,");
    }
    let (_, query) = text.split_once('?')?;
    let secret = query.split('&').filter_map(|pair| pair.split_once('=')).any(|(name, value)| {
        let name: String =
            name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
        QUERY_KEYS.contains(&name.as_str())
            && value.len() >= SECRET_CHARS_MIN
            && !is_filled_in(value)
            && !is_stand_in(value)
    });
    secret.then_some("a secret in the query of this URL")
}

/// A name as it would be of an environment variable.
fn variable(name: &str) -> String {
    let upper = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    name.chars().map(upper).collect()
}

fn text(node: &Node) -> Option<&str> {
    match &node.kind {
        Kind::Scalar(scalar) => Some(&scalar.text),
        Kind::Null | Kind::List(_) | Kind::Map(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_in_urls_are_told_from_addresses_and_stand_ins() {
        for (url, secret) in [
            ("https://hooks.slack.com/services/T02A/B03C/abcdefghijklmnop12345678", true),
            ("https://hooks.slack.com/services/replace/this/address", false),
            ("https://hooks.slack.com/services/T000/B000/not-real", false),
            ("${SLACK}", false),
            ("smtps://relay:hunter2@mail.example.com:465", true),
            ("smtps://relay:${PASSWORD}@mail.example.com:465", false),
            ("smtp://relay:relay@localhost:2525?tls=none", false),
            ("smtp://mail.example.com?tls=required", false),
            ("https://crm.example.com/hook?token=0123456789abcdef", true),
            ("https://crm.example.com/hook?token=${CRM_TOKEN}", false),
            ("https://crm.example.com/hook?source=activity-relay", false),
        ] {
            assert_eq!(secret_of_url(url).is_some(), secret, "{url}");
        }
    }
}
