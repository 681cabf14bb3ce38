//! A mail's bytes: the same payload and id give the same bytes on every attempt.

use std::fmt::Display;
use std::time::{Duration, UNIX_EPOCH};

use lettre::Message;
use lettre::address::{Address, AddressError, Envelope};
use lettre::message::header::{ContentTransferEncoding, ContentType, HeaderName, HeaderValue, Headers, To};
use lettre::message::{Body, Mailbox, Mailboxes, MessageBuilder, MultiPart, SinglePart};
use url::Host;

use crate::model::id::hex_of;
use crate::model::payload::{Attachment, Mail};

use super::Settings;

/// The last second that a mail's `Date` can name, in milliseconds: the end of the year 9999.
const DATE_MS_MAX: i64 = 253_402_300_799_000;
/// A longer subject is cut: no reader shows more, and a header has to stay foldable.
const SUBJECT_CHARS_MAX: usize = 250;

/// The headers that `headers` shows, in the order in which people read them.
const SHOWN: [&str; 11] = [
    "From",
    "To",
    "Cc",
    "Reply-To",
    "Subject",
    "Date",
    "Message-ID",
    "In-Reply-To",
    "References",
    "Auto-Submitted",
    "X-Auto-Response-Suppress",
];

/// A mail ready for the wire. Its bytes are ASCII, but for an address with other letters before its `@`.
#[derive(Debug)]
pub(super) struct Composed {
    pub(super) sender: Address,
    pub(super) recipient: Address,
    pub(super) bytes: Vec<u8>,
}

/// The mail for one recipient. An error is about an address and says which.
pub(super) fn compose(
    settings: &Settings,
    mail: &Mail,
    id: &str,
    recipient: &str,
) -> Result<Composed, String> {
    let recipient = mailbox("recipient", recipient)?.email;
    let sender = mailbox("from", &settings.from)?.email;
    let message = message(settings, mail, id, &recipient)?;
    Ok(Composed { sender, recipient, bytes: message.formatted() })
}

/// The headers that the mail of a delivery will carry, as `render` and `deliveries show` print them: name and value,
/// readable rather than encoded. Empty if the configured addresses are not addresses.
pub fn headers(settings: &Settings, mail: &Mail, id: &str) -> Vec<(String, String)> {
    let Ok(sender) = mailbox("from", &settings.from) else { return Vec::new() };
    let Ok(message) = message(settings, mail, id, &sender.email) else { return Vec::new() };
    let shown =
        |name: &&str| message.headers().get_raw(name).map(|value| ((*name).to_owned(), value.to_owned()));
    SHOWN.iter().filter_map(shown).collect()
}

fn message(settings: &Settings, mail: &Mail, id: &str, recipient: &Address) -> Result<Message, String> {
    let from = mailbox("from", &settings.from)?;
    let domain = from.email.domain().to_owned();
    let envelope = Envelope::new(Some(from.email.clone()), vec![recipient.clone()])
        .map_err(|error| format!("the addresses make no envelope: {error}"))?;
    let date = UNIX_EPOCH + Duration::from_millis(mail.date_ms.clamp(0, DATE_MS_MAX).unsigned_abs());
    let mut builder = Message::builder()
        .envelope(envelope)
        .from(from)
        .subject(one_line(&mail.subject))
        .date(date)
        .message_id(Some(format!("<{id}@{domain}>")))
        .raw_header(header("Auto-Submitted", "auto-generated"))
        .raw_header(header("X-Auto-Response-Suppress", "All"));
    builder = addressed(builder, settings)?;
    if let Some(thread) = &mail.thread {
        let thread = format!("<thread-{}@{domain}>", hex_of(&[thread], 12));
        builder = builder.in_reply_to(thread.clone()).references(thread);
    }
    let text = part(ContentType::TEXT_PLAIN, &mail.text);
    // Made of what it separates: nobody can write a text that holds its own digest.
    let html = mail.html.as_deref();
    let parts = [id, &mail.text, html.unwrap_or_default(), "files"];
    let boundary = |of: &[&str]| format!("=_{}", hex_of(of, 16));
    let both = html.map(|html| {
        let both = MultiPart::alternative().boundary(boundary(&parts[..3])).build();
        both.singlepart(text.clone()).singlepart(part(ContentType::TEXT_HTML, html))
    });
    let built = match (both, mail.attachments.as_slice()) {
        (None, []) => builder.singlepart(text),
        (Some(both), []) => builder.multipart(both),
        (both, files) => {
            let mixed = MultiPart::mixed().boundary(boundary(&parts)).build();
            let mixed = match both {
                Some(both) => mixed.multipart(both),
                None => mixed.singlepart(text),
            };
            builder.multipart(
                files
                    .iter()
                    .try_fold(mixed, |mixed, file| attached(file).map(|one| mixed.singlepart(one)))?,
            )
        }
    };
    built.map_err(|error| format!("the mail cannot be composed: {error}"))
}

/// A file as a part of the mail: Base64, so that its line ends stay as they are.
fn attached(file: &Attachment) -> Result<SinglePart, String> {
    let kind = ContentType::parse(&file.content_type)
        .map_err(|error| format!("the attachment {} has no proper type: {error}", one_line(&file.name)))?;
    let body = Body::new_with_encoding(file.text.clone().into_bytes(), ContentTransferEncoding::Base64)
        .map_err(|_| format!("the attachment {} cannot be encoded", one_line(&file.name)))?;
    Ok(lettre::message::Attachment::new(one_line(&file.name)).body(body, kind))
}

/// To, Cc and Reply-To as configured. Blind copies appear in no header.
fn addressed(mut builder: MessageBuilder, settings: &Settings) -> Result<MessageBuilder, String> {
    if !settings.to.is_empty() {
        builder = builder.raw_header(listed("To", &settings.to)?);
    } else if settings.cc.is_empty() {
        builder = builder.raw_header(header("To", "undisclosed-recipients:;"));
    }
    if !settings.cc.is_empty() {
        builder = builder.raw_header(listed("Cc", &settings.cc)?);
    }
    match &settings.reply_to {
        Some(address) => Ok(builder.reply_to(mailbox("reply_to", address)?)),
        None => Ok(builder),
    }
}

/// Addresses, each on a line of its own: the library folds no list of bare addresses, and no server takes a line of more
/// than 998 bytes (RFC 5322, 2.1.1).
fn listed(name: &'static str, addresses: &[String]) -> Result<HeaderValue, String> {
    let (mut shown, mut encoded) = (Vec::new(), Vec::new());
    for address in addresses {
        let mailbox = mailbox(&name.to_ascii_lowercase(), address)?;
        shown.push(mailbox.to_string());
        let mut alone = Headers::new();
        alone.set(To::from(Mailboxes::from(mailbox)));
        encoded.push(alone.to_string().trim_start_matches("To: ").trim().to_owned());
    }
    let name = HeaderName::new_from_ascii_str(name);
    Ok(HeaderValue::dangerous_new_pre_encoded(name, shown.join(", "), encoded.join(",\r\n ")))
}

fn part(content_type: ContentType, text: &str) -> SinglePart {
    SinglePart::builder().header(content_type).body(wire_text(text))
}

/// Lines end in CR LF, and no control character but the tab is left: neither bare CR nor NUL may go over SMTP.
fn wire_text(text: &str) -> String {
    let mut wire = String::with_capacity(text.len() + text.len() / 32);
    let mut previous = '\0';
    for c in text.chars() {
        match c {
            '\n' if previous == '\r' => {}
            '\n' | '\r' => wire.push_str("\r\n"),
            c if c.is_control() && c != '\t' => {}
            c => wire.push(c),
        }
        previous = c;
    }
    wire
}

/// Without CR, LF and other control characters, so that no value can begin a header of its own. What looks like an
/// encoded word (RFC 2047) is broken: the library leaves words of ASCII as they are, and mail programs would decode it.
fn one_line(text: &str) -> String {
    let spaced = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    spaced.take(SUBJECT_CHARS_MAX).collect::<String>().trim().replace("=?", "=\u{200b}?")
}

fn header(name: &'static str, value: &str) -> HeaderValue {
    HeaderValue::new(HeaderName::new_from_ascii_str(name), value.to_owned())
}

/// The address with its domain in the ASCII form (RFC 5891), which every server takes.
fn mailbox(field: &str, text: &str) -> Result<Mailbox, String> {
    let none =
        |error: &dyn Display| format!("`{field}`: `{}` is not a mail address ({error})", one_line(text));
    let mut mailbox: Mailbox = text.parse().map_err(|error: AddressError| none(&error))?;
    if !mailbox.email.domain().is_ascii() {
        let domain = Host::parse(mailbox.email.domain()).map_err(|error| none(&error))?;
        mailbox.email =
            Address::new(mailbox.email.user(), domain.to_string()).map_err(|error| none(&error))?;
    }
    Ok(mailbox)
}

#[cfg(test)]
mod tests {
    use super::super::{Settings, Tls};
    use super::*;

    fn settings() -> Settings {
        Settings {
            host: "mail.example.com".to_owned(),
            port: 587,
            tls: Tls::Required,
            credentials: None,
            from: "Relay <relay@example.com>".to_owned(),
            recipients: vec!["a@example.org".to_owned(), "hidden@example.org".to_owned()],
            to: vec!["Ann <a@example.org>".to_owned()],
            cc: vec!["c@example.org".to_owned()],
            reply_to: Some("desk@example.com".to_owned()),
        }
    }

    fn mail() -> Mail {
        Mail {
            subject: "Ann cancelled".to_owned(),
            text: "Hello".to_owned(),
            html: Some("<p>Hello</p>".to_owned()),
            thread: Some("client-1".to_owned()),
            date_ms: 1_772_484_600_000,
            attachments: Vec::new(),
        }
    }

    fn bytes_of(mail: &Mail) -> String {
        String::from_utf8(compose(&settings(), mail, "d1", "a@example.org").unwrap().bytes).unwrap()
    }

    #[test]
    fn the_same_mail_is_the_same_bytes() {
        assert_eq!(bytes_of(&mail()), bytes_of(&mail()));
        insta::assert_snapshot!(bytes_of(&mail()).replace('\r', ""), @r#"
        From: Relay <relay@example.com>
        Subject: Ann cancelled
        Date: Mon, 02 Mar 2026 20:50:00 +0000
        Message-ID: <d1@example.com>
        Auto-Submitted: auto-generated
        X-Auto-Response-Suppress: All
        To: Ann <a@example.org>
        Cc: c@example.org
        Reply-To: desk@example.com
        In-Reply-To: <thread-64bac8ad300cd6713f0404ea@example.com>
        References: <thread-64bac8ad300cd6713f0404ea@example.com>
        MIME-Version: 1.0
        Content-Type: multipart/alternative;
         boundary="=_eb07cc670836910544ea15de59bfce47"

        --=_eb07cc670836910544ea15de59bfce47
        Content-Type: text/plain; charset=utf-8
        Content-Transfer-Encoding: 7bit

        Hello
        --=_eb07cc670836910544ea15de59bfce47
        Content-Type: text/html; charset=utf-8
        Content-Transfer-Encoding: 7bit

        <p>Hello</p>
        --=_eb07cc670836910544ea15de59bfce47--
        "#);
    }

    #[test]
    fn a_file_is_carried_beside_the_texts_and_arrives_as_it_was() {
        let text = "\u{feff}Time,Client\r\n\"a\nb\",שרה\r\n".to_owned();
        let file = Attachment {
            name: "failed-2026-03-03.csv".to_owned(),
            content_type: "text/csv; charset=utf-8".to_owned(),
            text: text.clone(),
        };
        for html in [None, Some("<p>Hello</p>".to_owned())] {
            let mail = Mail { attachments: vec![file.clone()], html, ..mail() };
            let bytes = bytes_of(&mail);
            assert_eq!(bytes, bytes_of(&mail));
            assert!(bytes.contains("Content-Type: multipart/mixed;"), "{bytes}");
            let ends: Vec<&str> =
                bytes.match_indices("boundary=\"").map(|(at, _)| &bytes[at + 10..at + 44]).collect();
            assert!(ends.windows(2).all(|pair| pair[0] != pair[1]), "{ends:?}");
            assert!(bytes.contains("filename=\"failed-2026-03-03.csv\""), "{bytes}");
            let (_, part) = bytes.split_once("text/csv; charset=utf-8").unwrap();
            let (_, body) = part.split_once("\r\n\r\n").unwrap();
            let packed: String = body.split("\r\n--").next().unwrap().split_whitespace().collect();
            let back = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, packed).unwrap();
            assert_eq!(String::from_utf8(back).unwrap(), text);
        }
    }

    #[test]
    fn blind_copies_are_in_no_header() {
        let composed = compose(&settings(), &mail(), "d1", "hidden@example.org").unwrap();
        assert!(!String::from_utf8(composed.bytes).unwrap().contains("hidden@"));
        assert_eq!(composed.recipient.to_string(), "hidden@example.org");
    }

    #[test]
    fn nothing_can_begin_a_header_of_its_own() {
        let bytes = bytes_of(&Mail { subject: "x\r\nBcc: evil@example.org\nX: y".to_owned(), ..mail() });
        let (head, _) = bytes.split_once("\r\n\r\n").unwrap();
        assert!(!head.contains("\r\nBcc:") && !head.contains("\nX:"), "{head}");
    }

    /// The head's lines joined again, each encoded word read as a mail program reads it.
    fn head_read(bytes: &str) -> String {
        let (head, _) = bytes.split_once("\r\n\r\n").unwrap();
        let head = head.replace("?=\r\n =?", "?==?").replace("\r\n ", " ");
        let mut read = String::new();
        let mut rest = head.as_str();
        while let Some((before, after)) = rest.split_once("=?utf-8?b?") {
            let (word, after) = after.split_once("?=").unwrap();
            let word = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, word).unwrap();
            read.push_str(before);
            read.push_str(std::str::from_utf8(&word).unwrap());
            rest = after;
        }
        read + rest
    }

    #[test]
    fn a_text_that_looks_like_an_encoded_word_is_not_read_as_one() {
        for word in ["=?utf-8?B?4oCuDQpCY2M6IGU=?=", "=?utf-8?q?=E2=80=AE?=", "a=?utf-8?B?4oCu?=b"] {
            let bytes = bytes_of(&Mail { subject: format!("Ann {word} cancelled"), ..mail() });
            let (head, _) = bytes.split_once("\r\n\r\n").unwrap();
            assert!(!head.contains(word), "{head}");
            let shown = format!("\r\nSubject: Ann {} cancelled\r\n", word.replace("=?", "=\u{200b}?"));
            assert!(head_read(&bytes).contains(&shown), "{}", head_read(&bytes));
        }
    }

    #[test]
    fn many_recipients_stay_within_short_lines_and_are_all_named() {
        let to: Vec<String> = (0..60).map(|number| format!("recipient.{number}@example.org")).collect();
        let cc: Vec<String> =
            (0..60).map(|number| format!("\"Zoë, of {number}\" <copy.{number}@example.org>")).collect();
        let settings = Settings { to: to.clone(), cc: cc.clone(), ..settings() };
        let bytes = compose(&settings, &mail(), "d1", "hidden@example.org").unwrap().bytes;
        let bytes = String::from_utf8(bytes).unwrap();
        let longest = bytes.lines().map(str::len).max();
        assert!(longest <= Some(78), "{longest:?}");
        let read = head_read(&bytes);
        for (name, all) in [("To: ", &to), ("Cc: ", &cc)] {
            let line = read.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            let addresses: Vec<&str> =
                line.split([' ', ',', '<', '>']).filter(|word| word.contains('@')).collect();
            assert_eq!(addresses.len(), all.len(), "{line}");
            assert!(all.iter().zip(addresses).all(|(one, address)| one.contains(address)), "{line}");
        }
    }

    #[test]
    fn an_international_domain_is_sent_as_its_ascii_form() {
        let settings = Settings {
            from: "Müller <info@müller.de>".to_owned(),
            to: vec!["post@bücher.example".to_owned()],
            cc: vec!["Ann <a@MÜLLER.de>".to_owned()],
            reply_to: Some("desk@müller.de".to_owned()),
            ..settings()
        };
        let composed = compose(&settings, &mail(), "d1", "post@bücher.example").unwrap();
        assert_eq!(composed.sender.to_string(), "info@xn--mller-kva.de");
        assert_eq!(composed.recipient.to_string(), "post@xn--bcher-kva.example");
        let bytes = String::from_utf8(composed.bytes).unwrap();
        assert!(bytes.is_ascii(), "{bytes}");
        for part in [
            " <info@xn--mller-kva.de>\r\n",
            "Message-ID: <d1@xn--mller-kva.de>\r\n",
            "References: <thread-64bac8ad300cd6713f0404ea@xn--mller-kva.de>\r\n",
            "To: post@xn--bcher-kva.example\r\n",
            "Cc: Ann <a@xn--mller-kva.de>\r\n",
            "Reply-To: desk@xn--mller-kva.de\r\n",
        ] {
            assert!(bytes.contains(part), "{part} in {bytes}");
        }
    }

    #[test]
    fn long_and_foreign_texts_stay_within_lines_of_ascii() {
        let text = format!("{} – {}\r.\n..\0\n", "ä".repeat(3_000), "x".repeat(3_000));
        let subject = "ü".repeat(300) + &"y".repeat(300);
        for subject in [subject, "y".repeat(3_000)] {
            let bytes = bytes_of(&Mail { subject, text: text.clone(), html: Some(text.clone()), ..mail() });
            assert!(bytes.is_ascii() && !bytes.contains('\0'));
            assert_eq!(bytes.matches('\n').count(), bytes.matches("\r\n").count());
            assert_eq!(bytes.matches('\r').count(), bytes.matches("\r\n").count());
            let longest = bytes.lines().map(str::len).max();
            assert!(longest <= Some(998), "{longest:?}");
        }
    }

    #[test]
    fn shown_headers_are_those_that_are_sent() {
        let shown = headers(&settings(), &mail(), "d1");
        let bytes = bytes_of(&mail());
        assert_eq!(shown.len(), SHOWN.len());
        for (name, value) in shown {
            assert!(bytes.contains(&format!("{name}: {value}\r\n")), "{name}: {value}");
        }
    }

    #[test]
    fn an_address_that_is_none_is_named() {
        let error = compose(&settings(), &mail(), "d1", "nobody").unwrap_err();
        assert!(error.contains("`nobody`"), "{error}");
    }
}
