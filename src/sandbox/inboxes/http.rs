//! The HTTP inbox and what it shares with Slack's: record, script, answer; checks Standard Webhooks signatures.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;

use crate::sandbox::http::{Asked, Reply};
use crate::sandbox::script::{Answer, Cut};

use super::{Arrival, Inbox, one_line};

/// A signature's time may differ from ours by so many seconds.
const SKEW_SECONDS_MAX: i64 = 300;

/// Answers one request to the HTTP inbox.
pub(in crate::sandbox) fn handle(inbox: &Inbox, asked: &Asked) -> (Reply, Answer) {
    let problem = unsigned(inbox, asked);
    let reply = match &problem {
        Some(problem) => Reply::text(401, problem),
        None => Reply::text(200, "ok"),
    };
    let shown =
        serde_json::from_slice::<Value>(&asked.body).map_or_else(|_| plain(asked), |body| summary(&body));
    settle(inbox, asked, reply, problem, &shown)
}

/// Lets the script have its say, keeps what came, and answers.
pub(super) fn settle(
    inbox: &Inbox,
    asked: &Asked,
    reply: Reply,
    problem: Option<String>,
    shown: &str,
) -> (Reply, Answer) {
    let answer = inbox.scripted(&asked.path, true).unwrap_or_default();
    let mut reply = reply;
    if !answer.refuses()
        && reply.status < 300
        && let Some(seconds) = inbox.too_soon()
    {
        reply = Reply::text(429, "rate_limited").header("retry-after", &seconds.to_string());
    }
    let accepted = reply.status < 300 && !answer.refuses();
    let reply = reply.scripted(&answer);
    let silent = matches!(answer.cut, Some(Cut::Before | Cut::After));
    inbox.keep(Arrival {
        number: 0,
        inbox: inbox.which(),
        at: inbox.now(),
        method: asked.method.to_string(),
        path: asked.path.clone(),
        headers: asked
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect(),
        body: String::from_utf8_lossy(&asked.body).into_owned(),
        status: if silent { 0 } else { reply.status },
        accepted,
        shown: one_line(shown),
        problem,
        mail: None,
    });
    (reply, answer)
}

fn plain(asked: &Asked) -> String {
    String::from_utf8_lossy(&asked.body).into_owned()
}

/// The event's type, and what it is about where it says so.
fn summary(body: &Value) -> String {
    let message = &body["data"]["message"];
    let parts = [&body["type"], &message["label"], &message["subject"], &body["text"]];
    let said: Vec<&str> = parts.into_iter().filter_map(Value::as_str).collect();
    if said.is_empty() { body.to_string() } else { said.join(" · ") }
}

/// What is wrong with the signature, if one is wanted.
fn unsigned(inbox: &Inbox, asked: &Asked) -> Option<String> {
    let secrets = inbox.secrets();
    if secrets.is_empty() {
        return None;
    }
    let (Some(id), Some(at), Some(signatures)) =
        (asked.header("webhook-id"), asked.header("webhook-timestamp"), asked.header("webhook-signature"))
    else {
        return Some("webhook-id, webhook-timestamp or webhook-signature is missing".to_owned());
    };
    let skew = at.parse::<i64>().map(|at| (inbox.now().as_second() - at).abs());
    if skew.is_err() || skew.is_ok_and(|skew| skew > SKEW_SECONDS_MAX) {
        return Some("webhook-timestamp is too far from the time here".to_owned());
    }
    let mut signed = format!("{id}.{at}.").into_bytes();
    signed.extend_from_slice(&asked.body);
    let fits = signatures.split(' ').filter_map(|one| one.strip_prefix("v1,")).any(|given| {
        let Ok(given) = STANDARD.decode(given) else { return false };
        secrets.iter().any(|secret| verifies(secret, &signed, &given))
    });
    (!fits).then(|| "webhook-signature does not fit".to_owned())
}

fn verifies(secret: &str, signed: &[u8], given: &[u8]) -> bool {
    let Ok(secret) = STANDARD.decode(secret.trim_start_matches("whsec_")) else { return false };
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&secret) else { return false };
    mac.update(signed);
    mac.verify_slice(given).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_of_another_implementation_verifies() {
        // The worked example of the Standard Webhooks specification's reference libraries.
        let signed = br#"msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{"test": 2432232314}"#;
        let given = STANDARD.decode("g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=").unwrap();
        assert!(verifies("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", signed, &given));
        assert!(!verifies("whsec_AAAA", signed, &given));
    }
}
