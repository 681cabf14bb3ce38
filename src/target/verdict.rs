//! From what an HTTP exchange gave to a report: the classes that Slack and HTTP targets share.

use jiff::Timestamp;
use reqwest::header::LOCATION;
use tokio::time::Instant;
use url::Url;

use crate::egress::{Answer, Failure, FailureKind, place};
use crate::model::delivery::{Outcome, Report};

use super::retry_after::asked;

/// How much of an answer is kept with the attempt, in characters.
const EXCERPT_CHARS_MAX: usize = 2_000;

/// A judgement and its words.
pub(super) type Verdict = (Outcome, String);

/// The report on an exchange that got an answer.
pub(super) fn answered(start: Instant, answer: &Answer, (outcome, reason): Verdict) -> Report {
    Report {
        outcome,
        reason,
        status: Some(answer.status.as_u16()),
        answer: excerpt(&answer.text()),
        latency: start.elapsed(),
        maybe_duplicate: outcome != Outcome::Delivered && in_doubt(answer.status.as_u16()),
    }
}

/// Whether somebody may have taken the message although this status says no: what stands behind a gateway that got no
/// usable answer from it (502) or gave up waiting (504), or whoever says yes in a way that the target does not count.
fn in_doubt(status: u16) -> bool {
    matches!(status, 200..=299 | 502 | 504)
}

/// The report on an exchange without an answer.
pub(super) fn failed(start: Instant, failure: &Failure) -> Report {
    let outcome = match failure.kind {
        // No message can get there until somebody changes the configuration or the name's addresses.
        FailureKind::Policy => Outcome::TargetBroken,
        _ => Outcome::Retry { after: None },
    };
    Report {
        outcome,
        reason: failure.text.clone(),
        status: None,
        answer: None,
        latency: start.elapsed(),
        maybe_duplicate: failure.handed,
    }
}

/// A report on something that never got as far as the wire.
pub(super) fn unsent(start: Instant, (outcome, reason): Verdict) -> Report {
    Report { outcome, reason, status: None, answer: None, latency: start.elapsed(), maybe_duplicate: false }
}

/// What statuses mean wherever nothing more is known about the target.
pub(super) fn by_status(answer: &Answer, url: &Url, now: Timestamp) -> Verdict {
    let status = answer.status;
    let after = asked(&answer.headers, &answer.body, now);
    match status.as_u16() {
        300..=399 => (Outcome::Refused, redirected(answer, url)),
        401 | 403 => (
            Outcome::TargetBroken,
            format!("{} refuses our credentials ({status}); check `auth` and `headers`", place(url)),
        ),
        404 | 410 => {
            (Outcome::TargetBroken, format!("there is nothing at the target's URL ({status}); check `url`"))
        }
        429 => (Outcome::Busy { after }, format!("{} asks to wait ({status})", place(url))),
        408 | 425 | 500 | 502..=504 | 506..=599 => {
            (Outcome::Retry { after }, format!("{} has trouble of its own ({status})", place(url)))
        }
        _ => (Outcome::Doubtful, format!("{} does not take the message ({status})", place(url))),
    }
}

/// A redirect is never followed: the words say where it leads, without query, fragment and userinfo.
fn redirected(answer: &Answer, url: &Url) -> String {
    let location = answer.headers.get(LOCATION).and_then(|value| value.to_str().ok());
    let Some(mut to) = location.and_then(|location| url.join(location).ok()) else {
        return format!("{} redirects ({}) without saying where; check `url`", place(url), answer.status);
    };
    to.set_query(None);
    to.set_fragment(None);
    // These fail only for URLs that cannot hold userinfo, where there is nothing to cut.
    let _ = to.set_username("");
    let _ = to.set_password(None);
    let to: String = to.as_str().chars().take(EXCERPT_CHARS_MAX).collect();
    format!(
        "{} redirects ({}) to {to}, which is not followed; if that is right, set it as the target's URL",
        place(url),
        answer.status
    )
}

/// The first part of an answer, `None` where there is none. NUL, which not every database stores, is dropped.
pub(super) fn excerpt(text: &str) -> Option<String> {
    let text: String = text.chars().filter(|c| *c != '\0').take(EXCERPT_CHARS_MAX).collect();
    (!text.is_empty()).then_some(text)
}
