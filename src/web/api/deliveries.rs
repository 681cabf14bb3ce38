//! Deliveries: pages of them by filters, one with its attempts, replay and discard.

use axum::extract::{Path, State};
use axum::http::Method;
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Value, json};

use super::asked::{Body, Query, present};
use super::problem::Problem;
use super::schemas::{self, integer, one_of, reference, text};
use super::{Answer, Operation, Parameter, json};
use crate::answers::actions::{Change, Changed};
use crate::answers::asked::Refusal;
use crate::answers::deliveries::{Listed, Shown, again, detail, known};
use crate::answers::when;
use crate::model::delivery::StateName;
use crate::model::id::DeliveryId;
use crate::store::{Filter, Picked};
use crate::web::Console;
use crate::web::guard::{Call, Visitor};

/// Rows of a page where none or the most are asked for.
const ROWS: u64 = 100;
const ROWS_MAX: u64 = 1_000;
/// So many are changed at once at most.
const CHANGED_MAX: usize = 10_000;
/// What to say of a filter that would change whatever there is.
const STATELESS: &str = "`filter.state` is missing: it names the states that are meant, as in \
    {\"filter\": {\"state\": [\"dead\"], \"target\": \"crm\"}}";

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new(
            (Method::GET, "/api/v1/deliveries"),
            ("listDeliveries", "A page of deliveries, the newest first"),
            schemas::page("deliveries", "Delivery"),
            get(list),
        )
        .query(filters()),
        Operation::new(
            (Method::GET, "/api/v1/deliveries/{id}"),
            ("showDelivery", "One delivery with its payload and every attempt"),
            reference("DeliveryDetail"),
            get(show),
        ),
        Operation::new(
            (Method::POST, "/api/v1/deliveries/replay"),
            ("replayDeliveries", "Send again: a new delivery for each one that has ended"),
            schemas::changed(),
            post(replay),
        )
        .body(reference("Chosen")),
        Operation::new(
            (Method::POST, "/api/v1/deliveries/discard"),
            ("discardDeliveries", "Decide that deliveries are not to be sent"),
            schemas::changed(),
            post(discard),
        )
        .body(reference("Chosen")),
    ]
}

fn filters() -> Vec<Parameter> {
    vec![
        Parameter::new("state", "Only in these states", schemas::state()).several(),
        Parameter::new("rule", "Only those of this rule", text()),
        Parameter::new("target", "Only those to this target", text()),
        Parameter::new("message", "Only those about the message with this uid", text()),
        Parameter::new("since", "Only those planned since: a moment, or so long ago", schemas::since()),
        Parameter::new("limit", "At most so many", integer(1, Some(ROWS_MAX))),
        Parameter::new("cursor", "`next_cursor` of the page before", schemas::cursor()),
        Parameter::new("count", "Say how many fit from there on: `total`", schemas::boolean()),
    ]
}

/// `GET /api/v1/deliveries`
async fn list(State(console): State<Console>, query: Query) -> Answer {
    let limit = query.number("limit")?.unwrap_or(ROWS);
    if !(1..=ROWS_MAX).contains(&limit) {
        return Err(Problem::wrong(format!("`limit` is 1 to {ROWS_MAX}")));
    }
    let states = query.all("state").map(parse_state).collect::<Result<Vec<_>, _>>()?;
    let asked = Asked {
        state: states,
        rule: query.one("rule").map(str::to_owned),
        target: query.one("target").map(str::to_owned),
        message: query.one("message").map(str::to_owned),
        since: query.one("since").map(str::to_owned),
    };
    let before = query.number("cursor")?.map(|number| i64::try_from(number).unwrap_or(i64::MAX));
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let filter = Filter { before, limit: Some(limit), ..asked.filter(&console)? };
    let (rows, total) = if query.flag("count")? {
        let (rows, total) = console.relay.store.deliveries(filter.clone()).await?;
        (rows, Some(total))
    } else {
        (console.relay.store.page(filter.clone()).await?, None)
    };
    if rows.is_empty() {
        known(&console.relay.store, Some(&console.relay.config()), &filter).await?;
    }
    let last = rows.last().filter(|_| rows.len() == limit).map(|row| row.number.to_string());
    let listed: Vec<Listed> = rows.iter().map(Listed::of).collect();
    let mut document = json!({ "deliveries": listed, "next_cursor": last });
    if let Some(total) = total {
        document["total"] = json!(total);
    }
    json(&document)
}

/// `GET /api/v1/deliveries/{id}`
async fn show(State(console): State<Console>, Path(id): Path<String>, _: Query) -> Answer {
    let (store, config) = (&console.relay.store, console.relay.config());
    let detail = detail(store, &id).await?;
    let target = config.targets.get(&detail.row.target).map(AsRef::as_ref);
    json(&Shown::of(&detail, &again(store, &detail.row).await?, target).document()?)
}

/// Which ones are meant: by id, or by filter.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::web) struct Chosen {
    #[serde(default, deserialize_with = "present")]
    ids: Option<Vec<String>>,
    #[serde(default, deserialize_with = "present")]
    filter: Option<Asked>,
    #[serde(default)]
    dry_run: bool,
    /// The ids are whole ones; what is unknown, in no state for it or sent again before is passed over.
    #[serde(default)]
    pass_over: bool,
}

/// A filter as programs write it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    #[serde(default)]
    state: Vec<StateName>,
    #[serde(default, deserialize_with = "present")]
    rule: Option<String>,
    #[serde(default, deserialize_with = "present")]
    target: Option<String>,
    #[serde(default, deserialize_with = "present")]
    message: Option<String>,
    #[serde(default, deserialize_with = "present")]
    since: Option<String>,
}

impl Asked {
    fn filter(&self, console: &Console) -> Result<Filter, Problem> {
        let now = console.relay.clock.now();
        let since = self.since.as_deref().map(|text| when::since(text, now)).transpose();
        Ok(Filter {
            states: self.state.clone(),
            rule: self.rule.clone(),
            target: self.target.clone(),
            message: self.message.clone(),
            since: since.map_err(Problem::wrong)?,
            ..Filter::default()
        })
    }
}

/// What [`Chosen`] looks like.
pub(super) fn chosen_schema() -> Value {
    let filter = json!({
        "type": "object", "additionalProperties": false, "required": ["state"],
        "properties": {
            "state": { "type": "array", "items": schemas::state(), "minItems": 1 },
            "rule": text(), "target": text(), "message": text(), "since": schemas::since(),
        },
    });
    let ids = json!({ "type": "array", "items": { "type": "string", "minLength": 1 }, "minItems": 1, "maxItems": CHANGED_MAX });
    let flag = || json!({ "type": "boolean", "default": false });
    let by = |name: &str, schema: Value| {
        json!({
            "type": "object", "additionalProperties": false, "required": [name],
            "properties": { name: schema, "dry_run": flag() },
        })
    };
    let mut by_id = by("ids", ids);
    by_id["properties"]["pass_over"] = flag();
    one_of([by_id, by("filter", filter)])
}

fn parse_state(name: &str) -> Result<StateName, Problem> {
    StateName::parse(name).ok_or_else(|| Problem::wrong(format!("there is no state `{name}`")))
}

/// `POST /api/v1/deliveries/replay`
async fn replay(Call { console, visitor }: Call, _: Query, Body(chosen): Body<Chosen>) -> Answer {
    change(Change::Replay, &console, &visitor, &chosen).await
}

/// `POST /api/v1/deliveries/discard`
async fn discard(Call { console, visitor }: Call, _: Query, Body(chosen): Body<Chosen>) -> Answer {
    change(Change::Discard, &console, &visitor, &chosen).await
}

async fn change(change: Change, console: &Console, visitor: &Visitor, chosen: &Chosen) -> Answer {
    let (picked, passed_over) = picked(change, console, chosen).await?;
    if chosen.dry_run {
        let would: Vec<Changed> =
            picked.into_iter().map(|one| Changed { id: one.id, replay_of: None }).collect();
        return json(&json!({ "deliveries": would, "passed_over": passed_over }));
    }
    let done = change.run(&console.relay.store, &picked, console.relay.clock.now()).await?;
    console.relay.owed.notify_one();
    tracing::info!(peer = %visitor.peer, did = change.as_str(), count = done.len(), "changed by the API");
    json(&json!({ "deliveries": done, "passed_over": passed_over }))
}

/// Those that are meant and can be changed so, and how many a filter passes over.
async fn picked(change: Change, console: &Console, chosen: &Chosen) -> Result<(Vec<Picked>, usize), Problem> {
    let store = &console.relay.store;
    match (&chosen.ids, &chosen.filter) {
        (Some(ids), None) if (1..=CHANGED_MAX).contains(&ids.len()) && !ids.iter().any(String::is_empty) => {
            if chosen.pass_over && !chosen.dry_run {
                return Ok((ids.iter().map(DeliveryId::from_text).map(Picked::unsent).collect(), 0));
            }
            Ok((change.named(store, ids).await?.into_iter().map(|row| row.id.into()).collect(), 0))
        }
        (None, Some(asked)) if !chosen.pass_over => {
            let filter = Filter { limit: Some(CHANGED_MAX), ..asked.filter(console)? };
            if filter.states.is_empty() {
                return Err(Problem::wrong(STATELESS));
            }
            // They are there, and in no state for it: a conflict, as it is by id.
            change.of_states(&filter.states).map_err(|refusal| Refusal::Conflict(refusal.to_string()))?;
            let (mut rows, passed_over) = change.found(store, filter.clone()).await?;
            if rows.is_empty() && passed_over == 0 {
                known(store, Some(&console.relay.config()), &filter).await?;
            }
            rows.retain(|row| change.fits(row.state));
            rows.reverse();
            Ok((rows.iter().map(Picked::from).collect(), passed_over))
        }
        _ => Err(Problem::wrong(format!("give either `ids` (1 to {CHANGED_MAX}, none empty) or `filter`"))),
    }
}
