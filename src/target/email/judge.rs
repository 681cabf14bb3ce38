//! What an SMTP failure means, by stage and reply code (RFC 5321, RFC 3463).

use crate::model::delivery::Outcome;

use super::Settings;
use super::smtp::{Cause, Stage, Trouble};

/// Outcome and words for a failure.
pub(super) fn judge(trouble: &Trouble, settings: &Settings) -> (Outcome, String) {
    let server = format!("{}:{}", settings.host, settings.port);
    let stage = trouble.stage.words();
    match &trouble.cause {
        Cause::Reply(code, text) => {
            let (outcome, remedy) = by_reply(trouble.stage, *code, text);
            (outcome, format!("{server} said no {stage} ({code} {}){remedy}", short(text)))
        }
        Cause::Tls(words) => (Outcome::TargetBroken, format!("no protected connection to {server}: {words}")),
        Cause::TooLong { bytes, bytes_max } => {
            let words = format!(
                "the mail has {bytes} bytes and {server} takes {bytes_max} at the most; shorten the template"
            );
            (Outcome::ShapeRefused, words)
        }
        Cause::Setup(words) => (Outcome::TargetBroken, format!("{server}, {stage}: {words}")),
        Cause::Lost(words) => {
            (Outcome::Retry { after: None }, format!("the connection to {server} failed {stage}: {words}"))
        }
        Cause::Timeout => {
            (Outcome::Retry { after: None }, format!("{server} gave no answer in time {stage}"))
        }
    }
}

/// The table. An enhanced code (RFC 3463) is in front of the text where the server gives one.
fn by_reply(stage: Stage, code: u16, text: &str) -> (Outcome, &'static str) {
    let enhanced = text.split_whitespace().next().unwrap_or_default();
    let login = matches!(code, 530 | 534 | 535 | 538) || enhanced == "5.7.8";
    match (code, stage) {
        (421, _) => (Outcome::Busy { after: None }, "; it asks to come back later"),
        (500..=599, _) if login => (
            Outcome::TargetBroken,
            "; check user and password in `smtp`, and whether the provider wants an app password",
        ),
        (500..=599, Stage::Auth) => (Outcome::TargetBroken, "; check user and password in `smtp`"),
        (500..=599, Stage::Connect | Stage::Greeting) => {
            (Outcome::TargetBroken, "; it does not talk to this machine: check host and port in `smtp`")
        }
        (500..=599, Stage::Tls) => (Outcome::TargetBroken, "; it refuses TLS: try smtps:// and port 465"),
        (500..=599, Stage::Sender | Stage::Data | Stage::Dot) if enhanced == "5.3.4" => {
            (Outcome::ShapeRefused, "; the mail is too long for it: shorten the template")
        }
        (552, Stage::Sender) => (Outcome::Refused, "; it has no room for this mail"),
        (500..=599, Stage::Sender) => {
            (Outcome::TargetBroken, "; check that this account may send as the address in `from`")
        }
        (500..=599, Stage::Recipient) if enhanced.starts_with("5.7.") || enhanced == "5.2.2" => {
            (Outcome::Doubtful, "; a rule of the server or a full mailbox, which may change")
        }
        (500..=599, Stage::Recipient) => (Outcome::Refused, "; check this recipient's address"),
        (500..=599, Stage::Data | Stage::Dot) => (Outcome::Refused, "; the server does not take this mail"),
        _ => (Outcome::Retry { after: None }, ""),
    }
}

fn short(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reply_has_its_class_at_its_stage() {
        const RETRY: Outcome = Outcome::Retry { after: None };
        const BUSY: Outcome = Outcome::Busy { after: None };
        for (stage, code, text, outcome) in [
            (Stage::Greeting, 421, "4.3.2 busy", BUSY),
            (Stage::Dot, 421, "4.3.2 closing", BUSY),
            (Stage::Greeting, 554, "no SMTP service here", Outcome::TargetBroken),
            (Stage::Tls, 454, "4.7.0 TLS not available", RETRY),
            (Stage::Tls, 502, "what?", Outcome::TargetBroken),
            (Stage::Auth, 535, "5.7.8 bad credentials", Outcome::TargetBroken),
            (Stage::Auth, 454, "4.7.0 try later", RETRY),
            (Stage::Sender, 530, "5.7.0 authentication required", Outcome::TargetBroken),
            (Stage::Sender, 451, "4.7.1 greylisted", RETRY),
            (Stage::Sender, 550, "5.7.1 not your address", Outcome::TargetBroken),
            (Stage::Recipient, 452, "4.5.3 too many recipients", RETRY),
            (Stage::Recipient, 450, "4.2.1 busy mailbox", RETRY),
            (Stage::Recipient, 550, "5.1.1 no such user", Outcome::Refused),
            (Stage::Recipient, 550, "no such user", Outcome::Refused),
            (Stage::Recipient, 553, "5.1.3 bad address", Outcome::Refused),
            (Stage::Recipient, 554, "5.7.1 relay access denied", Outcome::Doubtful),
            (Stage::Recipient, 552, "5.2.2 mailbox full", Outcome::Doubtful),
            (Stage::Recipient, 530, "5.7.1 authenticate first", Outcome::TargetBroken),
            (Stage::Data, 554, "5.5.1 no valid recipients", Outcome::Refused),
            (Stage::Sender, 552, "5.3.4 too big", Outcome::ShapeRefused),
            (Stage::Sender, 552, "quota", Outcome::Refused),
            (Stage::Dot, 552, "5.3.4 too big", Outcome::ShapeRefused),
            (Stage::Dot, 552, "too much", Outcome::Refused),
            (Stage::Dot, 554, "5.7.1 looks like spam", Outcome::Refused),
            (Stage::Dot, 451, "4.3.0 disk", RETRY),
        ] {
            assert_eq!(by_reply(stage, code, text).0, outcome, "{stage:?} {code} {text}");
        }
    }
}
