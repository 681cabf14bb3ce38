//! Hides literal secrets in the text of a file before any of it is shown in an excerpt.

use std::collections::HashMap;

/// Keys whose values are secrets, in lower case without `_` and `-`.
const SECRET_KEYS: [&str; 12] = [
    "token",
    "webhookurl",
    "smtp",
    "signingsecret",
    "password",
    "clientsecret",
    "bearer",
    "authorization",
    "cookie",
    "apikey",
    "accesstoken",
    "secret",
];
/// Keys that look like one and are none.
const PLAIN_KEYS: [&str; 3] = ["tokenfile", "tokenurl", "to"];
/// Keys that want a mapping; where someone wrote a single value instead, it is the secret itself.
const BARE_KEYS: [&str; 2] = ["auth", "basic"];
/// What stands in place of each hidden character, so that columns stay true.
const HIDDEN: char = '*';

/// The text with every literal secret hidden, character by character. References such as `${NAME}` stay readable.
///
/// Works on lines and not on the tree, so that it also holds for a file that is not YAML, and for a misspelt key.
pub(super) fn mask(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut below: Option<usize> = None;
    // The value is to come, and may stand on the next line without being indented.
    let mut open = false;
    let mut keys = Keys::default();
    for line in text.split_inclusive('\n') {
        let indent = line.len() - line.trim_start_matches([' ', '\t']).len();
        let item = line[indent..].starts_with("- ");
        let blank = line.trim().is_empty();
        let beside = |parent: usize| open && indent <= parent && !has_key(line);
        if below
            .is_some_and(|parent| blank || indent > parent || (item && indent == parent) || beside(parent))
        {
            open &= blank;
            result.push_str(&hide(line, indent));
            continue;
        }
        (below, open) = (None, false);
        let found = [secret_value(line, &mut keys), without_colon(line, &mut keys)].into_iter().flatten();
        match found.min_by_key(|(_, value_at)| *value_at) {
            Some((key_at, value_at)) => {
                below = Some(key_at);
                let value = line[value_at..].split(" #").next().unwrap_or_default().trim();
                open = value.is_empty() || value.starts_with(['|', '>']);
                result.push_str(&patterns(&line[..value_at]));
                let shown = value_at + origin(&line[value_at..]);
                result.push_str(&hide_user(&line[value_at..shown]));
                // A comment may hold the secret of yesterday: only its sign is kept, rather than a row of asterisks.
                let rest = line[shown..].trim_end_matches(['\n', '\r']);
                let comment = rest.find(" #");
                let end = comment.map_or(rest.len(), |at| rest[..at].trim_end().len());
                result.push_str(&hide(&rest[..end], 0));
                result.push_str(comment.map_or("", |at| &rest[end..at + 2]));
                result.push_str(&line[shown + rest.len()..]);
            }
            None => result.push_str(&patterns(line)),
        }
    }
    result
}

/// The length of a URL's scheme and host at the start of a value, which tell what is wrong and are no secret.
fn origin(value: &str) -> usize {
    let start = value.len() - value.trim_start_matches([' ', '"', '\'']).len();
    let url = &value[start..];
    let url = &url[..url.find([' ', '"', '\'', ',', '}', '\n', '\r']).unwrap_or(url.len())];
    let Some(scheme) =
        ["https://", "http://", "smtps://", "smtp://"].into_iter().find(|s| url.starts_with(s))
    else {
        return 0;
    };
    let host = url.rfind('@').map_or(scheme.len(), |at| at + 1);
    let end = url[host..].find(['/', '?', '#']).map_or(url.len(), |at| host + at);
    let (name, port) = url[host..end].split_once(':').unwrap_or((&url[host..end], ""));
    let plain = !name.contains(['$', '{']) && port.chars().all(|c| c.is_ascii_digit());
    if plain { start + end } else { 0 }
}

/// Hides user and password of the URL that ends with its host here.
fn hide_user(origin: &str) -> String {
    let start = origin.find("://").map_or(0, |at| at + 3);
    let end = origin.rfind('@').unwrap_or(start).max(start);
    format!("{}{}{}", &origin[..start], hide(&origin[start..end], 0), &origin[end..])
}

/// Where in the line the first secret key stands, and where its value begins.
fn secret_value<'a>(line: &'a str, keys: &mut Keys<'a>) -> Option<(usize, usize)> {
    line.match_indices(':').find_map(|(colon, _)| {
        let before = line[..colon].trim_end().trim_end_matches(['"', '\'']);
        let start = before.rfind([' ', '\t', '{', ',', '"', '\'', '#', '-', '[']).map_or(0, |at| at + 1);
        let (start, key) = match before[..start].strip_suffix('-') {
            Some(lead) if !lead.ends_with([' ', '\t']) && !lead.is_empty() => {
                let whole = lead.rfind([' ', '\t', '{', ',', '"', '\'']).map_or(0, |at| at + 1);
                (whole, &before[whole..])
            }
            _ => (start, &before[start..]),
        };
        let value = line[colon + 1..].trim();
        let bare = BARE_KEYS.contains(&key) && !value.is_empty() && !value.starts_with('{');
        (bare || keys.is_secret(key)).then_some((start, colon + 1))
    })
}

/// The same where the colon is missing: `token abc`, `export TOKEN=abc`, `user: a, password abc`.
fn without_colon<'a>(line: &'a str, keys: &mut Keys<'a>) -> Option<(usize, usize)> {
    let starts = line.match_indices(['{', ',']).map(|(at, _)| at + 1);
    std::iter::once(0).chain(starts).find_map(|start| {
        let lead = line[start..].len() - line[start..].trim_start_matches([' ', '\t', '-']).len();
        let rest = &line[start + lead..];
        let key_at = start + lead + rest.strip_prefix("export ").map_or(0, |_| "export ".len());
        let rest = line[key_at..].trim_start_matches(['"', '\'']);
        let key = &rest
            [..rest.find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '-'))).unwrap_or(rest.len())];
        let behind = rest[key.len()..].trim_start_matches(['"', '\'']);
        let value = behind.trim_start_matches([' ', '\t', '=', ';']);
        let apart = value.len() < behind.len() && !value.trim().is_empty() && !value.starts_with(':');
        (apart && keys.is_secret(key)).then_some((key_at, line.len() - value.len()))
    })
}

/// The line says `key: value`, or begins a list or mapping.
fn has_key(line: &str) -> bool {
    line.contains(": ") || line.trim_end().ends_with(':') || line.trim_start().starts_with("- ")
}

/// What was found of the keys of a text, which come again and again.
#[derive(Default)]
struct Keys<'a>(HashMap<&'a str, bool>);

impl<'a> Keys<'a> {
    fn is_secret(&mut self, key: &'a str) -> bool {
        *self.0.entry(key).or_insert_with(|| is_secret(key))
    }
}

/// The key names a secret, or is one letter or two away from doing so.
pub(super) fn is_secret(key: &str) -> bool {
    let key: String = key.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
    if key.len() < 3 || PLAIN_KEYS.contains(&key.as_str()) {
        return false;
    }
    let chars = key.chars().count();
    let near = |known: &str| {
        let allowed = if known.len() <= 5 { 1 } else { 2 };
        // What is that much longer or shorter is as many letters away at least.
        chars.abs_diff(known.len()) <= allowed && strsim::damerau_levenshtein(&key, known) <= allowed
    };
    SECRET_KEYS.iter().any(|known| near(known) || (known.len() > 5 && key.ends_with(known)))
        || key.ends_with("token")
}

/// Hides everything but blanks, quotes, list dashes and references, from the byte `from` on.
fn hide(text: &str, from: usize) -> String {
    let (lead, mut rest) = text.split_at(from);
    let mut result = lead.to_owned();
    while let Some(first) = rest.chars().next() {
        if let Some(length) = reference(rest) {
            result.push_str(&rest[..length]);
            rest = &rest[length..];
            continue;
        }
        let kept = first.is_whitespace() || matches!(first, '"' | '\'' | '{' | '}' | '[' | ']');
        result.push(if kept { first } else { HIDDEN });
        rest = &rest[first.len_utf8()..];
    }
    result
}

/// The length of the `${NAME}`, `${NAME:?…}` or `${file:…}` at the start. Of anything else only that of the name and the
/// sign behind it, as in `${NAME:-`: what follows may itself be a secret.
fn reference(text: &str) -> Option<usize> {
    let body = text.strip_prefix("${")?;
    let inside = &body[..body.find('}')?];
    if inside.contains("${") {
        return None;
    }
    let name = inside.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(inside.len());
    let rest = &inside[name..];
    if rest.is_empty() || rest.starts_with(":?") || (rest.starts_with(':') && &inside[..name] == "file") {
        return Some(inside.len() + "${}".len());
    }
    let sign = rest.find(|c: char| !matches!(c, ':' | '-' | '+' | '=' | '?')).unwrap_or(rest.len());
    Some("${".len() + name + sign)
}

/// The lengths of the parts of a UUID.
const UUID: [usize; 5] = [8, 4, 4, 4, 12];

/// Hides words that nobody would write by hand: long ones of letters and digits, and UUIDs.
fn random_words(line: &str) -> String {
    let mut result = String::with_capacity(line.len());
    let is_part = |c: char| c.is_ascii_alphanumeric();
    let mut rest = line;
    while let Some(start) = rest.find(is_part) {
        result.push_str(&rest[..start]);
        rest = &rest[start..];
        let compound = &rest[..rest.find(|c: char| !(is_part(c) || c == '-')).unwrap_or(rest.len())];
        let word = &rest[..rest.find(|c: char| !is_part(c)).unwrap_or(rest.len())];
        let uuid = compound.split('-').map(str::len).eq(UUID)
            && compound.chars().all(|c| c == '-' || c.is_ascii_hexdigit());
        let word = if uuid { compound } else { word };
        result.push_str(&if uuid || is_random(word) { hide(word, 0) } else { word.to_owned() });
        rest = &rest[word.len()..];
    }
    result + rest
}

/// Sixteen letters and digits or more, or twelve in which they alternate.
fn is_random(word: &str) -> bool {
    let digits = word.chars().filter(char::is_ascii_digit).count();
    let mixed = digits >= 2 && digits < word.len();
    let kinds: Vec<bool> = word.chars().map(|c| c.is_ascii_digit()).collect();
    let changes = kinds.windows(2).filter(|pair| pair[0] != pair[1]).count();
    mixed && (word.len() >= 16 || (word.len() >= 12 && changes >= 3))
}

/// Hides what is a secret wherever it stands: users, paths and queries of URLs, signing secrets, random words.
fn patterns(line: &str) -> String {
    let mut result = line.to_owned();
    let mut from = 0;
    while let Some(at) = result[from..].find("://").map(|at| from + at + 3) {
        let end = result[at..].find([' ', '"', '\'', ',', '\n', '\r']).map_or(result.len(), |end| at + end);
        let url = &result[at..end];
        let user_end = url.rfind('@').unwrap_or(0);
        let tail = url.find(['/', '?', '#']).map_or(url.len(), |path| path + 1);
        let hidden = format!(
            "{}{}{}",
            hide(&url[..user_end], 0),
            &url[user_end..tail.max(user_end)],
            hide(&url[tail.max(user_end)..], 0)
        );
        result.replace_range(at..end, &hidden);
        from = at + hidden.len();
    }
    for mark in ["whsec_", "xoxb-", "xoxp-", "Bearer ", "Basic "] {
        if let Some(at) = result.find(mark).map(|at| at + mark.len()) {
            let hidden = hide(&result[at..], 0);
            result.truncate(at);
            result.push_str(&hidden);
        }
    }
    random_words(&result)
}

#[cfg(test)]
mod tests {
    use super::mask;

    #[test]
    fn literal_secrets_are_hidden_and_references_stay() {
        let cases = [
            ("    token: abc-123", "    token: *******"),
            ("  token: ${VCITA_TOKEN}", "  token: ${VCITA_TOKEN}"),
            ("  token: ${VCITA_TOKEN:-abc}", "  token: ${VCITA_TOKEN:-***}"),
            ("  tokn: abc", "  tokn: ***"),
            ("  token: ${T}   # was abc\nname: x", "  token: ${T}   #\nname: x"),
            ("  token_file: /run/secrets/x", "  token_file: /run/secrets/x"),
            (
                "auth: { basic: { user: a, password: 'b c' } }",
                "auth: { basic: { user: a, password: '* *' } }",
            ),
            ("headers: { Authorization: Bearer abc }", "headers: { Authorization: ****** *** }"),
            ("smtp: \"smtp://u:p/w@mail.test:25?tls=x\"", "smtp: \"smtp://*****@mail.test:25******\""),
            ("smtp: smtp://relay:password", "smtp: *********************"),
            ("webhook_url: https://slack.test/T/B", "webhook_url: https://slack.test****"),
            ("  X-Api-Key: abc", "  X-Api-Key: ***"),
            ("  auth: bearer abc", "  auth: ****** ***"),
            ("  auth: { basic: a:b }", "  auth: { basic: *** }"),
            (
                "d: { url: \"https://h.test/hooks/abc\", x: 1 }",
                "d: { url: \"https://h.test/*********\", x: 1 }",
            ),
            ("url: https://user:pass@host.test/x?key=1", "url: https://*********@host.test/*******"),
            ("signing_secret:\n  - whsec_abc\nname: x", "signing_secret:\n  * *********\nname: x"),
            ("url: https://hooks.slack.com/services/T/B/x", "url: https://hooks.slack.com/**************"),
            // Slips that a person makes at night.
            ("token: ${VCITA_TOKEN-abc}", "token: ${VCITA_TOKEN-***}"),
            ("smtp: ${URL:+smtps://u:p@h}", "smtp: ${URL:+*************}"),
            ("token: ${VCITA_TOKEN:?set it}", "token: ${VCITA_TOKEN:?set it}"),
            ("  token abc", "  token ***"),
            ("  token=abc", "  token=***"),
            ("  - \"token\" abc", "  - \"token\" ***"),
            ("export VCITA_TOKEN=abc", "export VCITA_TOKEN=***"),
            ("auth: { basic: { user: bob, password abc } }", "auth: { basic: { user: bob, password *** } }"),
            ("  token: |\n  abc\n  name: x", "  token: *\n  ***\n  name: x"),
            ("  token: |\nabc\nname: x", "  token: *\n***\nname: x"),
            ("  token:\n  name: x", "  token:\n  name: x"),
            ("accounts: [abcdef0123456789]", "accounts: [****************]"),
            ("token_file: a1b2c3d4e5f6", "token_file: ************"),
            ("x: 3f2b8c1e-0000-4abc-8def-0123456789ab", "x: ************************************"),
            (
                "- name: failed-payments-2026-q1 # of salesforce2025",
                "- name: failed-payments-2026-q1 # of salesforce2025",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(mask(text), expected);
        }
    }
}
