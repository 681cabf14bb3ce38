//! A mail as it arrived: header fields decoded, body kept as it is.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

/// A message that an SMTP client handed over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mail {
    /// The envelope's sender.
    pub sender: String,
    /// The envelope's recipients.
    pub recipients: Vec<String>,
    /// `Subject`, decoded.
    pub subject: String,
    /// `Message-ID`.
    pub message_id: String,
    /// `To`, decoded.
    pub to: String,
    /// The first text of the message, decoded: plain if there is one.
    pub text: String,
}

impl Mail {
    pub(super) fn read(sender: &str, recipients: &[String], data: &str) -> Self {
        let headers = headers(data);
        let field = |name: &str| headers.get(name).cloned().unwrap_or_default();
        Self {
            sender: sender.to_owned(),
            recipients: recipients.to_vec(),
            subject: field("subject"),
            message_id: field("message-id"),
            to: field("to"),
            text: text(data).unwrap_or_default(),
        }
    }
}

/// The header fields: unfolded, decoded, names in lower case; of several of one name the first.
pub(super) fn headers(data: &str) -> BTreeMap<String, String> {
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in data.lines().take_while(|line| !line.is_empty()) {
        if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = fields.last_mut() {
                value.push(' ');
                value.push_str(line.trim());
            }
        } else if let Some((name, value)) = line.split_once(':') {
            fields.push((name.trim().to_lowercase(), value.trim().to_owned()));
        }
    }
    fields.reverse();
    fields.into_iter().map(|(name, value)| (name, decode_words(&value))).collect()
}

/// The first text part that can be read.
fn text(data: &str) -> Option<String> {
    let headers = headers(data);
    let (_, body) = data.split_once("\r\n\r\n").or_else(|| data.split_once("\n\n"))?;
    let kind = headers.get("content-type").map_or("text/plain", String::as_str);
    if kind.to_lowercase().starts_with("multipart/") {
        let boundary =
            kind.split(';').find_map(|part| part.trim().strip_prefix("boundary="))?.trim_matches('"');
        let delimiter = format!("--{boundary}");
        return body.split(delimiter.as_str()).skip(1).find_map(|part| text(part.trim_start_matches("\r\n")));
    }
    if !kind.to_lowercase().starts_with("text/") {
        return None;
    }
    let bytes = match headers.get("content-transfer-encoding").map(|name| name.to_lowercase()).as_deref() {
        Some("base64") => {
            let packed: String = body.split_whitespace().collect();
            STANDARD.decode(packed).unwrap_or_default()
        }
        Some("quoted-printable") => quoted(&body.replace("=\r\n", "").replace("=\n", ""), false),
        _ => body.as_bytes().to_vec(),
    };
    Some(String::from_utf8_lossy(&bytes).trim_end().to_owned())
}

/// RFC 2047: `=?utf-8?b?…?=` and `=?utf-8?q?…?=`; white space between two such words is none.
fn decode_words(value: &str) -> String {
    let mut out = String::new();
    let mut bytes: Vec<u8> = Vec::new();
    let mut rest = value;
    while let Some((before, word, after)) = next_word(rest) {
        if bytes.is_empty() || !before.trim().is_empty() {
            out.push_str(&String::from_utf8_lossy(&std::mem::take(&mut bytes)));
            out.push_str(before);
        }
        bytes.extend(word);
        rest = after;
    }
    out.push_str(&String::from_utf8_lossy(&bytes));
    out.push_str(rest);
    out
}

/// What stands before the next encoded word, its bytes, and what stands behind it.
fn next_word(text: &str) -> Option<(&str, Vec<u8>, &str)> {
    let (before, tail) = text.split_once("=?")?;
    let (_charset, tail) = tail.split_once('?')?;
    let (encoding, tail) = tail.split_once('?')?;
    let (word, after) = tail.split_once("?=")?;
    let bytes = match encoding {
        "b" | "B" => STANDARD.decode(word).ok()?,
        "q" | "Q" => quoted(word, true),
        _ => return None,
    };
    Some((before, bytes, after))
}

/// `=C3=A9` to bytes; in header fields `_` is a space.
fn quoted(text: &str, header: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'=' => {
                let pair = [bytes.next().unwrap_or(b'0'), bytes.next().unwrap_or(b'0')];
                let pair = std::str::from_utf8(&pair).unwrap_or("3F");
                out.push(u8::from_str_radix(pair, 16).unwrap_or(b'?'));
            }
            b'_' if header => out.push(b' '),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_shown_as_it_was_meant() {
        let data = "Subject: =?utf-8?b?TWFzc2FnZSDDoCBkZQ==?=\r\n =?utf-8?b?dXg=?= today\r\nTo: =?UTF-8?Q?J=C3=BCrg_B?= <j@x.example>\r\nMessage-ID: <d1@relay>\r\n\r\nHi\r\n";
        let mail = Mail::read("a@x.example", &["j@x.example".to_owned()], data);
        assert_eq!(mail.subject, "Massage à deux today");
        assert_eq!(mail.to, "Jürg B <j@x.example>");
        assert_eq!(mail.message_id, "<d1@relay>");
        assert_eq!(mail.text, "Hi");
    }

    #[test]
    fn the_plain_part_of_an_alternative_is_the_text() {
        let data = "Content-Type: multipart/alternative; boundary=\"b1\"\r\n\r\n--b1\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\ncaf=C3=A9 is =\r\nopen\r\n--b1\r\nContent-Type: text/html\r\n\r\n<p>x</p>\r\n--b1--\r\n";
        assert_eq!(Mail::read("", &[], data).text, "café is open");
    }
}
