//! The judge of runs in which the program itself is killed, stopped or starved: what was owed, against what arrived.

use std::collections::BTreeMap;
use std::time::Duration;

use activity_relay::sandbox::Sandbox;
use activity_relay::sandbox::inboxes::Arrival;
use activity_relay::sandbox::world::At;
use activity_relay::store::{Filter, Row};

use crate::faults::record::Observed;
use crate::stage::{Running, SAYS, Stage};
use crate::store_kit::{no_loose_ends, no_loose_ends_at};

/// A run between two kills may take so long.
const RUN_MAX: Duration = Duration::from_mins(3);

/// What an arrival and a row of the outbox have in common: the delivery's id, or in Slack, where it is not told, the
/// message's number.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Delivery(String),
    Message(usize),
}

/// What has arrived so far.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    seen: [usize; 3],
    /// How often each was taken.
    taken: BTreeMap<Key, usize>,
}

impl Tally {
    /// Takes note of what is new.
    pub(crate) fn look(&mut self, sandbox: &Sandbox) {
        for (seen, inbox) in self.seen.iter_mut().zip(sandbox.inboxes()) {
            for arrival in inbox.arrivals_after(*seen) {
                *seen += 1;
                if arrival.accepted {
                    *self.taken.entry(key_of(&arrival)).or_default() += 1;
                }
            }
        }
    }

    /// How many different ones were taken.
    pub(crate) fn taken(&self) -> usize {
        self.taken.len()
    }

    /// How much has arrived, refused or not.
    pub(crate) fn arrivals(&self) -> usize {
        self.seen.iter().sum()
    }

    /// Looks whenever something has happened, until it is enough.
    pub(crate) async fn until(&mut self, sandbox: &Sandbox, enough: impl Fn(&Self) -> bool) {
        tokio::time::timeout(RUN_MAX, self.gets_to(sandbox, enough)).await.expect("the run gets on");
    }

    async fn gets_to(&mut self, sandbox: &Sandbox, enough: impl Fn(&Self) -> bool) {
        let mut changes = sandbox.business.watch();
        loop {
            self.look(sandbox);
            if enough(self) {
                return;
            }
            changes.changed().await.unwrap();
        }
    }

    /// Waits until `owed` deliveries are in the store, all of them taken, and none waits for another try or may come to; then
    /// lets the program end, and judges.
    pub(crate) async fn finish(&mut self, stage: &Stage, mut running: Running, owed: usize) -> Verdict {
        // Until then a signal ends it in another way.
        stage.until_logged(&running, "running").await;
        let mut changes = stage.sandbox.business.watch();
        let waiting = async {
            loop {
                self.gets_to(&stage.sandbox, |tally| tally.taken.len() >= owed).await;
                let counts = stage.store().await.counts(None).await.unwrap();
                if counts.pending + counts.sending == 0 {
                    return;
                }
                changes.changed().await.unwrap();
            }
        };
        let finished = tokio::time::timeout(RUN_MAX, waiting).await;
        assert!(finished.is_ok(), "it does not finish: {}", stage.logged());
        running.signal("TERM");
        assert_eq!(running.ended().await.code(), Some(0), "{}", stage.logged());
        self.look(&stage.sandbox);
        Verdict::of(stage, self, owed).await
    }
}

fn key_of(arrival: &Arrival) -> Key {
    let identity = arrival.identity();
    match arrival.inbox {
        At::Slack => Key::Message(number(&arrival.body)),
        At::Smtp => {
            let inner = identity.strip_prefix('<').and_then(|inner| inner.split_once('@'));
            Key::Delivery(inner.expect("a message id").0.to_owned())
        }
        _ => Key::Delivery(identity.to_owned()),
    }
}

/// Which message a post is about.
fn number(body: &str) -> usize {
    let said = body.split_once(SAYS).unwrap_or_else(|| panic!("no number in {body}")).1;
    let digits: String = said.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap()
}

/// What a run came to.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    owed: usize,
    delivered: usize,
    /// What is owed and not in the outbox, not delivered, or called delivered and never came.
    pub(crate) lost: Vec<String>,
    pub(crate) duplicates: usize,
    /// Repeats of deliveries that are marked.
    marked: usize,
    /// Deliveries that are marked, whether they came twice or not.
    pub(crate) doubtful: usize,
}

impl Verdict {
    /// Compares what the store says with what arrived.
    pub(crate) async fn of(stage: &Stage, tally: &Tally, owed: usize) -> Self {
        let rows = stage.store().await.deliveries(Filter::default()).await.unwrap().0;
        match stage.file() {
            Some(file) => no_loose_ends(&file),
            None => no_loose_ends_at(stage.store_url()).await,
        }
        let rows: Vec<Row> = rows.into_iter().filter(|row| row.notice.is_none()).collect();
        let numbers: BTreeMap<String, usize> =
            stage.uids().into_iter().enumerate().map(|(number, uid)| (uid, number)).collect();
        let mut by_key: BTreeMap<Key, Vec<&Row>> = BTreeMap::new();
        for row in &rows {
            let number = row.messages.first().and_then(|uid| numbers.get(uid));
            let key = match number {
                Some(number) if row.target == "desk" => Key::Message(*number),
                _ => Key::Delivery(row.id.to_string()),
            };
            by_key.entry(key).or_default().push(row);
        }
        let mut verdict = Self { owed, ..Self::default() };
        for missing in rows.len()..owed {
            verdict.lost.push(format!("only {missing} of {owed} are in the outbox"));
        }
        for key in tally.taken.keys().filter(|key| !by_key.contains_key(key)) {
            verdict.lost.push(format!("{key:?} arrived and is not in the outbox"));
        }
        for (key, rows) in by_key {
            verdict.judge(&rows, tally.taken.get(&key).copied().unwrap_or_default());
        }
        verdict
    }

    fn judge(&mut self, rows: &[&Row], arrived: usize) {
        let open = rows.iter().filter(|row| row.state.as_str() != "delivered");
        self.lost.extend(open.map(|row| format!("{row:?}")));
        for missing in arrived..rows.len() {
            self.lost.push(format!("{missing} arrived of {rows:?}"));
        }
        let repeats = arrived.saturating_sub(rows.len());
        let marked = rows.iter().filter(|row| row.maybe_duplicate).count();
        self.delivered += arrived.min(rows.len());
        self.duplicates += repeats;
        self.marked += if marked > 0 { repeats } else { 0 };
        self.doubtful += marked;
    }

    /// Two runs of one fault as one.
    pub(crate) fn and(mut self, other: Self) -> Self {
        self.owed += other.owed;
        self.delivered += other.delivered;
        self.lost.extend(other.lost);
        self.duplicates += other.duplicates;
        self.marked += other.marked;
        self.doubtful += other.doubtful;
        self
    }

    /// For the record; more than `doubtful_max` in doubt is a fault of its own.
    pub(crate) fn observed(&self, seed: u64, doubtful_max: usize, saw: &str) -> Observed {
        assert!(self.lost.is_empty(), "{:#?}", self.lost);
        assert!(self.doubtful <= doubtful_max, "{} marked, more than {doubtful_max}", self.doubtful);
        // One that was in doubt may come to be in doubt again.
        assert!(self.duplicates <= doubtful_max, "{self:?}");
        Observed {
            messages: self.owed,
            delivered: self.delivered,
            lost: self.lost.len(),
            duplicates: self.duplicates,
            marked: self.marked,
            seed,
            saw: saw.to_owned(),
        }
    }
}
