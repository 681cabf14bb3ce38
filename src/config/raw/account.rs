//! `accounts:`, where messages come from.

use std::time::Duration;

use secrecy::SecretString;
use url::Url;

use crate::source::{Account, StartFrom, Token};

use super::{Raw, days, name, seconds};
use crate::config::address::is_loopback;
use crate::config::codes;
use crate::config::keys::{Keys, Shape, key};
use crate::config::problem::Finding;
use crate::config::read::{Fields, Reader, Spot};
use crate::config::secret::read_secret;
use crate::config::yaml::Node;

pub(in crate::config) const ACCOUNT: Keys = Keys {
    of: "an account",
    known: &[
        key("name", Shape::Text, "Its name in rules and output").required().such_as(&["main"]),
        key("token", Shape::Text, "The staff token").such_as(&["${VCITA_TOKEN}"]),
        key(
            "token_file",
            Shape::Text,
            "The file that the staff token is read from, again when it changes or is refused",
        )
        .such_as(&["/run/secrets/vcita"]),
        key("base_url", Shape::Text, "The API; plain http goes to loopback addresses only").or(BASE_URL),
        key("poll_every", Shape::Duration, "The time from the end of one poll to the start of the next")
            .or("30s"),
        key(
            "start_from",
            Shape::Usually(&["now", "24h", "2026-11-01T00:00:00Z", "beginning"]),
            "Where the very first poll begins: now, a duration back from now, a moment, or the beginning",
        )
        .or("now"),
        key("unread_only", Shape::Truth, "Ask for unread messages only").or("true"),
        key("overlap", Shape::Duration, "How far behind the newest message each poll looks again").or("2m"),
        key("lookup", Shape::Truth, "Look up the names of clients, staff and the business").or("true"),
        key("app_host", Shape::Text, "Where links lead").or(APP_HOST),
    ],
    one_of: &["token", "token_file"],
    ..Keys::NONE
};
const BASE_URL: &str = "https://api.vcita.biz";
const APP_HOST: &str = "https://app.vcita.com";
const POLL_EVERY: Duration = Duration::from_secs(30);
const POLL_EVERY_MIN: Duration = Duration::from_millis(100);
const OVERLAP: Duration = Duration::from_mins(2);
/// What `init` writes where a token belongs.
const PLACEHOLDER: &str = "paste-your-token-here";

pub(super) fn read_all(reader: &mut Reader<'_>, node: &Node, raw: &mut Raw) {
    let Some(items) =
        reader.list(node, "a list of accounts", "write `- name: main` and so on below `accounts:`")
    else {
        raw.accounts_lost = true;
        return;
    };
    if items.is_empty() {
        reader.error(
            codes::MISSING_KEY,
            node.span,
            "there is no account",
            "list at least one: { name: main, token: … }",
        );
    }
    for item in items {
        let account = account(reader, item);
        raw.accounts_lost |= account.is_none();
        raw.accounts.extend(account);
    }
}

fn account(reader: &mut Reader<'_>, node: &Node) -> Option<Spot<Account>> {
    let fields = reader.fields(node, ACCOUNT)?;
    let spot = reader
        .required(fields, "name", "give it a short name, such as main")
        .and_then(|node| reader.text(node, "a name"))
        .and_then(|spot| name(reader, spot));
    let token = token(reader, fields);
    let base_url = web_address(reader, fields, "base_url", BASE_URL);
    let app_host = web_address(reader, fields, "app_host", APP_HOST);
    let poll_every = fields.get("poll_every").map(|node| reader.duration(node, POLL_EVERY_MIN..=days(1)));
    let start_from = fields.get("start_from").map(|node| reader.start_from(node));
    let overlap = fields.get("overlap").map(|node| reader.duration(node, seconds(0)..=days(1)));
    let unread_only = fields.get("unread_only").map(|node| reader.truth(node));
    let lookup = fields.get("lookup").map(|node| reader.truth(node));
    let spot = spot?;
    let account = Account {
        name: spot.value.clone(),
        token: token?,
        base_url: base_url?,
        poll_every: poll_every.unwrap_or(Some(POLL_EVERY))?,
        start_from: start_from.unwrap_or(Some(StartFrom::Now))?,
        unread_only: unread_only.unwrap_or(Some(true))?,
        overlap: overlap.unwrap_or(Some(OVERLAP))?,
        lookup: lookup.unwrap_or(Some(true))?,
        app_host: app_host?,
    };
    Some(spot.with(account))
}

fn token(reader: &mut Reader<'_>, fields: Fields<'_>) -> Option<Token> {
    match (fields.get("token"), fields.get("token_file")) {
        (Some(_), Some(_)) => {
            let help = "keep one: `token` with a value or ${…}, or `token_file` with a path";
            reader.error(
                codes::DUPLICATE_KEY,
                fields.key_span("token_file"),
                "both `token` and `token_file` are given",
                help,
            );
            None
        }
        (Some(node), None) => {
            let spot = reader.text(node, "a token")?;
            let token = spot.value.trim();
            if token == PLACEHOLDER {
                let finding = Finding::warning(
                    codes::PLACEHOLDER,
                    spot.span,
                    "this is not a token yet, so `run` cannot read any message",
                );
                reader.report(
                    finding.help("put your staff token there, or set the variable that the line names"),
                );
            } else if token.contains(|c: char| c.is_whitespace() || c.is_control()) {
                let help = "a token is one word; look for a line break or for `Bearer ` in front of it";
                reader.error(codes::WRONG_TYPE, spot.span, "this token holds spaces or line breaks", help);
                return None;
            }
            Some(Token::Value(SecretString::from(token)))
        }
        (None, Some(node)) => {
            let spot = reader.text(node, "the path of a file")?;
            let folder =
                reader.sources.get(spot.span.file).map(|source| source.folder.clone()).unwrap_or_default();
            let path = folder.join(&spot.value);
            reader.material.path(&path);
            if let Err(why) = read_secret(&path) {
                let finding = Finding::error(
                    codes::SECRET_FILE,
                    spot.span,
                    format!("the token file cannot be read: {why}"),
                );
                reader.report(finding.help("it must exist and be readable by the relay's user; a relative path starts at the rules file"));
            }
            Some(Token::File(path))
        }
        (None, None) if fields.lacks_colon("token") || fields.lacks_colon("token_file") => None,
        (None, None) => {
            let help = "add `token: ${VCITA_TOKEN}`, or `token_file:` with the path of a file";
            reader.error(
                codes::MISSING_KEY,
                fields.span(),
                "an account needs the key `token` or `token_file`",
                help,
            );
            None
        }
    }
}

/// `https`, or `http` on loopback; without a trailing slash, a query or a user.
fn web_address(reader: &mut Reader<'_>, fields: Fields<'_>, key: &str, standard: &str) -> Option<Url> {
    let Some(node) = fields.get(key) else { return Url::parse(standard).ok() };
    let spot = reader.text(node, "a URL")?;
    if reader.is_unconfined(&spot, "a URL") {
        return None;
    }
    let problem = match Url::parse(spot.value.trim().trim_end_matches('/')) {
        Err(error) => format!("this is not a URL: {error}"),
        Ok(url) if !url.username().is_empty() || url.password().is_some() => {
            let help = "take it out of the URL; the token is all that is needed";
            reader.error(codes::URL_PASSWORD, spot.span, "a user or password in the URL is refused", help);
            return None;
        }
        Ok(url) if url.query().is_some() || url.fragment().is_some() => {
            "this URL has a query or a fragment".to_owned()
        }
        Ok(url) if url.scheme() == "https" && url.host().is_some() => return Some(url),
        Ok(url) if url.scheme() == "http" && is_loopback(&url) => return Some(url),
        Ok(url) if url.scheme() == "http" => "plain http would send the token in clear text".to_owned(),
        Ok(_) => "this is not a web address".to_owned(),
    };
    let help = format!("use https, such as {standard}; http is for loopback addresses only");
    reader.error(codes::URL, spot.span, format!("`{key}` cannot be used: {problem}"), help);
    None
}
