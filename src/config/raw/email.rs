//! Targets of `type: email`.

use lettre::message::Mailbox;
use secrecy::SecretString;
use url::{Host, Url};

use crate::target::email::{Email, Settings, Tls};

use super::target::{BURST, COALESCE_OVER, CONCURRENCY, ENABLED, FALLBACK, RATE, RETRY, TYPE};
use crate::config::address::is_localhost;
use crate::config::codes;
use crate::config::keys::{Keys, Shape, key};
use crate::config::problem::Finding;
use crate::config::read::{Fields, Reader, Spot, Unreadable};
use crate::config::yaml::Node;

pub(super) const OF: &str = "an email target";
pub(super) const KEYS: Keys = Keys {
    of: OF,
    known: &[
        TYPE,
        key(
            "smtp",
            Shape::Text,
            "The mail server: smtps://user:password@host:465 or smtp://host:587?tls=required|opportunistic|none",
        )
        .required()
        .such_as(&["${SMTP_URL}"]),
        key("from", Shape::Text, "The sender").required().such_as(&["Relay <relay@example.com>"]),
        key("to", ADDRESSES, "The recipients; each gets a delivery of its own")
            .required()
            .such_as(&["books@example.com"]),
        key("cc", ADDRESSES, "Further recipients, named in each mail"),
        key("bcc", ADDRESSES, "Further recipients, not named in the mails"),
        key("reply_to", Shape::Text, "Where answers go"),
        RATE.or("unlimited"),
        BURST.or("1"),
        CONCURRENCY.or("2"),
        RETRY,
        ENABLED,
        FALLBACK,
        COALESCE_OVER.or("0"),
    ],
    ..Keys::NONE
};
const ADDRESSES: Shape = Shape::OneOrMore(&Shape::Text);
const SMTP_FORM: &str = "write smtps://user:password@host:465 or smtp://host:587?tls=required";

/// The SMTP server, as its URL says.
struct Server {
    host: String,
    port: u16,
    tls: Tls,
    credentials: Option<(String, SecretString)>,
}

pub(super) fn read(reader: &mut Reader<'_>, fields: Fields<'_>) -> Option<Email> {
    let help = "add `smtp: ${SMTP_URL}`, such as smtps://user:password@mail.example.com:465";
    let server = reader
        .required(fields, "smtp", help)
        .and_then(|node| reader.text(node, "the URL of an SMTP server"))
        .and_then(|spot| server(reader, &spot));
    let from = reader
        .required(fields, "from", "add the sender, such as \"Relay <relay@example.com>\"")
        .and_then(|node| mailbox(reader, node));
    let to = reader
        .required(fields, "to", "add the recipients, such as [books@example.com]")
        .and_then(|node| mailboxes(reader, Some(node)));
    let cc = mailboxes(reader, fields.get("cc"));
    let bcc = mailboxes(reader, fields.get("bcc"));
    let reply_to = fields.get("reply_to").map(|node| mailbox(reader, node));
    let (server, from, to, cc, bcc) = (server?, from?, to?, cc?, bcc?);
    let mut recipients: Vec<String> = Vec::new();
    for mailbox in to.iter().chain(&cc).chain(&bcc) {
        let address = mailbox.email.to_string();
        if !recipients.iter().any(|known| known.eq_ignore_ascii_case(&address)) {
            recipients.push(address);
        }
    }
    let shown = |list: &[Mailbox]| list.iter().map(ToString::to_string).collect();
    Some(Email::new(Settings {
        host: server.host,
        port: server.port,
        tls: server.tls,
        credentials: server.credentials,
        from: from.to_string(),
        recipients,
        to: shown(&to),
        cc: shown(&cc),
        reply_to: match reply_to {
            Some(mailbox) => Some(mailbox?.to_string()),
            None => None,
        },
    }))
}

fn mailboxes(reader: &mut Reader<'_>, node: Option<&Node>) -> Option<Vec<Mailbox>> {
    let Some(node) = node else { return Some(Vec::new()) };
    let items = reader.one_or_more(node);
    let found: Vec<Mailbox> = items.iter().filter_map(|item| mailbox(reader, item)).collect();
    (!items.is_empty() && found.len() == items.len()).then_some(found)
}

fn mailbox(reader: &mut Reader<'_>, node: &Node) -> Option<Mailbox> {
    let spot = reader.text(node, "a mail address")?;
    let clean = !spot.value.contains(['\r', '\n']);
    let found = spot.value.parse::<Mailbox>().ok().filter(|_| clean);
    if found.is_none() {
        let finding =
            Finding::error(codes::ADDRESS, spot.span, format!("`{}` is not a mail address", spot.written));
        reader.report(finding.help(if spot.value.contains("{{") {
            "addresses are fixed; what a message says may only go into subject and text"
        } else {
            "write name@example.com, or \"Name <name@example.com>\" in quotes; one address per entry"
        }));
    }
    found
}

fn server(reader: &mut Reader<'_>, spot: &Spot<String>) -> Option<Server> {
    // A password may hold anything; who is reached may not depend on a message.
    let host = spot.value.rsplit('@').next().unwrap_or_default();
    if host.contains("{{") && reader.is_unconfined(spot, "a URL") {
        return None;
    }
    let Ok(url) = Url::parse(spot.value.trim()) else {
        let help = format!("{SMTP_FORM}; write @ / ? # % in a password as %40 %2F %3F %23 %25");
        reader.error(codes::URL, spot.span, "this is not the URL of an SMTP server", help);
        return None;
    };
    let host = url.host_str().filter(|host| !host.is_empty()).map(unbracketed);
    let (Some(host), true) = (host, matches!(url.scheme(), "smtp" | "smtps")) else {
        reader.error(codes::URL, spot.span, "this is not the URL of an SMTP server", SMTP_FORM);
        return None;
    };
    let tls = tls(reader, &url, spot)?;
    let credentials = credentials(reader, &url, spot).ok()?;
    if credentials.is_some() && tls == Tls::None && !is_loopback(&url, &host) {
        let help = "use smtps:// or ?tls=required; without TLS a password goes to loopback addresses only";
        reader.error(codes::INSECURE_LOGIN, spot.span, "user and password would travel in plain text", help);
        return None;
    }
    let port = url.port().unwrap_or(if url.scheme() == "smtps" { 465 } else { 587 });
    Some(Server { host, port, tls, credentials })
}

fn tls(reader: &mut Reader<'_>, url: &Url, spot: &Spot<String>) -> Option<Tls> {
    let implicit = url.scheme() == "smtps";
    let mut found = if implicit { Tls::Implicit } else { Tls::Required };
    for (key, value) in url.query_pairs() {
        found = match (key.as_ref(), value.as_ref()) {
            ("tls", _) if implicit => {
                let help = "smtps:// is TLS from the first byte: take ?tls= out, or use smtp://";
                reader.error(codes::URL, spot.span, "smtps:// takes no `tls`", help);
                return None;
            }
            ("tls", "required") => Tls::Required,
            ("tls", "opportunistic") => Tls::Opportunistic,
            ("tls", "none") => Tls::None,
            _ => {
                let help = "the only one is tls=required, tls=opportunistic or tls=none";
                reader.error(codes::URL, spot.span, "this SMTP URL has an option that does not exist", help);
                return None;
            }
        };
    }
    Some(found)
}

fn credentials(
    reader: &mut Reader<'_>,
    url: &Url,
    spot: &Spot<String>,
) -> Result<Option<(String, SecretString)>, Unreadable> {
    if url.username().is_empty() && url.password().is_none() {
        return Ok(None);
    }
    let user = decoded(url.username()).filter(|user| !user.is_empty());
    let password = url.password().and_then(decoded);
    let (Some(user), Some(password)) = (user, password) else {
        let help = format!("{SMTP_FORM}; write @ / ? # % in a password as %40 %2F %3F %23 %25");
        reader.error(codes::URL, spot.span, "this SMTP URL has only half of user and password", help);
        return Err(Unreadable);
    };
    Ok(Some((user, SecretString::from(password))))
}

fn is_loopback(url: &Url, host: &str) -> bool {
    let address = match url.host() {
        Some(Host::Ipv6(ip)) => Some(ip.is_loopback()),
        _ => host.parse::<std::net::IpAddr>().ok().map(|ip| ip.is_loopback()),
    };
    address.unwrap_or_else(|| is_localhost(host))
}

fn unbracketed(host: &str) -> String {
    host.trim_start_matches('[').trim_end_matches(']').to_owned()
}

/// Percent-decoding; `None` if it is not UTF-8 afterwards.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let code = match (first, tail) {
            (b'%', [high, low, ..]) => {
                let digits = [*high, *low];
                std::str::from_utf8(&digits).ok().and_then(|digits| u8::from_str_radix(digits, 16).ok())
            }
            _ => None,
        };
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::decoded;

    #[test]
    fn passwords_are_percent_decoded() {
        assert_eq!(decoded("p%40ss%2Fw+rd").as_deref(), Some("p@ss/w+rd"));
        assert_eq!(decoded("100%").as_deref(), Some("100%"));
        assert_eq!(decoded("%zz%4").as_deref(), Some("%zz%4"));
        assert_eq!(decoded("%ff"), None);
    }
}
