//! What only the network can tell: whose token each account has, and whether each target can be reached.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::config::problem::Severity;
use crate::config::{Config, Loaded, Subject, codes};
use crate::egress::Egress;
use crate::source::api::{Api, REQUESTS_PER_SECOND, Userinfo};
use crate::source::fault::ApiError;
use crate::source::pace::Pace;
use crate::source::walk::Query;
use crate::source::{self, Account};
use crate::target::Target;

use super::output::{BAD, BOLD, DIM, GOOD, WARN, paint};

/// No account and no target may take longer to answer.
const DEADLINE: Duration = Duration::from_secs(20);
/// The kind of token that the API gives messages to.
const STAFF: &str = "staff";
const ACCOUNT: &str = "account";
const TAKE_STAFF: &str =
    "use the owner's or an admin's staff token: in vCita open Settings, Integrations, Webhooks, Connect";
const ONE_ACCOUNT: &str = "every message of it is taken in and sent twice: take one of the accounts out, or give it its own business's token";
const REACH: &str = "check `base_url`, the network and its proxy, and try again";
const MEND_TARGET: &str =
    "check its address and credentials; `activity-relay targets test` sends a test message";

/// How one account or target answered.
#[derive(Debug, Serialize)]
struct Asked {
    name: String,
    /// `account`, or the target's type.
    #[serde(rename = "type")]
    kind: &'static str,
    /// `None`: not asked, as it is switched off.
    ok: Option<bool>,
    /// What was found.
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    business: Option<String>,
    /// The API's identifier of the business, by which accounts are told apart.
    #[serde(skip)]
    business_uid: Option<String>,
    #[serde(skip)]
    trouble: Option<Trouble>,
}

/// What is wrong, and what to do.
#[derive(Debug)]
struct Trouble {
    code: &'static codes::Code,
    severity: Severity,
    help: &'static str,
}

/// How everything that a configuration names answered, accounts in file order and targets by name.
#[derive(Debug, Serialize)]
pub(super) struct Answers {
    accounts: Vec<Asked>,
    targets: Vec<Asked>,
}

/// Asks every account's API and reaches every target, all at once. Nothing is posted to anyone.
pub(super) async fn ask(config: &Config, now: Timestamp) -> Answers {
    let egress = source::http::egress();
    let mut accounts = JoinSet::new();
    for (place, one) in config.accounts.iter().enumerate() {
        let (one, egress) = (Arc::clone(one), egress.clone());
        accounts.spawn(async move { (place, account(&one, &egress, now).await) });
    }
    let mut targets = JoinSet::new();
    for (place, one) in config.targets.values().enumerate() {
        let one = Arc::clone(one);
        targets.spawn(async move { (place, target(&one).await) });
    }
    let mut accounts = in_order(accounts.join_all().await);
    tell_apart(&mut accounts);
    Answers { accounts, targets: in_order(targets.join_all().await) }
}

/// Notes accounts that belong to the business of an earlier one.
fn tell_apart(accounts: &mut [Asked]) {
    for later in 1..accounts.len() {
        let (before, after) = accounts.split_at_mut(later);
        let asked = &mut after[0];
        let of_asked = |other: &&Asked| {
            other.business_uid.is_some() && other.business_uid == asked.business_uid && other.ok == Some(true)
        };
        let Some(first) = before.iter().find(of_asked) else { continue };
        if asked.trouble.is_none() {
            asked.detail = format!("{}, which is the business of `{}` too", asked.detail, first.name);
            asked.trouble =
                Some(Trouble { code: codes::SAME_BUSINESS, severity: Severity::Warning, help: ONE_ACCOUNT });
        }
    }
}

fn in_order(mut answers: Vec<(usize, Asked)>) -> Vec<Asked> {
    answers.sort_by_key(|(place, _)| *place);
    answers.into_iter().map(|(_, asked)| asked).collect()
}

async fn account(account: &Account, egress: &Egress, now: Timestamp) -> Asked {
    let api = Api::new(account, egress, Pace::per_second(REQUESTS_PER_SECOND)).deadline(DEADLINE);
    let name = account.name.clone();
    match timeout(DEADLINE, calls(&api, now)).await {
        Err(_) => Asked::wrong(name, ACCOUNT, codes::API, late(), REACH),
        Ok(Err(error)) => Asked::wrong(name, ACCOUNT, codes::API, error.to_string(), remedy(&error)),
        Ok(Ok(info)) => judge(name, &info),
    }
}

/// Whose token it is; with a staff token, also a list of one message at most.
async fn calls(api: &Api, now: Timestamp) -> Result<Userinfo, ApiError> {
    let info = api.userinfo().await?;
    if info.kind.as_deref().is_some_and(|kind| kind != STAFF) {
        // The list would refuse it too, in words that say less.
        return Ok(info);
    }
    api.list(&Query::probe(now)).await?;
    Ok(info)
}

fn judge(name: String, info: &Userinfo) -> Asked {
    let business = info.business_name.clone().or_else(|| info.business_uid.clone());
    let of = business.as_ref().map(|business| format!(" of {business}")).unwrap_or_default();
    let role = info.role.as_ref().map(|role| format!(" ({role})")).unwrap_or_default();
    let asked = match info.kind.as_deref() {
        Some(STAFF) => {
            Asked::fine(name, ACCOUNT, format!("a staff token{of}{role}; the list of messages answers"))
        }
        Some(kind) => {
            let detail = format!("a token of kind `{kind}`{of}, where a staff token is needed");
            Asked::wrong(name, ACCOUNT, codes::TOKEN_KIND, detail, TAKE_STAFF)
        }
        None => {
            let detail = format!("the API does not say of what kind this token{of} is");
            let trouble = Trouble { code: codes::TOKEN_KIND, severity: Severity::Warning, help: TAKE_STAFF };
            Asked { trouble: Some(trouble), ..Asked::fine(name, ACCOUNT, detail) }
        }
    };
    Asked { business, business_uid: info.business_uid.clone(), ..asked }
}

async fn target(target: &Target) -> Asked {
    let (name, kind) = (target.name.clone(), target.type_name());
    if !target.enabled {
        let detail = "switched off by `enabled: false`, so it was not asked".to_owned();
        return Asked { ok: None, ..Asked::fine(name, kind, detail) };
    }
    match timeout(DEADLINE, target.probe(DEADLINE)).await {
        Ok(Ok(detail)) => Asked::fine(name, kind, detail),
        Ok(Err(why)) => Asked::wrong(name, kind, codes::UNREACHABLE, why, MEND_TARGET),
        Err(_) => Asked::wrong(name, kind, codes::UNREACHABLE, late(), MEND_TARGET),
    }
}

fn remedy(error: &ApiError) -> &'static str {
    if error.token_refused() { TAKE_STAFF } else { REACH }
}

fn late() -> String {
    format!("no answer within {} seconds", DEADLINE.as_secs())
}

impl Asked {
    fn fine(name: String, kind: &'static str, detail: String) -> Self {
        Self { name, kind, ok: Some(true), detail, business: None, business_uid: None, trouble: None }
    }

    fn wrong(
        name: String,
        kind: &'static str,
        code: &'static codes::Code,
        detail: String,
        help: &'static str,
    ) -> Self {
        let trouble = Some(Trouble { code, severity: Severity::Error, help });
        Self { ok: Some(false), trouble, ..Self::fine(name, kind, detail) }
    }
}

impl Answers {
    /// Adds what is wrong to the problems, at the places of the accounts and targets.
    pub(super) fn report(&self, loaded: &mut Loaded) {
        for asked in self.accounts.iter().chain(&self.targets) {
            let Some(trouble) = &asked.trouble else { continue };
            let (about, what) = match asked.kind {
                ACCOUNT => (Subject::Account(&asked.name), "account"),
                _ => (Subject::Target(&asked.name), "target"),
            };
            let message = format!("{what} `{}`: {}", asked.name, asked.detail);
            loaded.add(trouble.code, trouble.severity, about, message, trouble.help);
        }
    }

    /// A line for each account and target, and below it what to do where something is wrong.
    pub(super) fn lines(&self) -> Vec<String> {
        let all = || self.accounts.iter().chain(&self.targets);
        let width = all().map(|asked| asked.name.chars().count()).max().unwrap_or_default();
        let mut lines = Vec::new();
        for asked in all() {
            let mark = match (asked.ok, &asked.trouble) {
                (None, _) => paint(DIM, "–"),
                (Some(true), None) => paint(GOOD, "✓"),
                (Some(true), Some(_)) => paint(WARN, "!"),
                (Some(false), _) => paint(BAD, "✗"),
            };
            let name = paint(BOLD, format!("{:width$}", asked.name));
            lines.push(format!("{mark} {name}  {:7}  {}", asked.kind, asked.detail));
            if let Some(trouble) = &asked.trouble {
                lines.push(format!("  {:width$}  {:7}  {}", "", "", paint(DIM, trouble.help)));
            }
        }
        lines
    }
}
