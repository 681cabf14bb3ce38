//! Where messages go: which targets are held up and why, what waits for each, and a test message through one of them.

use jiff::Timestamp;
use serde::Serialize;

use super::when;
use crate::config::Config;
use crate::model::delivery::{Notice, Outcome, Report};
use crate::model::id::DeliveryId;
use crate::render::view::{Around, View};
use crate::store::{Counts, Result, Store, TargetState};
use crate::target::{Parcel, Target};

/// The type of a target that deliveries name but the rules file does not.
const GONE: &str = "unknown";
/// Why nothing is sent to a target that the rules file does not name.
pub const NOT_THERE: &str =
    "not in the rules file; what is owed waits until it is back, expires, or is discarded";

/// A target as the JSON contract has it.
#[derive(Debug, Clone, Serialize)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// `slack`, `email`, `http`, or `unknown` for one that is not in the rules file.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// `ready`, `paused` or `parked`.
    pub state: &'static str,
    /// When a wait ends, or a parked target is tried again.
    pub until: Option<Timestamp>,
    /// Why it is not ready.
    pub reason: Option<String>,
    /// Deliveries that wait for it or are being sent.
    pub pending: u64,
    /// Dead deliveries to it.
    pub dead: u64,
}

impl Listed {
    fn of(name: &str, kind: &'static str, standing: Standing, counts: Counts) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            state: standing.state,
            until: standing.until,
            reason: standing.reason,
            pending: counts.pending + counts.sending,
            dead: counts.dead,
        }
    }
}

/// A target's standing in the words of the JSON contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// `ready`, `paused` or `parked`.
    pub state: &'static str,
    /// When a wait ends, or a parked target is tried again.
    pub until: Option<Timestamp>,
    /// Why it is not ready.
    pub reason: Option<String>,
}

/// How a target stands by what the store keeps of it.
pub fn standing(state: Option<&TargetState>, now: Timestamp) -> Standing {
    let ready = Standing { state: "ready", until: None, reason: None };
    let Some(state) = state else { return ready };
    let reason = state.reason.clone();
    if state.paused {
        Standing { state: "paused", until: None, reason }
    } else if state.parked_until.is_some() {
        Standing { state: "parked", until: state.parked_until, reason }
    } else if state.wait_until.is_some_and(|until| until > now) {
        Standing { state: "paused", until: state.wait_until, reason }
    } else {
        ready
    }
}

/// Nothing is sent, for a reason that lies in the rules file.
fn held(reason: &str) -> Standing {
    Standing { state: "paused", until: None, reason: Some(reason.to_owned()) }
}

/// All targets of the configuration, and those that something is owed to and that it does not name.
///
/// # Errors
/// The store cannot be read.
pub async fn list(store: &Store, config: &Config, now: Timestamp) -> Result<Vec<Listed>> {
    let states = store.target_states().await?;
    let counted = store.counts_by_target().await?;
    let counts = |name: &str| counted.get(name).copied().unwrap_or_default();
    let mut targets = Vec::new();
    for target in config.targets.values() {
        let mut standing = standing(states.iter().find(|state| state.name == target.name), now);
        if !target.enabled {
            standing = held("`enabled: false` in the rules file");
        }
        targets.push(Listed::of(&target.name, target.type_name(), standing, counts(&target.name)));
    }
    for name in store.owed_targets().await?.iter().filter(|name| !config.targets.contains_key(*name)) {
        targets.push(Listed::of(name, GONE, held(NOT_THERE), counts(name)));
    }
    Ok(targets)
}

/// How a test message fared.
#[derive(Debug, Serialize)]
pub struct Tested {
    /// The target.
    pub target: String,
    /// To whom, where the target is several.
    pub recipient: Option<String>,
    /// The outcome's name.
    pub outcome: &'static str,
    /// The status that was answered.
    pub status: Option<u16>,
    /// What it means and what to do.
    pub reason: String,
    /// What the target said.
    pub answer: Option<String>,
    /// How long it took, in milliseconds.
    pub latency_ms: u128,
}

impl Tested {
    /// The target took it.
    pub fn arrived(&self) -> bool {
        self.outcome == Outcome::Delivered.as_str()
    }

    fn of(target: &Target, recipient: Option<&str>, report: Report) -> Self {
        Self {
            target: target.name.clone(),
            recipient: recipient.map(str::to_owned),
            outcome: report.outcome.as_str(),
            status: report.status,
            reason: report.reason,
            answer: report.answer,
            latency_ms: report.latency.as_millis(),
        }
    }
}

/// Sends a message that says that it is a test, to each recipient; the targets' own answers. `by` says who did it, such as
/// "Somebody ran `activity-relay targets test crm`".
pub async fn test(target: &Target, by: &str, config: &Config, now: Timestamp) -> Vec<Tested> {
    let recipients: Vec<Option<&str>> = match target.recipients() {
        [] => vec![None],
        recipients => recipients.iter().map(|recipient| Some(recipient.as_str())).collect(),
    };
    let mut tested = Vec::with_capacity(recipients.len());
    for recipient in recipients {
        let report = send_test(target, recipient, by, config, now).await;
        tested.push(Tested::of(target, recipient, report));
    }
    tested
}

async fn send_test(
    target: &Target,
    recipient: Option<&str>,
    by: &str,
    config: &Config,
    now: Timestamp,
) -> Report {
    let moment = when::moment(now, &config.timezone);
    let name = &target.name;
    let id = DeliveryId::derive(now, &["test", name, recipient.unwrap_or_default()]);
    let notice = Notice {
        subject: "Test message from activity-relay".to_owned(),
        text: format!(
            "This is a test. {by} at {moment}.\nIt arrived, so the target works; there is nothing to do."
        ),
    };
    let account = config.accounts.first();
    let view = View {
        messages: Vec::new(),
        notice: Some(notice),
        delivery_id: id.to_string(),
        attempt: 1,
        rule: "relay".to_owned(),
        target: name.clone(),
        account: account.map(|account| account.name.clone()).unwrap_or_default(),
        app_host: account
            .map(|account| account.app_host.as_str().trim_end_matches('/').to_owned())
            .unwrap_or_default(),
        timezone: config.timezone.clone(),
        now,
        around: Around::default(),
    };
    let payload = config.templates.render_notice(target.format(), &view);
    target.deliver(&Parcel { id: id.as_str(), payload: &payload, recipient, now }).await
}
