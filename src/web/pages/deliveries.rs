//! Deliveries: a list by filters that stand in the address, one with all its attempts, and a person's say in them.

use std::collections::{HashMap, HashSet};

use askama::Template;
use axum::extract::{Path, Query};
use axum::response::{IntoResponse, Redirect};
use serde::Deserialize;

use super::{
    Answer, Failure, Frame, address, coded, deliveries_in_words, grouped, messages_in_words, page, segment,
    short, tone,
};
use crate::answers::actions::Change;
use crate::answers::deliveries::{Listed, again, story};
use crate::answers::explain::{Next, Outlook, Remedy};
use crate::answers::{payload, when};
use crate::model::catalog;
use crate::model::delivery::StateName;
use crate::model::id::DeliveryId;
use crate::model::payload::Payload;
use crate::store::{Detail, Filter, Picked, Row, StoredMessage};
use crate::web::Console;
use crate::web::form::Fields;
use crate::web::guard::Call;

/// Rows of one page.
const ROWS: usize = 50;
/// So many are changed at once at most, and so many of them are shown before.
const CHANGED_MAX: usize = 10_000;
const SHOWN_MAX: usize = 20;
/// So many messages of one delivery are named.
const NAMED_MAX: usize = 200;
/// Periods that are offered.
const SINCE: [&str; 3] = ["1h", "24h", "7d"];
/// How much of an answer is shown, in characters.
pub(super) const ANSWER_CHARS_MAX: usize = 600;

/// The filter as it stands in the address.
#[derive(Debug, Default, Clone, Deserialize)]
pub(in crate::web) struct Asked {
    #[serde(default)]
    state: String,
    #[serde(default)]
    rule: String,
    #[serde(default)]
    target: String,
    #[serde(default)]
    since: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    before: String,
    /// The number of what is told of the change before this page.
    #[serde(default)]
    told: String,
}

impl Asked {
    fn of(fields: &Fields) -> Self {
        let text = |name| fields.one(name).to_owned();
        Self {
            state: text("state"),
            rule: text("rule"),
            target: text("target"),
            since: text("since"),
            message: text("message"),
            ..Self::default()
        }
    }

    fn filter(&self, frame: &Frame, limit: usize) -> Result<Filter, Failure> {
        let some = |text: &str| (!text.trim().is_empty()).then(|| text.trim().to_owned());
        let unknown = || Failure::Wrong(format!("There is no state `{}`.", self.state));
        let state = some(&self.state).map(|name| StateName::parse(&name).ok_or_else(unknown)).transpose()?;
        let since = some(&self.since)
            .map(|text| when::since(&text, frame.now))
            .transpose()
            .map_err(Failure::Wrong)?;
        let wrong = |_| Failure::Wrong("`before` is the number of a delivery.".to_owned());
        let before = some(&self.before).map(|text| text.parse::<i64>().map_err(wrong)).transpose()?;
        Ok(Filter {
            states: state.into_iter().collect(),
            rule: some(&self.rule),
            target: some(&self.target),
            since,
            message: some(&self.message),
            replayed: None,
            made_good_by: None,
            open: false,
            before,
            limit: Some(limit),
        })
    }

    fn pairs(&self) -> [(&'static str, &str); 5] {
        [
            ("state", &self.state),
            ("rule", &self.rule),
            ("target", &self.target),
            ("since", &self.since),
            ("message", &self.message),
        ]
    }

    fn is_narrow(&self) -> bool {
        self.pairs().iter().any(|(_, value)| !value.is_empty())
    }

    /// Whether all that fit can be changed so: in the one state that is meant.
    fn can_all(&self, change: Change) -> bool {
        StateName::parse(&self.state).is_some_and(|state| change.fits(state))
    }

    fn page(&self, before: &str) -> String {
        address("/deliveries", self.pairs().into_iter().chain([("before", before)]))
    }
}

#[derive(Template)]
#[template(path = "deliveries.html")]
struct List {
    frame: Frame,
    asked: Asked,
    rows: Vec<Line>,
    rules: Vec<String>,
    targets: Vec<String>,
    older: Option<String>,
}

/// The messages that a delivery is about.
pub(super) struct About {
    /// How many there are.
    pub(super) all: usize,
    /// The first of them, as far as they are kept.
    pub(super) named: Vec<(String, Option<StoredMessage>)>,
}

impl About {
    pub(super) async fn of(row: &Row, named_max: usize, console: &Console) -> Result<Self, Failure> {
        let mut named = Vec::new();
        for uid in row.messages.iter().take(named_max) {
            named.push((uid.clone(), console.relay.store.message(Some(&row.account), uid).await?));
        }
        Ok(Self { all: row.messages.len(), named })
    }
}

/// A delivery with what it is about.
struct Line {
    row: Row,
    message: Option<StoredMessage>,
    story: String,
}

impl Line {
    async fn of(row: Row, console: &Console, frame: &Frame) -> Result<Self, Failure> {
        let message = match row.messages.first() {
            Some(uid) => console.relay.store.message(Some(&row.account), uid).await?,
            None => None,
        };
        let story = story(&Listed::of(&row), frame.now, &frame.zone);
        Ok(Self { row, message, story })
    }

    /// What comes next or came last, in words.
    fn last(&self) -> String {
        match &self.row.last {
            Some(last) if self.story.is_empty() => format!("{} ms", last.latency_ms),
            _ => short(&self.story, 140),
        }
    }

    /// What it is about, in words.
    fn about(&self) -> String {
        if let Some(notice) = &self.row.notice {
            return notice.subject.clone();
        }
        let Some(stored) = &self.message else { return "a message that is no longer kept".to_owned() };
        let label = catalog::label(&stored.message.triple);
        match self.row.messages.len() {
            0 | 1 => label,
            more => format!("{label} and {} more", more - 1),
        }
    }
}

/// `GET /deliveries`
pub(in crate::web) async fn list(Call { console, visitor }: Call, Query(asked): Query<Asked>) -> Answer {
    let frame = Frame::new(&console, visitor, "/deliveries");
    let mut found = console.relay.store.page(asked.filter(&frame, ROWS + 1)?).await?;
    let more = found.len() > ROWS;
    found.truncate(ROWS);
    let older = found.last().filter(|_| more).map(|row| asked.page(&row.number.to_string()));
    let mut rows = Vec::with_capacity(found.len());
    for row in found {
        rows.push(Line::of(row, &console, &frame).await?);
    }
    let config = console.relay.config();
    let mut targets: Vec<String> = config.targets.keys().cloned().collect();
    targets.extend(
        console
            .relay
            .store
            .owed_targets()
            .await?
            .into_iter()
            .filter(|name| !config.targets.contains_key(name)),
    );
    let rules = config.rules.list().iter().map(|rule| rule.name.clone()).collect();
    let frame = frame.told(console.told.take(&asked.told));
    page(&List { frame, asked, rows, rules, targets, older })
}

/// A delivery with what comes next.
pub(super) struct Told {
    pub(super) detail: Detail,
    pub(super) next: Option<Next>,
    pub(super) again: Option<String>,
}

impl Told {
    /// What there is to say of a delivery, among the other deliveries of its message.
    pub(super) fn of(detail: Detail, outlook: &Outlook<'_>, all: &[Row]) -> Self {
        let replays = all.iter().filter(|other| other.replay_of.as_ref() == Some(&detail.row.id));
        let again = replays.max_by_key(|row| row.number).map(|row| row.id.to_string());
        let next = outlook.next(&detail.row, again.as_deref());
        Self { detail, next, again }
    }

    pub(super) fn can(&self, change: Change) -> bool {
        change.fits(self.detail.row.state)
    }

    pub(super) fn is_mended_by(&self, remedy: Remedy) -> bool {
        self.next.as_ref().is_some_and(|next| next.remedy == Some(remedy))
    }
}

#[derive(Template)]
#[template(path = "delivery.html")]
struct Show {
    frame: Frame,
    told: Told,
    line: Line,
    about: About,
    payload: Option<String>,
}

/// `GET /deliveries/{id}`
pub(in crate::web) async fn show(Call { console, visitor }: Call, Path(id): Path<String>) -> Answer {
    let (store, config) = (&console.relay.store, console.relay.config());
    let Some(detail) = store.delivery(&DeliveryId::from_text(id)).await? else {
        return Err(Failure::Missing(
            "No delivery has this id. Those that have ended are kept for the `retention` of the rules file."
                .to_owned(),
        ));
    };
    let frame = Frame::new(&console, visitor, "/deliveries").titled("Delivery");
    let all = again(store, &detail.row).await?;
    let (states, zone) = (store.target_states().await?, frame.zone.clone());
    let moment = |at| when::moment(at, &zone);
    let outlook = Outlook { config: &config, targets: &states, now: frame.now, moment: &moment };
    let target = config.targets.get(&detail.row.target).map(AsRef::as_ref);
    let payload = detail.payload.as_ref().map(|sent| match sent {
        Payload::Email(mail) => format!("Subject: {}\n\n{}", mail.subject, mail.text.trim_end()),
        other => {
            let value = payload::as_json(other, target, detail.row.id.as_str());
            serde_json::to_string_pretty(&value).unwrap_or_default()
        }
    });
    let line = Line::of(detail.row.clone(), &console, &frame).await?;
    let about = About::of(&detail.row, NAMED_MAX, &console).await?;
    page(&Show { told: Told::of(detail, &outlook, &all), frame, line, about, payload })
}

#[derive(Template)]
#[template(path = "review.html")]
struct Review {
    frame: Frame,
    change: Change,
    asked: Asked,
    /// Those that are changed, and how many of the chosen ones cannot be.
    fit: Vec<Row>,
    unfit: usize,
    passed_over: usize,
    more: bool,
    back: String,
}

impl Review {
    /// How many are in which state.
    fn states(&self) -> impl Iterator<Item = (StateName, usize)> {
        let of = |state: StateName| self.fit.iter().filter(|row| row.state == state).count();
        StateName::ALL.iter().map(move |state| (*state, of(*state))).filter(|(_, count)| *count > 0)
    }

    /// How many would be sent again that were so before.
    fn again(&self) -> usize {
        let replays = self.change == Change::Replay;
        self.fit.iter().filter(|row| replays && row.replays > 0).count()
    }
}

/// What a form is about.
struct Chosen {
    rows: Vec<Row>,
    /// How many a filter passes over because they were sent again before.
    passed_over: usize,
    /// The filter finds more than are changed at once.
    more: bool,
}

fn change_of(fields: &Fields) -> Result<Change, Failure> {
    match fields.one("change") {
        "replay" => Ok(Change::Replay),
        "discard" => Ok(Change::Discard),
        _ => Err(Failure::Wrong("Deliveries are replayed or discarded.".to_owned())),
    }
}

/// The deliveries that a form names, each once.
async fn named(console: &Console, fields: &Fields) -> Result<Vec<Row>, Failure> {
    let mut known = HashSet::new();
    let ids = fields.all("id").filter(|id| known.insert(*id)).take(CHANGED_MAX);
    let mut rows = Vec::new();
    for id in ids {
        rows.extend(console.relay.store.delivery(&DeliveryId::from_text(id)).await?.map(|detail| detail.row));
    }
    Ok(rows)
}

/// The deliveries that are to be looked at before they are changed: those that were ticked, or all that fit a filter. What was
/// ticked is done as asked.
async fn chosen(
    change: Change,
    console: &Console,
    frame: &Frame,
    fields: &Fields,
) -> Result<Chosen, Failure> {
    if fields.one("scope") == "all" {
        let filter = Asked::of(fields).filter(frame, CHANGED_MAX + 1)?;
        if filter.states.is_empty() {
            let words = "Choose a state first: a change of all that fit is meant for those in one state.";
            return Err(Failure::Wrong(words.to_owned()));
        }
        change.of_states(&filter.states)?;
        let (mut rows, passed_over) = change.found(&console.relay.store, filter).await?;
        let more = rows.len() > CHANGED_MAX;
        rows.truncate(CHANGED_MAX);
        return Ok(Chosen { rows, passed_over, more });
    }
    Ok(Chosen { rows: named(console, fields).await?, passed_over: 0, more: false })
}

/// Refuses to send again what was sent again since it was looked at: by a second click, or by somebody else.
fn as_seen(rows: &[Row], fields: &Fields) -> Result<(), Failure> {
    let seen: HashMap<&str, &str> = fields.all("id").zip(fields.all("replays")).collect();
    let is_seen = |row: &&Row| seen.get(row.id.as_str()) == Some(&row.replays.to_string().as_str());
    if rows.iter().all(|row| is_seen(&row)) {
        return Ok(());
    }
    Err(meanwhile(Change::Replay))
}

fn meanwhile(change: Change) -> Failure {
    let words = match change {
        Change::Replay => {
            "Nothing was done now: of what you chose, something was sent again since you looked at it, by a second click or \
             by somebody else. The page of each delivery says as what. If it is to be sent once more, choose it anew."
        }
        Change::Discard => {
            "Nothing was done now: of what you chose, nothing can be discarded any more. It was sent since you looked at it, or \
             discarded by a second click or by somebody else. The page of each delivery says what became of it."
        }
    };
    Failure::Conflict(words.to_owned())
}

/// `POST /deliveries/review`: which ones would be changed.
pub(in crate::web) async fn review(Call { console, visitor }: Call, body: String) -> Answer {
    let fields = Fields::of(&body);
    let frame = Frame::new(&console, visitor, "/deliveries").titled("Review");
    let change = change_of(&fields)?;
    let Chosen { rows: mut fit, passed_over, more } = chosen(change, &console, &frame, &fields).await?;
    let all = fit.len();
    fit.retain(|row| change.fits(row.state));
    let asked = Asked::of(&fields);
    let back = asked.page("");
    let unfit = all - fit.len();
    page(&Review { frame, change, asked, fit, unfit, passed_over, more, back })
}

/// `POST /deliveries/change`: those that were looked at, and what came since is not among them.
pub(in crate::web) async fn change(Call { console, visitor }: Call, body: String) -> Answer {
    let fields = Fields::of(&body);
    let (change, peer, now) = (change_of(&fields)?, visitor.peer, console.relay.clock.now());
    if fields.all("id").next().is_none() {
        let words = "This names no delivery. Choose some, or all that fit a filter, and look at them first.";
        return Err(Failure::Wrong(words.to_owned()));
    }
    let mut rows = named(&console, &fields).await?;
    rows.retain(|row| change.fits(row.state));
    if change == Change::Replay {
        as_seen(&rows, &fields)?;
    }
    // They are sent again in the order in which they were planned.
    rows.sort_unstable_by_key(|row| row.number);
    let picked: Vec<Picked> = rows.iter().map(Picked::from).collect();
    let changed = change.run(&console.relay.store, &picked, now).await?;
    if changed.is_empty() {
        return Err(meanwhile(change));
    }
    console.relay.owed.notify_one();
    let did = change.as_str();
    tracing::info!(%peer, did, deliveries = changed.len(), "changed in the console");
    if let ([one], Change::Replay) = (&changed[..], change) {
        return Ok(Redirect::to(&format!("/deliveries/{}", segment(one.id.as_str()))).into_response());
    }
    let number = deliveries_in_words(changed.len());
    let words = match change {
        Change::Replay => format!("{number} planned again; they are sent at once."),
        Change::Discard => format!("{number} discarded."),
    };
    let to = console.told.keep(&Asked::of(&fields).page(""), words, now);
    Ok(Redirect::to(&to).into_response())
}
