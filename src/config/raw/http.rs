//! Targets of `type: http`.

use std::ops::RangeInclusive;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use secrecy::SecretString;
use url::Url;

use crate::egress::policy::Policy;
use crate::model::payload::HttpBody;
use crate::target::http::{Auth, Http, SecretBytes, Settings};

use super::target::{ALLOW_PRIVATE, BURST, CONCURRENCY, ENABLED, FALLBACK, RATE, RETRY, TIMEOUT, TYPE};
use crate::config::codes;
use crate::config::keys::{Keys, Shape, key};
use crate::config::mask::is_secret;
use crate::config::problem::Finding;
use crate::config::read::{Fields, Reader, Spot};
use crate::config::yaml::{Kind, Node};

pub(super) const KEYS: Keys = Keys {
    of: "an http target",
    known: &[
        TYPE,
        key("url", Shape::Text, "Where deliveries are sent")
            .required()
            .such_as(&["https://crm.example.com/hooks/vcita"]),
        key("method", Shape::Usually(&METHODS), "In capitals").or("POST"),
        key("headers", Shape::Map(&Shape::Text), "Further headers"),
        key("auth", Shape::Keys(&AUTH), "How to authenticate: exactly one of the ways"),
        key(
            "body",
            Shape::Choice(&["auto", "event", "cloudevents"]),
            "auto: the template's http part if it has one, else the event",
        )
        .or("auto"),
        key("success", Shape::OneOrMore(&Shape::Status), "Statuses that mean success").or("200-299"),
        key(
            "signing_secret",
            Shape::OneOrMore(&Shape::Text),
            "whsec_… for Standard Webhooks signatures, 24 to 64 bytes in base64; a list while one replaces the other",
        )
        .such_as(&["${CRM_SECRET}"]),
        RATE.or("unlimited"),
        BURST.or("1"),
        CONCURRENCY.or("8"),
        RETRY,
        ENABLED,
        FALLBACK,
        TIMEOUT,
        ALLOW_PRIVATE,
    ],
    ..Keys::NONE
};
const AUTH: Keys = Keys {
    of: "`auth`",
    known: &[
        key("basic", Shape::Keys(&BASIC), "User and password"),
        key("bearer", Shape::Text, "A token").such_as(&["${CRM_TOKEN}"]),
        key("oauth2", Shape::Keys(&OAUTH2), "A token that is fetched with client credentials"),
    ],
    one_of: &["basic", "bearer", "oauth2"],
    ..Keys::NONE
};
const BASIC: Keys = Keys {
    of: "`basic`",
    known: &[
        key("user", Shape::Text, "The user's name").required().such_as(&["relay"]),
        key("password", Shape::Text, "The user's password").required().such_as(&["${CRM_PASSWORD}"]),
    ],
    ..Keys::NONE
};
const OAUTH2: Keys = Keys {
    of: "`oauth2`",
    known: &[
        key("token_url", Shape::Text, "The URL that hands out tokens").required(),
        key("client_id", Shape::Text, "As the service gave it").required(),
        key("client_secret", Shape::Text, "As the service gave it")
            .required()
            .such_as(&["${CRM_CLIENT_SECRET}"]),
        key("scope", Shape::Text, "What the token is for, separated by spaces"),
    ],
    ..Keys::NONE
};
const METHODS: [&str; 5] = ["POST", "PUT", "PATCH", "GET", "DELETE"];
/// Headers that belong to the connection or to the delivery itself.
const OWN_HEADERS: [&str; 10] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "upgrade",
    "te",
    "trailer",
    "webhook-id",
    "webhook-timestamp",
    "webhook-signature",
];
/// Standard base64, with or without its padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
const SIGNING_BYTES: RangeInclusive<usize> = 24..=64;

pub(super) fn read(reader: &mut Reader<'_>, fields: Fields<'_>) -> Option<Http> {
    let policy = reader.policy(fields.get("allow_private"));
    let help = "add `url:` with the address that deliveries are sent to";
    let spot = reader.required(fields, "url", help).and_then(|node| reader.text(node, "a URL"));
    let policy_known = policy.as_ref().unwrap_or(&Policy::Any);
    let url = spot.as_ref().and_then(|spot| reader.target_url(spot, policy_known));
    let method = fields.get("method").map_or(Some(Method::POST), |node| method(reader, node));
    let headers = fields.get("headers").map_or(Some(HeaderMap::new()), |node| headers(reader, node));
    let auth = match fields.get("auth") {
        Some(node) => auth(reader, node, policy_known).map(Some),
        None => Some(None),
    };
    let logs_in = matches!(auth, Some(Some(Auth::Basic { .. } | Auth::Bearer(_))))
        || headers.iter().flat_map(HeaderMap::keys).any(|name| is_secret(name.as_str()));
    if let (Some(spot), Some(url), true) = (&spot, &url, logs_in) {
        unprotected(reader, spot, url, policy_known);
    }
    if let (Some(Some(_)), Some(headers)) = (&auth, &headers)
        && headers.contains_key("authorization")
    {
        let help = "keep one of the two";
        reader.error(
            codes::HEADER,
            fields.key_span("auth"),
            "both `auth` and a header Authorization are given",
            help,
        );
    }
    let bodies =
        [("auto", HttpBody::Auto), ("event", HttpBody::Event), ("cloudevents", HttpBody::CloudEvents)];
    let body = fields.get("body").map_or(Some(HttpBody::Auto), |node| reader.choice(node, &bodies));
    let success = fields.get("success").map_or(Some(vec![200..=299]), |node| success(reader, node));
    let signing = fields.get("signing_secret").map_or(Some(Vec::new()), |node| signing_secrets(reader, node));
    let settings = Settings {
        method: method?,
        url: url?,
        headers: headers?,
        auth: auth?,
        success: success?,
        signing_secrets: signing?,
        body: body?,
    };
    Some(Http::new(settings, reader.egress(policy?)))
}

/// Credentials for a public address over plain http: on the way anyone can read them.
fn unprotected(reader: &mut Reader<'_>, spot: &Spot<String>, url: &Url, policy: &Policy) {
    if url.scheme() == "http" && matches!(policy, Policy::Public) {
        let message = "the credentials of this target travel in plain text over the network";
        let finding = Finding::warning(codes::INSECURE_LOGIN, spot.span, message);
        reader.report(finding.help("use https"));
    }
}

fn method(reader: &mut Reader<'_>, node: &Node) -> Option<Method> {
    let spot = reader.text(node, "an HTTP method")?;
    let upper = spot.value.to_ascii_uppercase();
    let valid = spot.value == upper && !matches!(upper.as_str(), "CONNECT" | "TRACE");
    if let Some(method) = Method::from_bytes(spot.value.as_bytes()).ok().filter(|_| valid) {
        return Some(method);
    }
    let finding = Finding::error(
        codes::HEADER,
        spot.span,
        format!("`{}` is not a method to deliver with", spot.written),
    );
    let finding = finding.help(format!("use one of {}, in capitals", METHODS.join(", ")));
    reader.report(if METHODS.contains(&upper.as_str()) { finding.replacement(upper) } else { finding });
    None
}

fn headers(reader: &mut Reader<'_>, node: &Node) -> Option<HeaderMap> {
    let Kind::Map(entries) = &node.kind else {
        reader.wrong(node, "a mapping of header names to values", "write `headers: { X-Source: relay }`");
        return None;
    };
    let mut map = HeaderMap::new();
    let mut complete = true;
    for entry in entries {
        let name = HeaderName::from_bytes(entry.key.as_bytes()).ok();
        let Some(name) = name.filter(|name| !OWN_HEADERS.contains(&name.as_str())) else {
            let help = "leave it out: only letters, digits and - make a name, and the relay sets Host, lengths and webhook-* itself";
            reader.error(
                codes::HEADER,
                entry.span,
                format!("`{}` cannot be used as a header", entry.key),
                help,
            );
            complete = false;
            continue;
        };
        match reader.text(&entry.value, "the text of a header").and_then(|spot| header_value(reader, &spot)) {
            Some(value) => drop(map.insert(name, value)),
            None => complete = false,
        }
    }
    complete.then_some(map)
}

fn header_value(reader: &mut Reader<'_>, spot: &Spot<String>) -> Option<HeaderValue> {
    if reader.is_unconfined(spot, "a header") {
        return None;
    }
    let Ok(mut value) = HeaderValue::from_str(spot.value.trim()) else {
        let help = "a header is one line of visible ASCII characters";
        reader.error(codes::HEADER, spot.span, "this cannot be the value of a header", help);
        return None;
    };
    value.set_sensitive(true);
    Some(value)
}

fn auth(reader: &mut Reader<'_>, node: &Node, policy: &Policy) -> Option<Auth> {
    let before = reader.findings.len();
    let fields = reader.fields(node, AUTH)?;
    let misspelt = reader.findings.len() > before;
    let given: Vec<&str> = AUTH.names().filter(|key| fields.get(key).is_some()).collect();
    let [kind] = given[..] else {
        let help = "write one of basic: { user, password }, bearer: …, oauth2: { token_url, client_id, client_secret }";
        if !misspelt {
            reader.error(codes::CHOICE, fields.span(), "`auth` needs exactly one way to authenticate", help);
        }
        return None;
    };
    let node = fields.get(kind)?;
    match kind {
        "bearer" => {
            let spot = reader.text(node, "a token")?;
            header_value(reader, &spot)?;
            Some(Auth::Bearer(SecretString::from(spot.value.trim())))
        }
        "basic" => {
            let fields = reader.fields(node, BASIC)?;
            let user = part(reader, fields, "user");
            let password = part(reader, fields, "password");
            Some(Auth::Basic { user: user?, password: SecretString::from(password?) })
        }
        _ => oauth2(reader, node, policy),
    }
}

fn oauth2(reader: &mut Reader<'_>, node: &Node, policy: &Policy) -> Option<Auth> {
    let fields = reader.fields(node, OAUTH2)?;
    let token_url = reader
        .required(fields, "token_url", "add the URL that hands out tokens")
        .and_then(|node| reader.text(node, "a URL"))
        .and_then(|spot| {
            let url = reader.target_url(&spot, policy)?;
            unprotected(reader, &spot, &url, policy);
            Some(url)
        });
    let client_id = part(reader, fields, "client_id");
    let client_secret = part(reader, fields, "client_secret");
    let scope = match fields.get("scope") {
        Some(node) => reader.text(node, "scopes, separated by spaces").map(|spot| Some(spot.value)),
        None => Some(None),
    };
    Some(Auth::OAuth2 {
        token_url: token_url?,
        client_id: client_id?,
        client_secret: SecretString::from(client_secret?),
        scope: scope?,
    })
}

fn part(reader: &mut Reader<'_>, fields: Fields<'_>, key: &'static str) -> Option<String> {
    let node = reader.required(fields, key, "add it; a secret is best given as ${NAME}")?;
    let spot = reader.text(node, "text")?;
    // A password may hold braces by chance; a name that does was meant as a template.
    if matches!(key, "user" | "client_id") && reader.is_unconfined(&spot, "a user") {
        return None;
    }
    Some(spot.value)
}

/// `[200-299, 304]`
fn success(reader: &mut Reader<'_>, node: &Node) -> Option<Vec<RangeInclusive<u16>>> {
    let mut ranges = Vec::new();
    let items = reader.one_or_more(node);
    for item in items {
        let Some(spot) = reader.word(item, "a status such as 200 or 200-299") else { continue };
        let (from, to) = spot.value.split_once('-').unwrap_or((&spot.value, &spot.value));
        let status =
            |text: &str| text.trim().parse::<u16>().ok().filter(|status| (100..=599).contains(status));
        match (status(from), status(to)) {
            (Some(from), Some(to)) if from <= to => ranges.push(from..=to),
            _ => {
                let help = "write statuses from 100 to 599, such as [200-299] or [200, 202]";
                reader.error(
                    codes::NUMBER,
                    spot.span,
                    format!("`{}` is no status or range of them", spot.written),
                    help,
                );
            }
        }
    }
    (!items.is_empty() && ranges.len() == items.len()).then_some(ranges)
}

fn signing_secrets(reader: &mut Reader<'_>, node: &Node) -> Option<Vec<SecretBytes>> {
    let items = reader.one_or_more(node);
    let mut secrets = Vec::new();
    for item in items {
        let Some(spot) = reader.text(item, "a signing secret") else { continue };
        let text = spot.value.trim();
        let text = text.strip_prefix("v1,").unwrap_or(text);
        let bytes = text.strip_prefix("whsec_").and_then(|base64| BASE64.decode(base64).ok());
        match bytes {
            Some(bytes) if SIGNING_BYTES.contains(&bytes.len()) => secrets.push(SecretBytes(bytes)),
            Some(_) => {
                let help = "make one of 24 to 64 random bytes: echo \"whsec_$(openssl rand -base64 32)\"";
                reader.error(
                    codes::SIGNING_SECRET,
                    spot.span,
                    "this signing secret is too short or too long",
                    help,
                );
            }
            None => {
                let help =
                    "it is whsec_ and 24 to 64 bytes in base64: echo \"whsec_$(openssl rand -base64 32)\"";
                reader.error(
                    codes::SIGNING_SECRET,
                    spot.span,
                    "this is not a Standard Webhooks secret",
                    help,
                );
            }
        }
    }
    (!items.is_empty() && secrets.len() == items.len()).then_some(secrets)
}
