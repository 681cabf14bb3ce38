//! Where messages go: which targets are held up and why, what waits for each, and a test message through one of them.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::asked::{Refusal, line, unknown};
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
/// Why nothing is sent to a target that the rules file switches off.
pub const SWITCHED_OFF: &str = "switched off in the rules file (`enabled: false`)";

/// A target as the JSON contract has it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// `slack`, `email`, `http`, or `unknown` for one that is not in the rules file.
    #[serde(rename = "type")]
    pub kind: Cow<'static, str>,
    /// `ready`, `paused` or `parked`.
    pub state: Cow<'static, str>,
    /// When a wait ends, or a parked target is tried again.
    pub until: Option<Timestamp>,
    /// Why it is not ready.
    pub reason: Option<String>,
    /// Deliveries that wait for it or are being sent.
    pub pending: u64,
    /// Dead deliveries to it.
    pub dead: u64,
    /// The rules file switches it off; for the console, not part of the document.
    #[serde(skip)]
    pub off: bool,
}

impl Listed {
    fn of(name: &str, kind: &'static str, standing: Standing, counts: Counts) -> Self {
        Self {
            off: false,
            name: name.to_owned(),
            kind: kind.into(),
            state: standing.state.into(),
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
        targets.push(listed(target, &states, counts(&target.name), now));
    }
    for name in store.owed_targets().await?.iter().filter(|name| !config.targets.contains_key(*name)) {
        targets.push(Listed::of(name, GONE, held(NOT_THERE), counts(name)));
    }
    Ok(targets)
}

fn listed(target: &Target, states: &[TargetState], counts: Counts, now: Timestamp) -> Listed {
    let mut standing = standing(states.iter().find(|state| state.name == target.name), now);
    if !target.enabled {
        standing = held(SWITCHED_OFF);
    }
    Listed { off: !target.enabled, ..Listed::of(&target.name, target.type_name(), standing, counts) }
}

/// The target of that name.
///
/// # Errors
/// The rules file names none.
pub fn named<'c>(config: &'c Config, name: &str) -> std::result::Result<&'c Target, Refusal> {
    let names = || config.targets.keys().map(String::as_str);
    config.targets.get(name).map(AsRef::as_ref).ok_or_else(|| unknown("target", name, names()))
}

/// Pauses a target for a reason or, without one, resumes it; how it stands then.
///
/// # Errors
/// The rules file does not name it, or switches off what is to be resumed, the reason is none, or the store cannot be
/// written.
pub async fn hold(
    store: &Store,
    config: &Config,
    (name, reason): (&str, Option<&str>),
    now: Timestamp,
) -> std::result::Result<Listed, Refusal> {
    let target = named(config, name)?;
    let reason = reason.map(|reason| line("reason", reason)).transpose()?;
    if reason.is_none() && !target.enabled {
        let remedy = "take that out and reload";
        return Err(Refusal::Conflict(format!(
            "`{name}` is {SWITCHED_OFF}, which a resume does not change: {remedy}"
        )));
    }
    store.pause_target(name, reason.is_some(), reason.as_deref().unwrap_or_default()).await?;
    let counts = store.counts(Some(name)).await?;
    Ok(listed(target, &store.target_states().await?, counts, now))
}

/// How a test message fared.
#[derive(Debug, Serialize, Deserialize)]
pub struct Tested {
    /// The target.
    pub target: String,
    /// Its type, as the rules file writes it.
    #[serde(rename = "type")]
    pub kind: Cow<'static, str>,
    /// To whom, where the target is several.
    pub recipient: Option<String>,
    /// The outcome's name.
    pub outcome: Cow<'static, str>,
    /// The status that was answered.
    pub status: Option<u16>,
    /// What it means and what to do.
    pub reason: String,
    /// What the target said.
    pub answer: Option<String>,
    /// How long it took, in milliseconds.
    pub latency_ms: u64,
}

impl Tested {
    /// The target took it.
    pub fn arrived(&self) -> bool {
        self.outcome == Outcome::Delivered.as_str()
    }

    fn of(target: &Target, recipient: Option<&str>, report: Report) -> Self {
        Self {
            target: target.name.clone(),
            kind: target.type_name().into(),
            recipient: recipient.map(str::to_owned),
            outcome: report.outcome.as_str().into(),
            status: report.status,
            reason: report.reason,
            answer: report.answer,
            latency_ms: u64::try_from(report.latency.as_millis()).unwrap_or(u64::MAX),
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
