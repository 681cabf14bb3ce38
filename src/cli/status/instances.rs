//! The part of `status` about the relays themselves: which are there, and who of them does what.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::cli::output::{BOLD, DIM, WARN};
use crate::cli::table::{self, plain};
use crate::cli::{Context, when};
use crate::daemon::poller::polling_role;
use crate::daemon::roles::JANITOR;
use crate::daemon::share::{ended, is_there};
use crate::model::delivery::StateName;
use crate::store::{Filter, Hold, Store};

/// A role that is held for longer than this has no end that is worth showing.
const FOR_GOOD: SignedDuration = SignedDuration::from_hours(24);

/// A running relay.
#[derive(Debug, Serialize)]
pub(super) struct Instance {
    id: String,
    host: String,
    started_at: Timestamp,
    last_seen: Timestamp,
    /// It said in time that it is there, as far as it has to.
    alive: bool,
    holds: Vec<Held>,
    sending: usize,
}

/// What it alone does.
#[derive(Debug, Serialize)]
struct Held {
    role: String,
    until: Option<Timestamp>,
}

/// Everybody on the store.
#[derive(Debug)]
pub(super) struct Instances {
    pub(super) all: Vec<Instance>,
    shared: bool,
    holds: Vec<Hold>,
}

impl Instances {
    pub(super) async fn of(store: &Store, now: Timestamp) -> anyhow::Result<Self> {
        let shared = store.is_shared();
        let mut holds = store.holds().await?;
        holds.retain(|hold| !ended(hold.until, now));
        let under_way = Filter { states: vec![StateName::Sending], ..Filter::default() };
        let (under_way, _) = store.deliveries(under_way).await?;
        let held_by = |id: &str| -> Vec<Held> {
            holds.iter().filter(|hold| hold.instance == id).map(|hold| Held::of(hold, now)).collect()
        };
        let found = store.instances().await?.into_iter();
        let all = found.map(|instance| Instance {
            alive: !shared || is_there(&instance, now),
            holds: held_by(&instance.id),
            sending: under_way.iter().filter(|row| row.held_by.as_ref() == Some(&instance.id)).count(),
            id: instance.id,
            host: instance.host,
            started_at: instance.started_at,
            last_seen: instance.seen_at,
        });
        Ok(Self { all: all.collect(), shared, holds })
    }

    /// The one that polls the account, as people know it.
    pub(super) fn polling(&self, account: &str) -> Option<String> {
        self.holder(&polling_role(account))
    }

    /// The one that cleans.
    pub(super) fn cleaning(&self) -> Option<String> {
        self.holder(JANITOR)
    }

    fn holder(&self, role: &str) -> Option<String> {
        let id = &self.holds.iter().find(|hold| hold.role == role)?.instance;
        let known = self.all.iter().find(|instance| instance.id == *id);
        // A single round is not listed: nobody leaves it anything to do.
        Some(known.map_or_else(|| format!("a single round ({id})"), |instance| instance.host.clone()))
    }

    /// Whether there may be several.
    pub(super) fn are_shared(&self) -> bool {
        self.shared
    }

    /// Several, or one that could be several: where it can only be one, that it is there says nothing.
    pub(super) fn show(&self, context: &Context, now: Timestamp) -> anyhow::Result<()> {
        if !self.shared || self.all.is_empty() {
            return Ok(());
        }
        let rows = self.all.iter().map(|instance| {
            let roles: Vec<&str> = instance.holds.iter().map(|held| held.role.as_str()).collect();
            let style = if instance.alive { DIM } else { WARN };
            vec![
                (BOLD, instance.host.clone()),
                plain(when::ago(instance.started_at, now)),
                (style, when::ago(instance.last_seen, now)),
                plain(instance.sending.to_string()),
                plain(table::short(&roles.join(", "), 120)),
            ]
        });
        context.out.line("")?;
        let head = ["INSTANCE", "STARTED", "LAST SEEN", "SENDING", "HOLDS"];
        for line in table::lines(&head, rows.collect(), context.out.width()) {
            context.out.line(line.trim_end())?;
        }
        Ok(())
    }
}

impl Held {
    fn of(hold: &Hold, now: Timestamp) -> Self {
        let for_good = hold.until.duration_since(now) > FOR_GOOD;
        Self { role: hold.role.clone(), until: (!for_good).then_some(hold.until) }
    }
}
