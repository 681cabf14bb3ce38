//! What a verdict and a lost holder mean for a row, whatever database it is in.

use jiff::Timestamp;

use crate::model::delivery::{Attempt, Job, State, StateName};
use crate::model::message::Message;
use crate::model::settle::Verdict;

/// A delivery whose claims ended this often in a row with the holder gone is not tried again. From the second time on
/// it is a suspect, of which one at a time is sent: what merely was under way beside a killer is cleared by an answer.
pub(super) const LOST_STARTS_MAX: u32 = 5;
/// At most so many expire, or are taken back, in one transaction; the rest follows with the next claim.
pub(super) const SWEEP_MAX: usize = 500;
/// Why a delivery that a person discarded was not sent.
pub(super) const DISCARDED: &str = "discarded by a person";
/// Why one that nobody tried in time was not sent.
pub(super) const EXPIRED: &str = "not delivered before its time was up";

/// The attempt whose holder was not there to tell its end.
pub(super) fn lost_attempt(at: Timestamp) -> Attempt {
    Attempt {
        at,
        outcome: "lost".to_owned(),
        status: None,
        reason: "the relay stopped while sending; whether the target took it is not known".to_owned(),
        latency_ms: 0,
        answer: None,
    }
}

/// Why a delivery that lost its holders too often is not tried again; `None` while it may be.
pub(super) fn fatal(starts: u32, attempts: u32) -> Option<String> {
    let lost = starts.saturating_sub(attempts);
    (lost >= LOST_STARTS_MAX).then(|| format!("the relay stopped {lost} times in a row while sending it"))
}

/// A verdict's state as the columns of its row.
pub(super) struct Columns {
    pub(super) state: StateName,
    pub(super) due_at: Option<Timestamp>,
    pub(super) settled_at: Option<Timestamp>,
    pub(super) why: Option<String>,
}

impl Columns {
    pub(super) fn of(verdict: &Verdict, attempt: &Attempt) -> Self {
        let state = verdict.state.name();
        let open = |due_at: &Timestamp| Self {
            state: StateName::Pending,
            due_at: Some(*due_at),
            settled_at: None,
            why: None,
        };
        let settled = |at: &Timestamp, why| Self { state, due_at: None, settled_at: Some(*at), why };
        match &verdict.state {
            State::Pending { due_at } => open(due_at),
            // Settling ends a lease, so nobody is sending it from here on.
            State::Sending { lease } => open(&lease.until),
            State::Delivered { at } => settled(at, None),
            State::Dead { at, why } | State::Withheld { at, why } => settled(at, Some(why.clone())),
            State::Expired { at } => {
                let why = format!("its time is up before the next try; the last one: {}", attempt.reason);
                settled(at, Some(why))
            }
            State::Discarded { at } => settled(at, Some(DISCARDED.to_owned())),
        }
    }
}

/// The parts of a claimed row that are kept as JSON, put into its job.
///
/// # Errors
/// One of them cannot be read: the row is buried alone then.
pub(super) fn complete(
    job: &mut Job,
    messages: Vec<String>,
    payload: Option<String>,
    notice: Option<String>,
) -> Result<(), String> {
    let unreadable = |error: serde_json::Error| format!("what is stored of it cannot be read: {error}");
    for text in messages {
        job.messages.push(serde_json::from_str::<Message>(&text).map_err(unreadable)?);
    }
    job.payload = payload.map(|text| serde_json::from_str(&text)).transpose().map_err(unreadable)?;
    job.notice = notice.map(|text| serde_json::from_str(&text)).transpose().map_err(unreadable)?;
    Ok(())
}
