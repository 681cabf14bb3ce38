//! What must arrive in the demo, told by the story itself and not by the relay: the judge of `--headless`.

use serde_json::json;

use crate::sandbox::inboxes::Arrival;
use crate::sandbox::world::At;

/// One thing that must arrive exactly once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Expected {
    /// Where.
    pub(super) inbox: At,
    /// Words that only this one holds.
    pub(super) words: &'static str,
}

const fn expect(inbox: At, words: &'static str) -> Expected {
    Expected { inbox, words }
}

/// The whole morning.
pub(super) const MORNING: [Expected; 15] = [
    expect(At::Slack, "Deep tissue massage"),
    expect(At::Http, "Deep tissue massage"),
    expect(At::Smtp, "Invoice #1051"),
    expect(At::Slack, "Invoice #1051"),
    expect(At::Slack, "First physiotherapy visit"),
    expect(At::Http, "First physiotherapy visit"),
    expect(At::Slack, "parking near you"),
    expect(At::Slack, "my shoulder moves freely"),
    expect(At::Slack, "MRI left knee.pdf"),
    expect(At::Smtp, "Estimate #214"),
    expect(At::Slack, "Saturday back-care class"),
    expect(At::Http, "Thursday 18:00"),
    expect(At::Http, "Invoice #1042"),
    expect(At::Slack, "Lymphatic drainage"),
    expect(At::Http, "Lymphatic drainage"),
];

/// How the morning went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Score {
    /// Messages that happened.
    pub(super) messages: usize,
    /// Deliveries that had to arrive.
    pub(super) expected: usize,
    /// Of these, how many did.
    pub(super) delivered: usize,
    /// Arrivals of something that had arrived before.
    pub(super) duplicates: usize,
    /// Arrivals that nobody should have got.
    pub(super) unexpected: usize,
}

impl Score {
    /// Counts what was taken by the inboxes.
    pub(super) fn of(messages: usize, arrivals: &[Arrival]) -> Self {
        let taken: Vec<&Arrival> = arrivals.iter().filter(|arrival| arrival.accepted).collect();
        let fits = |expected: &Expected, arrival: &Arrival| {
            arrival.inbox == expected.inbox && text(arrival).contains(expected.words)
        };
        let counts: Vec<usize> = MORNING
            .iter()
            .map(|expected| taken.iter().filter(|arrival| fits(expected, arrival)).count())
            .collect();
        let unexpected =
            taken.iter().filter(|arrival| !MORNING.iter().any(|expected| fits(expected, arrival))).count();
        Self {
            messages,
            expected: MORNING.len(),
            delivered: counts.iter().filter(|count| **count > 0).count(),
            duplicates: counts.iter().map(|count| count.saturating_sub(1)).sum(),
            unexpected,
        }
    }

    /// Everything arrived, exactly once, and nothing else.
    pub(super) fn is_perfect(&self) -> bool {
        self.delivered == self.expected && self.duplicates == 0 && self.unexpected == 0
    }

    /// The demo's last line for programs.
    pub(super) fn json(&self) -> serde_json::Value {
        json!({
            "messages": self.messages, "expected": self.expected, "delivered": self.delivered,
            "lost": self.expected - self.delivered, "duplicates": self.duplicates, "unexpected": self.unexpected,
        })
    }
}

fn text(arrival: &Arrival) -> String {
    match &arrival.mail {
        Some(mail) => format!("{}\n{}", mail.subject, mail.text),
        None => arrival.body.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn arrival(expected: &Expected, accepted: bool) -> Arrival {
        Arrival {
            number: 1,
            inbox: expected.inbox,
            at: jiff::Timestamp::UNIX_EPOCH,
            method: "POST".to_owned(),
            path: String::new(),
            headers: BTreeMap::new(),
            body: format!("{} here", expected.words),
            status: 200,
            accepted,
            shown: String::new(),
            problem: None,
            mail: None,
        }
    }

    #[test]
    fn only_each_thing_once_is_perfect() {
        let all: Vec<Arrival> = MORNING.iter().map(|expected| arrival(expected, true)).collect();
        assert!(Score::of(14, &all).is_perfect());
        let lost = Score::of(14, &all[1..]);
        assert_eq!((lost.delivered, lost.is_perfect()), (lost.expected - 1, false));
        let refused: Vec<Arrival> = all.iter().cloned().chain([arrival(&MORNING[0], false)]).collect();
        assert!(Score::of(14, &refused).is_perfect());
        let twice: Vec<Arrival> = all.iter().cloned().chain([all[0].clone()]).collect();
        assert_eq!(Score::of(14, &twice).duplicates, 1);
        let stray = Expected { inbox: At::Slack, words: "nobody asked" };
        let stray: Vec<Arrival> = all.iter().cloned().chain([arrival(&stray, true)]).collect();
        assert_eq!(Score::of(14, &stray).unexpected, 1);
    }
}
