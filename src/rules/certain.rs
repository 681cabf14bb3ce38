//! What a `where:` says by a message's type alone, whatever else the message holds.

use std::sync::Arc;

use cel::common::ast::{CallExpr, EntryExpr, Expr, operators};
use cel::{Context, IdedExpr, Value};

use crate::model::message::Message;

use super::bindings;
use super::expression::{ENVIRONMENT, Expression};

/// The fields of `message` that the rule's `match` settles.
const SETTLED: [&str; 3] = ["activity_type", "message_type", "direction"];

impl Expression {
    /// What it says about every message of this one's type; `None` if that depends on what else is in the message.
    pub fn by_type(&self, message: &Message) -> Option<bool> {
        certain(self.root(), message)
    }
}

fn certain(node: &IdedExpr, message: &Message) -> Option<bool> {
    if let Expr::Call(call) = &node.expr {
        match (call.func_name.as_str(), call.args.as_slice()) {
            (operators::LOGICAL_AND, sides) => return any(sides, false, message),
            (operators::LOGICAL_OR, sides) => return any(sides, true, message),
            (operators::LOGICAL_NOT, [inner]) => return certain(inner, message).map(|is| !is),
            _ => {}
        }
    }
    is_settled(node).then(|| evaluated(node, message)).flatten()
}

/// `decisive` if one side is that, the other value if all sides are. A side that fails decides nothing.
fn any(sides: &[IdedExpr], decisive: bool, message: &Message) -> Option<bool> {
    let sides: Vec<Option<bool>> = sides.iter().map(|side| certain(side, message)).collect();
    if sides.contains(&Some(decisive)) {
        return Some(decisive);
    }
    sides.iter().all(Option::is_some).then_some(!decisive)
}

fn evaluated(node: &IdedExpr, message: &Message) -> Option<bool> {
    let mut context = Context::with_env(Arc::clone(&ENVIRONMENT));
    context.add_variable_from_value("message", bindings::message(message, false));
    match Value::resolve(node, &context) {
        Ok(Value::Bool(is)) => Some(is),
        _ => None,
    }
}

/// Nothing in it but constants and what `match` settles.
fn is_settled(node: &IdedExpr) -> bool {
    match &node.expr {
        Expr::Literal(_) => true,
        Expr::Select(select) => {
            let of_message = matches!(&select.operand.expr, Expr::Ident(name) if name == "message");
            of_message && !select.test && SETTLED.contains(&select.field.as_str())
        }
        Expr::Call(CallExpr { target, args, .. }) => {
            target.iter().all(|target| is_settled(target)) && args.iter().all(is_settled)
        }
        Expr::List(list) => list.elements.iter().all(is_settled),
        Expr::Map(map) => map.entries.iter().all(|entry| match &entry.expr {
            EntryExpr::MapEntry(entry) => is_settled(&entry.key) && is_settled(&entry.value),
            EntryExpr::StructField(_) => false,
        }),
        // A loop's own variables are not looked into; an unknown name could be anything.
        Expr::Unspecified | Expr::Ident(_) | Expr::Struct(_) | Expr::Comprehension(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;
    use crate::model::message::Triple;

    fn says(text: &str) -> Option<bool> {
        let triple = Triple {
            activity_type: "Meeting".to_owned(),
            message_type: "cancelled".to_owned(),
            direction: "to_client".to_owned(),
        };
        let message = Message {
            account: "main".to_owned(),
            uid: "1".to_owned(),
            uid_derived: false,
            triple,
            raw_type: None,
            raw_direction: None,
            business_uid: None,
            staff_uid: None,
            client_uid: None,
            channels: Vec::new(),
            subject: String::new(),
            body: "refund".to_owned(),
            meeting: None,
            created_at: Timestamp::UNIX_EPOCH,
            updated_at: None,
            raw: json!({}),
        };
        Expression::compile(text).unwrap().by_type(&message)
    }

    #[test]
    fn constants_and_types_decide_and_content_does_not() {
        for (text, expected) in [
            ("true", Some(true)),
            ("1 > 2", Some(false)),
            ("message.activity_type == \"Meeting\"", Some(true)),
            ("message.activity_type == \"meeting\"", Some(false)),
            ("message.message_type in [\"cancelled\", \"x\"]", Some(true)),
            ("message.direction.startsWith(\"to_\")", Some(true)),
            ("message.body.contains(\"refund\")", None),
            ("has(message.meeting)", None),
            ("false && message.body.contains(\"refund\")", Some(false)),
            ("message.body.contains(\"refund\") && 1 > 2", Some(false)),
            ("true || message.body.contains(\"refund\")", Some(true)),
            ("message.body.contains(\"refund\") || 1 > 2", None),
            ("!(message.message_type == \"cancelled\")", Some(false)),
            ("1 / 0 > 1", None),
            ("[1, 2].exists(n, n > 1)", None),
        ] {
            assert_eq!(says(text), expected, "{text}");
        }
    }
}
