//! What benchmarks stand on: a relay of one account, messages for it, and what the receiver saw of them.

pub(crate) mod receiver;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use activity_relay::config::load;
use activity_relay::config::secret::Environment;
use activity_relay::daemon::clock::{Chance, Clock};
use activity_relay::daemon::{Relay, Setup};
use activity_relay::egress::policy::Policy;
use activity_relay::egress::{Egress, Request};
use activity_relay::model::delivery::Planned;
use activity_relay::model::id::DeliveryId;
use activity_relay::model::message::Message;
use activity_relay::store::{Admitted, Mode, Store};
use jiff::Timestamp;
use serde_json::json;

/// A relay of one account with these targets and rules.
pub(crate) async fn relay_of(store: &str, rules: &str, environment: &[(&str, &str)]) -> Arc<Relay> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rules.yaml");
    // A short overlap: what the API is asked for again at each poll is no part of a message's way.
    let account = "{ name: main, token: '${TOKEN}', base_url: '${API}', lookup: false, start_from: beginning, overlap: 1s }";
    std::fs::write(&file, format!("version: 1\naccounts: [{account}]\n{rules}")).unwrap();
    let token = ("TOKEN", activity_relay::sandbox::TOKEN);
    let environment = Environment::of(environment.iter().copied().chain([token]));
    let config = load(&file, &environment).config.unwrap();
    let store = Store::open(store, Mode::Daemon).await.unwrap();
    let (clock, chance) = (Clock::System, Chance::seeded(1));
    let relay =
        Relay::new(Setup { config, store, clock, chance, traces: None, paced: false, dry_run: false });
    relay.roles.tick(&relay.config(), relay.clock.now()).await.unwrap();
    Arc::new(relay)
}

/// A message as the API gives it.
pub(crate) fn message(uid: &str, now: Timestamp) -> serde_json::Value {
    json!({
        "account": "main", "uid": uid, "created_at": now, "subject": "Massage", "body": "I cannot come", "raw": {"uid": uid},
        "triple": {"activity_type": "Meeting", "message_type": "cancelled", "direction": "client_to_pivot"},
    })
}

/// One message that owes one delivery.
pub(crate) fn admitted(uid: &str, target: &str, now: Timestamp) -> Admitted {
    let message: Message = serde_json::from_value(message(uid, now)).unwrap();
    let planned = Planned {
        id: DeliveryId::derive(now, &[uid]),
        account: "main".into(),
        rule: "all".into(),
        target: target.into(),
        recipient: None,
        template: "default".into(),
        messages: vec![uid.to_owned()],
        notice: None,
        due_at: now,
        expires_at: None,
        withheld: None,
        replay_of: None,
        joins: None,
        quota: None,
        good_by: Vec::new(),
    };
    Admitted { message, rules: vec!["all".into()], deliveries: vec![planned], makes_good: Vec::new() }
}

/// What the receiver noted.
pub(crate) async fn seen(url: &str) -> HashMap<String, i64> {
    let request = Request {
        method: reqwest::Method::GET,
        url: url.parse().unwrap(),
        headers: reqwest::header::HeaderMap::new(),
        body: Vec::new(),
        answer_bytes_max: 64 << 20,
    };
    let answer = Egress::new(Policy::Any).send(request, Duration::from_secs(20)).await.unwrap();
    let text = String::from_utf8(answer.body.clone()).unwrap();
    let pair = |line: &str| line.split_once(' ').map(|(uid, at)| (uid.to_owned(), at.parse().unwrap()));
    text.lines().filter_map(pair).collect()
}

/// The most memory this process had at once (proc(5): `VmHWM`).
pub(crate) fn peak_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}
