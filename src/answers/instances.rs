//! The relays themselves: which are there, and who of them does what.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::daemon::poller::polling_role;
use crate::daemon::roles::JANITOR;
use crate::daemon::share::{ended, is_there};
use crate::model::delivery::StateName;
use crate::store::{Filter, Hold, Result, Store};

/// A role that is held for longer than this has no end that is worth showing.
const FOR_GOOD: SignedDuration = SignedDuration::from_hours(24);

/// A running relay.
#[derive(Debug, Serialize, Deserialize)]
pub struct Instance {
    /// Who it is in leases and roles.
    pub id: String,
    /// The machine it runs on.
    pub host: String,
    /// When it was first seen.
    pub started_at: Timestamp,
    /// When it last said that it is there.
    pub last_seen: Timestamp,
    /// The hash of the configuration by which it works; unknown of one of an older version.
    #[serde(default)]
    pub config: Option<String>,
    /// It said in time that it is there; where it has to say nothing, it holds the store.
    pub alive: bool,
    /// What it alone does.
    pub holds: Vec<Held>,
    /// How many deliveries it is sending.
    pub sending: usize,
}

/// A role that is held.
#[derive(Debug, Serialize, Deserialize)]
pub struct Held {
    /// Its name, such as `poll main`.
    pub role: String,
    /// Until when, if it has an end worth showing.
    pub until: Option<Timestamp>,
}

/// Everybody on the store.
#[derive(Debug)]
pub struct Instances {
    /// The oldest first.
    pub all: Vec<Instance>,
    shared: bool,
    holds: Vec<Hold>,
}

impl Instances {
    /// Those of a store.
    pub async fn of(store: &Store, now: Timestamp) -> Result<Self> {
        let shared = store.is_shared();
        let mut holds = store.holds().await?;
        holds.retain(|hold| !ended(hold.until, now));
        let under_way = Filter { states: vec![StateName::Sending], ..Filter::default() };
        let (under_way, _) = store.deliveries(under_way).await?;
        let mut found = store.instances().await?;
        let served = store.is_served();
        if !served {
            // One that ended meanwhile as it should took its leave before it let go of the store.
            let still = store.instances().await?;
            found.retain(|instance| still.iter().any(|other| other.id == instance.id));
        }
        let held_by = |id: &str| -> Vec<Held> {
            holds.iter().filter(|hold| hold.instance == id).map(|hold| Held::of(hold, now)).collect()
        };
        let all = found.into_iter().map(|instance| Instance {
            alive: if shared { is_there(&instance, now) } else { served },
            holds: held_by(&instance.id),
            sending: under_way.iter().filter(|row| row.held_by.as_ref() == Some(&instance.id)).count(),
            id: instance.id,
            host: instance.host,
            started_at: instance.started_at,
            last_seen: instance.seen_at,
            config: instance.config,
        });
        let all = all.collect();
        // What was held for good by one that is gone is done by nobody.
        holds.retain(|_| served);
        Ok(Self { all, shared, holds })
    }

    /// The one that polls the account, as people know it.
    pub fn polling(&self, account: &str) -> Option<String> {
        self.holder(&polling_role(account))
    }

    /// The one that cleans.
    pub fn cleaning(&self) -> Option<String> {
        self.holder(JANITOR)
    }

    fn holder(&self, role: &str) -> Option<String> {
        let id = &self.holds.iter().find(|hold| hold.role == role)?.instance;
        let known = self.all.iter().find(|instance| instance.id == *id);
        // A single round is not listed: nobody leaves it anything to do.
        Some(known.map_or_else(|| format!("a single round ({id})"), |instance| instance.host.clone()))
    }

    /// Since when there has been one without a break, if one is there.
    pub fn there_since(&self) -> Option<Timestamp> {
        self.all.iter().filter(|instance| instance.alive).map(|instance| instance.started_at).min()
    }

    /// Whether there may be several.
    pub fn are_shared(&self) -> bool {
        self.shared
    }
}

impl Instance {
    /// The accounts that it polls, or did.
    pub fn polls(&self) -> Vec<&str> {
        let role = polling_role("");
        self.holds.iter().filter_map(|held| held.role.strip_prefix(&*role)).collect()
    }
}

impl Held {
    fn of(hold: &Hold, now: Timestamp) -> Self {
        let for_good = hold.until.duration_since(now) > FOR_GOOD;
        Self { role: hold.role.clone(), until: (!for_good).then_some(hold.until) }
    }
}
