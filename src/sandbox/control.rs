//! The control API: what a test in another language needs to move the fake business. Its token is another one.

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::business::Business;
use super::http::{Asked, Reply};
use super::inboxes::Inbox;
use super::incoming::{Incoming, duration};
use super::world::{Action, At, Request, Which};

/// Everything below this path is control.
const ROOT: &str = "/__control";

/// The control API of one sandbox.
#[derive(Debug, Clone)]
pub(super) struct Control {
    pub(super) token: Option<String>,
    pub(super) inboxes: Vec<Inbox>,
}

/// `POST /__control/clock`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClockChange {
    #[serde(default)]
    set: Option<Timestamp>,
    #[serde(default)]
    advance: Option<String>,
}

/// `POST /__control/actions`: an action, at once, after a while, or before a request for the list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    #[serde(default)]
    after: Option<String>,
    #[serde(default)]
    before_request: Option<u64>,
    action: Action,
}

impl Control {
    /// The answer to a control request; `None` if it is none.
    pub(super) fn handle(&self, business: &Business, asked: &Asked) -> Option<Reply> {
        let what = asked.path.strip_prefix(ROOT)?.trim_matches('/');
        let token = self.token.as_deref()?;
        if asked.header("authorization") != Some(format!("Bearer {token}").as_str()) {
            return Some(Reply::json(401, &json!({ "error": "the control token is missing or wrong" })));
        }
        Some(match self.act(business, what, asked) {
            Ok(body) => Reply::json(200, &body),
            Err((status, message)) => Reply::json(status, &json!({ "error": message })),
        })
    }

    fn act(&self, business: &Business, what: &str, asked: &Asked) -> Result<Value, (u16, String)> {
        match (asked.method.as_str(), what) {
            ("GET", "state") => {
                let (messages, unread) = business.counts();
                let next = business.world().next_at();
                Ok(
                    json!({ "now": business.now(), "messages": messages, "unread": unread, "next_step_at": next }),
                )
            }
            ("POST", "clock") => {
                let change: ClockChange = body(asked)?;
                if let Some(to) = change.set {
                    business.set_clock(to);
                }
                if let Some(by) = change.advance {
                    let by = duration(&by).map_err(|message| (400, message))?;
                    business.shift_clock(SignedDuration::try_from(by).unwrap_or_default());
                }
                Ok(json!({ "now": business.now() }))
            }
            ("POST", "messages") => {
                let one = |value: Value| -> Result<Incoming, (u16, String)> {
                    let incoming: Incoming =
                        serde_json::from_value(value).map_err(|error| (400, error.to_string()))?;
                    incoming.check().map_err(|message| (400, message))?;
                    Ok(incoming)
                };
                let incoming = match body::<Value>(asked)? {
                    Value::Array(many) => many.into_iter().map(one).collect::<Result<Vec<_>, _>>()?,
                    value => vec![one(value)?],
                };
                let receive = |one| business.act(Action::Receive(Box::new(one)));
                let uids: Vec<String> = incoming.into_iter().flat_map(receive).collect();
                Ok(json!({ "uids": uids }))
            }
            ("POST", "read" | "unread") => {
                let which: Which = body(asked)?;
                business.act(if what == "read" { Action::Read(which) } else { Action::Unread(which) });
                Ok(json!({}))
            }
            ("POST", "actions") => {
                let order: Order = body(asked)?;
                if let Action::Receive(incoming) = &order.action {
                    incoming.check().map_err(|message| (400, message))?;
                }
                Ok(json!({ "uids": self::order(business, order)? }))
            }
            ("DELETE", "faults") => {
                for at in [At::Api, At::Slack, At::Http, At::Smtp] {
                    business.act(Action::Heal(at));
                }
                Ok(json!({}))
            }
            ("GET", "requests") => {
                let requests: Vec<Request> = business.requests();
                Ok(json!({ "requests": requests }))
            }
            ("GET", "arrivals") => {
                let mut arrivals: Vec<_> = self.inboxes.iter().flat_map(Inbox::arrivals).collect();
                arrivals.sort_by_key(|arrival| arrival.number);
                Ok(json!({ "arrivals": arrivals }))
            }
            _ => Err((404, format!("there is no {} {}; see docs/sandbox.md", asked.method, asked.path))),
        }
    }
}

fn order(business: &Business, order: Order) -> Result<Vec<String>, (u16, String)> {
    match (order.after, order.before_request) {
        (Some(_), Some(_)) => Err((400, "either after or before_request".to_owned())),
        (Some(wait), None) => {
            business.act_after(duration(&wait).map_err(|message| (400, message))?, order.action);
            Ok(Vec::new())
        }
        (None, Some(nth)) => {
            business.act_before_request(nth, order.action);
            Ok(Vec::new())
        }
        (None, None) => Ok(business.act(order.action)),
    }
}

fn body<T: DeserializeOwned>(asked: &Asked) -> Result<T, (u16, String)> {
    serde_json::from_slice(&asked.body).map_err(|error| (400, error.to_string()))
}
