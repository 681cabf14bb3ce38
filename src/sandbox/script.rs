//! Scripted answers: how the fake business and the inboxes are told to misbehave.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How one request, or one SMTP stage, is answered. Whatever is not set is as it normally would be.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Answer {
    /// HTTP status or SMTP reply code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Header fields added to the answer.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// The body, or the text after an SMTP reply code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// Milliseconds before the first byte.
    #[serde(skip_serializing_if = "is_zero")]
    pub wait_ms: u64,
    /// Milliseconds between two pieces of the body, of which there are twenty.
    #[serde(skip_serializing_if = "is_zero")]
    pub trickle_ms: u64,
    /// Where the connection is cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cut: Option<Cut>,
}

/// Where a connection is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cut {
    /// The request is dropped: nothing is done, nothing is answered.
    Before,
    /// Head and half of the body are sent.
    Middle,
    /// The request is carried out, but nothing is answered: the sender cannot know.
    After,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// The normal answer.
pub fn ok() -> Answer {
    Answer::default()
}

/// A bare status.
pub fn status(status: u16) -> Answer {
    Answer { status: Some(status), ..Answer::default() }
}

/// A status with a text.
pub fn says(code: u16, body: impl Into<String>) -> Answer {
    Answer { body: Some(body.into()), ..status(code) }
}

/// 429 with `Retry-After` in seconds.
pub fn busy(seconds: u32) -> Answer {
    says(429, "rate_limited").header("retry-after", &seconds.to_string())
}

/// 502 with an HTML page, as gateways answer.
pub fn gateway() -> Answer {
    says(502, "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>")
        .header("content-type", "text/html")
}

/// 200 with JSON that ends too early.
pub fn broken_json() -> Answer {
    says(200, r#"{"success":true,"data":{"activity_messages":[{"uid":"#)
}

/// 200 that says it is none.
pub fn success_false() -> Answer {
    says(200, r#"{"success":false,"errors":[{"code":"internal","message":"Something went wrong"}]}"#)
}

/// 200 with nothing in it.
pub fn empty() -> Answer {
    says(200, "")
}

/// A redirect.
pub fn redirect(location: &str) -> Answer {
    says(302, "").header("location", location)
}

/// The connection is cut.
pub fn cut(cut: Cut) -> Answer {
    Answer { cut: Some(cut), ..Answer::default() }
}

/// The first byte comes late.
pub fn slow(wait: Duration) -> Answer {
    Answer { wait_ms: millis(wait), ..Answer::default() }
}

/// The body comes in pieces with this pause between them.
pub fn trickle(pause: Duration) -> Answer {
    Answer { trickle_ms: millis(pause), ..Answer::default() }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Answer {
    /// The same with one more header field.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.insert(name.to_owned(), value.to_owned());
        self
    }

    /// The request is not carried out: it is answered with a failure, or not at all.
    pub fn refuses(&self) -> bool {
        self.cut == Some(Cut::Before) || self.status.is_some_and(|status| !(200..300).contains(&status))
    }
}

/// An answer, where it applies and how often.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// The beginning of the place: a path of the API or of an inbox, or an SMTP stage
    /// (`banner`, `ehlo`, `auth`, `mail`, `rcpt`, `rcpt:ann@example.com`, `data`, `dot`).
    /// Empty: any request of an HTTP server; the end of a message's data for SMTP.
    #[serde(default)]
    pub on: String,
    /// How often it applies; absent: until cleared.
    #[serde(default)]
    pub times: Option<u32>,
    /// What happens.
    pub answer: Answer,
}

/// The answers that are still to be given, in order.
#[derive(Debug, Clone, Default)]
pub struct Script(VecDeque<Fault>);

impl Script {
    /// Adds a fault behind those there are.
    pub fn add(&mut self, fault: Fault) {
        self.0.push_back(fault);
    }

    /// Forgets all that is left.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// The answer for what happens at `place`, if one is scripted. Faults that name no place apply if `anywhere`.
    pub fn take(&mut self, place: &str, anywhere: bool) -> Option<Answer> {
        let index = self.0.iter().position(|fault| {
            if fault.on.is_empty() { anywhere } else { place.starts_with(fault.on.as_str()) }
        })?;
        let fault = self.0.get_mut(index)?;
        match fault.times.as_mut() {
            Some(times) if *times > 1 => {
                *times -= 1;
                Some(fault.answer.clone())
            }
            Some(_) => self.0.remove(index).map(|fault| fault.answer),
            None => Some(fault.answer.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_come_in_order_at_their_place_as_often_as_told() {
        let mut script = Script::default();
        script.add(Fault { on: "rcpt:bad@".into(), times: None, answer: status(550) });
        script.add(Fault { on: String::new(), times: Some(2), answer: status(500) });
        script.add(Fault { on: String::new(), times: Some(1), answer: ok() });
        assert_eq!(script.take("rcpt:good@example.com", false), None);
        assert_eq!(script.take("rcpt:bad@example.com", false), Some(status(550)));
        assert_eq!(script.take("dot", true), Some(status(500)));
        assert_eq!(script.take("dot", true), Some(status(500)));
        assert_eq!(script.take("dot", true), Some(ok()));
        assert_eq!(script.take("dot", true), None);
        assert_eq!(script.take("rcpt:bad@example.com", false), Some(status(550)));
    }

    #[test]
    fn a_fault_reads_as_a_person_would_write_it() {
        let fault: Fault = serde_json::from_str(
            r#"{"on":"/services","times":2,"answer":{"status":429,"headers":{"retry-after":"3"}}}"#,
        )
        .unwrap();
        assert!(fault.answer.refuses());
        assert!(serde_json::from_str::<Fault>(r#"{"answer":{"statsu":429}}"#).is_err());
    }
}
