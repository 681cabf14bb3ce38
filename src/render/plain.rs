//! The renderings that need no template: the plain one (what, who, when, link) and the relay's own notices.

use serde_json::json;

use crate::model::catalog;
use crate::model::payload::{Format, HttpBody, Mail, Payload};

use super::escape::{address, clean, one_line, slack as escaped, truncate};
use super::event;
use super::sheet;
use super::slack;
use super::view::{Seen, View};

/// The plain rendering quotes so much of a text, and lists so many messages.
const QUOTE_MAX: usize = 1_500;
const LISTED_MAX: usize = 20;
/// A plain Slack message's text before escaping, which makes five characters of one at the most: Slack takes 40,000.
const SLACK_TEXT_MAX: usize = 6_000;
/// A mail's subject is no longer.
pub(super) const SUBJECT_MAX: usize = 180;

/// What, who, when, link and a note why it is so plain.
pub(super) fn message(format: Format, view: &View, why: &str) -> Payload {
    if view.notice.is_some() {
        return notice(format, view);
    }
    let why = truncate(&one_line(why), QUOTE_MAX);
    let form = match format {
        Format::Http(HttpBody::CloudEvents) => return event::body(view, HttpBody::CloudEvents, Some(&why)),
        Format::Http(_) => return event::body(view, HttpBody::Event, Some(&why)),
        form @ (Format::Slack | Format::Email) => form,
    };
    let title = title(view);
    let mut lines = Vec::new();
    let told = view.told();
    match told.as_slice() {
        [seen] => {
            lines.push(what(view, seen));
            if !seen.message.subject.trim().is_empty() {
                lines.push(one_line(&seen.message.subject));
            }
            let body = truncate(clean(&seen.message.body).trim(), QUOTE_MAX);
            if !body.is_empty() {
                lines.push(body);
            }
        }
        all => {
            lines.extend(all.iter().take(LISTED_MAX).map(|seen| format!("- {}", what(view, seen))));
            if all.len() > LISTED_MAX {
                lines.push(format!("… and {} more", all.len() - LISTED_MAX));
            }
            if all.is_empty() {
                lines.push("Nothing in this time".to_owned());
            }
        }
    }
    lines.extend(view.notes());
    let pages = view.links(view.main());
    let open = pages.open.as_str();
    let note = format!("Shown plainly: {why}");
    if form == Format::Slack {
        let link = address(open).map(|url| format!("<{}|Open in vCita>", url.replace('&', "&amp;")));
        let said = truncate(&lines.join("\n"), SLACK_TEXT_MAX);
        let (title, note) = (truncate(&title, SUBJECT_MAX), truncate(&note, QUOTE_MAX));
        let parts =
            [format!("*{}*", escaped(&title)), escaped(&said), link.unwrap_or_default(), escaped(&note)];
        return Payload::Slack(slack::plain(&parts.join("\n")));
    }
    lines.push(open.to_owned());
    lines.push(format!("({note})"));
    mail(view, &title, lines.join("\n\n"))
}

/// One of the relay's own notices.
pub(super) fn notice(format: Format, view: &View) -> Payload {
    let (subject, text) = match &view.notice {
        Some(notice) => (one_line(&notice.subject), clean(&notice.text)),
        None => (title(view), String::new()),
    };
    match format {
        Format::Http(form) => event::body(view, form, None),
        Format::Slack => {
            let context = format!("activity-relay · account {}", one_line(&view.account));
            let blocks = vec![
                slack::section(&format!("🛟 *{}*", escaped(&subject))),
                slack::section(&escaped(&text)),
                json!({ "type": "context", "elements": [{ "type": "mrkdwn", "text": escaped(&context) }] }),
            ];
            Payload::Slack(slack::message(&escaped(&subject), blocks))
        }
        Format::Email => {
            mail(view, &subject, format!("{text}\n\n-- \nactivity-relay, account {}\n", view.account))
        }
    }
}

/// What a message is about in one line: what, who, when.
fn what(view: &View, seen: &Seen) -> String {
    let at = seen.message.created_at.to_zoned(view.timezone.clone());
    let at = at.strftime("%a %-d %b %Y, %H:%M").to_string();
    format!("{}: {} ({at})", one_line(&catalog::label(&seen.message.triple)), seen.who())
}

fn title(view: &View) -> String {
    match view.told().as_slice() {
        [] if !view.is_digest() => "activity-relay".to_owned(),
        [seen] => format!("{}: {}", one_line(&catalog::label(&seen.message.triple)), seen.who()),
        _ => view.summary(),
    }
}

/// A mail of text alone.
fn mail(view: &View, subject: &str, text: String) -> Payload {
    Payload::Email(Mail {
        subject: truncate(&one_line(subject), SUBJECT_MAX),
        text,
        html: None,
        thread: thread(view),
        date_ms: view.now.as_millisecond(),
        attachments: sheet::attachment(view).into_iter().collect(),
    })
}

/// Mails about one client of one account are one thread.
pub(super) fn thread(view: &View) -> Option<String> {
    let told = view.told();
    let seen = told.first().filter(|_| told.len() == 1 && !view.is_digest())?;
    seen.client().map(|client| format!("{}/{}", view.account, client.uid))
}
