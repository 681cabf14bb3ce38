//! The overview: what needs attention first, then how polling, deliveries and queues go.

use askama::Template;
use axum::extract::Query;
use jiff::Timestamp;
use serde::Deserialize;

use super::{Answer, Frame, address, coded, deliveries_in_words, grouped, owed_to, page};
use crate::answers::figures::{Figures, Range, Step, ended};
use crate::answers::status::{Account, Failing, Held, Reload, Status};
use crate::answers::targets::{self, Listed};
use crate::answers::when;
use crate::config::Config;
use crate::daemon::reload::Outcome;
use crate::daemon::watch::patience;
use crate::model::delivery::StateName;
use crate::web::guard::Call;
use crate::web::plot::{self, LINES, Plot};

/// Something that was due for so long is late, in seconds.
const LATE_SECONDS: i64 = 300;
/// A poll under way may take so long by itself, in seconds.
const POLL_SECONDS: i64 = 60;
/// So many muted rules are named.
const MUTED_MAX: usize = 5;

#[derive(Template)]
#[template(path = "overview.html")]
struct Overview {
    frame: Frame,
    notes: Vec<Note>,
    /// The accounts that were not polled for too long though nothing failed.
    silent: Vec<String>,
    status: Status,
    targets: Vec<Listed>,
    longest: u64,
    figures: Figures,
    bars: Plot,
    lines: Plot,
}

impl Overview {
    /// The steps in which something ended, the newest first.
    fn busy(&self) -> impl Iterator<Item = &Step> {
        self.figures.steps.iter().rev().filter(|step| ended(&step.ended) > 0)
    }

    /// How many deliveries wait because their rules say so, as far as their moments are shown.
    fn held_back(&self) -> u64 {
        self.status.waiting.iter().map(|moment| moment.deliveries).sum()
    }

    /// Some of them are digests or the like.
    fn gathers(&self) -> bool {
        self.status.waiting.iter().any(|moment| moment.gathers)
    }

    /// The rules that are muted, in words; mutes that silence nothing are notes of their own.
    fn muted(&self) -> Option<String> {
        let ruleless = &self.status.ruleless;
        let silencing =
            self.status.mutes.iter().filter(|mute| ruleless.iter().all(|other| other.id != mute.id));
        let mut rules: Vec<&str> = silencing.map(|mute| mute.rule.as_str()).collect();
        rules.sort_unstable();
        rules.dedup();
        let (named, more) = rules.split_at(rules.len().min(MUTED_MAX));
        let (named, more) = (named.join(", "), more.len());
        match (rules.len(), more) {
            (0, _) => None,
            (1, _) => Some(format!("1 rule is muted: {named}.")),
            (all, 0) => Some(format!("{all} rules are muted: {named}.")),
            (all, more) => Some(format!("{all} rules are muted: {named} and {more} more.")),
        }
    }

    /// How long a step is, in words.
    fn step(&self) -> String {
        when::span(i64::try_from(self.figures.step.as_secs()).unwrap_or(i64::MAX))
    }
}

/// Something that needs attention.
struct Note {
    /// `bad` or `warn`.
    tone: &'static str,
    title: String,
    words: String,
    mends: Vec<Mend>,
}

/// What mends it: a link, or a form with these fields.
struct Mend {
    label: &'static str,
    to: String,
    fields: Vec<(&'static str, String)>,
    sends: bool,
}

impl Mend {
    fn link(label: &'static str, to: impl Into<String>) -> Self {
        Self { label, to: to.into(), fields: Vec::new(), sends: false }
    }

    fn form(label: &'static str, to: &str, fields: Vec<(&'static str, String)>) -> Self {
        Self { label, to: to.to_owned(), fields, sends: true }
    }
}

#[derive(Deserialize)]
pub(in crate::web) struct Asked {
    range: Option<String>,
}

/// `GET /`
pub(in crate::web) async fn show(Call { console, visitor }: Call, Query(asked): Query<Asked>) -> Answer {
    let (store, config) = (&console.relay.store, console.relay.config());
    let frame = Frame::new(&console, visitor, "/");
    let now = frame.now;
    let status = Status::of(store, Some(&config), now).await?;
    let targets = targets::list(store, &config, now).await?;
    let figures = match asked.range.as_deref().and_then(Range::parse) {
        Some(range) => Figures::of(store, range, now).await?,
        None => Figures::fitting(store, now).await?,
    };
    let status = Status { reload: Reload::refused(&console.reloader), ..status };
    // An account may have been there for no longer than the configuration.
    let replaced = console.reloader.last().filter(|last| matches!(last.reload.outcome, Outcome::Replaced(_)));
    let since = replaced.map_or(console.relay.started, |last| last.at.max(console.relay.started));
    let silent = silent(&status, &config, since);
    page(&Overview {
        notes: notes(&status, &config, &silent),
        longest: targets.iter().map(|target| target.pending).max().unwrap_or(0),
        bars: plot::bars(&figures),
        lines: plot::lines(&figures),
        frame,
        silent: silent.into_iter().map(|account| account.name.clone()).collect(),
        status,
        targets,
        figures,
    })
}

/// The accounts of the rules file that were not polled for as long as a poll must fail until people are told, though nothing
/// says that one failed. A relay that was just started is given as much time.
fn silent<'s>(status: &'s Status, config: &Config, started: Timestamp) -> Vec<&'s Account> {
    let polled_every = |name: &str| {
        let account = config.accounts.iter().find(|account| account.name == name)?;
        Some(patience(account.poll_every).as_secs().try_into().unwrap_or(i64::MAX).max(POLL_SECONDS))
    };
    let is_silent = |account: &&Account| {
        let since = account.last_success.map_or(started, |at| at.max(started));
        let seconds = status.now.duration_since(since).as_secs();
        account.error.is_none() && polled_every(&account.name).is_some_and(|may_be| seconds > may_be)
    };
    status.accounts.iter().filter(is_silent).collect()
}

/// What needs attention, the worst first.
fn notes(status: &Status, config: &Config, silent: &[&Account]) -> Vec<Note> {
    let (mut notes, now) = (of_accounts(status, silent), status.now);
    notes.extend(status.reload.as_ref().map(|Reload { refused, .. }| Note {
        tone: "bad",
        title: "The last reload was refused".to_owned(),
        words: format!("{refused}. The configuration that was in force stays in force."),
        mends: vec![Mend::link("See the problems", "/configuration")],
    }));
    notes.extend(status.rules_differ().then(|| Note {
        tone: "warn",
        title: "The instances run different rules files".to_owned(),
        words: "Unless a change is being rolled out, reload those that have the older one: `activity-relay status` shows which."
            .to_owned(),
        mends: vec![Mend::link("See the configuration", "/configuration")],
    }));
    let fails = |target: &str| status.failing.iter().any(|failing| failing.name == target);
    notes.extend(status.targets.iter().filter(|held| !fails(&held.name)).map(|held| of_target(held, config)));
    let rests = |failing: &Failing| status.targets.iter().any(|held| held.name == failing.name);
    notes.extend(status.failing.iter().map(|failing| of_failing(failing, rests(failing), now)));
    if status.counts.dead > 0 {
        notes.push(Note {
            tone: "bad",
            title: format!("{} given up", deliveries_in_words(status.counts.dead)),
            words: "Each is kept with its last answer, and can be sent again once the cause is mended."
                .to_owned(),
            mends: vec![Mend::link("Look and replay", "/deliveries?state=dead")],
        });
    }
    // What is owed to a target that is held, or fails, waits with it, which is said above.
    let is_told = |target: &str| fails(target) || status.targets.iter().any(|held| held.name == target);
    let due = status.queues.iter().filter_map(|queue| Some((queue.oldest_due?, &queue.target)));
    let late = due.map(|(due, target)| (now.duration_since(due).as_secs(), target));
    let mut late: Vec<_> =
        late.filter(|(seconds, target)| *seconds > LATE_SECONDS && !is_told(target)).collect();
    late.sort_unstable_by(|one, other| other.cmp(one));
    notes.extend(late.into_iter().map(|(seconds, target)| Note {
        tone: "warn",
        title: format!("The oldest pending delivery to {target} has been due for {}", when::span(seconds)),
        words: "More comes than the target takes, or every attempt fails.".to_owned(),
        mends: vec![Mend::link("See what is pending", owed_to("pending", target))],
    }));
    notes.extend(status.ruleless.iter().map(|mute| Note {
        tone: "warn",
        title: format!("A mute silences nothing: there is no rule {}", mute.rule),
        words: "If the rule was renamed, mute it by its new name.".to_owned(),
        mends: vec![Mend::form("Lift the mute", "/mutes/lift", vec![("id", mute.id.to_string())])],
    }));
    if config.accounts.is_empty() {
        notes.push(Note {
            tone: "warn",
            title: "No account is polled".to_owned(),
            words: "Add one under `accounts:` of the rules file and reload it.".to_owned(),
            mends: vec![Mend::link("See the configuration", "/configuration")],
        });
    }
    notes
}

/// Of accounts that fail, that nobody polls, or that were not polled for long.
fn of_accounts(status: &Status, silent: &[&Account]) -> Vec<Note> {
    let (mut notes, now) = (Vec::new(), status.now);
    for account in &status.accounts {
        let Some(error) = &account.error else { continue };
        let since = account.last_success.map_or_else(
            || "it was never polled successfully".to_owned(),
            |at| format!("the last poll went through {}", when::ago(at, now)),
        );
        notes.push(Note {
            tone: "bad",
            title: format!("Account {} cannot be polled", account.name),
            words: format!("{error} ({since}). Nothing is lost: polling goes on where it stopped."),
            mends: vec![Mend::link("See the configuration", "/configuration")],
        });
    }
    notes.extend(status.accounts.iter().filter(|account| account.unpolled).map(|account| Note {
        tone: "bad",
        title: format!("Nobody polls account {}", account.name),
        words: "A relay runs, and none has taken it up: the rules file of an instance may be an older one, or its log says what \
                stands in the way. Nothing is lost: polling goes on where it stopped."
            .to_owned(),
        mends: vec![Mend::link("See the configuration", "/configuration")],
    }));
    notes.extend(silent.iter().filter(|account| !account.unpolled).map(|account| Note {
        tone: "warn",
        title: match account.last_success {
            Some(at) => format!("Account {} was last polled {}", account.name, when::ago(at, now)),
            None => format!("Account {} was never polled", account.name),
        },
        words: "No poll has failed either: one hangs, or the log says what stands in the way. Nothing is lost: polling goes on \
                where it stopped."
            .to_owned(),
        mends: vec![Mend::link("See the configuration", "/configuration")],
    }));
    notes
}

fn of_failing(failing: &Failing, rests: bool, now: Timestamp) -> Note {
    let Failing { name, since, asks_to_wait, pending } = failing;
    let (span, waiting) = (when::span(now.duration_since(*since).as_secs()), deliveries_in_words(*pending));
    let (title, words) = if *asks_to_wait {
        let title = format!("Target {name} asks to wait, and the oldest delivery has been due for {span}");
        (title, format!("{waiting} pending; they keep their order and wait."))
    } else {
        let words = "The page of each says how it failed, and when it is tried again.";
        (
            format!("Target {name} has taken nothing for {span}"),
            format!("Every attempt fails: {waiting} waiting. {words}"),
        )
    };
    let mut mends = vec![Mend::link("See what is pending", owed_to("pending", name))];
    if rests {
        mends.push(Mend::form("Resume", "/targets/resume", vec![("name", name.clone())]));
    }
    Note { tone: "bad", title, words, mends }
}

fn of_target(held: &Held, config: &Config) -> Note {
    let name = held.name.clone();
    let reason = held.reason.clone().unwrap_or_else(|| "no reason was kept".to_owned());
    let waiting = deliveries_in_words(held.pending);
    if held.gone {
        let pending = address("/deliveries", [("state", "pending"), ("target", name.as_str())]);
        return Note {
            tone: "bad",
            title: format!("{waiting} for a target that is gone: {name}"),
            words: format!("It is {reason}."),
            mends: vec![Mend::link("Look and discard", pending)],
        };
    }
    if config.is_off(&name) {
        return Note {
            tone: "warn",
            title: format!("{waiting} for a target that is off: {name}"),
            words: format!("It is {reason}."),
            mends: vec![Mend::link("See the configuration", "/configuration")],
        };
    }
    let (tone, title) = match &*held.state {
        "parked" => ("bad", format!("Target {name} is parked")),
        _ => ("warn", format!("Target {name} is paused")),
    };
    let mut mends = vec![Mend::form("Resume", "/targets/resume", vec![("name", name.clone())])];
    if held.state == "parked" {
        mends.push(Mend::form("Send a test", "/targets/test", vec![("name", name)]));
    }
    Note {
        tone,
        title,
        words: format!("{reason}. {waiting} pending; they keep their order and wait."),
        mends,
    }
}
