//! The message types known, how often each was seen, and which rules take each.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::model::catalog::{self, Entry};
use crate::model::message::Triple;
use crate::rules::Rules;
use crate::rules::condition::Subject;
use crate::store::{Result, Store};

/// The period that messages are counted in where nobody names another.
pub const PERIOD: SignedDuration = SignedDuration::from_hours(30 * 24);

/// A message type, how often it was seen where that was asked, and the rules that take it.
#[derive(Debug)]
pub struct Row<'a> {
    /// The type.
    pub triple: Triple,
    /// What people call it.
    pub label: String,
    /// What people want it for.
    pub use_cases: &'static [&'static str],
    /// How often it was seen.
    pub seen: Option<u64>,
    /// The rules that take it.
    pub rules: Vec<&'a str>,
}

impl Row<'_> {
    /// Messages of it came.
    pub fn came(&self) -> bool {
        self.seen.is_some_and(|seen| seen > 0)
    }

    /// No rule takes it.
    pub fn is_uncovered(&self) -> bool {
        self.rules.is_empty()
    }
}

/// The catalogue's own rows.
pub fn known(rules: Option<&Rules>) -> Vec<Row<'_>> {
    let row = |entry: &Entry| {
        let triple = entry.triple();
        Row {
            rules: rules.map(|rules| taken_by(rules, &triple, entry.api_type)).unwrap_or_default(),
            label: entry.label.to_owned(),
            use_cases: entry.use_cases,
            seen: None,
            triple,
        }
    };
    catalog::all().iter().map(row).collect()
}

/// What the store has seen and the catalogue does not know, the most frequent first.
///
/// # Errors
/// The store cannot be read.
pub async fn unknown<'a>(rules: Option<&'a Rules>, store: &Store) -> Result<Vec<Row<'a>>> {
    let mut seen = store.triples().await?;
    seen.retain(|(triple, _)| catalog::find(triple).is_none());
    seen.sort_by(|(a, many), (b, more)| more.cmp(many).then_with(|| a.to_string().cmp(&b.to_string())));
    Ok(seen.into_iter().map(|(triple, count)| other(rules, triple, count)).collect())
}

/// All known types and every other that came since, each with how often it came.
///
/// # Errors
/// The store cannot be read.
pub async fn counted<'a>(rules: &'a Rules, store: &Store, since: Timestamp) -> Result<Vec<Row<'a>>> {
    let mut rows = known(Some(rules));
    for row in &mut rows {
        row.seen = Some(0);
    }
    for (triple, count) in store.triples_since(since).await? {
        match rows.iter_mut().find(|row| row.triple == triple) {
            Some(row) => row.seen = Some(count),
            None => rows.push(other(Some(rules), triple, count)),
        }
    }
    Ok(rows)
}

/// A type that the catalogue does not know.
fn other(rules: Option<&Rules>, triple: Triple, seen: u64) -> Row<'_> {
    Row {
        rules: rules.map(|rules| taken_by(rules, &triple, None)).unwrap_or_default(),
        label: catalog::label(&triple),
        use_cases: &[],
        seen: Some(seen),
        triple,
    }
}

/// The rules that take a message type in some account, up to the first that lets no other rule see it; a `where` may
/// still decide otherwise.
pub fn taken_by<'a>(rules: &'a Rules, triple: &Triple, api_type: Option<&str>) -> Vec<&'a str> {
    let subject = Subject::new(triple, api_type);
    let mut taking = Vec::new();
    for rule in rules.list().iter().filter(|rule| rule.can_take_subject(&subject)) {
        taking.push(rule.name.as_str());
        if rule.stop && rule.filter.is_none() && rule.accounts.is_none() {
            break;
        }
    }
    taking
}

/// The document of the JSON contract.
pub fn as_json(rows: &[Row<'_>]) -> Value {
    let row = |row: &Row<'_>| {
        let mut object = json!({
            "activity_type": row.triple.activity_type,
            "message_type": row.triple.message_type,
            "direction": row.triple.direction,
            "label": row.label,
            "use_cases": row.use_cases,
            "rules": row.rules,
        });
        if let Some(seen) = row.seen {
            object["seen"] = json!(seen);
        }
        object
    };
    json!({ "message_types": rows.iter().map(row).collect::<Vec<_>>() })
}
