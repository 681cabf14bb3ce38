//! `deliveries show`: the story of one delivery.

use serde_json::{Map, Value};

use super::{Listed, state_style, waits_for};
use crate::cli::output::{BOLD, DIM, paint};
use crate::cli::{Context, payload, when};
use crate::model::group::{Gathered, Kind};
use crate::store::Detail;
use crate::target::Target;

/// The list's object with `payload` and `history` behind it.
pub(super) fn json(detail: &Detail, target: Option<&Target>) -> anyhow::Result<Map<String, Value>> {
    let mut object = match serde_json::to_value(Listed::of(&detail.row))? {
        Value::Object(object) => object,
        other => Map::from_iter([("delivery".to_owned(), other)]),
    };
    object.insert("payload".to_owned(), payload_json(detail, target));
    object.insert("history".to_owned(), serde_json::to_value(&detail.history)?);
    Ok(object)
}

fn payload_json(detail: &Detail, target: Option<&Target>) -> Value {
    let id = detail.row.id.as_str();
    detail.payload.as_ref().map_or(Value::Null, |sent| payload::as_json(sent, target, id))
}

/// The story for people.
pub(super) fn text(detail: &Detail, target: Option<&Target>, context: &Context) -> anyhow::Result<()> {
    let row = &detail.row;
    let (zone, now) = (when::zone(context), context.clock.now());
    let moment = |at| format!("{} ({})", when::moment(at, &zone), when::ago(at, now));
    let to = row.recipient.as_ref().map_or_else(|| row.target.clone(), |to| format!("{} ({to})", row.target));
    let fact = |name: &str, value: String| {
        context.out.line(format!("  {} {value}", paint(DIM, format!("{name:<9}"))))
    };
    context.out.line(format!("{} {}", paint(BOLD, &row.id), paint(state_style(row.state), row.state)))?;
    fact("rule", row.rule.clone())?;
    fact("target", to)?;
    fact("account", row.account.clone())?;
    match &row.notice {
        Some(notice) => fact("notice", notice.subject.clone())?,
        None => fact("messages", row.messages.join(", "))?,
    }
    fact("template", row.template.clone())?;
    fact("planned", moment(row.created_at))?;
    if let Some(due) = row.due_at {
        fact("due", moment(due))?;
    }
    if let Some(waits) = waits_for(row, now, &zone) {
        fact("waits", waits)?;
    }
    if let Some(Gathered { kind: Kind::Digest, from, to }) = row.gathered {
        fact("covers", format!("{} to {}", when::moment(from, &zone), when::moment(to, &zone)))?;
    }
    if row.throttled > 0 {
        fact("held back", format!("{} before it, as its rule's throttle says", row.throttled))?;
    }
    if let Some(instance) = &row.held_by {
        fact("sent by", format!("instance {instance}"))?;
    }
    if let Some(settled) = row.settled_at {
        fact("ended", moment(settled))?;
    }
    if let Some(why) = &row.why {
        fact("why", why.clone())?;
    }
    if let Some(of) = &row.replay_of {
        fact("replays", of.to_string())?;
    }
    if row.maybe_duplicate {
        fact("note", "the target may have had it twice: an attempt ended without a clear answer".to_owned())?;
    }
    for (number, attempt) in detail.history.iter().enumerate() {
        let status = attempt.status.map_or(String::new(), |status| format!(" {status}"));
        let head = format!("{}. {}{status}", number + 1, attempt.outcome);
        let tail = format!("{}, {} ms", moment(attempt.at), attempt.latency_ms);
        context.out.line(format!("\n{} {}", paint(BOLD, head), paint(DIM, tail)))?;
        context.out.line(format!("   {}", attempt.reason))?;
        if let Some(answer) = attempt.answer.as_deref().filter(|answer| !answer.trim().is_empty()) {
            context.out.line(format!("   {} {}", paint(DIM, "answer"), answer.trim()))?;
        }
    }
    if let Some(sent) = &detail.payload {
        context.out.line(format!("\n{}", paint(BOLD, "payload")))?;
        context.out.line(payload::as_text(sent, target, row.id.as_str())?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::delivery::StateName;
    use crate::model::id::DeliveryId;
    use crate::model::payload::Payload;
    use crate::store::Row;

    #[test]
    fn the_keys_are_those_of_the_contract() {
        let at = jiff::Timestamp::UNIX_EPOCH;
        let row = Row {
            id: DeliveryId::from_text("d1"),
            account: "main".into(),
            rule: "r".into(),
            target: "desk".into(),
            recipient: None,
            template: "default".into(),
            messages: vec!["m1".into()],
            state: StateName::Dead,
            held_by: None,
            due_at: None,
            created_at: at,
            settled_at: Some(at),
            why: Some("refused".into()),
            attempts: 1,
            last: None,
            maybe_duplicate: false,
            replay_of: None,
            notice: None,
            first_due: at,
            group: None,
            gathered: None,
            open: false,
            throttled: 0,
        };
        let slack = Payload::Slack(json!({"text": "hello"}));
        let shown = json(&Detail { row, payload: Some(slack), history: Vec::new() }, None).unwrap();
        let contract = [
            "id",
            "rule",
            "target",
            "recipient",
            "messages",
            "state",
            "due_at",
            "attempts",
            "last",
            "maybe_duplicate",
            "replay_of",
        ];
        let keys: Vec<&str> = shown.keys().map(String::as_str).collect();
        assert_eq!(keys[..contract.len()], contract);
        assert_eq!(shown["payload"], json!({"text": "hello"}));
        assert_eq!((&shown["history"], &shown["last"]), (&json!([]), &Value::Null));
    }
}
